//! One connection: opening it, sending commands, reading replies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header};
use mundotango_protocol::{Command, ConnectRequest, PublishRequest, Reply, SubscribeRequest};
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::orders::{SessionPlan, Target};
use crate::wire::{Encoding, is_ping};

/// The default of 128 KiB a socket would make the load maker larger than the server.
const READ_BUFFER_BYTES: usize = 4096;
/// How long a token is good, in seconds: longer than any run.
const TOKEN_TTL: u64 = 24 * 3600;

#[derive(Serialize)]
struct Claims {
    sub: String,
    exp: u64,
}

/// A token for the user of a session.
fn token(secret: &str, number: u32) -> anyhow::Result<String> {
    let claims =
        Claims { sub: format!("load-{number}"), exp: jsonwebtoken::get_current_timestamp() + TOKEN_TTL };
    Ok(jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}

/// An open connection.
pub struct Connection {
    socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
    last_id: u32,
    /// Replies that came in one frame with another that was waited for.
    unread: Vec<Reply>,
}

impl Connection {
    /// Connects a session and subscribes it, if it is to be. Takes as long as the server does: callers set a limit.
    pub async fn open(target: &Target, source: Option<Ipv4Addr>, plan: &SessionPlan) -> anyhow::Result<Self> {
        let stream = dial(target.address, source).await?;
        let mut request = target.url.as_str().into_client_request()?;
        let protocol = HeaderValue::from_static(target.encoding.subprotocol());
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .context("no websocket")?;
        let mut connection = Self { socket, encoding: target.encoding, last_id: 0, unread: Vec::new() };
        let token = target.secret.as_deref().map(|secret| token(secret, plan.number)).transpose()?;
        let connect = ConnectRequest {
            token: token.unwrap_or_default(),
            name: "load".to_owned(),
            ..ConnectRequest::default()
        };
        connection.call(Command { connect: Some(connect), ..Command::default() }).await.context("connect")?;
        if let Some((_, channel)) = &plan.channel {
            let subscribe = SubscribeRequest { channel: channel.clone(), ..SubscribeRequest::default() };
            let command = Command { subscribe: Some(subscribe), ..Command::default() };
            connection.call(command).await.context("subscribe")?;
        }
        Ok(connection)
    }

    /// Publishes without waiting for the answer; the command's id.
    pub async fn publish(&mut self, channel: &str, data: Bytes) -> anyhow::Result<u32> {
        let publish = PublishRequest { channel: channel.to_owned(), data };
        self.send(Command { publish: Some(publish), ..Command::default() }).await
    }

    /// Answers a ping of the server.
    pub async fn pong(&mut self) -> anyhow::Result<()> {
        self.write(&Command::default()).await
    }

    /// The replies of the next frame, pings among them. Dropping the future loses nothing.
    pub async fn receive(&mut self) -> anyhow::Result<Vec<Reply>> {
        if !self.unread.is_empty() {
            return Ok(std::mem::take(&mut self.unread));
        }
        loop {
            let frame = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => Bytes::from(text),
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(Some(frame)))) => {
                    bail!("closed with {} {}", frame.code, frame.reason)
                }
                Some(Ok(Message::Close(None))) | None => bail!("closed without a code"),
                // The socket answers the WebSocket's own pings itself.
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(socket_error(error)),
            };
            return self.encoding.replies(frame);
        }
    }

    /// Sends a command and waits for its answer.
    async fn call(&mut self, command: Command) -> anyhow::Result<()> {
        let id = self.send(command).await?;
        loop {
            let mut replies = self.receive().await?;
            for reply in replies.iter().filter(|reply| is_ping(reply)) {
                debug_assert_eq!(reply.id, 0);
                self.write(&Command::default()).await?;
            }
            let Some(at) = replies.iter().position(|reply| reply.id == id) else { continue };
            self.unread = replies.split_off(at + 1);
            self.unread.retain(|reply| !is_ping(reply));
            return match replies.pop().and_then(|reply| reply.error) {
                Some(error) => Err(anyhow!("error {} {}", error.code, error.message)),
                None => Ok(()),
            };
        }
    }

    async fn send(&mut self, command: Command) -> anyhow::Result<u32> {
        self.last_id += 1;
        self.write(&Command { id: self.last_id, ..command }).await?;
        Ok(self.last_id)
    }

    async fn write(&mut self, command: &Command) -> anyhow::Result<()> {
        let message = self.encoding.command(command)?;
        self.socket.send(message).await.map_err(socket_error)
    }
}

async fn dial(address: SocketAddr, source: Option<Ipv4Addr>) -> anyhow::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        // Ports of an earlier run may still be waiting for late packets.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).context("no port left")?;
    }
    socket.connect(address).await.context("no connection")
}

/// The same text for the same trouble, so that reasons can be counted.
fn socket_error(error: Error) -> anyhow::Error {
    match error {
        Error::Io(error) => anyhow!("socket: {}", error.kind()),
        error => anyhow!("socket: {error}"),
    }
}

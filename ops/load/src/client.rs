//! One session as a client: connect, subscribe, publish, and what comes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use mundotango_protocol::{
    Command, ConnectRequest, Encoding, Publication, PublishRequest, Reply, SubscribeRequest,
};
use prost::Message as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// A session of ten thousand must not cost the load maker much.
const READ_BUFFER_BYTES: usize = 2048;

/// One connection.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
    next_id: u32,
    /// Replies of a frame that are not taken yet, last first.
    waiting: Vec<Reply>,
}

impl Client {
    /// Opens a connection from a loopback address of its own group, so that local ports do not run out.
    pub(crate) async fn open(
        server: SocketAddr,
        path: &str,
        encoding: Encoding,
        source: u8,
    ) -> anyhow::Result<Self> {
        let tcp = TcpSocket::new_v4()?;
        if server.ip().is_loopback() {
            tcp.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, source.max(1))), 0))?;
        }
        let stream = tokio::time::timeout(PATIENCE, tcp.connect(server)).await.context("connect")??;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}{path}").into_client_request()?;
        let protocol = match encoding {
            Encoding::Json => "centrifuge-json",
            Encoding::Protobuf => "centrifuge-protobuf",
        };
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = tokio::time::timeout(PATIENCE, upgrade).await.context("upgrade")??;
        Ok(Self { socket, encoding, next_id: 1, waiting: Vec::new() })
    }

    /// Sends the connect command and the subscription in one frame, as SDKs do, and waits for both answers.
    pub(crate) async fn connect(&mut self, token: &str, channel: Option<&str>) -> anyhow::Result<()> {
        let connect = ConnectRequest { token: token.to_owned(), ..ConnectRequest::default() };
        let mut commands = vec![Command { connect: Some(connect), ..Command::default() }];
        if let Some(channel) = channel {
            let subscribe = SubscribeRequest { channel: channel.to_owned(), ..SubscribeRequest::default() };
            commands.push(Command { subscribe: Some(subscribe), ..Command::default() });
        }
        let ids = self.send(commands).await?;
        for id in ids {
            self.answer(id).await?;
        }
        Ok(())
    }

    /// Publishes without waiting for the answer.
    pub(crate) async fn publish(&mut self, channel: &str, data: Bytes) -> anyhow::Result<()> {
        let publish = PublishRequest { channel: channel.to_owned(), data };
        self.send(vec![Command { publish: Some(publish), ..Command::default() }]).await?;
        Ok(())
    }

    /// The next publication. Pings are answered on the way; an error or a lost subscription is an error here.
    pub(crate) async fn publication(&mut self) -> anyhow::Result<Publication> {
        loop {
            let reply = self.reply().await?;
            if let Some(error) = reply.error {
                anyhow::bail!("error {}: {}", error.code, error.message);
            }
            let Some(push) = reply.push else { continue };
            anyhow::ensure!(push.unsubscribe.is_none(), "the subscription was taken away");
            if let Some(publication) = push.publication {
                return Ok(publication);
            }
        }
    }

    /// Answers pings and drops everything else until a time.
    pub(crate) async fn idle_until(&mut self, at: Instant) -> anyhow::Result<()> {
        let mut waiting = std::pin::pin!(tokio::time::sleep_until(at));
        loop {
            tokio::select! {
                () = &mut waiting => return Ok(()),
                reply = self.reply() => {
                    if let Some(error) = reply?.error {
                        anyhow::bail!("error {}: {}", error.code, error.message);
                    }
                }
            }
        }
    }

    async fn send(&mut self, mut commands: Vec<Command>) -> anyhow::Result<Vec<u32>> {
        for command in &mut commands {
            command.id = self.next_id;
            self.next_id += 1;
        }
        self.write(&commands).await?;
        Ok(commands.iter().map(|command| command.id).collect())
    }

    async fn write(&mut self, commands: &[Command]) -> anyhow::Result<()> {
        let message = match self.encoding {
            Encoding::Json => {
                let lines: Vec<_> = commands.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
                Message::text(lines.join("\n"))
            }
            Encoding::Protobuf => {
                let mut frame = Vec::new();
                for command in commands {
                    command.encode_length_delimited(&mut frame)?;
                }
                Message::binary(frame)
            }
        };
        self.socket.send(message).await?;
        Ok(())
    }

    async fn answer(&mut self, id: u32) -> anyhow::Result<()> {
        loop {
            let reply = tokio::time::timeout(PATIENCE, self.reply()).await.context("no answer")??;
            if reply.id == id {
                return match reply.error {
                    None => Ok(()),
                    Some(error) => anyhow::bail!("error {}: {}", error.code, error.message),
                };
            }
        }
    }

    async fn reply(&mut self) -> anyhow::Result<Reply> {
        loop {
            if let Some(reply) = self.waiting.pop() {
                if reply == Reply::default() {
                    self.write(&[Command::default()]).await?;
                    continue;
                }
                return Ok(reply);
            }
            let message = self.socket.next().await.context("the connection ended")??;
            self.waiting = match message {
                Message::Text(text) => serde_json::Deserializer::from_str(&text)
                    .into_iter()
                    .collect::<Result<Vec<Reply>, _>>()?,
                Message::Binary(mut bytes) => {
                    let mut replies = Vec::new();
                    while !bytes.is_empty() {
                        replies.push(Reply::decode_length_delimited(&mut bytes)?);
                    }
                    replies
                }
                Message::Close(frame) => anyhow::bail!("closed by the server: {frame:?}"),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Vec::new(),
            };
            self.waiting.reverse();
        }
    }
}

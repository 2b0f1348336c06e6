//! One session as a client: connect, subscribe, publish, and what comes.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::either::Either;

use crate::dialect::{Dialect, Incoming};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// A session of ten thousand must not cost the load maker much.
const READ_BUFFER_BYTES: usize = 2048;

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How connections of a part are made.
#[derive(Clone)]
pub(crate) struct Way {
    path: String,
    dialect: Dialect,
    source: u8,
    tls: Option<TlsConnector>,
}

impl Way {
    /// Over TLS if the authority of the servers' certificates is given; `source` is the last byte of the loopback address
    /// that connections come from.
    pub(crate) fn new(
        path: &str,
        dialect: Dialect,
        source: u8,
        authority: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let tls = authority.map(trusting).transpose()?;
        Ok(Self { path: path.to_owned(), dialect, source, tls })
    }

    async fn connect(&self, server: SocketAddr) -> anyhow::Result<Stream> {
        let stream = tcp(server, self.source).await?;
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let handshake = tls.connect(ServerName::from(server.ip()), stream);
        let stream = tokio::time::timeout(PATIENCE, handshake).await.context("tls")??;
        Ok(Either::Right(Box::new(stream)))
    }
}

fn trusting(authority: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

/// Opens a connection from a loopback address of its own group, so that local ports do not run out.
async fn tcp(server: SocketAddr, source: u8) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if server.ip().is_loopback() {
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, source.max(1))), 0))?;
    }
    let stream = tokio::time::timeout(PATIENCE, socket.connect(server)).await.context("connect")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection.
pub(crate) struct Client {
    socket: WebSocketStream<Stream>,
    dialect: Dialect,
    next_id: u32,
    /// What came and was not taken yet.
    waiting: VecDeque<Incoming>,
}

impl Client {
    /// Opens a session that is subscribed, if a channel is given.
    pub(crate) async fn open(
        server: SocketAddr,
        way: &Way,
        token: &str,
        channel: Option<&str>,
    ) -> anyhow::Result<Self> {
        let stream = way.connect(server).await?;
        let dialect = way.dialect;
        let path = dialect.path(&way.path, channel);
        let scheme = if way.tls.is_some() { "wss" } else { "ws" };
        let mut request = format!("{scheme}://{server}{path}").into_client_request()?;
        if let Some(protocol) = dialect.subprotocol() {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        }
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = tokio::time::timeout(PATIENCE, upgrade).await.context("upgrade")??;
        let mut client = Self { socket, dialect, next_id: 3, waiting: VecDeque::new() };
        for (message, answers) in dialect.opening(token, channel)? {
            client.socket.send(message).await?;
            for _ in 0..answers {
                let answer = async {
                    while client.incoming().await? != Incoming::Answer {}
                    anyhow::Ok(())
                };
                tokio::time::timeout(PATIENCE, answer).await.context("no answer")??;
            }
        }
        Ok(client)
    }

    /// The next publication's payload. Pings are answered on the way; an error or a lost subscription is an error here.
    pub(crate) async fn publication(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Incoming::Publication(data) = self.incoming().await? {
                return Ok(data);
            }
        }
    }

    async fn publish(&mut self, channel: &str, data: Bytes) -> anyhow::Result<()> {
        let message = self.dialect.publish(self.next_id, channel, data)?;
        self.next_id += 1;
        Ok(self.socket.send(message).await?)
    }

    /// Answers pings and drops everything else until a time.
    async fn idle_until(&mut self, at: Instant) -> anyhow::Result<()> {
        let mut waiting = std::pin::pin!(tokio::time::sleep_until(at));
        loop {
            tokio::select! {
                () = &mut waiting => return Ok(()),
                incoming = self.incoming() => drop(incoming?),
            }
        }
    }

    async fn incoming(&mut self) -> anyhow::Result<Incoming> {
        loop {
            match self.waiting.pop_front() {
                Some(Incoming::Reply(message)) => self.socket.send(message).await?,
                Some(incoming) => return Ok(incoming),
                None => {
                    let message = self.socket.next().await.context("the connection ended")??;
                    self.waiting.extend(self.dialect.read(message)?);
                }
            }
        }
    }
}

/// Who publishes: a session, or a connection that posts.
pub(crate) enum Publisher {
    Session(Box<Client>),
    Post { stream: TcpStream, host: SocketAddr },
}

impl Publisher {
    pub(crate) async fn open(server: SocketAddr, way: &Way, token: &str) -> anyhow::Result<Self> {
        if way.dialect.publishes_by_post() {
            return Ok(Self::Post { stream: tcp(server, way.source).await?, host: server });
        }
        let client = Client::open(server, way, token, None).await?;
        Ok(Self::Session(Box::new(client)))
    }

    /// Publishes without waiting for the answer.
    pub(crate) async fn publish(&mut self, channel: &str, data: Bytes) -> anyhow::Result<()> {
        match self {
            Self::Session(client) => client.publish(channel, data).await,
            Self::Post { stream, host } => {
                let head = format!(
                    "POST /pub/{channel} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n",
                    data.len()
                );
                Ok(stream.write_all(&[head.as_bytes(), &data].concat()).await?)
            }
        }
    }

    /// Takes what comes until a time.
    pub(crate) async fn idle_until(&mut self, at: Instant) -> anyhow::Result<()> {
        match self {
            Self::Session(client) => client.idle_until(at).await,
            Self::Post { stream, .. } => {
                let mut buffer = [0; 1024];
                let mut waiting = std::pin::pin!(tokio::time::sleep_until(at));
                loop {
                    tokio::select! {
                        () = &mut waiting => return Ok(()),
                        read = stream.read(&mut buffer) => anyhow::ensure!(read? > 0, "the connection ended"),
                    }
                }
            }
        }
    }
}

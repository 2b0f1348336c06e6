//! A session of the client protocol over a WebSocket, in JSON.

use std::collections::VecDeque;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Connector, Message, WebSocket};

/// How long connecting, or one answer, may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An open session.
pub(crate) struct Socket {
    stream: WebSocket<MaybeTlsStream<TcpStream>>,
    /// The same connection, whose time limit for reads is set anew for each.
    connection: TcpStream,
    last_id: u64,
    /// Messages that were read and not yet asked for.
    unread: VecDeque<Value>,
}

impl Socket {
    /// Opens a socket at a site, whose address begins with `http://` or `https://`.
    pub(crate) fn open(site: &str) -> anyhow::Result<Self> {
        let url = format!("{}/connection/websocket", site.replacen("http", "ws", 1));
        let mut request = url.as_str().into_client_request()?;
        // Where the site's own pages are from, as browsers say it: others are refused.
        request.headers_mut().insert("origin", site.parse()?);
        let uri = request.uri();
        let host = uri.host().context("no host")?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("wss") { 443 } else { 80 });
        let connection = connect(host, port)?;
        let connector = Connector::Rustls(Arc::new(tls()?));
        let (stream, _) =
            tungstenite::client_tls_with_config(request, connection.try_clone()?, None, Some(connector))
                .with_context(|| url.clone())?;
        Ok(Self { stream, connection, last_id: 0, unread: VecDeque::new() })
    }

    /// The answer to a command.
    pub(crate) fn call(&mut self, command: &str, parameters: &Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        self.stream.send(Message::text(json!({ "id": id, command: parameters }).to_string()))?;
        let mut answer = self
            .wait_for(|message| message["id"] == id)
            .with_context(|| format!("no answer to {command}"))?;
        anyhow::ensure!(answer["error"].is_null(), "{command} was refused: {}", answer["error"]);
        Ok(answer[command].take())
    }

    /// The next publication in a channel.
    pub(super) fn publication(&mut self, channel: &str) -> anyhow::Result<Value> {
        let is_one =
            |message: &Value| message["push"]["channel"] == channel && message["push"]["pub"].is_object();
        let mut message = self.wait_for(is_one).with_context(|| format!("nothing came in {channel}"))?;
        Ok(message["push"]["pub"].take())
    }

    /// The next push, if one comes within a time.
    pub(crate) fn push_within(&mut self, patience: Duration) -> anyhow::Result<Option<Value>> {
        let start = Instant::now();
        loop {
            if let Some(index) = self.unread.iter().position(|message| message["push"].is_object()) {
                return Ok(self.unread.remove(index).map(|mut message| message["push"].take()));
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.connection.set_read_timeout(Some(left))?;
            match self.stream.read() {
                Ok(Message::Text(text)) => self.keep(text.as_str())?,
                Ok(Message::Close(frame)) => anyhow::bail!("the server closed the socket: {frame:?}"),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if is_late(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let start = Instant::now();
        loop {
            if let Some(index) = self.unread.iter().position(&is_it) {
                return self.unread.remove(index).context("no message");
            }
            let left = TIMEOUT.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
            let left = left.with_context(|| format!("nothing within {} s", TIMEOUT.as_secs()))?;
            self.connection.set_read_timeout(Some(left))?;
            match self.stream.read()? {
                Message::Text(text) => self.keep(text.as_str())?,
                Message::Close(frame) => anyhow::bail!("the server closed the socket: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Keeps what a frame holds, a message a line; an empty one is the server's ping.
    fn keep(&mut self, frame: &str) -> anyhow::Result<()> {
        for line in frame.lines().filter(|line| !line.trim().is_empty()) {
            let message: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            if message == json!({}) {
                self.stream.send(Message::text("{}"))?;
            } else {
                self.unread.push_back(message);
            }
        }
        Ok(())
    }
}

/// Whether nothing came before the time limit of a read.
fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Connects to the first of a host's addresses that answers.
fn connect(host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let mut last = anyhow::anyhow!("{host} has no address");
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(connection) => {
                connection.set_read_timeout(Some(TIMEOUT))?;
                connection.set_write_timeout(Some(TIMEOUT))?;
                return Ok(connection);
            }
            Err(error) => last = anyhow::Error::new(error).context(address),
        }
    }
    Err(last)
}

fn tls() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

//! The bus over NATS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, ServerAddr, StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use mundotango_ops::ServerUrls;
use mundotango_ops::traces::{Kind, Span, current};
use mundotango_storage::TlsFiles;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use super::{Bus, BusError, BusMessage, IsEnough, Listening};

/// Messages that may wait for one subject's listener; more are dropped, and noticed as a hole.
const LISTENER_CAPACITY: usize = 4096;
/// Messages that may wait for the connection.
const CLIENT_CAPACITY: usize = 8192;
/// How often the connection is looked after, so that a frozen server is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before the first attempt to connect again; doubles with each.
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// Longest pause between two attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// The header of W3C's trace context.
const TRACEPARENT: &str = "traceparent";

/// The options of the connection to NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsOptions {
    /// Where NATS is, such as `nats://127.0.0.1:4222`; several are divided by commas. A user with a password, or a token,
    /// may stand before the host.
    pub urls: ServerUrls,
    /// A file with a JWT and the seed of its key.
    pub credentials: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// The certificates of connections with TLS.
    pub tls: TlsFiles,
    /// The beginning of every subject: clusters that share a NATS need different ones.
    pub prefix: String,
    /// How long sending may take.
    pub timeout: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            urls: ServerUrls::default(),
            credentials: None,
            nkey: None,
            tls: TlsFiles::default(),
            prefix: "mt".to_owned(),
            timeout: Duration::from_secs(1),
        }
    }
}

impl NatsOptions {
    /// The options that cannot work, each problem with the option's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.tls.problems("nats_tls");
        problems.extend(self.servers().err());
        let ways = [self.sign_in().is_some(), self.credentials.is_some(), self.nkey.is_some()];
        if ways.into_iter().filter(|is_used| *is_used).count() > 1 {
            problems
                .push("nats: sign in by the URL, nats_credentials or nats_nkey, not by several".to_owned());
        }
        for (name, file) in [("nats_credentials", &self.credentials), ("nats_nkey", &self.nkey)] {
            if let Some(Err(problem)) = file.as_deref().map(read) {
                problems.push(format!("{name}: {problem}"));
            }
        }
        problems
    }

    /// The servers' addresses, without what signs in: the library would ignore that.
    fn servers(&self) -> Result<Vec<ServerAddr>, String> {
        let urls = self.urls.expose().split(',').map(str::trim).filter(|url| !url.is_empty());
        let servers: Result<Vec<_>, _> = urls.map(server).collect();
        match servers {
            Ok(servers) if !servers.is_empty() => Ok(servers),
            _ => Err(format!(
                "nats: {} is no address of a NATS: write nats://host:port or tls://host:port",
                self.urls
            )),
        }
    }

    /// The user and the password, or the token alone, of the first URL that has them.
    fn sign_in(&self) -> Option<(String, Option<String>)> {
        self.urls.expose().split(',').find_map(|url| {
            let url: ServerAddr = url.trim().parse().ok()?;
            let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            Some((plain(url.username()?), url.password().map(plain)))
        })
    }

    /// The credentials of the node, and the certificates of both sides.
    fn connect_options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new();
        options = match self.sign_in() {
            Some((user, Some(password))) => options.user_and_password(user, password),
            Some((token, None)) => options.token(token),
            None => options,
        };
        if let Some(file) = &self.credentials {
            let credentials = options.credentials(&read(file)?);
            options = credentials.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        }
        if let Some(file) = &self.nkey {
            options = options.nkey(read(file)?.trim().to_owned());
        }
        if let Some(ca) = &self.tls.ca {
            // An authority is named for TLS alone, so a connection without TLS would be a surprise.
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = self.tls.identity() {
            options =
                options.add_client_certificate(certificate.to_owned(), key.to_owned()).require_tls(true);
        }
        Ok(options)
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// The address in a URL; an error without a text, as the URL may hold a password.
fn server(url: &str) -> Result<ServerAddr, ()> {
    let known = ["nats", "tls"];
    let url: ServerAddr = url.parse().map_err(drop)?;
    if !known.contains(&url.scheme()) || url.host().is_empty() {
        return Err(());
    }
    let host = if url.host().contains(':') { format!("[{}]", url.host()) } else { url.host().to_owned() };
    format!("{}://{host}:{}", url.scheme(), url.port()).parse().map_err(drop)
}

/// The bus over a connection to NATS, which comes back by itself.
pub struct NatsBus {
    client: Client,
    prefix: String,
    timeout: Duration,
    connected: watch::Receiver<bool>,
    last_error: Arc<Mutex<Option<String>>>,
}

struct NatsListening(Subscriber);

impl NatsBus {
    /// A bus that connects in the background, and again whenever the connection is lost.
    pub async fn open(options: &NatsOptions, name: &str) -> Result<Self, BusError> {
        let (sender, connected) = watch::channel(false);
        let last_error = Arc::new(Mutex::new(None));
        let known = Arc::clone(&last_error);
        let servers = options.servers().map_err(BusError::Unavailable)?;
        let client = options
            .connect_options()
            .map_err(BusError::Unavailable)?
            .name(name)
            .no_echo()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                FIRST_RECONNECT_DELAY.saturating_mul(1 << attempts.min(10)).min(MAX_RECONNECT_DELAY)
            })
            .ping_interval(PING_INTERVAL)
            .connection_timeout(options.timeout)
            .request_timeout(Some(options.timeout))
            .subscription_capacity(LISTENER_CAPACITY)
            .client_capacity(CLIENT_CAPACITY)
            .event_callback(move |event| {
                match &event {
                    Event::Connected => {
                        tracing::info!("connected with NATS");
                        *known.lock() = None;
                        sender.send_replace(true);
                    }
                    Event::Disconnected | Event::Closed => {
                        tracing::warn!("the connection with NATS is lost");
                        sender.send_replace(false);
                    }
                    // Each attempt to connect tells why it failed; health tells the last reason.
                    Event::ClientError(error) => *known.lock() = Some(error.to_string()),
                    Event::ServerError(error) => *known.lock() = Some(error.to_string()),
                    event => tracing::warn!(%event, "NATS"),
                }
                async {}
            })
            .connect(servers)
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        Ok(Self { client, prefix: options.prefix.clone(), timeout: options.timeout, connected, last_error })
    }

    /// Tells why there is no connection, if there is none.
    pub fn watch_failure(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let (connected, last_error) = (self.connected.clone(), Arc::clone(&self.last_error));
        move || {
            let reason = || last_error.lock().as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            (!*connected.borrow()).then(|| format!("not connected{}", reason()))
        }
    }

    fn subject(&self, subject: &str) -> String {
        format!("{}.{subject}", self.prefix)
    }

    fn is_connected(&self) -> Result<(), BusError> {
        // Else messages would wait for a connection that may never be there again.
        if *self.connected.borrow() { Ok(()) } else { Err(BusError::Unavailable("not connected".to_owned())) }
    }

    fn check_size(&self, payload: &Bytes) -> Result<(), BusError> {
        let most = self.client.max_payload();
        if payload.len() > most {
            return Err(BusError::TooLarge { bytes: payload.len(), most });
        }
        Ok(())
    }

    async fn in_time<T, E: std::fmt::Display>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BusError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(outcome) => outcome.map_err(|error| BusError::Unavailable(error.to_string())),
            Err(_) => Err(BusError::Unavailable("sending takes too long".to_owned())),
        }
    }

    /// Returns when the server has done all that was sent to it before.
    async fn barrier(&self) -> Result<(), BusError> {
        let nobody = self.subject(&format!("barrier.{}", mundotango_protocol::new_id()));
        match self.client.request(nobody, Bytes::new()).await {
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(BusError::Unavailable(error.to_string())),
            Ok(_) => Ok(()),
        }
    }
}

/// A span of what is sent to a subject. The subject of a channel holds the channel's name in hexadecimal.
fn span(name: &'static str, kind: Kind, subject: &str) -> Span {
    let mut span = Span::child(name, kind);
    if let Some(span) = span.recorded() {
        span.set("messaging.system", "nats").set("messaging.destination.name", subject);
    }
    span
}

/// The headers by which a message's trace goes along: that of its span, or of the work at hand on a node that records none.
fn headers(span: &Span) -> Option<HeaderMap> {
    let trace = span.context().or_else(current)?;
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, trace.traceparent());
    Some(headers)
}

impl From<Message> for BusMessage {
    fn from(message: Message) -> Self {
        let traceparent = message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
        Self {
            trace: traceparent.and_then(|value| value.as_str().parse().ok()),
            payload: message.payload,
            reply_to: message.reply.map(|subject| subject.to_string()),
        }
    }
}

#[async_trait]
impl Listening for NatsListening {
    async fn next(&mut self) -> Option<BusMessage> {
        self.0.next().await.map(BusMessage::from)
    }

    fn next_now(&mut self) -> Option<BusMessage> {
        self.0.next().now_or_never().flatten().map(BusMessage::from)
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.is_connected()?;
        self.check_size(&payload)?;
        let span = span("nats publish", Kind::Producer, subject);
        let subject = self.subject(subject);
        let sent = match headers(&span) {
            Some(headers) => self.in_time(self.client.publish_with_headers(subject, headers, payload)).await,
            None => self.in_time(self.client.publish(subject, payload)).await,
        };
        span.end_with(&sent);
        sent
    }

    async fn listen(&self, subject: &str) -> Result<Box<dyn Listening>, BusError> {
        let listening = self.in_time(self.client.subscribe(self.subject(subject))).await?;
        // Without a connection it is listened to once there is one.
        if self.is_connected().is_ok() {
            self.barrier().await?;
        }
        Ok(Box::new(NatsListening(listening)))
    }

    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.is_connected()?;
        self.check_size(&payload)?;
        let span = span("nats request", Kind::Client, subject);
        let mut request = async_nats::Request::new().payload(payload).timeout(Some(timeout));
        if let Some(headers) = headers(&span) {
            request = request.headers(headers);
        }
        let answered = self.client.send_request(self.subject(subject), request).await;
        let answered = answered.map(|answer| answer.payload).map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => BusError::NoResponders,
            RequestErrorKind::TimedOut => BusError::TimedOut,
            _ => BusError::Unavailable(error.to_string()),
        });
        span.end_with(&answered);
        answered
    }

    async fn survey(
        &self,
        subject: &str,
        payload: Bytes,
        is_enough: &mut IsEnough<'_>,
        timeout: Duration,
    ) -> Result<Vec<Bytes>, BusError> {
        let mut came = Vec::new();
        self.is_connected()?;
        self.check_size(&payload)?;
        let mut span = span("nats survey", Kind::Client, subject);
        let inbox = self.client.new_inbox();
        let mut answers = self.in_time(self.client.subscribe(inbox.clone())).await?;
        let subject = self.subject(subject);
        let asking = async {
            match headers(&span) {
                Some(headers) => {
                    let asking = self.client.publish_with_reply_and_headers(subject, inbox, headers, payload);
                    asking.await
                }
                None => self.client.publish_with_reply(subject, inbox, payload).await,
            }
        };
        self.in_time(asking).await?;
        let collect = async {
            while let Some(answer) = answers.next().await
                && answer.status != Some(StatusCode::NO_RESPONDERS)
            {
                let enough = is_enough(&answer.payload);
                came.push(answer.payload);
                if enough {
                    return;
                }
            }
        };
        // Those that came in time are the answer.
        let _ = tokio::time::timeout(timeout, collect).await;
        if let Some(span) = span.recorded() {
            span.set("messaging.batch.message_count", came.len());
        }
        span.end();
        Ok(came)
    }

    async fn reply(&self, message: &BusMessage, payload: Bytes) -> Result<(), BusError> {
        let Some(inbox) = &message.reply_to else { return Ok(()) };
        self.is_connected()?;
        self.check_size(&payload)?;
        self.in_time(self.client.publish(inbox.clone(), payload)).await
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }
}

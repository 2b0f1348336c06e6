//! The bus over NATS.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use super::{Bus, BusError, BusMessage, Listening};

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

/// How to reach NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsOptions {
    /// Where NATS is, such as `nats://127.0.0.1:4222`; several are divided by commas.
    pub url: String,
    /// What every subject begins with: clusters that share a NATS need different ones.
    pub prefix: String,
    /// How long sending may take.
    pub timeout: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self { url: String::new(), prefix: "mt".to_owned(), timeout: Duration::from_secs(1) }
    }
}

/// The bus over a connection to NATS, which comes back by itself.
pub struct NatsBus {
    client: Client,
    prefix: String,
    timeout: Duration,
    connected: watch::Receiver<bool>,
}

struct NatsListening(Subscriber);

impl NatsBus {
    /// A bus that connects in the background, and again whenever the connection is lost.
    pub async fn open(options: &NatsOptions, name: &str) -> Result<Self, BusError> {
        let (sender, connected) = watch::channel(false);
        let servers: Vec<_> = options.url.split(',').map(|url| url.trim().to_owned()).collect();
        let client = ConnectOptions::new()
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
                    Event::Connected => drop(sender.send_replace(true)),
                    Event::Disconnected | Event::Closed => drop(sender.send_replace(false)),
                    _ => {}
                }
                async move { tracing::info!(%event, "nats") }
            })
            .connect(servers)
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        Ok(Self { client, prefix: options.prefix.clone(), timeout: options.timeout, connected })
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

fn headers() -> Option<HeaderMap> {
    let traceparent = mundotango_ops::trace::current()?;
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, traceparent.as_str());
    Some(headers)
}

impl From<Message> for BusMessage {
    fn from(message: Message) -> Self {
        let traceparent = message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
        Self {
            traceparent: traceparent.map(|value| value.as_str().to_owned()),
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
        let subject = self.subject(subject);
        match headers() {
            Some(headers) => self.in_time(self.client.publish_with_headers(subject, headers, payload)).await,
            None => self.in_time(self.client.publish(subject, payload)).await,
        }
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
        let mut request = async_nats::Request::new().payload(payload).timeout(Some(timeout));
        if let Some(headers) = headers() {
            request = request.headers(headers);
        }
        match self.client.send_request(self.subject(subject), request).await {
            Ok(answer) => Ok(answer.payload),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => BusError::NoResponders,
                RequestErrorKind::TimedOut => BusError::TimedOut,
                _ => BusError::Unavailable(error.to_string()),
            }),
        }
    }

    async fn survey(
        &self,
        subject: &str,
        payload: Bytes,
        expected: usize,
        timeout: Duration,
    ) -> Result<Vec<Bytes>, BusError> {
        let mut came = Vec::new();
        if expected == 0 {
            return Ok(came);
        }
        self.is_connected()?;
        self.check_size(&payload)?;
        let inbox = self.client.new_inbox();
        let mut answers = self.in_time(self.client.subscribe(inbox.clone())).await?;
        self.in_time(self.client.publish_with_reply(self.subject(subject), inbox, payload)).await?;
        let collect = async {
            while came.len() < expected
                && let Some(answer) = answers.next().await
                && answer.status != Some(StatusCode::NO_RESPONDERS)
            {
                came.push(answer.payload);
            }
        };
        // Those that came in time are the answer.
        let _ = tokio::time::timeout(timeout, collect).await;
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

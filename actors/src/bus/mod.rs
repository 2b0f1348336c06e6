//! The port to the other nodes: messages to all who listen, and questions to those who answer.
//!
//! A message is delivered at most once and never to the node that sent it. What must not be lost is in a store first;
//! who listens notices holes and reads there.

mod local;
mod nats;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_ops::traces::TraceContext;
use tokio::sync::watch;

pub use local::{LocalBus, LocalHub};
pub use nats::{NatsBus, NatsOptions};

/// Why a message did not reach anybody, or no answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody listens there; known at once.
    #[error("nobody answers there")]
    NoResponders,
    /// Somebody listens, and did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The bus cannot be reached.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// The message is larger than the bus takes.
    #[error("message of {bytes} bytes; at most {most} are allowed")]
    TooLarge {
        /// The message's size.
        bytes: usize,
        /// The largest size.
        most: usize,
    },
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct BusMessage {
    /// The bytes that were sent.
    pub payload: Bytes,
    /// The sender's span, if it has one that is recorded.
    pub trace: Option<TraceContext>,
    /// The subject on which the sender waits for an answer, if it does.
    pub(crate) reply_to: Option<String>,
}

/// A subject that is listened to, until this is dropped.
#[async_trait]
pub trait Listening: Send + Sync {
    /// The next message; `None` once there will be none. May be dropped while it waits.
    async fn next(&mut self) -> Option<BusMessage>;

    /// The next message, if one is there already.
    fn next_now(&mut self) -> Option<BusMessage>;
}

/// Called with each answer of a survey; returns whether the survey has all that it waits for.
pub type IsEnough<'a> = dyn FnMut(&Bytes) -> bool + Send + 'a;

/// The port to the other nodes. A subject is made of letters, digits, `-`, `_` and dots between parts.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends a message to all who listen. It is on its way when this returns, not yet there.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;

    /// Listens to a subject: what is published after this returned comes.
    async fn listen(&self, subject: &str) -> Result<Box<dyn Listening>, BusError>;

    /// Asks, and waits for the first answer.
    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError>;

    /// Asks all who listen, and collects answers until `is_enough` returns true for one or the time is over.
    async fn survey(
        &self,
        subject: &str,
        payload: Bytes,
        is_enough: &mut IsEnough<'_>,
        timeout: Duration,
    ) -> Result<Vec<Bytes>, BusError>;

    /// Answers a message; nothing happens if nobody waits.
    async fn reply(&self, message: &BusMessage, payload: Bytes) -> Result<(), BusError>;

    /// True if there may be other nodes at all.
    fn is_remote(&self) -> bool;

    /// True if the bus can be reached now, changing as it goes and comes.
    fn connected(&self) -> watch::Receiver<bool>;
}

/// A subject's part from any text: lower-case hexadecimal, as names of channels may hold anything.
pub(crate) fn subject_part(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut part, byte| {
        // Writing into a string does not fail.
        let _ = write!(part, "{byte:02x}");
        part
    })
}

//! What a job does: handlers, by the kinds that they are for.

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_storage::StoreError;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::jobs::caused_at;
use crate::kind::{JobKind, JobKindSpec};

/// The attempt that a handler makes.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// The job's id, the same at each attempt: an effect that is recorded under it happens once.
    pub id: String,
    /// Which attempt it is; the first is 1, and one without the queue, right after the cause, is 0.
    pub attempt: u32,
    /// When the job was put into its queue, or caused where it is done without that, in milliseconds of the Unix epoch.
    pub enqueued: i64,
    /// Whether no other follows if it fails.
    pub is_last: bool,
}

impl Attempted {
    /// Whether it is made right after the cause, without the queue.
    pub fn is_light(&self) -> bool {
        self.attempt == 0
    }

    /// When the job was caused, as its id says: the same at each attempt, with its queue and without it. What an attempt causes
    /// is named by it.
    pub fn caused_at(&self) -> Timestamp {
        let millis = caused_at(&self.id).unwrap_or(self.enqueued);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When the job was put into its queue: the same at each attempt.
    pub fn enqueued_at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.enqueued).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may work later: not before `after`, if that is known, such as from a `Retry-After`.
    #[error("{why}")]
    Retry {
        /// Why it failed.
        why: String,
        /// The least pause.
        after: Option<Duration>,
    },
    /// It was not tried, as what it needs is away: it is put off by this time, and no attempt is used up.
    #[error("{why}")]
    Later {
        /// Why it was not tried.
        why: String,
        /// How long it is put off.
        after: Duration,
    },
    /// It will never work.
    #[error("{0}")]
    Hopeless(String),
}

impl Failure {
    /// A failure that may be over later.
    pub fn retry(why: impl Display) -> Self {
        Self::Retry { why: why.to_string(), after: None }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::retry(error)
    }
}

/// Does the jobs of a kind. An attempt may be cut off at any await, and the same job may be done again.
#[async_trait]
pub trait Handler<P>: Send + Sync {
    /// Makes an attempt.
    async fn run(&self, attempted: &Attempted, payload: P) -> Result<(), Failure>;
}

/// A handler of any kind.
#[async_trait]
pub(crate) trait Run: Send + Sync {
    fn spec(&self) -> &'static JobKindSpec;

    async fn run(&self, attempted: &Attempted, payload: &RawValue) -> Result<(), Failure>;
}

pub(crate) struct Typed<P: 'static, H> {
    kind: &'static JobKind<P>,
    handler: H,
}

impl<P, H> Typed<P, H> {
    pub(crate) fn new(kind: &'static JobKind<P>, handler: H) -> Self {
        Self { kind, handler }
    }
}

#[async_trait]
impl<P: DeserializeOwned + Send + 'static, H: Handler<P>> Run for Typed<P, H> {
    fn spec(&self) -> &'static JobKindSpec {
        self.kind.spec()
    }

    async fn run(&self, attempted: &Attempted, payload: &RawValue) -> Result<(), Failure> {
        let payload = serde_json::from_str(payload.get())
            .map_err(|error| Failure::Hopeless(format!("its payload cannot be read: {error}")))?;
        self.handler.run(attempted, payload).await
    }
}

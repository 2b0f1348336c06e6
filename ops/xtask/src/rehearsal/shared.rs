//! What all who use the community in a rehearsal share: where it is, when to stop, and what they saw.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

/// What all who use the community share.
#[derive(Default)]
pub(super) struct Shared {
    /// The balancer's address.
    pub(super) url: String,
    /// Names of this rehearsal begin so.
    pub(super) prefix: String,
    pub(super) ended: AtomicBool,
    pub(super) publishing_ended: AtomicBool,
    /// Whether what runs refuses logins, which is what is broken in one of the versions.
    pub(super) logins_broken: AtomicBool,
    pub(super) subscribed: AtomicU64,
    pub(super) requests: AtomicU64,
    /// The longest of them.
    pub(super) longest_ms: AtomicU64,
    pub(super) refused_logins: AtomicU64,
    /// Requests whose connection was closed without an answer.
    pub(super) sent_again: AtomicU64,
    pub(super) failures: Mutex<Vec<String>>,
}

impl Shared {
    pub(super) fn new(url: &str, prefix: &str) -> Self {
        Self { url: url.to_owned(), prefix: prefix.to_owned(), ..Self::default() }
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Something that its user would have noticed.
    pub(super) fn failed(&self, what: String) {
        println!("FAILED: {what}");
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// The body of an answer with a status that is right; none, and a failure, for any other outcome. Where a connection
    /// was closed without an answer the request is sent once more, as clients of HTTP do; all are safe to be sent twice.
    pub(super) fn asked(
        &self,
        what: &str,
        ask: impl Fn() -> anyhow::Result<(u16, Value)>,
        right: &[u16],
    ) -> Option<Value> {
        let start = Instant::now();
        let outcome = ask().or_else(|_| {
            self.sent_again.fetch_add(1, Ordering::Relaxed);
            ask()
        });
        let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.longest_ms.fetch_max(took, Ordering::Relaxed);
        match outcome {
            Ok((status, body)) if right.contains(&status) => return Some(body),
            Ok((status, body)) => self.failed(format!("{what}: {status} {body} after {took} ms")),
            Err(error) => self.failed(format!("{what}: {error:#} after {took} ms")),
        }
        None
    }
}

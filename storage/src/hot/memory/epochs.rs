//! Epochs of histories that have no entry, so that reading need not make one.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::hot::new_epoch;

/// Derives epochs from a secret, which is lost with the histories: all epochs are others then.
pub(super) struct Epochs {
    secret: String,
    /// How old the secret was when this node took it over.
    age: Duration,
    since: Instant,
}

impl Epochs {
    pub(super) fn new() -> Self {
        Self::resume(new_epoch() + &new_epoch(), Duration::ZERO)
    }

    /// Goes on with a secret of so great an age.
    pub(super) fn resume(secret: String, age: Duration) -> Self {
        Self { secret, age, since: Instant::now() }
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        self.age + (now - self.since)
    }

    /// The epoch of a channel without a history. It is another one after `meta_ttl`, as a history may have had this one
    /// and may be forgotten since; channels change at different times.
    pub(super) fn derive(&self, channel: &str, meta_ttl: Duration, now: Instant) -> String {
        let meta_ttl = meta_ttl.as_millis().max(1);
        let hash = |period: u128| {
            let mut hasher = Sha256::new();
            for part in [self.secret.as_bytes(), &period.to_be_bytes(), &meta_ttl.to_be_bytes()] {
                hasher.update(part);
            }
            hasher.update(channel.as_bytes());
            hasher.finalize()
        };
        let share = hash(u128::MAX).iter().take(4).fold(0, |share, byte| (share << 8) | u128::from(*byte));
        let moved = self.age(now).as_millis() + ((share * meta_ttl) >> 32);
        hash(moved / meta_ttl).iter().take(8).fold(String::new(), |mut epoch, byte| {
            // Writing to a text does not fail.
            let _ = write!(epoch, "{byte:02x}");
            epoch
        })
    }
}

//! The lock that lets one at a time apply migrations. It lasts a while only, so that one who dies does not keep it.

use std::fmt::Display;
use std::time::Duration;

use mundotango_protocol::new_id;
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::{Consistency, Statement};
use tokio::time::{Instant, sleep};

use super::session::was_applied;
use super::value::damaged;
use crate::StoreError;

/// How long the lock is waited for.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long a new table may be unknown to some servers.
pub(super) const PROPAGATION: Duration = Duration::from_secs(10);
/// How often it is looked at.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

// The TTL is longer than any one statement may take; the lock is renewed before each.
const TAKE: &str =
    "INSERT INTO schema_lock (name, holder) VALUES ('migrations', ?) IF NOT EXISTS USING TTL 120";
const RENEW: &str = "UPDATE schema_lock USING TTL 120 SET holder = ? WHERE name = 'migrations' IF holder = ?";
const RELEASE: &str = "DELETE FROM schema_lock WHERE name = 'migrations' IF holder = ?";
const HOLDER: &str = "SELECT holder FROM schema_lock WHERE name = 'migrations'";

/// The lock, held.
pub(super) struct MigrationLock<'a> {
    session: &'a Session,
    holder: String,
}

impl<'a> MigrationLock<'a> {
    /// Waits for the lock and takes it.
    pub(super) async fn take(session: &'a Session) -> Result<Self, StoreError> {
        let lock = Self { session, holder: new_id() };
        let started = Instant::now();
        loop {
            // After an error the lock may be ours all the same: the holder's name tells.
            let failure = match lock.compare_and_set(TAKE, (&lock.holder,)).await {
                Ok(true) => return Ok(lock),
                Ok(false) => None,
                Err(error) => Some(error),
            };
            match lock.current().await {
                Ok(Some(holder)) if holder == lock.holder => return Ok(lock),
                Ok(_) => {}
                // A server may not have heard of the table yet that another made.
                Err(_) if started.elapsed() < PROPAGATION => {}
                Err(error) => return Err(failure.unwrap_or(error)),
            }
            if started.elapsed() > PATIENCE {
                return Err(StoreError::Unavailable("another migration does not end".to_owned()));
            }
            sleep(PAUSE).await;
        }
    }

    /// Makes the lock last; an error if it is another's by now.
    pub(super) async fn renew(&self) -> Result<(), StoreError> {
        let is_ours = match self.compare_and_set(RENEW, (&self.holder, &self.holder)).await {
            Ok(renewed) => renewed,
            Err(_) => self.current().await? == Some(self.holder.clone()),
        };
        if is_ours {
            Ok(())
        } else {
            Err(StoreError::Unavailable("the lock for migrations was lost to another".to_owned()))
        }
    }

    /// Gives the lock back. Where that fails it ends by itself.
    pub(super) async fn release(self) {
        if let Err(error) = self.compare_and_set(RELEASE, (&self.holder,)).await {
            tracing::warn!(%error, "the lock for migrations was not given back; it ends by itself");
        }
    }

    async fn compare_and_set(&self, text: &str, values: impl SerializeRow) -> Result<bool, StoreError> {
        was_applied(self.session.query_unpaged(text, values).await.map_err(unavailable)?)
    }

    async fn current(&self) -> Result<Option<String>, StoreError> {
        let mut select = Statement::new(HOLDER);
        select.set_consistency(Consistency::LocalSerial);
        let rows = self.session.query_unpaged(select, ()).await.map_err(unavailable)?;
        let rows = rows.into_rows_result().map_err(damaged)?;
        Ok(rows.maybe_first_row::<(String,)>().map_err(damaged)?.map(|(holder,)| holder))
    }
}

fn unavailable(error: impl Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

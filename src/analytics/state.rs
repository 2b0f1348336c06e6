//! What the routes of analytics share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_gateway::ClientAddress;
use mundotango_gateway::problem::Problem;
use mundotango_jobs::{JobError, Jobs};
use mundotango_storage::db::Db;
use mundotango_storage::hot::{HotState, MemoryHotState, Quota};

use super::visitors::Visitors;
use super::work;

const MINUTE: Duration = Duration::from_mins(1);

/// How much is taken from one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Batches of events from one address in a minute; any number if zero.
    pub batches_per_address: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // Many people of one event share the address of its network; what they send is kept for weeks.
        Self { batches_per_address: 120 }
    }
}

/// Who says whether a user may be counted.
#[async_trait]
pub trait Consent: Send + Sync {
    /// Whether events of this user may be kept. While that is not known, the answer is no.
    async fn allows(&self, user_id: &str) -> bool;
}

/// Everybody may be counted who does not say otherwise by the browser.
pub struct Everybody;

#[async_trait]
impl Consent for Everybody {
    async fn allows(&self, _user_id: &str) -> bool {
        true
    }
}

/// What the routes share.
pub struct Analytics {
    /// Where it all is.
    pub(super) db: Db,
    /// Who counts.
    pub(super) jobs: Jobs,
    /// Who visits.
    pub(super) visitors: Visitors,
    /// Who may be counted.
    pub(super) consent: Arc<dyn Consent>,
    limits: Limits,
    hot: Arc<dyn HotState>,
    /// Stands in for hot state while that is away.
    own: MemoryHotState,
}

impl Analytics {
    /// On a store and its queues; quotas are hot state.
    pub fn new(
        db: Db,
        jobs: Jobs,
        hot: Arc<dyn HotState>,
        consent: Arc<dyn Consent>,
        limits: Limits,
    ) -> Self {
        let (visitors, own) = (Visitors::new(db.clone()), MemoryHotState::new());
        Self { db, jobs, visitors, consent, limits, hot, own }
    }

    /// Has all removed that is kept of a user: events and where they are. Numbers that the user is part of
    /// stay. What a user did without being logged in cannot be found.
    pub async fn forget_user(&self, user_id: &str) -> Result<(), JobError> {
        work::enqueue_forget(&self.jobs, self.visitors.member(user_id).await?).await
    }

    /// Refuses an address that sends too much.
    pub(super) async fn admit(&self, address: IpAddr) -> Result<(), Problem> {
        if self.limits.batches_per_address == 0 {
            return Ok(());
        }
        let quota = Quota { limit: self.limits.batches_per_address, window: MINUTE };
        let key = format!("analytics:{}", ClientAddress(address).limited_as());
        let wait = match self.hot.take(&key, quota).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::debug!(%error, "this node counts by itself");
                self.own.take(&key, quota).await.ok().flatten()
            }
        };
        let too_many =
            |wait| Problem::too_many_requests("too many batches from this address").with_retry_after(wait);
        wait.map_or(Ok(()), |wait| Err(too_many(wait)))
    }
}

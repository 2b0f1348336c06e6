//! Hot state as channels use it: every call bounded in time, every failure in the log once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mundotango_protocol::{ChannelName, ErrorCode};
use mundotango_storage::StoreError;
use mundotango_storage::hot::{HistoryLimits, HistoryPage, HistoryQuery, HotState, Present};

/// How long an actor waits for hot state before it goes on without.
pub(crate) const HOT_STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Hot state with a time-out.
#[derive(Clone)]
pub(crate) struct Hot {
    pub(crate) port: Arc<dyn HotState>,
}

impl Hot {
    pub(crate) fn new(port: Arc<dyn HotState>) -> Self {
        Self { port }
    }

    /// Bounds a call in time.
    pub(crate) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ErrorCode> {
        match tokio::time::timeout(HOT_STATE_TIMEOUT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::warn!(%error, "hot state failed");
                Err(ErrorCode::Internal)
            }
            Err(_) => {
                tracing::warn!("hot state timed out");
                Err(ErrorCode::Internal)
            }
        }
    }

    pub(crate) async fn history(
        &self,
        channel: &ChannelName,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, ErrorCode> {
        self.in_time(self.port.history(channel.as_str(), query, limits)).await
    }

    pub(super) async fn renew_history(
        &self,
        channel: &ChannelName,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), ErrorCode> {
        self.in_time(self.port.renew_history(channel.as_str(), epoch, limits)).await
    }

    pub(super) async fn add_presence(
        &self,
        channel: &ChannelName,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), ErrorCode> {
        self.in_time(self.port.add_presence(channel.as_str(), present, ttl)).await
    }

    pub(super) async fn remove_presence(
        &self,
        channel: &ChannelName,
        clients: &[String],
    ) -> Result<(), ErrorCode> {
        self.in_time(self.port.remove_presence(channel.as_str(), clients)).await
    }
}

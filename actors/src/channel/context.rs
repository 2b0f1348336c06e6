//! The state and ports that all channels of a node share.

use std::sync::Arc;
use std::time::Duration;

use mundotango_ops::{IntCounter, metrics};
use mundotango_protocol::{ChannelName, Fanout};
use mundotango_storage::hot::HistoryLimits;

use super::hot::Hot;
use super::losses::LossPace;
use super::messages::subject_of;
use super::presence::Presence;
use super::presence_answers::PresenceAnswers;
use super::unrecorded::Unrecorded;
use crate::bus::Bus;
use crate::crashes::Crashes;

/// How long the bus is waited for; what it does not take in time is lost, as on the way.
const BUS_TIMEOUT: Duration = Duration::from_secs(1);

/// The node as channels see it.
pub(crate) trait Node: Send + Sync {
    /// How many other nodes there are.
    fn other_nodes(&self) -> usize;

    /// The history that a channel keeps, if any.
    fn history_of(&self, channel: &ChannelName) -> Option<HistoryLimits>;
}

/// The state and ports that all channels of a node share.
pub(crate) struct Context {
    pub(crate) hot: Hot,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) node_id: String,
    /// Most publications that one recovery returns.
    pub(crate) recovery_max: usize,
    pub(crate) presence: Presence,
    pub(crate) presence_answers: PresenceAnswers,
    pub(crate) unrecorded: Unrecorded,
    pub(super) loss_pace: LossPace,
    pub(crate) crashes: Arc<Crashes>,
    node: Box<dyn Node>,
    /// Messages to other nodes that the bus took, and those that it did not.
    sent: IntCounter,
    failed: IntCounter,
}

impl Context {
    pub(crate) fn new(
        hot: Hot,
        bus: Arc<dyn Bus>,
        node_id: String,
        recovery_max: usize,
        crashes: Arc<Crashes>,
        node: Box<dyn Node>,
    ) -> Self {
        let messages = |outcome| metrics().bus_messages_total.with_label_values(&[outcome]);
        Self {
            hot,
            bus,
            node_id,
            recovery_max,
            presence: Presence::new(),
            presence_answers: PresenceAnswers::new(),
            unrecorded: Unrecorded::default(),
            loss_pace: LossPace::default(),
            crashes,
            node,
            sent: messages("sent"),
            failed: messages("failed"),
        }
    }

    pub(super) fn other_nodes(&self) -> usize {
        self.node.other_nodes()
    }

    pub(super) fn history_of(&self, channel: &ChannelName) -> Option<HistoryLimits> {
        self.node.history_of(channel)
    }

    /// Sends a message to a channel's actors on other nodes. Publications that are lost they find in the channel's history.
    pub(crate) async fn tell_nodes(&self, channel: &ChannelName, fanout: impl FnOnce() -> Fanout) {
        if !self.bus.is_remote() {
            return;
        }
        let subject = subject_of(channel);
        let sending = self.bus.publish(&subject, fanout().to_bytes().into());
        let sent = tokio::time::timeout(BUS_TIMEOUT, sending).await;
        let counter = if matches!(sent, Ok(Ok(()))) { &self.sent } else { &self.failed };
        counter.inc();
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, %channel, "other nodes not told"),
            Err(_) => tracing::debug!(%channel, "the bus took nothing in time; other nodes not told"),
        }
    }
}

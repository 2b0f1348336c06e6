//! Renewing the histories that lack a publication, so that nobody recovers from them: see [`super::unrecorded`].

use std::time::Duration;

use bytes::Bytes;
use mundotango_protocol::ChannelName;
use mundotango_storage::hot::HistoryLimits;
use serde::{Deserialize, Serialize};

use super::messages::Control;
use super::registry::Channels;
use super::unrecorded::{MarkedChannel, Next};
use crate::bus::Listening;
use crate::tasks::IDLE_TICK;
use crate::vitals::Vitals;

/// The bus subject on which nodes send each other their marks.
const SUBJECT: &str = "nodes.unrecorded";
/// How long the other nodes are waited for.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often renewals are tried while marks stand.
const PAUSE: Duration = Duration::from_millis(250);
/// Marks that one message tells of.
const TOLD_AT_ONCE: usize = 1_000;

/// A node's message about its marks.
#[derive(Debug, Serialize, Deserialize)]
struct Marks {
    node: String,
    /// True if the marks stand, false if they are taken back.
    stand: bool,
    channels: Vec<MarkedChannel>,
}

impl Channels {
    /// Marks a channel and sees to it that all nodes know. `false` if they do not: the publication must not be
    /// acknowledged then.
    pub(super) async fn mark_unrecorded(&self, channel: &ChannelName) -> bool {
        let Some((marked, has_to_be_told)) = self.context().unrecorded.mark(channel) else {
            tracing::warn!(%channel, "too many channels go on without history");
            return false;
        };
        !has_to_be_told || self.tell_marks(vec![marked], true).await
    }

    /// Sends this node's marks to the other nodes. `false` if not all of them answered.
    async fn tell_marks(&self, channels: Vec<MarkedChannel>, stand: bool) -> bool {
        let context = self.context();
        let expected = context.other_nodes();
        let marks = Marks { node: context.node_id.clone(), stand, channels };
        if expected > 0 {
            let Ok(payload) = serde_json::to_vec(&marks) else { return false };
            let mut missing = expected;
            let mut all_answered = |_: &Bytes| {
                missing -= 1;
                missing == 0
            };
            let asking = context.bus.survey(SUBJECT, payload.into(), &mut all_answered, SURVEY_TIMEOUT);
            let answers = match tokio::time::timeout(SURVEY_TIMEOUT * 2, asking).await {
                Ok(Ok(answers)) => answers.len(),
                Ok(Err(_)) | Err(_) => 0,
            };
            if answers < expected {
                tracing::warn!(expected, answers, "not all nodes know which channels go on without history");
                return false;
            }
        }
        if stand {
            context.unrecorded.told(&marks.channels);
        }
        true
    }

    /// Renews a history that this node marked. `false` if hot state does not take the renewal either.
    pub(super) async fn renew_own(&self, channel: &ChannelName, limits: HistoryLimits) -> bool {
        match self.context().unrecorded.next(channel) {
            // Other nodes' publications do not keep this node's from being recorded.
            Next::Wait | Next::Done => true,
            Next::Renew(_) => self.renew(channel, limits).await,
        }
    }

    /// Renews the history of a marked channel, if this node has to. `false` if hot state does not take that.
    async fn renew(&self, channel: &ChannelName, limits: HistoryLimits) -> bool {
        let context = self.context();
        match context.unrecorded.next(channel) {
            Next::Wait => return true,
            Next::Done => {}
            Next::Renew(renewal) => {
                if context.hot.renew_history(channel, &renewal.epoch, limits).await.is_err() {
                    return false;
                }
                tracing::warn!(%channel, "history begins anew, as it lacks publications");
                if let Some(taken_back) = context.unrecorded.renewed(channel, &renewal)
                    && context.other_nodes() > 0
                    && let Some(channels) = self.this()
                {
                    // Publishers do not wait for that: a mark that is not taken back expires.
                    tokio::spawn(async move { channels.tell_marks(vec![taken_back], false).await });
                }
            }
        }
        self.control(channel, Control::LookAtHistory);
        true
    }

    /// Renews marked histories as soon as hot state takes that, and sends the other nodes the marks that stand until then.
    pub(crate) async fn keep_histories_whole(&self, vitals: &Vitals) {
        loop {
            vitals.handled();
            let channels = self.context().unrecorded.channels();
            if channels.is_empty() {
                let _ = tokio::time::timeout(IDLE_TICK, self.context().unrecorded.changed()).await;
                continue;
            }
            for channel in channels {
                let limits = self.context().history_of(&channel);
                // Without hot state the next ones would fail as well.
                if let Some(limits) = limits
                    && !self.renew(&channel, limits).await
                {
                    break;
                }
                vitals.handled();
            }
            for marks in self.context().unrecorded.to_tell().chunks(TOLD_AT_ONCE) {
                self.tell_marks(marks.to_vec(), true).await;
                vitals.handled();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Receives the other nodes' marks, and answers so that their publications may be acknowledged.
    pub(crate) async fn hear_marks(&self, vitals: &Vitals) {
        let bus = &self.context().bus;
        let mut listening: Box<dyn Listening> = match bus.listen(SUBJECT).await {
            Ok(listening) => listening,
            Err(error) => {
                tracing::warn!(%error, "other nodes not heard");
                return;
            }
        };
        loop {
            vitals.handled();
            let message = match tokio::time::timeout(IDLE_TICK, listening.next()).await {
                Ok(Some(message)) => message,
                // The task runs again, and subscribes again.
                Ok(None) => return,
                Err(_) => continue,
            };
            if let Ok(marks) = serde_json::from_slice::<Marks>(&message.payload) {
                self.context().unrecorded.hear(&marks.node, &marks.channels, marks.stand);
            }
            if let Err(error) = bus.reply(&message, bytes::Bytes::new()).await {
                tracing::debug!(%error, "answer not sent");
            }
        }
    }
}

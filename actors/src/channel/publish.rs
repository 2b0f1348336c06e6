//! Publishing: history gives the publication its place, then all nodes' subscribers get it.

use std::sync::Arc;

use bytes::Bytes;
use mundotango_ops::IntCounter;
use mundotango_ops::traces::{About, Kind, Span, current};
use mundotango_protocol::{ChannelName, ClientId, ClientInfo, ErrorCode, Publication, StreamPosition};
use mundotango_storage::StoreError;
use mundotango_storage::hot::{Append, Appended, HistoryLimits, Version};

use super::hot::HOT_STATE_TIMEOUT;
use super::messages::Delivery;
use super::registry::Channels;
use super::run_to_end::run_to_end;
use crate::options::Namespace;

/// A publication and how it is to be published.
#[derive(Clone, Debug, Default)]
pub struct Publish {
    /// The publication.
    pub publication: Publication,
    /// The publication is left out of the channel's history.
    pub skip_history: bool,
    /// The publication may be written as the difference to the publication before it; otherwise the namespace decides.
    pub delta: bool,
    /// Names it for five minutes, so that sending it again does not publish it again.
    pub idempotency_key: Option<String>,
    /// The version of the object that it describes; a version that is not newer than the last one is not published.
    pub version: Option<Version>,
    /// The session that does not get it.
    pub exclude: Option<ClientId>,
    /// Publishing it under the same idempotency key may have been cut off: if it was recorded then, subscribers are told
    /// once more. Those of a channel with history notice by its offset that they have it.
    pub again: bool,
}

impl Publish {
    /// Publishes as the namespace says.
    pub fn new(publication: Publication) -> Self {
        Self { publication, ..Self::default() }
    }
}

/// The outcome of writing a publication into history.
enum Recorded {
    /// The publication has this place; the default position where the channel keeps no history, or hot state is away.
    At(StreamPosition),
    /// The publication was recorded before.
    Repeated(StreamPosition),
    /// The publication is out of date: nobody is told.
    Outdated(StreamPosition),
}

/// A publication without an offset: history gives it one.
pub(crate) fn publication(data: Bytes, info: Option<ClientInfo>) -> Publication {
    Publication { data, info, ..Publication::default() }
}

impl Channels {
    /// Gives a publication its place in history, where the channel keeps one, and sends it to the subscribers. Runs to its
    /// end although the publisher hangs up: what is in history is delivered.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        channel: &ChannelName,
        namespace: &Namespace,
        publish: Publish,
    ) -> Result<StreamPosition, ErrorCode> {
        let options = &namespace.options;
        // Refused here, the one way of all publishers: no subscriber could be told later.
        if !options.publication_data_format.admits(&publish.publication.data) {
            return Err(ErrorCode::BadRequest);
        }
        let (channels, channel) = (Arc::clone(self), channel.clone());
        let (history, delta) = (options.history(), publish.delta || options.delta_publish);
        let about = About { channel: Some(channel.as_str()), ..About::default() };
        let mut span = Span::child_or_always("channel publish", Kind::Producer, about);
        if let Some(span) = span.recorded() {
            span.set("messaging.destination.name", channel.as_str());
        }
        let counter = namespace.publications.clone();
        let publishing =
            async move { channels.publish_to_end(&channel, history, delta, publish, &counter).await };
        run_to_end(span.run(publishing)).await
    }

    async fn publish_to_end(
        &self,
        channel: &ChannelName,
        history: Option<HistoryLimits>,
        delta: bool,
        publish: Publish,
        counter: &IntCounter,
    ) -> Result<StreamPosition, ErrorCode> {
        let Publish { mut publication, skip_history, delta: _, idempotency_key, version, exclude, again } =
            publish;
        let limits = history.filter(|_| !skip_history);
        let append = Append { publication: publication.clone(), limits, idempotency_key, version };
        let position = match self.record(channel, append).await? {
            Recorded::At(position) => position,
            Recorded::Repeated(position) if again => position,
            Recorded::Repeated(position) | Recorded::Outdated(position) => return Ok(position),
        };
        publication.offset = position.offset;
        counter.inc();
        let delivery =
            Delivery { publication, epoch: position.epoch.clone(), delta, exclude, trace: current() };
        self.context().tell_nodes(channel, || delivery.to_fanout()).await;
        self.deliver(channel, delivery).await?;
        Ok(position)
    }

    async fn record(&self, channel: &ChannelName, append: Append) -> Result<Recorded, ErrorCode> {
        let limits = append.limits;
        let archived = limits.is_some_and(|limits| limits.archive_ttl.is_some());
        // An idempotency key, a version or an archive needs hot state; without it we refuse instead of publishing
        // unrecorded.
        let needs_record = archived || append.idempotency_key.is_some() || append.version.is_some();
        if let Some(limits) = limits
            && self.context().unrecorded.holds(channel)
            && !self.renew_own(channel, limits).await
        {
            // The history lacks a publication already, and this one would seem to follow the last that it has.
            return self.go_on_unrecorded(channel, needs_record).await;
        }
        let appending = self.context().hot.port.append(channel.as_str(), append);
        match tokio::time::timeout(HOT_STATE_TIMEOUT, appending).await {
            Ok(Ok(Appended::New(position))) => Ok(Recorded::At(position)),
            // The first attempt may have failed after the append, so deliver again: subscribers that have this offset
            // drop it.
            Ok(Ok(Appended::Repeated(position))) if archived => Ok(Recorded::At(position)),
            Ok(Ok(Appended::Repeated(position))) => Ok(Recorded::Repeated(position)),
            Ok(Ok(Appended::Outdated(position))) => Ok(Recorded::Outdated(position)),
            Ok(Err(StoreError::Unavailable(error))) => {
                tracing::debug!(error, %channel, "hot state did not take a publication");
                if limits.is_none() && !needs_record {
                    return Ok(Recorded::At(StreamPosition::default()));
                }
                self.go_on_unrecorded(channel, needs_record).await
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, %channel, "not published");
                Err(ErrorCode::Internal)
            }
            Err(_) => {
                tracing::warn!(%channel, "hot state timed out; it is not known whether it published");
                Err(ErrorCode::Internal)
            }
        }
    }

    /// Without hot state a channel goes on without history, which the default position tells the publisher. All nodes know
    /// then that nobody may recover from this history.
    async fn go_on_unrecorded(
        &self,
        channel: &ChannelName,
        needs_record: bool,
    ) -> Result<Recorded, ErrorCode> {
        if needs_record || !self.mark_unrecorded(channel).await {
            tracing::warn!(%channel, "not published, as hot state did not take it");
            return Err(ErrorCode::Internal);
        }
        Ok(Recorded::At(StreamPosition::default()))
    }
}

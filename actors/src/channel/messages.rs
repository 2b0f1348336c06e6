//! The messages of a channel's actor.

use std::sync::Arc;

use mundotango_ops::traces::TraceContext;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, ErrorCode, Fanout, Publication, StreamPosition,
};
use tokio::sync::oneshot;

use super::subscriber::{Subscriber, SubscriptionNumber};
use crate::bus::subject_part;
use crate::options::RecoveryMode;
use crate::recorder::{MessageKind, Queued, Stamp};

/// A message that keeps its place among the channel's publications.
pub(crate) enum ChannelMessage {
    /// From a publisher on this node: write it to the subscribers.
    Deliver(Box<Queued<Delivery>>),
    /// From another node: write its publication, join or leave to the subscribers.
    FromNode(Box<Queued<Fanout>>),
}

/// A request to a channel's actor, handled before the publications that wait.
pub(crate) enum Control {
    /// From a session: add it, and answer with the place in the stream at which it begins.
    Subscribe(Box<Subscribe>),
    /// From a session: remove it. Answered when nothing more will be written to the session.
    Unsubscribe(ClientId, oneshot::Sender<()>),
    /// From a subscription that was not kept: remove it, but no later one of the same client.
    GiveBack(ClientId, SubscriptionNumber),
    /// From a session: presence shows this of it from now on. The sender is used, or dropped, when others can read it.
    UpdateInfo(ClientId, Arc<ClientInfo>, oneshot::Sender<()>),
    /// From the node: the history is another one.
    LookAtHistory,
    /// From the node: publications of other nodes may be lost. Look at the history within the next seconds.
    CheckSoon,
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
    /// From a test: take this long over this message.
    #[cfg(feature = "test-hooks")]
    Stall(std::time::Duration),
}

/// A publication on its way to subscribers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) publication: Publication,
    /// The epoch of its offset; empty where the channel keeps no history.
    pub(crate) epoch: String,
    /// The publication may be written as the difference to the publication before it.
    pub(crate) delta: bool,
    /// The session that does not get it.
    pub(crate) exclude: Option<ClientId>,
    /// The span that published it, if that is recorded.
    pub(crate) trace: Option<TraceContext>,
}

impl ChannelMessage {
    pub(crate) fn deliver(delivery: Delivery) -> Self {
        Self::Deliver(Box::new(Queued::new(delivery)))
    }

    pub(crate) fn from_node(fanout: Fanout) -> Self {
        Self::FromNode(Box::new(Queued::new(fanout)))
    }

    /// A message that the actor itself takes off the bus, where it may have waited.
    pub(super) fn from_bus(fanout: Fanout, trace: Option<TraceContext>) -> Self {
        Self::FromNode(Box::new(Queued::of_another_queue(fanout, trace)))
    }

    /// What the flight recorder notes: the kind, the size of the payload, and when it came.
    pub(super) fn recorded(&self) -> (MessageKind, usize, Stamp) {
        match self {
            Self::Deliver(delivery) => {
                (MessageKind::Deliver, delivery.message.publication.data.len(), delivery.stamp())
            }
            Self::FromNode(fanout) => {
                let publication = fanout.message.publication.as_ref();
                let bytes = publication.map_or(0, |publication| publication.data.len());
                (MessageKind::FromNode, bytes, fanout.stamp())
            }
        }
    }

    /// True for a publication, which may share a write with the publications beside it.
    pub(super) fn is_publication(&self) -> bool {
        match self {
            Self::Deliver(_) => true,
            Self::FromNode(fanout) => fanout.message.join.is_none() && fanout.message.leave.is_none(),
        }
    }
}

impl Control {
    pub(super) fn kind(&self) -> MessageKind {
        match self {
            Self::Subscribe(_) => MessageKind::TakeIn,
            Self::Unsubscribe(..) => MessageKind::TakeOut,
            Self::GiveBack(..) => MessageKind::GiveBack,
            Self::UpdateInfo(..) => MessageKind::UpdateInfo,
            Self::LookAtHistory => MessageKind::LookAtHistory,
            Self::CheckSoon => MessageKind::CheckSoon,
            #[cfg(feature = "test-hooks")]
            Self::Panic | Self::Stall(_) => MessageKind::BreakChannel,
        }
    }
}

impl Delivery {
    pub(crate) fn to_fanout(&self) -> Fanout {
        Fanout {
            publication: Some(self.publication.clone()),
            epoch: self.epoch.clone(),
            delta: self.delta,
            exclude: self.exclude.map(|client| client.to_string()).unwrap_or_default(),
            ..Fanout::default()
        }
    }

    pub(super) fn of_fanout(fanout: &Fanout, trace: Option<TraceContext>) -> Option<Self> {
        Some(Self {
            publication: fanout.publication.clone()?,
            epoch: fanout.epoch.clone(),
            delta: fanout.delta,
            exclude: ClientId::parse(&fanout.exclude),
            trace,
        })
    }
}

/// The bus subject on which nodes send each other the messages of a channel.
pub(super) fn subject_of(channel: &ChannelName) -> String {
    format!("channel.{}", subject_part(channel.as_str()))
}

/// A session's request for a subscription.
pub(crate) struct Subscribe {
    pub(crate) subscriber: Subscriber,
    pub(crate) recovery: Option<Recovery>,
    pub(crate) answer: oneshot::Sender<Result<Accepted, ErrorCode>>,
}

/// A request of a client that comes back to catch up.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    /// The client's place in the stream.
    pub(crate) from: StreamPosition,
    pub(crate) mode: RecoveryMode,
    /// The client does not want to be subscribed unless it gets all that it missed.
    pub(crate) all_or_nothing: bool,
}

/// The stream at the moment of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// `None` where the channel keeps no history.
    pub(crate) position: Option<StreamPosition>,
    /// The publications that the client missed, if all of them are known; everything later comes as pushes.
    pub(crate) recovered: Option<Vec<Publication>>,
}

/// A channel's answer to a session that is subscribed now.
pub(crate) struct Accepted {
    pub(super) subscribed: Subscribed,
    /// Resolves when others can read that the client is present.
    pub(super) present: Option<oneshot::Receiver<()>>,
}

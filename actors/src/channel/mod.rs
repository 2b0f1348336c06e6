//! Channels: one actor for each that has a subscriber on this node.

mod actor;
mod batch;
mod registry;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, ErrorCode, Fanout, Filter, Publication, StreamPosition,
};
use tokio::sync::oneshot;

pub(crate) use batch::recovered_deltas;
pub use registry::Channels;

use crate::bus::subject_part;
use crate::options::RecoveryMode;
use crate::session::SessionHandle;

/// What can be asked of a channel's actor.
pub(crate) enum ChannelMessage {
    /// From a session: add it, and say where the stream stands.
    Subscribe(Box<Subscribe>),
    /// From a session: remove it. Answered when nothing more will be written to the session.
    Unsubscribe(ClientId, oneshot::Sender<()>),
    /// From a publisher on any node: write it to the subscribers.
    Deliver(Arc<Delivery>),
    /// From another node: tell the subscribers.
    Told(Box<Fanout>),
    /// From the node: others may have thought that it is gone.
    Return,
    /// From itself: what came early has waited for too long.
    Repair,
    /// From the keeper: look whether the stream went on without us, and say again who is present.
    Check,
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// A publication on its way to subscribers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) publication: Publication,
    /// The epoch of its offset; empty where the channel keeps no history.
    pub(crate) epoch: String,
    /// Whether it may be written as the difference to the one before.
    pub(crate) delta: bool,
    /// Who does not get it.
    pub(crate) exclude: Option<ClientId>,
}

impl ChannelMessage {
    /// Whether it may be written together with the publications beside it.
    fn is_publication(&self) -> bool {
        match self {
            Self::Deliver(_) => true,
            Self::Told(fanout) => fanout.join.is_none() && fanout.leave.is_none(),
            _ => false,
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

    fn of_fanout(fanout: &Fanout) -> Option<Self> {
        Some(Self {
            publication: fanout.publication.clone()?,
            epoch: fanout.epoch.clone(),
            delta: fanout.delta,
            exclude: ClientId::parse(&fanout.exclude),
        })
    }
}

/// Where nodes tell each other of a channel.
pub(crate) fn subject_of(channel: &ChannelName) -> String {
    format!("channel.{}", subject_part(channel.as_str()))
}

/// A session's wish to be subscribed.
pub(crate) struct Subscribe {
    pub(crate) subscriber: Subscriber,
    /// Where the client was, if it wants to catch up.
    pub(crate) recover: Option<StreamPosition>,
    pub(crate) mode: RecoveryMode,
    pub(crate) answer: oneshot::Sender<Result<Subscribed, ErrorCode>>,
}

/// Who a channel writes to.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<SessionHandle>,
    /// What others may know of the session; kept only where presence, joins or leaves are shown.
    pub(crate) info: Option<Box<ClientInfo>>,
    /// The publications wanted; all without one.
    pub(crate) filter: Option<Box<Filter>>,
    pub(crate) flags: SubscriberFlags,
}

/// What a subscription is like.
#[derive(Clone, Copy, Default)]
pub(crate) struct SubscriberFlags {
    /// Whether a hole in the stream ends the subscription.
    pub(crate) positioned: bool,
    /// Whether the client wants joins and leaves.
    pub(crate) join_leave: bool,
    /// Whether the client is shown as present.
    pub(crate) present: bool,
    /// Whether the client's own join and leave are told.
    pub(crate) announced: bool,
    /// Whether the client takes publications as differences.
    pub(crate) delta: bool,
    /// Whether the client has the publication that the next difference is to.
    pub(crate) has_base: bool,
}

/// Where the stream stands at the moment of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// `None` where the channel keeps no history.
    pub(crate) position: Option<StreamPosition>,
    /// What the client missed, if it can be told; everything later comes as pushes.
    pub(crate) recovered: Option<Vec<Publication>>,
}

/// A message for the subscribers of a channel, ready to be sent.
pub(crate) fn publication(data: Bytes, info: Option<ClientInfo>) -> Publication {
    Publication { data, info, ..Publication::default() }
}

/// The label of a channel in metrics: its namespace, of which there are as many as are configured.
pub(crate) fn namespace_label(channel: &ChannelName) -> &str {
    channel.namespace().unwrap_or("none")
}

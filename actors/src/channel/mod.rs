//! Channels: one actor for each that has a subscriber on this node.

mod actor;
mod announcements;
mod batch;
mod context;
mod hot;
mod losses;
mod mailbox;
mod membership;
mod presence;
mod presence_answers;
mod publish;
mod registry;
mod renewal;
mod run_to_end;
mod stream;
mod turn;
mod unrecorded;

use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, ErrorCode, Fanout, Filter, Publication, StreamPosition,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use batch::recovered_deltas;
pub(crate) use context::{Context, Node};
pub(crate) use hot::{HOT_STATE_TIMEOUT, Hot};
pub(crate) use membership::Membership;
pub use publish::Publish;
pub use registry::Channels;
pub(crate) use run_to_end::run_to_end;

use crate::bus::subject_part;
use crate::handle::SessionHandle;
use crate::options::RecoveryMode;

/// What flows through a channel.
pub(crate) enum ChannelMessage {
    /// From a publisher on this node: write it to the subscribers.
    Deliver(Arc<Delivery>),
    /// From another node: tell the subscribers.
    Told(Box<Fanout>),
}

/// What a channel's actor is asked to do, before all that flows through the channel.
pub(crate) enum Control {
    /// From a session: add it, and say where the stream stands.
    Subscribe(Box<Subscribe>),
    /// From a session: remove it. Answered when nothing more will be written to the session.
    Unsubscribe(ClientId, oneshot::Sender<()>),
    /// From a subscription that was not kept: remove it, but no later one of the same client.
    GiveBack(ClientId, SubscriptionNumber),
    /// From a session: others may know this of it from now on. The sender is dropped, or sent to, when others can read so.
    UpdateInfo(ClientId, Arc<ClientInfo>, oneshot::Sender<()>),
    /// From the node: the history is another one.
    LookAtHistory,
    /// From the node: what other nodes sent may not have come. Look at the history within the next seconds.
    CheckSoon,
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// Tells one subscription of a client from another; later ones have higher numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubscriptionNumber(u64);

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
    pub(crate) recovery: Option<Recovery>,
    pub(crate) answer: oneshot::Sender<Result<Accepted, ErrorCode>>,
}

/// How a client that comes back wants to catch up.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    /// Where the client was.
    pub(crate) from: StreamPosition,
    pub(crate) mode: RecoveryMode,
    /// Whether the client does not want to be subscribed unless it gets all that it missed.
    pub(crate) all_or_nothing: bool,
}

/// Who a channel writes to.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<SessionHandle>,
    /// Set by the registry.
    pub(crate) number: SubscriptionNumber,
    /// The subscription's number in the session's outbox, which keeps messages back until the reply is written.
    pub(crate) held: crate::outbox::SubscriptionNumber,
    /// What others may know of the session; kept only where presence, joins or leaves are shown.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// The publications wanted; all without one.
    pub(crate) filter: Option<Box<Filter>>,
    pub(crate) flags: SubscriberFlags,
}

impl Subscriber {
    /// Writes a message to the client.
    pub(crate) fn push(&self, message: Bytes) {
        self.session.outbox().push_of(self.held, message);
    }
}

/// What a subscription is like.
#[derive(Clone, Copy, Default)]
pub(crate) struct SubscriberFlags {
    /// Whether a hole in the stream ends the subscription.
    pub(crate) positioned: bool,
    /// Whether the subscription would be positioned if history had answered. It ends as soon as history does, so that the
    /// client gets one that can be recovered.
    pub(crate) without_history: bool,
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

/// A channel's answer to a session that is subscribed now.
pub(crate) struct Accepted {
    subscribed: Subscribed,
    /// Resolves when others can read that the client is present.
    present: Option<oneshot::Receiver<()>>,
}

/// A publication without an offset: history gives it one.
pub(crate) fn publication(data: Bytes, info: Option<ClientInfo>) -> Publication {
    Publication { data, info, ..Publication::default() }
}

/// The label of a channel in metrics: its namespace, of which there are as many as are configured.
pub(crate) fn namespace_label(channel: &ChannelName) -> &str {
    channel.namespace().unwrap_or("none")
}

/// Waits for a time, or for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

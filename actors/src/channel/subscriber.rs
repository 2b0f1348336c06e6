//! A session as a channel writes to it.

use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::{ClientInfo, Filter};

use crate::handle::SessionHandle;
use crate::outbox;

/// Distinguishes a client's subscriptions; later ones have higher numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubscriptionNumber(pub(super) u64);

/// A session that a channel writes to.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<SessionHandle>,
    /// Set by the registry.
    pub(crate) number: SubscriptionNumber,
    /// The subscription's number in the session's outbox, which keeps messages back until the reply is written.
    pub(crate) held: outbox::SubscriptionNumber,
    /// The session as presence, joins and leaves show it; kept only where one of them is on.
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

/// The properties of a subscription that are on or off.
#[derive(Clone, Copy, Default)]
pub(crate) struct SubscriberFlags {
    /// A hole in the stream ends the subscription.
    pub(crate) positioned: bool,
    /// The subscription would be positioned if history had answered. It ends as soon as history does, so that the
    /// client gets one that can be recovered.
    pub(crate) without_history: bool,
    /// The client gets joins and leaves.
    pub(crate) join_leave: bool,
    /// The client is shown in presence.
    pub(crate) present: bool,
    /// The client's own join and leave are pushed to the others.
    pub(crate) announced: bool,
    /// The client takes publications as differences.
    pub(crate) delta: bool,
    /// The client has the publication that the next difference is to.
    pub(crate) has_base: bool,
}

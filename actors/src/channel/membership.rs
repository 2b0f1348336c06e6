//! A session's place among a channel's subscribers, given back unless the session keeps it.

use std::sync::Arc;

use mundotango_protocol::ClientId;

use super::directory::Entry;
use super::messages::Control;
use super::subscriber::SubscriptionNumber;

/// From the moment at which a channel is asked to take a session in. Whoever was refused, gave up waiting, crashed or is
/// gone drops this, and is subscribed nowhere then.
pub(crate) struct Membership {
    place: Option<Place>,
}

struct Place {
    entry: Arc<Entry>,
    client: ClientId,
    number: SubscriptionNumber,
}

impl Membership {
    pub(super) fn new(entry: Arc<Entry>, client: ClientId, number: SubscriptionNumber) -> Self {
        Self { place: Some(Place { entry, client, number }) }
    }

    /// The session has the subscription, and unsubscribes when it wants to.
    pub(crate) fn keep(mut self) {
        self.place = None;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(Place { entry, client, number }) = self.place.take() {
            // An actor that is gone has no subscribers.
            let _ = entry.mailbox.control(Control::GiveBack(client, number));
        }
    }
}

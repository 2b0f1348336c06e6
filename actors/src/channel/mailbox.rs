//! A channel's mailbox: control messages do not wait behind publications.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::messages::{ChannelMessage, Control};
use crate::recorder::Queued;

/// Publications that may wait for one channel; publishers wait for a place then.
pub(super) const CAPACITY: usize = 1024;

/// Messages for a channel's actor, as senders see them.
pub(super) struct Mailbox {
    /// Bounded by the node's sessions, each of which waits for an answer before it sends the next one.
    control: Mutex<Controls>,
    changed: Notify,
    publications: mpsc::Sender<ChannelMessage>,
}

#[derive(Default)]
struct Controls {
    waiting: VecDeque<Queued<Control>>,
    closed: bool,
}

/// The actor is gone, and the message with it.
#[derive(Debug)]
pub(super) struct Closed;

/// A message that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    Closed,
    Full,
}

impl Mailbox {
    pub(super) fn new() -> (Self, mpsc::Receiver<ChannelMessage>) {
        let (publications, receiver) = mpsc::channel(CAPACITY);
        (Self { control: Mutex::default(), changed: Notify::new(), publications }, receiver)
    }

    /// Puts a control message before all publications.
    pub(super) fn control(&self, message: Control) -> Result<(), Closed> {
        let message = Queued::new(message);
        let mut control = self.control.lock();
        if control.closed {
            return Err(Closed);
        }
        control.waiting.push_back(message);
        drop(control);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts a message behind the publications that wait, as soon as there is a place.
    pub(super) async fn send(&self, message: ChannelMessage, patience: Duration) -> Result<(), NotSent> {
        self.publications.send_timeout(message, patience).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => NotSent::Full,
            mpsc::error::SendTimeoutError::Closed(_) => NotSent::Closed,
        })
    }

    /// Puts a message behind the publications that wait, if there is a place.
    pub(super) fn try_send(&self, message: ChannelMessage) -> Result<(), NotSent> {
        self.publications.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotSent::Full,
            mpsc::error::TrySendError::Closed(_) => NotSent::Closed,
        })
    }

    pub(super) fn next_control(&self) -> Option<Queued<Control>> {
        self.control.lock().waiting.pop_front()
    }

    pub(super) fn has_control(&self) -> bool {
        !self.control.lock().waiting.is_empty()
    }

    /// Waits until there may be a control message.
    pub(super) async fn control_changed(&self) {
        self.changed.notified().await;
    }

    /// Takes no more control messages if none wait; otherwise says so.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut control = self.control.lock();
        control.closed |= control.waiting.is_empty();
        control.closed
    }

    /// Drops what waits, so that its senders learn that the actor is gone.
    pub(super) fn close(&self) {
        let dropped = {
            let mut control = self.control.lock();
            control.closed = true;
            std::mem::take(&mut control.waiting)
        };
        drop(dropped);
    }

    pub(super) fn waiting(&self) -> usize {
        let publications = self.publications.max_capacity() - self.publications.capacity();
        publications + self.control.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::messages::Delivery;

    const PATIENCE: Duration = Duration::from_millis(10);

    fn delivery() -> ChannelMessage {
        ChannelMessage::deliver(Delivery::default())
    }

    #[tokio::test]
    async fn control_messages_find_room_where_publications_do_not() {
        let (mailbox, publications) = Mailbox::new();
        for _ in 0..CAPACITY {
            mailbox.send(delivery(), PATIENCE).await.unwrap();
        }
        assert_eq!(mailbox.send(delivery(), PATIENCE).await, Err(NotSent::Full));
        assert!(mailbox.control(Control::LookAtHistory).is_ok());
        assert_eq!(mailbox.waiting(), CAPACITY + 1);
        assert!(!mailbox.close_if_empty(), "a message waits");
        assert!(mailbox.next_control().is_some());
        assert!(mailbox.close_if_empty());
        assert!(mailbox.control(Control::LookAtHistory).is_err());
        drop(publications);
        assert_eq!(mailbox.send(delivery(), PATIENCE).await, Err(NotSent::Closed));
    }
}

//! Joins and leaves on their way to the subscribers: one is written at once, those that follow it closely are written
//! together, as each would else cost a write for every subscriber.

use std::cell::OnceCell;
use std::time::Duration;

use bytes::Bytes;
use mundotango_protocol::{ChannelName, Encoding, Push, Reply};
use tokio::time::Instant;

use super::batch::encode;
use super::subscriber::{Subscriber, SubscriptionNumber};

/// The shortest time between two writes of joins and leaves.
const PAUSE: Duration = Duration::from_millis(100);
/// Most joins and leaves that wait; one more has them written before their time.
const MOST: usize = 256;

/// Joins and leaves that are to be written.
#[derive(Default)]
pub(super) struct Announcements {
    waiting: Vec<Announcement>,
    written_at: Option<Instant>,
}

struct Announcement {
    push: Push,
    /// The newest subscription at that moment: later subscribers find the client in presence.
    through: SubscriptionNumber,
}

impl Announcements {
    pub(super) fn add(&mut self, push: Push, through: SubscriptionNumber) {
        self.waiting.push(Announcement { push, through });
    }

    /// The time at which the joins and leaves are to be written.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.waiting.first().map(|_| Instant::now())?;
        Some(self.written_at.map_or(first, |at| at + PAUSE))
    }

    pub(super) fn are_due(&self) -> bool {
        self.waiting.len() >= MOST || self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Takes all joins and leaves, to be written now.
    pub(super) fn take(&mut self, channel: &ChannelName) -> Written {
        self.written_at = Some(Instant::now());
        let waiting = std::mem::take(&mut self.waiting);
        let replies = waiting.into_iter();
        Written {
            replies: replies
                .map(|announced| (announced.through, Reply::push(channel.as_str(), announced.push)))
                .collect(),
            encoded: [OnceCell::new(), OnceCell::new()],
        }
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// Joins and leaves that are written now.
pub(super) struct Written {
    replies: Vec<(SubscriptionNumber, Reply)>,
    /// All joins and leaves in one message, by encoding.
    encoded: [OnceCell<Option<Bytes>>; 2],
}

impl Written {
    /// The message for a subscriber, unless it wants no joins and leaves or came after all of them.
    pub(super) fn for_subscriber(&self, subscriber: &Subscriber) -> Option<Bytes> {
        if !subscriber.flags.join_leave {
            return None;
        }
        let encoding = subscriber.session.encoding();
        let first = self.replies.first().map(|(through, _)| *through)?;
        if subscriber.number > first {
            return join(encoding, self.replies.iter().filter(|(through, _)| subscriber.number <= *through));
        }
        let cell = match encoding {
            Encoding::Json => &self.encoded[0],
            Encoding::Protobuf => &self.encoded[1],
        };
        cell.get_or_init(|| join(encoding, self.replies.iter())).clone()
    }
}

fn join<'a>(
    encoding: Encoding,
    replies: impl Iterator<Item = &'a (SubscriptionNumber, Reply)>,
) -> Option<Bytes> {
    let encoded: Vec<_> = replies.filter_map(|(_, reply)| encode(encoding, reply)).collect();
    (!encoded.is_empty()).then(|| Bytes::from(encoded.join(encoding.separator())))
}

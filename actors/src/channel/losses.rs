//! Subscribers that lost their stream and are to be told. They subscribe again at once, so a node tells them one after the
//! other: a lost history would else bring all of its clients back in the same moment.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use mundotango_protocol::{ClientId, UnsubscribeCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::subscriber::Subscriber;

/// The time between two subscribers that are told, once the burst is used up: 4,000 a second.
const PAUSE: Duration = Duration::from_micros(250);
/// Subscribers that are told without a pause.
const BURST: u32 = 1_000;
/// Subscribers that a channel tells at once.
pub(super) const AT_ONCE: usize = 100;

/// The pace at which the node tells subscribers of all channels that they lost their stream.
#[derive(Default)]
pub(crate) struct LossPace {
    next: Mutex<Option<Instant>>,
}

impl LossPace {
    /// The time at which so many subscribers may be told.
    pub(super) fn reserve(&self, subscribers: usize) -> Instant {
        let now = Instant::now();
        let mut next = self.next.lock();
        let from = next.map_or(now, |next| next.max(now));
        *next = Some(from + PAUSE.saturating_mul(u32::try_from(subscribers).unwrap_or(u32::MAX)));
        from.checked_sub(PAUSE * BURST).map_or(now, |at| at.max(now))
    }
}

/// One channel's subscribers that are to be told.
#[derive(Default)]
pub(super) struct Losses {
    waiting: HashMap<ClientId, (Subscriber, UnsubscribeCode)>,
    order: VecDeque<ClientId>,
    due: Option<Instant>,
}

impl Losses {
    pub(super) fn add(&mut self, subscriber: Subscriber, code: UnsubscribeCode) {
        let client = subscriber.session.client();
        self.order.push_back(client);
        self.waiting.insert(client, (subscriber, code));
    }

    /// A client that leaves, or subscribes again, before it was told.
    pub(super) fn remove(&mut self, client: ClientId) -> Option<Subscriber> {
        self.waiting.remove(&client).map(|(subscriber, _)| subscriber)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The time at which the next subscribers are told.
    pub(super) fn due(&mut self, pace: &LossPace) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        let count = self.waiting.len().min(AT_ONCE);
        Some(*self.due.get_or_insert_with(|| pace.reserve(count)))
    }

    pub(super) fn take(&mut self) -> Vec<(Subscriber, UnsubscribeCode)> {
        self.due = None;
        let mut taken = Vec::new();
        while taken.len() < AT_ONCE
            && let Some(client) = self.order.pop_front()
        {
            taken.extend(self.waiting.remove(&client));
        }
        taken
    }
}

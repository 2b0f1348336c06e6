//! Publications that are in a hot history while the store failed to keep them. They are kept later, so that the long
//! history has no hole.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mundotango_protocol::Publication;
use parking_lot::Mutex;

use crate::history::HistoryStore;

/// Publications that wait for the store; more are a hole, at which recovery ends.
const MOST: usize = 10_000;
/// Pause before each try.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct UnkeptPublication {
    pub(super) channel: String,
    pub(super) epoch: String,
    pub(super) publication: Publication,
    pub(super) ttl: Duration,
}

pub(super) struct Unkept {
    store: Arc<dyn HistoryStore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<UnkeptPublication>,
    /// Whether a task tries to keep them.
    is_tried: bool,
}

impl Unkept {
    pub(super) fn new(store: Arc<dyn HistoryStore>) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// Keeps a publication once the store takes it.
    pub(super) fn keep_later(self: &Arc<Self>, unkept: UnkeptPublication) {
        let mut state = self.state.lock();
        if state.waiting.len() >= MOST {
            tracing::error!(
                channel = unkept.channel,
                offset = unkept.publication.offset,
                "not kept: too many publications wait for the store"
            );
            return;
        }
        state.waiting.push_back(unkept);
        if !std::mem::replace(&mut state.is_tried, true) {
            drop(state);
            tokio::spawn(try_until_kept(Arc::downgrade(self)));
        }
    }

    /// Leaves out what was removed from a history meanwhile.
    pub(super) fn forget(&self, channel: &str, upto: u64) {
        self.state
            .lock()
            .waiting
            .retain(|unkept| unkept.channel != channel || unkept.publication.offset > upto);
    }

    fn next(&self) -> Option<UnkeptPublication> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        state.is_tried = next.is_some();
        next
    }

    /// Keeps all that wait, until the store fails; whether some are left.
    async fn try_all(&self) -> bool {
        while let Some(unkept) = self.next() {
            let UnkeptPublication { channel, epoch, publication, ttl } = &unkept;
            if let Err(error) = self.store.keep(channel, epoch, publication.clone(), *ttl).await {
                tracing::debug!(%error, channel, "not kept yet");
                self.state.lock().waiting.push_front(unkept);
                return true;
            }
        }
        false
    }
}

/// Ends when nothing waits any more, or nobody has the history.
async fn try_until_kept(unkept: Weak<Unkept>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(unkept) = unkept.upgrade() else { return };
        if !unkept.try_all().await {
            return;
        }
    }
}

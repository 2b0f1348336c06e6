//! The channels that have an actor on this node.

use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mundotango_protocol::ChannelName;
use parking_lot::Mutex;

use super::mailbox::Mailbox;
use crate::vitals::Vitals;

/// Locks that channels share, so that unrelated ones seldom meet.
const SHARDS: usize = 32;

/// One channel's actor as others see it.
pub(crate) struct Entry {
    pub(super) mailbox: Mailbox,
    pub(super) vitals: Vitals,
    /// How many sessions are subscribed, for those who only count.
    pub(super) subscribers: AtomicUsize,
}

type Shard = Mutex<HashMap<ChannelName, Arc<Entry>>>;

/// All channels' actors by name.
pub(super) struct Directory {
    shards: Vec<Shard>,
    hasher: RandomState,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    fn shard(&self, channel: &ChannelName) -> &Shard {
        let hash = self.hasher.hash_one(channel);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    pub(super) fn find(&self, channel: &ChannelName) -> Option<Arc<Entry>> {
        self.shard(channel).lock().get(channel).cloned()
    }

    /// Finds an actor, or starts one where there is none. Nobody else starts one at the same time.
    pub(super) fn find_or_start(
        &self,
        channel: &ChannelName,
        start: impl FnOnce() -> Arc<Entry>,
    ) -> Arc<Entry> {
        let mut shard = self.shard(channel).lock();
        let entry = shard.entry(channel.clone()).or_insert_with(|| {
            mundotango_ops::metrics().realtime_channels_active.inc();
            start()
        });
        Arc::clone(entry)
    }

    /// Called by an actor without subscribers: forgets it, unless somebody has just written to it.
    pub(super) fn remove_idle(&self, channel: &ChannelName, entry: &Arc<Entry>) -> bool {
        let mut shard = self.shard(channel).lock();
        let idle = shard.get(channel).is_some_and(|known| Arc::ptr_eq(known, entry))
            && entry.mailbox.close_if_empty();
        if idle {
            shard.remove(channel);
            mundotango_ops::metrics().realtime_channels_active.dec();
        }
        idle
    }

    /// Forgets an actor that ended, however that came, so that the channel can have another one.
    pub(super) fn remove_ended(&self, channel: &ChannelName, entry: &Arc<Entry>) {
        entry.mailbox.close();
        let mut shard = self.shard(channel).lock();
        if shard.get(channel).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            shard.remove(channel);
            mundotango_ops::metrics().realtime_channels_active.dec();
        }
    }

    /// Visits all actors.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&ChannelName, &Arc<Entry>)) {
        for shard in &self.shards {
            for (name, entry) in shard.lock().iter() {
                visit(name, entry);
            }
        }
    }

    /// How many actors there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// The first `most` actors by name.
    pub(super) fn first(&self, most: usize) -> Vec<(ChannelName, Arc<Entry>)> {
        // Only the names that are returned are copied: there may be many channels.
        let mut first: BinaryHeap<ChannelName> = BinaryHeap::with_capacity(most.saturating_add(1).min(1024));
        self.for_each(|name, _| {
            if first.len() < most || first.peek().is_some_and(|last| name < last) {
                first.push(name.clone());
            }
            if first.len() > most {
                first.pop();
            }
        });
        let names = first.into_sorted_vec().into_iter();
        names.filter_map(|name| Some((name.clone(), self.find(&name)?))).collect()
    }
}

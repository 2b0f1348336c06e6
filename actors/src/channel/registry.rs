//! Which channels have an actor on this node, and how to reach it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use mundotango_protocol::{ChannelName, ClientId, ErrorCode, Fanout};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::actor::ChannelActor;
use super::{ChannelMessage, Delivery, Subscribe, Subscribed, Subscriber};
use crate::engine::Parts;
use crate::options::{NamespaceOptions, RecoveryMode};
use crate::vitals::{State, TreeNode, Vitals};

/// Messages that may wait for one channel; publishers wait for a place then.
const MAILBOX_CAPACITY: usize = 1024;
/// How long a sender waits for a place in a channel's mailbox, and for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Locks that channels share, so that unrelated ones seldom meet.
const SHARDS: usize = 32;

/// The node's channels.
pub struct Channels {
    shards: Vec<Mutex<HashMap<ChannelName, Arc<Entry>>>>,
    hasher: RandomState,
    parts: OnceLock<Weak<Parts>>,
}

/// One channel's actor as others see it.
pub(crate) struct Entry {
    mailbox: mpsc::Sender<ChannelMessage>,
    pub(crate) vitals: Vitals,
    /// How many sessions are subscribed, for those who only count.
    pub(crate) subscribers: AtomicUsize,
}

impl Entry {
    fn waiting(&self) -> usize {
        self.mailbox.max_capacity() - self.mailbox.capacity()
    }
}

impl Channels {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            parts: OnceLock::new(),
        }
    }

    /// Ties the knot: actors need the parts, which hold this.
    pub(crate) fn set_parts(&self, parts: &Arc<Parts>) {
        let _ = self.parts.set(Arc::downgrade(parts));
    }

    fn shard(&self, channel: &ChannelName) -> &Mutex<HashMap<ChannelName, Arc<Entry>>> {
        let hash = self.hasher.hash_one(channel);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn find(&self, channel: &ChannelName) -> Option<Arc<Entry>> {
        self.shard(channel).lock().get(channel).cloned()
    }

    fn find_or_start(&self, channel: &ChannelName, options: &NamespaceOptions) -> Option<Arc<Entry>> {
        let parts = self.parts.get()?.upgrade()?;
        let mut shard = self.shard(channel).lock();
        let entry = shard.entry(channel.clone()).or_insert_with(|| {
            let (mailbox, receiver) = mpsc::channel(MAILBOX_CAPACITY);
            let entry =
                Arc::new(Entry { mailbox, vitals: Vitals::default(), subscribers: AtomicUsize::new(0) });
            let actor = ChannelActor::new(channel.clone(), options.clone(), parts);
            tokio::spawn(actor.run(receiver, Arc::clone(&entry)));
            mundotango_ops::metrics().realtime_channels_active.inc();
            entry
        });
        Some(Arc::clone(entry))
    }

    /// Called by an actor without subscribers: forgets it, unless somebody has just written to it.
    pub(crate) fn remove_idle(
        &self,
        channel: &ChannelName,
        entry: &Arc<Entry>,
        mailbox: &mpsc::Receiver<ChannelMessage>,
    ) -> bool {
        let mut shard = self.shard(channel).lock();
        let idle = mailbox.is_empty() && shard.get(channel).is_some_and(|known| Arc::ptr_eq(known, entry));
        if idle {
            shard.remove(channel);
            mundotango_ops::metrics().realtime_channels_active.dec();
        }
        idle
    }

    /// Subscribes a session, starting the channel's actor where there is none.
    pub(crate) async fn subscribe(
        &self,
        channel: &ChannelName,
        options: &NamespaceOptions,
        mut subscriber: impl FnMut() -> Subscriber,
        recover: Option<&mundotango_protocol::StreamPosition>,
        mode: RecoveryMode,
    ) -> Result<Subscribed, ErrorCode> {
        // An actor may end between being found and being asked: ask the next one.
        for _ in 0..3 {
            let entry = self.find_or_start(channel, options).ok_or(ErrorCode::Internal)?;
            let (answer, answered) = oneshot::channel();
            let subscribe = Subscribe { subscriber: subscriber(), recover: recover.cloned(), mode, answer };
            match entry.mailbox.send_timeout(ChannelMessage::Subscribe(Box::new(subscribe)), PATIENCE).await {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Closed(_)) => continue,
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(ErrorCode::TooManyRequests),
            }
            match tokio::time::timeout(PATIENCE, answered).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => {}
                Err(_) => return Err(ErrorCode::Internal),
            }
        }
        Err(ErrorCode::Internal)
    }

    /// Takes a session out of a channel. After this nothing more is written to it from there.
    pub(crate) async fn unsubscribe(&self, channel: &ChannelName, client: ClientId) {
        let Some(entry) = self.find(channel) else { return };
        let (done, gone) = oneshot::channel();
        if entry.mailbox.send(ChannelMessage::Unsubscribe(client, done)).await.is_ok() {
            // An actor that ended has no subscribers either.
            let _ = gone.await;
        }
    }

    /// Hands a publication to the channel's actor, if it has one here.
    pub(crate) async fn deliver(&self, channel: &ChannelName, delivery: Delivery) -> Result<(), ErrorCode> {
        let Some(entry) = self.find(channel) else { return Ok(()) };
        let sent = entry.mailbox.send_timeout(ChannelMessage::Deliver(Arc::new(delivery)), PATIENCE).await;
        match sent {
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(ErrorCode::TooManyRequests),
            Ok(()) | Err(mpsc::error::SendTimeoutError::Closed(_)) => Ok(()),
        }
    }

    /// Hands a channel's actor what another node told; it is lost if the mailbox is full, as on the bus.
    pub(crate) fn tell(&self, channel: &ChannelName, fanout: Fanout) {
        if let Some(entry) = self.find(channel) {
            let _ = entry.mailbox.try_send(ChannelMessage::Told(Box::new(fanout)));
        }
    }

    /// The channels with subscribers whose names fit, and how many subscribers each has.
    pub fn counts(&self, fits: impl Fn(&str) -> bool) -> Vec<(ChannelName, usize)> {
        let mut counts = Vec::new();
        for shard in &self.shards {
            counts.extend(
                shard
                    .lock()
                    .iter()
                    .filter(|(name, _)| fits(name.as_str()))
                    .map(|(name, entry)| (name.clone(), entry.subscribers.load(Ordering::Relaxed))),
            );
        }
        counts.retain(|(_, subscribers)| *subscribers > 0);
        counts
    }

    /// How many channels have subscribers, and how many subscriptions that is.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let (mut channels, mut subscriptions) = (0, 0);
        for shard in &self.shards {
            for entry in shard.lock().values() {
                let subscribers = entry.subscribers.load(Ordering::Relaxed);
                channels += usize::from(subscribers > 0);
                subscriptions += subscribers;
            }
        }
        (channels, subscriptions)
    }

    /// Makes every channel look at its stream; those with a full mailbox are looking already.
    pub(crate) fn check_all(&self) {
        self.say_to_all(|| ChannelMessage::Check);
    }

    /// Makes every channel look at its stream and say again who is present.
    pub(crate) fn return_all(&self) {
        self.say_to_all(|| ChannelMessage::Return);
    }

    fn say_to_all(&self, message: impl Fn() -> ChannelMessage) {
        for shard in &self.shards {
            for entry in shard.lock().values() {
                let _ = entry.mailbox.try_send(message());
            }
        }
    }

    /// Makes a channel's actor panic. `false` if there is no such actor.
    #[cfg(feature = "test-hooks")]
    pub async fn panic(&self, channel: &ChannelName) -> bool {
        match self.find(channel) {
            Some(entry) => entry.mailbox.send(ChannelMessage::Panic).await.is_ok(),
            None => false,
        }
    }

    /// How many channels have an actor here.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no channel has an actor here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages that wait for all channels.
    pub(crate) fn waiting(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().values().map(|entry| entry.waiting()).sum::<usize>())
            .sum()
    }

    /// The first `most` channels by name, for the tree.
    pub(crate) fn tree(&self, most: usize) -> Vec<TreeNode> {
        let mut nodes: Vec<TreeNode> = Vec::new();
        for shard in &self.shards {
            nodes.extend(shard.lock().iter().map(|(name, entry)| {
                entry.vitals.node(name.as_str(), "channel", State::Running, entry.waiting())
            }));
        }
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        nodes.truncate(most);
        nodes
    }
}

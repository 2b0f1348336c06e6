//! Which channels have an actor on this node, and how to reach it.

use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mundotango_protocol::{ChannelName, ClientId, ClientInfo, ErrorCode, Fanout};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::actor::ChannelActor;
use super::mailbox::{Mailbox, NotSent};
use super::{
    ChannelMessage, Context, Control, Delivery, HOT_STATE_TIMEOUT, Membership, Recovery, Subscribe,
    Subscribed, Subscriber, SubscriptionNumber,
};
use crate::options::NamespaceOptions;
use crate::supervised::{BusyVisitor, Intensity, Supervised};
use crate::tasks::{Pace, Tasks};
use crate::vitals::{State, TreeNode, Vitals};

/// How long a sender waits for a place in a channel's mailbox, and for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Locks that channels share, so that unrelated ones seldom meet.
const SHARDS: usize = 32;

/// Channels that may crash within the window before the keeper restarts.
const MOST_CRASHED: usize = 32;

/// The node's channels.
pub struct Channels {
    shards: Vec<Mutex<HashMap<ChannelName, Arc<Entry>>>>,
    hasher: RandomState,
    numbers: AtomicU64,
    context: Arc<Context>,
    tasks: Tasks,
    this: Weak<Self>,
}

/// One channel's actor as others see it.
pub(crate) struct Entry {
    pub(super) mailbox: Mailbox,
    pub(super) vitals: Vitals,
    /// How many sessions are subscribed, for those who only count.
    pub(super) subscribers: AtomicUsize,
}

impl Channels {
    pub(crate) fn new(context: Context) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            numbers: AtomicU64::new(1),
            tasks: Tasks::new("channels", Arc::clone(&context.crashes)),
            context: Arc::new(context),
            this: Weak::clone(this),
        })
    }

    pub(super) fn this(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Starts the tasks that look after all channels: they write presence, and keep histories whole.
    pub(crate) fn start(self: &Arc<Self>) {
        for shard in 0..self.context.presence.shards() {
            let name = format!("presence {shard}");
            self.keep_running(&name, move |channels, vitals| {
                async move {
                    let context = &channels.context;
                    context.presence.run(shard, &context.hot, &vitals).await;
                }
                .boxed()
            });
        }
        self.keep_running("histories", |channels, vitals| {
            async move { channels.keep_histories_whole(&vitals).await }.boxed()
        });
        if self.context.bus.is_remote() {
            self.keep_running("marks", |channels, vitals| {
                async move { channels.hear_marks(&vitals).await }.boxed()
            });
        }
    }

    fn keep_running(
        self: &Arc<Self>,
        name: &str,
        run: impl Fn(Arc<Self>, Arc<Vitals>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let channels = Arc::clone(self);
        self.tasks.keep_running(name, Pace::Timed, move |vitals| run(Arc::clone(&channels), vitals));
    }

    /// Ends the tasks that look after all channels.
    pub(crate) fn stop(&self) {
        self.tasks.stop();
    }

    fn shard(&self, channel: &ChannelName) -> &Mutex<HashMap<ChannelName, Arc<Entry>>> {
        let hash = self.hasher.hash_one(channel);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn find(&self, channel: &ChannelName) -> Option<Arc<Entry>> {
        self.shard(channel).lock().get(channel).cloned()
    }

    fn find_or_start(&self, channel: &ChannelName, options: &Arc<NamespaceOptions>) -> Option<Arc<Entry>> {
        let this = self.this()?;
        let mut shard = self.shard(channel).lock();
        let entry = shard.entry(channel.clone()).or_insert_with(|| {
            let (mailbox, publications) = Mailbox::new();
            let entry =
                Arc::new(Entry { mailbox, vitals: Vitals::default(), subscribers: AtomicUsize::new(0) });
            let actor = ChannelActor::new(
                channel.clone(),
                Arc::clone(options),
                this,
                Arc::clone(&entry),
                publications,
            );
            tokio::spawn(actor.run());
            mundotango_ops::metrics().realtime_channels_active.inc();
            entry
        });
        Some(Arc::clone(entry))
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

    /// Subscribes a session, starting the channel's actor where there is none. The session is subscribed nowhere unless
    /// it keeps the membership.
    pub(crate) async fn subscribe(
        &self,
        channel: &ChannelName,
        options: &Arc<NamespaceOptions>,
        subscriber: &Subscriber,
        recovery: Option<Recovery>,
    ) -> Result<(Subscribed, Membership), ErrorCode> {
        // An actor may end between being found and being asked: ask the next one.
        for _ in 0..3 {
            let entry = self.find_or_start(channel, options).ok_or(ErrorCode::Internal)?;
            let number = SubscriptionNumber(self.numbers.fetch_add(1, Ordering::Relaxed));
            let membership = Membership::new(Arc::clone(&entry), subscriber.session.client(), number);
            let (answer, answered) = oneshot::channel();
            let subscriber = Subscriber { number, ..subscriber.clone() };
            let subscribe = Subscribe { subscriber, recovery: recovery.clone(), answer };
            if entry.mailbox.control(Control::Subscribe(Box::new(subscribe))).is_err() {
                continue;
            }
            let accepted = match tokio::time::timeout(PATIENCE, answered).await {
                Ok(Ok(outcome)) => outcome?,
                // The actor crashed, or ended.
                Ok(Err(_)) => continue,
                Err(_) => return Err(ErrorCode::Internal),
            };
            if let Some(present) = accepted.present {
                // Whoever is told that it is subscribed finds itself among those present, if hot state answers.
                let _ = tokio::time::timeout(HOT_STATE_TIMEOUT, present).await;
            }
            return Ok((accepted.subscribed, membership));
        }
        Err(ErrorCode::Internal)
    }

    /// Takes a session out of a channel. After this nothing more is written to it from there.
    pub(crate) async fn unsubscribe(&self, channel: &ChannelName, client: ClientId) {
        let Some(entry) = self.find(channel) else { return };
        let (done, gone) = oneshot::channel();
        if entry.mailbox.control(Control::Unsubscribe(client, done)).is_ok() {
            // An actor that ended has no subscribers either.
            let _ = gone.await;
        }
    }

    /// Changes what others may know of a subscriber. Returns when they can read so, or hot state did not take it in time.
    pub(crate) async fn update_info(&self, channel: &ChannelName, client: ClientId, info: ClientInfo) {
        let Some(entry) = self.find(channel) else { return };
        let (written, is_written) = oneshot::channel();
        if entry.mailbox.control(Control::UpdateInfo(client, Arc::new(info), written)).is_ok() {
            let _ = tokio::time::timeout(HOT_STATE_TIMEOUT, is_written).await;
        }
    }

    /// Hands a publication to the channel's actor, if it has one here.
    pub(crate) async fn deliver(&self, channel: &ChannelName, delivery: Delivery) -> Result<(), ErrorCode> {
        let Some(entry) = self.find(channel) else { return Ok(()) };
        match entry.mailbox.send(ChannelMessage::Deliver(Arc::new(delivery)), PATIENCE).await {
            Err(NotSent::Full) => Err(ErrorCode::TooManyRequests),
            Ok(()) | Err(NotSent::Closed) => Ok(()),
        }
    }

    /// Hands a channel's actor what another node told; it is lost if the mailbox is full, as on the bus.
    pub(crate) fn tell(&self, channel: &ChannelName, fanout: Fanout) {
        if let Some(entry) = self.find(channel) {
            let _ = entry.mailbox.try_send(ChannelMessage::Told(Box::new(fanout)));
        }
    }

    pub(super) fn control(&self, channel: &ChannelName, message: Control) {
        if let Some(entry) = self.find(channel) {
            // An actor that ended has nothing to look after.
            let _ = entry.mailbox.control(message);
        }
    }

    /// Other nodes may have thought that this one is gone, and what they sent may not have come: every channel looks at its
    /// history, and presence is written again.
    pub(crate) fn was_away(&self) {
        for shard in &self.shards {
            for entry in shard.lock().values() {
                let _ = entry.mailbox.control(Control::CheckSoon);
            }
        }
        self.context.presence.refresh_all();
    }

    /// Makes a channel's actor panic. `false` if there is no such actor.
    #[cfg(feature = "test-hooks")]
    #[allow(clippy::unused_async, reason = "tests call it as they call the other ways to fail")]
    pub async fn panic(&self, channel: &ChannelName) -> bool {
        self.find(channel).is_some_and(|entry| entry.mailbox.control(Control::Panic).is_ok())
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
            .map(|shard| shard.lock().values().map(|entry| entry.mailbox.waiting()).sum::<usize>())
            .sum()
    }

    /// The first `most` channels by name, for the tree.
    fn tree(&self, most: usize) -> Vec<TreeNode> {
        // Nodes are made of those alone that are shown: there may be many channels.
        let mut first: BinaryHeap<ChannelName> = BinaryHeap::with_capacity(most.saturating_add(1).min(1024));
        for shard in &self.shards {
            for name in shard.lock().keys() {
                if first.len() < most || first.peek().is_some_and(|last| name < last) {
                    first.push(name.clone());
                }
                if first.len() > most {
                    first.pop();
                }
            }
        }
        let first = first.into_sorted_vec().into_iter();
        let entries = first.filter_map(|name| Some((self.find(&name)?, name)));
        entries
            .map(|(entry, name)| {
                entry.vitals.node(name.as_str(), "channel", State::Running, entry.mailbox.waiting())
            })
            .collect()
    }
}

impl Supervised for Channels {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn intensity(&self) -> Intensity {
        Intensity::ClientDriven(MOST_CRASHED)
    }

    fn children(&self, most: usize) -> (usize, Vec<TreeNode>) {
        let mut children = self.tasks.tree();
        let total = children.len() + self.len();
        children.extend(self.tree(most));
        (total, children)
    }

    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        self.tasks.visit_busy(visit);
        for shard in &self.shards {
            for (name, entry) in shard.lock().iter() {
                let waiting = entry.mailbox.waiting();
                if waiting > 0 {
                    visit(name, &entry.vitals, waiting);
                }
            }
        }
    }
}

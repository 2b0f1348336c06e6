//! The channels of a node, as sessions, publishers and other nodes reach them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mundotango_protocol::{ChannelName, ClientId, ClientInfo, ErrorCode, Fanout};
use tokio::sync::oneshot;

use super::actor::ChannelActor;
use super::context::Context;
use super::directory::{Directory, Entry};
use super::hot::HOT_STATE_TIMEOUT;
use super::mailbox::{CAPACITY, Mailbox, NotSent};
use super::membership::Membership;
use super::messages::{ChannelMessage, Control, Delivery, Recovery, Subscribe, Subscribed};
use super::subscriber::{Subscriber, SubscriptionNumber};
use crate::options::NamespaceOptions;
use crate::supervised::{BusyVisitor, Intensity, Seen, SeenVisitor, Supervised};
use crate::tasks::{Pace, Tasks};
use crate::vitals::{State, TreeNode, Vitals};

/// How long a sender waits for a place in a channel's mailbox, and for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Channels that may crash within the window before the keeper restarts.
const MOST_CRASHED: usize = 32;

/// The kind of a channel's actor in the tree.
const KIND: &str = "channel";

/// The node's channels.
pub struct Channels {
    directory: Arc<Directory>,
    numbers: AtomicU64,
    context: Arc<Context>,
    tasks: Tasks,
    this: Weak<Self>,
}

impl Channels {
    pub(crate) fn new(context: Context) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            directory: Arc::new(Directory::new()),
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

    fn find(&self, channel: &ChannelName) -> Option<Arc<Entry>> {
        self.directory.find(channel)
    }

    fn find_or_start(&self, channel: &ChannelName, options: &Arc<NamespaceOptions>) -> Arc<Entry> {
        self.directory.find_or_start(channel, || {
            let (mailbox, publications) = Mailbox::new();
            let entry =
                Arc::new(Entry { mailbox, vitals: Vitals::default(), subscribers: AtomicUsize::new(0) });
            let actor = ChannelActor::new(
                channel.clone(),
                Arc::clone(options),
                Arc::clone(&self.context),
                Arc::clone(&self.directory),
                Arc::clone(&entry),
                publications,
            );
            tokio::spawn(actor.run());
            entry
        })
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
            let entry = self.find_or_start(channel, options);
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
        match entry.mailbox.send(ChannelMessage::deliver(delivery), PATIENCE).await {
            Err(NotSent::Full) => Err(ErrorCode::TooManyRequests),
            Ok(()) | Err(NotSent::Closed) => Ok(()),
        }
    }

    /// Hands a channel's actor a message of another node; it is lost if the mailbox is full, as on the bus.
    pub(crate) fn tell(&self, channel: &ChannelName, fanout: Fanout) {
        if let Some(entry) = self.find(channel) {
            let _ = entry.mailbox.try_send(ChannelMessage::from_node(fanout));
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
        self.directory.for_each(|_, entry| {
            // An actor that ended has no subscriber who could miss anything.
            let _ = entry.mailbox.control(Control::CheckSoon);
        });
        self.context.presence.refresh_all();
    }

    /// Makes a channel's actor panic. `false` if there is no such actor.
    #[cfg(feature = "test-hooks")]
    #[allow(clippy::unused_async, reason = "tests call it as they call the other ways to fail")]
    pub async fn panic(&self, channel: &ChannelName) -> bool {
        self.find(channel).is_some_and(|entry| entry.mailbox.control(Control::Panic).is_ok())
    }

    /// Keeps a channel's actor from its other messages for a time. `false` if there is no such actor.
    #[cfg(feature = "test-hooks")]
    pub fn stall(&self, channel: &ChannelName, time: Duration) -> bool {
        self.find(channel).is_some_and(|entry| entry.mailbox.control(Control::Stall(time)).is_ok())
    }

    /// The channels with subscribers whose names fit, and how many subscribers each has.
    pub fn counts(&self, fits: impl Fn(&str) -> bool) -> Vec<(ChannelName, usize)> {
        let mut counts = Vec::new();
        self.directory.for_each(|name, entry| {
            let subscribers = entry.subscribers.load(Ordering::Relaxed);
            if subscribers > 0 && fits(name.as_str()) {
                counts.push((name.clone(), subscribers));
            }
        });
        counts
    }

    /// Visits all channels with the number of their subscribers.
    pub(crate) fn visit_sizes(&self, mut visit: impl FnMut(&ChannelName, usize)) {
        self.directory.for_each(|name, entry| visit(name, entry.subscribers.load(Ordering::Relaxed)));
    }

    /// How many channels have subscribers, and how many subscriptions that is.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let (mut channels, mut subscriptions) = (0, 0);
        self.directory.for_each(|_, entry| {
            let subscribers = entry.subscribers.load(Ordering::Relaxed);
            channels += usize::from(subscribers > 0);
            subscriptions += subscribers;
        });
        (channels, subscriptions)
    }

    /// How many channels have an actor here.
    pub fn len(&self) -> usize {
        self.directory.len()
    }

    /// True if no channel has an actor here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages that wait for all channels.
    pub(crate) fn waiting(&self) -> usize {
        let mut waiting = 0;
        self.directory.for_each(|_, entry| waiting += entry.mailbox.waiting());
        waiting
    }

    /// The first `most` channels by name, for the tree.
    fn tree(&self, most: usize) -> Vec<TreeNode> {
        let first = self.directory.first(most).into_iter();
        first
            .map(|(name, entry)| {
                entry.vitals.node(name.as_str(), KIND, State::Running, entry.mailbox.waiting())
            })
            .collect()
    }
}

fn seen<'a>(name: &'a ChannelName, entry: &'a Entry) -> Seen<'a> {
    let (vitals, waiting) = (&entry.vitals, entry.mailbox.waiting());
    Seen { kind: KIND, name, state: State::Running, vitals, waiting, bound: Some(CAPACITY) }
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

    fn visit_all(&self, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_all(visit);
        self.directory.for_each(|name, entry| visit(&seen(name, entry)));
    }

    fn visit_one(&self, kind: &str, name: &str, visit: &mut SeenVisitor<'_>) {
        self.tasks.visit_one(kind, name, visit);
        if kind == KIND
            && let Ok(name) = ChannelName::parse(name)
            && let Some(entry) = self.find(&name)
        {
            visit(&seen(&name, &entry));
        }
    }

    fn visit_busy(&self, visit: &mut BusyVisitor<'_>) {
        self.tasks.visit_busy(visit);
        self.directory.for_each(|name, entry| {
            let waiting = entry.mailbox.waiting();
            if waiting > 0 {
                visit(name, &entry.vitals, waiting);
            }
        });
    }
}

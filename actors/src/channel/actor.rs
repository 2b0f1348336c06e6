//! A channel's actor: its subscribers, and the place in the stream up to which they have been written to.
//!
//! Being sequential, it gives each subscriber history and then live publications without gap or twin: whatever the
//! order in which publications arrive, a hole is filled from history before anything later is delivered.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_ops::traces::{Kind, Span, TraceContext};
use mundotango_protocol::{ChannelName, ClientId, Fanout, Push, StreamPosition, UnsubscribeCode};
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::announcements::Announcements;
use super::batch::{Batch, Written};
use super::context::Context;
use super::directory::{Directory, Entry};
use super::losses::Losses;
use super::messages::{ChannelMessage, Control, Delivery, subject_of};
use super::reorder::ReorderBuffer;
use super::subscriber::{Subscriber, SubscriptionNumber};
use super::turn::Turn;
use crate::bus::{BusMessage, Listening};
use crate::crashes::{Backoff, Crashed, panic_text};
use crate::options::NamespaceOptions;
use crate::recorder::{Handling, MessageKind};

/// Messages that are taken from the mailbox together; the publications among them share writes.
const BATCH: usize = 64;
/// Control messages that are handled before publications have their turn.
const CONTROLS_AT_ONCE: usize = 256;
/// How long a crashed actor stays without subscribers, so that the tree tells of the crash.
const CRASH_LINGER: Duration = Duration::from_mins(1);
/// How often a history is looked at where the bus may have lost the last message. A quarter more or less, so that channels
/// do not look all at once.
const CHECK: Duration = Duration::from_secs(25);
/// How soon a channel looks at its history again that could not be read.
const CHECK_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The longest pause between two looks at a history that cannot be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Within this time a channel looks at its history after the node was away.
const CHECK_SOON: Duration = Duration::from_secs(2);
/// How long the bus may take to confirm that it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits for a time, or for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn next_of_nodes(listening: &mut Option<Box<dyn Listening>>) -> Option<BusMessage> {
    match listening {
        Some(listening) => listening.next().await,
        None => std::future::pending().await,
    }
}

fn read_fanout(message: &BusMessage) -> Option<ChannelMessage> {
    let fanout = Fanout::from_bytes(&message.payload)?;
    Some(ChannelMessage::from_bus(fanout, message.trace))
}

pub(super) struct ChannelActor {
    pub(super) name: ChannelName,
    pub(super) options: Arc<NamespaceOptions>,
    pub(super) context: Arc<Context>,
    directory: Arc<Directory>,
    pub(super) entry: Arc<Entry>,
    pub(super) publications: mpsc::Receiver<ChannelMessage>,
    /// Messages that were taken from the mailbox and have not had their turn.
    pub(super) postponed: VecDeque<ChannelMessage>,
    pub(super) subscribers: HashMap<ClientId, Subscriber>,
    /// The number of the newest subscription.
    pub(super) newest: SubscriptionNumber,
    /// Up to where subscribers have been written to; `None` until the history was read.
    pub(super) position: Option<StreamPosition>,
    /// Publications that are in their order and wait to be written together.
    pub(super) pending: Vec<Delivery>,
    /// The last publication's payload, where the next may be written as the difference to it.
    base: Option<Bytes>,
    pub(super) announcements: Announcements,
    pub(super) losses: Losses,
    /// True if subscribers came while history could not be read: they are told to subscribe again.
    pub(super) some_without_history: bool,
    /// Reads of the history that failed one after the other.
    pub(super) failed_reads: u32,
    /// When the history is looked at next; `None` where nothing can be lost.
    next_check: Option<Instant>,
    /// The channel's messages from other nodes; `None` while the bus does not take the subscription.
    listening: Option<Box<dyn Listening>>,
    pub(super) reorder_buffer: ReorderBuffer,
    crashed_at: Option<Instant>,
}

/// Lets the channel have another actor, however this one ended.
struct Ended {
    name: ChannelName,
    directory: Arc<Directory>,
    entry: Arc<Entry>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.directory.remove_ended(&self.name, &self.entry);
    }
}

impl ChannelActor {
    pub(super) fn new(
        name: ChannelName,
        options: Arc<NamespaceOptions>,
        context: Arc<Context>,
        directory: Arc<Directory>,
        entry: Arc<Entry>,
        publications: mpsc::Receiver<ChannelMessage>,
    ) -> Self {
        Self {
            name,
            options,
            context,
            directory,
            entry,
            publications,
            postponed: VecDeque::new(),
            subscribers: HashMap::new(),
            newest: SubscriptionNumber::default(),
            position: None,
            pending: Vec::new(),
            base: None,
            announcements: Announcements::default(),
            losses: Losses::default(),
            some_without_history: false,
            failed_reads: 0,
            next_check: None,
            listening: None,
            reorder_buffer: ReorderBuffer::default(),
            crashed_at: None,
        }
    }

    /// Runs until nobody is subscribed. A panic costs the messages that were taken with the one that caused it: the
    /// subscribers are told to subscribe again, by which they recover, and the actor goes on after a pause.
    pub(super) async fn run(mut self) {
        let _ended = Ended {
            name: self.name.clone(),
            directory: Arc::clone(&self.directory),
            entry: Arc::clone(&self.entry),
        };
        let mut backoff = Backoff::default();
        while let Err(panic) = AssertUnwindSafe(self.work()).catch_unwind().await {
            let panic = panic_text(&*panic);
            let name = self.name.as_str();
            let trail = self.entry.vitals.trail();
            let crashed =
                Crashed { label: "channel", culprit: name, kind: "channel", name, reason: panic, trail };
            let messages = self.context.crashes.report("channels", &crashed);
            tracing::error!(
                channel = name,
                panic,
                messages,
                "channel crashed; its subscribers are told to subscribe again"
            );
            self.pending.clear();
            self.reorder_buffer.clear();
            self.announcements.clear();
            self.postponed.clear();
            self.position = None;
            self.base = None;
            self.lose_subscribers(|_| true, UnsubscribeCode::InsufficientState);
            self.crashed_at = Some(Instant::now());
            tokio::time::sleep(backoff.after_crash()).await;
            self.entry.vitals.restarted();
        }
    }

    async fn work(&mut self) {
        self.listen().await;
        self.schedule_check();
        let entry = Arc::clone(&self.entry);
        let mut messages = Vec::new();
        loop {
            let controls = self.receive(&mut messages).await;
            let handled = controls + messages.len();
            for message in messages.drain(..) {
                if !message.is_publication() {
                    // Joins and leaves keep their place among the publications.
                    self.flush().await;
                }
                let (kind, bytes, stamp) = message.recorded();
                let _handling = Handling::begin_queued(entry.vitals.trail(), kind, bytes, stamp);
                self.handle(message).await;
            }
            self.flush().await;
            self.do_what_is_due().await;
            self.entry.vitals.handled_many(handled as u64);
            if messages.capacity() > 4 && self.entry.mailbox.waiting() == 0 {
                // A burst's buffer is not worth keeping in an idle channel.
                messages = Vec::new();
            }
            self.entry.subscribers.store(self.subscribers.len(), Ordering::Relaxed);
            if self.is_over() && self.directory.remove_idle(&self.name, &self.entry) {
                return;
            }
            tokio::task::consume_budget().await;
        }
    }

    /// True if the actor has no subscriber and no work left.
    fn is_over(&self) -> bool {
        let lingers = self.crashed_at.is_some_and(|at| at.elapsed() < CRASH_LINGER);
        self.subscribers.is_empty() && self.losses.is_empty() && !lingers
    }

    /// Subscribes to the channel's messages from other nodes, if there may be any.
    async fn listen(&mut self) {
        let bus = &self.context.bus;
        if !bus.is_remote() || self.listening.is_some() {
            return;
        }
        match tokio::time::timeout(LISTEN_TIMEOUT, bus.listen(&subject_of(&self.name))).await {
            Ok(Ok(listening)) => self.listening = Some(listening),
            // The next check tries again; until then publications of other nodes are found in history.
            Ok(Err(error)) => tracing::warn!(%error, channel = %self.name, "other nodes not heard"),
            Err(_) => tracing::warn!(channel = %self.name, "the bus does not answer; other nodes not heard"),
        }
    }

    /// The time of the next work that no message asks for.
    fn next_due(&mut self) -> Option<Instant> {
        let lingers = self.crashed_at.filter(|_| self.subscribers.is_empty()).map(|at| at + CRASH_LINGER);
        let losses = self.losses.due(&self.context.loss_pace);
        [self.next_check, self.reorder_buffer.overdue_at(), self.announcements.due(), losses, lingers]
            .into_iter()
            .flatten()
            .min()
    }

    /// Waits for something to do. Handles control messages at once, and takes some of the others; how many control messages
    /// there were.
    async fn receive(&mut self, messages: &mut Vec<ChannelMessage>) -> usize {
        messages.extend(self.postponed.drain(..));
        if messages.is_empty() && !self.entry.mailbox.has_control() {
            let due = self.next_due();
            tokio::select! {
                () = self.entry.mailbox.control_changed() => {}
                () = until(due) => {}
                _ = self.publications.recv_many(messages, BATCH) => {}
                message = next_of_nodes(&mut self.listening) => match message {
                    Some(message) => messages.extend(read_fanout(&message)),
                    None => self.listening = None,
                },
            }
        }
        while messages.len() < BATCH
            && let Some(message) = self.listening.as_mut().and_then(|listening| listening.next_now())
        {
            messages.extend(read_fanout(&message));
        }
        let entry = Arc::clone(&self.entry);
        let mut controls = 0;
        while controls < CONTROLS_AT_ONCE
            && let Some(control) = self.entry.mailbox.next_control()
        {
            let trail = entry.vitals.trail();
            let _handling = Handling::begin_queued(trail, control.message.kind(), 0, control.stamp());
            self.handle_control(control.message).await;
            controls += 1;
        }
        controls
    }

    async fn handle_control(&mut self, control: Control) {
        match control {
            Control::Subscribe(subscribe) => self.take_in(*subscribe).await,
            Control::Unsubscribe(client, done) => {
                if let Some(subscriber) = self.remove(client) {
                    self.say_left(&subscriber).await;
                }
                // The session may have stopped waiting.
                let _ = done.send(());
            }
            Control::GiveBack(client, number) => {
                if self.subscribers.get(&client).is_some_and(|subscriber| subscriber.number == number)
                    && let Some(subscriber) = self.remove(client)
                {
                    self.say_left(&subscriber).await;
                }
            }
            Control::UpdateInfo(client, info, written) => self.update_info(client, info, written),
            Control::LookAtHistory => self.look_at_history().await,
            Control::CheckSoon => {
                let soon = Instant::now() + CHECK_SOON.mul_f64(rand::rng().random());
                self.next_check = Some(self.next_check.map_or(soon, |at| at.min(soon)));
            }
            #[cfg(feature = "test-hooks")]
            Control::Panic => panic!("asked to by a test"),
            #[cfg(feature = "test-hooks")]
            Control::Stall(time) => tokio::time::sleep(time).await,
        }
    }

    async fn handle(&mut self, message: ChannelMessage) {
        match message {
            ChannelMessage::Deliver(delivery) => self.deliver(delivery.message).await,
            ChannelMessage::FromNode(fanout) => {
                let trace = fanout.stamp().trace();
                self.take_fanout(fanout.message, trace).await;
            }
        }
    }

    async fn take_fanout(&mut self, fanout: Fanout, trace: Option<TraceContext>) {
        if let Some(delivery) = Delivery::of_fanout(&fanout, trace) {
            self.deliver(delivery).await;
        }
        if let Some(info) = fanout.join {
            self.announcements.add(Push::join(info), self.newest);
        }
        if let Some(info) = fanout.leave {
            self.announcements.add(Push::leave(info), self.newest);
        }
    }

    async fn do_what_is_due(&mut self) {
        if self.announcements.are_due() {
            self.write_announcements().await;
        }
        let now = Instant::now();
        if self.reorder_buffer.overdue_at().is_some_and(|at| at <= now) {
            self.look_at_history().await;
        }
        if self.next_check.is_some_and(|at| at <= now) {
            self.listen().await;
            self.look_at_history().await;
            self.schedule_check();
        }
        if self.losses.due(&self.context.loss_pace).is_some_and(|at| at <= now) {
            self.tell_losses().await;
        }
    }

    /// Sets when the history is looked at next. On a node alone nothing is lost on the way, so an idle channel never wakes up.
    pub(super) fn schedule_check(&mut self) {
        let troubled = self.failed_reads > 0 || self.some_without_history;
        let pause = if troubled {
            let doubled = CHECK_AFTER_FAILURE.saturating_mul(1 << self.failed_reads.min(8));
            Some(doubled.min(LONGEST_PAUSE))
        } else {
            self.context.bus.is_remote().then_some(CHECK)
        };
        let spread = rand::rng().random_range(0.75..1.25);
        self.next_check = pause.map(|pause| Instant::now() + pause.mul_f64(spread));
    }

    /// Makes up for what was lost on the way here.
    async fn look_at_history(&mut self) {
        if self.subscribers.is_empty() {
            self.reorder_buffer.clear();
            self.some_without_history = false;
            return;
        }
        let Some(limits) = self.options.history() else { return };
        self.repair(limits).await;
        self.flush().await;
        if self.failed_reads == 0 && self.some_without_history && !self.context.unrecorded.holds(&self.name) {
            // History is back: these clients get a subscription that can be recovered, if they come again.
            self.some_without_history = false;
            self.lose_subscribers(
                |subscriber| subscriber.flags.without_history,
                UnsubscribeCode::StateInvalidated,
            );
        }
    }

    /// Writes the publications that wait into the subscribers' outboxes.
    pub(super) async fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let deliveries = std::mem::take(&mut self.pending);
        let entry = Arc::clone(&self.entry);
        let bytes = deliveries.iter().map(|delivery| delivery.publication.data.len()).sum();
        let _handling = Handling::begin(entry.vitals.trail(), MessageKind::FanOut, bytes);
        let causes = deliveries.iter().filter_map(|delivery| delivery.trace);
        let mut span = Span::caused_by(causes, "channel deliver", Kind::Consumer);
        let batch = Batch::new(&self.name, &deliveries, self.base.take(), self.options.exclude_publisher);
        let mut written = 0;
        let mut turn = Turn::new();
        for subscriber in self.subscribers.values_mut() {
            match batch.for_subscriber(subscriber) {
                Written::Joined(bytes) => {
                    written += deliveries.len();
                    subscriber.push(bytes);
                }
                Written::Messages(messages) => {
                    written += messages.len();
                    for bytes in messages {
                        subscriber.push(bytes);
                    }
                }
            }
            turn.step().await;
        }
        mundotango_ops::metrics().realtime_deliveries_total.inc_by(written as u64);
        if let Some(span) = span.recorded() {
            span.set("messaging.destination.name", self.name.as_str());
            span.set("messaging.batch.message_count", deliveries.len());
            span.set("channel.subscribers", self.subscribers.len()).set("channel.deliveries", written);
        }
        span.end();
        if !self.options.allowed_delta_types.is_empty() {
            self.base = deliveries.last().map(|delivery| delivery.publication.data.clone());
        }
    }

    /// Takes subscribers away whose stream has a gap: nothing more is written to them. They are told soon.
    pub(super) fn lose_subscribers(&mut self, which: impl Fn(&Subscriber) -> bool, code: UnsubscribeCode) {
        for (_, subscriber) in self.subscribers.extract_if(|_, subscriber| which(subscriber)) {
            self.losses.add(subscriber, code);
        }
    }
}

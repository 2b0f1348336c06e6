//! A channel's actor: its subscribers, and the place in the stream up to which they have been written to.
//!
//! Being sequential, it gives each subscriber history and then live publications without gap or twin: whatever the
//! order in which publications arrive, a hole is filled from history before anything later is delivered.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, Disconnect, Encoding, ErrorCode, Fanout, Push, Reply, StreamPosition,
    UnsubscribeCode,
};
use mundotango_storage::hot::{HistoryLimits, Present};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::batch::{Batch, Written, encode};
use super::registry::Entry;
use super::stream::Early;
use super::{ChannelMessage, Delivery, Subscribe, Subscribed, Subscriber, subject_of};
use crate::bus::{BusMessage, Listening};
use crate::engine::Parts;
use crate::options::{NamespaceOptions, RecoveryMode};
use crate::session::SessionMessage;
use crate::supervision::{Backoff, panic_text};

/// Messages that are taken from the mailbox together; the publications among them share writes.
const BATCH: usize = 64;
/// Writes between two looks at what else the thread has to do.
const WRITES_AT_ONCE: usize = 64;
/// How long a session is shown as present unless that is said again.
const PRESENCE_TTL: Duration = Duration::from_mins(1);
/// How long a crashed actor stays without subscribers, so that the tree tells of the crash.
const CRASH_LINGER: Duration = Duration::from_mins(1);
/// How often a history that nodes share is looked at although nothing says that something was lost.
const SHARED_HISTORY_CHECK: Duration = Duration::from_secs(25);
/// Sessions that one call to hot state makes present.
const PRESENT_AT_ONCE: usize = 500;
/// How often it is said again.
const PRESENCE_REFRESH: Duration = Duration::from_secs(27);

async fn next_told(listening: &mut Option<Box<dyn Listening>>) -> Option<BusMessage> {
    match listening {
        Some(listening) => listening.next().await,
        None => std::future::pending().await,
    }
}

fn read_told(message: &BusMessage) -> Option<ChannelMessage> {
    let fanout = Fanout::from_bytes(&message.payload)?;
    Some(ChannelMessage::Told(Box::new(fanout)))
}

pub(crate) struct ChannelActor {
    pub(super) name: ChannelName,
    pub(super) options: NamespaceOptions,
    pub(super) parts: Arc<Parts>,
    pub(super) subscribers: HashMap<ClientId, Subscriber>,
    /// Up to where subscribers have been written to; `None` before the first look at the history.
    pub(super) position: Option<StreamPosition>,
    /// Publications that are in their order and wait to be written together.
    pub(super) pending: Vec<Delivery>,
    /// The last publication's payload, where the next may be written as the difference to it.
    base: Option<Bytes>,
    presence_said: Instant,
    /// When the history was looked at last to see whether something was lost.
    looked_at: Instant,
    /// What other nodes tell of the channel; `None` while that cannot be heard.
    listening: Option<Box<dyn Listening>>,
    /// Publications that came before those before them.
    pub(super) early: Early,
}

impl ChannelActor {
    pub(crate) fn new(name: ChannelName, options: NamespaceOptions, parts: Arc<Parts>) -> Self {
        Self {
            name,
            options,
            parts,
            subscribers: HashMap::new(),
            position: None,
            pending: Vec::new(),
            base: None,
            presence_said: Instant::now(),
            looked_at: Instant::now(),
            listening: None,
            early: Early::default(),
        }
    }

    /// Runs until nobody is subscribed. A panic costs the messages that were taken with the one that caused it: the
    /// subscribers are told to subscribe again, by which they recover, and the actor starts anew.
    pub(crate) async fn run(mut self, mut mailbox: mpsc::Receiver<ChannelMessage>, entry: Arc<Entry>) {
        let mut backoff = Backoff::default();
        let mut crashed: Option<Instant> = None;
        let mut messages = Vec::new();
        self.listen().await;
        while self.receive(&mut mailbox, &mut messages).await {
            entry.vitals.handled_many(messages.len() as u64);
            let outcome = AssertUnwindSafe(self.handle_all(&mut messages)).catch_unwind().await;
            if let Err(panic) = outcome {
                self.pending.clear();
                self.early.clear();
                self.lose_subscribers(|_| true);
                self.position = None;
                self.parts.channel_crashed(&self.name, panic_text(&*panic));
                tokio::time::sleep(backoff.after_crash()).await;
                entry.vitals.restarted();
                crashed = Some(Instant::now());
            }
            messages.clear();
            if messages.capacity() > 4 && mailbox.is_empty() {
                // A burst's buffer is not worth keeping in an idle channel.
                messages = Vec::new();
            }
            entry.subscribers.store(self.subscribers.len(), Ordering::Relaxed);
            let lingers = crashed.is_some_and(|at| at.elapsed() < CRASH_LINGER);
            if self.subscribers.is_empty()
                && !lingers
                && self.parts.channels.remove_idle(&self.name, &entry, &mailbox)
            {
                break;
            }
        }
    }

    /// Hears what other nodes tell from now on, if there may be any.
    async fn listen(&mut self) {
        let bus = &self.parts.cluster.bus;
        if !bus.is_remote() || self.listening.is_some() {
            return;
        }
        match bus.listen(&subject_of(&self.name)).await {
            Ok(listening) => self.listening = Some(listening),
            // The next check tries again; until then the history tells.
            Err(error) => tracing::warn!(%error, channel = %self.name, "other nodes not heard"),
        }
    }

    /// Waits for messages from here and from other nodes; `false` once there will be none.
    async fn receive(
        &mut self,
        mailbox: &mut mpsc::Receiver<ChannelMessage>,
        messages: &mut Vec<ChannelMessage>,
    ) -> bool {
        tokio::select! {
            count = mailbox.recv_many(messages, BATCH) => return count > 0,
            told = next_told(&mut self.listening) => match told {
                Some(told) => messages.extend(read_told(&told)),
                None => self.listening = None,
            },
            () = self.early.overdue() => messages.push(ChannelMessage::Repair),
        }
        while messages.len() < BATCH
            && let Some(told) = self.listening.as_mut().and_then(|listening| listening.next_now())
        {
            messages.extend(read_told(&told));
        }
        true
    }

    async fn handle_all(&mut self, messages: &mut Vec<ChannelMessage>) {
        for message in messages.drain(..) {
            if !message.is_publication() {
                // Who comes or goes has its place among the publications.
                self.flush().await;
            }
            self.handle(message).await;
        }
        self.flush().await;
    }

    async fn handle(&mut self, message: ChannelMessage) {
        match message {
            ChannelMessage::Subscribe(subscribe) => self.take_in(*subscribe).await,
            ChannelMessage::Unsubscribe(client, done) => {
                self.unsubscribe(client).await;
                // The session may have stopped waiting.
                let _ = done.send(());
            }
            ChannelMessage::Deliver(delivery) => self.deliver(&delivery).await,
            ChannelMessage::Told(fanout) => self.told(*fanout).await,
            ChannelMessage::Repair => self.look_at_history().await,
            ChannelMessage::Return => {
                self.presence_said = Instant::now();
                self.listen().await;
                self.look_at_history().await;
                self.say_all_present().await;
            }
            ChannelMessage::Check => self.check().await,
            #[cfg(feature = "test-hooks")]
            ChannelMessage::Panic => panic!("asked to by a test"),
        }
    }

    async fn told(&mut self, fanout: Fanout) {
        if let Some(delivery) = Delivery::of_fanout(&fanout) {
            self.deliver(&delivery).await;
        }
        if let Some(info) = fanout.join {
            self.write_announcement(&info, Push::join);
        }
        if let Some(info) = fanout.leave {
            self.write_announcement(&info, Push::leave);
        }
    }

    async fn take_in(&mut self, subscribe: Subscribe) {
        let client = subscribe.subscriber.session.client();
        let Subscribe { subscriber, recover, mode, answer } = subscribe;
        let outcome = self.subscribe(subscriber, recover.map(|from| (from, mode))).await;
        let added = outcome.is_ok();
        if answer.send(outcome).is_err() && added {
            // The session is gone already and will not unsubscribe.
            self.unsubscribe(client).await;
        } else if added && let Some(subscriber) = self.subscribers.get(&client) {
            self.announce(&subscriber.clone(), Push::join, |info| Fanout {
                join: Some(info),
                ..Fanout::default()
            })
            .await;
        }
    }

    async fn subscribe(
        &mut self,
        mut subscriber: Subscriber,
        recover: Option<(StreamPosition, RecoveryMode)>,
    ) -> Result<Subscribed, ErrorCode> {
        let subscribed = match self.options.history() {
            None => Subscribed::default(),
            Some(limits) => match self.place_of(recover, limits).await {
                Ok(subscribed) => subscribed,
                // Without hot state there is a live stream still; the reply says that it cannot be recovered.
                Err(error) => {
                    tracing::warn!(%error, channel = %self.name, "subscribed without history");
                    subscriber.flags.positioned = false;
                    subscriber.flags.delta = false;
                    Subscribed::default()
                }
            },
        };
        let client = subscriber.session.client();
        if let Some(info) = subscriber.info.as_ref().filter(|_| subscriber.flags.present) {
            self.say_present(client, (**info).clone()).await;
        }
        self.subscribers.insert(client, subscriber);
        Ok(subscribed)
    }

    /// Where the stream stands, and what a new subscriber missed.
    async fn place_of(
        &mut self,
        recover: Option<(StreamPosition, RecoveryMode)>,
        limits: HistoryLimits,
    ) -> Result<Subscribed, ErrorCode> {
        // Those who are here already come first, so that one position holds for all.
        let caught_up = self.catch_up(limits).await?;
        self.flush().await;
        if caught_up.is_err() {
            self.lose_subscribers(|subscriber| subscriber.flags.positioned);
        }
        let position = self.position.clone().unwrap_or_default();
        let recovered = match recover {
            Some((from, mode)) => self.missed(&from, &position, mode, limits).await?,
            None => None,
        };
        Ok(Subscribed { position: Some(position), recovered })
    }

    async fn unsubscribe(&mut self, client: ClientId) {
        let Some(subscriber) = self.subscribers.remove(&client) else { return };
        if subscriber.flags.present {
            let gone = [client.to_string()];
            let leave = self.parts.hot.remove_presence(self.name.as_str(), &gone);
            if let Err(error) = self.parts.in_time(leave).await {
                tracing::warn!(%error, channel = %self.name, "presence not removed");
            }
        }
        self.announce(&subscriber, Push::leave, |info| Fanout { leave: Some(info), ..Fanout::default() })
            .await;
    }

    /// Tells the others, here and on other nodes, that a client joined or left.
    async fn announce(
        &self,
        who: &Subscriber,
        push: fn(ClientInfo) -> Push,
        fanout: fn(ClientInfo) -> Fanout,
    ) {
        let Some(info) = who.info.as_ref().filter(|_| who.flags.announced) else { return };
        self.parts.tell_nodes(&self.name, || fanout((**info).clone())).await;
        self.write_announcement(info, push);
    }

    fn write_announcement(&self, info: &ClientInfo, push: fn(ClientInfo) -> Push) {
        let reply = Reply::push(self.name.as_str(), push(info.clone()));
        let encoded: HashMap<_, _> =
            Encoding::ALL.into_iter().map(|encoding| (encoding, OnceCell::new())).collect();
        for subscriber in self.subscribers.values().filter(|subscriber| subscriber.flags.join_leave) {
            let encoding = subscriber.session.encoding();
            let bytes =
                encoded.get(&encoding).and_then(|cell| cell.get_or_init(|| encode(encoding, &reply)).clone());
            match bytes {
                Some(bytes) => subscriber.session.outbox().push(bytes),
                None => subscriber.session.outbox().end(Disconnect::InappropriateProtocol),
            }
        }
    }

    async fn check(&mut self) {
        self.listen().await;
        // Memory is looked at each time; what all nodes share is not, as there are many channels.
        if !self.parts.cluster.bus.is_remote() || self.looked_at.elapsed() >= SHARED_HISTORY_CHECK {
            self.look_at_history().await;
        }
        if self.presence_said.elapsed() >= PRESENCE_REFRESH {
            self.presence_said = Instant::now();
            self.say_all_present().await;
        }
    }

    /// Makes up for what was lost on the way here.
    async fn look_at_history(&mut self) {
        self.looked_at = Instant::now();
        if let Some(limits) = self.options.history().filter(|_| self.position.is_some()) {
            self.repair(limits).await;
        }
    }

    async fn say_all_present(&self) {
        let present: Vec<_> = self
            .subscribers
            .iter()
            .filter(|(_, subscriber)| subscriber.flags.present)
            .filter_map(|(client, subscriber)| {
                Some(Present { client: client.to_string(), info: *subscriber.info.clone()? })
            })
            .collect();
        for some in present.chunks(PRESENT_AT_ONCE) {
            self.write_present(some).await;
        }
    }

    async fn say_present(&self, client: ClientId, info: ClientInfo) {
        self.write_present(&[Present { client: client.to_string(), info }]).await;
    }

    async fn write_present(&self, present: &[Present]) {
        let add = self.parts.hot.add_presence(self.name.as_str(), present, PRESENCE_TTL);
        if let Err(error) = self.parts.in_time(add).await {
            tracing::warn!(%error, channel = %self.name, "presence not said");
        }
    }

    /// Writes the publications that wait into the subscribers' outboxes.
    pub(super) async fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let deliveries = std::mem::take(&mut self.pending);
        let batch = Batch::new(&self.name, &deliveries, self.base.take(), self.options.exclude_publisher);
        let mut written = 0;
        for (number, subscriber) in self.subscribers.values_mut().enumerate() {
            if number % WRITES_AT_ONCE == WRITES_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            match batch.for_subscriber(subscriber) {
                Written::Joined(bytes) => {
                    written += deliveries.len();
                    subscriber.session.outbox().push(bytes);
                }
                Written::Messages(messages) => {
                    written += messages.len();
                    for bytes in messages {
                        subscriber.session.outbox().push(bytes);
                    }
                }
                Written::Impossible => subscriber.session.outbox().end(Disconnect::InappropriateProtocol),
            }
        }
        mundotango_ops::metrics().realtime_deliveries_total.inc_by(written as u64);
        if !self.options.allowed_delta_types.is_empty() {
            self.base = deliveries.last().map(|delivery| delivery.publication.data.clone());
        }
    }

    /// Takes subscribers away whose stream has a gap. Their sessions tell the clients, who subscribe again.
    pub(super) fn lose_subscribers(&mut self, which: impl Fn(&Subscriber) -> bool) {
        self.subscribers.retain(|_, subscriber| {
            let lost = which(subscriber);
            if lost {
                let code = UnsubscribeCode::InsufficientState;
                subscriber.session.tell(SessionMessage::SubscriptionLost(self.name.clone(), code));
            }
            !lost
        });
    }
}

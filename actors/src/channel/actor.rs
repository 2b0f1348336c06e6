//! A channel's actor: its subscribers, and the place in the stream up to which they have been written to.
//!
//! Being sequential, it gives each subscriber history and then live publications without gap or twin: whatever the
//! order in which publications arrive, a hole is filled from history before anything later is delivered.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, Disconnect, ErrorCode, Publication, Push, Reply, StreamPosition,
    UnsubscribeCode,
};
use mundotango_storage::hot::{HistoryLimits, HistoryQuery};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::registry::Entry;
use super::{ChannelMessage, Delivery, Subscribe, Subscribed, Subscriber};
use crate::encoded::Encoded;
use crate::engine::Parts;
use crate::options::NamespaceOptions;
use crate::session::SessionMessage;
use crate::supervision::{Backoff, panic_text};

/// How long a session is shown as present unless that is said again.
const PRESENCE_TTL: Duration = Duration::from_mins(1);
/// How long a crashed actor stays without subscribers, so that the tree tells of the crash.
const CRASH_LINGER: Duration = Duration::from_mins(1);
/// How often it is said again.
const PRESENCE_REFRESH: Duration = Duration::from_secs(27);

pub(crate) struct ChannelActor {
    name: ChannelName,
    options: NamespaceOptions,
    parts: Arc<Parts>,
    subscribers: HashMap<ClientId, Subscriber>,
    /// Up to where subscribers have been written to; `None` before the first look at the history.
    position: Option<StreamPosition>,
    presence_said: Instant,
}

/// The stream cannot be followed without a gap.
struct InsufficientState;

impl ChannelActor {
    pub(crate) fn new(name: ChannelName, options: NamespaceOptions, parts: Arc<Parts>) -> Self {
        Self {
            name,
            options,
            parts,
            subscribers: HashMap::new(),
            position: None,
            presence_said: Instant::now(),
        }
    }

    /// Runs until nobody is subscribed. A panic costs the message that caused it: the subscribers are told to
    /// subscribe again, by which they recover, and the actor starts anew.
    pub(crate) async fn run(mut self, mut mailbox: mpsc::Receiver<ChannelMessage>, entry: Arc<Entry>) {
        let mut backoff = Backoff::default();
        let mut crashed: Option<Instant> = None;
        while let Some(message) = mailbox.recv().await {
            let outcome = AssertUnwindSafe(self.handle(message)).catch_unwind().await;
            entry.vitals.handled();
            if let Err(panic) = outcome {
                self.lose_subscribers(|_| true);
                self.position = None;
                self.parts.channel_crashed(&self.name, panic_text(&*panic));
                tokio::time::sleep(backoff.after_crash()).await;
                entry.vitals.restarted();
                crashed = Some(Instant::now());
            }
            let lingers = crashed.is_some_and(|at| at.elapsed() < CRASH_LINGER);
            if self.subscribers.is_empty()
                && !lingers
                && self.parts.channels.remove_idle(&self.name, &entry, &mailbox)
            {
                break;
            }
        }
    }

    async fn handle(&mut self, message: ChannelMessage) {
        match message {
            ChannelMessage::Subscribe(subscribe) => {
                let Subscribe { subscriber, recover, answer } = *subscribe;
                let client = subscriber.session.client();
                let outcome = self.subscribe(subscriber, recover).await;
                let added = outcome.is_ok();
                if answer.send(outcome).is_err() && added {
                    // The session is gone already and will not unsubscribe.
                    self.unsubscribe(client).await;
                } else if added {
                    self.announce(client, Push::join);
                }
            }
            ChannelMessage::Unsubscribe(client, done) => {
                self.unsubscribe(client).await;
                // The session may have stopped waiting.
                let _ = done.send(());
            }
            ChannelMessage::Deliver(delivery) => self.deliver(&delivery).await,
            ChannelMessage::Check => self.check().await,
            #[cfg(feature = "test-hooks")]
            ChannelMessage::Panic => panic!("asked to by a test"),
        }
    }

    async fn subscribe(
        &mut self,
        subscriber: Subscriber,
        recover: Option<StreamPosition>,
    ) -> Result<Subscribed, ErrorCode> {
        let subscribed = match self.options.history() {
            None => Subscribed::default(),
            Some(limits) => {
                // Those who are here already come first, so that one position holds for all.
                if self.catch_up(limits).await?.is_err() {
                    self.lose_subscribers(|subscriber| subscriber.positioned);
                }
                let position = self.position.clone().unwrap_or_default();
                let recovered = match recover {
                    Some(from) => self.missed(&from, &position, limits).await?,
                    None => None,
                };
                Subscribed { position: Some(position), recovered }
            }
        };
        let client = subscriber.session.client();
        if self.options.presence
            && let Some(info) = &subscriber.info
        {
            self.say_present(client, (**info).clone()).await;
        }
        self.subscribers.insert(client, subscriber);
        Ok(subscribed)
    }

    /// What was published past `from` up to `position`, or `None` if that can't be told in full.
    async fn missed(
        &self,
        from: &StreamPosition,
        position: &StreamPosition,
        limits: HistoryLimits,
    ) -> Result<Option<Vec<Publication>>, ErrorCode> {
        if (!from.epoch.is_empty() && from.epoch != position.epoch) || from.offset > position.offset {
            return Ok(None);
        }
        let missing = position.offset - from.offset;
        let most = self.parts.session_options.recovery_max_publications;
        if missing > most as u64 {
            return Ok(None);
        }
        if missing == 0 {
            return Ok(Some(Vec::new()));
        }
        let query = HistoryQuery { since: Some(from.offset), limit: Some(most), reverse: false };
        let page = self.parts.history(&self.name, query, limits).await?;
        if page.position.epoch != position.epoch {
            return Ok(None);
        }
        // What came after `position` will be delivered live.
        let publications: Vec<_> = page
            .publications
            .into_iter()
            .filter(|publication| publication.offset <= position.offset)
            .collect();
        let whole = publications.len() as u64 == missing
            && publications.first().is_some_and(|first| first.offset == from.offset + 1);
        Ok(whole.then_some(publications))
    }

    async fn unsubscribe(&mut self, client: ClientId) {
        let Some(subscriber) = self.subscribers.remove(&client) else { return };
        if self.options.presence {
            let client = client.to_string();
            let leave = self.parts.hot.remove_presence(self.name.as_str(), &client);
            if let Err(error) = self.parts.in_time(leave).await {
                tracing::warn!(%error, channel = %self.name, "presence not removed");
            }
        }
        if let Some(info) = subscriber.info {
            self.push_join_leave(Push::leave(*info));
        }
    }

    /// Publishes a join of a client that was just added.
    fn announce(&self, client: ClientId, push: fn(ClientInfo) -> Push) {
        if let Some(info) = self.subscribers.get(&client).and_then(|subscriber| subscriber.info.clone()) {
            self.push_join_leave(push(*info));
        }
    }

    fn push_join_leave(&self, push: Push) {
        if self.options.join_leave || self.options.force_push_join_leave {
            self.write(push, |subscriber| subscriber.join_leave);
        }
    }

    async fn deliver(&mut self, delivery: &Delivery) {
        let publication = &delivery.publication;
        let Some(limits) = self.options.history().filter(|_| publication.offset > 0) else {
            self.write_publication(publication.clone());
            return;
        };
        match &mut self.position {
            // Nobody has been told a position yet, so nobody waits for this.
            None => {}
            Some(position) if position.epoch == delivery.epoch => {
                if publication.offset == position.offset + 1 {
                    position.offset += 1;
                    self.write_publication(publication.clone());
                } else if publication.offset > position.offset {
                    self.repair(limits).await;
                }
            }
            Some(_) => self.repair(limits).await,
        }
    }

    async fn check(&mut self) {
        if let Some(limits) = self.options.history().filter(|_| self.position.is_some()) {
            self.repair(limits).await;
        }
        if self.options.presence && self.presence_said.elapsed() >= PRESENCE_REFRESH {
            self.presence_said = Instant::now();
            let present: Vec<_> = self
                .subscribers
                .iter()
                .filter_map(|(client, subscriber)| Some((*client, *subscriber.info.clone()?)))
                .collect();
            for (client, info) in present {
                self.say_present(client, info).await;
            }
        }
    }

    async fn say_present(&self, client: ClientId, info: ClientInfo) {
        let client = client.to_string();
        let add = self.parts.hot.add_presence(self.name.as_str(), &client, info, PRESENCE_TTL);
        if let Err(error) = self.parts.in_time(add).await {
            tracing::warn!(%error, channel = %self.name, "presence not said");
        }
    }

    async fn repair(&mut self, limits: HistoryLimits) {
        match self.catch_up(limits).await {
            Ok(Ok(())) => {}
            Ok(Err(InsufficientState)) => self.lose_subscribers(|subscriber| subscriber.positioned),
            // The next publication or check tries again.
            Err(error) => {
                tracing::warn!(%error, channel = %self.name, "history not read, stream not repaired");
            }
        }
    }

    /// Delivers what history has past our position, and stands at its top then. The inner error says that there is a
    /// gap; the position is at the top all the same.
    async fn catch_up(&mut self, limits: HistoryLimits) -> Result<Result<(), InsufficientState>, ErrorCode> {
        let since = self.position.as_ref().map(|position| position.offset);
        let limit = if since.is_some() && !self.subscribers.is_empty() { None } else { Some(0) };
        let page =
            self.parts.history(&self.name, HistoryQuery { since, limit, reverse: false }, limits).await?;
        let before = self.position.replace(page.position.clone());
        let Some(before) = before.filter(|_| !self.subscribers.is_empty()) else { return Ok(Ok(())) };
        if before.epoch != page.position.epoch || page.position.offset < before.offset {
            return Ok(Err(InsufficientState));
        }
        let mut next = before.offset + 1;
        let mut gap = false;
        for publication in page.publications {
            gap |= publication.offset != next;
            next = publication.offset + 1;
            self.write_publication(publication);
        }
        gap |= next != page.position.offset + 1;
        Ok(if gap { Err(InsufficientState) } else { Ok(()) })
    }

    fn write_publication(&self, publication: Publication) {
        self.write(Push::publication(publication), |_| true);
    }

    /// Writes a push into the outboxes of subscribers. It is encoded once an encoding, however many they are.
    fn write(&self, push: Push, to: impl Fn(&Subscriber) -> bool) {
        let reply = Reply::push(self.name.as_str(), push);
        let encoded = Encoded::new(&reply);
        let mut written = 0;
        for subscriber in self.subscribers.values().filter(|subscriber| to(subscriber)) {
            let session = &subscriber.session;
            match encoded.bytes(session.encoding()) {
                Some(bytes) => {
                    session.outbox().push(bytes.clone());
                    written += 1;
                }
                None => session.outbox().end(Disconnect::InappropriateProtocol),
            }
        }
        mundotango_ops::metrics().realtime_deliveries_total.inc_by(written);
    }

    /// Takes subscribers away whose stream has a gap. Their sessions tell the clients, who subscribe again.
    fn lose_subscribers(&mut self, which: impl Fn(&Subscriber) -> bool) {
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

//! Subscribers that come to a channel and leave it: their place in the stream, their presence, and what the others are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mundotango_protocol::{ClientId, ClientInfo, ErrorCode, Fanout, Push};
use mundotango_storage::hot::HistoryLimits;
use tokio::sync::oneshot;

use super::actor::ChannelActor;
use super::messages::{Accepted, Recovery, Subscribe, Subscribed};
use super::subscriber::Subscriber;
use super::turn::Turn;
use crate::handle::SessionMessage;

impl ChannelActor {
    pub(super) async fn take_in(&mut self, subscribe: Subscribe) {
        let Subscribe { mut subscriber, recovery, answer } = subscribe;
        if answer.is_closed() {
            // The session gave up waiting before it was subscribed, so the others are told nothing.
            return;
        }
        let client = subscriber.session.client();
        self.losses.remove(client);
        let subscribed = match self.place(&mut subscriber, recovery).await {
            Ok(subscribed) => subscribed,
            Err(code) => {
                // The session may have stopped waiting.
                let _ = answer.send(Err(code));
                return;
            }
        };
        if subscriber.flags.without_history {
            self.some_without_history = true;
            self.schedule_check();
        }
        let info = subscriber.info.clone();
        let present = info
            .filter(|_| subscriber.flags.present)
            .map(|info| self.context.presence.join(&self.name, client, info));
        self.newest = subscriber.number;
        self.subscribers.insert(client, subscriber.clone());
        self.entry.subscribers.store(self.subscribers.len(), Ordering::Relaxed);
        if answer.send(Ok(Accepted { subscribed, present })).is_err() {
            // The session is gone, and its join was not told.
            self.subscribers.remove(&client);
            self.context.presence.leave(&self.name, client);
            return;
        }
        self.announce(&subscriber, Push::join, |info| Fanout { join: Some(info), ..Fanout::default() }).await;
    }

    /// Finds the place in the stream at which a new subscriber begins.
    async fn place(
        &mut self,
        subscriber: &mut Subscriber,
        recovery: Option<Recovery>,
    ) -> Result<Subscribed, ErrorCode> {
        let all_or_nothing = recovery.as_ref().is_some_and(|recovery| recovery.all_or_nothing);
        let subscribed = match self.options.history() {
            None => Subscribed::default(),
            Some(limits) => match self.place_in_history(recovery, limits).await {
                Ok(subscribed) => subscribed,
                // Without hot state there is a live stream still; the reply says that it cannot be recovered.
                Err(error) => {
                    tracing::warn!(%error, channel = %self.name, "subscribed without history");
                    subscriber.flags.without_history = subscriber.flags.positioned;
                    subscriber.flags.positioned = false;
                    subscriber.flags.delta = false;
                    Subscribed::default()
                }
            },
        };
        if all_or_nothing && subscribed.recovered.is_none() {
            return Err(ErrorCode::UnrecoverablePosition);
        }
        Ok(subscribed)
    }

    /// The top of the stream, and the publications that a new subscriber missed.
    async fn place_in_history(
        &mut self,
        recovery: Option<Recovery>,
        limits: HistoryLimits,
    ) -> Result<Subscribed, ErrorCode> {
        if self.context.unrecorded.holds(&self.name) {
            // The history lacks publications, and goes on under another epoch soon.
            return Err(ErrorCode::Internal);
        }
        // Those who are here already come first, so that one position holds for all.
        self.catch_up(limits).await?;
        self.flush().await;
        let position = self.position.clone().unwrap_or_default();
        let recovered = match recovery {
            Some(recovery) => self.missed(&recovery.from, &position, recovery.mode, limits).await?,
            None => None,
        };
        if self.context.unrecorded.holds(&self.name) {
            // A publication that this history lacks came between.
            return Err(ErrorCode::Internal);
        }
        Ok(Subscribed { position: Some(position), recovered })
    }

    /// Changes what presence, and a later leave, tell of a subscriber. Where neither is shown there is nothing to change.
    pub(super) fn update_info(
        &mut self,
        client: ClientId,
        info: Arc<ClientInfo>,
        written: oneshot::Sender<()>,
    ) {
        let Some(subscriber) = self.subscribers.get_mut(&client) else { return };
        if subscriber.info.is_none() {
            return;
        }
        subscriber.info = Some(Arc::clone(&info));
        if subscriber.flags.present {
            self.context.presence.update(&self.name, client, info, written);
        }
    }

    pub(super) fn remove(&mut self, client: ClientId) -> Option<Subscriber> {
        let lost = self.losses.remove(client);
        self.subscribers.remove(&client).or(lost)
    }

    /// Takes a subscriber that was removed out of presence, and tells the others.
    pub(super) async fn say_left(&mut self, subscriber: &Subscriber) {
        if subscriber.flags.present {
            self.context.presence.leave(&self.name, subscriber.session.client());
        }
        self.announce(subscriber, Push::leave, |info| Fanout { leave: Some(info), ..Fanout::default() })
            .await;
    }

    /// Tells the others, here and on other nodes, that a client joined or left.
    async fn announce(
        &mut self,
        who: &Subscriber,
        push: fn(ClientInfo) -> Push,
        fanout: fn(ClientInfo) -> Fanout,
    ) {
        let Some(info) = who.info.as_ref().filter(|_| who.flags.announced) else { return };
        self.context.tell_nodes(&self.name, || fanout((**info).clone())).await;
        self.announcements.add(push((**info).clone()), self.newest);
        if self.announcements.are_due() {
            self.write_announcements().await;
        }
    }

    pub(super) async fn write_announcements(&mut self) {
        let written = self.announcements.take(&self.name);
        let mut turn = Turn::new();
        for subscriber in self.subscribers.values() {
            if let Some(bytes) = written.for_subscriber(subscriber) {
                subscriber.push(bytes);
            }
            turn.step().await;
        }
    }

    /// Tells some of those who lost their stream. Their clients subscribe again.
    pub(super) async fn tell_losses(&mut self) {
        for (subscriber, code) in self.losses.take() {
            subscriber.session.tell(SessionMessage::SubscriptionLost {
                channel: self.name.clone(),
                number: subscriber.held,
                code,
            });
            self.say_left(&subscriber).await;
        }
    }
}

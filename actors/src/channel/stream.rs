//! Following a channel's stream: publications are delivered in order, and a hole is filled from history first.

use mundotango_protocol::{ErrorCode, Publication, StreamPosition, UnsubscribeCode};
use mundotango_storage::hot::{HistoryLimits, HistoryQuery};

use super::actor::ChannelActor;
use super::messages::{ChannelMessage, Delivery};
use crate::options::RecoveryMode;

impl ChannelActor {
    /// Takes a publication that came, to be written with the others that wait.
    pub(super) async fn deliver(&mut self, delivery: Delivery) {
        let offset = delivery.publication.offset;
        let Some(limits) = self.options.history().filter(|_| offset > 0) else {
            self.pending.push(delivery);
            return;
        };
        match &mut self.position {
            // History did not answer when the first subscriber came: follow the stream from here.
            None => {
                self.position = Some(StreamPosition { offset, epoch: delivery.epoch.clone() });
                self.pending.push(delivery);
            }
            Some(position) if position.epoch == delivery.epoch && offset <= position.offset => {}
            Some(position) if position.epoch == delivery.epoch && offset - position.offset == 1 => {
                position.offset = offset;
                self.pending.push(delivery);
                self.go_on();
            }
            // Those before it are on their way in all likelihood: publishers race, here and on other nodes.
            Some(position) if position.epoch == delivery.epoch && self.reorder_buffer.has_room() => {
                self.reorder_buffer.insert(delivery);
            }
            Some(_) => self.repair(limits).await,
        }
    }

    /// Takes the publications that came too early and are next now.
    fn go_on(&mut self) {
        let Some(position) = &mut self.position else { return };
        while let Some(delivery) = self.reorder_buffer.remove(position.offset + 1) {
            if delivery.epoch != position.epoch {
                break;
            }
            position.offset += 1;
            self.pending.push(delivery);
        }
        self.reorder_buffer.drop_until(position.offset);
    }

    pub(super) async fn repair(&mut self, limits: HistoryLimits) {
        if let Err(error) = self.catch_up(limits).await {
            self.reorder_buffer.wait_for_more();
            tracing::warn!(%error, channel = %self.name, "history not read, stream not repaired");
        }
    }

    /// Delivers what history has past our position, and stands at its top then. Where history cannot fill a hole, positioned
    /// subscribers lose the stream before anything past the hole is written: a client would else recover from behind it.
    pub(super) async fn catch_up(&mut self, limits: HistoryLimits) -> Result<(), ErrorCode> {
        self.sort_in_what_waits();
        let since = self.position.as_ref().map(|position| position.offset);
        let limit = if since.is_some() && !self.subscribers.is_empty() { None } else { Some(0) };
        let query = HistoryQuery { since, limit, reverse: false };
        let page = match self.context.hot.history(&self.name, query, limits).await {
            Ok(page) => page,
            Err(error) => {
                self.failed_reads = self.failed_reads.saturating_add(1);
                self.schedule_check();
                return Err(error);
            }
        };
        if std::mem::take(&mut self.failed_reads) > 0 {
            self.schedule_check();
        }
        let before = self.position.replace(page.position.clone());
        let Some(before) = before else {
            self.reorder_buffer.clear();
            return Ok(());
        };
        if before.epoch != page.position.epoch || page.position.offset < before.offset {
            // Offsets of another history say nothing in this one.
            self.reorder_buffer.clear();
            self.lose_positioned().await;
            return Ok(());
        }
        if limit == Some(0) {
            self.reorder_buffer.clear();
            return Ok(());
        }
        let mut next = before.offset + 1;
        for publication in page.publications {
            let is_hole = publication.offset != next;
            if is_hole {
                self.lose_positioned().await;
            }
            next = publication.offset + 1;
            // History does not know which session is excluded from a publication; its delivery does.
            let known = self.reorder_buffer.remove(publication.offset).unwrap_or_default();
            let (exclude, trace) = (known.exclude, known.trace);
            let delta = self.options.delta_publish && !is_hole;
            self.pending.push(Delivery { publication, delta, exclude, trace, ..Delivery::default() });
        }
        if next != page.position.offset + 1 {
            self.lose_positioned().await;
        }
        self.go_on();
        Ok(())
    }

    /// Ends the subscriptions that cannot be whole, once what stands before the hole is written.
    async fn lose_positioned(&mut self) {
        self.flush().await;
        self.lose_subscribers(|subscriber| subscriber.flags.positioned, UnsubscribeCode::InsufficientState);
    }

    /// Moves the publications that wait in the mailbox into the reorder buffer: history would else deliver them without the
    /// exclusions that only their deliveries know.
    fn sort_in_what_waits(&mut self) {
        let Some(position) = &self.position else { return };
        while self.reorder_buffer.has_room()
            && let Ok(message) = self.publications.try_recv()
        {
            match message {
                ChannelMessage::Deliver(queued)
                    if queued.message.epoch == position.epoch && queued.message.publication.offset > 0 =>
                {
                    if queued.message.publication.offset > position.offset {
                        self.reorder_buffer.insert(queued.message);
                    }
                }
                other => self.postponed.push_back(other),
            }
        }
    }

    /// The publications that a client at `from` missed, or `None` if not all of them are known.
    pub(super) async fn missed(
        &self,
        from: &StreamPosition,
        position: &StreamPosition,
        mode: RecoveryMode,
        limits: HistoryLimits,
    ) -> Result<Option<Vec<Publication>>, ErrorCode> {
        match mode {
            RecoveryMode::Stream => self.missed_of_stream(from, position, limits).await,
            RecoveryMode::Cache => self.missed_of_cache(from, position, limits).await.map(Some),
        }
    }

    async fn missed_of_stream(
        &self,
        from: &StreamPosition,
        position: &StreamPosition,
        limits: HistoryLimits,
    ) -> Result<Option<Vec<Publication>>, ErrorCode> {
        if (!from.epoch.is_empty() && from.epoch != position.epoch) || from.offset > position.offset {
            return Ok(None);
        }
        let missing = position.offset - from.offset;
        let most = self.context.recovery_max;
        if missing > most as u64 {
            return Ok(None);
        }
        if missing == 0 {
            return Ok(Some(Vec::new()));
        }
        let query = HistoryQuery { since: Some(from.offset), limit: Some(most), reverse: false };
        let page = self.context.hot.history(&self.name, query, limits).await?;
        if page.position.epoch != position.epoch {
            return Ok(None);
        }
        // Publications after `position` will be delivered live.
        let publications: Vec<_> = page
            .publications
            .into_iter()
            .filter(|publication| publication.offset <= position.offset)
            .collect();
        let whole = publications.len() as u64 == missing
            && publications.first().is_some_and(|first| first.offset - 1 == from.offset);
        Ok(whole.then_some(publications))
    }

    /// The latest publication, unless the client has it.
    async fn missed_of_cache(
        &self,
        from: &StreamPosition,
        position: &StreamPosition,
        limits: HistoryLimits,
    ) -> Result<Vec<Publication>, ErrorCode> {
        if from == position {
            return Ok(Vec::new());
        }
        // Newer ones, which will be delivered live, stand before the one wanted.
        let since = position.offset.checked_add(1);
        let query = HistoryQuery { since, limit: Some(1), reverse: true };
        let page = self.context.hot.history(&self.name, query, limits).await?;
        Ok(if page.position.epoch == position.epoch { page.publications } else { Vec::new() })
    }
}

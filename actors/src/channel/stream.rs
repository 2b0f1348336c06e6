//! Following a channel's stream: what came is delivered in order, a hole is filled from history first.

use std::collections::BTreeMap;
use std::time::Duration;

use mundotango_protocol::{ErrorCode, Publication, StreamPosition};
use mundotango_storage::hot::{HistoryLimits, HistoryQuery};

use tokio::time::Instant;

use super::Delivery;
use super::actor::ChannelActor;
use crate::options::RecoveryMode;

/// Publications that may wait for those before them.
const MAX_EARLY: usize = 256;
/// How long they wait before the hole is filled from history.
const HOLE_PATIENCE: Duration = Duration::from_millis(50);

/// Publications that came before those before them, by offset.
#[derive(Default)]
pub(super) struct Early {
    deliveries: BTreeMap<u64, Delivery>,
    since: Option<Instant>,
}

impl Early {
    fn has_room(&self) -> bool {
        self.deliveries.len() < MAX_EARLY
    }

    fn keep(&mut self, delivery: Delivery) {
        self.since.get_or_insert_with(Instant::now);
        self.deliveries.insert(delivery.publication.offset, delivery);
    }

    fn take(&mut self, offset: u64) -> Option<Delivery> {
        self.deliveries.remove(&offset)
    }

    fn forget_until(&mut self, offset: u64) {
        while self.deliveries.first_key_value().is_some_and(|(first, _)| *first <= offset) {
            self.deliveries.pop_first();
        }
        self.since = if self.deliveries.is_empty() { None } else { Some(Instant::now()) };
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn wait_anew(&mut self) {
        if self.since.is_some() {
            self.since = Some(Instant::now());
        }
    }

    /// Resolves when something has waited for too long.
    pub(super) async fn overdue(&self) {
        match self.since {
            Some(since) => tokio::time::sleep_until(since + HOLE_PATIENCE).await,
            None => std::future::pending().await,
        }
    }
}

/// The stream cannot be followed without a gap.
pub(super) struct InsufficientState;

impl ChannelActor {
    /// Takes a publication that came, to be written with the others that wait.
    pub(super) async fn deliver(&mut self, delivery: &Delivery) {
        let offset = delivery.publication.offset;
        let Some(limits) = self.options.history().filter(|_| offset > 0) else {
            self.pending.push(delivery.clone());
            return;
        };
        match &mut self.position {
            // Nobody has been told a position yet, so nobody waits for this.
            None => {}
            Some(position) if position.epoch == delivery.epoch && offset <= position.offset => {}
            Some(position) if position.epoch == delivery.epoch && offset - position.offset == 1 => {
                position.offset = offset;
                self.pending.push(delivery.clone());
                self.go_on();
            }
            // Those before it are on their way in all likelihood: publishers race, here and on other nodes.
            Some(position) if position.epoch == delivery.epoch && self.early.has_room() => {
                self.early.keep(delivery.clone());
            }
            Some(_) => self.repair(limits).await,
        }
    }

    /// Takes what came early and is next now.
    fn go_on(&mut self) {
        let Some(position) = &mut self.position else { return };
        while let Some(delivery) = self.early.take(position.offset + 1) {
            if delivery.epoch != position.epoch {
                break;
            }
            position.offset += 1;
            self.pending.push(delivery);
        }
        self.early.forget_until(position.offset);
    }

    pub(super) async fn repair(&mut self, limits: HistoryLimits) {
        match self.catch_up(limits).await {
            Ok(Ok(())) => self.go_on(),
            Ok(Err(InsufficientState)) => {
                self.early.clear();
                self.flush().await;
                self.lose_subscribers(|subscriber| subscriber.flags.positioned);
            }
            // The next publication or check tries again.
            Err(error) => {
                self.early.wait_anew();
                tracing::warn!(%error, channel = %self.name, "history not read, stream not repaired");
            }
        }
    }

    /// Delivers what history has past our position, and stands at its top then. The inner error says that there is a
    /// gap; the position is at the top all the same.
    pub(super) async fn catch_up(
        &mut self,
        limits: HistoryLimits,
    ) -> Result<Result<(), InsufficientState>, ErrorCode> {
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
            let delta = self.options.delta_publish && !gap;
            self.pending.push(Delivery { publication, delta, ..Delivery::default() });
        }
        gap |= next != page.position.offset + 1;
        Ok(if gap { Err(InsufficientState) } else { Ok(()) })
    }

    /// What a client that was at `from` has to be told, or `None` if that can't be told in full.
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
        let page = self.parts.history(&self.name, query, limits).await?;
        Ok(if page.position.epoch == position.epoch { page.publications } else { Vec::new() })
    }
}

//! Following a channel's stream: what came is delivered in order, a hole is filled from history first.

use mundotango_protocol::{ErrorCode, Publication, StreamPosition};
use mundotango_storage::hot::{HistoryLimits, HistoryQuery};

use super::Delivery;
use super::actor::ChannelActor;
use crate::options::RecoveryMode;

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
            }
            Some(_) => self.repair(limits).await,
        }
    }

    pub(super) async fn repair(&mut self, limits: HistoryLimits) {
        match self.catch_up(limits).await {
            Ok(Ok(())) => {}
            Ok(Err(InsufficientState)) => {
                self.flush().await;
                self.lose_subscribers(|subscriber| subscriber.flags.positioned);
            }
            // The next publication or check tries again.
            Err(error) => {
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

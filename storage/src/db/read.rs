//! Reading partitions and creating them.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::try_join_all;
use mundotango_protocol::new_id;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::change::{FIRST_PAUSE, PATIENCE, back_off};
use super::decide::new_mark;
use super::engine::{AT_ONCE, Entry, Freshness, RangeWanted, RowsWanted, Stored, Write};
use super::key::behind;
use super::outbox::{Effect, outbox_row, outbox_time};
use super::{Db, Kind, KindSpec};
use crate::cache::Family;
use crate::json::{decode, encode};
use crate::{Page, StoreError};

/// A partition's facts and head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found<F, H> {
    /// What was written when it was created.
    pub facts: F,
    /// What changes.
    pub head: H,
    /// Rises by one with each change; 0 before the first.
    pub version: u64,
}

/// Rows of a partition, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRange {
    prefix: String,
    from: Option<String>,
    after: Option<String>,
    limit: usize,
    backwards: bool,
}

impl RowRange {
    /// The first rows below a prefix that [`super::prefix`] made.
    pub fn first(prefix: String, limit: usize) -> Self {
        Self { prefix, from: None, after: None, limit, backwards: false }
    }

    /// The last rows below a prefix, the last one first.
    pub fn last(prefix: String, limit: usize) -> Self {
        Self { prefix, from: None, after: None, limit, backwards: true }
    }

    /// Another number of rows.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Only rows behind this key; in the range's own order.
    #[must_use]
    pub fn after(mut self, key: Option<String>) -> Self {
        self.after = key;
        self
    }

    /// Only rows from this key on, its own among them; of a range that is read forwards.
    #[must_use]
    pub fn starting_at(mut self, key: String) -> Self {
        self.from = Some(key);
        self
    }

    /// The range with one row more than the page takes, which tells whether there is a next page.
    fn wanted(&self) -> RangeWanted {
        let (mut start, mut end) = (self.prefix.clone(), behind(&self.prefix));
        if let Some(key) = &self.from {
            start = key.clone().max(start);
        }
        match &self.after {
            Some(key) if self.backwards => end = key.clone().min(end),
            // The first text behind a text is the same with the least character at its end.
            Some(key) => start = format!("{key}\0").max(start),
            None => {}
        }
        RangeWanted { start, end, limit: self.limit.saturating_add(1) }
    }
}

impl Db {
    /// Creates a partition by writing its facts, with the effects of that, and before them the entries that lead to it. The
    /// id is new: whether there is such a partition is not looked at. Writing the same again is harmless, so an unknown
    /// outcome may be tried again.
    pub async fn create<F: Serialize, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        facts: &F,
        entries: &[Entry],
        effects: &[Effect],
    ) -> Result<(), StoreError> {
        let (kind, effects) = (kind.spec(), self.caused(effects));
        // Who creates it again, after an unknown outcome, causes the same under the same names.
        let place = if outbox_time(id).is_some() { id.to_owned() } else { new_id() };
        let row = outbox_row(kind, id, &place, effects)?;
        self.engine.insert(kind, id, encode(facts)?, entries, row.as_ref()).await?;
        if let Some(row) = &row {
            self.hand_out(kind, id, row, effects);
        }
        Ok(())
    }

    /// Creates a partition with its head and first rows, if there is none with this id; whether there was none. A kind whose
    /// partitions are created this way is never written by [`Self::create`].
    pub async fn create_once<F: Serialize, H: Serialize, R: Serialize>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        facts: &F,
        head: &H,
        rows: &[(String, R)],
        entries: &[Entry],
    ) -> Result<bool, StoreError> {
        self.create_once_with_effects(kind, id, facts, head, rows, entries, &[]).await
    }

    /// The same, with the effects of the creation.
    #[expect(clippy::too_many_arguments, reason = "each is another part of what is created")]
    pub async fn create_once_with_effects<F: Serialize, H: Serialize, R: Serialize>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        facts: &F,
        head: &H,
        rows: &[(String, R)],
        entries: &[Entry],
        effects: &[Effect],
    ) -> Result<bool, StoreError> {
        let (mark, effects) = (new_mark(&self.writer), self.caused(effects));
        let rows = rows.iter().map(|(key, row)| Ok((key.clone(), Some(encode(row)?))));
        let write = Write {
            facts: Some(encode(facts)?),
            head: Some(encode(head)?),
            marks: vec![mark.clone()],
            deletes: false,
            rows: rows.collect::<Result<_, StoreError>>()?,
            entries: entries.to_vec(),
            outbox: outbox_row(kind.spec(), id, &new_id(), effects)?,
        };
        let created = self.create_if_absent(kind.spec(), id, &mark, &write).await;
        match (&created, &write.outbox) {
            (Ok(true), Some(row)) => self.hand_out(kind.spec(), id, row, effects),
            (Ok(false), Some(row)) => self.take_back(row).await,
            _ => {}
        }
        created
    }

    async fn create_if_absent(
        &self,
        kind: &'static KindSpec,
        id: &str,
        mark: &str,
        write: &Write,
    ) -> Result<bool, StoreError> {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
        let mut unknown: Option<StoreError> = None;
        loop {
            match self.engine.compare_and_set(kind, id, 0, write.clone()).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error @ StoreError::Unknown(_)) => unknown = Some(error),
                Err(error) => return Err(unknown.unwrap_or(error)),
            }
            match self.engine.load(kind, id, &RowsWanted::default(), Freshness::Settled).await {
                Ok(stored) if stored.marks.iter().any(|known| known == mark) => return Ok(true),
                Ok(stored) if stored.version > 0 && unknown.is_none() => return Ok(false),
                // So few changes leave the mark of the first one, which is then another's.
                Ok(stored) if (1..=super::engine::MARKS as u64).contains(&stored.version) => {
                    return Ok(false);
                }
                Ok(_) | Err(_) => {}
            }
            if Instant::now() + pause > deadline {
                let error = || StoreError::Unavailable(format!("too many create one of {}", kind.name));
                return Err(unknown.unwrap_or_else(error));
            }
            pause = back_off(pause).await;
        }
    }

    /// The facts and the head of a partition, through the cache if the kind is cached.
    pub async fn read<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
    ) -> Result<Option<Found<F, H>>, StoreError>
    where
        F: Serialize + DeserializeOwned + Send,
        H: Default + Serialize + DeserializeOwned + Send,
    {
        match (&self.cache, kind.spec().shared_ttl()) {
            (Some(cache), Some(ttl)) => {
                let family = Family::new(kind.spec().name, ttl);
                let mut asked = false;
                let load = async {
                    asked = true;
                    self.read_stored(kind, id).await
                };
                let found = cache.get_or_load(&family, id, load).await;
                kind.spec().count_read(asked);
                found
            }
            _ => self.read_stored(kind, id).await,
        }
    }

    /// The facts and the head of a partition as the engine has them now, with the rows of these keys that are there.
    pub async fn read_with<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        keys: &[&str],
    ) -> Result<Option<(Found<F, H>, BTreeMap<String, R>)>, StoreError>
    where
        F: DeserializeOwned,
        H: Default + DeserializeOwned,
        R: DeserializeOwned,
    {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let wanted = RowsWanted { keys, ranges: Vec::new() };
        let mut stored = self.engine.load(kind.spec(), id, &wanted, Freshness::Acknowledged).await?;
        let rows = std::mem::take(&mut stored.rows).into_iter();
        let rows = rows.map(|(key, body)| Ok((key, decode(&body)?))).collect::<Result<_, StoreError>>()?;
        Ok(found(kind.spec(), &stored)?.map(|found| (found, rows)))
    }

    async fn read_stored<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
    ) -> Result<Option<Found<F, H>>, StoreError>
    where
        F: DeserializeOwned,
        H: Default + DeserializeOwned,
    {
        let spec = kind.spec();
        found(spec, &self.engine.load(spec, id, &RowsWanted::default(), Freshness::Acknowledged).await?)
    }

    /// The partitions of these ids, in the ids' order; `None` for those that are not there or cannot be read, so that one
    /// damaged partition does not take a list down.
    pub async fn read_all<F, H, R>(
        &self,
        kind: &'static Kind<F, H, R>,
        ids: &[String],
    ) -> Result<Vec<Option<Found<F, H>>>, StoreError>
    where
        F: Serialize + DeserializeOwned + Send,
        H: Default + Serialize + DeserializeOwned + Send,
    {
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            if self.cache.is_none()
                && let Ok(stored) = self.engine.load_all(kind.spec(), some).await
            {
                let read = stored.iter().zip(some);
                let read = read.map(|(stored, id)| listed(kind.spec(), id, found(kind.spec(), stored)));
                all.extend(read.collect::<Result<Vec<_>, _>>()?);
                continue;
            }
            let read = some.iter().map(async |id| listed(kind.spec(), id, self.read(kind, id).await));
            all.extend(try_join_all(read).await?);
        }
        Ok(all)
    }

    /// The row of a key of a partition.
    pub async fn row<F, H, R: DeserializeOwned>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        key: &str,
    ) -> Result<Option<R>, StoreError> {
        let body = self.engine.row(kind.spec(), id, key).await?;
        body.map(|body| decode(&body)).transpose()
    }

    /// The rows of one key of several partitions, in the ids' order.
    pub async fn row_of_all<F, H, R: DeserializeOwned>(
        &self,
        kind: &'static Kind<F, H, R>,
        ids: &[String],
        key: &str,
    ) -> Result<Vec<Option<R>>, StoreError> {
        let mut rows = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            let read = self.engine.row_of_all(kind.spec(), some, key).await?.into_iter();
            let decoded = read.map(|body| body.map(|body| decode(&body)).transpose());
            rows.extend(decoded.collect::<Result<Vec<_>, StoreError>>()?);
        }
        Ok(rows)
    }

    /// Rows of a partition with their keys, a page at a time. The cursor is the last key. A row that cannot be read is left
    /// out.
    pub async fn rows<F, H, R: DeserializeOwned>(
        &self,
        kind: &'static Kind<F, H, R>,
        id: &str,
        range: &RowRange,
    ) -> Result<Page<(String, R)>, StoreError> {
        let read = self.engine.rows(kind.spec(), id, &range.wanted(), range.backwards).await?;
        let next = read.get(range.limit.wrapping_sub(1)).filter(|_| read.len() > range.limit);
        let next = next.map(|(key, _)| key.clone());
        let items = read.into_iter().take(range.limit).filter_map(|row| readable(kind.spec().name, id, row));
        Ok(Page { items: items.collect(), next })
    }

    /// Takes what the cache has of a partition away, on every node.
    pub(super) async fn forget(&self, kind: &KindSpec, id: &str) {
        if let (Some(cache), Some(ttl)) = (&self.cache, kind.shared_ttl()) {
            // Whatever the types are, a key is of the kind and the id.
            cache.invalidate(&[Family::<()>::new(kind.name, ttl).key(id)]).await;
        }
    }
}

/// A partition of a list. One that cannot be read is left out, so that it does not take the list down.
fn listed<T>(
    kind: &KindSpec,
    id: &str,
    read: Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::Damaged(error)) => {
            tracing::error!(error, kind = kind.name, id, "left out of a list");
            Ok(None)
        }
        outcome => outcome,
    }
}

/// An item of a list with its key. One that cannot be read is left out, so that it does not take the list down.
pub(super) fn readable<T: DeserializeOwned>(
    table: &str,
    list: &str,
    (key, body): (String, Bytes),
) -> Option<(String, T)> {
    match decode(&body) {
        Ok(item) => Some((key, item)),
        Err(error) => {
            tracing::error!(%error, table, list, key, "left out of a list");
            None
        }
    }
}

/// A partition that exists, with its types.
pub(super) fn found<F, H>(kind: &KindSpec, stored: &Stored) -> Result<Option<Found<F, H>>, StoreError>
where
    F: DeserializeOwned,
    H: Default + DeserializeOwned,
{
    if !stored.exists(kind) {
        return Ok(None);
    }
    let (facts, head) = (stored.decode_facts()?, stored.decode_head()?);
    Ok(Some(Found { facts, head, version: stored.version }))
}

//! Writing partitions whatever their types: emptying what is personal in them, and removing them.
//!
//! It goes through the same compare-and-set as every other change, with the version raised, so a change under way decides anew on
//! what is left. The edit changes nothing when it is done again, so an unknown outcome needs no mark: it is simply tried again.

use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;

use super::change::{FIRST_PAUSE, PATIENCE, back_off};
use super::engine::{Freshness, RowsWanted, Stored, Write};
use super::kind::PartOf;
use super::{Db, KindSpec, Plain};
use crate::StoreError;
use crate::json::encode;

impl Db {
    pub(super) async fn load_rows(
        &self,
        kind: &'static KindSpec,
        id: &str,
        keys: &[String],
    ) -> Result<Stored, StoreError> {
        let wanted = RowsWanted { keys: keys.to_vec(), ranges: Vec::new() };
        self.engine.load(kind, id, &wanted, Freshness::Settled).await
    }

    /// Has a partition read, with the rows of these keys, and written as `edit` leaves it, facts included; whether that changed
    /// anything. Rows may be taken out and put under other keys. Doing it again must change nothing. What the kind's types can
    /// no longer read is refused.
    pub async fn rewrite(
        &self,
        kind: &'static KindSpec,
        id: &str,
        keys: &[String],
        edit: impl Fn(&mut Plain) -> Result<(), StoreError> + Send + Sync,
    ) -> Result<bool, StoreError> {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
        loop {
            let stored = self.load_rows(kind, id, keys).await?;
            if !stored.exists(kind) {
                return Ok(false);
            }
            let before = Plain::of(id, &stored)?;
            let mut after = before.clone();
            edit(&mut after)?;
            if after == before {
                return Ok(false);
            }
            let (write, facts) = written(kind, &stored, &before, &after)?;
            match self.engine.compare_and_set(kind, id, stored.version, write).await {
                Ok(true) => {
                    if let Some(facts) = facts {
                        self.engine.put_facts(kind, id, facts).await?;
                    }
                    self.forget(kind, id).await;
                    return Ok(true);
                }
                Ok(false) | Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() + pause > deadline {
                return Err(StoreError::Unavailable(format!("too many change one of {}", kind.name)));
            }
            pause = back_off(pause).await;
        }
    }

    /// Deletes a partition, as a rule may; its id is never used again. Doing it again changes nothing.
    pub async fn remove(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError> {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
        loop {
            let stored = self.load_rows(kind, id, &[]).await?;
            if stored.deleted {
                if stored.facts.is_some() {
                    self.engine.purge(kind, id).await?;
                }
                return Ok(());
            }
            if !stored.exists(kind) {
                return Ok(());
            }
            let write = Write { marks: stored.marks, deletes: true, ..Write::default() };
            match self.engine.compare_and_set(kind, id, stored.version, write).await {
                Ok(true) => {
                    self.engine.purge(kind, id).await?;
                    self.forget(kind, id).await;
                    return Ok(());
                }
                Ok(false) | Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() + pause > deadline {
                return Err(StoreError::Unavailable(format!("too many change one of {}", kind.name)));
            }
            pause = back_off(pause).await;
        }
    }

    /// Removes a partition that has neither facts nor rows, and leaves no trace of its id, if `is_meant` says so of its head;
    /// whether it was there and is gone. Only for a kind whose partitions may be there again as if they had never been.
    pub async fn forget_partition(
        &self,
        kind: &'static KindSpec,
        id: &str,
        is_meant: impl Fn(&Plain) -> bool + Send + Sync,
    ) -> Result<bool, StoreError> {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
        loop {
            let stored = self.load_rows(kind, id, &[]).await?;
            if stored.version == 0 || stored.facts.is_some() || !is_meant(&Plain::of(id, &stored)?) {
                return Ok(false);
            }
            match self.engine.compare_and_forget(kind, id, stored.version).await {
                Ok(true) => {
                    self.forget(kind, id).await;
                    return Ok(true);
                }
                Ok(false) | Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() + pause > deadline {
                return Err(StoreError::Unavailable(format!("too many change one of {}", kind.name)));
            }
            pause = back_off(pause).await;
        }
    }
}

/// A part that was changed, if the kind's types still read it.
fn encoded(kind: &KindSpec, part: PartOf, value: &Value) -> Result<Bytes, StoreError> {
    let body = encode(value)?;
    (kind.reads_as)(part, &body)?;
    Ok(body)
}

/// The compare-and-set, and the facts that go with it where they are others.
fn written(
    kind: &KindSpec,
    stored: &Stored,
    before: &Plain,
    after: &Plain,
) -> Result<(Write, Option<Bytes>), StoreError> {
    let facts = after.facts.as_ref().filter(|_| after.facts != before.facts);
    let facts = facts.map(|facts| encoded(kind, PartOf::Facts, facts)).transpose()?;
    let head = match &after.head {
        Some(head) if after.head != before.head => Some(encoded(kind, PartOf::Head, head)?),
        _ => stored.head.clone(),
    };
    let mut write = Write {
        // What expires is written again as a whole: facts may not be gone before the head.
        facts: stored.facts.clone().filter(|_| kind.ttl.is_some()),
        head,
        marks: stored.marks.clone(),
        ..Write::default()
    };
    for key in before.rows.keys().filter(|key| !after.rows.contains_key(*key)) {
        write.rows.insert(key.clone(), None);
    }
    for (key, row) in after.rows.iter().filter(|(key, row)| before.rows.get(*key) != Some(*row)) {
        write.rows.insert(key.clone(), Some(encoded(kind, PartOf::Row, row)?));
    }
    Ok((write, facts))
}

//! The outbox: what changes cause, kept with them until it is carried out.
//!
//! A change's effects are one row of its partition, written by the same write, and before it an entry is written that leads
//! to them. So the effects of a change that happened are found, also if the node died right after it, and those of a change
//! that did not happen never are. The node that makes the change hands them to its [`Outlet`] at once; what that does not
//! carry out is found by [`Db::outbox`]. An effect may be carried out twice: its name, [`Due::effects`], is the same each time.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::engine::{Freshness, OutboxRow, RowsWanted, Write};
use super::{Db, KindSpec, shard_of};
use crate::json::decode;
use crate::{Page, StoreError};

/// The shards of the outbox. Each is carried out by one node, in the order of its changes.
pub const OUTBOX_SHARDS: u64 = 16;
/// Something that has to happen because of a change, in the application's own words.
#[derive(Clone, Debug)]
pub struct Effect(Arc<RawValue>);

impl Effect {
    /// Puts it into JSON.
    pub fn new(effect: &impl Serialize) -> Result<Self, StoreError> {
        to_raw_value(effect)
            .map(|json| Self(json.into()))
            .map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.get().len()
    }

    /// Reads it back.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        decode(self.0.get().as_bytes())
    }
}

impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

/// The effects of changes that were carried out together.
#[derive(Clone, Debug)]
pub struct Due {
    kind: Option<&'static KindSpec>,
    partition: String,
    shard: u64,
    key: String,
    effects: Result<Option<Vec<Effect>>, StoreError>,
}

impl Due {
    /// The shard that they are in.
    pub fn shard(&self) -> u64 {
        self.shard
    }

    /// The size of the effects in bytes.
    pub fn size(&self) -> usize {
        let effects = self.effects.as_ref().ok().and_then(Option::as_ref);
        effects.map_or(0, |effects| effects.iter().map(Effect::size).sum())
    }

    /// The partition that was changed.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// Their place in the shard. It begins with the time, so that places sort by it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The effects, each with a name that no other effect has; `None` where the entry leads to a change that did not happen,
    /// or has not happened yet. What cannot be read may be a newer version's.
    pub fn effects(&self) -> Result<Option<impl Iterator<Item = (String, &Effect)>>, StoreError> {
        let named = |(index, effect)| (format!("{}.{index}", self.key), effect);
        let effects = self.effects.as_ref().map_err(Clone::clone)?;
        Ok(effects.as_ref().map(|effects| effects.iter().enumerate().map(named)))
    }
}

/// Takes the effects of a change right after it.
pub trait Outlet: Send + Sync {
    /// Has them carried out, now or never: it does not wait. What it drops is found in the outbox later.
    fn take(&self, due: Due);
}

/// What is known of a change whose entry leads to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its partition is not there. It may be created late.
    MayCome,
    /// It will not happen any more, unless it has happened just now: what the entry leads to has to be read once more.
    Over,
}

/// The place of the first change of a time.
pub fn outbox_key(time: Timestamp) -> String {
    let millis = format!("{:012x}", time.as_millisecond().max(0));
    let (high, low) = millis.split_at(8);
    format!("{high}-{low}-7000-8000-000000000000")
}

/// The time of a place in the outbox.
pub fn outbox_time(key: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(super::bucket::millis_of_id(key)?).ok()
}

/// The effects of one compare-and-set or insert of a partition, on their way into the outbox.
pub(super) fn outbox_row(
    kind: &KindSpec,
    id: &str,
    key: &str,
    effects: &[Effect],
) -> Result<Option<OutboxRow>, StoreError> {
    if effects.is_empty() {
        return Ok(None);
    }
    let effects: Vec<&RawValue> = effects.iter().map(|effect| effect.0.as_ref()).collect();
    let effects = to_raw_value(&effects).map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(Some(OutboxRow { shard: shard(kind, id), key: key.to_owned(), effects: effects.into() }))
}

fn shard(kind: &KindSpec, id: &str) -> u64 {
    shard_of(&format!("{}/{id}", kind.name), OUTBOX_SHARDS)
}

fn read_effects(body: &Bytes) -> Result<Vec<Effect>, StoreError> {
    Ok(decode::<Vec<Box<RawValue>>>(body)?.into_iter().map(|one| Effect(one.into())).collect())
}

impl Db {
    /// The same, with the effects of changes handed to an outlet right after them. Without one they wait in the outbox.
    #[must_use]
    pub fn with_outlet(mut self, outlet: Arc<dyn Outlet>) -> Self {
        self.outlet = Some(outlet);
        self
    }

    /// Hands the effects of a change that was carried out to the outlet.
    pub(super) fn hand_out(&self, kind: &'static KindSpec, id: &str, row: &OutboxRow, effects: &[Effect]) {
        let Some(outlet) = &self.outlet else { return };
        outlet.take(Due {
            kind: Some(kind),
            partition: id.to_owned(),
            shard: row.shard,
            key: row.key.clone(),
            effects: Ok(Some(effects.to_vec())),
        });
    }

    /// Takes back the entry of a change that did not happen and never will.
    pub(super) async fn take_back(&self, row: &OutboxRow) {
        if let Err(error) = self.engine.carried_out(row.shard, std::slice::from_ref(&row.key)).await {
            tracing::debug!(%error, "the entry of a change that did not happen stays for now");
        }
    }

    /// What is in a shard of the outbox behind a place, the oldest first. The cursor is the last place.
    pub async fn outbox(
        &self,
        shard: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Due>, StoreError> {
        let pending = self.engine.outbox(shard, after, limit).await?;
        let next = pending.last().filter(|_| pending.len() == limit).map(|one| one.key.clone());
        let due = pending.into_iter().map(|one| {
            let effects = one.effects.and_then(|effects| effects.as_ref().map(read_effects).transpose());
            Due { kind: one.kind, partition: one.id, shard, key: one.key, effects }
        });
        Ok(Page { items: due.collect(), next })
    }

    /// Removes from a shard what was carried out. Doing it again changes nothing.
    pub async fn carried_out(&self, shard: u64, keys: &[String]) -> Result<(), StoreError> {
        if keys.is_empty() { Ok(()) } else { self.engine.carried_out(shard, keys).await }
    }

    /// Says that nothing is left in a shard before a place, and nothing will be written there.
    pub async fn outbox_is_empty_before(&self, shard: u64, key: &str) -> Result<(), StoreError> {
        self.engine.outbox_is_empty_before(shard, key).await
    }

    /// Makes sure that a change whose entry leads to nothing does not happen late: it expects a version of the partition, and
    /// that is over then.
    pub async fn overtake(&self, due: &Due) -> Result<Fate, StoreError> {
        let (Some(kind), id) = (due.kind, due.partition.as_str()) else { return Ok(Fate::MayCome) };
        let stored = self.engine.load(kind, id, &RowsWanted::default(), Freshness::Settled).await?;
        if stored.deleted {
            return Ok(Fate::Over);
        }
        if !stored.exists(kind) {
            return Ok(Fate::MayCome);
        }
        let write = Write {
            // What expires is written again as a whole, as by a change.
            facts: stored.facts.clone().filter(|_| kind.ttl.is_some()),
            head: stored.head.clone(),
            marks: stored.marks.clone(),
            ..Write::default()
        };
        // If another was faster, the version is over as well.
        self.engine.compare_and_set(kind, id, stored.version, write).await?;
        Ok(Fate::Over)
    }
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::new_id;

    use super::*;

    #[test]
    fn places_begin_with_their_time() {
        let time = Timestamp::from_millisecond(1_795_000_123_456).unwrap();
        let key = outbox_key(time);
        assert_eq!(outbox_time(&key), Some(time));
        assert!(outbox_time(&new_id()).unwrap() > time - jiff::SignedDuration::from_hours(24 * 3650));
        assert_eq!((super::super::OUTBOX.bucket)(&key), Some(1_795_000_123_456 / 60_000));
        assert!(new_id() > outbox_key(crate::now() - jiff::SignedDuration::from_secs(1)));
    }
}

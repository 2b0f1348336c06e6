//! Counters that many change at once: what belongs to one id is spread over shards, and all shards are read together.
//!
//! A shard is the implicit partition `<id>#<number>` of a kind of its own, so one compare-and-set at a time in each, and as
//! many beside each other as there are shards. A key (a user's id, say) always falls into the same one, which holds its row:
//! so a row and what is counted of it change in one step.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use moka::Expiry;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::decide::Attempt;
use super::engine::AT_ONCE;
use super::{Db, Decision, Kind, KindSpec, Part, Wants, shard_of};
use crate::StoreError;
use crate::json::decode;

/// Most ids of which a node keeps the shards' heads; what is asked for least goes first.
const KEPT: u64 = 10_000;
/// Stands between an id and the number of a shard.
const SEPARATOR: char = '#';

/// The heads of all shards of one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards<H> {
    /// By number; the default of those that never changed.
    pub heads: Vec<H>,
    /// Rises with each change of any of them.
    pub version: u64,
}

/// What is told of the ids whose shards change.
type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// The id whose shards are kept, with the kind and the type of its heads.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    kind: &'static str,
    heads: TypeId,
    id: String,
}

impl Place {
    fn of<H: 'static>(kind: &KindSpec, id: &str) -> Self {
        Self { kind: kind.name, heads: TypeId::of::<H>(), id: id.to_owned() }
    }
}

/// The heads that a node keeps for a time.
#[derive(Clone)]
struct Kept {
    ttl: Duration,
    heads: Arc<dyn Any + Send + Sync>,
}

struct OwnTime;

impl Expiry<Place, Kept> for OwnTime {
    fn expire_after_create(&self, _place: &Place, kept: &Kept, _at: Instant) -> Option<Duration> {
        Some(kept.ttl)
    }
}

/// The heads of one id, each with its version. They are there from before the first read on, so that a change which ends
/// during the read is not lost to what the read brings.
struct Heads<H> {
    read: OnceCell<()>,
    by_number: Mutex<Vec<(u64, H)>>,
}

impl<H: Clone + Default> Heads<H> {
    fn new(kind: &KindSpec) -> Self {
        let by_number = (0..shards_of(kind)).map(|_| (0, H::default())).collect();
        Self { read: OnceCell::new(), by_number: Mutex::new(by_number) }
    }

    /// Puts a head in the place of an older one.
    fn note(&self, number: usize, version: u64, head: H) {
        if let Some(known) = self.by_number.lock().get_mut(number)
            && known.0 < version
        {
            *known = (version, head);
        }
    }

    /// What all heads come to together.
    fn sum<T: Default>(&self, mut add: impl FnMut(&mut T, &H)) -> T {
        let mut sum = T::default();
        self.by_number.lock().iter().for_each(|(_, head)| add(&mut sum, head));
        sum
    }

    fn all(&self) -> Shards<H> {
        let by_number = self.by_number.lock();
        let version = by_number.iter().map(|(version, _)| version).sum();
        Shards { heads: by_number.iter().map(|(_, head)| head.clone()).collect(), version }
    }
}

/// What a node keeps of shards, and whom it tells of their changes.
pub(super) struct KeptShards {
    kept: moka::future::Cache<Place, Kept>,
    listeners: RwLock<HashMap<&'static str, Listener>>,
}

impl Default for KeptShards {
    fn default() -> Self {
        let kept = moka::future::Cache::builder().max_capacity(KEPT).expire_after(OwnTime).build();
        Self { kept, listeners: RwLock::default() }
    }
}

impl KeptShards {
    /// The heads that are kept of an id.
    async fn find<H: Send + Sync + 'static>(&self, kind: &KindSpec, id: &str) -> Option<Arc<Heads<H>>> {
        let kept = self.kept.get(&Place::of::<H>(kind, id)).await?;
        kept.heads.downcast().ok()
    }

    /// The same; from now on they are kept for a time.
    async fn find_or_keep<H>(&self, kind: &KindSpec, id: &str, ttl: Duration) -> Option<Arc<Heads<H>>>
    where
        H: Clone + Default + Send + Sync + 'static,
    {
        if let Some(kept) = self.find(kind, id).await {
            return Some(kept);
        }
        let new = async { Kept { ttl, heads: Arc::new(Heads::<H>::new(kind)) } };
        let kept = self.kept.entry(Place::of::<H>(kind, id)).or_insert_with(new).await;
        kept.into_value().heads.downcast().ok()
    }
}

fn shards_of(kind: &KindSpec) -> u64 {
    debug_assert!(kind.shards.is_some(), "{} is not sharded", kind.name);
    kind.shards.unwrap_or(1)
}

/// The partition of a shard.
fn shard_id(id: &str, number: u64) -> String {
    format!("{id}{SEPARATOR}{number}")
}

/// The partition of the shard that a key falls into.
fn shard_of_key(kind: &KindSpec, id: &str, key: &str) -> String {
    shard_id(id, shard_of(key, shards_of(kind)))
}

impl Db {
    /// Changes the shard into which a key falls, as [`Self::change`] changes a partition; `None` once they are deleted.
    pub async fn change_shard<H, R, T, E>(
        &self,
        kind: &'static Kind<(), H, R>,
        id: &str,
        key: &str,
        wants: Wants,
        rule: impl FnMut(&mut Part<'_, (), H, R>) -> Result<Decision<T>, E> + Send + 'static,
    ) -> Result<Option<T>, E>
    where
        H: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.change(kind, &shard_of_key(kind.spec(), id, key), wants, rule).await
    }

    /// One row of each of several ids, in their order: the row lies in the shards into which a key falls.
    pub async fn row_in_shards<H, R: DeserializeOwned>(
        &self,
        kind: &'static Kind<(), H, R>,
        ids: &[String],
        key: &str,
        row: &str,
    ) -> Result<Vec<Option<R>>, StoreError> {
        let shards: Vec<_> = ids.iter().map(|id| shard_of_key(kind.spec(), id, key)).collect();
        self.row_of_all(kind, &shards, row).await
    }

    /// What the heads of all shards of an id come to together; they are as old as the kind lets them be.
    pub async fn sum_of_shards<H, R, T: Default>(
        &self,
        kind: &'static Kind<(), H, R>,
        id: &str,
        add: impl FnMut(&mut T, &H),
    ) -> Result<T, StoreError>
    where
        H: Clone + Default + DeserializeOwned + Send + Sync + 'static,
    {
        let spec = kind.spec();
        let kept = match spec.cached {
            Some(ttl) => self.shards.find_or_keep::<H>(spec, id, ttl).await,
            None => None,
        };
        let heads = kept.unwrap_or_else(|| Arc::new(Heads::new(spec)));
        let mut asked = false;
        let read = || {
            asked = true;
            self.read_shards(spec, id, &heads)
        };
        // Whoever asks meanwhile waits for the same read.
        heads.read.get_or_try_init(read).await?;
        spec.count_read(asked);
        Ok(heads.sum(add))
    }

    /// The heads of all shards of an id as the engine has them now.
    pub async fn shards_now<H, R>(
        &self,
        kind: &'static Kind<(), H, R>,
        id: &str,
    ) -> Result<Shards<H>, StoreError>
    where
        H: Clone + Default + DeserializeOwned + Send + Sync + 'static,
    {
        let spec = kind.spec();
        let kept = self.shards.find::<H>(spec, id).await;
        let heads = kept.unwrap_or_else(|| Arc::new(Heads::new(spec)));
        self.read_shards(spec, id, &heads).await?;
        Ok(heads.all())
    }

    async fn read_shards<H>(
        &self,
        kind: &'static KindSpec,
        id: &str,
        heads: &Heads<H>,
    ) -> Result<(), StoreError>
    where
        H: Clone + Default + DeserializeOwned,
    {
        let ids: Vec<_> = (0..shards_of(kind)).map(|number| shard_id(id, number)).collect();
        for (chunk, some) in ids.chunks(AT_ONCE).enumerate() {
            let read = self.engine.load_all(kind, some).await?;
            for (index, stored) in read.into_iter().enumerate() {
                // One damaged shard does not take the others down.
                let head = stored.decode_head().unwrap_or_else(|error| {
                    tracing::error!(%error, kind = kind.name, id, "a shard is not counted");
                    H::default()
                });
                heads.note(chunk * AT_ONCE + index, stored.version, head);
            }
        }
        Ok(())
    }

    /// Deletes all shards of an id, with their rows. No later change brings one back.
    pub async fn delete_shards<H, R>(&self, kind: &'static Kind<(), H, R>, id: &str) -> Result<(), StoreError>
    where
        H: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let deleting = (0..shards_of(kind.spec())).map(|number| async move {
            let delete = |_: &mut Part<'_, (), H, R>| Ok::<_, StoreError>(Decision::Delete(()));
            self.change(kind, &shard_id(id, number), Wants::head(), delete).await
        });
        try_join_all(deleting).await.map(drop)
    }

    /// Says who is told of each id whose shards this node changed, or may have changed. It must not block. One a kind.
    pub fn on_change_of_shards<H, R>(
        &self,
        kind: &'static Kind<(), H, R>,
        listener: impl Fn(&str) + Send + Sync + 'static,
    ) {
        self.shards.listeners.write().insert(kind.spec().name, Arc::new(listener));
    }

    /// Keeps what a change left in a shard, and tells the kind's listener. Called before the change's caller is answered, who
    /// sees the own change by that.
    pub(super) async fn note_shard<H>(
        &self,
        kind: &'static KindSpec,
        partition: &str,
        sent: &Attempt,
        is_done: bool,
    ) where
        H: Clone + Default + DeserializeOwned + Send + Sync + 'static,
    {
        if kind.shards.is_none() {
            return;
        }
        let Some((id, number)) = partition.rsplit_once(SEPARATOR) else { return };
        if let Some(heads) = self.shards.find::<H>(kind, id).await {
            let head = sent.write.head.as_deref().map(decode);
            match (head, number.parse()) {
                (Some(Ok(head)), Ok(number)) if is_done && !sent.write.deletes => {
                    heads.note(number, sent.version + 1, head);
                }
                _ => self.shards.kept.invalidate(&Place::of::<H>(kind, id)).await,
            }
        }
        let listener = self.shards.listeners.read().get(kind.name).cloned();
        if let Some(listener) = listener {
            listener(id);
        }
    }
}

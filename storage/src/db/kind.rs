//! Declarations: the kinds of partitions and the indexes that a feature keeps its data in.
//!
//! A declaration is a constant. It names the table of the CQL server, the keyspace of the embedded store, the family of
//! the cache and the label of the metrics, so that each is said once.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use mundotango_ops::{IntCounter, metrics};
use serde::de::DeserializeOwned;

use super::bucket::minute_of_id;
use super::personal::{Erasure, Export, Fields, Whose, problems as wrong_fields};
use crate::StoreError;
use crate::json::decode;

/// What a body is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartOf {
    Facts,
    Head,
    Row,
}

/// Whether a body can be read as facts `F`, a head `H` or a row `R`.
fn reads_as<F: DeserializeOwned, H: DeserializeOwned, R: DeserializeOwned>(
    part: PartOf,
    body: &[u8],
) -> Result<(), StoreError> {
    match part {
        PartOf::Facts => decode::<F>(body).map(drop),
        PartOf::Head => decode::<H>(body).map(drop),
        PartOf::Row => decode::<R>(body).map(drop),
    }
}

/// What a kind of partition is, without its types.
#[derive(Debug)]
pub struct KindSpec {
    /// The table's name: `a-z`, `0-9` and `_`.
    pub name: &'static str,
    /// How large one partition may grow, in words. It is the table's comment on the CQL server.
    pub bound: &'static str,
    /// How long a read may come from the cache; it is not cached without it.
    pub cached: Option<Duration>,
    /// Whether rows are removed soon after they were written, and in great numbers.
    pub short_lived: bool,
    /// Whether a partition exists without having been created: its facts are then the type's default.
    pub implicit: bool,
    /// Over how many shards one thing's partition is spread; it is not without it.
    pub shards: Option<u64>,
    /// How long what is written lives; for ever without it.
    pub ttl: Option<Duration>,
    /// Which fields are personal, and how they are treated.
    pub personal: &'static [Fields],
    /// Whether a body can be read by the kind's types.
    pub(crate) reads_as: fn(PartOf, &[u8]) -> Result<(), StoreError>,
    /// Reads that the cache answered, and those that the store had to answer.
    reads: OnceLock<[IntCounter; 2]>,
}

impl KindSpec {
    fn reads(&self) -> &[IntCounter; 2] {
        self.reads.get_or_init(|| {
            [&metrics().cache_hits_total, &metrics().cache_misses_total]
                .map(|counter| counter.with_label_values(&[self.name]))
        })
    }

    /// Counts a read through the cache.
    pub(super) fn count_read(&self, is_from_store: bool) {
        self.reads()[usize::from(is_from_store)].inc();
    }

    /// How long the shared cache keeps a partition, if it does; shards are kept in the process alone.
    pub(super) fn shared_ttl(&self) -> Option<Duration> {
        self.cached.filter(|_| self.shards.is_none())
    }
}

/// A kind of partition: facts `F`, which are written once, a head `H` and rows `R` under ordered keys, which change
/// together and by compare-and-set only.
#[derive(Debug)]
pub struct Kind<F, H, R> {
    spec: KindSpec,
    types: Types<F, H, R>,
}

/// Types that are named and not held.
type Types<F, H, R> = PhantomData<fn() -> (F, H, R)>;

impl<F: DeserializeOwned, H: DeserializeOwned, R: DeserializeOwned> Kind<F, H, R> {
    /// Declares a kind by its name, in words the bound of one partition, and all fields of what is stored.
    pub const fn new(name: &'static str, bound: &'static str, personal: &'static [Fields]) -> Self {
        let spec = KindSpec {
            name,
            bound,
            cached: None,
            short_lived: false,
            implicit: false,
            shards: None,
            ttl: None,
            personal,
            reads_as: reads_as::<F, H, R>,
            reads: OnceLock::new(),
        };
        Self { spec, types: PhantomData }
    }
}

impl<F, H, R> Kind<F, H, R> {
    /// Facts and head are read through the cache and may be this old where the word of a change is lost.
    #[must_use]
    pub const fn cached(mut self, ttl: Duration) -> Self {
        self.spec.cached = Some(ttl);
        self
    }

    /// Rows are removed soon after they were written, and in great numbers: a CQL server keeps their tombstones for an hour
    /// only, or reads of the partition would go over those of days. A row that comes back must do no harm: a server that was
    /// away for longer than that may bring it.
    #[must_use]
    pub const fn short_lived(mut self) -> Self {
        self.spec.short_lived = true;
        self
    }

    /// Partitions of this kind need not be created: each id has one, with default facts and head.
    #[must_use]
    pub const fn implicit(mut self) -> Self {
        self.spec.implicit = true;
        self
    }

    /// For counters that many change at once: what belongs to one id lies in so many implicit partitions, and each key (a user's
    /// id, say) has its own among them. [`Db::change_shard`](super::Db::change_shard) and its neighbours work on them. The bound
    /// is that of one shard. A kind keeps its number for ever, as what was written stays where it is.
    ///
    /// With [`Self::cached`] the heads of all shards are kept together in the process alone: what this node changes shows here
    /// at once, and what others change may be as old as that says.
    #[must_use]
    pub const fn sharded(mut self, shards: u64) -> Self {
        assert!(shards > 0, "a kind has one shard at least");
        self.spec.shards = Some(shards);
        self.implicit()
    }

    /// What is written lives this long, in whole seconds: facts and head are read as absent that long after the last change
    /// (or the creation, where nothing was changed), and each row that long after it was written. An engine may take them for
    /// gone a second earlier, and the cache may show facts and head longer by its own time. The id is then as new as if there
    /// had never been such a partition, a deleted one included. Much longer than a change takes, which is tried for ten seconds.
    ///
    /// It is a property of the table, which an existing table does not get.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.spec.ttl = Some(ttl);
        self
    }

    /// The declaration without its types.
    pub const fn spec(&'static self) -> &'static KindSpec {
        &self.spec
    }
}

/// The order in which an index is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the greatest key to the least.
    NewestFirst,
    /// From the least key to the greatest.
    OldestFirst,
}

/// What an index is, without its type.
#[derive(Debug)]
pub struct IndexSpec {
    /// The table's name: `a-z`, `0-9` and `_`.
    pub name: &'static str,
    /// How large one bucket may grow, in words.
    pub bound: &'static str,
    /// The bucket of a key; `None` for a text that is no key of this index. Buckets sort as their keys do.
    pub bucket: fn(&str) -> Option<i64>,
    /// The order in which it is walked.
    pub order: Order,
    /// How long an entry lives; for ever without it.
    pub ttl: Option<Duration>,
    /// Whose the entries are, and how they are treated.
    pub personal: &'static [Fields],
}

/// An index: lists of entries `E` that are written once and never change, in buckets so that none grows without bound.
#[derive(Debug)]
pub struct Index<E> {
    spec: IndexSpec,
    entry: PhantomData<fn() -> E>,
}

impl<E> Index<E> {
    /// Declares an index by its name, the bound of one bucket in words, the bucket of a key, and what is personal in it.
    pub const fn new(
        name: &'static str,
        bound: &'static str,
        bucket: fn(&str) -> Option<i64>,
        order: Order,
        personal: &'static [Fields],
    ) -> Self {
        Self { spec: IndexSpec { name, bound, bucket, order, ttl: None, personal }, entry: PhantomData }
    }

    /// Entries live this long after they were written, in whole seconds; an engine may take them for gone a second earlier. It
    /// is a property of the table, which an existing table does not get.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.spec.ttl = Some(ttl);
        self
    }

    /// The declaration without its type.
    pub const fn spec(&'static self) -> &'static IndexSpec {
        &self.spec
    }
}

/// Leads to effects: a list a shard, by a key that begins with the time of the change.
pub(crate) static OUTBOX: IndexSpec = IndexSpec {
    name: "outbox",
    bound: "a minute of a shard: 60,000 entries of 150 B, 9 MB",
    bucket: minute_of_id,
    order: Order::OldestFirst,
    ttl: None,
    personal: &[Fields::of(
        Whose::Named,
        Export::NotGiven("it is a copy of what is stored elsewhere"),
        Erasure::Kept("until it is carried out: seconds, and as long as an engine is away"),
        &["list", "key", "entry.**"],
    )],
};

/// All kinds and indexes of an application. Every store is opened with it.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The kinds of partitions.
    pub kinds: Vec<&'static KindSpec>,
    /// The indexes.
    pub indexes: Vec<&'static IndexSpec>,
}

/// What the paths of a kind's fields begin with.
const KIND_PARTS: &[&str] = &["id", "facts", "head", "keys", "rows"];
/// The same of an index.
const INDEX_PARTS: &[&str] = &["list", "key", "entry"];
/// The longest name that both engines take for a table.
const MAX_NAME: usize = 40;
/// The longest time to live: some CQL servers take none that ends after 2038.
const MAX_TTL: Duration = Duration::from_hours(5 * 365 * 24);

impl Schema {
    /// What is wrong with the declarations: names that are taken twice or that a table cannot have, times to live that
    /// are not whole seconds, and fields that are declared twice or of no part of a partition.
    pub fn problems(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names().collect();
        let mut problems: Vec<_> = names
            .iter()
            .filter(|name| !is_table_name(name))
            .map(|name| format!("{name:?} is no name for a table: use a-z, 0-9 and _, at most {MAX_NAME}"))
            .collect();
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
        problems.extend(twice.map(|pair| format!("{:?} is declared twice", pair[0])));
        let wrong = self.tables().filter(|(_, ttl)| {
            ttl.is_some_and(|ttl| ttl.is_zero() || ttl.subsec_nanos() > 0 || ttl > MAX_TTL)
        });
        problems
            .extend(wrong.map(|(name, _)| {
                format!("the time to live of {name:?} is not whole seconds, up to 5 years")
            }));
        for (name, parts, fields) in self.declared() {
            problems.extend(wrong_fields(fields, parts).into_iter().map(|wrong| format!("{name}: {wrong}")));
        }
        problems
    }

    /// Makes the counters of what is cached, so that none appears only when it counts.
    pub(crate) fn make_counters(&self) {
        for kind in self.kinds.iter().filter(|kind| kind.cached.is_some()) {
            kind.reads();
        }
    }

    /// The indexes, and the one of the outbox.
    pub(crate) fn all_indexes(&self) -> impl Iterator<Item = &'static IndexSpec> {
        self.indexes.iter().copied().chain([&OUTBOX])
    }

    /// The names of all kinds and indexes, the parts that what is in them has, and its fields.
    pub fn declared(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static [&'static str], &'static [Fields])> {
        let kinds = self.kinds.iter().map(|kind| (kind.name, KIND_PARTS, kind.personal));
        kinds.chain(self.all_indexes().map(|index| (index.name, INDEX_PARTS, index.personal)))
    }

    /// The names of all kinds and indexes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.tables().map(|(name, _)| name)
    }

    /// The names of all kinds and indexes, and how long lives what is in them.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&'static str, Option<Duration>)> {
        let kinds = self.kinds.iter().map(|kind| (kind.name, kind.ttl));
        kinds.chain(self.all_indexes().map(|index| (index.name, index.ttl)))
    }
}

fn is_table_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= MAX_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &[Fields] = &[Fields::of_nobody(&["id", "body"])];

    static GOOD: Kind<(), (), ()> = Kind::new("good", "1 row", &[]);
    static TWICE: Index<()> = Index::new("good", "1 row", |_| Some(0), Order::OldestFirst, &[]);
    static BAD: Kind<(), (), ()> = Kind::new("Bad name", "1 row", WRONG).ttl(Duration::from_millis(1500));

    #[test]
    fn names_are_plain_and_taken_once() {
        let schema = Schema { kinds: vec![GOOD.spec()], indexes: vec![] };
        assert!(schema.problems().is_empty());
        let schema = Schema { kinds: vec![GOOD.spec(), BAD.spec()], indexes: vec![TWICE.spec()] };
        let problems = schema.problems().join("; ");
        assert!(problems.contains("Bad name") && problems.contains("declared twice"), "{problems}");
        assert!(problems.contains("whole seconds") && problems.contains("body"), "{problems}");
    }
}

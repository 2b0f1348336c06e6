//! How a shard of a queue is stored.
//!
//! The head knows what waits (in lanes), what is delayed, and who works on what. Rows: `w`, lane, place → a job that waits or
//! runs, its place being its id most often · `d`, due, id → a delayed job · `x`, place → a dead letter · `i`, id → the key of
//! a job that is not where its id alone leads · `u`, key → the id of the job that has a unique key · `n`, hour, id → that
//! the job of an effect was done in that hour, for as long as the effect may be carried out again.
//!
//! Each range of rows has a low mark, which never goes back: reads begin there, and so never go over the many rows that were
//! removed before it. What comes back before the mark of its lane is named in the head and read by its key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mundotango_storage::db::{Erasure, Export, Fields, Kind, Whose, key, last_part, prefix};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::kind::{JobKindSpec, Priority};
use crate::retries::RetryBudget;

/// The shards of all queues.
pub static JOBS: Kind<(), Head, Row> =
    Kind::new("jobs", "a shard of a queue: 1,000,000 jobs of 500 B, 500 MB", PERSONAL)
        .short_lived()
        .implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is a copy of what is stored elsewhere"),
        Erasure::Kept(
            "until the job is done: minutes, or the day that it is for; a dead letter until an operator removes it or 10,000 came after it",
        ),
        &["keys.*", "rows.**", "head.lanes.**"],
    ),
    Fields::of_nobody(&["id", "head.**"]),
];

/// Most failures of which a job remembers the reasons.
const MAX_TRIES: usize = 10;
/// The longest reason that is remembered, in bytes.
const MAX_REASON: usize = 500;

/// What changes of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// Nobody gets a turn.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
    /// Attempts that a node makes at the same time, if an operator said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<usize>,
    /// Jobs that wait, by the names of lanes.
    pub(crate) lanes: BTreeMap<String, Lane>,
    /// The time of fair queueing: that of the lane that got the last turn.
    pub(crate) turn: u64,
    /// The number of the last lease that was given: of two attempts at a job the one with the greater number counts.
    pub(crate) leases: u64,
    /// Jobs whose time has not come.
    pub(crate) delayed: Line,
    /// Who works on what, by the ids of jobs. It is shared, as rules get a copy of the head each.
    #[serde(with = "shared")]
    pub(crate) running: Arc<BTreeMap<String, Running>>,
    /// Beats of those that work here.
    pub(crate) holders: BTreeMap<String, u64>,
    /// Dead letters.
    pub(crate) dead: Line,
    /// What is remembered of jobs that were done.
    pub(crate) done: Line,
    /// Jobs that each group may begin in a minute, in all shards together, if an operator said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group_rate: Option<u32>,
    /// The budget of the shard's retries.
    pub(crate) retries: RetryBudget,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is shared in memory is stored as it is.
mod shared {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        shared: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        shared.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// Jobs of one priority and group that wait: those of `back`, and then those from the low mark on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lane {
    /// No job that waits has a place before this, but for those of `back`.
    pub(crate) low: String,
    pub(crate) waiting: u64,
    /// The places of jobs that came back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) back: BTreeSet<String>,
    /// The lane with the least gets the next turn.
    pub(crate) turn: u64,
}

/// Jobs in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// None has a key before this.
    pub(crate) low: String,
    pub(crate) count: u64,
}

/// An attempt that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) lane: String,
    /// Its place there, if that is not its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    pub(crate) holder: String,
    pub(crate) lease: u64,
    /// Since when, in milliseconds of the Unix epoch.
    pub(crate) since: i64,
    /// Until when it has to end, likewise.
    pub(crate) until: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cancelled: bool,
}

/// A row of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// A job.
    Job(#[serde(with = "shared")] Arc<Job>),
    /// The key of a job's row, or the id of a job.
    At(String),
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The name of its kind.
    pub kind: String,
    /// The version of its payload.
    pub version: u32,
    /// What is to be done, as JSON.
    pub payload: Box<RawValue>,
    /// Those of one group share turns with other groups.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// How soon it gets its turn.
    #[serde(default)]
    pub priority: Priority,
    /// The key of which there is one job at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// Attempts that failed.
    #[serde(default)]
    pub attempts: u32,
    /// How often it is tried.
    pub max_attempts: u32,
    /// How often its holder was lost since it last ran to an end.
    #[serde(default)]
    pub rescues: u32,
    /// How often it was left to nodes that know its kind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left: u32,
    /// When it was put into the queue, in milliseconds of the Unix epoch.
    #[serde(default)]
    pub enqueued: i64,
    /// When its time came, if it was delayed, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<i64>,
    /// Its id is that of what causes it, which may cause it again when it is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub named: bool,
    /// From when on it is of no use, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// The `traceparent` of what caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Why the last attempts failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
    /// How it ended, if it is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// When, in milliseconds of the Unix epoch.
    pub at: i64,
    /// Why.
    pub why: String,
}

/// How a job ended that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// The last attempt failed, or it can never be done.
    Failed,
    /// Its workers died too often.
    Poisonous,
    /// It came too late.
    Expired,
    /// An operator stopped it.
    Cancelled,
}

impl Job {
    pub(crate) fn new(kind: &JobKindSpec, payload: Box<RawValue>) -> Self {
        Self {
            kind: kind.name.to_owned(),
            version: kind.version,
            payload,
            group: String::new(),
            priority: kind.priority,
            unique: None,
            attempts: 0,
            max_attempts: kind.attempts,
            rescues: 0,
            left: 0,
            enqueued: 0,
            ready: None,
            named: false,
            expires: None,
            trace: None,
            tries: Vec::new(),
            ended: None,
        }
    }

    /// Remembers why an attempt failed.
    pub(crate) fn note(&mut self, at: i64, why: &str) {
        if self.tries.len() == MAX_TRIES {
            self.tries.remove(0);
        }
        let end = (0..=why.len().min(MAX_REASON)).rev().find(|end| why.is_char_boundary(*end));
        self.tries.push(Try { at, why: why[..end.unwrap_or_default()].to_owned() });
    }
}

pub(crate) fn waiting_prefix(lane: &str) -> String {
    prefix(&["w", lane])
}

pub(crate) fn waiting_key(lane: &str, place: &str) -> String {
    key(&["w", lane, place])
}

/// Stands between where a place sorts and the id of the job that has it, where that is not the whole place.
const OF: char = '~';

/// A place for a job that sorts as another text does.
pub(crate) fn place_at(text: &str, id: &str) -> String {
    format!("{text}{OF}{id}")
}

/// The id of the job that has a place.
pub(crate) fn id_of_place(place: &str) -> &str {
    place.rsplit_once(OF).map_or(place, |(_, id)| id)
}

impl Running {
    /// The key of the job's row.
    pub(crate) fn key(&self, id: &str) -> String {
        waiting_key(&self.lane, self.place.as_deref().unwrap_or(id))
    }
}

/// Where a row's key says that its job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Waiting,
    Delayed,
    Dead,
}

/// Where a row's key says that its job is.
pub(crate) fn area_of(key: &str) -> Option<Area> {
    match key.split('/').next()? {
        "w" => Some(Area::Waiting),
        "d" => Some(Area::Delayed),
        "x" => Some(Area::Dead),
        _ => None,
    }
}

/// The lane and the place that the key of a job's row names.
pub(crate) fn lane_and_place(key: &str) -> (String, String) {
    let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
    (last_part(parent), last_part(key))
}

/// The key of a delayed job. Times are of one length until the year 2286.
pub(crate) fn delayed_key(due: i64, id: &str) -> String {
    key(&["d", &format!("{:013}", due.max(0)), id])
}

/// What all keys of delayed jobs begin with that are due before this.
pub(crate) fn delayed_before(due: i64) -> String {
    key(&["d", &format!("{:013}", due.max(0))])
}

/// The time of a delayed job's key.
pub(crate) fn due_of(delayed: &str) -> Option<i64> {
    delayed.split('/').nth(1)?.parse().ok()
}

pub(crate) fn delayed_prefix() -> String {
    prefix(&["d"])
}

pub(crate) fn place_key(id: &str) -> String {
    key(&["i", id])
}

pub(crate) fn dead_prefix() -> String {
    prefix(&["x"])
}

pub(crate) fn dead_key(place: &str) -> String {
    key(&["x", place])
}

/// The length of a period at whose end what was done in it is forgotten, in milliseconds.
const DONE_PERIOD: i64 = 3_600_000;

/// The number of the period of a time in milliseconds of the Unix epoch.
pub(crate) fn done_period(millis: i64) -> i64 {
    millis.max(0) / DONE_PERIOD
}

/// The key that says that a job was done in a period. Numbers of periods are of one length for a million years.
pub(crate) fn done_key(period: i64, id: &str) -> String {
    key(&["n", &format!("{period:010}"), id])
}

/// The bound of the keys of jobs that were done before a period: all of them sort before it.
pub(crate) fn done_before(period: i64) -> String {
    key(&["n", &format!("{period:010}")])
}

pub(crate) fn unique_key(unique: &str) -> String {
    key(&["u", unique])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_head_without_anything_is_read_and_written() {
        let head: Head = serde_json::from_value(json!({})).unwrap();
        assert_eq!(head, Head::default());
        let again: Head = serde_json::from_value(serde_json::to_value(&head).unwrap()).unwrap();
        assert_eq!(again, head);
    }

    #[test]
    fn keys_tell_where_a_job_is() {
        let key = waiting_key("1a/b~c", "p~id");
        assert_eq!(lane_and_place(&key), ("1a/b~c".to_owned(), "p~id".to_owned()));
        assert_eq!(
            (area_of(&key), id_of_place("p~id"), id_of_place("id")),
            (Some(Area::Waiting), "id", "id")
        );
        assert_eq!(area_of(&delayed_key(1, "w")), Some(Area::Delayed));
        assert_eq!((area_of(&dead_key("d")), area_of(&unique_key("w"))), (Some(Area::Dead), None));
    }

    #[test]
    fn delayed_jobs_sort_by_their_time() {
        assert!(delayed_key(999, "b") < delayed_key(1_000, "a"));
        assert!(
            delayed_key(999, "b") < delayed_before(1_000) && delayed_before(1_000) < delayed_key(1_000, "a")
        );
        assert_eq!(due_of(&delayed_key(1_795_000_123_456, "a/b")), Some(1_795_000_123_456));
    }

    #[test]
    fn a_job_remembers_its_last_failures_and_no_more() {
        let mut job: Job =
            serde_json::from_value(json!({"kind": "k", "version": 1, "payload": {}, "max_attempts": 3}))
                .unwrap();
        for number in 0..20 {
            job.note(number, &"ñ".repeat(1_000));
        }
        assert_eq!((job.tries.len(), job.tries[0].at), (MAX_TRIES, 10));
        assert!(job.tries[0].why.len() <= MAX_REASON);
    }
}

//! Where the jobs of a shard are: putting them there and taking them away.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use mundotango_storage::db::{Part, behind, last_part, outbox_key, shard_of};

use crate::kind::Priority;
use crate::row::{
    Ended, Head, Job, Lane, Line, Row, dead_key, dead_prefix, delayed_key, id_of_place, place_at, place_key,
    unique_key, waiting_key,
};

/// A shard as rules see it.
pub type Shard<'a> = Part<'a, (), Head, Row>;

/// Groups with a lane of their own in a shard; those of more share some.
const MAX_LANES: usize = 128;
/// The lanes that are shared, of each priority.
const SHARED_LANES: u64 = 16;
/// Jobs of a lane that came back before its mark and are named in the head; more are put behind the mark.
const MAX_BACK: usize = 64;
/// Dead letters that a shard keeps; the oldest ones make room for more.
const MAX_DEAD: u64 = 10_000;
/// How far the clocks of nodes may differ, in milliseconds: jobs of a new lane with older ids are taken to come back.
const CLOCKS_DIFFER: i64 = 5_000;

/// A place that sorts as what was made at a time, in milliseconds of the Unix epoch.
pub(super) fn place_of(time: i64) -> String {
    outbox_key(Timestamp::from_millisecond(time.max(0)).unwrap_or(Timestamp::UNIX_EPOCH))
}

pub(super) fn own_lane(job: &Job) -> String {
    format!("{}{}", job.priority.digit(), job.group)
}

pub(super) fn shared_lane(job: &Job) -> String {
    format!("{}~{}", job.priority.digit(), shard_of(&job.group, SHARED_LANES))
}

/// The lane of a job.
fn lane_of(head: &Head, job: &Job) -> String {
    let own = own_lane(job);
    if head.lanes.len() < MAX_LANES || head.lanes.contains_key(&own) { own } else { shared_lane(job) }
}

/// A lane, new if there is none. What a turn costs is paid before the first one, or lanes of a single job would come before
/// all others.
fn lane_in<'a>(head: &'a mut Head, name: &str, place: &str, now: i64) -> &'a mut Lane {
    let turn = head.turn + priority_of(name).cost();
    head.lanes.entry(name.to_owned()).or_insert_with(|| {
        // The lane may have had jobs before, whose rows were removed.
        let low = place_of(now - CLOCKS_DIFFER).max(place.to_owned());
        Lane { low, waiting: 0, back: BTreeSet::new(), turn }
    })
}

/// Puts a job where it waits for its turn.
pub(super) fn put_waiting(part: &mut Shard<'_>, id: &str, job: Arc<Job>, now: i64) {
    let name = lane_of(&part.head, &job);
    let lane = lane_in(&mut part.head, &name, id, now);
    lane.waiting += 1;
    let mut place = id.to_owned();
    if place < lane.low {
        if lane.back.len() < MAX_BACK {
            lane.back.insert(place.clone());
        } else {
            place = place_at(&lane.low, id);
        }
    }
    let key = waiting_key(&name, &place);
    if place != id {
        part.set(place_key(id), Row::At(key.clone()));
    }
    part.set(key, Row::Job(job));
}

/// Lets a job wait again whose row is in its lane.
pub(super) fn give_back(head: &mut Head, lane: &str, place: &str, now: i64) {
    let lane = lane_in(head, lane, place, now);
    lane.waiting += 1;
    if place < lane.low.as_str() {
        lane.back.insert(place.to_owned());
    }
}

/// Removes the row of a job that has a place in a lane and waits there no longer.
pub(super) fn release_place(part: &mut Shard<'_>, lane: &str, place: &str) {
    let id = id_of_place(place);
    if id != place {
        part.remove(place_key(id));
    }
    part.remove(waiting_key(lane, place));
}

/// Takes a job out of its lane that waits there.
pub(super) fn take_from_lane(head: &mut Head, name: &str, place: &str) {
    let Some(lane) = head.lanes.get_mut(name) else { return };
    lane.back.remove(place);
    lane.waiting = lane.waiting.saturating_sub(1);
    if lane.waiting == 0 && lane.back.is_empty() {
        head.lanes.remove(name);
    }
}

pub(super) fn add_to(line: &mut Line, key: &str) {
    if line.count == 0 || key < line.low.as_str() {
        key.clone_into(&mut line.low);
    }
    line.count += 1;
}

pub(super) fn take_from(line: &mut Line, key: &str) {
    line.count = line.count.saturating_sub(1);
    if line.low == key {
        line.low = behind_key(key);
    }
}

/// Puts a job where it waits for its time.
pub(super) fn put_delayed(part: &mut Shard<'_>, id: &str, job: Arc<Job>, due: i64) {
    let key = delayed_key(due, id);
    add_to(&mut part.head.delayed, &key);
    part.set(place_key(id), Row::At(key.clone()));
    part.set(key, Row::Job(job));
}

/// Takes a delayed job away.
pub(super) fn remove_delayed(part: &mut Shard<'_>, key: String, id: &str) {
    take_from(&mut part.head.delayed, &key);
    part.remove(key);
    part.remove(place_key(id));
}

/// Takes a dead letter away.
pub(super) fn remove_dead(part: &mut Shard<'_>, key: String, id: &str) {
    take_from(&mut part.head.dead, &key);
    part.remove(key);
    part.remove(place_key(id));
}

/// Lets the next job of a unique key come.
pub(super) fn release_unique(part: &mut Shard<'_>, job: &Job) {
    if let Some(unique) = &job.unique {
        part.remove(unique_key(unique));
    }
}

/// Ends a job that was not done. Operators see it; of too many the oldest are gone.
pub(super) fn put_dead(part: &mut Shard<'_>, id: &str, mut job: Job, ended: Ended, now: i64) {
    release_unique(part, &job);
    job.ended = Some(ended);
    if part.head.dead.count >= MAX_DEAD {
        let (start, end) = (part.head.dead.low.clone(), behind(&dead_prefix()));
        let oldest = part.between(&start, &end, 1).into_iter().next().map(|(key, _)| key);
        if let Some(oldest) = oldest {
            let id = id_in(&oldest);
            remove_dead(part, oldest, &id);
        }
    }
    let key = dead_key(&place_at(&place_of(now), id));
    add_to(&mut part.head.dead, &key);
    part.set(place_key(id), Row::At(key.clone()));
    part.set(key, Row::Job(Arc::new(job)));
}

/// The id of the job whose row has a key.
pub(super) fn id_in(key: &str) -> String {
    id_of_place(&last_part(key)).to_owned()
}

/// The first key behind another.
pub(super) fn behind_key(key: &str) -> String {
    format!("{key}\0")
}

/// The priority that a lane's name begins with.
pub(super) fn priority_of(lane: &str) -> Priority {
    let all = [Priority::High, Priority::Normal, Priority::Low];
    all.into_iter().find(|priority| lane.starts_with(priority.digit())).unwrap_or_default()
}

/// The group of a lane, whose name is the priority's digit and the group.
pub(super) fn group_of(lane: &str) -> &str {
    lane.strip_prefix(|digit: char| digit.is_ascii_digit()).unwrap_or(lane)
}

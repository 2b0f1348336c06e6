//! Giving jobs their turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use mundotango_storage::db::{Decision, behind, last_part};

use super::{Shard, behind_id, put_dead, put_delayed, put_waiting, remove_delayed, wait_in};
use crate::kind::Priority;
use crate::row::{Ended, Head, Job, Row, Running, delayed_before, due_of, waiting_key, waiting_prefix};

/// Most attempts that are under way in a shard.
const MAX_RUNNING: usize = 512;
/// Delayed jobs whose time has come that are let in at once.
const PROMOTED_AT_ONCE: usize = 200;
/// How long a job waits whose kind the node does not know, in milliseconds: others know it, or will.
const UNKNOWN_WAITS: i64 = 30_000;

/// Who wants jobs, and which.
#[derive(Clone, Debug)]
pub struct Claim {
    /// One life of one node.
    pub holder: String,
    /// Most jobs.
    pub most: usize,
    /// The time, in milliseconds of the Unix epoch.
    pub now: i64,
    /// The kinds that the holder knows, with the newest version of the payload and how long an attempt may take, in
    /// milliseconds.
    pub known: Arc<BTreeMap<&'static str, (u32, i64)>>,
}

/// A job that got its turn.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its id.
    pub id: String,
    /// Which attempt it is; the first is 1.
    pub attempt: u32,
    /// The job.
    pub job: Arc<Job>,
}

/// Where a lane's next jobs are read.
pub(crate) fn range_of(lane: &str, low: &str) -> (String, String) {
    (waiting_key(lane, low), behind(&waiting_prefix(lane)))
}

/// Gives jobs their turn: those whose time has come join those that wait, and the lane that had the least gets the next turn.
pub fn claim(part: &mut Shard<'_>, claim: &Claim) -> Decision<Vec<Claimed>> {
    let promoted = promote(part, claim.now);
    let mut turns = Turns { claim, read: HashMap::new(), claimed: Vec::new(), changed: promoted > 0 };
    if !part.head.paused {
        let room = MAX_RUNNING.saturating_sub(part.head.running.len()).min(claim.most);
        while turns.claimed.len() < room && turns.next(part) {}
    }
    if !turns.claimed.is_empty() {
        *part.head.holders.entry(claim.holder.clone()).or_default() += 1;
        let running = Arc::make_mut(&mut part.head.running);
        running.extend(turns.claimed.iter().map(|(lane, one)| {
            let timeout = claim.known.get(one.job.kind.as_str()).map_or(0, |(_, timeout)| *timeout);
            let running = Running {
                lane: lane.clone(),
                holder: claim.holder.clone(),
                attempt: one.attempt,
                since: claim.now,
                until: claim.now.saturating_add(timeout),
                cancelled: false,
            };
            (one.id.clone(), running)
        }));
    }
    let changed = turns.changed || !turns.claimed.is_empty();
    let claimed = turns.claimed.into_iter().map(|(_, claimed)| claimed).collect();
    if changed { Decision::Write(claimed) } else { Decision::Stands(claimed) }
}

/// Lets delayed jobs wait for their turn whose time has come; how many.
fn promote(part: &mut Shard<'_>, now: i64) -> usize {
    let delayed = part.head.delayed.clone();
    if delayed.count == 0 || due_of(&delayed.low).is_some_and(|due| due > now) {
        return 0;
    }
    let end = delayed_before(now.saturating_add(1));
    let due = part.between(&delayed.low, &end, PROMOTED_AT_ONCE);
    let due: Vec<_> = due.into_iter().map(|(key, row)| (key, row.clone())).collect();
    for (key, row) in &due {
        let id = last_part(key);
        remove_delayed(part, key.clone(), &id);
        if let Row::Job(job) = row {
            put_waiting(part, &id, Arc::clone(job));
        }
    }
    // The next one is not before the last that was taken, nor before what was looked at if all of that was taken.
    let low = if due.len() < PROMOTED_AT_ONCE {
        end
    } else {
        due.last().map(|(key, _)| behind_id(key)).unwrap_or(end)
    };
    part.head.delayed.low = low;
    due.len()
}

/// The turns of one claim.
struct Turns<'a> {
    claim: &'a Claim,
    /// What lanes have next, as far as it was looked at.
    read: HashMap<String, VecDeque<(String, Arc<Job>)>>,
    /// With the lanes that they are from.
    claimed: Vec<(String, Claimed)>,
    changed: bool,
}

impl Turns<'_> {
    /// Gives a turn to the lane that had the least; whether there may be one more.
    fn next(&mut self, part: &mut Shard<'_>) -> bool {
        let next = part.head.lanes.iter().min_by_key(|(name, lane)| (lane.turn, *name));
        let Some((name, lane)) = next.map(|(name, lane)| (name.clone(), lane.clone())) else { return false };
        if !self.read.contains_key(&name) {
            let Some(read) = read(part, &name, &lane.low, self.claim.most) else { return false };
            self.read.insert(name.clone(), read);
        }
        let queue = self.read.entry(name.clone()).or_default();
        let Some((id, job)) = queue.pop_front() else {
            // Nothing waits there, whatever its number says: the lane ends. What is left was looked at as far as asked.
            if lane.waiting > self.claim.most as u64 {
                return false;
            }
            part.head.lanes.remove(&name);
            self.changed = true;
            return true;
        };
        self.changed = true;
        take(&mut part.head, &name, &id);
        self.give(part, name, id, job);
        true
    }

    fn give(&mut self, part: &mut Shard<'_>, lane: String, id: String, job: Arc<Job>) {
        let now = self.claim.now;
        if job.expires.is_some_and(|end| end <= now) {
            part.remove(waiting_key(&lane, &id));
            put_dead(part, &id, Job::clone(&job), Ended::Expired);
        } else if self.claim.known.get(job.kind.as_str()).is_none_or(|(newest, _)| *newest < job.version) {
            part.remove(waiting_key(&lane, &id));
            put_delayed(part, &id, job, now.saturating_add(UNKNOWN_WAITS));
        } else {
            let attempt = job.attempts + 1;
            self.claimed.push((lane, Claimed { id, attempt, job }));
        }
    }
}

/// The first jobs of a lane that wait; `None` if they have to be read first.
fn read(part: &mut Shard<'_>, lane: &str, low: &str, most: usize) -> Option<VecDeque<(String, Arc<Job>)>> {
    // Those that run stand between them where one of a lower id came back.
    let running = part.head.running.iter().filter(|(id, one)| one.lane == lane && id.as_str() >= low).count();
    let (start, end) = range_of(lane, low);
    let rows = part.between(&start, &end, most + running);
    let rows: Vec<_> = rows
        .into_iter()
        .filter_map(|(key, row)| match row {
            Row::Job(job) => Some((last_part(&key), Arc::clone(job))),
            Row::At(_) => None,
        })
        .collect();
    if part.is_missing() {
        return None;
    }
    Some(rows.into_iter().filter(|(id, _)| !part.head.running.contains_key(id)).collect())
}

/// Counts a job that leaves its lane.
fn take(head: &mut Head, name: &str, id: &str) {
    let Some(lane) = head.lanes.get_mut(name) else { return };
    head.turn = head.turn.max(lane.turn);
    lane.turn += priority_of(name).cost();
    lane.low = behind_id(id);
    lane.waiting = lane.waiting.saturating_sub(1);
    if lane.waiting == 0 {
        head.lanes.remove(name);
    }
}

/// The priority that a lane's name begins with.
fn priority_of(lane: &str) -> Priority {
    let all = [Priority::High, Priority::Normal, Priority::Low];
    all.into_iter().find(|priority| lane.starts_with(priority.digit())).unwrap_or_default()
}

/// Lets a job wait again whose row is in its lane.
pub(super) fn give_back(part: &mut Shard<'_>, lane: &str, id: &str) {
    wait_in(&mut part.head, lane, id);
}

//! Giving jobs their turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use mundotango_storage::db::{Decision, behind};

use super::places::{
    Shard, behind_key, group_of, id_in, priority_of, put_dead, put_delayed, put_waiting, release_place,
    remove_delayed, take_from_lane,
};
use super::rates::{GroupRates, Rate};
use crate::row::{
    Ended, Head, Job, Lane, Row, Running, delayed_before, delayed_prefix, due_of, id_of_place,
    lane_and_place, waiting_key, waiting_prefix,
};

/// Most attempts that are under way in a shard.
const MAX_RUNNING: usize = 256;
/// Lanes that get turns in one claim. All are read at once; the others wait for the next claim.
const MAX_LANES_AT_ONCE: usize = 8;
/// Delayed jobs whose time has come that are let in at once.
const PROMOTED_AT_ONCE: usize = 64;
/// The size of payloads, in bytes, from which no more jobs are let in at once: servers refuse writes that are too large.
const PROMOTED_BYTES: usize = 128 * 1024;
/// How long a job waits first whose kind the node does not know, in milliseconds: others know it, or will. It doubles.
const UNKNOWN_WAITS: i64 = 30_000;
/// How often that doubles: to an hour.
const MOST_DOUBLINGS: u32 = 7;

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
    /// The number of the holder's right to it.
    pub lease: u64,
    /// Which attempt it is; the first is 1.
    pub attempt: u32,
    /// The job.
    pub job: Arc<Job>,
}

/// What came of a claim.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Jobs that got their turn.
    pub claimed: Vec<Claimed>,
    /// Whether anything was done at all.
    pub is_progress: bool,
    /// The rates that groups have used up, for the next claim of this shard.
    pub rates: GroupRates,
    /// When a group that has used up its rate may go on, in milliseconds of the Unix epoch.
    pub free_at: Option<i64>,
}

/// Where a lane's next jobs are read.
pub(crate) fn range_of(lane: &str, low: &str) -> (String, String) {
    (waiting_key(lane, low), behind(&waiting_prefix(lane)))
}

/// Gives jobs their turn: those whose time has come join those that wait, and the lane that had the least gets the next turn,
/// of those whose groups may begin one. `rates` is what the claim before said of that.
pub fn claim(part: &mut Shard<'_>, claim: &Claim, rates: &GroupRates) -> Decision<Given> {
    let promoted = promote(part, claim.now);
    let rate = part.head.group_rate.map(Rate::of_shard);
    let rates = if rate.is_some() { rates.clone() } else { GroupRates::default() };
    let mut turns =
        Turns { claim, rate, rates, read: HashMap::new(), claimed: Vec::new(), changed: promoted };
    turns.rates.forget(claim.now);
    if !part.head.paused {
        let room = MAX_RUNNING.saturating_sub(part.head.running.len()).min(claim.most);
        turns.read_lanes(part, room);
        // Nothing is decided before all is read that is looked at.
        if part.is_missing() {
            return Decision::Stands(Given { rates: turns.rates, ..Given::default() });
        }
        while turns.claimed.len() < room && turns.next(part) {}
    }
    if !turns.claimed.is_empty() {
        *part.head.holders.entry(claim.holder.clone()).or_default() += 1;
    }
    let free_at = turns.free_at(&part.head);
    let mut running = std::mem::take(&mut part.head.running);
    let claimed = turns.claimed.into_iter().map(|(lane, place, job)| {
        part.head.leases += 1;
        let id = id_of_place(&place).to_owned();
        let attempt = job.attempts + 1;
        let timeout = claim.known.get(job.kind.as_str()).map_or(0, |(_, timeout)| *timeout);
        let entry = Running {
            lane,
            place: Some(place).filter(|place| *place != id),
            holder: claim.holder.clone(),
            lease: part.head.leases,
            since: claim.now,
            until: claim.now.saturating_add(timeout),
            cancelled: false,
        };
        Arc::make_mut(&mut running).insert(id.clone(), entry);
        Claimed { id, lease: part.head.leases, attempt, job }
    });
    let claimed: Vec<_> = claimed.collect();
    part.head.running = running;
    let given = Given { claimed, is_progress: turns.changed, rates: turns.rates, free_at };
    if given.is_progress { Decision::Write(given) } else { Decision::Stands(given) }
}

/// Lets delayed jobs wait for their turn whose time has come; whether that changed anything.
fn promote(part: &mut Shard<'_>, now: i64) -> bool {
    let delayed = part.head.delayed.clone();
    if delayed.count == 0 || due_of(&delayed.low).is_some_and(|due| due > now) {
        return false;
    }
    // One more, so that the mark is where the next one is, unless that is due as well.
    let end = behind(&delayed_prefix());
    let rows = part.between(&delayed.low, &end, PROMOTED_AT_ONCE + 1);
    let rows: Vec<_> = rows.into_iter().map(|(key, row)| (key, row.clone())).collect();
    if part.is_missing() {
        return false;
    }
    let (due, mut bytes) = (delayed_before(now.saturating_add(1)), 0);
    let mut low = None;
    for (key, row) in rows {
        let Row::Job(mut job) = row else { continue };
        if key >= due || bytes >= PROMOTED_BYTES {
            low = Some(key);
            break;
        }
        bytes += job.payload.get().len();
        let id = id_in(&key);
        low = Some(behind_key(&key));
        Arc::make_mut(&mut job).ready = due_of(&key);
        remove_delayed(part, key, &id);
        put_waiting(part, &id, job, now);
    }
    match low {
        Some(low) => part.head.delayed.low = low,
        // Whatever its number says.
        None => part.head.delayed.count = 0,
    }
    part.head.delayed != delayed
}

/// The turns of one claim.
struct Turns<'a> {
    claim: &'a Claim,
    /// How many jobs each group may begin, if an operator set a limit.
    rate: Option<Rate>,
    rates: GroupRates,
    /// What lanes have next, by their names.
    read: HashMap<String, Next>,
    /// Jobs that got their turn, with their lanes and places.
    claimed: Vec<(String, String, Arc<Job>)>,
    changed: bool,
}

/// What a lane has next.
struct Next {
    jobs: VecDeque<(String, Arc<Job>)>,
    /// Whether that is all that it has.
    is_all: bool,
}

impl Turns<'_> {
    /// When the jobs of a lane may begin; `None` if they may now. What is in no group has no limit.
    fn held_until(&self, lane: &str) -> Option<i64> {
        let group = Some(group_of(lane)).filter(|group| !group.is_empty());
        let (rate, group) = self.rate.zip(group)?;
        Some(self.rates.free_at(group, rate, self.claim.now)).filter(|at| *at > self.claim.now)
    }

    /// When the first lane may go on of those that are held.
    fn free_at(&self, head: &Head) -> Option<i64> {
        self.rate.and_then(|_| head.lanes.keys().filter_map(|lane| self.held_until(lane)).min())
    }

    /// Reads what the lanes have next whose turns come first.
    fn read_lanes(&mut self, part: &mut Shard<'_>, room: usize) {
        let lanes = part.head.lanes.iter().filter(|(name, _)| self.held_until(name).is_none());
        let mut lanes: Vec<_> = lanes.collect();
        lanes.sort_by_key(|(name, lane)| (lane.turn, *name));
        let first = lanes.into_iter().take(room.min(MAX_LANES_AT_ONCE));
        let first: Vec<_> = first.map(|(name, lane)| (name.clone(), lane.clone())).collect();
        for (name, lane) in first {
            let next = read(part, &name, &lane, room);
            self.read.insert(name, next);
        }
    }

    /// Gives a turn to the lane that had the least; whether there may be one more.
    fn next(&mut self, part: &mut Shard<'_>) -> bool {
        let may_begin = |name: &str| self.read.contains_key(name) && self.held_until(name).is_none();
        let lanes = part.head.lanes.iter().filter(|(name, _)| may_begin(name));
        let Some(name) = lanes.min_by_key(|(name, lane)| (lane.turn, *name)).map(|(name, _)| name.clone())
        else {
            return false;
        };
        let Some(next) = self.read.get_mut(&name) else { return false };
        let Some((place, job)) = next.jobs.pop_front() else {
            if next.is_all {
                // Nothing waits there, whatever its number says.
                part.head.lanes.remove(&name);
                self.changed = true;
            }
            // What it has beyond that waits for the next claim.
            self.read.remove(&name);
            return true;
        };
        self.changed = true;
        take(&mut part.head, &name, &place);
        self.give(part, name, place, job);
        true
    }

    fn give(&mut self, part: &mut Shard<'_>, lane: String, place: String, job: Arc<Job>) {
        let now = self.claim.now;
        let id = id_of_place(&place).to_owned();
        if job.expires.is_some_and(|end| end <= now) {
            release_place(part, &lane, &place);
            put_dead(part, &id, Job::clone(&job), Ended::Expired, now);
        } else if self.claim.known.get(job.kind.as_str()).is_none_or(|(newest, _)| *newest < job.version) {
            release_place(part, &lane, &place);
            let mut job = Job::clone(&job);
            let waits = UNKNOWN_WAITS << job.left.min(MOST_DOUBLINGS);
            job.left = job.left.saturating_add(1);
            put_delayed(part, &id, Arc::new(job), now.saturating_add(waits));
        } else {
            if let Some(rate) = self.rate {
                self.rates.begin(group_of(&lane), rate, now);
            }
            self.claimed.push((lane, place, job));
        }
    }
}

/// The first jobs of a lane that wait.
fn read(part: &mut Shard<'_>, name: &str, lane: &Lane, most: usize) -> Next {
    let mut jobs = VecDeque::new();
    let job_of = |row: Option<&Row>| match row {
        Some(Row::Job(job)) => Some(Arc::clone(job)),
        Some(Row::At(_)) | None => None,
    };
    for place in lane.back.iter().take(most) {
        if let Some(job) = job_of(part.row(&waiting_key(name, place))) {
            jobs.push_back((place.clone(), job));
        }
    }
    // Those that run may stand between them where the lane was empty in between.
    let is_between =
        |id: &str, one: &Running| one.lane == name && one.place.as_deref().unwrap_or(id) >= lane.low.as_str();
    let running = part.head.running.iter().filter(|(id, one)| is_between(id, one)).count();
    let wanted = most.saturating_sub(jobs.len()) + running;
    let (start, end) = range_of(name, &lane.low);
    let rows = part.between(&start, &end, wanted);
    let is_all = lane.back.len() <= most && rows.len() < wanted;
    let rows = rows.into_iter().filter_map(|(key, row)| Some((lane_and_place(&key).1, job_of(Some(row))?)));
    jobs.extend(rows.collect::<Vec<_>>());
    // One that runs has no turn, whatever its place.
    jobs.retain(|(place, _)| !part.head.running.contains_key(id_of_place(place)));
    Next { jobs, is_all }
}

/// Counts a job that leaves its lane for a turn.
fn take(head: &mut Head, name: &str, place: &str) {
    let Some(lane) = head.lanes.get_mut(name) else { return };
    head.turn = head.turn.max(lane.turn);
    lane.turn += priority_of(name).cost();
    if !lane.back.contains(place) {
        lane.low = behind_key(place);
    }
    take_from_lane(head, name, place);
}

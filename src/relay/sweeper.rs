//! Finding what was left behind in a shard of the outbox: by nodes that died, or because it failed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_actors::Vitals;
use mundotango_ops::Seldom;
use mundotango_storage::db::{Due, Fate, outbox_key, outbox_time};
use mundotango_storage::{StoreError, now};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{MAX_FAILURES, Relay};

/// How often an owner looks for what was left behind.
const SWEEP: Duration = Duration::from_secs(2);
/// The age from which effects are taken to be left behind.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_secs(5);
/// The age from which a change whose entry leads to nothing is made impossible: longer than a change is tried, by clocks that
/// differ.
const IN_VAIN: SignedDuration = SignedDuration::from_mins(5);
/// The age from which effects that fail, or whose partition never came, are given up. It is longer than a request may be sent
/// again under its idempotency key, which creates the same partition at the same place.
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(25);
/// Effects of other nodes appear this much behind the newest ones at the most: as far as their clocks may differ, and longer.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(2);
/// How often all is looked at that clocks that differ may have put behind what was looked at before.
const LATE: Duration = Duration::from_secs(30);
/// How far behind the newest effects the others appear that are looked at each time: longer than a change takes.
const RECENT: SignedDuration = SignedDuration::from_secs(20);
/// How often a whole shard is looked at, and not only what is new.
const WHOLE: Duration = Duration::from_hours(1);
/// Entries of one look.
const PAGE: usize = 100;
/// Looks of one sweep, so that what is new gets its turn.
const MAX_PAGES: usize = 10;
/// The first pause before an effect that failed is tried again; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause before an effect that failed is tried again.
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// Entries of a shard of which it is remembered when to look at them again.
const MAX_PUT_OFF: usize = 10_000;

/// Looks after one shard, while it is this node's, until the node ends.
pub(super) async fn run(relay: &Relay, shard: u64, vitals: &Vitals) {
    let mut sweeper = Sweeper::new(shard);
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        sweeps.tick().await;
        if !relay.owns(shard) {
            sweeper = Sweeper::new(shard);
        } else if let Err(error) = sweeper.sweep(relay).await {
            static LINES: Seldom = Seldom::once_a_minute();
            if let Some(left_out) = LINES.may_write() {
                tracing::warn!(%error, shard, left_out, "outbox not read");
            }
        }
        vitals.handled();
    }
}

/// What a task knows of its shard.
struct Sweeper {
    shard: u64,
    /// The whole shard is looked at from then on.
    whole_at: Instant,
    /// All behind [`Self::late`] is looked at from then on.
    late_at: Instant,
    /// The place behind which something may have come late.
    late: Option<String>,
    /// The place behind which to look otherwise.
    recent: Option<String>,
    /// Where the sweep before ended, if it was too long.
    walk: Option<Walk>,
    /// Entries that are not done, and when to look at them again.
    put_off: HashMap<String, PutOff>,
}

#[derive(Clone)]
struct PutOff {
    until: Instant,
    pause: Duration,
    /// The names of those of its effects that are done.
    done: BTreeSet<String>,
    /// The change cannot happen any more, if it has not.
    is_over: bool,
}

impl Sweeper {
    fn new(shard: u64) -> Self {
        let now = Instant::now();
        Self {
            shard,
            whole_at: now,
            late_at: now,
            late: None,
            recent: None,
            walk: None,
            put_off: HashMap::new(),
        }
    }

    async fn sweep(&mut self, relay: &Relay) -> Result<(), StoreError> {
        let now = now();
        let young = outbox_key(now - LEFT_BEHIND);
        let mut walk = self.walk.take().unwrap_or_else(|| self.new_walk(now));
        if walk.reach == Reach::Recent && self.put_off.is_empty() && relay.has_left_nothing() {
            return Ok(());
        }
        let mut failures = 0;
        for _ in 0..MAX_PAGES {
            let page = relay.db.outbox(self.shard, walk.after.as_deref(), PAGE).await?;
            let is_last = page.items.last().is_none_or(|due| due.key() >= young.as_str());
            let mut done = Vec::new();
            for due in page.items.iter().filter(|due| due.key() < young.as_str()) {
                match self.look_at(relay, due, now).await {
                    Look::Done => done.push(due),
                    Look::Left => walk.leave(due),
                    Look::Parked => walk.park(due),
                    Look::Failed => {
                        walk.leave(due);
                        failures += 1;
                    }
                }
                if failures == MAX_FAILURES {
                    break;
                }
            }
            let keys: Vec<_> = done.iter().map(|due| due.key().to_owned()).collect();
            if relay.remove(self.shard, &keys).await {
                for key in keys {
                    self.put_off.remove(&key);
                }
            } else {
                for due in done {
                    walk.leave(due);
                }
            }
            if failures == MAX_FAILURES {
                // What effects need is away; the walk begins anew then.
                return Ok(());
            }
            walk.after = page.next;
            if is_last || walk.after.is_none() {
                return self.end(walk, relay).await;
            }
        }
        self.walk = Some(walk);
        Ok(())
    }

    fn new_walk(&self, began: Timestamp) -> Walk {
        let now = Instant::now();
        let (reach, after) = if now >= self.whole_at {
            (Reach::Whole, None)
        } else if now >= self.late_at {
            (Reach::Late, self.late.clone())
        } else {
            (Reach::Recent, self.recent.clone())
        };
        Walk { began, after, reach, oldest_left: None, oldest_parked: None }
    }

    async fn look_at(&mut self, relay: &Relay, due: &Due, now: Timestamp) -> Look {
        let before = self.put_off.get(due.key()).cloned();
        if before.as_ref().is_some_and(|before| Instant::now() < before.until) {
            return Look::Left;
        }
        let (is_new, pause) =
            before.as_ref().map_or((true, FIRST_PAUSE), |before| (false, (before.pause * 2).min(MAX_PAUSE)));
        let (mut is_over, mut done) = before.map(|before| (before.is_over, before.done)).unwrap_or_default();
        let age = outbox_time(due.key()).map_or(SignedDuration::MAX, |time| now.duration_since(time));
        let look = match relay.carry_out(due, None, &mut done).await {
            Ok(true) => return Look::Done,
            // The change was made impossible before this look, and did not happen.
            Ok(false) if is_over => return Look::Done,
            Ok(false) if age < IN_VAIN => Look::Left,
            Ok(false) => match relay.db.overtake(due).await {
                Ok(Fate::Over) => {
                    is_over = true;
                    Look::Left
                }
                Ok(Fate::MayCome) if age > GIVEN_UP => return Look::Done,
                Ok(Fate::MayCome) => Look::Parked,
                Err(error) => {
                    tracing::debug!(%error, "the partition of a lost change not read");
                    Look::Left
                }
            },
            Err(error) if age > GIVEN_UP => {
                tracing::error!(%error, key = due.key(), shard = self.shard, "what a change causes is given up");
                mundotango_ops::metrics().outbox_given_up_total.inc();
                return Look::Done;
            }
            Err(error) => {
                static LINES: Seldom = Seldom::once_a_minute();
                if let Some(left_out) = LINES.may_write() {
                    let (key, shard) = (due.key(), self.shard);
                    tracing::warn!(%error, key, shard, left_out, "what a change causes still waits");
                }
                if is_new { Look::Failed } else { Look::Left }
            }
        };
        if self.put_off.len() < MAX_PUT_OFF || !is_new {
            let until = Instant::now() + pause;
            self.put_off.insert(due.key().to_owned(), PutOff { until, pause, done, is_over });
        }
        look
    }

    /// Remembers how far the shard is known to be empty.
    async fn end(&mut self, walk: Walk, relay: &Relay) -> Result<(), StoreError> {
        // Others may have removed what was put off here.
        self.put_off.retain(|_, put_off| put_off.until + MAX_PAUSE > Instant::now());
        let earliest = |key: String, others: [&Option<String>; 2]| {
            others.into_iter().flatten().cloned().fold(key, Ord::min)
        };
        if walk.reach == Reach::Whole {
            self.whole_at = Instant::now() + WHOLE;
            let written = outbox_key(walk.began - GIVEN_UP);
            let empty_before = earliest(written, [&walk.oldest_left, &walk.oldest_parked]);
            relay.db.outbox_is_empty_before(self.shard, &empty_before).await?;
        }
        if walk.reach != Reach::Recent {
            self.late_at = Instant::now() + LATE;
            self.late = Some(earliest(outbox_key(walk.began - CLOCKS_DIFFER), [&walk.oldest_left, &None]));
        }
        // What was put off is looked at again each time.
        let oldest = self.put_off.keys().min().and_then(|key| outbox_time(key)).map(outbox_key);
        self.recent = Some(earliest(outbox_key(walk.began - RECENT), [&oldest, &None]));
        Ok(())
    }
}

/// How far back a walk begins. What was carried out is gone, but stores read over it for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Whole,
    Late,
    Recent,
}

/// A walk through a shard, of one sweep or several.
struct Walk {
    began: Timestamp,
    after: Option<String>,
    reach: Reach,
    /// A place before the first entry that was left.
    oldest_left: Option<String>,
    /// A place before the first entry that only walks through the whole shard look at again.
    oldest_parked: Option<String>,
}

impl Walk {
    fn leave(&mut self, due: &Due) {
        self.oldest_left = self.oldest_left.take().into_iter().chain(place_before(due)).min();
    }

    fn park(&mut self, due: &Due) {
        self.oldest_parked = self.oldest_parked.take().or_else(|| place_before(due));
    }
}

/// A place before an entry and all others of its millisecond.
fn place_before(due: &Due) -> Option<String> {
    outbox_time(due.key()).map(outbox_key)
}

/// What came of looking at an entry.
enum Look {
    /// It can be removed.
    Done,
    /// It has to be looked at again soon.
    Left,
    /// It has to be looked at again some time.
    Parked,
    /// Carrying it out failed for the first time.
    Failed,
}

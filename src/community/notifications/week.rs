//! Weeks in which the clocks change, on a clock that the test sets: pushes with quiet hours, and digests. The jobs' queue is
//! played: each job is run at its time or up to an hour late, once or twice, and some are cut off before they told anybody.
//! What is expected comes from the local clock, walked minute by minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Jobs, State};
use mundotango_push::{Destination, PushOptions, Pusher, VapidKeys};
use mundotango_storage::db::{Db, Decision, Due, Outlet, Wants};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::zone_named;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::devices::DeviceStore;
use super::kinds::NotificationKind;
use super::ladder::Teller;
use super::preferences::{PREFERENCES, Preferences};
use super::store::{NOTIFICATIONS, NotificationStore};
use super::tell::{PUSHES, Tell};
use super::words::several;
use crate::community::clocks::WEEKS;
use crate::email::Language;

const QUIET: [(&str, &str); 8] = [
    ("22:00", "07:00"),
    ("01:30", "02:30"),
    ("02:00", "03:00"),
    ("00:00", "00:30"),
    ("23:30", "01:45"),
    ("22:00", "02:15"),
    ("01:45", "06:00"),
    ("23:15", "23:45"),
];
/// How often digests come, and when.
const DIGESTS: [(&str, &str); 8] = [
    ("daily", "09:00"),
    ("daily", "02:15"),
    ("daily", "00:15"),
    ("daily", "01:45"),
    ("daily", "23:30"),
    ("weekly", "09:00"),
    ("weekly", "00:15"),
    ("weekly", "23:45"),
];
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(10);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Jobs on their way into the queue: their names and what they are.
type Made = Vec<(String, Value)>;

/// What changes caused for each user.
#[derive(Default)]
struct Caused(Mutex<BTreeMap<String, Made>>);

impl Outlet for Caused {
    fn take(&self, due: Due) {
        for (name, effect) in due.effects().unwrap().unwrap() {
            let effect: Value = effect.read().unwrap();
            if let Some(user_id) = effect["job"]["job"]["payload"]["user_id"].as_str() {
                self.0.lock().entry(user_id.to_owned()).or_default().push((name, effect["job"].clone()));
            }
        }
    }
}

struct World {
    db: Db,
    jobs: Jobs,
    teller: Teller,
    notifications: NotificationStore,
    caused: Arc<Caused>,
    _store: EmbeddedStore,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let (options, schema) = (EmbeddedOptions::default(), crate::community::schema_of_tests());
        let store = EmbeddedStore::open(folder.path(), &options, &schema).unwrap();
        let caused = Arc::new(Caused::default());
        let db = store.stores().db.with_outlet(Arc::<Caused>::clone(&caused));
        let jobs = Jobs::new(db.clone(), |_, _| ());
        let options = PushOptions { subject: "mailto:ops@example.com".to_owned(), ..PushOptions::default() };
        let pusher = Arc::new(Pusher::new(&options, VapidKeys::generate().unwrap()).unwrap());
        let teller = Teller::new(&db, jobs.clone(), pusher, "https://example.com", Language::En);
        let notifications = NotificationStore::new(db.clone());
        Self { db, jobs, teller, notifications, caused, _store: store, _folder: folder }
    }

    async fn add_user(&self, user_id: &str, preferences: Value) {
        let preferences: Preferences = serde_json::from_value(preferences).unwrap();
        let written = self.db.change(&PREFERENCES, user_id, Wants::head(), move |part| {
            part.head = preferences.clone();
            Ok::<_, mundotango_storage::StoreError>(Decision::Write(()))
        });
        written.await.unwrap();
        let phone: Destination =
            serde_json::from_value(json!({"kind": "fcm", "token": format!("token-of-{user_id}")})).unwrap();
        DeviceStore::new(self.db.clone()).register(user_id, phone, None).await.unwrap();
    }

    /// Jobs that handlers put into the queue themselves.
    async fn enqueued(&self, user_id: &str) -> Made {
        let mut made = Vec::new();
        for state in [State::Delayed, State::Waiting] {
            for shown in self.jobs.page(PUSHES.name, state, None, 1_000).await.unwrap().items {
                if shown.job.group == user_id {
                    self.jobs.drop_job(&shown.id).await.unwrap();
                    let due = shown.due;
                    made.push((shown.id.id, json!({"due": due, "job": *shown.job})));
                }
            }
        }
        made
    }
}

/// A job whose time is set.
struct Planned {
    id: String,
    kind: String,
    payload: Value,
    /// The node dies before it tells anybody.
    is_cut_off: bool,
}

/// The jobs of one user, played, and what came of them.
struct Player<'a> {
    world: &'a World,
    user_id: String,
    is_late: bool,
    random: SmallRng,
    /// By time, in the order in which they were put there.
    queue: BTreeMap<(Timestamp, usize), Planned>,
    known: BTreeSet<String>,
    /// What is due later is left out, but for pushes.
    ends: Timestamp,
    pushes: Vec<(Timestamp, Vec<u64>)>,
    digests: Vec<(Timestamp, Vec<u64>)>,
}

impl<'a> Player<'a> {
    fn new(world: &'a World, user_id: String, is_late: bool, ends: Timestamp, seed: u64) -> Self {
        let (queue, known) = (BTreeMap::new(), BTreeSet::new());
        let random = SmallRng::seed_from_u64(seed);
        let (pushes, digests) = (Vec::new(), Vec::new());
        Self { world, user_id, is_late, random, queue, known, ends, pushes, digests }
    }

    /// Up to an hour, where jobs are late.
    fn delay(&mut self) -> SignedDuration {
        if self.is_late && self.random.random_ratio(2, 3) {
            SignedDuration::from_secs(self.random.random_range(0..3_600))
        } else {
            SignedDuration::ZERO
        }
    }

    fn enqueue(&mut self, id: &str, new: &Value, now: Timestamp) {
        // One that is there, or was done, is not put there again.
        if !self.known.insert(id.to_owned()) {
            return;
        }
        let kind = new["job"]["kind"].as_str().unwrap().to_owned();
        let payload = new["job"]["payload"].clone();
        if kind == "digest_letter" {
            let numbers = serde_json::from_value(payload["numbers"].clone()).unwrap();
            return self.digests.push((now, numbers));
        }
        let due = new["due"].as_str().map_or(now, |due| due.parse().unwrap()).max(now);
        if kind == "digest" && due > self.ends {
            return;
        }
        // What happened is told at once, so that the test knows when it was.
        let mut at = if kind == "notify" { due } else { due + self.delay() };
        let is_cut_off = kind == "push" && self.random.random_ratio(1, 8);
        let runs = if is_cut_off || self.random.random_ratio(1, 4) { 2 } else { 1 };
        for run in 0..runs {
            let is_cut_off = is_cut_off && run == 0;
            let planned =
                Planned { id: id.to_owned(), kind: kind.clone(), payload: payload.clone(), is_cut_off };
            self.queue.insert((at, self.known.len() * 2 + run), planned);
            at += self.delay();
        }
    }

    /// Has the user told at each of some times, and runs what that causes.
    async fn live(&mut self, arrivals: &[Timestamp]) {
        for (number, at) in arrivals.iter().enumerate() {
            let (kind, thing) = (NotificationKind::EventAnswers, format!("event-{number}"));
            let tell = Tell { kind, title: thing.clone(), thing, actor_id: None, count: 1, stale_at: None };
            let effect = serde_json::to_value(tell.effect(&self.user_id).unwrap()).unwrap();
            self.enqueue(&format!("arrival-{number}"), &effect["job"], *at);
        }
        while let Some(((now, _), planned)) = self.queue.pop_first() {
            self.run(&planned, now).await;
            let caused = self.world.caused.0.lock().remove(&self.user_id).unwrap_or_default();
            for (id, new) in caused {
                self.enqueue(&id, &new, now);
            }
        }
    }

    async fn run(&mut self, planned: &Planned, now: Timestamp) {
        let World { teller, notifications, db, .. } = self.world;
        match planned.kind.as_str() {
            "notify" => {
                let job = serde_json::from_value(planned.payload.clone()).unwrap();
                teller.tell(&planned.id, job, now).await.unwrap();
            }
            "push" => {
                let due = teller.due_push(&planned.id, &self.user_id, now).await.unwrap();
                let Some(due) = due else {
                    for (id, new) in self.world.enqueued(&self.user_id).await {
                        self.enqueue(&id, &new, now);
                    }
                    return;
                };
                if planned.is_cut_off {
                    return;
                }
                let inbox = db.read(&NOTIFICATIONS, &self.user_id).await.unwrap().unwrap().head;
                let numbers = inbox.pushing.unwrap().numbers;
                if numbers.len() > 1 {
                    assert_eq!(due.push.body, Some(several(Language::En, numbers.len())));
                }
                self.pushes.push((now, numbers));
                notifications.finish_push(&self.user_id, &planned.id).await.unwrap();
            }
            "digest" => teller.digest(&self.user_id, now).await.unwrap(),
            other => panic!("nobody does the job {other}"),
        }
    }
}

/// What was to happen, and what did.
#[derive(Default)]
struct Counts {
    expected: usize,
    happened: usize,
    missed: usize,
    twice: usize,
}

impl Counts {
    fn sum(all: Vec<Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            expected: sum.expected + one.expected,
            happened: sum.happened + one.happened,
            missed: sum.missed + one.missed,
            twice: sum.twice + one.twice,
        })
    }

    fn print(&self, (zone, week, change): (&str, &str, &str), what: &str) {
        let Self { expected, happened, missed, twice } = self;
        println!("| {zone} | {week} | {change} | {what} | {expected} | {happened} | {missed} | {twice} |");
    }

    /// What happened by number, against what was to happen.
    fn of(told: &[u64], expected: usize) -> Self {
        let once: BTreeSet<_> = told.iter().collect();
        let twice = told.len() - once.len();
        Self { expected, happened: told.len(), missed: expected - once.len(), twice }
    }
}

fn local(zone: &TimeZone, at: Timestamp) -> DateTime {
    at.to_zoned_datetime(zone.clone()).datetime()
}

/// Minutes on the face of a clock from one time of day to another.
fn minutes(from: Time, to: Time) -> i64 {
    let of_day = |time: Time| i64::from(time.hour()) * 60 + i64::from(time.minute());
    (of_day(to) - of_day(from)).rem_euclid(24 * 60)
}

fn minute_of(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second() / 60 * 60).unwrap()
}

fn is_quiet(zone: &TimeZone, (from, to): (Time, Time), at: Timestamp) -> bool {
    minutes(from, local(zone, at).time()) < minutes(from, to)
}

/// The first minute that is not before the end of the quiet, and after which the clock shows none before it again.
fn end_of_quiet(zone: &TimeZone, quiet: (Time, Time), at: Timestamp) -> Timestamp {
    if !is_quiet(zone, quiet, at) {
        return at;
    }
    let mut minute = minute_of(at);
    let shown = local(zone, minute);
    let left = minutes(shown.time(), quiet.1);
    let (end, mut last) = (shown + SignedDuration::from_mins(left), minute);
    // No clock is set by more than two hours.
    for _ in 0..left + 2 * 60 {
        if local(zone, minute) < end {
            last = minute;
        }
        minute += MINUTE;
    }
    last + MINUTE
}

/// The first minute of each day, or of each Monday, that is not before an hour.
fn digests_due(zone: &TimeZone, often: &str, hour: Time, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let mut days = BTreeSet::new();
    let mut due = Vec::new();
    let mut minute = from - SignedDuration::from_hours(26);
    while minute <= to {
        let shown = local(zone, minute);
        let is_day = often == "daily" || shown.weekday() == Weekday::Monday;
        if is_day && shown.time() >= hour && days.insert(shown.date()) && minute > from {
            due.push(minute);
        }
        minute += MINUTE;
    }
    due
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn week(zone: &str, day: &str) -> (TimeZone, Timestamp, Timestamp) {
    let from: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
    (zone_named(zone).unwrap(), from, from + SignedDuration::from_hours(7 * 24))
}

fn each(step: SignedDuration, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    std::iter::successors(Some(from), |at| Some(*at + step)).take_while(|at| *at < to).collect()
}

/// Each quarter of an hour from a day before the clocks change to a day after that, and each third hour of the other days.
fn quarters_about(change: Timestamp, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let is_near = |at: &Timestamp| at.duration_since(change).abs() <= HOUR * 24;
    let is_third_hour = |at: &Timestamp| at.as_second() % (3 * 60 * 60) == 0;
    let quarters = each(SignedDuration::from_mins(15), from, to).into_iter();
    quarters.filter(|at| is_near(at) || is_third_hour(at)).collect()
}

/// A user who is told something at many quarters of an hour, and has quiet hours.
async fn quiet_week(world: &World, zone: &str, day: &str, number: usize, is_late: bool) -> Counts {
    let (from_text, to_text) = QUIET[number];
    let quiet = (time(from_text), time(to_text));
    let user_id = format!("quiet-{number}-{is_late}");
    let hours = json!({"from": quiet.0, "to": quiet.1});
    let wants = json!({"time_zone": zone, "quiet_hours": hours, "digests": "off"});
    world.add_user(&user_id, wants).await;
    let (zone, from, to) = week(zone, day);
    let mut player = Player::new(world, user_id, is_late, to, number as u64);
    let arrivals = quarters_about(zone.following(from).next().unwrap().timestamp(), from, to);
    player.live(&arrivals).await;

    // A push tells all that has come until then.
    let pushed: BTreeSet<_> =
        arrivals.iter().map(|at| end_of_quiet(&zone, quiet, *at + SHOWN_WITHIN)).collect();
    let due: Vec<_> = arrivals.iter().map(|at| *pushed.range(*at..).next().unwrap()).collect();
    for (at, numbers) in &player.pushes {
        assert!(!is_quiet(&zone, quiet, *at), "{quiet:?}: a push at {}", local(&zone, *at));
        for number in numbers {
            let number = usize::try_from(*number).unwrap() - 1;
            if is_late {
                // A job that comes late into the quiet has another at its end; the second of two may be the first that tells.
                let mut latest = due[number];
                for _ in 0..3 {
                    latest = end_of_quiet(&zone, quiet, latest + HOUR);
                }
                assert!(arrivals[number] <= *at && *at <= latest + HOUR, "{quiet:?} {at} {}", due[number]);
            } else {
                assert_eq!(*at, due[number], "{quiet:?}: of {}", local(&zone, arrivals[number]));
            }
        }
    }
    let told: Vec<_> = player.pushes.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect();
    Counts::of(&told, arrivals.len())
}

/// A user who is told something every five hours, and gets digests.
async fn digest_week(world: &World, zone: &str, day: &str, number: usize, is_late: bool) -> Counts {
    let (often, hour) = DIGESTS[number];
    let user_id = format!("digest-{number}-{is_late}");
    let ways = json!({"eventAnswers": {"inApp": true, "push": false, "email": true}});
    let wants = json!({"time_zone": zone, "digests": often, "digest_hour": time(hour), "kinds": ways});
    world.add_user(&user_id, wants).await;
    let (zone, from, to) = week(zone, day);
    let mut player = Player::new(world, user_id, is_late, to, number as u64);
    player.live(&each(SignedDuration::from_hours(5), from, to)).await;

    let due = digests_due(&zone, often, time(hour), from, to);
    let mut counts = Counts { expected: due.len(), happened: player.digests.len(), ..Counts::default() };
    let (mut next, latest) = (1, if is_late { HOUR } else { SignedDuration::ZERO });
    for at in &due {
        let those: Vec<_> =
            player.digests.iter().filter(|(sent, _)| at <= sent && *sent <= *at + latest).collect();
        counts.missed += usize::from(those.is_empty());
        counts.twice += those.len().saturating_sub(1);
        for (_, numbers) in those {
            for told in numbers {
                assert_eq!(*told, next, "{often} {hour}: each is told once, in its order");
                next += 1;
            }
        }
    }
    let sent: Vec<_> = player.digests.iter().map(|(at, _)| local(&zone, *at)).collect();
    assert_eq!(counts.happened + counts.missed, counts.expected + counts.twice, "{often} {hour}: {sent:?}");
    counts
}

/// What came of a week of pushes and of digests, of users whose jobs are punctual and others whose jobs are late.
async fn week_of_all(zone: &str, day: &str) -> (Counts, Counts) {
    let world = World::new();
    let modes = |number: usize| [(number, false), (number, true)];
    let quiet = (0..QUIET.len()).flat_map(modes);
    let quiet = quiet.map(|(number, is_late)| quiet_week(&world, zone, day, number, is_late));
    let digests = (0..DIGESTS.len()).flat_map(modes);
    let digests = digests.map(|(number, is_late)| digest_week(&world, zone, day, number, is_late));
    let (quiet, digests) = tokio::join!(join_all(quiet), join_all(digests));
    (Counts::sum(quiet), Counts::sum(digests))
}

#[tokio::test]
async fn t48_t27_weeks_of_pushes_and_digests_over_changes_of_the_clocks_have_none_missed_and_none_twice() {
    println!("| zone | week of | change | what | expected | happened | missed | twice |");
    println!("|---|---|---|---|---|---|---|---|");
    // On the heap: all of them together are too large for a stack.
    let all = join_all(WEEKS.map(|(zone, day, _)| Box::pin(week_of_all(zone, day)))).await;
    for (row, (pushes, digests)) in WEEKS.into_iter().zip(all) {
        for (what, counts) in [("pushes", pushes), ("digests", digests)] {
            counts.print(row, what);
            assert!(counts.missed == 0 && counts.twice == 0, "{row:?}: {what}");
        }
    }
}

//! Weeks in which the clocks change, on a clock that the test sets: reminders of events. The jobs' queue is played: each job
//! is run at its time or up to half an hour late, and some are run twice. What is expected comes from the local clock, walked
//! minute by minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::input::read_value;
use mundotango_gateway::tokens::Tokens;
use mundotango_jobs::{Attempted, Jobs, State};
use mundotango_storage::db::{Due, Outlet, outbox_time};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::zone_named;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::announce::{announce_cancelled, announce_change};
use super::editing::Change;
use super::places::Heads;
use super::rules::{Cancelled, Plan, RsvpChoice, RsvpCounts, Settings};
use super::schedule::{GivenTime, Schedule, Zone};
use super::store::{Edited, Event, EventStore, EventType};
use crate::community::accounts::profile::Profile;
use crate::community::accounts::store::{AccountStore, User};
use crate::community::clocks::WEEKS;
use crate::community::letters::{self, Letters};
use crate::community::location::Location;
use crate::email::{MailOptions, Message, SendError, Transport};

/// When events begin, on each day of the week.
const BEGIN: [&str; 7] = ["00:15", "01:15", "01:45", "02:15", "02:45", "12:00", "23:30"];
const GOING: [&str; 2] = ["ana", "bruno"];
/// May come, and gave the place back.
const OTHERS: [&str; 2] = ["carla", "diego"];
/// By how many seconds jobs are late at the most: the second run of one that is late comes within the hour for which the queue
/// remembers what it did.
const LATEST: i64 = 30 * 60;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The jobs that changes caused, with their names.
#[derive(Default)]
struct Caused(Mutex<Vec<(String, Value)>>);

impl Outlet for Caused {
    fn take(&self, due: Due) {
        for (name, effect) in due.effects().unwrap().unwrap() {
            let effect: Value = effect.read().unwrap();
            if !effect["job"].is_null() {
                self.0.lock().push((name, effect["job"].clone()));
            }
        }
    }
}

/// How many letters were sent.
#[derive(Clone, Default)]
struct Sent(Arc<AtomicUsize>);

#[async_trait]
impl Transport for Sent {
    async fn send(&self, _: &Message) -> Result<(), SendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What is done at a time.
enum Step {
    Job { id: String, kind: String, payload: Value, enqueued: Timestamp, is_again: bool },
    Move { event_id: String, when: Schedule },
    Cancel { event_id: String },
    Decline { event_id: String },
}

/// A reminder: who was reminded of which start of which event, and by what.
type Reminder = (String, Timestamp, String, &'static str);

struct World {
    events: EventStore,
    letters: Letters,
    jobs: Jobs,
    caused: Arc<Caused>,
    sent: Sent,
    /// The most by which a job is late, in seconds.
    latest: i64,
    random: SmallRng,
    /// By time, in the order in which they were put there.
    steps: BTreeMap<(Timestamp, usize), Step>,
    put: usize,
    done: BTreeSet<String>,
    reminders: Vec<(Timestamp, Reminder)>,
    _store: EmbeddedStore,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(latest: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (options, schema) = (EmbeddedOptions::default(), crate::community::schema_of_tests());
        let store = EmbeddedStore::open(folder.path(), &options, &schema).unwrap();
        let caused = Arc::new(Caused::default());
        let db = store.stores().db.with_outlet(Arc::<Caused>::clone(&caused));
        let jobs = Jobs::new(db.clone(), |_, _| ());
        let tokens = Arc::new(Tokens::new(&[7; 32], Duration::from_hours(1)));
        let (options, sent) = (MailOptions::default(), Sent::default());
        let letters = Letters::new(&db, jobs.clone(), tokens, &options, Box::new(sent.clone())).unwrap();
        let accounts = AccountStore::new(db.clone());
        for name in GOING.into_iter().chain(OTHERS) {
            let user = User {
                id: name.to_owned(),
                email: format!("{name}@example.com"),
                username: name.to_owned(),
                full_name: name.to_owned(),
                role: serde_json::from_value(json!("user")).unwrap(),
                bio: None,
                city: None,
                avatar_url: None,
                profile: Profile::default(),
                is_verified: true,
                paused_since: None,
                created_at: Timestamp::UNIX_EPOCH,
            };
            accounts.create(&user, String::new()).await.unwrap().unwrap();
        }
        let (random, steps) = (SmallRng::seed_from_u64(7), BTreeMap::new());
        let (events, put, done, reminders) = (EventStore::new(db), 0, BTreeSet::new(), Vec::new());
        Self {
            events,
            letters,
            jobs,
            caused,
            sent,
            latest,
            random,
            steps,
            put,
            done,
            reminders,
            _store: store,
            _folder: folder,
        }
    }

    fn put(&mut self, at: Timestamp, step: Step) {
        self.put += 1;
        self.steps.insert((at, self.put), step);
    }

    fn delay(&mut self) -> SignedDuration {
        SignedDuration::from_secs(self.random.random_range(0..=self.latest))
    }

    /// Puts a job into the queue. One that is there is not put there again, and neither is one that was done within an hour of
    /// the time with which its name begins.
    fn enqueue(&mut self, id: &str, new: &Value, now: Timestamp) {
        let is_there =
            self.steps.values().any(|step| matches!(step, Step::Job { id: known, .. } if known == id));
        let caused = id.get(..36).and_then(outbox_time).unwrap();
        if is_there || self.done.contains(id) && now.duration_since(caused) <= HOUR {
            return;
        }
        let (kind, payload) = (new["job"]["kind"].as_str().unwrap(), &new["job"]["payload"]);
        if kind == "notify" && payload["kind"] == "eventReminder" {
            // The list takes what a job tells once, by the job's name.
            if self.done.insert(id.to_owned()) {
                self.note(now, payload["thing"].as_str().unwrap(), caused + DAY, payload, "list");
            }
        }
        if !["event_reminders", "reminder_letter"].contains(&kind) {
            return;
        }
        let due = new["due"].as_str().map_or(now, |due| due.parse().unwrap()).max(now);
        let mut at = due + self.delay();
        for run in 0..self.random.random_range(1..=2) {
            let (id, kind, payload) = (id.to_owned(), kind.to_owned(), payload.clone());
            self.put(at, Step::Job { id, kind, payload, enqueued: now, is_again: run > 0 });
            at += self.delay();
        }
    }

    fn note(&mut self, now: Timestamp, event_id: &str, starts: Timestamp, payload: &Value, by: &'static str) {
        let user_id = payload["user_id"].as_str().unwrap().to_owned();
        self.reminders.push((now, (event_id.to_owned(), starts, user_id, by)));
    }

    async fn give(&self, when: Schedule, now: Timestamp) -> String {
        let id = mundotango_protocol::new_id();
        let event = Event {
            id: id.clone(),
            host_id: "host".to_owned(),
            title: "Milonga".to_owned(),
            description: String::new(),
            when,
            location: Location { text: "La Viruta".to_owned(), city: None, coordinates: None },
            event_type: EventType::Milonga,
            settings: Settings::default(),
            is_draft: false,
            created_at: now,
            changed_at: now,
            going: Heads::default(),
            held: 0,
            sequence: 0,
            counts: RsvpCounts::default(),
            version: 0,
            cancelled: None,
            series: None,
            is_given_away: false,
            is_suspended: false,
        };
        let effects = letters::events::reminders(&event, now, now).unwrap();
        let effects: Vec<_> = effects.iter().map(|effect| effect.kept().unwrap()).collect();
        self.events.create(&event, &effects).await.unwrap();
        for user_id in GOING.into_iter().chain(OTHERS) {
            let choice = if user_id == OTHERS[0] { RsvpChoice::Maybe } else { RsvpChoice::Going };
            self.answer(&id, user_id, choice, now).await;
        }
        id
    }

    async fn answer(&self, event_id: &str, user_id: &str, choice: RsvpChoice, now: Timestamp) {
        let answered = self.events.rsvp(event_id, user_id, choice, now, super::announce_answer);
        answered.await.unwrap().unwrap();
    }

    /// Does all that there is to do, in its time.
    async fn live(&mut self, from: Timestamp) {
        let mut now = from;
        loop {
            let caused = std::mem::take(&mut *self.caused.0.lock());
            for (id, new) in caused {
                self.enqueue(&id, &new, now);
            }
            let Some(((at, _), step)) = self.steps.pop_first() else { return };
            now = at;
            self.run(step, now).await;
        }
    }

    async fn run(&mut self, step: Step, now: Timestamp) {
        match step {
            Step::Job { id, kind, payload, enqueued, is_again } => {
                let enqueued = enqueued.as_millisecond();
                let attempted = Attempted { id: id.clone(), attempt: 1, enqueued, is_last: false };
                let job = payload.clone();
                if kind == "event_reminders" {
                    let job = serde_json::from_value(job).unwrap();
                    self.letters.remind_all(&attempted, job, now).await.unwrap();
                    self.take_enqueued(now).await;
                } else {
                    let before = self.sent.0.load(Ordering::Relaxed);
                    self.letters.remind(&attempted, serde_json::from_value(job).unwrap(), now).await.unwrap();
                    // The second run of a job has the same Message-ID.
                    if self.sent.0.load(Ordering::Relaxed) > before && !is_again {
                        let starts = payload["starts_at"].as_str().unwrap().parse().unwrap();
                        self.note(now, payload["event_id"].as_str().unwrap(), starts, &payload, "letter");
                    }
                }
                self.done.insert(id);
            }
            Step::Move { event_id, when } => {
                let edit = move |before: Edited| {
                    let plan = Plan { when: when.clone(), ..before.plan };
                    Edited { plan, ..before }
                };
                let effects = move |change: &Change| announce_change(change, &BTreeMap::new(), now);
                self.events.change(&event_id, now, edit, effects).await.unwrap().unwrap();
            }
            Step::Cancel { event_id } => {
                let effects = |after: &Event| announce_cancelled(after, &BTreeMap::new());
                let cancelled = Cancelled { at: now, reason: None };
                self.events.cancel(&event_id, cancelled, effects).await.unwrap().unwrap();
            }
            Step::Decline { event_id } => {
                self.answer(&event_id, OTHERS[1], RsvpChoice::Declined, now).await;
            }
        }
    }

    /// Takes what a job put into the queues.
    async fn take_enqueued(&mut self, now: Timestamp) {
        for queue in ["notification", "email"] {
            for state in [State::Delayed, State::Waiting] {
                for shown in self.jobs.page(queue, state, None, 1_000).await.unwrap().items {
                    self.jobs.drop_job(&shown.id).await.unwrap();
                    let new = json!({"due": shown.due, "job": *shown.job});
                    self.enqueue(&shown.id.id, &new, now);
                }
            }
        }
    }
}

/// The first and the last minute at which the clock shows a time, by a walk over all of them; none in a gap.
fn shown_at(zone: &TimeZone, time: DateTime) -> Option<(Timestamp, Timestamp)> {
    // No clock is further from UTC.
    let mut minute = time.to_zoned_datetime(TimeZone::UTC).unwrap().timestamp() - HOUR * 26;
    let mut all = Vec::new();
    for _ in 0..52 * 60 {
        if minute.to_zoned_datetime(zone.clone()).datetime() == time {
            all.push(minute);
        }
        minute += MINUTE;
    }
    Some((*all.first()?, *all.last()?))
}

/// A schedule on the clocks of a zone, and when it starts by the walk. A time that the clocks leave out is refused.
fn schedule(name: &str, time: DateTime) -> Option<(Schedule, Timestamp, Timestamp)> {
    let (zone, named) = (zone_named(name).unwrap(), read_value::<Zone>(json!(name)).unwrap());
    let given = Schedule::given(GivenTime::Local(time), None, Some(&named), false);
    let shown = shown_at(&zone, time);
    assert_eq!(given.is_err(), shown.is_none(), "{name} {time}");
    let (first, last) = shown?;
    let schedule = given.ok()?;
    assert_eq!(schedule.starts_at(), first, "{name} {time}");
    Some((schedule, first, last))
}

/// A week of events, a few of them moved, cancelled, or moved to and fro; what was to happen, what did, and what twice.
async fn week(name: &'static str, day: &'static str, late: i64) -> (usize, usize, usize, usize) {
    let mut world = World::new(late).await;
    let from: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
    let made = from - DAY * 3;
    let named = read_value::<Zone>(json!(name)).unwrap();
    let mut due: BTreeSet<(String, Timestamp)> = BTreeSet::new();
    let date = from.to_zoned_datetime(TimeZone::UTC).date();
    for number in 0..BEGIN.len() * 7 {
        let day = SignedDuration::from_hours(24 * i64::try_from(number / BEGIN.len()).unwrap());
        let begins: Time = BEGIN[number % BEGIN.len()].parse().unwrap();
        let local = date.to_datetime(begins) + day;
        let Some((when, start, last)) = schedule(name, local) else { continue };
        let event_id = world.give(when.clone(), made).await;
        world.put(made + HOUR, Step::Decline { event_id: event_id.clone() });
        if last > start {
            // The same time when it is shown again, which takes the offset to say.
            let again = Schedule::given(GivenTime::Point(last), None, Some(&named), false).unwrap();
            let event_id = world.give(again, made).await;
            world.put(made + HOUR, Step::Decline { event_id: event_id.clone() });
            due.insert((event_id, last));
        }
        let later = local + SignedDuration::from_mins(36 * 60 + 45);
        let moved = schedule(name, later);
        match (number % 6, moved) {
            // Moved before anybody was reminded.
            (1, Some((when, other, _))) => {
                world.put(start - HOUR * 30, Step::Move { event_id: event_id.clone(), when });
                due.insert((event_id, other));
            }
            // Moved to and fro.
            (2, Some((there, ..))) => {
                world.put(start - HOUR * 40, Step::Move { event_id: event_id.clone(), when: there });
                world.put(start - HOUR * 36, Step::Move { event_id: event_id.clone(), when });
                due.insert((event_id, start));
            }
            // Moved after all were reminded: they are reminded of the other time too.
            (3, Some((when, other, _))) => {
                world.put(start - HOUR * 6, Step::Move { event_id: event_id.clone(), when });
                due.extend([(event_id.clone(), start), (event_id, other)]);
            }
            (4, _) => world.put(start - HOUR * 30, Step::Cancel { event_id }),
            // Moved to a time at which the reminder would be due at once.
            (5, _) => {
                let soon =
                    Schedule::given(GivenTime::Point(start - HOUR * 7), None, Some(&named), false).unwrap();
                world.put(start - HOUR * 30, Step::Move { event_id, when: soon });
            }
            _ => {
                due.insert((event_id, start));
            }
        }
    }
    world.live(made).await;

    let mut expected = BTreeMap::new();
    for (event_id, start) in due {
        for (user_id, by) in GOING.into_iter().flat_map(|user| [(user, "list"), (user, "letter")]) {
            expected.insert((event_id.clone(), start, user_id.to_owned(), by), start - DAY);
        }
    }
    let mut once = BTreeSet::new();
    for (at, reminder) in &world.reminders {
        let due =
            expected.get(reminder).unwrap_or_else(|| panic!("{name}: nobody was to be told {reminder:?}"));
        let latest = *due + SignedDuration::from_secs(late * 2);
        assert!(due <= at && *at <= latest, "{name} {at}: {reminder:?}");
        once.insert(reminder);
    }
    let (happened, missed) = (world.reminders.len(), expected.len() - once.len());
    (expected.len(), happened, missed, happened - once.len())
}

#[tokio::test]
async fn t26_weeks_of_reminders_over_changes_of_the_clocks_have_none_missed_and_none_twice() {
    println!("| zone | week of | change | what | expected | happened | missed | twice |");
    println!("|---|---|---|---|---|---|---|---|");
    // On the heap: all of them together are too large for a stack.
    let both =
        |(zone, day, _)| Box::pin(async move { tokio::join!(week(zone, day, 0), week(zone, day, LATEST)) });
    let all = futures_util::future::join_all(WEEKS.map(both)).await;
    for ((zone, day, change), (punctual, late)) in WEEKS.into_iter().zip(all) {
        let (expected, happened) = (punctual.0 + late.0, punctual.1 + late.1);
        let (missed, twice) = (punctual.2 + late.2, punctual.3 + late.3);
        println!("| {zone} | {day} | {change} | reminders | {expected} | {happened} | {missed} | {twice} |");
        assert!(missed == 0 && twice == 0, "{zone} {day}");
    }
}

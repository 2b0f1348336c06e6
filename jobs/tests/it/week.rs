//! A week of schedules, on clocks that the test sets: two nodes look at the same schedules, are away now and then, and start
//! again. Each occurrence makes one job.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{CatchUp, JOBS, JobKind, Queue, SCHEDULES, Schedule, Schedules, Timing};
use mundotango_storage::db::{Db, Due, Effect, Outlet, Schema};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::zone_named;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

static QUEUE: Queue = Queue::new("week", 1);
static FIRED: JobKind<String> = JobKind::new("fired", &QUEUE, 1);

/// The jobs that changes caused.
#[derive(Default)]
struct Made(parking_lot::Mutex<Vec<Effect>>);

impl Outlet for Made {
    fn take(&self, due: Due) {
        for (_, effect) in due.effects().unwrap().unwrap() {
            self.0.lock().push(effect.clone());
        }
    }
}

impl Made {
    /// What fired, by schedule and instant; each as often as it did.
    fn fired(&self) -> Vec<String> {
        let payload = |effect: &Effect| {
            let job: serde_json::Value = effect.read().unwrap();
            job["job"]["payload"].as_str().unwrap().to_owned()
        };
        let mut fired: Vec<_> = self.0.lock().iter().map(payload).collect();
        fired.sort();
        fired
    }
}

/// What a schedule is to do, said another way than its expression: minute by minute.
enum Expected {
    /// Once a day, at the first minute that is not before this time of the day.
    Daily(Time),
    /// At each minute that divides by this.
    Each(i8),
}

fn patterns() -> Vec<(&'static str, &'static str, Expected)> {
    let at = |hour, minute| Expected::Daily(Time::constant(hour, minute, 0, 0));
    vec![
        ("midnight", "0 0 * * *", at(0, 0)),
        ("quarter past one", "15 1 * * *", at(1, 15)),
        ("half past two", "30 2 * * *", at(2, 30)),
        ("nine", "0 9 * * *", at(9, 0)),
        ("half hours", "*/30 * * * *", Expected::Each(30)),
    ]
}

fn schedules(db: &Db, zone: &str) -> Schedules {
    let all = patterns().into_iter().map(|(name, expression, _)| {
        let timing = Timing::cron(expression, zone).unwrap();
        let schedule = Schedule::new(name, timing, move |one| FIRED.job(&format!("{name} {}", one.at)));
        schedule.overlapping().catch_up(CatchUp::All, Duration::from_hours(24))
    });
    Schedules::new(db.clone(), all.collect(), |job| Effect::new(&job))
}

fn expected(zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<String> {
    let mut all = Vec::new();
    for (name, _, expected) in patterns() {
        let mut days = BTreeSet::new();
        let mut at = from;
        while at <= to {
            let local = at.to_zoned_datetime(zone.clone()).datetime();
            let fires = match expected {
                Expected::Daily(time) => local.time() >= time && days.insert(local.date()),
                Expected::Each(minutes) => local.minute() % minutes == 0,
            };
            // What was due before the schedules were first seen is owed by nobody.
            let is_first_day =
                matches!(expected, Expected::Daily(time) if at == from && local.time() >= time);
            if fires && at > from && !is_first_day {
                all.push(format!("{name} {at}"));
            }
            at += SignedDuration::from_mins(1);
        }
    }
    all.sort();
    all
}

/// Lets a week pass in random steps.
async fn pass(db: &Db, zone: &str, from: Timestamp, to: Timestamp, random: &mut SmallRng) {
    let mut nodes = [schedules(db, zone), schedules(db, zone)];
    let mut at = from;
    loop {
        let looked = match random.random_range(0..4) {
            0 => nodes[0].look_at(at).await.map(drop),
            1 => nodes[1].look_at(at).await.map(drop),
            // Both take themselves for the one that keeps the schedules.
            2 => tokio::try_join!(nodes[0].look_at(at), nodes[1].look_at(at)).map(drop),
            _ => {
                nodes[random.random_range(0..2)] = schedules(db, zone);
                Ok(())
            }
        };
        looked.unwrap();
        if at >= to {
            break;
        }
        // Now and then nobody is there for hours.
        let seconds = if random.random_ratio(1, 50) { 20_000 } else { random.random_range(1..300) };
        at = (at + SignedDuration::from_secs(seconds)).min(to);
    }
    nodes[0].look_at(to).await.unwrap();
}

#[tokio::test]
async fn t21_t24_a_week_of_schedules_over_changes_of_the_clocks_has_none_missed_and_none_twice() {
    let weeks = [
        ("America/New_York", "2026-03-05"),
        ("America/New_York", "2026-10-29"),
        ("Europe/Paris", "2026-03-26"),
        ("Europe/Paris", "2026-10-22"),
        ("America/Santiago", "2026-04-02"),
        ("America/Santiago", "2026-09-03"),
        ("Australia/Lord_Howe", "2026-04-02"),
        ("Australia/Lord_Howe", "2026-10-01"),
        ("Asia/Tehran", "2026-03-19"),
        ("Asia/Kolkata", "2026-03-19"),
        ("Africa/Casablanca", "2026-02-12"),
    ];
    println!("{:<22}{:<12}{:>6}{:>8}{:>8}", "zone", "week", "fired", "missed", "twice");
    for (number, (zone, day)) in weeks.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let schema = Schema { kinds: vec![JOBS.spec(), SCHEDULES.spec()], indexes: vec![] };
        let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema).unwrap();
        let made = Arc::new(Made::default());
        let db = store.stores().db.with_outlet(Arc::<Made>::clone(&made));
        let from: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
        let to = from + SignedDuration::from_hours(7 * 24);
        let mut random = SmallRng::seed_from_u64(number as u64);
        schedules(&db, zone).look_at(from).await.unwrap();
        pass(&db, zone, from, to, &mut random).await;
        let fired = made.fired();
        let wanted = expected(&zone_named(zone).unwrap(), from, to);
        let once: BTreeSet<_> = fired.iter().collect();
        let missed: Vec<_> = wanted.iter().filter(|one| !once.contains(one)).collect();
        let (twice, unknown) =
            (fired.len() - once.len(), once.iter().filter(|one| !wanted.contains(one)).count());
        println!("{zone:<22}{day:<12}{:>6}{:>8}{twice:>8}", fired.len(), missed.len());
        assert!(missed.is_empty() && twice == 0 && unknown == 0, "{zone} {day}: {missed:?}, {fired:?}");
    }
}

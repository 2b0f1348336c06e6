//! The dates of rules against those of python-dateutil and zoneinfo, over thousands of made-up rules.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use jiff::civil::{Date, Time, date};
use mundotango::community::events::series::rules::{
    Day, End, Ends, Repeats, Rule, Times, later, occurrences,
};
use mundotango_storage::zone_named;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::sdk::parts;

/// Zones whose clocks change at night, at midnight, by half an hour, not at all, and by a whole day.
const ZONES: [&str; 6] = [
    "America/Argentina/Buenos_Aires",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];
/// Rules for each zone.
const RULES: usize = 500;
/// Longest stretch that is looked at, in days.
const LONGEST: u32 = 600;

/// A rule with all that its dates depend on.
struct Asked {
    zone: &'static str,
    rule: Rule,
    times: Times,
    first: Date,
    last: Date,
}

/// A time of day: half of them in the hours in which clocks change.
fn any_time(random: &mut SmallRng) -> Time {
    let hour = if random.random_bool(0.5) { random.random_range(0..4) } else { random.random_range(0..24) };
    Time::constant(hour, random.random_range(0..60), 0, 0)
}

fn any_day(random: &mut SmallRng) -> Day {
    Day::ALL[random.random_range(0..Day::ALL.len())]
}

fn any_rule(random: &mut SmallRng, from: Date) -> Rule {
    let repeats = match random.random_range(0..4) {
        0 => Repeats::Daily,
        1 => Repeats::Weekly((0..random.random_range(1..=4)).map(|_| any_day(random)).collect()),
        2 => Repeats::MonthlyDay(random.random_range(1..=31)),
        _ => {
            let nth = random.random_range(1..=5);
            let nth = if random.random_bool(0.4) { -nth } else { nth };
            Repeats::MonthlyWeekday(nth, any_day(random))
        }
    };
    let ends = match random.random_range(0..3) {
        0 => Ends::Never,
        1 => Ends::Until(later(from, random.random_range(0..LONGEST))),
        _ => Ends::After(random.random_range(1..=100)),
    };
    let excluded = (0..random.random_range(0..6)).map(|_| later(from, random.random_range(1..200)));
    let excluded = excluded.collect();
    let interval = if random.random_bool(0.5) { 1 } else { random.random_range(1..=6) };
    Rule { repeats, interval, ends, excluded }
}

fn any_asked(zone: &'static str, random: &mut SmallRng) -> Option<Asked> {
    // Samoa left out the 30th of December 2011.
    let years = if zone == "Pacific/Apia" { 2..=5 } else { 0..=30 };
    let from = later(date(2008, 1, 1), 365 * random.random_range(years) + random.random_range(0..365));
    let rule = any_rule(random, from);
    let first = rule.first_from(from)?;
    let end =
        random.random_bool(0.7).then(|| End { days: random.random_range(0..2), time: any_time(random) });
    let start = any_time(random);
    let end = end.filter(|end| end.days > 0 || end.time > start);
    let last = later(first, random.random_range(1..LONGEST));
    Some(Asked { zone, rule, times: Times { start, end }, first, last })
}

impl Asked {
    fn line(&self) -> Value {
        let place = |day: Day| Day::ALL.iter().position(|one| *one == day);
        let (frequency, days, day_of_month) = match &self.rule.repeats {
            Repeats::Daily => ("daily", Value::Null, Value::Null),
            Repeats::Weekly(on) => {
                let days: Vec<_> = on.iter().map(|day| json!([null, place(*day)])).collect();
                ("weekly", json!(days), Value::Null)
            }
            Repeats::MonthlyDay(day) => ("monthly", Value::Null, json!(day)),
            Repeats::MonthlyWeekday(nth, day) => ("monthly", json!([[nth, place(*day)]]), Value::Null),
        };
        let (until, count) = match self.rule.ends {
            Ends::Never => (None, None),
            Ends::Until(until) => (Some(until), None),
            Ends::After(count) => (None, Some(count)),
        };
        json!({
            "zone": self.zone, "first": self.first, "last": self.last, "start": self.times.start,
            "end": self.times.end.map(|end| json!([end.days, end.time])), "frequency": frequency,
            "interval": self.rule.interval, "days": days, "day_of_month": day_of_month, "until": until,
            "count": count, "excluded": self.rule.excluded,
        })
    }

    /// The dates as the script shows them.
    fn dates(&self) -> Value {
        let zone = zone_named(self.zone).unwrap();
        let dates =
            occurrences(&self.rule, &self.times, &zone, self.first, self.last).into_iter().map(|date| {
                let when = self.times.on(date, &zone).unwrap();
                json!([date, when.starts_at(), when.end.map(|end| end.timestamp())])
            });
        dates.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_to_t15_dates_are_those_of_dateutil_and_zoneinfo() {
    let python = parts().join("python-series/bin/python");
    assert!(python.exists(), "no {}: run `cargo xtask parts` first", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/series/dates.py");
    let mut random = SmallRng::seed_from_u64(13);
    let mut asked = Vec::new();
    for zone in ZONES {
        let of_zone: Vec<_> = std::iter::repeat_with(|| any_asked(zone, &mut random)).take(RULES).collect();
        asked.extend(of_zone.into_iter().flatten());
    }
    assert!(asked.len() > 5 * RULES, "most of them give dates");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asked");
    let mut file = File::create(&path).unwrap();
    for one in &asked {
        writeln!(file, "{}", one.line()).unwrap();
    }
    let run = Command::new(python)
        .arg(script)
        .stdin(Stdio::from(File::open(&path).unwrap()))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_mins(4), run).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), asked.len());
    let (mut compared, mut longest) = (0, BTreeSet::new());
    for (one, wanted) in asked.iter().zip(&answers) {
        let found = one.dates();
        assert_eq!(&found, wanted, "{}", one.line());
        let count = found.as_array().unwrap().len();
        compared += count;
        longest.insert(count);
    }
    println!("{} rules, {compared} dates, up to {:?} of one", asked.len(), longest.last());
    assert!(compared > 50_000, "{compared}");
}

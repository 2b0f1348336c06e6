//! Objectives of the service, and alerts on how fast their error budgets burn.
//!
//! The windows and factors are those of "Alerting on SLOs" in Google's SRE workbook. Beside a rate each alert
//! wants a number of bad events, as one failure in a quiet night is no outage. And the few requests that
//! there are may fail for days without any burn rate telling it, so a third alert looks at whole days.

use super::rules::{Alert, Group, Recording, Severity};

/// So many bad events are worth an alert about a rate.
const MIN_BAD: u32 = 20;
/// So many in a day are worth a look where a large share of a quiet day's events is bad.
const MIN_BAD_OF_A_DAY: u32 = 5;

/// Requests of people, and those whose time is theirs: sockets are open as long as they are wanted.
const PEOPLE: &str = r#"route!~"/api/health.*|/metrics""#;
const TIMED: &str = r#"route!~"/api/health.*|/metrics|/connection/.*""#;

/// What share of events has to be good.
struct Objective {
    /// Begins the names of its alerts.
    name: &'static str,
    /// The name of its file, and in those of recorded series.
    recorded: &'static str,
    /// What may be bad, as a share of all.
    budget: f64,
    /// A bad event, in words.
    bad_event: &'static str,
    /// Increases of bad and of all events within a window, a job.
    bad: fn(&str) -> String,
    all: fn(&str) -> String,
    /// Bad events by a counter that is there from the start, where the other appears with what it counts.
    bad_from_start: fn(&str) -> String,
    tested: Tested,
}

/// What an objective's alerts are tested with.
struct Tested {
    /// Series that count good events, bad ones, bad ones from the first on, and nothing at all.
    good: &'static [&'static str],
    bad: &'static [&'static str],
    late: &'static [&'static str],
    still: &'static [&'static str],
    /// Bad events a minute, beside a hundred good ones, that are much in 5 minutes but not in an hour.
    short_burst: u32,
    /// Beside a thousand good ones: too many for days, and too many for hours but not for days.
    slow: u32,
    long_burst: u32,
}

fn objectives() -> [Objective; 3] {
    [
        Objective {
            name: "RestAvailability",
            recorded: "rest_availability",
            budget: 0.001,
            bad_event: "requests fail",
            bad: |window| {
                format!(
                    r#"sum by (job) (increase(http_requests_total{{{PEOPLE},status_code=~"5.."}}[{window}]))"#
                )
            },
            all: |window| format!("sum by (job) (increase(http_requests_total{{{PEOPLE}}}[{window}]))"),
            bad_from_start: |window| {
                format!(r#"sum by (job) (increase(errors_total{{type="http"}}[{window}]))"#)
            },
            tested: Tested {
                good: &[r#"http_requests_total{method="GET",route="/api/posts",status_code="200"}"#],
                bad: &[r#"errors_total{type="http",severity="error"}"#],
                late: &[r#"http_requests_total{method="GET",route="/api/posts",status_code="503"}"#],
                still: &[],
                short_burst: 10,
                slow: 4,
                long_burst: 20,
            },
        },
        Objective {
            name: "RestLatency",
            recorded: "rest_latency",
            budget: 0.05,
            bad_event: "requests take longer than 500 ms",
            bad: slow_requests,
            bad_from_start: slow_requests,
            all: |window| {
                format!("sum by (job) (increase(http_request_duration_seconds_count{{{TIMED}}}[{window}]))")
            },
            tested: Tested {
                good: &[
                    r#"http_request_duration_seconds_count{route="/api/posts"}"#,
                    r#"http_request_duration_seconds_bucket{route="/api/posts",le="0.5"}"#,
                ],
                bad: &[r#"http_request_duration_seconds_count{route="/api/events"}"#],
                late: &[],
                still: &[r#"http_request_duration_seconds_bucket{route="/api/events",le="0.5"}"#],
                short_burst: 500,
                slow: 250,
                long_burst: 1000,
            },
        },
        Objective {
            name: "Delivery",
            recorded: "delivery",
            budget: 0.001,
            bad_event: "messages to other nodes are not taken",
            bad: failed_messages,
            bad_from_start: failed_messages,
            all: |window| format!("sum by (job) (increase(bus_messages_total[{window}]))"),
            tested: Tested {
                good: &[r#"bus_messages_total{outcome="sent"}"#],
                bad: &[r#"bus_messages_total{outcome="failed"}"#],
                late: &[],
                still: &[],
                short_burst: 10,
                slow: 4,
                long_burst: 20,
            },
        },
    ]
}

fn slow_requests(window: &str) -> String {
    let of = |series| format!("sum by (job) (increase(http_request_duration_seconds_{series}[{window}]))");
    let (all, quick) = (format!("count{{{TIMED}}}"), format!("bucket{{{TIMED},le=\"0.5\"}}"));
    format!("{} - {}", of(all), of(quick))
}

fn failed_messages(window: &str) -> String {
    format!(r#"sum by (job) (increase(bus_messages_total{{outcome="failed"}}[{window}]))"#)
}

/// The rules about each objective.
pub(super) fn groups() -> impl Iterator<Item = Group> {
    objectives().into_iter().map(|objective| Group {
        name: objective.recorded,
        recordings: objective.recordings().into(),
        alerts: vec![objective.fast(), objective.slow(), objective.quiet_day()],
    })
}

impl Objective {
    fn recordings(&self) -> [Recording; 2] {
        let (bad, all) = ((self.bad)("5m"), (self.all)("5m"));
        [
            // Bad events of a kind that never happened have no series: that is 0.
            Recording { name: self.recording("bad"), expr: format!("{bad} or {all} * 0") },
            Recording { name: self.recording("all"), expr: all },
        ]
    }

    fn recording(&self, of: &str) -> String {
        format!("job:{}_{of}:increase5m", self.recorded)
    }

    /// The condition that the budget burns so many times too fast, in a long window and still in a short one.
    fn burns(&self, factor: f64, long: &str, long_minutes: u32, short: &str) -> String {
        let of = |of, window| format!("avg_over_time({}[{window}])", self.recording(of));
        // As a whole number of millionths, so that 0.001 · 14.4 is written as people would.
        let limit = (factor * self.budget * 1e6).round() / 1e6;
        let above = |window| format!("{} / ({} > 0) > {limit}", of("bad", window), of("all", window));
        // An average of 5 minutes' events.
        let enough = format!("{} * {} >= {MIN_BAD}", of("bad", long), long_minutes / 5);
        format!("{}\nand {}\nand {enough}", above(long), above(short))
    }

    fn fast(&self) -> Alert {
        let expr =
            format!("({})\nor\n({})", self.burns(14.4, "1h", 60, "5m"), self.burns(6.0, "6h", 360, "30m"));
        let name = format!("{}BurnsFast", self.name);
        let burst = format!("0x355 0+{}x3", self.tested.short_burst);
        Alert::new(Severity::Page, name, "2m", expr)
            .says(
                format!("Many {} ({{{{ $labels.job }}}})", self.bad_event),
                format!(
                    "The error budget of 30 days ({} % of all) would be used up within days: \
                     14.4 times too fast in an hour, or 6 times in six hours, and it goes on.",
                    self.budget * 100.0
                ),
            )
            .fires(70, "", &self.series("0+100x80", "0+400x80"))
            .silent(70, &self.series("0+100000x80", "0+10x80"))
            .edge("is silent where only the short window burns", 358, &self.series("0+100x360", &burst))
            .edge("is silent where one of few is bad", 70, &self.series("0+0.1x80", "0x60 1x20"))
            .edge_fires(
                "fires from the first bad event on",
                20,
                "",
                &self.series("0+1x30", "0x10 400+400x20"),
            )
    }

    fn slow(&self) -> Alert {
        let expr =
            format!("({})\nor\n({})", self.burns(3.0, "1d", 1440, "2h"), self.burns(1.0, "3d", 4320, "6h"));
        let name = format!("{}BurnsSlowly", self.name);
        let (slow, burst) =
            (format!("0+{}x200", self.tested.slow), format!("0x700 0+{}x35", self.tested.long_burst));
        Alert::new(Severity::Ticket, name, "15m", expr)
            .says(
                format!("More {} than may ({{{{ $labels.job }}}})", self.bad_event),
                format!(
                    "The error budget of 30 days ({} % of all) will not last: \
                     3 times too fast in a day, or all of it in three days' pace, and it goes on.",
                    self.budget * 100.0
                ),
            )
            .fires(190, "", &self.series("0+1000x200", &slow))
            .silent(190, &self.series("0+100000x200", "0+10x200"))
            .edge("is silent where only the short windows burn", 730, &self.series("0+1000x740", &burst))
    }

    fn quiet_day(&self) -> Alert {
        let (bad, all) = ((self.bad_from_start)("1d"), (self.all)("1d"));
        let limit = self.budget * 10.0;
        let expr = format!("({bad}) >= {MIN_BAD_OF_A_DAY}\nand\n({bad}) / ({all} > 0) > {limit}");
        Alert::new(Severity::Ticket, format!("{}AtLowTraffic", self.name), "30m", expr)
            .says(
                format!("A large share of few {} ({{{{ $labels.job }}}})", self.bad_event),
                format!(
                    "At least {MIN_BAD_OF_A_DAY} in a day, more than {} %: too few for a burn rate to tell.",
                    limit * 100.0
                ),
            )
            .fires(100, "", &self.series("0+0.1x110", "0+0.2x110"))
            .silent(100, &self.series("0+100x110", "0+0.05x110"))
            .edge_fires("fires in a fresh process", 100, "", &self.series("0+0.01x110", "0x10 6x110"))
            .edge("is silent where four of few are bad", 100, &self.series("0+0.01x110", "0x10 4x110"))
    }

    /// Series of a test whose good and bad events are these values.
    fn series(&self, good: &'static str, bad: &str) -> Vec<(&'static str, String)> {
        let of = |series: &'static [&'static str], values: &str| {
            let values = values.to_owned();
            series.iter().map(move |series| (*series, values.clone()))
        };
        let tested = &self.tested;
        // A series that is not there before has no 0 to begin with.
        let late = bad.replacen("0x10 ", "_x11 ", 1);
        let series = of(tested.good, good).chain(of(tested.bad, bad));
        series.chain(of(tested.late, &late)).chain(of(tested.still, "0x2000")).collect()
    }
}

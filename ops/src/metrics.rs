//! The metrics of the process, in one registry.
//!
//! Names and labels of the application's metrics are those that existing dashboards query. Every label has a bounded
//! set of values; counters of a known set are there at 0 from the start.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// Kinds of events, as `event_type` labels.
const EVENT_TYPES: [&str; 6] = ["milonga", "class", "festival", "workshop", "practica", "concert"];
/// What can become of an answer to an event, as `action` labels.
const RSVP_ACTIONS: [&str; 5] = ["going", "maybe", "declined", "waitlisted", "promoted"];
/// Who may read a post, as `visibility` labels.
const VISIBILITIES: [&str; 3] = ["public", "friends", "private"];
/// Reactions to posts, as `reaction_type` labels.
const REACTIONS: [&str; 5] = ["heart", "like", "celebrate", "laugh", "support"];
/// Transports of sessions, as `transport` labels.
const TRANSPORTS: [&str; 6] =
    ["websocket", "sse", "http_stream", "uni_websocket", "uni_sse", "uni_http_stream"];
/// Encodings of frames, as `encoding` labels.
const ENCODINGS: [&str; 2] = ["json", "protobuf"];
/// Commands of clients, as `command` labels.
const COMMANDS: [&str; 12] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "send",
    "rpc",
    "refresh",
    "sub_refresh",
    "nothing",
];
/// The client protocol's codes of errors and of disconnections, as `code` labels.
const ERROR_CODES: std::ops::RangeInclusive<u32> = 100..=112;
const DISCONNECT_CODES: [std::ops::RangeInclusive<u32>; 3] = [3000..=3001, 3004..=3014, 3500..=3509];
/// Upper bounds of durations, in seconds: from an answer out of memory to a request that times out.
const DURATION_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper bounds of the number of writes that share a commit.
const BATCH_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0];

/// Why a line of the log was dropped, as `reason` labels: its reader was too slow …
pub(crate) const DROPPED_SLOW: &str = "slow_reader";
/// … or could not be written to …
pub(crate) const DROPPED_UNWRITTEN: &str = "no_reader";
/// … or the line repeated others.
pub(crate) const DROPPED_REPEATED: &str = "repeated";
/// All of these reasons.
const DROPPED_REASONS: [&str; 3] = [DROPPED_SLOW, DROPPED_UNWRITTEN, DROPPED_REPEATED];
/// When effects of changes are carried out, as `when` labels.
const EFFECTS_CARRIED_OUT: [&str; 2] = ["at_once", "later"];
/// The commit that was built, where the build says so.
const COMMIT: &str = match option_env!("MUNDOTANGO_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Makes a metric known to the registry as it is made.
struct Registrar(Registry);

impl Registrar {
    #[expect(clippy::expect_used, reason = "names are constants: a bad or doubled one fails in every test")]
    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("metric's name and labels are valid");
        self.0.register(Box::new(metric.clone())).expect("metric's name is unique");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn durations(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels))
    }
}

/// Declares the metrics: each field is documented by the help text that operators see.
macro_rules! metrics {
    ($($name:ident: $type:ty = $make:ident($help:literal $(, $labels:expr)?);)*) => {
        /// The metrics; a field is named as operators see it.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: $type,)*
            /// How many writes share a commit of the embedded store.
            pub store_commit_batch_size: Histogram,
        }

        impl Metrics {
            fn register(registrar: &Registrar) -> Self {
                Self {
                    $($name: registrar.$make(stringify!($name), $help $(, $labels)?),)*
                    store_commit_batch_size: registrar.register(Histogram::with_opts(
                        HistogramOpts::new("store_commit_batch_size", "Writes that share a commit of the embedded store")
                            .buckets(BATCH_BUCKETS.to_vec()),
                    )),
                }
            }
        }
    };
}

metrics! {
    http_requests_total: IntCounterVec = counters("HTTP requests, RPCs of sessions among them", &["method", "route", "status_code"]);
    http_request_duration_seconds: HistogramVec = durations("Time from a request's headers to its answer's", &["method", "route", "status_code"]);
    active_users_total: IntGauge = gauge("Different users with a session");
    db_query_duration_seconds: HistogramVec = durations("Time of a call of the store", &["query_type", "table"]);
    db_connections_active: IntGauge = gauge("Open connections to the store");
    events_created_total: IntCounterVec = counters("Events created", &["event_type"]);
    event_rsvps_total: IntCounterVec = counters("Answers to events", &["event_type", "action"]);
    posts_created_total: IntCounterVec = counters("Posts created", &["visibility"]);
    post_reactions_total: IntCounterVec = counters("Reactions to posts", &["reaction_type"]);
    logins_total: IntCounterVec = counters("Logins that were tried, by what came of them", &["result"]);
    cache_hits_total: IntCounterVec = counters("Reads that the cache answered", &["cache_type"]);
    cache_misses_total: IntCounterVec = counters("Reads that the store had to answer", &["cache_type"]);
    life_ceo_agent_invocations_total: IntCounterVec = counters("Answers of agents", &["agent_id", "status"]);
    connections_refused_total: IntCounterVec = counters("Connections and requests refused at a limit of the listener", &["reason"]);
    errors_total: IntCounterVec = counters("Errors by where they happened", &["type", "severity"]);
    websocket_connections_active: IntGauge = gauge("Open WebSocket connections");
    realtime_sessions_active: IntGaugeVec = gauges("Open sessions", &["transport", "encoding"]);
    realtime_sessions_opened_total: IntCounterVec = counters("Sessions opened", &["transport"]);
    realtime_disconnects_total: IntCounterVec = counters("Sessions ended, by disconnect code", &["code"]);
    realtime_commands_total: IntCounterVec = counters("Commands of clients", &["command"]);
    realtime_command_errors_total: IntCounterVec = counters("Commands answered with an error, by its code", &["code"]);
    realtime_publications_total: IntCounterVec = counters("Publications", &["namespace"]);
    bus_messages_total: IntCounterVec = counters("Messages to other nodes, by what came of them", &["outcome"]);
    realtime_deliveries_total: IntCounter = counter("Pushes written to sessions");
    realtime_bytes_sent_total: IntCounter = counter("Bytes of frames written to sessions");
    realtime_bytes_received_total: IntCounter = counter("Bytes of frames read from sessions");
    realtime_recoveries_total: IntCounterVec = counters("Subscriptions that wanted to catch up, by what came of it", &["result"]);
    realtime_channels_active: IntGauge = gauge("Channels with a subscriber");
    cluster_nodes: IntGauge = gauge("Nodes of the cluster that this node knows, itself among them");
    actors_hung: IntGaugeVec = gauges("Actors with waiting messages that make no progress", &["kind"]);
    owned_actors_active: IntGauge = gauge("Actors here that exist once in the cluster");
    actor_restarts_total: IntCounterVec = counters("Actors that crashed and were mended or ended", &["kind"]);
    actor_mailbox_depth: IntGaugeVec = gauges("Messages that wait for actors", &["kind"]);
    outbox_effects_total: IntCounterVec = counters("What changes cause and was carried out, by when (at_once, later)", &["when"]);
    outbox_put_off_total: IntCounter = counter("Changes whose effects could not be carried out at once");
    outbox_given_up_total: IntCounter = counter("Changes whose effects failed for a day and were given up");
    background_jobs_total: IntCounterVec = counters("Attempts at jobs, by what came of them (success, failed, dead)", &["job_type", "status"]);
    background_job_duration_seconds: HistogramVec = durations("Time from a job's turn until its attempt ended", &["job_type", "status"]);
    job_start_delay_seconds: HistogramVec = durations("Time from when a job was put into its queue until its first attempt", &["queue"]);
    jobs_in_queue: IntGaugeVec = gauges("Jobs that are not done, in the shards that this node keeps, by state (waiting, delayed, running, dead)", &["queue", "state"]);
    job_oldest_running_seconds: IntGaugeVec = gauges("Since when the oldest attempt is under way, in the shards that this node keeps", &["queue"]);
    jobs_rescued_total: IntCounterVec = counters("Jobs taken from workers that were lost, or whose attempt did not end", &["queue"]);
    job_attempts_lost_total: IntCounterVec = counters("Attempts whose end did not count, as the job was no longer the worker's", &["queue"]);
    schedule_fired_total: IntCounterVec = counters("Occurrences of schedules that made a job", &["schedule"]);
    schedule_missed_total: IntCounterVec = counters("Occurrences of schedules that were left out, as no node was there in time", &["schedule"]);
    letters_total: IntCounterVec = counters("Letters, by their kind and what came of them (sent, unwanted, suppressed, failed, refused, uncertain, misconfigured)", &["letter", "status"]);
    analytics_events_total: IntCounterVec = counters("Events of analytics, by what came of them (counted, duplicate, too_old, in_future, opted_out, forgotten)", &["outcome"]);
    analytics_slots_dirty: IntGauge = gauge("Quarters of an hour of the day folded last that were to be folded");
    analytics_slots_folded_total: IntCounter = counter("Quarters of an hour that were folded into their day");
    pushes_total: IntCounterVec = counters("Pushes to devices, by the kind of their service (web, fcm, apns) and what came of them (sent, gone, refused, failed, misconfigured)", &["provider", "status"]);
    log_lines_dropped_total: IntCounterVec = counters("Lines of the log that were dropped, by the reason", &["reason"]);
    build_info: IntGaugeVec = gauges("What runs; always 1", &["version", "commit"]);
    part_healthy: IntGaugeVec = gauges("Whether a part that the node needs answers: 1 or 0", &["part"]);
    store_commits_total: IntCounter = counter("Commits of the embedded store, each one fsync");
}

static REGISTRY: LazyLock<(Registry, Metrics)> = LazyLock::new(|| {
    let registrar = Registrar(Registry::new());
    let metrics = Metrics::register(&registrar);
    metrics.touch_known_labels();
    // Refused only where another of the same process is in, which this registry can't have.
    let _ = registrar.0.register(Box::new(ProcessCollector::for_self()));
    (registrar.0, metrics)
});

impl Metrics {
    fn touch_known_labels(&self) {
        for event_type in EVENT_TYPES {
            self.events_created_total.with_label_values(&[event_type]);
            for action in RSVP_ACTIONS {
                self.event_rsvps_total.with_label_values(&[event_type, action]);
            }
        }
        for outcome in ["counted", "duplicate", "too_old", "in_future", "opted_out", "forgotten"] {
            self.analytics_events_total.with_label_values(&[outcome]);
        }
        for visibility in VISIBILITIES {
            self.posts_created_total.with_label_values(&[visibility]);
        }
        for reaction in REACTIONS {
            self.post_reactions_total.with_label_values(&[reaction]);
        }
        for result in ["granted", "refused", "limited"] {
            self.logins_total.with_label_values(&[result]);
        }
        for result in ["recovered", "unrecovered"] {
            self.realtime_recoveries_total.with_label_values(&[result]);
        }
        for reason in ["connections", "address", "unanswered"] {
            self.connections_refused_total.with_label_values(&[reason]);
        }
        for outcome in ["sent", "failed"] {
            self.bus_messages_total.with_label_values(&[outcome]);
        }
        for transport in TRANSPORTS {
            self.realtime_sessions_opened_total.with_label_values(&[transport]);
            for encoding in ENCODINGS {
                self.realtime_sessions_active.with_label_values(&[transport, encoding]);
            }
        }
        for command in COMMANDS {
            self.realtime_commands_total.with_label_values(&[command]);
        }
        for code in ERROR_CODES {
            self.realtime_command_errors_total.with_label_values(&[&code.to_string()]);
        }
        for code in DISCONNECT_CODES.into_iter().flatten() {
            self.realtime_disconnects_total.with_label_values(&[&code.to_string()]);
        }
        self.realtime_disconnects_total.with_label_values(&["custom"]);
        self.errors_total.with_label_values(&["http", "error"]);
        for kind in ["owned", "node", "sessions", "channels", "telemetry"] {
            self.actor_restarts_total.with_label_values(&[kind]);
        }
        for kind in ["session", "channel"] {
            self.actor_restarts_total.with_label_values(&[kind]);
            self.actor_mailbox_depth.with_label_values(&[kind]);
        }
        for reason in DROPPED_REASONS {
            self.log_lines_dropped_total.with_label_values(&[reason]);
        }
        for when in EFFECTS_CARRIED_OUT {
            self.outbox_effects_total.with_label_values(&[when]);
        }
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), COMMIT]).set(1);
    }

    pub(crate) fn count_dropped_line(&self, reason: &str) {
        self.log_lines_dropped_total.with_label_values(&[reason]).inc();
    }

    /// How many lines of the log were dropped so far.
    pub(crate) fn dropped_lines(&self) -> u64 {
        let of = |reason: &&str| self.log_lines_dropped_total.with_label_values(&[*reason]).get();
        DROPPED_REASONS.iter().map(of).sum()
    }
}

/// The metrics of this process.
pub fn metrics() -> &'static Metrics {
    &REGISTRY.1
}

/// What this process has used of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Processor time since its start, in seconds.
    pub cpu_seconds: f64,
    /// Memory now, in bytes.
    pub resident_bytes: u64,
}

/// Reads what this process has used; zeros where the system does not say.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes are whole and not negative"
)]
pub fn process_usage() -> ProcessUsage {
    let mut usage = ProcessUsage::default();
    for family in ProcessCollector::for_self().collect() {
        let Some(metric) = family.get_metric().first() else { continue };
        match family.name() {
            "process_cpu_seconds_total" => usage.cpu_seconds = metric.get_counter().get_value(),
            "process_resident_memory_bytes" => usage.resident_bytes = metric.get_gauge().get_value() as u64,
            _ => {}
        }
    }
    usage
}

/// All metrics in the text format of Prometheus.
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.0.gather(), &mut text) {
        tracing::error!(%error, "metrics not written");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_labels_are_there_at_zero() {
        metrics();
        let text = render();
        for line in [
            "events_created_total{event_type=\"milonga\"} 0",
            "event_rsvps_total{action=\"waitlisted\",event_type=\"class\"} 0",
            "posts_created_total{visibility=\"private\"} 0",
            "post_reactions_total{reaction_type=\"heart\"} 0",
            "websocket_connections_active 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }
}

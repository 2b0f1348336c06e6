//! The metrics, each with its name, its kind, what it says, its labels and, for times and sizes, its buckets.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::registrar::{Declared, Registrar};
use super::{buckets, labels};

/// Declares the metrics: each field is documented by the help text that operators see.
macro_rules! metrics {
    ($($name:ident: $type:ty = $make:ident($help:literal $(, $labels:expr $(, $buckets:expr)?)?);)*) => {
        /// The metrics; a field is named as operators see it.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: $type,)*
        }

        impl Metrics {
            pub(super) fn register(registrar: &Registrar) -> Self {
                Self {
                    $($name: registrar.$make(stringify!($name), $help $(, $labels $(, $buckets)?)?),)*
                }
            }
        }

        /// The metrics as they are declared.
        pub const DECLARED: &[Declared] = &[
            $(Declared {
                name: stringify!($name),
                make: stringify!($make),
                help: $help,
                labels: declared_labels!($($labels)?),
            },)*
        ];
    };
}

macro_rules! declared_labels {
    () => {
        &[]
    };
    ($labels:expr) => {
        $labels
    };
}

/// Metrics of what is not built yet. They are there at 0, so that dashboards and alerts can be; what feeds one takes it off
/// this list.
pub const UNFED: &[&str] = &[
    "agent_concurrent_tasks",
    "agent_queue_depth",
    "agent_task_duration_seconds",
    "agent_tasks_completed_total",
    "agent_tasks_failed_total",
    "ai_request_duration_seconds",
    "ai_requests_total",
];

metrics! {
    http_requests_total: IntCounterVec = counters("HTTP requests, RPCs of sessions among them", &[labels::METHOD, labels::ROUTE, labels::STATUS_CODE]);
    http_request_duration_seconds: HistogramVec = durations("Time from a request's headers to its answer's", &[labels::METHOD, labels::ROUTE, labels::STATUS_CODE], buckets::REQUEST);
    active_users_total: IntGauge = gauge("Different users with a session");
    db_query_duration_seconds: HistogramVec = durations("Time of a call of the store", &[labels::QUERY_TYPE, labels::TABLE], buckets::STORE);
    db_connections_active: IntGauge = gauge("Open connections to the store");
    events_created_total: IntCounterVec = counters("Events created", &[labels::EVENT_TYPE]);
    event_rsvps_total: IntCounterVec = counters("Answers to events", &[labels::EVENT_TYPE, labels::RSVP_ACTION]);
    posts_created_total: IntCounterVec = counters("Posts created", &[labels::VISIBILITY]);
    post_reactions_total: IntCounterVec = counters("Reactions to posts", &[labels::REACTION_TYPE]);
    timeline_rows_written_total: IntCounter = counter("Posts put into the timelines of followers");
    housing_bookings_total: IntCounterVec = counters("Steps of bookings of housing", &[labels::BOOKING_STATUS]);
    stripe_payments_total: IntCounterVec = counters("Payments by Stripe, by what came of them", &[labels::PAYMENT_TYPE, labels::PAYMENT_STATUS]);
    admin_workflow_actions_total: IntCounterVec = counters("What admins did in their queues", &[labels::WORKFLOW_TYPE, labels::WORKFLOW_ACTION]);
    logins_total: IntCounterVec = counters("Logins that were tried, by what came of them", &[labels::LOGIN_RESULT]);
    cache_hits_total: IntCounterVec = counters("Reads that the cache answered", &[labels::CACHE_TYPE]);
    cache_misses_total: IntCounterVec = counters("Reads that the store had to answer", &[labels::CACHE_TYPE]);
    life_ceo_agent_invocations_total: IntCounterVec = counters("Answers of agents", &[labels::AGENT, labels::AGENT_STATUS]);
    ai_requests_total: IntCounterVec = counters("Requests to models, by what came of them", &[labels::PROVIDER, labels::MODEL, labels::AI_STATUS]);
    ai_request_duration_seconds: HistogramVec = durations("Time from a request to a model until its answer ended", &[labels::PROVIDER, labels::MODEL], buckets::ANSWER);
    agent_tasks_completed_total: IntCounterVec = counters("Tasks that agents did", &[labels::AGENT]);
    agent_tasks_failed_total: IntCounterVec = counters("Tasks that agents could not do", &[labels::AGENT]);
    agent_task_duration_seconds: HistogramVec = durations("Time of a task of an agent", &[labels::AGENT], buckets::ANSWER);
    agent_queue_depth: IntGaugeVec = gauges("Tasks that wait for an agent", &[labels::AGENT]);
    agent_concurrent_tasks: IntGaugeVec = gauges("Tasks that an agent does now", &[labels::AGENT]);
    connections_refused_total: IntCounterVec = counters("Connections and requests refused at a limit of the listener", &[labels::REFUSAL]);
    errors_total: IntCounterVec = counters("Errors by where they happened", &[labels::ERROR_TYPE, labels::SEVERITY]);
    websocket_connections_active: IntGauge = gauge("Open WebSocket connections");
    realtime_sessions_active: IntGaugeVec = gauges("Open sessions", &[labels::TRANSPORT, labels::ENCODING]);
    realtime_sessions_opened_total: IntCounterVec = counters("Sessions opened", &[labels::TRANSPORT]);
    realtime_session_duration_seconds: HistogramVec = durations("Time from the begin of a session until its end", &[labels::TRANSPORT], buckets::LIFE);
    realtime_disconnects_total: IntCounterVec = counters("Sessions ended, by disconnect code", &[labels::DISCONNECT_CODE]);
    realtime_sessions_moved_total: IntCounterVec = counters("Sessions asked to connect anew, as they were old or the node had more than its share", &[labels::MOVED]);
    realtime_commands_total: IntCounterVec = counters("Commands of clients", &[labels::COMMAND]);
    realtime_command_errors_total: IntCounterVec = counters("Commands answered with an error, by its code", &[labels::ERROR_CODE]);
    realtime_publications_total: IntCounterVec = counters("Publications", &[labels::NAMESPACE]);
    bus_messages_total: IntCounterVec = counters("Messages to other nodes, by what came of them", &[labels::BUS_OUTCOME]);
    realtime_deliveries_total: IntCounter = counter("Pushes written to sessions");
    realtime_bytes_sent_total: IntCounter = counter("Bytes of frames written to sessions");
    realtime_bytes_received_total: IntCounter = counter("Bytes of frames read from sessions");
    realtime_recoveries_total: IntCounterVec = counters("Subscriptions that wanted to catch up, by what came of it", &[labels::RECOVERY_RESULT]);
    realtime_channels_active: IntGauge = gauge("Channels with a subscriber");
    cluster_nodes: IntGauge = gauge("Nodes of the cluster that this node knows, itself among them");
    actors_hung: IntGaugeVec = gauges("Actors with waiting messages that make no progress", &[labels::HANGING]);
    owned_actors_active: IntGauge = gauge("Actors here that exist once in the cluster");
    actor_restarts_total: IntCounterVec = counters("Actors that crashed and were mended or ended", &[labels::CRASHING]);
    actor_mailbox_depth: IntGaugeVec = gauges("Messages that wait for actors", &[labels::MAILBOX]);
    outbox_effects_total: IntCounterVec = counters("What changes cause and was carried out, by when (at_once, later)", &[labels::WHEN]);
    outbox_put_off_total: IntCounter = counter("Changes whose effects could not be carried out at once");
    outbox_given_up_total: IntCounter = counter("Changes whose effects failed for a day and were given up");
    background_jobs_total: IntCounterVec = counters("Attempts at jobs, by what came of them (success, failed, dead)", &[labels::JOB_TYPE, labels::JOB_STATUS]);
    background_job_duration_seconds: HistogramVec = durations("Time from a job's turn until its attempt ended", &[labels::JOB_TYPE, labels::JOB_STATUS], buckets::JOB);
    job_start_delay_seconds: HistogramVec = durations("Time from when a job could begin until its first attempt", &[labels::QUEUE], buckets::WAIT);
    jobs_in_queue: IntGaugeVec = gauges("Jobs that are not done, in the shards that this node keeps, by state (waiting, delayed, running, dead)", &[labels::QUEUE, labels::JOB_STATE]);
    job_oldest_running_seconds: IntGaugeVec = gauges("Since when the oldest attempt is under way, in the shards that this node keeps", &[labels::QUEUE]);
    jobs_rescued_total: IntCounterVec = counters("Jobs taken from workers that were lost, or whose attempt did not end", &[labels::QUEUE]);
    job_attempts_lost_total: IntCounterVec = counters("Attempts whose end did not count, as the job was no longer the worker's", &[labels::QUEUE]);
    schedule_fired_total: IntCounterVec = counters("Occurrences of schedules that made a job", &[labels::SCHEDULE]);
    schedule_missed_total: IntCounterVec = counters("Occurrences of schedules that were left out, as no node was there in time", &[labels::SCHEDULE]);
    letters_total: IntCounterVec = counters("Letters, by their kind and what came of them (sent, unwanted, suppressed, failed, refused, uncertain, misconfigured)", &[labels::LETTER, labels::LETTER_STATUS]);
    analytics_events_total: IntCounterVec = counters("Events of analytics, by what came of them (counted, duplicate, too_old, in_future, opted_out, forgotten)", &[labels::COUNTED]);
    analytics_slots_dirty: IntGauge = gauge("Quarters of an hour of the day folded last that were to be folded");
    analytics_slots_folded_total: IntCounter = counter("Quarters of an hour that were folded into their day");
    pushes_total: IntCounterVec = counters("Pushes to devices, by the kind of their service (web, fcm, apns) and what came of them (sent, gone, refused, failed, misconfigured)", &[labels::PUSH_PROVIDER, labels::PUSH_STATUS]);
    search_duration_seconds: HistogramVec = durations("Time of a search with the reading of what it shows, by what was asked for (search, suggestions)", &[labels::SEARCHED], buckets::SEARCH);
    search_documents: IntGauge = gauge("Things in the search index of this node");
    search_lag_seconds: IntGauge = gauge("How long ago the search index of this node last had all that was in the log of changes");
    log_lines_dropped_total: IntCounterVec = counters("Lines of the log that were dropped, by the reason", &[labels::DROPPED]);
    trace_spans_dropped_total: IntCounter = counter("Spans of traces that were not exported");
    build_info: IntGaugeVec = gauges("What runs; always 1", &[labels::VERSION, labels::COMMIT]);
    part_healthy: IntGaugeVec = gauges("Whether a part that the node needs answers: 1 or 0", &[labels::PART]);
    tls_certificate_expires_timestamp_seconds: IntGauge = gauge("When the listener's certificate expires, in seconds of the Unix epoch; 0 without one");
    store_disk_free_bytes: IntGauge = gauge("Free space for the embedded store, in bytes; 0 where there is none or it is not known");
    store_commits_total: IntCounter = counter("Commits of the embedded store, each one fsync");
    store_commit_batch_size: Histogram = sizes("Writes that share a commit of the embedded store", &[], buckets::BATCH);
}

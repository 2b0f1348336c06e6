//! The labels of metrics and their values: a metric with all of these is there at 0 from the start, so that its first count
//! is seen as an increase.

/// A label's name and its values; none where they are known only when a node starts, such as routes, tables and queues.
pub(super) type Label = (&'static str, &'static [&'static str]);

/// The values of a label are known only when a node starts.
const OPEN: &[&str] = &[];

/// How requests are made.
pub(super) const METHOD: Label = ("method", OPEN);
/// Templates of paths, never paths themselves.
pub(super) const ROUTE: Label = ("route", OPEN);
/// Statuses of HTTP.
pub(super) const STATUS_CODE: Label = ("status_code", OPEN);
/// Kinds of calls of the store.
pub(super) const QUERY_TYPE: Label = ("query_type", OPEN);
/// Where in the store.
pub(super) const TABLE: Label = ("table", OPEN);
/// Kinds of values in the cache.
pub(super) const CACHE_TYPE: Label = ("cache_type", OPEN);
/// Kinds of events.
pub(super) const EVENT_TYPE: Label =
    ("event_type", &["milonga", "class", "festival", "workshop", "practica", "concert"]);
/// What can become of an answer to an event.
pub(super) const RSVP_ACTION: Label = ("action", &["going", "maybe", "declined", "waitlisted", "promoted"]);
/// Who may read a post.
pub(super) const VISIBILITY: Label = ("visibility", &["public", "friends", "private"]);
/// Reactions to posts.
pub(super) const REACTION_TYPE: Label =
    ("reaction_type", &["heart", "like", "celebrate", "laugh", "support"]);
/// What can become of a booking.
pub(super) const BOOKING_STATUS: Label = (
    "status",
    &[
        "requested",
        "countered",
        "confirmed",
        "declined",
        "superseded",
        "expired",
        "cancelled",
        "completed",
        "no_show",
    ],
);
/// What is paid for.
pub(super) const PAYMENT_TYPE: Label = ("type", &["ticket", "booking"]);
/// What can become of a payment.
pub(super) const PAYMENT_STATUS: Label = ("status", &["succeeded", "failed", "refunded", "refund_failed"]);
/// What admins decide on.
pub(super) const WORKFLOW_TYPE: Label = ("workflow_type", &["feature", "safety", "support"]);
/// What they do with it.
pub(super) const WORKFLOW_ACTION: Label = (
    "action",
    &["opened", "assigned", "replied", "escalated", "approved", "rejected", "closed", "appealed", "judged"],
);
/// What is asked of the search index.
pub(super) const SEARCHED: Label = ("searched", &["search", "suggestions"]);
/// What can become of a login.
pub(super) const LOGIN_RESULT: Label = ("result", &["granted", "challenged", "refused", "limited"]);
/// Agents of the Life CEO.
pub(super) const AGENT: Label = ("agent_id", OPEN);
/// What can become of an agent's answer.
pub(super) const AGENT_STATUS: Label = ("status", OPEN);
/// Who answers for a model.
pub(super) const PROVIDER: Label = ("provider", &["none"]);
/// Models of that provider.
pub(super) const MODEL: Label = ("model", &["none"]);
/// What can become of a request to a model.
pub(super) const AI_STATUS: Label = ("status", &["success", "failed"]);
/// Why a listener refuses.
pub(super) const REFUSAL: Label = ("reason", &["connections", "address", "unanswered"]);
/// Where an error happened.
pub(super) const ERROR_TYPE: Label = ("type", &["http"]);
/// How bad it is.
pub(super) const SEVERITY: Label = ("severity", &["error"]);
/// Transports of sessions.
pub(super) const TRANSPORT: Label =
    ("transport", &["websocket", "sse", "http_stream", "uni_websocket", "uni_sse", "uni_http_stream"]);
/// Encodings of frames.
pub(super) const ENCODING: Label = ("encoding", &["json", "protobuf"]);
/// Commands of clients.
pub(super) const COMMAND: Label = (
    "command",
    &[
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
    ],
);
/// The client protocol's codes of errors.
pub(super) const ERROR_CODE: Label =
    ("code", &["100", "101", "102", "103", "104", "105", "106", "107", "108", "109", "110", "111", "112"]);
/// The client protocol's codes of disconnections; those of applications share one.
pub(super) const DISCONNECT_CODE: Label = (
    "code",
    &[
        "3000", "3001", "3004", "3005", "3006", "3007", "3008", "3009", "3010", "3011", "3012", "3013",
        "3014", "3500", "3501", "3502", "3503", "3504", "3505", "3506", "3507", "3508", "3509", "custom",
    ],
);
/// Why sessions are asked to connect anew.
pub(super) const MOVED: Label = ("reason", &["age", "surplus"]);
/// Namespaces of channels.
pub(super) const NAMESPACE: Label = ("namespace", OPEN);
/// What can become of a message to another node.
pub(super) const BUS_OUTCOME: Label = ("outcome", &["sent", "failed"]);
/// What can become of catching up.
pub(super) const RECOVERY_RESULT: Label = ("result", &["recovered", "unrecovered"]);
/// Kinds of actors that may hang.
pub(super) const HANGING: Label = ("kind", &["owned", "node", "sessions", "channels", "telemetry", "pools"]);
/// Kinds of actors that crash.
pub(super) const CRASHING: Label =
    ("kind", &["owned", "node", "sessions", "channels", "telemetry", "pools", "session", "channel"]);
/// Kinds of actors with mailboxes.
pub(super) const MAILBOX: Label = ("kind", &["session", "channel"]);
/// When effects of changes are carried out.
pub(super) const WHEN: Label = ("when", &["at_once", "later"]);
/// Kinds of jobs.
pub(super) const JOB_TYPE: Label = ("job_type", OPEN);
/// What can become of an attempt at a job.
pub(super) const JOB_STATUS: Label = ("status", OPEN);
/// Queues of jobs.
pub(super) const QUEUE: Label = ("queue", OPEN);
/// States of jobs.
pub(super) const JOB_STATE: Label = ("state", OPEN);
/// Schedules of jobs.
pub(super) const SCHEDULE: Label = ("schedule", OPEN);
/// Kinds of letters.
pub(super) const LETTER: Label = (
    "letter",
    &[
        "welcome",
        "verify_email",
        "reset_password",
        "password_changed",
        "second_factor_on",
        "second_factor_off",
        "second_factor_ending",
        "new_login",
        "confirm_new_address",
        "address_changed",
        "account_leaving",
        "rsvp_confirmed",
        "promoted",
        "reminder",
        "event_moved",
        "event_cancelled",
        "series_changed",
        "series_cancelled",
        "booking_requested",
        "booking_countered",
        "booking_confirmed",
        "booking_accepted",
        "booking_declined",
        "booking_superseded",
        "booking_expired",
        "booking_cancelled",
        "booking_arrival",
        "booking_completed",
        "payment_received",
        "payment_refunded",
        "payment_failed",
        "payment_stuck",
        "ticket_reply",
        "decision",
        "appeal_decided",
        "notification",
        "digest",
    ],
);
/// What can become of a letter.
pub(super) const LETTER_STATUS: Label =
    ("status", &["sent", "unwanted", "suppressed", "failed", "refused", "uncertain", "misconfigured"]);
/// What can become of an event of analytics.
pub(super) const COUNTED: Label =
    ("outcome", &["counted", "duplicate", "too_old", "in_future", "opted_out", "forgotten"]);
/// Kinds of push services.
pub(super) const PUSH_PROVIDER: Label = ("provider", &["web", "fcm", "apns"]);
/// What can become of a push.
pub(super) const PUSH_STATUS: Label = ("status", &["sent", "gone", "refused", "failed", "misconfigured"]);
/// Why a line of the log was dropped.
pub(super) const DROPPED: Label = ("reason", &[DROPPED_SLOW, DROPPED_UNWRITTEN, DROPPED_REPEATED]);
/// Its reader was too slow …
pub(crate) const DROPPED_SLOW: &str = "slow_reader";
/// … or could not be written to …
pub(crate) const DROPPED_UNWRITTEN: &str = "no_reader";
/// … or the line repeated others.
pub(crate) const DROPPED_REPEATED: &str = "repeated";
/// Versions of the program.
pub(super) const VERSION: Label = ("version", OPEN);
/// Commits that were built.
pub(super) const COMMIT: Label = ("commit", OPEN);
/// Parts that a node needs.
pub(super) const PART: Label = ("part", OPEN);

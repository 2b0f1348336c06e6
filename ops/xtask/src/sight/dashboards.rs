//! The dashboards: what is on which page.

use super::panels::{
    Dashboard, days, figure, graph, p95, p95_by, quantiles, query, rate_by, rate_of, row, share, sum_by,
};

/// Requests of people: probes and scrapes would hide them.
const REQUESTS: &str = r#"http_requests_total{route!~"/api/health.*|/metrics"}"#;
const FAILED_REQUESTS: &str = r#"http_requests_total{route!~"/api/health.*|/metrics",status_code=~"5.."}"#;
const REQUEST_TIMES: &str =
    r#"http_request_duration_seconds{route!~"/api/health.*|/metrics|/connection/.*"}"#;

/// All dashboards.
pub(super) fn all() -> Vec<Dashboard> {
    vec![application(), business(), realtime(), cluster(), jobs(), agents()]
}

fn application() -> Dashboard {
    let rows = vec![
        row(
            "Now",
            [
                figure("Requests", "reqps", rate_of(REQUESTS)),
                figure("Requests failed", "percentunit", failed_requests()).limits(0.001, 0.01),
                figure("Answered within (p95)", "s", p95(REQUEST_TIMES)).limits(0.25, 0.5),
                figure("Users here", "short", "sum(active_users_total)"),
                figure("Open sockets", "short", "sum(websocket_connections_active)"),
                figure("Cache hit rate", "percentunit", hit_rate()).wanted(0.6, 0.8),
            ],
        ),
        row(
            "HTTP",
            [
                graph("Requests by route", "reqps", [rate_by(REQUESTS, "route")]),
                graph("p95 by route", "s", [p95_by(REQUEST_TIMES, "route")]).limits(0.25, 0.5),
                graph("Answers by status", "reqps", [rate_by(REQUESTS, "status_code")]).stacked(),
            ],
        ),
        row(
            "Errors",
            [
                graph("Share of failed requests", "percentunit", [query(failed_requests(), "5xx")])
                    .limits(0.001, 0.01),
                graph("Errors", "ops", [rate_by("errors_total", "type, severity")]).limits(0.1, 1.0),
                graph("Connections refused", "ops", [rate_by("connections_refused_total", "reason")])
                    .limits(1.0, 10.0),
            ],
        ),
        row(
            "People",
            [
                graph("Users here", "short", [query("sum(active_users_total)", "users")]),
                graph("Logins", "ops", [rate_by("logins_total", "result")]),
                graph(
                    "Open connections",
                    "short",
                    [
                        query("sum(websocket_connections_active)", "sockets"),
                        query("sum(db_connections_active)", "store"),
                    ],
                ),
            ],
        ),
        row(
            "Store and cache",
            [
                graph("p95 of queries by kind", "s", [p95_by("db_query_duration_seconds", "query_type")])
                    .limits(0.05, 0.25),
                graph("p95 of queries by table", "s", [p95_by("db_query_duration_seconds", "table")])
                    .limits(0.05, 0.25),
                graph("Queries", "ops", [rate_by("db_query_duration_seconds_count", "query_type")]),
                graph("Cache hit rate", "percentunit", [query(hit_rate_by_cache(), "{{cache_type}}")])
                    .wanted(0.6, 0.8),
            ],
        ),
        row(
            "Models and jobs",
            [
                graph("AI requests", "reqps", [rate_by("ai_requests_total", "provider, status")]),
                graph("p95 of AI requests", "s", [p95_by("ai_request_duration_seconds", "provider, model")])
                    .limits(10.0, 30.0),
                graph("p95 of jobs", "s", [p95_by("background_job_duration_seconds", "job_type")]),
            ],
        ),
    ];
    Dashboard { title: "Application", about: "Requests, errors, store, cache: is the server well?", rows }
}

fn business() -> Dashboard {
    let rows = vec![
        row(
            "Events",
            [
                days("Events created by day and type", "short", "events_created_total", "event_type"),
                days("Answers by day", "short", "event_rsvps_total", "action"),
                graph(
                    "Answers by kind of event",
                    "cpm",
                    [query(
                        "sum by (event_type) (rate(event_rsvps_total[$__rate_interval])) * 60",
                        "{{event_type}}",
                    )],
                ),
            ],
        ),
        row(
            "Posts",
            [
                days("Posts by day", "short", "posts_created_total", "visibility"),
                days("Reactions by day", "short", "post_reactions_total", "reaction_type"),
            ],
        ),
        row(
            "Housing and payments",
            [
                days("Bookings by day", "short", "housing_bookings_total", "status"),
                days("Payments by day", "short", "stripe_payments_total", "type, status"),
                graph(
                    "Share of payments that failed",
                    "percentunit",
                    [query(
                        share(r#"stripe_payments_total{status="failed"}"#, "stripe_payments_total"),
                        "failed",
                    )],
                )
                .limits(0.05, 0.2),
            ],
        ),
        row(
            "Life CEO and administration",
            [
                days("Answers of agents by day", "short", "life_ceo_agent_invocations_total", "agent_id"),
                days(
                    "Admins' actions by day",
                    "short",
                    "admin_workflow_actions_total",
                    "workflow_type, action",
                ),
            ],
        ),
        row(
            "Letters, pushes, visits",
            [
                days("Letters by day", "short", "letters_total", "status"),
                days("Pushes by day", "short", "pushes_total", "provider, status"),
                days("Events of analytics by day", "short", "analytics_events_total", "outcome"),
            ],
        ),
    ];
    Dashboard { title: "Business", about: "What the community does, by day.", rows }
}

fn realtime() -> Dashboard {
    let unrecovered =
        share(r#"realtime_recoveries_total{result="unrecovered"}"#, "realtime_recoveries_total");
    let rows = vec![
        row(
            "Now",
            [
                figure("Sessions", "short", "sum(realtime_sessions_active)"),
                figure("Channels", "short", "sum(realtime_channels_active)"),
                figure("Publications", "ops", rate_of("realtime_publications_total")),
                figure("Deliveries", "ops", rate_of("realtime_deliveries_total")),
                figure("Not caught up", "percentunit", unrecovered.clone()).limits(0.05, 0.2),
            ],
        ),
        row(
            "Sessions",
            [
                graph("Sessions by transport", "short", [sum_by("realtime_sessions_active", "transport")])
                    .stacked(),
                graph("Opened", "ops", [rate_by("realtime_sessions_opened_total", "transport")]),
                graph("Ended by code", "ops", [rate_by("realtime_disconnects_total", "code")]),
                graph("Asked to connect anew", "ops", [rate_by("realtime_sessions_moved_total", "reason")]),
                graph("Sessions by node", "short", [sum_by("realtime_sessions_active", "instance")])
                    .stacked(),
            ],
        ),
        row(
            "Commands",
            [
                graph("Commands", "ops", [rate_by("realtime_commands_total", "command")]),
                graph("Answered with an error", "ops", [rate_by("realtime_command_errors_total", "code")]),
                graph("Catching up", "ops", [rate_by("realtime_recoveries_total", "result")]),
                graph("Share not caught up", "percentunit", [query(unrecovered, "unrecovered")])
                    .limits(0.05, 0.2),
            ],
        ),
        row(
            "Publications",
            [
                graph(
                    "Publications by namespace",
                    "ops",
                    [rate_by("realtime_publications_total", "namespace")],
                ),
                graph(
                    "Deliveries of a publication",
                    "short",
                    [query(share("realtime_deliveries_total", "realtime_publications_total"), "deliveries")],
                ),
                graph(
                    "Bytes",
                    "Bps",
                    [
                        query(rate_of("realtime_bytes_sent_total"), "sent"),
                        query(rate_of("realtime_bytes_received_total"), "received"),
                    ],
                ),
                graph("Messages to other nodes", "ops", [rate_by("bus_messages_total", "outcome")]),
            ],
        ),
    ];
    Dashboard { title: "Realtime", about: "Sockets, channels, publications and what becomes of them.", rows }
}

fn cluster() -> Dashboard {
    let rows = vec![
        row("Nodes", [
            figure("Nodes that answer", "short", "sum(up)"),
            figure("Nodes that the loneliest knows", "short", "min(cluster_nodes)"),
            figure("Parts away", "short", "count(part_healthy == 0) or vector(0)").limits(1.0, 2.0),
            figure("Hung actors", "short", "sum(actors_hung)").limits(1.0, 2.0),
        ]),
        row("Parts and versions", [
            graph("Parts that answer (1) or not (0)", "short", [query(
                "min by (part, instance) (part_healthy)",
                "{{instance}} {{part}}",
            )]),
            graph("Versions", "short", [query("count by (version) (build_info)", "{{version}}")])
                .stacked(),
            graph("Nodes that each knows", "short", [sum_by("cluster_nodes", "instance")]),
        ]),
        row("Actors", [
            graph("Messages that wait", "short", [sum_by("actor_mailbox_depth", "kind")]),
            graph("Hung", "short", [sum_by("actors_hung", "kind")]).limits(1.0, 2.0),
            graph("Crashed", "cpm", [query(
                "sum by (kind) (rate(actor_restarts_total[$__rate_interval])) * 60",
                "{{kind}}",
            )]),
            graph("Actors that exist once", "short", [sum_by("owned_actors_active", "instance")]).stacked(),
        ]),
        row("Outbox and store", [
            graph("Effects of changes", "ops", [rate_by("outbox_effects_total", "when")]),
            graph("Put off, given up", "ops", [
                query(rate_of("outbox_put_off_total"), "put off"),
                query(rate_of("outbox_given_up_total"), "given up"),
            ]),
            graph("Commits of embedded stores", "ops", [rate_by("store_commits_total", "instance")]),
            graph("Writes of a commit", "short", [query(
                share("store_commit_batch_size_sum", "store_commit_batch_size_count"),
                "writes",
            )]),
        ]),
        row("Machines", [
            graph("Processor", "percentunit", [rate_by("process_cpu_seconds_total", "instance")]),
            graph("Memory", "bytes", [sum_by("process_resident_memory_bytes", "instance")]),
            graph("Open files", "percentunit", [query("process_open_fds / process_max_fds", "{{instance}}")])
                .limits(0.7, 0.9),
            graph("Threads", "short", [sum_by("process_threads", "instance")]),
        ]),
        row("What runs out", [
            graph("Free on the store's disk", "bytes", [query(
                "min by (instance) (store_disk_free_bytes)",
                "{{instance}}",
            )]),
            graph("Certificate is good for", "s", [query(
                "min by (instance) ((tls_certificate_expires_timestamp_seconds > 0) - time()) or vector(0)",
                "{{instance}}",
            )])
            .wanted(3.0 * 86400.0, 21.0 * 86400.0),
            graph("Log lines dropped", "ops", [rate_by("log_lines_dropped_total", "reason")]),
            graph("Spans dropped", "ops", [query(rate_of("trace_spans_dropped_total"), "spans")]),
        ]),
    ];
    Dashboard { title: "Cluster", about: "Nodes, their parts, actors, machines.", rows }
}

fn jobs() -> Dashboard {
    let waiting = r#"jobs_in_queue{state="waiting"}"#;
    let rows = vec![
        row(
            "Now",
            [
                figure("Waiting", "short", format!("sum({waiting})")),
                figure("Running", "short", r#"sum(jobs_in_queue{state="running"})"#),
                figure("Dead letters", "short", r#"sum(jobs_in_queue{state="dead"})"#).limits(1.0, 100.0),
                figure("Oldest attempt", "s", "max(job_oldest_running_seconds)").limits(600.0, 3600.0),
            ],
        ),
        row(
            "Queues",
            [
                graph("Waiting", "short", [sum_by(waiting, "queue")]).stacked(),
                graph("Delayed", "short", [sum_by(r#"jobs_in_queue{state="delayed"}"#, "queue")]).stacked(),
                graph("Running", "short", [sum_by(r#"jobs_in_queue{state="running"}"#, "queue")]).stacked(),
                graph("Dead", "short", [sum_by(r#"jobs_in_queue{state="dead"}"#, "queue")]).stacked(),
            ],
        ),
        row(
            "Attempts",
            [
                graph("By what came of them", "ops", [rate_by("background_jobs_total", "status")]),
                graph(
                    "Failed or dead, by kind",
                    "ops",
                    [rate_by(r#"background_jobs_total{status=~"failed|dead"}"#, "job_type")],
                ),
                graph("p95 of an attempt", "s", [p95_by("background_job_duration_seconds", "job_type")]),
                graph("p95 until the first attempt", "s", [p95_by("job_start_delay_seconds", "queue")]),
            ],
        ),
        row(
            "Holders and schedules",
            [
                graph(
                    "Oldest attempt",
                    "s",
                    [query("max by (queue) (job_oldest_running_seconds)", "{{queue}}")],
                )
                .limits(600.0, 3600.0),
                graph("Rescued", "ops", [rate_by("jobs_rescued_total", "queue")]),
                graph("Ends that did not count", "ops", [rate_by("job_attempts_lost_total", "queue")]),
                days("Schedules that fired, by day", "short", "schedule_fired_total", "schedule"),
                days("Schedules missed, by day", "short", "schedule_missed_total", "schedule"),
            ],
        ),
        row(
            "Letters, pushes, analytics",
            [
                graph("Letters", "ops", [rate_by("letters_total", "status")]),
                graph("Letters by kind", "ops", [rate_by("letters_total", "letter")]),
                graph("Pushes", "ops", [rate_by("pushes_total", "provider, status")]),
                graph(
                    "Quarters of an hour to fold",
                    "short",
                    [
                        query("sum(analytics_slots_dirty)", "to fold"),
                        query("sum(increase(analytics_slots_folded_total[$__rate_interval]))", "folded"),
                    ],
                ),
            ],
        ),
    ];
    Dashboard { title: "Jobs", about: "Queues, attempts, schedules, letters and pushes.", rows }
}

fn agents() -> Dashboard {
    let [p50, p95, p99] = quantiles("ai_request_duration_seconds");
    let failed = share(r#"ai_requests_total{status!="success"}"#, "ai_requests_total");
    let rows = vec![
        row(
            "Answers",
            [
                graph("Answers by agent", "ops", [rate_by("life_ceo_agent_invocations_total", "agent_id")]),
                graph(
                    "Answers by what came of them",
                    "ops",
                    [rate_by("life_ceo_agent_invocations_total", "status")],
                ),
            ],
        ),
        row(
            "Models",
            [
                graph("Requests", "reqps", [rate_by("ai_requests_total", "provider, model")]),
                graph("Share that failed", "percentunit", [query(failed, "failed")]).limits(0.05, 0.2),
                graph("Time of requests", "s", [p50, p95, p99]).limits(10.0, 30.0),
            ],
        ),
        row(
            "Tasks",
            [
                graph("Waiting", "short", [sum_by("agent_queue_depth", "agent_id")]).stacked(),
                graph("Under way", "short", [sum_by("agent_concurrent_tasks", "agent_id")]).stacked(),
                graph("Completed", "ops", [rate_by("agent_tasks_completed_total", "agent_id")]),
                graph("Failed", "ops", [rate_by("agent_tasks_failed_total", "agent_id")]).limits(0.1, 1.0),
                graph("p95 of a task", "s", [p95_by("agent_task_duration_seconds", "agent_id")]),
            ],
        ),
    ];
    Dashboard { title: "Agents", about: "Life CEO: answers, models, tasks.", rows }
}

/// The share of requests that failed. Answers that were never given have no series: that is 0.
fn failed_requests() -> String {
    let (failed, all) = (rate_of(FAILED_REQUESTS), rate_of(REQUESTS));
    format!("({failed} or {all} * 0) / clamp_min({all}, 1e-9)")
}

/// Of all reads that may be answered by the cache. Nothing where nothing is read: 0 would look like a fault.
fn hit_rate() -> String {
    let (hits, misses) = (rate_of("cache_hits_total"), rate_of("cache_misses_total"));
    format!("{hits} / ({hits} + {misses} > 0)")
}

fn hit_rate_by_cache() -> String {
    hit_rate().replace("sum(", "sum by (cache_type) (")
}

//! Alerts on nodes: whether they are there, what they stand on, and what runs out.

use super::rules::Severity::{Info, Page, Ticket};
use super::rules::{Alert, Group};

/// The rules about nodes.
pub(super) fn group() -> Group {
    let alerts = presence()
        .into_iter()
        .chain(parts())
        .chain(store())
        .chain(actors())
        .chain(what_runs_out())
        .chain(clients());
    Group { name: "nodes", recordings: Vec::new(), alerts: alerts.collect() }
}

fn presence() -> Vec<Alert> {
    vec![
        Alert::new(Info, "Heartbeat", "0m", "vector(1)")
            .says(
                "The way of alerts works",
                "Fires always. Have a service outside of this monitoring tell you when it stops coming.",
            )
            .fires(5, "none", &[("up", "1x10")])
            .edge_fires("fires also where nothing else is measured", 5, "none", &[("up", "1 stale")])
            .edge_fires(
                "fires once however many nodes there are",
                5,
                "none",
                &[("up", "1x10"), (r#"up{instance="b"}"#, "1x10")],
            ),
        Alert::new(Page, "NodesAbsent", "15m", r#"absent(up{job="mundotango"})"#)
            .says(
                "Nothing of {{ $labels.job }} is measured",
                "Prometheus knows no node of this job, so no other alert about it can fire.",
            )
            .fires(40, "", &[(r#"up{job="other"}"#, "1x60")])
            .silent(40, &[("up", "1x60")])
            .edge("is silent through a rollout of ten minutes", 16, &[("up", "1x5 stale _x10 1x20")])
            .edge_fires("fires where the last sample lies back", 40, "", &[("up", "1x5 stale")]),
        Alert::new(Page, "AllNodesDown", "2m", "sum by (job) (up) == 0")
            .says("No node of {{ $labels.job }} answers", "Prometheus reaches none of them.")
            .fires(20, "", &[("up", "1x10 0x20"), (r#"up{instance="b"}"#, "1x12 0x20")])
            .silent(20, &[("up", "0x30"), (r#"up{instance="b"}"#, "1x30")])
            .edge("is silent where one scrape is missed", 12, &[("up", "1x10 0 1x20")])
            .edge_fires("goes on where a scrape comes through", 17, "", &[("up", "1x10 0x5 1 0x20")]),
        Alert::new(Ticket, "NodeDown", "10m", "max_over_time(up[5m]) == 0")
            .says(
                "{{ $labels.instance }} does not answer",
                "Not reached for a quarter of an hour. Its clients are on the other nodes.",
            )
            .fires(40, "instance=a", &[("up", "1x10 0x40"), (r#"up{instance="b"}"#, "1x60")])
            .silent(40, &[("up", "1x60")])
            .edge("is silent where it answers now and then", 40, &[("up", "1x10 0x3 1 0x3 1 0x3 1x40")]),
        Alert::new(Page, "NodeRestarts", "0m", "changes(process_start_time_seconds[30m]) >= 3")
            .says(
                "{{ $labels.instance }} starts again and again",
                "The process started at least three times in half an hour.",
            )
            .fires(20, "instance=a", &[("process_start_time_seconds", "100x4 200x4 300x4 400x20")])
            .silent(20, &[("process_start_time_seconds", "100x30")])
            .edge("is silent in a rollout", 20, &[("process_start_time_seconds", "100x10 _x2 700x20")])
            .edge_fires(
                "fires through missed scrapes",
                20,
                "instance=a",
                &[("process_start_time_seconds", "100x2 _x2 200x2 _x2 300x2 _x2 400x20")],
            ),
    ]
}

fn parts() -> Vec<Alert> {
    vec![
        Alert::new(Page, "StoreUnavailable", "2m", r#"max_over_time(part_healthy{part="store"}[3m]) == 0"#)
            .says(
                "{{ $labels.instance }} does not reach its store",
                "Requests that need the store are answered with 503; sockets stay up.",
            )
            .fires(20, "instance=a part=store", &[(r#"part_healthy{part="store"}"#, "1x10 0x20")])
            .silent(
                20,
                &[(r#"part_healthy{part="store"}"#, "1x30"), (r#"part_healthy{part="redis"}"#, "0x30")],
            )
            .edge(
                "is silent where it comes back within a minute",
                12,
                &[(r#"part_healthy{part="store"}"#, "1x10 0 1x20")],
            ),
        Alert::new(Ticket, "PartUnhealthy", "5m", r#"max_over_time(part_healthy{part!="store"}[5m]) == 0"#)
            .says(
                "{{ $labels.part }} does not answer {{ $labels.instance }}",
                "The node goes on without this part, and is less than it should be.",
            )
            .fires(30, "instance=a part=redis", &[(r#"part_healthy{part="redis"}"#, "1x10 0x30")])
            .silent(
                30,
                &[(r#"part_healthy{part="redis"}"#, "1x40"), (r#"part_healthy{part="store"}"#, "0x40")],
            )
            .edge(
                "is silent where the part comes and goes",
                30,
                &[(r#"part_healthy{part="redis"}"#, "1x10 0x2 1 0x2 1 0x2 1 0x2 1 0x2 1x20")],
            ),
        Alert::new(
            Page,
            "ClusterDivided",
            "5m",
            "min by (job) (max_over_time(cluster_nodes[2m])) < count by (job) (up == 1)",
        )
        .says(
            "Nodes of {{ $labels.job }} do not see each other",
            "A node knows fewer nodes than there are: publications of one side come late to \
             the other side's sessions.",
        )
        .fires(
            30,
            "",
            &[
                ("up", "1x40"),
                (r#"up{instance="b"}"#, "1x40"),
                ("cluster_nodes", "2x10 1x30"),
                (r#"cluster_nodes{instance="b"}"#, "2x40"),
            ],
        )
        .silent(
            30,
            &[
                ("up", "1x40"),
                (r#"up{instance="b"}"#, "1x40"),
                ("cluster_nodes", "2x40"),
                (r#"cluster_nodes{instance="b"}"#, "2x40"),
            ],
        )
        .edge(
            "is silent while a node joins",
            13,
            &[
                ("up", "1x40"),
                (r#"up{instance="b"}"#, "_x10 1x40"),
                ("cluster_nodes", "1x11 2x40"),
                (r#"cluster_nodes{instance="b"}"#, "_x10 1 2x40"),
            ],
        )
        .edge(
            "is silent where a node is gone",
            30,
            &[
                ("up", "1x40"),
                (r#"up{instance="b"}"#, "1x10 0x40"),
                ("cluster_nodes", "2x10 1x40"),
                (r#"cluster_nodes{instance="b"}"#, "2x10 stale"),
            ],
        ),
    ]
}

fn store() -> Vec<Alert> {
    vec![
        Alert::new(
            Ticket,
            "StoreSlow",
            "15m",
            "histogram_quantile(0.95, sum by (job, le) (rate(db_query_duration_seconds_bucket[10m])))\n\
             > 0.25\n\
             and sum by (job) (increase(db_query_duration_seconds_count[10m])) >= 100",
        )
        .says(
            "The store of {{ $labels.job }} is slow",
            "5 % of all queries take longer than 250 ms, for a quarter of an hour.",
        )
        .fires(60, "", &slow_queries("0+10x90"))
        .silent(60, &slow_queries("0+1x90"))
        .edge(
            "is silent where few are asked",
            60,
            &[
                (r#"db_query_duration_seconds_bucket{le="0.25"}"#, "0x90"),
                (r#"db_query_duration_seconds_bucket{le="0.5"}"#, "0+1x90"),
                (r#"db_query_duration_seconds_bucket{le="+Inf"}"#, "0+1x90"),
                ("db_query_duration_seconds_count", "0+1x90"),
            ],
        ),
        Alert::new(
            Ticket,
            "StoreDiskFills",
            "30m",
            "(min_over_time(store_disk_free_bytes[10m]) < 10e9\n\
             or predict_linear(store_disk_free_bytes[6h], 4 * 86400) < 0)\n\
             and store_disk_free_bytes > 0",
        )
        .says(
            "The store's disk of {{ $labels.instance }} fills",
            "Less than 10 GB are free, or at the pace of the last six hours it is full within four days.",
        )
        .fires(60, "instance=a", &[("store_disk_free_bytes", "5000000000x90")])
        .silent(60, &[("store_disk_free_bytes", "50000000000x90")])
        .edge_fires(
            "fires where much is free and goes fast",
            400,
            "instance=a",
            &[("store_disk_free_bytes", "50000000000-20000000x500")],
        )
        .edge("is silent on a node without a store of its own", 60, &[("store_disk_free_bytes", "0x90")])
        .edge(
            "is silent where a backup takes room for a while",
            60,
            &[("store_disk_free_bytes", "50000000000x30 9000000000x5 50000000000x60")],
        ),
        Alert::new(
            Page,
            "StoreDiskFull",
            "2m",
            "max_over_time(store_disk_free_bytes[2m]) < 1e9 and store_disk_free_bytes > 0",
        )
        .says(
            "The store's disk of {{ $labels.instance }} is nearly full",
            "Less than 1 GB is free. Below `store.reserve_bytes` nothing is written any more (507).",
        )
        .fires(30, "instance=a", &[("store_disk_free_bytes", "2000000000x10 900000000x30")])
        .silent(30, &[("store_disk_free_bytes", "2000000000x40")])
        .edge("is silent on a node without a store of its own", 30, &[("store_disk_free_bytes", "0x40")])
        .edge(
            "is silent where it is short for a minute",
            11,
            &[("store_disk_free_bytes", "2000000000x10 900000000 2000000000x40")],
        ),
    ]
}

/// A hundred queries a minute of one table, and so many slow ones of another.
fn slow_queries(slow: &str) -> [(&'static str, &str); 6] {
    [
        (r#"db_query_duration_seconds_bucket{table="posts",le="0.25"}"#, "0+100x90"),
        (r#"db_query_duration_seconds_bucket{table="posts",le="0.5"}"#, "0+100x90"),
        (r#"db_query_duration_seconds_bucket{table="users",le="0.5"}"#, slow),
        (r#"db_query_duration_seconds_bucket{table="posts",le="+Inf"}"#, "0+100x90"),
        (r#"db_query_duration_seconds_bucket{table="users",le="+Inf"}"#, slow),
        ("db_query_duration_seconds_count", "0+100x90"),
    ]
}

fn actors() -> Vec<Alert> {
    vec![
        Alert::new(Page, "ActorsHung", "5m", "min_over_time(actors_hung[3m]) > 0")
            .says(
                "Actors of {{ $labels.instance }} hang ({{ $labels.kind }})",
                "They have messages that wait and make no progress. What they do stands still for its users.",
            )
            .fires(30, "instance=a kind=owned", &[(r#"actors_hung{kind="owned"}"#, "0x10 1x30")])
            .silent(30, &[(r#"actors_hung{kind="owned"}"#, "0x40")])
            .edge(
                "is silent where one hangs for a moment at a time",
                30,
                &[(r#"actors_hung{kind="owned"}"#, "0x10 1x1 0 1x1 0 1x1 0 1x1 0x30")],
            ),
        Alert::new(
            Ticket,
            "ActorsCrash",
            "0m",
            "sum by (job, kind) (increase(actor_restarts_total[1h])) > 5",
        )
        .says(
            "Actors crash ({{ $labels.kind }})",
            "More than five in an hour. Each was mended or ended; the same cause comes again.",
        )
        .fires(40, "kind=session", &[(r#"actor_restarts_total{kind="session"}"#, "0x10 0+1x40")])
        .silent(40, &[(r#"actor_restarts_total{kind="session"}"#, "0x10 3x40")])
        .edge_fires(
            "fires in a fresh process",
            20,
            "kind=session",
            &[(r#"actor_restarts_total{kind="session"}"#, "_x10 0 7x20")],
        )
        .edge(
            "takes no restart of the node for a crash",
            40,
            &[(r#"actor_restarts_total{kind="session"}"#, "5x10 0x40")],
        ),
        Alert::new(
            Ticket,
            "MailboxGrows",
            "10m",
            "min_over_time(actor_mailbox_depth[10m]) > 1000 and deriv(actor_mailbox_depth[10m]) > 0",
        )
        .says(
            "More and more messages wait ({{ $labels.kind }} of {{ $labels.instance }})",
            "Actors get more than they handle, for twenty minutes. What they deliver comes late.",
        )
        .fires(60, "instance=a kind=channel", &[(r#"actor_mailbox_depth{kind="channel"}"#, "0+100x90")])
        .silent(60, &[(r#"actor_mailbox_depth{kind="channel"}"#, "50x90")])
        .edge(
            "is silent where many wait and fewer each minute",
            60,
            &[(r#"actor_mailbox_depth{kind="channel"}"#, "20000-100x90")],
        ),
    ]
}

fn what_runs_out() -> Vec<Alert> {
    let until = "(tls_certificate_expires_timestamp_seconds > 0) - time()";
    vec![
        Alert::new(Ticket, "CertificateExpires", "1h", format!("{until} < 21 * 86400"))
            .says(
                "The certificate of {{ $labels.instance }} expires within three weeks",
                "Whatever renews it has not done so.",
            )
            .fires(90, "instance=a", &[("tls_certificate_expires_timestamp_seconds", "1728000x120")])
            .silent(90, &[("tls_certificate_expires_timestamp_seconds", "5184000x120")])
            .edge("is silent without TLS", 90, &[("tls_certificate_expires_timestamp_seconds", "0x120")])
            .edge(
                "is silent once it was renewed",
                90,
                &[("tls_certificate_expires_timestamp_seconds", "1728000x30 9504000x120")],
            ),
        Alert::new(Page, "CertificateExpiresSoon", "10m", format!("{until} < 3 * 86400"))
            .says(
                "The certificate of {{ $labels.instance }} expires within three days",
                "Then no browser and no app connects any more.",
            )
            .fires(30, "instance=a", &[("tls_certificate_expires_timestamp_seconds", "172800x60")])
            .silent(30, &[("tls_certificate_expires_timestamp_seconds", "1728000x60")])
            .edge_fires(
                "fires where it is over",
                60,
                "instance=a",
                &[("tls_certificate_expires_timestamp_seconds", "1800x90")],
            )
            .edge("is silent without TLS", 30, &[("tls_certificate_expires_timestamp_seconds", "0x60")]),
        Alert::new(
            Ticket,
            "LogLinesDropped",
            "0m",
            "sum by (job, instance, reason)\n\
             (increase(log_lines_dropped_total{reason!=\"repeated\"}[15m])) > 0",
        )
        .says(
            "{{ $labels.instance }} drops lines of its log ({{ $labels.reason }})",
            "What reads the log is too slow or gone, so the log is not whole.",
        )
        .fires(
            20,
            "instance=a reason=slow_reader",
            &[(r#"log_lines_dropped_total{reason="slow_reader"}"#, "0x10 5x20")],
        )
        .silent(20, &[(r#"log_lines_dropped_total{reason="slow_reader"}"#, "5x40")])
        .edge(
            "is silent where lines are left out as they repeat",
            20,
            &[(r#"log_lines_dropped_total{reason="repeated"}"#, "0+100x40")],
        ),
        Alert::new(
            Info,
            "TraceSpansDropped",
            "5m",
            "sum by (job, instance) (increase(trace_spans_dropped_total[15m])) > 0",
        )
        .says(
            "{{ $labels.instance }} drops spans of traces",
            "The collector is too slow or gone. Requests are not held up by it.",
        )
        .fires(30, "instance=a", &[("trace_spans_dropped_total", "0x10 0+10x30")])
        .silent(30, &[("trace_spans_dropped_total", "100x40")])
        .edge_fires(
            "fires from the first one in a fresh process",
            20,
            "instance=a",
            &[("trace_spans_dropped_total", "_x5 0x3 1x30")],
        ),
    ]
}

fn clients() -> Vec<Alert> {
    let hit_rate = "sum by (job) (increase(cache_hits_total[1h]))";
    let reads = format!("({hit_rate} + {})", hit_rate.replace("hits", "misses"));
    let unrecovered = r#"sum by (job) (increase(realtime_recoveries_total{result="unrecovered"}[30m]))"#;
    vec![
        Alert::new(
            Page,
            "ConnectionsRefused",
            "5m",
            r#"sum by (job, instance) (increase(connections_refused_total{reason="connections"}[5m])) > 20"#,
        )
        .says(
            "{{ $labels.instance }} is full and refuses connections",
            "The node has as many connections as `http.max_connections` allows. People cannot come in.",
        )
        .fires(30, "instance=a", &[(r#"connections_refused_total{reason="connections"}"#, "0x10 0+50x30")])
        .silent(30, &[(r#"connections_refused_total{reason="connections"}"#, "0x40")])
        .edge(
            "is silent where one address opens too many",
            30,
            &[(r#"connections_refused_total{reason="address"}"#, "0+500x40")],
        ),
        Alert::new(
            Ticket,
            "CacheHitRateLow",
            "30m",
            format!("{hit_rate} / ({reads} > 0) < 0.6\nand {reads} >= 1000"),
        )
        .says(
            "The cache of {{ $labels.job }} answers little",
            "Fewer than 60 % of an hour's reads; 80 % is the aim. The store does the rest.",
        )
        .fires(
            120,
            "",
            &[
                (r#"cache_hits_total{cache_type="posts"}"#, "0+50x150"),
                (r#"cache_misses_total{cache_type="posts"}"#, "0+50x150"),
            ],
        )
        .silent(
            120,
            &[
                (r#"cache_hits_total{cache_type="posts"}"#, "0+90x150"),
                (r#"cache_misses_total{cache_type="posts"}"#, "0+10x150"),
            ],
        )
        .edge(
            "is silent where little is read",
            120,
            &[
                (r#"cache_hits_total{cache_type="posts"}"#, "0x150"),
                (r#"cache_misses_total{cache_type="posts"}"#, "0+5x150"),
            ],
        )
        .edge(
            "is silent while the caches of new nodes fill",
            25,
            &[
                (r#"cache_hits_total{cache_type="posts"}"#, "0+50x15 800+95x40"),
                (r#"cache_misses_total{cache_type="posts"}"#, "0+50x15 800+5x40"),
            ],
        ),
        Alert::new(
            Ticket,
            "RecoveriesFail",
            "10m",
            format!(
                "{unrecovered} / (sum by (job) (increase(realtime_recoveries_total[30m])) > 0) > 0.2\n\
                 and {unrecovered} >= 50"
            ),
        )
        .says(
            "Sessions do not catch up ({{ $labels.job }})",
            "More than 20 % of those that come back find no history, and load everything anew.",
        )
        .fires(
            60,
            "",
            &[
                (r#"realtime_recoveries_total{result="recovered"}"#, "0+10x90"),
                (r#"realtime_recoveries_total{result="unrecovered"}"#, "0+10x90"),
            ],
        )
        .silent(
            60,
            &[
                (r#"realtime_recoveries_total{result="recovered"}"#, "0+100x90"),
                (r#"realtime_recoveries_total{result="unrecovered"}"#, "0+10x90"),
            ],
        )
        .edge(
            "is silent where few come back",
            60,
            &[
                (r#"realtime_recoveries_total{result="recovered"}"#, "0x90"),
                (r#"realtime_recoveries_total{result="unrecovered"}"#, "0+1x90"),
            ],
        ),
    ]
}

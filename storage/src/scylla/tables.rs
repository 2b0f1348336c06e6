//! The tables of kinds and indexes on a CQL server, made from their declarations.

use std::time::Duration;

use crate::db::{IndexSpec, Order, Schema};

/// How long the tombstones of short-lived rows are kept.
const SHORT_GRACE: Duration = Duration::from_hours(1);
/// The least and the longest time for which tombstones of rows that expire are kept: as long as servers keep hints for one
/// that is away, and the servers' own default.
const MIN_GRACE: Duration = Duration::from_hours(3);
const MAX_GRACE: Duration = Duration::from_hours(10 * 24);
/// Windows into which the files of a table are divided whose rows expire: servers advise against more than about 30.
const WINDOWS: u32 = 24;

/// The table of an index that lists the buckets.
pub(super) fn buckets_table(index: &IndexSpec) -> String {
    format!("{}_buckets", index.name)
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// The tables of a schema by name, and the statement that makes each.
pub(super) fn of_schema(schema: &Schema) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    for kind in &schema.kinds {
        let grace = kind.short_lived.then_some(SHORT_GRACE);
        let cql = format!(
            "CREATE TABLE IF NOT EXISTS {} (p text, k text, body text, facts text, head text, version bigint, \
             marks frozen<list<text>>, deleted boolean, PRIMARY KEY ((p), k)) WITH comment = '{}'{}",
            kind.name,
            quoted(kind.bound),
            lifetime(kind.ttl, grace)
        );
        tables.push((kind.name.to_owned(), cql));
    }
    for index in schema.all_indexes() {
        let (order, buckets) = (direction(index.order), buckets_table(index));
        let cql = format!(
            "CREATE TABLE IF NOT EXISTS {} (l text, bucket bigint, k text, body text, PRIMARY KEY ((l, bucket), k)) \
             WITH CLUSTERING ORDER BY (k {order}) AND comment = '{}'{}",
            index.name,
            quoted(index.bound),
            lifetime(index.ttl, None)
        );
        tables.push((index.name.to_owned(), cql));
        let cql = format!(
            "CREATE TABLE IF NOT EXISTS {buckets} (l text, bucket bigint, PRIMARY KEY ((l), bucket)) \
             WITH CLUSTERING ORDER BY (bucket {order}) AND comment = 'a row for each bucket of a list'{}",
            lifetime(index.ttl.map(|ttl| ttl * 2), None)
        );
        tables.push((buckets, cql));
    }
    tables
}

/// The options of a table whose rows live for a time. Rows of one window expire together, so that the server drops whole
/// files instead of collecting tombstones.
fn lifetime(ttl: Option<Duration>, grace: Option<Duration>) -> String {
    let options = ttl.map(|ttl| {
        let minutes = (ttl / WINDOWS).as_secs().div_ceil(60).max(1);
        format!(
            " AND default_time_to_live = {} AND compaction = {{'class': 'TimeWindowCompactionStrategy', \
             'compaction_window_unit': 'MINUTES', 'compaction_window_size': '{minutes}'}}",
            ttl.as_secs()
        )
    });
    // What a removal hides has expired everywhere by the time at which its tombstone goes.
    let grace = grace.or_else(|| ttl.map(|ttl| ttl.clamp(MIN_GRACE, MAX_GRACE)));
    let grace = grace.map(|grace| format!(" AND gc_grace_seconds = {}", grace.as_secs()));
    [options, grace].into_iter().flatten().collect()
}

fn direction(order: Order) -> &'static str {
    match order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    }
}

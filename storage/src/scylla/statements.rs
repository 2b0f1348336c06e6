//! The statements of kinds and indexes, made from their declarations.

use super::outbox::OUTBOX_TTL;
use super::query::{Kind, Query};
use super::row::HEAD_KEY;
use super::tables::buckets_table;
use crate::db::{IndexSpec, KindSpec, Order};

/// The statements of a kind.
pub(super) struct OfKind {
    pub(super) spec: &'static KindSpec,
    pub(super) load: Query,
    pub(super) load_settled: Query,
    pub(super) load_all: Query,
    pub(super) row: Query,
    pub(super) row_of_all: Query,
    pub(super) range: Query,
    pub(super) range_settled: Query,
    pub(super) range_backwards: Query,
    pub(super) insert: Query,
    pub(super) facts_written_at: Query,
    pub(super) remove_facts: Query,
    pub(super) forget: Query,
    pub(super) set_head: Query,
    pub(super) set_all: Query,
    pub(super) delete: Query,
    pub(super) still_deleted: Query,
    pub(super) put: Query,
    pub(super) put_effects: Query,
    pub(super) effects: Query,
    pub(super) insert_effects: Query,
    pub(super) remove: Query,
}

/// The statements of an index.
pub(super) struct OfIndex {
    pub(super) add: Query,
    pub(super) remove: Query,
    pub(super) list_bucket: Query,
    pub(super) forget_buckets: Query,
    pub(super) remove_bucket: Query,
    pub(super) forget_list: Query,
    pub(super) first_buckets: Query,
    pub(super) buckets_behind: Query,
    pub(super) first: Query,
    pub(super) behind: Query,
}

impl OfKind {
    pub(super) fn new(kind: &'static KindSpec) -> Self {
        let t = kind.name;
        let query = |kind: Kind, text: String| Query::of(kind, t, text);
        let load =
            format!("SELECT k, body, facts, head, version, marks, deleted FROM {t} WHERE p = ? AND k IN ?");
        let range = format!("SELECT k, body FROM {t} WHERE p = ? AND k >= ? AND k < ? LIMIT ?");
        let backwards =
            format!("SELECT k, body FROM {t} WHERE p = ? AND k >= ? AND k < ? ORDER BY k DESC LIMIT ?");
        let set_head = format!(
            "UPDATE {t} SET head = ?, version = ?, marks = ? WHERE p = ? AND k = '{HEAD_KEY}' IF version = ?"
        );
        let set_all = format!(
            "UPDATE {t} SET facts = ?, head = ?, version = ?, marks = ? WHERE p = ? AND k = '{HEAD_KEY}' IF version = ?"
        );
        let delete = format!(
            "UPDATE {t} SET head = null, deleted = true, version = ?, marks = ? WHERE p = ? AND k = '{HEAD_KEY}' \
             IF version = ?"
        );
        let still_deleted =
            format!("UPDATE {t} SET deleted = true WHERE p = ? AND k = '{HEAD_KEY}' IF deleted = true");
        let ttl = OUTBOX_TTL.as_secs();
        let put_effects = format!("INSERT INTO {t} (p, k, body) VALUES (?, ?, ?) USING TTL {ttl}");
        Self {
            spec: kind,
            load: query(Kind::Read, load.clone()),
            load_settled: query(Kind::SerialRead, load),
            load_all: query(
                Kind::Read,
                format!(
                    "SELECT p, facts, head, version, marks, deleted FROM {t} WHERE p IN ? AND k = '{HEAD_KEY}'"
                ),
            ),
            row: query(Kind::Read, format!("SELECT body FROM {t} WHERE p = ? AND k = ?")),
            row_of_all: query(Kind::Read, format!("SELECT p, body FROM {t} WHERE p IN ? AND k = ?")),
            range: query(Kind::Read, range.clone()),
            range_settled: query(Kind::SerialRead, range),
            range_backwards: query(Kind::Read, backwards),
            insert: query(Kind::Write, format!("INSERT INTO {t} (p, k, facts) VALUES (?, '{HEAD_KEY}', ?)")),
            facts_written_at: query(
                Kind::Read,
                format!("SELECT writetime(facts) FROM {t} WHERE p = ? AND k = '{HEAD_KEY}'"),
            ),
            remove_facts: query(
                Kind::Write,
                format!("DELETE facts FROM {t} WHERE p = ? AND k = '{HEAD_KEY}'"),
            ),
            forget: query(
                Kind::Cas,
                format!("DELETE FROM {t} WHERE p = ? AND k = '{HEAD_KEY}' IF version = ?"),
            ),
            set_head: query(Kind::Cas, set_head),
            set_all: query(Kind::Cas, set_all),
            delete: query(Kind::Cas, delete),
            still_deleted: query(Kind::Cas, still_deleted),
            put: query(Kind::Cas, format!("INSERT INTO {t} (p, k, body) VALUES (?, ?, ?)")),
            put_effects: query(Kind::Cas, put_effects.clone()),
            insert_effects: query(Kind::Write, put_effects),
            // Who makes sure that a change will not happen any more finishes what is under way before it is looked at again.
            effects: query(Kind::Read, format!("SELECT body FROM {t} WHERE p = ? AND k = ?")),
            remove: query(Kind::Cas, format!("DELETE FROM {t} WHERE p = ? AND k = ?")),
        }
    }
}

impl OfIndex {
    pub(super) fn new(index: &'static IndexSpec) -> Self {
        let (t, buckets) = (index.name, buckets_table(index));
        let (before, behind) = match index.order {
            Order::NewestFirst => (">", "<"),
            Order::OldestFirst => ("<", ">"),
        };
        let query = |kind: Kind, text: String| Query::of(kind, t, text);
        Self {
            add: query(Kind::Write, format!("INSERT INTO {t} (l, bucket, k, body) VALUES (?, ?, ?, ?)")),
            remove: query(Kind::Write, format!("DELETE FROM {t} WHERE l = ? AND bucket = ? AND k = ?")),
            list_bucket: query(Kind::Write, format!("INSERT INTO {buckets} (l, bucket) VALUES (?, ?)")),
            forget_buckets: query(
                Kind::Write,
                format!("DELETE FROM {buckets} WHERE l = ? AND bucket {before} ?"),
            ),
            remove_bucket: query(Kind::Write, format!("DELETE FROM {t} WHERE l = ? AND bucket = ?")),
            forget_list: query(Kind::Write, format!("DELETE FROM {buckets} WHERE l = ?")),
            first_buckets: query(Kind::Read, format!("SELECT bucket FROM {buckets} WHERE l = ? LIMIT ?")),
            buckets_behind: query(
                Kind::Read,
                format!("SELECT bucket FROM {buckets} WHERE l = ? AND bucket {behind}= ? LIMIT ?"),
            ),
            first: query(Kind::Read, format!("SELECT k, body FROM {t} WHERE l = ? AND bucket = ? LIMIT ?")),
            behind: query(
                Kind::Read,
                format!("SELECT k, body FROM {t} WHERE l = ? AND bucket = ? AND k {behind} ? LIMIT ?"),
            ),
        }
    }
}

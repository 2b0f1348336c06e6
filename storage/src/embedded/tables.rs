//! The tables, each an ordered map from keys to rows.

use std::collections::HashMap;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use mundotango_ops::Histogram;

use crate::db::Schema;

/// A table. Its keys and rows are described where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table {
    number: usize,
    name: &'static str,
    ttl: Option<Duration>,
}

macro_rules! tables {
    ($($table:ident = $name:literal,)+) => {
        #[derive(Clone, Copy)]
        enum Number {
            $($table,)+
        }

        #[expect(non_upper_case_globals, reason = "they are used as the variants of an enum")]
        impl Table {
            $(pub(super) const $table: Self = Self { number: Number::$table as usize, name: $name, ttl: None };)+

            /// The tables that are not a schema's, in the order of their numbers.
            const OWN: &[Self] = &[$(Self::$table,)+];
        }
    };
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        self.name
    }

    /// What belongs to it of a list with an item for each table.
    pub(super) fn of<T>(self, all: &[T]) -> &T {
        &all[self.number]
    }

    /// How long its rows live; for ever without it.
    pub(super) fn ttl(self) -> Option<Duration> {
        self.ttl
    }
}

tables! {
    History = "history",
    HistoryEnds = "history_ends",
    Expiries = "expiries",
}

/// How long each kind of query of a table takes.
#[derive(Clone)]
pub(super) struct Timers {
    pub(super) read: Histogram,
    pub(super) scan: Histogram,
    pub(super) write: Histogram,
}

impl Timers {
    fn of(table: &Table) -> Self {
        let seconds = &mundotango_ops::metrics().db_query_duration_seconds;
        let of = |query| seconds.with_label_values(&[query, table.name]);
        Self { read: of("read"), scan: of("scan"), write: of("write") }
    }
}

/// Handles of all tables.
#[derive(Clone)]
pub(super) struct Tables {
    keyspaces: Vec<Keyspace>,
    timers: Vec<Timers>,
    of_schema: HashMap<&'static str, Table>,
}

impl Tables {
    pub(super) fn open(database: &Database, schema: &Schema) -> fjall::Result<Self> {
        let named = (Table::OWN.len()..).zip(schema.tables());
        let of_schema: Vec<_> = named.map(|(number, (name, ttl))| Table { number, name, ttl }).collect();
        let timers = Table::OWN.iter().chain(&of_schema).map(Timers::of).collect();
        let open = |table: &Table| database.keyspace(table.name, KeyspaceCreateOptions::default);
        let keyspaces = Table::OWN.iter().chain(&of_schema).map(open).collect::<fjall::Result<_>>()?;
        let of_schema = of_schema.into_iter().map(|table| (table.name, table)).collect();
        Ok(Self { keyspaces, timers, of_schema })
    }

    pub(super) fn all(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    pub(super) fn timers(&self, table: Table) -> &Timers {
        table.of(&self.timers)
    }

    pub(super) fn get(&self, table: Table) -> &Keyspace {
        table.of(&self.keyspaces)
    }

    /// The table of a kind or an index, if it is in the schema that the store was opened with.
    pub(super) fn of_schema(&self, name: &str) -> Option<Table> {
        self.of_schema.get(name).copied()
    }
}

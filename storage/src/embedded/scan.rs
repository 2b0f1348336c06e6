//! Where reads of many rows run: short ones where they are asked for, as a task costs more than they do; the others, and all
//! of a table in which short ones were slow lately, where they stall no session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Shared;
use super::tables::{Table, Tables};
use crate::StoreError;

/// Most rows of a short read.
const SHORT: usize = 256;
/// A short read that takes longer met a cold disk, or many rows that were removed.
const SLOW: Duration = Duration::from_millis(2);
/// How long a table is taken to be slow then, so that reads stall others for a small part of the time at most.
const SLOW_FOR: Duration = Duration::from_secs(5);

/// Which tables are slow.
pub(super) struct Pace {
    opened: Instant,
    /// By table, until when: in milliseconds since the store was opened.
    slow_until: Vec<AtomicU64>,
}

impl Pace {
    pub(super) fn new(tables: &Tables) -> Self {
        let slow_until = tables.all().iter().map(|_| AtomicU64::new(0)).collect();
        Self { opened: Instant::now(), slow_until }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_slow(&self, table: Table) -> bool {
        let until = table.of(&self.slow_until).load(Ordering::Relaxed);
        until > 0 && self.millis() < until
    }

    fn note(&self, table: Table, took: Duration) {
        if took > SLOW {
            let until = self.millis() + u64::try_from(SLOW_FOR.as_millis()).unwrap_or(u64::MAX);
            table.of(&self.slow_until).store(until, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// Runs a read of at most so many rows.
    pub(super) async fn scan<T: Send + 'static>(
        self: &Arc<Self>,
        table: Table,
        limit: usize,
        read: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if limit <= SHORT && !self.pace.is_slow(table) {
            let _timer = self.tables.timers(table).scan.start_timer();
            let started = Instant::now();
            let rows = read(&self.tables);
            self.pace.note(table, started.elapsed());
            return rows;
        }
        let shared = Arc::clone(self);
        let scan = tokio::task::spawn_blocking(move || {
            let _timer = shared.tables.timers(table).scan.start_timer();
            read(&shared.tables)
        });
        scan.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use fjall::Database;

    use super::*;
    use crate::db::Schema;

    #[test]
    fn a_table_is_slow_for_a_while_after_a_slow_read() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        let tables = Tables::open(&database, &Schema { kinds: vec![], indexes: vec![] }).unwrap();
        let mut pace = Pace::new(&tables);
        pace.note(Table::History, Duration::from_micros(50));
        assert!(!pace.is_slow(Table::History));
        pace.note(Table::History, Duration::from_millis(20));
        assert!(pace.is_slow(Table::History) && !pace.is_slow(Table::Expiries));
        pace.opened = pace.opened.checked_sub(SLOW_FOR).unwrap();
        assert!(!pace.is_slow(Table::History));
    }
}

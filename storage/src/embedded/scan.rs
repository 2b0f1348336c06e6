//! Where reads of many rows run: short ones where they are asked for, as a task costs more than they do; the others, and all
//! of a table in which short ones were slow lately, where they stall no session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Shared;
use super::tables::{Table, Tables};
use crate::StoreError;

/// Most rows of a short read.
const SHORT: usize = 256;
/// A short read that takes longer met a cold disk, or many rows that were removed, or its thread had to wait for the processor.
const SLOW: Duration = Duration::from_millis(2);
/// How long slow reads of a table may take together in [`WINDOW`], before the table is taken to be slow.
const BORNE: Duration = Duration::from_millis(100);
/// The time over which they are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// How long a table is slow then, so that reads stall others for a small part of the time at most.
const SLOW_FOR: Duration = Duration::from_secs(5);

/// Which tables are slow.
pub(super) struct Pace {
    opened: Instant,
    tables: Vec<OfTable>,
}

/// The same of one table; times are in milliseconds since the store was opened.
#[derive(Default)]
struct OfTable {
    slow_until: AtomicU64,
    /// Since when slow reads are counted, and what they took.
    window: Mutex<(u64, Duration)>,
}

impl Pace {
    pub(super) fn new(tables: &Tables) -> Self {
        Self { opened: Instant::now(), tables: tables.all().iter().map(|_| OfTable::default()).collect() }
    }

    fn millis(&self) -> u64 {
        millis(self.opened.elapsed())
    }

    fn is_slow(&self, table: Table) -> bool {
        let until = table.of(&self.tables).slow_until.load(Ordering::Relaxed);
        until > 0 && self.millis() < until
    }

    fn note(&self, table: Table, took: Duration) {
        if took < SLOW {
            return;
        }
        let (now, table) = (self.millis(), table.of(&self.tables));
        let mut window = table.window.lock();
        if now >= window.0 + millis(WINDOW) {
            *window = (now, Duration::ZERO);
        }
        window.1 += took;
        if window.1 >= BORNE {
            table.slow_until.store(now + millis(SLOW_FOR.max(took * 50)), Ordering::Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
    fn a_table_is_slow_for_a_while_after_slow_reads() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        let tables = Tables::open(&database, &Schema { kinds: vec![], indexes: vec![] }).unwrap();
        let mut pace = Pace::new(&tables);
        for _ in 0..3 {
            pace.note(Table::History, Duration::from_millis(1));
            pace.note(Table::History, Duration::from_millis(20));
        }
        assert!(!pace.is_slow(Table::History), "now and then a thread waits for the processor");
        pace.note(Table::History, Duration::from_millis(50));
        assert!(pace.is_slow(Table::History) && !pace.is_slow(Table::Expiries));
        pace.opened = pace.opened.checked_sub(SLOW_FOR).unwrap();
        assert!(!pace.is_slow(Table::History));
    }
}

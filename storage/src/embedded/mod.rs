//! The embedded store: one data folder, nothing to install.
//!
//! Reads go straight to the database. Writes are transactions that one committer thread runs one after the other, so
//! that each sees all before it; those that wait while the disk syncs share the next commit ([`committer`]).

mod committer;
mod expiry;
mod folder;
mod history;
mod keys;
mod partitions;
mod space;
mod tables;

use std::path::Path;
use std::sync::Arc;

use documented::DocumentedFields;
use fjall::Database;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use folder::{FORMAT_VERSION, OpenError, format_of};

use crate::db::{Db, KindSpec, Schema};
use crate::json::decode;
use crate::{StoreError, Stores};
use committer::{Committer, Tx};
use expiry::Sweeper;
use folder::Folder;
use history::Cleared;
use space::Space;
use tables::{Table, Tables};

/// The `[store]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedOptions {
    /// Memory for blocks read from disk, in bytes.
    pub cache_bytes: u64,
    /// Free space on the disk, in bytes, with less of which nothing is written: a disk that is full to the last byte may
    /// break a write in the middle, and the store has to have room to tidy up.
    pub reserve_bytes: u64,
    /// Files that are kept open at the most.
    pub max_open_files: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, reserve_bytes: 128 * 1024 * 1024, max_open_files: 256 }
    }
}

/// The embedded store on its data folder, which it keeps from every other process.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    sweeper: Sweeper,
    _folder: Folder,
}

/// What the ports share.
struct Shared {
    tables: Tables,
    kinds: Vec<&'static KindSpec>,
    committer: Committer,
    history_cleared: Mutex<Cleared>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, making it if need be, with the tables of a schema.
    pub fn open(path: &Path, options: &EmbeddedOptions, schema: &Schema) -> Result<Self, OpenError> {
        let folder = Folder::claim(path)?;
        let database = Database::builder(folder.database_path())
            .cache_size(options.cache_bytes)
            .max_cached_files(Some(options.max_open_files))
            .open()?;
        let tables = Tables::open(&database, schema)?;
        schema.make_counters();
        let space = Space::new(path, options.reserve_bytes);
        let committer = Committer::start(database, tables.clone(), space)?;
        mundotango_ops::metrics().db_connections_active.set(1);
        let shared = Arc::new(Shared {
            tables,
            kinds: schema.kinds.clone(),
            committer,
            history_cleared: Mutex::default(),
        });
        let sweeper = Sweeper::start(Arc::clone(&shared)).map_err(fjall::Error::Io)?;
        Ok(Self { shared, sweeper, _folder: folder })
    }

    /// The ports on this store.
    pub fn stores(&self) -> Stores {
        Stores {
            db: Db::new(Arc::new(Arc::clone(&self.shared))),
            history: Arc::new(Arc::clone(&self.shared)),
        }
    }

    /// Why writes fail, if they do.
    pub fn failure(&self) -> Option<String> {
        self.shared.committer.failure()
    }

    /// How many commits there were since the store was opened.
    pub fn commits(&self) -> u64 {
        self.shared.committer.commits()
    }

    /// Finishes the writes that were taken and stops. Blocks until the disk has them.
    pub fn close(&self) {
        self.sweeper.stop();
        self.shared.committer.close();
        mundotango_ops::metrics().db_connections_active.set(0);
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Shared {
    /// Reads one row. Point reads are a few microseconds from memory, so they run where they are asked for.
    fn read<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        let timer = query_timer("read", table);
        let row = self.tables.get(table).get(key)?;
        drop(timer);
        let Some(row) = row else { return Ok(None) };
        expiry::living(table, &row)?.map(decode).transpose()
    }

    /// Runs a read of many rows where a cold disk stalls no session.
    async fn scan<T: Send + 'static>(
        self: &Arc<Self>,
        table: Table,
        read: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self);
        let scan = tokio::task::spawn_blocking(move || {
            let _timer = query_timer("scan", table);
            read(&shared.tables)
        });
        scan.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    /// Runs a transaction; when this returns, what it wrote is on disk.
    async fn write<T: Send + 'static>(
        &self,
        table: Table,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _timer = query_timer("write", table);
        self.committer.write(change).await
    }
}

fn query_timer(query_type: &str, table: Table) -> impl Drop + use<> {
    mundotango_ops::metrics()
        .db_query_duration_seconds
        .with_label_values(&[query_type, table.name()])
        .start_timer()
}

//! The embedded store: one data folder, nothing to install.
//!
//! Reads go straight to the database. Writes are transactions that one committer thread runs one after the other, so
//! that each sees all before it; those that wait while the disk syncs share the next commit ([`committer`]).
//!
//! Each commit leaves a mark in the tables that it writes to ([`marks`]) and is noted beside the database ([`witness`])
//! before it is acknowledged, so that a start can tell whether all is there ([`verify`]).

mod committer;
mod expiry;
mod folder;
mod history;
mod journal;
mod keys;
mod layout;
mod marks;
mod partitions;
mod scan;
mod space;
mod sweeper;
mod table_files;
mod tables;
mod verify;
mod watch;
mod whole;
mod witness;

use std::path::Path;
use std::sync::Arc;

use documented::DocumentedFields;
use fjall::Database;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use folder::{FORMAT_VERSION, OLDEST_FORMAT, OpenError, format_of};

use crate::db::{Db, KindSpec, Schema};
use crate::json::decode;
use crate::{StoreError, Stores};
use committer::{Committer, Target, Tx};
use folder::Folder;
use history::Cleared;
use scan::Pace;
use space::Space;
use sweeper::Sweeper;
use tables::{Table, Tables};
use watch::{Failure, Watch, Watched};
use witness::Witness;

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
    watch: Mutex<Option<Watch>>,
    sweeper: Sweeper,
    _folder: Folder,
}

/// What the ports share.
struct Shared {
    tables: Tables,
    kinds: Vec<&'static KindSpec>,
    /// For snapshots, until the store is closed.
    database: Mutex<Option<Database>>,
    committer: Arc<Committer>,
    history_cleared: Mutex<Cleared>,
    pace: Pace,
}

impl EmbeddedStore {
    /// Opens the store in a folder, making it if need be, with the tables of a schema. Fails if something that was
    /// acknowledged is not there.
    pub fn open(path: &Path, options: &EmbeddedOptions, schema: &Schema) -> Result<Self, OpenError> {
        Self::open_as(path, options, schema, false)
    }

    /// Opens the store in a folder also if something is lost ([`OpenError::Lost`]): what cannot be read is set aside, and
    /// the log says what it is.
    pub fn open_accepting_loss(
        path: &Path,
        options: &EmbeddedOptions,
        schema: &Schema,
    ) -> Result<Self, OpenError> {
        Self::open_as(path, options, schema, true)
    }

    fn open_as(
        path: &Path,
        options: &EmbeddedOptions,
        schema: &Schema,
        accept_loss: bool,
    ) -> Result<Self, OpenError> {
        let folder = Folder::claim(path)?;
        let at = |error| OpenError::Folder { path: path.to_owned(), error };
        let space = Space::new(path, options.reserve_bytes);
        space.check_start()?;
        let mut found = verify::verify(path, folder.format, accept_loss)?;
        let not_opened = |error| OpenError::Database { path: folder.database_path(), error };
        let database = Database::builder(folder.database_path())
            .cache_size(options.cache_bytes)
            .max_cached_files(Some(options.max_open_files))
            .open()
            .map_err(not_opened)?;
        let tables = Tables::open(&database, schema).map_err(not_opened)?;
        for table in tables.all() {
            found.state.tables.entry(table.id()).or_default();
        }
        let witness = Witness::create(path, found.state).map_err(at)?;
        folder.write_format()?;
        schema.make_counters();
        let (presence, failure) = (folder.presence()?, Arc::new(Failure::default()));
        let watch = Watch::start(Watched {
            database: database.clone(),
            folder: folder.database_path(),
            tables: tables.clone(),
            presence: presence.clone(),
            known: found.known,
            failure: Arc::clone(&failure),
        });
        let target =
            Target { database: database.clone(), tables: tables.clone(), space, witness, presence, failure };
        let committer = Arc::new(Committer::start(target).map_err(at)?);
        let sweeper = Sweeper::start(Arc::clone(&committer)).map_err(at)?;
        mundotango_ops::metrics().db_connections_active.set(1);
        let shared = Arc::new(Shared {
            pace: Pace::new(&tables),
            tables,
            kinds: schema.kinds.clone(),
            database: Mutex::new(Some(database)),
            committer,
            history_cleared: Mutex::default(),
        });
        Ok(Self { shared, watch: Mutex::new(Some(watch.map_err(at)?)), sweeper, _folder: folder })
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
        drop(self.watch.lock().take());
        drop(self.shared.database.lock().take());
        mundotango_ops::metrics().db_connections_active.set(0);
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Storage(error) if !matches!(error, fjall::LsmError::Io(_)) => {
                Self::Damaged(error.to_string())
            }
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl Shared {
    /// Reads one row. Point reads are a few microseconds from memory, so they run where they are asked for.
    fn read<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        let timer = self.tables.timers(table).read.start_timer();
        let row = self.tables.get(table).get(key)?;
        drop(timer);
        let Some(row) = row else { return Ok(None) };
        expiry::living(table, &row)?.map(decode).transpose()
    }

    /// Runs a transaction; when this returns, what it wrote is on disk.
    async fn write<T: Send + 'static>(
        &self,
        table: Table,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _timer = self.tables.timers(table).write.start_timer();
        self.committer.write(change).await
    }
}

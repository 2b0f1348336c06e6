//! Watches over an open store: whether its folder is still there and its own, and whether the database still works.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::{Database, PersistMode};

use super::folder::Presence;
use super::journal;
use super::table_files::KnownFiles;
use super::tables::Tables;

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pause between two lists of table files, of which a start after a crash reads those whole that are not in it.
const LISTING_INTERVAL: Duration = Duration::from_mins(10);

/// Why an open store takes no more writes, if it does not. Only a restart helps.
#[derive(Default)]
pub(super) struct Failure(OnceLock<String>);

impl Failure {
    pub(super) fn get(&self) -> Option<&String> {
        self.0.get()
    }

    pub(super) fn set(&self, why: &str) {
        if self.0.set(why.to_owned()).is_ok() {
            tracing::error!(why, "the store takes no more writes until the node is started again");
        }
    }
}

/// What is watched.
pub(super) struct Watched {
    pub(super) database: Database,
    pub(super) folder: PathBuf,
    pub(super) tables: Tables,
    pub(super) presence: Presence,
    pub(super) known: KnownFiles,
    pub(super) failure: Arc<Failure>,
}

/// The thread that watches. It ends when this is dropped.
pub(super) struct Watch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(watched: Watched) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store watch".to_owned())
            .spawn(move || watched.watch(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's watch panicked");
        }
    }
}

impl Watched {
    fn watch(mut self, stopped: &mpsc::Receiver<()>) {
        let mut newest = 0;
        self.list();
        let mut listed = Instant::now();
        while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if self.failure.get().is_some() {
                continue;
            }
            if let Err(why) = self.look(&mut newest) {
                self.failure.set(&why);
            }
            if listed.elapsed() >= LISTING_INTERVAL {
                self.list();
                listed = Instant::now();
            }
        }
        self.list();
    }

    fn look(&self, newest: &mut u64) -> Result<(), String> {
        self.presence.check()?;
        let journals =
            journal::list(&self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        let found = journals.last().map(|(number, _)| *number);
        if found.is_none_or(|found| found < *newest) {
            return Err(format!("the journal in {} is gone", self.folder.display()));
        }
        *newest = found.unwrap_or_default();
        // Asks whether a task of the database has failed, which it tells in no other way.
        self.database
            .persist(PersistMode::Buffer)
            .map_err(|error| format!("the database has stopped (its own lines in the log say why): {error}"))
    }

    fn list(&mut self) {
        // Into a folder that is not the store's any more nothing is written.
        if self.presence.check().is_ok()
            && let Err(error) = self.known.keep(&self.tables)
        {
            tracing::warn!(%error, "list of table files not written; the next start reads them whole");
        }
    }
}

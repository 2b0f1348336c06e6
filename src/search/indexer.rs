//! Follows the log of changes, and makes the index anew where that does not lead to it. One task of a node does it all, so that
//! what is read last of a thing is what stays in the index.
//!
//! The place in the log is committed together with the documents. So whatever a crash takes away is read again, and what is
//! read twice is put in its own place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_actors::Vitals;
use mundotango_ops::metrics;
use mundotango_storage::StoreError;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::document::Document;
use super::index::{IndexError, Progress, WordIndex};
use super::log::{ChangeLog, KEPT, before, key_at, time_of};
use super::source::Source;

/// How late an entry may become visible that has an earlier key than others: a node that hangs, and a server that was away.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// How late most are: the clocks of nodes differ, and a write may take some seconds.
const USUALLY_LATE: SignedDuration = SignedDuration::from_secs(6);
/// How often the log is read from [`LATE`] ago on; otherwise from [`USUALLY_LATE`] ago on.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(15);
/// How often the log is read though nobody said that something was written.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Least time between two commits: each is some files, and syncs.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Entries of the log that are read at a time.
const ENTRIES_AT_ONCE: usize = 500;
/// Pauses after something failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often what was deleted is taken off the disk, where merging did not do it before.
const PURGE_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// How long before the end of an entry's life an index that has not read it is taken for too old.
const MARGIN: SignedDuration = SignedDuration::from_hours(12);

/// Why the index could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("a thread of the index panicked")]
    Panicked,
}

/// How far the index is.
struct State {
    /// The last key of the log that was read.
    cursor: String,
    /// Keys that were read and may be read again, as entries before them may come late.
    seen: BTreeSet<String>,
    /// What is still to be read of all things, while the index is made.
    making: Option<Making>,
    /// Whether something was put since the last commit.
    is_dirty: bool,
    committed_at: Instant,
    looked_back_at: Option<Instant>,
    /// When the index last had all that was in the log.
    up_to_date_at: Instant,
    /// Kept with each commit, so that it is daily whenever the node is started.
    purged_at: Option<Timestamp>,
}

/// Whether what was deleted is to be taken off the disk. A clock that was ahead puts that off for a day at most.
fn is_purge_due(purged_at: Option<Timestamp>, now: Timestamp) -> bool {
    purged_at.is_none_or(|at| now.duration_since(at).abs() >= PURGE_EVERY)
}

/// How far the making of an index is: which source, and behind which position of it.
#[derive(Default)]
struct Making {
    /// Whether what was there before is cleared away.
    has_begun: bool,
    source: usize,
    from: Option<String>,
}

impl State {
    /// From where an index goes on that is so far. One that is not whole, or further behind than the log reaches, is made anew.
    fn from(progress: Option<Progress>, now: Timestamp) -> Self {
        let kept = SignedDuration::try_from(KEPT).unwrap_or(SignedDuration::ZERO) - MARGIN;
        let is_useful = |progress: &Progress| {
            let age = time_of(&progress.cursor).map(|time| now.duration_since(time));
            progress.is_complete && age.is_some_and(|age| age < kept)
        };
        let purged_at = progress.as_ref().and_then(|progress| progress.purged_at);
        let known = progress.filter(is_useful).map(|progress| progress.cursor.min(key_at(now)));
        let making = known.is_none().then(Making::default);
        let started = Instant::now();
        Self {
            // What changes while things are read is in the log from here on.
            cursor: known.unwrap_or_else(|| key_at(now)),
            seen: BTreeSet::new(),
            making,
            is_dirty: false,
            committed_at: started,
            looked_back_at: None,
            up_to_date_at: started,
            purged_at,
        }
    }
}

/// Brings the index of a node up to date.
pub(super) struct Indexer {
    log: ChangeLog,
    sources: Vec<Box<dyn Source>>,
    index: Arc<WordIndex>,
    /// Whether the index holds all things.
    is_complete: Arc<AtomicBool>,
    state: Mutex<State>,
}

impl Indexer {
    pub(super) fn new(
        log: ChangeLog,
        sources: Vec<Box<dyn Source>>,
        index: Arc<WordIndex>,
        progress: Option<Progress>,
        is_complete: Arc<AtomicBool>,
    ) -> Self {
        let state = State::from(progress, Timestamp::now());
        is_complete.store(state.making.is_none(), Ordering::Relaxed);
        Self { log, sources, index, is_complete, state: Mutex::new(state) }
    }

    /// Follows the log until the node drains.
    pub(super) async fn run(&self, vitals: &Vitals) {
        let mut state = self.state.lock().await;
        let mut pause = FIRST_PAUSE;
        loop {
            let lag = match self.step(&mut state).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    state.up_to_date_at.elapsed()
                }
                Err(error) => {
                    tracing::warn!(%error, "the search index is behind");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if !matches!(error, Failure::Store(_)) {
                        self.begin_again(&mut state).await;
                    }
                    state.up_to_date_at.elapsed()
                }
            };
            metrics().search_lag_seconds.set(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
            metrics().search_documents.set(i64::try_from(self.index.count()).unwrap_or(i64::MAX));
            vitals.handled();
            if state.making.is_some() {
                continue;
            }
            sleep_until(state.committed_at + COMMIT_EVERY).await;
            if !state.is_dirty {
                // It looks at the log by itself as well: a message of another node may be lost.
                let _ = timeout(LOOK_EVERY, self.log.changed()).await;
            }
        }
    }

    /// Goes on from what was committed last.
    async fn begin_again(&self, state: &mut State) {
        match self.blocking(WordIndex::renew).await {
            Ok(progress) => {
                let up_to_date_at = state.up_to_date_at;
                *state = State { up_to_date_at, ..State::from(progress, Timestamp::now()) };
                self.is_complete.store(state.making.is_none(), Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "the search index cannot be written"),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WordIndex) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Failure> {
        let index = Arc::clone(&self.index);
        let done = tokio::task::spawn_blocking(move || work(&index)).await;
        Ok(done.map_err(|_| Failure::Panicked)??)
    }

    async fn step(&self, state: &mut State) -> Result<(), Failure> {
        self.follow(state).await?;
        if state.making.is_some() {
            self.make(state).await?;
            if state.making.is_none() {
                state.is_dirty = true;
                state.committed_at = Instant::now().checked_sub(COMMIT_EVERY).unwrap_or_else(Instant::now);
                tracing::info!("the search index holds all things");
            }
        }
        if state.is_dirty && state.committed_at.elapsed() >= COMMIT_EVERY {
            let progress = Progress {
                purged_at: state.purged_at,
                ..Progress::new(state.cursor.clone(), state.making.is_none())
            };
            state.committed_at = Instant::now();
            self.blocking(move |index| index.commit(&progress)).await?;
            state.is_dirty = false;
            self.is_complete.store(state.making.is_none(), Ordering::Relaxed);
        }
        if !state.is_dirty && state.making.is_none() {
            state.up_to_date_at = Instant::now();
        }
        if state.making.is_none() && is_purge_due(state.purged_at, Timestamp::now()) {
            let purged = self.blocking(WordIndex::purge).await?;
            // The next commit keeps it.
            (state.purged_at, state.is_dirty) = (Some(Timestamp::now()), true);
            tracing::debug!(purged, "what was deleted is taken off the disk");
        }
        Ok(())
    }

    /// Puts into the index what is new in the log.
    async fn follow(&self, state: &mut State) -> Result<(), Failure> {
        let looks_back = state.looked_back_at.is_none_or(|at| at.elapsed() >= LOOK_BACK_EVERY);
        let from = before(&state.cursor, if looks_back { LATE } else { USUALLY_LATE });
        let mut after = from.unwrap_or_else(|| state.cursor.clone());
        loop {
            let page = self.log.read(&after, ENTRIES_AT_ONCE).await?;
            let fresh = page.items.into_iter().filter(|(key, _)| !state.seen.contains(key));
            let (keys, changes): (Vec<_>, Vec<_>) = fresh.unzip();
            let mut by_kind: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for change in changes {
                by_kind.entry(change.kind).or_default().insert(change.id);
            }
            for (kind, ids) in by_kind {
                // A newer build may search for more.
                if let Some(source) = self.sources.iter().find(|source| source.kind() == kind) {
                    self.put(source.as_ref(), ids.into_iter().collect()).await?;
                    state.is_dirty = true;
                }
            }
            // An entry of a node whose clock is ahead must not hide what others write meanwhile.
            let now = key_at(Timestamp::now());
            if let Some(last) = keys.last().map(|last| last.min(&now)).filter(|last| **last > state.cursor) {
                state.cursor.clone_from(last);
            }
            state.seen.extend(keys);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        if looks_back {
            state.looked_back_at = Some(Instant::now());
        }
        if let Some(from) = before(&state.cursor, LATE) {
            state.seen = state.seen.split_off(&from);
        }
        Ok(())
    }

    /// Reads a page of all things.
    async fn make(&self, state: &mut State) -> Result<(), Failure> {
        let Some(making) = &mut state.making else { return Ok(()) };
        if !making.has_begun {
            tracing::info!("the search index is made anew");
            self.blocking(WordIndex::clear).await?;
            making.has_begun = true;
        }
        state.is_dirty = true;
        let Some(source) = self.sources.get(making.source) else {
            state.making = None;
            return Ok(());
        };
        let page = source.ids(making.from.as_deref()).await?;
        self.put(source.as_ref(), page.items).await?;
        making.from = page.next;
        if making.from.is_none() {
            making.source += 1;
        }
        Ok(())
    }

    async fn put(&self, source: &dyn Source, ids: Vec<String>) -> Result<(), Failure> {
        let kind = source.kind();
        let documents = source.documents(&ids).await?;
        let documents: Vec<(String, Option<Document>)> = ids.into_iter().zip(documents).collect();
        self.blocking(move |index| index.put(kind, &documents)).await
    }
}

#[cfg(test)]
mod tests;

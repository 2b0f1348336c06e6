//! Searching for words: an index in the process, which follows the changes of the store, and which knows no post and no event.
//!
//! What there is to search for is told by [`Source`]s. Whoever changes a thing notes that in the [`ChangeLog`], and every node
//! brings its own index up to date ([`indexer`]). An index is a copy: it may be lost, and is made anew while it answers.

pub mod document;
pub mod filter;
pub mod fold;
pub mod index;
mod indexer;
pub mod log;
pub mod marks;
pub mod query;
pub mod source;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mundotango_actors::{Engine, Pace, TopicHandler};
use mundotango_storage::db::Db;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use self::filter::Filter;
use self::index::{Hit, IndexError, Progress, WordIndex};
use self::indexer::Indexer;
use self::log::ChangeLog;
use self::query::Search;
use self::source::Source;

/// On what nodes tell each other that something changed, and the name of the tasks.
const TOPIC: &str = "search";
/// How long what is to be told waits for more of it.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How long a search waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Searches that wait for each one that is carried out. More would wait in vain.
const WAITING_FOR_EACH: usize = 32;

/// Why nothing was searched for.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// This node keeps no index.
    #[error("this node does not search")]
    Off,
    /// More search than the node has threads for.
    #[error("too many are searching")]
    TooMany,
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The index of a node.
pub struct Searcher {
    index: Option<Arc<WordIndex>>,
    is_complete: Arc<AtomicBool>,
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// An index that is open, and how far it is.
pub struct Opened(Option<(Arc<WordIndex>, Option<Progress>)>);

/// Opens the index of a folder. Where that cannot be, it is kept in memory and made at each start: a node serves without it.
pub fn open(folder: &Path, memory: usize) -> anyhow::Result<Opened> {
    let opened = WordIndex::open(Some(folder), memory).or_else(|error| {
        tracing::warn!(%error, folder = %folder.display(), "the search index is kept in memory");
        WordIndex::open(None, memory)
    });
    let (index, progress) = opened?;
    Ok(Opened(Some((Arc::new(index), progress))))
}

/// No index: searches are refused.
pub fn off() -> Opened {
    Opened(None)
}

impl Searcher {
    /// Searches in an index, with at most so many threads.
    pub fn new(opened: &Opened, concurrency: usize) -> Self {
        Self {
            index: opened.0.as_ref().map(|(index, _)| Arc::clone(index)),
            is_complete: Arc::default(),
            places: Arc::new(Semaphore::new(concurrency)),
            queue: Arc::new(Semaphore::new(concurrency.saturating_mul(1 + WAITING_FOR_EACH))),
        }
    }

    /// Keeps the index up to date by tasks in the supervision tree. On a node that is not alone others are told of changes.
    pub fn start(
        &self,
        opened: Opened,
        log: &ChangeLog,
        sources: Vec<Box<dyn Source>>,
        engine: &Arc<Engine>,
        is_alone: bool,
    ) {
        if !is_alone {
            tell_others(log, engine);
        }
        let Some((index, progress)) = opened.0 else { return };
        let indexer =
            Arc::new(Indexer::new(log.clone(), sources, index, progress, Arc::clone(&self.is_complete)));
        engine.keep_running(TOPIC, Pace::OnDemand, move |vitals| {
            let indexer = Arc::clone(&indexer);
            Box::pin(async move { indexer.run(&vitals).await })
        });
    }

    /// Whether the index holds all things; else it is still being made.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// The things that fit best, at most so many. With `misspelt`, words are found also where some letters are wrong.
    pub async fn find(
        &self,
        search: &Search,
        filter: &Filter,
        misspelt: bool,
        most: usize,
    ) -> Result<Vec<Hit>, SearchError> {
        let index = Arc::clone(self.index.as_ref().ok_or(SearchError::Off)?);
        let in_queue = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| SearchError::TooMany)?;
        let place = timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(SearchError::TooMany)?;
        let (search, filter) = (search.clone(), filter.clone());
        let finding = tokio::task::spawn_blocking(move || {
            let found = index.find(&search, &filter, misspelt, Timestamp::now(), most);
            drop((place, in_queue));
            found
        });
        let found = finding.await.map_err(|error| IndexError::SystemError(error.to_string()))?;
        Ok(found?)
    }
}

struct Hearing(ChangeLog);

#[async_trait]
impl TopicHandler for Hearing {
    async fn handle(&self, _: Bytes) -> Result<Bytes, String> {
        self.0.wake();
        Ok(Bytes::new())
    }
}

/// Wakes the other nodes after changes, a few times a second at most.
fn tell_others(log: &ChangeLog, engine: &Arc<Engine>) {
    engine.set_topic(TOPIC, Arc::new(Hearing(log.clone())));
    let (log, weak) = (log.clone(), Arc::downgrade(engine));
    engine.keep_running("search: telling others", Pace::OnDemand, move |vitals| {
        let (log, weak) = (log.clone(), weak.clone());
        Box::pin(async move {
            loop {
                log.to_tell().await;
                let Some(engine) = weak.upgrade() else { return };
                engine.tell_topic(TOPIC, Bytes::new()).await;
                drop(engine);
                vitals.handled();
                sleep(TELL_EVERY).await;
            }
        })
    });
}

/// The log of a store.
pub fn log_of(db: &Db) -> ChangeLog {
    ChangeLog::new(db.clone())
}

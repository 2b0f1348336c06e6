use async_trait::async_trait;
use mundotango_protocol::new_id;
use mundotango_storage::Page;
use mundotango_storage::db::{Db, Schema};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use tempfile::TempDir;

use super::*;
use crate::search::document::Audience;
use crate::search::filter::Filter;
use crate::search::log::{CHANGES, Change};
use crate::search::query::Search;

const MEMORY: usize = 15_000_000;

/// Things by id: their titles, as a store would have them.
#[derive(Clone, Default)]
struct Things(Arc<parking_lot::Mutex<BTreeMap<String, String>>>);

impl Things {
    fn set(&self, id: &str, title: &str) {
        self.0.lock().insert(id.to_owned(), title.to_owned());
    }
}

#[async_trait]
impl Source for Things {
    fn kind(&self) -> &'static str {
        "thing"
    }

    async fn documents(&self, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let things = self.0.lock();
        let document = |id: &String| {
            things.get(id).map(|title| Document {
                title: title.clone(),
                text: String::new(),
                places: Vec::new(),
                audience: Audience::Everybody,
                at: Timestamp::UNIX_EPOCH,
                over_at: None,
                has_time: false,
                part_of: None,
            })
        };
        Ok(ids.iter().map(document).collect())
    }

    /// Pages of one thing.
    async fn ids(&self, from: Option<&str>) -> Result<Page<String>, StoreError> {
        let things = self.0.lock();
        let mut behind = things.keys().filter(|id| from.is_none_or(|from| id.as_str() > from));
        let items: Vec<_> = behind.next().cloned().into_iter().collect();
        let next = behind.next().and(items.last().cloned());
        Ok(Page { items, next })
    }
}

/// A node that may die.
struct Node {
    folder: TempDir,
    db: Db,
    _store: EmbeddedStore,
    things: Things,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let schema = Schema { kinds: Vec::new(), indexes: vec![CHANGES.spec()] };
        let store = EmbeddedStore::open(&folder.path().join("store"), &EmbeddedOptions::default(), &schema);
        let store = store.unwrap();
        Self { db: store.stores().db, _store: store, folder, things: Things::default() }
    }

    /// Starts on what the one before left.
    fn start(&self) -> (Indexer, Arc<WordIndex>) {
        let (index, progress) = WordIndex::open(Some(&self.folder.path().join("search")), MEMORY).unwrap();
        let index = Arc::new(index);
        let log = ChangeLog::new(self.db.clone());
        let sources: Vec<Box<dyn Source>> = vec![Box::new(self.things.clone())];
        (Indexer::new(log, sources, Arc::clone(&index), progress, Arc::default()), index)
    }

    async fn set(&self, id: &str, title: &str) {
        self.things.set(id, title);
        self.note(id, &new_id()).await;
    }

    async fn note(&self, id: &str, key: &str) {
        let change = Change { kind: "thing".to_owned(), id: id.to_owned() };
        self.db.add_entries(&[CHANGES.entry("0", key, &change).unwrap()]).await.unwrap();
    }
}

fn found(index: &WordIndex, text: &str) -> Vec<String> {
    let hits = index.find(&Search::of(text), &Filter::default(), false, Timestamp::now(), 10).unwrap();
    let mut ids: Vec<_> = hits.into_iter().map(|hit| hit.id).collect();
    ids.sort();
    ids
}

/// Goes on until the index is whole and has all that was noted.
async fn catch_up(indexer: &Indexer) {
    let mut state = indexer.state.lock().await;
    for _ in 0..100 {
        // As if a second had passed.
        state.committed_at = Instant::now().checked_sub(COMMIT_EVERY).unwrap();
        indexer.step(&mut state).await.unwrap();
        if state.making.is_none() && !state.is_dirty {
            return;
        }
    }
    panic!("it does not end");
}

#[tokio::test]
async fn an_index_that_is_made_anew_says_so_and_finds_what_changes_meanwhile() {
    let node = Node::new();
    for id in ["1", "2", "3"] {
        node.things.set(id, "milonga");
    }
    let (indexer, index) = node.start();
    {
        let mut state = indexer.state.lock().await;
        indexer.step(&mut state).await.unwrap();
        assert!(!indexer.is_complete.load(Ordering::Relaxed));
        // One that was read, and one that was not yet.
        node.set("1", "practica").await;
        node.set("3", "practica").await;
        node.set("4", "practica").await;
    }
    catch_up(&indexer).await;
    assert!(indexer.is_complete.load(Ordering::Relaxed));
    assert_eq!(
        (found(&index, "milonga"), found(&index, "practica")),
        (vec!["2".to_owned()], ["1", "3", "4"].map(str::to_owned).into())
    );
}

#[tokio::test]
async fn who_dies_before_a_commit_reads_again_what_was_not_committed() {
    let node = Node::new();
    let (indexer, index) = node.start();
    catch_up(&indexer).await;
    node.set("1", "milonga").await;
    {
        let mut state = indexer.state.lock().await;
        indexer.follow(&mut state).await.unwrap();
        assert!(state.is_dirty);
    }
    // Nothing is committed.
    drop((indexer, index));
    let (indexer, index) = node.start();
    assert!(indexer.state.lock().await.making.is_none(), "the index was whole");
    assert!(found(&index, "milonga").is_empty());
    catch_up(&indexer).await;
    assert_eq!(found(&index, "milonga"), ["1"]);
    node.things.0.lock().clear();
    node.note("1", &new_id()).await;
    catch_up(&indexer).await;
    drop((indexer, index));
    let (_, index) = node.start();
    assert!(found(&index, "milonga").is_empty());
}

#[tokio::test]
async fn entries_that_come_late_are_read_and_the_same_ones_once() {
    let node = Node::new();
    let (indexer, index) = node.start();
    catch_up(&indexer).await;
    node.set("1", "milonga").await;
    catch_up(&indexer).await;
    let mut state = indexer.state.lock().await;
    let late = before(&state.cursor, SignedDuration::from_secs(90)).unwrap();
    node.things.set("2", "milonga");
    node.note("2", &late).await;
    state.looked_back_at = None;
    drop(state);
    catch_up(&indexer).await;
    assert_eq!(found(&index, "milonga"), ["1", "2"]);
    let mut state = indexer.state.lock().await;
    state.looked_back_at = None;
    indexer.follow(&mut state).await.unwrap();
    assert!(!state.is_dirty, "what was read is not read again");
}

#[tokio::test]
async fn an_index_that_is_lost_or_too_old_is_made_anew() {
    let now = Timestamp::now();
    let days = |days: i64| key_at(now - SignedDuration::from_hours(24 * days));
    for (progress, is_made) in [
        (None, true),
        (Some(Progress::new(days(1), true)), false),
        (Some(Progress::new(days(1), false)), true),
        (Some(Progress::new(days(7), true)), true),
        (Some(Progress::new("x".to_owned(), true)), true),
    ] {
        assert_eq!(State::from(progress.clone(), now).making.is_some(), is_made, "{progress:?}");
    }
    let node = Node::new();
    node.things.set("1", "milonga");
    let (indexer, index) = node.start();
    catch_up(&indexer).await;
    drop((indexer, index));
    std::fs::remove_dir_all(node.folder.path().join("search")).unwrap();
    let (indexer, index) = node.start();
    assert!(found(&index, "milonga").is_empty());
    catch_up(&indexer).await;
    assert_eq!(found(&index, "milonga"), ["1"]);
}

/// A node that is started anew each day takes off the disk what was deleted, as others do.
#[tokio::test]
async fn what_was_deleted_is_purged_once_a_day_however_often_the_node_is_started() {
    let node = Node::new();
    node.things.set("1", "milonga");
    let (indexer, index) = node.start();
    catch_up(&indexer).await;
    let first = indexer.state.lock().await.purged_at.expect("nobody knows when it was done before");
    drop((indexer, index));

    let (indexer, index) = node.start();
    node.set("2", "practica").await;
    catch_up(&indexer).await;
    assert_eq!(indexer.state.lock().await.purged_at, Some(first), "not before a day has passed");
    // As if it had.
    let yesterday = first - PURGE_EVERY;
    {
        let state = indexer.state.lock().await;
        let progress = Progress { purged_at: Some(yesterday), ..Progress::new(state.cursor.clone(), true) };
        index.commit(&progress).unwrap();
    }
    drop((indexer, index));

    let (indexer, index) = node.start();
    assert_eq!(indexer.state.lock().await.purged_at, Some(yesterday));
    catch_up(&indexer).await;
    assert!(indexer.state.lock().await.purged_at > Some(first), "a start does not begin the day anew");
    assert_eq!(found(&index, "practica"), ["2"]);
}

#[test]
fn a_purge_is_due_after_a_day_and_where_nobody_knows() {
    let now = Timestamp::now();
    let hours = |hours| now + SignedDuration::from_hours(hours);
    for (purged_at, is_due) in [
        (None, true),
        (Some(hours(-24)), true),
        (Some(hours(-23)), false),
        (Some(now), false),
        (Some(hours(1)), false),
        (Some(hours(24)), true),
    ] {
        assert_eq!(is_purge_due(purged_at, now), is_due, "{purged_at:?}");
    }
}

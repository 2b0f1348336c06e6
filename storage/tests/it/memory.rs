//! Hot state in memory.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_protocol::{ClientInfo, Publication, StreamPosition};
use mundotango_storage::StoreError;
use mundotango_storage::conformance;
use mundotango_storage::db::Schema;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::history::{HistoryRange, HistoryStore};
use mundotango_storage::hot::{
    Append, ArchivedHotState, HistoryLimits, HistoryQuery, HotState, MemoryHotState, Present, Version,
};
use tempfile::tempdir;

const LIMITS: HistoryLimits = HistoryLimits::new(100, Duration::from_mins(1), Duration::from_mins(10));

/// Long enough for any file here.
const PATIENCE: Duration = Duration::from_mins(1);

fn publication(data: &'static [u8]) -> Publication {
    Publication { data: Bytes::from_static(data), ..Publication::default() }
}

async fn append(hot: &MemoryHotState, publication: Publication) -> StreamPosition {
    hot.append("a", Append::new(publication, Some(LIMITS))).await.unwrap().into_position()
}

/// Sweeps all the while, as a node does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_state_conforms() {
    let hot = Arc::new(MemoryHotState::new());
    let swept = Arc::clone(&hot);
    let sweeping = tokio::spawn(async move {
        loop {
            swept.sweep().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    conformance::hot_state(hot).await;
    sweeping.abort();
}

#[tokio::test]
async fn a_clean_restart_keeps_offset_and_epoch_and_a_crash_does_not() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("hot-state");
    let hot = MemoryHotState::new();
    append(&hot, publication(b"1")).await;
    let before = append(&hot, publication(b"\xff not json")).await;
    let present = Present { client: "client".to_owned(), info: ClientInfo::default() };
    hot.add_presence("a", &[present], Duration::from_mins(1)).await.unwrap();
    hot.set_user_online("ana", true).await.unwrap();
    assert_eq!(hot.save(&file).unwrap(), 1);

    let restarted = MemoryHotState::new();
    assert_eq!(restarted.restore(&file, PATIENCE).unwrap(), 1);
    let page = restarted.history("a", HistoryQuery::default(), LIMITS).await.unwrap();
    assert_eq!(page.position, before);
    assert_eq!(page.publications[1].data.as_ref(), b"\xff not json");
    assert!(restarted.presence("a").await.unwrap().is_empty(), "sessions end with their node");
    let ana = restarted.user_statuses(&["ana".to_owned()]).await.unwrap()["ana"];
    assert!(ana.online_since.is_none() && ana.last_seen.as_millisecond() > 0);
    assert_eq!(append(&restarted, publication(b"3")).await.offset, 3);

    // It did not save: what was in the file is not to be had again.
    let crashed = MemoryHotState::new();
    assert_eq!(crashed.restore(&file, PATIENCE).unwrap(), 0);
    let page = crashed.history("a", HistoryQuery::default(), LIMITS).await.unwrap();
    assert_ne!(page.position.epoch, before.epoch);
}

async fn epoch_of(hot: &MemoryHotState, channel: &str) -> String {
    hot.history(channel, HistoryQuery::default(), LIMITS).await.unwrap().position.epoch
}

#[tokio::test]
async fn reading_leaves_nothing_behind() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("hot-state");
    let hot = MemoryHotState::new();
    let mut epochs = Vec::new();
    for number in 0..1000 {
        epochs.push(epoch_of(&hot, &number.to_string()).await);
        hot.presence(&number.to_string()).await.unwrap();
        hot.presence_stats(&number.to_string()).await.unwrap();
        hot.remove_history(&number.to_string(), LIMITS).await.unwrap();
    }
    assert_eq!(epochs.iter().collect::<HashSet<_>>().len(), 1000);
    assert_eq!(hot.save(&file).unwrap(), 0);

    let restarted = MemoryHotState::new();
    assert_eq!(restarted.restore(&file, PATIENCE).unwrap(), 0);
    assert_eq!(epoch_of(&restarted, "7").await, epochs[7], "also unread histories outlive a clean restart");
    assert_ne!(epoch_of(&MemoryHotState::new(), "7").await, epochs[7], "after a crash they are others");
}

/// Histories that were not read in time must not be taken for those of the file.
#[tokio::test]
async fn a_large_file_does_not_keep_a_node_from_starting() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("hot-state");
    let hot = MemoryHotState::new();
    let mut before = Vec::new();
    for number in 0..100 {
        let append = Append::new(publication(b"1"), Some(LIMITS));
        before.push(hot.append(&number.to_string(), append).await.unwrap().into_position());
    }
    assert_eq!(hot.save(&file).unwrap(), 100);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "channels may be private");

    let restarted = MemoryHotState::new();
    assert_eq!(restarted.restore(&file, Duration::ZERO).unwrap(), 1);
    let mut same = 0;
    for (number, before) in before.iter().enumerate() {
        let page = restarted.history(&number.to_string(), HistoryQuery::default(), LIMITS).await.unwrap();
        assert_eq!(page.position == *before, page.position.epoch == before.epoch);
        same += usize::from(page.position == *before);
    }
    assert_eq!(same, 1);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_gone() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("hot-state");
    let hot = MemoryHotState::new();
    append(&hot, publication(b"1")).await;
    hot.save(&file).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert!(hot.restore(&file, PATIENCE).is_err());
    assert_eq!(hot.restore(&file, PATIENCE).unwrap(), 0);
    fs::write(&file, b"short").unwrap();
    assert!(hot.restore(&file, PATIENCE).is_err());
}

#[tokio::test(start_paused = true)]
async fn forgotten_channels_leave_nothing_behind() {
    let hot = MemoryHotState::new();
    let before = append(&hot, publication(b"1")).await;
    tokio::time::advance(LIMITS.meta_ttl).await;
    hot.sweep().await;
    let folder = tempdir().unwrap();
    assert_eq!(hot.save(&folder.path().join("hot-state")).unwrap(), 0);
    let after = append(&hot, publication(b"1")).await;
    assert_ne!(after.epoch, before.epoch);
}

/// A store of histories that can be made to refuse.
struct Stubborn {
    store: Arc<dyn HistoryStore>,
    refuses: AtomicBool,
}

#[async_trait]
impl HistoryStore for Stubborn {
    async fn keep(
        &self,
        channel: &str,
        epoch: &str,
        publication: Publication,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("refused".to_owned()));
        }
        self.store.keep(channel, epoch, publication, ttl).await
    }

    async fn kept(&self, channel: &str, range: HistoryRange) -> Result<Vec<Publication>, StoreError> {
        self.store.kept(channel, range).await
    }

    async fn forget(&self, channel: &str, upto: u64) -> Result<(), StoreError> {
        self.store.forget(channel, upto).await
    }
}

/// What was published and not kept is kept when it is published again, however it is known again.
#[tokio::test]
async fn what_the_store_refused_is_kept_when_it_is_asked_for_again() {
    let folder = tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &Schema::default())
        .unwrap()
        .stores()
        .history;
    let store = Arc::new(Stubborn { store, refuses: AtomicBool::new(false) });
    let hot = ArchivedHotState::new(Arc::new(MemoryHotState::new()), Arc::<Stubborn>::clone(&store));
    let limits = LIMITS.archived(Duration::from_hours(1));
    let keyed = Append {
        idempotency_key: Some("one".to_owned()),
        ..Append::new(publication(b"keyed"), Some(limits))
    };
    let versioned = Append {
        version: Some(Version { number: 7, epoch: String::new() }),
        ..Append::new(publication(b"versioned"), Some(limits))
    };
    for (offset, append) in [(1, keyed), (2, versioned)] {
        store.refuses.store(true, Ordering::Relaxed);
        let refused = hot.append("a", append.clone()).await;
        assert!(matches!(refused, Err(StoreError::Unknown(_))), "{refused:?}");
        assert!(hot.append("a", append.clone()).await.is_err(), "still");
        store.refuses.store(false, Ordering::Relaxed);
        assert_eq!(hot.append("a", append.clone()).await.unwrap().into_position().offset, offset);
        let range = HistoryRange { above: offset - 1, below: offset + 1, limit: 2, reverse: false };
        let kept = store.kept("a", range).await.unwrap();
        assert_eq!(kept.iter().map(|kept| &kept.data).collect::<Vec<_>>(), [&append.publication.data]);
    }
}

/// The publication is in the hot history already, so a hole in the long one would be there for ever.
#[tokio::test]
async fn what_the_store_refused_is_kept_later_by_itself() {
    let folder = tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &Schema::default())
        .unwrap()
        .stores()
        .history;
    let store = Arc::new(Stubborn { store, refuses: AtomicBool::new(false) });
    let hot = ArchivedHotState::new(Arc::new(MemoryHotState::new()), Arc::<Stubborn>::clone(&store));
    let limits = LIMITS.archived(Duration::from_hours(1));
    let append = async || hot.append("a", Append::new(publication(b"1"), Some(limits))).await;
    append().await.unwrap();
    store.refuses.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(matches!(append().await, Err(StoreError::Unknown(_))));
    }
    store.refuses.store(false, Ordering::Relaxed);
    append().await.unwrap();
    let range = HistoryRange { above: 0, below: u64::MAX, limit: 10, reverse: false };
    let start = tokio::time::Instant::now();
    loop {
        let kept: Vec<_> = store.kept("a", range).await.unwrap().iter().map(|kept| kept.offset).collect();
        if kept == [1, 2, 3, 4, 5] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{kept:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

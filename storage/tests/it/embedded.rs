//! The embedded store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use mundotango_protocol::new_id;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore, FORMAT_VERSION, OpenError};
use mundotango_storage::hot::MemoryHotState;
use mundotango_storage::posts::{Post, PostStore, ReactionType, Visibility};
use mundotango_storage::{StoreError, conformance};
use tempfile::tempdir;

fn open(path: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(path, &EmbeddedOptions::default())
}

fn post() -> Post {
    Post {
        id: new_id(),
        author_id: new_id(),
        content: "Hola".to_owned(),
        visibility: Visibility::Public,
        created_at: Timestamp::now(),
        reactions: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_conform() {
    let folder = tempdir().unwrap();
    conformance::accounts(open(folder.path()).unwrap().stores().accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_conform() {
    let folder = tempdir().unwrap();
    conformance::posts(open(folder.path()).unwrap().stores().posts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_conform() {
    let folder = tempdir().unwrap();
    conformance::revocations(open(folder.path()).unwrap().stores().revocations).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_conform() {
    let folder = tempdir().unwrap();
    conformance::conversations(open(folder.path()).unwrap().stores().conversations).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_conform() {
    let folder = tempdir().unwrap();
    conformance::events(open(folder.path()).unwrap().stores().events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_conform() {
    let folder = tempdir().unwrap();
    let history = open(folder.path()).unwrap().stores().history;
    conformance::history(Arc::clone(&history)).await;
    let hot = || Arc::new(MemoryHotState::new());
    conformance::archived_hot_state(hot(), hot(), history).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = tempdir().unwrap();
    let post = post();
    {
        let store = open(folder.path()).unwrap();
        store.stores().posts.create_post(post.clone()).await.unwrap();
        store.stores().posts.react(&post.id, "ana", Some(ReactionType::Heart)).await.unwrap();
        store.close();
        let closed = store.stores().posts.create_post(post.clone()).await;
        assert!(matches!(closed, Err(StoreError::Unavailable(_))));
    }
    let store = open(folder.path()).unwrap();
    let found = store.stores().posts.post(&post.id).await.unwrap().unwrap();
    assert_eq!(found.reactions, BTreeMap::from([(ReactionType::Heart, 1)]));
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    // The lock is of the open file, so a second opening of the same process stands for another process.
    let Err(OpenError::Locked { pid, .. }) = open(folder.path()) else { panic!("opened twice") };
    assert_eq!(pid, Some(format!("pid {}", std::process::id())));
    drop(first);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_format_from_the_future_is_refused() {
    let folder = tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    fs::write(folder.path().join("format"), format!("{}", FORMAT_VERSION + 1)).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::FormatTooNew { .. })));
    fs::write(folder.path().join("format"), "one").unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::FormatUnknown { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_share_commits() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let posts: Arc<dyn PostStore> = store.stores().posts;
            tokio::spawn(async move {
                for _ in 0..50 {
                    posts.create_post(post()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let commits = store.commits();
    assert!(commits < 64 * 50 / 4, "{commits} commits for {} writes", 64 * 50);
}

//! The features' stores on both engines: the embedded one and a real CQL server.

mod accounts;
mod audit;
mod bookmarks;
mod chat;
mod comments;
mod conversations;
mod desks;
mod events;
mod graph;
mod growth;
mod handovers;
mod housing;
mod leaving;
mod listings;
mod moderation;
mod payments;
mod places;
mod points;
mod posts;
mod revocations;
mod second_factors;
mod series;
mod taken_away;
mod timelines;
mod walks;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use mundotango::schema::schema;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::scylla::{ScyllaOptions, ScyllaStore, migrate};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};
use tempfile::TempDir;

/// A change that causes nothing.
pub const NO_EFFECTS: Result<Vec<()>, StoreError> = Ok(Vec::new());

/// A store with the application's schema on either engine.
struct Engines {
    embedded: EmbeddedStore,
    shared: [ScyllaStore; 2],
    _folder: TempDir,
}

impl Engines {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = std::env::var("MUNDOTANGO_TEST_CQL").expect(
            "MUNDOTANGO_TEST_CQL (host:port) is not set: run the tests by `cargo xtask test`, which starts the servers",
        );
        let id = new_id();
        let options = ScyllaOptions {
            nodes: vec![address],
            keyspace: format!("stores_{}", &id[id.len() - 8..]),
            replication_factor: 1,
            request_timeout: std::time::Duration::from_secs(20),
            ..ScyllaOptions::default()
        };
        migrate(&options, &schema(), false).await.unwrap();
        Self {
            embedded: EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap(),
            shared: [
                ScyllaStore::connect(&options, &schema()).await.unwrap(),
                ScyllaStore::connect(&options, &schema()).await.unwrap(),
            ],
            _folder: folder,
        }
    }

    /// Each engine as two nodes see it.
    fn all(&self) -> [[Db; 2]; 2] {
        [
            [self.embedded.stores().db, self.embedded.stores().db],
            [self.shared[0].stores().db, self.shared[1].stores().db],
        ]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_features_keep_their_promises_on_both_engines() {
    let engines = Engines::open().await;
    // Each step on the CQL server is some of its slow conditional writes.
    for (nodes, walks) in engines.all().into_iter().zip([60, 6]) {
        Box::pin(all_suites(&nodes)).await;
        Box::pin(walks::walks(&nodes, walks)).await;
    }
}

/// Runs the suites of all features on a store, as two nodes see it.
pub async fn all_suites(nodes: &[Db; 2]) {
    accounts::accounts(nodes).await;
    conversations::conversations(&nodes[0]).await;
    Box::pin(posts::posts(nodes)).await;
    Box::pin(comments::comments(nodes)).await;
    Box::pin(timelines::timelines(nodes)).await;
    revocations::revocations(nodes).await;
    bookmarks::bookmarks(nodes).await;
    Box::pin(graph::graph(nodes)).await;
    Box::pin(chat::chat(nodes)).await;
    events::events(nodes).await;
    payments::payments(nodes).await;
    listings::listings(nodes).await;
    housing::housing(nodes).await;
    Box::pin(audit::audit(nodes)).await;
    Box::pin(desks::desks(nodes)).await;
    Box::pin(moderation::moderation(nodes)).await;
    Box::pin(taken_away::taken_away(nodes)).await;
    // On the heap: the suite is too large for a stack.
    Box::pin(series::series(nodes)).await;
    points::points(nodes).await;
    Box::pin(second_factors::second_factors(nodes)).await;
    Box::pin(leaving::leaving(nodes)).await;
}

/// Walks a list page by page and returns the ids in order; every page but the last is full, and no id comes twice.
async fn walk<T: Debug>(
    limit: usize,
    mut read: impl AsyncFnMut(PageRequest) -> Result<Page<T>, StoreError>,
    id: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut start = PageStart::First;
    loop {
        let page = read(PageRequest { start, limit }).await.unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.iter().map(&id));
        match page.next {
            Some(next) => {
                assert_eq!(page.items.len(), limit, "a page before the last is full");
                start = PageStart::After(next);
            }
            None => break,
        }
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an item came twice");
    ids
}

fn first(limit: usize) -> PageRequest {
    PageRequest { start: PageStart::First, limit }
}

/// Polls a future so often, and drops it then as a node does that dies.
pub async fn cut_off<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        let Some(next) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = next;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

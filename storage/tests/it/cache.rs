//! The cache: both adapters, and the tiers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mundotango_protocol::new_id;
use mundotango_storage::cache::{Cache, CacheStore, MemoryCache, POST, RedisCache};
use mundotango_storage::cached::cached;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::posts::{Post, Visibility};
use mundotango_storage::{RedisLink, RedisOptions, StoreError, conformance};

use crate::redis::link;

const BYTES: u64 = 16 << 20;

fn post(id: &str, content: &str) -> Post {
    Post {
        id: id.to_owned(),
        author_id: "ana".to_owned(),
        content: content.to_owned(),
        visibility: Visibility::Public,
        created_at: Timestamp::UNIX_EPOCH,
        reactions: std::collections::BTreeMap::new(),
    }
}

fn in_memory() -> Cache {
    Cache::new(Arc::new(MemoryCache::new(BYTES)))
}

#[tokio::test]
async fn memory_conforms() {
    conformance::cache(Arc::new(MemoryCache::new(BYTES))).await;
}

#[tokio::test]
async fn redis_conforms() {
    conformance::cache(Arc::new(RedisCache::new(link(&new_id())))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_stores_conform() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    for shared in
        [Arc::new(MemoryCache::new(BYTES)) as Arc<dyn CacheStore>, Arc::new(RedisCache::new(link(&new_id())))]
    {
        let stores = cached(store.stores(), &Arc::new(Cache::new(shared)));
        conformance::accounts(stores.accounts).await;
        conformance::posts(stores.posts).await;
        conformance::events(stores.events).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_ask_at_once_read_once() {
    let (cache, loads) = (Arc::new(in_memory()), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let (cache, loads) = (Arc::clone(&cache), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = async {
                    loads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(Some(post("1", "x")))
                };
                cache.get_or_load(&POST, "1", load).await.unwrap().unwrap()
            })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap().content, "x");
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_change_during_a_read_is_not_covered_by_it() {
    let cache = in_memory();
    let read = cache.get_or_load(&POST, "1", async {
        // The store answers, and before the answer is kept somebody changes the post.
        cache.invalidate(&[POST.key("1")]).await;
        Ok(Some(post("1", "old")))
    });
    assert_eq!(read.await.unwrap().unwrap().content, "old");
    let next = cache.get_or_load(&POST, "1", async { Ok(Some(post("1", "new"))) }).await.unwrap();
    assert_eq!(next.unwrap().content, "new");
}

#[tokio::test]
async fn failures_and_absence_are_not_kept() {
    let cache = in_memory();
    let failed =
        cache.get_or_load(&POST, "1", async { Err(StoreError::Unavailable("gone".to_owned())) }).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))));
    assert_eq!(cache.get_or_load(&POST, "1", async { Ok(None) }).await.unwrap(), None);
    let dropped = cache.get_or_load(&POST, "1", std::future::pending());
    assert!(tokio::time::timeout(Duration::from_millis(10), dropped).await.is_err());
    let found = cache.get_or_load(&POST, "1", async { Ok(Some(post("1", "x"))) }).await.unwrap();
    assert_eq!(found.unwrap().content, "x");
}

#[tokio::test]
async fn without_the_shared_tier_reads_go_on() {
    let options = RedisOptions { url: "redis://127.0.0.1:1".to_owned(), ..RedisOptions::default() };
    let cache = Cache::new(Arc::new(RedisCache::new(RedisLink::open(&options).unwrap())));
    for number in 0..20 {
        let id = number.to_string();
        let start = Instant::now();
        let found = cache.get_or_load(&POST, &id, async { Ok(Some(post(&id, "x"))) }).await.unwrap();
        assert_eq!(found.unwrap().id, id);
        cache.invalidate(&[POST.key(&id)]).await;
        assert!(number < 10 || start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    }
}

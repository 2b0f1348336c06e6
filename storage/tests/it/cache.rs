//! The cache: both adapters, and the tiers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mundotango_ops::ServerUrls;
use mundotango_protocol::new_id;
use mundotango_storage::cache::{Cache, CacheStore, Family, MemoryCache, RedisCache};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::{RedisLink, RedisOptions, StoreError, conformance};
use serde::{Deserialize, Serialize};

use crate::redis::link;

const BYTES: u64 = 16 << 20;

const POST: Family<Post> = Family::new("post", Duration::from_mins(10));

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Post {
    id: String,
    content: String,
}

fn post(id: &str, content: &str) -> Post {
    Post { id: id.to_owned(), content: content.to_owned() }
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
    let schema = conformance::schema();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema).unwrap();
    for shared in
        [Arc::new(MemoryCache::new(BYTES)) as Arc<dyn CacheStore>, Arc::new(RedisCache::new(link(&new_id())))]
    {
        let db = store.stores().db.with_cache(Arc::new(Cache::new(shared)));
        conformance::db(db.clone(), db).await;
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
async fn what_another_version_wrote_is_no_error() {
    let shared = Arc::new(MemoryCache::new(BYTES));
    let cache = Cache::new(Arc::<MemoryCache>::clone(&shared));
    shared.set(&POST.key("1"), Bytes::from_static(b"{\"id\":1}"), POST.ttl).await.unwrap();
    let found = cache.get_or_load(&POST, "1", async { Ok(Some(post("1", "x"))) }).await.unwrap();
    assert_eq!(found.unwrap().content, "x");
}

#[tokio::test]
async fn without_the_shared_tier_reads_go_on() {
    let options = RedisOptions { url: ServerUrls::new("redis://127.0.0.1:1"), ..RedisOptions::default() };
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

/// A shared tier whose removals can be made to fail.
struct Stubborn {
    kept: MemoryCache,
    refuses: AtomicBool,
}

impl Stubborn {
    fn try_to_remove(&self) -> Result<(), StoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("refused".to_owned()));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl CacheStore for Stubborn {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.kept.get(key).await
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.kept.set(key, value, ttl).await
    }

    async fn remove(&self, keys: &[String]) -> Result<(), StoreError> {
        self.try_to_remove()?;
        self.kept.remove(keys).await
    }
}

#[tokio::test]
async fn what_could_not_be_removed_is_removed_later() {
    let shared = Arc::new(Stubborn { kept: MemoryCache::new(BYTES), refuses: AtomicBool::new(false) });
    let nodes = [Cache::new(Arc::<Stubborn>::clone(&shared)), Cache::new(Arc::<Stubborn>::clone(&shared))];
    let read = async |node: &Cache, content: &str| {
        node.get_or_load(&POST, "1", async { Ok(Some(post("1", content))) }).await.unwrap().unwrap().content
    };
    assert_eq!(read(&nodes[0], "old").await, "old");

    shared.refuses.store(true, Ordering::Relaxed);
    nodes[0].invalidate(&[POST.key("1")]).await;
    assert_eq!(read(&nodes[0], "new").await, "new", "who changed it does not read the old value");
    shared.refuses.store(false, Ordering::Relaxed);
    let removed = async {
        let is_old = |kept: Bytes| kept.windows(3).any(|part| part == b"old");
        while shared.get(&POST.key("1")).await.unwrap().is_some_and(is_old) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), removed).await.expect("the old value stays");
    assert_eq!(read(&nodes[1], "new").await, "new");
}

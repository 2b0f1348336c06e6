//! The cache: both adapters, and the tiers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_ops::ServerUrls;
use mundotango_protocol::new_id;
use mundotango_storage::cache::{Cache, CacheStore, EVENTS_LIST, MemoryCache, POST, RedisCache};
use mundotango_storage::cached::cached;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::events::{Event, EventFilter, EventType, Location, RsvpChoice, RsvpCounts};
use mundotango_storage::posts::{Post, Visibility};
use mundotango_storage::{Page, PageRequest, PageStart, RedisLink, RedisOptions, StoreError, conformance};

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

    async fn version(&self, family: &str) -> Result<String, StoreError> {
        self.kept.version(family).await
    }

    async fn remove_all(&self, family: &str) -> Result<(), StoreError> {
        self.try_to_remove()?;
        self.kept.remove_all(family).await
    }
}

#[tokio::test]
async fn what_could_not_be_removed_is_removed_later() {
    let shared = Arc::new(Stubborn { kept: MemoryCache::new(BYTES), refuses: AtomicBool::new(false) });
    let nodes = [Cache::new(Arc::<Stubborn>::clone(&shared)), Cache::new(Arc::<Stubborn>::clone(&shared))];
    let read = async |node: &Cache, content: &str| {
        node.get_or_load(&POST, "1", async { Ok(Some(post("1", content))) }).await.unwrap().unwrap().content
    };
    let list = async |node: &Cache, content: &str| {
        let page = Page { items: vec![content.to_owned()], next: None };
        let list = node.get_or_load_of(&EVENTS_LIST, "first", async { Ok(Some(page)) }).await.unwrap();
        list.unwrap().items[0].clone()
    };
    assert_eq!((read(&nodes[0], "old").await, list(&nodes[0], "old").await), ("old".into(), "old".into()));
    let before = shared.version("events:list").await.unwrap();

    shared.refuses.store(true, Ordering::Relaxed);
    nodes[0].invalidate(&[POST.key("1")]).await;
    nodes[0].invalidate_all(&EVENTS_LIST).await;
    let own = (read(&nodes[0], "new").await, list(&nodes[0], "new").await);
    assert_eq!(own, ("new".into(), "new".into()), "who changed it does not read the old value");
    shared.refuses.store(false, Ordering::Relaxed);
    let removed = async {
        while shared.version("events:list").await.unwrap() == before
            || shared
                .get(&POST.key("1"))
                .await
                .unwrap()
                .is_some_and(|kept| kept.windows(3).any(|part| part == b"old"))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), removed).await.expect("the old value stays");
    assert_eq!((read(&nodes[1], "new").await, list(&nodes[1], "new").await), ("new".into(), "new".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_event_takes_all_lists_away_and_an_answer_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default()).unwrap();
    let shared: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(BYTES));
    // Two nodes that tell each other nothing: what is near to one is not asked here.
    let nodes =
        [(); 2].map(|()| cached(store.stores(), &Arc::new(Cache::with_near(Arc::clone(&shared), 0))).events);
    let event = |number: i64| Event {
        id: new_id(),
        host_id: "ana".to_owned(),
        title: number.to_string(),
        description: String::new(),
        event_date: Timestamp::from_second(2_000_000_000 + number).unwrap(),
        location: Location::default(),
        event_type: EventType::Milonga,
        capacity: None,
        created_at: Timestamp::UNIX_EPOCH,
        counts: RsvpCounts::default(),
    };
    let titles = async |node: usize, limit| {
        let page = PageRequest { start: PageStart::First, limit };
        let page = nodes[node].events(EventFilter::default(), page).await.unwrap();
        page.items.iter().map(|event| (event.title.clone(), event.counts.going)).collect::<Vec<_>>()
    };
    let first = event(1);
    nodes[0].create_event(first.clone()).await.unwrap();
    for limit in [1, 10] {
        assert_eq!(titles(1, limit).await, [("1".to_owned(), 0)]);
    }
    nodes[0].create_event(event(0)).await.unwrap();
    assert_eq!(titles(1, 10).await, [("0".to_owned(), 0), ("1".to_owned(), 0)]);
    assert_eq!(titles(1, 1).await, [("0".to_owned(), 0)]);
    nodes[0].rsvp(&first.id, "beto", RsvpChoice::Going, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(titles(1, 10).await[1], ("1".to_owned(), 1), "the list is the same, the event is not");
}

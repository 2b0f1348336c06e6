//! The store beside the bare driver, the cache's tiers beside none, and counters in shards beside one, on real servers. `cargo xtask bench engines` starts
//! them and runs it.
//!
//! What is compared takes turns second by second, so that a machine that is busy for a while is so for both.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mundotango_protocol::{Publication, new_id};
use mundotango_storage::cache::{Cache, RedisCache};
use mundotango_storage::db::{Db, Decision, Kind, Schema, Wants};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::scylla::{ScyllaOptions, ScyllaStore, migrate};
use mundotango_storage::{RedisLink, RedisOptions, StoreError, Stores};
use prost::Message as _;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use tokio::task::JoinSet;

/// Tasks that ask at the same time.
const ASKING: usize = 32;
/// As many where a hot partition is looked at: writers wait for each other there.
const MANY_ASKING: usize = 256;
/// Turns of each side.
const ROUNDS: usize = 8;
/// How long a turn is.
const TURN: Duration = Duration::from_secs(1);
/// Posts that are read.
const POSTS: usize = 5_000;
/// How long publications are kept.
const TTL: Duration = Duration::from_hours(24);

/// Users who react to one post at once.
const USERS: usize = 1_000;

/// Reactions to a post, counted in one place and in many.
static IN_ONE: Kind<(), u64, bool> = Kind::new("reactions_in_one", "1,000 reactions of 60 B", &[]).sharded(1);
static IN_SHARDS: Kind<(), u64, bool> =
    Kind::new("reactions_in_shards", "1,000 reactions of 60 B", &[]).sharded(16);
/// What is changed, here and there.
static COUNTED: Kind<(), u64, ()> = Kind::new("counted", "a number", &[]);
/// What is read: a text with what every partition has.
static TEXTS: Kind<String, (), ()> =
    Kind::new("texts", "a text of 200 B", &[]).cached(Duration::from_mins(10));

fn schema() -> Schema {
    Schema { kinds: vec![TEXTS.spec(), COUNTED.spec(), IN_ONE.spec(), IN_SHARDS.spec()], indexes: vec![] }
}

/// The columns of a partition.
type Columns =
    (String, Option<String>, Option<String>, Option<String>, Option<i64>, Option<Vec<String>>, Option<bool>);

/// One thing that is done, given a number that rises.
type Deed = Arc<dyn Fn(u64) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

fn deed<F: Future<Output = ()> + Send + 'static>(make: impl Fn(u64) -> F + Send + Sync + 'static) -> Deed {
    Arc::new(move |number| Box::pin(make(number)))
}

/// What one side did.
#[derive(Default)]
struct Done {
    count: usize,
    seconds: f64,
    nanos: Vec<u64>,
}

impl Done {
    fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    fn millis(&mut self, percent: usize) -> f64 {
        self.nanos.sort_unstable();
        self.nanos[(self.nanos.len() - 1) * percent / 100] as f64 / 1e6
    }
}

async fn turn(asking_at_once: usize, deed: &Deed, numbers: &Arc<AtomicU64>, done: &mut Done) {
    let start = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..asking_at_once {
        let (deed, numbers) = (Arc::clone(deed), Arc::clone(numbers));
        asking.spawn(async move {
            let mut nanos = Vec::new();
            while start.elapsed() < TURN {
                let asked = Instant::now();
                deed(numbers.fetch_add(1, Ordering::Relaxed)).await;
                nanos.push(u64::try_from(asked.elapsed().as_nanos()).unwrap());
            }
            nanos
        });
    }
    for nanos in asking.join_all().await {
        done.count += nanos.len();
        done.nanos.extend(nanos);
    }
    done.seconds += start.elapsed().as_secs_f64();
}

/// Lets all sides take turns.
async fn side_by_side<const N: usize>(asking: usize, deeds: [Deed; N]) -> [Done; N] {
    let numbers = Arc::new(AtomicU64::new(0));
    // The first turn of each fills what is filled once.
    for deed in &deeds {
        turn(asking, deed, &numbers, &mut Done::default()).await;
    }
    let mut done = [(); N].map(|()| Done::default());
    for _ in 0..ROUNDS {
        for (deed, done) in deeds.iter().zip(&mut done) {
            turn(asking, deed, &numbers, done).await;
        }
    }
    done
}

/// Where the engines are.
struct Engines {
    options: ScyllaOptions,
    session: Arc<Session>,
    stores: Stores,
    redis: RedisLink,
    posts: Arc<Vec<String>>,
}

fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask bench engines`"))
}

impl Engines {
    async fn open() -> Self {
        let address = service("MUNDOTANGO_TEST_CQL");
        let id = new_id();
        let options = ScyllaOptions {
            nodes: vec![address.clone()],
            keyspace: format!("bench_{}", &id[id.len() - 8..]),
            replication_factor: 1,
            request_timeout: Duration::from_secs(20),
            ..ScyllaOptions::default()
        };
        migrate(&options, &schema(), false).await.unwrap();
        let stores = ScyllaStore::connect(&options, &schema()).await.unwrap().stores();
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .request_timeout(Some(options.request_timeout));
        let session = SessionBuilder::new()
            .known_node(address)
            .use_keyspace(&options.keyspace, false)
            .tcp_nodelay(true)
            .default_execution_profile_handle(profile.build().into_handle())
            .build()
            .await
            .unwrap();
        let redis = RedisOptions {
            url: mundotango_ops::ServerUrls::new(service("MUNDOTANGO_TEST_REDIS")),
            prefix: options.keyspace.clone(),
            ..RedisOptions::default()
        };
        let redis = RedisLink::open(&redis).unwrap();
        let mut posts = Vec::with_capacity(POSTS);
        for number in 0..POSTS {
            let id = new_id();
            let text = format!("{number} {}", "x".repeat(200));
            stores.db.create(&TEXTS, &id, &text, &[], &[]).await.unwrap();
            posts.push(id);
        }
        Self { options, session: Arc::new(session), stores, redis, posts: Arc::new(posts) }
    }

    async fn prepare(&self, text: &str) -> Arc<PreparedStatement> {
        Arc::new(self.session.prepare(text).await.unwrap())
    }

    fn read_by(&self, db: &Db, pick: &Arc<dyn Fn(u64) -> usize + Send + Sync>) -> Deed {
        let (db, posts, pick) = (db.clone(), Arc::clone(&self.posts), Arc::clone(pick));
        deed(move |number| {
            let (db, posts, pick) = (db.clone(), Arc::clone(&posts), Arc::clone(&pick));
            async move {
                assert!(db.read(&TEXTS, &posts[pick(number)]).await.unwrap().is_some());
            }
        })
    }

    async fn bare_read(&self) -> Deed {
        let statement = self
            .prepare("SELECT k, body, facts, head, version, marks, deleted FROM texts WHERE p = ? AND k IN ?")
            .await;
        let (session, posts) = (Arc::clone(&self.session), Arc::clone(&self.posts));
        deed(move |number| {
            let (session, posts, statement) =
                (Arc::clone(&session), Arc::clone(&posts), Arc::clone(&statement));
            async move {
                let id = &posts[evenly(number)];
                let rows = session
                    .execute_unpaged(&statement, (id, vec![""]))
                    .await
                    .unwrap()
                    .into_rows_result()
                    .unwrap();
                rows.single_row::<Columns>().unwrap();
            }
        })
    }

    fn write(&self) -> Deed {
        let (store, channel) = (Arc::clone(&self.stores.history), new_id());
        deed(move |number| {
            let (store, channel) = (Arc::clone(&store), channel.clone());
            async move {
                store.keep(&channel, "e", publication(number), TTL).await.unwrap();
            }
        })
    }

    async fn bare_write(&self) -> Deed {
        let text = "INSERT INTO publications (channel, block, number, epoch, publication) VALUES (?, ?, ?, ?, ?) \
                    USING TTL ?";
        let (session, statement, channel) = (Arc::clone(&self.session), self.prepare(text).await, new_id());
        deed(move |number| {
            let (session, statement, channel) =
                (Arc::clone(&session), Arc::clone(&statement), channel.clone());
            async move {
                let (block, offset) = (i64::try_from(number / 1000).unwrap(), i64::try_from(number).unwrap());
                let bytes = publication(number).encode_to_vec();
                let values = (channel, block, offset, "e", bytes, i32::try_from(TTL.as_secs()).unwrap());
                session.execute_unpaged(&statement, values).await.unwrap();
            }
        })
    }

    fn cache(&self, near_bytes: u64) -> Arc<Cache> {
        Arc::new(Cache::with_near(Arc::new(RedisCache::new(self.redis.clone())), near_bytes))
    }
}

fn publication(number: u64) -> Publication {
    Publication { offset: number, data: Bytes::from(vec![b'x'; 200]), ..Publication::default() }
}

fn evenly(number: u64) -> usize {
    usize::try_from(number).unwrap() % POSTS
}

/// As people choose: the k-th most wanted is taken 1/k^`exponent` times as often as the first (Zipf's law).
fn zipf(exponent: f64) -> Arc<dyn Fn(u64) -> usize + Send + Sync> {
    let mut sums = Vec::with_capacity(POSTS);
    let mut sum = 0.0;
    for rank in 1..=POSTS {
        sum += (rank as f64).powf(-exponent);
        sums.push(sum);
    }
    Arc::new(move |_| {
        let point = rand::random::<f64>() * sum;
        sums.partition_point(|upto| *upto < point).min(POSTS - 1)
    })
}

async fn beside_the_driver(engines: &Engines) {
    println!("\ng: the store beside the same statement by the bare driver, {ASKING} callers\n");
    println!(
        "| | through the store / s | bare driver / s | ratio | p50 ms | bare p50 ms |\n|---|---|---|---|---|---|"
    );
    let spread: Arc<dyn Fn(u64) -> usize + Send + Sync> = Arc::new(evenly);
    let reads = [engines.read_by(&engines.stores.db, &spread), engines.bare_read().await];
    let writes = [engines.write(), engines.bare_write().await];
    for (name, deeds) in [("read a partition", reads), ("write a publication", writes)] {
        let [mut ours, mut bare] = side_by_side(ASKING, deeds).await;
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
            ours.rate(),
            bare.rate(),
            ours.rate() / bare.rate(),
            ours.millis(50),
            bare.millis(50)
        );
    }
}

async fn cache_tiers(engines: &Engines) {
    const NEAR_BYTES: u64 = 32 << 20;
    println!("\nh: reads of {POSTS} posts as people read (Zipf), {ASKING} callers\n");
    println!("| | reads / s | p50 ms | p99 ms |\n|---|---|---|---|");
    let pick = zipf(1.0);
    let behind = |near_bytes| engines.stores.db.clone().with_cache(engines.cache(near_bytes));
    let done = side_by_side(
        ASKING,
        [
            engines.read_by(&engines.stores.db, &pick),
            engines.read_by(&behind(0), &pick),
            engines.read_by(&behind(NEAR_BYTES), &pick),
        ],
    )
    .await;
    for (name, mut done) in
        ["no cache", "Redis alone (in-process tier off)", "both tiers"].into_iter().zip(done)
    {
        println!("| {name} | {:.0} | {:.3} | {:.3} |", done.rate(), done.millis(50), done.millis(99));
    }
}

/// Lets all users react to one post by way of all nodes, and waits until each reaction stands.
async fn everybody_reacts(nodes: &[Db], kind: &'static Kind<(), u64, bool>, done: &mut Done) {
    let (post, start) = (new_id(), Instant::now());
    let mut reacting = JoinSet::new();
    for user in 0..USERS {
        let (db, post) = (nodes[user % nodes.len()].clone(), post.clone());
        reacting.spawn(async move {
            let user = format!("user-{user}");
            let row = user.clone();
            let reacted = db.change_shard(kind, &post, &user, Wants::head().row(&user), move |part| {
                assert!(part.row(&row).is_none());
                part.head += 1;
                part.set(&row, true);
                Ok::<_, StoreError>(Decision::Write(()))
            });
            reacted.await.unwrap().unwrap();
            u64::try_from(start.elapsed().as_nanos()).unwrap()
        });
    }
    done.nanos.extend(reacting.join_all().await);
    done.seconds += start.elapsed().as_secs_f64();
    done.count += USERS;
    let counted = nodes[0].shards_now(kind, &post).await.unwrap();
    assert_eq!(counted.heads.iter().sum::<u64>(), USERS as u64);
}

async fn hot_counters(engines: &Engines) {
    println!("\nj: {USERS} users react to one post at once\n");
    println!("| | 16 shards / s | one partition / s | ratio | p50 ms | p99 ms | one: p50 ms | one: p99 ms |");
    println!("|---|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap();
    let another = ScyllaStore::connect(&engines.options, &schema()).await.unwrap().stores().db;
    let sides = [
        ("embedded", vec![embedded.stores().db]),
        ("CQL, two nodes", vec![engines.stores.db.clone(), another]),
    ];
    for (name, nodes) in sides {
        let kinds = [&IN_SHARDS, &IN_ONE];
        for kind in kinds {
            everybody_reacts(&nodes, kind, &mut Done::default()).await;
        }
        let mut done = [Done::default(), Done::default()];
        for _ in 0..ROUNDS {
            for (kind, done) in kinds.into_iter().zip(&mut done) {
                everybody_reacts(&nodes, kind, done).await;
            }
        }
        let [mut shards, mut one] = done;
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
            shards.rate(),
            one.rate(),
            shards.rate() / one.rate(),
            shards.millis(50),
            shards.millis(99),
            one.millis(50),
            one.millis(99)
        );
    }
}

/// Changes of partitions that are chosen evenly, and as people choose.
async fn uneven_changes(engines: &Engines) {
    println!("\nk: changes spread over {POSTS} partitions, {MANY_ASKING} callers\n");
    println!("| | evenly / s | Zipf 1.5 / s | ratio | p50 ms | p99 ms | Zipf: p50 ms | Zipf: p99 ms |");
    println!("|---|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap();
    for (name, db) in [("embedded", embedded.stores().db), ("CQL", engines.stores.db.clone())] {
        let ids: Arc<Vec<_>> = Arc::new((0..POSTS).map(|_| new_id()).collect());
        for id in ids.iter() {
            db.create(&COUNTED, id, &(), &[], &[]).await.unwrap();
        }
        let count = |pick: Arc<dyn Fn(u64) -> usize + Send + Sync>| {
            let (db, ids) = (db.clone(), Arc::clone(&ids));
            deed(move |number| {
                let (db, ids, pick) = (db.clone(), Arc::clone(&ids), Arc::clone(&pick));
                async move {
                    let changed = db.change(&COUNTED, &ids[pick(number)], Wants::head(), |part| {
                        part.head += 1;
                        Ok::<_, StoreError>(Decision::Write(()))
                    });
                    changed.await.unwrap().unwrap();
                }
            })
        };
        let deeds = [count(Arc::new(evenly)), count(zipf(1.5))];
        let [mut even, mut uneven] = side_by_side(MANY_ASKING, deeds).await;
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            even.rate(),
            uneven.rate(),
            uneven.rate() / even.rate(),
            even.millis(50),
            even.millis(99),
            uneven.millis(50),
            uneven.millis(99)
        );
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let engines = Engines::open().await;
    beside_the_driver(&engines).await;
    cache_tiers(&engines).await;
    hot_counters(&engines).await;
    uneven_changes(&engines).await;
    let drop_keyspace = format!("DROP KEYSPACE {}", engines.options.keyspace);
    if let Err(error) = engines.session.query_unpaged(drop_keyspace, ()).await {
        println!("the keyspace of the bench is still there: {error}");
    }
}

//! Hot state in a real Redis.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mundotango_ops::ServerUrls;
use mundotango_protocol::{Publication, StreamPosition, new_id};
use mundotango_storage::hot::{
    Append, Appended, Beat, HistoryLimits, HistoryQuery, HotState as _, IfMissing, RedisHotState,
};
use mundotango_storage::{RedisLink, RedisOptions, StoreError, conformance};
use tempfile::TempDir;

fn url() -> String {
    std::env::var("MUNDOTANGO_TEST_REDIS").expect(
        "MUNDOTANGO_TEST_REDIS is not set: run the tests by `cargo xtask test`, which starts the servers",
    )
}

pub(crate) fn link(prefix: &str) -> RedisLink {
    RedisLink::open(&RedisOptions {
        url: ServerUrls::new(url()),
        prefix: prefix.to_owned(),
        ..RedisOptions::default()
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_state_conforms() {
    let hot = RedisHotState::new(link(&new_id()), &new_id());
    conformance::hot_state(Arc::new(hot)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_it() {
    let (prefix, node) = (new_id(), new_id());
    let hot = Arc::new(RedisHotState::new(link(&prefix), &node));
    let other = Arc::new(RedisHotState::new(link(&prefix), &new_id()));
    conformance::shared_hot_state(hot, &node, other).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_fails_fast() {
    let options = RedisOptions { url: ServerUrls::new("redis://127.0.0.1:1"), ..RedisOptions::default() };
    let hot = RedisHotState::new(RedisLink::open(&options).unwrap(), "node");
    for _ in 0..5 {
        assert!(matches!(hot.presence("a").await, Err(StoreError::Unavailable(_))));
    }
    let start = Instant::now();
    assert!(matches!(hot.presence("a").await, Err(StoreError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_millis(20), "the breaker is open");
}

const LIMITS: HistoryLimits = HistoryLimits::new(100, Duration::from_mins(1), Duration::from_mins(10));

async fn append(hot: &RedisHotState, channel: &str) -> Result<StreamPosition, StoreError> {
    let append = Append::new(Publication::default(), Some(LIMITS));
    hot.append(channel, append).await.map(Appended::into_position)
}

async fn read(hot: &RedisHotState, channel: &str) -> StreamPosition {
    hot.history(channel, HistoryQuery::default(), LIMITS).await.unwrap().position
}

/// Where the store has the history too, no offset is given again.
#[tokio::test]
async fn a_long_history_of_another_run_is_asked_of_the_store() {
    let prefix = new_id();
    let hot = RedisHotState::new(link(&prefix), "node");
    let append = async |if_missing| {
        let limits = HistoryLimits { if_missing, ..LIMITS };
        hot.append("a", Append::new(Publication::default(), Some(limits))).await
    };
    assert!(matches!(append(IfMissing::Fail).await, Err(StoreError::NotBegun)));
    let first = append(IfMissing::StartAt(7)).await.unwrap().into_position();
    let second = append(IfMissing::Fail).await.unwrap().into_position();
    assert_eq!((first.offset, second.offset, &second.epoch), (8, 9, &first.epoch));

    // As it is when another run of the server wrote it.
    let mut redis = redis::Client::open(url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let meta = format!("{prefix}:history-meta:{{a}}");
    redis::cmd("HSET").arg(&[&meta, "run", "another"]).exec_async(&mut redis).await.unwrap();
    assert!(matches!(append(IfMissing::Fail).await, Err(StoreError::NotBegun)));
    let limits = HistoryLimits { if_missing: IfMissing::Fail, ..LIMITS };
    let read = hot.history("a", HistoryQuery::default(), limits).await;
    assert!(matches!(read, Err(StoreError::NotBegun)));
    let third = append(IfMissing::StartAt(1_000)).await.unwrap().into_position();
    assert!(third.offset == 1_001 && third.epoch != first.epoch);
}

/// A Redis of the test's own, which may be killed and told to be something else.
struct OwnRedis {
    folder: TempDir,
    port: u16,
    server: Child,
}

impl OwnRedis {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let server = Self::run(&folder, port);
        let own = Self { folder, port, server };
        own.until_it_answers().await;
        own
    }

    fn run(folder: &TempDir, port: u16) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed where `cargo xtask test` is used")
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn tell<T: redis::FromRedisValue>(&self, command: &str) -> Result<T, redis::RedisError> {
        let mut words = command.split(' ');
        let mut redis = redis::Client::open(self.url())?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words.next().unwrap_or_default());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut redis).await
    }

    async fn until_it_answers(&self) {
        until("redis answers", async || self.tell::<String>("PING").await.is_ok()).await;
    }

    /// Kills the server, and starts it in its folder, in which the last snapshot is.
    async fn kill_and_start(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = Self::run(&self.folder, self.port);
        self.until_it_answers().await;
    }

    fn hot(&self, node: &str) -> RedisHotState {
        RedisHotState::new(self.link(), node)
    }

    fn link(&self) -> RedisLink {
        RedisLink::open(&RedisOptions { url: ServerUrls::new(self.url()), ..RedisOptions::default() })
            .unwrap()
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_it_takes_writes(link: &RedisLink) {
    until("redis takes writes", async || link.check().await.is_ok()).await;
}

/// Offsets that were given must not be given again under the same epoch: subscribers drop them as known, and a client that
/// recovers is told that it missed nothing.
#[tokio::test]
async fn a_redis_that_is_back_with_an_older_snapshot_is_not_believed() {
    let mut redis = OwnRedis::start().await;
    let hot = redis.hot("node");
    let unread = read(&hot, "unread").await;
    for _ in 0..5 {
        append(&hot, "a").await.unwrap();
    }
    hot.renew_history("renewed", "renewed", LIMITS).await.unwrap();
    redis.tell::<String>("SAVE").await.unwrap();
    for _ in 0..5 {
        append(&hot, "a").await.unwrap();
    }
    let before = append(&hot, "unread").await.unwrap();
    assert_eq!(before.epoch, unread.epoch);
    let last = append(&hot, "a").await.unwrap();
    assert_eq!(last.offset, 11);

    redis.kill_and_start().await;
    until_it_takes_writes(&redis.link()).await;
    assert!(redis.tell::<u64>("DBSIZE").await.unwrap() > 0, "it has the snapshot");
    let hot = redis.hot("node");
    let after = read(&hot, "a").await;
    assert!(after.epoch != last.epoch && after.offset == 0, "{after:?}");
    assert_eq!(append(&hot, "a").await.unwrap(), StreamPosition { offset: 1, ..after });
    assert_ne!(read(&hot, "unread").await.epoch, unread.epoch);
    hot.renew_history("renewed", "renewed", LIMITS).await.unwrap();
    assert_ne!(read(&hot, "renewed").await.epoch, "renewed");
}

/// A replica may be behind, also the server that was a replica for a while and is the same process.
#[tokio::test]
async fn a_replica_that_was_promoted_is_not_believed() {
    let (first, second) = (OwnRedis::start().await, OwnRedis::start().await);
    let hot = first.hot("node");
    let before = append(&hot, "a").await.unwrap();
    let unread = read(&hot, "unread").await;
    let has_it = async |redis: &OwnRedis| {
        redis.tell::<u64>("EXISTS mt:history-meta:{a}").await.is_ok_and(|count| count == 1)
            && redis.tell::<String>("INFO replication").await.unwrap().contains("master_link_status:up")
    };
    second.tell::<()>(&format!("REPLICAOF 127.0.0.1 {}", first.port)).await.unwrap();
    until("the second is a replica", async || has_it(&second).await).await;
    second.tell::<()>("REPLICAOF NO ONE").await.unwrap();
    let promoted = second.hot("node");
    until_it_takes_writes(&second.link()).await;
    assert_ne!(read(&promoted, "a").await.epoch, before.epoch);
    assert_ne!(read(&promoted, "unread").await.epoch, unread.epoch);

    first.tell::<()>(&format!("REPLICAOF 127.0.0.1 {}", second.port)).await.unwrap();
    until("the first is a replica", async || has_it(&first).await).await;
    first.tell::<()>("REPLICAOF NO ONE").await.unwrap();
    until_it_takes_writes(&first.link()).await;
    assert_ne!(read(&hot, "a").await.epoch, before.epoch);
    assert_ne!(read(&hot, "unread").await.epoch, unread.epoch);
    assert_eq!(append(&hot, "a").await.unwrap().offset, 1);
}

/// `centrifugal/centrifugo#766`: it answers, so it is not gone; what is wrong is told, and goes on by itself.
#[tokio::test]
async fn a_redis_that_refuses_writes_is_named_and_comes_back() {
    let redis = OwnRedis::start().await;
    let link = redis.link();
    let hot = RedisHotState::new(link.clone(), "node");
    let before = append(&hot, "a").await.unwrap();
    for (break_it, mend_it, code) in [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"),
    ] {
        redis.tell::<()>(break_it).await.unwrap();
        // More often than the breaker needs to take a server for gone.
        for _ in 0..7 {
            for outcome in [link.check().await, append(&hot, "a").await.map(drop)] {
                let Err(StoreError::Unavailable(error)) = outcome else { panic!("{code}: {outcome:?}") };
                assert!(error.contains(code), "{error}");
            }
        }
        if code == "OOM" {
            assert_eq!(read(&hot, "a").await, before, "what is there can be read");
        }
        redis.tell::<()>(mend_it).await.unwrap();
        until_it_takes_writes(&link).await;
        append(&hot, "a").await.unwrap();
    }

    redis.tell::<()>("CONFIG SET requirepass secret").await.unwrap();
    let stranger = redis.link();
    for _ in 0..7 {
        let outcome = stranger.check().await;
        let Err(StoreError::Unavailable(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.contains("NOAUTH"), "{error}");
    }
}

#[tokio::test]
async fn what_should_be_set_otherwise_is_told() {
    let redis = OwnRedis::start().await;
    assert!(redis.link().advice().await.is_empty());
    redis.tell::<()>("CONFIG SET appendonly yes").await.unwrap();
    redis.tell::<()>("CONFIG SET maxmemory 1gb").await.unwrap();
    redis.tell::<()>("CONFIG SET maxmemory-policy allkeys-lru").await.unwrap();
    assert_eq!(redis.link().advice().await.len(), 2);
}

#[tokio::test]
async fn reading_leaves_nothing_in_redis() {
    let redis = OwnRedis::start().await;
    let hot = redis.hot("node");
    for number in 0..100 {
        read(&hot, &number.to_string()).await;
        hot.presence(&number.to_string()).await.unwrap();
        hot.presence_stats(&number.to_string()).await.unwrap();
    }
    // The secret from which epochs are derived.
    assert_eq!(redis.tell::<u64>("DBSIZE").await.unwrap(), 1);
    let before = read(&hot, "7").await;
    redis.tell::<()>("FLUSHALL").await.unwrap();
    assert_ne!(read(&hot, "7").await.epoch, before.epoch);
}

/// Also where all nodes died together, so that none heard of another's end.
#[tokio::test]
async fn users_of_a_node_that_died_are_not_online_for_ever() {
    let redis = OwnRedis::start().await;
    let silence = Duration::from_secs(1);
    let (dead, alive) = (redis.hot("dead").with_silence(silence), redis.hot("alive").with_silence(silence));
    let ana = ["ana".to_owned()];
    assert!(!dead.beat().await.unwrap().forgotten);
    dead.set_users_online(&ana, true).await.unwrap();
    tokio::time::sleep(silence).await;
    let first = Beat { alive: vec!["dead".to_owned()], ..Beat::default() };
    assert_eq!(alive.beat().await.unwrap(), first, "who comes does not judge at once");
    until("the dead node is missed", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        alive.beat().await.unwrap().silent == ["dead"]
    })
    .await;
    alive.forget_node("dead").await.unwrap();
    assert!(alive.user_statuses(&ana).await.unwrap()["ana"].online_since.is_none());
    assert!(alive.beat().await.unwrap().silent.is_empty());
    assert!(dead.beat().await.unwrap().forgotten, "it was not dead after all");

    tokio::time::sleep(silence * 2).await;
    assert!(alive.beat().await.unwrap().silent.is_empty(), "who was silent as well does not judge");
}

//! Hot state in a real Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mundotango_protocol::{Publication, new_id};
use mundotango_storage::hot::{Append, Begin, HistoryLimits, HistoryQuery, HotState as _, RedisHotState};
use mundotango_storage::{RedisLink, RedisOptions, StoreError, conformance};

fn url() -> String {
    std::env::var("MUNDOTANGO_TEST_REDIS").expect(
        "MUNDOTANGO_TEST_REDIS is not set: run the tests by `cargo xtask test`, which starts the servers",
    )
}

pub(crate) fn link(prefix: &str) -> RedisLink {
    RedisLink::open(&RedisOptions { url: url(), prefix: prefix.to_owned(), ..RedisOptions::default() })
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
    let options = RedisOptions { url: "redis://127.0.0.1:1".to_owned(), ..RedisOptions::default() };
    let hot = RedisHotState::new(RedisLink::open(&options).unwrap(), "node");
    for _ in 0..5 {
        assert!(matches!(hot.presence("a").await, Err(StoreError::Unavailable(_))));
    }
    let start = Instant::now();
    assert!(matches!(hot.presence("a").await, Err(StoreError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_millis(20), "the breaker is open");
}

/// Redis may be back with a snapshot: where the store has the history too, no offset is given again.
#[tokio::test]
async fn a_redis_that_was_started_anew_does_not_go_on() {
    let prefix = new_id();
    let hot = RedisHotState::new(link(&prefix), "node");
    let hot_alone = HistoryLimits::new(10, Duration::from_mins(1), Duration::from_mins(1));
    let limits = HistoryLimits { begin: Begin::Nowhere, ..hot_alone.archived(Duration::from_hours(1)) };
    let append = async |begin| {
        let limits = HistoryLimits { begin, ..limits };
        hot.append("a", Append::new(Publication::default(), Some(limits))).await
    };
    assert!(matches!(append(Begin::Nowhere).await, Err(StoreError::NotBegun)));
    let first = append(Begin::After(7)).await.unwrap().into_position();
    let second = append(Begin::Nowhere).await.unwrap().into_position();
    assert_eq!((first.offset, second.offset, &second.epoch), (8, 9, &first.epoch));

    // As it is when another run of the server wrote it.
    let mut redis = redis::Client::open(url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let meta = format!("{prefix}:history-meta:{{a}}");
    redis::cmd("HSET").arg(&[&meta, "run", "another"]).exec_async(&mut redis).await.unwrap();
    assert!(matches!(append(Begin::Nowhere).await, Err(StoreError::NotBegun)));
    let read = hot.history("a", HistoryQuery::default(), limits).await;
    assert!(matches!(read, Err(StoreError::NotBegun)));
    let page = hot.history("a", HistoryQuery::default(), hot_alone).await.unwrap();
    assert_eq!(page.position.epoch, first.epoch, "hot histories are clients' to notice by their offsets");
    let third = append(Begin::After(1_000)).await.unwrap().into_position();
    assert!(third.offset == 1_001 && third.epoch != first.epoch);
}

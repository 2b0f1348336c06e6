//! Hot state in a real Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mundotango_protocol::new_id;
use mundotango_storage::hot::{HotState as _, RedisHotState};
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

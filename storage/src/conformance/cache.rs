//! What the port to the cache promises.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::new_id;
use crate::cache::{CacheStore, SETTLE};

const TTL: Duration = Duration::from_mins(1);

/// Runs the suite.
pub async fn cache(cache: Arc<dyn CacheStore>) {
    let (a, b) = (format!("a:{}", new_id()), format!("b:{}", new_id()));
    assert_eq!(cache.get(&a).await.unwrap(), None);
    for size in [0, 3, 1 << 20] {
        let value = Bytes::from(vec![7; size]);
        cache.set(&a, value.clone(), TTL).await.unwrap();
        assert_eq!(cache.get(&a).await.unwrap(), Some(value));
    }
    cache.set(&b, Bytes::from_static(b"b"), TTL).await.unwrap();
    cache.remove(&[a.clone(), new_id()]).await.unwrap();
    assert_eq!(cache.get(&a).await.unwrap(), None);
    assert_eq!(cache.get(&b).await.unwrap().unwrap(), "b");

    // One who read the old value brings it late.
    cache.set(&a, Bytes::from_static(b"old"), TTL).await.unwrap();
    assert_eq!(cache.get(&a).await.unwrap(), None);
    tokio::time::sleep(SETTLE + Duration::from_millis(200)).await;
    cache.set(&a, Bytes::from_static(b"new"), Duration::from_millis(300)).await.unwrap();
    assert_eq!(cache.get(&a).await.unwrap().unwrap(), "new");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(cache.get(&a).await.unwrap(), None, "its time is over");
}

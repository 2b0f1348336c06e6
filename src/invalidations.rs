//! What nodes tell each other of the cache: what has changed is taken out of every node's near tier.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{Engine, TopicHandler};
use mundotango_storage::cache::{Cache, Invalidations};

/// On what nodes tell each other.
const TOPIC: &str = "cache";

struct Telling(Weak<Engine>);

struct Hearing(Arc<Cache>);

#[async_trait]
impl Invalidations for Telling {
    async fn tell(&self, keys: &[String]) {
        if let (Some(engine), Ok(data)) = (self.0.upgrade(), serde_json::to_vec(keys)) {
            engine.tell_topic(TOPIC, data.into()).await;
        }
    }

    fn are_heard(&self) -> bool {
        self.0.upgrade().is_some_and(|engine| engine.bus_connected() != Some(false))
    }
}

#[async_trait]
impl TopicHandler for Hearing {
    async fn handle(&self, data: Bytes) -> Result<Bytes, String> {
        let keys: Vec<String> = serde_json::from_slice(&data).map_err(|error| error.to_string())?;
        self.0.forget(&keys).await;
        Ok(Bytes::new())
    }
}

/// Connects a node's cache with those of the others.
pub(crate) fn connect(cache: &Arc<Cache>, engine: &Arc<Engine>) {
    cache.set_invalidations(Arc::new(Telling(Arc::downgrade(engine))));
    engine.set_topic(TOPIC, Arc::new(Hearing(Arc::clone(cache))));
}

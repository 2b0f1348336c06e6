//! The shared tier in Redis.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::Script;

use super::{CacheStore, SETTLE};
use crate::StoreError;
use crate::redis_link::RedisLink;

/// Keeps a value, unless the key was removed a moment ago.
const SET: &str =
    "if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end";
/// Keys that one step of a search looks at.
const SCANNED_AT_ONCE: usize = 500;

/// A cache that all nodes share.
pub struct RedisCache {
    link: RedisLink,
    set: Script,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Escapes what is special in Redis' patterns.
fn literally(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
        pattern
    })
}

impl RedisCache {
    /// A cache in a Redis.
    pub fn new(link: RedisLink) -> Self {
        Self { link, set: Script::new(SET) }
    }

    fn kept(&self, key: &str) -> String {
        self.link.key("cache", key)
    }

    fn removed(&self, key: &str) -> String {
        self.link.key("cache-removed", key)
    }
}

#[async_trait]
impl CacheStore for RedisCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> = self.link.command(redis::cmd("GET").arg(self.kept(key))).await?;
        Ok(value.map(Bytes::from))
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let mut call = self.set.prepare_invoke();
        call.key(self.kept(key)).key(self.removed(key)).arg(&value[..]).arg(millis(ttl));
        self.link.script(&call).await
    }

    async fn remove(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            // The mark first: who brings the old value after it finds it.
            let mut pipeline = redis::pipe();
            pipeline.cmd("SET").arg(self.removed(key)).arg("").arg("PX").arg(millis(SETTLE)).ignore();
            pipeline.cmd("UNLINK").arg(self.kept(key)).ignore();
            self.link.pipeline::<()>(&pipeline).await?;
        }
        Ok(())
    }

    async fn remove_below(&self, beginning: &str) -> Result<(), StoreError> {
        // The key without the brace that ends it.
        let mut pattern = literally(self.kept(beginning).trim_end_matches('}'));
        pattern.push('*');
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCANNED_AT_ONCE);
            let (next, keys): (u64, Vec<String>) = self.link.command(&scan).await?;
            if !keys.is_empty() {
                self.link.command::<()>(redis::cmd("UNLINK").arg(&keys)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

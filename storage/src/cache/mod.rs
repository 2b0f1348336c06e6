//! The cache: what is read often, kept near, and taken away when it changes.
//!
//! Two tiers. The near one is in the process, small, and keeps things for [`NEAR_TTL`] only, which bounds how stale a read
//! can be if the word of a change is lost. The shared one is behind [`CacheStore`]; without it a read is slower, never
//! wrong and never an error.

mod memory;
mod redis;
mod tiers;

use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use memory::MemoryCache;
pub use redis::RedisCache;
pub use tiers::{Cache, Invalidations, NEAR_TTL};

use crate::StoreError;
use crate::events::Event;
use crate::posts::Post;

/// How long after a removal nothing is taken in under its key: a reader that had read the old value may bring it late.
/// Longer than a read of the store takes.
pub const SETTLE: Duration = Duration::from_secs(2);

/// The port to the shared tier.
#[async_trait]
pub trait CacheStore: Send + Sync {
    /// What is kept under a key.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Keeps something for a time, unless the key was removed within [`SETTLE`].
    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError>;

    /// Removes keys.
    async fn remove(&self, keys: &[String]) -> Result<(), StoreError>;

    /// Removes the keys that begin with a text.
    async fn remove_below(&self, beginning: &str) -> Result<(), StoreError>;
}

/// A family of keys: what is kept under them, and for how long.
#[derive(Debug)]
pub struct Family<T> {
    /// What its keys begin with, and the metric's label.
    pub name: &'static str,
    /// How long something is kept.
    pub ttl: Duration,
    kept: PhantomData<fn() -> T>,
}

impl<T> Family<T> {
    const fn new(name: &'static str, ttl: Duration) -> Self {
        Self { name, ttl, kept: PhantomData }
    }

    /// The key of one thing.
    pub fn key(&self, id: &str) -> String {
        format!("{}:{id}", self.name)
    }
}

/// `event:{id}`: taken away by every answer to the event.
pub const EVENT: Family<Event> = Family::new("event", Duration::from_mins(10));
/// `post:{id}`: taken away by every reaction to the post.
pub const POST: Family<Post> = Family::new("post", Duration::from_mins(10));

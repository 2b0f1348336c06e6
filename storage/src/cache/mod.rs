//! The cache: what is read often, kept near, and taken away when it changes.
//!
//! Two tiers. The near one is in the process, small, and keeps things for [`NEAR_TTL`] only, which bounds how stale a read
//! can be if the word of a change is lost. The shared one is behind [`CacheStore`]; without it a read is slower, never
//! wrong and never an error.

mod memory;
mod pending_removals;
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

/// How long after a removal no value is kept under its key, as a reader may bring the old value late. A read of the store
/// that takes longer may still bring an old value, which then stays for the ttl.
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
}

/// A family of keys: what is kept under them, and for how long.
#[derive(Debug)]
pub struct Family<T> {
    /// What its keys begin with.
    pub name: &'static str,
    /// How long something is kept.
    pub ttl: Duration,
    kept: PhantomData<fn() -> T>,
}

impl<T> Family<T> {
    /// A family by its name and how long its values are kept.
    pub const fn new(name: &'static str, ttl: Duration) -> Self {
        Self { name, ttl, kept: PhantomData }
    }

    /// The key of one thing.
    pub fn key(&self, id: &str) -> String {
        format!("{}:{id}", self.name)
    }
}

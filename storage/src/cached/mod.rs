//! Stores whose reads go through the cache, and whose writes take away what they change: callers cannot forget to.

mod accounts;
mod events;
mod posts;

use std::sync::Arc;

use crate::Stores;
use crate::cache::Cache;

/// A store of an aggregate behind the cache.
struct Cached<S: ?Sized> {
    store: Arc<S>,
    cache: Arc<Cache>,
}

/// The stores behind a cache. Credentials and what decides stay with the stores themselves.
pub fn cached(stores: Stores, cache: &Arc<Cache>) -> Stores {
    Stores {
        accounts: Arc::new(Cached { store: stores.accounts, cache: Arc::clone(cache) }),
        posts: Arc::new(Cached { store: stores.posts, cache: Arc::clone(cache) }),
        events: Arc::new(Cached { store: stores.events, cache: Arc::clone(cache) }),
        ..stores
    }
}

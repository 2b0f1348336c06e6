//! All kinds of partitions and indexes that the application keeps, a line each.

use mundotango_gateway::{IDEMPOTENCY_KEYS, revocation_store};
use mundotango_storage::db::Schema;

use crate::community::{accounts, bookmarks, events, posts};
use crate::life_ceo;

/// The schema with which every store is opened.
pub fn schema() -> Schema {
    Schema {
        kinds: vec![
            revocation_store::REVOCATIONS.spec(),
            IDEMPOTENCY_KEYS.spec(),
            accounts::store::USERS.spec(),
            accounts::names::NAMES.spec(),
            posts::store::POSTS.spec(),
            bookmarks::store::BOOKMARKS.spec(),
            events::store::EVENTS.spec(),
            life_ceo::store::CONVERSATIONS.spec(),
        ],
        indexes: vec![posts::store::FEEDS.spec(), events::listing::EVENTS_BY_START.spec()],
    }
}

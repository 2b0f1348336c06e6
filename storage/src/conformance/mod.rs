//! One suite a port: what every adapter has to do, the same cases for each.
//!
//! Every suite works on ids of its own, so that suites can share a server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod cache;
mod conversations;
mod events;
mod history;
mod hot_state;
mod posts;
mod revocations;

use std::collections::BTreeSet;
use std::fmt::Debug;

pub use accounts::accounts;
pub use cache::cache;
pub use conversations::conversations;
pub use events::events;
pub use history::{archived_hot_state, history};
pub use hot_state::{hot_state, shared_hot_state};
use mundotango_protocol::new_id;
pub use posts::posts;
pub use revocations::revocations;

use crate::{Page, PageRequest, PageStart, StoreError};

/// Walks a list page by page and returns the ids in order; every page but the last is full, and no id comes twice.
async fn walk<T: Debug>(
    limit: usize,
    mut read: impl AsyncFnMut(PageRequest) -> Result<Page<T>, StoreError>,
    id: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut start = PageStart::First;
    loop {
        let page = read(PageRequest { start, limit }).await.unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.iter().map(&id));
        match page.next {
            Some(next) => {
                assert_eq!(page.items.len(), limit, "a page before the last is full");
                start = PageStart::After(next);
            }
            None => break,
        }
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an item came twice");
    ids
}

fn first(limit: usize) -> PageRequest {
    PageRequest { start: PageStart::First, limit }
}

//! What bookmarks promise.

use mundotango::community::bookmarks::store::BookmarkStore;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError};

use super::walk;

/// Runs the suite.
pub async fn bookmarks(nodes: &[Db; 2]) {
    let [store, other] = nodes.clone().map(BookmarkStore::new);
    let user = new_id();
    let posts: Vec<_> = (0..7).map(|_| new_id()).collect();
    for (number, post) in posts.iter().enumerate() {
        let store = if number % 2 == 0 { &store } else { &other };
        assert!(store.set(&user, post, true, None::<()>).await.unwrap());
        assert!(!store.set(&user, post, true, None::<()>).await.unwrap(), "it is set already");
    }
    assert!(store.set(&user, &posts[3], false, None::<()>).await.unwrap());
    assert!(!other.set(&user, &posts[3], false, None::<()>).await.unwrap());
    assert!(other.set(&user, &posts[0], false, None::<()>).await.unwrap());
    assert!(store.set(&user, &posts[0], true, None::<()>).await.unwrap(), "it is the newest now");
    let expected: Vec<_> = [0, 6, 5, 4, 2, 1].map(|number| posts[number].clone()).into();
    for limit in [1, 4, 100] {
        let read = async |page: PageRequest| store.posts(&user, page).await;
        assert_eq!(walk(limit, read, String::clone).await, expected, "in pages of {limit}");
    }
    let foreign = PageRequest { start: PageStart::After("x".to_owned()), limit: 1 };
    assert!(matches!(store.posts(&user, foreign).await, Err(StoreError::BadCursor)));
}

//! What posts promise.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::posts::store::{Post, PostStore, Visibility};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};

use super::{NO_EFFECTS, first, walk};

fn post(author_id: &str, visibility: Visibility) -> Post {
    Post {
        id: new_id(),
        author_id: author_id.to_owned(),
        content: "¡Bailemos!".to_owned(),
        visibility,
        created_at: now(),
        reactions: BTreeMap::new(),
    }
}

/// Runs the suite.
pub async fn posts(nodes: &[Db; 2]) {
    let [store, other] = nodes.clone().map(PostStore::new);
    finds_what_it_created(&store).await;
    feeds_hold_public_and_own_posts_newest_first(&store).await;
    feeds_walk_over_days(&store).await;
    reactions_replace_each_other(&store).await;
    counts_never_drift(&[store, other]).await;
}

async fn finds_what_it_created(store: &PostStore) {
    let post = post(&new_id(), Visibility::Private);
    store.create(&post, &[]).await.unwrap();
    assert_eq!(store.post(&post.id).await.unwrap(), Some(post));
    assert_eq!(store.post(&new_id()).await.unwrap(), None);
}

async fn feeds_hold_public_and_own_posts_newest_first(store: &PostStore) {
    let (me, other) = (new_id(), new_id());
    let mut mine = Vec::new();
    let mut of_both = Vec::new();
    for number in 0..30 {
        let visibility = [Visibility::Public, Visibility::Friends, Visibility::Private][number % 3];
        let author = if number % 2 == 0 { &me } else { &other };
        let post = post(author, visibility);
        store.create(&post, &[]).await.unwrap();
        of_both.push(post.id.clone());
        if author == &me || visibility == Visibility::Public {
            mine.push(post.id);
        }
    }
    mine.reverse();
    let start = of_both[0].clone();
    for limit in [1, 7, 100] {
        let read = async |page: PageRequest| store.feed(&me, page).await;
        let mut ids = walk(limit, read, |post: &Post| post.id.clone()).await;
        // Other suites may have posted before.
        ids.retain(|id| *id >= start);
        assert_eq!(ids, mine, "in pages of {limit}");
    }
    let second = PageRequest { start: PageStart::Skip(5), limit: 5 };
    let ids: Vec<_> = store.feed(&me, second).await.unwrap().items.into_iter().map(|post| post.id).collect();
    assert_eq!(ids, mine[5..10]);
    let strangers = store.feed(&new_id(), first(1)).await.unwrap();
    assert_eq!(strangers.items[0].visibility, Visibility::Public);
}

async fn reactions_replace_each_other(store: &PostStore) {
    let post = post(&new_id(), Visibility::Public);
    store.create(&post, &[]).await.unwrap();
    let (ana, beto) = (new_id(), new_id());
    let react = async |user: &str, reaction| {
        store.react(&post.id, user, reaction, |_| NO_EFFECTS).await.unwrap().unwrap()
    };
    let reacted = react(&ana, Some(ReactionType::Heart)).await;
    assert_eq!((reacted.previous, reacted.post.reactions[&ReactionType::Heart]), (None, 1));
    assert_eq!(react(&beto, Some(ReactionType::Heart)).await.post.reactions[&ReactionType::Heart], 2);
    let again = react(&beto, Some(ReactionType::Heart)).await;
    assert_eq!(again.previous, Some(ReactionType::Heart));
    assert_eq!(again.post.reactions[&ReactionType::Heart], 2, "the same again changes nothing");
    let replaced = react(&beto, Some(ReactionType::Laugh)).await;
    let expected = BTreeMap::from([(ReactionType::Heart, 1), (ReactionType::Laugh, 1)]);
    assert_eq!((replaced.previous, replaced.post.reactions), (Some(ReactionType::Heart), expected));
    let taken_back = react(&beto, None).await;
    assert_eq!(taken_back.post.reactions, BTreeMap::from([(ReactionType::Heart, 1)]));
    assert_eq!(react(&beto, None).await.previous, None);

    let own = store.reactions_of(&ana, &[post.id.clone(), new_id()]).await.unwrap();
    assert_eq!(own, BTreeMap::from([(post.id.clone(), ReactionType::Heart)]));
    assert!(store.reactions_of(&beto, std::slice::from_ref(&post.id)).await.unwrap().is_empty());
    assert_eq!(store.react(&new_id(), &ana, Some(ReactionType::Like), |_| NO_EFFECTS).await.unwrap(), None);
}

async fn counts_never_drift(nodes: &[PostStore; 2]) {
    let store = &nodes[0];
    let post = post(&new_id(), Visibility::Public);
    store.create(&post, &[]).await.unwrap();
    let kinds = [ReactionType::Heart, ReactionType::Like, ReactionType::Laugh];
    let racing: Vec<_> = (0..64)
        .map(|user| {
            let (store, post_id) = (nodes[user % 2].clone(), post.id.clone());
            tokio::spawn(async move {
                let user_id = format!("{post_id}-{user}");
                for kind in kinds {
                    store.react(&post_id, &user_id, Some(kind), |_| NO_EFFECTS).await.unwrap();
                }
                if user % 2 == 0 {
                    store.react(&post_id, &user_id, None, |_| NO_EFFECTS).await.unwrap();
                }
            })
        })
        .collect();
    for racer in racing {
        racer.await.unwrap();
    }
    let post = store.post(&post.id).await.unwrap().unwrap();
    assert_eq!(post.reactions, BTreeMap::from([(ReactionType::Laugh, 32)]));
}

/// The id of a post that was made so many days ago.
fn id_of(days_ago: i64) -> String {
    let millis = (Timestamp::now() - SignedDuration::from_hours(24 * days_ago)).as_millisecond();
    let (hex, id) = (format!("{millis:012x}"), new_id());
    format!("{}-{}{}", &hex[..8], &hex[8..], &id[13..])
}

async fn feeds_walk_over_days(store: &PostStore) {
    let author = new_id();
    let mut ids = Vec::new();
    for days_ago in [0, 1, 1, 1, 7, 400, 400, 2000] {
        let post = Post { id: id_of(days_ago), ..post(&author, Visibility::Friends) };
        store.create(&post, &[]).await.unwrap();
        ids.push(post.id);
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    for limit in [1, 3, 4, 500] {
        let (mut start, mut read) = (PageStart::First, Vec::new());
        loop {
            let page = store.feed(&author, PageRequest { start, limit }).await.unwrap();
            read.extend(page.items.into_iter().map(|post| post.id));
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        // The other suites' posts are public.
        read.retain(|id| ids.contains(id));
        assert_eq!(read, ids, "in pages of {limit}");
    }
    let page = PageRequest { start: PageStart::After("x".to_owned()), limit: 1 };
    assert!(matches!(store.feed(&author, page).await, Err(StoreError::BadCursor)));
}

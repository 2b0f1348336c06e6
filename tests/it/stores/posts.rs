//! What posts promise.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::posts::store::{Post, PostStore, Visibility};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};

use super::{first, walk};

fn post(author_id: &str, visibility: Visibility) -> Post {
    Post {
        id: new_id(),
        author_id: author_id.to_owned(),
        content: "¡Bailemos!".to_owned(),
        visibility,
        created_at: now(),
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
        let read = async |page: PageRequest| store.feed(&me, &[], page).await;
        let mut ids = walk(limit, read, |post: &Post| post.id.clone()).await;
        // Other suites may have posted before.
        ids.retain(|id| *id >= start);
        assert_eq!(ids, mine, "in pages of {limit}");
    }
    let second = PageRequest { start: PageStart::Skip(5), limit: 5 };
    let ids: Vec<_> =
        store.feed(&me, &[], second).await.unwrap().items.into_iter().map(|post| post.id).collect();
    assert_eq!(ids, mine[5..10]);
    let strangers = store.feed(&new_id(), &[], first(1)).await.unwrap();
    assert_eq!(strangers.items[0].visibility, Visibility::Public);
}

async fn counts_of(store: &PostStore, post: &Post) -> BTreeMap<ReactionType, u64> {
    store.reactions(std::slice::from_ref(&post.id)).await.unwrap().remove(0)
}

async fn reactions_replace_each_other(store: &PostStore) {
    let post = post(&new_id(), Visibility::Public);
    store.create(&post, &[]).await.unwrap();
    let (ana, beto) = (new_id(), new_id());
    let react = async |user: &str, reaction| {
        let changed = store.react(&post.id, user, reaction).await.unwrap().unwrap();
        (changed, counts_of(store, &post).await)
    };
    let hearts = |count| BTreeMap::from([(ReactionType::Heart, count)]);
    assert_eq!(counts_of(store, &post).await, BTreeMap::new());
    assert_eq!(react(&ana, Some(ReactionType::Heart)).await, (true, hearts(1)));
    assert_eq!(react(&beto, Some(ReactionType::Heart)).await, (true, hearts(2)));
    assert_eq!(react(&beto, Some(ReactionType::Heart)).await, (false, hearts(2)), "the same again");
    let both = BTreeMap::from([(ReactionType::Heart, 1), (ReactionType::Laugh, 1)]);
    assert_eq!(react(&beto, Some(ReactionType::Laugh)).await, (true, both));
    assert_eq!(react(&beto, None).await, (true, hearts(1)));
    assert_eq!(react(&beto, None).await, (false, hearts(1)));

    let own = store.reactions_of(&ana, &[post.id.clone(), new_id()]).await.unwrap();
    assert_eq!(own, BTreeMap::from([(post.id.clone(), ReactionType::Heart)]));
    assert!(store.reactions_of(&beto, std::slice::from_ref(&post.id)).await.unwrap().is_empty());
}

async fn counts_never_drift(nodes: &[PostStore; 2]) {
    let post = post(&new_id(), Visibility::Public);
    nodes[0].create(&post, &[]).await.unwrap();
    let kinds = [ReactionType::Heart, ReactionType::Like, ReactionType::Laugh];
    let racing: Vec<_> = (0..200)
        .map(|user| {
            let (nodes, post_id) = (nodes.clone(), post.id.clone());
            tokio::spawn(async move {
                let user_id = format!("{post_id}-{user}");
                // By way of both nodes, one after the other.
                for (turn, kind) in kinds.into_iter().enumerate() {
                    nodes[(user + turn) % 2].react(&post_id, &user_id, Some(kind)).await.unwrap();
                }
                if user % 2 == 0 {
                    nodes[user / 2 % 2].react(&post_id, &user_id, None).await.unwrap();
                }
            })
        })
        .collect();
    for racer in racing {
        racer.await.unwrap();
    }
    let expected = BTreeMap::from([(ReactionType::Laugh, 100)]);
    for node in nodes {
        assert_eq!(node.reactions_now(&post.id).await.unwrap().0, expected);
        assert_eq!(counts_of(node, &post).await, expected, "what was read anew is kept");
    }
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
            let page = store.feed(&author, &[], PageRequest { start, limit }).await.unwrap();
            read.extend(page.items.into_iter().map(|post| post.id));
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        // The other suites' posts are public.
        read.retain(|id| ids.contains(id));
        assert_eq!(read, ids, "in pages of {limit}");
    }
    let page = PageRequest { start: PageStart::After("x".to_owned()), limit: 1 };
    assert!(matches!(store.feed(&author, &[], page).await, Err(StoreError::BadCursor)));
}

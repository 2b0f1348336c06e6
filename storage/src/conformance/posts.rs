//! What the port to posts promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{first, new_id, walk};
use crate::posts::{Post, PostStore, ReactionType, Visibility};
use crate::{PageRequest, PageStart, now};

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
pub async fn posts(store: Arc<dyn PostStore>) {
    finds_what_it_created(&*store).await;
    feeds_hold_public_and_own_posts_newest_first(&*store).await;
    reactions_replace_each_other(&*store).await;
    counts_never_drift(&store).await;
}

async fn finds_what_it_created(store: &dyn PostStore) {
    let post = post(&new_id(), Visibility::Private);
    store.create_post(post.clone()).await.unwrap();
    assert_eq!(store.post(&post.id).await.unwrap(), Some(post));
    assert_eq!(store.post(&new_id()).await.unwrap(), None);
}

async fn feeds_hold_public_and_own_posts_newest_first(store: &dyn PostStore) {
    let (me, other) = (new_id(), new_id());
    let mut mine = Vec::new();
    let mut of_both = Vec::new();
    for number in 0..30 {
        let visibility = [Visibility::Public, Visibility::Friends, Visibility::Private][number % 3];
        let author = if number % 2 == 0 { &me } else { &other };
        let post = post(author, visibility);
        store.create_post(post.clone()).await.unwrap();
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

async fn reactions_replace_each_other(store: &dyn PostStore) {
    let post = post(&new_id(), Visibility::Public);
    store.create_post(post.clone()).await.unwrap();
    let (ana, beto) = (new_id(), new_id());
    let react = async |user: &str, reaction| store.react(&post.id, user, reaction).await.unwrap().unwrap();
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
    assert_eq!(store.react(&new_id(), &ana, Some(ReactionType::Like)).await.unwrap(), None);
}

async fn counts_never_drift(store: &Arc<dyn PostStore>) {
    let post = post(&new_id(), Visibility::Public);
    store.create_post(post.clone()).await.unwrap();
    let kinds = [ReactionType::Heart, ReactionType::Like, ReactionType::Laugh];
    let racing: Vec<_> = (0..64)
        .map(|user| {
            let (store, post_id) = (Arc::clone(store), post.id.clone());
            tokio::spawn(async move {
                let user_id = format!("{post_id}-{user}");
                for kind in kinds {
                    store.react(&post_id, &user_id, Some(kind)).await.unwrap();
                }
                if user % 2 == 0 {
                    store.react(&post_id, &user_id, None).await.unwrap();
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

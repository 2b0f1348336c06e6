//! What comments promise.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use mundotango::community::posts::comments::kind::Comment;
use mundotango::community::posts::comments::lists::CommentOrder;
use mundotango::community::posts::comments::rules::CommentId;
use mundotango::community::posts::comments::store::{CommentStore, NewComment};
use mundotango::community::posts::rules::ReactionType;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, now};

use super::{NO_EFFECTS, first, walk};

fn new(author_id: &str, content: &str) -> NewComment {
    NewComment {
        request: new_id(),
        author_id: author_id.to_owned(),
        content: content.to_owned(),
        mentions: BTreeMap::from([("ana".to_owned(), "id of ana".to_owned())]),
        at: now(),
    }
}

async fn add(store: &CommentStore, post: &str, content: &str, below: Option<&Comment>) -> Comment {
    store.add(post, new("ana", content), below, |_| NO_EFFECTS).await.unwrap().unwrap()
}

/// Runs the suite.
pub async fn comments(nodes: &[Db; 2]) {
    let stores = nodes.clone().map(CommentStore::new);
    answers_stand_below_what_they_answer(&stores[0]).await;
    a_comment_that_is_answered_leaves_its_place(&stores[0]).await;
    reactions_are_counted_and_go_with_the_comment(&stores[0]).await;
    a_crowd_writes_one_whole_list(&stores).await;
    a_long_list_goes_over_parts(&stores[0]).await;
}

async fn ids(
    store: &CommentStore,
    post: &str,
    parent: u32,
    order: CommentOrder,
    limit: usize,
) -> Vec<String> {
    let read = async |page: PageRequest| store.list(post, parent, order, page, |_| true).await;
    walk(limit, read, |comment: &Comment| comment.id.to_string()).await
}

async fn answers_stand_below_what_they_answer(store: &CommentStore) {
    let post = new_id();
    assert_eq!(store.count(&post).await.unwrap(), (0, 0));
    let one = add(store, &post, "one", None).await;
    let two = add(store, &post, "two", None).await;
    let below = add(store, &post, "below one", Some(&one)).await;
    let third = add(store, &post, "below that", Some(&below)).await;
    let beside = add(store, &post, "answers the third", Some(&third)).await;
    assert_eq!((third.depth, beside.depth, beside.id.parent), (3, 3, below.id.number));
    assert_eq!((third.above(), one.above()), (Some(below.id.clone()), None));
    let of = |comments: &[&Comment]| comments.iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
    for limit in [1, 2, 100] {
        let oldest = ids(store, &post, 0, CommentOrder::Oldest, limit).await;
        let newest = ids(store, &post, 0, CommentOrder::Newest, limit).await;
        assert_eq!((oldest, newest), (of(&[&one, &two]), of(&[&two, &one])), "in pages of {limit}");
    }
    assert_eq!(ids(store, &post, one.id.number, CommentOrder::Oldest, 1).await, of(&[&below]));
    assert_eq!(ids(store, &post, below.id.number, CommentOrder::Newest, 1).await, of(&[&beside, &third]));
    assert_eq!(store.count(&post).await.unwrap().0, 5);
    assert_eq!(store.counts(&[post.clone(), new_id()]).await.unwrap(), [5, 0]);

    let again = new("ana", "by a request that is sent again");
    let made = store.add(&post, again.clone(), None, |_| NO_EFFECTS).await.unwrap();
    assert_eq!(store.add(&post, again, None, |_| NO_EFFECTS).await.unwrap(), made);
    assert_eq!(store.count(&post).await.unwrap().0, 6);

    let edit =
        |content: &str| store.edit(&one.id, content.to_owned(), BTreeMap::new(), now(), |_| NO_EFFECTS);
    let edited = edit("one more").await.unwrap().unwrap();
    assert_eq!((edited.revision, edited.content.as_str(), edited.is_answered), (2, "one more", true));
    assert_eq!(store.comment(&one.id).await.unwrap(), Some(edited));
}

async fn a_comment_that_is_answered_leaves_its_place(store: &CommentStore) {
    let post = new_id();
    let (one, two) = (add(store, &post, "one", None).await, add(store, &post, "two", None).await);
    let below = add(store, &post, "below one", Some(&one)).await;
    store.react(&below.id, "ben", Some(ReactionType::Like)).await.unwrap().unwrap();
    for (comment, has_place) in [(&one, true), (&two, false)] {
        let told = move |place| {
            assert_eq!(place, has_place);
            NO_EFFECTS
        };
        assert!(store.remove(&comment.id, told).await.unwrap());
        assert!(!store.remove(&comment.id, |_| NO_EFFECTS).await.unwrap(), "once");
    }
    let place = store.comment(&one.id).await.unwrap().unwrap();
    assert!(place.is_removed && place.author_id.is_none() && place.content.is_empty());
    assert!(place.mentions.is_empty());
    assert_eq!(store.comment(&two.id).await.unwrap(), None);
    assert_eq!(store.count(&post).await.unwrap().0, 1);
    assert_eq!(ids(store, &post, 0, CommentOrder::Oldest, 10).await, [one.id.to_string()]);
    assert_eq!(ids(store, &post, one.id.number, CommentOrder::Oldest, 10).await, [below.id.to_string()]);
    let gone = store.add(&post, new("ben", "late"), Some(&two), |_| NO_EFFECTS).await.unwrap();
    assert_eq!(gone, None, "nobody answers what is gone");
    let edit = store.edit(&one.id, "x".to_owned(), BTreeMap::new(), now(), |_| NO_EFFECTS);
    assert_eq!(edit.await.unwrap(), None);
    let three = add(store, &post, "three", None).await;
    assert_eq!(three.id.number, 4, "a number is given once");
}

async fn reactions_are_counted_and_go_with_the_comment(store: &CommentStore) {
    let post = new_id();
    let (one, two) = (add(store, &post, "one", None).await, add(store, &post, "two", None).await);
    let ids = [one.id.to_string(), two.id.to_string()];
    for (user, reaction) in
        [("ana", ReactionType::Like), ("ben", ReactionType::Heart), ("ana", ReactionType::Heart)]
    {
        store.react(&one.id, user, Some(reaction)).await.unwrap().unwrap();
    }
    let seen = store.reactions(&ids, "ana").await.unwrap();
    assert_eq!(seen[0].0.reactions, BTreeMap::from([(ReactionType::Heart, 2)]));
    assert_eq!((seen[0].1, seen[1].1), (Some(ReactionType::Heart), None));
    store.react(&one.id, "ana", None).await.unwrap().unwrap();
    store.react(&two.id, "ben", Some(ReactionType::Laugh)).await.unwrap().unwrap();
    assert!(store.remove(&one.id, |_| NO_EFFECTS).await.unwrap());
    assert_eq!(store.react(&one.id, "ben", Some(ReactionType::Like)).await.unwrap(), None);

    store.remove_all(&post).await.unwrap();
    store.remove_all(&post).await.unwrap();
    assert_eq!(store.react(&two.id, "ben", Some(ReactionType::Like)).await.unwrap(), None);
    assert_eq!(store.add(&post, new("ana", "late"), None, |_| NO_EFFECTS).await.unwrap(), None);
    assert_eq!(store.count(&post).await.unwrap().0, 0);
    assert!(store.list(&post, 0, CommentOrder::Oldest, first(10), |_| true).await.unwrap().items.is_empty());
}

async fn a_crowd_writes_one_whole_list(stores: &[CommentStore; 2]) {
    let post = new_id();
    let writing = (0..20).map(|writer| {
        let (stores, post) = (stores.clone(), post.clone());
        tokio::spawn(async move {
            let mut own = Vec::new();
            for turn in 0..20 {
                let store = &stores[(writer + turn) % 2];
                own.push(add(store, &post, "in a crowd", None).await.id.number);
            }
            assert!(own.is_sorted());
            own
        })
    });
    let numbers = join_all(writing).await.into_iter().flat_map(Result::unwrap).collect::<BTreeSet<_>>();
    assert_eq!(numbers, (1..=400).collect(), "the numbers are whole");
    for store in stores {
        assert_eq!(store.count(&post).await.unwrap().0, 400);
        let listed = ids(store, &post, 0, CommentOrder::Oldest, 70).await;
        let of = |number| CommentId { post: post.clone(), number, parent: 0 }.to_string();
        assert_eq!(listed, (1..=400).map(of).collect::<Vec<_>>());
    }
    let removing = (1..=200).map(async |number| {
        let id = CommentId { post: post.clone(), number, parent: 0 };
        stores[number as usize % 2].remove(&id, |_| NO_EFFECTS).await.unwrap()
    });
    assert!(join_all(removing).await.into_iter().all(|removed| removed));
    assert_eq!(stores[0].counts(std::slice::from_ref(&post)).await.unwrap(), [200]);
}

async fn a_long_list_goes_over_parts(store: &CommentStore) {
    let post = new_id();
    let request = new("ana", "first");
    let first = store.add(&post, request.clone(), None, |_| NO_EFFECTS).await.unwrap().unwrap();
    let mut written = 1;
    while written < 1_050 {
        let adding = (0..100).map(|_| add(store, &post, "one of many", None));
        written += join_all(adding).await.len();
    }
    // The request of the first comment runs once more, though its part is full by now.
    let again = store.add(&post, request, None, |_| NO_EFFECTS).await.unwrap().unwrap();
    assert_eq!((&again.id, store.count(&post).await.unwrap().0), (&first.id, 1_101));
    let answer = add(store, &post, "an answer in the second part", Some(&first)).await;
    assert_eq!(answer.id.number, 1_102);
    assert_eq!(ids(store, &post, first.id.number, CommentOrder::Oldest, 10).await, [answer.id.to_string()]);
    assert_eq!(ids(store, &post, first.id.number, CommentOrder::Newest, 10).await, [answer.id.to_string()]);
    assert!(store.comment(&first.id).await.unwrap().unwrap().is_answered);
    let oldest = ids(store, &post, 0, CommentOrder::Oldest, 100).await;
    let mut newest = ids(store, &post, 0, CommentOrder::Newest, 90).await;
    newest.reverse();
    assert_eq!((oldest.len(), oldest == newest), (1_101, true));
    assert_eq!(store.count(&post).await.unwrap().0, 1_102);
    assert_eq!(store.counts(std::slice::from_ref(&post)).await.unwrap(), [1_102]);
    store.react(&first.id, "ana", Some(ReactionType::Like)).await.unwrap().unwrap();
    store.remove_all(&post).await.unwrap();
    assert_eq!(store.count(&post).await.unwrap().0, 0);
    assert_eq!(store.react(&first.id, "ben", Some(ReactionType::Like)).await.unwrap(), None);
    assert_eq!(store.add(&post, new("ana", "late"), None, |_| NO_EFFECTS).await.unwrap(), None);
}

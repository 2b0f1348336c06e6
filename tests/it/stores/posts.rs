//! What posts promise.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use mundotango::community::posts::editing::{EditError, PostEdit};
use mundotango::community::posts::polls::rules::{Poll, Vote};
use mundotango::community::posts::post::MOST_REVISIONS;
use mundotango::community::posts::previews::known::KnownPages;
use mundotango::community::posts::previews::preview::{Page, Preview};
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::posts::store::{Media, MediaKind, Post, PostStore, Text, Visibility};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use url::Url;

use super::{NO_EFFECTS, first, walk};

fn post(author_id: &str, visibility: Visibility) -> Post {
    Post::made(new_id(), author_id.to_owned(), Text::new("¡Bailemos!", now()), visibility)
}

/// Who reads what, without friends.
fn reads(user: &str) -> impl Fn(&Post) -> bool {
    move |post| post.visibility == Visibility::Public || post.author_id == user
}

/// Runs the suite.
pub async fn posts(nodes: &[Db; 2]) {
    let [store, other] = nodes.clone().map(PostStore::new);
    finds_what_it_created(&store).await;
    feeds_hold_public_and_own_posts_newest_first(&store).await;
    feeds_walk_over_days(&store).await;
    reactions_replace_each_other(&store).await;
    votes_are_counted_once_whoever_races(&[store.clone(), other.clone()]).await;
    edits_are_revisions_and_move_between_lists(&store).await;
    previews_come_to_the_revision_that_they_are_of(&store).await;
    an_address_is_known_to_all_nodes(nodes).await;
    what_is_deleted_is_in_no_list(&store).await;
    feeds_lose_and_repeat_nothing_while_others_write(&store).await;
    counts_never_drift(&[store, other]).await;
}

async fn finds_what_it_created(store: &PostStore) {
    let mut post = post(&new_id(), Visibility::Private);
    post.text.media = vec![Media {
        url: "https://example.com/a.jpg".to_owned(),
        kind: MediaKind::Image,
        alt: Some("Two dancers".to_owned()),
    }];
    post.text.mentions.insert("ana".to_owned(), new_id());
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
        let read = async |page: PageRequest| store.feed(&me, &[], page, reads(&me)).await;
        let mut ids = walk(limit, read, |post: &Post| post.id.clone()).await;
        // Other suites may have posted before.
        ids.retain(|id| *id >= start);
        assert_eq!(ids, mine, "in pages of {limit}");
    }
    let second = PageRequest { start: PageStart::Skip(5), limit: 5 };
    let ids: Vec<_> = store
        .feed(&me, &[], second, reads(&me))
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|post| post.id)
        .collect();
    assert_eq!(ids, mine[5..10]);
    let strangers = store.feed("x", &[], first(1), reads("x")).await.unwrap();
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

async fn votes_are_counted_once_whoever_races(nodes: &[PostStore; 2]) {
    let poll = Poll {
        options: ["Friday", "Saturday", "Sunday"].map(str::to_owned).to_vec(),
        multiple: true,
        until: now() + SignedDuration::from_hours(1),
    };
    let asking = Post { poll: Some(poll), ..post(&new_id(), Visibility::Public) };
    let id = asking.id.clone();
    nodes[0].create(&asking, &[]).await.unwrap();
    assert_eq!(nodes[1].post(&id).await.unwrap(), Some(asking));
    let racing = (0..60).map(|user| {
        let (nodes, post_id) = (nodes.clone(), id.clone());
        tokio::spawn(async move {
            let user_id = format!("{post_id}-{user}");
            for (turn, vote) in [[0, 1], [1, 2]].into_iter().enumerate() {
                nodes[(user + turn) % 2].vote(&post_id, &user_id, Some(vote.into())).await.unwrap();
            }
            if user % 3 == 0 {
                nodes[0].vote(&post_id, &user_id, None).await.unwrap();
            }
        })
    });
    for racer in racing.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    for node in nodes {
        let votes = node.votes_now(&id).await.unwrap();
        assert_eq!((votes.voters, votes.of_options(3)), (40, vec![0, 40, 40]));
    }
    let ids = [id.clone(), new_id()];
    let own = nodes[1].votes_of(&format!("{id}-1"), &ids).await.unwrap();
    assert_eq!(own, BTreeMap::from([(id, Vote::from([1, 2]))]));
    // What hangs on a post that is gone goes, and nobody votes there afterwards.
    let gone = post(&new_id(), Visibility::Public);
    assert_eq!(nodes[0].vote(&gone.id, "ana", Some([0].into())).await.unwrap(), Some(true));
    nodes[0].delete_votes(&gone.id).await.unwrap();
    assert_eq!(nodes[1].vote(&gone.id, "ben", Some([0].into())).await.unwrap(), None);
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
            let page = store.feed(&author, &[], PageRequest { start, limit }, reads(&author)).await.unwrap();
            read.extend(page.items.into_iter().map(|post| post.id));
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        // The other suites' posts are public.
        read.retain(|id| ids.contains(id));
        assert_eq!(read, ids, "in pages of {limit}");
    }
    let page = PageRequest { start: PageStart::After("x".to_owned()), limit: 1 };
    assert!(matches!(store.feed(&author, &[], page, reads(&author)).await, Err(StoreError::BadCursor)));
}

fn words(content: &str) -> PostEdit {
    PostEdit { words: Some((content.to_owned(), BTreeMap::new())), ..PostEdit::default() }
}

fn shown_to(visibility: Visibility) -> PostEdit {
    PostEdit { visibility: Some(visibility), ..PostEdit::default() }
}

async fn edit(store: &PostStore, id: &str, edit: PostEdit) -> Result<Option<Post>, EditError> {
    store.edit(id, edit, now(), |_| NO_EFFECTS).await
}

async fn edits_are_revisions_and_move_between_lists(store: &PostStore) {
    let (me, reader) = (new_id(), new_id());
    let tag = format!("t{}", new_id().replace('-', "_"));
    let made = Post::made(new_id(), me.clone(), Text::new(format!("#{tag}"), now()), Visibility::Private);
    store.create(&made, &[]).await.unwrap();
    let lists = async |user: &str| {
        let holds = |page: mundotango_storage::Page<Post>| page.items.iter().any(|post| post.id == made.id);
        [
            holds(store.feed(user, &[], first(100), reads(user)).await.unwrap()),
            holds(store.posts_of(&me, first(100), reads(user)).await.unwrap()),
            holds(store.posts_about(&tag, first(100), reads(user)).await.unwrap()),
        ]
    };
    assert_eq!((lists(&me).await, lists(&reader).await), ([true; 3], [false; 3]));
    let after = edit(store, &made.id, shown_to(Visibility::Public)).await.unwrap().unwrap();
    assert_eq!((after.revision, after.audience_version, after.shown_from), (1, 1, 1));
    assert_eq!((lists(&me).await, lists(&reader).await), ([true; 3], [true; 3]), "widened");
    edit(store, &made.id, shown_to(Visibility::Friends)).await.unwrap().unwrap();
    assert_eq!((lists(&me).await, lists(&reader).await), ([true; 3], [false; 3]), "narrowed");
    let after = edit(store, &made.id, PostEdit { visibility: Some(Visibility::Public), ..words("no tag") });
    let after = after.await.unwrap().unwrap();
    assert_eq!((after.revision, after.audience_version, after.shown_from), (2, 3, 2));
    assert_eq!((lists(&me).await, lists(&reader).await), ([true, true, false], [true, true, false]));
    assert_eq!(store.post(&made.id).await.unwrap(), Some(after.clone()));

    let stale = PostEdit { of_revision: Some(1), ..words("late") };
    assert!(matches!(edit(store, &made.id, stale).await, Err(EditError::Outdated)));
    for number in 3..=MOST_REVISIONS {
        edit(store, &made.id, words(&number.to_string())).await.unwrap();
    }
    assert!(matches!(edit(store, &made.id, words("one more")).await, Err(EditError::TooManyRevisions)));
    let revisions = store.revisions(&made.id).await.unwrap();
    let numbers: Vec<_> = revisions.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=MOST_REVISIONS).rev().collect::<Vec<_>>());
    assert_eq!((revisions[0].1.content.as_str(), &revisions[49].1), ("50", &made.text));
    assert_eq!(edit(store, &new_id(), words("x")).await.unwrap(), None);
}

fn page() -> Page {
    Page {
        title: "Milongas".to_owned(),
        description: Some("Where to dance".to_owned()),
        site_name: Some("Tango".to_owned()),
        image_url: Some("https://example.com/a.png".to_owned()),
    }
}

async fn previews_come_to_the_revision_that_they_are_of(store: &PostStore) {
    let link = "https://example.com/milongas";
    let of = |url: &str| Preview { url: url.to_owned(), page: page() };
    let set = async |id: &str, revision: u32, url: &str| {
        store.set_preview(id, revision, of(url), |_| NO_EFFECTS).await.unwrap()
    };
    let made = Post {
        without_preview: true,
        ..Post::made(new_id(), new_id(), Text::new(link, now()), Visibility::Public)
    };
    store.create(&made, &[]).await.unwrap();
    assert_eq!(store.post(&made.id).await.unwrap(), Some(made.clone()));
    assert!(!set(&made.id, 1, link).await, "the author wants none");
    let wanted = PostEdit { without_preview: Some(false), ..PostEdit::default() };
    edit(store, &made.id, wanted).await.unwrap().unwrap();
    assert!(!set(&made.id, 2, link).await, "of a revision that is not there");
    assert!(!set(&made.id, 1, "https://example.com/other").await, "of another link");
    assert!(set(&made.id, 1, link).await);
    assert!(!set(&made.id, 1, link).await, "it has one");
    let seen = store.post(&made.id).await.unwrap().unwrap();
    assert_eq!(seen.preview.as_deref(), Some(&of(link)));
    let narrowed = edit(store, &made.id, shown_to(Visibility::Private)).await.unwrap().unwrap();
    assert_eq!(narrowed.preview, seen.preview, "for those who may read the post");
    let other = edit(store, &made.id, words("https://example.com/other")).await.unwrap().unwrap();
    assert_eq!((other.preview, other.revision), (None, 2));
    assert!(!set(&made.id, 2, "https://example.com/other").await, "the post is not public");
    assert_eq!(store.post(&made.id).await.unwrap().unwrap().preview, None);
    assert!(store.delete(&made.id, |_| NO_EFFECTS).await.unwrap());
    assert!(!set(&made.id, 2, "https://example.com/other").await, "the post is gone");
    let kept = Post { id: new_id(), ..made };
    store.create(&kept, &[]).await.unwrap();
    let wanted = PostEdit { without_preview: Some(false), ..PostEdit::default() };
    edit(store, &kept.id, wanted).await.unwrap().unwrap();
    assert!(set(&kept.id, 1, link).await);
}

async fn an_address_is_known_to_all_nodes(nodes: &[Db; 2]) {
    let [pages, others] = nodes.clone().map(KnownPages::new);
    let found: Url = format!("https://example.com/{}", new_id()).parse().unwrap();
    let empty: Url = format!("https://example.com/{}", new_id()).parse().unwrap();
    assert!(pages.known(&found).await.unwrap().is_none());
    pages.remember(&found, Some(page()), now()).await.unwrap();
    pages.remember(&empty, None, now()).await.unwrap();
    assert_eq!(others.known(&found).await.unwrap().unwrap().page, Some(page()));
    assert_eq!(
        others.known(&empty).await.unwrap().unwrap().page,
        None,
        "that there is nothing is known as well"
    );
}

async fn what_is_deleted_is_in_no_list(store: &PostStore) {
    let post = post(&new_id(), Visibility::Public);
    store.create(&post, &[]).await.unwrap();
    let mentions = BTreeMap::from([("ben".to_owned(), new_id())]);
    let media = vec![Media {
        url: "https://example.com".to_owned(),
        kind: MediaKind::Link,
        alt: Some("x".to_owned()),
    }];
    let whole =
        PostEdit { words: Some(("again".to_owned(), mentions)), media: Some(media), ..PostEdit::default() };
    edit(store, &post.id, whole).await.unwrap();
    store.react(&post.id, "ana", Some(ReactionType::Heart)).await.unwrap();
    assert!(store.delete(&post.id, |_| NO_EFFECTS).await.unwrap());
    assert!(!store.delete(&post.id, |_| NO_EFFECTS).await.unwrap(), "once");
    assert_eq!(store.post(&post.id).await.unwrap(), None);
    assert!(store.revisions(&post.id).await.unwrap().is_empty());
    assert!(edit(store, &post.id, words("x")).await.unwrap().is_none());
    let all = |_: &Post| true;
    let feed = store.feed(&post.author_id, &[], first(100), all).await.unwrap();
    assert!(!feed.items.iter().any(|one| one.id == post.id));
    assert!(store.posts_of(&post.author_id, first(10), all).await.unwrap().items.is_empty());
    store.delete_reactions(&post.id).await.unwrap();
    store.delete_reactions(&post.id).await.unwrap();
    assert_eq!(store.react(&post.id, "ben", Some(ReactionType::Heart)).await.unwrap(), None);
    assert!(counts_of(store, &post).await.is_empty());
}

async fn feeds_lose_and_repeat_nothing_while_others_write(store: &PostStore) {
    let me = new_id();
    let mut before = Vec::new();
    for _ in 0..40 {
        let post = post(&me, Visibility::Private);
        store.create(&post, &[]).await.unwrap();
        before.push(post.id);
    }
    let known = before[39].clone();
    // Of hidden posts a page looks further, and its cursor is the last that was looked at.
    let hidden: BTreeSet<_> = before.iter().step_by(3).cloned().collect();
    let (writer, author) = (store.clone(), me.clone());
    let writing = tokio::spawn(async move {
        let mut made = Vec::new();
        for _ in 0..200 {
            let post = post(&author, Visibility::Private);
            writer.create(&post, &[]).await.unwrap();
            made.push(post.id);
        }
        made
    });
    let is_shown = |post: &Post| post.author_id == me && !hidden.contains(&post.id);
    let (mut start, mut walked) = (PageStart::First, Vec::new());
    loop {
        let page = store.posts_of(&me, PageRequest { start, limit: 3 }, is_shown).await.unwrap();
        walked.extend(page.items.into_iter().map(|post| post.id));
        let Some(next) = page.next else { break };
        start = PageStart::After(next);
    }
    assert_eq!(walked.iter().collect::<BTreeSet<_>>().len(), walked.len(), "none comes twice");
    walked.retain(|id| *id <= known);
    let wanted: Vec<_> = before.iter().rev().filter(|id| !hidden.contains(*id)).cloned().collect();
    assert_eq!(walked, wanted, "none is lost");

    // What is newer comes the oldest first, with what may have been late, until nothing is left.
    let made = writing.await.unwrap();
    let (mut after, mut newer, mut gaps) = (known, BTreeSet::new(), 0);
    loop {
        let page = store.newer(&me, &[], &after, 30, |post| post.author_id == me).await.unwrap().unwrap();
        let ids: Vec<_> = page.items.iter().map(|post| post.id.clone()).collect();
        assert!(ids.is_sorted() && ids.len() <= 60, "{}", ids.len());
        newer.extend(ids);
        assert!(page.newest >= after);
        after = page.newest;
        if !page.has_more {
            break;
        }
        gaps += 1;
    }
    assert!(gaps >= 6, "{gaps}");
    assert!(made.iter().all(|id| newer.contains(id)), "none is lost");
    // One that is written late stands before what was looked at last.
    let (start, end) = made[150].split_at(35);
    let late = Post {
        id: format!("{start}{}", if end == "f" { "0" } else { "f" }),
        ..post(&me, Visibility::Private)
    };
    store.create(&late, &[]).await.unwrap();
    let page = store.newer(&me, &[], &after, 100, |post| post.author_id == me).await.unwrap().unwrap();
    assert!(page.items.iter().any(|post| post.id == late.id), "what was late is not lost");
    assert!(matches!(store.newer(&me, &[], "x", 1, |_| true).await, Err(StoreError::BadCursor)));
}

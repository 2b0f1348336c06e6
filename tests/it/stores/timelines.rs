//! What timelines promise.

use futures_util::future::join_all;
use jiff::SignedDuration;
use mundotango::community::graph::rules::Act;
use mundotango::community::graph::store::Circles;
use mundotango::community::posts::editing::PostEdit;
use mundotango::community::posts::store::{Post, PostStore, Text, Visibility};
use mundotango::community::posts::timeline::filling::Timelines;
use mundotango::community::posts::timeline::jobs::FanOut;
use mundotango::community::posts::timeline::rules::{KEPT, Lead, SLACK};
use mundotango::community::posts::timeline::store::Putting;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, now};

use super::{NO_EFFECTS, first, walk};

/// A node as these tests see it.
struct Node {
    circles: Circles,
    posts: PostStore,
    timelines: Timelines,
}

impl Node {
    fn new(db: &Db) -> Self {
        let circles = Circles::new(db.clone());
        Self { posts: PostStore::new(db.clone()), timelines: Timelines::new(db, &circles), circles }
    }

    /// The same with other bounds.
    fn bounded(&self, most_fanned_out: u64, followers_of_a_turn: usize) -> Self {
        let timelines = self.timelines.clone().bounded(most_fanned_out, followers_of_a_turn);
        Self { circles: self.circles.clone(), posts: self.posts.clone(), timelines }
    }

    async fn act(&self, user: &str, other: &str, act: Act) {
        Box::pin(self.circles.act(user, other, act, now())).await.unwrap();
    }

    async fn follow(&self, user: &str, other: &str) {
        self.act(user, other, Act::Follow(new_id())).await;
    }

    /// A post that is in the timelines of those who read theirs so many days later.
    async fn post(&self, author: &str, visibility: Visibility, days: i64) -> String {
        let post = Post::made(new_id(), author.to_owned(), Text::new("¡Bailemos!", now()), visibility);
        self.posts.create(&post, &[]).await.unwrap();
        self.fan_out(&post.id, days).await;
        post.id
    }

    /// How many turns it took.
    async fn fan_out(&self, post_id: &str, days: i64) -> usize {
        let at = now() + SignedDuration::from_hours(24 * days);
        let (mut next, mut turns) = (Some(FanOut::of(post_id)), 0);
        while let Some(turn) = next {
            next = Box::pin(self.timelines.fan_out(turn, at, false)).await.unwrap();
            turns += 1;
        }
        turns
    }

    /// What a user is shown so many days later.
    async fn read(&self, user: &str, days: i64) -> Vec<String> {
        let at = now() + SignedDuration::from_hours(24 * days);
        let page = Box::pin(self.timelines.page(user, first(100), at)).await.unwrap();
        page.items.into_iter().map(|post| post.id).collect()
    }

    /// How many posts are in a timeline, and how many of them are new.
    async fn held(&self, user: &str) -> (u32, u32) {
        let head = self.timelines.store.head(user).await.unwrap();
        (head.rows, head.news)
    }
}

/// Runs the suite.
pub async fn timelines(nodes: &[Db; 2]) {
    let [here, there] = nodes.each_ref().map(Node::new);
    who_is_away_is_given_nothing_and_finds_it_when_back(&here, &there).await;
    a_post_reaches_each_follower_once_in_turns(&here, &there).await;
    what_is_not_to_be_seen_is_not_shown(&here).await;
    posts_of_popular_authors_are_found_without_being_put_there(&here).await;
    a_timeline_ends_where_it_is_full(&here).await;
    whoever_posts_much_takes_no_place_of_others(&here).await;
    what_may_not_be_read_takes_no_place_of_what_may(&here).await;
    who_comes_back_begins_anew(&here, &there).await;
}

async fn who_is_away_is_given_nothing_and_finds_it_when_back(here: &Node, there: &Node) {
    let [ana, ben] = [(); 2].map(|()| new_id());
    here.follow(&ben, &ana).await;
    let mut posts = Vec::new();
    for _ in 0..3 {
        posts.insert(0, here.post(&ana, Visibility::Public, 0).await);
    }
    assert_eq!(here.held(&ben).await, (0, 0), "who has never read it");
    assert_eq!(there.read(&ben, 0).await, posts);
    assert_eq!(here.held(&ben).await, (3, 0));
    posts.insert(0, here.post(&ana, Visibility::Public, 14).await);
    assert_eq!(here.held(&ben).await, (4, 1));
    assert_eq!(there.read(&ben, 14).await, posts);
    assert_eq!(here.held(&ben).await, (4, 0), "what was read is new no longer");
    posts.insert(0, here.post(&ana, Visibility::Public, 40).await);
    assert_eq!(here.held(&ben).await, (4, 0), "who is away");
    assert_eq!(here.read(&ben, 40).await, posts);
}

async fn a_post_reaches_each_follower_once_in_turns(here: &Node, there: &Node) {
    let ana = new_id();
    let followers: Vec<_> = (0..5).map(|_| new_id()).collect();
    for follower in &followers {
        here.follow(follower, &ana).await;
        assert!(there.read(follower, 0).await.is_empty());
    }
    let small = here.bounded(100, 2);
    let post = Post::made(new_id(), ana.clone(), Text::new("¡Bailemos!", now()), Visibility::Public);
    here.posts.create(&post, &[]).await.unwrap();
    assert_eq!(small.fan_out(&post.id, 0).await, 3);
    // Another node does it again.
    there.fan_out(&post.id, 0).await;
    for follower in &followers {
        assert_eq!(there.held(follower).await, (1, 1));
        assert_eq!(there.read(follower, 0).await, [post.id.as_str()]);
    }
    assert!(here.posts.delete(&post.id, |_| NO_EFFECTS).await.unwrap());
    assert_eq!(small.fan_out(&post.id, 0).await, 1, "what is gone is carried no further");
}

async fn what_is_not_to_be_seen_is_not_shown(node: &Node) {
    let [ana, ben, cam] = [(); 3].map(|()| new_id());
    for user in [&ben, &cam] {
        node.follow(user, &ana).await;
        assert!(node.read(user, 0).await.is_empty());
    }
    node.act(&ana, &cam, Act::Befriend).await;
    node.act(&cam, &ana, Act::Befriend).await;
    let public = node.post(&ana, Visibility::Public, 0).await;
    let friends = node.post(&ana, Visibility::Friends, 0).await;
    node.post(&ana, Visibility::Private, 0).await;
    assert_eq!((node.held(&ben).await, node.held(&cam).await), ((1, 1), (2, 2)));
    assert_eq!(node.read(&cam, 0).await, [friends.as_str(), &public]);
    assert_eq!(node.read(&ben, 0).await, [public.as_str()]);

    node.act(&ben, &ana, Act::Mute).await;
    assert!(node.read(&ben, 0).await.is_empty());
    let muted = node.post(&ana, Visibility::Public, 0).await;
    assert_eq!(node.held(&ben).await, (2, 0), "nobody hears of who is muted");
    node.act(&ben, &ana, Act::Unmute).await;
    assert_eq!(node.read(&ben, 0).await, [muted.as_str(), &public]);
    node.act(&ben, &ana, Act::Unfollow).await;
    assert!(node.read(&ben, 0).await.is_empty());
    node.follow(&ben, &ana).await;
    assert_eq!(node.read(&ben, 0).await, [muted.as_str(), &public], "nothing was erased");

    let narrowed = PostEdit { visibility: Some(Visibility::Friends), ..PostEdit::default() };
    node.posts.edit(&muted, narrowed, now(), |_| NO_EFFECTS).await.unwrap();
    assert!(node.posts.delete(&public, |_| NO_EFFECTS).await.unwrap());
    assert!(node.read(&ben, 0).await.is_empty());
    assert_eq!(node.read(&cam, 0).await, [muted.as_str(), &friends]);
    node.act(&ana, &cam, Act::Block).await;
    assert!(node.read(&cam, 0).await.is_empty());
}

async fn posts_of_popular_authors_are_found_without_being_put_there(node: &Node) {
    let [star, ana, ben, cam] = [(); 4].map(|()| new_id());
    for (user, other) in [(&ben, &star), (&cam, &star), (&ben, &ana)] {
        node.follow(user, other).await;
    }
    let node = node.bounded(1, 500);
    assert!(node.read(&ben, 0).await.is_empty());
    let mut posts = Vec::new();
    for author in [&star, &ana, &star, &ana, &star] {
        posts.insert(0, node.post(author, Visibility::Public, 0).await);
    }
    assert_eq!(node.held(&ben).await.0, 2, "those of Ana");
    assert_eq!(node.read(&ben, 0).await, posts);
    for limit in [1, 2] {
        let read = async |page: PageRequest| Box::pin(node.timelines.page(&ben, page, now())).await;
        assert_eq!(walk(limit, read, |post: &Post| post.id.clone()).await, posts, "in pages of {limit}");
    }
    assert!(node.timelines.store.popular().await.unwrap().authors.contains(&star));
    node.act(&ben, &star, Act::Unfollow).await;
    assert_eq!(node.read(&ben, 0).await, [posts[1].as_str(), &posts[3]]);
}

async fn a_timeline_ends_where_it_is_full(node: &Node) {
    let (ben, store) = (new_id(), &node.timelines.store);
    let posts: Vec<_> = (0..600).map(|number| (new_id(), format!("author{}", number % 6))).collect();
    for some in posts.chunks(100) {
        store.put(&ben, some.to_vec(), Putting::Asked).await.unwrap();
    }
    let head = store.head(&ben).await.unwrap();
    assert_eq!((head.rows, head.floor.as_ref()), (KEPT, Some(&posts[99].0)));
    // What comes late is over already, and what is there is there once.
    for late in [&posts[..1], &posts[99..101]] {
        store.put(&ben, late.to_vec(), Putting::Asked).await.unwrap();
        assert_eq!(store.head(&ben).await.unwrap(), head);
    }
    let read = async |page: PageRequest| store.page(&ben, &[], head.floor.as_deref(), page).await;
    let walked = walk(100, read, |lead: &Lead| lead.post_id.clone()).await;
    let wanted: Vec<_> = posts[100..].iter().rev().map(|(id, _)| id.clone()).collect();
    assert_eq!(walked, wanted);
    let more = (0..SLACK).map(|_| (new_id(), "ana".to_owned())).collect();
    store.put(&ben, more, Putting::Asked).await.unwrap();
    assert_eq!(store.head(&ben).await.unwrap().rows, KEPT + SLACK, "not every post takes another one out");
}

async fn whoever_posts_much_takes_no_place_of_others(node: &Node) {
    let (ben, store) = (new_id(), &node.timelines.store);
    let of_others: Vec<_> = (0..60).map(|number| (new_id(), format!("author{}", number % 3))).collect();
    store.put(&ben, of_others.clone(), Putting::Asked).await.unwrap();
    for _ in 0..12 {
        let posts = (0..100).map(|_| (new_id(), "ana".to_owned())).collect();
        store.put(&ben, posts, Putting::Asked).await.unwrap();
    }
    let head = store.head(&ben).await.unwrap();
    assert!((KEPT..=KEPT + SLACK).contains(&head.rows), "{head:?}");
    assert_eq!(head.floor, None, "nothing of others is over");
    let read = async |page: PageRequest| store.page(&ben, &[], None, page).await;
    let walked = walk(100, read, |lead: &Lead| lead.post_id.clone()).await;
    assert_eq!(u32::try_from(walked.len()).unwrap(), head.rows, "rows are counted");
    assert!(of_others.iter().all(|(id, _)| walked.contains(id)));

    // And of what one author posts within an hour not all is put there.
    let [ana, cam] = [(); 2].map(|()| new_id());
    node.follow(&cam, &ana).await;
    assert!(node.read(&cam, 0).await.is_empty());
    for _ in 0..62 {
        node.post(&ana, Visibility::Public, 0).await;
    }
    assert_eq!(node.held(&cam).await.0, 60, "of one hour");
}

async fn what_may_not_be_read_takes_no_place_of_what_may(node: &Node) {
    let [ana, ben, cam] = [(); 3].map(|()| new_id());
    let public = node.post(&ana, Visibility::Public, 0).await;
    for visibility in [Visibility::Private, Visibility::Friends] {
        for _ in 0..15 {
            node.post(&ana, visibility, 0).await;
        }
    }
    node.follow(&ben, &ana).await;
    assert_eq!(node.read(&ben, 0).await, [public.as_str()], "of a timeline that is built");
    assert!(node.read(&cam, 0).await.is_empty());
    node.follow(&cam, &ana).await;
    Box::pin(node.timelines.followed(&cam, &ana, now())).await.unwrap();
    assert_eq!(node.held(&cam).await, (1, 0), "of who is followed from now on");
}

async fn who_comes_back_begins_anew(here: &Node, there: &Node) {
    let [ana, ben] = [(); 2].map(|()| new_id());
    here.follow(&ben, &ana).await;
    assert!(here.read(&ben, 0).await.is_empty());
    let posts: Vec<_> = (0..600).map(|number| (new_id(), format!("author{}", number % 6))).collect();
    for some in posts.chunks(100) {
        here.timelines.store.put(&ben, some.to_vec(), Putting::Asked).await.unwrap();
    }
    let post = here.post(&ana, Visibility::Public, 20).await;
    // Many ask at once, by two nodes.
    let asked = (0..8).map(|number| [here, there][number % 2].read(&ben, 20));
    for read in join_all(asked).await {
        assert_eq!(read, [post.as_str()]);
    }
    let head = here.timelines.store.head(&ben).await.unwrap();
    assert_eq!((head.rows, head.floor, head.building), (1, None, false));
}

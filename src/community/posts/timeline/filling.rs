//! How posts come into timelines: those of now by jobs, those of before when somebody comes back or follows somebody.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, time_of_id};

use super::jobs::FanOut;
use super::rules::{self, Bounds, MOST_FANNED_OUT};
use super::store::{Head, Popular, Putting, TimelineStore};
use crate::community::graph::reading::Reading;
use crate::community::graph::relations::{Relations, Sorts};
use crate::community::graph::rules::{Friendship, Tie};
use crate::community::graph::store::Circles;
use crate::community::posts::readers::Reader;
use crate::community::posts::store::{Post, PostStore, Visibility};

/// Followers of one turn.
const FOLLOWERS_OF_A_TURN: usize = 500;
/// Followers of the first turn where it is made right after the post.
const FOLLOWERS_AT_ONCE: usize = 16;
/// Timelines that are written, and lists that are read, at the same time.
const AT_ONCE: usize = 16;
/// Followed authors whose posts a timeline is built from.
const MOST_AUTHORS: usize = 200;
/// Pages of the list of an author that are read for posts which a reader may see.
const PAGES_OF_EACH: usize = 3;
/// Posts of an author within an hour that are put into timelines. Further ones are in the author's list alone, as each of
/// them would be written for each follower.
const MOST_AN_HOUR: usize = 60;
/// Posts that are put into a timeline in one change.
const PUT_AT_ONCE: usize = 100;

/// What users read of those whom they follow.
#[derive(Clone)]
pub struct Timelines {
    /// The timelines.
    pub store: TimelineStore,
    pub(super) posts: PostStore,
    pub(super) circles: Circles,
    /// Timelines that are being built by this node.
    building: Arc<Reading>,
    most_fanned_out: u64,
    followers_of_a_turn: usize,
}

impl Timelines {
    /// The timelines of a store.
    pub fn new(db: &Db, circles: &Circles) -> Self {
        Self {
            store: TimelineStore::new(db.clone()),
            posts: PostStore::new(db.clone()),
            circles: circles.clone(),
            building: Arc::default(),
            most_fanned_out: MOST_FANNED_OUT,
            followers_of_a_turn: FOLLOWERS_OF_A_TURN,
        }
    }

    /// The same with another number of followers up to which posts are put into timelines, and other turns.
    #[must_use]
    pub fn bounded(self, most_fanned_out: u64, followers_of_a_turn: usize) -> Self {
        Self { most_fanned_out, followers_of_a_turn, ..self }
    }

    /// The same with timelines that hold another number of posts.
    #[must_use]
    pub fn holding(mut self, bounds: Bounds) -> Self {
        self.store.bounds = bounds;
        self
    }

    /// Puts a post into the timelines of a page of its author's followers; the next turn, if there are more. Doing it again
    /// changes nothing.
    pub async fn fan_out(
        &self,
        turn: FanOut,
        now: Timestamp,
        is_at_once: bool,
    ) -> Result<Option<FanOut>, StoreError> {
        // What was taken away meanwhile is carried no further.
        let post = self.posts.post_now(&turn.post_id).await?;
        let Some(post) = post.filter(|post| post.visibility != Visibility::Private) else { return Ok(None) };
        if turn.after.is_none() && self.is_pulled(&post.author_id).await? {
            return Ok(None);
        }
        let after = turn.after.as_deref();
        let most = if is_at_once { FOLLOWERS_AT_ONCE } else { usize::MAX };
        let most = most.min(self.followers_of_a_turn);
        let page = self.circles.noted_followers(&post.author_id, after, most).await?;
        let is_begun = turn.after.is_some();
        if !is_begun && !page.items.is_empty() && self.is_one_too_many(&post).await? {
            return Ok(None);
        }
        self.deliver(&post, page.items, rules::day(now)).await?;
        let turns = turn.turns.saturating_add(1);
        Ok(page.next.map(|after| FanOut { turns, after: Some(after), post_id: turn.post_id }))
    }

    /// Whether as many posts as are put into timelines were made in the hour before this one, whoever may read them.
    async fn is_one_too_many(&self, post: &Post) -> Result<bool, StoreError> {
        let before = self.store.last_posts(&post.author_id, Some(&post.id), MOST_AN_HOUR).await?;
        let first = before.items.get(MOST_AN_HOUR - 1).and_then(|id| time_of_id(id));
        let made = time_of_id(&post.id);
        Ok(first
            .zip(made)
            .is_some_and(|(first, made)| made.duration_since(first) < SignedDuration::from_hours(1)))
    }

    /// Whether an author's posts are in no timeline.
    async fn is_pulled(&self, author_id: &str) -> Result<bool, StoreError> {
        if self.store.popular().await?.authors.contains(author_id) {
            return Ok(true);
        }
        if self.circles.follower_count(author_id).await? <= self.most_fanned_out {
            return Ok(false);
        }
        self.store.note_popular(author_id).await
    }

    /// Puts a post into the timelines of those of some followers who read theirs.
    async fn deliver(&self, post: &Post, followers: Vec<String>, today: i64) -> Result<(), StoreError> {
        let followers = self.store.filled(followers, today).await?;
        if followers.is_empty() {
            return Ok(());
        }
        let ties = self.circles.ties_to(&followers, &post.author_id).await?;
        let of_author = match post.visibility {
            Visibility::Friends => Some(self.circles.view(&post.author_id).await?),
            Visibility::Public | Visibility::Private => None,
        };
        let is_meant = |follower: &str, tie: &Tie| {
            let is_friend =
                |author: &Relations| author.is_friend(follower) && tie.friendship() == Friendship::Friends;
            tie.follow.is_some() && of_author.as_deref().is_none_or(is_friend)
        };
        let meant: Vec<_> =
            followers.into_iter().zip(ties).filter(|(follower, tie)| is_meant(follower, tie)).collect();
        let each = meant.into_iter().map(|(follower, tie)| {
            let lead = (post.id.clone(), post.author_id.clone());
            let how = Putting::IfFilled { today, is_news: tie.mute.is_none() };
            async move { self.store.put(&follower, vec![lead], how).await }
        });
        stream::iter(each.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Puts the last posts of an author into the timeline of somebody who follows the author from now on.
    pub async fn followed(&self, user_id: &str, author_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let today = rules::day(now);
        if !rules::is_filled(self.store.head(user_id).await?.seen, today)
            || self.store.popular().await?.authors.contains(author_id)
        {
            return Ok(());
        }
        let reader = Reader::new(&self.circles, user_id).await?;
        let posts = self.last_readable(&reader, author_id).await?;
        self.store.put(user_id, posts, Putting::IfFilled { today, is_news: false }).await
    }

    /// The last posts of an author that somebody may read, with the author.
    async fn last_readable(
        &self,
        reader: &Reader<'_>,
        author_id: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let most = self.store.bounds.of_each;
        let (mut found, mut before) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_OF_EACH {
            let page = self.store.last_posts(author_id, before.as_deref(), most).await?;
            let posts = reader.readable(self.posts.posts(&page.items).await?).await?;
            found.extend(posts.into_iter().map(|post| (post.id, post.author_id)));
            before = page.next;
            if found.len() >= most || before.is_none() {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// A timeline's head once it is built. Whoever else asks this node for it meanwhile waits for the same build.
    pub(super) async fn built(
        &self,
        user_id: &str,
        reader: &Reader<'_>,
        popular: &Popular,
        today: i64,
    ) -> Result<Head, StoreError> {
        let build = async {
            let head = self.store.head(user_id).await?;
            if rules::is_whole(head.seen, head.building, today) {
                return Ok(head);
            }
            self.build(user_id, reader, popular, today).await?;
            self.store.head(user_id).await
        };
        self.building.shared(user_id, || None, build).await
    }

    /// Builds a timeline anew of the last posts of those whom its user follows, friends first. A build that is cut off, or in
    /// which the list of an author is not read, is done again by the next reading.
    async fn build(
        &self,
        user_id: &str,
        reader: &Reader<'_>,
        popular: &Popular,
        today: i64,
    ) -> Result<(), StoreError> {
        // What is posted while the lists are read comes by a job.
        if !self.store.begin_building(user_id, today).await? {
            return Ok(());
        }
        let mine = reader.relations();
        let (friends, others): (Vec<_>, Vec<_>) = mine
            .all(Sorts::FOLLOWED)
            .filter(|author| !popular.authors.contains(*author))
            .map(str::to_owned)
            .partition(|author| mine.is_friend(author));
        let authors = friends.into_iter().chain(others).take(MOST_AUTHORS);
        let each: Vec<_> = authors
            .map(|author| async move {
                let posts = self.last_readable(reader, &author).await;
                posts.map_err(|error| {
                    tracing::warn!(%error, user_id, %author, "the posts of an author are not in a feed for now");
                })
            })
            .collect();
        let lists: Vec<_> = stream::iter(each).buffer_unordered(AT_ONCE).collect().await;
        let is_whole = lists.iter().all(Result::is_ok);
        let mut posts: Vec<(String, String)> = lists.into_iter().flatten().flatten().collect();
        posts.sort_unstable_by(|one, other| other.cmp(one));
        posts.truncate(self.store.bounds.kept as usize);
        for some in posts.chunks(PUT_AT_ONCE) {
            self.store.put(user_id, some.to_vec(), Putting::Asked).await?;
        }
        if is_whole { self.store.end_building(user_id).await } else { Ok(()) }
    }
}

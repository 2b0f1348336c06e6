//! How posts come into timelines: those of now by jobs, those of before when somebody comes back or follows somebody.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::jobs::FanOut;
use super::rules::{self, KEPT, MOST_FANNED_OUT};
use super::store::{Popular, Putting, TimelineStore};
use crate::community::graph::relations::{Relations, Sorts};
use crate::community::graph::rules::{Friendship, Tie};
use crate::community::graph::store::Circles;
use crate::community::posts::store::{Post, PostStore, Visibility};

/// Followers of one turn.
const FOLLOWERS_OF_A_TURN: usize = 500;
/// Timelines that are written, and lists that are read, at the same time.
const AT_ONCE: usize = 16;
/// Followed authors whose posts a timeline is built from.
const MOST_AUTHORS: usize = 200;
/// Posts of each of them.
const POSTS_OF_EACH: usize = 20;
/// Posts that are put into a timeline in one change.
const PUT_AT_ONCE: usize = 100;

/// What users read of those whom they follow.
#[derive(Clone)]
pub struct Timelines {
    /// The timelines.
    pub store: TimelineStore,
    pub(super) posts: PostStore,
    pub(super) circles: Circles,
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
            most_fanned_out: MOST_FANNED_OUT,
            followers_of_a_turn: FOLLOWERS_OF_A_TURN,
        }
    }

    /// The same with another number of followers up to which posts are put into timelines, and other turns.
    #[must_use]
    pub fn bounded(self, most_fanned_out: u64, followers_of_a_turn: usize) -> Self {
        Self { most_fanned_out, followers_of_a_turn, ..self }
    }

    /// Puts a post into the timelines of a page of its author's followers; the next turn, if there are more. Doing it again
    /// changes nothing.
    pub async fn fan_out(&self, turn: FanOut, now: Timestamp) -> Result<Option<FanOut>, StoreError> {
        // What was taken away meanwhile is carried no further.
        let post = self.posts.post_now(&turn.post_id).await?;
        let Some(post) = post.filter(|post| post.visibility != Visibility::Private) else { return Ok(None) };
        if turn.after.is_none() && self.is_pulled(&post.author_id).await? {
            return Ok(None);
        }
        let after = turn.after.as_deref();
        let page = self.circles.noted_followers(&post.author_id, after, self.followers_of_a_turn).await?;
        self.deliver(&post, page.items, rules::day(now)).await?;
        let turns = turn.turns.saturating_add(1);
        Ok(page.next.map(|after| FanOut { turns, after: Some(after), post_id: turn.post_id }))
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
        let posts = self.store.last_posts(author_id, POSTS_OF_EACH).await?;
        self.store.put(user_id, posts, Putting::IfFilled { today, is_news: false }).await
    }

    /// Builds a timeline of the last posts of those whom its user follows, friends first. What is there stays. A build that is
    /// cut off is begun anew by the next reading.
    pub(super) async fn build(
        &self,
        user_id: &str,
        mine: &Relations,
        popular: &Popular,
        today: i64,
    ) -> Result<(), StoreError> {
        // What is posted while the lists are read comes by a job.
        self.store.begin_building(user_id, today).await?;
        let (friends, others): (Vec<_>, Vec<_>) = mine
            .all(Sorts::FOLLOWED)
            .filter(|author| !popular.authors.contains(*author))
            .partition(|author| mine.is_friend(author));
        let authors = friends.into_iter().chain(others).take(MOST_AUTHORS);
        let each: Vec<_> = authors.map(|author| self.store.last_posts(author, POSTS_OF_EACH)).collect();
        let lists: Vec<_> = stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut posts: Vec<(String, String)> = lists.into_iter().flatten().collect();
        posts.sort_unstable_by(|one, other| other.cmp(one));
        posts.truncate(KEPT as usize);
        for some in posts.chunks(PUT_AT_ONCE) {
            self.store.put(user_id, some.to_vec(), Putting::Asked).await?;
        }
        self.store.end_building(user_id).await
    }
}

//! Posts, the feeds that lead to them, and the reactions to them: a partition a post, a row for each user who reacted.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::{Db, Decision, Effect, Found, Index, Kind, Order, Wants, day_of_id, key};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};
use serde::{Deserialize, Serialize};

use super::rules::{self, Counts, ReactionType};

/// The posts.
pub static POSTS: Kind<Facts, Counts, ReactionType> =
    Kind::new("posts", "a post: 60,000 reactions of 60 B, 4 MB").cached(Duration::from_mins(10));
/// The feeds: `public`, and each author's own posts that are not public; by post id, so by the time of their making.
pub static FEEDS: Index<()> =
    Index::new("feeds", "a day of a feed: 1,000,000 entries of 60 B, 60 MB", day_of_id, Order::NewestFirst);

/// The feed of public posts.
const PUBLIC: &str = "public";
/// Below this lie the reactions, by user.
const REACTIONS: &str = "r";

/// What never changes about a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    author_id: String,
    content: String,
    visibility: Visibility,
    created_at: Timestamp,
}

/// One post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Sorted by the time of its making.
    pub id: String,
    /// The user who wrote it.
    pub author_id: String,
    /// What it says.
    pub content: String,
    /// Who may read it.
    pub visibility: Visibility,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many reactions of each kind; kinds without any are absent.
    pub reactions: BTreeMap<ReactionType, u64>,
}

/// Who may read a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// The author and the author's friends.
    Friends,
    /// The author.
    Private,
}

/// What came of a reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reacted {
    /// The post with its counts after the change.
    pub post: Post,
    /// The user's reaction before.
    pub previous: Option<ReactionType>,
}

impl Post {
    fn new(id: &str, facts: Facts, counts: Counts) -> Self {
        let Facts { author_id, content, visibility, created_at } = facts;
        Self { id: id.to_owned(), author_id, content, visibility, created_at, reactions: counts.reactions }
    }
}

/// The feed of a user's posts that are not public.
fn own_feed(user_id: &str) -> String {
    format!("own:{user_id}")
}

/// The posts of a store.
#[derive(Clone)]
pub struct PostStore(Db);

impl PostStore {
    /// The posts of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a post, with what that causes. Its id is a UUID of version 7.
    pub async fn create(&self, post: &Post, effects: &[Effect]) -> Result<(), StoreError> {
        let feed = match post.visibility {
            Visibility::Public => PUBLIC.to_owned(),
            Visibility::Friends | Visibility::Private => own_feed(&post.author_id),
        };
        let facts = Facts {
            author_id: post.author_id.clone(),
            content: post.content.clone(),
            visibility: post.visibility,
            created_at: post.created_at,
        };
        self.0.create(&POSTS, &post.id, &facts, &[FEEDS.entry(feed, &post.id, &())?], effects).await
    }

    /// The post with this id.
    pub async fn post(&self, id: &str) -> Result<Option<Post>, StoreError> {
        Ok(self.0.read(&POSTS, id).await?.map(|Found { facts, head, .. }| Post::new(id, facts, head)))
    }

    /// The posts of these ids that are there, in the ids' order.
    pub async fn posts(&self, ids: &[String]) -> Result<Vec<Post>, StoreError> {
        let found = ids.iter().zip(self.0.read_all(&POSTS, ids).await?);
        Ok(found.filter_map(|(id, post)| post.map(|post| Post::new(id, post.facts, post.head))).collect())
    }

    /// What a user sees, newest first: public posts, and all of the user's own.
    pub async fn feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError> {
        let own = own_feed(user_id);
        let (mut after, mut skip) = match page.start {
            PageStart::First => (None, 0),
            PageStart::After(id) => (Some(id), 0),
            PageStart::Skip(items) => (None, items),
        };
        let mut items = Vec::with_capacity(page.limit);
        loop {
            let wanted = skip + page.limit - items.len();
            let entries = self.0.walk(&FEEDS, &[PUBLIC, &own], after.as_deref(), wanted).await?;
            let ids: Vec<_> = entries.items.into_iter().skip(skip).map(|(id, ())| id).collect();
            skip = 0;
            // A post that is not there yet or no longer is left out.
            items.extend(self.posts(&ids).await?);
            after = entries.next;
            if after.is_none() || items.len() >= page.limit {
                return Ok(Page { items, next: after });
            }
        }
    }

    /// Puts a user's reaction in the place of the one before; `None` takes it back. `None` if there is no such post. The
    /// counts change with the reaction in one step.
    pub async fn react<E: Serialize>(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
        effects: impl Fn(&Reacted) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Reacted>, StoreError> {
        let (id, row) = (post_id.to_owned(), key(&[REACTIONS, user_id]));
        self.0
            .change(&POSTS, post_id, Wants::head().row(&row), move |part| {
                let previous = part.row(&row).copied();
                let counted = rules::react(&mut part.head, previous, reaction);
                match reaction {
                    Some(reaction) => part.set(&row, reaction),
                    None => part.remove(&row),
                }
                let post = Post::new(&id, part.facts.clone(), part.head.clone());
                let reacted = Reacted { post, previous };
                if !counted {
                    return Ok(Decision::Stands(reacted));
                }
                for effect in effects(&reacted)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(reacted))
            })
            .await
    }

    /// A user's reactions to these posts, by post id; posts without one are absent.
    pub async fn reactions_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, ReactionType>, StoreError> {
        let row = key(&[REACTIONS, user_id]);
        let reactions = post_ids.iter().zip(self.0.row_of_all(&POSTS, post_ids, &row).await?);
        Ok(reactions.filter_map(|(id, reaction)| Some((id.clone(), reaction?))).collect())
    }
}

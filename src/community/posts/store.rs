//! Posts, the feeds that lead to them, and the reactions to them: a partition a post, and 16 for its reactions, with a row for
//! each user who reacted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Decision, Effect, Erasure, Export, Fields, Found, Index, Kind, Order, Wants, Whose, day_of_id, key,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::rules::{self, Counts, ReactionType};

/// The posts.
pub static POSTS: Kind<Facts, Head, ()> =
    Kind::new("posts", "a post: 20 KB", PERSONAL).cached(Duration::from_mins(10));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Removed,
        &["facts.author_id", "facts.content", "facts.visibility", "facts.created_at"],
    ),
    Fields::of_nobody(&["id"]),
];

/// The reactions to posts, by post and user. As many may come at once, they are counted in shards.
pub static POST_REACTIONS: Kind<(), Counts, ReactionType> =
    Kind::new("post_reactions", "a 16th of a post's reactions: 60,000 of 60 B, 4 MB", PERSONAL_OF_REACTIONS)
        .sharded(16)
        .cached(COUNTS_KEPT);
/// The same of post reactions.
const PERSONAL_OF_REACTIONS: &[Fields] = &[
    Fields::of(Whose::RowUser, Export::Given, Erasure::RowRemoved, &["keys.r", "rows.r"]),
    Fields::of_nobody(&["id", "head.reactions.*"]),
];

/// How old the counts are at most that a node shows of reactions by way of others.
pub const COUNTS_KEPT: Duration = Duration::from_secs(2);
/// The feeds: `public`, and each author's own posts that are not public; by post id, so by the time of their making.
pub static FEEDS: Index<()> = Index::new(
    "feeds",
    "a day of a feed: 1,000,000 entries of 60 B, 60 MB",
    day_of_id,
    Order::NewestFirst,
    Fields::AS_TARGET,
);

/// The feed of public posts.
const PUBLIC: &str = "public";
/// Below this lie the reactions of a shard, by user.
const REACTIONS: &str = "r";

/// What never changes about a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    author_id: String,
    content: String,
    visibility: Visibility,
    created_at: Timestamp,
}

/// What changes about a post besides its reactions: nothing yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Head {}

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
}

/// Who may read a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// The author and the author's friends.
    Friends,
    /// The author.
    Private,
}

impl Post {
    fn new(id: &str, facts: Facts) -> Self {
        let Facts { author_id, content, visibility, created_at } = facts;
        Self { id: id.to_owned(), author_id, content, visibility, created_at }
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
        Ok(self.0.read(&POSTS, id).await?.map(|Found { facts, .. }| Post::new(id, facts)))
    }

    /// The posts of these ids that are there, in the ids' order.
    pub async fn posts(&self, ids: &[String]) -> Result<Vec<Post>, StoreError> {
        let found = ids.iter().zip(self.0.read_all(&POSTS, ids).await?);
        Ok(found.filter_map(|(id, post)| post.map(|post| Post::new(id, post.facts))).collect())
    }

    /// What a user sees, newest first: public posts, and all of the user's own.
    pub async fn feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError> {
        let own = own_feed(user_id);
        let (mut after, mut skip) = page.start.behind(Some)?;
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

    /// Puts a user's reaction to a post that is there in the place of the one before; `None` takes it back. Whether that
    /// changed anything; `None` once the post is deleted. The counts change with the reaction in one step.
    pub async fn react(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Option<bool>, StoreError> {
        let row = key(&[REACTIONS, user_id]);
        self.0
            .change_shard(&POST_REACTIONS, post_id, user_id, Wants::head().row(&row), move |part| {
                let previous = part.row(&row).copied();
                if !rules::react(&mut part.head, previous, reaction) {
                    return Ok(Decision::Stands(false));
                }
                match reaction {
                    Some(reaction) => part.set(&row, reaction),
                    None => part.remove(&row),
                }
                Ok(Decision::Write(true))
            })
            .await
    }

    /// Removes all reactions to a post that is removed; there are none any more.
    pub async fn remove_reactions(&self, post_id: &str) -> Result<(), StoreError> {
        self.0.delete_shards(&POST_REACTIONS, post_id).await
    }

    /// How many reactions of each kind there are to each of these posts, in their order; kinds without any are absent. Those by
    /// way of this node are counted, others' from [`COUNTS_KEPT`] ago on may not be.
    pub async fn reactions(
        &self,
        post_ids: &[String],
    ) -> Result<Vec<BTreeMap<ReactionType, u64>>, StoreError> {
        try_join_all(post_ids.iter().map(|id| self.0.sum_of_shards(&POST_REACTIONS, id, rules::add))).await
    }

    /// How many reactions of each kind there are to a post now, and a number that rises with each change of them.
    pub async fn reactions_now(
        &self,
        post_id: &str,
    ) -> Result<(BTreeMap<ReactionType, u64>, u64), StoreError> {
        let shards = self.0.shards_now(&POST_REACTIONS, post_id).await?;
        let mut sum = BTreeMap::new();
        shards.heads.iter().for_each(|counts| rules::add(&mut sum, counts));
        Ok((sum, shards.version))
    }

    /// Says who is told of each post to which reactions changed by way of this node.
    pub fn on_reactions(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.0.on_change_of_shards(&POST_REACTIONS, listener);
    }

    /// A user's reactions to these posts, by post id; posts without one are absent.
    pub async fn reactions_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, ReactionType>, StoreError> {
        let row = key(&[REACTIONS, user_id]);
        let found = self.0.row_in_shards(&POST_REACTIONS, post_ids, user_id, &row).await?;
        let reactions = post_ids.iter().zip(found);
        Ok(reactions.filter_map(|(id, reaction)| Some((id.clone(), reaction?))).collect())
    }
}

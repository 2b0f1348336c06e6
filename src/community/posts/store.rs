//! Posts and the reactions to them: a partition a post, with a row for each revision behind the first, and 16 for its
//! reactions, with a row for each user who reacted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix,
};

pub use super::post::{Facts, Head, Media, MediaKind, Post, Text, Visibility};
use super::post::{REVISIONS, Row};
use super::rules::{self, Counts, ReactionType};

/// The posts.
pub static POSTS: Kind<Facts, Head, Row> =
    Kind::new("posts", "a post: 50 revisions of 50 KB, 2.5 MB", PERSONAL).cached(Duration::from_mins(10));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Removed,
        &[
            "facts.author_id",
            "facts.content",
            "facts.media.**",
            "facts.poll.**",
            "facts.without_preview",
            "facts.visibility",
            "facts.created_at",
            "head.newest.text.content",
            "head.newest.text.media.**",
            "head.newest.text.at",
            "head.preview.**",
            "head.without_preview",
            "head.visibility",
            "rows.v.revision.content",
            "rows.v.revision.media.**",
            "rows.v.revision.at",
        ],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the author's own words name them"),
        Erasure::Kept("the id leads to nobody once the account is gone"),
        &["facts.mentions.*", "head.newest.text.mentions.*", "rows.v.revision.mentions.*"],
    ),
    Fields::of_nobody(&[
        "id",
        "head.newest.revision",
        "head.audience_version",
        "head.shown_from",
        "head.hidden_by.*",
        "keys.v",
    ]),
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
/// Below this lie the reactions of a shard, by user.
const REACTIONS: &str = "r";

/// The posts of a store.
#[derive(Clone)]
pub struct PostStore(Db);

impl PostStore {
    /// The posts of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    pub(super) fn db(&self) -> &Db {
        &self.0
    }

    /// The post with this id.
    pub async fn post(&self, id: &str) -> Result<Option<Post>, StoreError> {
        Ok(self.0.read(&POSTS, id).await?.map(|found| Post::found(id, &found)))
    }

    /// The same as the store has it now, past the cache.
    pub async fn post_now(&self, id: &str) -> Result<Option<Post>, StoreError> {
        Ok(self.0.read_with(&POSTS, id, &[]).await?.map(|(found, _)| Post::found(id, &found)))
    }

    /// The posts of these ids that are there, in the ids' order.
    pub async fn posts(&self, ids: &[String]) -> Result<Vec<Post>, StoreError> {
        let found = ids.iter().zip(self.0.read_all(&POSTS, ids).await?);
        Ok(found.filter_map(|(id, post)| post.map(|post| Post::found(id, &post))).collect())
    }

    /// All that a post said, with the numbers of the revisions, the newest first; empty if there is no such post.
    pub async fn revisions(&self, id: &str) -> Result<Vec<(u32, Text)>, StoreError> {
        let Some(found) = self.0.read(&POSTS, id).await? else { return Ok(Vec::new()) };
        let range = RowRange::last(prefix(&[REVISIONS]), super::post::MOST_REVISIONS as usize);
        let rows = self.0.rows(&POSTS, id, &range).await?.items.into_iter();
        let edited =
            rows.filter_map(|(key, Row::Revision(text))| Some((last_part(&key).parse().ok()?, *text)));
        Ok(edited.chain([(1, found.facts.text())]).collect())
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

    /// Removes the reactions to a post that is gone; from then on nobody can react to it.
    pub async fn delete_reactions(&self, post_id: &str) -> Result<(), StoreError> {
        self.0.delete_shards(&POST_REACTIONS, post_id).await
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

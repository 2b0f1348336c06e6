//! Posts on a CQL server: a partition a post, with what all readers see in its static columns and a row for each user
//! who reacted; the feeds are in [`super::feeds`].
//!
//! What a post says is written plainly and once. Counts, version and reactions are only ever compared and set, so a
//! reaction and its count change together or not at all.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mundotango_protocol::new_id;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::query::{Change, Query};
use super::session::Cql;
use super::value::{count, from_cql, name_of, named, to_cql};
use crate::posts::{Post, PostStore, Reacted, ReactionType};
use crate::{Page, PageRequest, StoreError};

/// How often a change is tried when other nodes come between.
const MAX_TRIES: u32 = 30;
/// Rows that are read at the same time.
const AT_ONCE: usize = 32;

const POST_TEXT: &str = "SELECT DISTINCT id, author_id, content, visibility, created_at, reactions, version, writer \
                         FROM posts WHERE id = ?";
const POST: Query = Query::read("posts", POST_TEXT);
const POST_SERIAL: Query = Query::serial_read("posts", POST_TEXT);
const CREATE: Query = Query::write(
    "posts",
    "INSERT INTO posts (id, author_id, content, visibility, created_at) VALUES (?, ?, ?, ?, ?)",
);
const REACTION: Query = Query::read("posts", "SELECT reaction FROM posts WHERE id = ? AND user_id = ?");
const SET_COUNTS: Query = Query::cas(
    "posts",
    "UPDATE posts SET reactions = ?, version = ?, writer = ? WHERE id = ? IF version = ?",
);
const SET_REACTION: Query = Query::cas("posts", "INSERT INTO posts (id, user_id, reaction) VALUES (?, ?, ?)");
const TAKE_BACK: Query = Query::cas("posts", "DELETE FROM posts WHERE id = ? AND user_id = ?");

#[derive(DeserializeRow)]
struct PostRow {
    id: String,
    author_id: Option<String>,
    content: Option<String>,
    visibility: Option<String>,
    created_at: Option<CqlTimestamp>,
    reactions: Option<BTreeMap<String, i64>>,
    version: Option<i64>,
    writer: Option<String>,
}

/// A post as it stands.
struct State {
    post: Post,
    /// Rises with every change; nothing before the first.
    version: Option<i64>,
    /// Names the change that led here.
    writer: Option<String>,
}

impl PostRow {
    /// The post, if it was written.
    fn read(self) -> Result<Option<State>, StoreError> {
        let (Some(author_id), Some(content), Some(visibility), Some(created_at)) =
            (self.author_id, self.content, self.visibility, self.created_at)
        else {
            return Ok(None);
        };
        let reactions = self.reactions.unwrap_or_default().into_iter();
        let post = Post {
            id: self.id,
            author_id,
            content,
            visibility: named(visibility)?,
            created_at: from_cql(created_at)?,
            reactions: reactions
                .map(|(name, number)| Ok((named(name)?, count(number)?)))
                .collect::<Result<_, StoreError>>()?,
        };
        Ok(Some(State { post, version: self.version, writer: self.writer }))
    }
}

fn count_change(
    counts: &mut BTreeMap<ReactionType, u64>,
    previous: Option<ReactionType>,
    reaction: Option<ReactionType>,
) {
    if let Some(count) = previous.and_then(|previous| counts.get_mut(&previous)) {
        *count = count.saturating_sub(1);
    }
    if let Some(reaction) = reaction {
        *counts.entry(reaction).or_default() += 1;
    }
    counts.retain(|_, count| *count > 0);
}

impl Cql {
    /// The posts of these ids that exist, in the ids' order.
    pub(super) async fn posts_by_id(&self, ids: &[String]) -> Result<Vec<Post>, StoreError> {
        let mut posts = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            posts.extend(try_join_all(some.iter().map(|id| self.post(id))).await?.into_iter().flatten());
        }
        Ok(posts)
    }

    async fn post_state(&self, query: &'static Query, id: &str) -> Result<Option<State>, StoreError> {
        self.one::<PostRow>(query, (id,)).await?.map_or(Ok(None), PostRow::read)
    }

    async fn reaction(&self, post_id: &str, user_id: &str) -> Result<Option<ReactionType>, StoreError> {
        let row = self.one::<(Option<String>,)>(&REACTION, (post_id, user_id)).await?;
        row.and_then(|(name,)| name).map(named).transpose()
    }

    /// Writes a reaction and its counts, if nobody else changed the post since it was read; whether nobody did.
    async fn set_reaction(
        &self,
        reacted: &Reacted,
        version: Option<i64>,
        writer: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<bool, StoreError> {
        let id = &reacted.post.id;
        let mut counts = BTreeMap::new();
        for (kind, number) in &reacted.post.reactions {
            counts.insert(name_of(kind)?, i64::try_from(*number).unwrap_or(i64::MAX));
        }
        let next = version.unwrap_or_default() + 1;
        let counted = Change::new(&SET_COUNTS, (counts, next, writer, id, version));
        let row = match reaction {
            Some(reaction) => Change::new(&SET_REACTION, (id, user_id, name_of(reaction)?)),
            None => Change::new(&TAKE_BACK, (id, user_id)),
        };
        self.compare_and_set_together(vec![counted, row]).await
    }
}

#[async_trait]
impl PostStore for Cql {
    async fn create_post(&self, post: Post) -> Result<(), StoreError> {
        let visibility = name_of(post.visibility)?;
        let created_at = to_cql(post.created_at);
        let row = Change::new(&CREATE, (&post.id, &post.author_id, &post.content, visibility, created_at));
        self.write_listed(super::feeds::entries(&post)?, row).await
    }

    async fn post(&self, id: &str) -> Result<Option<Post>, StoreError> {
        Ok(self.post_state(&POST, id).await?.map(|state| state.post))
    }

    async fn feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError> {
        self.read_feed(user_id, page).await
    }

    async fn react(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Option<Reacted>, StoreError> {
        let _turn = self.turn("posts", post_id).await?;
        let writer = new_id();
        // What a try would have come to whose outcome is unknown.
        let mut unsure: Option<(StoreError, Reacted)> = None;
        let known = |unsure: &Option<(StoreError, Reacted)>, error| match unsure {
            Some((unknown, _)) => unknown.clone(),
            None => error,
        };
        for tries in 0..MAX_TRIES {
            let state = self.post_state(&POST_SERIAL, post_id).await;
            let Some(State { post, version, writer: last }) = state.map_err(|error| known(&unsure, error))?
            else {
                return Ok(None);
            };
            // Read after the version, so that one who changes it meanwhile makes the write fail.
            let previous = self.reaction(post_id, user_id).await.map_err(|error| known(&unsure, error))?;
            if let Some((_, reacted)) =
                unsure.take_if(|_| last.as_ref() == Some(&writer) || previous == reaction)
            {
                return Ok(Some(Reacted { post, ..reacted }));
            }
            if previous == reaction {
                return Ok(Some(Reacted { post, previous }));
            }
            let mut reacted = Reacted { post, previous };
            count_change(&mut reacted.post.reactions, previous, reaction);
            match self.set_reaction(&reacted, version, &writer, user_id, reaction).await {
                Ok(true) => return Ok(Some(reacted)),
                Ok(false) => {}
                Err(error @ StoreError::Unknown(_)) => unsure = Some((error, reacted)),
                Err(error) => return Err(known(&unsure, error)),
            }
            self.back_off(tries).await;
        }
        Err(known(&unsure, StoreError::Unavailable("too many react to one post".to_owned())))
    }

    async fn reactions_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, ReactionType>, StoreError> {
        let mut reactions = BTreeMap::new();
        for some in post_ids.chunks(AT_ONCE) {
            let read = try_join_all(some.iter().map(|id| self.reaction(id, user_id))).await?;
            let found = some.iter().zip(read);
            reactions.extend(found.filter_map(|(id, reaction)| Some((id.clone(), reaction?))));
        }
        Ok(reactions)
    }
}

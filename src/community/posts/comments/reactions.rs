//! The reactions to a comment: a partition each.

use std::time::Duration;

use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Erasure, Export, Fields, Kind, Wants, Whose, key};

use super::super::rules::{self, Counts, ReactionType};
use super::rules::CommentId;
use super::store::CommentStore;

/// The reactions to comments, by comment.
pub static COMMENT_REACTIONS: Kind<(), Counts, ReactionType> =
    Kind::new("comment_reactions", "a comment: 10,000 reactions of 60 B, 600 KB", PERSONAL_OF_REACTIONS)
        .implicit()
        .cached(Duration::from_mins(1));
/// The same of reactions.
const PERSONAL_OF_REACTIONS: &[Fields] = &[
    Fields::of(Whose::RowUser, Export::Given, Erasure::RowRemoved, &["keys.r", "rows.r"]),
    Fields::of_nobody(&["id", "head.reactions.*"]),
];

/// Most reactions to a comment.
const MOST_REACTIONS: u64 = 10_000;
impl CommentStore {
    pub(super) async fn delete_reactions(&self, id: &str) -> Result<(), StoreError> {
        let deleted = self
            .db()
            .change(&COMMENT_REACTIONS, id, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(())));
        deleted.await.map(drop)
    }

    /// Puts a user's reaction to a comment in the place of the one before; `None` takes it back. `None` once the comment is gone.
    pub async fn react(
        &self,
        id: &CommentId,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Option<()>, StoreError> {
        let row = key(&["r", user_id]);
        self.db()
            .change(&COMMENT_REACTIONS, &id.to_string(), Wants::head().row(&row), move |part| {
                let previous = part.row(&row).copied();
                let all: u64 = part.head.reactions.values().sum();
                if previous.is_none() && reaction.is_some() && all >= MOST_REACTIONS {
                    return Err(StoreError::Full("the list of reactions"));
                }
                if !rules::react(&mut part.head, previous, reaction) {
                    return Ok(Decision::Stands(()));
                }
                match reaction {
                    Some(reaction) => part.set(&row, reaction),
                    None => part.remove(&row),
                }
                Ok(Decision::Write(()))
            })
            .await
    }

    /// How many reactions of each kind there are to each of these comments, and which is a user's own, in their order.
    pub async fn reactions(
        &self,
        ids: &[String],
        user_id: &str,
    ) -> Result<Vec<(Counts, Option<ReactionType>)>, StoreError> {
        let row = key(&["r", user_id]);
        let (counts, own) = tokio::try_join!(
            self.db().read_all(&COMMENT_REACTIONS, ids),
            self.db().row_of_all(&COMMENT_REACTIONS, ids, &row)
        )?;
        let counts = counts.into_iter().map(|found| found.map(|found| found.head).unwrap_or_default());
        Ok(counts.zip(own).collect())
    }
}

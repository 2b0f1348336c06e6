//! The votes of polls: 16 partitions a post, with a row for each user who voted.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Erasure, Export, Fields, Kind, Wants, Whose, key};

use super::rules::{Vote, Votes};
use crate::community::posts::store::{COUNTS_KEPT, PostStore};

/// The votes of polls, by post and user. As many may come at once, they are counted in shards.
pub static POLL_VOTES: Kind<(), Votes, Vote> =
    Kind::new("poll_votes", "a 16th of a poll's votes: 60,000 of 80 B, 5 MB", PERSONAL)
        .sharded(16)
        .cached(COUNTS_KEPT);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(Whose::RowUser, Export::Given, Erasure::RowRemoved, &["keys.v", "rows.v.*"]),
    Fields::of_nobody(&["id", "head.voters", "head.choices.*"]),
];

fn vote_key(user_id: &str) -> String {
    key(&["v", user_id])
}

impl PostStore {
    /// Puts a user's vote in the place of the one before; `None` takes it back. Whether that changed anything; `None` once the
    /// post is deleted. The counts change with the vote in one step.
    pub async fn vote(
        &self,
        post_id: &str,
        user_id: &str,
        vote: Option<Vote>,
    ) -> Result<Option<bool>, StoreError> {
        let row = vote_key(user_id);
        let wants = Wants::head().row(&row);
        self.db()
            .change_shard(&POLL_VOTES, post_id, user_id, wants, move |part| {
                let before = part.row(&row).cloned();
                if !part.head.replace(before.as_ref(), vote.as_ref()) {
                    return Ok(Decision::Stands(false));
                }
                match &vote {
                    Some(vote) => part.set(&row, vote.clone()),
                    None => part.remove(&row),
                }
                Ok(Decision::Write(true))
            })
            .await
    }

    /// How often was voted in each of these posts, in their order. Votes by way of this node are counted, others' of the last two
    /// seconds may not be.
    pub async fn votes(&self, post_ids: &[String]) -> Result<Vec<Votes>, StoreError> {
        try_join_all(post_ids.iter().map(|id| self.db().sum_of_shards(&POLL_VOTES, id, Votes::add))).await
    }

    /// How often was voted in a post now.
    pub async fn votes_now(&self, post_id: &str) -> Result<Votes, StoreError> {
        let shards = self.db().shards_now(&POLL_VOTES, post_id).await?;
        let mut sum = Votes::default();
        shards.heads.iter().for_each(|votes| sum.add(votes));
        Ok(sum)
    }

    /// A user's votes in these posts, by post id; posts without one are absent.
    pub async fn votes_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, Vote>, StoreError> {
        let found = self.db().row_in_shards(&POLL_VOTES, post_ids, user_id, &vote_key(user_id)).await?;
        let votes = post_ids.iter().zip(found);
        Ok(votes.filter_map(|(id, vote)| Some((id.clone(), vote?))).collect())
    }

    /// Removes the votes of a post that is gone; from then on nobody can vote there.
    pub async fn delete_votes(&self, post_id: &str) -> Result<(), StoreError> {
        self.db().delete_shards(&POLL_VOTES, post_id).await
    }

    /// Says who is told of each post in which was voted by way of this node.
    pub fn on_votes(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.db().on_change_of_shards(&POLL_VOTES, listener);
    }
}

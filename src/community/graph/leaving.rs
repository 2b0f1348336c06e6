//! What becomes of relations when somebody leaves the community: nobody has any to who is gone.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Part, Wants};

use super::relations::Sorts;
use super::rules::Tie;
use super::store::{CIRCLES, Circle, Circles, FOLLOWERS, Follower, FollowerCount, follower_key, tie_key};

impl Circles {
    /// Whether somebody who had a circle has left.
    pub(super) async fn is_gone(&self, user_id: &str) -> Result<bool, StoreError> {
        self.db.is_deleted(CIRCLES.spec(), user_id).await
    }

    /// Takes the relation to somebody who is gone out of a circle, with what counts it. Nobody is told. Doing it again changes
    /// nothing.
    pub async fn forget(&self, owner: &str, gone: &str) -> Result<(), StoreError> {
        let row = tie_key(gone);
        let forgotten =
            self.db.change(&CIRCLES, owner, Wants::head().row(&row), move |part: &mut Circle<'_>| {
                let Some(tie) = part.row(&row).cloned() else {
                    return Ok::<_, StoreError>(Decision::Stands(()));
                };
                part.head.last += 1;
                part.head.counts.replace(&tie, &Tie::default());
                part.head.view += u64::from(Sorts::of(&tie) != Sorts::default());
                part.head.rows = part.head.rows.saturating_sub(1);
                part.remove(&row);
                Ok(Decision::Write(()))
            });
        forgotten.await.map(drop)
    }

    /// Takes somebody who is gone out of a user's followers, and counts one less if the follower was counted. Doing it again
    /// changes nothing.
    pub async fn forget_follower(&self, target: &str, gone: &str) -> Result<(), StoreError> {
        let row = follower_key(gone);
        let wants = Wants::head().row(&row);
        let rule = move |part: &mut Part<'_, (), FollowerCount, Follower>| {
            let Some(known) = part.row(&row) else { return Ok::<_, StoreError>(Decision::Stands(())) };
            let counted = u64::from(known.follows);
            part.head.count = part.head.count.saturating_sub(counted);
            part.remove(&row);
            Ok(Decision::Write(()))
        };
        self.db.change_shard(&FOLLOWERS, target, gone, wants, rule).await.map(drop)
    }
}

//! Names that belong to one user: whoever claims one first has it.
//!
//! A claim comes before its user's row. One that is old and has no row is left over from a crash, and the next who
//! wants the name takes it over; so a user must not be written long after the claims.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::query::Query;
use super::session::Cql;
use super::value::{from_cql, to_cql};
use crate::StoreError;

/// How old a claim without a user is when it is left over.
const LEFT_OVER: SignedDuration = SignedDuration::from_secs(60);
/// How long after the first claim a user may still be written: well before others take the claim for left over.
pub(super) const WRITE_USER_WITHIN: Duration = Duration::from_secs(30);
/// How often a claim is tried when others come between.
const MAX_TRIES: u32 = 10;

const CLAIM: Query = Query::cas(
    "user_names",
    "INSERT INTO user_names (kind, name, user_id, claimed_at) VALUES (?, ?, ?, ?) IF NOT EXISTS",
);
const HOLDER: Query = Query::serial_read(
    "user_names",
    "SELECT user_id, claimed_at FROM user_names WHERE kind = ? AND name = ?",
);
const TAKE_OVER: Query = Query::cas(
    "user_names",
    "UPDATE user_names SET user_id = ?, claimed_at = ? WHERE kind = ? AND name = ? IF user_id = ? AND claimed_at = ?",
);
const RELEASE: Query =
    Query::cas("user_names", "DELETE FROM user_names WHERE kind = ? AND name = ? IF user_id = ?");
const OWNER: Query = Query::read("user_names", "SELECT user_id FROM user_names WHERE kind = ? AND name = ?");
const USER_EXISTS: Query = Query::read("users", "SELECT id FROM users WHERE id = ?");

/// A name in the form in which names are compared.
#[derive(Clone, Debug)]
pub(super) struct Name {
    kind: &'static str,
    folded: String,
}

impl Name {
    pub(super) fn email(email: &str) -> Self {
        Self { kind: "email", folded: email.to_lowercase() }
    }

    pub(super) fn username(username: &str) -> Self {
        Self { kind: "username", folded: username.to_lowercase() }
    }
}

#[derive(DeserializeRow)]
struct Holder {
    user_id: String,
    claimed_at: CqlTimestamp,
}

impl Cql {
    /// The user who has a name, if the claim's user was written.
    pub(super) async fn owner(&self, name: &Name) -> Result<Option<String>, StoreError> {
        Ok(self.one::<(String,)>(&OWNER, (name.kind, &name.folded)).await?.map(|(user_id,)| user_id))
    }

    /// Claims a name for a user; whether it is the user's now.
    pub(super) async fn claim(&self, name: &Name, user_id: &str) -> Result<bool, StoreError> {
        let _turn = self.turn("user_names", &format!("{} {}", name.kind, name.folded)).await?;
        for tries in 0..MAX_TRIES {
            let now = to_cql(Timestamp::now());
            match self.compare_and_set(&CLAIM, (name.kind, &name.folded, user_id, now)).await {
                Ok(true) => return Ok(true),
                // The holder tells what came of it.
                Ok(false) | Err(StoreError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            match self.holder(name).await? {
                Some(holder) if holder.user_id == user_id => return Ok(true),
                Some(holder) if !self.is_left_over(&holder).await? => return Ok(false),
                Some(holder) => {
                    let values = (user_id, now, name.kind, &name.folded, &holder.user_id, holder.claimed_at);
                    match self.compare_and_set(&TAKE_OVER, values).await {
                        Ok(true) => return Ok(true),
                        Ok(false) | Err(StoreError::Unknown(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                None => {}
            }
            self.back_off(tries).await;
        }
        Err(StoreError::Unavailable("too many claim one name".to_owned()))
    }

    /// Whether somebody has a name, without claiming it.
    pub(super) async fn is_taken(&self, name: &Name) -> Result<bool, StoreError> {
        match self.holder(name).await? {
            Some(holder) => Ok(!self.is_left_over(&holder).await?),
            None => Ok(false),
        }
    }

    /// Gives a user's own claim back. Where that fails the claim counts as left over soon.
    pub(super) async fn release(&self, name: &Name, user_id: &str) {
        let released = self.compare_and_set(&RELEASE, (name.kind, &name.folded, user_id)).await;
        if let Err(error) = released {
            tracing::debug!(%error, kind = name.kind, "a claim was not given back");
        }
    }

    async fn holder(&self, name: &Name) -> Result<Option<Holder>, StoreError> {
        self.one::<Holder>(&HOLDER, (name.kind, &name.folded)).await
    }

    async fn is_left_over(&self, holder: &Holder) -> Result<bool, StoreError> {
        let is_old = Timestamp::now().duration_since(from_cql(holder.claimed_at)?) > LEFT_OVER;
        Ok(is_old && self.one::<(String,)>(&USER_EXISTS, (&holder.user_id,)).await?.is_none())
    }
}

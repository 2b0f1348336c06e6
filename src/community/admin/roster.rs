//! Who was given which role: one partition of all decisions, so that two of them never cross. Whoever gives a role is an admin at that
//! moment and keeps the own role, so there is always one.
//!
//! The decision is the commit point. The account follows from it, and all tokens that say another role are locked out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Revocations;
use mundotango_gateway::revocation_store::Revoked;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose, key};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::held;
use crate::community::accounts::store::AccountStore;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;
use crate::community::roles::Role;

/// All decisions.
pub static ROSTER: Kind<(), (), Given> =
    Kind::new("roster", "all: 10,000 decisions of 200 B, 2 MB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(Whose::RowUser, Export::Given, Erasure::RowRemoved, &["keys.u", "rows.u.role", "rows.u.at"]),
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is told by role"),
        Erasure::Anonymous("the decision stands, whoever made it"),
        &["rows.u.by"],
    ),
    Fields::of_nobody(&["id", "rows.u.done"]),
];

/// Brings an account to what was decided, where whoever decided it could not.
static FOLLOW: JobKind<Follow> = JobKind::new("role_follow", &NOTIFICATION, 1);
/// How long whoever decides has for that: a job that comes earlier would lock out who has just logged in again.
const FOLLOWED_AFTER: SignedDuration = SignedDuration::from_secs(10);

const ALL: &str = "all";

/// A role that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The role.
    pub role: Role,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Whether the account has it, and what said another role is locked out.
    pub done: bool,
}

/// What came of giving a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was given.
    Given,
    /// The user had it.
    Stands,
    /// Whoever gives it is no admin any more.
    NotAdmin,
}

#[derive(Debug, Serialize, Deserialize)]
struct Follow {
    user_id: String,
}

fn row_key(user_id: &str) -> String {
    key(&["u", user_id])
}

/// The decisions of a store.
#[derive(Clone)]
pub struct Roster(Db);

impl Roster {
    /// The decisions of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Gives a user a role, by somebody else whose account is an admin's as far as the caller knows.
    pub async fn give(
        &self,
        (user_id, has): (&str, Role),
        role: Role,
        by: &str,
        act: Act,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let (own, given, by) = (row_key(by), row_key(user_id), by.to_owned());
        let follow = FOLLOW.job(&Follow { user_id: user_id.to_owned() })?;
        let follow = follow.due(now.saturating_add(FOLLOWED_AFTER).unwrap_or(now)).group(user_id);
        let wants = Wants::head().row(&own).row(&given);
        let decided = self.0.change(&ROSTER, ALL, wants, move |part| {
            // Somebody may just have taken it away.
            if part.row(&own).is_some_and(|own| own.role < Role::Admin) {
                return Ok::<_, StoreError>(Decision::Stands(Decided::NotAdmin));
            }
            let known = part.row(&given);
            if known.map_or(has, |known| known.role) == role {
                return Ok(Decision::Stands(Decided::Stands));
            }
            // Later than the decision before by whatever clock, as accounts follow the latest.
            let after = known.and_then(|known| known.at.checked_add(SignedDuration::from_millis(1)).ok());
            let at = after.map_or(now, |after| after.max(now));
            part.set(&given, Given { role, at, by: by.clone(), done: false });
            part.emit(&Effect::audit(act.clone()))?;
            part.emit(&Effect::job(follow.clone()))?;
            Ok(Decision::Write(Decided::Given))
        });
        Ok(decided.await?.unwrap_or(Decided::Stands))
    }

    async fn given(&self, user_id: &str) -> Result<Option<Given>, StoreError> {
        self.0.row(&ROSTER, ALL, &row_key(user_id)).await
    }

    async fn note_done(&self, user_id: &str, done: Given) -> Result<(), StoreError> {
        let row = row_key(user_id);
        let noted = self.0.change(&ROSTER, ALL, Wants::head().row(&row), move |part| {
            if part.row(&row) != Some(&done) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.set(&row, Given { done: true, ..done.clone() });
            Ok(Decision::Write(()))
        });
        noted.await.map(drop)
    }
}

/// Has accounts and tokens follow from what was decided.
#[derive(Clone)]
pub struct Roles {
    roster: Roster,
    accounts: AccountStore,
    revocations: Arc<Revocations>,
    /// How long a token that says another role would be good.
    lifetime: Duration,
}

impl Roles {
    /// Those of a store, with who is locked out and how long access tokens are good.
    pub fn new(db: &Db, revocations: Arc<Revocations>, lifetime: Duration) -> Self {
        let (roster, accounts) = (Roster::new(db.clone()), AccountStore::new(db.clone()));
        Self { roster, accounts, revocations, lifetime }
    }

    /// Brings a user's account and tokens to what was decided last. Doing it again changes nothing.
    pub async fn follow(&self, user_id: &str) -> Result<(), StoreError> {
        let Some(given) = self.roster.given(user_id).await?.filter(|given| !given.done) else {
            return Ok(());
        };
        let is_staff = given.role >= Role::Moderator;
        let effects = if is_staff { Vec::new() } else { held::give_back(user_id, given.at)? };
        self.accounts.set_role(user_id, given.role, given.at, effects).await?;
        // After the account has the role, so that every token that is issued from then on says it.
        let until = now() + self.lifetime;
        self.revocations.revoke(Revoked::UserTokens(user_id.to_owned()), Some(until)).await?;
        self.roster.note_done(user_id, given).await
    }
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, roles: Roles) -> NewPools {
    pools.handle(&FOLLOW, roles)
}

#[async_trait]
impl Handler<Follow> for Roles {
    async fn run(&self, _: &Attempted, job: Follow) -> Result<(), Failure> {
        Ok(self.follow(&job.user_id).await?)
    }
}

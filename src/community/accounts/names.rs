//! Names that belong to one user: whoever claims one first has it, and no clock decides.
//!
//! A claim comes before its user is created, and is confirmed after that. Whoever finds a claim that is not confirmed, and no
//! user who owns it, takes it over; the owner, should it still be on its way, then fails to confirm and undoes its user.

use std::time::{Duration, Instant};

use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use serde::{Deserialize, Serialize};

use super::kind::USERS;

/// The names: `email:` and `username:` with the name in lower case.
pub static NAMES: Kind<(), Claim, ()> = Kind::new("names", "a name: 1 row of 300 B", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::NotGiven("the account has the name"),
        Erasure::Kept(
            "a name that mentions lead to is never given to a stranger; an address is removed, and a user name stays as a digest",
        ),
        &["id"],
    ),
    Fields::of(Whose::User, Export::NotGiven("the account has the name"), Erasure::Emptied, &["head.owner"]),
    Fields::of_nobody(&["head.confirmed"]),
];

/// How long a claim that is not confirmed is waited for, before it is taken for the rest of a crash: creating a user takes
/// a few milliseconds. Taking over too early is safe, and only makes the other one fail.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks at such a claim.
const LOOK: Duration = Duration::from_millis(50);

/// Who has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The id of the user who claimed it, if somebody did.
    pub owner: Option<String>,
    /// Whether that user was created.
    pub confirmed: bool,
}

/// A name in the form in which names are compared.
#[derive(Clone, Debug)]
pub struct Name(String);

impl Name {
    /// An e-mail address.
    pub fn email(email: &str) -> Self {
        Self(format!("email:{}", email.to_lowercase()))
    }

    /// A username.
    pub fn username(username: &str) -> Self {
        Self(format!("username:{}", username.to_lowercase()))
    }

    /// The user who has the name.
    pub async fn owner(&self, db: &Db) -> Result<Option<String>, StoreError> {
        Ok(db.read(&NAMES, &self.0).await?.and_then(|found| found.head.owner))
    }

    /// Claims the name for a user who is about to be created; whether it is the user's now.
    pub async fn claim(&self, db: &Db, user_id: &str) -> Result<bool, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(other) = self.claim_or_holder(db, user_id, None).await? else { return Ok(true) };
            let Some(owner) = other.owner.filter(|_| !other.confirmed) else { return Ok(false) };
            if db.read_with(&USERS, &owner, &[]).await?.is_some() {
                return Ok(false);
            }
            if Instant::now() < deadline {
                tokio::time::sleep(LOOK).await;
            } else if self.claim_or_holder(db, user_id, Some(owner)).await?.is_none() {
                return Ok(true);
            }
        }
    }

    /// Claims the name if nobody has it, or only `dead` without a confirmation; who has it otherwise.
    async fn claim_or_holder(
        &self,
        db: &Db,
        user_id: &str,
        dead: Option<String>,
    ) -> Result<Option<Claim>, StoreError> {
        let user_id = user_id.to_owned();
        let holder = db.change(&NAMES, &self.0, Wants::head(), move |part| {
            let is_left_over = dead.is_some() && part.head.owner == dead && !part.head.confirmed;
            match &part.head.owner {
                Some(owner) if *owner == user_id => Ok::<_, StoreError>(Decision::Stands(None)),
                Some(_) if !is_left_over => Ok(Decision::Stands(Some(part.head.clone()))),
                Some(_) | None => {
                    part.head = Claim { owner: Some(user_id.clone()), confirmed: false };
                    Ok(Decision::Write(None))
                }
            }
        });
        Ok(holder.await?.flatten())
    }

    /// Confirms the claim of a user who was created; whether the user still has the name.
    pub async fn confirm(&self, db: &Db, user_id: &str) -> Result<bool, StoreError> {
        let user_id = user_id.to_owned();
        let confirmed = db.change(&NAMES, &self.0, Wants::head(), move |part| {
            if part.head.owner.as_ref() != Some(&user_id) {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.head.confirmed = true;
            Ok(Decision::Write(true))
        });
        Ok(confirmed.await?.unwrap_or_default())
    }

    /// Gives the name back, if it is the user's.
    pub async fn release(&self, db: &Db, user_id: &str) -> Result<(), StoreError> {
        let user_id = user_id.to_owned();
        let released = db.change(&NAMES, &self.0, Wants::head(), move |part| {
            if part.head.owner.as_ref() != Some(&user_id) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head = Claim::default();
            Ok(Decision::Write(()))
        });
        released.await.map(drop)
    }
}

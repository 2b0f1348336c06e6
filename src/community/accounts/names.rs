//! Names that belong to one user: whoever claims one first has it, and no clock decides.
//!
//! A claim comes before its user is created, and is confirmed after that. Whoever finds a claim that is not confirmed, and no
//! user who owns it, takes it over; the owner, should it still be on its way, then fails to confirm and undoes its user.

use std::time::{Duration, Instant};

use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Plain, Wants, Whose};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::kind::USERS;

/// The names: `email:` and `username:` with the name in lower case, `alike:` with what the username looks like; `left:` with the digest
/// of a name whose user has left.
pub static NAMES: Kind<(), Claim, ()> = Kind::new("names", "a name: 1 row of 300 B", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::At("head.owner"),
        Export::NotGiven("the account has the name"),
        Erasure::Kept(
            "a name that mentions lead to is never given to a stranger; an address is removed, and a user name stays as a digest",
        ),
        &["id"],
    ),
    Fields::of(
        Whose::At("head.owner"),
        Export::NotGiven("the account has the name"),
        Erasure::Emptied,
        &["head.owner"],
    ),
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

/// What a username looks like: two with the same are hard to tell apart. It is UTS #39's skeleton, as far as usernames, which are of
/// ASCII, have confusable characters: `0` is `o`, `1` and `I` are `l`, and `m` is `rn`. As case does not tell names apart, `i` is what
/// `I` is, and of the signs that part words one is like another.
fn skeleton(username: &str) -> String {
    username.to_ascii_lowercase().chars().fold(
        String::with_capacity(username.len()),
        |mut seen, character| {
            match character {
                '0' => seen.push('o'),
                '1' | 'i' => seen.push('l'),
                'm' => seen.push_str("rn"),
                '-' | '.' => seen.push('_'),
                other => seen.push(other),
            }
            seen
        },
    )
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

    /// What a username looks like, so that nobody has one that is taken for another's.
    pub fn alike(username: &str) -> Self {
        Self(format!("alike:{}", skeleton(username)))
    }

    /// The name of an id of [`NAMES`].
    pub(super) fn of_id(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// Whether nobody gets it again after its user.
    fn is_kept_for_good(&self) -> bool {
        self.0.starts_with("username:") || self.0.starts_with("alike:")
    }

    /// Where it is noted that the name was a user's who has left: whoever has the name finds it, and who has that does not find
    /// the name.
    fn left(&self) -> String {
        let digest = Sha256::new().chain_update("mundotango: a name that was left\n").chain_update(&self.0);
        let digest = digest.finalize();
        digest.iter().take(16).fold("left:".to_owned(), |mut text, byte| {
            // Writing into a string does not fail.
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
            text
        })
    }

    /// Whether the name was a user's who has left. Nobody gets it again, as mentions and followers lead to it.
    async fn is_left(&self, db: &Db) -> Result<bool, StoreError> {
        Ok(self.is_kept_for_good()
            && db.read(&NAMES, &self.left()).await?.is_some_and(|found| found.head.confirmed))
    }

    /// Takes a name from a user who has left: an address as if it had never been one, and a user name so that nobody gets it
    /// again. Doing it again changes nothing.
    pub(super) async fn leave(&self, db: &Db, user_id: &str) -> Result<(), StoreError> {
        if self.owner(db).await?.as_deref() != Some(user_id) {
            return Ok(());
        }
        if self.is_kept_for_good() {
            // First, so that there is no moment at which a stranger can claim it.
            db.change(&NAMES, &self.left(), Wants::head(), |part| {
                if part.head.confirmed {
                    return Ok::<_, StoreError>(Decision::Stands(()));
                }
                part.head = Claim { owner: None, confirmed: true };
                Ok(Decision::Write(()))
            })
            .await?;
        }
        let is_theirs = |claim: &Plain| {
            let owner = claim.head.as_ref().and_then(|head| head.get("owner")?.as_str());
            owner == Some(user_id)
        };
        db.forget_partition(NAMES.spec(), &self.0, is_theirs).await.map(drop)
    }

    /// The user who has the name.
    pub async fn owner(&self, db: &Db) -> Result<Option<String>, StoreError> {
        Ok(db.read(&NAMES, &self.0).await?.and_then(|found| found.head.owner))
    }

    /// Claims the name for a user who is about to be created; whether it is the user's now.
    pub async fn claim(&self, db: &Db, user_id: &str) -> Result<bool, StoreError> {
        if self.is_left(db).await? || !self.claim_from_others(db, user_id).await? {
            return Ok(false);
        }
        // Its user may have left in between.
        if self.is_left(db).await? {
            self.release(db, user_id).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn claim_from_others(&self, db: &Db, user_id: &str) -> Result<bool, StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_hard_to_tell_apart_look_alike_and_others_do_not() {
        for (one, other) in [
            ("Ian", "lan"),
            ("bob", "B0B"),
            ("mario", "rnario"),
            ("Maria", "rnarla"),
            ("ana.perez", "ana_perez"),
            ("ana-perez", "ANA.PEREZ"),
            ("dj1", "djI"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in
            [("ana", "ana_"), ("ana", "anna"), ("ben5", "bens"), ("nario", "mario"), ("a1", "a2")]
        {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    #[test]
    fn digits_are_told_apart_from_each_other() {
        let all: std::collections::BTreeSet<_> =
            (0..1000).map(|number| skeleton(&format!("dancer-{number}"))).collect();
        assert_eq!(all.len(), 1000);
    }
}

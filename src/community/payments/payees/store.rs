//! Where payees are kept: a partition for each user, and one for each account that says whose it is.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use serde::{Deserialize, Serialize};

use super::rules::Payee;
use crate::community::payments::stripe::SeenAccount;

/// The payees, by the user.
pub static PAYEES: Kind<(), Payee, ()> = Kind::new("payees", "a user: 2 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &[
            "id",
            "head.seen.takes_money",
            "head.seen.pays_out",
            "head.seen.due.**",
            "head.seen.disabled",
            "head.seen_at",
        ],
    ),
    Fields::of(
        Whose::User,
        Export::NotGiven("it is a name at Stripe, which gives it itself"),
        Erasure::Removed,
        &["head.account", "head.seen.id"],
    ),
    Fields::of_nobody(&["head.asked_at", "head.before", "head.version"]),
];

/// Whose account at Stripe it is, by the account.
pub static PAYEE_ACCOUNTS: Kind<(), AccountOwner, ()> =
    Kind::new("payee_accounts", "an account: 100 B", PERSONAL_OF_ACCOUNTS).implicit();
/// The same of accounts.
const PERSONAL_OF_ACCOUNTS: &[Fields] =
    &[Fields::of(Whose::Named, Export::NotGiven("the payee is"), Erasure::Removed, &["id", "head.user_id"])];

/// Whose account it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountOwner {
    /// Nobody's, if empty.
    user_id: String,
}

/// The payees of a store.
#[derive(Clone)]
pub struct PayeeStore(Db);

impl PayeeStore {
    /// The payees of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// What is kept of a payee.
    pub async fn of(&self, user_id: &str) -> Result<Payee, StoreError> {
        Ok(self.0.read(&PAYEES, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Whose account it is; nobody's that is not of here, or whose user has left.
    pub async fn owner_of(&self, account: &str) -> Result<Option<String>, StoreError> {
        let owner = self.0.read(&PAYEE_ACCOUNTS, account).await?.map(|found| found.head.user_id);
        Ok(owner.filter(|owner| !owner.is_empty()))
    }

    /// Gives a payee an account that was just made, where there were so many before; what is kept then.
    pub async fn take(
        &self,
        user_id: &str,
        before: u32,
        seen: SeenAccount,
        now: Timestamp,
    ) -> Result<Payee, StoreError> {
        // Whose it is can be told before anybody uses it: what Stripe says of it finds its user.
        let owner = AccountOwner { user_id: user_id.to_owned() };
        let owned = self.0.change(&PAYEE_ACCOUNTS, &seen.id, Wants::head(), move |part| {
            let is_new = part.head != owner;
            part.head = owner.clone();
            Ok::<_, StoreError>(Decision::write_if(is_new))
        });
        owned.await?;
        let taken = self.0.change(&PAYEES, user_id, Wants::head(), move |part| {
            let is_taken = part.head.take(before, &seen, now);
            let payee = part.head.clone();
            Ok::<_, StoreError>(if is_taken { Decision::Write(payee) } else { Decision::Stands(payee) })
        });
        Ok(taken.await?.unwrap_or_default())
    }

    /// Whether who reads a payee now has Stripe asked; of those at the same time, on whatever nodes, one has.
    pub async fn ask(&self, user_id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let asked = self.0.change(&PAYEES, user_id, Wants::head(), move |part| {
            let is_to_be_asked = part.head.is_to_be_asked(now);
            if is_to_be_asked {
                part.head.asked_at = Some(now);
            }
            Ok::<_, StoreError>(Decision::write_if(is_to_be_asked))
        });
        Ok(asked.await?.unwrap_or_default())
    }

    /// Notes what Stripe says who was asked after a version of a payee; whether that still counts.
    pub async fn note(
        &self,
        user_id: &str,
        version: u64,
        seen: Option<SeenAccount>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let noted = self.0.change(&PAYEES, user_id, Wants::head(), move |part| {
            Ok::<_, StoreError>(Decision::write_if(part.head.note(version, seen.clone(), now)))
        });
        Ok(noted.await?.unwrap_or_default())
    }
}

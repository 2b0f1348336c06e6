//! Who is locked out, as it is kept: blocked users, and tokens that are good no longer before they expire.

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, prefix, shard_of,
};
use serde::{Deserialize, Serialize};

/// What is locked out, spread over [`SHARDS`] partitions that every node reads whole.
pub static REVOCATIONS: Kind<(), (), Revocation> =
    Kind::new("revocations", "a 16th of all: 5,000 rows of 150 B, 1 MB", PERSONAL).implicit().short_lived();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("the operator tells why when asked"),
        Erasure::Kept(
            "until its end; a user who is locked out stays so, or deleting the account would lift it",
        ),
        &["keys.r", "rows.r.what.**", "rows.r.at", "rows.r.until"],
    ),
    Fields::of_nobody(&["id"]),
];

/// Partitions over which revocations are spread. A part of the layout, as the hash is.
const SHARDS: u64 = 16;
/// Below this lie the revocations, by what is revoked.
const ROWS: &str = "r";
/// Rows that are read at a time.
const READ_AT_ONCE: usize = 1_000;
/// Rows that have ended and are removed together.
const REMOVED_AT_ONCE: usize = 100;

/// What is locked out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Revoked {
    /// A user, with every token of the user.
    User(String),
    /// The tokens of a user that were issued before the revocation's own time.
    UserTokens(String),
    /// The tokens of one login.
    Login(String),
    /// One token, by its own id (`jti`).
    Token(String),
}

/// One lock-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is locked out.
    pub what: Revoked,
    /// Since when.
    pub at: Timestamp,
    /// Until when; for ever if absent. Past this the entry may be forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Revocation {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// The port to revocations. There are few, so a node holds all in memory and reads them once.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Adds a revocation; one of the same thing is replaced.
    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError>;

    /// Takes a revocation back; whether there was one.
    async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError>;

    /// All revocations that hold at a time. Those that do not are forgotten.
    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError>;
}

/// Where a revocation lies: the id of its partition, and the key of its row.
fn place(what: &Revoked) -> (String, String) {
    let (kind, id) = match what {
        Revoked::User(id) => ("user", id),
        Revoked::UserTokens(id) => ("user_tokens", id),
        Revoked::Login(id) => ("login", id),
        Revoked::Token(id) => ("token", id),
    };
    let row = key(&[ROWS, kind, id]);
    (shard_of(&row, SHARDS).to_string(), row)
}

#[async_trait]
impl RevocationStore for Db {
    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        let (shard, row) = place(&revocation.what);
        let revoked = self.change(&REVOCATIONS, &shard, Wants::head(), move |part| {
            part.set(&row, revocation.clone());
            Ok::<_, StoreError>(Decision::Write(()))
        });
        revoked.await.map(drop)
    }

    async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError> {
        let (shard, row) = place(what);
        let reinstated = self.change(&REVOCATIONS, &shard, Wants::head().row(&row), move |part| {
            if part.row(&row).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.remove(&row);
            Ok(Decision::Write(true))
        });
        Ok(reinstated.await?.unwrap_or_default())
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let mut all = Vec::new();
        for shard in 0..SHARDS {
            let (shard, mut after) = (shard.to_string(), None);
            let mut ended = Vec::new();
            loop {
                let range = RowRange::first(prefix(&[ROWS]), READ_AT_ONCE).after(after);
                let page = self.rows(&REVOCATIONS, &shard, &range).await?;
                for (row, revocation) in page.items {
                    if revocation.holds(now) {
                        all.push(revocation);
                    } else {
                        ended.push(row);
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            for some in ended.chunks(REMOVED_AT_ONCE) {
                remove_ended(self, &shard, some.to_vec(), now).await?;
            }
        }
        Ok(all)
    }
}

/// Removes those of these rows that have ended; one that was revoked again meanwhile stays.
async fn remove_ended(db: &Db, shard: &str, rows: Vec<String>, now: Timestamp) -> Result<(), StoreError> {
    let wants = rows.iter().fold(Wants::head(), Wants::row);
    let removed = db.change(&REVOCATIONS, shard, wants, move |part| {
        for row in &rows {
            if part.row(row).is_some_and(|revocation| !revocation.holds(now)) {
                part.remove(row);
            }
        }
        Ok::<_, StoreError>(Decision::Write(()))
    });
    removed.await.map(drop)
}

//! Roots: once a day the ends of all chains of the day are signed, so that whoever can write to the store cannot make the past
//! anew unnoticed. A root names the one before it, and what is signed goes into the log as well, which is kept elsewhere.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use mundotango_gateway::tokens::Tokens;
use mundotango_storage::db::{Db, Decision, Fields, Kind, RowRange, Wants, key, last_part, number, prefix};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rules::{Break, Check, Tip, chain, chains, digest};
use super::store::AuditStore;

/// The roots of all days.
pub static AUDIT_ROOTS: Kind<(), Head, Row> =
    Kind::new("audit_roots", "all days: 800 roots of 1.5 KB a year, 1.2 MB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of_nobody(&[
    "id",
    "head.count",
    "head.last",
    "head.day",
    "keys.r",
    "rows.r.root.**",
    "keys.d",
    "rows.d.number",
])];

/// The partition of all roots.
const ALL: &str = "all";
/// What hashes of roots begin with.
const ROOT: &str = "mundotango audit root 1";
/// Days that are signed at once at most, where nobody signed for long.
const MOST_DAYS: usize = 400;
/// Roots of one day at most: it is signed again only where entries came late, which they do for a day.
const MOST_OF_A_DAY: usize = 10;

/// What changes about the roots besides the rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// How many there are.
    count: u64,
    /// The hash of the last one.
    last: String,
    /// The last day that was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    day: Option<Date>,
}

/// A row of the roots.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `r`, by number.
    Root(Box<Root>),
    /// Below `d`, by day and number.
    Number(u64),
}

/// What is signed of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The day, in UTC.
    pub day: Date,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The end of each chain, by shard.
    pub tips: Vec<Tip>,
    /// The hash of the root before it; empty for the first.
    pub previous: String,
    /// The hash of all this.
    pub hash: String,
    /// The public key that signed it (Ed25519), in base 64.
    pub key: String,
    /// The signature of the hash, in base 64.
    pub signature: String,
}

impl Root {
    fn hashed(&self) -> String {
        let (day, at) = (self.day.to_string(), self.signed_at.to_string());
        let counts: Vec<_> = self.tips.iter().map(|tip| tip.count.to_string()).collect();
        let mut texts = vec![ROOT, &day, &at, &self.previous];
        for (count, tip) in counts.iter().zip(&self.tips) {
            texts.extend([count.as_str(), tip.last.as_str()]);
        }
        digest(texts)
    }

    /// Whether its hash is that of what it says, and its signature that of its key.
    pub fn is_signed(&self) -> bool {
        let (Ok(key), Ok(signature)) = (BASE64.decode(&self.key), BASE64.decode(&self.signature)) else {
            return false;
        };
        self.hashed() == self.hash
            && UnparsedPublicKey::new(&ED25519, key).verify(self.hash.as_bytes(), &signature).is_ok()
    }
}

/// The key of the installation that signs roots. It is made of the node's secret, which the store does not hold, so all nodes have
/// the same and who can write to the store has none.
#[derive(Clone)]
pub struct RootKey(Arc<Ed25519KeyPair>);

impl RootKey {
    /// The key of the node whose tokens these are.
    pub fn of(tokens: &Tokens) -> anyhow::Result<Self> {
        Self::of_secret(tokens.seal("audit roots", "key")?.as_bytes())
    }

    /// The key of a secret that has no other use.
    pub fn of_secret(secret: &[u8]) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&Sha256::digest(secret));
        Ok(Self(Arc::new(pair.map_err(|error| anyhow::anyhow!("no key signs the audit trail: {error}"))?)))
    }

    /// The public part, in base 64.
    pub fn public(&self) -> String {
        BASE64.encode(self.0.public_key())
    }

    fn sign(&self, mut root: Root) -> Root {
        root.key = self.public();
        root.hash = root.hashed();
        root.signature = BASE64.encode(self.0.sign(root.hash.as_bytes()));
        root
    }
}

/// What came of looking at a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRoot {
    /// The root.
    pub root: Root,
    /// Whether its signature holds.
    pub is_signed: bool,
    /// Whether the key is the installation's own of now.
    pub is_own: bool,
    /// Whether it names the root before it.
    pub is_linked: bool,
}

/// What came of looking at a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedDay {
    /// How many entries each chain says that it has, and where it breaks.
    pub chains: Vec<(u64, Option<Break>)>,
    /// The roots of the day.
    pub roots: Vec<CheckedRoot>,
}

impl CheckedDay {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.chains.iter().all(|(_, broken)| broken.is_none())
            && self.roots.iter().all(|root| root.is_signed && root.is_own && root.is_linked)
    }
}

fn root_key(place: u64) -> String {
    key(&["r", &number(place)])
}

/// Signs and checks the days of a store.
#[derive(Clone)]
pub struct Roots {
    db: Db,
    entries: AuditStore,
    key: RootKey,
}

impl Roots {
    /// The roots of a store, signed with a key.
    pub fn new(db: Db, key: RootKey) -> Self {
        Self { entries: AuditStore::new(db.clone()), db, key }
    }

    /// Signs all days up to one that are not signed, and again the last ones where entries came late; how many roots that are.
    pub async fn sign_until(&self, last: Date, now: Timestamp) -> Result<usize, StoreError> {
        let head = self.db.read_with(&AUDIT_ROOTS, ALL, &[]).await?.map(|(found, _)| found.head);
        // An effect is given up after a day, so an entry is not later than that.
        let signed = head.and_then(|head| head.day).and_then(|day| day.yesterday().ok());
        // A clock that was ahead has signed days that are to come: what is signed again goes on from here.
        let from = signed.map_or(last, |signed| signed.min(last.yesterday().unwrap_or(last)));
        let mut made = 0;
        for day in from.series(1.day()).take_while(|day| *day <= last).take(MOST_DAYS) {
            made += usize::from(self.sign(day, now).await?);
        }
        Ok(made)
    }

    /// Signs a day, unless that was done and nothing was added; whether it was signed now.
    async fn sign(&self, day: Date, now: Timestamp) -> Result<bool, StoreError> {
        let tips = self.entries.tips(&chains(day)).await?;
        let (key, of_day) = (self.key.clone(), prefix(&["d", &day.to_string()]));
        let wants = Wants::head().first(&of_day, MOST_OF_A_DAY);
        let signed = self.db.change(&AUDIT_ROOTS, ALL, wants, move |part| {
            let numbers = part.first(&of_day, MOST_OF_A_DAY);
            let is_full = numbers.len() >= MOST_OF_A_DAY;
            let newest = numbers.last().and_then(|(key, _)| last_part(key).parse().ok());
            let newest = newest.and_then(|newest| match part.row(&root_key(newest)) {
                Some(Row::Root(root)) => Some(root.tips.clone()),
                _ => None,
            });
            // What was read before another node signed is older than what is signed.
            let has_more = newest
                .as_ref()
                .is_none_or(|signed| signed.iter().zip(&tips).any(|(signed, tip)| tip.count > signed.count));
            // A day before the first that was signed is not signed after it.
            let is_before = newest.is_none() && part.head.day.is_some_and(|signed| day <= signed);
            if !has_more || is_full || is_before {
                return Ok::<_, StoreError>(Decision::Stands(None));
            }
            let root = key.sign(Root {
                day,
                signed_at: now,
                tips: tips.clone(),
                previous: part.head.last.clone(),
                hash: String::new(),
                key: String::new(),
                signature: String::new(),
            });
            part.head.count += 1;
            part.head.last.clone_from(&root.hash);
            part.head.day = part.head.day.max(Some(day));
            let place = part.head.count;
            part.set(root_key(place), Row::Root(Box::new(root.clone())));
            part.set(format!("{of_day}{}", number(place)), Row::Number(place));
            Ok(Decision::Write(Some(root)))
        });
        let Some(root) = signed.await?.flatten() else { return Ok(false) };
        tracing::info!(%day, root = root.hash, signature = root.signature, key = root.key, "audit trail signed");
        Ok(true)
    }

    /// The roots, the last that was signed first.
    pub async fn list(&self, page: PageRequest) -> Result<Page<CheckedRoot>, StoreError> {
        let (after, skip) = page.start.behind(|place| Some(root_key(place.parse().ok()?)))?;
        // One more tells what the last of the page has to name.
        let range = RowRange::last(prefix(&["r"]), skip + page.limit + 1).after(after);
        let rows = self.db.rows(&AUDIT_ROOTS, ALL, &range).await?.items;
        let roots = rows.into_iter().skip(skip).filter_map(|(key, row)| match row {
            Row::Root(root) => Some((last_part(&key).parse::<u64>().ok()?, *root)),
            Row::Number(_) => None,
        });
        let roots: Vec<_> = roots.collect();
        let next = roots.get(page.limit.saturating_sub(1)).filter(|_| roots.len() > page.limit);
        let next = next.map(|(number, _)| number.to_string());
        let checked = (0..roots.len().min(page.limit)).filter_map(|at| {
            let (_, root) = roots.get(at)?;
            Some(self.checked(root.clone(), roots.get(at + 1).map(|(_, before)| before)))
        });
        Ok(Page { items: checked.collect(), next })
    }

    fn checked(&self, root: Root, before: Option<&Root>) -> CheckedRoot {
        let previous = before.map_or("", |before| before.hash.as_str());
        CheckedRoot {
            is_signed: root.is_signed(),
            is_own: root.key == self.key.public(),
            is_linked: root.previous == previous,
            root,
        }
    }

    /// The roots of a day.
    async fn of_day(&self, day: Date) -> Result<Vec<CheckedRoot>, StoreError> {
        let range = RowRange::first(prefix(&["d", &day.to_string()]), MOST_OF_A_DAY);
        let mut roots = Vec::new();
        for (key, _) in self.db.rows(&AUDIT_ROOTS, ALL, &range).await?.items {
            let Ok(place) = last_part(&key).parse::<u64>() else { continue };
            let root = self.db.row(&AUDIT_ROOTS, ALL, &root_key(place)).await?;
            let before = self.db.row(&AUDIT_ROOTS, ALL, &root_key(place.saturating_sub(1))).await?;
            if let Some(Row::Root(root)) = root {
                let before = before.and_then(|row| match row {
                    Row::Root(root) => Some(*root),
                    Row::Number(_) => None,
                });
                roots.push(self.checked(*root, before.as_ref()));
            }
        }
        Ok(roots)
    }

    /// Computes all chains of a day again.
    pub async fn check(&self, day: Date) -> Result<CheckedDay, StoreError> {
        let roots = self.of_day(day).await?;
        let tips = self.entries.tips(&chains(day)).await?;
        let mut checked = Vec::new();
        for (shard, tip) in (0..).zip(tips) {
            let signed = roots.iter().filter_map(|root| root.root.tips.get(checked.len()).cloned());
            let of = chain(day, shard);
            let mut check = Check::new(&of, signed);
            let mut last = 0;
            loop {
                let (entries, has_more) = self.entries.entries(&of, last).await?;
                for (number, entry) in &entries {
                    // What was written after the end was read is another day's matter.
                    if *number <= tip.count {
                        check.see(*number, entry);
                    }
                    last = *number;
                }
                if !has_more || entries.is_empty() || check.is_broken() || last >= tip.count {
                    break;
                }
            }
            checked.push((tip.count, check.end(&tip)));
        }
        Ok(CheckedDay { chains: checked, roots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_holds_only_as_it_was_signed() {
        let key = RootKey::of_secret(b"a secret").unwrap();
        let root = key.sign(Root {
            day: "2026-11-20".parse().unwrap(),
            signed_at: Timestamp::UNIX_EPOCH,
            tips: vec![Tip { count: 2, last: "x".to_owned() }],
            previous: String::new(),
            hash: String::new(),
            key: String::new(),
            signature: String::new(),
        });
        assert!(root.is_signed());
        let mut other = root.clone();
        other.tips[0].count = 1;
        assert!(!other.is_signed());
        other.hash = other.hashed();
        assert!(!other.is_signed(), "without the key there is no other signature");
        let forged = RootKey::of_secret(b"another secret").unwrap().sign(other);
        assert!(forged.is_signed() && forged.key != root.key, "another key is seen");
    }
}

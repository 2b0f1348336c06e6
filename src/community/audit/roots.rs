//! Roots: once a day the ends of all chains of the day are signed, so that whoever can write to the store cannot make the past
//! anew unnoticed. A root names the one before it, and what is signed goes into the log as well, which is kept elsewhere.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use mundotango_storage::db::{Db, Decision, Fields, Kind, RowRange, Wants, key, last_part, number, prefix};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::lists::Expected;
pub use super::root::{CheckedRoot, Root, RootKey};
use super::root::{CheckedSequence, Sequence};
use super::rules::{Break, Check, Fault, chain, chains};
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
/// Days that are signed at once at most, where nobody signed for long.
const MOST_DAYS: usize = 400;
/// Roots that are read at a time where all are checked.
const CHECKED_AT_ONCE: usize = 500;
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

/// What came of looking at a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedDay {
    /// How many entries each chain says that it has, and where it breaks.
    pub chains: Vec<(u64, Option<Break>)>,
    /// The roots of the day.
    pub roots: Vec<CheckedRoot>,
    /// How many roots of all days there are to be, and where one is missing or does not name the one before it.
    pub all_roots: (u64, Option<Break>),
    /// Whether no root is of the day, though days before and behind it are signed.
    pub is_unsigned: bool,
}

impl CheckedDay {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.chains.iter().chain([&self.all_roots]).all(|(_, broken)| broken.is_none())
            && !self.is_unsigned
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
            let previous = roots.get(at + 1).map_or("", |(_, before)| before.hash.as_str());
            Some(self.key.check(root.clone(), root.previous == previous))
        });
        Ok(Page { items: checked.collect(), next })
    }

    /// Looks at all roots, with a day in mind.
    async fn sequence(&self, day: Date) -> Result<CheckedSequence, StoreError> {
        let head = self.db.read_with(&AUDIT_ROOTS, ALL, &[]).await?.map(|(found, _)| found.head);
        let Head { count, last, .. } = head.unwrap_or_default();
        let mut sequence = Sequence::new(day);
        let mut range = RowRange::first(prefix(&["r"]), CHECKED_AT_ONCE);
        loop {
            let rows = self.db.rows(&AUDIT_ROOTS, ALL, &range).await?;
            for (key, row) in rows.items {
                // What was signed after the end was read is looked at the next time.
                if let (Row::Root(root), Ok(place)) = (row, last_part(&key).parse::<u64>())
                    && place <= count
                {
                    sequence.see(place, *root);
                }
            }
            if rows.next.is_none() {
                return Ok(sequence.end(count, &last));
            }
            range = range.after(rows.next);
        }
    }

    /// Computes all chains of a day again, and looks whether the lists lead to all their entries and all roots are there.
    pub async fn check(&self, day: Date) -> Result<CheckedDay, StoreError> {
        let CheckedSequence { count, broken, is_unsigned, of_day } = self.sequence(day).await?;
        let roots = of_day.into_iter().map(|(root, is_linked)| self.key.check(root, is_linked));
        let roots: Vec<_> = roots.collect();
        let tips = self.entries.tips(&chains(day)).await?;
        let (mut checked, mut expected) = (Vec::new(), Expected::default());
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
                        expected.add(&of, *number, entry);
                    }
                    last = *number;
                }
                if !has_more || entries.is_empty() || check.is_broken() || last >= tip.count {
                    break;
                }
            }
            checked.push((tip.count, check.end(&tip)));
        }
        let unlisted = expected.unlisted(&self.entries, day).await?;
        for ((_, broken), chain) in checked.iter_mut().zip(chains(day)) {
            let unlisted = unlisted.get(&chain);
            *broken = broken.or(unlisted.map(|number| Break { number: *number, fault: Fault::Unlisted }));
        }
        Ok(CheckedDay { chains: checked, roots, all_roots: (count, broken), is_unsigned })
    }
}

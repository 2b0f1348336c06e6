//! The audit trail as it is kept: chains of entries, and the lists in which they are found.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mundotango_protocol::new_id;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Index, Kind, Order, Part, RowRange, Wants, Whose, key, last_part,
    number, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::rules::{Act, Entry, Payload, Tip, Words};
use super::seal;

/// The chains.
pub static AUDIT: Kind<(), Tip, Row> =
    Kind::new("audit", "an eighth of a day: 10,000 entries of 900 B, 9 MB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("who watches over others would be named to them; they are told role and reason"),
        // An entry that is changed breaks its chain, so all stays in which an id may stand.
        Erasure::Kept("5 years, to show who did what; an id that is erased leads to nobody"),
        &[
            "keys.i",
            "rows.e.entry.id",
            "rows.e.entry.actor",
            "rows.e.entry.thing.id",
            "rows.e.entry.payload.sealed.subject",
            "rows.e.entry.payload.forgotten.subject",
            "rows.e.entry.payload.plain.reason",
            "rows.e.entry.payload.plain.details.*",
        ],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("who watches over others would be named to them; they are told role and reason"),
        Erasure::Kept("5 years, but unreadable from then on: the key is destroyed"),
        &["rows.e.entry.payload.sealed.nonce", "rows.e.entry.payload.sealed.text"],
    ),
    Fields::of_nobody(&[
        "id",
        "head.count",
        "head.last",
        "keys.e",
        "rows.e.entry.at",
        "rows.e.entry.role",
        "rows.e.entry.act",
        "rows.e.entry.thing.kind",
        "rows.e.entry.prev",
        "rows.e.entry.hash",
        "rows.i.number",
    ]),
];

/// The lists of entries: `all`, `actor:` and `thing:` with an id, `act:` with a name. By time, then by chain and effect.
pub static AUDIT_LISTS: Index<()> = Index::new(
    "audit_lists",
    "a day of a list: 80,000 entries of 150 B, 12 MB",
    day_of_key,
    Order::NewestFirst,
    LISTED,
);
/// Whose the entries of the lists are.
const LISTED: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it leads to the audit trail"),
        Erasure::Kept("as long as the audit trail; an id that is erased leads to nobody"),
        &["list"],
    ),
    Fields::of_nobody(&["key", "entry.**"]),
];

const MILLIS_OF_A_DAY: i64 = 24 * 60 * 60 * 1000;
/// Characters of a number in a key.
const NUMBER: usize = 20;
/// Entries that a page reads at most: past them it ends early, with a cursor to go on.
const MOST_READ: usize = 500;
/// Entries that are read at a time.
const AT_ONCE: usize = 50;
/// Entries of a chain that are read at a time where it is checked.
const CHECKED_AT_ONCE: usize = 500;

/// A row of a chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `e`, by number.
    Entry(Box<Entry>),
    /// Below `i`, by the effect that wrote it: its number.
    Number(u64),
}

/// An entry as those see it who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The entry.
    pub entry: Entry,
    /// The chain that it is in.
    pub chain: String,
    /// Its number there.
    pub number: u64,
    /// What it says; `None` once the person is erased whom it is about.
    pub words: Option<Words>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this actor.
    pub actor: Option<String>,
    /// About the thing of this id.
    pub thing: Option<String>,
    /// Of this name.
    pub act: Option<String>,
    /// Of this day, in UTC.
    pub day: Option<Date>,
}

fn millis_of(key: &str) -> Option<i64> {
    key.get(..NUMBER)?.parse().ok()
}

fn day_of_key(key: &str) -> Option<i64> {
    Some(millis_of(key)? / MILLIS_OF_A_DAY)
}

/// When a day begins, as keys begin.
fn begins(day: Date) -> Option<u64> {
    let begin = TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
    u64::try_from(begin.as_millisecond()).ok()
}

fn entry_key(place: u64) -> String {
    key(&["e", &number(place)])
}

fn place_key(name: &str) -> String {
    key(&["i", name])
}

/// The lists of an entry.
pub(super) fn lists_of(actor: &str, thing: &str, act: &str) -> [String; 4] {
    ["all".to_owned(), format!("actor:{actor}"), format!("thing:{thing}"), format!("act:{act}")]
}

/// The key of an entry in its lists.
pub(super) fn list_key(at: Timestamp, chain: &str, name: &str) -> String {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
    key(&[&number(millis), chain, name])
}

/// The chain to which a key of the lists leads.
pub fn chain_of(key: &str) -> Option<String> {
    key.split('/').nth(1).map(str::to_owned)
}

impl Wanted {
    /// The shortest list that holds them all.
    fn list(&self) -> String {
        let lists = [("thing", &self.thing), ("actor", &self.actor), ("act", &self.act)];
        let list = lists.into_iter().find_map(|(name, value)| Some((name, value.as_ref()?)));
        list.map_or_else(|| "all".to_owned(), |(name, value)| format!("{name}:{value}"))
    }

    fn holds(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        is(&self.actor, &entry.actor) && is(&self.thing, &entry.thing.id) && is(&self.act, &entry.act)
    }
}

/// The audit trail of a store.
#[derive(Clone)]
pub struct AuditStore(pub(super) Db);

impl AuditStore {
    /// The audit trail of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Writes down an act under the name of what writes it; whether it was not there yet.
    pub async fn record(&self, name: &str, act: Act) -> Result<bool, StoreError> {
        let (chain, place) = (act.chain(name), place_key(name));
        if self.0.row(&AUDIT, &chain, &place).await?.is_some() {
            return Ok(false);
        }
        let payload = match &act.subject {
            Some(subject) => seal::seal(&self.0, subject, name, &act.words).await?,
            None => Payload::Plain(act.words.clone()),
        };
        let listed = list_key(act.at, &chain, name);
        let lists = lists_of(&act.actor, &act.thing.id, &act.act).into_iter();
        let entries: Result<Vec<_>, _> = lists.map(|list| AUDIT_LISTS.entry(list, &listed, &())).collect();
        let (entries, id, of) = (entries?, name.to_owned(), chain.clone());
        let rule = move |part: &mut Part<'_, (), Tip, Row>| {
            if part.row(&place).is_some() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            let number = part.head.count + 1;
            let mut entry = Entry {
                id: id.clone(),
                at: act.at,
                actor: act.actor.clone(),
                role: act.role.clone(),
                act: act.act.clone(),
                thing: act.thing.clone(),
                payload: payload.clone(),
                prev: part.head.hash(&of),
                hash: String::new(),
            };
            entry.hash = entry.hashed(&of, number);
            part.head = Tip { count: number, last: entry.hash.clone() };
            part.set(entry_key(number), Row::Entry(Box::new(entry)));
            part.set(&place, Row::Number(number));
            for entry in &entries {
                part.enter(entry.clone());
            }
            Ok(Decision::Write(true))
        };
        let recorded = self.0.change(&AUDIT, &chain, Wants::head().row(place_key(name)), rule).await?;
        Ok(recorded.unwrap_or_default())
    }

    /// Writes down an act whose change cannot carry an effect, before it is done: none is done without its entry. One that then
    /// fails leaves an entry of what was tried.
    pub async fn note(&self, act: Act) -> Result<(), StoreError> {
        self.record(&new_id(), act).await.map(drop)
    }

    /// Destroys the key under which words about a user are sealed.
    pub async fn forget(&self, user_id: &str) -> Result<(), StoreError> {
        seal::forget(&self.0, user_id).await
    }

    /// The ends of chains, in their order.
    pub(super) async fn tips(&self, chains: &[String]) -> Result<Vec<Tip>, StoreError> {
        // Not through a list, which leaves out what cannot be read.
        let read = chains.iter().map(async |chain| {
            let found = self.0.read_with(&AUDIT, chain, &[]).await?;
            Ok::<_, StoreError>(found.map(|(found, _)| found.head).unwrap_or_default())
        });
        try_join_all(read).await
    }

    /// Entries of a chain behind a number, and whether there are more.
    pub(super) async fn entries(
        &self,
        chain: &str,
        after: u64,
    ) -> Result<(Vec<(u64, Entry)>, bool), StoreError> {
        let range = RowRange::first(prefix(&["e"]), CHECKED_AT_ONCE).after(Some(entry_key(after)));
        let rows = self.0.rows(&AUDIT, chain, &range).await?;
        let entries = rows.items.into_iter().filter_map(|(key, row)| match row {
            Row::Entry(entry) => Some((last_part(&key).parse().ok()?, *entry)),
            Row::Number(_) => None,
        });
        Ok((entries.collect(), rows.next.is_some()))
    }

    /// Of a chain's entries, numbers by name, those that cannot be found by their names.
    pub(super) async fn unplaced(
        &self,
        chain: &str,
        mut names: BTreeMap<String, u64>,
    ) -> Result<Vec<u64>, StoreError> {
        let mut range = RowRange::first(prefix(&["i"]), CHECKED_AT_ONCE);
        loop {
            let rows = self.0.rows(&AUDIT, chain, &range).await?;
            for (key, row) in rows.items {
                let name = last_part(&key);
                if let Row::Number(place) = row
                    && names.get(&name) == Some(&place)
                {
                    names.remove(&name);
                }
            }
            if rows.next.is_none() {
                return Ok(names.into_values().collect());
            }
            range = range.after(rows.next);
        }
    }

    /// Of the keys of a day, those that a list does not have.
    pub(super) async fn unlisted<T>(
        &self,
        list: &str,
        day: Date,
        mut keys: BTreeMap<String, T>,
    ) -> Result<BTreeMap<String, T>, StoreError> {
        let end = day.tomorrow().ok().and_then(begins);
        let (Some(begin), Some(end)) = (begins(day).map(number), end.map(number)) else { return Ok(keys) };
        let mut after = Some(end);
        while !keys.is_empty() && after.as_ref().is_some_and(|after| *after > begin) {
            let found = self.0.walk(&AUDIT_LISTS, &[list], after.as_deref(), CHECKED_AT_ONCE).await?;
            for (key, ()) in &found.items {
                keys.remove(key);
            }
            after = found.next;
        }
        Ok(keys)
    }

    /// The entry to which a key of a list leads.
    async fn listed(&self, key: &str) -> Result<Option<(String, u64, Entry)>, StoreError> {
        let Some(chain) = chain_of(key) else { return Ok(None) };
        let Some(Row::Number(number)) = self.0.row(&AUDIT, &chain, &place_key(&last_part(key))).await? else {
            return Ok(None);
        };
        let entry = self.0.row(&AUDIT, &chain, &entry_key(number)).await?;
        Ok(match entry {
            Some(Row::Entry(entry)) => Some((chain, number, *entry)),
            Some(Row::Number(_)) | None => None,
        })
    }

    async fn shown(&self, (chain, number, entry): (String, u64, Entry)) -> Result<Shown, StoreError> {
        let words = match seal::open(&self.0, &entry.id, entry.payload.clone()).await {
            Ok(words) => words,
            // It is shown that there is such an entry; checking the chain tells what is wrong with it.
            Err(StoreError::Damaged(error)) => {
                tracing::error!(error, chain, number, "an entry of the audit trail cannot be read");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Shown { entry, chain, number, words })
    }

    /// Entries, the newest first. Where few are as wanted, a page may have fewer than its limit; the cursor goes on behind it.
    pub async fn list(&self, wanted: &Wanted, page: PageRequest) -> Result<Page<Shown>, StoreError> {
        let (mut after, mut skip) = page.start.behind(|key| day_of_key(&key).map(|_| key))?;
        let since = wanted.day.and_then(begins);
        if let (None, Some(end)) = (&after, wanted.day.and_then(|day| begins(day.tomorrow().ok()?))) {
            after = Some(number(end));
        }
        let is_before = |key: &str| since.is_some_and(|since| *key < *number(since));
        let (list, mut items, mut read) = (wanted.list(), Vec::new(), 0);
        loop {
            let keys = self.0.walk(&AUDIT_LISTS, &[&list], after.as_deref(), AT_ONCE).await?;
            let is_last = keys.next.is_none() || keys.items.last().is_some_and(|(key, ())| is_before(key));
            let keys = keys.items.into_iter().map(|(key, ())| key).filter(|key| !is_before(key));
            let keys: Vec<_> = keys.collect();
            read += keys.len();
            let found = try_join_all(keys.iter().map(|key| self.listed(key))).await?;
            let mut found = keys.into_iter().zip(found).peekable();
            while items.len() < page.limit
                && let Some((key, entry)) = found.next()
            {
                after = Some(key);
                match entry.filter(|(_, _, entry)| wanted.holds(entry)) {
                    Some(_) if skip > 0 => skip -= 1,
                    Some(entry) => items.push(entry),
                    None => {}
                }
            }
            let is_over = is_last && found.peek().is_none();
            if is_over || items.len() >= page.limit || read >= MOST_READ {
                let items = try_join_all(items.into_iter().map(|entry| self.shown(entry))).await?;
                return Ok(Page { items, next: after.filter(|_| !is_over) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_behind_all_keys_of_the_day_before() {
        let begin = begins("2026-11-21".parse().unwrap()).unwrap();
        let key = |millis: u64| key(&[&number(millis), "2026-11-20:3", "x.0"]);
        assert!(key(begin - 1) < number(begin) && number(begin) < key(begin));
        assert_eq!(day_of_key(&key(begin)), day_of_key(&key(begin - 1)).map(|day| day + 1));
        assert_eq!(chain_of(&key(begin)).as_deref(), Some("2026-11-20:3"));
        assert_eq!(day_of_key("x"), None);
    }
}

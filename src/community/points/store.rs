//! Members' points: a partition a member, whose head is the score, with a row for each deed and the rows that caps count by.

use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::jobs;
use super::rules::{self, Deed, Earned, Entry, Score, Told};

/// The points of each member.
pub static SCORES: Kind<(), Score, Row> =
    Kind::new("scores", "a member: 10 deeds a day of 200 B, 700 KB a year", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::Given,
    Erasure::Removed,
    &["id", "head.**", "keys.c", "rows.c.**", "keys.d", "rows.d.**", "keys.h", "rows.h.**"],
)];

/// Below this lie the deeds, by thing and cause.
const DEEDS: &str = "c";
/// Below this lie the points of days.
const DAYS: &str = "d";
/// Below this lies how often deeds of a month were with a host.
const HOSTS: &str = "h";

/// A row of a member's points.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// What was done.
    Deed(Entry),
    /// How many, of what the key says.
    Count(u32),
}

fn deed_key(deed: &Deed) -> String {
    // Ids rise with the time of their making, so the newest things come last.
    key(&[DEEDS, &deed.thing, &format!("{:?}", deed.cause).to_lowercase()])
}

fn day_key(deed: &Deed) -> String {
    key(&[DAYS, &deed.day])
}

fn host_key(deed: &Deed) -> String {
    key(&[HOSTS, deed.month(), deed.host.as_deref().unwrap_or_default()])
}

/// The points of a store.
#[derive(Clone)]
pub struct ScoreStore(Db);

impl ScoreStore {
    /// The points of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// A member's score.
    pub async fn score(&self, user_id: &str) -> Result<Score, StoreError> {
        Ok(self.0.read(&SCORES, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Notes what is told of a deed, as of a version. What is told again, or late, changes nothing; of one version, it counts last
    /// that the deed does not count.
    pub async fn note(
        &self,
        user_id: &str,
        deed: &Deed,
        (told, version): (Told, u32),
    ) -> Result<(), StoreError> {
        let (user, deed) = (user_id.to_owned(), deed.clone());
        let wants = Wants::head().row(deed_key(&deed)).row(day_key(&deed)).row(host_key(&deed));
        let noted = self.0.change(&SCORES, user_id, wants, move |part| {
            let known = match part.row(&deed_key(&deed)) {
                Some(Row::Deed(entry)) => Some(entry.clone()),
                _ => None,
            };
            // What counts is what was noted at first: an event may have another city by now.
            let about = known.as_ref().map_or(&deed, |entry| &entry.deed).clone();
            let mut count = |key: &str| match part.row(key) {
                Some(Row::Count(count)) => *count,
                _ => 0,
            };
            let mut earned = Earned { on_day: count(&day_key(&about)), with_host: count(&host_key(&about)) };
            let before = earned;
            let mut entry = match (known, told) {
                (None, Told::Done) => rules::award(&mut part.head, &mut earned, about),
                (None, Told::TakenBack) => Entry { deed: about, points: 0, is_taken_back: true, version },
                (Some(mut entry), Told::TakenBack) if version >= entry.version && !entry.is_taken_back => {
                    rules::take_back(&mut part.head, &mut earned, &mut entry);
                    entry
                }
                (Some(entry), Told::Done) if version > entry.version && entry.is_taken_back => {
                    rules::award(&mut part.head, &mut earned, about)
                }
                (Some(entry), _) if version > entry.version => entry,
                (Some(_), _) => return Ok::<_, StoreError>(Decision::Stands(())),
            };
            entry.version = version;
            if earned != before {
                part.set(day_key(&entry.deed), Row::Count(earned.on_day));
                if entry.deed.host.is_some() {
                    part.set(host_key(&entry.deed), Row::Count(earned.with_host));
                }
                part.emit(&jobs::list(&user, entry.deed.month(), entry.deed.city.as_deref())?)?;
            }
            part.set(deed_key(&entry.deed), Row::Deed(entry));
            Ok(Decision::Write(()))
        });
        noted.await.map(drop)
    }

    /// Has a member left out of the boards, or shown there again; whether that changed anything.
    pub async fn hide(&self, user_id: &str, is_hidden: bool) -> Result<bool, StoreError> {
        let user = user_id.to_owned();
        let changed = self.0.change(&SCORES, user_id, Wants::head(), move |part| {
            let is_changed = part.head.is_hidden != is_hidden;
            if is_changed {
                part.head.is_hidden = is_hidden;
                part.head.version += 1;
                part.emit(&jobs::list_all(&user)?)?;
            }
            Ok::<_, StoreError>(Decision::write_if(is_changed))
        });
        Ok(changed.await?.unwrap_or_default())
    }

    /// What a member did, the newest things first.
    pub async fn deeds(&self, user_id: &str, page: PageRequest) -> Result<Page<Entry>, StoreError> {
        let (after, skip) = page.start.behind(Some)?;
        let range = RowRange::last(prefix(&[DEEDS]), skip + page.limit).after(after);
        let rows = self.0.rows(&SCORES, user_id, &range).await?;
        let items = rows.items.into_iter().skip(skip).filter_map(|(_, row)| match row {
            Row::Deed(entry) => Some(entry),
            Row::Count(_) => None,
        });
        Ok(Page { items: items.collect(), next: rows.next })
    }
}

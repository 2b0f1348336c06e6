//! Which case a reported thing has, and how good members' reports have been. The reports themselves lie with the case
//! (`admin/reviews/evidence.rs`), so that what was reported and what is decided change together.

use mundotango_protocol::new_id;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose, key, prefix};
use serde::{Deserialize, Serialize};

use super::rules::{REMEMBERED, weight};
use crate::community::admin::desk::Desk;
use crate::community::admin::error::WorkError;
use crate::community::admin::reviews::case::{Report, Snapshot, ThingKind};
use crate::community::admin::reviews::evidence::Reported;
use crate::community::admin::reviews::store::Reviews;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;

/// The case of each reported thing: the partition is named by the thing's kind and id.
pub static REPORTED: Kind<(), Thing, ()> =
    Kind::new("reported_things", "a thing: 200 B", PERSONAL_OF_THINGS).implicit();
/// Whose the fields are.
const PERSONAL_OF_THINGS: &[Fields] = &[
    // Of a user who was reported, the partition is that user's.
    Fields::of(Whose::User, Export::NotGiven("the decision is"), Erasure::Removed, &["id"]),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the decision is"),
        Erasure::Anonymous("the case stands, whoever it is about"),
        &["head.case.about"],
    ),
    Fields::of_nobody(&["head.case.id"]),
];

/// How good the reports of each member have been.
pub static REPORTERS: Kind<(), Record, bool> =
    Kind::new("reporters", "a member: 200 rows of 60 B, 12 KB", PERSONAL_OF_REPORTERS).implicit();
/// The same of members who report.
const PERSONAL_OF_REPORTERS: &[Fields] = &[Fields::of(
    Whose::User,
    Export::Given,
    Erasure::Removed,
    &["id", "head.upheld", "head.refused", "keys.c", "rows.c"],
)];

/// The case of a thing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Thing {
    /// The one that takes reports, or took the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    case: Option<CaseOf>,
}

/// Which case a thing has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CaseOf {
    id: String,
    /// Whom it is about. All who report the thing open the same case, whatever becomes of the thing meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<String>,
}

/// How good the reports of a member have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Reports after which something was done.
    pub upheld: u32,
    /// Reports after which nothing was.
    pub refused: u32,
}

/// Cases that are tried for a report: one that is decided meanwhile takes no more.
const TRIES: usize = 3;

fn id_of(kind: ThingKind, id: &str) -> String {
    key(&[kind.name(), id])
}

fn row_of(case_id: &str) -> String {
    key(&["c", case_id])
}

/// What a member is told of a report that was decided. Nothing is said of which one it was, and those that are not read yet are one.
fn told(upheld: bool) -> Tell {
    Tell {
        kind: if upheld { NotificationKind::ReportUpheld } else { NotificationKind::ReportDismissed },
        thing: "reports".to_owned(),
        title: String::new(),
        actor_id: None,
        count: 1,
        stale_at: None,
    }
}

/// The reports of a store.
#[derive(Clone)]
pub struct ReportStore(Db);

impl ReportStore {
    /// The reports of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    fn desk(&self) -> Desk<Reviews> {
        Desk::new(self.0.clone())
    }

    /// The report that a member has in the open case of a thing, and the case's id.
    pub async fn known(
        &self,
        kind: ThingKind,
        id: &str,
        by: &str,
    ) -> Result<Option<(String, Report)>, StoreError> {
        let found = self.0.read(&REPORTED, &id_of(kind, id)).await?;
        let Some(case) = found.and_then(|found| found.head.case) else { return Ok(None) };
        let desk = self.desk();
        let is_open = desk.case(&case.id).await?.is_some_and(|kept| kept.own.outcome.is_none());
        let report = if is_open { desk.report_of(&case.id, by).await? } else { None };
        Ok(report.map(|report| (case.id, report)))
    }

    /// The case that takes reports of a thing: the one that it has, unless that one is over.
    async fn case_of(
        &self,
        thing: &str,
        about: Option<&str>,
        over: Option<String>,
    ) -> Result<CaseOf, StoreError> {
        let new = CaseOf { id: new_id(), about: about.map(str::to_owned) };
        let otherwise = new.clone();
        let given = self.0.change(&REPORTED, thing, Wants::head(), move |part| {
            if let Some(known) = part.head.case.as_ref().filter(|known| Some(&known.id) != over.as_ref()) {
                return Ok::<_, StoreError>(Decision::Stands(known.clone()));
            }
            part.head.case = Some(new.clone());
            Ok(Decision::Write(new.clone()))
        });
        Ok(given.await?.unwrap_or(otherwise))
    }

    /// Reports a thing: the member's report, and the id of the case that it is in. All reports of a thing that nobody has decided
    /// on are one case, and a member has one report in it. Doing it again changes nothing.
    pub async fn report(
        &self,
        (kind, id, about): (ThingKind, &str, Option<&str>),
        by: &str,
        report: &Report,
        snapshot: &Snapshot,
    ) -> Result<(String, Report), WorkError> {
        let (thing, desk, mut over) = (id_of(kind, id), self.desk(), None);
        for _ in 0..TRIES {
            let case = self.case_of(&thing, about, over.take()).await?;
            desk.open_reported(&case.id, (kind, id, case.about)).await?;
            match desk.report(&case.id, by, report.clone(), snapshot.clone()).await? {
                Some(Reported::There(report)) => return Ok((case.id, report)),
                Some(Reported::Over) => over = Some(case.id),
                None => break,
            }
        }
        Err(StoreError::Unavailable("the case of this report is decided again and again".to_owned()).into())
    }

    /// How good a member's reports have been.
    pub async fn record(&self, user_id: &str) -> Result<Record, StoreError> {
        Ok(self.0.read(&REPORTERS, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// What the next report of a member weighs.
    pub async fn weight_of(&self, user_id: &str) -> Result<u32, StoreError> {
        let Record { upheld, refused } = self.record(user_id).await?;
        Ok(weight(upheld, refused))
    }

    /// Notes whether a member's report was a good one, and tells the member when that is known first. Each case counts once, as it
    /// was judged last.
    pub async fn note(&self, user_id: &str, case_id: &str, upheld: bool) -> Result<(), StoreError> {
        let (row, below) = (row_of(case_id), prefix(&["c"]));
        let wants = Wants::head().row(&row).first(&below, REMEMBERED + 1);
        let user = user_id.to_owned();
        let noted = self.0.change(&REPORTERS, user_id, wants, move |part| {
            let before = part.row(&row).copied();
            if before == Some(upheld) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            if before.is_none() {
                part.emit(&told(upheld).effect(&user)?)?;
            }
            part.set(&row, upheld);
            part.head.count(before, Some(upheld));
            let known = part.first(&below, REMEMBERED + 1);
            let oldest = known.first().map(|(key, upheld)| (key.clone(), **upheld));
            let is_full = known.len() > REMEMBERED;
            if let Some((key, upheld)) = oldest.filter(|_| is_full) {
                part.remove(key);
                part.head.count(Some(upheld), None);
            }
            Ok(Decision::Write(()))
        });
        noted.await.map(drop)
    }
}

impl Record {
    /// Counts what became of a report in the place of what was thought before.
    fn count(&mut self, before: Option<bool>, after: Option<bool>) {
        for (seen, more) in [(before, false), (after, true)] {
            let count = match seen {
                Some(true) => &mut self.upheld,
                Some(false) => &mut self.refused,
                None => continue,
            };
            *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }
}

//! What is told of an imported file: what became of each of its events.

use serde::Serialize;
use utoipa::ToSchema;

/// What became of an event of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// There is a new event.
    Created,
    /// The event that was made of it before is another now.
    Changed,
    /// The event that was made of it before is as it is in the file.
    Unchanged,
    /// The event that was made of it before does not take place.
    Cancelled,
    /// It was not taken.
    Refused,
}

/// An event of a file, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportedItem {
    /// Its name in the file.
    pub(super) uid: String,
    pub(super) outcome: Outcome,
    /// The event; null where there is none, and for a series.
    #[schema(required = true)]
    pub(super) event_id: Option<String>,
    /// The series, of an event that repeats and of its dates; null for what does not repeat and where there is none.
    #[schema(required = true)]
    pub(super) series_id: Option<String>,
    /// Which date of the series it is, as the file's `RECURRENCE-ID` tells; null where it is no single date.
    #[schema(required = true)]
    pub(super) original_start: Option<String>,
    /// Why it was refused; null where it was not.
    #[schema(required = true)]
    pub(super) reason: Option<String>,
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportReport {
    /// How many events there are that were not there before.
    created: usize,
    /// How many are others than before.
    changed: usize,
    /// How many are as they were.
    unchanged: usize,
    /// How many do not take place.
    cancelled: usize,
    /// How many were not taken.
    refused: usize,
    /// Each of them, as the file has them; dates of an event that repeats are right behind it.
    items: Vec<ImportedItem>,
}

impl ImportReport {
    pub(super) fn new(items: Vec<ImportedItem>) -> Self {
        let count = |outcome| items.iter().filter(|item| item.outcome == outcome).count();
        Self {
            created: count(Outcome::Created),
            changed: count(Outcome::Changed),
            unchanged: count(Outcome::Unchanged),
            cancelled: count(Outcome::Cancelled),
            refused: count(Outcome::Refused),
            items,
        }
    }
}

impl ImportedItem {
    /// One that became something.
    pub(super) fn taken(uid: &str, outcome: Outcome) -> Self {
        let uid = uid.to_owned();
        Self { uid, outcome, event_id: None, series_id: None, original_start: None, reason: None }
    }

    /// One that was not taken.
    pub(super) fn refused(uid: &str, Refused(why): Refused) -> Self {
        Self { reason: Some(why), ..Self::taken(uid, Outcome::Refused) }
    }
}

/// Why an event of a file is not taken: what its user reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl From<&str> for Refused {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

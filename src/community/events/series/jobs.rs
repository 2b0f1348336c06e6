//! The jobs of series: what other features have to know of them.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_jobs::{JobKind, Queue};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use crate::community::effects::Effect;
use crate::community::events::store::{Event, OfEvent};
use crate::community::notifications::tell::NOTIFICATION;

/// Series whose events wait to be made or changed.
pub static SERIES_WORK: Queue = Queue::new("series", 5);

/// Brings the events of a series to what the series says, and makes the next ones.
///
/// Version 2 hands dates over, and version 3 leaves it to the series to tell those who answered. A node of an older build, which
/// would note that dates are handed over, or tell of each date, leaves it alone.
pub(super) static WORK: JobKind<OfSeries> = long("series_work", 3);
/// Answers a date for all who are always coming.
pub(super) static ANSWER_DATE: JobKind<OfDate> = long("series_answers", 1);
/// Answers all dates for one who is always coming from now on.
pub(super) static ANSWER_ALL: JobKind<OfUser> = long("series_habit", 1);
/// Notes in the series what an event has of its own.
pub(super) static NOTE: JobKind<OfEvent> = JobKind::new("series_note", &SERIES_WORK, 1);

/// Tells those who answered of a change of a series, once its events have followed.
pub(in crate::community) static TELL: JobKind<OfChange> = JobKind::new("series_changes", &NOTIFICATION, 1)
    .timeout(Duration::from_mins(10))
    .useless_after(Duration::from_hours(72));

/// Hundreds of events may be changed, each in some milliseconds.
const fn long<P>(name: &'static str, version: u32) -> JobKind<P> {
    JobKind::new(name, &SERIES_WORK, version).timeout(Duration::from_mins(10))
}

/// Something to do for a series.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfSeries {
    pub(super) series_id: String,
}

/// Something to do for a date.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfDate {
    pub(super) series_id: String,
    pub(super) event_id: String,
}

/// Something to do for a user.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfUser {
    pub(super) series_id: String,
    pub(super) user_id: String,
}

/// Those who are told of a change of a series, from a place on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::community) struct OfChange {
    pub(in crate::community) series_id: String,
    /// The version that the change made.
    pub(in crate::community) version: u64,
    /// When the first job of it began: names of jobs begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::community) since: Option<Timestamp>,
    /// The event that the others were told of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::community) event_id: Option<String>,
    /// Behind whose answer to it this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::community) after: Option<String>,
}

/// Has those told of a change who answered, at a time.
pub(super) fn tell(series_id: &str, version: u64, due: Timestamp) -> Result<Effect, StoreError> {
    let (since, event_id, after) = (None, None, None);
    let payload = OfChange { series_id: series_id.to_owned(), version, since, event_id, after };
    Ok(Effect::job(TELL.job(&payload)?.due(due).group(series_id)))
}

/// Has the events of a series brought to what it says, not before a time if one is told.
pub(in crate::community::events) fn work(
    series_id: &str,
    due: Option<Timestamp>,
) -> Result<Effect, StoreError> {
    let job = WORK.job(&OfSeries { series_id: series_id.to_owned() })?.group(series_id);
    Ok(Effect::job(match due {
        Some(due) => job.due(due),
        None => job,
    }))
}

/// Has a date answered for all who are always coming.
pub(super) fn answer_date(series_id: &str, event_id: &str) -> Result<Effect, StoreError> {
    let job = OfDate { series_id: series_id.to_owned(), event_id: event_id.to_owned() };
    Ok(Effect::job(ANSWER_DATE.job(&job)?.group(series_id)))
}

/// Has all dates answered for one who is always coming.
pub(super) fn answer_all(series_id: &str, user_id: &str) -> Result<Effect, StoreError> {
    let job = OfUser { series_id: series_id.to_owned(), user_id: user_id.to_owned() };
    Ok(Effect::job(ANSWER_ALL.job(&job)?.group(series_id)))
}

/// Has it noted in its series that an event has something of its own, if it is of one.
pub(in crate::community::events) fn note(event: &Event) -> Result<Option<Effect>, StoreError> {
    let Some(series) = &event.series else { return Ok(None) };
    let job = NOTE.job(&OfEvent { event_id: event.id.clone() })?.group(series.id.as_str());
    Ok(Some(Effect::job(job)))
}

//! The jobs of points, and the effects that cause them. Who does them is in `work.rs`.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mundotango_jobs::{JobKind, Priority};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::rules::{Cause, Deed, Told};
use crate::community::effects::Effect;
use crate::community::events::store::Event;
use crate::community::notifications::tell::NOTIFICATION;

/// Notes that a member did something, or that it does not count any longer.
pub(super) static NOTE: JobKind<Note> =
    JobKind::new("points_note", &NOTIFICATION, 1).priority(Priority::Low).light();
/// Brings boards to what a member has.
pub(super) static LIST: JobKind<List> =
    JobKind::new("points_list", &NOTIFICATION, 1).priority(Priority::Low).light();
/// Notes who hosted an event that is over, and who was there.
pub(super) static OVER: JobKind<Over> =
    JobKind::new("points_event", &NOTIFICATION, 1).priority(Priority::Low).timeout(Duration::from_mins(10));

/// How long after an event its points are given: until then the list at the door can be brought in.
const SETTLED_AFTER: Duration = Duration::from_hours(6);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) user_id: String,
    pub(super) deed: Deed,
    pub(super) told: Told,
    /// Which of what is told of the deed is the newest: it rises whenever the deed begins or ends to count.
    #[serde(default)]
    pub(super) version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) user_id: String,
    /// The month whose boards are concerned; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) month: Option<String>,
    /// The city in it whose board is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) city: Option<String>,
    /// How many such jobs went before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) turn: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(turn: &u32) -> bool {
    *turn == 0
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Over {
    pub(super) event_id: String,
    /// When it was to be over: of an event that was moved, another job knows.
    pub(super) ends_at: Timestamp,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
}

/// The day of a time, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).date().to_string()
}

/// The month of a time, in UTC: `2026-11`.
pub(super) fn month(at: Timestamp) -> String {
    let mut month = day(at);
    month.truncate("2026-11".len());
    month
}

/// Notes that a member made a post that all can read, or that it is one no longer, as of a version of its audience.
pub(in crate::community) fn post(
    author_id: &str,
    post_id: &str,
    made_at: Timestamp,
    (told, version): (Told, u32),
) -> Result<Effect, StoreError> {
    let deed =
        Deed { cause: Cause::Post, thing: post_id.to_owned(), day: day(made_at), city: None, host: None };
    let job = NOTE.job(&Note { user_id: author_id.to_owned(), deed, told, version })?;
    Ok(Effect::job(job.group(author_id)))
}

/// Has points given for an event some time after its end.
pub(in crate::community) fn event(event: &Event) -> Result<Effect, StoreError> {
    let ends_at = event.when.over_at();
    let job = OVER.job(&Over { event_id: event.id.clone(), ends_at, after: None })?;
    Ok(Effect::job(job.due(ends_at + SETTLED_AFTER).group(event.id.as_str())))
}

/// Brings the boards of a month to what a member has, and that of all time.
pub(super) fn list(user_id: &str, month: &str, city: Option<&str>) -> Result<Effect, StoreError> {
    let (month, city) = (Some(month.to_owned()), city.map(str::to_owned));
    let job = LIST.job(&List { user_id: user_id.to_owned(), month, city, turn: 0 })?;
    Ok(Effect::job(job.group(user_id)))
}

/// Brings all boards on which a member can be to what the member has.
pub(super) fn list_all(user_id: &str) -> Result<Effect, StoreError> {
    let job = LIST.job(&List { user_id: user_id.to_owned(), month: None, city: None, turn: 0 })?;
    Ok(Effect::job(job.group(user_id)))
}

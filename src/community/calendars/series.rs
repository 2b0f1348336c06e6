//! Taking an event of a file that repeats: it becomes a series under its name, with dates that may differ.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_storage::StoreError;

use super::imported::Known;
use super::repeating::{DateBecomes, Repeating, WantedDate, WantedSeries};
use super::report::{ImportedItem, Outcome, Refused};
use super::taking::Taken;
use crate::community::Community;
use crate::community::events::series::state::{DateState, Series};
use crate::community::events::series::store::SeriesError;
use crate::community::policy::Action;

/// Why what was one event does not become a series.
const ONCE_BEFORE: &str = "RRULE: the event of this UID was imported as one that does not repeat";
/// Why there is no room for a series.
const TOO_MANY: &str = "RRULE: you have as many series that go on as you may have";

/// A series, if it is there, with the rule that it took last.
type Held = Option<(Series, Option<String>)>;

/// What a change of a series was refused for; a store that fails is no matter of one series.
fn refused(error: SeriesError) -> Result<Refused, StoreError> {
    match error {
        SeriesError::Store(StoreError::Full(_)) => Ok(TOO_MANY.into()),
        SeriesError::Store(error) => Err(error),
        error => Ok(Refused(error.to_string())),
    }
}

impl Community {
    /// Takes an event of a file that repeats, and its dates behind it.
    pub(super) async fn take_series(
        &self,
        identity: &Identity,
        uid: &str,
        repeating: Repeating,
        now: Timestamp,
    ) -> Result<Vec<ImportedItem>, StoreError> {
        let taken = match repeating {
            Repeating::Cancelled => {
                let ended = self.end_imported(identity, uid, now).await?;
                ended.map(|id| (Outcome::Cancelled, id, Vec::new()))
            }
            Repeating::GoesOn(mut wanted) => {
                let dates = std::mem::take(&mut wanted.dates);
                let taken = match self.known_series(identity, uid).await? {
                    Ok(Some((series, rule))) => {
                        let has_other_rule = rule.as_ref() != Some(&wanted.digest);
                        self.change_imported_series(identity, uid, &series, *wanted, has_other_rule, now)
                            .await?
                    }
                    Ok(None) => self.make_imported_series(identity, uid, *wanted, now).await?,
                    Err(refused) => Err(refused),
                };
                taken.map(|(outcome, id)| (outcome, id, dates))
            }
        };
        let (outcome, id, dates) = match taken {
            Ok(taken) => taken,
            Err(refused) => return Ok(vec![ImportedItem::refused(uid, refused)]),
        };
        let mut items =
            vec![ImportedItem { series_id: Some(id.clone()), ..ImportedItem::taken(uid, outcome) }];
        items.extend(self.take_dates(identity, uid, &id, dates, now).await?);
        Ok(items)
    }

    /// The series of a name, with the rule that it took last, if the user may change it.
    async fn known_series(
        &self,
        identity: &Identity,
        uid: &str,
    ) -> Result<Result<Held, Refused>, StoreError> {
        let (id, rule) = match self.imported.known(&identity.user_id, uid).await? {
            Some(Known::Series { id, rule }) => (id, rule),
            Some(Known::Event(_)) => return Ok(Err(ONCE_BEFORE.into())),
            None => return Ok(Ok(None)),
        };
        let Some(series) = self.imported_series(&id).await? else { return Ok(Ok(None)) };
        if !self.may_change_series(&series, identity).await? {
            return Ok(Err("UID: the series of this name is another user's by now".into()));
        }
        Ok(Ok(Some((series, rule))))
    }

    async fn end_imported(
        &self,
        identity: &Identity,
        uid: &str,
        now: Timestamp,
    ) -> Result<Result<String, Refused>, StoreError> {
        let series = match self.known_series(identity, uid).await? {
            Ok(Some((series, _))) => series,
            Ok(None) => return Ok(Err("STATUS: it is cancelled, and was never here".into())),
            Err(refused) => return Ok(Err(refused)),
        };
        match self.end_series(&series, now).await {
            Ok(()) => Ok(Ok(series.id)),
            Err(error) => refused(error).map(Err),
        }
    }

    async fn make_imported_series(
        &self,
        identity: &Identity,
        uid: &str,
        wanted: WantedSeries,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let user_id = &identity.user_id;
        let new_id = mundotango_protocol::new_id();
        match self.claim_series(user_id, &new_id, now).await {
            Err(StoreError::Full(_)) => return Ok(Err(TOO_MANY.into())),
            claimed => claimed?,
        }
        let new = Known::Series { id: new_id.clone(), rule: Some(wanted.digest.clone()) };
        let known = self.imported.claim(user_id, uid, new).await?;
        let id = if let Known::Series { id, .. } = known { Some(id) } else { None };
        if id.as_ref() != Some(&new_id) {
            // It was imported at the same time, or a node died before it was made.
            self.give_series_back(user_id, &new_id).await?;
            let Some(id) = &id else { return Ok(Err(ONCE_BEFORE.into())) };
            match self.claim_series(user_id, id, now).await {
                Err(StoreError::Full(_)) => return Ok(Err(TOO_MANY.into())),
                claimed => claimed?,
            }
            self.imported.note_rule(user_id, uid, wanted.digest).await?;
        }
        let id = id.unwrap_or(new_id);
        self.make_series(id.clone(), user_id, &wanted.file, now).await?;
        Ok(Ok((Outcome::Created, id)))
    }

    async fn change_imported_series(
        &self,
        identity: &Identity,
        uid: &str,
        series: &Series,
        wanted: WantedSeries,
        has_other_rule: bool,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        if series.head.cut.is_some() {
            return Ok(Err("UID: the series of this name was divided here; change it here".into()));
        }
        if series.facts.zone != wanted.file.zone {
            let why = format!("DTSTART: must be in the zone that the series has, {}", series.facts.zone);
            return Ok(Err(Refused(why)));
        }
        if has_other_rule {
            // It may have been over, and go on by this.
            match self.claim_series(series.owner(), &series.id, now).await {
                Err(StoreError::Full(_)) => return Ok(Err(TOO_MANY.into())),
                claimed => claimed?,
            }
        }
        match self.change_series(series, wanted.file, has_other_rule, now).await {
            Ok(is_changed) => {
                if has_other_rule {
                    self.imported.note_rule(&identity.user_id, uid, wanted.digest).await?;
                }
                let outcome = if is_changed { Outcome::Changed } else { Outcome::Unchanged };
                Ok(Ok((outcome, series.id.clone())))
            }
            Err(error) => refused(error).map(Err),
        }
    }

    /// Gives dates of a series what they have of their own.
    async fn take_dates(
        &self,
        identity: &Identity,
        uid: &str,
        series_id: &str,
        dates: Vec<WantedDate>,
        now: Timestamp,
    ) -> Result<Vec<ImportedItem>, StoreError> {
        let has_own = dates.iter().any(|date| matches!(date.becomes, Ok(DateBecomes::Own(_))));
        let known = if has_own { self.dates_of_series(series_id, now).await? } else { BTreeMap::new() };
        let mut items = Vec::new();
        for WantedDate { original, becomes } in dates {
            let taken = match becomes {
                Err(refused) => Err(refused),
                Ok(DateBecomes::LeftOut) => Ok((Outcome::Cancelled, None)),
                Ok(DateBecomes::Own(wanted)) => match known.get(&original.date()) {
                    None => {
                        Err("RECURRENCE-ID: its date is made half a year ahead; import the file again then"
                            .into())
                    }
                    Some(date) if date.state == DateState::Cancelled => {
                        Err("RECURRENCE-ID: its date does not take place here".into())
                    }
                    Some(date) => match self.events.event(&date.event_id).await? {
                        Some(event) if date.state == DateState::Made => {
                            if self.events.may(identity.into(), Action::Change, &event).await?.is_allowed() {
                                let changed = self.change_imported(event, *wanted, now).await?;
                                changed.map(|(outcome, event_id)| (outcome, Some(event_id)))
                            } else {
                                Err("RECURRENCE-ID: its date is another user's by now".into())
                            }
                        }
                        _ => {
                            Err("RECURRENCE-ID: its date is being made; import the file again in a moment"
                                .into())
                        }
                    },
                },
            };
            let item = match taken {
                Ok((outcome, event_id)) => ImportedItem { event_id, ..ImportedItem::taken(uid, outcome) },
                Err(refused) => ImportedItem::refused(uid, refused),
            };
            let (series_id, original_start) = (Some(series_id.to_owned()), Some(original.to_string()));
            items.push(ImportedItem { series_id, original_start, ..item });
        }
        Ok(items)
    }
}

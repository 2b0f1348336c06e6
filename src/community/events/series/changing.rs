//! Changing a series and ending it, all of it or from a date on: what is decided, at once and as a whole. That its events
//! follow is the work of jobs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, prefix};
use serde::Serialize;

use super::planning::{first_of, is_to_come, rearrange, rest_from, rest_of};
use super::rules::{Ends, Rule, earlier, later, occurrences};
use super::state::{
    Cut, DateRow, DateState, Doomed, MOST_ROWS, Row, SERIES, Series, TEMPLATES, Template, date_key,
    doomed_key, template_key,
};
use super::store::{SeriesError, SeriesPart, SeriesStore, all_rows, dates_of, doomed_of, series_of};
use super::telling;
use crate::community::events::occurrence::Field;
use crate::community::events::rules::Cancelled;

/// How often times, place and rule of a series can be changed: each change moves many events.
pub(super) const MOST_MOVES: u32 = 20;

/// What came of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The series that was changed.
    pub series: Series,
    /// The one that has the dates that were changed, where that is another one now.
    pub rest: Option<Series>,
}

/// Which dates are changed.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// Those from one on, or all; another rule counts from the first date that it gives.
    From(Option<DateTime>),
    /// All, by a rule that counts from a date.
    CountedFrom(Date),
}

/// Fails for a series of which nothing can be said now.
pub(super) fn open_for_changes(part: &SeriesPart<'_>) -> Result<(), SeriesError> {
    if part.head.cancelled.is_some() {
        return Err(SeriesError::Cancelled);
    }
    not_dividing(part)
}

/// Fails for a series that hands rows over to another one, or takes them in.
pub(super) fn not_dividing(part: &SeriesPart<'_>) -> Result<(), SeriesError> {
    if part.head.is_dividing() || !part.head.is_whole(part.facts) {
        return Err(SeriesError::Dividing);
    }
    Ok(())
}

/// The dates that are to come, from one of them on.
struct Affected {
    /// In order.
    dates: Vec<(DateTime, DateRow)>,
    /// The last date before them.
    stays: Option<Date>,
    /// Whether dates that are to come stay as they are.
    is_rest: bool,
}

impl Affected {
    fn of(
        all: Vec<(DateTime, DateRow)>,
        from: Option<DateTime>,
        template: &Template,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Self, SeriesError> {
        let to_come = |original: &DateTime| is_to_come(original.date(), &template.times, zone, now);
        if let Some(from) = from {
            let is_known = all.iter().any(|(original, _)| *original == from);
            if !is_known {
                return Err(SeriesError::NoSuchDate);
            }
            if !to_come(&from) {
                return Err(SeriesError::Begun);
            }
        }
        let is_affected =
            |original: &DateTime| from.is_none_or(|from| *original >= from) && to_come(original);
        let (dates, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(original, _)| is_affected(original));
        let stays = rest.last().map(|(original, _)| original.date());
        Ok(Self { dates, stays, is_rest: rest.iter().any(|(original, _)| to_come(original)) })
    }

    fn first(&self) -> Option<Date> {
        self.dates.first().map(|(original, _)| original.date())
    }
}

/// Keeps what a template says that is about to be replaced, if events are still to be made by it, and no other one any longer.
pub(super) fn keep_templates(part: &mut SeriesPart<'_>, dates: &[(DateTime, DateRow)]) {
    let doomed = doomed_of(part);
    let rows = dates.iter().map(|(_, row)| row).chain(doomed.iter().map(|doomed| &doomed.row));
    let needed: BTreeSet<_> =
        rows.filter(|row| row.state == DateState::Planned).map(|row| row.made_by).collect();
    let kept = part.first(&prefix(&[TEMPLATES]), MOST_ROWS).into_iter().filter_map(|(key, row)| match row {
        Row::Template(template) => Some((key, template.rev)),
        Row::Date(_) | Row::Doomed(_) | Row::Habit(_) | Row::CoHost(_) | Row::Telling(_) => None,
    });
    let old: Vec<_> = kept.filter(|(_, rev)| !needed.contains(rev)).map(|(key, _)| key).collect();
    for key in old {
        part.remove(key);
    }
    let template = part.head.template(part.facts).clone();
    if needed.contains(&template.rev) && template.rev != part.facts.template.rev {
        part.set(template_key(template.rev), Row::Template(Box::new(template)));
    }
}

/// Gives dates the days of another rule, and dooms those that it has no day for.
fn rearrange_dates(
    part: &mut SeriesPart<'_>,
    affected: &Affected,
    after: &Template,
    zone: &TimeZone,
    now: Timestamp,
) {
    let Some(last) = affected.dates.last().map(|(original, _)| original.date()) else { return };
    let rows: BTreeMap<Date, &(DateTime, DateRow)> =
        affected.dates.iter().map(|one| (one.0.date(), one)).collect();
    // One that the host cancelled stays cancelled, and keeps its day if the rule still gives it.
    let takes_place = |row: &DateRow| row.state != DateState::Cancelled;
    // The last week or month is looked at to its end.
    let mut new = occurrences(&after.rule, &after.times, zone, after.first, later(last, 31));
    new.retain(|date| rows.get(date).is_none_or(|(_, row)| takes_place(row)));
    let can_move = |row: &DateRow| row.state == DateState::Made;
    let old = rows.iter().filter(|(_, (_, row))| takes_place(row));
    let old: BTreeMap<_, _> = old.map(|(date, (_, row))| (*date, can_move(row))).collect();
    let rearranged = rearrange(&after.rule, &old, &new);
    for (original, row) in &affected.dates {
        if !takes_place(row) && !after.rule.dates(after.first, last).any(|date| date == original.date()) {
            part.remove(date_key(*original));
        }
    }
    for date in rearranged.dropped {
        let Some((original, row)) = rows.get(&date) else { continue };
        part.remove(date_key(*original));
        doom(part, *original, row, &Cancelled { at: now, reason: None });
    }
    // All that leave their places do so before others come there.
    for (date, _) in &rearranged.moved {
        if let Some((original, _)) = rows.get(date) {
            part.remove(date_key(*original));
        }
    }
    for (date, day) in rearranged.moved {
        let Some((_, row)) = rows.get(&date) else { continue };
        let mut row = row.clone();
        row.own.remove(&Field::Time);
        row.other_day = after.rev;
        part.set(date_key(after.original(day)), Row::Date(row));
    }
}

/// Has an event cancelled.
fn doom(part: &mut SeriesPart<'_>, original: DateTime, row: &DateRow, cancelled: &Cancelled) {
    if row.state != DateState::Cancelled {
        let doomed = Doomed { original, row: row.clone(), cancelled: cancelled.clone() };
        part.set(doomed_key(&row.event_id), Row::Doomed(Box::new(doomed)));
    }
}

/// The same rule without dates from one on.
fn ended_before(rule: &Rule, first: Date, date: Date) -> Rule {
    let last = earlier(date, 1);
    let ends = match rule.ends {
        Ends::Until(until) => Ends::Until(until.min(last)),
        Ends::Never => Ends::Until(last),
        // The count may end it earlier.
        Ends::After(_) => Ends::Until(rule.dates(first, last).last().unwrap_or(last)),
    };
    Rule { ends, ..rule.clone() }
}

impl SeriesStore {
    /// Changes a series: all dates that are to come, or those from one of them on, by their original start. The latter become a
    /// series of their own, with `new_id`, and the old one ends before them: their events, and so the answers to them, go along.
    /// `edit` makes the template that is wanted of the one that is. What came of it; `None` if there is no such series.
    ///
    /// This is where it is decided, in one step: which dates there are, which of them have another day, and which do not take
    /// place. Asking for the same division again changes nothing.
    pub async fn change<E: Serialize>(
        &self,
        id: &str,
        from: Option<DateTime>,
        new_id: String,
        now: Timestamp,
        edit: impl Fn(Template) -> Template + Send + 'static,
        effects: impl Fn(&Changed) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Changed>, SeriesError> {
        self.change_dates(id, Which::From(from), new_id, now, edit, effects).await
    }

    /// Changes all dates that are to come, by a rule that counts from a date, whichever are left out.
    pub async fn recount<E: Serialize>(
        &self,
        id: &str,
        counts_from: Date,
        now: Timestamp,
        edit: impl Fn(Template) -> Template + Send + 'static,
        effects: impl Fn(&Changed) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Changed>, SeriesError> {
        self.change_dates(id, Which::CountedFrom(counts_from), String::new(), now, edit, effects).await
    }

    async fn change_dates<E: Serialize>(
        &self,
        id: &str,
        which: Which,
        new_id: String,
        now: Timestamp,
        edit: impl Fn(Template) -> Template + Send + 'static,
        effects: impl Fn(&Changed) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Changed>, SeriesError> {
        let own = id.to_owned();
        let (from, counts_from) = match which {
            Which::From(from) => (from, None),
            Which::CountedFrom(first) => (None, Some(first)),
        };
        self.0
            .change(&SERIES, id, telling::and_tellings(all_rows()), move |part| {
                if let Some(cut) = part.head.cut.as_ref().filter(|cut| cut.to == new_id) {
                    let cut = (**cut).clone();
                    let series = series_of(&own, part);
                    let rest = Some(series.successor(&cut));
                    return Ok(Decision::Stands(Changed { series, rest }));
                }
                open_for_changes(part)?;
                let zone = part.facts.zone()?;
                let before = part.head.template(part.facts).clone();
                let all = dates_of(part);
                let affected = Affected::of(all.clone(), from, &before, &zone, now)?;
                let edited = edit(before.clone());
                if !edited.times.is_in_order() {
                    return Err(SeriesError::EndsBeforeStart);
                }
                let is_recounted = counts_from.is_some_and(|first| first != before.first);
                if edited == before && !is_recounted {
                    return Ok(Decision::Stands(Changed { series: series_of(&own, part), rest: None }));
                }
                let mut after = Template { rev: before.rev + 1, first: before.first, ..edited };
                let is_other_rule = after.rule != before.rule || is_recounted;
                let is_move =
                    is_other_rule || after.times != before.times || after.location != before.location;
                if is_move {
                    if part.head.moves >= MOST_MOVES {
                        return Err(SeriesError::MovedTooOften);
                    }
                    part.head.moves += 1;
                }
                let rev = after.rev;
                let today = now.to_zoned_datetime(zone.clone()).date();
                let changed_from = affected.first().unwrap_or(today);
                let is_division = from.is_some() && affected.is_rest;
                if let Some(first) = counts_from.filter(|_| is_other_rule) {
                    let behind = affected.stays.map_or(first, |stays| first.max(later(stays, 1)));
                    let rest = rest_from(&after.rule, first, behind);
                    (after.rule, after.first) = rest.ok_or(SeriesError::NoDates)?;
                } else if is_other_rule {
                    let first = first_of(&after, &zone, changed_from, affected.stays, now);
                    after.first = first.ok_or(SeriesError::NoDates)?;
                } else if is_division {
                    after.rule = rest_of(&before.rule, before.first, changed_from);
                    after.first = changed_from;
                }
                keep_templates(part, &all);
                if is_other_rule {
                    rearrange_dates(part, &affected, &after, &zone, now);
                }
                if is_division {
                    let rule = ended_before(&before.rule, before.first, after.first.min(changed_from));
                    part.head.template = Some(Box::new(Template { rule, ..before }));
                    part.head.cut = Some(Box::new(Cut {
                        to: new_id.clone(),
                        at: now,
                        from: after.first,
                        template: after,
                        lives_until: part.head.lives_until(part.facts),
                        is_open: false,
                        is_done: false,
                    }));
                } else {
                    part.head.template = Some(Box::new(after));
                    if is_other_rule {
                        // Days that the rule gives now lie among those that had their rows.
                        part.head.planned_to = None;
                    }
                }
                part.head.is_settled = false;
                part.head.version += 1;
                if is_move {
                    let of = if is_division { &new_id } else { &own };
                    telling::note(part, &own, of, &affected.dates, (rev, false), now)?;
                }
                let series = series_of(&own, part);
                let cut = series.head.cut.as_ref().filter(|_| is_division);
                let rest = cut.map(|cut| series.successor(cut));
                let changed = Changed { series, rest };
                for effect in effects(&changed)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(changed))
            })
            .await
    }

    /// Ends a series: all dates that are to come are cancelled, or those from one of them on. As it is then; `None` if there is
    /// no such series.
    pub async fn end<E: Serialize>(
        &self,
        id: &str,
        from: Option<DateTime>,
        cancelled: Cancelled,
        effects: impl Fn(&Series) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Series>, SeriesError> {
        let own = id.to_owned();
        self.0
            .change(&SERIES, id, telling::and_tellings(all_rows()), move |part| {
                if part.head.cancelled.is_some() && from.is_none() {
                    return Ok(Decision::Stands(series_of(&own, part)));
                }
                open_for_changes(part)?;
                let (zone, now) = (part.facts.zone()?, cancelled.at);
                let template = part.head.template(part.facts).clone();
                let affected = Affected::of(dates_of(part), from, &template, &zone, now)?;
                for (original, row) in &affected.dates {
                    doom(part, *original, row, &cancelled);
                    if from.is_some() {
                        // Should the rule be made longer again, the date is a new one.
                        part.remove(date_key(*original));
                    } else {
                        let row = DateRow { state: DateState::Cancelled, ..row.clone() };
                        part.set(date_key(*original), Row::Date(row));
                    }
                }
                let today = now.to_zoned_datetime(zone).date();
                let ends = affected.first().unwrap_or(today);
                let rule = ended_before(&template.rule, template.first, ends);
                let template_rev = template.rev;
                part.head.template = Some(Box::new(Template { rule, ..template }));
                if from.is_none() {
                    part.head.cancelled = Some(Box::new(cancelled.clone()));
                }
                part.head.is_settled = false;
                part.head.version += 1;
                telling::note(part, &own, &own, &affected.dates, (template_rev, true), now)?;
                let series = series_of(&own, part);
                for effect in effects(&series)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(series))
            })
            .await
    }
}

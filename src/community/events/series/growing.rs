//! Planning the next dates of a series, forgetting those of long ago, and arranging when to look again.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::Decision;
use serde::Serialize;

use super::planning::next_dates;
use super::rules::{earlier, later};
use super::state::{DateRow, MOST_ROWS, Row, SERIES, Series, date_key};
use super::store::{SeriesPart, SeriesStore, all_rows, dates_of, doomed_of, series_of};

/// How long the rows of dates are kept that are over.
const KEPT_DAYS: u32 = 60;
/// How often a series is looked at that goes on.
const WAKES_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A look that is nearer than this counts as come: the clocks of nodes differ, and one that came a little early would be the last.
const AS_GOOD_AS_COME: SignedDuration = SignedDuration::from_hours(1);
/// How long before its end the host of a series is told of it.
const TOLD_BEFORE_DAYS: u32 = 30;

/// What came of looking at a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grown {
    /// Dates that have their rows now.
    pub(super) planned: usize,
    /// When it is to be looked at next, where that is still to be arranged.
    pub(super) wakes_at: Option<Timestamp>,
    /// Whether its host is to be told that it ends unless it is renewed.
    pub(super) tells_end: bool,
}

/// Whether a rule gives a date behind one, and up to another.
fn has_dates(series: &Series, behind: Date, last: Date) -> bool {
    let template = series.template();
    template.rule.dates(template.first, last).any(|date| date > behind)
}

/// Decides when the series is looked at next, and whether its host hears that it ends.
fn arrange(part: &mut SeriesPart<'_>, id: &str, today: Date, now: Timestamp) -> (Option<Timestamp>, bool) {
    let series = series_of(id, part);
    let ends = series.head.lives_until(&series.facts);
    let planned = series.head.planned_to.unwrap_or(Date::MIN);
    let is_over = series.head.cancelled.is_some();
    let goes_beyond = !is_over && has_dates(&series, ends, later(ends, 2 * 366));
    let is_untold = goes_beyond && series.head.told_end != Some(ends);
    let tells_end = is_untold && today >= earlier(ends, TOLD_BEFORE_DAYS) && today <= ends;
    if tells_end {
        part.head.told_end = Some(ends);
    }
    let has_more = !is_over && has_dates(&series, planned, ends);
    let wakes_again = has_more || is_untold && !tells_end && today <= ends;
    // One that has come is done, and one that was lost is as good as that.
    let is_arranged = series.head.wakes_at.is_some_and(|at| at.duration_since(now) > AS_GOOD_AS_COME);
    if !wakes_again || is_arranged {
        return (None, tells_end);
    }
    part.head.wakes_at = now.checked_add(WAKES_AFTER).ok();
    (part.head.wakes_at, tells_end)
}

/// Plans the next dates; how many.
fn plan(
    part: &mut SeriesPart<'_>,
    id: &str,
    rows: usize,
    known: &BTreeSet<Date>,
    zone: &TimeZone,
    now: Timestamp,
) -> usize {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let template = part.head.template(part.facts).clone();
    let last = part.head.planned_by(part.facts, today);
    if part.head.cancelled.is_some() || part.head.planned_to.is_some_and(|planned| planned >= last) {
        return 0;
    }
    let room = MOST_ROWS.saturating_sub(rows);
    if room == 0 {
        return 0;
    }
    let dates = next_dates(&template, zone, known, part.head.planned_to, last, now);
    let dates = dates.get(..room.min(dates.len())).unwrap_or_default();
    for date in dates {
        let original = template.original(*date);
        let row = DateRow::planned(id, part.facts, &template, original);
        part.set(date_key(original), Row::Date(row));
    }
    // Where there may be more, they are planned behind the last one.
    part.head.planned_to = Some(dates.last().copied().unwrap_or(last));
    dates.len()
}

impl SeriesStore {
    /// Plans the next dates of a series, at most 60, and sees whether all is done that is to be done; what came of it. `effects`
    /// are what that causes.
    pub(super) async fn grow<E: Serialize>(
        &self,
        id: &str,
        now: Timestamp,
        effects: impl Fn(&Series, Grown) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Grown>, StoreError> {
        let own = id.to_owned();
        self.0
            .change(&SERIES, id, all_rows(), move |part| {
                if !part.head.is_whole(part.facts) {
                    return Ok::<_, StoreError>(Decision::Stands(Grown::default()));
                }
                let (before, zone) = (part.head.clone(), part.facts.zone()?);
                let today = now.to_zoned_datetime(zone.clone()).date();
                let dates = dates_of(part);
                let rev = part.head.template(part.facts).rev;
                let is_busy = |(original, row): &(DateTime, DateRow)| row.needs_work(*original, rev, today);
                let is_old =
                    |one: &&(DateTime, DateRow)| one.0.date() < earlier(today, KEPT_DAYS) && !is_busy(one);
                let old: Vec<_> =
                    dates.iter().filter(is_old).map(|(original, _)| date_key(*original)).collect();
                let known = dates.iter().map(|(original, _)| original.date()).collect();
                let planned = plan(part, &own, dates.len() - old.len(), &known, &zone, now);
                let is_idle = planned == 0 && !part.head.is_dividing();
                part.head.is_settled = is_idle && !dates.iter().any(is_busy) && doomed_of(part).is_empty();
                let (wakes_at, tells_end) = arrange(part, &own, today, now);
                let grown = Grown { planned, wakes_at, tells_end };
                if part.head == before && planned == 0 && old.is_empty() {
                    return Ok(Decision::Stands(grown));
                }
                for key in old {
                    part.remove(key);
                }
                for effect in effects(&series_of(&own, part), grown)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(grown))
            })
            .await
    }
}

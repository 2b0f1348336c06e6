//! Lists of events by the time they start: a partition a month, and a list of the months that have any, so that no empty
//! month is looked at.

use std::collections::VecDeque;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::tz::Offset;
use scylla::value::CqlTimestamp;

use super::query::{Change, Query};
use super::session::Cql;
use super::value::{limit, to_cql};
use crate::events::{Event, EventFilter, EventStore as _, MAX_LOOKED_AT, cursor, read_cursor};
use crate::{Page, PageRequest, PageStart, StoreError};

/// Events that are read at the same time.
const AT_ONCE: usize = 32;
/// Months that are read at a time.
const MONTHS: usize = 120;

const ADD: Query =
    Query::write("events_by_date", "INSERT INTO events_by_date (bucket, event_date, id) VALUES (?, ?, ?)");
const ADD_MONTH: Query =
    Query::write("event_buckets", "INSERT INTO event_buckets (scope, bucket) VALUES ('all', ?)");
const IDS: Query = Query::read(
    "events_by_date",
    "SELECT event_date, id FROM events_by_date WHERE bucket = ? AND (event_date, id) > (?, ?) LIMIT ?",
);
const MONTHS_FROM: Query = Query::read(
    "event_buckets",
    "SELECT bucket FROM event_buckets WHERE scope = 'all' AND bucket >= ? AND bucket <= ? LIMIT ?",
);

/// The month of a time, counted from the year nought.
fn month_of(time: Timestamp) -> i32 {
    let date = Offset::UTC.to_datetime(time);
    i32::from(date.year()) * 12 + i32::from(date.month())
}

/// An event's entry in the list.
pub(super) fn entries(event: &Event) -> [Change<'_>; 2] {
    let month = month_of(event.event_date);
    let entry = Change::new(&ADD, (month, to_cql(event.event_date), &event.id));
    [entry, Change::new(&ADD_MONTH, (month,))]
}

/// Reads the list, soonest first.
struct Walk<'a> {
    cql: &'a Cql,
    /// What was read last; the list goes on behind it.
    after: (i64, String),
    /// Months that were read and not yet looked into.
    months: VecDeque<i32>,
    /// Where to read more months; `None` when there are no more.
    months_from: Option<i32>,
    last_month: i32,
}

impl Walk<'_> {
    /// The next events' starts and ids; none at the end.
    async fn next(&mut self) -> Result<Vec<(i64, String)>, StoreError> {
        loop {
            if let Some(month) = self.months.front() {
                let values = (month, CqlTimestamp(self.after.0), &self.after.1, limit(AT_ONCE));
                let rows = self.cql.rows::<(CqlTimestamp, String)>(&IDS, values).await?;
                if rows.len() < AT_ONCE {
                    self.months.pop_front();
                }
                if let Some((start, id)) = rows.last() {
                    self.after = (start.0, id.clone());
                    return Ok(rows.into_iter().map(|(start, id)| (start.0, id)).collect());
                }
            } else if let Some(month) = self.months_from {
                let values = (month, self.last_month, limit(MONTHS));
                let months = self.cql.rows::<(i32,)>(&MONTHS_FROM, values).await?;
                self.months.extend(months.into_iter().map(|(month,)| month));
                let is_last = self.months.len() < MONTHS;
                self.months_from = self.months.back().filter(|_| !is_last).map(|month| month + 1);
            } else {
                return Ok(Vec::new());
            }
        }
    }
}

impl Cql {
    pub(super) async fn list_events(
        &self,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let (after, mut skip) = match &page.start {
            PageStart::After(after) => {
                let (millis, id) = read_cursor(after)?;
                ((millis, id.to_owned()), 0)
            }
            start => {
                let from = filter.from.map_or(i64::MIN, Timestamp::as_millisecond);
                ((from, String::new()), if let PageStart::Skip(items) = start { *items } else { 0 })
            }
        };
        // Before the first time that there is, all months are behind.
        let first_month = Timestamp::from_millisecond(after.0).map_or(i32::MIN, month_of);
        let mut walk = Walk {
            cql: self,
            after,
            months: VecDeque::new(),
            months_from: Some(first_month),
            last_month: filter.to.map_or(i32::MAX, month_of),
        };
        // The filter itself looks at the part of a millisecond.
        let end = filter.to.map_or(i64::MAX, |to| to.as_millisecond().saturating_add(1));
        let mut items: Vec<Event> = Vec::with_capacity(page.limit);
        let (mut last, mut looked_at) = (None, 0);
        loop {
            let mut starts = walk.next().await?;
            let is_last = starts.is_empty() || starts.iter().any(|(start, _)| *start >= end);
            starts.retain(|(start, _)| *start < end);
            let events = try_join_all(starts.iter().map(|(_, id)| self.event(id))).await?;
            for ((start, id), event) in starts.into_iter().zip(events) {
                if looked_at == MAX_LOOKED_AT {
                    return Ok(Page { items, next: last });
                }
                looked_at += 1;
                if let Some(event) = event.filter(|event| filter.holds(event)) {
                    if skip > 0 {
                        skip -= 1;
                    } else if items.len() == page.limit {
                        return Ok(Page { items, next: last });
                    } else {
                        items.push(event);
                    }
                }
                last = Some(cursor(start, &id));
            }
            if is_last {
                return Ok(Page { items, next: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_sort_as_times() {
        let month = |time: &str| month_of(time.parse().unwrap());
        assert_eq!(month("2026-11-24T02:10:00Z"), 2026 * 12 + 11);
        assert_eq!(month("2026-12-31T23:59:59.999Z") + 1, month("2027-01-01T00:00:00Z"));
        assert_eq!(month("-000001-12-31T23:59:59Z") + 1, month("0000-01-01T00:00:00Z"));
    }
}

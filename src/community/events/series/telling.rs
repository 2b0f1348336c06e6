//! What those who answered are told of a change of a series: each hears of it once, of all dates that concern that person. The
//! change itself notes which dates it may concern, so that nothing is lost where a node dies.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{RowRange, Wants, prefix};

use super::jobs;
use super::state::{DateRow, DateState, MOST_TELLINGS, Row, SERIES, TELLINGS, Telling, telling_key};
use super::store::{SeriesPart, SeriesStore};

/// How long a further change is waited for before those who answered are told.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// A change, and from which revision on another one tells of what events became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldChange {
    /// The change.
    pub telling: Telling,
    /// The first revision of the next change.
    pub until_rev: u32,
}

/// Some rows, and those of changes of which people are still told.
pub(super) fn and_tellings(wants: Wants) -> Wants {
    wants.first(&prefix(&[TELLINGS]), MOST_TELLINGS)
}

/// The changes of a partition of which people are still told, in order.
fn tellings_of(part: &mut SeriesPart<'_>) -> Vec<Telling> {
    let rows = part.first(&prefix(&[TELLINGS]), MOST_TELLINGS).into_iter();
    rows.filter_map(|(_, row)| telling_of(row)).collect()
}

fn telling_of(row: &Row) -> Option<Telling> {
    match row {
        Row::Telling(telling) => Some((**telling).clone()),
        Row::Date(_) | Row::Doomed(_) | Row::Template(_) | Row::Habit(_) | Row::CoHost(_) => None,
    }
}

/// Notes that those who answered are to be told of a change that was just made, and has them told. `of` is the series that has
/// the dates by it. A change that follows another one closely is told with it.
pub(super) fn note(
    part: &mut SeriesPart<'_>,
    id: &str,
    of: &str,
    affected: &[(DateTime, DateRow)],
    (rev, is_end): (u32, bool),
    now: Timestamp,
) -> Result<(), StoreError> {
    let takes_place = |(_, row): &&(DateTime, DateRow)| row.state != DateState::Cancelled;
    let mut events: BTreeSet<_> =
        affected.iter().filter(takes_place).map(|(_, row)| row.event_id.clone()).collect();
    if events.is_empty() {
        return Ok(());
    }
    let tellings = tellings_of(part);
    let (mut since, mut since_rev) = (now, rev);
    let last = tellings.last().filter(|last| !is_end && !last.is_end && now < last.due && last.of == of);
    if let Some(last) = last {
        (since, since_rev) = (last.since, last.since_rev);
        events.extend(last.events.iter().cloned());
        part.remove(telling_key(last.version));
    } else if tellings.len() >= MOST_TELLINGS
        && let Some(oldest) = tellings.first()
    {
        part.remove(telling_key(oldest.version));
    }
    let version = part.head.version;
    let due = if is_end { now } else { now.checked_add(TOLD_AFTER).unwrap_or(now) };
    let title = part.head.template(part.facts).title.clone();
    let of = of.to_owned();
    let telling = Telling { version, of, title, at: now, since, due, rev, since_rev, is_end, events };
    part.set(telling_key(version), Row::Telling(Box::new(telling)));
    part.emit(&jobs::tell(id, version, due)?)
}

impl SeriesStore {
    /// The change of a series that made a version, if people are still told of it.
    pub async fn told_change(&self, id: &str, version: u64) -> Result<Option<ToldChange>, StoreError> {
        let range = RowRange::first(prefix(&[TELLINGS]), MOST_TELLINGS);
        let rows = self.0.rows(&SERIES, id, &range).await?.items;
        let tellings: Vec<_> = rows.iter().filter_map(|(_, row)| telling_of(row)).collect();
        let later = |one: &&Telling| one.version > version && !one.is_end;
        let until_rev = tellings.iter().find(later).map_or(u32::MAX, |next| next.since_rev);
        let telling = tellings.into_iter().find(|one| one.version == version);
        Ok(telling.map(|telling| ToldChange { telling, until_rev }))
    }
}

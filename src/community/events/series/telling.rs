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
/// After so long nobody is told of a change any longer: letters of it are of no use then.
const TOLD_WITHIN: SignedDuration = SignedDuration::from_hours(73);

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
    let (over, told): (Vec<_>, Vec<_>) =
        tellings_of(part).into_iter().partition(|one| now.duration_since(one.at) > TOLD_WITHIN);
    for one in over {
        part.remove(telling_key(one.version));
    }
    let most = if is_end { MOST_TELLINGS } else { MOST_TELLINGS - 1 };
    let is_full = told.len() >= most;
    let (mut since, mut since_rev) = (now, rev);
    // Where there is no room, some may hear of the last one twice: that is better than nobody hearing of the first one.
    let joins =
        |last: &&Telling| last.of == of && last.is_end == is_end && (is_full || (!is_end && now < last.due));
    if let Some(last) = told.last().filter(joins) {
        (since, since_rev) = (last.since, last.since_rev);
        events.extend(last.events.iter().cloned());
        part.remove(telling_key(last.version));
    } else if is_full {
        return Err(StoreError::Full("the list of changes of a series of which people are still told"));
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
        let tellings = self.tellings(id).await?;
        let Some(telling) = tellings.iter().find(|one| one.version == version).cloned() else {
            return Ok(None);
        };
        // What a division took along is changed there, and told of there.
        let there = if telling.of == id { Vec::new() } else { self.tellings(&telling.of).await? };
        let until_rev = until_rev(&telling, &tellings, &there);
        Ok(Some(ToldChange { telling, until_rev }))
    }

    async fn tellings(&self, id: &str) -> Result<Vec<Telling>, StoreError> {
        let range = RowRange::first(prefix(&[TELLINGS]), MOST_TELLINGS);
        let rows = self.0.rows(&SERIES, id, &range).await?.items;
        Ok(rows.iter().filter_map(|(_, row)| telling_of(row)).collect())
    }
}

/// The first revision of which another change tells: one of the same series, or of the series that it led to.
fn until_rev(telling: &Telling, here: &[Telling], there: &[Telling]) -> u32 {
    // A division leaves the revision of the first part as it is, so what comes later is told by the revisions alone.
    let later = here.iter().chain(there).filter(|one| one.since_rev > telling.rev);
    later.filter(|one| !one.is_end).map(|one| one.since_rev).min().unwrap_or(u32::MAX)
}

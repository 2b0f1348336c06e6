//! What is kept of a series: a partition, with a row for each date.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use mundotango_storage::db::{Kind, key};
use mundotango_storage::{StoreError, zone_named};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rules::{Ends, Rule, Times, earlier, months_later};
use crate::community::events::co_hosts::{CoHostRow, CountsCoHosts};
use crate::community::events::occurrence::{Field, SeriesRef};
use crate::community::events::personal::SERIES_FIELDS;
use crate::community::events::rules::{Cancelled, CoHostRole, Plan, Settings};
use crate::community::events::store::{Edited, Event, EventType};
use crate::community::location::Location;

/// The series.
pub static SERIES: Kind<Facts, Head, Row> = Kind::new(
    "series",
    "a series: 400 dates of 250 B, 520 users of 80 B, 5 templates of 45 KB, 8 tellings of 16 KB, 530 KB",
    SERIES_FIELDS,
);

/// Below this lie the dates, by their original start.
pub(super) const DATES: &str = "o";
/// Below this lie events that are to be cancelled, by id.
pub(super) const DOOMED: &str = "x";
/// Below this lie templates of before that events are still to be made by, by revision.
pub(super) const TEMPLATES: &str = "t";
/// Below this lies what those who answered are told of changes, by the version of each.
pub(super) const TELLINGS: &str = "n";
/// Below this lie those who are always coming, by user.
pub(super) const ALWAYS: &str = "p";

/// Most rows of dates.
pub(super) const MOST_ROWS: usize = 400;
/// Most changes of which those who answered may still be told; the last one is kept for an end.
pub(super) const MOST_TELLINGS: usize = 9;
/// For how many months dates are made.
const MONTHS_AHEAD: u32 = 6;
/// For how many months a series goes on before somebody has to say that it does.
const MONTHS_OF_LIFE: u32 = 12;

/// What a series is, as its host said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Rises with each change, also over the division of a series.
    pub rev: u32,
    /// What its events are called.
    pub title: String,
    /// What they are.
    pub description: String,
    /// Where they are.
    pub location: Location,
    /// How they are given.
    #[serde(default)]
    pub settings: Settings,
    /// When a date starts and ends.
    pub times: Times,
    /// Which dates there are.
    pub rule: Rule,
    /// The date from which the rule counts.
    pub first: Date,
    /// Who owns it, if that is no longer the user who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// What never changes about a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The user who made it.
    pub host_id: String,
    /// Where the clocks are that its times are read from.
    pub zone: String,
    /// What kind its events are.
    pub event_type: EventType,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it was at first.
    pub template: Template,
    /// How long it goes on unless it is renewed.
    pub lives_until: Date,
    /// The series of which it is the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
}

/// What changes about a series besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// Rises with each change that clients can see.
    pub version: u64,
    /// What it is; absent where it is as it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<Template>>,
    /// How long it goes on, once it was renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lives_until: Option<Date>,
    /// The last date up to which dates have their rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_to: Option<Date>,
    /// Whether all rows are here that another series hands over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_all: bool,
    /// Whether all events are as the series says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_settled: bool,
    /// The series that has the later dates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Box<Cut>>,
    /// That it does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Box<Cancelled>>,
    /// How many are always coming.
    pub always: u32,
    /// How often somebody began to: it only rises, so that no clock decides who came first.
    pub habits: u64,
    /// How often its times, its place or its rule were changed.
    pub moves: u32,
    /// When it is looked at next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wakes_at: Option<Timestamp>,
    /// The end of which its host was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_end: Option<Date>,
    /// How many co-hosts there are.
    pub co_hosts: usize,
    /// To whom the owner offers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_to: Option<String>,
}

/// That a series was divided: the later dates are another's, which is all that is said of it until it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// The series that goes on.
    pub to: String,
    /// When that was decided.
    pub at: Timestamp,
    /// Its first date: all rows from it on are handed over.
    pub from: Date,
    /// What it is at first.
    pub template: Template,
    /// How long it goes on.
    pub lives_until: Date,
    /// Whether it is there, with those who are always coming.
    #[serde(default)]
    pub is_open: bool,
    /// Whether it has all rows.
    #[serde(default)]
    pub is_done: bool,
}

/// How far a date is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SeriesDateState)]
pub enum DateState {
    /// Its event is being made.
    Planned,
    /// It has its event.
    Made,
    /// It does not take place.
    Cancelled,
}

/// A date of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateRow {
    /// Its event.
    pub event_id: String,
    /// The revision by which the event is made.
    pub made_by: u32,
    /// The revision that the event has taken.
    pub rev: u32,
    /// How far it is.
    pub state: DateState,
    /// What the event has of its own, as it was heard of last.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub own: BTreeSet<Field>,
    /// The revision that gave it another day; 0 if none did.
    #[serde(default)]
    pub other_day: u32,
}

/// An event that is to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doomed {
    /// The date that it had.
    pub original: DateTime,
    /// The date's row.
    pub row: DateRow,
    /// What those who answered are told.
    pub cancelled: Cancelled,
}

/// Somebody who is always coming.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Habit {
    /// Lower than the numbers of those who began later.
    pub number: u64,
    /// Since when.
    pub since: Timestamp,
}

/// A change of which those who answered are told, each once. What it says is looked up when it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// The version of the series that the change made.
    pub version: u64,
    /// The series that has the dates now.
    pub of: String,
    /// What it is called.
    pub title: String,
    /// When the change was made: dates that it cancelled are so since then.
    pub at: Timestamp,
    /// The first change that is told with it, where one follows another closely.
    pub since: Timestamp,
    /// When those who answered are told.
    pub due: Timestamp,
    /// The revision that the events take by it.
    pub rev: u32,
    /// The first revision that is told with it.
    pub since_rev: u32,
    /// Whether it did nothing but cancel.
    pub is_end: bool,
    /// The events that it may concern.
    pub events: BTreeSet<String>,
}

/// A row of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// A date.
    Date(DateRow),
    /// An event that is to be cancelled.
    Doomed(Box<Doomed>),
    /// A template of before.
    Template(Box<Template>),
    /// A user who is always coming.
    Habit(Habit),
    /// What a user may do who is a host beside the owner.
    CoHost(CoHostRole),
    /// A change of which those who answered are told.
    Telling(Box<Telling>),
}

impl CoHostRow for Row {
    fn of(role: CoHostRole) -> Self {
        Self::CoHost(role)
    }

    fn role(&self) -> Option<CoHostRole> {
        if let Self::CoHost(role) = self { Some(*role) } else { None }
    }
}

impl CountsCoHosts for Head {
    fn co_hosts(&mut self) -> &mut usize {
        &mut self.co_hosts
    }
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Sorted by the time of its making.
    pub id: String,
    /// What never changes about it.
    pub facts: Facts,
    /// What does.
    pub head: Head,
}

pub(super) fn date_key(original: DateTime) -> String {
    key(&[DATES, &original.to_string()])
}

pub(super) fn doomed_key(event_id: &str) -> String {
    key(&[DOOMED, event_id])
}

pub(super) fn template_key(rev: u32) -> String {
    key(&[TEMPLATES, &format!("{rev:010}")])
}

pub(super) fn telling_key(version: u64) -> String {
    key(&[TELLINGS, &format!("{version:020}")])
}

pub(super) fn habit_key(user_id: &str) -> String {
    key(&[ALWAYS, user_id])
}

/// The id of a date's event: of a date that is planned by the same revision it is the same, whoever makes it.
fn event_id(series_id: &str, created_at: Timestamp, original: DateTime, rev: u32) -> String {
    let digest = Sha256::digest(format!("{series_id}/{original}/{rev}"));
    let random: [u8; 10] = digest.first_chunk().copied().unwrap_or_default();
    let millis = u64::try_from(created_at.as_millisecond()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_hyphenated().to_string()
}

impl Facts {
    /// The venue's zone.
    pub fn zone(&self) -> Result<TimeZone, StoreError> {
        let unknown = || StoreError::Damaged(format!("the time zone {} is not known any more", self.zone));
        zone_named(&self.zone).ok_or_else(unknown)
    }
}

impl Template {
    /// Who owns it.
    pub fn owner<'a>(&'a self, facts: &'a Facts) -> &'a str {
        self.owner.as_deref().unwrap_or(&facts.host_id)
    }

    /// When a date starts at first, by which it is known from then on.
    pub fn original(&self, date: Date) -> DateTime {
        date.to_datetime(self.times.start)
    }

    /// The event of a date.
    pub fn edited(&self, date: Date, zone: &TimeZone) -> Option<Edited> {
        let plan = Plan {
            title: self.title.clone(),
            description: self.description.clone(),
            when: self.times.on(date, zone)?,
            location: self.location.clone(),
        };
        Some(Edited { plan, settings: self.settings })
    }
}

impl Head {
    /// What the series is.
    pub fn template<'a>(&'a self, facts: &'a Facts) -> &'a Template {
        self.template.as_deref().unwrap_or(&facts.template)
    }

    /// Who owns the series.
    pub fn owner<'a>(&'a self, facts: &'a Facts) -> &'a str {
        self.template(facts).owner(facts)
    }

    /// How long it goes on unless it is renewed.
    pub fn lives_until(&self, facts: &Facts) -> Date {
        self.lives_until.unwrap_or(facts.lives_until)
    }

    /// Whether all its rows are here. Until then its dates are only taken in, and what is said of it has to wait.
    pub fn is_whole(&self, facts: &Facts) -> bool {
        self.has_all || facts.continues.is_none()
    }

    /// Whether rows are still handed over to another series.
    pub fn is_dividing(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| !cut.is_done)
    }

    /// The last date that is to have its row by a day.
    pub fn planned_by(&self, facts: &Facts, today: Date) -> Date {
        let ahead = months_later(today.max(self.template(facts).first), MONTHS_AHEAD);
        ahead.min(self.lives_until(facts))
    }
}

/// How long a series goes on that is made or renewed on a day.
pub(super) fn life_from(today: Date, first: Date) -> Date {
    months_later(today.max(first), MONTHS_OF_LIFE)
}

impl DateRow {
    /// A date that is to have its event.
    pub(super) fn planned(series_id: &str, facts: &Facts, template: &Template, original: DateTime) -> Self {
        let rev = template.rev;
        let event_id = event_id(series_id, facts.created_at, original, rev);
        let (state, own) = (DateState::Planned, BTreeSet::new());
        Self { event_id, made_by: rev, rev, state, own, other_day: 0 }
    }

    /// Whether its event is still to be made, or to take what the series says. What was on before yesterday stays as it was; what
    /// has a time of its own may be to come, and decides that itself.
    pub(super) fn needs_work(&self, original: DateTime, rev: u32, today: Date) -> bool {
        match self.state {
            DateState::Planned => true,
            DateState::Made => {
                let may_be_to_come = original.date() >= earlier(today, 1) || self.own.contains(&Field::Time);
                self.rev < rev && may_be_to_come
            }
            DateState::Cancelled => false,
        }
    }
}

impl Series {
    /// What it is.
    pub fn template(&self) -> &Template {
        self.head.template(&self.facts)
    }

    /// Who owns it.
    pub fn owner(&self) -> &str {
        self.head.owner(&self.facts)
    }

    /// The day that it is at its venue.
    pub fn today(&self, now: Timestamp) -> Result<Date, StoreError> {
        Ok(now.to_zoned_datetime(self.facts.zone()?).date())
    }

    /// Whether it has dates on or after a day.
    pub fn goes_on(&self, today: Date) -> bool {
        let (template, last) = (self.template(), self.head.lives_until(&self.facts));
        let last = match template.rule.ends {
            Ends::Never => Some(last),
            Ends::Until(until) => Some(last.min(until)),
            Ends::After(_) => template.rule.dates(template.first, last).last(),
        };
        self.head.cancelled.is_none() && last.is_some_and(|last| last >= today)
    }

    /// The event of a date as it is made by a template: the same each time, so that making it again changes nothing.
    pub(super) fn event(
        &self,
        original: DateTime,
        row: &DateRow,
        by: &Template,
    ) -> Result<Event, StoreError> {
        let edited = by.edited(original.date(), &self.facts.zone()?);
        let edited = edited.ok_or_else(|| StoreError::Damaged(format!("{original} is past all times")))?;
        let (id, host_id) = (row.event_id.clone(), by.owner(&self.facts).to_owned());
        let event = Event::made(id, host_id, self.facts.event_type, edited, self.facts.created_at);
        let series = Some(SeriesRef { id: self.id.clone(), original_start: original });
        Ok(Event { series, ..event })
    }

    /// The series that goes on where this one was cut.
    pub(super) fn successor(&self, cut: &Cut) -> Self {
        let facts = Facts {
            created_at: cut.at,
            template: cut.template.clone(),
            lives_until: cut.lives_until,
            continues: Some(self.id.clone()),
            ..self.facts.clone()
        };
        Self { id: cut.to.clone(), facts, head: Head::default() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};
    use mundotango_storage::db::{last_part, time_of_id};

    use super::*;

    #[test]
    fn a_dates_event_has_one_id_whoever_makes_it() {
        let created_at: Timestamp = "2026-11-28T12:00:00.123Z".parse().unwrap();
        let original = date(2026, 12, 4).at(21, 0, 0, 0);
        let id = event_id("s", created_at, original, 1);
        assert_eq!(id, event_id("s", created_at, original, 1));
        assert_eq!(time_of_id(&id), Some(created_at));
        for other in [
            event_id("r", created_at, original, 1),
            event_id("s", created_at, original, 2),
            event_id("s", created_at, date(2026, 12, 5).to_datetime(time(21, 0, 0, 0)), 1),
        ] {
            assert_ne!(other, id);
        }
    }

    #[test]
    fn dates_sort_by_their_keys_and_come_back() {
        let dates = [(2026, 12, 4, 9), (2026, 12, 4, 21), (2026, 12, 11, 0), (2027, 1, 1, 0)];
        let dates = dates.map(|(year, month, day, hour)| date(year, month, day).at(hour, 0, 0, 0));
        let keys = dates.map(date_key);
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(keys.map(|key| last_part(&key).parse::<DateTime>().unwrap()), dates);
        assert!(template_key(9) < template_key(10));
    }
}

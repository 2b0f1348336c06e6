//! What clients see of series.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use mundotango_gateway::input::Time;
use mundotango_storage::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::repeats::Frequency;
use super::rules::{Day, Ends, Repeats, Rule};
use super::state::{DateRow, DateState, Series, Template};
use crate::community::Person;
use crate::community::effects::Effect;
use crate::community::events::bodies::{ALL_CHANNEL, EventBody, RoleLimitsBody};
use crate::community::events::occurrence::Field;
use crate::community::events::rules::AttendeeList;
use crate::community::events::store::{Event, EventType};
use crate::community::money::Money;
use crate::community::notifications::preferences::clock;
use crate::community::place::LocationBody;

/// By what rule dates follow each other.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RepeatsView {
    frequency: Frequency,
    interval: u32,
    /// Weekly: on which days.
    #[schema(required = true)]
    weekdays: Option<Vec<Day>>,
    /// Monthly: on the day with this number.
    #[schema(required = true)]
    day_of_month: Option<i8>,
    /// Monthly: on the so manieth of a day of the week.
    #[schema(required = true)]
    weekday_of_month: Option<NthWeekdayView>,
    /// The last day on which there may be a date.
    #[schema(required = true, value_type = Option<String>)]
    until: Option<Date>,
    /// How many dates there are.
    #[schema(required = true)]
    count: Option<u32>,
    /// Dates that are left out.
    #[schema(value_type = Vec<String>)]
    except: Vec<Date>,
}

/// Which of the days of a month with this name.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct NthWeekdayView {
    nth: i8,
    weekday: Day,
}

impl From<&Rule> for RepeatsView {
    fn from(rule: &Rule) -> Self {
        let (mut weekdays, mut day_of_month, mut weekday_of_month) = (None, None, None);
        let frequency = match &rule.repeats {
            Repeats::Daily => Frequency::Daily,
            Repeats::Weekly(days) => {
                weekdays = Some(days.iter().copied().collect());
                Frequency::Weekly
            }
            Repeats::MonthlyDay(day) => {
                day_of_month = Some(*day);
                Frequency::Monthly
            }
            Repeats::MonthlyWeekday(nth, weekday) => {
                weekday_of_month = Some(NthWeekdayView { nth: *nth, weekday: *weekday });
                Frequency::Monthly
            }
        };
        let (until, count) = match rule.ends {
            Ends::Never => (None, None),
            Ends::Until(until) => (Some(until), None),
            Ends::After(count) => (None, Some(count)),
        };
        let except = rule.excluded.iter().copied().collect();
        let interval = rule.interval;
        Self { frequency, interval, weekdays, day_of_month, weekday_of_month, until, count, except }
    }
}

/// A series of events.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct EventSeriesBody {
    id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    host: Option<Person>,
    title: String,
    description: String,
    location: LocationBody,
    event_type: EventType,
    /// Of each date; null for no limit.
    #[schema(required = true)]
    capacity: Option<u32>,
    role_limits: RoleLimitsBody,
    /// To whom it is told who comes.
    attendees: AttendeeList,
    /// What a place at a date costs; null for nothing.
    #[schema(required = true)]
    ticket_price: Option<Money>,
    /// How many days before a date those who are going are asked whether they still come; null for not at all.
    #[schema(required = true)]
    ask_again_days: Option<u32>,
    /// The IANA name of the venue's time zone.
    time_zone: String,
    /// The date from which the rule counts.
    #[schema(value_type = String)]
    first_date: Date,
    /// When dates start, as the venue's clocks show it.
    start_time: String,
    /// When they end; null where that is not told.
    #[schema(required = true)]
    end_time: Option<String>,
    /// How many days after their start they end; null where no end is told.
    #[schema(required = true)]
    end_day: Option<u32>,
    repeats: RepeatsView,
    /// The last day on which there is a date unless the series is renewed.
    #[schema(value_type = String)]
    renewed_until: Date,
    /// How many are always coming.
    always_coming: u32,
    /// The series of which it is the rest; null where it is none.
    #[schema(required = true)]
    continues: Option<String>,
    /// The series that has its later dates; null where there is none.
    #[schema(required = true)]
    continued_by: Option<String>,
    /// Since when it is known that it does not go on; null where it does.
    #[schema(required = true)]
    cancelled_at: Option<Time>,
    /// Why it does not, if the host said so.
    #[schema(required = true)]
    cancel_reason: Option<String>,
    /// Whether all events are as the series says. After a change that is so within seconds.
    is_settled: bool,
    /// Rises with each change.
    version: u64,
    created_at: Time,
}

impl EventSeriesBody {
    pub(in crate::community::events) fn new(series: &Series, people: &BTreeMap<String, Person>) -> Self {
        let (facts, head, template) = (&series.facts, &series.head, series.template());
        let Template { title, description, location, settings, times, rule, first, .. } = template;
        Self {
            id: series.id.clone(),
            host: people.get(series.owner()).cloned(),
            title: title.clone(),
            description: description.clone(),
            location: location.clone().into(),
            event_type: facts.event_type,
            capacity: settings.limits.total,
            role_limits: settings.limits.into(),
            attendees: settings.attendees,
            ticket_price: settings.ticket,
            ask_again_days: settings.ask_again,
            time_zone: facts.zone.clone(),
            first_date: *first,
            start_time: clock(times.start),
            end_time: times.end.map(|end| clock(end.time)),
            end_day: times.end.map(|end| end.days),
            repeats: rule.into(),
            renewed_until: head.lives_until(facts),
            always_coming: head.always,
            continues: facts.continues.clone(),
            continued_by: head.cut.as_ref().map(|cut| cut.to.clone()),
            cancelled_at: head.cancelled.as_ref().map(|cancelled| cancelled.at.into()),
            cancel_reason: head.cancelled.as_ref().and_then(|cancelled| cancelled.reason.clone()),
            is_settled: head.is_settled,
            version: head.version,
            created_at: facts.created_at.into(),
        }
    }
}

/// A date that is to come.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct UpcomingDate {
    event_id: String,
    original_start: String,
    /// When it starts.
    event_date: Time,
}

impl UpcomingDate {
    pub(super) fn new(original: DateTime, event: &Event) -> Self {
        Self {
            event_id: event.id.clone(),
            original_start: original.to_string(),
            event_date: event.when.starts_at().into(),
        }
    }
}

/// A series, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeenSeries {
    #[serde(flatten)]
    pub(super) series: EventSeriesBody,
    /// The next dates that take place.
    pub(super) next_dates: Vec<UpcomingDate>,
    /// Whether the caller is always coming.
    pub(super) attending: bool,
}

/// A date of a series.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeriesDate {
    /// The date's name in the series: when it was to start at first, as the venue's clocks show it.
    original_start: String,
    state: DateState,
    /// What the event has of its own, and keeps when the series is changed.
    own_fields: Vec<Field>,
    event_id: String,
    /// Null while it is being made.
    #[schema(required = true)]
    event: Option<EventBody>,
}

impl SeriesDate {
    pub(super) fn new(original: DateTime, row: DateRow, event: Option<EventBody>) -> Self {
        Self {
            original_start: original.to_string(),
            state: row.state,
            own_fields: row.own.into_iter().collect(),
            event_id: row.event_id,
            event,
        }
    }
}

/// What `events:all` publishes of series: once for all of their dates.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum SeriesMessage {
    /// There is a new series.
    #[serde(rename = "series.created")]
    Created {
        series: Box<EventSeriesBody>,
        /// Its first dates.
        dates: Vec<UpcomingDate>,
    },
    /// The series is another than before; its events follow, and `event:{id}` tells of each.
    #[serde(rename = "series.changed")]
    Changed { series: Box<EventSeriesBody> },
    /// The series does not go on.
    #[serde(rename = "series.cancelled")]
    Cancelled { series: Box<EventSeriesBody> },
    /// The series may be another than it is known to be. It is told in place of what happened where that could not be told at
    /// once: ask for the series.
    #[serde(rename = "series.outdated")]
    Outdated {
        #[serde(rename = "seriesId")]
        series_id: String,
    },
}

impl SeriesMessage {
    /// Tells those who look at events; late, when the series may say something else, only that it is to be looked at.
    pub(in crate::community::events) fn effect(&self, series_id: &str) -> Result<Effect, StoreError> {
        Effect::publish_now(ALL_CHANNEL, self, &Self::Outdated { series_id: series_id.to_owned() })
    }
}

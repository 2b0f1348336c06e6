//! What clients send of series, read strictly.

use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError};
use utoipa::ToSchema;

use super::planning::MOST_DAYS;
use super::repeats::{OriginalStart, RepeatsBody};
use super::rules::{End, Rule, Times};
use super::state::Template;
use crate::community::events::requests::{AskAgainDays, RoleLimits, SettingsChange, TicketPrice};
use crate::community::events::rules::{AttendeeList, Settings};
use crate::community::events::schedule::{GivenTime, Schedule, Zone};
use crate::community::events::store::EventType;
use crate::community::notifications::preferences::Clock;
use crate::community::place::GivenLocation;
use crate::texts::{Description, Reason, Title};

/// A new series: an event, and the rule by which it repeats.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = first_of_its_rule -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "title": "Milonga at La Viruta", "description": "Live music from ten on.",
    "eventDate": "2030-12-06T21:00", "endDate": "2030-12-07T03:00", "timeZone": "America/Argentina/Buenos_Aires",
    "location": {"text": "La Viruta, Armenia 1366", "city": "Buenos Aires", "latitude": -34.59, "longitude": -58.42},
    "eventType": "milonga", "capacity": 120, "repeats": {"frequency": "weekly", "weekdays": ["friday"]},
}))]
pub(super) struct NewSeries {
    title: Title,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    description: Maybe<Description>,
    /// When the first date starts. The rule has to give it.
    event_date: GivenTime,
    /// When the first date ends, at most 30 days later. Without one it is taken to be over 12 hours after its start.
    #[deserr(default)]
    #[schema(value_type = Option<GivenTime>)]
    end_date: Maybe<GivenTime>,
    /// Where the clocks are by which all dates start and end. UTC if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Zone>)]
    time_zone: Maybe<Zone>,
    location: GivenLocation,
    #[schema(value_type = EventType)]
    pub(super) event_type: Choice<EventType>,
    /// How many may come to each date; absent for no limit.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    capacity: Maybe<Whole<1, { u32::MAX }>>,
    /// How many may come to each date who lead, and who follow; absent for no limits.
    #[deserr(default)]
    #[schema(value_type = Option<RoleLimits>)]
    role_limits: Maybe<RoleLimits>,
    /// To whom it is told who comes. To everybody if absent.
    #[deserr(default)]
    #[schema(value_type = AttendeeList, required = false)]
    attendees: Choice<AttendeeList>,
    /// What a place at a date costs; absent for nothing.
    #[deserr(default)]
    #[schema(value_type = Option<TicketPrice>)]
    ticket_price: Maybe<TicketPrice>,
    /// How many days before a date those who are going are asked whether they still come; absent for not at all.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 2, maximum = 30)]
    ask_again_days: Maybe<AskAgainDays>,
    repeats: RepeatsBody,
}

/// What of a new series is on the calendar.
#[derive(Debug)]
pub(super) struct OnCalendar {
    /// The first date.
    pub(super) first: Schedule,
    /// When each date starts and ends.
    pub(super) times: Times,
    /// Which dates there are.
    pub(super) rule: Rule,
}

impl NewSeries {
    pub(super) fn on_calendar(&self) -> Result<OnCalendar, FieldError> {
        let end = match self.end_date {
            Maybe::Value(end) => Some(end),
            Maybe::Absent | Maybe::Null => None,
        };
        let zone = if let Maybe::Value(zone) = &self.time_zone { Some(zone) } else { None };
        let first = Schedule::given(self.event_date, end, zone, false)?;
        let date = first.start.date();
        let end = first.end.as_ref().map(|end| {
            // An event that has an end has it within weeks.
            let days = date.until(end.date()).map_or(0, |span| span.get_days());
            End { days: u32::try_from(days).unwrap_or_default(), time: end.time() }
        });
        if end.is_some_and(|end| end.days > MOST_DAYS) {
            let message = format!("must be {MOST_DAYS} days after eventDate at most");
            return Err(FieldError::new("endDate", FieldCode::OutOfRange, message));
        }
        let rule = self.repeats.rule(date);
        if !rule.fits(date) {
            let message = match rule.first_from(date) {
                Some(next) => format!("must be one of the dates that repeats gives; the next one is {next}"),
                None => {
                    "must be one of the dates that repeats gives, and it gives none from then on".to_owned()
                }
            };
            return Err(FieldError::new("eventDate", FieldCode::Contradiction, message));
        }
        let times = Times { start: first.start.time(), end };
        Ok(OnCalendar { first, times, rule })
    }
}

impl NewSeries {
    /// The series at first.
    pub(super) fn template(self, calendar: &OnCalendar) -> Template {
        let total = self.capacity.value().map(Whole::get);
        Template {
            rev: 1,
            title: self.title.into_string(),
            description: self.description.value().map(Description::into_string).unwrap_or_default(),
            location: self.location.0,
            settings: Settings {
                limits: self.role_limits.value().unwrap_or_default().limits(total),
                attendees: self.attendees.0,
                ticket: self.ticket_price.value().map(TicketPrice::money),
                ask_again: self.ask_again_days.value().map(Whole::get),
            },
            times: calendar.times,
            rule: calendar.rule.clone(),
            first: calendar.first.start.date(),
            owner: None,
        }
    }
}

/// Dates that contradict each other are told together with what else is wrong.
fn first_of_its_rule(series: NewSeries, _at: ValuePointerRef<'_>) -> Result<NewSeries, BadFields> {
    series.on_calendar()?;
    Ok(series)
}

/// A change of a series; what is absent stays.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = with_its_end -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "from": "2030-12-06T21:00:00", "startTime": "22:00", "endTime": "04:00", "title": "Milonga at La Viruta",
}))]
pub(super) struct SeriesChange {
    /// The first date that is changed, by its `originalStart`: it and those behind it become a series of their own. All dates that
    /// are to come if absent.
    #[deserr(default)]
    #[schema(value_type = Option<OriginalStart>)]
    pub(super) from: Maybe<OriginalStart>,
    #[deserr(default)]
    #[schema(value_type = Title, required = false)]
    title: Given<Title>,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    description: Maybe<Description>,
    #[deserr(default)]
    #[schema(value_type = GivenLocation, required = false)]
    location: Given<GivenLocation>,
    /// At what time dates start, on the clocks of the venue.
    #[deserr(default)]
    #[schema(value_type = Clock, required = false)]
    start_time: Given<Clock>,
    /// At what time they end; null where that is not told.
    #[deserr(default)]
    #[schema(value_type = Option<Clock>)]
    end_time: Maybe<Clock>,
    /// How many days after their start they end; only together with `endTime`. The next such time if absent.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 30)]
    end_day: Maybe<Whole<0, MOST_DAYS>>,
    /// How many may come to each date; null for no limit. A date to which more are going keeps its limits.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    capacity: Maybe<Whole<1, { u32::MAX }>>,
    /// How many may come to each date who lead, and who follow; null for no limits.
    #[deserr(default)]
    #[schema(value_type = Option<RoleLimits>)]
    role_limits: Maybe<RoleLimits>,
    /// To whom it is told who comes.
    #[deserr(default)]
    #[schema(value_type = AttendeeList, required = false)]
    attendees: Given<Choice<AttendeeList>>,
    /// What a place costs from now on; null for nothing. Who has a place keeps it.
    #[deserr(default)]
    #[schema(value_type = Option<TicketPrice>)]
    ticket_price: Maybe<TicketPrice>,
    /// How many days before a date those who are going are asked whether they still come; null for not at all.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 2, maximum = 30)]
    ask_again_days: Maybe<AskAgainDays>,
    /// The rule in the place of the one before. A date that it does not give has another day of the same week or month where it
    /// gives one, and is cancelled otherwise.
    #[deserr(default)]
    #[schema(value_type = RepeatsBody, required = false)]
    repeats: Given<RepeatsBody>,
}

impl SeriesChange {
    /// The template that is wanted of the one that is.
    pub(super) fn edit(&self, before: Template) -> Template {
        let date = if let Maybe::Value(OriginalStart(from)) = self.from { from.date() } else { before.first };
        let start = self.start_time.0.map_or(before.times.start, |Clock(time)| time);
        let end = match (self.end_time, self.end_day) {
            (Maybe::Absent, _) => before.times.end,
            (Maybe::Null, _) => None,
            (Maybe::Value(Clock(time)), Maybe::Value(days)) => Some(End { days: days.get(), time }),
            (Maybe::Value(Clock(time)), _) => Some(End { days: Times::days_to(start, time), time }),
        };
        let settings = SettingsChange {
            capacity: self.capacity,
            role_limits: &self.role_limits,
            attendees: &self.attendees,
            ticket_price: &self.ticket_price,
            ask_again_days: self.ask_again_days,
        };
        Template {
            title: self.title.0.clone().map_or(before.title, Title::into_string),
            description: match &self.description {
                Maybe::Absent => before.description,
                Maybe::Null => String::new(),
                Maybe::Value(description) => description.clone().into_string(),
            },
            location: self.location.0.as_ref().map_or(before.location, |location| location.0.clone()),
            settings: settings.of(before.settings),
            times: Times { start, end },
            rule: self.repeats.0.as_ref().map_or(before.rule, |repeats| repeats.rule(date)),
            ..before
        }
    }
}

fn with_its_end(change: SeriesChange, _at: ValuePointerRef<'_>) -> Result<SeriesChange, BadFields> {
    if matches!(change.end_day, Maybe::Value(_)) && !matches!(change.end_time, Maybe::Value(_)) {
        let message = "can be changed only with endTime";
        return Err(FieldError::new("endDay", FieldCode::Contradiction, message).into());
    }
    Ok(change)
}

/// From when on a series does not take place, and why.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"from": "2030-12-06T21:00:00", "reason": "The hall is flooded."}))]
pub(super) struct SeriesEnd {
    /// The first date that is cancelled, by its `originalStart`; all that are to come if absent.
    #[deserr(default)]
    #[schema(value_type = Option<OriginalStart>)]
    pub(super) from: Maybe<OriginalStart>,
    /// What those who answered are told.
    #[deserr(default)]
    #[schema(value_type = Option<Reason>)]
    pub(super) reason: Maybe<Reason>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::civil::{date, time};
    use mundotango_gateway::input::read_value;
    use serde_json::{Value as Json, json};

    use super::super::rules::{Day, Ends, Repeats};
    use super::*;
    use crate::community::location::Location;

    fn template() -> Template {
        Template {
            rev: 1,
            title: "Milonga".to_owned(),
            description: String::new(),
            location: Location::default(),
            settings: Settings::capacity(Some(20)),
            times: Times { start: time(21, 0, 0, 0), end: Some(End { days: 1, time: time(3, 0, 0, 0) }) },
            rule: Rule {
                repeats: Repeats::Weekly([Day::Tuesday].into()),
                interval: 1,
                ends: Ends::Never,
                excluded: BTreeSet::new(),
            },
            first: date(2026, 12, 1),
            owner: None,
        }
    }

    fn edited(change: Json) -> Template {
        read_value::<SeriesChange>(change).unwrap().edit(template())
    }

    #[test]
    fn what_is_absent_stays_and_an_end_is_the_next_such_time() {
        assert_eq!(edited(json!({})), template());
        let at = |hour| time(hour, 0, 0, 0);
        let times = |change| edited(change).times;
        assert_eq!(times(json!({"startTime": "22:00"})), Times { start: at(22), end: template().times.end });
        let end = times(json!({"startTime": "22:00", "endTime": "23:00"})).end;
        assert_eq!(end, Some(End { days: 0, time: at(23) }));
        assert_eq!(times(json!({"endTime": "04:00"})).end, Some(End { days: 1, time: at(4) }));
        assert_eq!(times(json!({"endTime": null})).end, None);
        assert!(!times(json!({"endTime": "20:00", "endDay": 0})).is_in_order());
        let limits = edited(json!({"capacity": 30, "roleLimits": {"lead": 10}})).settings.limits;
        assert_eq!((limits.total, limits.leads, limits.follows), (Some(30), Some(10), None));
    }
}

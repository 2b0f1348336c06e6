//! What clients send of series, read strictly.

use std::collections::BTreeSet;

use deserr::{Deserr, IntoValue, Sequence as _, Value, ValuePointerRef};
use jiff::civil::{Date, DateTime};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::planning::MOST_DAYS;
use super::rules::{Day, End, Ends, Repeats, Rule, Times};
use super::state::Template;
use crate::community::events::requests::{RoleLimits, SettingsChange, TicketPrice};
use crate::community::events::rules::{AttendeeList, Settings};
use crate::community::events::schedule::{GivenTime, Schedule, Zone};
use crate::community::events::store::EventType;
use crate::community::notifications::preferences::Clock;
use crate::community::place::GivenLocation;
use crate::texts::{Description, Reason, Title};

/// Most dates that a rule counts or leaves out.
const MOST_DATES: usize = 366;

/// A text of a fixed form that is a date or a time of the calendar.
fn civil<T: std::str::FromStr, V: IntoValue>(
    value: Value<V>,
    at: ValuePointerRef<'_>,
    wanted: &str,
    has_form: impl Fn(&str) -> bool,
) -> Result<T, BadFields> {
    let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, wanted, at)) };
    let read = text.parse().ok().filter(|_| has_form(&text));
    read.ok_or_else(|| BadFields::one(at, FieldCode::BadForm, format!("must be {wanted}")))
}

fn civil_schema(about: &str, pattern: &str, characters: usize, example: &str) -> ObjectBuilder {
    let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    schema.pattern(Some(pattern)).max_length(Some(characters)).examples([example])
}

/// A date of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CalendarDate(pub(super) Date);

impl Deserr<BadFields> for CalendarDate {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let is_plain = |text: &str| text.len() == 10 && !text.starts_with(['-', '+']);
        civil(value, at, "a date as `2026-12-04`", is_plain).map(Self)
    }
}

impl PartialSchema for CalendarDate {
    fn schema() -> RefOr<Schema> {
        let schema = civil_schema("A date.", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", 10, "2026-12-04");
        schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))).into()
    }
}

impl ToSchema for CalendarDate {}

/// The original start of a date, as `originalStart` of its event has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OriginalStart(pub(super) DateTime);

impl Deserr<BadFields> for OriginalStart {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "the `originalStart` of a date, such as 2026-12-04T21:00:00";
        let is_local = |text: &str| {
            let parts = text.split_once('T').filter(|(date, _)| date.len() == 10);
            parts.is_some_and(|(_, time)| !time.contains(['Z', 'z', '+', '-', '[']))
        };
        civil(value, at, WANTED, is_local).map(Self)
    }
}

impl PartialSchema for OriginalStart {
    fn schema() -> RefOr<Schema> {
        let about = "The original start of a date, on the clocks of its venue.";
        let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?$";
        civil_schema(about, pattern, 29, "2026-12-04T21:00:00").into()
    }
}

impl ToSchema for OriginalStart {}

/// Declares a list without twins and with a bound.
macro_rules! list {
    ($(#[doc = $about:literal] $name:ident: $from:literal to $to:ident of $item:ident, $words:literal;)+) => {$(
        #[doc = $about]
        #[derive(Clone, Debug)]
        pub(super) struct $name(BTreeSet<$item>);

        impl Deserr<BadFields> for $name {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                at: ValuePointerRef<'_>,
            ) -> Result<Self, BadFields> {
                let wanted = format!("a list of {} to {} {}", $from, $to, $words);
                match value {
                    Value::Sequence(items) if ($from..=$to).contains(&items.len()) => {
                        BTreeSet::deserialize_from_value(Value::<V>::Sequence(items), at).map(Self)
                    }
                    Value::Sequence(_) => {
                        Err(BadFields::one(at, FieldCode::OutOfRange, format!("must be {wanted}")))
                    }
                    other => Err(BadFields::wrong_type(&other, &wanted, at)),
                }
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let items = Ref::from_schema_name($item::name());
                let list = ArrayBuilder::new().items(items).description(Some($about.trim()));
                list.min_items(Some($from)).max_items(Some($to)).into()
            }
        }

        impl ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.push(($item::name().into_owned(), $item::schema()));
            }
        }
    )+};
}

/// Days of a week.
const MOST_DAYS_OF_A_WEEK: usize = 7;

list! {
    /// Days of the week.
    Weekdays: 1 to MOST_DAYS_OF_A_WEEK of Day, "days of the week";
    /// Dates that are left out.
    ExceptedDates: 0 to MOST_DATES of CalendarDate, "dates";
}

impl Deserr<BadFields> for Day {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        Choice::deserialize_from_value(value, at).map(|Choice(day)| day)
    }
}

/// How often dates come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Frequency {
    Daily,
    Weekly,
    Monthly,
}

/// Which of the days of a month with this name.
#[derive(Clone, Copy, Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"nth": -1, "weekday": "friday"}))]
pub(super) struct NthWeekday {
    /// The first (1) to the fifth (5), or counted from the end: the last (-1) to the fifth last (-5). A month without it is skipped.
    #[schema(value_type = i8, minimum = -5, maximum = 5)]
    nth: Nth,
    weekday: Day,
}

/// From -5 to 5, but not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nth(i8);

impl Deserr<BadFields> for Nth {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a whole number from 1 to 5, or from -5 to -1";
        let number = match value {
            Value::Integer(number) => i8::try_from(number).ok(),
            Value::NegativeInteger(number) => i8::try_from(number).ok(),
            other => return Err(BadFields::wrong_type(&other, WANTED, at)),
        };
        let number = number.filter(|number| (1..=5).contains(&number.unsigned_abs()));
        let out_of_range = || BadFields::one(at, FieldCode::OutOfRange, format!("must be {WANTED}"));
        number.map(Self).ok_or_else(out_of_range)
    }
}

/// By what rule dates follow each other. What it gives at a time that the clocks leave out comes as long after the gap as it
/// stands in it; months without the day are skipped.
#[derive(Clone, Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = of_its_frequency -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({"frequency": "weekly", "weekdays": ["friday"], "count": 12}))]
pub(super) struct RepeatsBody {
    #[schema(value_type = Frequency)]
    frequency: Choice<Frequency>,
    /// Of how many days, weeks or months one has dates; 1 if absent.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 99)]
    interval: Maybe<Whole<1, 99>>,
    /// Weekly: on which days; that of the first date if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Weekdays>)]
    weekdays: Maybe<Weekdays>,
    /// Monthly: on the day with this number; that of the first date if this and `weekdayOfMonth` are absent.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 31)]
    day_of_month: Maybe<Whole<1, 31>>,
    /// Monthly: on the so manieth of a day of the week.
    #[deserr(default)]
    #[schema(value_type = Option<NthWeekday>)]
    weekday_of_month: Maybe<NthWeekday>,
    /// The last day on which there may be a date; without it and `count` the series goes on for as long as it is renewed.
    #[deserr(default)]
    #[schema(value_type = Option<CalendarDate>)]
    until: Maybe<CalendarDate>,
    /// How many dates there are, with those that are left out.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 366)]
    count: Maybe<Whole<1, 366>>,
    /// Dates that are left out.
    #[deserr(default)]
    #[schema(value_type = Option<ExceptedDates>)]
    except: Maybe<ExceptedDates>,
}

fn of_its_frequency(body: RepeatsBody, at: ValuePointerRef<'_>) -> Result<RepeatsBody, BadFields> {
    let frequency = body.frequency.0;
    let is_there = [
        ("weekdays", matches!(body.weekdays, Maybe::Value(_)), Frequency::Weekly, "goes with weekly alone"),
        (
            "dayOfMonth",
            matches!(body.day_of_month, Maybe::Value(_)),
            Frequency::Monthly,
            "goes with monthly alone",
        ),
        (
            "weekdayOfMonth",
            matches!(body.weekday_of_month, Maybe::Value(_)),
            Frequency::Monthly,
            "goes with monthly alone",
        ),
    ];
    let strays = is_there.into_iter().find(|(_, is_there, its, _)| *is_there && *its != frequency);
    let contradiction = |field: &str, message: &str| {
        Err(BadFields::one(at.push_key(field), FieldCode::Contradiction, message))
    };
    if let Some((field, _, _, message)) = strays {
        return contradiction(field, message);
    }
    if matches!((&body.day_of_month, &body.weekday_of_month), (Maybe::Value(_), Maybe::Value(_))) {
        return contradiction("weekdayOfMonth", "does not go together with dayOfMonth");
    }
    if matches!((&body.until, &body.count), (Maybe::Value(_), Maybe::Value(_))) {
        return contradiction("count", "does not go together with until");
    }
    Ok(body)
}

impl RepeatsBody {
    /// The rule; what is not said follows from a date.
    pub(super) fn rule(&self, date: Date) -> Rule {
        let repeats = match self.frequency.0 {
            Frequency::Daily => Repeats::Daily,
            Frequency::Weekly => Repeats::Weekly(match &self.weekdays {
                Maybe::Value(Weekdays(days)) => days.clone(),
                Maybe::Absent | Maybe::Null => [Day::of(date)].into(),
            }),
            Frequency::Monthly => match (&self.weekday_of_month, &self.day_of_month) {
                (Maybe::Value(NthWeekday { nth, weekday }), _) => Repeats::MonthlyWeekday(nth.0, *weekday),
                (_, Maybe::Value(day)) => Repeats::MonthlyDay(i8::try_from(day.get()).unwrap_or(date.day())),
                _ => Repeats::MonthlyDay(date.day()),
            },
        };
        let ends = match (&self.until, &self.count) {
            (Maybe::Value(CalendarDate(until)), _) => Ends::Until(*until),
            (_, Maybe::Value(count)) => Ends::After(count.get()),
            _ => Ends::Never,
        };
        let excluded = match &self.except {
            Maybe::Value(ExceptedDates(dates)) => dates.iter().map(|CalendarDate(date)| *date).collect(),
            Maybe::Absent | Maybe::Null => BTreeSet::new(),
        };
        let interval = self.interval.value().map_or(1, Whole::get);
        Rule { repeats, interval, ends, excluded }
    }
}

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
        let first = Schedule::given(self.event_date, end, zone)?;
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
            },
            times: calendar.times,
            rule: calendar.rule.clone(),
            first: calendar.first.start.date(),
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
    use jiff::civil::{date, time};
    use mundotango_gateway::input::read_value;
    use serde_json::{Value as Json, json};

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

    #[test]
    fn what_a_rule_does_not_say_follows_from_its_date() {
        let rule = |repeats: Json| read_value::<RepeatsBody>(repeats).unwrap().rule(date(2026, 12, 4));
        assert_eq!(rule(json!({"frequency": "weekly"})).repeats, Repeats::Weekly([Day::Friday].into()));
        assert_eq!(rule(json!({"frequency": "monthly"})).repeats, Repeats::MonthlyDay(4));
        let last = json!({"frequency": "monthly", "weekdayOfMonth": {"nth": -1, "weekday": "friday"}});
        assert_eq!(rule(last).repeats, Repeats::MonthlyWeekday(-1, Day::Friday));
        let counted =
            rule(json!({"frequency": "daily", "interval": 2, "count": 3, "except": ["2026-12-06"]}));
        let dates: Vec<_> = counted.dates(date(2026, 12, 4), Date::MAX).collect();
        assert_eq!(dates, [date(2026, 12, 4), date(2026, 12, 8)]);
    }
}

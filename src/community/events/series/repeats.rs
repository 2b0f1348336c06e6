//! The rule of a series as clients write it, and what names one of its dates.

use std::collections::BTreeSet;

use deserr::{Deserr, IntoValue, Sequence as _, Value, ValuePointerRef};
use jiff::civil::{Date, DateTime};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Whole};
use mundotango_gateway::problem::FieldCode;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::rules::{Day, Ends, Repeats, Rule};

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

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use mundotango_gateway::input::read_value;
    use serde_json::{Value as Json, json};

    use super::*;

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

//! What admins ask for: ranges of time, in a time zone.

use std::ops::Range;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::{FieldCode, Problem};
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::body::wrong_name;
use super::slots::Slot;

/// How far back anything is known: what lasts longest of it.
const OLDEST: SignedDuration = SignedDuration::from_hours(762 * 24);
/// How far ahead a range may end.
const AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A day of the calendar, which begins at its midnight in the zone of the query, or a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Date(Date),
    Time(Timestamp),
}

impl Deserr<BadFields> for Moment {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        if let Value::String(text) = &value
            && text.len() == "2026-12-04".len()
            && let Ok(date) = text.parse()
        {
            return Ok(Self::Date(date));
        }
        if let Ok(Time(time)) = Time::deserialize_from_value(value, at) {
            return Ok(Self::Time(time));
        }
        let message =
            "must be a day, such as 2026-12-04, or a time with its offset (RFC 3339; + is written %2B)";
        Err(BadFields::one(at, FieldCode::BadForm, message))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let about = "A day, such as 2026-12-04, from its midnight on; or a time with its offset (RFC 3339).";
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let schema = schema.pattern(Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$"));
        schema.max_length(Some(40)).examples(["2026-12-04"]).into()
    }
}

impl ToSchema for Moment {}

/// A time zone by its name in the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(pub(super) TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// Its name.
    pub(super) fn name(&self) -> String {
        self.0.iana_name().unwrap_or("UTC").to_owned()
    }
}

impl Deserr<BadFields> for Zone {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a time zone's name, such as America/Argentina/Buenos_Aires";
        let Value::String(name) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        let zone = TimeZone::get(&name).map(Self);
        zone.map_err(|_| BadFields::one(at, FieldCode::BadForm, format!("must be {WANTED}")))
    }
}

/// The name of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named(pub(super) String);

impl Deserr<BadFields> for Named {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let Value::String(name) = value else { return Err(BadFields::wrong_type(&value, "a text", at)) };
        // Routes are names as well, of what the server counts itself.
        if !name.starts_with('/')
            && let Some((code, message)) = wrong_name(&name)
        {
            return Err(BadFields::one(at, code, message));
        }
        Ok(Self(name))
    }
}

/// A range as it is answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnalyticsRange)]
pub(super) struct RangeBody {
    /// From when on.
    from: Time,
    /// Until when.
    to: Time,
}

impl RangeBody {
    pub(super) fn of(range: &Range<Slot>) -> Self {
        Self { from: Time(range.start.begin()), to: Time(range.end.begin()) }
    }
}

/// The slots from one moment to another, of which the second no longer belongs to it.
pub(super) fn range(
    from: Moment,
    to: Moment,
    zone: &Zone,
    longest: SignedDuration,
) -> Result<Range<Slot>, Problem> {
    let now = mundotango_storage::now();
    let (from, to) = (time_of("from", from, zone)?, time_of("to", to, zone)?);
    let out_of_range =
        |field, message: String| Err(Problem::invalid_field(field, FieldCode::OutOfRange, message));
    if from < now - OLDEST {
        return out_of_range("from", "must be in the last 25 months".to_owned());
    }
    if to > now + AHEAD {
        return out_of_range("to", "must be at most a year ahead".to_owned());
    }
    // Up to the end of the slot in which it ends.
    let end = Slot::of(to + SignedDuration::from_mins(15) - SignedDuration::from_nanos(1));
    let range = Slot::of(from)..end;
    if range.is_empty() {
        return Err(Problem::invalid_field("to", FieldCode::Contradiction, "must be later than from"));
    }
    if to.duration_since(from) > longest {
        let days = longest.as_hours() / 24;
        return out_of_range("to", format!("must be at most {days} days later than from"));
    }
    Ok(range)
}

fn time_of(field: &str, moment: Moment, zone: &Zone) -> Result<Timestamp, Problem> {
    let date = match moment {
        Moment::Time(time) => return Ok(time),
        Moment::Date(date) => date,
    };
    let begin = date.to_zoned_datetime(zone.0.clone()).and_then(|day| day.start_of_day());
    let wrong = |_| Problem::invalid_field(field, FieldCode::OutOfRange, "the calendar does not go so far");
    begin.map(|begin| begin.timestamp()).map_err(wrong)
}

/// The error of a question that would read too much.
pub(super) fn too_much() -> Problem {
    let message = "the range is too long for its steps; ask for a shorter one, or for longer steps";
    Problem::invalid_field("to", FieldCode::OutOfRange, message)
}

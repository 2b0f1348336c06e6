//! When an event is: as the clocks of its venue show it.
//!
//! What counts is the civil time and the zone: where a country changes its rules after the event was made, the dance still
//! begins at nine in the evening, and the point in time follows.

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::civil::{Date, DateTime, DateTimeRound};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{AmbiguousOffset, OffsetConflict, TimeZone};
use jiff::{RoundMode, SignedDuration, Timestamp, Unit, ZonedDateTime};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::{FieldCode, FieldError};
use mundotango_storage::{to_the_millisecond, zone_named};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// How long an event without an end is taken to last.
pub const UNTOLD: SignedDuration = SignedDuration::from_hours(12);
/// The longest event: 31 days, and the hour that clocks are put back in autumn.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24 + 1);

/// No time and no name of a zone is longer, in characters.
const MAX_CHARS: usize = 64;

/// An offset that the zone still knows decides between the two readings of an hour that comes twice.
static PARSER: DateTimeParser = DateTimeParser::new().offset_conflict(OffsetConflict::PreferOffset);

/// When an event is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// When it starts.
    #[serde(with = "zoned")]
    pub start: ZonedDateTime,
    /// When it ends, if that is told.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "zoned_if_any")]
    pub end: Option<ZonedDateTime>,
    /// Whether the event is whole days, from the midnight of the first to the one after the last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_day: bool,
}

impl Schedule {
    /// From one time to another, if there is one.
    pub const fn times(start: ZonedDateTime, end: Option<ZonedDateTime>) -> Self {
        Self { start, end, all_day: false }
    }

    /// The whole days from one to another: times of day do not count, and the end is on the last day.
    fn whole_days(
        start: GivenTime,
        end: Option<GivenTime>,
        zone: Option<&TimeZone>,
    ) -> Result<Self, FieldError> {
        let zone = zone.ok_or_else(|| {
            FieldError::new(
                "timeZone",
                FieldCode::Missing,
                "is needed for whole days, which are those of its clocks",
            )
        })?;
        let first = start.date_in(zone);
        let last = end.map_or(first, |end| end.date_in(zone));
        if last < first {
            return Err(FieldError::new("endDate", FieldCode::Contradiction, "must not be before eventDate"));
        }
        let out_of_range =
            |_| FieldError::new("eventDate", FieldCode::OutOfRange, "is further away than times go");
        // A day begins later than at midnight where the clocks leave that out.
        let begin = |date: Date| date.to_zoned_datetime(zone.clone());
        let start = begin(first).map_err(out_of_range)?;
        let end = last.tomorrow().and_then(begin).map_err(out_of_range)?;
        Ok(Self { start, end: Some(end), all_day: true })
    }

    fn not_too_long(self) -> Result<Self, FieldError> {
        match &self.end {
            Some(end) if end.duration_since(&self.start) > LONGEST => {
                let message = format!("must be {} days after eventDate at most", LONGEST.as_hours() / 24);
                Err(FieldError::new("endDate", FieldCode::OutOfRange, message))
            }
            _ => Ok(self),
        }
    }

    /// Whether it is at another time than before. Whether days or times are shown makes none.
    pub fn differs_from(&self, before: &Self) -> bool {
        (&self.start, &self.end) != (&before.start, &before.end)
    }

    /// The first and the last day, where it is whole days.
    pub fn days(&self) -> Option<(Date, Date)> {
        let first = self.start.date();
        let end = self.end.as_ref().filter(|_| self.all_day)?;
        // A day begins later than at midnight where the clocks leave that out.
        let last = end.checked_sub(SignedDuration::from_nanos(1)).map_or(first, |last| last.date());
        Some((first, last.max(first)))
    }

    /// From the fields of a request; the field that is wrong, if one is.
    pub(super) fn given(
        start: GivenTime,
        end: Option<GivenTime>,
        zone: Option<&Zone>,
        all_day: bool,
    ) -> Result<Self, FieldError> {
        let zone = zone.map(|Zone(zone)| zone);
        if all_day {
            return Self::whole_days(start, end, zone)?.not_too_long();
        }
        let start = start.on_clocks_of(zone, "eventDate")?;
        let end = end.map(|end| end.on_clocks_of(zone, "endDate")).transpose()?;
        if end.as_ref().is_some_and(|end| !end.duration_since(&start).is_positive()) {
            return Err(FieldError::new("endDate", FieldCode::Contradiction, "must be later than eventDate"));
        }
        Self::times(start, end).not_too_long()
    }

    /// A point in time, on no clocks in particular.
    pub fn at(start: Timestamp) -> Self {
        Self::times(start.to_zoned_datetime(TimeZone::UTC), None)
    }

    /// When it starts, as a point in time.
    pub fn starts_at(&self) -> Timestamp {
        self.start.timestamp()
    }

    /// From when on it is over: where no end is told, so long after its start that hardly one goes on.
    pub fn over_at(&self) -> Timestamp {
        self.end.as_ref().map_or_else(
            || self.starts_at().saturating_add(UNTOLD).unwrap_or(Timestamp::MAX),
            ZonedDateTime::timestamp,
        )
    }

    /// Whether the event lasts longer than one without an end is taken to last.
    pub fn is_long(&self) -> bool {
        self.over_at().duration_since(self.starts_at()) > UNTOLD
    }

    /// The venue's zone.
    pub(super) fn zone(&self) -> Zone {
        Zone(self.start.time_zone().clone())
    }

    /// The IANA name of the venue's zone.
    pub fn zone_name(&self) -> &str {
        self.start.time_zone().iana_name().unwrap_or("UTC")
    }
}

/// A time that a client gives: a point in time, or what the clocks of a place show.
#[derive(Clone, Copy, Debug)]
pub(super) enum GivenTime {
    Point(Timestamp),
    Local(DateTime),
}

impl GivenTime {
    /// The day on the clocks of a zone.
    fn date_in(self, zone: &TimeZone) -> Date {
        match self {
            Self::Point(point) => point.to_zoned_datetime(zone.clone()).date(),
            Self::Local(local) => local.date(),
        }
    }

    fn on_clocks_of(self, zone: Option<&TimeZone>, field: &str) -> Result<ZonedDateTime, FieldError> {
        match (self, zone) {
            (Self::Point(point), zone) => {
                let zone = zone.cloned().unwrap_or(TimeZone::UTC);
                Ok(to_the_millisecond(point).to_zoned_datetime(zone))
            }
            (Self::Local(_), None) => {
                let message =
                    "must have its offset, such as 2026-12-04T21:00:00-03:00, or come with timeZone";
                Err(FieldError::new(field, FieldCode::BadForm, message))
            }
            (Self::Local(local), Some(zone)) => {
                let in_millis = DateTimeRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc);
                let local = local.round(in_millis).unwrap_or(local);
                let ambiguous = zone.to_ambiguous_zoned_datetime(local);
                if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
                    let name = zone.iana_name().unwrap_or("the zone");
                    let message = format!("does not exist in {name}: the clocks are put forward over it");
                    return Err(FieldError::new(field, FieldCode::OutOfRange, message));
                }
                // Of an hour that comes twice the first; with its offset the client may say the second.
                let out_of_range =
                    |_| FieldError::new(field, FieldCode::OutOfRange, "is further away than times go");
                ambiguous.compatible().map_err(out_of_range)
            }
        }
    }
}

impl Deserr<BadFields> for GivenTime {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        if let Value::String(text) = &value
            && let Some(local) = local(text)
        {
            return Ok(Self::Local(local));
        }
        Time::deserialize_from_value(value, at).map(|Time(point)| Self::Point(point))
    }
}

/// A date and a time without an offset or a zone, as a browser's field for both gives it.
fn local(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('T')?;
    let has_more = date.starts_with(['-', '+']) || time.contains(['Z', 'z', '+', '-', '[']);
    if has_more { None } else { text.parse().ok() }
}

impl PartialSchema for GivenTime {
    fn schema() -> RefOr<Schema> {
        let about = "A time with its offset (RFC 3339), or without one as the clocks in `timeZone` show it.";
        let examples = ["2030-12-04T21:00:00-03:00", "2030-12-04T21:00"];
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let schema = schema.pattern(Some(
            r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?$",
        ));
        schema.max_length(Some(MAX_CHARS)).examples(examples).into()
    }
}

impl ToSchema for GivenTime {}

/// A time zone by its IANA name.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// Its IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl Deserr<BadFields> for Zone {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str =
            "the name of a time zone (IANA), such as Europe/Berlin or America/Argentina/Buenos_Aires";
        let Value::String(name) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        // Only names of the database, without forms that other names have for rules of their own.
        let zone = zone_named(&name);
        zone.map(Self).ok_or_else(|| BadFields::one(at, FieldCode::NotAllowed, format!("must be {WANTED}")))
    }
}

impl PartialSchema for Zone {
    fn schema() -> RefOr<Schema> {
        let about = "The venue's time zone by its IANA name.";
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let schema = schema.min_length(Some(1)).max_length(Some(MAX_CHARS));
        schema.examples(["America/Argentina/Buenos_Aires"]).into()
    }
}

impl ToSchema for Zone {}

mod zoned {
    use jiff::ZonedDateTime;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(time: &ZonedDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ZonedDateTime, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        super::PARSER
            .parse_zoned_datetime_with(&mundotango_storage::ZONES, text.as_ref())
            .map_err(de::Error::custom)
    }
}

mod zoned_if_any {
    use jiff::ZonedDateTime;
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<ZonedDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::zoned::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ZonedDateTime>, D::Error> {
        super::zoned::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use mundotango_gateway::input::read_value;
    use serde_json::json;

    use super::*;

    const BUENOS_AIRES: &str = "America/Argentina/Buenos_Aires";

    fn schedule(start: &str, end: Option<&str>, zone: Option<&str>) -> Result<Schedule, (String, FieldCode)> {
        let time = |text: &str| read_value::<GivenTime>(json!(text)).unwrap();
        let zone = zone.map(|name| read_value::<Zone>(json!(name)).unwrap());
        Schedule::given(time(start), end.map(time), zone.as_ref(), false)
            .map_err(|error| (error.field, error.code))
    }

    #[test]
    fn whole_days_are_those_between_two_midnights() {
        let days = |start: &str, end: Option<&str>| {
            let times = |text: &str| read_value::<GivenTime>(json!(text)).unwrap();
            let zone: Zone = read_value(json!("America/Santiago")).unwrap();
            let given = Schedule::given(times(start), end.map(times), Some(&zone), true).unwrap();
            let kept: Schedule = serde_json::from_str(&serde_json::to_string(&given).unwrap()).unwrap();
            assert_eq!(kept, given);
            let ends = given.end.as_ref().unwrap().datetime().to_string();
            (given.days().map(|(first, last)| format!("{first} {last}")).unwrap(), ends)
        };
        let those = |days: &str, ends: &str| (days.to_owned(), ends.to_owned());
        assert_eq!(
            days("2026-03-05T00:00", Some("2026-03-08T00:00")),
            those("2026-03-05 2026-03-08", "2026-03-09T00:00:00")
        );
        assert_eq!(
            days("2026-03-05T21:00", Some("2026-03-05T04:00")),
            those("2026-03-05 2026-03-05", "2026-03-06T00:00:00")
        );
        assert_eq!(days("2026-03-05T21:00", None), those("2026-03-05 2026-03-05", "2026-03-06T00:00:00"));
        // The midnight behind the last day, and that of the first, are left out by the clocks.
        assert_eq!(
            days("2026-09-04T00:00", Some("2026-09-05T00:00")),
            those("2026-09-04 2026-09-05", "2026-09-06T01:00:00")
        );
        assert_eq!(days("2026-09-06T00:00", None), those("2026-09-06 2026-09-06", "2026-09-07T00:00:00"));
        assert_eq!(Schedule::at(Timestamp::UNIX_EPOCH).days(), None);
        let wrong = |start: &str, end: &str, zone: Option<&str>| {
            let times = |text: &str| read_value::<GivenTime>(json!(text)).unwrap();
            let zone = zone.map(|name| read_value::<Zone>(json!(name)).unwrap());
            let error = Schedule::given(times(start), Some(times(end)), zone.as_ref(), true).unwrap_err();
            (error.field, error.code)
        };
        let berlin = Some("Europe/Berlin");
        assert_eq!(
            wrong("2026-03-05T22:00-03:00", "2026-03-05T23:00-03:00", None),
            ("timeZone".to_owned(), FieldCode::Missing)
        );
        assert_eq!(
            wrong("2026-03-05T00:00", "2026-03-04T00:00", berlin),
            ("endDate".to_owned(), FieldCode::Contradiction)
        );
        assert_eq!(
            wrong("2026-05-01T00:00", "2026-06-01T00:00", berlin),
            ("endDate".to_owned(), FieldCode::OutOfRange)
        );
    }

    #[test]
    fn what_the_clocks_show_and_a_point_in_time_are_the_same() {
        let local = schedule("2026-12-04T21:00", None, Some(BUENOS_AIRES)).unwrap();
        let point = schedule("2026-12-05T00:00:00Z", None, Some(BUENOS_AIRES)).unwrap();
        assert_eq!(local, point);
        assert_eq!(local.start.to_string(), "2026-12-04T21:00:00-03:00[America/Argentina/Buenos_Aires]");
        let kept: Schedule = serde_json::from_str(&serde_json::to_string(&local).unwrap()).unwrap();
        assert_eq!((kept.zone_name(), &kept), (BUENOS_AIRES, &local));
        assert_eq!(schedule("2026-12-04T21:00:00-03:00", None, None).unwrap().zone_name(), "UTC");
    }

    #[test]
    fn hours_that_come_twice_or_never_are_told_apart() {
        let berlin = Some("Europe/Berlin");
        let gap = schedule("2026-03-29T02:30", None, berlin);
        assert_eq!(gap, Err(("eventDate".to_owned(), FieldCode::OutOfRange)));
        let first = schedule("2026-10-25T02:30", None, berlin).unwrap();
        let second = schedule("2026-10-25T02:30:00+01:00", None, berlin).unwrap();
        assert_eq!(second.starts_at().duration_since(first.starts_at()), SignedDuration::from_hours(1));
        let kept: Schedule = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
        assert_eq!(kept.starts_at(), second.starts_at());
    }

    #[test]
    fn when_a_zone_changes_its_rules_the_civil_time_stays() {
        // Written when the zone was thought to be at +05:00 that summer.
        let text = r#"{"start":"2026-07-01T21:00:00+05:00[Europe/Berlin]"}"#;
        let kept: Schedule = serde_json::from_str(text).unwrap();
        assert_eq!(kept.start.to_string(), "2026-07-01T21:00:00+02:00[Europe/Berlin]");
    }

    #[test]
    fn an_offset_is_never_left_out_and_parts_of_milliseconds_always() {
        for text in ["20261204T210000-0300", "20261204T21:00-03:00", "2026-12-04T21:00:00-03:00"] {
            let starts = schedule(text, None, Some("Europe/Berlin")).unwrap().starts_at();
            assert_eq!(starts.to_string(), "2026-12-05T00:00:00Z", "{text}");
        }
        let start = schedule("2026-12-04T21:00:00.123999999", None, Some(BUENOS_AIRES)).unwrap().start;
        assert_eq!(start.datetime().to_string(), "2026-12-04T21:00:00.123");
    }

    #[test]
    fn an_end_comes_after_its_start() {
        let ends = |end: &str| schedule("2026-12-04T21:00", Some(end), Some(BUENOS_AIRES));
        assert!(ends("2026-12-05T03:00").is_ok_and(|when| !when.is_long()));
        assert!(ends("2026-12-07T03:00").is_ok_and(|when| when.is_long()));
        assert_eq!(ends("2026-12-04T21:00").unwrap_err().1, FieldCode::Contradiction);
        assert_eq!(ends("2027-12-04T21:00").unwrap_err().1, FieldCode::OutOfRange);
        assert_eq!(schedule("2026-12-04T21:00", None, None).unwrap_err().1, FieldCode::BadForm);
    }

    #[test]
    fn only_zones_of_the_database_are_known() {
        for name in ["Mars/Phobos", "", "EST5EDT4", "Etc/Unknown", "+03:00"] {
            assert!(read_value::<Zone>(json!(name)).is_err(), "{name}");
        }
        for name in ["localtime", "posixrules"] {
            assert!(read_value::<Zone>(json!(name)).is_err(), "{name} is another one on each machine");
        }
        assert!(read_value::<Zone>(json!("America/Buenos_Aires")).is_ok());
        for text in
            ["2026-12-04", "-0020261204T2100", "21:00", "2026-12-04 21:00", "2026-12-04T21:00[Europe/Berlin]"]
        {
            assert!(read_value::<GivenTime>(json!(text)).is_err(), "{text}");
        }
    }
}

//! Nights: civil dates of the place where one sleeps, never points in time. A stay is half-open: the check-out day is free for
//! the next guest.

use std::iter::successors;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::{FieldCode, FieldError};
use mundotango_storage::zone_named;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Nights that are asked for at once, in a stay or a calendar.
pub const MOST_NIGHTS: u32 = 366;
/// How far ahead nights can be booked, blocked and priced: it bounds a listing's calendar.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(550 * 24);

/// Nights, from the check-in day up to the check-out day, which is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The check-in day.
    pub from: Date,
    /// The check-out day.
    pub to: Date,
}

impl Stay {
    /// From one day to a later one.
    pub fn new(from: Date, to: Date) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// From the fields of a request; the field that is wrong, if one is.
    pub(super) fn given(from: CivilDate, to: CivilDate) -> Result<Self, FieldError> {
        let contradiction = || FieldError::new("to", FieldCode::Contradiction, "must be later than from");
        let stay = Self::new(from.0, to.0).ok_or_else(contradiction)?;
        if stay.nights() > MOST_NIGHTS {
            let message = format!("must be {MOST_NIGHTS} days after from at most");
            return Err(FieldError::new("to", FieldCode::OutOfRange, message));
        }
        Ok(stay)
    }

    /// How many nights.
    pub fn nights(self) -> u32 {
        u32::try_from(days_between(self.from, self.to)).unwrap_or_default()
    }

    /// Each night by the day on which it begins.
    pub fn dates(self) -> impl Iterator<Item = Date> {
        successors(Some(self.from), |date| date.tomorrow().ok()).take_while(move |date| *date < self.to)
    }

    /// Whether a night begins on a day.
    pub fn holds(self, date: Date) -> bool {
        (self.from..self.to).contains(&date)
    }

    /// Whether the two share a night.
    pub fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// The days from one date to another; negative where the other is earlier.
pub fn days_between(from: Date, to: Date) -> i64 {
    from.duration_until(to).as_hours() / 24
}

/// A date so many days later, or earlier.
pub fn days_later(date: Date, days: i32) -> Date {
    date.saturating_add(SignedDuration::from_hours(i64::from(days) * 24))
}

/// The zone of a name. One that this program does not know any more is read as UTC.
fn zone(name: &str) -> TimeZone {
    zone_named(name).unwrap_or_else(|| {
        tracing::error!(zone = name, "a listing's time zone is not known any more");
        TimeZone::UTC
    })
}

/// The date that it is in a zone.
pub fn today(zone_name: &str, now: Timestamp) -> Date {
    now.to_zoned_datetime(zone(zone_name)).date()
}

/// When a date begins in a zone, or an hour of it.
pub fn begins(date: Date, hour: i8, zone_name: &str) -> Timestamp {
    let at = date.at(hour, 0, 0, 0).to_zoned_datetime(zone(zone_name));
    at.map_or(Timestamp::MAX, |at| at.timestamp())
}

/// A civil date that a client gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::community) struct CivilDate(pub(in crate::community) Date);

impl Deserr<BadFields> for CivilDate {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a date, such as 2030-12-04";
        let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        let is_date = text.len() == "2030-12-04".len()
            && text.char_indices().all(|(index, letter)| match index {
                4 | 7 => letter == '-',
                _ => letter.is_ascii_digit(),
            });
        let date = is_date.then(|| text.parse().ok()).flatten();
        date.map(Self).ok_or_else(|| BadFields::one(at, FieldCode::BadForm, format!("must be {WANTED}")))
    }
}

impl PartialSchema for CivilDate {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some("A date (RFC 3339)."));
        let schema = schema.min_length(Some(10)).max_length(Some(10)).examples(["2030-12-04"]);
        let schema = schema.pattern(Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"));
        schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))).into()
    }
}

impl ToSchema for CivilDate {}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use mundotango_gateway::input::read_value;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_check_out_day_is_free_for_the_next_guest() {
        let stay = |from, to| Stay::new(date(2030, 5, from), date(2030, 5, to)).unwrap();
        assert!(!stay(1, 4).overlaps(stay(4, 6)) && !stay(4, 6).overlaps(stay(1, 4)));
        assert!(stay(1, 4).overlaps(stay(3, 6)) && stay(1, 9).overlaps(stay(3, 6)));
        assert_eq!((stay(1, 4).nights(), stay(1, 4).dates().last()), (3, Some(date(2030, 5, 3))));
        assert!(stay(1, 4).holds(date(2030, 5, 1)) && !stay(1, 4).holds(date(2030, 5, 4)));
        assert_eq!(Stay::new(date(2030, 5, 4), date(2030, 5, 4)), None);
    }

    #[test]
    fn a_day_begins_on_the_clocks_of_the_place() {
        let now: Timestamp = "2030-05-01T02:00:00Z".parse().unwrap();
        assert_eq!(today("America/Argentina/Buenos_Aires", now), date(2030, 4, 30));
        assert_eq!(today("Asia/Tokyo", now), date(2030, 5, 1));
        let begins = |name: &str| begins(date(2030, 5, 1), 0, name).to_string();
        assert_eq!(begins("America/Argentina/Buenos_Aires"), "2030-05-01T03:00:00Z");
        // Midnight is left out there.
        let gap = super::begins(date(2026, 9, 6), 0, "America/Santiago");
        assert_eq!(gap.to_string(), "2026-09-06T04:00:00Z");
    }

    #[test]
    fn dates_have_one_form() {
        assert_eq!(read_value::<CivilDate>(json!("2030-02-28")).unwrap().0, date(2030, 2, 28));
        for wrong in ["2030-02-30", "20300228", "2030-2-28", "2030-02-28T00:00", "tomorrow", "", "+030-02-28"]
        {
            assert!(read_value::<CivilDate>(json!(wrong)).is_err(), "{wrong}");
        }
        let given = |from, to| Stay::given(CivilDate(from), CivilDate(to)).map_err(|error| error.code);
        assert_eq!(given(date(2030, 5, 4), date(2030, 5, 4)), Err(FieldCode::Contradiction));
        assert_eq!(given(date(2030, 5, 4), date(2031, 5, 6)), Err(FieldCode::OutOfRange));
        assert!(given(date(2030, 5, 4), date(2031, 5, 5)).is_ok());
    }

    proptest! {
        #[test]
        fn stays_overlap_where_they_share_a_night(a in 0..40_i32, b in 1..20_i32, c in 0..40_i32, d in 1..20_i32) {
            let day = |days| days_later(date(2032, 2, 10), days);
            let one = Stay::new(day(a), day(a + b)).unwrap();
            let other = Stay::new(day(c), day(c + d)).unwrap();
            let share = one.dates().any(|date| other.holds(date));
            prop_assert_eq!(one.overlaps(other), share);
            prop_assert_eq!(one.dates().count(), usize::try_from(one.nights()).unwrap());
        }
    }
}

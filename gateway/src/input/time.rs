//! Times as clients write and read them.

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::BadFields;
use crate::code::FieldCode;

/// A point in time: RFC 3339 with an offset when it comes in, and always UTC with three digits of a second when it goes out,
/// so that texts sort as times do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

impl Deserr<BadFields> for Time {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a time with its offset, such as 2026-12-04T21:00:00-03:00 (RFC 3339)";
        let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        // RFC 9557's names of zones in brackets are no part of RFC 3339.
        let time = text.parse().ok().filter(|_| !text.contains('['));
        time.map(Self).ok_or_else(|| {
            // An unwritten plus of a query arrives as a space.
            let hint = if text.contains(' ') { "; a + in a query is written %2B" } else { "" };
            BadFields::one(at, FieldCode::BadForm, format!("must be {WANTED}{hint}"))
        })
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let schema =
            schema.description(Some("A point in time (RFC 3339).")).examples(["2026-11-20T21:00:00.000Z"]);
        schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
    }
}

impl ToSchema for Time {}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::input::read_value;

    #[test]
    fn times_go_out_in_one_form() {
        for (text, sent) in [
            ("2026-12-04T21:00:00-03:00", "2026-12-05T00:00:00.000Z"),
            ("2026-12-04T21:00:00.17Z", "2026-12-04T21:00:00.170Z"),
            ("2026-12-04T21:00:00.123999Z", "2026-12-04T21:00:00.123Z"),
        ] {
            let time: Time = read_value(json!(text)).unwrap();
            assert_eq!(serde_json::to_value(time).unwrap(), Value::from(sent), "{text}");
        }
        for text in ["2026-12-04T21:00", "tomorrow", "2026-12-04T21:00:00+01:00[Europe/Berlin]", ""] {
            let problem = read_value::<Time>(json!(text)).unwrap_err();
            assert!(problem.to_string().contains("2026-12-04T21:00:00-03:00"), "{problem}");
        }
    }
}

//! What clients send, read strictly and by one way, over HTTP, as RPCs, from command lines and by agents: unknown fields are
//! refused, and all that is wrong is named at once, with what is allowed.
//!
//! A body or query is a type that derives [`Deserr`](deserr::Deserr) with `#[deserr(error = BadFields, deny_unknown_fields)]`.

mod json;
mod query;
mod time;
mod values;

use std::ops::ControlFlow;

use deserr::{DeserializeError, ErrorKind, IntoValue, MergeWithError, Value, ValueKind, ValuePointerRef};

use crate::code::FieldCode;
use crate::problem::{FieldError, Problem};

pub use json::{read, read_value};
pub(crate) use query::{Parameters, read_query};
pub use time::Time;
pub(crate) use values::MAX_BLANK;
pub use values::{Choice, Decimal, Given, Maybe, Param, UpTo, Whole};

/// Most wrong fields that one answer names; the rest is not looked at.
const MAX_NAMED: usize = 50;
/// Bytes of what a client sent that an answer repeats.
const MAX_SHOWN_BYTES: usize = 100;
/// What the whole of a body is called where the body itself is wrong.
const WHOLE: &str = "body";

/// All that is wrong with what a client sent.
#[derive(Clone, Debug, Default)]
pub struct BadFields(Vec<FieldError>);

impl BadFields {
    /// One wrong field.
    pub fn one(at: ValuePointerRef<'_>, code: FieldCode, message: impl Into<String>) -> Self {
        Self(vec![FieldError::new(path(at), code, message)])
    }

    /// A field that is of another type.
    pub fn wrong_type<V: IntoValue>(actual: &Value<V>, wanted: &str, at: ValuePointerRef<'_>) -> Self {
        Self::one(at, FieldCode::WrongType, format!("must be {wanted}, not {}", words(actual.kind())))
    }

    /// A value that is none of a few.
    pub fn not_allowed(at: ValuePointerRef<'_>, allowed: &[&str]) -> Self {
        let error = FieldError::new(path(at), FieldCode::NotAllowed, one_of(allowed));
        Self(vec![error.with_allowed(allowed)])
    }

    /// Together with what else is wrong.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.extend(other.0);
        self
    }

    /// Adds what was found elsewhere.
    pub(crate) fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.0.extend(errors);
        self.0.truncate(MAX_NAMED);
    }

    pub(crate) fn into_errors(self) -> Vec<FieldError> {
        self.0
    }
}

impl From<FieldError> for BadFields {
    fn from(error: FieldError) -> Self {
        Self(vec![error])
    }
}

impl From<BadFields> for Problem {
    fn from(fields: BadFields) -> Self {
        Self::invalid(fields.0)
    }
}

/// A field that nobody knows, with the one that it was meant to be.
pub(crate) fn unknown(field: String, allowed: &[&str]) -> FieldError {
    let name = field.rsplit('.').next().unwrap_or(&field);
    let message = match nearest(name, allowed) {
        Some(nearest) => format!("unknown field `{name}`, did you mean `{nearest}`?"),
        None if allowed.is_empty() => format!("unknown field `{name}`; there is none here"),
        None => format!("unknown field `{name}`; {}", one_of(allowed)),
    };
    FieldError::new(field, FieldCode::Unknown, message).with_allowed(allowed)
}

/// The known name that is written most alike, if one is.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let tolerance = (name.chars().count() / 3).max(1);
    let distances =
        known.iter().map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), *known));
    distances.filter(|(distance, _)| *distance <= tolerance).min().map(|(_, known)| known)
}

fn one_of(allowed: &[&str]) -> String {
    let quoted: Vec<_> = allowed.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("must be {} or {last}", rest.join(", ")),
        _ => format!("must be {}", quoted.concat()),
    }
}

/// What a client sent, short enough to be repeated.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN_BYTES)]
}

/// A field's path, such as `location.city`.
fn path(at: ValuePointerRef<'_>) -> String {
    fn write(at: ValuePointerRef<'_>, path: &mut Vec<String>) {
        match at {
            ValuePointerRef::Origin => {}
            ValuePointerRef::Key { key, prev } => {
                write(*prev, path);
                path.push(shown(key).to_owned());
            }
            ValuePointerRef::Index { index, prev } => {
                write(*prev, path);
                path.push(index.to_string());
            }
        }
    }
    let mut parts = Vec::new();
    write(at, &mut parts);
    if parts.is_empty() { WHOLE.to_owned() } else { parts.join(".") }
}

/// A JSON type in words.
fn words(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Null => "null",
        ValueKind::Boolean => "true or false",
        ValueKind::Integer | ValueKind::NegativeInteger => "a number",
        ValueKind::Float => "a number with a fraction",
        ValueKind::String => "a text",
        ValueKind::Sequence => "a list",
        ValueKind::Map => "an object",
    }
}

impl MergeWithError<Self> for BadFields {
    fn merge(own: Option<Self>, other: Self, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        let mut all = own.unwrap_or_default();
        all.extend(other.0);
        if all.0.len() < MAX_NAMED { ControlFlow::Continue(all) } else { ControlFlow::Break(all) }
    }
}

impl DeserializeError for BadFields {
    fn error<V: IntoValue>(
        own: Option<Self>,
        error: ErrorKind<'_, V>,
        at: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let bad = match error {
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                let wanted: Vec<_> = accepted.iter().map(|kind| words(*kind)).collect();
                Self::wrong_type(&actual, &wanted.join(" or "), at)
            }
            ErrorKind::MissingField { field } => {
                Self::one(at.push_key(field), FieldCode::Missing, "is required")
            }
            ErrorKind::UnknownKey { key, accepted } => unknown(path(at.push_key(key)), accepted).into(),
            ErrorKind::UnknownValue { accepted, .. } => Self::not_allowed(at, accepted),
            ErrorKind::BadSequenceLen { expected, .. } => {
                Self::one(at, FieldCode::OutOfRange, format!("must have {expected} elements"))
            }
            ErrorKind::Unexpected { msg } => Self::one(at, FieldCode::BadForm, msg),
        };
        Self::merge(own, bad, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_no_far_one() {
        let known = ["content", "visibility", "eventDate"];
        for (name, meant) in [
            ("visibilty", Some("visibility")),
            ("contnet", Some("content")),
            ("EventDate", Some("eventDate")),
            ("event_date", Some("eventDate")),
            ("author", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
        let error = unknown("post.visibilty".to_owned(), &known);
        assert_eq!(error.message, "unknown field `visibilty`, did you mean `visibility`?");
    }
}

//! JSON of a client: no field twice, and nothing lost on the way.

use std::cell::RefCell;
use std::fmt;

use axum::http::StatusCode;
use deserr::{Deserr, ValuePointerRef};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{BadFields, path};
use crate::code::{Code, FieldCode};
use crate::problem::{FieldError, Problem};

/// Reads a body. An empty one leaves every field to its default.
pub fn read<T: Deserr<BadFields>>(body: &[u8]) -> Result<T, Problem> {
    let text = if body.is_empty() { b"{}" } else { body };
    let repeated = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = Unique { at: ValuePointerRef::Origin, repeated: &repeated };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = value.map_err(|error| {
        let detail = format!("the body is not valid json: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail).with_code(Code::InvalidJson)
    })?;
    let repeated = repeated.into_inner();
    match deserr::deserialize::<T, _, BadFields>(value) {
        Ok(value) if repeated.is_empty() => Ok(value),
        read => {
            let mut bad = read.err().unwrap_or_default();
            bad.extend(repeated);
            Err(bad.into())
        }
    }
}

/// Reads a value that is JSON already, as a command line's or an agent's.
pub fn read_value<T: Deserr<BadFields>>(value: Value) -> Result<T, Problem> {
    deserr::deserialize::<T, _, BadFields>(value).map_err(Problem::from)
}

/// Reads a value and notes each field that an object has more than once: readers differ in which one they take.
#[derive(Clone, Copy)]
struct Unique<'a> {
    at: ValuePointerRef<'a>,
    repeated: &'a RefCell<Vec<FieldError>>,
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) =
            seq.next_element_seed(Unique { at: self.at.push_index(items.len()), ..self })?
        {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let at = self.at.push_key(&name);
            let value = map.next_value_seed(Unique { at, ..self })?;
            let mut repeated = self.repeated.borrow_mut();
            if fields.contains_key(&name) && repeated.len() < super::MAX_NAMED {
                repeated.push(FieldError::new(path(at), FieldCode::Repeated, "is there more than once"));
            }
            drop(repeated);
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use deserr::Deserr;

    use super::*;
    use crate::input::{Maybe, Whole};

    #[derive(Debug, Deserr)]
    #[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
    struct Inner {
        depth: Whole<1, 9>,
    }

    #[derive(Debug, Deserr)]
    #[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
    struct Outer {
        full_name: String,
        is_open: bool,
        inner: Inner,
        #[deserr(default)]
        note: Maybe<String>,
    }

    fn wrong(json: &str) -> Vec<String> {
        let problem = read::<Outer>(json.as_bytes()).unwrap_err();
        let mut errors: Vec<_> =
            problem.errors().iter().map(|error| format!("{} {}", error.field, error.code.name())).collect();
        errors.sort();
        errors
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let all = r#"{"fullname": "x", "isOpen": 1, "inner": {"depth": 10, "dpth": 1}, "note": 5}"#;
        let expected = [
            "fullName missing",
            "fullname unknown",
            "inner.depth out_of_range",
            "inner.dpth unknown",
            "isOpen wrong_type",
            "note wrong_type",
        ];
        assert_eq!(wrong(all), expected);
        let repeated =
            r#"{"fullName": "x", "fullName": "y", "isOpen": true, "inner": {"depth": 1, "depth": 2}}"#;
        assert_eq!(wrong(repeated), ["fullName repeated", "inner.depth repeated"]);
        assert_eq!(wrong(r#"["x", true, {"depth": 1}]"#), ["body wrong_type"]);
        assert_eq!(wrong(""), ["fullName missing", "inner missing", "isOpen missing"]);
        let many: Vec<_> = (0..1000).map(|number| format!("\"x{number}\": 1")).collect();
        assert_eq!(wrong(&format!("{{{}}}", many.join(","))).len(), super::super::MAX_NAMED);
    }

    #[test]
    fn what_is_right_is_read() {
        let outer: Outer =
            read(br#"{"fullName": "x", "isOpen": true, "inner": {"depth": 3}, "note": null}"#).unwrap();
        assert_eq!((outer.full_name.as_str(), outer.is_open, outer.inner.depth.get()), ("x", true, 3));
        assert_eq!(outer.note, Maybe::Null);
        assert!(read::<Outer>(b"{} {}").is_err());
        assert!(read::<Outer>(b"{").is_err());
    }
}

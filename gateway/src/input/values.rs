//! What fields hold beside texts: numbers in their ranges, one of a few names, and nothing.

use std::fmt;

use deserr::{Deserr, IntoValue, Sequence as _, Value, ValuePointerRef};
use serde::de::{self, DeserializeOwned, Visitor};
use serde_json::value::Value as Json;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::BadFields;
use crate::code::FieldCode;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as it counts things in memory.
    pub const fn count(self) -> usize {
        self.0 as usize
    }
}

impl<const MIN: u32, const MAX: u32> Deserr<BadFields> for Whole<MIN, MAX> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let wanted = || match MAX {
            u32::MAX => format!("a whole number, at least {MIN}"),
            _ => format!("a whole number from {MIN} to {MAX}"),
        };
        let out_of_range = || BadFields::one(at, FieldCode::OutOfRange, format!("must be {}", wanted()));
        match value {
            Value::Integer(number) => {
                let number = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
                number.map(Self).ok_or_else(out_of_range)
            }
            Value::NegativeInteger(_) => Err(out_of_range()),
            // JSON knows one kind of number: 7.0 is as whole as 7 (JSON Schema, 6.1.1).
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is whole, and taken only where it is in range"
            )]
            Value::Float(number) if number.fract() == 0.0 => {
                let is_in_range = (f64::from(MIN)..=f64::from(MAX)).contains(&number);
                is_in_range.then_some(Self(number as u32)).ok_or_else(out_of_range)
            }
            other => Err(BadFields::wrong_type(&other, &wanted(), at)),
        }
    }
}

impl<const MIN: u32, const MAX: u32> PartialSchema for Whole<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(MIN)).maximum(Some(MAX)).into()
    }
}

impl<const MIN: u32, const MAX: u32> ToSchema for Whole<MIN, MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Whole{MIN}To{MAX}").into()
    }
}

/// A number from `MIN` to `MAX` that may have a fraction.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Decimal<const MIN: i32, const MAX: i32>(f64);

impl<const MIN: i32, const MAX: i32> Decimal<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// A number of this range.
    pub fn new(number: f64) -> Option<Self> {
        (f64::from(MIN)..=f64::from(MAX)).contains(&number).then_some(Self(number))
    }
}

impl<const MIN: i32, const MAX: i32> Deserr<BadFields> for Decimal<MIN, MAX> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let wanted = format!("a number from {MIN} to {MAX}");
        let number = match value {
            #[expect(clippy::cast_precision_loss, reason = "so large a number is out of range in any case")]
            Value::Integer(number) => number as f64,
            #[expect(clippy::cast_precision_loss, reason = "so large a number is out of range in any case")]
            Value::NegativeInteger(number) => number as f64,
            Value::Float(number) => number,
            other => return Err(BadFields::wrong_type(&other, &wanted, at)),
        };
        Self::new(number)
            .ok_or_else(|| BadFields::one(at, FieldCode::OutOfRange, format!("must be {wanted}")))
    }
}

impl<const MIN: i32, const MAX: i32> PartialSchema for Decimal<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Number).minimum(Some(MIN)).maximum(Some(MAX)).into()
    }
}

impl<const MIN: i32, const MAX: i32> ToSchema for Decimal<MIN, MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Decimal{MIN}To{MAX}").into()
    }
}

/// A number in a query, which writes it as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<T>(pub T);

impl<T: Deserr<BadFields>> Deserr<BadFields> for Param<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let number = match value {
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(number @ Json::Number(_)) => number,
                _ => Json::String(text),
            },
            other => other.into(),
        };
        T::deserialize_from_value(number.into_value(), at).map(Self)
    }
}

/// Most characters of a blank text that is as good as null. A longer one was not left by a form, and is refused as any other
/// text.
pub(crate) const MAX_BLANK: usize = 8;

/// An optional field that `null` clears: what is absent stays as it is, or is left to its default. A blank text is as good as
/// null, as forms send one for a field that was not filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maybe<T> {
    /// The field is not there.
    #[default]
    Absent,
    /// The field is to hold nothing.
    Null,
    /// What the field is to hold.
    Value(T),
}

impl<T> Maybe<T> {
    /// What a new thing holds.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The same of what the value becomes.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Maybe<U> {
        match self {
            Self::Absent => Maybe::Absent,
            Self::Null => Maybe::Null,
            Self::Value(value) => Maybe::Value(change(value)),
        }
    }

    /// Changes a field of a thing (RFC 7396).
    pub fn set(&self, field: &mut Option<T>)
    where
        T: Clone,
    {
        match self {
            Self::Absent => {}
            Self::Null => *field = None,
            Self::Value(value) => *field = Some(value.clone()),
        }
    }
}

impl<T: Deserr<BadFields>> Deserr<BadFields> for Maybe<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::String(text) if text.trim().is_empty() && text.chars().count() <= MAX_BLANK => {
                Ok(Self::Null)
            }
            value => T::deserialize_from_value(value, at).map(Self::Value),
        }
    }
}

/// A field that may be absent, and is never null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<T>(pub Option<T>);

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Deserr<BadFields>> Deserr<BadFields> for Given<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        T::deserialize_from_value(value, at).map(|value| Self(Some(value)))
    }
}

/// A list of so many items at most.
#[derive(Clone, Debug)]
pub struct UpTo<T, const MOST: usize>(pub Vec<T>);

impl<T: Deserr<BadFields>, const MOST: usize> Deserr<BadFields> for UpTo<T, MOST> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        match value {
            Value::Sequence(items) if items.len() <= MOST => {
                Vec::deserialize_from_value(Value::<V>::Sequence(items), at).map(Self)
            }
            Value::Sequence(_) => {
                Err(BadFields::one(at, FieldCode::OutOfRange, format!("must have {MOST} items at most")))
            }
            other => Err(BadFields::wrong_type(&other, "a list", at)),
        }
    }
}

/// One of a few names: an enum without data, whose names serde knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice<T>(pub T);

impl<T: DeserializeOwned> Deserr<BadFields> for Choice<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let names = names_of::<T>();
        match value {
            Value::String(text) => {
                let name = de::value::StrDeserializer::<de::value::Error>::new(&text);
                T::deserialize(name).map(Self).map_err(|_| BadFields::not_allowed(at, names))
            }
            other => Err(BadFields::wrong_type(&other, &format!("one of {}", names.join(", ")), at)),
        }
    }
}

/// The names of an enum's variants.
fn names_of<T: DeserializeOwned>() -> &'static [&'static str] {
    T::deserialize(Variants).err().map_or(&[], |Names(names)| names)
}

/// Reads nothing: what is to be read tells its names, and gets them back as an error.
struct Variants;

#[derive(Debug)]
struct Names(&'static [&'static str]);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Names {}

impl de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> de::Deserializer<'de> for Variants {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Names> {
        Err(Names(variants))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::input::read_value;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Dance {
        Tango,
        Vals,
    }

    #[test]
    fn choices_name_what_there_is() {
        assert_eq!(read_value::<Choice<Dance>>(json!("vals")).unwrap().0, Dance::Vals);
        let problem = read_value::<Choice<Dance>>(json!("salsa")).unwrap_err();
        assert_eq!(problem.errors()[0].allowed, ["tango", "vals"]);
        assert_eq!(problem.to_string(), "body: must be `tango` or `vals`");
        assert!(read_value::<Choice<Dance>>(json!(1)).is_err());
        assert_eq!(read_value::<Choice<Dance>>(json!("tango")).unwrap().0, Dance::Tango);
    }

    #[test]
    fn numbers_keep_to_their_ranges() {
        assert_eq!(read_value::<Whole<1, 9>>(json!(9)).unwrap().get(), 9);
        assert_eq!(read_value::<Whole<1, 9>>(json!(9.0)).unwrap().get(), 9);
        assert!(read_value::<Whole<1, 9>>(json!(10.0)).is_err());
        for wrong in [json!(0), json!(10), json!(-1), json!(1.5), json!("1"), json!(null), json!(u64::MAX)] {
            assert!(read_value::<Whole<1, 9>>(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(read_value::<Param<Whole<1, 9>>>(json!("7")).unwrap().0.get(), 7);
        for wrong in ["", "x", "7x", "true", "[7]", "10"] {
            assert!(read_value::<Param<Whole<1, 9>>>(json!(wrong)).is_err(), "{wrong}");
        }
        assert!(read_value::<Decimal<-90, 90>>(json!(-90)).is_ok());
        assert!(read_value::<Decimal<-90, 90>>(json!(90.1)).is_err());
    }

    #[test]
    fn null_clears_and_absence_leaves() {
        let after = |change: Maybe<bool>| {
            let mut field = Some(false);
            change.set(&mut field);
            field
        };
        assert_eq!(after(read_value(json!(null)).unwrap()), None);
        assert_eq!(after(read_value(json!(" ")).unwrap()), None);
        assert_eq!(after(read_value(json!(true)).unwrap()), Some(true));
        assert_eq!(after(Maybe::default()), Some(false));
        assert!(read_value::<Given<bool>>(json!(null)).is_err());
    }
}

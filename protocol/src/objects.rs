//! How JSON of clients and of backends is read: an object is an object, and `null` is an absent field.
//!
//! serde alone reads an array as a struct, field by field, so `["posts:feed"]` would be a subscription. And serde alone
//! refuses `null` for a text or a number, which many languages write for a field that is not set (proto3 JSON reads
//! such a field as its default, as this module does).

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value};

/// Reads one JSON value: objects are objects, and `null` is an absent field.
pub fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(Objects::with_absent_nulls(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

/// A deserializer that takes no array for a struct, at any depth.
pub struct Objects<D> {
    inner: D,
    nulls: Nulls,
}

/// The meaning of `null` where no [`Option`] is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    /// The same as an absent field: the default of the field's type.
    Absent,
    /// A value of the wrong type.
    Wrong,
}

impl<D> Objects<D> {
    /// Refuses `null` where no [`Option`] is read, as serde does.
    pub fn new(inner: D) -> Self {
        Self { inner, nulls: Nulls::Wrong }
    }

    /// Reads `null` as the default of the field's type.
    pub fn with_absent_nulls(inner: D) -> Self {
        Self { inner, nulls: Nulls::Absent }
    }
}

/// Forwards what is neither a scalar nor holds other values.
macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

/// Reads values of one shape, which may be `null`.
macro_rules! nullable {
    ($($method:ident => $shape:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.read($shape, visitor)
        }
    )*};
}

/// The shapes of JSON values.
#[derive(Clone, Copy)]
enum Shape {
    Bool,
    Signed,
    Unsigned,
    Float,
    Text,
    List,
    Map,
    Struct(&'static str, &'static [&'static str]),
}

impl<'de, D: Deserializer<'de>> Objects<D> {
    fn read<V: Visitor<'de>>(self, shape: Shape, visitor: V) -> Result<V::Value, D::Error> {
        match self.nulls {
            Nulls::Absent => self.inner.deserialize_option(OrDefault { shape, visitor }),
            Nulls::Wrong => shape.read(self.inner, self.nulls, visitor),
        }
    }
}

impl Shape {
    fn read<'de, D, V>(self, inner: D, nulls: Nulls, visitor: V) -> Result<V::Value, D::Error>
    where
        D: Deserializer<'de>,
        V: Visitor<'de>,
    {
        match self {
            Self::Bool => inner.deserialize_bool(visitor),
            Self::Signed => inner.deserialize_i64(visitor),
            Self::Unsigned => inner.deserialize_u64(visitor),
            Self::Float => inner.deserialize_f64(visitor),
            Self::Text => inner.deserialize_str(visitor),
            Self::List => inner.deserialize_seq(List { visitor, nulls }),
            Self::Map => inner.deserialize_map(Object { visitor, nulls }),
            Self::Struct(name, fields) => inner.deserialize_struct(name, fields, Object { visitor, nulls }),
        }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    nullable! {
        deserialize_bool => Shape::Bool;
        deserialize_i8 => Shape::Signed;
        deserialize_i16 => Shape::Signed;
        deserialize_i32 => Shape::Signed;
        deserialize_i64 => Shape::Signed;
        deserialize_u8 => Shape::Unsigned;
        deserialize_u16 => Shape::Unsigned;
        deserialize_u32 => Shape::Unsigned;
        deserialize_u64 => Shape::Unsigned;
        deserialize_f32 => Shape::Float;
        deserialize_f64 => Shape::Float;
        deserialize_str => Shape::Text;
        deserialize_string => Shape::Text;
        deserialize_seq => Shape::List;
        deserialize_map => Shape::Map;
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(Shape::Struct(name, fields), visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Wrapped { visitor, nulls: self.nulls })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, Wrapped { visitor, nulls: self.nulls })
    }

    forward! {
        deserialize_any()
        deserialize_i128()
        deserialize_u128()
        deserialize_char()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
        deserialize_ignored_any()
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Reads a value of a shape, or its default for `null`.
struct OrDefault<V> {
    shape: Shape,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OrDefault<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.shape.read(deserializer, Nulls::Absent, self.visitor)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        match self.shape {
            Shape::Bool => self.visitor.visit_bool(false),
            Shape::Signed => self.visitor.visit_i64(0),
            Shape::Unsigned => self.visitor.visit_u64(0),
            Shape::Float => self.visitor.visit_f64(0.0),
            Shape::Text => self.visitor.visit_str(""),
            Shape::List => {
                self.visitor.visit_seq(value::SeqDeserializer::new(std::iter::empty::<&'static str>()))
            }
            Shape::Map | Shape::Struct(..) => {
                let no_field = std::iter::empty::<(&'static str, &'static str)>();
                self.visitor.visit_map(value::MapDeserializer::new(no_field))
            }
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visit_none()
    }
}

/// An object, and nothing else.
struct Object<V> {
    visitor: V,
    nulls: Nulls,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Nested { inner: map, nulls: self.nulls })
    }
}

/// An array.
struct List<V> {
    visitor: V,
    nulls: Nulls,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for List<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Nested { inner: list, nulls: self.nulls })
    }
}

/// The values of an object or of an array, each read by the same rules.
struct Nested<A> {
    inner: A,
    nulls: Nulls,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Nested<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Seed { inner: seed, nulls: self.nulls })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Nested<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_element_seed(Seed { inner: seed, nulls: self.nulls })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct Seed<T> {
    inner: T,
    nulls: Nulls,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(Objects { inner: deserializer, nulls: self.nulls })
    }
}

/// A value that stands in another type: the one of an `Option` or of a newtype.
struct Wrapped<V> {
    visitor: V,
    nulls: Nulls,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Wrapped<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Objects { inner: deserializer, nulls: self.nulls })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Objects { inner: deserializer, nulls: self.nulls })
    }

    /// How `serde_json` hands over a raw value.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Inner {
        name: String,
        count: u32,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Outer {
        text: String,
        flag: bool,
        below_zero: i32,
        part: f64,
        list: Vec<Inner>,
        map: BTreeMap<String, Inner>,
        inner: Inner,
        maybe: Option<Inner>,
        raw: Option<Box<RawValue>>,
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for json in [
            r#"["text"]"#,
            r#"{"inner":["a",1]}"#,
            r#"{"maybe":["a",1]}"#,
            r#"{"list":[["a",1]]}"#,
            r#"{"map":{"k":["a",1]}}"#,
            r#"{"map":[]}"#,
            r#"{"list":{}}"#,
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok());
            assert!(from_slice::<Outer>(json.as_bytes()).is_err(), "{json}");
            let strict = Outer::deserialize(Objects::new(&mut serde_json::Deserializer::from_str(json)));
            assert!(strict.is_err(), "{json}");
        }
    }

    #[test]
    fn null_is_absent() {
        let all = r#"{"text":null,"flag":null,"below_zero":null,"part":null,"list":null,"map":null,"inner":null,
            "maybe":null,"raw":null,"unknown":null}"#;
        let read: Outer = from_slice(all.as_bytes()).unwrap();
        assert!(read.text.is_empty() && !read.flag && read.below_zero == 0 && read.part == 0.0);
        assert!(read.list.is_empty() && read.map.is_empty() && read.inner == Inner::default());
        assert!(read.maybe.is_none() && read.raw.is_none());
        let nested: Outer = from_slice(br#"{"list":[null,{"name":null,"count":null}]}"#).unwrap();
        assert_eq!(nested.list, [Inner::default(), Inner::default()]);
        assert_eq!(from_slice::<Inner>(b"null").unwrap(), Inner::default());
        let strict = Outer::deserialize(Objects::new(&mut serde_json::Deserializer::from_str(all)));
        assert!(strict.is_err());
    }

    #[test]
    fn values_keep_their_types() {
        let read: Outer = from_slice(
            br#"{"text":"a","flag":true,"below_zero":-1,"part":0.5,"list":[{"name":"b"}],"map":{"k":{"count":2}},
                "raw":[1, 2]}"#,
        )
        .unwrap();
        assert_eq!((read.text.as_str(), read.flag, read.below_zero, read.part), ("a", true, -1, 0.5));
        assert_eq!((read.list[0].name.as_str(), read.map["k"].count), ("b", 2));
        assert_eq!(read.raw.unwrap().get(), "[1, 2]");
        for wrong in [r#"{"text":1}"#, r#"{"inner":{"count":-1}}"#, r#"{"flag":"true"}"#, "{} {}"] {
            assert!(from_slice::<Outer>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

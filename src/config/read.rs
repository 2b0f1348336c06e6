//! Reads options from the merged layers. The type of an option decides what a text means, so that a key of digits stays
//! as it is, and `yes`, `1` or `a, b` are what people mean who write them into an environment.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use toml::{Table, Value};

use super::layers::Tree;

/// A key that no option has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Where it stands.
    pub(super) path: Vec<String>,
    /// The keys that are known there.
    pub(super) known: &'static [&'static str],
}

/// Why a value cannot be read. Never shows a text, which may be a secret in the wrong place.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Where the value stands.
    pub(super) path: Vec<String>,
    /// What is wrong with the value.
    pub(super) message: String,
}

/// Reads all options; the keys that no option has are collected beside.
pub(super) fn read<'de, T: Deserialize<'de>>(tree: &'de Tree) -> Result<(T, Vec<Unknown>), ReadError> {
    let unknown = RefCell::default();
    let value = T::deserialize(Reader { tree, path: Vec::new(), unknown: &unknown })?;
    Ok((value, unknown.into_inner()))
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        Self { path: Vec::new(), message: message.to_string() }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("{variant:?} is not one of {}", expected.join(", ")))
    }
}

/// Stands at a place in the tree.
struct Reader<'de, 'u> {
    tree: &'de Tree,
    path: Vec<String>,
    unknown: &'u RefCell<Vec<Unknown>>,
}

impl<'de> Reader<'de, '_> {
    fn value(&self) -> Result<Scalar<'de>, ReadError> {
        match self.tree {
            Tree::Value(value, _) => Ok(Scalar(value)),
            Tree::Section(_) => Err(de::Error::custom("is an option, not a section")),
        }
    }

    /// Reads the keys of a section; of a struct only those that it has.
    fn section<V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Tree::Section(entries) = self.tree else {
            return Err(de::Error::custom("is a section; set the keys in it"));
        };
        let mut known = Vec::new();
        for (key, tree) in entries {
            let path: Vec<_> = self.path.iter().chain([key]).cloned().collect();
            match fields {
                Some(fields) if !fields.contains(&key.as_str()) => {
                    self.unknown.borrow_mut().push(Unknown { path, known: fields });
                }
                _ => known.push((key.as_str(), Reader { tree, path, unknown: self.unknown })),
            }
        }
        visitor.visit_map(Entries { entries: known.into_iter(), next: None })
    }
}

/// Hands a call on to the value here, where there has to be one.
macro_rules! to_value {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.value()?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = ReadError;

    to_value!(deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_seq deserialize_identifier);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tree {
            Tree::Value(..) => self.value()?.deserialize_any(visitor),
            Tree::Section(_) => self.section(None, visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.section(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.section(Some(fields), visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.value()?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct ignored_any }
}

struct Entries<'de, 'u, I: Iterator<Item = (&'de str, Reader<'de, 'u>)>> {
    entries: I,
    next: Option<Reader<'de, 'u>>,
}

impl<'de, 'u, I: Iterator<Item = (&'de str, Reader<'de, 'u>)>> MapAccess<'de> for Entries<'de, 'u, I> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, reader)) = self.entries.next() else { return Ok(None) };
        self.next = Some(reader);
        let key: StrDeserializer<'_, ReadError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let reader = self.next.take().ok_or_else(|| de::Error::custom("has a value without a key"))?;
        let path = reader.path.clone();
        seed.deserialize(reader).map_err(|mut error| {
            // The innermost place is the one that the error is about.
            if error.path.is_empty() {
                error.path = path;
            }
            error
        })
    }
}

/// A value that is no section.
struct Scalar<'a>(&'a Value);

impl Scalar<'_> {
    fn integer(&self, least: i128, most: i128) -> Result<i128, ReadError> {
        let number = match self.0 {
            Value::Integer(number) => Some(i128::from(*number)),
            Value::String(text) => text.trim().replace('_', "").parse().ok(),
            _ => None,
        };
        number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            de::Error::custom(if most > i128::from(u32::MAX) {
                format!("must be a whole number, at least {least}")
            } else {
                format!("must be a whole number from {least} to {most}")
            })
        })
    }
}

/// Reads whole numbers of a type.
macro_rules! integers {
    ($($method:ident $type:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let number = self.integer($type::MIN.into(), $type::MAX.into())?;
            visitor.$visit($type::try_from(number).map_err(de::Error::custom)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Scalar<'_> {
    type Error = ReadError;

    integers!(deserialize_i8 i8 visit_i8 deserialize_i16 i16 visit_i16 deserialize_i32 i32 visit_i32
        deserialize_i64 i64 visit_i64 deserialize_u8 u8 visit_u8 deserialize_u16 u16 visit_u16
        deserialize_u32 u32 visit_u32 deserialize_u64 u64 visit_u64);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Datetime(_) | Value::Table(_) => Err(de::Error::custom("is of a kind that no option has")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let truth = match self.0 {
            Value::Boolean(truth) => Some(*truth),
            Value::String(text) => match text.trim().to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        visitor.visit_bool(truth.ok_or_else(|| de::Error::custom("must be true or false"))?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let number = match self.0 {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        visitor.visit_f64(number.ok_or_else(|| de::Error::custom("must be a number"))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::String(text) => visitor.visit_str(text),
            _ => Err(de::Error::custom("must be a text, in quotes")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let values = match self.0 {
            Value::Array(values) => values.clone(),
            Value::String(text) => list(text)?,
            _ => return Err(de::Error::custom("must be a list")),
        };
        visitor.visit_seq(Elements(values.into_iter()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::String(text) => {
                let variant: StrDeserializer<'_, ReadError> = text.trim().into_deserializer();
                visitor.visit_enum(variant)
            }
            _ => Err(de::Error::custom(format_args!("must be one of {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// A list in a text: an array of JSON or TOML, or values divided by commas.
fn list(text: &str) -> Result<Vec<Value>, ReadError> {
    if text.trim_start().starts_with('[') {
        let mut table: Table = format!("list = {text}")
            .parse()
            .map_err(|_| de::Error::custom("must be a list, such as [\"a\", \"b\"] or a,b"))?;
        return match table.remove("list") {
            Some(Value::Array(values)) => Ok(values),
            _ => Err(de::Error::custom("must be a list, such as [\"a\", \"b\"] or a,b")),
        };
    }
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(parts.map(|part| Value::String(part.to_owned())).collect())
}

struct Elements(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Elements {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(value) = self.0.next() else { return Ok(None) };
        seed.deserialize(Scalar(&value)).map(Some)
    }
}

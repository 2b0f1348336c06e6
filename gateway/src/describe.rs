//! Schemas that routes share.

use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// A text that is one of a few names.
pub fn one_of(names: &[&str]) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied())).into()
}

/// The same, or null.
pub fn one_of_or_null(names: &[&str]) -> Schema {
    let names = names.iter().map(|name| serde_json::Value::from(*name)).chain([serde_json::Value::Null]);
    let either = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(either).enum_values(Some(names)).into()
}

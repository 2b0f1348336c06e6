//! The API's document as a contract: what routes do not say of themselves, as it holds for all of them, is said here. So a
//! route that is added later has it too.
//!
//! - `operations`: a short summary, descriptions of parameters and answers.
//! - `problems`: each error that an operation can give, as a problem document.
//! - `schemas`: bodies hold no other fields, and numbers stay within what every reader of JSON holds exactly.
//! - `blank`: optional texts, which may be blank.
//! - `examples`: a body that can be sent as it stands.
//! - `channels`: what channels publish, as a document of its own.

mod blank;
pub(crate) mod channels;
mod examples;
mod operations;
mod problems;
mod schemas;

use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

/// The names of methods among the fields of a path item.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Completes a document; `add` adds what is no route of the application.
pub(crate) fn complete(document: &OpenApi, add: fn(&mut Value)) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_else(|error| {
        // A document is made of texts and numbers, so it always becomes a value.
        tracing::error!(%error, "the document of the API cannot be written");
        Value::Object(Map::new())
    });
    add(&mut document);
    for (path, method, operation) in operations_of(&mut document) {
        operations::describe(path, operation);
        problems::describe(path, method, operation);
    }
    problems::add_responses(&mut document);
    schemas::describe(&mut document);
    examples::add(&mut document);
    schemas::prune(&mut document);
    document
}

/// Each operation with its path and method.
fn operations_of(
    document: &mut Value,
) -> impl Iterator<Item = (&str, &'static str, &mut Map<String, Value>)> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let item = item.as_object_mut().into_iter().flatten();
        item.filter_map(move |(name, operation)| {
            let method = METHODS.into_iter().find(|method| method == name)?;
            Some((path.as_str(), method, operation.as_object_mut()?))
        })
    })
}

/// The schema that a reference leads to, or the schema itself.
fn resolved<'a>(schemas: &'a Map<String, Value>, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    name.and_then(|name| schemas.get(name)).unwrap_or(schema)
}

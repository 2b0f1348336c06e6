//! What holds for all schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{METHODS, blank, operations_of, resolved};

/// The largest whole number that every reader of JSON holds exactly, as many read numbers as doubles (RFC 8259, 6). Numbers
/// here are counts and times, which stay below; ids are texts.
const LARGEST: u64 = (1 << 53) - 1;
/// What the names of pages begin with; the name of what they list follows.
const PAGES: &str = "PageBody_";

/// Names schemas where they stand in another one as a whole, bounds all whole numbers, and says of what requests are made of
/// that it has no other fields than those.
pub(super) fn describe(document: &mut Value) {
    refer(document);
    unwrap_single(document);
    bound(document);
    let mut read = BTreeSet::new();
    let no_paths = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&no_paths);
    let Some(schemas) = document["components"]["schemas"].as_object() else { return };
    for item in paths.values() {
        for method in METHODS {
            collect(&item[method]["requestBody"], schemas, &mut read);
        }
    }
    let schemas = schemas.clone();
    for (_, _, operation) in operations_of(document) {
        let Some(body) = operation.get_mut("requestBody") else { continue };
        let schema = &body["content"]["application/json"]["schema"];
        // To routes no body is as good as an empty object; to the server API, whose schemas have no names, it is not.
        let is_optional = schema["$ref"].is_string() && resolved(&schemas, schema)["required"][0].is_null();
        body["required"] = json!(!is_optional);
    }
    let Some(named) = document["components"]["schemas"].as_object_mut() else { return };
    for name in read {
        if let Some(schema) = named.get_mut(&name) {
            blank::allow(&schemas, schema);
        }
        let Some(schema) = named.get_mut(&name).and_then(Value::as_object_mut) else { continue };
        if schema.contains_key("properties") {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    }
}

/// Removes schemas that nothing refers to, such as kinds of texts that are written out wherever they stand.
pub(super) fn prune(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object() else { return };
    let mut used = BTreeSet::new();
    for part in [&document["paths"], &document["components"]["responses"], &document["x-channels"]] {
        collect(part, schemas, &mut used);
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
    }
}

/// Pages of lists hold copies of what they list: they refer to it instead, as clients have one type for both then.
fn refer(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let names: BTreeSet<String> = schemas.keys().cloned().collect();
    for (name, schema) in schemas {
        let Some(item) = name.strip_prefix(PAGES).filter(|item| names.contains(*item)) else { continue };
        schema["properties"]["items"]["items"] = json!({"$ref": format!("#/components/schemas/{item}")});
    }
}

/// A choice of one is that one.
fn unwrap_single(part: &mut Value) {
    match part {
        Value::Object(fields) => {
            let single = fields.get("oneOf").and_then(Value::as_array).filter(|choices| choices.len() == 1);
            if let Some(Value::Object(only)) = single.and_then(|choices| choices.first()).cloned() {
                fields.remove("oneOf");
                for (name, field) in only {
                    fields.entry(name).or_insert(field);
                }
            }
            fields.values_mut().for_each(unwrap_single);
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_single),
        _ => {}
    }
}

/// The names of the schemas that a part of the document refers to.
pub(super) fn collect(part: &Value, schemas: &Map<String, Value>, names: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("$ref").and_then(Value::as_str).and_then(|text| text.rsplit('/').next())
                && names.insert(name.to_owned())
            {
                collect(resolved(schemas, part), schemas, names);
            }
            fields.values().for_each(|field| collect(field, schemas, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, schemas, names)),
        _ => {}
    }
}

fn bound(part: &mut Value) {
    match part {
        Value::Object(fields) => {
            let is_whole = fields.get("type").is_some_and(|kind| {
                kind == "integer" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("integer")))
            });
            if is_whole {
                fields.entry("maximum").or_insert(json!(LARGEST));
            }
            fields.values_mut().for_each(bound);
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_refer_to_what_they_list() {
        let mut document = json!({"components": {"schemas": {
            "PageBody_Post": {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object"}}}},
            "Post": {"type": "object"},
            "Message": {"description": "What happens.", "oneOf": [{"type": "object", "description": "One."}]},
        }}});
        describe(&mut document);
        let schemas = &document["components"]["schemas"];
        let item = &schemas["PageBody_Post"]["properties"]["items"]["items"];
        assert_eq!(item["$ref"], "#/components/schemas/Post");
        assert_eq!(schemas["Message"], json!({"description": "What happens.", "type": "object"}));
    }

    #[test]
    fn numbers_are_bounded_and_bodies_closed() {
        let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}});
        let mut document = json!({
            "paths": {"/a": {"post": {"requestBody": body}}},
            "components": {"schemas": {
                "A": {"type": "object", "properties": {"b": {"$ref": "#/components/schemas/B"}}},
                "B": {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}},
                "C": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}},
            }},
        });
        describe(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["A"]["additionalProperties"], false);
        assert_eq!(schemas["B"]["additionalProperties"], false);
        assert!(schemas["C"]["additionalProperties"].is_null());
        assert_eq!(schemas["B"]["properties"]["n"]["maximum"], 9_007_199_254_740_991_u64);
        assert_eq!(schemas["C"]["properties"]["n"]["maximum"], 9);
    }
}

//! Examples of bodies, put together from those of their fields.

use serde_json::{Map, Value, json};

use super::{operations_of, resolved};

/// How deep schemas are followed; some refer to themselves.
const MAX_DEPTH: usize = 12;

/// Gives each JSON body of a request an example, unless its route has one.
pub(super) fn add(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object().cloned() else { return };
    for (_, _, operation) in operations_of(document) {
        let content = operation.get_mut("requestBody").and_then(|body| body.get_mut("content"));
        let Some(content) = content.and_then(|content| content.get_mut("application/json")) else { continue };
        if content["example"].is_null()
            && let Some(example) = of(&schemas, &content["schema"], MAX_DEPTH)
        {
            content["example"] = example;
        }
    }
}

/// A value that fits a schema, if its leaves have examples.
fn of(schemas: &Map<String, Value>, schema: &Value, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let own = [
        &schema["example"],
        &schema["examples"][0],
        &schema["default"],
        &schema["const"],
        &schema["enum"][0],
    ];
    if let Some(own) = own.into_iter().find(|own| !own.is_null()) {
        return Some(own.clone());
    }
    if schema["$ref"].is_string() {
        return of(schemas, resolved(schemas, schema), depth);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().filter_map(|part| of(schemas, part, depth));
        return Some(Value::Object(parts.filter_map(|part| part.as_object().cloned()).flatten().collect()));
    }
    if let Some(choices) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        return choices
            .iter()
            .filter(|choice| choice["type"] != "null")
            .find_map(|one| of(schemas, one, depth));
    }
    let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
    match kind.as_str()? {
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let fields = properties.filter_map(|(name, one)| Some((name.clone(), of(schemas, one, depth)?)));
            Some(Value::Object(fields.collect()))
        }
        "array" => Some(json!([of(schemas, &schema["items"], depth)?])),
        "boolean" => Some(json!(true)),
        "integer" | "number" => {
            let least = schema["minimum"].as_i64().unwrap_or_default();
            let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
            Some(json!(20.clamp(least, most)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_made_of_those_of_fields() {
        let schemas = json!({
            "Title": {"type": "string", "examples": ["Milonga"]},
            "Event": {"type": "object", "properties": {
                "title": {"$ref": "#/components/schemas/Title"},
                "kind": {"type": "string", "enum": ["class", "milonga"]},
                "capacity": {"type": ["integer", "null"], "minimum": 1},
                "end": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Title"}]},
                "untold": {"type": "string"},
            }},
            "Self": {"type": "object", "properties": {"own": {"$ref": "#/components/schemas/Self"}}},
        });
        let schemas = schemas.as_object().unwrap();
        let example = of(schemas, &json!({"$ref": "#/components/schemas/Event"}), MAX_DEPTH).unwrap();
        let wanted = json!({"title": "Milonga", "kind": "class", "capacity": 20, "end": "Milonga"});
        assert_eq!(example, wanted);
        assert!(of(schemas, &json!({"$ref": "#/components/schemas/Self"}), MAX_DEPTH).is_some());
    }
}

//! Optional texts of requests, of which a blank one is as good as null ([`crate::input::Maybe`]).

use serde_json::{Map, Value, json};

use super::resolved;
use crate::input::MAX_BLANK;

/// Says so of the properties of a schema: they are written out, as the kinds of text that they refer to have no blank ones.
pub(super) fn allow(schemas: &Map<String, Value>, schema: &mut Value) {
    for (_, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(text) = text_of(schemas, property) {
            *property = text;
        }
    }
}

/// The property with blank texts, if it is an optional text that is not one of a few names.
fn text_of(schemas: &Map<String, Value>, property: &Value) -> Option<Value> {
    let (text, title) = match property["oneOf"].as_array().map(Vec::as_slice) {
        Some([one, other]) => {
            let reference = [one, other].into_iter().find(|choice| choice["$ref"].is_string())?;
            [one, other].into_iter().find(|choice| choice["type"] == "null")?;
            let text = resolved(schemas, reference);
            let about = reference.get("description").or_else(|| text.get("description"));
            let mut text = text.clone();
            text["description"] = json!(about.and_then(Value::as_str).unwrap_or_default());
            (text, reference["$ref"].as_str()?.rsplit('/').next()?.to_owned())
        }
        _ if property["type"] == json!(["string", "null"]) => (property.clone(), String::new()),
        _ => return None,
    };
    let is_text = text["type"] == "string" || text["type"] == json!(["string", "null"]);
    if !is_text || text["enum"].is_array() {
        return None;
    }
    let mut text = text;
    let fields = text.as_object_mut()?;
    fields.insert("type".to_owned(), json!(["string", "null"]));
    fields.remove("minLength");
    fields.remove("format");
    let relaxed = fields.get("pattern").and_then(Value::as_str).map(|pattern| {
        let inner = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).unwrap_or(pattern);
        format!(r"^({inner}|\s{{0,{MAX_BLANK}}})$")
    });
    if let Some(relaxed) = relaxed {
        fields.insert("pattern".to_owned(), json!(relaxed));
        // The pattern says how long the text is that is not blank.
        if let Some(longest) = fields.get("maxLength").and_then(Value::as_u64) {
            fields.insert("maxLength".to_owned(), json!(longest.max(MAX_BLANK as u64)));
        }
    }
    if !title.is_empty() {
        fields.insert("title".to_owned(), json!(title));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_texts_may_be_blank() {
        let city = json!({"type": "string", "description": "A city.", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$"});
        let schemas = json!({"City": city, "Kind": {"type": "string", "enum": ["a"]}});
        let optional = |name: &str| json!({"oneOf": [{"type": "null"}, {"$ref": format!("#/components/schemas/{name}")}]});
        let mut body = json!({"properties": {
            "city": optional("City"), "kind": optional("Kind"), "needed": {"$ref": "#/components/schemas/City"},
        }});
        let before = body.clone();
        allow(schemas.as_object().unwrap(), &mut body);
        let wanted = json!({
            "type": ["string", "null"], "description": "A city.", "maxLength": 9, "pattern": r"^([a-z]+|\s{0,8})$",
            "title": "City",
        });
        assert_eq!(body["properties"]["city"], wanted);
        assert_eq!(body["properties"]["kind"], before["properties"]["kind"]);
        assert_eq!(body["properties"]["needed"], before["properties"]["needed"]);
    }
}

//! The rules that every operation of the API's document keeps, so that it can be relied on and clients can be made from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Longest summary, in characters.
const MAX_SUMMARY: usize = 90;
/// The largest whole number that every reader of JSON holds exactly.
const LARGEST: f64 = 9_007_199_254_740_991.0;

/// What is wrong with a document, a line each.
pub(super) fn violations(document: &Value) -> Vec<String> {
    let mut rules = Rules { document, wrong: Vec::new(), ids: BTreeMap::new() };
    rules.whole();
    let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            rules.operation(&format!("{method} {path}"), path, operation);
            collect(document, &operation["requestBody"], &mut read);
            collect(document, &operation["responses"], &mut written);
        }
    }
    for channel in document["x-channels"].as_object().into_iter().flatten() {
        collect(document, channel.1, &mut written);
    }
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        rules.forms(name, schema);
        if read.contains(name) {
            rules.input(name, schema, true);
        }
        if written.contains(name) && !read.contains(name) {
            rules.output(name, schema);
        }
        if !read.contains(name) && !written.contains(name) {
            rules.say(name, "no operation and no channel uses this schema");
        }
    }
    rules.wrong
}

/// The names of all schemas that a part of the document leads to.
fn collect(document: &Value, part: &Value, names: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                let name = reference.rsplit('/').next().unwrap_or_default();
                let target = document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
                let is_new = !reference.contains("/schemas/") || names.insert(name.to_owned());
                if is_new {
                    collect(document, target, names);
                }
            }
            fields.values().for_each(|field| collect(document, field, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(document, item, names)),
        _ => {}
    }
}

struct Rules<'a> {
    document: &'a Value,
    wrong: Vec<String>,
    /// Operations by their ids.
    ids: BTreeMap<String, String>,
}

impl<'a> Rules<'a> {
    fn say(&mut self, place: &str, what: &str) {
        self.wrong.push(format!("{place}: {what}"));
    }

    fn must(&mut self, holds: bool, place: &str, what: &str) {
        if !holds {
            self.say(place, what);
        }
    }

    /// What a reference leads to, or the value itself.
    fn resolved(&self, value: &'a Value) -> &'a Value {
        let target =
            value["$ref"].as_str().and_then(|text| self.document.pointer(text.trim_start_matches('#')));
        target.unwrap_or(value)
    }

    fn whole(&mut self) {
        let document = self.document;
        let version = document["openapi"].as_str().unwrap_or_default();
        self.must(version.starts_with("3.1"), "document", "is not OpenAPI 3.1");
        self.must(document["servers"][0]["url"] == "/", "document", "the first server is not relative");
        self.must(document["x-channels"].is_object(), "document", "no channels");
        for tag in document["tags"].as_array().into_iter().flatten() {
            let is_described = tag["description"].as_str().is_some_and(|text| !text.is_empty());
            self.must(is_described, "tags", &format!("{} is not described", tag["name"]));
        }
    }

    fn operation(&mut self, place: &str, path: &str, operation: &'a Value) {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        let id = text("operationId");
        let is_camel = id.chars().next().is_some_and(|first| first.is_ascii_lowercase())
            && id.chars().all(|letter| letter.is_ascii_alphanumeric());
        self.must(is_camel, place, "the operationId is not in camelCase");
        if let Some(other) = self.ids.insert(id.to_owned(), place.to_owned()) {
            self.say(place, &format!("has the operationId of {other}"));
        }
        let summary = text("summary");
        let is_short = (1..=MAX_SUMMARY).contains(&summary.chars().count()) && !summary.ends_with('.');
        self.must(is_short, place, "the summary is no short phrase");
        self.must(!text("description").is_empty(), place, "no description");
        let tags = self.document["tags"].as_array();
        let is_known = tags.is_some_and(|tags| tags.iter().any(|tag| tag["name"] == operation["tags"][0]));
        self.must(is_known && operation["tags"][1].is_null(), place, "not one of the document's tags");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            self.parameter(&format!("{place}, parameter {}", parameter["name"]), parameter);
        }
        self.body(place, operation);
        self.responses(place, path, operation);
    }

    fn parameter(&mut self, place: &str, parameter: &'a Value) {
        let is_described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
        self.must(is_described, place, "no description");
        let schema = self.resolved(&parameter["schema"]);
        self.must(!is_nullable(schema), place, "a parameter is there or not, never null");
        // Whatever stands in a path that leads to nothing is 404.
        if parameter["in"] != "path" {
            self.input(place, schema, false);
        }
    }

    fn body(&mut self, place: &str, operation: &'a Value) {
        let body = &operation["requestBody"];
        if body.is_null() {
            return;
        }
        let content = &body["content"]["application/json"];
        let needs = !self.resolved(&content["schema"])["required"][0].is_null() || content.is_null();
        self.must(body["required"] == true || !needs, place, "the body is not required");
        if content.is_null() || content["schema"]["type"] == "string" {
            return;
        }
        self.must(content["example"].is_object(), place, "the body has no example");
        if content["schema"]["$ref"].is_string() {
            let schema = self.resolved(&content["schema"]);
            self.must(schema["additionalProperties"] == false, place, "the body may hold other fields");
        }
    }

    fn responses(&mut self, place: &str, path: &str, operation: &'a Value) {
        let responses = operation["responses"].as_object();
        let statuses: BTreeSet<u16> =
            responses.into_iter().flatten().filter_map(|(status, _)| status.parse().ok()).collect();
        self.must(statuses.iter().any(|status| *status < 300), place, "no answer but errors");
        let is_open = operation["security"][0].as_object().is_some_and(serde_json::Map::is_empty);
        let has_body = operation["requestBody"].is_object();
        let has_input = has_body || operation["parameters"].as_array().is_some_and(|all| !all.is_empty());
        let needed = [
            (true, 500),
            (true, 503),
            (!is_open, 401),
            (has_input, 400),
            (has_body, 413),
            (path.contains('{'), 404),
            (path.starts_with("/api/admin/"), 403),
        ];
        for (is_needed, status) in needed {
            self.must(!is_needed || statuses.contains(&status), place, &format!("no {status}"));
        }
        for (status, response) in responses.into_iter().flatten() {
            let response = self.resolved(response);
            let place = format!("{place}, {status}");
            let is_described = response["description"].as_str().is_some_and(|text| !text.is_empty());
            self.must(is_described, &place, "no description");
            let content = response["content"].as_object();
            let is_page = response["content"]["text/html"].is_object();
            if status.as_str() >= "400"
                && !is_page
                && !Self::is_health(response)
                && operation["tags"][0] != "server"
            {
                let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                self.must(problem == "#/components/schemas/Problem", &place, "no problem document");
            }
            if status == "429" {
                self.must(response["headers"]["Retry-After"].is_object(), &place, "no Retry-After");
            }
            for (kind, content) in content.into_iter().flatten() {
                self.must(content["schema"].is_object(), &place, &format!("{kind} has no schema"));
            }
        }
    }

    /// The health of a node is the same document whatever the status.
    fn is_health(response: &Value) -> bool {
        response["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/Health"
    }

    /// What requests hold is bounded.
    fn input(&mut self, place: &str, schema: &'a Value, is_body: bool) {
        let kinds = kinds(schema);
        let is_named = schema["enum"].is_array() || schema["const"].is_string();
        if kinds.contains(&"string") && !is_named {
            let is_bounded = schema["maxLength"].is_u64() || schema["format"] == "date-time";
            self.must(is_bounded, place, "a text without maxLength, format or enum");
            let is_shown = !schema["examples"].is_null() || !schema["example"].is_null();
            self.must(is_shown || !is_body, place, "a text without an example");
        }
        if kinds.contains(&"integer") || kinds.contains(&"number") {
            let is_bounded = schema["minimum"].is_number() && schema["maximum"].is_number();
            self.must(is_bounded, place, "a number without minimum and maximum");
        }
        if kinds.contains(&"array") {
            self.must(schema["maxItems"].is_u64(), place, "a list without maxItems");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            self.input(&format!("{place}.{name}"), property, is_body);
        }
        for part in ["oneOf", "allOf", "anyOf"].iter().filter_map(|part| schema[*part].as_array()).flatten() {
            self.input(place, part, is_body);
        }
    }

    /// What answers hold is there or not, or may be null, but not both.
    fn output(&mut self, place: &str, schema: &'a Value) {
        let required: BTreeSet<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_twice = is_nullable(property) && !required.contains(name.as_str());
            self.must(!is_twice, &format!("{place}.{name}"), "may be absent and may be null");
            self.output(&format!("{place}.{name}"), property);
        }
        for part in ["oneOf", "allOf", "anyOf"].iter().filter_map(|part| schema[*part].as_array()).flatten() {
            self.output(place, part);
        }
    }

    /// What holds for every schema.
    fn forms(&mut self, place: &str, schema: &'a Value) {
        match schema {
            Value::Object(fields) => {
                self.must(!fields.contains_key("nullable"), place, "`nullable` is of OpenAPI 3.0");
                if kinds(schema).contains(&"integer") {
                    let is_held = schema["maximum"].as_f64().is_some_and(|most| most <= LARGEST)
                        || schema["x-64-bit"] == true;
                    self.must(is_held, place, "a whole number that not every reader of JSON holds");
                }
                for (name, field) in fields {
                    if !matches!(name.as_str(), "example" | "examples" | "enum" | "required") {
                        self.forms(&format!("{place}.{name}"), field);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.forms(place, item)),
            _ => {}
        }
    }
}

/// The types of a schema.
fn kinds(schema: &Value) -> Vec<&str> {
    let all = schema["type"].as_array().map_or_else(|| vec![&schema["type"]], |all| all.iter().collect());
    all.into_iter().filter_map(Value::as_str).collect()
}

fn is_nullable(schema: &Value) -> bool {
    let choices = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    kinds(schema).contains(&"null") || choices.into_iter().flatten().any(is_nullable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let text = std::fs::read_to_string(crate::root().join(crate::postman::DOCUMENT)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_operation_keeps_the_rules() {
        let wrong = violations(&document());
        assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn a_broken_rule_is_named() {
        let good = document();
        let breaks: [(&str, Value, &str); 9] = [
            ("/paths/~1api~1posts/post/operationId", json!("listPosts"), "has the operationId of"),
            ("/paths/~1api~1posts/get/summary", json!("Read. All."), "no short phrase"),
            ("/paths/~1api~1posts/post/requestBody/required", json!(false), "the body is not required"),
            ("/paths/~1api~1posts/post/responses/401", Value::Null, "post /api/posts, 401"),
            ("/paths/~1api~1posts/get/parameters/0/description", json!(""), "no description"),
            ("/servers/0/url", json!("http://localhost:5000"), "the first server is not relative"),
            ("/components/schemas/Title/maxLength", Value::Null, "Title: a text without maxLength"),
            ("/components/schemas/SeenPost/allOf/1/required", json!([]), "may be absent and may be null"),
            ("/components/responses/TooManyRequests/headers", Value::Null, "no Retry-After"),
        ];
        for (place, value, named) in breaks {
            let mut document = good.clone();
            *document.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = value;
            let wrong = violations(&document);
            assert!(wrong.iter().any(|line| line.contains(named)), "{place}: {wrong:?}");
        }
    }

    /// Reads the examples as validators do.
    #[test]
    fn every_example_fits_its_schema() {
        let document = document();
        let mut checked = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let content = &operation["requestBody"]["content"]["application/json"];
                if !content["example"].is_object() {
                    continue;
                }
                let schema = json!({"allOf": [content["schema"]], "components": {"schemas": document["components"]["schemas"]}});
                let validator = jsonschema::draft202012::new(&schema).unwrap();
                let wrong: Vec<_> =
                    validator.iter_errors(&content["example"]).map(|error| error.to_string()).collect();
                assert!(wrong.is_empty(), "{method} {path}: {wrong:?}");
                checked += 1;
            }
        }
        assert!(checked > 40, "{checked}");
    }
}

//! What holds for the description of each operation.

use serde_json::{Map, Value, json};

/// Longest summary, in characters: a line of a table of contents.
const MAX_SUMMARY: usize = 90;

/// Shortens an operation's summary, and describes its parameters and answers where the route does not.
pub(super) fn describe(path: &str, operation: &mut Map<String, Value>) {
    let text =
        |field: &str| operation.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let whole = format!("{} {}", text("summary"), text("description")).trim().replace('\n', " ");
    operation.insert("summary".to_owned(), json!(first_part(&whole)));
    operation.insert("description".to_owned(), json!(whole));
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        describe_parameter(path, parameter);
    }
    for (status, response) in
        operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let is_blank = response["description"].as_str().is_none_or(str::is_empty);
        if is_blank && let Some(about) = about_status(status) {
            response["description"] = json!(about);
        }
    }
}

/// What a status of success says.
fn about_status(status: &str) -> Option<&'static str> {
    match status {
        "200" => Some("What was asked for."),
        "201" => Some("It was made."),
        "202" => Some("It was accepted, and is done in a moment."),
        "204" => Some("It was done; there is nothing to say of it."),
        "206" => Some("The part of it that `Range` asked for."),
        _ => None,
    }
}

/// The first sentence, or the part of it before its first semicolon.
fn first_part(text: &str) -> String {
    let end = [". ", "; ", ": "].into_iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let part = text[..end].trim_end_matches('.');
    if part.chars().count() <= MAX_SUMMARY {
        return part.to_owned();
    }
    let part: String = part.chars().take(MAX_SUMMARY).collect();
    part.rsplit_once(", ")
        .or_else(|| part.rsplit_once(' '))
        .map_or(part.clone(), |(before, _)| before.to_owned())
}

fn describe_parameter(path: &str, parameter: &mut Value) {
    let is_path = parameter["in"] == "path";
    if parameter["description"].as_str().is_none_or(str::is_empty) {
        let name = parameter["name"].as_str().unwrap_or_default();
        let of = path.split('/').rev().skip_while(|part| !part.starts_with('{')).nth(1).unwrap_or_default();
        parameter["description"] = match name {
            "id" => json!(format!("The id, as the list of {} has it.", of.replace('-', " "))),
            other => json!(format!("The {other} that it is about.")),
        };
    }
    let Some(schema) = parameter.get_mut("schema").and_then(Value::as_object_mut) else { return };
    // A parameter is there or not: no text stands for null.
    if let Some(kind) = schema.get("type").and_then(Value::as_array).and_then(|kinds| kinds.first()).cloned()
    {
        schema.insert("type".to_owned(), kind);
    }
    if is_path && schema.get("type").is_some_and(|kind| kind == "string") {
        schema.entry("minLength").or_insert(json!(1));
        if parameter["name"] == "id" {
            parameter["schema"]["example"] = json!("01a22267-5695-774a-9335-497936266a2f");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_first_part_of_what_is_said() {
        for (text, summary) in [
            ("One post.", "One post"),
            ("React to a post; again with another it replaces. More.", "React to a post"),
            ("End this login: its tokens are good no longer.", "End this login"),
        ] {
            assert_eq!(first_part(text), summary);
        }
        let long = format!("Do {}", "this and that, ".repeat(20));
        assert!(first_part(&long).chars().count() <= MAX_SUMMARY);
    }

    #[test]
    fn parameters_are_described_and_never_null() {
        let mut operation = json!({
            "summary": "One post.",
            "parameters": [
                {"name": "id", "in": "path", "schema": {"type": "string"}},
                {"name": "Key", "in": "header", "description": "A key.", "schema": {"type": ["string", "null"]}},
            ],
            "responses": {"200": {"description": ""}},
        });
        describe("/api/posts/{id}", operation.as_object_mut().unwrap());
        assert_eq!(operation["parameters"][0]["description"], "The id, as the list of posts has it.");
        assert_eq!(operation["parameters"][1]["schema"]["type"], "string");
        assert_eq!(operation["responses"]["200"]["description"], "What was asked for.");
    }
}

//! The errors of operations, each a problem document.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::code::Code;

/// A status of error: its name among the document's responses, and what it means.
struct Shared {
    status: u16,
    name: &'static str,
    about: &'static str,
}

const fn shared(status: u16, name: &'static str, about: &'static str) -> Shared {
    Shared { status, name, about }
}

const ALL: &[Shared] = &[
    shared(400, "BadRequest", "The request cannot be read, or `errors` names what is wrong with its fields."),
    shared(401, "Unauthorized", "There is no token or key, or none that holds."),
    shared(403, "Forbidden", "The caller may not do this."),
    shared(404, "NotFound", "There is no such thing, or the caller may not know of it."),
    shared(408, "RequestTimeout", "The body did not come in time."),
    shared(409, "Conflict", "Something stands against it; `code` tells what."),
    shared(410, "Gone", "The link was used, or is too old."),
    shared(413, "PayloadTooLarge", "The body is larger than it may be."),
    shared(415, "UnsupportedMediaType", "The body's content type is not read here."),
    shared(416, "RangeNotSatisfiable", "There is nothing of it where `Range` begins."),
    shared(422, "UnprocessableEntity", "The idempotency key was sent with another request before."),
    shared(429, "TooManyRequests", "The caller does more of this than is allowed."),
    shared(500, "InternalServerError", "The server failed."),
    shared(503, "ServiceUnavailable", "A part that the request needs does not answer."),
    shared(507, "InsufficientStorage", "The disk is full; nothing was written."),
];

/// Names all errors of an operation, and says of those that it names itself that they are problem documents.
pub(super) fn describe(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let statuses = statuses(path, method, operation);
    let Some(responses) = operation.entry("responses").or_insert_with(|| json!({})).as_object_mut() else {
        return;
    };
    for status in statuses {
        responses.entry(status.to_string()).or_insert_with(|| json!({"description": ""}));
    }
    for (status, response) in responses.iter_mut() {
        let Some(shared) = ALL.iter().find(|shared| shared.status.to_string() == *status) else { continue };
        let is_other = response["content"].as_object().is_some_and(|content| {
            content.values().any(|content| content["schema"]["$ref"] != "#/components/schemas/Problem")
        });
        let about = response["description"].as_str().filter(|about| !about.is_empty());
        if is_other {
            // Such as a page, or a node's health: the document that it has otherwise, too.
            response["description"] = json!(about.unwrap_or(shared.about));
            continue;
        }
        *response = match about {
            Some(about) => body(shared, about),
            None => json!({"$ref": format!("#/components/responses/{}", shared.name)}),
        };
    }
}

/// The errors that an operation of this form can give, whatever it does.
fn statuses(path: &str, method: &str, operation: &Map<String, Value>) -> Vec<u16> {
    let parameters: Vec<_> =
        operation.get("parameters").and_then(Value::as_array).into_iter().flatten().collect();
    let has_body = operation.contains_key("requestBody");
    let is_open = operation.get("security").is_some_and(|security| security == &json!([{}]));
    let has_key = parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key");
    let reads_json = operation
        .get("requestBody")
        .is_some_and(|body| body["content"]["application/json"]["schema"]["$ref"].is_string());
    let mut statuses = vec![500, 503];
    let mut add = |is_possible: bool, more: &[u16]| {
        if is_possible {
            statuses.extend_from_slice(more);
        }
    };
    add(has_body || !parameters.is_empty(), &[400]);
    add(!is_open, &[401]);
    add(path.contains('{'), &[404]);
    add(has_body, &[408, 413]);
    add(reads_json, &[415]);
    add(has_key, &[409, 422]);
    add(method != "get", &[507]);
    statuses
}

/// Adds what operations refer to.
pub(super) fn add_responses(document: &mut Value) {
    let responses = ALL.iter().map(|shared| (shared.name.to_owned(), body(shared, shared.about))).collect();
    document["components"]["responses"] = Value::Object(responses);
}

fn body(shared: &Shared, about: &str) -> Value {
    let status = StatusCode::from_u16(shared.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let code = match status {
        StatusCode::BAD_REQUEST => Code::InvalidInput,
        StatusCode::GONE => Code::LinkInvalid,
        StatusCode::UNPROCESSABLE_ENTITY => Code::IdempotencyKeyReused,
        status => Code::of(status),
    };
    let mut example = json!({
        "type": code.address(),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": shared.status,
        "detail": about,
        "code": code.name(),
    });
    if status == StatusCode::BAD_REQUEST {
        example["errors"] = json!([{"field": "limit", "code": "out_of_range", "message": "must be a whole number from 1 to 100"}]);
    }
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    let content = json!({"application/problem+json": {"schema": schema, "example": example}});
    let mut response = json!({"description": about, "content": content});
    let header = |about: &str, schema: Value| json!({"description": about, "schema": schema});
    match status {
        StatusCode::UNAUTHORIZED => {
            let about = "Which credentials are read, and what is wrong with those that were sent (RFC 6750).";
            response["headers"] = json!({"WWW-Authenticate": header(about, json!({"type": "string"}))});
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let about = "After how many seconds another try is worth it.";
            let schema = json!({"type": "integer", "minimum": 0});
            response["headers"] = json!({"Retry-After": header(about, schema)});
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_name_the_errors_of_their_form() {
        let problem = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        let mut operation = json!({
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewPost"}}}},
            "responses": {
                "201": {"description": "made"},
                "409": {"description": "busy", "content": problem},
                "403": {"description": "", "content": problem},
            },
        });
        describe("/api/posts/{id}", "post", operation.as_object_mut().unwrap());
        let responses = operation["responses"].as_object().unwrap();
        let statuses: Vec<_> = responses.keys().map(String::as_str).collect();
        let wanted = ["201", "400", "401", "403", "404", "408", "409", "413", "415", "500", "503", "507"];
        assert_eq!(statuses.iter().copied().collect::<std::collections::BTreeSet<_>>(), wanted.into());
        assert_eq!(responses["403"]["$ref"], "#/components/responses/Forbidden");
        assert_eq!(responses["409"]["description"], "busy");
        assert!(responses["409"]["content"]["application/problem+json"].is_object());
    }
}

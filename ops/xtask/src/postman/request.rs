//! A request of the collection.

use serde_json::{Map, Value, json};

use super::order::Operation;
use super::scripts;

/// Fields of bodies that are other ones in each run, by operation.
const FIELDS: &[(&str, &str, &str)] = &[
    ("register", "email", "{{email}}"),
    ("register", "username", "{{username}}"),
    ("register", "password", "{{password}}"),
    ("logIn", "email", "{{email}}"),
    ("logIn", "password", "{{password}}"),
    ("refreshTokens", "refreshToken", "{{refreshToken}}"),
    ("forgotPassword", "email", "{{email}}"),
    ("changeEmail", "email", "new-{{email}}"),
    ("changeEmail", "password", "{{password}}"),
    ("createUser", "email", "other-{{email}}"),
    ("createUser", "username", "other-{{username}}"),
];

/// Fields of examples that name what was never made, or how it was before.
const LEFT_OUT: [&str; 3] = ["assigneeId", "parentId", "version"];
/// Folders whose examples have such fields.
const WITHOUT: [&str; 3] = ["admin", "posts", "support"];
/// What moderators and admins do outside of the admins' paths.
const OF_THE_STAFF: [&str; 6] = [
    "approveProposal",
    "assignProposal",
    "assignTicket",
    "listPendingProposals",
    "rejectProposal",
    "resolveTicket",
];

/// A request with its tests.
pub(super) fn item(document: &Value, operation: &Operation<'_>) -> Value {
    let about = operation.about;
    let mut request = json!({
        "method": operation.method.to_uppercase(),
        "url": url(document, operation),
        "header": headers(operation),
        "description": about["description"],
    });
    if let Some(auth) = auth(operation) {
        request["auth"] = auth;
    }
    if let Some(body) = body(operation) {
        request["body"] = body;
    }
    json!({
        "name": about["summary"],
        "request": request,
        "event": [scripts::event("test", &scripts::after(operation))],
    })
}

/// The token of a variable.
pub(super) fn bearer(variable: &str) -> Value {
    json!({"type": "bearer", "bearer": [{"key": "token", "value": format!("{{{{{variable}}}}}"), "type": "string"}]})
}

/// Whose request it is, where it is not an ordinary user's.
fn auth(operation: &Operation<'_>) -> Option<Value> {
    if operation.about["security"][0].as_object().is_some_and(|scheme| !scheme.contains_key("bearer")) {
        return Some(json!({"type": "noauth"}));
    }
    let is_staffs =
        ["/api/admin/", "/api/safety-reviews"].iter().any(|path| operation.path.starts_with(path))
            || OF_THE_STAFF.contains(&operation.id);
    is_staffs.then(|| bearer("adminToken"))
}

fn headers(operation: &Operation<'_>) -> Vec<Value> {
    let mut headers = Vec::new();
    if operation.tag == "server" {
        headers.push(json!({"key": "X-API-Key", "value": "{{apiKey}}"}));
    }
    if let Some(kind) = content_type(operation) {
        headers.push(json!({"key": "Content-Type", "value": kind}));
    }
    for parameter in parameters(operation, "header") {
        headers.push(json!({
            "key": parameter["name"], "value": "{{$guid}}", "disabled": true, "description": parameter["description"],
        }));
    }
    headers
}

fn content_type<'a>(operation: &Operation<'a>) -> Option<&'a str> {
    let content = operation.about["requestBody"]["content"].as_object()?;
    content.keys().next().map(String::as_str)
}

fn parameters<'a>(operation: &Operation<'a>, place: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = operation.about["parameters"].as_array().into_iter().flatten();
    all.filter(move |parameter| parameter["in"] == place)
}

/// `/api/posts/{id}` with the variable that has the id of a post.
fn url(document: &Value, operation: &Operation<'_>) -> Value {
    let mut before = "";
    let mut parts = Vec::new();
    for part in operation.path.split('/').filter(|part| !part.is_empty()) {
        parts.push(match part {
            // One of several series is a series.
            "{id}" if before == "series" => "{{seriesId}}".to_owned(),
            "{id}" => format!("{{{{{}Id}}}}", before.trim_end_matches('s')),
            "{queue}" => "email".to_owned(),
            "{name}" => "new-feed".to_owned(),
            "{seq}" => "1".to_owned(),
            "{address}" => "{{email}}".to_owned(),
            other => other.to_owned(),
        });
        before = part;
    }
    let query: Vec<_> = parameters(operation, "query")
        .map(|parameter| {
            json!({
                "key": parameter["name"],
                "value": value(document, operation, parameter),
                "description": parameter["description"],
                "disabled": parameter["required"] != true,
            })
        })
        .collect();
    let needed: Vec<_> = query
        .iter()
        .filter(|one| one["disabled"] == false)
        .map(|one| {
            format!(
                "{}={}",
                one["key"].as_str().unwrap_or_default(),
                one["value"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let question = if needed.is_empty() { "" } else { "?" };
    json!({
        "raw": format!("{{{{baseUrl}}}}/{}{question}{}", parts.join("/"), needed.join("&")),
        "host": ["{{baseUrl}}"],
        "path": parts,
        "query": query,
    })
}

/// A value of a parameter of the query.
fn value(document: &Value, operation: &Operation<'_>, parameter: &Value) -> String {
    if operation.tag == "analytics" {
        match parameter["name"].as_str() {
            Some("from") => return "{{weekAgo}}".to_owned(),
            Some("to") => return "{{today}}".to_owned(),
            _ => {}
        }
    }
    let mut schema = &parameter["schema"];
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        schema = &document["components"]["schemas"][name];
    }
    let own = [
        &parameter["example"],
        &schema["example"],
        &schema["examples"][0],
        &schema["enum"][0],
        &schema["minimum"],
    ];
    match own.into_iter().find(|own| !own.is_null()) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn body(operation: &Operation<'_>) -> Option<Value> {
    let content = operation.about["requestBody"]["content"].as_object()?;
    let (kind, content) = content.iter().next()?;
    let text = match &content["example"] {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let mut fields = fill(operation.id, fields);
            fields.retain(|name, _| !WITHOUT.contains(&operation.tag) || !LEFT_OUT.contains(&name.as_str()));
            serde_json::to_string_pretty(&fields).unwrap_or_default()
        }
        _ => String::new(),
    };
    let language = if kind == "application/json" { "json" } else { "text" };
    Some(json!({"mode": "raw", "raw": text, "options": {"raw": {"language": language}}}))
}

fn fill(id: &str, fields: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = fields.clone();
    for (_, field, value) in FIELDS.iter().filter(|(of, _, _)| *of == id) {
        fields.insert((*field).to_owned(), json!(value));
    }
    fields
}

/// Requests that are refused, each for another reason.
pub(super) fn refused() -> Vec<Value> {
    let one = |name: &str,
               method: &str,
               path: [&str; 2],
               auth: Value,
               body: Option<&str>,
               status: u16,
               code: &str| {
        let raw = format!("{{{{baseUrl}}}}/{}", path.join("/"));
        let mut request = json!({
            "method": method, "auth": auth, "url": {"raw": raw, "host": ["{{baseUrl}}"], "path": path},
            "header": [{"key": "Content-Type", "value": "application/json"}],
        });
        if let Some(body) = body {
            request["body"] = json!({"mode": "raw", "raw": body});
        }
        let script = format!(
            "pm.test('refused with {status} {code}', () => {{\n    pm.expect(pm.response.code).to.equal({status});\n    \
             pm.expect(pm.response.json().code).to.equal('{code}');\n}});"
        );
        json!({"name": name, "request": request, "event": [scripts::event("test", &script)]})
    };
    let (nobody, user) = (json!({"type": "noauth"}), bearer("accessToken"));
    let posts = ["api", "posts"];
    vec![
        one("Nobody has no feed", "GET", posts, nobody, None, 401, "unauthenticated"),
        one(
            "A post says something",
            "POST",
            posts,
            user.clone(),
            Some(r#"{"content": ""}"#),
            400,
            "invalid_input",
        ),
        one("A body is JSON", "POST", posts, user.clone(), Some("{"), 400, "invalid_json"),
        one(
            "There is no such route",
            "GET",
            ["api", "nothing-here"],
            user.clone(),
            None,
            404,
            "no_such_route",
        ),
        one("Posts are not put", "PUT", posts, user, Some("{}"), 405, "method_not_allowed"),
    ]
}

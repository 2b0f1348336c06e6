//! What runs before requests and after them.

use serde_json::{Value, json};

use super::order::Operation;

/// Before the first request: names and days of this run.
pub(super) const BEFORE_ALL: &str = "\
if (!pm.environment.get('username')) {
    const run = Date.now().toString(36) + Math.floor(Math.random() * 1e6).toString(36);
    pm.environment.set('username', 'postman-' + run);
    pm.environment.set('email', 'postman-' + run + '@example.com');
}
const day = (offset) => new Date(Date.now() + offset * 864e5).toISOString().slice(0, 10);
pm.environment.set('today', day(0));
pm.environment.set('weekAgo', day(-7));";

/// After each request: what is refused is refused by a problem document.
pub(super) const AFTER_ALL: &str = "\
const isServerApi = pm.request.headers.has('X-API-Key');
const isPage = pm.request.url.getPath() === '/api/mail/unsubscribe';
if (pm.response.code >= 400 && !isServerApi && !isPage) {
    pm.test('the error is a problem document', () => {
        pm.expect(pm.response.headers.get('Content-Type')).to.include('application/problem+json');
        const definitions = JSON.parse(pm.collectionVariables.get('schemas'));
        const schema = { $ref: '#/definitions/Problem', definitions };
        pm.response.to.have.jsonSchema(schema, { unknownFormats: 'ignore' });
        pm.expect(pm.response.json().status).to.equal(pm.response.code);
    });
}
if (pm.response.headers.has('X-Request-Id')) {
    pm.test('the answer has an id', () => pm.expect(pm.response.headers.get('X-Request-Id')).to.not.be.empty);
}";

/// A script of a request or of all.
pub(super) fn event(listen: &str, script: &str) -> Value {
    let lines: Vec<_> = script.lines().collect();
    json!({"listen": listen, "script": {"type": "text/javascript", "exec": lines}})
}

/// All schemas, as Postman's validator finds them.
pub(super) fn definitions(document: &Value) -> Value {
    let text = document["components"]["schemas"].to_string();
    let text = text.replace("#/components/schemas/", "#/definitions/");
    serde_json::from_str(&text).unwrap_or_default()
}

/// The tests of a request, and what later requests need of its answer.
pub(super) fn after(operation: &Operation<'_>) -> String {
    let expected = operation.expected();
    let names: Vec<_> = expected.iter().map(u16::to_string).collect();
    let names = names.join(", ");
    let mut script = format!(
        "pm.test('status is {}', () => pm.expect([{names}]).to.include(pm.response.code));",
        names.replace(", ", " or ")
    );
    for status in expected.iter().filter(|status| **status < 300) {
        let schema =
            &operation.about["responses"][status.to_string()]["content"]["application/json"]["schema"];
        if schema.is_object() {
            script += &schema_test(*status, schema);
        }
    }
    for (variable, place) in variables(operation) {
        let token = format!(
            "\nif (pm.response.code < 300) {{\n    const value = pm.response.json(){place};\n    \
             if (value) pm.environment.set('{variable}', value);\n}}"
        );
        script.push_str(&token);
    }
    script
}

fn schema_test(status: u16, schema: &Value) -> String {
    let text = schema.to_string().replace("#/components/schemas/", "#/definitions/");
    format!(
        "\nif (pm.response.code === {status}) {{\n    pm.test('the answer fits its schema', () => {{\n        \
         const schema = {text};\n        \
         schema.definitions = JSON.parse(pm.collectionVariables.get('schemas'));\n        \
         const whole = {{ allOf: [schema], definitions: schema.definitions }};\n        \
         pm.response.to.have.jsonSchema(whole, {{ unknownFormats: 'ignore' }});\n    }});\n}}"
    )
}

/// Variables that are taken from an operation's answer, and where they stand in it.
fn variables(operation: &Operation<'_>) -> Vec<(String, &'static str)> {
    let some =
        |all: &[(&str, &'static str)]| all.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
    match operation.id {
        "register" | "logIn" | "refreshTokens" => {
            some(&[("accessToken", ".token"), ("refreshToken", ".refreshToken"), ("userId", ".user.id")])
        }
        "sayToAgent" => some(&[("conversationId", ".conversationId")]),
        "listNotifications" => some(&[("notificationId", ".items[0]?.id")]),
        // The paths of what they make have another word for it.
        "createListing" => some(&[("housingId", ".id")]),
        "createEventSeries" => some(&[("seriesId", ".id")]),
        "createProposal" => some(&[("founder-approvalId", ".id")]),
        "createSafetyReview" => some(&[("safety-reviewId", ".id")]),
        "listJobs" => some(&[("jobId", ".items[0]?.id")]),
        // `createPost` makes `postId`; another user is not who sends these requests.
        id => match id.strip_prefix("create").or_else(|| id.strip_prefix("register")) {
            Some(thing) if !matches!(thing, "" | "User") => {
                let (first, rest) = thing.split_at(1);
                vec![(format!("{}{rest}Id", first.to_lowercase()), ".id")]
            }
            _ => Vec::new(),
        },
    }
}

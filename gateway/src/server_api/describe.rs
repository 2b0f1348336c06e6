//! The server API in the API's document.

use serde_json::{Map, Value, json};

use super::METHODS;

/// The name of the key in the document's security schemes.
const SCHEME: &str = "apiKey";

/// What a field of a method's body holds. All fields may be null, which is as good as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text, with one that shows the form.
    Text(&'static str),
    /// Texts, each of this form.
    Texts(&'static str),
    /// Bytes in base 64.
    Base64,
    /// Any JSON.
    Json,
    /// Texts by name.
    Tags,
    /// Yes or no.
    Flag,
    /// A whole number of 64 bits from 0 on.
    Number,
    /// A time in Unix seconds; 0 for none.
    Seconds,
    /// How many; -1 for as many as may be had.
    Limit,
    /// A place in a channel's history.
    Position,
    /// The close code and its reason.
    Disconnect,
    /// Calls of other methods.
    Commands,
    /// What the subscription has instead of the namespace's options.
    Override,
}

use Kind::{Base64, Commands, Flag, Json, Limit, Number, Override, Position, Seconds, Tags, Text, Texts};

type Field = (&'static str, Kind);

const CHANNEL: Field = ("channel", Text("posts:feed"));
const USER: Field = ("user", Text("42"));
const CLIENT: Field = ("client", Text("54c7a0f2-2c4b-4d2f-9a0b-0a5a1d0f8b11"));
const SESSION: Field = ("session", Text("54c7a0f2-2c4b-4d2f-9a0b-0a5a1d0f8b11"));
const EXPIRE_AT: Field = ("expire_at", Seconds);

/// The fields of `publish`.
const PUBLISH: [Field; 10] = [
    CHANNEL,
    ("data", Json),
    ("b64data", Base64),
    ("tags", Tags),
    ("skip_history", Flag),
    ("idempotency_key", Text("order-7")),
    ("delta", Flag),
    ("version", Number),
    ("version_epoch", Text("a")),
    ("exclude_client", Text("54c7a0f2-2c4b-4d2f-9a0b-0a5a1d0f8b11")),
];
/// The fields of `broadcast`: those of `publish`, with channels in the place of the channel.
const BROADCAST: [Field; 10] = {
    let mut fields = PUBLISH;
    fields[0] = ("channels", Texts("posts:feed"));
    fields
};

/// The summary of a method, and the fields that it takes.
pub(super) fn about(method: &str) -> (&'static str, &'static [Field]) {
    match method {
        "publish" => ("Publish into a channel", &PUBLISH),
        "broadcast" => ("Publish into several channels", &BROADCAST),
        "subscribe" => (
            "Subscribe a user's sessions to a channel",
            &[
                USER,
                CHANNEL,
                CLIENT,
                SESSION,
                ("info", Json),
                ("b64info", Base64),
                ("data", Json),
                ("b64data", Base64),
                EXPIRE_AT,
                ("recover_since", Position),
                ("override", Override),
            ],
        ),
        "unsubscribe" => ("Take a user's sessions out of a channel", &[USER, CHANNEL, CLIENT, SESSION]),
        "disconnect" => (
            "End a user's sessions",
            &[
                USER,
                CLIENT,
                SESSION,
                ("whitelist", Texts("54c7a0f2-2c4b-4d2f-9a0b-0a5a1d0f8b11")),
                ("disconnect", Kind::Disconnect),
            ],
        ),
        "refresh" => (
            "Set when a user's sessions expire",
            &[USER, CLIENT, SESSION, ("expired", Flag), EXPIRE_AT, ("info", Json)],
        ),
        "send" => (
            "Send a user's sessions a message outside of channels",
            &[USER, CLIENT, SESSION, ("data", Json), ("b64data", Base64)],
        ),
        "presence" => ("Who is in a channel", &[CHANNEL]),
        "presence_stats" => ("How many are in a channel", &[CHANNEL]),
        "history" => {
            ("Read a channel's history", &[CHANNEL, ("limit", Limit), ("since", Position), ("reverse", Flag)])
        }
        "history_remove" => ("Forget a channel's history", &[CHANNEL]),
        "channels" => ("The channels with subscribers", &[("pattern", Text("posts:*"))]),
        "connections" => ("A user's sessions", &[USER, CLIENT, SESSION]),
        "info" => ("The nodes", &[]),
        "rpc" => ("Call a route without a user", &[("method", Text("GET /api/health")), ("params", Json)]),
        "batch" => ("Several calls in one", &[("commands", Commands), ("parallel", Flag)]),
        "get_user_status" => {
            ("Since when users are online, and when they were last seen", &[("users", Texts("42"))])
        }
        "block_user" => ("Lock a user out and end his sessions", &[USER, EXPIRE_AT]),
        "unblock_user" => ("Let a user in again", &[USER]),
        "revoke_token" => {
            ("Lock a token out by its jti and end its sessions", &[("uid", Text("a-token")), EXPIRE_AT])
        }
        "invalidate_user_tokens" => {
            ("Lock out all tokens of a user issued until now", &[USER, ("issued_before", Seconds), EXPIRE_AT])
        }
        _ => ("", &[]),
    }
}

/// The fields without which a method does nothing.
fn required(method: &str) -> &'static [&'static str] {
    match method {
        "publish" | "subscribe" | "unsubscribe" | "presence" | "presence_stats" | "history"
        | "history_remove" => &["channel"],
        "broadcast" => &["channels"],
        "rpc" => &["method"],
        "get_user_status" => &["users"],
        "block_user" | "unblock_user" | "invalidate_user_tokens" => &["user"],
        "revoke_token" => &["uid"],
        _ => &[],
    }
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// What a field holds, where it has to be there or may be null.
fn schema(kind: Kind, is_required: bool) -> Value {
    let number = json!({"type": "integer", "format": "uint64", "x-64-bit": true, "minimum": 0, "maximum": u64::MAX, "example": 1});
    let mut schema = match kind {
        Text(example) => json!({"type": "string", "example": example}),
        Texts(example) => {
            json!({"type": "array", "items": {"type": "string", "example": example}, "minItems": 1})
        }
        Base64 => json!({"type": "string", "contentEncoding": "base64"}),
        Json => return json!({"description": "Any JSON.", "examples": [{"hello": "milonga"}]}),
        Tags => {
            json!({"type": "object", "additionalProperties": {"type": "string"}, "example": {"city": "Berlin"}})
        }
        Flag => json!({"type": "boolean", "example": false}),
        Number => number,
        Seconds => json!({
            "type": "integer", "format": "int64", "x-64-bit": true, "minimum": i64::MIN, "maximum": 253_402_207_200_u64,
            "example": 0, "description": "Unix seconds; 0 for none.",
        }),
        Limit => {
            json!({"type": "integer", "format": "int64", "x-64-bit": true, "minimum": i64::MIN, "maximum": i64::MAX, "example": 10})
        }
        Position => {
            let epoch = json!({"type": ["string", "null"]});
            object(&json!({"offset": number, "epoch": epoch}), &[])
        }
        Kind::Disconnect => object(
            &json!({
                "code": {"type": "integer", "minimum": 3000, "maximum": 4999, "example": 4000},
                "reason": {"type": ["string", "null"], "maxLength": 32, "example": "bye"},
            }),
            &["code"],
        ),
        Commands => json!({
            "type": "array",
            "maxItems": 10_000,
            "items": {"type": "object", "additionalProperties": {}, "maxProperties": 1},
            "example": [{"presence_stats": {"channel": "events:all"}}],
        }),
        Override => json!({"type": "object", "additionalProperties": {}}),
    };
    if !is_required {
        schema["type"] = json!([schema["type"], "null"]);
    } else if matches!(kind, Text(_)) {
        schema["minLength"] = 1.into();
    }
    schema
}

/// What a method answers.
fn result(method: &str) -> Value {
    let (text, count) = (json!({"type": "string"}), json!({"type": "integer", "minimum": 0}));
    let number =
        json!({"type": "integer", "format": "uint64", "x-64-bit": true, "minimum": 0, "maximum": u64::MAX});
    let time = json!({"type": ["integer", "null"], "format": "int64"});
    let list = |name: &str, items: Value| object(&json!({name: {"type": "array", "items": items}}), &[name]);
    let map = |name: &str, values: Value| {
        object(&json!({name: {"type": "object", "additionalProperties": values}}), &[name])
    };
    let position = json!({"offset": number, "epoch": text});
    match method {
        "publish" => object(&position, &[]),
        "broadcast" => list("responses", outcome(&object(&position, &[]))),
        "presence" => map("presence", object(&json!({"client": text, "user": text}), &["client", "user"])),
        "presence_stats" => {
            object(&json!({"num_clients": count, "num_users": count}), &["num_clients", "num_users"])
        }
        "history" => {
            let publication = object(
                &json!({"data": {}, "b64data": text, "offset": number, "tags": {"type": "object"}, "time": number}),
                &[],
            );
            let publications = json!({"type": "array", "items": publication});
            object(&json!({"publications": publications, "offset": number, "epoch": text}), &["publications"])
        }
        "channels" => map("channels", object(&json!({"num_clients": count}), &["num_clients"])),
        "connections" => map("connections", object(&json!({"user": text, "connected_at": time}), &["user"])),
        "info" => {
            let names = ["num_clients", "num_users", "num_channels", "num_subs"];
            let mut node = json!({"uid": text, "name": text, "version": text, "uptime": time});
            for name in names {
                node[name] = count.clone();
            }
            list("nodes", object(&node, &["uid", "name", "version"]))
        }
        "rpc" => object(&json!({"data": {"description": "What the route answers."}}), &["data"]),
        "get_user_status" => {
            let status = json!({"user": text, "active": time, "online": time, "online_since": time});
            list("statuses", object(&status, &["user", "active", "online", "online_since"]))
        }
        _ => json!({"type": "object"}),
    }
}

/// A result, or an error.
fn outcome(result: &Value) -> Value {
    let failed = object(&json!({"error": error()}), &["error"]);
    json!({"oneOf": [object(&json!({"result": result}), &["result"]), failed]})
}

fn error() -> Value {
    json!({"$ref": "#/components/schemas/ServerApiError"})
}

fn operation(method: &str) -> Value {
    let (summary, fields) = about(method);
    let required = required(method);
    let properties: Map<_, _> = fields
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), schema(*kind, required.contains(name))))
        .collect();
    let answer = if method == "batch" {
        json!({
            "type": "object", "required": ["replies"],
            "properties": {"replies": {"type": "array", "items": {"type": "object"}}},
        })
    } else {
        outcome(&result(method))
    };
    let failed =
        |about: &str| json!({"description": about, "content": {"application/json": {"schema": error()}}});
    let mode = json!({
        "name": "X-Centrifugo-Error-Mode", "in": "header", "required": false,
        "description": "`transport` for errors as statuses; else they have the status 200 and stand in `error`.",
        "schema": {"type": "string", "enum": ["transport"]},
    });
    let mut body = object(&Value::Object(properties), required);
    body["additionalProperties"] = false.into();
    if required.is_empty() {
        body["type"] = json!(["object", "null"]);
    }
    let mut malformed = failed("The body is not of the method's types, or cannot be taken as it is.");
    malformed["content"]["application/problem+json"] =
        json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut operation = json!({
        "tags": ["server"],
        "summary": summary,
        "operationId": id_of(method),
        "parameters": [mode],
        "requestBody": {"required": true, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The result, or an error.", "content": {"application/json": {"schema": answer}}},
            "400": malformed,
        },
        "security": [{SCHEME: []}],
    });
    for (status, about) in
        [("404", "There is no such channel or method."), ("416", "The epoch is another one.")]
    {
        operation["responses"][status] = failed(about);
    }
    operation
}

/// `publish` becomes `serverPublish`.
fn id_of(method: &str) -> String {
    let parts = method.split('_').map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    });
    format!("server{}", parts.collect::<String>())
}

/// Adds the methods to the document.
pub(crate) fn describe(document: &mut Value) {
    document["components"]["securitySchemes"][SCHEME] = json!({
        "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the server API's key (http.api_key)",
    });
    document["components"]["schemas"]["ServerApiError"] = json!({
        "type": "object", "required": ["code", "message"], "description": "An error of the server API.",
        "properties": {"code": {"type": "integer", "minimum": 100, "maximum": 4999}, "message": {"type": "string"}},
    });
    for method in METHODS {
        document["paths"][format!("/api/{method}")] = json!({"post": operation(method)});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_described() {
        for method in METHODS {
            let (summary, fields) = about(method);
            assert!(!summary.is_empty(), "{method}");
            for name in required(method) {
                assert!(fields.iter().any(|(field, _)| field == name), "{method} {name}");
            }
        }
        assert_eq!(id_of("get_user_status"), "serverGetUserStatus");
    }
}

//! The server API in the API's document.

use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, RefOr, Required, ResponseBuilder, Schema, Type,
};

use super::METHODS;

/// The name of the key in the document's security schemes.
const SCHEME: &str = "apiKey";

/// The fields of `publish`.
const PUBLISH: &[(&str, Type)] = &[
    ("channel", Type::String),
    ("data", Type::Object),
    ("b64data", Type::String),
    ("tags", Type::Object),
    ("skip_history", Type::Boolean),
    ("idempotency_key", Type::String),
    ("delta", Type::Boolean),
    ("version", Type::Integer),
    ("version_epoch", Type::String),
    ("exclude_client", Type::String),
];
/// The fields of `broadcast`.
const BROADCAST: &[(&str, Type)] = &[
    ("channels", Type::Array),
    ("data", Type::Object),
    ("b64data", Type::String),
    ("tags", Type::Object),
    ("skip_history", Type::Boolean),
    ("idempotency_key", Type::String),
    ("delta", Type::Boolean),
    ("version", Type::Integer),
    ("version_epoch", Type::String),
    ("exclude_client", Type::String),
];

/// The summary of a method, and the fields that it takes.
pub(super) fn about(method: &str) -> (&'static str, &'static [(&'static str, Type)]) {
    use Type::{Array, Boolean, Integer, Object, String};
    match method {
        "publish" => ("Publish into a channel", PUBLISH),
        "broadcast" => ("Publish into several channels", BROADCAST),
        "subscribe" => (
            "Subscribe a user's sessions to a channel",
            &[
                ("user", String),
                ("channel", String),
                ("client", String),
                ("session", String),
                ("info", Object),
                ("b64info", String),
                ("data", Object),
                ("b64data", String),
                ("expire_at", Integer),
                ("recover_since", Object),
                ("override", Object),
            ],
        ),
        "unsubscribe" => (
            "Take a user's sessions out of a channel",
            &[("user", String), ("channel", String), ("client", String), ("session", String)],
        ),
        "disconnect" => (
            "End a user's sessions",
            &[
                ("user", String),
                ("client", String),
                ("session", String),
                ("whitelist", Array),
                ("disconnect", Object),
            ],
        ),
        "refresh" => (
            "Set when a user's sessions expire",
            &[
                ("user", String),
                ("client", String),
                ("session", String),
                ("expired", Boolean),
                ("expire_at", Integer),
                ("info", Object),
            ],
        ),
        "send" => (
            "Send a user's sessions a message outside of channels",
            &[
                ("user", String),
                ("client", String),
                ("session", String),
                ("data", Object),
                ("b64data", String),
            ],
        ),
        "presence" => ("Who is in a channel", &[("channel", String)]),
        "presence_stats" => ("How many are in a channel", &[("channel", String)]),
        "history" => (
            "Read a channel's history",
            &[("channel", String), ("limit", Integer), ("since", Object), ("reverse", Boolean)],
        ),
        "history_remove" => ("Forget a channel's history", &[("channel", String)]),
        "channels" => ("The channels with subscribers", &[("pattern", String)]),
        "connections" => ("A user's sessions", &[("user", String), ("client", String), ("session", String)]),
        "info" => ("The nodes", &[]),
        "rpc" => ("Call a route without a user", &[("method", String), ("params", Object)]),
        "batch" => ("Several calls in one", &[("commands", Array), ("parallel", Boolean)]),
        "get_user_status" => {
            ("Since when users are online, and when they were last seen", &[("users", Array)])
        }
        "block_user" => ("Lock a user out and end his sessions", &[("user", String), ("expire_at", Integer)]),
        "unblock_user" => ("Let a user in again", &[("user", String)]),
        "revoke_token" => {
            ("Lock a token out by its jti and end its sessions", &[("uid", String), ("expire_at", Integer)])
        }
        "invalidate_user_tokens" => (
            "Lock out all tokens of a user issued until now",
            &[("user", String), ("issued_before", Integer), ("expire_at", Integer)],
        ),
        _ => ("", &[]),
    }
}

/// Adds the methods to the document.
pub(crate) fn describe(document: &mut OpenApi) {
    let key = ApiKeyValue::with_description("X-API-Key", "the server API's key (http.api_key)");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::ApiKey(ApiKey::Header(key)));
    for method in METHODS {
        let (summary, fields) = about(method);
        let body = fields.iter().fold(ObjectBuilder::new(), |body, (name, kind)| {
            body.property(*name, ObjectBuilder::new().schema_type(kind.clone()).build())
        });
        let content =
            ContentBuilder::new().schema(Some(RefOr::<Schema>::from(Schema::from(body.build())))).build();
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        let answer = |text: &str| ResponseBuilder::new().description(text).build();
        let operation = OperationBuilder::new()
            .tag("server")
            .summary(Some(summary))
            .operation_id(Some(format!("server_{method}")))
            .request_body(Some(body.build()))
            .response("200", answer("`{\"result\": …}`, or `{\"error\": {\"code\", \"message\"}}`"))
            .response("400", answer("The body is not a json object of the types that the method takes"))
            .response(
                "401",
                answer("The key is missing or wrong, or none is configured: a problem document says which"),
            )
            .security(SecurityRequirement::new(SCHEME, Vec::<String>::new()))
            .build();
        document.paths.paths.insert(format!("/api/{method}"), PathItem::new(HttpMethod::Post, operation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_described() {
        for method in METHODS {
            assert!(!about(method).0.is_empty(), "{method}");
        }
    }
}

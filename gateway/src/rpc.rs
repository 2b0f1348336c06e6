//! The second door to every operation: an RPC whose method is `"POST /api/posts"` runs the same route in process.
//! `"POST /api/posts#KEY"` gives it the idempotency key `KEY`: what follows the first `#`, as it is.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use mundotango_actors::{Caller, RpcHandler};
use mundotango_protocol::{ErrorCode, ErrorReply};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::client_address::ClientAddress;
use crate::idempotency;
use crate::identity::Identity;
use crate::observe::OfSession;
use crate::problem::Code;
use crate::revocations::{Revocations, TokenMarks};

/// Only the application's routes can be called, not the node's own pages and sockets.
const CALLABLE_PREFIX: &str = "/api/";

/// Bytes of a method that an error repeats.
const MAX_SHOWN_BYTES: usize = 100;

/// Marks an answer that no route gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSuchRoute;

/// Calls routes for sessions.
pub(crate) struct RouteCaller {
    routes: Router,
    revocations: Arc<Revocations>,
}

impl RouteCaller {
    pub(crate) fn new(routes: Router, revocations: Arc<Revocations>) -> Self {
        Self { routes, revocations }
    }
}

#[async_trait]
impl RpcHandler for RouteCaller {
    async fn call(&self, caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply> {
        // A session whose token was revoked may have calls left that it sent before it was told.
        let marks = TokenMarks {
            user: &caller.user,
            login_id: caller.login_id.as_deref(),
            token_id: caller.token_id.as_deref(),
            issued_at: caller.issued_at,
        };
        if self.revocations.is_revoked(marks) {
            return Err(error(StatusCode::UNAUTHORIZED, "token revoked".to_owned()));
        }
        let (route, key) = method.split_once('#').map_or((method, None), |(route, key)| (route, Some(key)));
        let (http_method, mut uri) = parse_method(route).ok_or_else(|| no_such_method(method))?;
        let mut body = data;
        if matches!(http_method, Method::GET | Method::HEAD | Method::DELETE) && !body.is_empty() {
            uri = with_query(&uri, &body).map_err(|detail| error(StatusCode::BAD_REQUEST, detail))?;
            body = Bytes::new();
        }
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = http_method;
        *request.uri_mut() = uri;
        request.extensions_mut().insert(OfSession);
        let json = header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(key) = key {
            // What is no value of a header is no key, as an empty one is not.
            let key = header::HeaderValue::from_str(key).unwrap_or(header::HeaderValue::from_static(""));
            request.headers_mut().insert(idempotency::KEY, key);
        }
        if let Some(address) = caller.address {
            // Limits of an address count its calls together with its requests.
            request.extensions_mut().insert(ClientAddress(address));
        }
        if !caller.user.is_empty() {
            request.extensions_mut().insert(Identity {
                user_id: caller.user,
                role: caller.role,
                login_id: caller.login_id,
            });
        }
        let response = match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        answer(method, response).await
    }
}

/// Reads `"POST /api/posts?page=1"`.
fn parse_method(text: &str) -> Option<(Method, Uri)> {
    let (method, path) = text.split_once(' ')?;
    let method = method.parse().ok()?;
    let uri: Uri = path.parse().ok()?;
    (uri.scheme().is_none() && uri.path().starts_with(CALLABLE_PREFIX)).then_some((method, uri))
}

/// Says in which form methods are called.
fn no_such_method(method: &str) -> ErrorReply {
    let shown = &method[..method.floor_char_boundary(MAX_SHOWN_BYTES)];
    let message = format!("no route {shown:?}; methods look like \"GET /api/posts\"");
    ErrorReply { message, ..ErrorCode::MethodNotFound.into() }
}

/// An error by its HTTP status: the protocol leaves 400 to 1999 to the application.
fn error(status: StatusCode, message: String) -> ErrorReply {
    let temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    ErrorReply { code: u32::from(status.as_u16()), message, temporary }
}

/// Adds the fields of an argument to a query, as routes without a body read their parameters there.
fn with_query(uri: &Uri, data: &[u8]) -> Result<Uri, String> {
    let wrong = || "data must be an object of texts, numbers and truth values, or lists of these".to_owned();
    let fields: Option<Map<String, Value>> = serde_json::from_slice(data).map_err(|_| wrong())?;
    let mut query = form_urlencoded::Serializer::new(uri.query().unwrap_or_default().to_owned());
    for (name, value) in fields.unwrap_or_default() {
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(format!("{name}: {}", wrong())),
            };
            query.append_pair(&name, &text);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        return Ok(uri.clone());
    }
    format!("{}?{query}", uri.path()).parse().map_err(|_| "data is too long for a query".to_owned())
}

/// The part of a problem document that a socket's error can carry.
#[derive(Deserialize)]
struct ProblemSummary {
    title: String,
    detail: Option<String>,
    code: Option<String>,
    #[serde(default)]
    errors: Vec<FieldSummary>,
}

#[derive(Deserialize)]
struct FieldSummary {
    field: String,
    message: String,
}

impl ProblemSummary {
    fn message(self) -> String {
        if self.errors.is_empty() {
            return self.detail.unwrap_or(self.title);
        }
        let fields: Vec<_> =
            self.errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        fields.join("; ")
    }
}

async fn answer(method: &str, response: Response) -> Result<Bytes, ErrorReply> {
    let status = response.status();
    let may_retry = response.headers().contains_key(header::RETRY_AFTER);
    let no_such_route = response.extensions().get::<NoSuchRoute>().is_some();
    if no_such_route || status == StatusCode::METHOD_NOT_ALLOWED {
        return Err(no_such_method(method));
    }
    let body = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            tracing::warn!(%error, "answer of a route not read");
            return Err(ErrorCode::Internal.into());
        }
    };
    if status.is_success() {
        return Ok(as_json(body));
    }
    let problem = serde_json::from_slice::<ProblemSummary>(&body).ok();
    let is_unknown =
        problem.as_ref().is_some_and(|problem| problem.code.as_deref() == Some(Code::OutcomeUnknown.name()));
    let message = match problem {
        Some(problem) => problem.message(),
        None => status.canonical_reason().unwrap_or("error").to_lowercase(),
    };
    let refused = error(status, message);
    // Worth another try by a program: what says so by REST, and never what may have been done.
    let temporary = (refused.temporary || may_retry) && !is_unknown;
    Err(ErrorReply { temporary, ..refused })
}

/// An answer that a client of either encoding can read: JSON as it is, a text as a JSON string, and other bytes as base
/// 64 in an object.
fn as_json(body: Bytes) -> Bytes {
    if body.is_empty() || mundotango_protocol::is_json(&body) {
        return body;
    }
    let value = match std::str::from_utf8(&body) {
        Ok(text) => Value::from(text),
        Err(_) => json!({"base64": BASE64_STANDARD.encode(&body)}),
    };
    Bytes::from(value.to_string())
}

#[cfg(test)]
mod tests {
    use crate::revocations::store::{Revocation, RevocationStore, Revoked};
    use jiff::Timestamp;
    use mundotango_protocol::ClientId;
    use mundotango_storage::StoreError;

    use super::*;

    /// A store that keeps nothing.
    struct Forgetful;

    #[async_trait]
    impl RevocationStore for Forgetful {
        async fn revoke(&self, _revocation: Revocation) -> Result<(), StoreError> {
            Ok(())
        }

        async fn reinstate(&self, _what: &Revoked) -> Result<bool, StoreError> {
            Ok(false)
        }

        async fn revocations(&self, _now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn reads_only_routes_of_the_application() {
        let (method, uri) = parse_method("POST /api/posts?page=1").unwrap();
        assert_eq!((method, uri.path(), uri.query()), (Method::POST, "/api/posts", Some("page=1")));
        for text in ["", "ping", "GET /metrics", "GET http://other/api/x", "GET api/posts", "G T /api/posts"]
        {
            assert!(parse_method(text).is_none(), "{text}");
        }
    }

    #[test]
    fn data_of_a_route_without_a_body_is_its_query() {
        let uri: Uri = "/api/events?page=1".parse().unwrap();
        let data = br#"{"city":"Berlin & Mitte","limit":2,"free":true,"tag":["a","b"],"from":null}"#;
        let with = with_query(&uri, data).unwrap();
        let query = "page=1&city=Berlin+%26+Mitte&limit=2&free=true&tag=a&tag=b";
        let sorted = |query: &str| {
            let mut pairs: Vec<_> = query.split('&').map(str::to_owned).collect();
            pairs.sort();
            pairs
        };
        assert_eq!(sorted(with.query().unwrap()), sorted(query));
        assert_eq!(with_query(&uri, b"null").unwrap(), uri);
        for wrong in ["[1]", "1", r#"{"a":{"b":1}}"#] {
            assert!(with_query(&uri, wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_say_what_rest_says() {
        let problem = r#"{"title":"Bad Request","detail":"2 fields are not valid","errors":[{"field":"a","message":"is required"},{"field":"b","message":"too long"}]}"#;
        let problem: ProblemSummary = serde_json::from_str(problem).unwrap();
        assert_eq!(problem.message(), "a: is required; b: too long");
        let method = no_such_method("get /api/posts");
        assert_eq!((method.code, method.temporary), (104, false));
        assert!(method.message.contains("GET /api/posts"), "{}", method.message);
        assert!(error(StatusCode::TOO_MANY_REQUESTS, String::new()).temporary);
    }

    #[tokio::test]
    async fn a_revoked_token_calls_nothing_although_its_session_was_not_told() {
        let revocations = Revocations::load(Arc::new(Forgetful)).await.unwrap();
        let routes = Router::new().route("/api/me", axum::routing::get(|| async { "me" }));
        let door = RouteCaller::new(routes, Arc::clone(&revocations));
        let caller = || Caller {
            client: ClientId::random(),
            user: "42".to_owned(),
            role: String::new(),
            login_id: Some("login".to_owned()),
            token_id: None,
            issued_at: None,
            meta: Bytes::new(),
            address: None,
        };
        let answer = door.call(caller(), "GET /api/me", Bytes::new()).await;
        assert_eq!(answer.unwrap(), Bytes::from_static(b"\"me\""));
        revocations.revoke(Revoked::Login("login".to_owned()), None).await.unwrap();
        let refused = door.call(caller(), "GET /api/me", Bytes::new()).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (401, "token revoked"));
    }

    #[test]
    fn every_answer_is_json() {
        for (body, json) in [
            (&b"ok"[..], &br#""ok""#[..]),
            (b"{\"a\":1}", b"{\"a\":1}"),
            (b"", b""),
            (b"\xff\xfe", br#"{"base64":"//4="}"#),
        ] {
            assert_eq!(as_json(Bytes::from_static(body)), Bytes::from_static(json));
        }
    }
}

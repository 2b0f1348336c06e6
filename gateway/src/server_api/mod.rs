//! The server API: what an application's backend does to channels and sessions, over HTTP and with a key of its own.
//!
//! **Which paths are whose.** `POST /api/<method>`, where the method is one of [`METHODS`], belongs to this API and takes
//! the key; every other path below `/api/` belongs to the community's REST and takes a user's token. The community has
//! no route whose one segment is a method's name: a test holds the two apart.

mod answer;
mod describe;
mod history;
mod methods;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use mundotango_actors::Engine;
use mundotango_ops::Secret;
use sha2::{Digest as _, Sha256};

pub(crate) use describe::describe;
pub(crate) use methods::METHODS;

use crate::problem::Problem;
use crate::revocations::Revocations;
use answer::{ApiError, ErrorMode};
use methods::Methods;

/// The query parameter that may hold the key.
const KEY_PARAMETER: &str = "api_key";

struct ServerApi {
    methods: Methods,
    /// The key's hash, so that comparing takes the same time whatever was sent.
    key: Option<[u8; 32]>,
}

/// The routes.
pub(crate) fn router(engine: Arc<Engine>, revocations: Arc<Revocations>, key: Option<Secret>) -> Router {
    let key = key.map(|key| Sha256::digest(key.expose().as_bytes()).into());
    let api = Arc::new(ServerApi { methods: Methods { engine, revocations }, key });
    let mut router = Router::new();
    for method in METHODS {
        let call = move |state, request| call(state, Path((*method).to_owned()), request);
        router = router.route(&format!("/api/{method}"), post(call));
    }
    router.with_state(api)
}

async fn call(State(api): State<Arc<ServerApi>>, Path(method): Path<String>, request: Request) -> Response {
    if let Err(refusal) = api.check_key(&request) {
        return Problem::new(StatusCode::UNAUTHORIZED, refusal).into_response();
    }
    let mode = ErrorMode::of(request.headers());
    let Ok(body) = axum::body::to_bytes(request.into_body(), usize::MAX).await else {
        // The layer that bounds bodies refused it.
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    api.answer(&method, &body, mode).await
}

impl ServerApi {
    /// Checks a request's key; an error says what to do about it.
    fn check_key(&self, request: &Request) -> Result<(), &'static str> {
        let Some(wanted) = self.key else {
            return Err("no key is configured on this node: set http.api_key");
        };
        let query = request.uri().query().unwrap_or_default();
        let Some(key) = key_of(request.headers(), query) else {
            return Err("the key is missing: send it as X-API-Key or as Authorization: apikey <key>");
        };
        let given: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if given == wanted { Ok(()) } else { Err("the key is wrong: it is not the node's http.api_key") }
    }

    async fn answer(&self, method: &str, body: &Bytes, mode: ErrorMode) -> Response {
        match self.methods.call(method, body).await {
            Ok(answer) => answer.into_response(),
            Err(ApiError::Malformed(error)) if mode == ErrorMode::Body => {
                tracing::debug!(method, error, "body refused");
                Problem::new(StatusCode::BAD_REQUEST, error).into_response()
            }
            Err(error) => mode.response(error),
        }
    }
}

fn key_of(headers: &HeaderMap, query: &str) -> Option<String> {
    let header = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if let Some(key) = header(header::HeaderName::from_static("x-api-key")) {
        return Some(key.to_owned());
    }
    if let Some((scheme, key)) = header(header::AUTHORIZATION).and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("apikey")
    {
        return Some(key.trim().to_owned());
    }
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(name, value)| (name == KEY_PARAMETER).then(|| value.into_owned()))
}

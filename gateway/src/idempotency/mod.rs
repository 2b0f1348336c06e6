//! Requests that may be sent again: with an `Idempotency-Key` a request is carried out once, and answered the same each time
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A route takes part whose description names [`IdempotencyKey`] among its parameters. The first request with a key claims a
//! record before its handler runs, and the record has the id of what the handler makes ([`NewId`]). What came of it is kept:
//! - 2xx and those 4xx that are the same each time are kept with the body, and repeated;
//! - after another 4xx of the first run nothing was made, and the request may run again as a new one;
//! - all else (5xx, 202, answers that are too large) leaves open what was done. The request runs again with the same id, and
//!   a handler that inserts what is not there makes no second thing.
//!
//! A route that needs no user claims late ([`LateClaim`]), so that its own limits come first, and no answer of its is kept:
//! whoever guesses a key is told nothing. It runs again with the same id.
//!
//! The claim of a node that died, or of a run that ended without a word, is taken over. Two runs at the same time, should it
//! come to that, make one thing, as they have one id.

mod new_id;
pub(crate) mod store;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::body::Body as _;
use jiff::{SignedDuration, Timestamp};
use mundotango_actors::Engine;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::identity::Identity;
use crate::problem::{Code, FieldCode, Problem};
use crate::tokens::Tokens;
pub use new_id::NewId;
use store::{Answer, Claim, Run};

/// The header that names a request.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The parameter's name in the API's document.
const PARAMETER: &str = "Idempotency-Key";
/// Longest key.
const MAX_KEY_BYTES: usize = 255;
/// Largest body that is kept; what was answered with a larger one is run again.
const MAX_KEPT_BYTES: u64 = 64 * 1024;
/// What is kept of an answer's headers.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
/// After how long a run of another node is taken for one that ended without a word: longer than any takes.
const LONGEST_RUN: SignedDuration = SignedDuration::from_mins(2);
/// How soon another request with the key of one that runs is worth a try.
const TRY_AGAIN: Duration = Duration::ZERO;
/// What keeps the MACs of requests apart from others.
const PURPOSE: &str = "idempotency fingerprint";

/// What a route says in its description that takes part.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is only described")]
pub struct IdempotencyKey {
    /// Names this request, in 1 to 255 visible ASCII characters (a UUID, say), so that it may be sent again: with the same key
    /// and body it is carried out once, and for 24 hours answered as the first time, with `Idempotency-Replayed: true`.
    /// 422 (`idempotency_key_reused`): another request had the key. 409 (`idempotency_key_in_use`): that request still runs.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// Whose keys a route tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Those of the user, whom the route needs.
    User,
    /// Those of everybody: the route needs no user.
    Route,
}

/// The requests with keys that the node runs.
pub(crate) struct Idempotency {
    db: Db,
    tokens: Arc<Tokens>,
    engine: Arc<Engine>,
    routes: HashMap<Method, HashMap<String, Scope>>,
    /// The names of the runs on this node.
    running: Mutex<HashSet<String>>,
}

/// A request with a key that is carried out on this node.
struct Asked {
    idempotency: Arc<Idempotency>,
    place: String,
    fingerprint: String,
    run: Run,
    /// Whether the run has its claim.
    is_claimed: AtomicBool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.idempotency.running.lock().remove(&self.run.name);
    }
}

/// How a request begins.
enum Begun {
    New(NewId),
    Done(Answer),
}

/// The claim of a route that anybody may call. Its handler makes it where its own limits have let the caller pass, or anybody
/// could fill the store.
#[derive(Clone)]
pub struct LateClaim(Option<Arc<Asked>>);

impl LateClaim {
    /// Claims the right to run; the id of what the request makes.
    pub async fn claim(self) -> Result<NewId, Problem> {
        let Some(asked) = self.0 else { return Ok(NewId::fresh()) };
        match asked.begin().await? {
            Begun::New(new_id) => Ok(new_id),
            Begun::Done(_) => Err(reused()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for LateClaim {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self(None)))
    }
}

/// What an answer means for the next request with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is the answer to that as well.
    Kept,
    /// Nothing was made.
    Nothing,
    /// Something may have been made: it runs again, with the same id.
    Open,
}

impl Outcome {
    fn of(scope: Scope, status: StatusCode, body: &Body) -> Self {
        let may_be_kept =
            scope == Scope::User && body.size_hint().exact().is_some_and(|bytes| bytes <= MAX_KEPT_BYTES);
        match status.as_u16() {
            200 | 201 | 203..300 | 400 | 403 | 404 | 410 | 415 | 422 if may_be_kept => Self::Kept,
            400..500 => Self::Nothing,
            _ => Self::Open,
        }
    }
}

impl Idempotency {
    pub(crate) fn new(db: Db, tokens: Arc<Tokens>, engine: Arc<Engine>, document: &OpenApi) -> Self {
        let takes_part = |operation: &Operation| {
            operation.parameters.iter().flatten().any(|parameter| match parameter {
                RefOr::T(one) => one.name == PARAMETER && matches!(one.parameter_in, ParameterIn::Header),
                RefOr::Ref(_) => false,
            })
        };
        let mut routes: HashMap<Method, HashMap<String, Scope>> = HashMap::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [(Method::POST, &item.post), (Method::PATCH, &item.patch)] {
                let Some(operation) = operation.as_ref().filter(|one| takes_part(one)) else { continue };
                let scope = if operation.security.is_some() { Scope::Route } else { Scope::User };
                routes.entry(method).or_default().insert(path.clone(), scope);
            }
        }
        Self { db, tokens, engine, routes, running: Mutex::default() }
    }

    fn scope(&self, request: &Request) -> Option<Scope> {
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        self.routes.get(request.method())?.get(path).copied()
    }

    /// Whether a run has ended without a word.
    fn has_ended(&self, run: &Run) -> bool {
        if run.node == self.engine.node_id() {
            return !self.running.lock().contains(&run.name);
        }
        // A node that is only taken for dead may go on: that does no harm, as both runs make the same thing.
        !self.engine.nodes().iter().any(|node| node.id == run.node)
            || Timestamp::now().duration_since(run.since) > LONGEST_RUN
    }

    /// Carries a request out: once, if it has a key.
    pub(crate) async fn once(self: &Arc<Self>, request: Request, next: Next) -> Response {
        match self.scope(&request) {
            Some(scope) if request.headers().contains_key(KEY) => {
                self.carry_out(scope, request, next).await.unwrap_or_else(Problem::into_response)
            }
            _ => next.run(request).await,
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        scope: Scope,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let (mut parts, body) = request.into_parts();
        let key = key_of(&parts.headers)?;
        let user = match scope {
            Scope::User => {
                let who = <Identity as FromRequestParts<()>>::from_request_parts(&mut parts, &()).await?;
                Some(who.user_id)
            }
            Scope::Route => None,
        };
        // How large and how slow it may be is bounded for all requests.
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let body = body.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body did not come"))?;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let place = digest(&[user.as_deref().unwrap_or("\0"), parts.uri.path(), &key].map(str::as_bytes));
        let fingerprint = self.tokens.seal(PURPOSE, &digest(&[target.as_bytes(), &body]));
        let fingerprint = fingerprint.map_err(|error| Problem::internal(&error))?;
        let asked = self.ask(place, fingerprint);
        match scope {
            Scope::User => match asked.begin().await? {
                Begun::New(new_id) => drop(parts.extensions.insert(new_id)),
                Begun::Done(answer) => return repeat(answer),
            },
            Scope::Route => drop(parts.extensions.insert(LateClaim(Some(Arc::clone(&asked))))),
        }
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        if !asked.is_claimed.load(Ordering::Acquire) {
            return Ok(response);
        }
        Ok(asked.keep(scope, response).await)
    }

    fn ask(self: &Arc<Self>, place: String, fingerprint: String) -> Arc<Asked> {
        let run = Run {
            name: mundotango_protocol::new_id(),
            node: self.engine.node_id().to_owned(),
            since: mundotango_storage::now(),
        };
        self.running.lock().insert(run.name.clone());
        let is_claimed = AtomicBool::new(false);
        Arc::new(Asked { idempotency: Arc::clone(self), place, fingerprint, run, is_claimed })
    }
}

impl Asked {
    async fn claim(&self, new_id: &str, ended: Option<&Run>) -> Result<Claim, StoreError> {
        store::claim(&self.idempotency.db, &self.place, &self.fingerprint, new_id, &self.run, ended).await
    }

    async fn begin(&self) -> Result<Begun, Problem> {
        let new_id = mundotango_protocol::new_id();
        let claim = match self.claim(&new_id, None).await {
            Ok(Claim::Running(other)) if self.idempotency.has_ended(&other) => {
                self.claim(&new_id, Some(&other)).await
            }
            claim => claim,
        };
        match claim {
            Ok(Claim::Run(id)) => {
                self.is_claimed.store(true, Ordering::Release);
                Ok(Begun::New(NewId(id)))
            }
            Ok(Claim::Repeat(answer)) => Ok(Begun::Done(answer)),
            Ok(Claim::Running(_)) => Err(in_use()),
            Ok(Claim::Reused) => Err(reused()),
            // Nothing has run yet, whatever came of the claim.
            Err(StoreError::Unknown(why)) => Err(StoreError::Unavailable(why).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps what came of a run. Where that fails the run is one that ended without a word.
    async fn keep(&self, scope: Scope, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let (kept, body) = match Outcome::of(scope, parts.status, &body) {
            Outcome::Kept => match axum::body::to_bytes(body, usize::MAX).await {
                Ok(body) => (self.finish(parts.status, &parts.headers, &body).await, body.into()),
                Err(error) => return Problem::internal(&error).into_response(),
            },
            Outcome::Nothing => (self.release(Some(mundotango_protocol::new_id())).await, body),
            Outcome::Open => (self.release(None).await, body),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "what came of a request with an idempotency key is not kept");
        }
        Response::from_parts(parts, body)
    }

    async fn release(&self, new_id: Option<String>) -> Result<(), StoreError> {
        store::release(&self.idempotency.db, &self.place, &self.run, new_id).await
    }

    async fn finish(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Result<(), StoreError> {
        let Ok(body) = String::from_utf8(body.to_vec()) else { return self.release(None).await };
        let headers = KEPT_HEADERS.iter().filter_map(|name| {
            Some((name.as_str().to_owned(), headers.get(name)?.to_str().ok()?.to_owned()))
        });
        let answer = Answer { status: status.as_u16(), headers: headers.collect(), body };
        store::finish(&self.idempotency.db, &self.place, answer).await
    }
}

fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    let key = keys.next().map(HeaderValue::as_bytes).unwrap_or_default();
    let is_good = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(key) {
        Ok(key) if is_good && keys.next().is_none() => Ok(key.to_owned()),
        _ => Err(Problem::invalid_field(
            PARAMETER,
            FieldCode::BadForm,
            format!("must be there once, with 1 to {MAX_KEY_BYTES} visible ASCII characters"),
        )),
    }
}

/// A digest of parts of which none can stand for another.
fn digest(parts: &[&[u8]]) -> String {
    let whole = parts.iter().fold(Sha256::new(), |whole, part| {
        whole.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
    });
    BASE64_URL_SAFE_NO_PAD.encode(whole.finalize())
}

fn repeat(answer: Answer) -> Result<Response, Problem> {
    let Answer { status, headers, body } = answer;
    let status = StatusCode::from_u16(status).map_err(|error| Problem::internal(&error))?;
    let mut response = (status, body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn in_use() -> Problem {
    Problem::new(StatusCode::CONFLICT, "a request with this idempotency key is under way")
        .with_code(Code::IdempotencyKeyInUse)
        .with_retry_after(TRY_AGAIN)
}

fn reused() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "another request had this idempotency key")
        .with_code(Code::IdempotencyKeyReused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_and_of_visible_characters() {
        let headers = |keys: &[&[u8]]| {
            keys.iter().map(|key| (KEY, HeaderValue::from_bytes(key).unwrap())).collect::<HeaderMap>()
        };
        assert_eq!(key_of(&headers(&[b"\"8e03#~!\""])).unwrap(), "\"8e03#~!\"");
        assert!(key_of(&headers(&[&[b'k'; 255]])).is_ok());
        for bad in [&[&b""[..]][..], &[b"a b"], &["é".as_bytes()], &[b"a", b"a"], &[&[b'k'; 256]], &[]] {
            assert_eq!(key_of(&headers(bad)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }

    #[test]
    fn what_is_known_for_good_is_kept() {
        let outcome = |scope, status: u16, body: usize| {
            Outcome::of(scope, StatusCode::from_u16(status).unwrap(), &Body::from(vec![b' '; body]))
        };
        assert_eq!(outcome(Scope::User, 201, 64 * 1024), Outcome::Kept);
        assert_eq!(outcome(Scope::User, 201, 64 * 1024 + 1), Outcome::Open);
        assert_eq!(outcome(Scope::User, 422, 2), Outcome::Kept);
        assert_eq!(outcome(Scope::Route, 201, 2), Outcome::Open);
        assert_eq!(outcome(Scope::Route, 422, 2), Outcome::Nothing);
        for (status, expected) in
            [(202, Outcome::Open), (503, Outcome::Open), (429, Outcome::Nothing), (409, Outcome::Nothing)]
        {
            assert_eq!(outcome(Scope::User, status, 2), expected, "{status}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest(&[b"a", b"bc"]), digest(&[b"ab", b"c"]));
        assert_ne!(digest(&[b"a", b""]), digest(&[b"a"]));
    }
}

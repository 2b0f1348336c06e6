//! The API over HTTP: keys, versions, idempotency, and what goes wrong.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use parking_lot::Mutex;
use url::form_urlencoded::parse;

use super::account::{Account, Answer, refused};
use super::{Asked, Mishap, SECRET_KEY};

type Shared = Arc<Mutex<Account>>;

pub(super) fn router(account: Shared) -> Router {
    Router::new().fallback(answer).with_state(account)
}

async fn answer(
    State(account): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    if header("authorization") != Some(format!("Bearer {SECRET_KEY}")) {
        return response(&refused(401, "invalid_request_error", "api_key_expired"), false);
    }
    let form = if method == Method::GET { uri.query().unwrap_or_default().as_bytes() } else { &body[..] };
    let form: BTreeMap<_, _> = parse(form).into_owned().collect();
    let (key, path) = (header("idempotency-key"), uri.path().trim_start_matches("/v1").to_owned());
    let (given, is_replayed, mishap) = {
        let mut account = account.lock();
        account.asked.push(Asked {
            method: method.to_string(),
            path: path.clone(),
            form: form.clone(),
            key: key.clone(),
            version: header("stripe-version"),
        });
        let place = account.mishaps.iter().position(|(wanted, _)| *wanted == path);
        let mishap = place.and_then(|place| account.mishaps.remove(place)).map(|(_, mishap)| mishap);
        if let Some(Mishap::Fails(status)) = mishap {
            return response(&refused(status, "api_error", ""), false);
        }
        let fingerprint = format!("{path}?{form:?}");
        let kept = key.as_ref().and_then(|key| account.kept.get(key)).cloned();
        match kept {
            Some((asked, _)) if asked != fingerprint => {
                (refused(400, "idempotency_error", ""), false, mishap)
            }
            Some((_, given)) => (given, true, mishap),
            None => {
                let mut given = act(&mut account, &method, &path, &form);
                // What was done is kept, failures of Stripe's own among it; what was refused at the door is not.
                let is_done = given.status == 200;
                if is_done && matches!(mishap, Some(Mishap::FailsAfter)) {
                    given = refused(500, "api_error", "");
                }
                // It found out by trying: that is kept as well.
                let is_tried = ["balance_insufficient", "insufficient_funds"]
                    .contains(&given.body["error"]["code"].as_str().unwrap_or_default());
                let is_kept = (is_done || is_tried) && method == Method::POST;
                if let Some(key) = key.filter(|_| is_kept) {
                    account.kept.insert(key, (fingerprint, given.clone()));
                }
                (given, false, mishap)
            }
        }
    };
    match mishap {
        Some(Mishap::CutAfter) => cut(),
        Some(Mishap::Hold(notify)) => {
            notify.notified().await;
            response(&given, is_replayed)
        }
        _ => response(&given, is_replayed),
    }
}

fn act(account: &mut Account, method: &Method, path: &str, form: &BTreeMap<String, String>) -> Answer {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let intent = || form.get("payment_intent").map_or("", String::as_str);
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["checkout", "sessions"]) => account.create_session(form),
        ("GET", ["checkout", "sessions", id]) => {
            account.session(id, form.get("expand[]").is_some_and(|what| what == "payment_intent"))
        }
        ("POST", ["checkout", "sessions", id, "expire"]) => account.expire_session(id),
        ("POST", ["accounts"]) => account.create_account(form),
        ("GET", ["accounts", id]) => account.connected_account(id),
        ("POST", ["account_links"]) => {
            account.create_link(form.get("account").map_or("", String::as_str), false)
        }
        ("POST", ["accounts", id, "login_links"]) => account.create_link(id, true),
        ("GET", ["payment_intents", id]) => account.intent(id),
        ("POST", ["refunds"]) => account.create_refund(form),
        ("GET", ["refunds"]) => account.list_refunds(intent()),
        ("GET", ["disputes"]) => account.list_disputes(intent()),
        _ => refused(404, "invalid_request_error", "url_invalid"),
    }
}

fn response(answer: &Answer, is_replayed: bool) -> Response<Body> {
    let response = Response::builder().status(answer.status).header("content-type", "application/json");
    let response = if is_replayed { response.header("idempotent-replayed", "true") } else { response };
    response.body(Body::from(answer.body.to_string())).unwrap()
}

/// An answer that ends in its middle.
fn cut() -> Response<Body> {
    let pieces = [Ok(Bytes::from_static(b"{\"id\": ")), Err(io::Error::other("cut"))];
    Response::new(Body::from_stream(futures_util::stream::iter(pieces)))
}

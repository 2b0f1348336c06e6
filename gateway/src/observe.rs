//! What is seen of every request: its id, its line in the log and its numbers.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use mundotango_ops::traces::{self, About, Called, Kind, Span, TraceContext};
use tracing::Instrument as _;

use crate::client_address::ClientAddress;
use crate::identity::{self, Identity};

/// Names a request in logs and in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header of W3C's Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest part of a path that the log shows, in bytes: no id is longer.
const LONGEST_SHOWN: usize = 64;
/// What the log shows in the place of a longer part.
const HIDDEN: &str = "(hidden)";

/// Where a node says how it is.
const HEALTH: &str = "/api/health";

/// Middleware that counts and times requests by route.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    measured(request, |request| next.run(request)).await
}

/// Both at once, in one layer: a storm of connections pays for each layer that it passes.
pub(crate) async fn identify_and_measure(request: Request, next: Next) -> Response {
    identified(request, |request| measured(request, |request| next.run(request))).await
}

/// Gives a request its id, or keeps the one that a proxy gave it, logs under it, and answers with it.
pub(crate) async fn identified<F: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let id = request.headers().get(REQUEST_ID).cloned().unwrap_or_else(new_id);
    let client = request.extensions().get::<ClientAddress>().map(|client| tracing::field::display(*client));
    let span = tracing::info_span!("request", id = id.to_str().ok(), client);
    let line = tracing::enabled!(tracing::Level::DEBUG).then(|| Line::begin(&request));
    let mut response = answer(request).instrument(span.clone()).await;
    if let Some(line) = line {
        span.in_scope(|| line.write(&response));
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn new_id() -> HeaderValue {
    HeaderValue::try_from(mundotango_protocol::new_id()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// A request's line in the log.
struct Line {
    started: Instant,
    method: Method,
    path: String,
}

impl Line {
    fn begin(request: &Request) -> Self {
        let path = shown(request.uri().path());
        Self { started: Instant::now(), method: request.method().clone(), path }
    }

    fn write(self, response: &Response) {
        let (status, millis) = (response.status().as_u16(), self.started.elapsed().as_millis());
        tracing::debug!(method = %self.method, path = self.path, status, millis, "answered");
    }
}

/// A path without the secrets in it: a part that is longer than any id is what opens something.
fn shown(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.len() {
        0..=LONGEST_SHOWN => part,
        _ => HIDDEN,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Middleware that counts, times and traces requests by route.
pub(crate) async fn measure_and_trace(request: Request, next: Next) -> Response {
    measured(request, |request| traced(request, |request| next.run(request))).await
}

/// Marks requests of a listener whose callers may decide what is traced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrustedTraces;

/// Marks calls of a session: whether they are traced was decided with its command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfSession;

/// Answers a request as a span by its route.
pub(crate) async fn traced<F: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let request = if traces::names_users() { identity::found_early(request).await } else { request };
    let mut span = span_of(&request);
    let response = span.around(answer(request)).await;
    if let Some(span) = span.recorded() {
        let status = response.status();
        span.set("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.failed(&status);
        }
    }
    span.end();
    response
}

/// The span of a request. A stranger's `traceparent` is neither its parent nor a reason to record it, as else anybody could
/// fill the collector, hide in a trace that is not recorded, or add to the traces of others: it becomes a link.
fn span_of(request: &Request) -> Span {
    let extensions = request.extensions();
    let Some(route) = extensions.get::<MatchedPath>().map(MatchedPath::as_str) else { return Span::none() };
    // Balancers ask every second.
    if route.starts_with(HEALTH) {
        return Span::none();
    }
    let method = method_label(request.method());
    let user = extensions.get::<Identity>().map(|identity| identity.user_id.as_str());
    let about = About { user, channel: None, command: Some(Called::Route(method, route)) };
    let given = || request.headers().get(TRACEPARENT)?.to_str().ok()?.parse::<TraceContext>().ok();
    let mut span = if extensions.get::<OfSession>().is_some() {
        Span::child_or_always("call", Kind::Internal, about)
    } else if extensions.get::<TrustedTraces>().is_some()
        && let Some(parent) = given()
    {
        Span::child_of(Some(parent), "request", Kind::Server)
    } else {
        Span::root("request", Kind::Server, about)
    };
    if let Some(recorded) = span.recorded() {
        recorded.name(format!("{method} {route}"));
        recorded.set("http.request.method", method).set("http.route", route);
        if let Some(user) = user {
            recorded.set("user.id", user);
        }
        if extensions.get::<OfSession>().is_none()
            && extensions.get::<TrustedTraces>().is_none()
            && let Some(stranger) = given()
        {
            span.link(stranger);
        }
    }
    span
}

/// Counts and times a request by its route.
pub(crate) async fn measured<F: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = answer(request).await;
    let status = response.status();
    let labels = [method, route.as_ref().map_or("none", MatchedPath::as_str), status.as_str()];
    let metrics = mundotango_ops::metrics();
    metrics.http_requests_total.with_label_values(&labels).inc();
    metrics.http_request_duration_seconds.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
    // A node that says that it is not ready has no error.
    let is_health = route.as_ref().is_some_and(|route| route.as_str().starts_with(HEALTH));
    if status.is_server_error() && !is_health {
        metrics.errors_total.with_label_values(&["http", "error"]).inc();
    }
    response
}

/// Methods beyond the known ones share a label, as anybody can invent some.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_the_secrets_in_it() {
        let id = "01a22267-5695-774a-9335-497936266a2f";
        for (path, wanted) in [
            (format!("/api/events/{id}/rsvp"), format!("/api/events/{id}/rsvp")),
            (
                format!("/api/calendars/feed/{}.ics", "x".repeat(86)),
                "/api/calendars/feed/(hidden)".to_owned(),
            ),
            ("/".to_owned(), "/".to_owned()),
        ] {
            assert_eq!(shown(&path), wanted);
        }
    }
}

//! What pages of other origins may send to the routes, and read of their answers (CORS).

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::idempotency;
use crate::origin::Origins;

/// How long a browser may remember that it may send something; Chromium forgets after two hours in any case.
pub(crate) const MAX_AGE: Duration = Duration::from_hours(2);

/// What pages may send beyond what every page may: identities, retries, caches, and traces of their front ends.
pub(crate) const ALLOWED_HEADERS: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    idempotency::KEY,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("sentry-trace"),
    HeaderName::from_static("x-requested-with"),
];

/// What pages may read beyond what every page may.
const EXPOSED_HEADERS: [HeaderName; 7] = [
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    idempotency::REPLAYED,
    HeaderName::from_static("x-request-id"),
];

pub(crate) fn layer(origins: Arc<Origins>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |_, request| origins.allow(&request.headers)))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers(EXPOSED_HEADERS)
        .max_age(MAX_AGE)
}

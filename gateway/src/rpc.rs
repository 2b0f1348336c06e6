//! The second door to every operation: an RPC whose method is `"POST /api/posts"` runs the same route in process.

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use mundotango_actors::{Caller, RpcHandler};
use mundotango_protocol::{ErrorCode, ErrorReply};
use mundotango_storage::accounts::Role;
use serde::Deserialize;
use tower::ServiceExt as _;

use crate::identity::Identity;

/// Only the application's routes can be called, not the node's own pages and sockets.
const CALLABLE_PREFIX: &str = "/api/";

/// Marks an answer that no route gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSuchRoute;

/// Calls routes for sessions.
pub(crate) struct RouteCaller {
    routes: Router,
}

impl RouteCaller {
    pub(crate) fn new(routes: Router) -> Self {
        Self { routes }
    }
}

#[async_trait]
impl RpcHandler for RouteCaller {
    async fn call(&self, caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply> {
        let (method, uri) = parse_method(method).ok_or(ErrorCode::MethodNotFound)?;
        let mut request = Request::new(Body::from(data));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let json = header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        if !caller.user.is_empty() {
            request.extensions_mut().insert(Identity {
                user_id: caller.user,
                role: Role::parse(&caller.role).unwrap_or_default(),
                login_id: caller.login_id,
            });
        }
        let response = match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        answer(response).await
    }
}

/// Reads `"POST /api/posts?page=1"`.
fn parse_method(text: &str) -> Option<(Method, Uri)> {
    let (method, path) = text.split_once(' ')?;
    let method = method.parse().ok()?;
    let uri: Uri = path.parse().ok()?;
    (uri.scheme().is_none() && uri.path().starts_with(CALLABLE_PREFIX)).then_some((method, uri))
}

/// The part of a problem document that a socket's error can carry.
#[derive(Deserialize)]
struct ProblemSummary {
    title: String,
    detail: Option<String>,
}

async fn answer(response: Response) -> Result<Bytes, ErrorReply> {
    let status = response.status();
    let no_such_route = response.extensions().get::<NoSuchRoute>().is_some();
    if no_such_route || status == StatusCode::METHOD_NOT_ALLOWED {
        return Err(ErrorCode::MethodNotFound.into());
    }
    let body = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            tracing::warn!(%error, "answer of a route not read");
            return Err(ErrorCode::Internal.into());
        }
    };
    if status.is_success() {
        return Ok(body);
    }
    let message = match serde_json::from_slice::<ProblemSummary>(&body) {
        Ok(problem) => problem.detail.unwrap_or(problem.title),
        Err(_) => status.canonical_reason().unwrap_or("error").to_lowercase(),
    };
    // The protocol leaves 400 to 1999 to the application: HTTP's own numbers fit there.
    Err(ErrorReply { code: u32::from(status.as_u16()), message, temporary: status.is_server_error() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_routes_of_the_application() {
        let (method, uri) = parse_method("POST /api/posts?page=1").unwrap();
        assert_eq!((method, uri.path(), uri.query()), (Method::POST, "/api/posts", Some("page=1")));
        for text in ["", "ping", "GET /metrics", "GET http://other/api/x", "GET api/posts", "G T /api/posts"]
        {
            assert!(parse_method(text).is_none(), "{text}");
        }
    }
}

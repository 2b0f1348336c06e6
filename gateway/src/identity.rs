//! Who makes a request: from a bearer token over HTTP, or from the session whose RPC it is.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use crate::authenticator::TokenAuthenticator;
use crate::problem::{Code, Problem};
use crate::tokens::{Claims, TokenError};

/// The user that a request acts for. Handlers take it as an argument: without one the answer is 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user_id: String,
    /// The role that the token names, which the application alone understands; empty if it names none.
    pub role: String,
    /// The login that the user's token came from.
    pub login_id: Option<String>,
}

impl Identity {
    /// The user of a token, unless the token is for anonymous connections.
    pub fn from_claims(claims: &Claims) -> Option<Self> {
        (!claims.sub.is_empty()).then(|| Self {
            user_id: claims.sub.clone(),
            role: claims.role.clone(),
            login_id: claims.sid.clone(),
        })
    }
}

/// A request's bearer token. The token is verified when a handler asks for the [`Identity`], so that one that does not
/// hold (or whose keys are slow to come) is no matter to operations that need none, such as logging in.
#[derive(Clone)]
struct BearerToken {
    token: Arc<str>,
    authenticator: Arc<TokenAuthenticator>,
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let wanted = || Problem::unauthorized("a bearer token is needed (authorization: bearer …)");
        if let Some(identity) = parts.extensions.get::<Self>() {
            return Ok(identity.clone());
        }
        let bearer = parts.extensions.get::<BearerToken>().cloned().ok_or_else(wanted)?;
        let claims = bearer.authenticator.access(&bearer.token).await?;
        let identity = Self::from_claims(&claims).ok_or_else(wanted)?;
        parts.extensions.insert(identity.clone());
        Ok(identity)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Problem;

    /// Who sends no token is nobody; who sends one that does not hold is refused.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Problem> {
        let is_nobody =
            parts.extensions.get::<Self>().is_none() && parts.extensions.get::<BearerToken>().is_none();
        if is_nobody {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
    }
}

/// Finds out who sends a request before a handler asks for it. Who sends no token, or one that does not hold, is left to the
/// handler.
pub(crate) async fn found_early(mut request: Request) -> Request {
    let Some(bearer) = request.extensions().get::<BearerToken>().cloned() else { return request };
    let claims = bearer.authenticator.access(&bearer.token).await;
    if let Some(identity) = claims.ok().as_ref().and_then(Identity::from_claims) {
        request.extensions_mut().insert(identity);
    }
    request
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let code = match &error {
            TokenError::Expired => Code::TokenExpired,
            TokenError::NotYetValid => Code::TokenNotYetValid,
            TokenError::Invalid(_) => Code::TokenInvalid,
            TokenError::Revoked => Code::TokenRevoked,
            TokenError::Unavailable => return Self::unavailable(error.to_string()),
        };
        Self::unauthorized(error.to_string()).with_code(code)
    }
}

/// Middleware that keeps a request's bearer token for the [`Identity`] extractor.
pub(crate) async fn keep_bearer_token(
    State(authenticator): State<Arc<TokenAuthenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    if let Some(token) = header.and_then(bearer).map(Arc::from) {
        request.extensions_mut().insert(BearerToken { token, authenticator });
    }
    next.run(request).await
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

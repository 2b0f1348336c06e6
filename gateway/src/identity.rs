//! Who makes a request: from a bearer token over HTTP, or from the session whose RPC it is.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use mundotango_storage::accounts::Role;

use crate::authenticator::TokenAuthenticator;
use crate::problem::Problem;
use crate::tokens::{Claims, TokenError};

/// The user that a request acts for. Handlers take it as an argument: without one the answer is 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user_id: String,
    /// What the user may do.
    pub role: Role,
    /// The login that the user's token came from.
    pub login_id: Option<String>,
}

impl Identity {
    /// The user of a token, unless the token is for anonymous connections.
    pub fn from_claims(claims: &Claims) -> Option<Self> {
        (!claims.sub.is_empty()).then(|| Self {
            user_id: claims.sub.clone(),
            role: claims.role,
            login_id: claims.sid.clone(),
        })
    }

    /// Refuses users below a role.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role { Ok(()) } else { Err(Problem::forbidden("your role does not allow this")) }
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::unauthorized("a bearer token is needed (authorization: bearer …)"))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Problem> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// Middleware that turns a bearer token into an [`Identity`]. A token that does not hold is an error on every route:
/// who sends one means to be somebody.
pub(crate) async fn authenticate(
    State(authenticator): State<Arc<TokenAuthenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(header) = request.headers().get(AUTHORIZATION)
        && let Some(token) = header.to_str().ok().and_then(bearer)
    {
        match authenticator.verify(token).await {
            Ok(claims) => {
                if let Some(identity) = Identity::from_claims(&claims) {
                    request.extensions_mut().insert(identity);
                }
            }
            Err(TokenError::Unavailable) => {
                return Problem::unavailable(TokenError::Unavailable.to_string()).into_response();
            }
            Err(error) => return Problem::unauthorized(error.to_string()).into_response(),
        }
    }
    next.run(request).await
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

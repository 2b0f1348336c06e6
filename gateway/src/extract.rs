//! What handlers take from a request, with a clear problem where it is not there.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use deserr::Deserr;
use serde::de::DeserializeOwned;

use crate::code::FieldCode;
use crate::input::{self, BadFields};
use crate::problem::Problem;

pub use crate::list::{Everything, ListQuery, PageBody, PageQuery, Paging};

/// A JSON body, read strictly.
#[derive(Clone, Debug)]
pub struct ValidJson<T>(pub T);

/// A query string, read strictly.
#[derive(Clone, Debug)]
pub struct ValidQuery<T>(pub T);

impl<S, T> FromRequest<S> for ValidJson<T>
where
    S: Send + Sync,
    T: Deserr<BadFields>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|kind| !is_json(kind)) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body must be json (content-type: application/json)",
            ));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text().to_lowercase()))?;
        input::read(&body).map(Self)
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl<S, T> FromRequestParts<S> for ValidQuery<T>
where
    S: Send + Sync,
    T: Deserr<BadFields>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        input::read_query(parts.uri.query().unwrap_or_default()).map(Self).map_err(Problem::from)
    }
}

/// The parameters in a request's path.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                let message = rejection.body_text().to_lowercase();
                Err(Problem::invalid_field("path", FieldCode::BadForm, message))
            }
        }
    }
}

//! What handlers take from a request, with a clear problem where it is not there.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use garde::Validate;
use mundotango_protocol::objects::Objects;
use mundotango_storage::{Page, PageRequest, PageStart};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// A JSON body that was checked by its type's `garde` rules.
#[derive(Clone, Debug)]
pub struct ValidJson<T>(pub T);

/// A query string that was checked by its type's `garde` rules.
#[derive(Clone, Debug)]
pub struct ValidQuery<T>(pub T);

impl<S, T> FromRequest<S> for ValidJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context = ()>,
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
        // A call without a body is one that leaves every field to its default.
        let text = if body.is_empty() { b"{}" } else { body.as_ref() };
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let value = serde_path_to_error::deserialize(Objects::new(&mut deserializer)).map_err(|error| {
            let path = error.path().to_string();
            json_problem(&path, error.inner())
        })?;
        deserializer.end().map_err(|error| json_problem(".", &error))?;
        validated(value).map(Self)
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Names the field: serde gives the path of a bad value, but names a missing field in its message alone.
fn json_problem(path: &str, error: &serde_json::Error) -> Problem {
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
    if !error.is_data() {
        return Problem::new(StatusCode::BAD_REQUEST, format!("the body is not valid json: {full}"));
    }
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match (missing, path) {
        (Some(field), "." | "") => Problem::invalid_field(field, "is required"),
        (Some(field), path) => Problem::invalid_field(format!("{path}.{field}"), "is required"),
        (None, "." | "") => Problem::invalid_field("body", message),
        (None, path) => Problem::invalid_field(path, message),
    }
}

impl<S, T> FromRequestParts<S> for ValidQuery<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| query_problem(&rejection.body_text()))?;
        validated(value).map(Self)
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
            Err(rejection) => Err(Problem::invalid_field("path", rejection.body_text().to_lowercase())),
        }
    }
}

/// Names the parameter, which stands before the cause in axum's text.
fn query_problem(text: &str) -> Problem {
    let cause = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    match cause.split_once(": ") {
        Some((field, message)) => Problem::invalid_field(field, message),
        None => Problem::invalid_field("query", cause),
    }
}

fn validated<T: Validate<Context = ()>>(value: T) -> Result<T, Problem> {
    match value.validate() {
        Ok(()) => Ok(value),
        Err(report) => Err(Problem::invalid_report(&report)),
    }
}

/// Most items that one page may hold.
const MAX_PAGE_ITEMS: u16 = 100;
/// Highest number of a page.
const MAX_PAGE_NUMBER: u32 = 50;
/// Items on a page when the client does not say.
const DEFAULT_PAGE_ITEMS: u16 = 20;

/// Which page of a list: by cursor, or by number for old clients.
#[derive(Clone, Debug, Default, Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `nextCursor` of the page before.
    #[garde(length(max = 512))]
    pub cursor: Option<String>,
    /// Most items, 1 to 100; 20 if absent.
    #[garde(range(min = 1, max = MAX_PAGE_ITEMS))]
    pub limit: Option<u16>,
    /// The page's number, 1 to 50, for clients without cursors: all pages before it are read as well.
    #[garde(range(min = 1, max = MAX_PAGE_NUMBER))]
    pub page: Option<u32>,
}

impl PageQuery {
    /// The page as the stores take it.
    pub fn request(&self) -> PageRequest {
        let limit = usize::from(self.limit.unwrap_or(DEFAULT_PAGE_ITEMS));
        let start = match (&self.cursor, self.page) {
            (Some(cursor), _) => PageStart::After(cursor.clone()),
            (None, Some(page)) if page > 1 => PageStart::Skip((page as usize - 1) * limit),
            (None, _) => PageStart::First,
        };
        PageRequest { start, limit }
    }
}

/// A page of a list, as clients get it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageBody<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> From<Page<T>> for PageBody<T> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items, next_cursor: page.next }
    }
}

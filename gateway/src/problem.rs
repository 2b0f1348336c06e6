//! Errors as REST clients see them: problem documents (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mundotango_storage::StoreError;
use serde::Serialize;

pub use crate::code::{Code, FieldCode, page_text};

/// Seconds after which a client may try again what failed because a part is gone.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Why a request failed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// The address of the page, relative to this server, that says what the code means.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "status_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What is wrong with this very request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// The cause for programs: a name that stays as it is. The page at `type` lists them all.
    #[schema(value_type = String)]
    code: Code,
    /// Each bad field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// What the next step sends back, where logging in has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    challenge: Option<Box<str>>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// One field of a request that cannot be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's path, such as `location.city`.
    pub field: String,
    /// What is wrong with it, for programs: a name that stays as it is.
    #[schema(value_type = String)]
    pub code: FieldCode,
    /// What is wrong and what is allowed.
    pub message: String,
    /// All that is allowed, where it is one of a few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}

impl FieldError {
    /// Says what is wrong with a field.
    pub fn new(field: impl Into<String>, code: FieldCode, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into(), allowed: Vec::new() }
    }

    /// Lists all that is allowed.
    pub fn with_allowed(self, allowed: &[&str]) -> Self {
        Self { allowed: allowed.iter().map(|one| (*one).to_owned()).collect(), ..self }
    }
}

/// A cursor that the list did not give.
pub(crate) fn bad_cursor() -> FieldError {
    FieldError::new("cursor", FieldCode::BadCursor, "is not a cursor of this list; begin without one")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem that its status and one sentence describe.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let code = Code::of(status);
        Self {
            kind: code.address(),
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: Some(detail.into()),
            code,
            errors: Vec::new(),
            challenge: None,
            retry_after: None,
        }
    }

    /// 400: fields hold what they may not, are unknown or missing.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let code = match errors.as_slice() {
            [FieldError { code: FieldCode::BadCursor, .. }] => Code::InvalidCursor,
            _ => Code::InvalidInput,
        };
        Self::of_fields(StatusCode::BAD_REQUEST, code, errors)
    }

    /// 400 for one field.
    pub fn invalid_field(field: impl Into<String>, code: FieldCode, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, code, message)])
    }

    fn of_fields(status: StatusCode, code: Code, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields are not valid", many.len()),
        };
        Self { errors, ..Self::new(status, detail).with_code(code) }
    }

    /// 401: there is no identity, or none that holds.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: the identity may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: there is no such thing, or none that the caller may know of.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no such {what}"))
    }

    /// 409: somebody else has what may be used once.
    pub fn taken(fields: impl IntoIterator<Item = &'static str>) -> Self {
        let errors = fields.into_iter().map(|field| FieldError::new(field, FieldCode::InUse, "is taken"));
        Self::of_fields(StatusCode::CONFLICT, Code::Taken, errors.collect())
    }

    /// 503: a part that the request needs is not there; worth another try.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER_SECONDS), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 503: the request may have been carried out. Without `Retry-After`: programs that follow it by themselves would do it
    /// twice.
    pub fn outcome_unknown(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_code(Code::OutcomeUnknown)
    }

    /// 429: the client does more of something than it may; worth another try.
    pub fn too_many_requests(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER_SECONDS), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 500: a fault of ours, whose cause goes to the log and not to the client.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed to handle the request")
    }

    /// Says after how long another try is worth it.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        Self { retry_after: Some(seconds), ..self }
    }

    /// Tells the cause more closely than the status does.
    pub fn with_code(self, code: Code) -> Self {
        Self { kind: code.address(), code, ..self }
    }

    /// Names the fields that it is about.
    pub fn with_errors(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// Gives what the next step of logging in sends back.
    pub fn with_challenge(self, challenge: String) -> Self {
        Self { challenge: Some(challenge.into()), ..self }
    }

    /// The challenge of a 401 (RFC 6750, 3): without an error where no token was sent.
    fn bearer_challenge(&self) -> HeaderValue {
        let code = Some(self.code.name()).filter(|code| code.starts_with("token_"));
        let challenge = code
            .map(|code| format!("Bearer error=\"invalid_token\", error_description=\"{code}\""))
            .and_then(|challenge| HeaderValue::from_str(&challenge).ok());
        challenge.unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Each bad field.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }
}

/// As a line for a terminal.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.errors.is_empty() {
            return f.write_str(self.detail.as_deref().unwrap_or(self.title));
        }
        let errors: Vec<_> =
            self.errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        f.write_str(&errors.join("; "))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(cause, "store unavailable");
                Self::unavailable("the store is not available")
            }
            StoreError::Unknown(cause) => {
                tracing::warn!(cause, "outcome of a write unknown");
                Self::outcome_unknown("whether this was done is unknown; look before you send it again")
            }
            StoreError::NoSpace => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, format!("{error}; nothing was written"))
            }
            StoreError::Damaged(cause) => Self::internal(&cause),
            StoreError::NotBegun => Self::internal(&error),
            StoreError::Full(_) => Self::new(StatusCode::CONFLICT, error.to_string()).with_code(Code::Full),
            StoreError::BadCursor => Self::invalid(vec![bad_cursor()]),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after, challenge) = (self.status, self.retry_after, self.bearer_challenge());
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

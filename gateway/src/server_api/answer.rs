//! The server API's answers: `{"result": …}`, or an error in the form that the caller asked for.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use mundotango_actors::EngineError;
use mundotango_storage::StoreError;
use serde::Serialize;
use serde_json::value::RawValue;

/// The header by which a caller asks for errors as HTTP statuses.
const ERROR_MODE: &str = "x-centrifugo-error-mode";

/// An error of this API, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u32)]
pub(super) enum ApiErrorCode {
    #[error("internal server error")]
    Internal = 100,
    #[error("unknown channel")]
    UnknownChannel = 102,
    #[error("not found")]
    NotFound = 104,
    #[error("bad request")]
    BadRequest = 107,
    #[error("not available")]
    NotAvailable = 108,
    #[error("unrecoverable position")]
    UnrecoverablePosition = 112,
}

impl ApiErrorCode {
    fn status(self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UnknownChannel | Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest | Self::NotAvailable => StatusCode::BAD_REQUEST,
            Self::UnrecoverablePosition => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// Why a call gave no result.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The body is not of the method's types, with what is wrong.
    Malformed(String),
    /// A field is missing or holds what the method cannot take (code 107), with what is wrong.
    BadRequest(String),
    /// The method failed.
    Error(ApiErrorCode),
}

impl ApiError {
    /// Describes the fault of the caller's request.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::BadRequest(detail.into())
    }

    pub(super) fn code(&self) -> ApiErrorCode {
        match self {
            Self::Malformed(_) | Self::BadRequest(_) => ApiErrorCode::BadRequest,
            Self::Error(code) => *code,
        }
    }
}

impl From<ApiErrorCode> for ApiError {
    fn from(code: ApiErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::Error(match error {
            EngineError::WrongFormat => {
                return Self::bad_request("data is not json, as the channel's publication_data_format asks");
            }
            EngineError::UnknownChannel => ApiErrorCode::UnknownChannel,
            EngineError::NotAvailable => ApiErrorCode::NotAvailable,
            EngineError::Unavailable => ApiErrorCode::Internal,
        })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "store failed");
        Self::Error(ApiErrorCode::Internal)
    }
}

/// An error as it stands in an answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ErrorBody {
    code: u32,
    message: String,
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> Self {
        let code = error.code();
        let message = match error {
            ApiError::Malformed(detail) | ApiError::BadRequest(detail) => format!("{code}: {detail}"),
            ApiError::Error(_) => code.to_string(),
        };
        Self { code: code as u32, message }
    }
}

/// A result, or an error.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Result(Box<RawValue>),
    Error(ErrorBody),
}

/// The answer to a call that could be read.
#[derive(Debug)]
pub(super) enum Answer {
    /// `{"result": …}`
    Result(Box<RawValue>),
    /// A batch's own form, without `result`.
    Bare(Box<RawValue>),
}

impl Answer {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::Result(result) => Json(Outcome::Result(result)).into_response(),
            Self::Bare(body) => Json(body).into_response(),
        }
    }
}

/// How a caller wants errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorMode {
    /// Status 200, and `{"error": …}`.
    Body,
    /// The HTTP status that fits, and the error alone.
    Transport,
}

impl ErrorMode {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(ERROR_MODE) {
            Some(mode) if mode == "transport" => Self::Transport,
            _ => Self::Body,
        }
    }

    pub(super) fn response(self, error: ApiError) -> Response {
        match self {
            Self::Body => Json(Outcome::Error(error.into())).into_response(),
            Self::Transport => (error.code().status(), Json(ErrorBody::from(error))).into_response(),
        }
    }
}

//! The id of what a request makes.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use mundotango_storage::db::time_of_id;

/// The id of what a request makes, a UUID of version 7. Of a request with an idempotency key it is the same however often the
/// request runs, so a handler that inserts what is not there makes one thing. Handlers take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewId(pub(super) String);

impl NewId {
    /// An id for what no request makes.
    pub fn fresh() -> Self {
        Self(mundotango_protocol::new_id())
    }

    /// The time of the first run of the request, to the millisecond: what is written with it is the same each time.
    pub fn made_at(&self) -> Timestamp {
        time_of_id(&self.0).unwrap_or_else(mundotango_storage::now)
    }

    /// The id's text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl<S: Sync> FromRequestParts<S> for NewId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_time() {
        let before = mundotango_storage::now();
        let id = NewId::fresh();
        assert!(id.made_at() >= before);
    }
}

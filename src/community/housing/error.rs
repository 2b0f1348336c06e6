//! Why something is not done with a listing or a booking.

use axum::http::StatusCode;
use jiff::civil::Date;
use mundotango_gateway::problem::{Code, FieldCode, FieldError, Problem};
use mundotango_storage::StoreError;

use super::status::Status;
use crate::community::money::Money;

/// Why something is not done with a listing or a booking.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HousingError {
    /// A night is blocked, or another guest has it.
    #[error("the night of {0} is not free")]
    NightTaken(Date),
    /// The listing takes no requests for now.
    #[error("the listing is paused and takes no requests")]
    Paused,
    /// The caller offers the listing.
    #[error("you offer this place yourself")]
    OwnListing,
    /// As many requests wait for the host as may.
    #[error("too many requests wait for an answer")]
    TooManyRequests,
    /// What was asked for cannot be had at this place; the field that says so.
    #[error("{}", .0.message)]
    Unsuitable(FieldError),
    /// The price is another one than the client expects.
    #[error("the stay costs {}", .0.display())]
    PriceChanged(Money),
    /// The booking is in a state in which this cannot be done.
    #[error("this cannot be done with a booking that is {}", .0.words())]
    InState(Status),
    /// The host offered something else meanwhile.
    #[error("the host offers something else by now; look at the offer again")]
    OfferChanged,
    /// As many offers were made as may be.
    #[error("a host can make 10 offers for a booking")]
    TooManyOffers,
    /// The time to do this is over, or has not begun.
    #[error("{0}")]
    NotNow(&'static str),
    /// It was written before, and stays as it is.
    #[error("{0}")]
    WrittenBefore(&'static str),
    /// The store failed.
    #[error("{0}")]
    Store(Failed),
}

/// A failure of the store. Two are never taken for the same.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct Failed(StoreError);

impl PartialEq for Failed {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl From<StoreError> for HousingError {
    fn from(error: StoreError) -> Self {
        Self::Store(Failed(error))
    }
}

impl HousingError {
    /// The failure of the store, if it is one.
    pub(super) fn of_store(self) -> Option<StoreError> {
        match self {
            Self::Store(Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Something that the place does not have or allow.
    pub(super) fn unsuitable(field: &str, message: impl Into<String>) -> Self {
        Self::Unsuitable(FieldError::new(field, FieldCode::OutOfRange, message))
    }
}

impl From<HousingError> for Problem {
    fn from(error: HousingError) -> Self {
        let conflict = || Self::new(StatusCode::CONFLICT, error.to_string());
        match &error {
            HousingError::NightTaken(_) => conflict().with_code(Code::NightsTaken),
            HousingError::TooManyRequests | HousingError::TooManyOffers => conflict().with_code(Code::Full),
            HousingError::PriceChanged(total) => {
                let amount = serde_json::to_string(&total.amount()).unwrap_or_default();
                let field = FieldError::new("expectedTotal", FieldCode::Contradiction, error.to_string());
                conflict()
                    .with_code(Code::PriceChanged)
                    .with_errors(vec![field.with_allowed(&[amount.as_str()])])
            }
            HousingError::OwnListing => Self::forbidden(error.to_string()),
            HousingError::Unsuitable(field) => Self::invalid(vec![field.clone()]),
            HousingError::Store(Failed(error)) => error.clone().into(),
            HousingError::Paused
            | HousingError::InState(_)
            | HousingError::OfferChanged
            | HousingError::NotNow(_)
            | HousingError::WrittenBefore(_) => conflict(),
        }
    }
}

//! Housing: places to stay, bookings of them, and reviews.
//!
//! - `listings/`: what hosts offer, its calendar, and finding it.
//! - `bookings/`: from a request to the end of the stay, and reviews. `saga.rs` tells how the two work together.

mod bodies;
pub mod bookings;
pub mod error;
mod jobs;
pub mod leaving;
pub mod listings;
pub mod status;
pub mod stay;
pub mod terms;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

pub use bookings::work::handled;

use super::Community;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().merge(listings::router()).merge(bookings::router())
}

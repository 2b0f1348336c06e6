//! What a user hears of the own timeline.

use serde::Serialize;
use utoipa::ToSchema;

/// What the personal channel publishes of the feed of those whom a user follows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum FeedMessage {
    /// There are new posts of those whom the user follows: the first one, and then whenever they are twice as many.
    #[serde(rename = "feed.new")]
    New {
        /// How many came since the user read the first page; some of them may not be shown to the user by now.
        count: u32,
    },
}

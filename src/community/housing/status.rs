//! The states of a booking, and its two sides.

use serde::{Deserialize, Serialize};

/// How a booking stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
#[schema(as = BookingStatus)]
pub enum Status {
    /// The guest asks, and the host has not answered.
    #[default]
    Requested,
    /// The host offers other nights or another price, and the guest has not answered.
    Countered,
    /// The nights are the guest's.
    Confirmed,
    /// The host said no.
    Declined,
    /// Another guest got one of the nights.
    Superseded,
    /// Nobody answered in time.
    Expired,
    /// One side cancelled.
    Cancelled,
    /// The guest has stayed.
    Completed,
    /// The guest did not come.
    NoShow,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Requested,
        Self::Countered,
        Self::Confirmed,
        Self::Declined,
        Self::Superseded,
        Self::Expired,
        Self::Cancelled,
        Self::Completed,
        Self::NoShow,
    ];

    /// Whether somebody still has to answer.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Requested | Self::Countered)
    }

    /// Whether the booking has no claim on nights any more, and never will.
    pub const fn is_closed(self) -> bool {
        !matches!(self, Self::Requested | Self::Countered | Self::Confirmed)
    }

    /// Its name in words, which is also its name in metrics with `_` for a space.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Countered => "countered",
            Self::Confirmed => "confirmed",
            Self::Declined => "declined",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::NoShow => "no show",
        }
    }

    /// Its name in metrics.
    pub fn label(self) -> String {
        self.words().replace(' ', "_")
    }
}

/// One of the two sides of a booking.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = BookingSide)]
pub enum Side {
    /// Who stays.
    Guest,
    /// Who offers the place.
    Host,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Guest, Self::Host];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Guest => Self::Host,
            Self::Host => Self::Guest,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Host => "host",
        }
    }
}

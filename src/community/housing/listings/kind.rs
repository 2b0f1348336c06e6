//! What is kept of a listing: a partition a listing, with a row for each night that differs, for each request that waits, and
//! for each stay that is confirmed.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_storage::db::{Erasure, Export, Fields, Found, Kind, Part, Whose, key};
use serde::{Deserialize, Serialize};

use super::calendar::{Night, Stage, Waiting};
use super::rules::{Details, ListingStatus, Ratings};
use crate::community::taken_away::TakenAway;

/// The listings.
pub static LISTINGS: Kind<Facts, Head, Row> = Kind::new(
    "listings",
    "a listing: 1,100 nights of 60 B, 100 requests of 3 KB, 5,000 ratings of 60 B, texts of 60 KB: 800 KB",
    PERSONAL,
)
.cached(Duration::from_mins(10));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Removed,
        &["facts.host_id", "facts.created_at", "head.details.**", "keys.n", "rows.n.night.**"],
    ),
    Fields::of(
        Whose::Sides,
        Export::NotGiven("the booking is"),
        Erasure::RowRemoved,
        &["keys.q", "rows.q.waiting.**", "keys.b", "rows.b.waiting.**"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the review is"),
        Erasure::Kept(
            "as long as the listing, which shows the mean; the booking, which tells whose they are, names no guest then",
        ),
        &["keys.s", "rows.s.stars"],
    ),
    Fields::of_nobody(&["id", "head.entry", "head.version", "head.ratings.**", "head.hidden_by.*"]),
];

/// Below this lie the nights that differ, by date.
pub(super) const NIGHTS: &str = "n";
/// Below this lie the requests that wait, by booking.
pub(super) const WAITING: &str = "q";
/// Below this lie those that are confirmed, by guest and booking.
pub(super) const CONFIRMED: &str = "b";
/// Below this lie guests' stars, by booking.
pub(super) const STARS: &str = "s";

/// What never changes about a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    pub(super) host_id: String,
    pub(super) created_at: Timestamp,
}

/// What changes about a listing besides its rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    pub(super) details: Details,
    /// The number of its entries in the lists.
    #[serde(default)]
    pub(super) entry: u64,
    /// Rises with each change of the details and the ratings.
    #[serde(default)]
    pub(super) version: u64,
    #[serde(default)]
    pub(super) ratings: Ratings,
    /// The decisions of the moderators that take it away: while one does, only its host and guests with a stay find it.
    #[serde(default, skip_serializing_if = "TakenAway::is_empty")]
    pub(super) hidden_by: TakenAway,
}

impl Head {
    /// Whether it takes requests and is found.
    pub(super) fn is_open(&self) -> bool {
        self.details.status == ListingStatus::Active && self.hidden_by.is_empty()
    }
}

/// A row of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// What differs about a night.
    Night(Night),
    /// A request.
    Waiting(Box<Waiting>),
    /// A guest's stars.
    Stars(u32),
}

/// A listing within a change.
pub(super) type Open<'a> = Part<'a, Facts, Head, Row>;

/// One listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Sorted by the time of its making.
    pub id: String,
    /// The user who offers it.
    pub host_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it is.
    pub details: Details,
    /// The number of its entries in the lists.
    pub(super) entry: u64,
    /// Rises with each change of the details and the ratings.
    pub version: u64,
    /// What guests have said of it.
    pub ratings: Ratings,
    /// Whether a decision of the moderators takes it away.
    pub is_hidden: bool,
}

impl Listing {
    /// A new one.
    pub fn new(id: String, host_id: String, created_at: Timestamp, details: Details) -> Self {
        Self {
            id,
            host_id,
            created_at,
            details,
            entry: 0,
            version: 0,
            ratings: Ratings::default(),
            is_hidden: false,
        }
    }

    /// Whether others than its host find it.
    pub(in crate::community) fn is_found(&self) -> bool {
        self.details.status == ListingStatus::Active && !self.is_hidden
    }

    pub(in crate::community) fn found(id: &str, found: Found<Facts, Head>) -> Self {
        Self::of(id, found.facts, found.head)
    }

    pub(super) fn of(id: &str, facts: Facts, head: Head) -> Self {
        let Head { details, entry, version, ratings, hidden_by } = head;
        let Facts { host_id, created_at } = facts;
        let is_hidden = !hidden_by.is_empty();
        Self { id: id.to_owned(), host_id, created_at, details, entry, version, ratings, is_hidden }
    }
}

pub(super) fn night_key(date: Date) -> String {
    key(&[NIGHTS, &date.to_string()])
}

pub(super) fn waiting_key(booking_id: &str) -> String {
    key(&[WAITING, booking_id])
}

pub(super) fn confirmed_key(guest_id: &str, booking_id: &str) -> String {
    key(&[CONFIRMED, guest_id, booking_id])
}

/// Where a request lies.
pub(super) fn request_key(booking_id: &str, waiting: &Waiting) -> String {
    match waiting.stage {
        Stage::Confirmed(_) => confirmed_key(&waiting.request.guest_id, booking_id),
        Stage::Open | Stage::Superseded | Stage::Expired => waiting_key(booking_id),
    }
}

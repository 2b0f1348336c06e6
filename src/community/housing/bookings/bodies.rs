//! What clients see of bookings.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_gateway::input::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::bill::Payment;
use super::reviews::Review;
use super::rules::{Booking, Passed};
use super::store::Shown;
use crate::community::Person;
use crate::community::amount::Total;
use crate::community::housing::bodies::{CancellationBody, QuoteBody};
use crate::community::housing::status::{Side, Status};
use crate::community::housing::stay::CivilDate;
use crate::community::housing::terms::Offer;
use crate::community::money::Money;
use crate::community::place::LocationBody;

/// What the host offers instead of what the guest asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::community) struct OfferBody {
    /// Which offer it is; the first is 1. Accepting names it.
    number: u32,
    /// What the host writes.
    #[schema(required = true)]
    message: Option<String>,
}

impl From<&Offer> for OfferBody {
    fn from(offer: &Offer) -> Self {
        Self { number: offer.number, message: offer.message.clone() }
    }
}

/// What a guest gets back.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(in crate::community) struct RefundBody {
    percent: u32,
    #[schema(value_type = f64)]
    amount: Total,
}

/// A state that a booking came into.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(in crate::community) struct PassedBody {
    status: Status,
    at: Time,
    /// Which side did it; null where time or the listing did.
    #[schema(required = true)]
    by: Option<Side>,
}

/// A booking.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct BookingBody {
    pub(super) id: String,
    listing_id: String,
    /// What the listing was called when the guest asked.
    listing_title: String,
    host_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    host: Option<Person>,
    guest_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    guest: Option<Person>,
    status: Status,
    /// The check-in day.
    #[schema(value_type = CivilDate)]
    from: String,
    /// The check-out day, whose night is none of the stay.
    #[schema(value_type = CivilDate)]
    to: String,
    nights: u32,
    guests: u32,
    /// What it costs, frozen when the guest asked, or with the host's offer.
    quote: QuoteBody,
    cancellation_policy: CancellationBody,
    /// What the guest writes to the host.
    #[schema(required = true)]
    message: Option<String>,
    /// The host's last offer, whose nights and quote are those of this booking then; null where there is none.
    #[schema(required = true)]
    offer: Option<OfferBody>,
    /// Until when it can be answered; null where nobody has to answer.
    #[schema(required = true)]
    answer_by: Option<Time>,
    payment: Payment,
    /// What the guest gets back; null where it was not cancelled after it was confirmed.
    #[schema(required = true)]
    refund: Option<RefundBody>,
    /// Why it was declined or cancelled, if that was said.
    #[schema(required = true)]
    reason: Option<String>,
    /// The states that it came into since it was asked for.
    history: Vec<PassedBody>,
    /// Rises with each change: of two messages the one with the higher version is the newer.
    version: u64,
    created_at: Time,
}

impl BookingBody {
    pub(super) fn new(booking: &Booking, people: &BTreeMap<String, Person>, now: Timestamp) -> Self {
        let Booking { id, request, progress } = booking;
        let status = booking.status(now);
        let (stay, quote) = (booking.stay(), booking.quote());
        let amount = |minor| Money { minor, currency: quote.currency }.amount();
        let passed = |one: &Passed| PassedBody { status: one.status, at: one.at.into(), by: one.by };
        Self {
            id: id.clone(),
            listing_id: request.listing_id.clone(),
            listing_title: request.title.clone(),
            host: people.get(&request.host_id).cloned(),
            host_id: request.host_id.clone(),
            guest: people.get(&request.guest_id).cloned(),
            guest_id: request.guest_id.clone(),
            status,
            from: stay.from.to_string(),
            to: stay.to.to_string(),
            nights: stay.nights(),
            guests: request.guests,
            quote: quote.into(),
            cancellation_policy: (&request.policy).into(),
            message: request.message.clone(),
            offer: progress.offer.as_deref().map(OfferBody::from),
            answer_by: status.is_pending().then(|| booking.answer_by().into()),
            payment: progress.bill.payment,
            refund: progress
                .bill
                .refund
                .map(|refund| RefundBody { percent: refund.percent, amount: amount(refund.minor) }),
            reason: progress.reason.clone(),
            history: progress.passed.iter().map(passed).collect(),
            version: progress.version,
            created_at: request.created_at.into(),
        }
    }
}

/// An answer to a review.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::community) struct ReplyView {
    text: String,
    at: Time,
}

/// What one side says of a stay.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct ReviewBody {
    booking_id: String,
    listing_id: String,
    listing_title: String,
    /// On which side its author was.
    by: Side,
    author_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    author: Option<Person>,
    /// From 1 to 5.
    rating: u32,
    text: String,
    /// What is for the other side alone; absent for everybody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    private: Option<String>,
    /// What the other side answers; null where it has not.
    #[schema(required = true)]
    reply: Option<ReplyView>,
    at: Time,
}

impl ReviewBody {
    /// As a party of the booking sees it.
    pub(super) fn of_party(
        booking: &Booking,
        author: Side,
        review: Review,
        people: &BTreeMap<String, Person>,
    ) -> Self {
        let author_id = booking.user(author).to_owned();
        Self {
            booking_id: booking.id.clone(),
            listing_id: booking.request.listing_id.clone(),
            listing_title: booking.request.title.clone(),
            by: author,
            author: people.get(&author_id).cloned(),
            author_id,
            rating: review.stars,
            text: review.text,
            private: review.private,
            reply: review.reply.map(|reply| ReplyView { text: reply.text, at: reply.written_at.into() }),
            at: review.written_at.into(),
        }
    }

    /// As everybody sees it.
    pub(super) fn public(shown: Shown, people: &BTreeMap<String, Person>) -> Self {
        let Shown { booking, author, review } = shown;
        Self::of_party(&booking, author, Review { private: None, ..review }, people)
    }
}

/// The reviews of a stay, as one of its sides sees them.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct StayReviews {
    /// The caller's own; null where there is none.
    #[schema(required = true)]
    pub(super) mine: Option<ReviewBody>,
    /// The other side's; null until both are written or the time for it is over.
    #[schema(required = true)]
    pub(super) theirs: Option<ReviewBody>,
    /// Whether the caller may write one now.
    pub(super) may_review: bool,
    /// When they are shown at the latest, and none is taken any more.
    pub(super) reveals_by: Time,
}

/// Where one sleeps, for those who may know.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct StayPlace {
    pub(super) location: LocationBody,
    /// How one gets in, if the host says so.
    #[schema(required = true)]
    pub(super) check_in: Option<String>,
}

/// A booking with what only its page shows.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct BookingPage {
    #[serde(flatten)]
    pub(super) booking: BookingBody,
    /// Where it is: for the host, and for the guest while the stay is confirmed; else null.
    #[schema(required = true)]
    pub(super) place: Option<StayPlace>,
    /// Null before the check-out day, and for who is no side of it.
    #[schema(required = true)]
    pub(super) reviews: Option<StayReviews>,
}

/// What the personal channels of both sides publish of a booking. Its `status` tells what has become of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum BookingMessage {
    /// A guest asks a host.
    #[serde(rename = "booking.requested")]
    Requested { booking: Box<BookingBody> },
    /// It stands otherwise than before, or its reviews are shown.
    #[serde(rename = "booking.changed")]
    Changed { booking: Box<BookingBody> },
}

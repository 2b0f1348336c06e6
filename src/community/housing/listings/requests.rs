//! Requests for a listing's nights, from asking to being forgotten: each is one change of the listing.

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, RowRange, prefix};

use super::calendar::{Stage, Waiting};
use super::kind::{CONFIRMED, LISTINGS, Open, Row, confirmed_key, waiting_key};
use super::rows::{Which, read, read_of, wants, wants_of, write};
use super::store::ListingStore;
use crate::community::amount::{Total, too_fine};
use crate::community::housing::error::HousingError;
use crate::community::housing::jobs::{self, Follow};
use crate::community::housing::stay::{self, Stay};
use crate::community::housing::terms::{Offer, Quote, Request};

/// How long a host has to answer, and a guest an offer.
const ANSWERED_WITHIN: SignedDuration = SignedDuration::from_hours(48);
/// A booking that is not there so long after its request is made by a job: the node died in between.
const OPENED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// What a guest asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asks.
    pub guest_id: String,
    /// The nights.
    pub stay: Stay,
    /// For how many.
    pub guests: u32,
    /// What the guest writes.
    pub message: Option<String>,
    /// What the guest was shown that it costs.
    pub expected: Option<Total>,
}

/// What a host offers instead.
#[derive(Clone, Debug)]
pub struct Countered {
    /// The nights.
    pub stay: Stay,
    /// What they cost, where it is not what the calendar says.
    pub total: Option<Total>,
    /// What the host writes.
    pub message: Option<String>,
}

/// Has a booking follow what the listing decided of its request.
fn emit_follow(
    part: &mut Open<'_>,
    booking_id: &str,
    request: &Request,
    at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let follow = Follow {
        listing_id: request.listing_id.clone(),
        guest_id: request.guest_id.clone(),
        booking_id: booking_id.to_owned(),
    };
    part.emit(&jobs::follow(&follow, at)?)
}

/// Until when something can be answered: nobody answers after the check-in day.
fn answer_by(stay: Stay, time_zone: &str, now: Timestamp) -> Timestamp {
    let latest = now.saturating_add(ANSWERED_WITHIN).unwrap_or(Timestamp::MAX);
    latest.min(stay::begins(stay::days_later(stay.from, 1), 0, time_zone))
}

impl ListingStore {
    /// Takes a guest's request; what it became, `None` if there is no such listing. Asking again under the same booking's id gets
    /// the same.
    pub async fn ask(
        &self,
        id: &str,
        booking_id: &str,
        asked: Asked,
        now: Timestamp,
    ) -> Result<Option<Request>, HousingError> {
        let (listing_id, guest_id) = (id.to_owned(), asked.guest_id.clone());
        let which = Which { guest_id, booking_id: booking_id.to_owned(), stay: asked.stay };
        let wants = wants_of(&which);
        let rule = move |part: &mut Open<'_>| {
            let before = read_of(part, &which);
            if let Some(known) = before.requests.get(&which.booking_id) {
                return Ok(Decision::Stands(known.request.clone()));
            }
            if part.facts.host_id == asked.guest_id {
                return Err(HousingError::OwnListing);
            }
            if !part.head.is_open() {
                return Err(HousingError::Paused);
            }
            let details = &part.head.details;
            details.takes(asked.stay, asked.guests, stay::today(&details.time_zone, now))?;
            before.free(asked.stay)?;
            let usual = details.money(details.price);
            let quote = Quote::of(asked.stay, details.currency, |date| before.price(date, usual));
            let total = quote.total();
            if asked.expected.is_some_and(|expected| expected.of(total.currency) != Some(total)) {
                return Err(HousingError::PriceChanged(total));
            }
            let request = Request {
                listing_id: listing_id.clone(),
                title: details.title.clone(),
                host_id: part.facts.host_id.clone(),
                guest_id: asked.guest_id.clone(),
                created_at: now,
                time_zone: details.time_zone.clone(),
                stay: asked.stay,
                guests: asked.guests,
                quote,
                policy: details.cancellation_policy.into(),
                message: asked.message.clone(),
                answer_by: answer_by(asked.stay, &details.time_zone, now),
            };
            let mut after = before.clone();
            after.ask(&which.booking_id, request.clone())?;
            write(part, &before, &after, now);
            emit_follow(part, &which.booking_id, &request, now.checked_add(OPENED_WITHIN).ok())?;
            Ok(Decision::Write(request))
        };
        self.0.change(&LISTINGS, id, wants, rule).await
    }

    /// Notes what a host offers instead; `None` if there is no such listing.
    pub async fn counter(
        &self,
        id: &str,
        booking_id: &str,
        countered: Countered,
        now: Timestamp,
    ) -> Result<Option<()>, HousingError> {
        let (booking_id, wants) = (booking_id.to_owned(), wants(countered.stay));
        let rule = move |part: &mut Open<'_>| {
            let before = read(part, countered.stay);
            let details = &part.head.details;
            details.takes_nights(countered.stay, stay::today(&details.time_zone, now))?;
            let quote = if let Some(total) = countered.total {
                let wrong = || HousingError::unsuitable("total", too_fine(details.currency));
                Quote::agreed(countered.stay, total.of(details.currency).ok_or_else(wrong)?)
            } else {
                let usual = details.money(details.price);
                Quote::of(countered.stay, details.currency, |date| before.price(date, usual))
            };
            let offer = Offer {
                number: 0,
                stay: countered.stay,
                quote,
                message: countered.message.clone(),
                answer_by: answer_by(countered.stay, &details.time_zone, now),
            };
            let mut after = before.clone();
            after.offer(&booking_id, offer, now)?;
            write(part, &before, &after, now);
            if let Some(waiting) = after.requests.get(&booking_id) {
                emit_follow(part, &booking_id, &waiting.request, None)?;
            }
            Ok(Decision::Write(()))
        };
        self.0.change(&LISTINGS, id, wants, rule).await
    }

    /// Gives a booking its nights, all of them or none: this is the moment at which it is confirmed. `offers` is the number of
    /// the offer that was agreed to, 0 for the request itself. However many race for a night, one gets it; doing it again changes
    /// nothing.
    pub async fn confirm(
        &self,
        id: &str,
        which: Which,
        offers: u32,
        now: Timestamp,
    ) -> Result<Option<()>, HousingError> {
        let wants = wants_of(&which);
        let rule = move |part: &mut Open<'_>| {
            let before = read_of(part, &which);
            let stage = before.requests.get(&which.booking_id).map(|waiting| waiting.stage);
            if matches!(stage, Some(Stage::Confirmed(_))) {
                return Ok(Decision::Stands(()));
            }
            let mut after = before.clone();
            let superseded = after.confirm(&which.booking_id, offers, now)?;
            write(part, &before, &after, now);
            for id in superseded.iter().chain([&which.booking_id]) {
                if let Some(waiting) = after.requests.get(id) {
                    emit_follow(part, id, &waiting.request, None)?;
                }
            }
            Ok(Decision::Write(()))
        };
        self.0.change(&LISTINGS, id, wants, rule).await
    }

    /// Ends a request that nobody answered in time.
    pub async fn expire(&self, id: &str, which: Which, now: Timestamp) -> Result<(), StoreError> {
        let wants = wants_of(&which);
        let rule = move |part: &mut Open<'_>| {
            let before = read_of(part, &which);
            let mut after = before.clone();
            after.expire(&which.booking_id, now);
            let differs = write(part, &before, &after, now);
            Ok::<_, StoreError>(if differs { Decision::Write(()) } else { Decision::Stands(()) })
        };
        self.0.change(&LISTINGS, id, wants, rule).await.map(drop)
    }

    /// Forgets a booking's request, and frees the nights that are its own.
    pub async fn release(&self, id: &str, which: Which, now: Timestamp) -> Result<(), StoreError> {
        let wants = wants_of(&which);
        let rule = move |part: &mut Open<'_>| {
            let before = read_of(part, &which);
            let mut after = before.clone();
            after.release(&which.booking_id);
            let differs = write(part, &before, &after, now);
            Ok::<_, StoreError>(if differs { Decision::Write(()) } else { Decision::Stands(()) })
        };
        self.0.change(&LISTINGS, id, wants, rule).await.map(drop)
    }

    /// A booking's request as the listing has it.
    pub async fn waiting(
        &self,
        id: &str,
        guest_id: &str,
        booking_id: &str,
    ) -> Result<Option<Waiting>, StoreError> {
        let keys = [waiting_key(booking_id), confirmed_key(guest_id, booking_id)];
        let found = self.0.read_with(&LISTINGS, id, &keys.each_ref().map(String::as_str)).await?;
        let rows = found.map(|(_, rows)| rows).unwrap_or_default();
        Ok(rows.into_values().find_map(|row| match row {
            Row::Waiting(waiting) => Some(*waiting),
            Row::Night(_) | Row::Stars(_) => None,
        }))
    }

    /// Whether a user has a confirmed booking of a listing, and so knows where it is.
    pub async fn is_guest(&self, id: &str, user_id: &str) -> Result<bool, StoreError> {
        let range = RowRange::first(prefix(&[CONFIRMED, user_id]), 1);
        Ok(!self.0.rows(&LISTINGS, id, &range).await?.items.is_empty())
    }
}

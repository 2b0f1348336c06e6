//! Bookings: asking for nights, answering, and what becomes of the stay.

mod announce;
pub mod bill;
pub(in crate::community) mod bodies;
mod calendar_entry;
pub mod lists;
mod review_routes;
pub mod reviews;
pub mod rules;
pub mod saga;
pub mod stays;
pub mod store;
pub(super) mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Whole};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::now;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{BookingBody, BookingPage, ReviewBody, StayPlace, StayReviews};
use self::rules::Booking;
use super::listings::calendar::MOST_OFFERS;
use super::listings::requests::{Asked, Countered};
use super::listings::rules::MOST_GUESTS;
use super::status::{Side, Status};
use super::stay::{CivilDate, Stay};
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::amount::Total;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::texts::{BookingNote, Reason};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(request))
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(confirm))
        .routes(routes!(decline))
        .routes(routes!(counter))
        .routes(routes!(accept))
        .routes(routes!(cancel))
        .routes(routes!(no_show))
        .merge(review_routes::router())
}

/// What a guest asks for.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = whole_stay -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "from": "2030-12-04", "to": "2030-12-09", "guests": 2, "message": "We come for the festival.", "expectedTotal": 227.5,
}))]
struct NewBooking {
    /// The check-in day.
    from: CivilDate,
    /// The check-out day.
    to: CivilDate,
    /// For how many; 1 if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 50, required = false)]
    guests: Given<Whole<1, MOST_GUESTS>>,
    /// For the host.
    #[deserr(default)]
    #[schema(value_type = Option<BookingNote>)]
    message: Maybe<BookingNote>,
    /// What the guest was shown that it costs: where it costs something else, nothing is asked for.
    #[deserr(default)]
    #[schema(value_type = Option<Total>)]
    expected_total: Maybe<Total>,
}

fn whole_stay(body: NewBooking, _at: ValuePointerRef<'_>) -> Result<NewBooking, BadFields> {
    Stay::given(body.from, body.to)?;
    Ok(body)
}

/// What a host offers instead.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields, validate = whole_offer -> BadFields)]
#[schema(example = json!({"from": "2030-12-05", "to": "2030-12-09", "message": "I am back on the fifth."}))]
struct NewOffer {
    /// The check-in day.
    from: CivilDate,
    /// The check-out day.
    to: CivilDate,
    /// What it costs, in the listing's currency; as the calendar says if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Total>)]
    total: Maybe<Total>,
    /// For the guest.
    #[deserr(default)]
    #[schema(value_type = Option<BookingNote>)]
    message: Maybe<BookingNote>,
}

fn whole_offer(body: NewOffer, _at: ValuePointerRef<'_>) -> Result<NewOffer, BadFields> {
    Stay::given(body.from, body.to)?;
    Ok(body)
}

/// Which offer a guest agrees to.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct AcceptedOffer {
    /// Its number; the last one that the booking shows if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 10, required = false)]
    offer: Given<Whole<1, MOST_OFFERS>>,
}

/// Why there is no stay.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct NoStay {
    /// For the other side.
    #[deserr(default)]
    #[schema(value_type = Option<Reason>)]
    reason: Maybe<Reason>,
}

/// What the list of bookings is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BookingsQuery {
    /// Only those in which the caller is on this side.
    #[deserr(default, rename = "as")]
    #[param(rename = "as", value_type = Option<Side>)]
    side: Option<Choice<Side>>,
    /// Only those that stand so now.
    #[deserr(default)]
    #[param(value_type = Option<Status>)]
    status: Option<Choice<Status>>,
}

/// Both sides of a booking, as rights are asked for.
fn parties(booking: &Booking) -> (&str, &str) {
    (&booking.request.host_id, &booking.request.guest_id)
}

/// Whether a viewer may know where a stay is.
fn may_know_the_place(booking: &Booking, viewer: Viewer<'_>, user_id: &str, now: Timestamp) -> bool {
    let is_guest = booking.status(now) == Status::Confirmed && booking.request.guest_id == user_id;
    let address = Object::Address { host: &booking.request.host_id, is_guest };
    policy::may(viewer, Action::Read, &address).is_allowed()
}

impl Community {
    async fn booking(&self, id: &str) -> Result<Booking, Problem> {
        self.housing.store.booking(id).await?.ok_or_else(|| Problem::not_found("booking"))
    }

    /// The booking, if the caller may change a part of it.
    async fn booking_for(
        &self,
        id: &str,
        identity: &Identity,
        part: for<'a> fn(&'a str, &'a str) -> Object<'a>,
    ) -> Result<Booking, Problem> {
        let booking = self.booking(id).await?;
        let (host, guest) = parties(&booking);
        policy::may(Viewer::from(identity), Action::Change, &part(host, guest)).allows("booking")?;
        Ok(booking)
    }

    /// The booking, if the caller is its host.
    async fn booking_of_host(&self, id: &str, identity: &Identity) -> Result<Booking, Problem> {
        self.booking_for(id, identity, |host, guest| Object::HostsPart { host, guest }).await
    }

    /// The booking, if the caller is its guest.
    async fn booking_of_guest(&self, id: &str, identity: &Identity) -> Result<Booking, Problem> {
        self.booking_for(id, identity, |host, guest| Object::GuestsPart { host, guest }).await
    }

    /// The booking and the caller's side of it, if the caller has one.
    pub(in crate::community) async fn own_booking(
        &self,
        id: &str,
        identity: &Identity,
    ) -> Result<(Booking, Side), Problem> {
        let part: for<'a> fn(&'a str, &'a str) -> Object<'a> = |host, guest| Object::Booking { host, guest };
        let booking = self.booking_for(id, identity, part).await?;
        let side = booking.side_of(&identity.user_id).ok_or_else(|| Problem::not_found("booking"))?;
        Ok((booking, side))
    }

    async fn booking_bodies(&self, bookings: Vec<Booking>, now: Timestamp) -> Vec<BookingBody> {
        let ids = bookings.iter().flat_map(|booking| {
            let (host, guest) = parties(booking);
            [host.to_owned(), guest.to_owned()]
        });
        let people = self.people(ids.collect()).await;
        bookings.iter().map(|booking| BookingBody::new(booking, &people, now)).collect()
    }

    async fn booking_body(&self, booking: Booking, now: Timestamp) -> Result<Json<BookingBody>, Problem> {
        let body = self.booking_bodies(vec![booking], now).await.pop();
        body.map(Json).ok_or_else(|| Problem::internal(&"a booking has no body"))
    }

    /// Where the stay is, if a viewer may know.
    async fn place_of(
        &self,
        booking: &Booking,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<StayPlace>, Problem> {
        if !may_know_the_place(booking, Viewer::from(identity), &identity.user_id, now) {
            return Ok(None);
        }
        let listing = self.housing.listings.listing(&booking.request.listing_id).await?;
        Ok(listing.map(|listing| StayPlace {
            location: listing.details.location.into(),
            check_in: listing.details.check_in,
        }))
    }
}

/// Ask for nights of a place. The price is frozen; the nights stay free for others until the host confirms, within 48 hours.
#[utoipa::path(
    post, path = "/api/housing/{id}/bookings", operation_id = "requestBooking",
    tag = "housing", params(IdempotencyKey), request_body = NewBooking,
    responses(
        (status = CREATED, body = BookingBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn request(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewBooking>,
) -> Result<(StatusCode, Json<BookingBody>), Problem> {
    if matches!(body.message, Maybe::Value(_)) {
        community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    }
    community.offered_listing(&id, &identity).await?;
    let asked = Asked {
        guest_id: identity.user_id,
        stay: Stay::given(body.from, body.to).map_err(|error| Problem::invalid(vec![error]))?,
        guests: body.guests.0.map_or(1, Whole::get),
        message: body.message.value().map(BookingNote::into_string),
        expected: body.expected_total.value(),
    };
    let (now, booking_id) = (new_id.made_at(), new_id.into_text());
    let booking = community.housing.ask(&id, &booking_id, asked, now).await?;
    let booking = booking.ok_or_else(|| Problem::not_found("listing"))?;
    Ok((StatusCode::CREATED, community.booking_body(booking, now).await?))
}

/// The caller's bookings, the last one that was asked for first. A page may end before it is full; its cursor goes on.
#[utoipa::path(
    get, path = "/api/bookings", operation_id = "listBookings", tag = "housing",
    params(BookingsQuery, PageQuery),
    responses((status = OK, body = PageBody<BookingBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<BookingsQuery>,
) -> Result<Json<PageBody<BookingBody>>, Problem> {
    let sides = filter.side.map_or_else(|| Side::BOTH.to_vec(), |side| vec![side.0]);
    let statuses: Vec<_> = filter.status.into_iter().map(|status| status.0).collect();
    let (now, store) = (now(), &community.housing.store);
    let page = store.bookings(&identity.user_id, &sides, &statuses, now, paging.request()).await?;
    let items = community.booking_bodies(page.items, now).await;
    Ok(Json(paging.body(mundotango_storage::Page { items, next: page.next })))
}

/// One booking; for its two sides.
#[utoipa::path(
    get, path = "/api/bookings/{id}", operation_id = "getBooking", tag = "housing",
    responses((status = OK, body = BookingPage), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<BookingPage>, Problem> {
    let found = community.housing.store.reviewed(&id).await?;
    let (booking, reviews) = found.ok_or_else(|| Problem::not_found("booking"))?;
    let (host, guest) = parties(&booking);
    let object = Object::Booking { host, guest };
    policy::may(Viewer::from(&identity), Action::Read, &object).allows("booking")?;
    let now = now();
    let people = community.people(vec![host.to_owned(), guest.to_owned()]).await;
    let place = community.place_of(&booking, &identity, now).await?;
    let side = booking.side_of(&identity.user_id).filter(|_| booking.status(now) == Status::Completed);
    let reviews = side.map(|side| {
        let written = Side::BOTH.into_iter().zip(reviews);
        let (mine, theirs): (Vec<_>, Vec<_>) = written.partition(|(author, _)| *author == side);
        let body = |all: Vec<(Side, Option<reviews::Review>)>| {
            let written = all.into_iter().find_map(|(author, review)| Some((author, review?)));
            written.map(|(author, review)| ReviewBody::of_party(&booking, author, review, &people))
        };
        StayReviews {
            mine: body(mine),
            theirs: body(theirs).filter(|_| booking.revealed_at(now).is_some()),
            may_review: booking.may_review(side, now).is_ok(),
            reveals_by: booking.reveals_by().into(),
        }
    });
    Ok(Json(BookingPage { booking: BookingBody::new(&booking, &people, now), place, reviews }))
}

/// Confirm a request; for the host. The nights are the guest's then, and requests that want one of them are superseded.
#[utoipa::path(
    post, path = "/api/bookings/{id}/confirm", operation_id = "confirmBooking", tag = "housing",
    responses(
        (status = OK, body = BookingBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn confirm(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<BookingBody>, Problem> {
    let (booking, now) = (community.booking_of_host(&id, &identity).await?, now());
    let confirmed = community.housing.confirm(&booking, 0, now).await?;
    community.booking_body(confirmed, now).await
}

/// Decline a request; for the host.
#[utoipa::path(
    post, path = "/api/bookings/{id}/decline", operation_id = "declineBooking",
    tag = "housing", request_body = NoStay,
    responses(
        (status = OK, body = BookingBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn decline(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NoStay>,
) -> Result<Json<BookingBody>, Problem> {
    let (booking, now) = (community.booking_of_host(&id, &identity).await?, now());
    let reason = body.reason.value().map(Reason::into_string);
    let declined = community.housing.decline(&booking, reason, now).await?;
    community.booking_body(declined, now).await
}

/// Offer the guest other nights or another price; for the host. The guest can accept it within 48 hours.
#[utoipa::path(
    post, path = "/api/bookings/{id}/counter", operation_id = "counterBooking",
    tag = "housing", params(IdempotencyKey), request_body = NewOffer,
    responses(
        (status = OK, body = BookingBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn counter(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewOffer>,
) -> Result<Json<BookingBody>, Problem> {
    if matches!(body.message, Maybe::Value(_)) {
        community.must_be_able(&identity.user_id, Ability::Messaging).await?;
    }
    let (booking, now) = (community.booking_of_host(&id, &identity).await?, now());
    let countered = Countered {
        stay: Stay::given(body.from, body.to).map_err(|error| Problem::invalid(vec![error]))?,
        total: body.total.value(),
        message: body.message.value().map(BookingNote::into_string),
    };
    let offered = community.housing.counter(&booking, countered, now).await?;
    community.booking_body(offered, now).await
}

/// Accept what the host offers instead; for the guest. The nights are the guest's then.
#[utoipa::path(
    post, path = "/api/bookings/{id}/accept", operation_id = "acceptOffer",
    tag = "housing", request_body = AcceptedOffer,
    responses(
        (status = OK, body = BookingBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn accept(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<AcceptedOffer>,
) -> Result<Json<BookingBody>, Problem> {
    let (booking, now) = (community.booking_of_guest(&id, &identity).await?, now());
    let offer = body.offer.0.map_or_else(|| booking.offers(), Whole::get);
    if offer == 0 {
        return Err(Problem::new(StatusCode::CONFLICT, "the host has offered nothing else"));
    }
    let accepted = community.housing.confirm(&booking, offer, now).await?;
    community.booking_body(accepted, now).await
}

/// Cancel a stay, or take a request back. What is paid back follows the rules that were agreed on.
#[utoipa::path(
    post, path = "/api/bookings/{id}/cancel", operation_id = "cancelBooking",
    tag = "housing", request_body = NoStay,
    responses(
        (status = OK, body = BookingBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn cancel(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NoStay>,
) -> Result<Json<BookingBody>, Problem> {
    let ((booking, side), now) = (community.own_booking(&id, &identity).await?, now());
    let reason = body.reason.value().map(Reason::into_string);
    let cancelled = community.housing.cancel(&booking, side, reason, now).await?;
    community.booking_body(cancelled, now).await
}

/// Say that the guest did not come; for the host, from the check-in day until two days after check-out.
#[utoipa::path(
    post, path = "/api/bookings/{id}/no-show", operation_id = "markNoShow", tag = "housing",
    responses(
        (status = OK, body = BookingBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn no_show(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<BookingBody>, Problem> {
    let (booking, now) = (community.booking_of_host(&id, &identity).await?, now());
    let noted = community.housing.note_no_show(&booking, now).await?;
    community.booking_body(noted, now).await
}

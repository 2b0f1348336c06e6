//! Listings: offering a place, changing it, and finding one.

mod bodies;
pub mod calendar;
pub mod fuzz;
pub mod hiding;
pub mod kind;
pub mod lists;
mod nights;
pub mod requests;
pub mod rows;
pub mod rules;
pub mod search;
pub mod store;
pub mod words;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Param, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::Page;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::community) use self::bodies::ListingBody;
use self::bodies::{ListingChange, NewListing};
use self::fuzz::Chance;
use self::kind::Listing;
use self::rules::{AccommodationType, MOST_GUESTS};
use self::search::ListingFilter;
use self::words::Words;
use super::stay::{self, CivilDate, Stay};
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::amount::Price;
use crate::community::graph::relations::Relations;
use crate::community::money::Currency;
use crate::community::place::Near;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::texts::{City, Id, SearchText};

type Shared = State<Arc<Community>>;

/// How far from an event its guests stay, in kilometres.
const NEAR_AN_EVENT: f64 = 15.0;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, change)).merge(nights::router())
}

/// A truth value in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Flag {
    True,
    False,
}

/// What the list of places is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = whole_stay -> BadFields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct ListingsQuery {
    /// Only in this city.
    #[deserr(default)]
    #[param(value_type = Option<City>)]
    city: Option<City>,
    /// Only of this kind.
    #[deserr(default)]
    #[param(value_type = Option<AccommodationType>)]
    accommodation_type: Option<Choice<AccommodationType>>,
    /// Only where a night usually costs this at least, in the listing's currency.
    #[deserr(default)]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 100_000_000)]
    min_price: Option<Param<Price>>,
    /// Only where a night usually costs this at most, in the listing's currency.
    #[deserr(default)]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 100_000_000)]
    max_price: Option<Param<Price>>,
    /// Only with prices in this currency.
    #[deserr(default)]
    #[param(value_type = Option<Currency>)]
    currency: Option<Currency>,
    /// Only where all nights from this day on are free; together with `to`.
    #[deserr(default)]
    #[param(value_type = Option<CivilDate>)]
    from: Option<CivilDate>,
    /// The check-out day; together with `from`.
    #[deserr(default)]
    #[param(value_type = Option<CivilDate>)]
    to: Option<CivilDate>,
    /// Only with room for so many.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 50)]
    guests: Option<Param<Whole<1, MOST_GUESTS>>>,
    /// Only near a point: `latitude,longitude,kilometres`. It is compared with the points that everybody sees.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 100, example = "-34.6,-58.4,10")]
    near: Option<Near>,
    /// Only for who comes to this event: near it, or in its city where it tells no point, and free for all of its nights. `near`,
    /// `city`, `from` and `to` count before it.
    #[deserr(default)]
    #[param(value_type = Option<Id>, inline)]
    event: Option<Id>,
    /// Only with these words in title or description.
    #[deserr(default)]
    #[param(value_type = Option<SearchText>, inline)]
    q: Option<SearchText>,
    /// Only the caller's own, also those that are paused.
    #[deserr(default)]
    #[param(value_type = Option<bool>)]
    mine: Option<Choice<Flag>>,
}

impl ListingsQuery {
    fn stay(&self) -> Result<Option<Stay>, FieldError> {
        match (self.from, self.to) {
            (Some(from), Some(to)) => Stay::given(from, to).map(Some),
            (None, None) => Ok(None),
            (Some(_), None) => Err(FieldError::new("to", FieldCode::Missing, "is needed together with from")),
            (None, Some(_)) => Err(FieldError::new("from", FieldCode::Missing, "is needed together with to")),
        }
    }
}

fn whole_stay(query: ListingsQuery, _at: ValuePointerRef<'_>) -> Result<ListingsQuery, BadFields> {
    query.stay()?;
    Ok(query)
}

impl Community {
    /// A listing as a caller may see it.
    async fn listing_body(&self, listing: Listing, identity: &Identity) -> Result<ListingBody, Problem> {
        let is_host = listing.host_id == identity.user_id;
        let is_guest = !is_host && self.housing.listings.is_guest(&listing.id, &identity.user_id).await?;
        let address = Object::Address { host: &listing.host_id, is_guest };
        let is_exact = policy::may(Viewer::from(identity), Action::Read, &address).is_allowed();
        let people = self.people(vec![listing.host_id.clone()]).await;
        Ok(ListingBody::new(listing, &people, is_exact))
    }

    /// Listings as a list shows them.
    async fn seen_listings(&self, listings: Vec<Listing>, identity: &Identity) -> Vec<ListingBody> {
        let people = self.people(listings.iter().map(|listing| listing.host_id.clone()).collect()).await;
        let offered = listings.into_iter().filter(|listing| {
            let is_paused = people.get(&listing.host_id).is_some_and(|host| host.is_paused);
            let object = Object::Listing { host: &listing.host_id, is_paused, is_hidden: listing.is_hidden };
            policy::may(Viewer::from(identity), Action::Read, &object).is_allowed()
        });
        let listed = offered.map(|listing| {
            // Who is its guest sees more on its page.
            let address = Object::Address { host: &listing.host_id, is_guest: false };
            let is_exact = policy::may(Viewer::from(identity), Action::Read, &address).is_allowed();
            ListingBody::new(listing, &people, is_exact)
        });
        listed.collect()
    }

    /// The listings with these ids that the caller may find, in the ids' order: those that are paused only their host finds.
    pub(in crate::community) async fn seen_listings_by_id(
        &self,
        ids: &[String],
        identity: &Identity,
        viewer: Viewer<'_>,
    ) -> Result<Vec<ListingBody>, Problem> {
        let is_found = |listing: &Listing| {
            // Whether the host pauses is looked at with the hosts' names.
            let object =
                Object::Listing { host: &listing.host_id, is_paused: false, is_hidden: listing.is_hidden };
            let is_own = listing.host_id == identity.user_id;
            (is_own || listing.is_found()) && policy::may(viewer, Action::Read, &object).is_allowed()
        };
        let listings = self.housing.listings.all(ids).await?.into_iter().flatten().filter(is_found);
        Ok(self.seen_listings(listings.collect(), identity).await)
    }

    /// A filter with what an event asks for where it says nothing else.
    async fn beds_for(
        &self,
        event_id: &str,
        identity: &Identity,
        mut filter: ListingFilter,
    ) -> Result<ListingFilter, Problem> {
        let event = self.event_for(event_id, identity, Action::Read).await?;
        if filter.near.is_none() && filter.city.is_none() {
            filter.near = event.location.coordinates.map(|point| (point, NEAR_AN_EVENT));
            filter.city = event.location.city.filter(|_| filter.near.is_none());
            if filter.near.is_none() && filter.city.is_none() {
                let unknown = "the event tells neither a point nor a city: say `near` or `city`";
                let error = FieldError::new("event", FieldCode::Missing, unknown);
                return Err(Problem::invalid(vec![error]));
            }
        }
        if filter.stay.is_none() {
            // What was given as a point in time alone does not tell which nights those are at its place.
            if event.when.zone_name() == "UTC" {
                let unknown = "is needed together with to: the event names no time zone";
                return Err(Problem::invalid(vec![FieldError::new("from", FieldCode::Missing, unknown)]));
            }
            let first = event.when.start.date();
            let last = event.when.end.map_or(first, |end| end.date());
            filter.stay = Stay::new(first, last.max(stay::days_later(first, 1)));
        }
        Ok(filter)
    }

    /// The listing, if there is one.
    async fn listing(&self, id: &str) -> Result<Listing, Problem> {
        self.housing.listings.listing(id).await?.ok_or_else(|| Problem::not_found("listing"))
    }

    /// The listing, whose host does not keep the caller out but may pause, and the caller's relations.
    pub(in crate::community) async fn known_listing(
        &self,
        id: &str,
        identity: &Identity,
    ) -> Result<(Listing, Arc<Relations>), Problem> {
        let (listing, mine) = (self.listing(id).await?, self.circles.view(&identity.user_id).await?);
        let is_hidden = listing.is_hidden && !self.housing.listings.is_guest(id, &identity.user_id).await?;
        let object = Object::Listing { host: &listing.host_id, is_paused: false, is_hidden };
        policy::may(Viewer::from(identity).knowing(&mine), Action::Read, &object).allows("listing")?;
        Ok((listing, mine))
    }

    /// The same, if it is offered to the caller now.
    pub(in crate::community) async fn offered_listing(
        &self,
        id: &str,
        identity: &Identity,
    ) -> Result<(Listing, Arc<Relations>), Problem> {
        let (listing, mine) = self.known_listing(id, identity).await?;
        let is_paused = self.accounts.is_paused(&listing.host_id).await?;
        let object = Object::Listing { host: &listing.host_id, is_paused, is_hidden: listing.is_hidden };
        policy::may(Viewer::from(identity).knowing(&mine), Action::Read, &object).allows("listing")?;
        Ok((listing, mine))
    }

    /// The listing, if the caller may see it, and the caller's relations. Who is its guest sees it while its host pauses.
    pub(in crate::community) async fn seen_listing(
        &self,
        id: &str,
        identity: &Identity,
    ) -> Result<(Listing, Arc<Relations>), Problem> {
        match self.offered_listing(id, identity).await {
            Err(problem) if problem.status() == StatusCode::NOT_FOUND => {
                let known = self.known_listing(id, identity).await?;
                let is_guest = self.housing.listings.is_guest(id, &identity.user_id).await?;
                is_guest.then_some(known).ok_or(problem)
            }
            seen => seen,
        }
    }

    /// The listing, if the caller may change it.
    async fn own_listing(&self, id: &str, identity: &Identity) -> Result<Listing, Problem> {
        let listing = self.listing(id).await?;
        let object =
            Object::Listing { host: &listing.host_id, is_paused: false, is_hidden: listing.is_hidden };
        policy::may(Viewer::from(identity), Action::Change, &object).allows("listing")?;
        self.note_admins_right(identity, Action::Change, ("listing", id, &listing.host_id)).await?;
        Ok(listing)
    }
}

/// Places to stay, the newest first. A page may end before it is full; its cursor goes on.
#[utoipa::path(
    get, path = "/api/housing", operation_id = "listListings", tag = "housing",
    params(ListingsQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<ListingBody>),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<ListingsQuery>,
) -> Result<Json<PageBody<ListingBody>>, Problem> {
    let stay = filter.stay().map_err(|error| Problem::invalid(vec![error]))?;
    let is_own = filter.mine == Some(Choice(Flag::True));
    let event = filter.event.map(Id::into_string);
    let filter = ListingFilter {
        city: filter.city.map(City::into_string),
        accommodation_type: filter.accommodation_type.map(|choice| choice.0),
        min_price: filter.min_price.map(|price| price.0),
        max_price: filter.max_price.map(|price| price.0),
        currency: filter.currency,
        stay,
        guests: filter.guests.map(|guests| guests.0.get()),
        near: filter.near.map(|Near(point, km)| (point, km)),
        words: filter.q.map(|text| Words::of(&text.into_string())),
        host_id: is_own.then(|| identity.user_id.clone()),
        relations: community.circles.view(&identity.user_id).await?,
    };
    let filter = match event {
        Some(event) => community.beds_for(&event, &identity, filter).await?,
        None => filter,
    };
    let page = community.housing.listings.listings(&filter, paging.request()).await?;
    let items = community.seen_listings(page.items, &identity).await;
    Ok(Json(paging.body(Page { items, next: page.next })))
}

/// Offer a place to stay.
#[utoipa::path(
    post, path = "/api/housing", operation_id = "createListing",
    tag = "housing", params(IdempotencyKey), request_body = NewListing,
    responses(
        (status = CREATED, body = ListingBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewListing>,
) -> Result<(StatusCode, Json<ListingBody>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let details = body.details(Chance::draw()).map_err(|error| Problem::invalid(vec![error]))?;
    let (made_at, id) = (new_id.made_at(), new_id.into_text());
    let listing = Listing::new(id.clone(), identity.user_id.clone(), made_at, details);
    community.housing.listings.create(&listing).await?;
    // Whoever sends it again gets the point that was drawn first.
    let listing = community.listing(&id).await?;
    Ok((StatusCode::CREATED, Json(community.listing_body(listing, &identity).await?)))
}

/// One place to stay.
#[utoipa::path(
    get, path = "/api/housing/{id}", operation_id = "getListing", tag = "housing",
    responses((status = OK, body = ListingBody), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<ListingBody>, Problem> {
    let (listing, _) = community.seen_listing(&id, &identity).await?;
    Ok(Json(community.listing_body(listing, &identity).await?))
}

/// Change a place to stay, pause it or offer it again; for its host. Bookings keep what was agreed on.
#[utoipa::path(
    patch, path = "/api/housing/{id}", operation_id = "changeListing",
    tag = "housing", request_body = ListingChange,
    responses(
        (status = OK, body = ListingBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<ListingChange>,
) -> Result<Json<ListingBody>, Problem> {
    let listing = community.own_listing(&id, &identity).await?;
    if body.offers_again(&listing.details) {
        community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    }
    let chance = Chance::draw();
    let details = move |before: &rules::Details| body.apply(before, chance);
    let changed = community.housing.listings.change(&id, details).await?;
    let listing = changed.ok_or_else(|| Problem::not_found("listing"))?;
    Ok(Json(community.listing_body(listing, &identity).await?))
}

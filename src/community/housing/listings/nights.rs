//! The calendar of a listing: which nights are free, and what they cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, ValuePointerRef};
use jiff::civil::Date;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson, ValidQuery};
use mundotango_gateway::input::{BadFields, Given, Maybe};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_storage::now;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::calendar::{Night, Taken};
use super::kind::Listing;
use super::store::NightsChange;
use crate::community::Community;
use crate::community::amount::{Price, Total};
use crate::community::housing::stay::{self, CivilDate, HORIZON, Stay};
use crate::community::money::{Currency, Money};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(set)).routes(routes!(availability))
}

/// A change of nights; what is absent stays.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields, validate = some_change -> BadFields)]
#[schema(example = json!({"from": "2030-12-20", "to": "2031-01-02", "price": 60}))]
struct NightsBody {
    /// The first night.
    from: CivilDate,
    /// The day after the last one.
    to: CivilDate,
    /// Whether they are blocked. Nights that are booked stay booked.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    blocked: Given<bool>,
    /// The price of each of them; null for the usual one.
    #[deserr(default)]
    #[schema(value_type = Option<Price>)]
    price: Maybe<Price>,
}

fn some_change(body: NightsBody, _at: ValuePointerRef<'_>) -> Result<NightsBody, BadFields> {
    Stay::given(body.from, body.to)?;
    if body.blocked.0.is_none() && matches!(body.price, Maybe::Absent) {
        let message = "is needed where there is no price";
        return Err(FieldError::new("blocked", FieldCode::Missing, message).into());
    }
    Ok(body)
}

/// Of which nights the calendar is asked for.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AvailabilityQuery {
    /// The first night.
    #[param(value_type = CivilDate)]
    from: CivilDate,
    /// The day after the last one, at most 366 days later.
    #[param(value_type = CivilDate)]
    to: CivilDate,
}

/// One night.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NightBody {
    /// The day on which it begins.
    #[schema(value_type = CivilDate)]
    date: String,
    /// Whether it can be asked for.
    free: bool,
    #[schema(value_type = f64)]
    price: Total,
    /// Whether the host does not offer it; told to the host alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    blocked: Option<bool>,
    /// The booking that has it; told to the host alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    booking_id: Option<String>,
}

/// The calendar of a listing.
#[derive(Debug, Serialize, ToSchema)]
struct Availability {
    currency: Currency,
    /// Whether all of the nights are free.
    free: bool,
    /// What all of the nights cost together.
    #[schema(value_type = f64)]
    total: Total,
    nights: Vec<NightBody>,
}

impl Availability {
    fn new(
        listing: &Listing,
        asked: Stay,
        differing: &BTreeMap<Date, Night>,
        today: Date,
        is_host: bool,
    ) -> Self {
        let details = &listing.details;
        let (currency, usual, mut minor) = (details.currency, details.money(details.price), 0_u64);
        let open = today..today.saturating_add(HORIZON);
        let mut nights = Vec::new();
        for date in asked.dates() {
            let night = differing.get(&date);
            let price = night.map_or(usual, |night| night.price_or(usual));
            minor = minor.saturating_add(price.minor);
            let taken = night.and_then(|night| night.taken.as_ref());
            nights.push(NightBody {
                date: date.to_string(),
                free: taken.is_none() && open.contains(&date),
                price: price.amount(),
                blocked: is_host.then_some(taken == Some(&Taken::Blocked)),
                booking_id: match taken {
                    Some(Taken::Booked(id)) if is_host => Some(id.clone()),
                    _ => None,
                },
            });
        }
        let free = nights.iter().all(|night| night.free);
        Self { currency, free, total: Money { minor, currency }.amount(), nights }
    }
}

impl Community {
    async fn availability(
        &self,
        listing: &Listing,
        asked: Stay,
        identity: &Identity,
    ) -> Result<Json<Availability>, Problem> {
        let differing = self.housing.listings.nights(&listing.id, asked).await?;
        let today = stay::today(&listing.details.time_zone, now());
        let is_host = listing.host_id == identity.user_id;
        Ok(Json(Availability::new(listing, asked, &differing, today, is_host)))
    }
}

/// Block nights or offer them again, and give them a price; for the host. Nights that are booked stay booked.
#[utoipa::path(
    put, path = "/api/housing/{id}/nights", operation_id = "setNights",
    tag = "housing", request_body = NightsBody,
    responses(
        (status = OK, body = Availability),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn set(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NightsBody>,
) -> Result<Json<Availability>, Problem> {
    let listing = community.own_listing(&id, &identity).await?;
    let nights = Stay::given(body.from, body.to).map_err(|error| Problem::invalid(vec![error]))?;
    let change = NightsChange { blocked: body.blocked.0, price: body.price };
    if !community.housing.listings.set_nights(&id, nights, change, now()).await? {
        return Err(Problem::not_found("listing"));
    }
    community.availability(&listing, nights, &identity).await
}

/// Which nights of a place are free, and what they cost.
#[utoipa::path(
    get, path = "/api/housing/{id}/availability", operation_id = "getAvailability",
    tag = "housing", params(AvailabilityQuery),
    responses(
        (status = OK, body = Availability),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn availability(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidQuery(query): ValidQuery<AvailabilityQuery>,
) -> Result<Json<Availability>, Problem> {
    let asked = Stay::given(query.from, query.to).map_err(|error| Problem::invalid(vec![error]))?;
    let (listing, _) = community.seen_listing(&id, &identity).await?;
    community.availability(&listing, asked, &identity).await
}

//! Offering the own place at an event to somebody, and taking one: the routes, and who is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Time};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity};
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::announce::announce_handed_on;
use super::bodies::{Answered, HandoverView, PartyBody};
use super::errors::OFFERED_PLACE;
use super::handing_on::HandedOn;
use super::handover::Handover;
use super::places::DanceRole;
use super::requests::{few_guests, party};
use super::rules::RsvpStatus;
use super::store::Event;
use crate::community::effects::Effect;
use crate::community::letters;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::{Community, Person, personal_channel};
use crate::texts::Id;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, offer, take_back))
        .routes(routes!(accept))
        .routes(routes!(decline))
}

/// To whom the caller offers the place.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct NewHandover {
    user_id: Id,
}

/// Whose place the caller does not take.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct DeclinedPlace {
    /// Who offers it.
    user_id: Id,
}

/// Whose place the caller takes, and with whom.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = whole_party -> BadFields)]
#[schema(rename_all = "camelCase")]
struct TakenPlace {
    /// Who offers it.
    user_id: Id,
    /// What the caller dances. Without `role` and `guests` the place is taken as it is.
    #[deserr(default)]
    #[schema(value_type = DanceRole, required = false)]
    role: Given<Choice<DanceRole>>,
    /// What each of the guests dances whom the caller brings; no more people than the place is for.
    #[deserr(default)]
    #[schema(value_type = Vec<DanceRole>, max_items = 9, required = false)]
    guests: Given<Vec<Choice<DanceRole>>>,
}

fn whole_party(body: TakenPlace, at: ValuePointerRef<'_>) -> Result<TakenPlace, BadFields> {
    few_guests(&body.guests, at)?;
    Ok(body)
}

/// The places at an event that are offered to the caller: 5 at most.
#[derive(Debug, Serialize, ToSchema)]
struct OfferedPlaces {
    items: Vec<OfferedPlace>,
}

/// A place at an event that is offered to the caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OfferedPlace {
    /// Who offers it.
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    user: Option<Person>,
    /// Whether it is a place, or one in the line of those who wait.
    status: RsvpStatus,
    #[serde(flatten)]
    party: PartyBody,
    /// Until when it can be taken.
    until: Time,
}

/// What the personal channel publishes of places that are handed on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum PlaceMessage {
    /// Somebody offers you the own place.
    #[serde(rename = "place.offered")]
    Offered {
        #[serde(rename = "eventId")]
        event_id: String,
        title: String,
        /// Who offers it; null when the account is gone or cannot be read now.
        #[schema(required = true)]
        user: Option<Person>,
        until: Time,
    },
    /// The place that you offered is taken: you do not come any more.
    #[serde(rename = "place.taken")]
    Taken {
        #[serde(rename = "eventId")]
        event_id: String,
        title: String,
        /// Who took it; null when the account is gone or cannot be read now.
        #[schema(required = true)]
        user: Option<Person>,
    },
    /// The place that you offered is not wanted: it stays yours.
    #[serde(rename = "place.declined")]
    Declined {
        #[serde(rename = "eventId")]
        event_id: String,
        title: String,
        /// Who does not want it; null when the account is gone or cannot be read now.
        #[schema(required = true)]
        user: Option<Person>,
    },
}

/// The two between whom a place goes over, as one of them hears of the other.
#[derive(Clone, Debug)]
struct Between {
    /// Who is told.
    listener: String,
    /// Who did it.
    actor: String,
    people: BTreeMap<String, Person>,
    /// Whether the listener is told nothing of what the other does.
    is_silenced: bool,
}

impl Between {
    /// What one hears of the other: live, by a notification and by a letter.
    fn told(
        &self,
        event: &Event,
        kind: NotificationKind,
        stale_at: Timestamp,
        message: &PlaceMessage,
    ) -> Result<Vec<Effect>, StoreError> {
        if self.is_silenced {
            return Ok(Vec::new());
        }
        let mut notification = letters::events::tell(event, kind, Some(stale_at));
        notification.actor_id = Some(self.actor.clone());
        Ok(vec![
            Effect::publish(personal_channel(&self.listener), message)?,
            notification.effect(&self.listener)?,
            letters::handovers::told(&self.listener, &event.id, &self.actor, kind)?,
        ])
    }

    fn offered(&self, event: &Event, offer: &Handover) -> Result<Vec<Effect>, StoreError> {
        let message = PlaceMessage::Offered {
            event_id: event.id.clone(),
            title: event.title.clone(),
            user: self.people.get(&self.actor).cloned(),
            until: offer.until.into(),
        };
        self.told(event, NotificationKind::PlaceOffered, offer.until, &message)
    }

    fn declined(&self, event: &Event) -> Result<Vec<Effect>, StoreError> {
        let message = PlaceMessage::Declined {
            event_id: event.id.clone(),
            title: event.title.clone(),
            user: self.people.get(&self.actor).cloned(),
        };
        self.told(event, NotificationKind::PlaceDeclined, event.when.over_at(), &message)
    }

    fn taken(&self, handed: &HandedOn) -> Result<Vec<Effect>, StoreError> {
        let event = &handed.taken.event;
        let message = PlaceMessage::Taken {
            event_id: event.id.clone(),
            title: event.title.clone(),
            user: self.people.get(&self.actor).cloned(),
        };
        let mut effects = announce_handed_on(handed)?;
        effects.extend(self.told(event, NotificationKind::PlaceTaken, event.when.over_at(), &message)?);
        Ok(effects)
    }
}

impl Community {
    /// The caller and another one, who hears of what the caller does.
    async fn between(&self, identity: &Identity, listener: &str) -> Result<Between, StoreError> {
        let actor = identity.user_id.clone();
        let is_silenced = self.circles.tie(listener, &actor).await?.silences();
        let people = self.people(vec![actor.clone(), listener.to_owned()]).await;
        Ok(Between { listener: listener.to_owned(), actor, people, is_silenced })
    }

    /// Fails for a place of somebody whom the caller does not see, as for one that nobody offers.
    async fn sees_giver(&self, identity: &Identity, giver: &str) -> Result<(), Problem> {
        let mine = self.circles.view(&identity.user_id).await?;
        let object = Object::Somebody { user: giver, is_paused: false };
        policy::may(Viewer::from(identity).knowing(&mine), Action::Read, &object).allows(OFFERED_PLACE)
    }
}

/// The places at an event that are offered to the caller.
#[utoipa::path(
    get, path = "/api/events/{id}/rsvp/handover", operation_id = "listOfferedPlaces", tag = "events",
    responses((status = OK, body = OfferedPlaces), (status = NOT_FOUND, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<OfferedPlaces>, Problem> {
    let event = community.event_for(&id, &identity, Action::Read).await?;
    let mut offered = community.events.places_offered(&event, &identity.user_id, now()).await?;
    let mine = community.circles.view(&identity.user_id).await?;
    let viewer = Viewer::from(&identity).knowing(&mine);
    offered.retain(|rsvp| {
        policy::may(viewer, Action::Read, &Object::Somebody { user: &rsvp.user_id, is_paused: false })
            .is_allowed()
    });
    let people = community.people(offered.iter().map(|rsvp| rsvp.user_id.clone()).collect()).await;
    let items = offered.into_iter().filter_map(|rsvp| {
        Some(OfferedPlace {
            until: rsvp.handover?.until.into(),
            user: people.get(&rsvp.user_id).cloned(),
            user_id: rsvp.user_id,
            status: rsvp.status,
            party: rsvp.party.into(),
        })
    });
    Ok(Json(OfferedPlaces { items: items.collect() }))
}

/// Offer the own place at an event, or in its line, to somebody. It can be taken within 48 hours, and before the event begins. There
/// is one offer at a time, and making it again changes nothing. A place that money hangs on is not handed on (409 `place_is_paid`).
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp/handover", operation_id = "offerPlace", tag = "events",
    params(IdempotencyKey), request_body = NewHandover,
    responses(
        (status = OK, body = HandoverView),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn offer(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewHandover>,
) -> Result<Json<HandoverView>, Problem> {
    let event = community.event_for(&id, &identity, Action::Read).await?;
    let to = body.user_id.into_string();
    community.known_user(&identity, &to, true).await?;
    // The caller's copy of a block may be late; and who may not come to the event is offered no place at it.
    let is_kept_out = community.circles.tie(&to, &identity.user_id).await?.keeps_apart();
    if is_kept_out || !community.events.may(Viewer::user(&to), Action::Read, &event).await?.is_allowed() {
        return Err(Problem::not_found("user"));
    }
    community.limits.handover(&identity.user_id).await?;
    let between = community.between(&identity, &to).await?;
    let people = between.people.clone();
    let effects = move |event: &Event, offer: &Handover| between.offered(event, offer);
    let offer = community.events.offer_place(&id, (&identity.user_id, &to), now(), effects).await?;
    let offer = offer.ok_or_else(|| Problem::not_found("event"))?;
    Ok(Json(HandoverView::new(offer.to, offer.until, &people)))
}

/// Take back that the own place is offered. Without an offer nothing changes.
#[utoipa::path(
    delete, path = "/api/events/{id}/rsvp/handover", operation_id = "withdrawPlaceOffer", tag = "events",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn take_back(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.event_for(&id, &identity, Action::Read).await?;
    community.events.take_place_back(&id, &identity.user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a place that is offered to the caller. The giver's answer becomes `declined`, and the caller has the place as it was, in the
/// line too. With another role only where the event has room for it that nobody waits for.
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp/handover/accept", operation_id = "acceptPlace", tag = "events",
    params(IdempotencyKey), request_body = TakenPlace,
    responses(
        (status = OK, body = Answered),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn accept(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<TakenPlace>,
) -> Result<Json<Answered>, Problem> {
    community.event_for(&id, &identity, Action::Read).await?;
    let (giver, party) = (body.user_id.into_string(), party(body.role, body.guests));
    community.sees_giver(&identity, &giver).await?;
    let between = community.between(&identity, &giver).await?;
    let preferences = community.notifications.preferences.of(&identity.user_id).await?;
    let ways = preferences.ways(NotificationKind::EventGoing);
    let effects = move |handed: &HandedOn| {
        let mut effects = between.taken(handed)?;
        effects.extend(letters::invitations::going(&handed.taken, ways)?);
        Ok(effects)
    };
    let pair = (giver.as_str(), identity.user_id.as_str());
    let handed = community.events.take_place(&id, pair, party, now(), effects).await?;
    let handed = handed.ok_or_else(|| Problem::not_found("event"))?;
    handed.taken.count();
    Ok(Json(community.answered(handed.taken).await?))
}

/// Say no to a place that is offered to the caller. It stays its giver's, who is told.
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp/handover/decline", operation_id = "declinePlace", tag = "events",
    request_body = DeclinedPlace,
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn decline(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<DeclinedPlace>,
) -> Result<StatusCode, Problem> {
    community.event_for(&id, &identity, Action::Read).await?;
    let giver = body.user_id.into_string();
    community.sees_giver(&identity, &giver).await?;
    let between = community.between(&identity, &giver).await?;
    let effects = move |event: &Event| between.declined(event);
    let pair = (giver.as_str(), identity.user_id.as_str());
    let declined = community.events.decline_place(&id, pair, now(), effects).await?;
    declined.ok_or_else(|| Problem::not_found("event"))?;
    Ok(StatusCode::NO_CONTENT)
}

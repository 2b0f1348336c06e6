//! Events: giving one, finding one, and coming to it.

pub(super) mod announce;
pub mod answers;
pub(super) mod bodies;
pub mod calendar_entry;
mod change;
mod co_hosts;
pub mod counts;
pub mod door;
pub mod editing;
mod errors;
mod friends;
pub mod handing_on;
pub mod handover;
pub(super) mod handovers;
pub mod hiding;
pub mod hosts;
mod involvement;
pub mod leaving;
pub mod listing;
pub(super) mod live;
pub mod live_counts;
pub mod mine;
pub mod occurrence;
mod personal;
pub mod places;
pub mod promoting;
pub mod refunds;
mod requests;
pub mod rules;
pub mod schedule;
pub mod seating;
pub mod series;
pub mod store;
pub mod taking;
pub mod tickets;
#[cfg(test)]
mod week;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{Time, Whole};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{Page, StoreError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::announce::{announce_answer, announce_new};
use self::answers::RsvpOutcome;
use self::bodies::{Answered, Attendee, CountsBody, EventBody, SeenEvent};
use self::listing::EventFilter;
use self::places::Heads;
use self::requests::{As, EventsQuery, MineQuery, NewEvent, RsvpBody, TicketPrice};
use self::rules::{RsvpCounts, RsvpStatus, Settings};
use self::seating::Rsvp;
use self::store::Event;
use super::accounts::restrictions::Ability;
use super::effects::Effect;
use super::graph::filled;
use super::letters;
use super::notifications::kinds::NotificationKind;
use super::place::Near;
use super::policy::{self, Action, Object, Viewer};
use super::search::kinds::EVENT;
use super::{Community, label};
use crate::texts::{City, Description};

type Shared = State<Arc<Community>>;

/// The minute that it is: those who ask within one ask for the same list.
fn this_minute() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second() / 60 * 60).unwrap_or(now)
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read))
        .routes(routes!(mine))
        .routes(routes!(rsvp))
        .routes(routes!(attendees))
        .merge(change::router())
        .merge(door::router())
        .merge(friends::router())
        .merge(handovers::router())
        .merge(hosts::router())
        .merge(series::router())
}

/// Those whose names an event and an answer to it are shown with.
fn named_in(event: &Event, rsvp: Option<&Rsvp>) -> Vec<String> {
    let offered = rsvp.and_then(|rsvp| rsvp.handover.as_ref()).map(|offer| offer.to.clone());
    offered.into_iter().chain([event.host_id.clone()]).collect()
}

impl Community {
    /// The events with these ids that the caller may see, in the ids' order.
    pub(super) async fn seen_events_by_id(
        &self,
        ids: &[String],
        identity: &Identity,
    ) -> Result<Vec<SeenEvent>, Problem> {
        let mut events = Vec::with_capacity(ids.len());
        for event in self.events.of_ids(ids).await?.into_iter().flatten() {
            if self.events.may(identity.into(), Action::Read, &event).await?.is_allowed() {
                events.push(event);
            }
        }
        self.seen_events(events, identity).await
    }

    async fn seen_events(&self, events: Vec<Event>, identity: &Identity) -> Result<Vec<SeenEvent>, Problem> {
        let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
        let answers = self.events.rsvps_of(&ids, &identity.user_id).await?;
        Ok(self.seen_with(events.into_iter().zip(answers).collect()).await)
    }

    /// Events with their reader's answers, as lists show them.
    async fn seen_with(&self, answered: Vec<(Event, Option<Rsvp>)>) -> Vec<SeenEvent> {
        let named = answered.iter().flat_map(|(event, rsvp)| named_in(event, rsvp.as_ref()));
        let people = self.people(named.collect()).await;
        let seen = answered.into_iter().map(|(event, rsvp)| SeenEvent::new(event, rsvp, None, &people));
        seen.collect()
    }

    /// What came of an answer, as who gave it sees it.
    async fn answered(&self, outcome: RsvpOutcome) -> Result<Answered, StoreError> {
        let position = match outcome.rsvp.status {
            RsvpStatus::Waitlisted => self.events.position(&outcome.rsvp).await?,
            RsvpStatus::Going | RsvpStatus::Held | RsvpStatus::Maybe | RsvpStatus::Declined => None,
        };
        let (waits_for, counts) = (outcome.waits_for, CountsBody::of(&outcome.event));
        let held_until = outcome.rsvp.held_until.map(Into::into);
        Ok(Answered { rsvp: outcome.rsvp.into(), position, held_until, waits_for, counts })
    }

    /// Adds an event: unless it is a draft, those who look at events are told, and those who will come are reminded.
    pub(super) async fn give_event(&self, event: Event) -> Result<EventBody, StoreError> {
        let people = self.people(vec![event.host_id.clone()]).await;
        let effects = announce_new(&event, &people, event.created_at)?;
        let changed = Effect::changed(EVENT, &event.id);
        let effects = effects.iter().filter(|_| !event.is_draft).chain([&changed]).map(Effect::kept);
        self.events.create(&event, &effects.collect::<Result<Vec<_>, _>>()?).await?;
        mundotango_ops::metrics().events_created_total.with_label_values(&[&label(event.event_type)]).inc();
        Ok(EventBody::new(event, &people))
    }
}

/// Events by the time they start, soonest first.
#[utoipa::path(
    get, path = "/api/events", operation_id = "listEvents", tag = "events", params(EventsQuery, PageQuery),
    responses((status = OK, body = PageBody<SeenEvent>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<EventsQuery>,
) -> Result<Json<PageBody<SeenEvent>>, Problem> {
    let filter = EventFilter {
        city: filter.city.map(City::into_string),
        event_type: filter.event_type.map(|choice| choice.0),
        still_on: filter.from.is_none().then(this_minute),
        from: filter.from.map(|from| from.0),
        to: filter.to.map(|to| to.0),
        near: filter.near.map(|Near(point, km)| (point, km)),
        with_cancelled: false,
    };
    let page = community.events.events(&filter, paging.request()).await?;
    let items = community.seen_events(page.items, &identity).await?;
    Ok(Json(paging.body(Page { items, next: page.next })))
}

/// The caller's own events by the time they start, soonest first: those that the caller answered, or gives. Those that do not
/// take place are among them.
#[utoipa::path(
    get, path = "/api/events/mine", operation_id = "listMyEvents", tag = "events", params(MineQuery, PageQuery),
    responses((status = OK, body = PageBody<SeenEvent>), (status = BAD_REQUEST, body = Problem)),
)]
async fn mine(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page: paging }: ListQuery<MineQuery>,
) -> Result<Json<PageBody<SeenEvent>>, Problem> {
    let from = filter.from.map_or_else(this_minute, |Time(from)| from);
    let (user, request) = (&identity.user_id, paging.request());
    let page = match filter.role.map(|role| role.0).unwrap_or_default() {
        As::Guest => {
            let mut page = community.events.of_user(user, from, request).await?;
            page.items.retain(|(event, _)| !event.is_suspended);
            page.map(|(event, rsvp)| (event, Some(rsvp)))
        }
        As::Host => community.events.of_host(user, from, request).await?.map(|event| (event, None)),
    };
    let items = community.seen_with(page.items).await;
    Ok(Json(paging.body(Page { items, next: page.next })))
}

/// Give an event. It is published to `events:all`, unless it is a draft.
#[utoipa::path(
    post, path = "/api/events", operation_id = "createEvent",
    tag = "events", params(IdempotencyKey), request_body = NewEvent,
    responses(
        (status = CREATED, body = EventBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewEvent>,
) -> Result<(StatusCode, Json<EventBody>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let when = body.schedule().map_err(|error| Problem::invalid(vec![error]))?;
    let total = body.capacity.value().map(Whole::get);
    let role_limits = body.role_limits.value().unwrap_or_default();
    let event = Event {
        created_at: new_id.made_at(),
        changed_at: new_id.made_at(),
        id: new_id.into_text(),
        host_id: identity.user_id,
        title: body.title.into_string(),
        description: body.description.value().map(Description::into_string).unwrap_or_default(),
        when,
        location: body.location.0,
        event_type: body.event_type.0,
        settings: Settings {
            limits: role_limits.limits(total),
            attendees: body.attendees.0,
            ticket: body.ticket_price.value().map(TicketPrice::money),
            ask_again: body.ask_again_days.value().map(Whole::get),
        },
        is_draft: body.draft,
        counts: RsvpCounts::default(),
        going: Heads::default(),
        held: 0,
        sequence: 0,
        version: 0,
        cancelled: None,
        series: None,
        is_given_away: false,
        is_suspended: false,
    };
    Ok((StatusCode::CREATED, Json(community.give_event(event).await?)))
}

/// One event.
#[utoipa::path(
    get, path = "/api/events/{id}", operation_id = "getEvent", tag = "events",
    responses((status = OK, body = SeenEvent), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenEvent>, Problem> {
    let event = community.event_for(&id, &identity, Action::Read).await?;
    let rsvp = community.events.rsvp_of(&id, &identity.user_id).await?;
    let position = match &rsvp {
        Some(rsvp) => community.events.position(rsvp).await?,
        None => None,
    };
    let people = community.people(named_in(&event, rsvp.as_ref())).await;
    Ok(Json(SeenEvent::new(event, rsvp, position, &people)))
}

/// Answer an event. Who wants to come to a full one is waitlisted, and gets the next free place; who leads and who follows wait
/// apart where each has a limit. A party that has a place and grows is refused where there is no room. What is over takes no
/// answers.
#[utoipa::path(
    post, path = "/api/events/{id}/rsvp", operation_id = "answerEvent",
    tag = "events", params(IdempotencyKey), request_body = RsvpBody,
    responses(
        (status = OK, body = Answered),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn rsvp(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<RsvpBody>,
) -> Result<Json<Answered>, Problem> {
    let now = mundotango_storage::now();
    let preferences = community.notifications.preferences.of(&identity.user_id).await?;
    let ways = preferences.ways(NotificationKind::EventGoing);
    let effects = move |outcome: &RsvpOutcome| {
        let mut effects = announce_answer(outcome)?;
        effects.extend(letters::invitations::going(outcome, ways)?);
        Ok(effects)
    };
    let outcome = community.events.rsvp(&id, &identity.user_id, body, now, effects).await?;
    let outcome = outcome.ok_or_else(|| Problem::not_found("event"))?;
    if outcome.previous != Some(outcome.rsvp.status) {
        outcome.count();
    }
    Ok(Json(community.answered(outcome).await?))
}

/// Who answered, for those to whom the event tells it; but for those who have blocked the caller, or whom the caller has
/// blocked. A page may end before it is full; its cursor goes on.
#[utoipa::path(
    get, path = "/api/events/{id}/attendees", operation_id = "listAttendees",
    tag = "events", params(PageQuery),
    responses(
        (status = OK, body = PageBody<Attendee>),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn attendees(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Attendee>>, Problem> {
    community.event_for(&id, &identity, Action::ReadAttendees).await?;
    let mine = community.circles.view(&identity.user_id).await?;
    let viewer = Viewer::from(&identity).knowing(&mine);
    let (community, id) = (&community, id.as_str());
    let read = |page| {
        let reading = async move {
            let mut page = community.events.rsvps(id, page).await?;
            page.items.retain(|rsvp| {
                // Who pauses comes nevertheless.
                let object = Object::Somebody { user: &rsvp.user_id, is_paused: false };
                policy::may(viewer, Action::Read, &object).is_allowed()
            });
            Ok::<_, StoreError>(page)
        };
        reading.boxed()
    };
    let page = filled(query.page.request(), read).await?;
    let people = community.people(page.items.iter().map(|rsvp| rsvp.user_id.clone()).collect()).await;
    let page = page.map(|rsvp| Attendee {
        user: people.get(&rsvp.user_id).cloned(),
        user_id: rsvp.user_id,
        status: rsvp.status,
        party: rsvp.party.into(),
        updated_at: rsvp.updated_at.into(),
    });
    Ok(Json(query.page.body(page)))
}

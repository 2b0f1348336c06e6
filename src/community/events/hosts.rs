//! Who gives an event: its owner, the hosts beside the owner, and handing it over.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice};
use mundotango_gateway::problem::Problem;
use mundotango_storage::db::{Decision, Wants};
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::EventBody;
use super::co_hosts::{self, CoHost, Right, co_host_key, pass_on, set_role};
use super::listing;
use super::rules::CoHostRole;
use super::series::bodies::EventSeriesBody;
use super::store::{EVENTS, Event, EventError, EventStore, still_on};
use crate::community::accounts::restrictions::Ability;
use crate::community::effects::Effect;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::search::kinds::EVENT;
use crate::community::{Community, Person, personal_channel};
use crate::texts::Id;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(set, remove))
        .routes(routes!(offer, take_back))
        .routes(routes!(accept))
}

impl EventStore {
    /// What a user may do at an event who is a host beside the owner.
    pub async fn co_host(&self, event_id: &str, user_id: &str) -> Result<Option<CoHostRole>, StoreError> {
        co_hosts::role_of(self.db(), &EVENTS, event_id, user_id).await
    }

    /// The hosts beside the owner.
    pub async fn co_hosts(&self, event_id: &str) -> Result<Vec<(String, CoHostRole)>, StoreError> {
        co_hosts::roles(self.db(), &EVENTS, event_id).await
    }

    /// Makes a user a host beside the owner, or with `None` takes that back; whether it changed anything. An owner is none
    /// beside itself.
    pub async fn set_co_host(
        &self,
        event_id: &str,
        user_id: &str,
        role: Option<CoHostRole>,
    ) -> Result<Option<bool>, EventError> {
        let (user, wants) = (user_id.to_owned(), Wants::head().row(co_host_key(user_id)));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                if part.facts.owner(&part.head) == user {
                    return Ok(Decision::Stands(false));
                }
                let is_new = set_role(part, &user, role).ok_or(EventError::TooManyHosts)?;
                Ok(Decision::write_if(is_new))
            })
            .await
    }

    /// Offers an event to another owner, or with `None` takes the offer back. There is one offer at a time. `effects` are what
    /// an offer that is new causes.
    pub async fn offer<E: Serialize>(
        &self,
        event_id: &str,
        to: Option<String>,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<()>, EventError> {
        let id = event_id.to_owned();
        self.db()
            .change(&EVENTS, event_id, Wants::head(), move |part| {
                let to = to.clone().filter(|to| *to != part.facts.owner(&part.head));
                if part.head.offered_to == to {
                    return Ok(Decision::Stands(()));
                }
                part.head.offered_to.clone_from(&to);
                if to.is_some() {
                    for effect in effects(&Event::in_part(&id, part))? {
                        part.emit(&effect)?;
                    }
                }
                Ok(Decision::Write(()))
            })
            .await
    }

    /// Takes an event over that is offered to a user. Who owned it stays an editor.
    pub async fn take_over<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        now: Timestamp,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        self.change_owner(event_id, user_id, Right::Offered, now, effects).await
    }

    /// Has a user own an event by some right. Who owned it stays an editor, or is nothing any more where it is left.
    pub(super) async fn change_owner<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        right: Right,
        now: Timestamp,
        effects: impl Fn(&Event) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Event>, EventError> {
        let (id, user) = (event_id.to_owned(), user_id.to_owned());
        let wants = Wants::head().row(co_host_key(user_id));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                if part.facts.owner(&part.head) == user {
                    return Ok(Decision::Stands(Event::in_part(&id, part)));
                }
                let before = part.facts.owner(&part.head);
                if !right.holds(&before, part.head.offered_to.as_deref(), &user) {
                    return Err(EventError::NotOffered);
                }
                if !part.facts.is_draft(&part.head) {
                    still_on(part, now)?;
                }
                pass_on(part, &before, &user, &right).ok_or(EventError::TooManyHosts)?;
                part.head.owner = Some(user.clone());
                part.head.offered_to = None;
                part.head.note_change(false, now);
                let event = Event::in_part(&id, part);
                part.enter(listing::host_entry(&event)?);
                for effect in effects(&event)? {
                    part.emit(&effect)?;
                }
                part.emit(&Effect::changed(EVENT, &id))?;
                Ok(Decision::Write(event))
            })
            .await
    }
}

impl Community {
    /// Whether there is such a user, whom the caller sees: nobody is given a part by somebody whom the user keeps out, or by a
    /// stranger while the user pauses, where that hides the user.
    pub(in crate::community) async fn known_user(
        &self,
        identity: &Identity,
        user_id: &str,
        pause_hides: bool,
    ) -> Result<(), Problem> {
        let known = self.accounts.profiles(&[user_id.to_owned()]).await?;
        let is_paused = pause_hides && known.iter().any(|user| user.paused_since.is_some());
        let mine = self.circles.view(&identity.user_id).await?;
        let object = Object::Somebody { user: user_id, is_paused };
        policy::may(Viewer::from(identity).knowing(&mine), Action::Read, &object).allows("user")?;
        if known.is_empty() { Err(Problem::not_found("user")) } else { Ok(()) }
    }

    /// An owner and the hosts beside it, as clients see them.
    pub(super) async fn hosts_body(&self, owner: &str, hosts: Vec<CoHost>) -> HostsBody {
        let ids = hosts.iter().map(|host| host.user_id.clone()).chain([owner.to_owned()]);
        let mut people = self.people(ids.collect()).await;
        let owner = people.remove(owner);
        let hosts = hosts.into_iter().map(|host| {
            let user = people.remove(&host.user_id);
            CoHostView { user_id: host.user_id, user, role: host.role, of_series: host.of_series }
        });
        HostsBody { owner, hosts: hosts.collect() }
    }
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct CoHostBody {
    #[schema(value_type = CoHostRole)]
    pub(super) role: Choice<CoHostRole>,
}

/// To whom an event, or a series, is offered.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewOwner {
    pub(super) user_id: Id,
}

/// Who gives an event, or a series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HostsBody {
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    owner: Option<Person>,
    /// The hosts beside the owner.
    hosts: Vec<CoHostView>,
}

/// A host beside the owner.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CoHost)]
struct CoHostView {
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    user: Option<Person>,
    role: CoHostRole,
    /// Whether it is a host of the whole series, by which it is one of the event.
    of_series: bool,
}

/// What those are told who have to do with giving an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum HostMessage {
    /// An event is offered to you.
    #[serde(rename = "event.offered")]
    Offered { event: Box<EventBody> },
    /// The event that you owned has another owner.
    #[serde(rename = "event.takenOver")]
    TakenOver { event: Box<EventBody> },
    /// A series is offered to you.
    #[serde(rename = "series.offered")]
    SeriesOffered { series: Box<EventSeriesBody> },
    /// The series that you owned has another owner.
    #[serde(rename = "series.takenOver")]
    SeriesTakenOver { series: Box<EventSeriesBody> },
}

/// Who gives an event. Hosts of its series are among them.
#[utoipa::path(
    get, path = "/api/events/{id}/hosts", operation_id = "listHosts", tag = "events",
    responses((status = OK, body = HostsBody), (status = NOT_FOUND, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<HostsBody>, Problem> {
    let event = community.event_for(&id, &identity, Action::Read).await?;
    let hosts = community.events.hosts_of(&event).await?;
    Ok(Json(community.hosts_body(&event.host_id, hosts).await))
}

/// Make somebody a host beside the owner; for the owner.
#[utoipa::path(
    put, path = "/api/events/{id}/hosts/{userId}", operation_id = "setHost", tag = "events",
    request_body = CoHostBody,
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn set(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
    ValidJson(body): ValidJson<CoHostBody>,
) -> Result<StatusCode, Problem> {
    community.event_for(&id, &identity, Action::HandOver).await?;
    community.known_user(&identity, &user_id, true).await?;
    community.events.set_co_host(&id, &user_id, Some(body.role.0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take back that somebody is a host; for the owner, and for that host.
#[utoipa::path(
    delete, path = "/api/events/{id}/hosts/{userId}", operation_id = "removeHost", tag = "events",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let action = if identity.user_id == user_id { Action::Read } else { Action::HandOver };
    community.event_for(&id, &identity, action).await?;
    community.events.set_co_host(&id, &user_id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Offer an event to another owner, in the place of an offer before; for the owner. It changes hands when that user accepts.
#[utoipa::path(
    put, path = "/api/events/{id}/offer", operation_id = "offerEvent", tag = "events",
    request_body = NewOwner,
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn offer(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewOwner>,
) -> Result<StatusCode, Problem> {
    let event = community.event_for(&id, &identity, Action::HandOver).await?;
    let to = body.user_id.into_string();
    community.known_user(&identity, &to, true).await?;
    let (people, offered_to) = (community.people(vec![event.host_id]).await, to.clone());
    let effects = move |event: &Event| {
        let message = HostMessage::Offered { event: Box::new(EventBody::new(event.clone(), &people)) };
        Ok(vec![Effect::publish(personal_channel(&offered_to), &message)?])
    };
    community.events.offer(&id, Some(to), effects).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take the offer of an event back; for the owner.
#[utoipa::path(
    delete, path = "/api/events/{id}/offer", operation_id = "withdrawEventOffer", tag = "events",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn take_back(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.event_for(&id, &identity, Action::HandOver).await?;
    community.events.offer(&id, None, |_| Ok(Vec::<Effect>::new())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take over an event that is offered to the caller. Who owned it stays a host.
#[utoipa::path(
    post, path = "/api/events/{id}/offer/accept", operation_id = "acceptEvent", tag = "events",
    responses(
        (status = OK, body = EventBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn accept(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<EventBody>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let event = community.events.event(&id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let people = community.people(vec![identity.user_id.clone(), event.host_id.clone()]).await;
    let (known, before) = (people.clone(), event.host_id);
    let effects = move |event: &Event| {
        let message = HostMessage::TakenOver { event: Box::new(EventBody::new(event.clone(), &known)) };
        Ok(vec![Effect::publish(personal_channel(&before), &message)?])
    };
    let taken = community.events.take_over(&id, &identity.user_id, now(), effects).await;
    // A draft that is not offered is not told of.
    let taken = taken?.ok_or_else(|| Problem::not_found("event"))?;
    Ok(Json(EventBody::new(taken, &people)))
}

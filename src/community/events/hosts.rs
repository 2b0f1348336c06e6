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
use mundotango_storage::db::{Decision, RowRange, Wants, key, last_part, prefix};
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::EventBody;
use super::listing;
use super::rules::{CoHostRole, MOST_CO_HOSTS, RsvpStatus};
use super::store::{EVENTS, Event, EventError, EventStore, Row, still_to_come};
use crate::community::effects::Effect;
use crate::community::policy::{self, Action, Involvement, Viewer};
use crate::community::{Community, Person, personal_channel};
use crate::texts::Id;

type Shared = State<Arc<Community>>;

/// Below this lie the hosts beside the owner, by user.
const CO_HOSTS: &str = "h";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(set, remove))
        .routes(routes!(offer, take_back))
        .routes(routes!(accept))
}

fn co_host_key(user_id: &str) -> String {
    key(&[CO_HOSTS, user_id])
}

impl EventStore {
    /// What a user may do at an event who is a host beside the owner.
    pub async fn co_host(&self, event_id: &str, user_id: &str) -> Result<Option<CoHostRole>, StoreError> {
        match self.db().row(&EVENTS, event_id, &co_host_key(user_id)).await? {
            Some(Row::CoHost(role)) => Ok(Some(role)),
            _ => Ok(None),
        }
    }

    /// The hosts beside the owner.
    pub async fn co_hosts(&self, event_id: &str) -> Result<Vec<(String, CoHostRole)>, StoreError> {
        let range = RowRange::first(prefix(&[CO_HOSTS]), MOST_CO_HOSTS);
        let rows = self.db().rows(&EVENTS, event_id, &range).await?.items.into_iter();
        let hosts = rows.filter_map(|(key, row)| match row {
            Row::CoHost(role) => Some((last_part(&key), role)),
            _ => None,
        });
        Ok(hosts.collect())
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
                let own = co_host_key(&user);
                let before = match part.row(&own) {
                    Some(Row::CoHost(role)) => Some(*role),
                    _ => None,
                };
                if before == role || part.facts.owner(&part.head) == user {
                    return Ok(Decision::Stands(false));
                }
                match (before, role) {
                    (None, Some(_)) if part.head.co_hosts >= MOST_CO_HOSTS => {
                        return Err(EventError::TooManyHosts);
                    }
                    (None, Some(_)) => part.head.co_hosts += 1,
                    (Some(_), None) => part.head.co_hosts = part.head.co_hosts.saturating_sub(1),
                    _ => {}
                }
                match role {
                    Some(role) => part.set(own, Row::CoHost(role)),
                    None => part.remove(own),
                }
                Ok(Decision::Write(true))
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
        let (id, user) = (event_id.to_owned(), user_id.to_owned());
        let wants = Wants::head().row(co_host_key(user_id));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                if part.facts.owner(&part.head) == user {
                    return Ok(Decision::Stands(Event::in_part(&id, part)));
                }
                if part.head.offered_to.as_ref() != Some(&user) {
                    return Err(EventError::NotOffered);
                }
                if !part.facts.is_draft(&part.head) {
                    still_to_come(part, now)?;
                }
                let before = part.facts.owner(&part.head);
                if part.row(&co_host_key(&user)).is_some() {
                    part.head.co_hosts = part.head.co_hosts.saturating_sub(1);
                    part.remove(co_host_key(&user));
                }
                part.head.co_hosts += 1;
                part.set(co_host_key(&before), Row::CoHost(CoHostRole::Editor));
                part.head.owner = Some(user.clone());
                part.head.offered_to = None;
                part.head.note_change(false, now);
                let event = Event::in_part(&id, part);
                part.enter(listing::host_entry(&event)?);
                for effect in effects(&event)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(event))
            })
            .await
    }
}

impl Community {
    /// The event, if the caller may do something with it.
    pub(in crate::community) async fn event_for(
        &self,
        id: &str,
        identity: &Identity,
        action: Action,
    ) -> Result<Event, Problem> {
        let event = self.events.event(id).await?.ok_or_else(|| Problem::not_found("event"))?;
        let viewer = Viewer::from(identity);
        let unknown = policy::may(viewer, action, &event.object(Involvement::None));
        // Only where it may decide is it looked up what part the caller has in the event.
        if !unknown.is_allowed() {
            let involved = self.involvement(&event, &identity.user_id, action).await?;
            policy::may(viewer, action, &event.object(involved)).allows("event")?;
        }
        Ok(event)
    }

    async fn involvement(
        &self,
        event: &Event,
        user_id: &str,
        action: Action,
    ) -> Result<Involvement, StoreError> {
        Ok(match self.events.co_host(&event.id, user_id).await? {
            Some(role) => role.into(),
            None if action == Action::ReadAttendees => {
                let rsvp = self.events.rsvp_of(&event.id, user_id).await?;
                let is_going = rsvp.is_some_and(|rsvp| rsvp.status == RsvpStatus::Going);
                if is_going { Involvement::Going } else { Involvement::None }
            }
            None => Involvement::None,
        })
    }

    async fn known_user(&self, user_id: &str) -> Result<(), Problem> {
        let known = self.accounts.profiles(&[user_id.to_owned()]).await?;
        if known.is_empty() { Err(Problem::not_found("user")) } else { Ok(()) }
    }
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct CoHostBody {
    #[schema(value_type = CoHostRole)]
    role: Choice<CoHostRole>,
}

/// To whom an event is offered.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct NewOwner {
    user_id: Id,
}

/// Who gives an event.
#[derive(Debug, Serialize, ToSchema)]
struct HostsBody {
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    owner: Option<Person>,
    /// The hosts beside the owner.
    hosts: Vec<CoHost>,
}

/// A host beside the owner.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CoHost {
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    user: Option<Person>,
    role: CoHostRole,
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
}

/// Who gives an event.
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
    let hosts = community.events.co_hosts(&id).await?;
    let ids = hosts.iter().map(|(user, _)| user.clone()).chain([event.host_id.clone()]);
    let mut people = community.people(ids.collect()).await;
    let owner = people.remove(&event.host_id);
    let hosts =
        hosts.into_iter().map(|(user_id, role)| CoHost { user: people.remove(&user_id), user_id, role });
    Ok(Json(HostsBody { owner, hosts: hosts.collect() }))
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
    community.known_user(&user_id).await?;
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
    community.known_user(&to).await?;
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
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn accept(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<EventBody>, Problem> {
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

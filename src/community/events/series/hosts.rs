//! Who gives a series: its owner, the hosts beside the owner, who are hosts of all dates that follow it, and handing it over.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::Problem;
use mundotango_storage::db::{Decision, Wants};
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{EventSeriesBody, SeenSeries, SeriesMessage};
use super::changing::{keep_templates, not_dividing, open_for_changes};
use super::jobs;
use super::state::{SERIES, Series, Template};
use super::store::{SeriesError, SeriesStore, all_rows, dates_of, series_of};
use crate::community::accounts::restrictions::Ability;
use crate::community::effects::Effect;
use crate::community::events::co_hosts::{self, CoHost, Right, co_host_key, pass_on, set_role};
use crate::community::events::hosts::{CoHostBody, HostMessage, HostsBody, NewOwner};
use crate::community::events::rules::CoHostRole;
use crate::community::policy::Action;
use crate::community::{Community, personal_channel};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(set, remove))
        .routes(routes!(offer, take_back))
        .routes(routes!(accept))
}

impl SeriesStore {
    /// What a user may do in a series who is a host beside the owner.
    pub async fn co_host(&self, id: &str, user_id: &str) -> Result<Option<CoHostRole>, StoreError> {
        co_hosts::role_of(&self.0, &SERIES, id, user_id).await
    }

    /// The hosts beside the owner.
    pub async fn co_hosts(&self, id: &str) -> Result<Vec<(String, CoHostRole)>, StoreError> {
        co_hosts::roles(&self.0, &SERIES, id).await
    }

    /// Makes a user a host beside the owner, or with `None` takes that back; whether it changed anything. An owner is none
    /// beside itself. Not while the series is divided, as the hosts go along.
    pub async fn set_co_host(
        &self,
        id: &str,
        user_id: &str,
        role: Option<CoHostRole>,
    ) -> Result<Option<bool>, SeriesError> {
        let (user, wants) = (user_id.to_owned(), Wants::head().row(co_host_key(user_id)));
        self.0
            .change(&SERIES, id, wants, move |part| {
                not_dividing(part)?;
                if part.head.owner(part.facts) == user {
                    return Ok(Decision::Stands(false));
                }
                let is_new = set_role(part, &user, role).ok_or(SeriesError::TooManyHosts)?;
                Ok(Decision::write_if(is_new))
            })
            .await
    }

    /// Offers a series to another owner, or with `None` takes the offer back. There is one offer at a time. `effects` are what
    /// an offer that is new causes.
    pub async fn offer<E: Serialize>(
        &self,
        id: &str,
        to: Option<String>,
        effects: impl Fn(&Series) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<()>, SeriesError> {
        let own = id.to_owned();
        self.0
            .change(&SERIES, id, Wants::head(), move |part| {
                let to = to.clone().filter(|to| to != part.head.owner(part.facts));
                if part.head.offered_to == to {
                    return Ok(Decision::Stands(()));
                }
                part.head.offered_to.clone_from(&to);
                if to.is_some() {
                    for effect in effects(&series_of(&own, part))? {
                        part.emit(&effect)?;
                    }
                }
                Ok(Decision::Write(()))
            })
            .await
    }

    /// Takes a series over that is offered to a user: a change like others, which its dates follow. Who owned it stays an editor.
    /// As it is then; `None` if there is no such series.
    pub async fn take_over<E: Serialize>(
        &self,
        id: &str,
        user_id: &str,
        effects: impl Fn(&Series) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Series>, SeriesError> {
        self.change_owner(id, user_id, Right::Offered, effects).await
    }

    /// Has a user own a series by some right.
    pub(in crate::community::events) async fn change_owner<E: Serialize>(
        &self,
        id: &str,
        user_id: &str,
        right: Right,
        effects: impl Fn(&Series) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Series>, SeriesError> {
        let (own, user) = (id.to_owned(), user_id.to_owned());
        self.0
            .change(&SERIES, id, all_rows().row(co_host_key(user_id)), move |part| {
                let before = part.head.template(part.facts).clone();
                let owner = before.owner(part.facts);
                if owner == user {
                    return Ok(Decision::Stands(series_of(&own, part)));
                }
                if !right.holds(owner, part.head.offered_to.as_deref(), &user) {
                    return Err(SeriesError::NotOffered);
                }
                open_for_changes(part)?;
                pass_on(part, owner, &user, &right).ok_or(SeriesError::TooManyHosts)?;
                let dates = dates_of(part);
                keep_templates(part, &dates);
                let after = Template { rev: before.rev + 1, owner: Some(user.clone()), ..before };
                part.head.template = Some(Box::new(after));
                part.head.offered_to = None;
                // The new owner has not heard when it ends.
                part.head.told_end = None;
                part.head.is_settled = false;
                part.head.version += 1;
                let series = series_of(&own, part);
                for effect in effects(&series)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(series))
            })
            .await
    }
}

/// Who gives a series. The hosts beside the owner are hosts of each date that the owner has not given away.
#[utoipa::path(
    get, path = "/api/events/series/{id}/hosts", operation_id = "listEventSeriesHosts", tag = "events",
    responses((status = OK, body = HostsBody), (status = NOT_FOUND, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<HostsBody>, Problem> {
    let series = community.series_for(&id, &identity, Action::Read).await?;
    let hosts = community.series.store.co_hosts(&id).await?.into_iter();
    let hosts = hosts.map(|(user_id, role)| CoHost { user_id, role, of_series: true }).collect();
    Ok(Json(community.hosts_body(series.owner(), hosts).await))
}

/// Make somebody a host of a series beside the owner; for the owner.
#[utoipa::path(
    put, path = "/api/events/series/{id}/hosts/{userId}", operation_id = "setEventSeriesHost", tag = "events",
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
    community.series_for(&id, &identity, Action::HandOver).await?;
    community.known_user(&identity, &user_id, true).await?;
    community.series.store.set_co_host(&id, &user_id, Some(body.role.0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take back that somebody is a host of a series; for the owner, and for that host.
#[utoipa::path(
    delete, path = "/api/events/series/{id}/hosts/{userId}", operation_id = "removeEventSeriesHost", tag = "events",
    responses(
        (status = NO_CONTENT),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let action = if identity.user_id == user_id { Action::Read } else { Action::HandOver };
    community.series_for(&id, &identity, action).await?;
    community.series.store.set_co_host(&id, &user_id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Offer a series to another owner, in the place of an offer before; for the owner. It changes hands when that user accepts.
#[utoipa::path(
    put, path = "/api/events/series/{id}/offer", operation_id = "offerEventSeries", tag = "events",
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
    let series = community.series_for(&id, &identity, Action::HandOver).await?;
    let to = body.user_id.into_string();
    community.known_user(&identity, &to, true).await?;
    let (people, offered_to) = (community.people(vec![series.owner().to_owned()]).await, to.clone());
    let effects = move |series: &Series| {
        let series = Box::new(EventSeriesBody::new(series, &people));
        let message = HostMessage::SeriesOffered { series };
        Ok(vec![Effect::publish(personal_channel(&offered_to), &message)?])
    };
    community.series.store.offer(&id, Some(to), effects).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take the offer of a series back; for the owner.
#[utoipa::path(
    delete, path = "/api/events/series/{id}/offer", operation_id = "withdrawEventSeriesOffer", tag = "events",
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
    community.series_for(&id, &identity, Action::HandOver).await?;
    community.series.store.offer(&id, None, |_| Ok(Vec::<Effect>::new())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take over a series that is offered to the caller, with its dates that are to come, but for those that were given away alone.
/// Who owned it stays a host. It counts as one of the caller's 20 series.
#[utoipa::path(
    post, path = "/api/events/series/{id}/offer/accept", operation_id = "acceptEventSeries", tag = "events",
    responses(
        (status = OK, body = SeenSeries),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn accept(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenSeries>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let (store, user_id) = (&community.series.store, identity.user_id);
    let series = store.series(&id).await?.ok_or_else(|| Problem::not_found("series"))?;
    // Should it come to nothing, the list of the user's series forgets it when it is full.
    if series.head.offered_to.as_ref() == Some(&user_id) {
        store.claim(&user_id, &id, now()).await?;
    }
    let before = series.owner().to_owned();
    let people = community.people(vec![user_id.clone(), before.clone()]).await;
    let effects = move |after: &Series| {
        let series = Box::new(EventSeriesBody::new(after, &people));
        let taken = HostMessage::SeriesTakenOver { series: series.clone() };
        Ok(vec![
            Effect::publish(personal_channel(&before), &taken)?,
            SeriesMessage::Changed { series }.effect(&after.id)?,
            jobs::work(&after.id, None)?,
        ])
    };
    let taken = store.take_over(&id, &user_id, effects).await?;
    let taken = taken.ok_or_else(|| Problem::not_found("series"))?;
    Ok(Json(community.seen_series(&taken, &user_id).await?))
}

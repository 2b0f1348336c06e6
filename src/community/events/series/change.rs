//! Changing a series and cancelling it, all of it or from a date on; for its host.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{StoreError, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{EventSeriesBody, SeenSeries, SeriesMessage};
use super::changing::Changed;
use super::input::{SeriesChange, SeriesEnd};
use super::jobs;
use super::repeats::OriginalStart;
use super::state::Series;
use crate::community::effects::Effect;
use crate::community::events::rules::Cancelled;
use crate::community::policy::Action;
use crate::community::{Community, Person};
use crate::texts::Reason;

type Shared = State<Arc<Community>>;

/// Steps of the work that a request waits for which divides a series: the new one can be read then.
const STEPS_OF_A_DIVISION: usize = 2;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(change)).routes(routes!(cancel))
}

/// Tells those who look at events of a change, once for all dates, and has its events follow.
pub(super) fn announce_change(
    changed: &Changed,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = Vec::new();
    for series in [Some(&changed.series), changed.rest.as_ref()].into_iter().flatten() {
        let message = SeriesMessage::Changed { series: Box::new(EventSeriesBody::new(series, people)) };
        effects.push(message.effect(&series.id)?);
    }
    effects.push(jobs::work(&changed.series.id, None)?);
    Ok(effects)
}

/// Tells those who look at events that a series ends, once for all dates, and has its events follow.
pub(super) fn announce_end(
    after: &Series,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    let series = Box::new(EventSeriesBody::new(after, people));
    let message = match after.head.cancelled {
        Some(_) => SeriesMessage::Cancelled { series },
        None => SeriesMessage::Changed { series },
    };
    Ok(vec![message.effect(&after.id)?, jobs::work(&after.id, None)?])
}

/// Change a series, or its dates from one on, which become a series of their own; for its host.
///
/// Its dates keep their events, and so the answers to them; those who answered are told where time or place are others. An
/// event keeps what the host gave it of its own by `PATCH /api/events/{id}`. Answered with the series that has the dates.
#[utoipa::path(
    patch, path = "/api/events/series/{id}", operation_id = "changeEventSeries",
    tag = "events", params(IdempotencyKey), request_body = SeriesChange,
    responses(
        (status = OK, body = SeenSeries),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<SeriesChange>,
) -> Result<Json<SeenSeries>, Problem> {
    let series = community.series_for(&id, &identity, Action::Change).await?;
    let (host_id, new_id) = (series.owner().to_owned(), new_id.into_text());
    let from = body.from.value().map(|OriginalStart(from)| from);
    let store = &community.series.store;
    if from.is_some() {
        store.claim(&host_id, &new_id, now()).await?;
    }
    let people = community.people(vec![host_id.clone()]).await;
    let effects = move |changed: &Changed| announce_change(changed, &people);
    let edit = move |before| body.edit(before);
    let changed = store.change(&id, from, new_id.clone(), now(), edit, effects).await;
    let is_divided = matches!(&changed, Ok(Some(Changed { rest: Some(_), .. })));
    if from.is_some() && !is_divided {
        store.give_back(&host_id, &new_id).await?;
    }
    let Changed { series, rest } = changed?.ok_or_else(|| Problem::not_found("series"))?;
    let Some(rest) = rest else { return Ok(Json(community.seen_series(&series, &identity.user_id).await?)) };
    // It is divided, whatever becomes of this: the job does what is left.
    if let Err(error) = community.series.run(&id, now(), STEPS_OF_A_DIVISION).await {
        tracing::warn!(%error, series = id, "the division of a series is left to its job");
    }
    let rest = store.series(&rest.id).await?.unwrap_or(rest);
    Ok(Json(community.seen_series(&rest, &identity.user_id).await?))
}

/// Cancel a series, or its dates from one on; for its host. Those who answered are told.
#[utoipa::path(
    post, path = "/api/events/series/{id}/cancel", operation_id = "cancelEventSeries",
    tag = "events", request_body = SeriesEnd,
    responses(
        (status = OK, body = SeenSeries),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn cancel(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<SeriesEnd>,
) -> Result<Json<SeenSeries>, Problem> {
    let series = community.series_for(&id, &identity, Action::Change).await?;
    let people = community.people(vec![series.owner().to_owned()]).await;
    let from = body.from.value().map(|OriginalStart(from)| from);
    let cancelled = Cancelled { at: now(), reason: body.reason.value().map(Reason::into_string) };
    let effects = move |after: &Series| announce_end(after, &people);
    let ended = community.series.store.end(&id, from, cancelled, effects).await?;
    let ended = ended.ok_or_else(|| Problem::not_found("series"))?;
    Ok(Json(community.seen_series(&ended, &identity.user_id).await?))
}

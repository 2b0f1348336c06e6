//! Series: events that repeat. See docs/events.md.

pub(in crate::community) mod bodies;
mod change;
mod changing;
mod dividing;
mod growing;
pub mod hosted;
mod hosts;
pub(in crate::community) mod imported;
mod input;
pub mod jobs;
pub mod planning;
mod repeats;
pub mod rules;
pub mod state;
pub mod store;
pub mod telling;
pub mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::problem::{Code, FieldCode, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{EventSeriesBody, SeenSeries, SeriesDate, SeriesMessage, UpcomingDate};
use self::input::NewSeries;
use self::rules::{earlier, occurrences};
use self::state::{DateRow, Facts, Head, Series, life_from};
use self::store::SeriesError;
use super::bodies::EventBody;
use super::errors::too_many_hosts;
use super::store::Event;
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::effects::Effect;
use crate::community::policy::{self, Action, Involvement, Object};

type Shared = State<Arc<Community>>;

/// Dates that a series shows as its next ones.
const NEXT_DATES: usize = 10;
/// Steps of the work that a request waits for which makes a series: its first 60 dates are there then, and a job makes the
/// rest.
const STEPS_OF_A_REQUEST: usize = 8;
/// How long the job waits for what the request does itself.
const AFTER_THE_REQUEST: SignedDuration = SignedDuration::from_secs(5);

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read))
        .routes(routes!(dates))
        .routes(routes!(renew))
        .routes(routes!(attend, stay_away))
        .merge(change::router())
        .merge(hosts::router())
}

impl From<SeriesError> for Problem {
    fn from(error: SeriesError) -> Self {
        match error {
            SeriesError::Cancelled => {
                let detail = "the series is cancelled and takes no changes";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Over)
            }
            SeriesError::NoSuchDate => {
                let message = "must be the originalStart of one of the series' dates";
                Self::invalid_field("from", FieldCode::NotAllowed, message)
            }
            SeriesError::Begun => {
                Self::invalid_field("from", FieldCode::OutOfRange, "must be a date that has not begun")
            }
            SeriesError::Dividing => {
                let detail = "dates are being handed over to another series; try again in a moment";
                Self::new(StatusCode::CONFLICT, detail).with_retry_after(std::time::Duration::from_secs(1))
            }
            SeriesError::MovedTooOften => {
                let detail = "times, place and rule of a series can be changed 20 times";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            SeriesError::EndsBeforeStart => {
                let message = "must be later than startTime, or on a later day";
                Self::invalid_field("endTime", FieldCode::Contradiction, message)
            }
            SeriesError::NoDates => {
                Self::invalid_field("repeats", FieldCode::OutOfRange, "must give a date that is to come")
            }
            SeriesError::HasPrice => {
                let detail = "the dates cost something: a place at each is taken by paying for it";
                Self::new(StatusCode::CONFLICT, detail)
            }
            SeriesError::TooManyHosts => too_many_hosts("a series"),
            SeriesError::NotOffered => Self::not_found("offer of this series to you"),
            SeriesError::Store(error) => error.into(),
        }
    }
}

impl Community {
    /// The series, if the caller may do this with it.
    pub(in crate::community) async fn series_for(
        &self,
        id: &str,
        identity: &Identity,
        action: Action,
    ) -> Result<Series, Problem> {
        let series = self.series.store.series(id).await?.ok_or_else(|| Problem::not_found("series"))?;
        let verdict = |involved| {
            let object = Object::Series { owner: series.owner(), involved };
            policy::may(identity.into(), action, &object)
        };
        // Only where it may decide is it looked up what part the caller has in the series.
        if !verdict(Involvement::None).is_allowed() {
            let role = self.series.store.co_host(id, &identity.user_id).await?;
            verdict(role.map(Into::into).unwrap_or_default()).allows("series")?;
        }
        self.note_admins_right(identity, action, ("series", id, series.owner())).await?;
        Ok(series)
    }

    /// The series, as the caller sees it.
    async fn seen_series(&self, series: &Series, user_id: &str) -> Result<SeenSeries, Problem> {
        let people = self.people(vec![series.owner().to_owned()]).await;
        Ok(SeenSeries {
            next_dates: self.next_dates(series, now()).await?,
            attending: self.series.store.is_habit(&series.id, user_id).await?,
            series: EventSeriesBody::new(series, &people),
        })
    }

    /// Makes a series that is counted among those of its host: it is told of once, and its first dates are made.
    async fn give_series(&self, series: Series, now: Timestamp) -> Result<Series, StoreError> {
        let people = self.people(vec![series.owner().to_owned()]).await;
        let created_at = series.facts.created_at;
        let message = SeriesMessage::Created {
            series: Box::new(EventSeriesBody::new(&series, &people)),
            dates: first_dates(&series, created_at)?,
        };
        let work = jobs::work(&series.id, created_at.checked_add(AFTER_THE_REQUEST).ok())?;
        let effects = [message.effect(&series.id)?, work];
        let effects = effects.iter().map(Effect::kept).collect::<Result<Vec<_>, _>>()?;
        self.series.store.create(&series, &effects).await?;
        // It is made, whatever becomes of this: the job does what is left.
        if let Err(error) = self.series.run(&series.id, now, STEPS_OF_A_REQUEST).await {
            tracing::warn!(%error, series = series.id, "the first dates of a series are left to its job");
        }
        Ok(self.series.store.series(&series.id).await?.unwrap_or(series))
    }

    /// The next dates that take place. A few that do not are looked past.
    async fn next_dates(&self, series: &Series, now: Timestamp) -> Result<Vec<UpcomingDate>, StoreError> {
        let from = earlier(series.today(now)?, 1);
        let page = PageRequest { start: PageStart::First, limit: 2 * NEXT_DATES };
        let dates = self.series.store.dates(series, from, page).await?.items;
        let events = self.series.events_of(&dates).await?;
        let dates = dates.iter().zip(events).filter_map(|((original, _), event)| {
            let event = event.filter(|event| event.cancelled.is_none() && event.when.over_at() > now)?;
            Some(UpcomingDate::new(*original, &event))
        });
        Ok(dates.take(NEXT_DATES).collect())
    }
}

/// The first dates of a series that is about to be made.
fn first_dates(series: &Series, now: Timestamp) -> Result<Vec<UpcomingDate>, StoreError> {
    let (template, zone) = (series.template(), series.facts.zone()?);
    let last = series.head.planned_by(&series.facts, series.today(now)?);
    let dates = occurrences(&template.rule, &template.times, &zone, template.first, last);
    let event = |date| -> Result<(_, Event), StoreError> {
        let original = template.original(date);
        let row = DateRow::planned(&series.id, &series.facts, template, original);
        Ok((original, series.event(original, &row, template)?))
    };
    let events = dates.into_iter().take(NEXT_DATES).map(event).collect::<Result<Vec<_>, _>>()?;
    Ok(events.iter().map(|(original, event)| UpcomingDate::new(*original, event)).collect())
}

/// Give a series of events: one for each date that a rule gives, half a year ahead. It is published to `events:all` once.
///
/// A series ends after a year unless it is renewed. A user has 20 series at most that go on.
#[utoipa::path(
    post, path = "/api/events/series", operation_id = "createEventSeries",
    tag = "events", params(IdempotencyKey), request_body = NewSeries,
    responses(
        (status = CREATED, body = SeenSeries),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewSeries>,
) -> Result<(StatusCode, Json<SeenSeries>), Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let calendar = body.on_calendar().map_err(|error| Problem::invalid(vec![error]))?;
    let (now, host_id) = (now(), identity.user_id);
    if calendar.first.over_at() <= now {
        let message = "must not be so long ago that the date is over";
        return Err(Problem::invalid_field("eventDate", FieldCode::OutOfRange, message));
    }
    let created_at = new_id.made_at();
    let today = created_at.to_zoned_datetime(calendar.first.start.time_zone().clone()).date();
    let facts = Facts {
        host_id: host_id.clone(),
        zone: calendar.first.zone_name().to_owned(),
        event_type: body.event_type.0,
        created_at,
        lives_until: life_from(today, calendar.first.start.date()),
        template: body.template(&calendar),
        continues: None,
    };
    let series = Series { id: new_id.into_text(), facts, head: Head::default() };
    community.series.store.claim(&host_id, &series.id, now).await?;
    let made = community.give_series(series, now).await?;
    Ok((StatusCode::CREATED, Json(community.seen_series(&made, &host_id).await?)))
}

/// One series: its rule and its next dates.
#[utoipa::path(
    get, path = "/api/events/series/{id}", operation_id = "getEventSeries", tag = "events",
    responses((status = OK, body = SeenSeries), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenSeries>, Problem> {
    let series = community.series_for(&id, &identity, Action::Read).await?;
    Ok(Json(community.seen_series(&series, &identity.user_id).await?))
}

/// The dates of a series from today on, those that do not take place among them, by their original start.
#[utoipa::path(
    get, path = "/api/events/series/{id}/dates", operation_id = "listEventSeriesDates",
    tag = "events", params(PageQuery),
    responses((status = OK, body = PageBody<SeriesDate>), (status = NOT_FOUND, body = Problem)),
)]
async fn dates(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<SeriesDate>>, Problem> {
    let series = community.series_for(&id, &identity, Action::Read).await?;
    let today = series.today(now())?;
    let page = community.series.store.dates(&series, today, query.page.request()).await?;
    let events = community.series.events_of(&page.items).await?;
    let hosts = events.iter().flatten().map(|event| event.host_id.clone());
    let people = community.people(hosts.collect()).await;
    let dates = page.items.into_iter().zip(events).map(|((original, row), event)| {
        SeriesDate::new(original, row, event.map(|event| EventBody::new(event, &people)))
    });
    Ok(Json(query.page.body(Page { items: dates.collect(), next: page.next })))
}

/// Have a series go on for a year from now; for its host.
#[utoipa::path(
    post, path = "/api/events/series/{id}/renew", operation_id = "renewEventSeries", tag = "events",
    responses(
        (status = OK, body = SeenSeries),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn renew(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenSeries>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let series = community.series_for(&id, &identity, Action::Change).await?;
    community.series.store.claim(series.owner(), &id, now()).await?;
    let people = community.people(vec![series.owner().to_owned()]).await;
    let effects = move |after: &Series| {
        let message = SeriesMessage::Changed { series: Box::new(EventSeriesBody::new(after, &people)) };
        Ok(vec![message.effect(&after.id)?, jobs::work(&after.id, None)?])
    };
    let renewed = community.series.store.renew(&id, now(), effects).await?;
    let renewed = renewed.ok_or_else(|| Problem::not_found("series"))?;
    Ok(Json(community.seen_series(&renewed, &identity.user_id).await?))
}

impl Community {
    async fn set_habit(&self, identity: &Identity, id: &str, wanted: bool) -> Result<StatusCode, Problem> {
        self.series_for(id, identity, Action::Read).await?;
        let (series_id, user_id) = (id.to_owned(), identity.user_id.clone());
        let effects = move || Ok(vec![jobs::answer_all(&series_id, &user_id)?]);
        let changed = self.series.store.attend(id, &identity.user_id, wanted, now(), effects).await?;
        changed.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| Problem::not_found("series"))
    }
}

/// Always come to a series: to its dates that are to come, but for those that the caller has declined, and to new ones.
///
/// Each date has its own answer, which can be another one. Where one is full the caller is waitlisted, in the order in which
/// people began to come always; at most 500 do.
#[utoipa::path(
    put, path = "/api/events/series/{id}/attendance", operation_id = "attendEventSeries", tag = "events",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn attend(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.set_habit(&identity, &id, true).await
}

/// No longer come to new dates of a series by itself. Dates that are answered stay so.
#[utoipa::path(
    delete, path = "/api/events/series/{id}/attendance", operation_id = "stopAttendingEventSeries",
    tag = "events", responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn stay_away(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.set_habit(&identity, &id, false).await
}

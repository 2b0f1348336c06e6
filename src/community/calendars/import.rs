//! Events out of a file that a calendar program exported. Each is taken by itself, and under its name in the file: importing the
//! file again changes what it has made.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use deserr::Deserr;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::{BadFields, Choice};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::{StoreError, now, zone_named};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::repeating::{Named, Said, by_name};
use super::report::{ImportReport, ImportedItem, Refused};
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::events::schedule::Zone;
use crate::community::events::store::EventType;
use crate::icalendar;

type Shared = State<Arc<Community>>;

/// Events that are taken at the same time: each waits for the store a few times.
const AT_ONCE: usize = 8;
pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(import))
}

/// What a file does not tell.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct ImportQuery {
    /// The kind of events whose `CATEGORIES` name none; milonga if absent.
    #[deserr(default)]
    #[param(value_type = Option<EventType>)]
    event_type: Option<Choice<EventType>>,
    /// The zone of times that name none, by its IANA name; the `X-WR-TIMEZONE` of the file if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64, example = "Europe/Berlin")]
    time_zone: Option<Zone>,
}

/// Give the events of a file that a calendar program exported (iCalendar, RFC 5545); at most 200. An event is known by its `UID`:
/// importing a file again changes what it has made. One that repeats becomes a series, if the rules of series can say what its `RRULE` says. Each event is taken or refused by itself.
#[utoipa::path(
    post, path = "/api/events/import", operation_id = "importEvents", tag = "calendars", params(ImportQuery),
    request_body(
        content = String, content_type = "text/calendar",
        example = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\nBEGIN:VEVENT\r\nUID:1@example.com\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20301204T210000\r\nDTEND;TZID=Europe/Berlin:20301205T030000\r\nSUMMARY:Milonga\r\nLOCATION:Ballhaus\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    ),
    responses(
        (status = OK, body = ImportReport),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = UNSUPPORTED_MEDIA_TYPE, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn import(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<ImportQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<ImportReport>, Problem> {
    community.must_be_able(&identity.user_id, Ability::Hosting).await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/calendar") {
        let detail = "the body must be a calendar (content-type: text/calendar)";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    community.limits.import(&identity.user_id).await?;
    let bad = |message: &str| Problem::invalid_field("body", FieldCode::BadForm, message);
    let text = String::from_utf8(body.to_vec()).map_err(|_| bad("must be text in UTF-8"))?;
    let zone = query.time_zone.and_then(|zone| zone_named(zone.name()));
    let (otherwise, now) = (query.event_type.map_or(EventType::Milonga, |choice| choice.0), now());
    let read = move || {
        let items = icalendar::read(text.trim_start_matches('\u{feff}'), zone.as_ref())?;
        Ok::<_, icalendar::Unreadable>(by_name(items, otherwise, now))
    };
    // Reading takes its time, and whatever a stranger's file does to the reader is this request's own matter.
    let named = tokio::task::spawn_blocking(read).await.map_err(|_| bad("cannot be read"))?;
    let named = named.map_err(|unreadable| bad(&unreadable.to_string()))?;

    let taken = futures_util::stream::iter(named)
        .map(async |named| community.take_named(&identity, named, otherwise, now).await)
        .buffered(AT_ONCE);
    let items: Vec<Vec<ImportedItem>> = taken.try_collect().await?;
    Ok(Json(ImportReport::new(items.concat())))
}

impl Community {
    /// Takes what a file says of one name.
    async fn take_named(
        &self,
        identity: &Identity,
        Named { uid, said, dates, twins }: Named,
        otherwise: EventType,
        now: Timestamp,
    ) -> Result<Vec<ImportedItem>, StoreError> {
        let refused = |why: &str| ImportedItem::refused(&uid, why.into());
        let (first, dates) = match said {
            Said::Once(item) => {
                let why = "RECURRENCE-ID: the event of this UID does not repeat in the file";
                let first = self.take_in(identity, &item, otherwise, now).await?;
                (vec![first], vec![refused(why); dates])
            }
            Said::Repeats(series) => {
                (Box::pin(self.take_series(identity, &uid, *series, now)).await?, Vec::new())
            }
            Said::Refused(Refused(why)) => (vec![refused(&why)], Vec::new()),
            Said::Nothing => {
                let why = "RECURRENCE-ID: the event that repeats has to be in the file as well";
                (Vec::new(), vec![refused(why); dates])
            }
        };
        let twins = vec![refused("UID: an event before it in the file has the same"); twins];
        Ok([first, dates, twins].concat())
    }
}

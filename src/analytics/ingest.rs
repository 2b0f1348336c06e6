//! The way in: events of clients, checked, made anonymous, and put into their queue.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::extract::ValidJson;
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{ClientAddress, Identity};
use mundotango_jobs::JobError;
use mundotango_ops::metrics;
use mundotango_storage::db::time_of_id;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Report, ReportedEvent};
use super::counts::Class;
use super::events::{Event, Sender};
use super::slots::Slot;
use super::state::Analytics;
use super::{agents, paths, work};

/// How old an event may be when it comes.
const OLDEST: SignedDuration = SignedDuration::from_hours(35 * 24);
/// How far the clock of a client may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn router() -> OpenApiRouter<Arc<Analytics>> {
    OpenApiRouter::new().routes(routes!(record))
}

/// What came of a batch.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecordedBody {
    /// Events that will be counted. Those that had come before are among them, and are not counted again.
    accepted: usize,
    /// Events that will not.
    refused: Vec<RefusedBody>,
    /// Why nothing of this batch is kept, if so: `signal` (the browser sent `Sec-GPC: 1` or `DNT: 1`) or
    /// `opted_out` (the user said so). Only how many events that were is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    not_kept: Option<NotKept>,
}

/// An event that is not counted.
#[derive(Debug, Serialize, ToSchema)]
struct RefusedBody {
    /// Its place in the batch, from 0 on.
    index: usize,
    /// `too_old` or `in_future`.
    code: Refusal,
    /// The same in words.
    detail: &'static str,
}

/// Why an event is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Refusal {
    TooOld,
    InFuture,
}

impl Refusal {
    fn detail(self) -> &'static str {
        match self {
            Self::TooOld => "by its id the event is older than 35 days",
            Self::InFuture => "by its id the event is more than 10 minutes ahead; look at the client's clock",
        }
    }

    fn outcome(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::InFuture => "in_future",
        }
    }
}

/// Why nothing of a batch is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NotKept {
    Signal,
    OptedOut,
}

/// What a request tells of its client.
struct Client {
    address: IpAddr,
    agent: String,
    /// The browser says that its user does not want to be followed (Global Privacy Control, Do Not Track).
    objects: bool,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // RPCs and calls of the server API come without an address; users are told apart by their ids all the
        // same.
        let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Self {
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            agent: text(USER_AGENT.as_str()).unwrap_or_default().to_owned(),
            objects: objects(&parts.headers),
        })
    }
}

fn objects(headers: &HeaderMap) -> bool {
    ["sec-gpc", "dnt"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|value| value.as_bytes().trim_ascii() == b"1"))
}

/// Record what happened at a client: up to 100 events, of somebody who is logged in or not.
///
/// The answer comes when the events are safe; they are counted a moment later. A batch may be sent again
/// after any failure: events with ids are counted once. Addresses and agents are not kept. Of clients that
/// send `Sec-GPC: 1` or `DNT: 1`, and of users who opted out, nothing is kept.
#[utoipa::path(
    post, path = "/api/analytics/events", operation_id = "recordEvents",
    tag = "analytics", request_body = Report,
    responses(
        (status = ACCEPTED, body = RecordedBody), (status = BAD_REQUEST, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
    security((), ("bearer" = [])),
)]
async fn record(
    identity: Option<Identity>,
    client: Client,
    State(analytics): State<Arc<Analytics>>,
    ValidJson(batch): ValidJson<Report>,
) -> Result<(StatusCode, Json<RecordedBody>), Problem> {
    analytics.admit(client.address).await?;
    let number = batch.events.0.len();
    if let Some(why) = why_not_kept(&analytics, identity.as_ref(), &client).await {
        note("opted_out", number);
        return Ok((
            StatusCode::ACCEPTED,
            Json(RecordedBody { not_kept: Some(why), ..RecordedBody::default() }),
        ));
    }
    let now = mundotango_storage::now();
    let (events, refused) = sorted_out(batch.events.0, now);
    for one in &refused {
        note(one.code.outcome(), 1);
    }
    let accepted = events.len();
    if accepted > 0 {
        let sender = sender(&analytics, identity.as_ref(), &client, now).await?;
        work::enqueue_events(&analytics.jobs, &sender, events).await.map_err(problem)?;
    }
    Ok((StatusCode::ACCEPTED, Json(RecordedBody { accepted, refused, not_kept: None })))
}

fn note(outcome: &str, events: usize) {
    metrics().analytics_events_total.with_label_values(&[outcome]).inc_by(events as u64);
}

async fn why_not_kept(
    analytics: &Analytics,
    identity: Option<&Identity>,
    client: &Client,
) -> Option<NotKept> {
    if client.objects {
        return Some(NotKept::Signal);
    }
    let allows = match identity {
        Some(identity) => analytics.consent.allows(&identity.user_id).await,
        None => true,
    };
    (!allows).then_some(NotKept::OptedOut)
}

/// The events that can be counted, and those that cannot.
fn sorted_out(events: Vec<ReportedEvent>, now: Timestamp) -> (Vec<Event>, Vec<RefusedBody>) {
    let (mut taken, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
    for (index, new) in events.into_iter().enumerate() {
        let event = Event {
            id: new.id.value().map_or_else(mundotango_protocol::new_id, |id| id.0),
            kind: new.kind.0.into(),
            name: new.name.0,
            path: new.path.value().map(|path| paths::form_of(&path.0)),
            properties: new.properties.0,
        };
        match time_of_id(&event.id).and_then(|time| refusal(time, now)) {
            Some(code) => refused.push(RefusedBody { index, code, detail: code.detail() }),
            None => taken.push(event),
        }
    }
    (taken, refused)
}

fn refusal(time: Timestamp, now: Timestamp) -> Option<Refusal> {
    if time < now - OLDEST {
        Some(Refusal::TooOld)
    } else if time > now + AHEAD {
        Some(Refusal::InFuture)
    } else {
        None
    }
}

async fn sender(
    analytics: &Analytics,
    identity: Option<&Identity>,
    client: &Client,
    now: Timestamp,
) -> Result<Sender, Problem> {
    let class = agents::class_of(Some(&client.agent));
    let Some(identity) = identity else {
        let day = Slot::of(now).day();
        let visitor = analytics.visitors.anonymous(day, client.address, &client.agent).await?;
        return Ok(Sender { visitor, class });
    };
    // An app may use any library, and whoever logs in is a person unless the agent says otherwise.
    let class = if class == Class::Bot { Class::Bot } else { Class::Human };
    Ok(Sender { visitor: analytics.visitors.member(&identity.user_id).await?, class })
}

fn problem(error: JobError) -> Problem {
    match error {
        JobError::Full => Problem::unavailable("too many events wait to be counted"),
        JobError::Store(error) => error.into(),
        error @ JobError::TooLarge(_) => Problem::internal(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_are_too_old_or_ahead_are_refused() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        for (time, refused) in [
            ("2026-11-29T12:00:00Z", None),
            ("2026-11-29T12:10:00Z", None),
            ("2026-11-29T12:10:00.001Z", Some(Refusal::InFuture)),
            ("2026-10-25T12:00:00Z", None),
            ("2026-10-25T11:59:59.999Z", Some(Refusal::TooOld)),
            ("1970-01-01T00:00:00Z", Some(Refusal::TooOld)),
        ] {
            assert_eq!(refusal(time.parse().unwrap(), now), refused, "{time}");
        }
    }

    #[test]
    fn t54_a_browser_can_object() {
        for (name, value, expected) in [
            ("sec-gpc", "1", true),
            ("dnt", "1", true),
            ("dnt", "0", false),
            ("dnt", "yes", false),
            ("x", "1", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(objects(&headers), expected, "{name}: {value}");
        }
    }
}

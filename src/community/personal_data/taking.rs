//! Getting a copy of all that is one's own: asking for it, looking how far it is, and fetching its parts.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use mundotango_gateway::extract::Path;
use mundotango_gateway::input::Time;
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::export_store::{Asked, Export, ExportStore, PartInfo, State as ExportState};
use super::work;
use crate::community::Community;

type Shared = State<Arc<Community>>;

/// What a part is.
const NDJSON: &str = "application/x-ndjson";
/// Rows of a part that are read at a time: about a megabyte.
const ROWS_AT_ONCE: usize = 16;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(ask, show)).routes(routes!(part))
}

/// An export of all that is the caller's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Export)]
struct ExportBody {
    state: ExportState,
    #[schema(required = true)]
    asked_at: Option<Time>,
    /// Until when its parts can be fetched.
    #[schema(required = true)]
    until: Option<Time>,
    /// From when on another may be asked for; null if that is now.
    #[schema(required = true)]
    next_at: Option<Time>,
    /// How far it is that runs: so many things were gone over, of about so many.
    #[schema(required = true)]
    progress: Option<ProgressBody>,
    /// Why it failed.
    #[schema(required = true)]
    why: Option<String>,
    /// Its parts, each a text of JSON documents, one a line.
    parts: Vec<PartBody>,
}

/// How far something is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportProgress)]
struct ProgressBody {
    done: u64,
    /// 0 where that is not known.
    of: u64,
}

/// A part of an export.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportPart)]
struct PartBody {
    /// The last part of its path.
    number: usize,
    bytes: u64,
    /// In hexadecimal.
    sha256: String,
}

impl Community {
    async fn export_body(&self, user_id: &str, export: Export) -> Result<ExportBody, Problem> {
        let now = now();
        let state = export.state_at(now);
        let progress = if state == ExportState::Running {
            let sweep = self.sweep.sweep().await?;
            let round = sweep.round.filter(|round| round.exporters.iter().any(|one| one == user_id));
            round.map(|round| ProgressBody { done: round.looked_at, of: sweep.last_looked_at })
        } else {
            None
        };
        let parts = export.parts.iter().enumerate().filter(|_| state == ExportState::Ready);
        Ok(ExportBody {
            state,
            asked_at: export.asked_at.map(Into::into),
            until: export.until.filter(|_| state == ExportState::Ready).map(Into::into),
            next_at: export.next_at(now).map(Into::into),
            progress,
            why: export.why.clone(),
            parts: parts
                .map(|(index, PartInfo { bytes, sha256 })| PartBody {
                    number: index + 1,
                    bytes: *bytes,
                    sha256: sha256.clone(),
                })
                .collect(),
        })
    }
}

fn too_soon(at: Timestamp, now: Timestamp) -> Problem {
    let wait = at.duration_since(now).unsigned_abs();
    Problem::too_many_requests(format!("one export a day is made: the next can be asked for from {at} on"))
        .with_retry_after(wait)
}

/// Ask for a copy of all that is the caller's: one a day. It is made within minutes to hours, and is there for 7 days then.
#[utoipa::path(
    post, path = "/api/users/me/export", operation_id = "requestExport", tag = "users", params(IdempotencyKey),
    responses(
        (status = ACCEPTED, body = ExportBody),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn ask(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
) -> Result<(StatusCode, Json<ExportBody>), Problem> {
    let (user_id, now) = (identity.user_id, now());
    let asked = community.exports.ask(&user_id, new_id.into_text(), now, work::sweep()?).await?;
    let export = match asked {
        Asked::TooSoon(at) => return Err(too_soon(at, now)),
        Asked::Queued(export) | Asked::UnderWay(export) => export,
    };
    // Also where it is asked for again: the node may have died between the two.
    community.sweep.want_export(&user_id, now, work::sweep()?).await?;
    Ok((StatusCode::ACCEPTED, Json(community.export_body(&user_id, export).await?)))
}

/// How far the caller's export is, and its parts.
#[utoipa::path(
    get, path = "/api/users/me/export", operation_id = "getExport", tag = "users",
    responses((status = OK, body = ExportBody)),
)]
async fn show(identity: Identity, State(community): Shared) -> Result<Json<ExportBody>, Problem> {
    let export = community.exports.export(&identity.user_id).await?;
    Ok(Json(community.export_body(&identity.user_id, export).await?))
}

/// What of a part is wanted: from where, and up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    start: u64,
    end: u64,
}

/// The one range that a header asks for; `None` where there is none that is understood, and an error where it lies behind the end.
fn stretch(range: Option<&HeaderValue>, bytes: u64) -> Result<Option<Stretch>, ()> {
    let text = range.and_then(|range| range.to_str().ok()).and_then(|text| text.strip_prefix("bytes="));
    let Some((from, to)) = text.and_then(|text| text.trim().split_once('-')) else { return Ok(None) };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let stretch = match (number(from), number(to)) {
        (Some(start), Some(last)) if start <= last => {
            Stretch { start, end: last.saturating_add(1).min(bytes) }
        }
        (Some(start), None) if to.trim().is_empty() => Stretch { start, end: bytes },
        (None, Some(last)) if from.trim().is_empty() && last > 0 => {
            Stretch { start: bytes.saturating_sub(last), end: bytes }
        }
        _ => return Ok(None),
    };
    if stretch.start >= bytes { Err(()) } else { Ok(Some(stretch)) }
}

/// A part of the caller's export; over HTTP alone. With `Range` it goes on where a transfer broke off.
#[utoipa::path(
    get, path = "/api/users/me/export/{part}", operation_id = "readExportPart", tag = "users",
    responses(
        (status = OK, body = String, content_type = "application/x-ndjson"),
        (status = PARTIAL_CONTENT, body = String, content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = RANGE_NOT_SATISFIABLE, body = Problem),
    ),
)]
async fn part(
    identity: Identity,
    State(community): Shared,
    headers: HeaderMap,
    Path(part): Path<String>,
) -> Result<Response, Problem> {
    // An RPC brings its session's identity and no header, and its answer would be gathered in memory.
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "parts are given over HTTP alone"));
    }
    let export = community.exports.export(&identity.user_id).await?;
    let is_there = export.state_at(now()) == ExportState::Ready;
    let index = part.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).filter(|_| is_there);
    let info = index.and_then(|index| export.parts.get(index));
    let (Some(index), Some(info)) = (index, info) else {
        return Err(Problem::not_found("part of an export"));
    };
    let tag = format!("\"{}\"", info.sha256);
    // A range of something else would be put together with this.
    let is_same = headers.get(header::IF_RANGE).is_none_or(|wanted| wanted.as_bytes() == tag.as_bytes());
    let wanted = stretch(headers.get(header::RANGE).filter(|_| is_same), info.bytes);
    let Ok(wanted) = wanted else {
        let detail = format!("the part has {} bytes", info.bytes);
        return Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail));
    };
    let Stretch { start, end } = wanted.unwrap_or(Stretch { start: 0, end: info.bytes });
    let reading = Reading {
        store: community.exports.clone(),
        user_id: identity.user_id,
        export_id: export.id.clone(),
        part: index,
        at: start,
        end,
    };
    let body = Body::from_stream(stream::unfold(reading, Reading::next).fuse());
    let mut response = ([(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "private, no-store")], body)
        .into_response();
    let own = response.headers_mut();
    own.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    own.insert(header::CONTENT_LENGTH, (end - start).into());
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        own.insert(header::ETAG, tag);
    }
    if wanted.is_some() {
        let of = format!("bytes {start}-{}/{}", end.saturating_sub(1), info.bytes);
        if let Ok(of) = HeaderValue::from_str(&of) {
            own.insert(header::CONTENT_RANGE, of);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// A part that is read as far as its reader takes it.
struct Reading {
    store: ExportStore,
    user_id: String,
    export_id: String,
    part: usize,
    at: u64,
    end: u64,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        if self.at >= self.end {
            return None;
        }
        let (store, part, at) = (self.store.clone(), self.part, self.at);
        let read = store.read(&self.user_id, &self.export_id, part, at, ROWS_AT_ONCE).await;
        let rows = match read {
            Ok(rows) => rows,
            Err(error) => {
                self.at = self.end;
                return Some((Err(error), self));
            }
        };
        let mut block = Vec::new();
        for (begins, text) in rows {
            let Some(skipped) = self.at.checked_sub(begins).and_then(|skipped| usize::try_from(skipped).ok())
            else {
                break;
            };
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let bytes = text.as_bytes().get(skipped..).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min(left)];
            block.extend_from_slice(bytes);
            self.at += bytes.len() as u64;
        }
        if block.is_empty() {
            // Its time is over: the connection is cut, by which the reader learns it.
            self.at = self.end;
            return Some((Err(StoreError::Damaged("a part of an export has ended".to_owned())), self));
        }
        Some((Ok(block.into()), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_what_is_there() {
        let of = |text: &str| stretch(Some(&HeaderValue::from_str(text).unwrap()), 100);
        let some = |start, end| Ok(Some(Stretch { start, end }));
        assert_eq!(of("bytes=0-9"), some(0, 10));
        assert_eq!(of("bytes=90-"), some(90, 100));
        assert_eq!(of("bytes=-10"), some(90, 100));
        assert_eq!(of("bytes=90-1000"), some(90, 100));
        assert_eq!(of("bytes=100-"), Err(()));
        for ignored in ["bytes=9-1", "bytes=", "lines=1-2", "bytes=a-b", "bytes=0-1,3-4", "bytes=-0"] {
            assert_eq!(of(ignored), Ok(None), "{ignored}");
        }
        assert_eq!(stretch(None, 100), Ok(None));
    }
}

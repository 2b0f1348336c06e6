//! The route by which a node that runs on a data folder gives all that it holds: no other process can open the folder.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;
use mundotango_storage::Stores;
use mundotango_storage::transfer::{self, Header, Totals, TransferError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::community::roles::is_admin;
use crate::schema::schema;

/// Blocks that wait for the client.
const WAITING: usize = 2;
/// What the answer is.
const NDJSON: &str = "application/x-ndjson";

/// What the route needs.
#[derive(Clone)]
struct ExportState {
    stores: Stores,
    product: &'static str,
    engine: &'static str,
    /// One export at a time, as each keeps the disk busy.
    turn: Arc<Semaphore>,
}

/// The route. `engine` is what the stream says that it came from.
pub(crate) fn router(stores: Stores, product: &'static str, engine: &'static str) -> OpenApiRouter {
    let state = ExportState { stores, product, engine, turn: Arc::new(Semaphore::new(1)) };
    OpenApiRouter::new().routes(routes!(export)).with_state(state)
}

/// All that the node's store holds, as one stream; for admins, and over HTTP alone. The embedded store gives what was there
/// when the request came. A stream that does not end with its trailer is cut off.
#[utoipa::path(
    get, path = "/api/admin/system/export", operation_id = "exportStore", tag = "system",
    responses(
        (status = OK, body = String, content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, body = Problem), (status = FORBIDDEN, body = Problem), (status = CONFLICT, body = Problem),
    ),
)]
async fn export(
    identity: Identity,
    State(state): State<ExportState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_admin(&identity) {
        return Err(Problem::forbidden("your role does not allow this"));
    }
    // An RPC brings its session's identity and no header, and its answer would be gathered in memory.
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the stream is given over HTTP alone"));
    }
    let turn = Arc::clone(&state.turn).try_acquire_owned();
    let turn = turn.map_err(|_| Problem::new(StatusCode::CONFLICT, "another export is under way"))?;
    tracing::info!(user = identity.user_id, "export begins");
    let (out, blocks) = mpsc::channel(WAITING);
    let exporting = Box::pin(async move {
        let schema = schema();
        let header = Header::new(&schema, state.product, state.engine);
        transfer::export(&state.stores, &schema, header, out).await
    });
    let export = Exporting { under_way: Some(exporting), blocks, _turn: turn };
    // Fused, as what compresses it asks once more after its end.
    let body = Body::from_stream(stream::unfold(export, Exporting::next).fuse());
    Ok(([(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// An export that goes on as far as its client reads, and ends with its connection.
struct Exporting {
    under_way: Option<BoxFuture<'static, Result<Totals, TransferError>>>,
    blocks: mpsc::Receiver<Bytes>,
    _turn: OwnedSemaphorePermit,
}

impl Exporting {
    async fn next(mut self) -> Option<(Result<Bytes, TransferError>, Self)> {
        loop {
            let Some(exporting) = &mut self.under_way else {
                let block = self.blocks.recv().await?;
                return Some((Ok(block), self));
            };
            tokio::select! {
                biased;
                Some(block) = self.blocks.recv() => return Some((Ok(block), self)),
                outcome = exporting => {
                    self.under_way = None;
                    match outcome {
                        Ok(_) => tracing::info!("export ended"),
                        // The connection is cut, by which the client learns it.
                        Err(error) => {
                            tracing::error!(%error, "export failed");
                            return Some((Err(error), self));
                        }
                    }
                }
            }
        }
    }
}

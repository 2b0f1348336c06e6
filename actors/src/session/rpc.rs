//! Calls of the application from a session. They run beside the session, so that a slow one holds up no other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use mundotango_ops::traces::Span;
use mundotango_protocol::{ErrorCode, ErrorReply, Reply, RpcRequest, RpcResult};
use tokio::sync::Semaphore;

use super::ports::Caller;
use super::refusal::Refusal;
use super::{Session, has_room};
use crate::crashes::panic_text;
use crate::recorder::{Handling, MessageKind, Stamp, in_words, tail};

/// The method that every session may call to measure a round trip.
const PING: &str = "ping";
/// Calls of all sessions that run at the same time; further ones are refused, as each holds memory and perhaps the store.
const CALLS_AT_ONCE: usize = 4096;
/// The code of a call that takes longer than its session waits: 503, as over HTTP. It may go on and be carried out.
const OUTCOME_UNKNOWN: u32 = 503;

fn too_large() -> ErrorReply {
    let message =
        "the answer is larger than what may wait for this session (session.outbox_bytes)".to_owned();
    ErrorReply { message, ..ErrorCode::LimitExceeded.into() }
}

/// The error of such a call. Not temporary: programs that try again by themselves might do it twice.
pub(crate) fn timed_out() -> ErrorReply {
    let message = "the call takes longer than a session waits (session.rpc_timeout), and may be carried out";
    ErrorReply { code: OUTCOME_UNKNOWN, message: message.to_owned(), temporary: false }
}

impl Session {
    pub(super) fn rpc(&mut self, id: u32, request: RpcRequest, span: &mut Span) -> Result<(), Refusal> {
        if request.method == PING {
            self.reply(&Reply { id, rpc: Some(RpcResult::default()), ..Reply::default() });
            return Ok(());
        }
        let handler = self.context.rpc.get().cloned().ok_or(ErrorCode::MethodNotFound)?;
        let credentials = self.credentials()?;
        let caller = Caller {
            client: self.client(),
            user: credentials.user.clone(),
            role: credentials.role.clone(),
            login_id: credentials.login_id.clone(),
            token_id: credentials.token_id.clone(),
            issued_at: credentials.issued_at,
            meta: credentials.meta.clone(),
            address: self.address,
        };
        let concurrency = self.context.session_options.rpc_concurrency;
        let slots = self.rpc_slots.get_or_insert_with(|| Arc::new(Semaphore::new(concurrency)));
        // Waiting for a place here would hold up pings and pushes of this session.
        let slot = Arc::clone(slots).try_acquire_owned().map_err(|_| ErrorCode::TooManyRequests)?;
        if self.context.calls.len() >= CALLS_AT_ONCE {
            return Err(ErrorCode::TooManyRequests.into());
        }

        let (handle, encoding) = (Arc::clone(&self.handle), self.handle.encoding());
        let time = self.context.session_options.rpc_timeout;
        let (stamp, span) = (Stamp::new(span.context()), std::mem::take(span));
        self.context.calls.spawn(async move {
            let trail = handle.vitals().trail();
            let handling = Handling::beside(trail, MessageKind::Call, request.data.len(), stamp);
            let call = span.around(handler.call(caller, &request.method, request.data));
            let call = AssertUnwindSafe(call).catch_unwind();
            let outcome = match tokio::time::timeout(time, call).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => {
                    let messages = in_words(&tail(trail.number()));
                    let panic = panic_text(&*panic);
                    tracing::error!(method = request.method, panic, messages, "rpc panicked");
                    Err(ErrorCode::Internal.into())
                }
                Err(_) => {
                    tracing::warn!(method = request.method, "rpc timed out");
                    Err(timed_out())
                }
            };
            drop(handling);
            span.end_with(&outcome.as_ref().map_err(|error: &ErrorReply| &error.message));
            let reply = match outcome {
                Ok(data) => Reply { id, rpc: Some(RpcResult { data }), ..Reply::default() },
                Err(error) => Reply::error(id, error),
            };
            let reply = match encoding.encode_reply(&reply) {
                Ok(bytes) if has_room(handle.outbox(), &bytes) => Ok(bytes),
                // The client may ask for less, and its session goes on.
                Ok(_) => encoding.encode_reply(&Reply::error(id, too_large())),
                Err(_) => encoding.encode_reply(&Reply::error(id, ErrorCode::NotAvailable)),
            };
            match reply {
                Ok(bytes) => handle.outbox().push(bytes),
                Err(error) => tracing::error!(%error, "error reply cannot be written"),
            }
            drop(slot);
        });
        Ok(())
    }
}

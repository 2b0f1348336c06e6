//! Bodies of requests, the same for all routes: how large and how slow they may be, and that a client whose body was
//! refused can read why.
//!
//! A connection that is closed while bytes of the client's wait unread is reset, and the client never sees the answer.
//! So the rest of a body that nobody wants is read and dropped before the answer, within limits of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Sleep;

use crate::options::HttpOptions;
use crate::problem::Problem;

/// How much is read and dropped of a body that is refused; a client that sends more is cut off.
const DROPPED_BYTES: u64 = 8 * 1024 * 1024;

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    max_bytes: u64,
    timeout: Duration,
}

impl BodyLimits {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        Self { max_bytes: options.max_body_bytes as u64, timeout: options.body_timeout }
    }
}

/// Bounds the request's body. Its own answer comes instead of the route's where the body was too much.
pub(crate) async fn bound(limits: BodyLimits, request: Request, next: Next) -> Response {
    let waits_for_permission = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if waits_for_permission && body.size_hint().lower() > limits.max_bytes {
        // The client asks before it sends: the answer is all that it needs.
        return too_large();
    }
    let fate = Arc::new(Mutex::new(Fate::Unread));
    let bounded = BoundedBody { body, limits, received: 0, timer: None, fate: Arc::clone(&fate) };
    let response = next.run(Request::from_parts(parts, Body::new(bounded))).await;
    let fate = std::mem::replace(&mut *fate.lock(), Fate::Unread);
    match fate {
        Fate::TooLarge => too_large(),
        Fate::Late => close(
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time (http.body_timeout)")
                .into_response(),
        ),
        Fate::Left(_) if waits_for_permission => response,
        Fate::Left(body) => {
            drop_rest(body, limits.timeout).await;
            response
        }
        Fate::Unread => response,
    }
}

/// Reads a body that nobody wants, so that the client gets to read the answer.
pub(crate) async fn drop_rest(mut body: Body, timeout: Duration) {
    let dropping = async {
        let mut dropped = 0;
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, Bytes::len) as u64;
            if dropped > DROPPED_BYTES {
                break;
            }
        }
    };
    // A client that takes longer does not read the answer.
    let _ = tokio::time::timeout(timeout, dropping).await;
}

fn too_large() -> Response {
    let detail = "the body is larger than it may be (http.max_body_bytes)";
    close(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response())
}

fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What became of a body.
enum Fate {
    /// It is being read, or was read to its end.
    Unread,
    /// It did not come in time.
    Late,
    /// It was larger than it may be.
    TooLarge,
    /// The route did not want it, or not all of it.
    Left(Body),
}

/// Why a route does not get the rest of a body.
#[derive(Debug, thiserror::Error)]
#[error("the body is too large or too slow")]
struct Refused;

struct BoundedBody {
    body: Body,
    limits: BodyLimits,
    received: u64,
    /// From the first time that the body had to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    fate: Arc<Mutex<Fate>>,
}

impl BoundedBody {
    fn refuse(&mut self, fate: Fate) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        *self.fate.lock() = fate;
        self.body = Body::empty();
        Poll::Ready(Some(Err(Box::new(Refused))))
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let timeout = self.limits.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(context).is_ready()
    }
}

impl hyper::body::Body for BoundedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        loop {
            let polled = Pin::new(&mut this.body).poll_frame(context);
            if (polled.is_pending() || this.timer.is_some()) && this.is_late(context) {
                return this.refuse(Fate::Late);
            }
            let frame = match ready!(polled) {
                Some(Ok(frame)) => frame,
                None if this.received > this.limits.max_bytes => return this.refuse(Fate::TooLarge),
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            };
            this.received += frame.data_ref().map_or(0, Bytes::len) as u64;
            if this.received <= this.limits.max_bytes {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.received > this.limits.max_bytes + DROPPED_BYTES {
                return this.refuse(Fate::TooLarge);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received <= self.limits.max_bytes && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for BoundedBody {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            *self.fate.lock() = Fate::Left(std::mem::take(&mut self.body));
        }
    }
}

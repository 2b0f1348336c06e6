//! HTTP answers that do not end as transports: server-sent events and plain streams. What the client says comes by POST
//! to `/emulation` and finds its session by a secret; on the unidirectional ones it says nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, Limited};
use mundotango_actors::{
    DirectSocket, DirectWrite, Engine, NodeError, Outgoing, Session, TopicHandler, Transport,
};
use mundotango_protocol::{DisconnectReason, EmulationRequest, Encoding, Push, Reply, objects};
use parking_lot::Mutex;
use prost::Message as _;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::client_address::ClientAddress;
use crate::cors;
use crate::origin::Origins;
use crate::problem::Problem;
use crate::turnstile::{self, Turnstile};
use crate::unidirectional;

/// Frames of a client that may wait for its session; the POST of another waits for a place.
const INBOX_CAPACITY: usize = 16;
/// How long it waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a body may take for its last message.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// What the answers' bodies hold while the connection takes nothing; the outbox fills behind them.
const BODY_CAPACITY: usize = 1;
/// What begins a body of server-sent events, so that proxies see that something comes.
const SSE_BEGIN: &[u8] = b"\r\n";

/// The content type that asks for Protobuf.
const OCTET_STREAM: &str = "application/octet-stream";

/// On what nodes pass each other the frames of clients whose session is elsewhere.
const TOPIC: &str = "emulation";

/// What the routes need.
pub(crate) struct Streams {
    engine: Arc<Engine>,
    origins: Arc<Origins>,
    turnstile: Arc<Turnstile>,
    /// The emulated sessions' inboxes, by the sessions' secrets.
    inboxes: Mutex<HashMap<String, mpsc::Sender<Bytes>>>,
}

/// The routes. Each answers every method itself, as browsers' preflights come to it too.
pub(crate) fn router(
    engine: Arc<Engine>,
    origins: Arc<Origins>,
    turnstile: Arc<Turnstile>,
    unidirectional: bool,
) -> Router {
    let streams = Arc::new(Streams { engine, origins, turnstile, inboxes: Mutex::default() });
    streams.engine.set_topic(TOPIC, Arc::new(Forwarded(Arc::downgrade(&streams))));
    let mut router = Router::new()
        .route("/connection/http_stream", any(http_stream))
        .route("/connection/sse", any(sse))
        .route("/emulation", any(emulation));
    if unidirectional {
        router = router
            .route("/connection/uni_http_stream", any(uni_http_stream))
            .route("/connection/uni_sse", any(uni_sse));
    }
    router.with_state(streams)
}

type Shared = State<Arc<Streams>>;

async fn http_stream(State(streams): Shared, request: Request) -> Response {
    let protobuf = is_octet_stream(request.headers());
    let encoding = if protobuf { Encoding::Protobuf } else { Encoding::Json };
    streams.open(request, &[Method::POST], Transport::HttpStream, encoding).await
}

async fn sse(State(streams): Shared, request: Request) -> Response {
    streams.open(request, &[Method::GET, Method::POST], Transport::Sse, Encoding::Json).await
}

async fn uni_http_stream(State(streams): Shared, request: Request) -> Response {
    streams.open(request, &[Method::POST], Transport::UniHttpStream, Encoding::Json).await
}

async fn uni_sse(State(streams): Shared, request: Request) -> Response {
    streams.open(request, &[Method::GET, Method::POST], Transport::UniSse, Encoding::Json).await
}

async fn emulation(State(streams): Shared, request: Request) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answer = match streams.admit(&request, &[Method::POST]) {
        Ok(true) => preflight(&[Method::POST]),
        Ok(false) => match streams.take(request).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(problem) => problem.into_response(),
        },
        // Not even the refusal is for a page that may not come in.
        Err(problem) => return problem.into_response(),
    };
    with_origin(answer, origin)
}

fn is_octet_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(OCTET_STREAM.as_bytes()))
}

fn preflight(methods: &[Method]) -> Response {
    let methods: Vec<_> = methods.iter().chain([&Method::OPTIONS]).map(Method::as_str).collect();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::try_from(methods.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    if let Ok(allowed) = HeaderValue::try_from(cors::ALLOWED_HEADERS.map(|name| name.to_string()).join(", "))
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors::MAX_AGE.as_secs()));
    response
}

/// Lets the page that asked read the answer.
fn with_origin(mut response: Response, origin: Option<HeaderValue>) -> Response {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// What a client posts to `/emulation` in JSON.
#[derive(Deserialize)]
struct EmulationBody {
    session: String,
    node: String,
    /// A frame of commands, as text.
    data: String,
}

impl Streams {
    /// Refuses those who may not come in; whether it is only asked whether one may.
    fn admit(&self, request: &Request, methods: &[Method]) -> Result<bool, Problem> {
        if !self.origins.allow(request.headers()) {
            return Err(Problem::forbidden("this origin may not connect here (http.allowed_origins)"));
        }
        if request.method() == Method::OPTIONS {
            return Ok(true);
        }
        if !methods.contains(request.method()) {
            let detail = format!("{} is not allowed on {}", request.method(), request.uri().path());
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail));
        }
        Ok(false)
    }

    async fn body(&self, request: Request) -> Result<Bytes, Problem> {
        let most = self.engine.session_options().max_frame_bytes;
        match Limited::new(request.into_body(), most).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than session.max_frame_bytes",
            )),
            Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body did not come whole")),
        }
    }

    /// Opens a session whose messages are the answer's body.
    async fn open(
        self: &Arc<Self>,
        request: Request,
        methods: &[Method],
        transport: Transport,
        encoding: Encoding,
    ) -> Response {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let answer = match self.admit(&request, methods) {
            Ok(true) => preflight(methods),
            Ok(false) => match self.start(request, transport, encoding).await {
                Ok(response) => response,
                Err(problem) => problem.into_response(),
            },
            Err(problem) => return problem.into_response(),
        };
        with_origin(answer, origin)
    }

    async fn start(
        self: &Arc<Self>,
        request: Request,
        transport: Transport,
        encoding: Encoding,
    ) -> Result<Response, Problem> {
        if self.engine.is_draining() {
            return Err(Problem::unavailable("the node is going away"));
        }
        let client = turnstile::client_of(&request);
        let first = if request.method() == Method::GET {
            let connect = unidirectional::connect_of_query(request.uri().query().unwrap_or_default());
            connect.ok_or_else(|| {
                Problem::new(StatusCode::BAD_REQUEST, "the query's cf_connect must hold the connect request")
            })?
        } else {
            self.body(request).await?
        };
        self.turnstile.pass(client).await?;

        let mut session = self.engine.open_session(transport, encoding);
        session.set_address(client.map(|ClientAddress(address)| address));
        let (sender, chunks) = mpsc::channel(BODY_CAPACITY);
        let body = Arc::new(Chunks { sender, form: BodyForm::of(transport, encoding) });
        session.handle().outbox().attach(Arc::<Chunks>::clone(&body));
        let (sender, inbox) = mpsc::channel(INBOX_CAPACITY);
        let inbox_key = session.session_key().filter(|_| transport.is_emulated()).map(str::to_owned);
        let place = inbox_key.map(|key| {
            self.inboxes.lock().insert(key.clone(), sender.clone());
            InboxPlace { streams: Arc::clone(self), key }
        });
        let pump = Pump { session, body, inbox, unsent: None };
        tokio::spawn(async move {
            pump.run(first).await;
            drop((place, sender));
        });
        Ok(answer(transport, encoding, chunks))
    }

    /// Hands a client's frame to its session. An unknown session is no error: it may have ended just now.
    async fn take(&self, request: Request) -> Result<(), Problem> {
        let protobuf = is_octet_stream(request.headers());
        let body = self.body(request).await?;
        let request =
            if protobuf {
                EmulationRequest::decode(body).ok()
            } else {
                objects::from_slice(&body).ok().map(|EmulationBody { session, node, data }| {
                    EmulationRequest { node, session, data: Bytes::from(data) }
                })
            };
        let request = request.ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "the body must hold session, node and data of an emulated session",
            )
        })?;
        if request.node == self.engine.node_id() {
            return self.hand_over(request, PATIENCE).await;
        }
        // The load balancer may send this anywhere.
        let node = request.node.clone();
        match self.engine.ask_topic(&node, TOPIC, request.encode_to_vec().into()).await {
            Ok(_) => Ok(()),
            Err(NodeError::Gone) => {
                Err(Problem::new(StatusCode::NOT_FOUND, "no such node: it has ended, so connect again"))
            }
            Err(error) => Err(Problem::unavailable(error.to_string())),
        }
    }

    async fn hand_over(&self, request: EmulationRequest, patience: Duration) -> Result<(), Problem> {
        let Some(inbox) = self.inboxes.lock().get(&request.session).cloned() else { return Ok(()) };
        match inbox.send_timeout(request.data, patience).await {
            Ok(()) | Err(mpsc::error::SendTimeoutError::Closed(_)) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(Problem::unavailable("the session has too many commands waiting"))
            }
        }
    }
}

/// An emulated session's inbox, which goes however its task ends.
struct InboxPlace {
    streams: Arc<Streams>,
    key: String,
}

impl Drop for InboxPlace {
    fn drop(&mut self) {
        self.streams.inboxes.lock().remove(&self.key);
    }
}

/// Takes the frames that came in on other nodes.
struct Forwarded(Weak<Streams>);

#[async_trait]
impl TopicHandler for Forwarded {
    async fn handle(&self, data: Bytes) -> Result<Bytes, String> {
        let request = EmulationRequest::decode(data).map_err(|error| error.to_string())?;
        if let Some(streams) = self.0.upgrade() {
            // What one client does not take must not hold up what else this node is asked.
            streams.hand_over(request, Duration::ZERO).await.map_err(|problem| problem.to_string())?;
        }
        Ok(Bytes::new())
    }
}

fn answer(transport: Transport, encoding: Encoding, chunks: mpsc::Receiver<Bytes>) -> Response {
    let content_type = match (transport, encoding) {
        (Transport::Sse | Transport::UniSse, _) => "text/event-stream; charset=utf-8",
        (_, Encoding::Protobuf) => OCTET_STREAM,
        // Proxies compress JSON as a whole, and hold it back for that.
        (_, Encoding::Json) => "application/x-ndjson; charset=utf-8",
    };
    let chunks = stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, Infallible>(chunk), chunks))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let no_cache = "private, no-cache, no-store, no-transform, must-revalidate, max-age=0";
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(no_cache));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// How messages stand in a body.
#[derive(Clone, Copy)]
struct BodyForm {
    encoding: Encoding,
    events: bool,
    listens_only: bool,
}

impl BodyForm {
    fn of(transport: Transport, encoding: Encoding) -> Self {
        Self {
            encoding,
            events: matches!(transport, Transport::Sse | Transport::UniSse),
            listens_only: transport.is_unidirectional(),
        }
    }

    fn write(self, messages: &[Bytes]) -> Bytes {
        let mut chunk = BytesMut::new();
        for message in messages {
            if self.encoding == Encoding::Protobuf {
                chunk.extend_from_slice(message);
            } else if self.listens_only {
                unidirectional::pushes_of(message).for_each(|push| self.write_line(push, &mut chunk));
            } else {
                message.split(|byte| *byte == b'\n').for_each(|reply| self.write_line(reply, &mut chunk));
            }
        }
        chunk.freeze()
    }

    fn write_line(self, line: &[u8], chunk: &mut BytesMut) {
        if self.events {
            chunk.extend_from_slice(b"data: ");
        }
        chunk.extend_from_slice(line);
        chunk.extend_from_slice(if self.events { b"\n\n" } else { b"\n" });
    }
}

/// The body of an answer, to which any task may write.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    form: BodyForm,
}

impl DirectSocket for Chunks {
    fn try_write(&self, messages: &[Bytes]) -> DirectWrite {
        let Ok(place) = self.sender.try_reserve() else { return DirectWrite::Blocked };
        let chunk = self.form.write(messages);
        mundotango_ops::metrics().realtime_bytes_sent_total.inc_by(chunk.len() as u64);
        place.send(chunk);
        DirectWrite::Written
    }
}

/// Moves messages between a session and its two HTTP halves.
struct Pump {
    session: Session,
    body: Arc<Chunks>,
    inbox: mpsc::Receiver<Bytes>,
    /// What the body does not take yet.
    unsent: Option<Bytes>,
}

impl Pump {
    async fn run(mut self, first: Bytes) {
        let form = self.body.form;
        if form.events {
            // The body is empty, so this finds a place.
            let _ = self.body.sender.try_send(Bytes::from_static(SSE_BEGIN));
        }
        if form.listens_only {
            unidirectional::connect(&mut self.session, &first).await;
        } else {
            self.session.receive(first).await;
        }
        let body = Arc::clone(&self.body);
        let mut goes_on = true;
        while goes_on {
            // A client that keeps posting must not keep this task from letting others run.
            tokio::task::coop::consume_budget().await;
            goes_on = tokio::select! {
                wakeup = self.session.wait() => match self.session.proceed(wakeup).await {
                    None | Some(Outgoing::Ping) => true,
                    Some(Outgoing::Messages(messages)) => {
                        self.unsent = Some(form.write(&messages));
                        true
                    }
                    Some(Outgoing::Flush) => {
                        self.session.written();
                        true
                    }
                    Some(Outgoing::End(reason)) => {
                        self.say_why(&reason).await;
                        false
                    }
                },
                Some(frame) = self.inbox.recv() => {
                    self.session.receive(frame).await;
                    true
                }
                place = body.sender.reserve(), if self.unsent.is_some() => match (place, self.unsent.take()) {
                    (Ok(place), Some(chunk)) => {
                        mundotango_ops::metrics().realtime_bytes_sent_total.inc_by(chunk.len() as u64);
                        place.send(chunk);
                        self.session.written();
                        true
                    }
                    _ => false,
                },
                // The client is gone.
                () = body.sender.closed() => false,
            };
        }
        self.session.close().await;
    }

    /// These transports have no close frame: the last message says why. What a stalled client has not taken is cut off,
    /// as a half of it would make the last message unreadable.
    async fn say_why(&self, reason: &DisconnectReason) {
        let reply = Reply::push("", Push::disconnect(reason));
        if let Ok(message) = self.body.form.encoding.encode_reply(&reply) {
            let last = self.body.sender.send(self.body.form.write(&[message]));
            // A client that takes nothing is left at that.
            let _ = tokio::time::timeout(END_TIMEOUT, last).await;
        }
    }
}

#[cfg(test)]
mod tests;

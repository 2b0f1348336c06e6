//! The sessions' WebSocket: one task a socket, which owns the session, feeds it what comes and writes what others could
//! not write at once.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use mundotango_actors::{Engine, Outgoing, Session, Transport, Wakeup};
use mundotango_protocol::{Disconnect, Encoding};

use super::close_code;
use super::control::ControlRate;
use super::decoder::{Decoder, Limits, Message, Violation};
use super::handshake::Handshake;
use super::socket::{Form, Received, Socket, decode, join};
use crate::client_address::ClientAddress;
use crate::origin::Origins;
use crate::places::ConnectionPlace;
use crate::problem::Problem;
use crate::turnstile::{self, Turnstile};
use crate::unidirectional;

/// The subprotocol that asks for JSON.
const JSON_PROTOCOL: &str = "centrifuge-json";
/// The subprotocol that asks for Protobuf.
const PROTOBUF_PROTOCOL: &str = "centrifuge-protobuf";
/// Most frames of one message.
const MAX_FRAGMENTS: usize = 1024;
/// Messages of one read after which other tasks get their turn.
const MANY_MESSAGES: usize = 64;

/// What the WebSocket routes need.
pub(crate) struct WebSocketState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) turnstile: Arc<Turnstile>,
}

impl WebSocketState {
    /// Refuses those who may not come in.
    fn admit(&self, request: &Request) -> Result<(), Problem> {
        if !self.origins.allow(request.headers()) {
            return Err(Problem::forbidden("this origin may not open sockets here (http.allowed_origins)"));
        }
        if self.engine.is_draining() {
            return Err(Problem::unavailable("the node is going away"));
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        let max_message_bytes = self.engine.session_options().max_frame_bytes;
        Limits { max_message_bytes, max_fragments: MAX_FRAGMENTS }
    }
}

/// `GET /connection/websocket`
pub(crate) async fn upgrade(
    State(state): State<Arc<WebSocketState>>,
    place: Option<Extension<ConnectionPlace>>,
    mut request: Request,
) -> Result<Response, Problem> {
    state.admit(&request)?;
    // A request that cannot become a socket must not use up a turn.
    let handshake = Handshake::read(&mut request, &[JSON_PROTOCOL, PROTOBUF_PROTOCOL])?;
    let client = turnstile::client_of(&request);
    state.turnstile.pass(client).await?;
    let query = request.uri().query().unwrap_or_default();
    let asks = |wanted: &[&str]| query.split('&').any(|pair| wanted.contains(&pair));
    let encoding = match handshake.protocol() {
        Some(PROTOBUF_PROTOCOL) => Encoding::Protobuf,
        None if asks(&["format=protobuf", "cf_protocol=protobuf"]) => Encoding::Protobuf,
        _ => Encoding::Json,
    };
    let native_pings = asks(&["cf_ws_frame_ping_pong=true"]);
    let (response, connection) = handshake.accept();
    tokio::spawn(async move {
        if let Some((stream, first)) = connection.await {
            let form = if encoding == Encoding::Json { Form::Text } else { Form::Binary };
            let mut session = state.engine.open_session(Transport::WebSocket, encoding);
            session.set_address(client.map(|ClientAddress(address)| address));
            if native_pings {
                session.ping_natively();
            }
            let socket = Arc::new(Socket::new(stream, form));
            session.handle().outbox().attach(Arc::<Socket>::clone(&socket));
            Connection::new(socket, session, false).run(state.limits(), first).await;
        }
        drop(place);
    });
    Ok(response)
}

/// `GET /connection/uni_websocket`
pub(crate) async fn upgrade_uni(
    State(state): State<Arc<WebSocketState>>,
    place: Option<Extension<ConnectionPlace>>,
    mut request: Request,
) -> Result<Response, Problem> {
    state.admit(&request)?;
    let handshake = Handshake::read(&mut request, &[JSON_PROTOCOL])?;
    let client = turnstile::client_of(&request);
    state.turnstile.pass(client).await?;
    let connect = unidirectional::connect_of_query(request.uri().query().unwrap_or_default());
    let (response, connection) = handshake.accept();
    tokio::spawn(async move {
        if let Some((stream, first)) = connection.await {
            let mut session = state.engine.open_session(Transport::UniWebSocket, Encoding::Json);
            session.set_address(client.map(|ClientAddress(address)| address));
            if let Some(connect) = connect {
                unidirectional::connect(&mut session, &connect).await;
            }
            let socket = Arc::new(Socket::new(stream, Form::Text));
            Connection::new(socket, session, true).run(state.limits(), first).await;
        }
        drop(place);
    });
    Ok(response)
}

/// A socket and its session.
struct Connection {
    socket: Arc<Socket>,
    session: Session,
    /// Whether the client's only message is its connect request, and it gets bare pushes.
    listens_only: bool,
    control_rate: ControlRate,
    /// What was read while the client's commands were too many; nothing more is read meanwhile.
    backlog: Option<Box<Backlog>>,
}

struct Backlog {
    messages: VecDeque<Message>,
    violation: Option<Violation>,
}

impl Connection {
    fn new(socket: Arc<Socket>, session: Session, listens_only: bool) -> Self {
        Self { socket, session, listens_only, control_rate: ControlRate::default(), backlog: None }
    }

    /// Moves messages between the socket and the session until one of them ends. `first` came with the handshake.
    async fn run(mut self, limits: Limits, first: Bytes) {
        let mut decoder = Decoder::new(limits);
        let socket = Arc::clone(&self.socket);
        // What is done for a moment is boxed: an idle socket's task should be no larger than its waiting.
        let received = decode(&mut decoder, &first);
        // It keeps the HTTP connection's whole buffer.
        drop(first);
        let mut goes_on = Box::pin(self.take_in(received)).await;
        while goes_on {
            // All branches below may be ready for as long as a client sends: without this line the other tasks of this
            // thread, its timers among them, would not run until the client stops.
            tokio::task::coop::consume_budget().await;
            let reads = !self.session.is_paused();
            goes_on = tokio::select! {
                wakeup = self.session.wait() => Box::pin(self.proceed(wakeup)).await,
                () = std::future::ready(()), if reads && self.backlog.is_some() => {
                    Box::pin(self.take_backlog()).await
                }
                readable = socket.readable(), if reads && self.backlog.is_none() => match readable {
                    Ok(()) => Box::pin(self.take_in(socket.read(&mut decoder))).await,
                    Err(_) => false,
                },
                flushed = socket.flush(), if socket.is_waiting() => {
                    self.session.written();
                    flushed.is_ok()
                }
            };
        }
        Box::pin(self.session.close()).await;
    }

    async fn proceed(&mut self, wakeup: Wakeup) -> bool {
        match self.session.proceed(wakeup).await {
            None => true,
            Some(outgoing) => self.write(outgoing).await,
        }
    }

    /// Gives the session what came; whether the connection goes on.
    async fn take_in(&mut self, received: Received) -> bool {
        let (messages, violation) = match received {
            Received::Messages(messages) => (messages, None),
            Received::Broken(messages, violation) => (messages, Some(violation)),
            Received::Gone => return false,
        };
        let many = messages.len() >= MANY_MESSAGES;
        self.backlog = Some(Box::new(Backlog { messages: messages.into(), violation }));
        let goes_on = self.take_backlog().await;
        if many {
            // The budget counts reads, and this one was as much work as many.
            tokio::task::yield_now().await;
        }
        goes_on
    }

    /// Gives the session what was read, until the client owes too much; whether the connection goes on.
    async fn take_backlog(&mut self) -> bool {
        let Some(mut backlog) = self.backlog.take() else { return true };
        while let Some(message) = backlog.messages.pop_front() {
            match message {
                Message::Text(bytes) | Message::Binary(bytes) if self.listens_only => {
                    if !self.session.is_connected() {
                        unidirectional::connect(&mut self.session, &bytes).await;
                    }
                }
                Message::Text(bytes) | Message::Binary(bytes) => self.session.receive(bytes).await,
                Message::Ping(_) | Message::Pong(_) if !self.control_rate.take() => {
                    self.close(Some(close_code::POLICY), "too many control frames").await;
                    return false;
                }
                Message::Ping(payload) => self.socket.pong(&payload),
                Message::Pong(_) => self.session.ponged(),
                Message::Close(code) => {
                    self.close(code, "").await;
                    return false;
                }
            }
            if self.session.is_paused() {
                self.backlog = Some(backlog);
                return true;
            }
        }
        if let Some(violation) = backlog.violation {
            self.close(Some(violation.code), violation.text).await;
            return false;
        }
        true
    }

    /// Closes for the client's sake. No message may follow the close frame, whoever writes it.
    async fn close(&self, code: Option<u16>, reason: &str) {
        let outbox = self.session.handle().outbox();
        outbox.end(Disconnect::ConnectionClosed);
        outbox.detach();
        super::close(&self.socket, code, reason).await;
    }

    /// Does what the session wants done, without waiting for the socket; whether the connection goes on.
    async fn write(&mut self, outgoing: Outgoing) -> bool {
        match outgoing {
            Outgoing::Messages(messages) if self.listens_only => {
                for push in messages.iter().flat_map(|message| unidirectional::pushes_of(message)) {
                    self.socket.put(push);
                }
            }
            Outgoing::Messages(messages) => self.socket.put(&join(&messages, self.socket.separator())),
            Outgoing::Flush => {}
            Outgoing::Ping => {
                self.socket.ping();
                return true;
            }
            Outgoing::End(reason) => {
                super::close(&self.socket, Some(reason.code()), reason.reason()).await;
                return false;
            }
        }
        if !self.socket.is_waiting() {
            self.session.written();
        }
        true
    }
}

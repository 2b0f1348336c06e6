//! The sessions' WebSocket: one task a socket, which owns the session, feeds it what comes and writes what others could
//! not write at once.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use mundotango_actors::{Engine, Outgoing, Session, Transport, Wakeup};
use mundotango_protocol::{Disconnect, Encoding};

use super::decoder::{Decoder, Limits, Message};
use super::handshake::Handshake;
use super::socket::{Form, Received, Socket, decode};
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
    state.turnstile.pass(turnstile::client_of(&request)).await?;
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
            if native_pings {
                session.ping_natively();
            }
            let socket = Arc::new(Socket::new(stream, form));
            session.handle().outbox().attach(Arc::<Socket>::clone(&socket));
            Connection { socket, session, listens_only: false }.run(state.limits(), first).await;
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
    state.turnstile.pass(turnstile::client_of(&request)).await?;
    let connect = unidirectional::connect_of_query(request.uri().query().unwrap_or_default());
    let (response, connection) = handshake.accept();
    tokio::spawn(async move {
        if let Some((stream, first)) = connection.await {
            let mut session = state.engine.open_session(Transport::UniWebSocket, Encoding::Json);
            if let Some(connect) = connect {
                session.receive(unidirectional::command_of(&connect)).await;
            }
            let socket = Arc::new(Socket::new(stream, Form::Text));
            Connection { socket, session, listens_only: true }.run(state.limits(), first).await;
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
}

impl Connection {
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
            goes_on = tokio::select! {
                wakeup = self.session.wait() => Box::pin(self.proceed(wakeup)).await,
                readable = socket.readable() => match readable {
                    Ok(()) => Box::pin(self.take_in(socket.read(&mut decoder))).await,
                    Err(_) => false,
                },
                // What the kernel did not take of an answer to a ping.
                flushed = socket.flush(), if socket.is_waiting() => flushed.is_ok(),
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
        for message in messages {
            match message {
                Message::Text(bytes) | Message::Binary(bytes) if self.listens_only => {
                    if !self.session.is_connected() {
                        self.session.receive(unidirectional::command_of(&bytes)).await;
                    }
                }
                Message::Text(bytes) | Message::Binary(bytes) => self.session.receive(bytes).await,
                Message::Ping(payload) => self.socket.pong(&payload),
                Message::Pong(_) => self.session.ponged(),
                Message::Close(code) => {
                    super::close(&self.socket, code, "").await;
                    return false;
                }
            }
        }
        if let Some(violation) = violation {
            super::close(&self.socket, Some(violation.code), violation.text).await;
            return false;
        }
        true
    }

    /// Does what the session wants done; whether the connection goes on.
    async fn write(&mut self, outgoing: Outgoing) -> bool {
        match outgoing {
            Outgoing::Messages(messages) if self.listens_only => {
                for push in messages.iter().flat_map(|message| unidirectional::pushes_of(message)) {
                    self.socket.put(push);
                }
            }
            Outgoing::Messages(messages) => {
                self.socket.put(&join(&messages, self.session.handle().encoding()));
            }
            Outgoing::Flush => {}
            Outgoing::Ping => self.socket.ping(),
            Outgoing::End(reason) => {
                super::close(&self.socket, Some(reason.code()), reason.reason()).await;
                return false;
            }
        }
        let handle = Arc::clone(self.session.handle());
        let written = {
            let mut flushing = std::pin::pin!(self.socket.flush());
            loop {
                tokio::select! {
                    written = &mut flushing => break written.is_ok(),
                    // While the socket takes nothing the outbox fills, and ends the session at its bound.
                    () = handle.outbox_changed() => {
                        if handle.outbox().ending().is_some_and(|reason| reason == Disconnect::Slow) {
                            break false;
                        }
                    }
                }
            }
        };
        handle.outbox().written();
        written
    }
}

/// Messages as one.
fn join(messages: &[Bytes], encoding: Encoding) -> Bytes {
    if let [one] = messages {
        return one.clone();
    }
    let separator = encoding.separator();
    let bytes = messages.iter().map(|message| message.len() + separator.len()).sum();
    let mut frame = BytesMut::with_capacity(bytes);
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            frame.extend_from_slice(separator);
        }
        frame.extend_from_slice(message);
    }
    frame.freeze()
}

//! The WebSocket transport: one task a socket, which owns the session and writes what its outbox holds.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use mundotango_actors::{Engine, Outgoing, Session, Transport};
use mundotango_protocol::{Disconnect, Encoding};
use tokio_tungstenite::tungstenite;

use crate::origin;
use crate::problem::Problem;
use crate::server::ConnectionPlace;

/// The subprotocol that asks for JSON.
const JSON_PROTOCOL: &str = "centrifuge-json";
/// The subprotocol that asks for Protobuf.
const PROTOBUF_PROTOCOL: &str = "centrifuge-protobuf";
/// Clients' frames are small; each idle socket keeps a buffer of this size.
const READ_BUFFER_BYTES: usize = 1024;
/// How long a socket may take for the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the WebSocket route needs.
pub(crate) struct WebSocketState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) allowed_origins: Vec<String>,
}

/// `GET /connection/websocket`
pub(crate) async fn upgrade(
    State(state): State<Arc<WebSocketState>>,
    headers: HeaderMap,
    uri: Uri,
    place: Option<Extension<ConnectionPlace>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !origin::is_allowed(&headers, &state.allowed_origins) {
        return Err(Problem::forbidden("this origin may not open sockets here (http.allowed_origins)"));
    }
    if state.engine.is_draining() {
        return Err(Problem::unavailable("the node is going away"));
    }
    let upgrade = upgrade
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text().to_lowercase()))?
        .protocols([JSON_PROTOCOL, PROTOBUF_PROTOCOL]);
    let protocol = upgrade.selected_protocol().and_then(|protocol| protocol.to_str().ok());
    let encoding = match protocol {
        Some(PROTOBUF_PROTOCOL) => Encoding::Protobuf,
        Some(_) => Encoding::Json,
        None => encoding_of_query(uri.query().unwrap_or_default()),
    };
    let limit = state.engine.session_options().max_frame_bytes;
    Ok(upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| async move {
            let session = state.engine.open_session(Transport::WebSocket, encoding);
            run(socket, session).await;
            drop(place);
        }))
}

fn encoding_of_query(query: &str) -> Encoding {
    let protobuf = query.split('&').any(|pair| matches!(pair, "format=protobuf" | "cf_protocol=protobuf"));
    if protobuf { Encoding::Protobuf } else { Encoding::Json }
}

/// Moves frames between a socket and its session until one of them ends.
async fn run(mut socket: WebSocket, mut session: Session) {
    loop {
        tokio::select! {
            wakeup = session.wait() => match session.proceed(wakeup).await {
                None => {}
                Some(Outgoing::Messages(messages)) => match write(&mut socket, &session, &messages).await {
                    Ok(()) => {}
                    Err(()) => break,
                },
                Some(Outgoing::End(reason)) => {
                    close(&mut socket, reason.code(), &reason.to_string()).await;
                    break;
                }
            },
            incoming = socket.recv() => match incoming {
                Some(Ok(Message::Text(text))) => session.receive(text.into()).await,
                Some(Ok(Message::Binary(bytes))) => session.receive(bytes).await,
                // The WebSocket's own pings are answered below this.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => break,
                Some(Err(error)) => {
                    refuse(&mut socket, error).await;
                    break;
                }
            },
        }
    }
    session.close().await;
}

/// Writes messages as one frame. Gives up when the client turns out to be slow.
async fn write(socket: &mut WebSocket, session: &Session, messages: &[Bytes]) -> Result<(), ()> {
    let handle = Arc::clone(session.handle());
    let (count, frame) = (messages.len(), join(messages, handle.encoding()));
    tracing::trace!(client = %handle.client(), count, bytes = frame.len(), "writing");
    mundotango_ops::metrics().realtime_bytes_sent_total.inc_by(frame.len() as u64);
    let message = match handle.encoding() {
        Encoding::Json => Message::Text(Utf8Bytes::try_from(frame).map_err(drop)?),
        Encoding::Protobuf => Message::Binary(frame),
    };
    let mut sending = std::pin::pin!(socket.send(message));
    loop {
        tokio::select! {
            sent = &mut sending => return sent.map_err(drop),
            // While the socket takes nothing the outbox fills, and ends the session at its bound.
            () = handle.outbox_changed() => {
                if handle.outbox().ending() == Some(Disconnect::Slow) {
                    return Err(());
                }
            }
        }
    }
}

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

/// Says why a frame was not taken, where the protocol has a code for it.
async fn refuse(socket: &mut WebSocket, error: axum::Error) {
    let Ok(error) = error.into_inner().downcast::<tungstenite::Error>() else { return };
    let code = match *error {
        tungstenite::Error::Capacity(_) => close_code::SIZE,
        tungstenite::Error::Utf8(_) => close_code::INVALID,
        tungstenite::Error::Protocol(_) => close_code::PROTOCOL,
        _ => return,
    };
    close(socket, code, &error.to_string()).await;
}

async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            // Waiting for the client's own close frame lets it read ours before the connection ends.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // A client that does not answer is left at that.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}

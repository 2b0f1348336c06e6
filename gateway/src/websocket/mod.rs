//! WebSockets: the sessions' transport, and the stack that it stands on.
//!
//! The stack is our own, as publications are written from the channel's actor straight into the socket
//! ([`mundotango_actors::DirectSocket`]): libraries keep the socket, and a frame being written, to one task.

mod byte_stream;
mod control;
mod decoder;
mod frame;
mod handshake;
mod session;
mod socket;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;

pub use decoder::{Limits, Message, Violation};
pub use frame::close_code;
pub(crate) use session::{WebSocketState, upgrade, upgrade_uni};

use crate::problem::Problem;
use decoder::Decoder;
use handshake::Handshake;
use socket::{Form, Received, Socket};

/// How long a socket may take for the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A WebSocket that one task owns: for programs that want the stack without sessions.
pub struct WebSocket {
    socket: Arc<Socket>,
    decoder: Decoder,
    waiting: VecDeque<Message>,
    broken: Option<Violation>,
}

impl WebSocket {
    /// Answers a request that wants a WebSocket; `run` gets it.
    pub fn accept<R: Future<Output = ()> + Send>(
        mut request: Request,
        limits: Limits,
        run: impl FnOnce(Self) -> R + Send + 'static,
    ) -> Result<Response, Problem> {
        let handshake = Handshake::read(&mut request, &[])?;
        let (response, connection) = handshake.accept();
        tokio::spawn(async move {
            let Some((stream, first)) = connection.await else { return };
            let socket = Arc::new(Socket::new(stream, Form::Binary));
            let mut websocket =
                Self { socket, decoder: Decoder::new(limits), waiting: VecDeque::new(), broken: None };
            let received = socket::decode(&mut websocket.decoder, &first);
            drop(first);
            websocket.take_in(received);
            run(websocket).await;
        });
        Ok(response)
    }

    /// The next message; `None` at the end. Pings are answered, a client that breaks the rules is closed.
    pub async fn receive(&mut self) -> Option<Message> {
        loop {
            // Pings alone never leave this loop, and reading never waits while bytes keep coming.
            tokio::task::coop::consume_budget().await;
            match self.waiting.pop_front() {
                Some(Message::Ping(payload)) => self.socket.pong(&payload),
                Some(Message::Pong(_)) => {}
                Some(Message::Close(code)) => {
                    close(&self.socket, code, "").await;
                    return None;
                }
                Some(message) => return Some(message),
                None => {
                    if let Some(violation) = self.broken {
                        close(&self.socket, Some(violation.code), violation.text).await;
                        return None;
                    }
                    tokio::select! {
                        readable = self.socket.readable() => readable.ok()?,
                        flushed = self.socket.flush(), if self.socket.is_waiting() => {
                            flushed.ok()?;
                            continue;
                        }
                    }
                    let received = self.socket.read(&mut self.decoder);
                    if matches!(received, Received::Gone) {
                        return None;
                    }
                    self.take_in(received);
                }
            }
        }
    }

    /// Sends a text.
    pub async fn send_text(&mut self, text: &Bytes) -> std::io::Result<()> {
        self.socket.put_text(text);
        self.socket.flush().await
    }

    /// Sends bytes.
    pub async fn send_binary(&mut self, bytes: &Bytes) -> std::io::Result<()> {
        self.socket.put(bytes);
        self.socket.flush().await
    }

    fn take_in(&mut self, received: Received) {
        match received {
            Received::Messages(messages) => self.waiting.extend(messages),
            Received::Broken(messages, violation) => {
                self.waiting.extend(messages);
                self.broken = Some(violation);
            }
            Received::Gone => {}
        }
    }
}

/// Says why, and waits a moment for the client to read it before the connection ends.
async fn close(socket: &Socket, code: Option<u16>, reason: &str) {
    let closing = async {
        socket.close(code, reason);
        if socket.flush().await.is_err() {
            return;
        }
        socket.shut_down();
        // Data that nobody reads would make the kernel reset the connection, and the client lose the close frame.
        while socket.readable().await.is_ok() && !socket.discard() {
            // The timer runs only if a client that keeps sending lets this task wait.
            tokio::task::yield_now().await;
        }
    };
    // A client that does not answer is left at that.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}

/// Serves WebSockets alone on an address, each by `run`. For programs that want the stack without sessions.
pub async fn serve<R: Future<Output = ()> + Send + 'static>(
    listen: SocketAddr,
    limits: Limits,
    run: impl Fn(WebSocket) -> R + Clone + Send + Sync + 'static,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let accept = move |request: Request| {
        let run = run.clone();
        async move { WebSocket::accept(request, limits, run) }
    };
    let router = axum::Router::new().fallback(accept);
    let door = crate::Door::new(&crate::HttpOptions::default());
    crate::serve(listener, router, door, std::future::pending(), Duration::ZERO).await;
    Ok(())
}

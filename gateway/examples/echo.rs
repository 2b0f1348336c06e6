//! Sends every message back as it came, through the sessions' WebSocket stack: for conformance suites of RFC 6455.
//!
//! `cargo run --release -p mundotango-gateway --example echo -- --listen 127.0.0.1:9001`

use std::net::SocketAddr;

use clap::Parser;
use mundotango_gateway::websocket::{self, Limits, Message, WebSocket};

#[derive(Parser)]
#[command(about = "Echo over the sessions' WebSocket stack")]
struct Echo {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Largest message, in bytes.
    #[arg(long, default_value_t = 16 * 1024 * 1024)]
    max_message_bytes: usize,
    /// Most frames of one message.
    #[arg(long, default_value_t = 100_000)]
    max_fragments: usize,
}

async fn echo(mut socket: WebSocket) {
    while let Some(message) = socket.receive().await {
        let sent = match &message {
            Message::Text(text) => socket.send_text(text).await,
            Message::Binary(bytes) => socket.send_binary(bytes).await,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        if sent.is_err() {
            break;
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let Echo { listen, max_message_bytes, max_fragments } = Echo::parse();
    println!("echo on ws://{listen}");
    websocket::serve(listen, Limits { max_message_bytes, max_fragments }, echo).await
}

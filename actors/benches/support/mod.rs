//! An engine and its sessions, as benches need them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{
    Authenticator, ChannelsOptions, Credentials, DirectSocket, DirectWrite, Engine, EngineParts,
    NamespaceOptions, NodeParts, Outgoing, Session, SessionOptions, SubscriptionGrant, TokenRefusal,
    Transport,
};
use mundotango_protocol::Encoding;
use mundotango_storage::hot::MemoryHotState;
use serde_json::{Value, json};

/// A socket that takes everything: what is measured is the channel's work, not the kernel's.
struct Sink;

impl DirectSocket for Sink {
    fn try_write(&self, _messages: &[Bytes]) -> DirectWrite {
        DirectWrite::Written
    }
}

/// Takes a token for the user's id.
struct Anybody;

#[async_trait]
impl Authenticator for Anybody {
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal> {
        Ok(Credentials { user: token.to_owned(), ..Credentials::default() })
    }

    async fn subscription(&self, _token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

/// A node alone, with open channels that have these options beside a history.
pub(crate) async fn engine(options: NamespaceOptions) -> Arc<Engine> {
    let open = NamespaceOptions {
        history_size: 100,
        history_ttl: Duration::from_mins(10),
        allow_subscribe_for_client: true,
        ..options
    };
    let session_options =
        SessionOptions { personal_channel: false, commands_per_second: 0, ..SessionOptions::default() };
    Engine::start(EngineParts {
        node: NodeParts::alone(),
        version: "bench".to_owned(),
        session_options,
        channels_options: ChannelsOptions { without_namespace: open, ..ChannelsOptions::default() },
        hot: Arc::new(MemoryHotState::new()),
        authenticator: Arc::new(Anybody),
    })
    .await
    .unwrap()
}

/// A session that is subscribed to channels, and whose socket takes everything.
pub(crate) async fn session(engine: &Engine, user: usize, channels: impl Iterator<Item = String>) -> Session {
    let mut session = engine.open_session(Transport::WebSocket, Encoding::Json);
    let send = async |session: &mut Session, command: Value| {
        session.receive(Bytes::from(command.to_string())).await;
        // The reply says that the command is done.
        loop {
            let wakeup = session.wait().await;
            if let Some(Outgoing::Messages(_)) = session.proceed(wakeup).await {
                session.written();
                break;
            }
        }
    };
    send(&mut session, json!({"id": 1, "connect": {"token": user.to_string()}})).await;
    for channel in channels {
        send(&mut session, json!({"id": 2, "subscribe": {"channel": channel}})).await;
    }
    session.handle().outbox().attach(Arc::new(Sink));
    session
}

use std::time::Instant;

use mundotango_actors::{
    Authenticator, ChannelsOptions, Credentials, EngineParts, NodeParts, SessionOptions, SubscriptionGrant,
    TokenRefusal,
};
use mundotango_storage::hot::MemoryHotState;

use super::*;
use crate::options::HttpOptions;

struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn connection(&self, _token: &str) -> Result<Credentials, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }

    async fn subscription(&self, _token: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

async fn streams() -> Arc<Streams> {
    let engine = Engine::start(EngineParts {
        node: NodeParts::alone(),
        version: "test".to_owned(),
        session_options: SessionOptions::default(),
        channels_options: ChannelsOptions::default(),
        hot: Arc::new(MemoryHotState::new()),
        authenticator: Arc::new(Nobody),
    });
    Arc::new(Streams {
        engine: engine.await.unwrap(),
        origins: Arc::new(Origins::new(&[], true)),
        turnstile: Arc::new(Turnstile::new(&HttpOptions::default())),
        inboxes: Mutex::default(),
    })
}

/// A client that reads nothing fills its session's inbox. Frames for it that come by other nodes hold a place of this
/// node's messages on topics while they wait, so they do not wait.
#[tokio::test]
async fn a_forwarded_frame_does_not_wait_for_a_full_inbox() {
    let streams = streams().await;
    let (sender, mut inbox) = mpsc::channel(1);
    streams.inboxes.lock().insert("secret".to_owned(), sender);
    let node = streams.engine.node_id().to_owned();
    let frame = EmulationRequest { node, session: "secret".to_owned(), data: Bytes::from_static(b"{}") };
    let forward = async || {
        let forwarded = Forwarded(Arc::downgrade(&streams));
        forwarded.handle(frame.encode_to_vec().into()).await
    };
    assert_eq!(forward().await, Ok(Bytes::new()));
    let started = Instant::now();
    let refused = forward().await.unwrap_err();
    assert!(refused.contains("too many commands waiting"), "{refused}");
    assert!(started.elapsed() < PATIENCE / 5, "{:?}", started.elapsed());
    inbox.recv().await.unwrap();
    assert_eq!(forward().await, Ok(Bytes::new()), "a place is free again");
}

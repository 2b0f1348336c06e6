//! What the flight recorder keeps of actors that exist once, and of another node's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::bus::LocalHub;
use mundotango_actors::{
    ActorView, Engine, NodeError, NodeParts, OwnedActor, OwnedError, OwnedKind, SessionOptions,
};
use mundotango_protocol::new_id;
use mundotango_storage::hot::MemoryHotState;

use crate::client::engine_of;

struct Kind;

struct Fragile;

#[async_trait]
impl OwnedKind for Kind {
    async fn activate(&self, _id: &str) -> Result<Box<dyn OwnedActor>, OwnedError> {
        Ok(Box::new(Fragile))
    }
}

#[async_trait]
impl OwnedActor for Fragile {
    async fn handle(&mut self, message: Bytes) -> Result<Bytes, OwnedError> {
        assert_ne!(message, "break", "asked to break");
        Ok(message)
    }
}

async fn join(hub: &Arc<LocalHub>) -> Arc<Engine> {
    let id = new_id();
    let node = NodeParts { name: id.clone(), id, bus: Arc::new(hub.connect()) };
    let engine = engine_of(node, Arc::new(MemoryHotState::new()), SessionOptions::default()).await;
    engine.set_kind("fragile", Arc::new(Kind));
    engine
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 10 s: {what}");
}

fn ended(view: Option<ActorView>) -> Option<ActorView> {
    view.filter(|view| view.actor.is_none())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owned_actor_that_broke_is_looked_at_from_another_node() {
    let hub = Arc::new(LocalHub::default());
    let (owner, other) = (join(&hub).await, join(&hub).await);
    until("the nodes know each other", async || {
        (owner.nodes().len() == 2 && other.nodes().len() == 2).then_some(())
    })
    .await;
    // One whose place is on the owner, and which the owner is asked for itself.
    let id = (0..1000)
        .map(|id| id.to_string())
        .find(|id| owner.place_of("fragile", id) == owner.node_id())
        .unwrap();
    for number in 0..70 {
        owner.ask_owned("fragile", &id, Bytes::from(vec![b'x'; number])).await.unwrap();
    }
    let name = format!("fragile {id}");
    let look = async || other.actor_of(owner.node_id(), "owned", &name).await.unwrap();
    let alive = look().await.unwrap();
    assert_eq!((alive.keeper.as_deref(), alive.mailbox_bound), (Some("owned"), Some(64)));
    let sizes: Vec<_> = alive.messages.iter().map(|message| message.bytes).collect();
    assert_eq!(sizes, (6..70).collect::<Vec<_>>(), "the last 64");
    assert!(alive.messages.iter().all(|message| message.waited_micros.is_some() && !message.panicked));

    // The question that broke it is asked again until the time is over, of one that breaks again.
    let breaking = owner.ask_owned("fragile", &id, Bytes::from_static(b"break"));
    let broken = async { until("it is known by its crash", async || ended(look().await)).await };
    let broken = tokio::select! {
        _ = breaking => panic!("it answers"),
        broken = broken => broken,
    };
    let failure = &broken.failures[0];
    assert!(failure.reason.contains("asked to break"), "{failure:?}");
    let last = failure.messages.last().unwrap();
    assert!(last.panicked && last.bytes == 5 && last.kind == "ask", "{last:?}");
    assert!(other.actor_of(owner.node_id(), "owned", "fragile nobody").await.unwrap().is_none());
    let gone = other.actor_of("nobody", "owned", &name).await;
    assert_eq!(gone.err(), Some(NodeError::Gone));
}

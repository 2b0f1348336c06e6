//! The gateway's and the application's long-lived tasks in the supervision tree.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_actors::{ChannelsOptions, Engine, EngineParts, NodeParts, Pace, SessionOptions, TreeNode};
use mundotango_gateway::revocation_store::{Revocation, RevocationStore, Revoked};
use mundotango_gateway::tokens::Tokens;
use mundotango_gateway::{Revocations, TokenAuthenticator};
use mundotango_storage::StoreError;
use mundotango_storage::hot::MemoryHotState;

/// How long the tree may take to show what happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store without revocations.
struct Empty;

#[async_trait]
impl RevocationStore for Empty {
    async fn revoke(&self, _revocation: Revocation) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reinstate(&self, _what: &Revoked) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn revocations(&self, _now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        Ok(Vec::new())
    }
}

async fn engine() -> Arc<Engine> {
    let tokens = Arc::new(Tokens::new(b"a secret of the test", Duration::from_mins(1)));
    let revocations = Revocations::load(Arc::new(Empty)).await.unwrap();
    let parts = EngineParts {
        node: NodeParts::alone(),
        version: "test".to_owned(),
        session_options: SessionOptions::default(),
        channels_options: ChannelsOptions::default(),
        hot: Arc::new(MemoryHotState::new()),
        authenticator: Arc::new(TokenAuthenticator::new(tokens, revocations)),
    };
    Engine::start(parts).await.unwrap()
}

/// A task below the keeper `node`.
fn task(engine: &Engine, name: &str) -> Option<TreeNode> {
    let keeper = engine.tree(10)?.children.into_iter().find(|keeper| keeper.name == "node")?;
    keeper.children.into_iter().find(|task| task.name == name)
}

#[tokio::test]
async fn a_task_that_panics_runs_again_and_is_seen_until_the_node_has_drained() {
    let engine = engine().await;
    let runs = Arc::new(AtomicUsize::new(0));
    engine.keep_running("fragile", Pace::OnDemand, {
        let runs = Arc::clone(&runs);
        move |vitals| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                assert!(run > 0, "the first run fails");
                vitals.handled();
                std::future::pending::<()>().await;
            })
        }
    });
    let seen = async {
        loop {
            let task = task(&engine, "fragile").expect("the task is not in the tree");
            if (task.restarts, task.messages_handled) == (1, 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the task did not run again");
    engine.drain(Duration::ZERO, Duration::from_secs(1)).await;
    assert!(task(&engine, "fragile").is_none(), "nothing uses a store that is about to close");
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

//! Actors that exist once in the cluster: a busy owner is never doubled, and kept actors always run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use mundotango_actors::bus::LocalHub;
use mundotango_actors::{Engine, NodeParts, OwnedActor, OwnedError, OwnedKind, SessionOptions, TreeNode};
use mundotango_protocol::new_id;
use mundotango_storage::hot::MemoryHotState;
use parking_lot::Mutex;

use crate::client::engine_of;

/// Longer than an owner is waited for before its node is asked.
const LONG_WORK: Duration = Duration::from_secs(6);

/// The nodes on which each actor was started.
type Starts = Arc<Mutex<HashMap<String, Vec<String>>>>;

struct Kind {
    node: String,
    starts: Starts,
    kept: Vec<String>,
}

struct Worker;

#[async_trait]
impl OwnedKind for Kind {
    async fn activate(&self, id: &str) -> Result<Box<dyn OwnedActor>, OwnedError> {
        self.starts.lock().entry(id.to_owned()).or_default().push(self.node.clone());
        Ok(Box::new(Worker))
    }

    fn keep(&self) -> Vec<String> {
        self.kept.clone()
    }
}

#[async_trait]
impl OwnedActor for Worker {
    async fn handle(&mut self, message: Bytes) -> Result<Bytes, OwnedError> {
        match message.as_ref() {
            b"work" => tokio::time::sleep(LONG_WORK).await,
            b"hang" => std::future::pending().await,
            _ => {}
        }
        Ok(message)
    }
}

async fn join(hub: &Arc<LocalHub>, starts: &Starts, kept: &[&str], options: SessionOptions) -> Arc<Engine> {
    let id = new_id();
    let node = NodeParts { name: id.clone(), id: id.clone(), bus: Arc::new(hub.connect()) };
    let engine = engine_of(node, Arc::new(MemoryHotState::new()), options).await;
    let kept = kept.iter().map(|id| (*id).to_owned()).collect();
    engine.set_kind("worker", Arc::new(Kind { node: id, starts: Arc::clone(starts), kept }));
    engine
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), waiting)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_owner_is_not_doubled_when_nodes_have_joined() {
    let (hub, starts) = (Arc::new(LocalHub::default()), Starts::default());
    let first = join(&hub, &starts, &[], SessionOptions::default()).await;
    let ids: Vec<_> = (0..12).map(|number| number.to_string()).collect();
    for id in &ids {
        first.ask_owned("worker", id, Bytes::from_static(b"hello")).await.unwrap();
    }
    // With three more nodes most of the actors would have their place elsewhere.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(join(&hub, &starts, &[], SessionOptions::default()).await);
    }
    until("the nodes know each other", || others.iter().all(|engine| engine.nodes().len() == 4)).await;
    let asking = ids.iter().map(|id| others[0].ask_owned("worker", id, Bytes::from_static(b"work")));
    for answer in join_all(asking).await {
        assert_eq!(answer.unwrap().as_ref(), b"work");
    }
    for (id, nodes) in starts.lock().iter() {
        assert_eq!(nodes, &[first.node_id().to_owned()], "actor {id} was started once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_actor_runs_once_and_moves_when_its_node_goes() {
    let (hub, starts) = (Arc::new(LocalHub::default()), Starts::default());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(join(&hub, &starts, &[], SessionOptions::default()).await);
    }
    until("the nodes know each other", || nodes.iter().all(|engine| engine.nodes().len() == 3)).await;
    for engine in &nodes {
        let kept = vec!["relay".to_owned()];
        let node = engine.node_id().to_owned();
        engine.set_kind("worker", Arc::new(Kind { node, starts: Arc::clone(&starts), kept }));
    }
    let owners = || starts.lock().get("relay").cloned().unwrap_or_default();
    until("nobody asked, and it runs", || !owners().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(owners().len(), 1, "on one node");
    let owner = nodes.iter().position(|engine| engine.node_id() == owners()[0]).unwrap();
    nodes.remove(owner).drain(Duration::ZERO, Duration::from_secs(4)).await;
    until("another node runs it", || owners().len() == 2).await;
    assert!(nodes.iter().any(|engine| engine.node_id() == owners()[1]));
}

fn owned<'a>(root: &'a TreeNode, name: &str) -> Option<&'a TreeNode> {
    let keeper = root.children.iter().find(|child| child.name == "owned")?;
    keeper.children.iter().find(|child| child.name == name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_hangs_is_found_and_one_that_is_idle_is_not() {
    let options = SessionOptions { hung_after: Duration::from_secs(4), ..SessionOptions::default() };
    let engine = join(&Arc::new(LocalHub::default()), &Starts::default(), &[], options).await;
    engine.ask_owned("worker", "idle", Bytes::new()).await.unwrap();
    for _ in 0..2 {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.ask_owned("worker", "stuck", Bytes::from_static(b"hang")).await });
    }
    let state = |name| owned(&engine.tree(100).unwrap(), name).map(|actor| actor.state.as_str());
    until("the hung actor is found", || state("worker stuck") == Some("hung")).await;
    let tree = engine.tree(100).unwrap();
    assert_eq!(owned(&tree, "worker stuck").unwrap().mailbox_depth, 1);
    let idle = owned(&tree, "worker idle").unwrap();
    assert_eq!((idle.state.as_str(), idle.messages_handled), ("running", 1));
    assert!(idle.last_progress.is_some());
    for keeper in &tree.children {
        for child in keeper.children.iter().filter(|child| child.name != "worker stuck") {
            assert_eq!(child.state.as_str(), "running", "{} {}", keeper.name, child.name);
        }
    }
}

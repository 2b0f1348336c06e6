//! The calls of operators that look closely at actors, on this node and on others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mundotango_storage::db::Db;
use tokio::time::Instant;

use super::{EachSlow, Engine};
use crate::cluster::{NodeError, NodeRequest};
use crate::inspection::{ActorView, SlowView};

/// How long the answers of all nodes are told to others who ask.
const FRESH_FOR: Duration = Duration::from_secs(1);

impl Engine {
    /// Looks closely at an actor of a node, by its kind and name in the tree. `None` if there is none.
    pub async fn actor_of(&self, node: &str, kind: &str, name: &str) -> Result<Option<ActorView>, NodeError> {
        if node == self.node_id() {
            return Ok(self.control().actor(kind, name));
        }
        let request = NodeRequest::Actor { kind: kind.to_owned(), name: name.to_owned() };
        self.control().cluster.ask(node, request).await
    }

    /// Says whose partitions count among what is slow. The first one counts.
    pub fn watch_partitions(&self, db: Db) {
        self.control().slow.set_db(db);
    }

    /// What is slow on a node.
    pub async fn slow_of(&self, node: &str) -> Result<Arc<SlowView>, NodeError> {
        if node == self.node_id() {
            return self.control().slow.look().await.map_err(NodeError::Refused);
        }
        self.control().cluster.ask(node, NodeRequest::Slow).await.map(Arc::new)
    }

    /// What is slow on all nodes, this one first. They are asked once a second at most, however many want to know.
    pub async fn slow(&self) -> Arc<EachSlow> {
        let mut last = self.slow_nodes.lock().await;
        if let Some((at, nodes)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return Arc::clone(nodes);
        }
        let asked = self.nodes().into_iter().map(async |node| {
            let slow = self.slow_of(&node.id).await;
            (node, slow)
        });
        let nodes = Arc::new(join_all(asked).await);
        *last = Some((Instant::now(), Arc::clone(&nodes)));
        nodes
    }
}

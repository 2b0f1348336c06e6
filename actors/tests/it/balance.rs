//! Nodes that share sessions evenly.

use std::sync::Arc;
use std::time::Duration;

use mundotango_actors::bus::LocalHub;
use mundotango_actors::{Engine, NodeParts, SessionOptions};
use mundotango_protocol::{Disconnect, new_id};
use mundotango_storage::hot::{HotState, MemoryHotState};

use crate::client::{Client, engine_of};

const SESSIONS: usize = 300;

fn sessions(nodes: &[Arc<Engine>]) -> Vec<usize> {
    nodes.iter().map(|engine| engine.sessions().len()).collect()
}

/// A client that comes again whenever it is asked to, to the node that has fewest, as a balancer brings it there.
async fn stay(nodes: Vec<Arc<Engine>>, number: usize) {
    let mut at = number % 2;
    loop {
        let mut client = Client::connected(&nodes[at], &number.to_string()).await;
        let ending = loop {
            if let Some(reason) = client.session.handle().outbox().ending() {
                break reason;
            }
            client.is_writing().await;
        };
        assert_eq!(ending, Disconnect::ForceReconnect);
        client.session.close().await;
        let all = sessions(&nodes);
        at = (0..nodes.len()).min_by_key(|node| all[*node]).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn d4_a_node_that_came_empty_gets_its_share() {
    let hub = Arc::new(LocalHub::default());
    let hot: Arc<dyn HotState> = Arc::new(MemoryHotState::new());
    // Without personal channels: the epoch of a channel to which nobody ever published changes once in a month, so in the
    // hour that passes here some of three hundred would change and end their sessions.
    let ping_interval = Duration::from_hours(24);
    let options = SessionOptions { ping_interval, personal_channel: false, ..SessionOptions::default() };
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let id = new_id();
        let parts = NodeParts { name: id.clone(), id, bus: Arc::new(hub.connect()) };
        nodes.push(engine_of(parts, Arc::clone(&hot), options.clone()).await);
    }
    let clients: Vec<_> = (0..SESSIONS).map(|number| tokio::spawn(stay(nodes.clone(), number))).collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(sessions(&nodes), [150, 150, 0], "nothing moves before all is settled");
    tokio::time::sleep(Duration::from_mins(2)).await;
    let after = sessions(&nodes);
    assert!(after.iter().all(|count| (80..=110).contains(count)), "{after:?}");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(sessions(&nodes), after, "then it is quiet");
    assert!(clients.iter().all(|client| !client.is_finished()));
}

//! Nodes that share a channel: on the bus within the process, and on a real NATS and Redis.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_actors::bus::{Bus, LocalHub};
use mundotango_actors::{Engine, NodeInfo, NodeParts, ServerSubscription, SessionOptions, Whose};
use mundotango_ops::ServerUrls;
use mundotango_protocol::{ChannelName, Disconnect, StreamPosition, new_id};
use mundotango_storage::hot::{HotState, MemoryHotState, RedisHotState};
use mundotango_storage::{RedisLink, RedisOptions};
use serde_json::{Value, json};

use crate::bus::nats;
use crate::client::{Client, engine_of, publish};
use crate::faulty::{Call, Fault, FaultyHotState};

/// Longest wait until nodes know of each other.
const PATIENCE: Duration = Duration::from_secs(10);

async fn node(bus: Arc<dyn Bus>, id: String, hot: Arc<dyn HotState>) -> Arc<Engine> {
    let options = SessionOptions {
        recovery_max_publications: 10_000,
        commands_per_second: 0,
        ..SessionOptions::default()
    };
    engine_of(NodeParts { name: id.clone(), id, bus }, hot, options).await
}

async fn know_each_other(nodes: &[Arc<Engine>]) {
    let all = async {
        while nodes.iter().any(|engine| engine.nodes().len() < nodes.len()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the nodes do not find each other");
}

/// Nodes that share the process' memory.
async fn local_nodes() -> Vec<Arc<Engine>> {
    let hub = Arc::new(LocalHub::default());
    let hot: Arc<dyn HotState> = Arc::new(MemoryHotState::new());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node(Arc::new(hub.connect()), new_id(), Arc::clone(&hot)).await);
    }
    know_each_other(&nodes).await;
    nodes
}

fn redis(prefix: &str) -> RedisOptions {
    let url = std::env::var("MUNDOTANGO_TEST_REDIS").expect(
        "MUNDOTANGO_TEST_REDIS is not set: run the tests by `cargo xtask test`, which starts the servers",
    );
    RedisOptions { url: ServerUrls::new(url), prefix: prefix.to_owned(), ..RedisOptions::default() }
}

/// Nodes that share a NATS and a Redis.
async fn remote_nodes() -> Vec<Arc<Engine>> {
    let prefix = new_id();
    let options = redis(&prefix);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let id = new_id();
        let hot = RedisHotState::new(RedisLink::open(&options).unwrap(), &id);
        nodes.push(node(nats(&prefix).await, id, Arc::new(hot)).await);
    }
    know_each_other(&nodes).await;
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_whole_on_every_local_node() {
    a_stream_is_whole_on_every_node(local_nodes().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_whole_on_every_remote_node() {
    a_stream_is_whole_on_every_node(remote_nodes().await).await;
}

/// Publishers on all nodes race; whoever is subscribed anywhere gets all, once, in order, and recovers elsewhere.
async fn a_stream_is_whole_on_every_node(nodes: Vec<Arc<Engine>>) {
    const EACH: u64 = 300;
    let mut clients = Vec::new();
    for (number, engine) in nodes.iter().enumerate() {
        let mut client = Client::connected(engine, &number.to_string()).await;
        let subscribed = client.subscribe("open:a").await;
        assert_eq!(subscribed.offset, 0);
        clients.push((client, subscribed));
    }
    let publishing: Vec<_> = nodes
        .iter()
        .map(|engine| {
            let engine = Arc::clone(engine);
            tokio::spawn(async move {
                for number in 0..EACH {
                    publish(&engine, "open:a", number).await;
                    if number % 16 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        })
        .collect();
    let all = EACH * nodes.len() as u64;
    for (client, _) in &mut clients {
        for offset in 1..=all {
            let push = client.push().await;
            assert_eq!(push.publication.map(|publication| publication.offset), Some(offset));
        }
    }
    for one in publishing {
        one.await.unwrap();
    }
    // A client of the first node comes back on the last.
    let mut elsewhere = Client::connected(nodes.last().unwrap(), "0").await;
    let from = StreamPosition { offset: all - 250, epoch: clients[0].1.epoch.clone() };
    let recovered = elsewhere.recover("open:a", &from).await;
    assert!(recovered.recovered);
    assert_eq!(recovered.publications.len(), 250);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_one_local_node_holds_on_all() {
    what_is_asked_of_one_node_holds_on_all(local_nodes().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_one_remote_node_holds_on_all() {
    what_is_asked_of_one_node_holds_on_all(remote_nodes().await).await;
}

async fn what_is_asked_of_one_node_holds_on_all(nodes: Vec<Arc<Engine>>) {
    let [a, b, c] = &nodes[..] else { panic!("three nodes") };
    let mut on_b = Client::connected(b, "7").await;
    let mut on_c = Client::connected(c, "7").await;
    let mut bystander = Client::connected(b, "8").await;
    let whose = Whose { user: "7".to_owned(), ..Whose::default() };
    let channel = ChannelName::parse("open:a").unwrap();

    let sessions = a.sessions_of(&whose).await.complete().expect("all nodes answer");
    let mut ids: Vec<_> = sessions.iter().map(|session| session.client.clone()).collect();
    ids.sort_unstable();
    let mut expected = [&on_b, &on_c].map(|client| client.session.handle().client().to_string());
    expected.sort_unstable();
    assert_eq!(ids, expected);

    let done = a.subscribe(&whose, &channel, ServerSubscription::default(), None).await.unwrap();
    assert_eq!(done.missing, 0);
    for client in [&mut on_b, &mut on_c] {
        assert!(client.push().await.subscribe.is_some());
    }
    // Counts are brought up to date a moment after the subscribers know.
    let counted = async { while a.channel_counts("open:*").await.answers.get("open:a") != Some(&2) {} };
    tokio::time::timeout(PATIENCE, counted).await.expect("both are counted");
    assert_eq!(a.presence(&channel).await.unwrap().len(), 2, "presence is one");

    assert_eq!(a.message(&whose, Bytes::from_static(b"{\"n\":1}")).await.missing, 0);
    for client in [&mut on_b, &mut on_c] {
        let message = loop {
            // Joins of each other may come first.
            if let Some(message) = client.push().await.message {
                break message;
            }
        };
        assert_eq!(serde_json::from_slice::<Value>(&message.data).unwrap(), json!({"n": 1}));
    }

    let tree = a.tree_of(b.node_id(), 10).await.unwrap();
    let sessions = tree.children.iter().find(|child| child.name == "sessions").unwrap();
    assert_eq!(sessions.children_total, 2);
    assert!(a.tree_of("nobody", 10).await.is_err());

    assert_eq!(a.disconnect(&whose, &Disconnect::ForceDisconnect.into(), &[]).await.missing, 0);
    for client in [&mut on_b, &mut on_c] {
        assert_eq!(client.end().await, Disconnect::ForceDisconnect);
    }
    bystander.drain().await;
    assert!(bystander.ended.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_leaves_are_told_everywhere() {
    let nodes = remote_nodes().await;
    let mut watcher = Client::connected(&nodes[0], "1").await;
    watcher.ask(json!({"subscribe": {"channel": "open:a", "join_leave": true}})).await;
    while watcher.push().await.join.is_none() {}
    let mut other = Client::connected(&nodes[1], "2").await;
    other.ask(json!({"subscribe": {"channel": "open:a", "join_leave": true}})).await;
    let joined = watcher.push().await.join.unwrap();
    assert_eq!(joined.info.unwrap().user, "2");
    other.ask(json!({"unsubscribe": {"channel": "open:a"}})).await;
    let left = watcher.push().await.leave.unwrap();
    assert_eq!(left.info.unwrap().user, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_is_known_at_once() {
    let nodes = local_nodes().await;
    nodes[2].drain(Duration::ZERO, Duration::from_secs(1)).await;
    let gone = async {
        while nodes[0].nodes().len() > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), gone).await.expect("known within a second");
}

/// G4: history and then live, without gap or twin, while publications flow on another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_no_gap_between_history_and_live() {
    const SUBSCRIPTIONS: usize = 1_000;
    let nodes = remote_nodes().await;
    let done = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (engine, done) = (Arc::clone(&nodes[0]), Arc::clone(&done));
        async move {
            let mut pace = tokio::time::interval(Duration::from_millis(1));
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                pace.tick().await;
                publish(&engine, "open:flow", number).await;
                number += 1;
            }
            number
        }
    });
    let mut client = Client::connected(&nodes[1], "1").await;
    let mut from = StreamPosition::default();
    let mut recoveries = 0;
    for _ in 0..SUBSCRIPTIONS {
        let subscribed = client.recover("open:flow", &from).await;
        let mut next = subscribed.offset + 1;
        if subscribed.recovered {
            recoveries += 1;
            next = from.offset + 1;
            for publication in &subscribed.publications {
                assert_eq!(publication.offset, next, "recovered in order");
                next += 1;
            }
        }
        for _ in 0..3 {
            let offset = client.push().await.publication.unwrap().offset;
            assert_eq!(offset, next, "live follows history");
            next += 1;
        }
        client.ask(json!({"unsubscribe": {"channel": "open:flow"}})).await;
        for push in client.pushes.drain(..) {
            next = push.publication.map_or(next, |publication| publication.offset + 1);
        }
        from = StreamPosition { offset: next - 1, epoch: subscribed.epoch };
    }
    done.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();
    assert!(recoveries > SUBSCRIPTIONS / 2);
    println!(
        "{SUBSCRIPTIONS} subscriptions, {recoveries} recovered, while {published} publications flowed; no gap, no twin"
    );
}

/// The heartbeat of a node that is nothing else.
fn ghost(id: &str) -> NodeInfo {
    NodeInfo {
        id: id.to_owned(),
        name: id.to_owned(),
        version: "test".to_owned(),
        started_at: Timestamp::now(),
        sessions: 0,
        users: 0,
        channels: 0,
        subscriptions: 0,
        draining: false,
        accepts: true,
        gone: false,
        settings: BTreeMap::new(),
    }
}

async fn beat(bus: &dyn Bus, node: &NodeInfo) {
    bus.publish("nodes.heartbeats", serde_json::to_vec(node).unwrap().into()).await.unwrap();
}

/// Beats as a node until another one knows it: a single heartbeat may come before that one listens.
async fn beat_until_known(bus: &dyn Bus, id: &str, engine: &Engine) {
    let nodes = engine.nodes().len() + 1;
    let beating = async {
        while engine.nodes().len() < nodes {
            beat(bus, &ghost(id)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, beating).await.expect("the node is not known");
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A node that is there and does not answer is missed, by everything that is asked of all nodes; and a node that answers
/// several times does not stand for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_all_nodes_tells_how_many_did_not_answer() {
    let hub = Arc::new(LocalHub::default());
    let hot: Arc<dyn HotState> = Arc::new(MemoryHotState::new());
    let a = node(Arc::new(hub.connect()), new_id(), Arc::clone(&hot)).await;
    let b = node(Arc::new(hub.connect()), new_id(), Arc::clone(&hot)).await;
    know_each_other(&[Arc::clone(&a), Arc::clone(&b)]).await;
    let on_b = Client::connected(&b, "7").await;
    let whose = Whose { user: "7".to_owned(), ..Whose::default() };

    let silent = hub.connect();
    beat_until_known(&silent, "silent", &a).await;
    let beating = tokio::spawn(async move {
        loop {
            beat(&silent, &ghost("silent")).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let sessions = a.sessions_of(&whose).await;
    assert_eq!((sessions.answers.len(), sessions.missing), (1, 1));
    let channel = ChannelName::parse("open:a").unwrap();
    assert_eq!(a.unsubscribe(&whose, &channel).await.missing, 1);
    assert_eq!(a.channel_counts("").await.complete(), None);
    beating.abort();
    until("the silent node is gone", || a.nodes().len() == 2).await;

    let chatty = hub.connect();
    let mut asked = chatty.listen("nodes.all").await.unwrap();
    beat_until_known(&chatty, "chatty", &a).await;
    let answering = tokio::spawn(async move {
        let question = asked.next().await.unwrap();
        for _ in 0..3 {
            let answer = json!({"node": "chatty", "answer": []}).to_string();
            chatty.reply(&question, answer.into()).await.unwrap();
        }
    });
    let sessions = a.sessions_of(&whose).await;
    assert_eq!((sessions.answers.len(), sessions.missing), (1, 0), "both nodes are waited for");
    answering.await.unwrap();
    drop(on_b);
}

/// Traces that hot state does not let clear away keep nobody from seeing who comes and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_hangs_does_not_stop_the_watch_over_the_living() {
    let hub = Arc::new(LocalHub::default());
    let hot = FaultyHotState::alone();
    hot.once(Call::Burial, Fault::Hang);
    let engine = node(Arc::new(hub.connect()), new_id(), hot).await;
    let other = hub.connect();
    beat_until_known(&other, "dead", &engine).await;
    beat(&other, &NodeInfo { gone: true, ..ghost("dead") }).await;
    until("the node is gone", || engine.nodes().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    beat_until_known(&other, "living", &engine).await;
    until("the silent node is gone", || engine.nodes().len() == 1).await;
}

/// A node with another secret is in conflict, names what differs, and leaves the nodes before it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_younger_node_with_another_setting_is_in_conflict() {
    let hub = Arc::new(LocalHub::default());
    let hot: Arc<dyn HotState> = Arc::new(MemoryHotState::new());
    let mut nodes = Vec::new();
    for digest in ["one", "one", "another"] {
        let engine = node(Arc::new(hub.connect()), new_id(), Arc::clone(&hot)).await;
        engine.must_agree("auth.secret", digest.to_owned());
        tokio::time::sleep(Duration::from_millis(5)).await;
        nodes.push(engine);
    }
    know_each_other(&nodes).await;
    until("the conflict is seen", || !nodes[2].conflicts().is_empty()).await;
    assert!(nodes[2].conflicts().iter().all(|conflict| conflict.contains("auth.secret")));
    assert!(nodes[0].conflicts().is_empty() && nodes[1].conflicts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_one_hot_state_on_two_buses_are_found() {
    let options = redis(&new_id());
    let (one, other) = (Arc::<LocalHub>::default(), Arc::<LocalHub>::default());
    let mut nodes = Vec::new();
    for hub in [&one, &one, &other] {
        let id = new_id();
        let hot = RedisHotState::new(RedisLink::open(&options).unwrap(), &id);
        nodes.push(node(Arc::new(hub.connect()), id, Arc::new(hot)).await);
    }
    let found = async {
        while nodes[0].unheard_nodes() != [nodes[2].node_id()] || nodes[2].unheard_nodes().len() != 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, found).await.expect("the split bus was not found");
}

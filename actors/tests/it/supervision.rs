//! A panic stays in the actor that it happened in, and the tree tells of it.

use std::time::Duration;

use mundotango_actors::{Engine, SessionMessage, SessionOptions, TreeNode};
use mundotango_protocol::{ChannelName, Disconnect, StreamPosition};

use crate::client::{Client, engine, publish};
use crate::faulty::FaultyBus;

fn keeper(engine: &Engine, name: &str) -> TreeNode {
    let root = engine.tree(100).unwrap();
    root.children.into_iter().find(|child| child.name == name).unwrap()
}

/// The tree is told by messages, so it may take a moment.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

#[tokio::test]
async fn a_channels_panic_costs_its_subscribers_nothing_but_a_recovery() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    let mut other = Client::connected(&engine, "43").await;
    let result = client.subscribe("open:a").await;
    other.subscribe("open:b").await;
    publish(&engine, "open:a", 1).await;
    while client.push().await.publication.is_none() {}

    assert!(engine.channels().panic(&ChannelName::parse("open:a").unwrap()).await);
    let unsubscribe = loop {
        if let Some(unsubscribe) = client.push().await.unsubscribe {
            break unsubscribe;
        }
    };
    assert_eq!(unsubscribe.code, 2500, "clients subscribe again by themselves from 2500 on");
    publish(&engine, "open:a", 2).await;
    let from = StreamPosition { offset: 1, epoch: result.epoch };
    let recovered = client.recover("open:a", &from).await;
    assert!(recovered.recovered);
    assert_eq!(recovered.publications.iter().map(|missed| missed.offset).collect::<Vec<_>>(), [2]);

    publish(&engine, "open:b", 1).await;
    while other.push().await.publication.is_none() {}
    let channels = keeper(&engine, "channels");
    let crashed = channels.children.iter().find(|child| child.name == "open:a").unwrap();
    assert_eq!(crashed.restarts, 1);
    until("the keeper counts the crash", || keeper(&engine, "channels").child_crashes == 1).await;
}

#[tokio::test]
async fn a_sessions_panic_closes_that_session_alone() {
    let engine = engine().await;
    let mut victim = Client::connected(&engine, "42").await;
    let mut other = Client::connected(&engine, "43").await;
    victim.subscribe("open:a").await;
    other.subscribe("open:a").await;
    victim.session.handle().tell(SessionMessage::Panic);
    assert_eq!(victim.end().await, Disconnect::Internal);
    victim.session.close().await;

    publish(&engine, "open:a", 1).await;
    while other.push().await.publication.is_none() {}
    assert_eq!(engine.sessions().len(), 1);
    until("the keeper counts the crash", || keeper(&engine, "sessions").child_crashes == 1).await;
}

#[tokio::test]
async fn a_keeper_starts_anew_and_the_tree_shows_it() {
    let engine = engine().await;
    assert!(engine.panic_keeper("channels"));
    until("the keeper is back", || {
        let keeper = keeper(&engine, "channels");
        keeper.restarts == 1 && keeper.state.as_str() == "running"
    })
    .await;
    let mut client = Client::connected(&engine, "42").await;
    client.subscribe("open:a").await;
}

#[tokio::test]
async fn restarts_past_the_intensity_end_the_tree() {
    let engine = engine().await;
    let failing = async {
        loop {
            engine.panic_keeper("telemetry");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = failing => {}
        () = engine.failed() => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("the tree goes on for ever"),
    }
}

#[tokio::test]
async fn draining_tells_every_client_to_come_back() {
    let engine = engine().await;
    let mut clients = Vec::new();
    for user in 0..20 {
        let mut client = Client::connected(&engine, &user.to_string()).await;
        client.subscribe("open:a").await;
        clients.push(client);
    }
    let closing = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let reason = client.end().await;
            client.session.close().await;
            reason
        })
    });
    let closing: Vec<_> = closing.collect();
    let start = std::time::Instant::now();
    engine.drain(Duration::from_millis(400), Duration::from_secs(5)).await;
    assert!(start.elapsed() >= Duration::from_millis(300), "all at once would be a storm elsewhere");
    assert!(engine.sessions().is_empty());
    for reason in closing {
        assert_eq!(reason.await.unwrap(), Disconnect::Shutdown);
    }
}

/// The node's own tasks hang in the tree, each with its vitals.
#[tokio::test]
async fn the_nodes_own_tasks_are_in_the_tree() {
    let hub = std::sync::Arc::new(mundotango_actors::bus::LocalHub::default());
    let parts = mundotango_actors::NodeParts {
        id: "a".to_owned(),
        name: "a".to_owned(),
        bus: std::sync::Arc::new(hub.connect()),
    };
    let hot = std::sync::Arc::new(mundotango_storage::hot::MemoryHotState::new());
    let engine = crate::client::engine_of(parts, hot, mundotango_actors::SessionOptions::default()).await;
    let names = |keeper_name| {
        let tasks = keeper(&engine, keeper_name).children.into_iter();
        tasks.map(|task| task.name).collect::<Vec<_>>()
    };
    assert_eq!(
        names("node"),
        ["heartbeats", "hot state heartbeats", "members", "burials", "balance", "returns", "requests"]
    );
    assert!(names("channels").contains(&"histories".to_owned()));
    until("heartbeats make progress", || keeper(&engine, "node").children[0].messages_handled > 0).await;
}

/// The tasks that look after all channels make progress although there is no work, and one that hangs is found.
#[tokio::test]
async fn the_channels_own_tasks_are_watched() {
    let hub = std::sync::Arc::new(mundotango_actors::bus::LocalHub::default());
    let bus = FaultyBus::of(std::sync::Arc::new(hub.connect()), 1);
    bus.hang("nodes.unrecorded");
    let parts = mundotango_actors::NodeParts { id: "a".to_owned(), name: "a".to_owned(), bus };
    let hot = std::sync::Arc::new(mundotango_storage::hot::MemoryHotState::new());
    let options = SessionOptions { hung_after: Duration::from_secs(3), ..SessionOptions::default() };
    let engine = crate::client::engine_of(parts, hot, options).await;
    let states = || {
        let tasks = keeper(&engine, "channels").children.into_iter();
        tasks.map(|task| (task.name, task.state.as_str())).collect::<Vec<_>>()
    };
    until("the hung task is found", || states().contains(&("marks".to_owned(), "hung"))).await;
    let watched = ["presence 0", "presence 1", "presence 2", "presence 3", "histories"];
    for name in watched {
        assert!(states().contains(&(name.to_owned(), "running")), "{name}: {:?}", states());
    }
    let tasks = keeper(&engine, "channels").children;
    let hung = tasks.iter().find(|task| task.name == "marks").unwrap();
    assert_eq!(hung.messages_handled, 0);
    assert!(tasks.iter().filter(|task| task.name != "marks").all(|task| task.messages_handled >= 3));
}

/// However many sessions one user crashes, the keeper of the sessions goes on; however many users do so, the node does.
#[tokio::test]
async fn a_storm_of_crashing_sessions_does_not_end_the_node() {
    let engine = engine().await;
    let crash = async |user: String| {
        let mut victim = Client::connected(&engine, &user).await;
        victim.session.handle().tell(SessionMessage::Panic);
        victim.end().await;
        victim.session.close().await;
    };
    for _ in 0..100 {
        crash("42".to_owned()).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(keeper(&engine, "sessions").restarts, 0, "one user is one crash towards the intensity");
    assert_eq!(keeper(&engine, "sessions").child_crashes, 100);
    for user in 0..400 {
        crash(user.to_string()).await;
    }
    until("the storm is escalated", || keeper(&engine, "sessions").restarts == 1).await;
    tokio::select! {
        () = engine.failed() => panic!("clients have ended the node"),
        () = tokio::time::sleep(Duration::from_secs(3)) => {}
    }
    assert_eq!(keeper(&engine, "sessions").restarts, 1, "once a window at most");
    let mut client = Client::connected(&engine, "42").await;
    client.subscribe("open:a").await;
}

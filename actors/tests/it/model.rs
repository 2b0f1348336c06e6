//! A model of what a subscriber is promised: whatever happens in whatever order, it sees every publication from its
//! first subscription on, once and in order.

use std::sync::Arc;

use mundotango_actors::Engine;
use mundotango_protocol::{ChannelName, Publication, StreamPosition};
use proptest::prelude::*;

use crate::client::{Client, engine, publish};

const CHANNEL: &str = "open:model";
const CLIENTS: usize = 4;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One publication, waited for.
    Publish,
    /// Publications by several publishers at once, not waited for.
    Burst(u8),
    /// A client connects and subscribes, from where it was before if it was there before.
    Come(usize),
    /// A client reads what has come.
    Read(usize),
    /// A client's connection is cut; what waited for it is lost.
    Drop(usize),
    /// A client unsubscribes in good order.
    Leave(usize),
    /// The channel's actor panics.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        4 => Just(Step::Publish),
        3 => (1..8_u8).prop_map(Step::Burst),
        4 => client.clone().prop_map(Step::Come),
        3 => client.clone().prop_map(Step::Read),
        2 => client.clone().prop_map(Step::Drop),
        1 => client.prop_map(Step::Leave),
        1 => Just(Step::Crash),
    ]
}

/// What one client has seen over all of its connections.
#[derive(Default)]
struct Seen {
    connection: Option<Client>,
    subscribed: bool,
    first: Option<u64>,
    position: StreamPosition,
}

impl Seen {
    fn see(&mut self, publication: &Publication) {
        assert_eq!(publication.offset, self.position.offset + 1, "a gap or a twin");
        assert_eq!(publication.data, format!("{}", publication.offset), "another publication's payload");
        self.position.offset = publication.offset;
    }

    async fn come(&mut self, engine: &Engine) {
        if self.subscribed {
            return;
        }
        if self.connection.is_none() {
            self.connection = Some(Client::connected(engine, "42").await);
        }
        let Some(client) = &mut self.connection else { return };
        if self.first.is_none() {
            let result = client.subscribe(CHANNEL).await;
            self.first = Some(result.offset);
            self.position = StreamPosition { offset: result.offset, epoch: result.epoch };
        } else {
            let result = client.recover(CHANNEL, &self.position).await;
            assert!(result.recovered && result.was_recovering, "{result:?}");
            assert_eq!(result.epoch, self.position.epoch);
            for publication in &result.publications {
                self.see(publication);
            }
        }
        self.subscribed = true;
    }

    async fn read(&mut self) {
        let Some(client) = &mut self.connection else { return };
        client.drain().await;
        assert_eq!(client.ended, None);
        for push in std::mem::take(&mut client.pushes) {
            if let Some(publication) = push.publication {
                assert!(self.subscribed, "a publication after the subscription's end");
                self.see(&publication);
            } else if let Some(unsubscribe) = push.unsubscribe {
                assert_eq!(unsubscribe.code, 2500);
                self.subscribed = false;
            }
        }
    }

    async fn drop_connection(&mut self) {
        if let Some(client) = self.connection.take() {
            client.session.close().await;
        }
        self.subscribed = false;
    }

    async fn leave(&mut self) {
        self.read().await;
        let Some(client) = &mut self.connection else { return };
        let reply = client.ask(serde_json::json!({"unsubscribe": {"channel": CHANNEL}})).await;
        assert!(reply.unsubscribe.is_some());
        self.read().await;
        self.subscribed = false;
    }
}

/// Publishes a publication that says its own offset; publishers take turns for that, as the channel numbers them.
async fn publish_next(engine: &Engine, turn: &tokio::sync::Mutex<u64>) {
    let mut next = turn.lock().await;
    let position = publish(engine, CHANNEL, *next + 1).await;
    *next += 1;
    assert_eq!(position.offset, *next);
}

async fn run(steps: Vec<Step>) {
    let engine = engine().await;
    let turn = Arc::new(tokio::sync::Mutex::new(0));
    let mut clients: [Seen; CLIENTS] = std::array::from_fn(|_| Seen::default());
    let mut bursts = Vec::new();
    for step in steps {
        match step {
            Step::Publish => publish_next(&engine, &turn).await,
            Step::Burst(publications) => {
                for _ in 0..publications {
                    let (engine, turn) = (Arc::clone(&engine), Arc::clone(&turn));
                    bursts.push(tokio::spawn(async move { publish_next(&engine, &turn).await }));
                }
            }
            Step::Come(client) => {
                clients[client].read().await;
                clients[client].come(&engine).await;
            }
            Step::Read(client) => clients[client].read().await,
            Step::Drop(client) => clients[client].drop_connection().await,
            Step::Leave(client) => clients[client].leave().await,
            Step::Crash => drop(engine.channels().panic(&ChannelName::parse(CHANNEL).unwrap()).await),
        }
    }
    for burst in bursts {
        burst.await.unwrap();
    }
    // In the end everybody who ever came has everything.
    let top = *turn.lock().await;
    for client in clients.iter_mut().filter(|client| client.first.is_some()) {
        while client.position.offset < top || !client.subscribed {
            client.read().await;
            client.come(&engine).await;
            if client.subscribed && client.position.offset < top {
                let connection = client.connection.as_mut().unwrap();
                if connection.pushes.is_empty() {
                    connection.pump().await;
                }
            }
        }
        client.read().await;
        assert_eq!(client.position.offset, top);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_sees_every_publication_once_and_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

/// Publishers that do not take turns: offsets and arrival differ in order, and the channel puts that right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_publishers_leave_no_gap() {
    let engine = engine().await;
    let mut client = Client::connected(&engine, "42").await;
    client.subscribe(CHANNEL).await;
    let publishers: Vec<_> = (0..8)
        .map(|_| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                for _ in 0..250 {
                    publish(&engine, CHANNEL, 0).await;
                }
            })
        })
        .collect();
    for expected in 1..=2000 {
        let offset = loop {
            if let Some(publication) = client.push().await.publication {
                break publication.offset;
            }
        };
        assert_eq!(offset, expected);
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

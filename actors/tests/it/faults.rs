//! What subscribers are promised while hot state and the bus misbehave: they are whole, or they are told. First the cases
//! that went wrong once, each by its name, then a model that mixes all faults.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mundotango_actors::bus::{Bus as _, LocalHub};
use mundotango_actors::{Engine, NodeParts, Publish, SessionOptions};
use mundotango_protocol::{ChannelName, Fanout, Publication, StreamPosition, new_id};
use mundotango_storage::hot::{Append, HistoryLimits, HotState as _};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Client, engine_of, open_namespace, publish};
use crate::faulty::{BusFaults, Call, Fault, FaultyBus, FaultyHotState, SharedMemory};

const CHANNEL: &str = "open:a";

fn channel() -> ChannelName {
    ChannelName::parse(CHANNEL).unwrap()
}

fn limits() -> HistoryLimits {
    open_namespace().history().unwrap()
}

fn options() -> SessionOptions {
    // Time is virtual and leaps, and the clients of these tests answer no pings.
    let day = Duration::from_hours(24);
    SessionOptions {
        personal_channel: false,
        ping_interval: day,
        pong_timeout: day,
        commands_per_second: 0,
        recovery_max_publications: 10_000,
        ..SessionOptions::default()
    }
}

async fn alone(hot: &Arc<FaultyHotState>) -> Arc<Engine> {
    let hot = Arc::clone(hot);
    engine_of(NodeParts::alone(), hot, options()).await
}

/// A node of a cluster, with faults of its own.
struct Node {
    engine: Arc<Engine>,
    hot: Arc<FaultyHotState>,
    bus: Arc<FaultyBus>,
}

async fn nodes(count: usize, seed: u64) -> (Vec<Node>, Arc<SharedMemory>, Arc<LocalHub>) {
    let (hub, memory) = (Arc::new(LocalHub::default()), Arc::new(SharedMemory::default()));
    let mut nodes = Vec::new();
    for number in 0..count {
        let hot = FaultyHotState::of(&memory);
        let bus = FaultyBus::of(Arc::new(hub.connect()), seed + number as u64);
        let id = new_id();
        let parts = NodeParts { name: id.clone(), id, bus: bus.clone() };
        let engine = engine_of(parts, hot.clone(), options()).await;
        nodes.push(Node { engine, hot, bus });
    }
    while nodes.iter().any(|node| node.engine.nodes().len() < count) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (nodes, memory, hub)
}

async fn try_publish(engine: &Engine, number: u64) -> Option<StreamPosition> {
    let publication = Publication { data: Bytes::from(number.to_string()), ..Publication::default() };
    engine.publish(&channel(), Publish::new(publication)).await.ok()
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// The publications that came, by payload.
async fn numbers(client: &mut Client) -> Vec<String> {
    // The channel's actor has its turn.
    tokio::time::sleep(Duration::from_millis(10)).await;
    client.drain().await;
    let pushes = std::mem::take(&mut client.pushes);
    let publications = pushes.into_iter().filter_map(|push| push.publication);
    publications.map(|publication| String::from_utf8(publication.data.to_vec()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn who_subscribes_while_history_is_away_is_whole_again_when_it_is_back() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut client = Client::connected(&engine, "1").await;
    hot.once(Call::History, Fault::Refuse);
    let subscribed = client.subscribe(CHANNEL).await;
    assert!(!subscribed.recoverable && !subscribed.positioned, "told that this is a live stream only");
    publish(&engine, CHANNEL, 1).await;
    publish(&engine, CHANNEL, 2).await;
    assert_eq!(numbers(&mut client).await, ["1", "2"], "and live it is");
    let lost = client.push().await.unsubscribe.unwrap();
    assert_eq!(lost.code, 2502, "the client comes again once history answers");
    let again = client.subscribe(CHANNEL).await;
    assert_eq!((again.recoverable, again.offset), (true, 2));
}

#[tokio::test(start_paused = true)]
async fn who_gave_up_waiting_is_nowhere_subscribed() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    // One after the other takes 2 s until history is given up; a session waits for 5 s.
    hot.set(Fault::Hang);
    let mut clients = Vec::new();
    for number in 0..5 {
        clients.push(Client::connected(&engine, &number.to_string()).await);
    }
    let asking = clients.iter_mut().map(|client| client.code(json!({"subscribe": {"channel": CHANNEL}})));
    let codes = join_all(asking).await;
    hot.set(Fault::None);
    seconds(60).await;
    let subscribed = codes.iter().filter(|code| **code == 0).count();
    assert!(codes.contains(&100), "some gave up: {codes:?}");
    assert_eq!(
        engine.channel_counts("").await.answers.get(CHANNEL).copied().unwrap_or_default(),
        0,
        "told to come again"
    );
    assert_eq!(engine.presence(&channel()).await.unwrap().len(), 0);
    for (client, code) in clients.iter_mut().zip(codes) {
        client.drain().await;
        let told = client.pushes.iter().filter(|push| push.unsubscribe.is_some()).count();
        assert_eq!(told, usize::from(code == 0));
    }
    assert!(subscribed > 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_while_it_subscribes_is_nowhere_subscribed() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    for answered_after in [Duration::from_millis(100), Duration::from_millis(101), Duration::from_millis(200)]
    {
        let mut client = Client::connected(&engine, "1").await;
        hot.once(Call::History, Fault::Late(answered_after));
        let subscribe = json!({"id": 9, "subscribe": {"channel": CHANNEL}});
        let cut = tokio::time::timeout(Duration::from_millis(100), client.send(&subscribe)).await;
        drop(client);
        seconds(1).await;
        assert!(engine.channels().is_empty(), "after {answered_after:?}, {cut:?}");
        assert!(engine.presence(&channel()).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_recovery_says_nothing_to_the_others() {
    let engine = alone(&FaultyHotState::alone()).await;
    let mut watcher = Client::connected(&engine, "1").await;
    watcher.ask(json!({"subscribe": {"channel": CHANNEL, "join_leave": true}})).await;
    while watcher.push().await.join.is_none() {}
    let mut client = Client::connected(&engine, "2").await;
    let recover = json!({"channel": CHANNEL, "recover": true, "epoch": "another", "offset": 3, "flag": 2});
    assert_eq!(client.code(json!({"subscribe": recover})).await, 112);
    seconds(5).await;
    watcher.drain().await;
    assert!(watcher.pushes.is_empty(), "{:?}", watcher.pushes);
    assert_eq!(engine.presence(&channel()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_loses_its_stream_leaves_presence_and_is_announced() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    // Not positioned, so it stays.
    let live = json!({"force_recovery": {"value": false}, "force_push_join_leave": {"value": true}});
    let token = json!({"user": "9", "subs": {CHANNEL: {"override": live}}}).to_string();
    let mut watcher = Client::open(&engine);
    assert!(watcher.ask(json!({"connect": {"token": token}})).await.connect.is_some());
    let mut client = Client::connected(&engine, "1").await;
    client.subscribe(CHANNEL).await;
    hot.memory().forget();
    publish(&engine, CHANNEL, 1).await;
    while client.push().await.unsubscribe.is_none() {}
    seconds(1).await;
    watcher.drain().await;
    let id = client.session.handle().client().to_string();
    let left =
        |push: &mundotango_protocol::Push| push.leave.as_ref()?.info.as_ref().map(|info| info.client == id);
    assert_eq!(watcher.pushes.iter().filter_map(left).collect::<Vec<_>>(), [true]);
    assert!(!engine.presence(&channel()).await.unwrap().contains_key(&id));
}

#[tokio::test(start_paused = true)]
async fn a_late_loss_does_not_end_a_newer_subscription() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut client = Client::connected(&engine, "1").await;
    client.subscribe(CHANNEL).await;
    hot.memory().forget();
    publish(&engine, CHANNEL, 1).await;
    // The loss waits in the session's mailbox while the client, who knows nothing of it, subscribes again.
    seconds(1).await;
    let again = [
        json!({"id": 8, "unsubscribe": {"channel": CHANNEL}}),
        json!({"id": 9, "subscribe": {"channel": CHANNEL}}),
    ];
    client.send_batch(&again).await;
    seconds(1).await;
    client.drain().await;
    assert!(client.pushes.iter().all(|push| push.unsubscribe.is_none()), "{:?}", client.pushes);
    publish(&engine, CHANNEL, 2).await;
    assert_eq!(numbers(&mut client).await, ["2"], "the newer subscription goes on");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_history_is_delivered_although_its_publisher_hung_up() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut client = Client::connected(&engine, "1").await;
    client.subscribe(CHANNEL).await;
    hot.once(Call::Append, Fault::Late(Duration::from_secs(1)));
    let hung_up = tokio::time::timeout(Duration::from_millis(100), try_publish(&engine, 1)).await;
    assert!(hung_up.is_err());
    seconds(2).await;
    assert_eq!(numbers(&mut client).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn publications_of_a_lost_history_do_not_keep_a_channel_reading() {
    let (nodes, memory, hub) = nodes(1, 0).await;
    let Node { engine, hot, .. } = &nodes[0];
    let mut client = Client::connected(engine, "1").await;
    let epoch = client.subscribe(CHANNEL).await.epoch;
    let publication = Publication { data: Bytes::from_static(b"1"), offset: 30, ..Publication::default() };
    let fanout = Fanout { publication: Some(publication), epoch, ..Fanout::default() };
    let name: Vec<_> = CHANNEL.bytes().map(|byte| format!("{byte:02x}")).collect();
    let subject = format!("channel.{}", name.concat());
    hub.connect().publish(&subject, fanout.to_bytes().into()).await.unwrap();
    // The actor has it and waits for those before it.
    tokio::time::sleep(Duration::from_millis(1)).await;
    memory.forget();
    Client::connected(engine, "2").await.subscribe(CHANNEL).await;
    let before = hot.histories.load(Ordering::Relaxed);
    seconds(5).await;
    let reads = hot.histories.load(Ordering::Relaxed) - before;
    assert!(reads <= 3, "{reads} reads in 5 s");
}

#[tokio::test(start_paused = true)]
async fn nobody_recovers_past_publications_that_history_did_not_take() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut client = Client::connected(&engine, "1").await;
    client.subscribe(CHANNEL).await;
    let before = publish(&engine, CHANNEL, 1).await;
    client.session.close().await;
    hot.set(Fault::Refuse);
    let unrecorded = publish(&engine, CHANNEL, 2).await;
    assert_eq!(unrecorded.offset, 0, "acknowledged, and said to be in no history");
    hot.set(Fault::None);
    let mut back = Client::connected(&engine, "1").await;
    let recovered = back.recover(CHANNEL, &before).await;
    assert!(!recovered.recovered, "the second one is missing");
    seconds(10).await;
    publish(&engine, CHANNEL, 3).await;
    let mut late = Client::connected(&engine, "1").await;
    assert!(!late.recover(CHANNEL, &before).await.recovered);
    let now = late.ask(json!({"unsubscribe": {"channel": CHANNEL}})).await;
    assert!(now.unsubscribe.is_some());
    assert!(late.subscribe(CHANNEL).await.recoverable, "the history goes on");
}

/// One node is cut off from hot state, another is not.
#[tokio::test(start_paused = true)]
async fn nobody_recovers_elsewhere_past_publications_that_history_did_not_take() {
    let (nodes, ..) = nodes(2, 0).await;
    let mut client = Client::connected(&nodes[1].engine, "1").await;
    client.subscribe(CHANNEL).await;
    let before = publish(&nodes[0].engine, CHANNEL, 1).await;
    client.session.close().await;
    nodes[0].hot.set(Fault::Refuse);
    for round in 0..10 {
        assert!(try_publish(&nodes[0].engine, 2).await.is_some());
        let mut back = Client::connected(&nodes[1].engine, "1").await;
        assert!(!back.recover(CHANNEL, &before).await.recovered, "after {round} s");
        seconds(1).await;
    }
    nodes[0].hot.set(Fault::None);
    seconds(15).await;
    let mut back = Client::connected(&nodes[1].engine, "1").await;
    let subscribed = back.recover(CHANNEL, &before).await;
    assert!(!subscribed.recovered && subscribed.recoverable, "{subscribed:?}");
}

#[tokio::test(start_paused = true)]
async fn presence_is_written_in_few_calls_and_holds_up_no_publication() {
    const CLIENTS: usize = 600;
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::connected(&engine, &number.to_string()).await);
    }
    for _ in 0..3 {
        hot.once(Call::Presence, Fault::Late(Duration::from_millis(400)));
    }
    let start = Instant::now();
    join_all(clients.iter_mut().map(|client| client.subscribe(CHANNEL))).await;
    let joined = start.elapsed();
    assert_eq!(engine.presence(&channel()).await.unwrap().len(), CLIENTS);
    hot.presence_calls.lock().clear();
    // Presence is refreshed meanwhile, and hot state takes a second for each call of that.
    for _ in 0..60 {
        for _ in 0..10 {
            hot.once(Call::Presence, Fault::Late(Duration::from_secs(1)));
        }
        let start = Instant::now();
        publish(&engine, CHANNEL, 1).await;
        for client in &mut clients {
            while client.push().await.publication.is_none() {}
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(50), "{took:?}");
        seconds(1).await;
    }
    assert_eq!(engine.presence(&channel()).await.unwrap().len(), CLIENTS, "still there after their time");
    let calls = hot.presence_calls.lock().clone();
    let (said, most) = (calls.iter().sum::<usize>(), calls.iter().max().copied().unwrap_or_default());
    assert!(said >= 2 * CLIENTS, "all are written again");
    assert!(calls.len() < said / 3, "{} calls for {said} clients", calls.len());
    assert!(most <= CLIENTS / 3, "{most} of {CLIENTS} at once");
    println!(
        "{CLIENTS} joined in {joined:?} (virtual); {} calls for {said} refreshes, most {most}",
        calls.len()
    );
}

#[tokio::test(start_paused = true)]
async fn presence_that_hot_state_did_not_take_is_made_up_for() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut stays = Client::connected(&engine, "1").await;
    let mut leaves = Client::connected(&engine, "2").await;
    leaves.subscribe(CHANNEL).await;
    for _ in 0..2 {
        hot.once(Call::Presence, Fault::Refuse);
    }
    stays.subscribe(CHANNEL).await;
    leaves.ask(json!({"unsubscribe": {"channel": CHANNEL}})).await;
    seconds(8).await;
    let present = engine.presence(&channel()).await.unwrap();
    assert_eq!(present.into_keys().collect::<Vec<_>>(), [stays.session.handle().client().to_string()]);
}

#[tokio::test(start_paused = true)]
async fn joins_that_come_together_are_written_together() {
    const CLIENTS: usize = 500;
    let engine = alone(&FaultyHotState::alone()).await;
    let mut watcher = Client::connected(&engine, "w").await;
    watcher.ask(json!({"subscribe": {"channel": CHANNEL, "join_leave": true}})).await;
    seconds(1).await;
    watcher.drain().await;
    watcher.pushes.clear();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Client::connected(&engine, &number.to_string()).await;
        client.subscribe(CHANNEL).await;
        clients.push(client);
    }
    seconds(1).await;
    let writes = watcher.session.handle().outbox().len();
    watcher.drain().await;
    let joined: BTreeSet<_> = watcher
        .pushes
        .iter()
        .filter_map(|push| push.join.as_ref()?.info.clone())
        .map(|info| info.client)
        .collect();
    assert_eq!((watcher.pushes.len(), joined.len()), (CLIENTS, CLIENTS));
    assert!(writes <= 20, "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn a_lost_history_brings_its_clients_back_one_after_the_other() {
    const CLIENTS: usize = 3_000;
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = Client::connected(&engine, &number.to_string()).await;
        client.subscribe(CHANNEL).await;
        clients.push(client);
    }
    hot.memory().forget();
    publish(&engine, CHANNEL, 1).await;
    let mut told = 0;
    let mut most = 0;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = told;
        for client in &mut clients {
            client.drain().await;
            let pushes = std::mem::take(&mut client.pushes);
            assert!(pushes.iter().all(|push| push.publication.is_none()), "nothing is written past the hole");
            told += pushes.iter().filter(|push| push.unsubscribe.is_some()).count();
        }
        most = most.max(told - before);
    }
    assert_eq!(told, CLIENTS);
    assert!(most < CLIENTS * 2 / 3, "{most} within 100 ms");
}

#[tokio::test(start_paused = true)]
async fn an_idle_channel_of_a_node_alone_costs_nothing() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut client = Client::connected(&engine, "1").await;
    client.subscribe(CHANNEL).await;
    let before = hot.histories.load(Ordering::Relaxed);
    seconds(300).await;
    assert_eq!(hot.histories.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn who_is_left_out_of_a_publication_is_left_out_of_its_repair() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut left_out = Client::connected(&engine, "1").await;
    left_out.subscribe(CHANNEL).await;
    let mut other = Client::connected(&engine, "2").await;
    other.subscribe(CHANNEL).await;
    // One that nobody delivers makes a hole before the next one.
    let publication = |data: &'static str| Publication { data: Bytes::from(data), ..Publication::default() };
    hot.append(CHANNEL, Append::new(publication("1"), Some(limits()))).await.unwrap();
    let exclude = Some(left_out.session.handle().client());
    engine.publish(&channel(), Publish { exclude, ..Publish::new(publication("2")) }).await.unwrap();
    seconds(1).await;
    assert_eq!(numbers(&mut other).await, ["1", "2"]);
    assert_eq!(numbers(&mut left_out).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_in_a_large_channel_is_read_once_for_many_who_ask() {
    let hot = FaultyHotState::alone();
    let engine = alone(&hot).await;
    let mut clients = Vec::new();
    for number in 0..300 {
        let mut client = Client::connected(&engine, &number.to_string()).await;
        client.subscribe(CHANNEL).await;
        if number < 10 {
            let present = client.ask(json!({"presence": {"channel": CHANNEL}})).await.presence.unwrap();
            assert_eq!(present.presence.len(), number + 1, "in a small channel everybody is seen at once");
        }
        clients.push(client);
    }
    let before = hot.presence_reads.load(Ordering::Relaxed);
    for client in &mut clients {
        let present = client.ask(json!({"presence": {"channel": CHANNEL}})).await.presence.unwrap();
        assert_eq!(present.presence.len(), 300);
    }
    let reads = hot.presence_reads.load(Ordering::Relaxed) - before;
    // The cache goes by the machine's clock, not by the test's.
    assert!(reads < 20, "{reads} reads");
}

/// centrifugal/centrifuge#256: one publication that is no JSON ended all JSON sessions.
#[tokio::test(start_paused = true)]
async fn a_payload_that_one_encoding_cannot_carry_ends_nobody() {
    let engine = alone(&FaultyHotState::alone()).await;
    for (name, delta) in [("bytes:a", ""), ("bytes:b", "fossil")] {
        let mut client = Client::connected(&engine, "1").await;
        client.ask(json!({"subscribe": {"channel": name, "delta": delta}})).await;
        for data in [&b"hi \xff"[..], b"{\"n\":1}"] {
            let publication = Publication { data: Bytes::from_static(data), ..Publication::default() };
            engine.publish(&ChannelName::parse(name).unwrap(), Publish::new(publication)).await.unwrap();
        }
        seconds(1).await;
        client.drain().await;
        assert_eq!(client.ended, None, "{name}");
        let last = client.pushes.iter().filter_map(|push| push.publication.as_ref()).next_back().unwrap();
        assert!(String::from_utf8_lossy(&last.data).contains('n'), "{last:?}");
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A publication on a node, waited for.
    Publish(usize),
    /// Publications on both nodes at once.
    Race(u8),
    /// A publication whose publisher hangs up.
    HangUp(usize),
    /// A client connects to a node and subscribes, from where it was before if it was there before.
    Come(usize, usize),
    /// A client reads what has come.
    Read(usize),
    /// A client's connection is cut; what waited for it is lost.
    Drop(usize),
    /// A client unsubscribes in good order.
    Leave(usize),
    /// Hot state misbehaves towards a node from now on.
    Fault(usize, Fault),
    /// The next such call alone goes wrong.
    Once(usize, Call, Fault),
    /// Hot state loses everything.
    Forget,
    /// Hot state is as it was some publications ago.
    GoBack(usize),
    /// The bus to a node misbehaves from now on.
    Bus(usize, BusFaults),
    /// The channel's actor panics.
    Crash(usize),
    /// Time goes by.
    Wait(u64),
}

const CLIENTS: usize = 3;

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        2 => Just(Fault::Refuse),
        1 => Just(Fault::Hang),
        1 => (1..3_000_u64).prop_map(|millis| Fault::Late(Duration::from_millis(millis))),
        1 => Just(Fault::DoneButUnknown),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![Just(Call::Append), Just(Call::History), Just(Call::Renew), Just(Call::Presence)]
}

fn step() -> impl Strategy<Value = Step> {
    let (node, client) = (0..2_usize, 0..CLIENTS);
    let percent = || prop_oneof![2 => Just(0), 1 => 0..60_u32];
    let bus = (percent(), percent(), percent(), percent())
        .prop_map(|(lost, repeated, overtaken, late)| BusFaults { lost, repeated, overtaken, late });
    prop_oneof![
        6 => node.clone().prop_map(Step::Publish),
        2 => (1..6_u8).prop_map(Step::Race),
        1 => node.clone().prop_map(Step::HangUp),
        6 => (client.clone(), node.clone()).prop_map(|(client, node)| Step::Come(client, node)),
        3 => client.clone().prop_map(Step::Read),
        2 => client.clone().prop_map(Step::Drop),
        1 => client.prop_map(Step::Leave),
        3 => (node.clone(), fault()).prop_map(|(node, fault)| Step::Fault(node, fault)),
        2 => (node.clone(), call(), fault()).prop_map(|(node, call, fault)| Step::Once(node, call, fault)),
        1 => Just(Step::Forget),
        1 => (1..4_usize).prop_map(Step::GoBack),
        2 => (node.clone(), bus).prop_map(|(node, faults)| Step::Bus(node, faults)),
        1 => node.prop_map(Step::Crash),
        3 => prop_oneof![1..200_u64, 1_000..40_000_u64].prop_map(Step::Wait),
    ]
}

/// What one client knows, over all of its connections.
#[derive(Default)]
struct Follower {
    connection: Option<Client>,
    subscribed: bool,
    /// Whether it was told that its subscription is a live one only.
    live_only: bool,
    /// Where it is, if it can recover.
    position: Option<StreamPosition>,
    /// From this number on nothing may be missing.
    whole_from: u64,
    seen: BTreeSet<u64>,
}

impl Follower {
    fn see(&mut self, publication: &Publication) {
        let number = std::str::from_utf8(&publication.data).unwrap().parse().unwrap();
        if let Some(position) = self.position.as_mut().filter(|_| publication.offset > 0 && !self.live_only) {
            assert_eq!(publication.offset, position.offset + 1, "a gap or a twin");
            position.offset = publication.offset;
        }
        self.seen.insert(number);
    }

    async fn come(&mut self, engine: &Engine, next: impl Fn() -> u64) {
        self.read().await;
        if self.subscribed {
            return;
        }
        if self.connection.is_none() {
            self.connection = Some(Client::connected(engine, "42").await);
        }
        let Some(client) = &mut self.connection else { return };
        let subscribe = match &self.position {
            Some(from) => {
                json!({"channel": CHANNEL, "recover": true, "offset": from.offset, "epoch": from.epoch})
            }
            None => json!({"channel": CHANNEL}),
        };
        let Some(result) = client.ask(json!({"subscribe": subscribe})).await.subscribe else { return };
        self.subscribed = true;
        self.live_only = !result.recoverable;
        if result.recovered {
            for publication in &result.publications {
                self.see(publication);
            }
        } else {
            // Told that something may be missing, or new.
            self.whole_from = next();
            self.position = result
                .recoverable
                .then(|| StreamPosition { offset: result.offset, epoch: result.epoch.clone() });
        }
    }

    async fn read(&mut self) {
        let Some(client) = &mut self.connection else { return };
        client.drain().await;
        let ended = client.ended.is_some();
        for push in std::mem::take(&mut client.pushes) {
            if let Some(publication) = push.publication {
                assert!(self.subscribed, "a publication after the subscription's end");
                self.see(&publication);
            } else if let Some(unsubscribe) = push.unsubscribe {
                assert!(unsubscribe.code >= 2500, "{unsubscribe:?}");
                self.subscribed = false;
            }
        }
        if ended {
            self.drop_connection().await;
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
        client.ask(json!({"unsubscribe": {"channel": CHANNEL}})).await;
        self.read().await;
        self.subscribed = false;
    }
}

async fn run(seed: u64, steps: Vec<Step>) {
    let (nodes, memory, _hub) = nodes(2, seed).await;
    let begun = std::cell::Cell::new(0_u64);
    let begin = || begun.replace(begun.get() + 1);
    let mut acknowledged = BTreeSet::new();
    let mut followers: [Follower; CLIENTS] = std::array::from_fn(|_| Follower::default());
    for step in steps {
        match step {
            Step::Publish(node) => {
                let number = begin();
                acknowledged.extend(try_publish(&nodes[node].engine, number).await.map(|_| number));
            }
            Step::Race(count) => {
                let numbers: Vec<_> = (0..count).map(|_| begin()).collect();
                let racing = numbers.iter().enumerate().map(async |(index, number)| {
                    try_publish(&nodes[index % 2].engine, *number).await.map(|_| *number)
                });
                acknowledged.extend(join_all(racing).await.into_iter().flatten());
            }
            Step::HangUp(node) => {
                let publishing = try_publish(&nodes[node].engine, begin());
                drop(tokio::time::timeout(Duration::from_millis(1), publishing).await);
            }
            Step::Come(client, node) => followers[client].come(&nodes[node].engine, || begun.get()).await,
            Step::Read(client) => followers[client].read().await,
            Step::Drop(client) => followers[client].drop_connection().await,
            Step::Leave(client) => followers[client].leave().await,
            Step::Fault(node, fault) => nodes[node].hot.set(fault),
            Step::Once(node, call, fault) => nodes[node].hot.once(call, fault),
            Step::Forget => memory.forget(),
            Step::GoBack(lost) => memory.go_back(CHANNEL, limits(), lost).await,
            Step::Bus(node, faults) => nodes[node].bus.set(faults),
            Step::Crash(node) => drop(nodes[node].engine.channels().panic(&channel()).await),
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
    // Everything works again, and some time goes by.
    for node in &nodes {
        node.hot.heal();
        node.bus.set(BusFaults::default());
    }
    for _ in 0..4 {
        seconds(40).await;
        for follower in &mut followers {
            follower.come(&nodes[0].engine, || begun.get()).await;
        }
    }
    for node in &nodes {
        let number = begin();
        assert!(try_publish(&node.engine, number).await.is_some());
        acknowledged.insert(number);
    }
    seconds(1).await;
    for follower in &mut followers {
        follower.read().await;
        assert!(follower.subscribed && !follower.live_only, "everybody can recover in the end");
        let missing: Vec<_> = acknowledged
            .range(follower.whole_from..)
            .filter(|number| !follower.seen.contains(number))
            .collect();
        assert!(missing.is_empty(), "neither whole nor told: {missing:?}");
    }
}

/// How many interleavings are tried: more by `MUNDOTANGO_FAULT_CASES`.
fn cases() -> u32 {
    std::env::var("MUNDOTANGO_FAULT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_subscribers_are_whole_or_told(seed in any::<u32>(), steps in prop::collection::vec(step(), 1..40)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(u64::from(seed), steps));
    }
}

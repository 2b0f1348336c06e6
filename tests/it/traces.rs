//! Traces as a collector gets them: what belongs together across sockets, nodes, the outbox, jobs, mail and agents; what
//! is not recorded; and a collector that hangs.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use mundotango::node_file::NodeFile;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::cluster;
use crate::collector::{Collector, Seen, hanging};
use crate::server::{Server, User, until};

/// A stranger's trace that is recorded, and one that is not.
const RECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MUTED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// A round of the exporter, and more.
const ROUND: Duration = Duration::from_secs(2);

/// A client of one connection that answers pings.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(server: &Server, user: &User) -> Self {
        let (socket, _) = connect_async(server.websocket_url()).await.unwrap();
        let mut client = Self(socket);
        client.ask(json!({"id": 1, "connect": {"token": user.token}})).await;
        client
    }

    /// Sends a command and waits for its answer.
    async fn ask(&mut self, command: Value) -> Value {
        let id = command["id"].clone();
        self.0.send(Message::text(command.to_string())).await.unwrap();
        self.next(|reply| reply["id"] == id).await
    }

    async fn next(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Message::Text(text) = self.0.next().await.unwrap().unwrap() else { continue };
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let reply = reply.unwrap();
                assert!(reply["error"].is_null(), "{reply}");
                if is_wanted(&reply) {
                    return reply;
                }
                if reply == json!({}) {
                    self.0.send(Message::text("{}")).await.unwrap();
                }
            }
        }
    }
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// Starts nodes of a cluster, or one alone, that send traces to a collector.
async fn nodes(collector: &Collector, ratio: &str, count: usize) -> Vec<Server> {
    let url = collector.url();
    if count == 1 {
        return vec![Server::start_with(&[("TRACES__ENDPOINT", &url), ("TRACES__RATIO", ratio)]).await];
    }
    let settings = cluster::with(&cluster::settings(), "TRACES__ENDPOINT", &url);
    cluster::start_with(&cluster::with(&settings, "TRACES__RATIO", ratio), count).await
}

/// Waits until nothing is under way to the collector.
async fn settled(collector: &Collector) {
    until("the collector is idle", async || {
        let before = collector.requests();
        tokio::time::sleep(ROUND).await;
        (collector.requests() == before).then_some(())
    })
    .await;
}

/// The command of a client that called a route, and the span of the route within it.
async fn call(collector: &Collector, route: &str) -> (Seen, Seen) {
    let command = collector.span(route, |span| span.name == "rpc" && span.says("rpc.method") == route).await;
    let call = collector.child(&command, route).await;
    (command, call)
}

/// T7: what a client causes is found again at the other node, in the job, in the mail and in the agent's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_a_call_to_all_that_it_causes() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector, "1", 2).await;
    let name = format!("traced{}", std::process::id());
    let ana = nodes[0].register(&name).await;
    let mut reader = Client::connect(&nodes[1], &ana).await;
    reader.ask(json!({"id": 2, "subscribe": {"channel": "posts:feed"}})).await;

    let before = nanos();
    let mut writer = Client::connect(&nodes[0], &ana).await;
    let connected = nanos();
    let rpc = |id: u32, method: &str, data: Value| json!({"id": id, "rpc": {"method": method, "data": data}});
    writer.ask(rpc(2, "POST /api/posts", json!({"content": "traced"}))).await;
    reader.next(|reply| reply["push"]["pub"]["data"]["post"]["content"] == "traced").await;
    let forgot = json!({"email": format!("{name}@example.com")});
    writer.ask(rpc(3, "POST /api/auth/forgot-password", forgot)).await;
    let said = json!({"message": "Hi", "agentId": "travel", "stream": true});
    writer.ask(rpc(4, "POST /api/life-ceo/chat", said)).await;

    // From the socket to the store and the other node: one trace.
    let (command, post) = call(&collector, "POST /api/posts").await;
    assert!(command.parent.is_empty() && command.says("user.id") == ana.id, "{command:?}");
    assert_eq!(post.says("http.response.status_code"), "201");
    let written = collector
        .span("the post is written", |span| {
            span.trace == post.trace && span.says("db.system.name") == "cassandra"
        })
        .await;
    assert_eq!(written.node, command.node);
    let effect = collector.child(&post, "outbox publish").await;
    let publish = collector.child(&effect, "channel publish").await;
    assert_eq!(publish.says("messaging.destination.name"), "posts:feed");
    collector.child(&publish, "redis").await;
    let sent = collector.child(&publish, "nats publish").await;
    let delivered = collector.child(&sent, "channel deliver").await;
    assert_eq!((delivered.says("channel.deliveries"), &sent.node), ("1", &command.node));
    assert_ne!(delivered.node, command.node, "it is the other node's");

    // The job is a trace of its own; what it changes causes another job, and the mail is a part of that.
    let (_, forgot) = call(&collector, "POST /api/auth/forgot-password").await;
    let enqueued = collector.child(&forgot, "job enqueue").await;
    assert_eq!(enqueued.says("job.queue"), "email");
    let job = collector.span("the job", |span| span.is_linked_to(&enqueued)).await;
    assert_eq!((job.says("job.id"), job.says("job.attempt")), (enqueued.says("job.id"), "1"));
    assert_eq!(job.name, format!("job {}", enqueued.says("job.kind")));
    let effect = collector.child(&job, "outbox job").await;
    let enqueued = collector.child(&effect, "job enqueue").await;
    let letter = collector.span("the letter's job", |span| span.is_linked_to(&enqueued)).await;
    let mail = collector.child(&letter, "mail send").await;
    assert!(!mail.has_failed && !letter.has_failed, "{letter:?} {mail:?}");

    // So is the agent's answer.
    let (_, chat) = call(&collector, "POST /api/life-ceo/chat").await;
    let asked = collector
        .span("the conversation is asked", |span| span.trace == chat.trace && span.name == "owned actor")
        .await;
    let answer = collector.span("the answer", |span| span.is_linked_to(&asked)).await;
    assert_eq!((answer.name.as_str(), answer.says("gen_ai.agent.id")), ("invoke_agent", "travel"));
    assert!(!answer.has_failed, "{answer:?}");
    let said = collector.child(&answer, "channel publish").await;
    assert!(said.says("messaging.destination.name").starts_with("agent:"), "{said:?}");

    // Commands are linked to the one that connected, and no span lasts as long as a session (T5).
    let connect = collector
        .span("the connect command", |span| {
            span.name == "connect" && span.began >= before && span.node == command.node
        })
        .await;
    assert!(command.is_linked_to(&connect) && command.says("session.id") == connect.says("session.id"));
    let closed = nanos();
    writer.0.close(None).await.unwrap();
    settled(&collector).await;
    let spans = collector.spans();
    let lasting: Vec<_> =
        spans.iter().filter(|span| span.began <= connected && span.ended >= closed).collect();
    assert!(lasting.is_empty(), "{lasting:?}");
    assert!(spans.iter().all(|span| span.began > 0 && span.ended >= span.began));
    let ids: BTreeSet<_> = spans.iter().map(|span| (&span.trace, &span.id)).collect();
    assert_eq!(ids.len(), spans.len(), "ids are told once");

    // The exporter's own requests, heartbeats and timers make none (T1): nothing more came while nothing was asked for.
    let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(!names.iter().any(|name| name.contains("/v1/traces")), "{names:?}");
}

/// T8: on the doors of clients a stranger decides nothing; on the operators' own a caller's trace goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_trace_is_a_link_and_decides_nothing() {
    let collector = Collector::start().await;
    let url = collector.url();
    let with = |ratio| {
        [
            ("TRACES__ENDPOINT", url.as_str()),
            ("TRACES__RATIO", ratio),
            ("HTTP__INTERNAL_LISTEN", "127.0.0.1:0"),
        ]
    };
    let start = async |ratio| {
        let mut server = Server::begin_with(&with(ratio));
        server.wait_until_it_listens().await;
        let internal = NodeFile::read(&server.data_dir()).unwrap().commands();
        until("the node is ready", async || {
            let ready = server.http.get(format!("http://{internal}/api/health/ready")).send().await.ok()?;
            (ready.status() == StatusCode::OK).then_some(())
        })
        .await;
        (server, internal.to_string())
    };
    let (server, _) = start("1").await;
    let get = async |server: &Server, address: String, traceparent: &str| {
        let request =
            server.http.get(format!("http://{address}/api/events")).header("traceparent", traceparent);
        // Who is refused is traced as all others are.
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    };
    for traceparent in [RECORDED, MUTED, "nonsense"] {
        get(&server, server.address().to_string(), traceparent).await;
    }
    let requests = until("three requests", async || {
        let all = collector.spans();
        let all: Vec<_> = all.into_iter().filter(|span| span.name == "GET /api/events").collect();
        (all.len() == 3).then_some(all)
    })
    .await;
    let stranger: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&RECORDED[3 + 2 * at..][..2], 16).unwrap()).collect();
    for request in &requests {
        assert!(request.parent.is_empty() && request.trace != stranger, "{request:?}");
    }
    let links: Vec<_> = requests.iter().map(|request| request.links.len()).collect();
    assert_eq!(links, [1, 1, 0]);
    assert_eq!(requests[0].links[0].0, stranger);
    drop(server);

    settled(&collector).await;
    let known = collector.spans().len();
    let (server, internal) = start("0").await;
    get(&server, server.address().to_string(), RECORDED).await;
    get(&server, internal.clone(), MUTED).await;
    get(&server, internal, RECORDED).await;
    let trusted = collector.span("the operator's request", |span| span.trace == stranger).await;
    assert_eq!((trusted.name.as_str(), trusted.links.len()), ("GET /api/events", 0));
    assert_eq!(trusted.parent, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    settled(&collector).await;
    assert!(collector.spans()[known..].iter().all(|span| span.trace == stranger), "no other was recorded");
}

/// "Trace this user for ten minutes": on all nodes at once, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chosen_user_is_traced_on_all_nodes_and_nobody_else() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector, "0", 2).await;
    let (ana, bob, admin) =
        (nodes[0].user("ana", "user"), nodes[0].user("bob", "user"), nodes[0].user("root", "admin"));
    let path = "/api/admin/system/traces";
    let (status, _) = nodes[0].post(path, &ana, json!({"user": "ana", "minutes": 10})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for wrong in [json!({"minutes": 10}), json!({"user": "a", "channel": "b", "minutes": 10})] {
        let (status, problem) = nodes[0].post(path, &admin, wrong).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("user")));
    }
    let (status, chosen) = nodes[0].post(path, &admin, json!({"user": "ana", "minutes": 10})).await;
    assert_eq!(status, StatusCode::CREATED, "{chosen}");
    let (_, channel) = nodes[1].post(path, &admin, json!({"channel": "room:x", "minutes": 1})).await;
    let (_, listed) = nodes[1].get(path, &admin).await;
    assert_eq!(listed["items"], json!([chosen, channel]), "on each node");

    // The other node knows at once, by the bus.
    for user in [&bob, &ana] {
        nodes[1].get("/api/events", user).await;
        let mut client = Client::connect(&nodes[1], user).await;
        client.ask(json!({"id": 2, "subscribe": {"channel": "posts:feed"}})).await;
    }
    let request = collector.span("ana's request", |span| span.name == "GET /api/events").await;
    assert_eq!(request.says("user.id"), "ana");
    let command = collector.span("ana's command", |span| span.name == "subscribe").await;
    assert_eq!((command.says("user.id"), command.says("messaging.destination.name")), ("ana", "posts:feed"));
    nodes[0].api("publish", json!({"channel": "room:x", "data": {}})).await;
    let publish = collector.span("the channel's publication", |span| span.name == "channel publish").await;
    assert_eq!(publish.says("messaging.destination.name"), "room:x");

    for chosen in [&chosen, &channel] {
        let path = format!("{path}/{}", chosen["id"].as_str().unwrap());
        let (status, _) = nodes[0].call(Method::DELETE, &path, Some(&admin.token), None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = nodes[0].call(Method::DELETE, &path, Some(&admin.token), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    settled(&collector).await;
    let known = collector.spans();
    assert!(known.iter().all(|span| matches!(span.says("user.id"), "" | "ana")), "{known:?}");
    nodes[1].get("/api/events", &ana).await;
    settled(&collector).await;
    assert_eq!(collector.spans().len(), known.len(), "nobody is traced any more");
}

/// Where spans go nowhere, nobody can ask for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_nothing_can_be_chosen() {
    let server = Server::start().await;
    let admin = server.user("root", "admin");
    let path = "/api/admin/system/traces";
    let (status, problem) = server.post(path, &admin, json!({"command": "subscribe", "minutes": 1})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert_eq!(server.get(path, &admin).await.1, json!({"items": []}));
}

/// T2: a collector that takes connections and never answers costs spans, and neither answers nor the drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_up_nothing() {
    let url = format!("http://{}", hanging().await);
    let settings =
        [("TRACES__ENDPOINT", url.as_str()), ("TRACES__RATIO", "1"), ("TRACES__QUEUE_SPANS", "10")];
    // With one worker thread whoever blocks it blocks everything.
    let mut server = Server::begin_in(&[("TOKIO_WORKER_THREADS", "1")], &settings);
    server.wait_until_ready().await;
    for _ in 0..100 {
        let (status, _) = server.call(Method::GET, "/api/events", None, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let page = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let dropped = page.lines().find_map(|line| line.strip_prefix("trace_spans_dropped_total "));
    let dropped: u64 = dropped.unwrap().parse().unwrap();
    assert!(
        (80..=100).contains(&dropped),
        "{dropped} of 100 spans, of which ten may wait and ten be under way"
    );
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let log = server.log();
    assert!(log.contains("spans were not sent to the collector of traces before the end"), "{log}");
}

/// Lines of the log within a recorded span say which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_log_lead_to_their_trace() {
    let collector = Collector::start().await;
    let server = nodes(&collector, "1", 1).await.remove(0);
    let admin = server.user("root", "admin");
    let body = json!({"command": "subscribe", "minutes": 1});
    let (status, _) = server.post("/api/admin/system/traces", &admin, body).await;
    assert_eq!(status, StatusCode::CREATED);
    let request = collector.span("the request", |span| span.name == "POST /api/admin/system/traces").await;
    let log = server.whole_log().await;
    let line = log.lines().find(|line| line.contains("traced always for a while")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let trace = u128::from_be_bytes(request.trace.as_slice().try_into().unwrap());
    assert_eq!(line["trace_id"], format!("{trace:032x}"), "{line}");
}

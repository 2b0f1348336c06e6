//! The transports beside the WebSocket, and the limits at the door, without an SDK between.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::server::{ROOM, Server, User};

const PATIENCE: Duration = Duration::from_secs(20);

async fn server(more: &[(&'static str, &'static str)]) -> Server {
    let settings = [ROOM, &[("HTTP__UNIDIRECTIONAL", "true")], more].concat();
    Server::start_with(&settings).await
}

/// Lines of a body that does not end.
struct Lines {
    response: Response,
    buffer: String,
}

impl Lines {
    async fn open(server: &Server, method: Method, path: &str, body: Value) -> Self {
        let request = server.http.request(method, server.url(path)).body(body.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { response, buffer: String::new() }
    }

    /// The next line that says something; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.buffer.clone().split_once('\n') {
                rest.clone_into(&mut self.buffer);
                let line = line.trim();
                let line = line.strip_prefix("data: ").unwrap_or(line);
                if line.is_empty() {
                    continue;
                }
                return Some(serde_json::from_str(line).unwrap());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("nothing came");
            self.buffer += std::str::from_utf8(&chunk.unwrap()?).unwrap();
        }
    }
}

fn query(connect: &Value) -> String {
    let encode = |byte: u8| format!("%{byte:02X}");
    connect.to_string().bytes().map(encode).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_find_their_stream_by_its_secret() {
    let server = server(&[]).await;
    let ana = server.user("ana", "user");
    let connect = json!({"id": 1, "connect": {"token": ana.token}});
    let path = format!("/connection/sse?cf_connect={}", query(&connect));
    for (method, path, body) in
        [(Method::POST, "/connection/http_stream", connect.clone()), (Method::GET, path.as_str(), json!(""))]
    {
        let mut lines = Lines::open(&server, method, path, body).await;
        let connected = lines.next().await.unwrap()["connect"].clone();
        let send = async |node: &Value, session: &Value, command: Value| {
            let body = json!({"node": node, "session": session, "data": command.to_string()});
            let request = server.http.post(server.url("/emulation")).json(&body);
            request.send().await.unwrap().status().as_u16()
        };
        let (node, session) = (&connected["node"], &connected["session"]);
        let subscribe = json!({"id": 2, "subscribe": {"channel": "room:a"}});
        assert_eq!(send(node, session, subscribe.clone()).await, 204);
        assert!(lines.next().await.unwrap()["subscribe"]["recoverable"].as_bool().unwrap());
        server.api("publish", json!({"channel": "room:a", "data": 1})).await;
        assert_eq!(lines.next().await.unwrap()["push"]["pub"]["data"], 1);
        assert_eq!(send(&json!("another"), session, subscribe.clone()).await, 404);
        assert_eq!(send(node, &json!("another"), subscribe).await, 204);
        server.api("disconnect", json!({"user": "ana"})).await;
        let end = lines.next().await.unwrap();
        assert_eq!(end["push"]["disconnect"], json!({"code": 3503, "reason": "force disconnect"}));
        assert!(lines.next().await.is_none(), "after the last message the body ends");
    }
    let status = async |method: Method, path: &str, body: String| {
        server.http.request(method, server.url(path)).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(Method::POST, "/emulation", "nonsense".to_owned()).await, 400);
    assert_eq!(status(Method::GET, "/emulation", String::new()).await, 405);
    assert_eq!(status(Method::OPTIONS, "/emulation", String::new()).await, 204);
    assert_eq!(status(Method::GET, "/connection/sse", String::new()).await, 400);
    assert_eq!(status(Method::GET, "/connection/http_stream", String::new()).await, 405);
    assert_eq!(status(Method::POST, "/connection/http_stream", "x".repeat(70_000)).await, 413);
    let foreign = server.http.get(server.url(&path)).header("origin", "https://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

/// An old session ends so that its client comes again, and a session goes on as long as its age allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_sessions_of_all_transports_move_when_they_are_old() {
    let server = server(&[("SESSION__MAX_AGE", "2s")]).await;
    let ana = server.user("ana", "user");
    let connect = json!({"id": 1, "connect": {"token": ana.token}});
    let wanted = json!({"code": 3011, "reason": "force reconnect"});
    let sse = format!("/connection/sse?cf_connect={}", query(&connect));
    let begin = tokio::time::Instant::now();
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    socket.send(Message::text(connect.to_string())).await.unwrap();
    let mut streams = [
        Lines::open(&server, Method::POST, "/connection/http_stream", connect).await,
        Lines::open(&server, Method::GET, &sse, json!("")).await,
    ];
    for lines in &mut streams {
        assert!(lines.next().await.unwrap()["connect"].is_object());
        assert_eq!(lines.next().await.unwrap()["push"]["disconnect"], wanted);
        assert!(lines.next().await.is_none(), "after the last message the body ends");
    }
    let close = loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Close(close) = message {
            break close.unwrap();
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (3011, "force reconnect"));
    assert!(begin.elapsed() >= Duration::from_millis(1800), "a tenth earlier at most");
    let metrics = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("realtime_sessions_moved_total{reason=\"age\"} 3"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_client_goes_takes_its_session_along() {
    let server = server(&[]).await;
    let ana = server.user("ana", "user");
    let connect = json!({"id": 1, "connect": {"token": ana.token}});
    let mut lines = Lines::open(&server, Method::POST, "/connection/http_stream", connect).await;
    lines.next().await.unwrap();
    drop(lines);
    crate::server::until("the session is gone", async || {
        let info = server.api("info", json!({})).await;
        (info["result"]["nodes"][0]["num_clients"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_get_bare_pushes() {
    let server = server(&[]).await;
    let ana = server.user("ana", "user");
    let connect = json!({"token": ana.token, "subs": {"room:a": {}}});
    let path = format!("/connection/uni_sse?cf_connect={}", query(&connect));
    let mut streams = vec![
        Lines::open(&server, Method::POST, "/connection/uni_http_stream", connect.clone()).await,
        Lines::open(&server, Method::GET, &path, json!("")).await,
    ];
    let url = server.websocket_url().replace("websocket", "uni_websocket");
    let (mut socket, _) = connect_async(url).await.unwrap();
    socket.send(Message::text(connect.to_string())).await.unwrap();
    let mut frame = async || match socket.next().await.unwrap().unwrap() {
        Message::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
        Message::Close(frame) => json!({"closed": u16::from(frame.unwrap().code)}),
        other => panic!("{other:?}"),
    };
    let connected = frame().await["connect"].clone();
    assert!(connected["subs"]["room:a"].is_object() && connected["session"].is_string(), "{connected}");
    for lines in &mut streams {
        assert!(lines.next().await.unwrap()["connect"]["subs"]["room:a"].is_object());
    }
    server.api("publish", json!({"channel": "room:a", "data": 1})).await;
    assert_eq!(frame().await["pub"]["data"], 1);
    server.api("disconnect", json!({"user": "ana"})).await;
    assert_eq!(frame().await["closed"], 3503);
    for lines in &mut streams {
        assert_eq!(lines.next().await.unwrap()["pub"]["data"], 1);
        assert_eq!(lines.next().await.unwrap()["disconnect"]["code"], 3503);
    }
}

async fn connected(server: &Server, path: &str, user: &User) -> (Value, Socket) {
    let (mut socket, _) = connect_async(server.websocket_url() + path).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": user.token}});
    socket.send(Message::text(connect.to_string())).await.unwrap();
    let Message::Text(text) = socket.next().await.unwrap().unwrap() else { panic!("no text") };
    (serde_json::from_str::<Value>(&text).unwrap()["connect"].clone(), socket)
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_may_be_the_websockets_own() {
    let server = server(&[("SESSION__PING_INTERVAL", "1s"), ("SESSION__PONG_TIMEOUT", "500ms")]).await;
    let ana = server.user("ana", "user");
    let (result, mut socket) = connected(&server, "?cf_ws_frame_ping_pong=true", &ana).await;
    assert!(result["ping"].is_null() && result["pong"].is_null());
    for _ in 0..3 {
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(frame.is_ping(), "{frame:?}");
    }
    // A client that answers nothing is found.
    let (_, mut silent) = connected(&server, "", &ana).await;
    let end = async {
        loop {
            if let Message::Close(frame) = silent.next().await.unwrap().unwrap() {
                return u16::from(frame.unwrap().code);
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, end).await.unwrap(), 3012);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_may_have_so_many_connections() {
    // One of the three is the test's own HTTP client.
    let server = server(&[("HTTP__MAX_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let ana = server.user("ana", "user");
    let (_, one) = connected(&server, "", &ana).await;
    let (_, _two) = connected(&server, "", &ana).await;
    match connect_async(server.websocket_url()).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("{:?}", other.map(|_| "a socket")),
    }
    drop(one);
    crate::server::until("the place is free", async || connect_async(server.websocket_url()).await.ok())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_is_an_error_and_the_session_goes_on() {
    let server = Server::start_with(&[ROOM, &[("SESSION__OUTBOX_BYTES", "100000")]].concat()).await;
    let ana = server.register("ana").await;
    for _ in 0..30 {
        let (status, _) = server.post("/api/posts", &ana, json!({"content": "x".repeat(5000)})).await;
        assert_eq!(status, StatusCode::CREATED);
        server.api("publish", json!({"channel": "room:large", "data": "x".repeat(5000)})).await;
    }
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let commands = [
        json!({"id": 1, "connect": {"token": ana.token}}),
        json!({"id": 2, "subscribe": {"channel": "room:large"}}),
        json!({"id": 3, "rpc": {"method": "GET /api/posts?limit=100"}}),
        json!({"id": 4, "history": {"channel": "room:large", "limit": 100}}),
        json!({"id": 5, "rpc": {"method": "GET /api/posts?limit=1"}}),
        json!({"id": 6, "history": {"channel": "room:large", "limit": 1}}),
    ];
    for (at, command) in commands.iter().enumerate() {
        socket.send(Message::text(command.to_string())).await.unwrap();
        let reply = loop {
            let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("no answer");
            let Message::Text(text) = message.unwrap().unwrap() else { continue };
            let replies = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            if let Some(reply) = replies.map(Result::unwrap).find(|reply| reply["id"] == command["id"]) {
                break reply;
            }
        };
        let expected = if matches!(at, 2 | 3) { json!(106) } else { Value::Null };
        assert_eq!(reply["error"]["code"], expected, "{command}: {reply}");
        if at == 2 {
            let message = reply["error"]["message"].as_str().unwrap();
            assert!(message.contains("session.outbox_bytes"), "{message}");
        }
    }
}

//! Who comes in, over which way, and what those are told who do not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _, future};
use mundotango::node_file::NodeFile;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::server::{ROOM, Server, until};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longest wait for an answer that has to come at once.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Opens a socket with a header; the status of the answer if it is none.
async fn open_with(server: &Server, name: &'static str, value: &str) -> Result<Socket, StatusCode> {
    let mut request = server.websocket_url().into_client_request().unwrap();
    request.headers_mut().insert(name, value.parse().unwrap());
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

/// Sends bytes, reads everything to the end, and says how long it took.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> (String, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // An ordinary client sends all of its request before it reads.
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
}

fn head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        crate::server::API_KEY
    )
}

/// Every kind of route that takes a body.
const WITH_BODY: [&str; 6] = [
    "/api/auth/login",
    "/api/publish",
    "/emulation",
    "/connection/http_stream",
    "/connection/sse",
    "/no/such/route",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_come_are_given_up_on_every_route() {
    let server = Server::start_with(&[ROOM, &[("HTTP__BODY_TIMEOUT", "1s")]].concat()).await;
    let slow = WITH_BODY.map(|path| {
        let (head, address) = (head("POST", path, 1000), server.address());
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.into_split();
            // A byte now and then is no progress.
            let drip = async {
                while writer.write_all(b"{").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                future::pending::<()>().await;
            };
            let mut answer = vec![0; 64];
            let read = async { reader.read(&mut answer).await.unwrap_or_default() };
            let count = tokio::select! {
                count = tokio::time::timeout(AT_ONCE, read) => count.expect(path),
                () = drip => 0,
            };
            (path, String::from_utf8_lossy(&answer[..count]).into_owned())
        }
    });
    for (path, answer) in future::join_all(slow).await {
        let expected = if path == "/no/such/route" { "HTTP/1.1 404" } else { "HTTP/1.1 408" };
        assert!(answer.starts_with(expected), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_too_much_can_read_why() {
    let server = Server::start_with(&[ROOM, &[("HTTP__MAX_BODY_BYTES", "100000")]].concat()).await;
    // More than the kernel's buffers of both sides hold.
    let body = vec![b'x'; 6 * 1024 * 1024];
    for path in WITH_BODY {
        for round in 0..5 {
            let request = [head("POST", path, body.len()).as_bytes(), &body].concat();
            let (answer, _) = exchange(server.address(), &request).await;
            let expected = if path == "/no/such/route" { "HTTP/1.1 404" } else { "HTTP/1.1 413" };
            assert!(answer.starts_with(expected), "{path}, {round}: {answer:?}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
    // A wrong key is told too, although nobody reads the body.
    let head = head("POST", "/api/publish", body.len()).replace(crate::server::API_KEY, "wrong");
    let (answer, _) = exchange(server.address(), &[head.as_bytes(), &body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer:?}");
    // A client that asks first sends nothing.
    let (answer, took) =
        exchange(server.address(), head.replace("host", "expect: 100-continue\r\nhost").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && took < AT_ONCE, "{answer:?}");
}

/// Fills a server of eight connections.
async fn full() -> (Server, Vec<Socket>) {
    let settings =
        [("HTTP__MAX_CONNECTIONS", "8"), ("HTTP__HEADER_TIMEOUT", "1s"), ("SESSION__STALE_TIMEOUT", "5m")];
    let server = Server::start_with(&settings).await;
    let mut sockets = Vec::new();
    until("every place is a socket's", async || {
        while let Ok((socket, _)) = connect_async(server.websocket_url()).await {
            sockets.push(socket);
        }
        // The test's own HTTP client has one until it is idle for too long.
        (sockets.len() == 8).then_some(())
    })
    .await;
    (server, sockets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_says_so_to_a_thousand_and_still_tells_its_health() {
    let (server, sockets) = full().await;
    let request = head("POST", "/api/auth/login", 5000) + &"x".repeat(5000);
    let refused = (0..1000).map(|_| exchange(server.address(), request.as_bytes()));
    for (answer, _) in future::join_all(refused).await {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 2"), "{answer:?}");
        assert!(answer.contains("http.max_connections"), "{answer:?}");
    }
    for path in ["/api/health", "/api/health/live", "/api/health/ready", "/metrics"] {
        let (answer, took) = exchange(server.address(), head("GET", path, 0).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && took < AT_ONCE, "{path}: {answer:?}");
        if path == "/metrics" {
            let line = answer
                .lines()
                .find(|line| line.starts_with("connections_refused_total{reason=\"connections\"}"));
            let count: usize = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
            assert!(count >= 1000, "{count}");
        }
    }
    assert_eq!(server.whole_log().await.matches("connections refused").count(), 1, "one line a minute");
    // Connections that say nothing use up the reserve for a moment only.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    until("health is told again", async || {
        let request = head("GET", "/api/health/live", 0);
        let stream = exchange(server.address(), request.as_bytes());
        tokio::time::timeout(AT_ONCE, stream)
            .await
            .ok()
            .filter(|(answer, _)| answer.starts_with("HTTP/1.1 200"))
    })
    .await;
    drop((silent, sockets));
    until("places are free again", async || connect_async(server.websocket_url()).await.ok().map(drop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_by_address_mean_the_client_behind_a_trusted_proxy() {
    let settings =
        [("HTTP__TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#), ("HTTP__MAX_CONNECTIONS_PER_ADDRESS", "2")];
    let server = Server::start_with(&settings).await;
    let name = "x-forwarded-for";
    let _one = open_with(&server, name, "203.0.113.1").await.unwrap();
    let two = open_with(&server, name, "8.8.8.8, 203.0.113.1").await.unwrap();
    let invented = open_with(&server, name, "198.51.100.1, 203.0.113.1").await;
    assert_eq!(
        invented.err(),
        Some(StatusCode::TOO_MANY_REQUESTS),
        "what stands before is the client's word"
    );
    let _other = open_with(&server, name, "203.0.113.2").await.unwrap();
    drop(two);
    until("the place is free", async || open_with(&server, name, "203.0.113.1").await.ok()).await;
    // Requests that are done leave no place taken.
    for _ in 0..10 {
        let request = server.http.get(server.url("/api/health/live")).header(name, "203.0.113.3");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }
}

/// Tries a wrong password by RPC; the code of the answer.
async fn log_in_by_rpc(socket: &mut Socket, id: usize) -> Value {
    let data = json!({"email": "nobody@example.com", "password": "abrazo-1234"});
    let rpc = json!({"id": id, "rpc": {"method": "POST /api/auth/login", "data": data}});
    socket.send(Message::text(rpc.to_string())).await.unwrap();
    loop {
        let message = tokio::time::timeout(AT_ONCE, socket.next()).await.expect("no answer");
        let Message::Text(text) = message.unwrap().unwrap() else { continue };
        for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let reply = reply.unwrap();
            if reply["id"] == id {
                return reply["error"]["code"].clone();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_sockets_count_for_the_address_of_their_connection() {
    let settings = [
        ("HTTP__TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#),
        ("AUTH__RATES__LOGINS_PER_ADDRESS", "3"),
        ("AUTH__RATES__FAILED_LOGINS", "0"),
    ];
    let server = Server::start_with(&settings).await;
    let name = "x-forwarded-for";
    let connect = json!({"id": 1, "connect": {"token": server.user("ana", "user").token}}).to_string();
    let mut flooding = open_with(&server, name, "203.0.113.1").await.unwrap();
    let mut other = open_with(&server, name, "203.0.113.2").await.unwrap();
    for socket in [&mut flooding, &mut other] {
        socket.send(Message::text(connect.clone())).await.unwrap();
    }
    for id in 2..5 {
        assert_eq!(log_in_by_rpc(&mut flooding, id).await, 401);
    }
    for id in 5..20 {
        assert_eq!(log_in_by_rpc(&mut flooding, id).await, 429);
    }
    assert_eq!(log_in_by_rpc(&mut other, 2).await, 401, "another address has its own quota");
    let login = json!({"email": "nobody@example.com", "password": "abrazo-1234"});
    let request = server.http.post(server.url("/api/auth/login")).header(name, "203.0.113.1");
    let answer = request.json(&login).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "one quota for both doors");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_trusted_proxy_cannot_invent_an_address() {
    let server = Server::start_with(&[("HTTP__MAX_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let mut open = Vec::new();
    for number in 0..8 {
        open.extend(open_with(&server, "x-forwarded-for", &format!("203.0.113.{number}")).await.ok());
    }
    assert!((2..=3).contains(&open.len()), "{}", open.len());
}

fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1], &[0x12, 0x34, 0x13, 0x88]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_names_its_clients_by_the_proxy_protocol() {
    let settings = [
        ("HTTP__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
        ("HTTP__PROXY_PROTOCOL", "true"),
        ("HTTP__MAX_CONNECTIONS_PER_ADDRESS", "2"),
    ];
    let mut server = Server::begin_with(&settings);
    server.wait_until_it_listens().await;
    let open = async |client| {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(&proxy_header(client)).await.unwrap();
        client_async(server.websocket_url(), stream).await
    };
    until("the node is ready", async || open([203, 0, 113, 9]).await.ok().map(drop)).await;
    let one = open([203, 0, 113, 1]).await.unwrap();
    let _two = open([203, 0, 113, 1]).await.unwrap();
    match open([203, 0, 113, 1]).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS),
        other => panic!("{:?}", other.map(|_| "a socket")),
    }
    let (mut other, _) = open([203, 0, 113, 2]).await.unwrap();
    other.send(Message::text("nonsense")).await.unwrap();
    assert!(other.next().await.unwrap().unwrap().is_close());
    drop(one);
    until("the place is free", async || open([203, 0, 113, 1]).await.ok()).await;
    // The balancer's own check, and a trusted proxy that sends no header.
    let local = [b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", head("GET", "/api/health/live", 0).as_bytes()].concat();
    assert!(exchange(server.address(), &local).await.0.starts_with("HTTP/1.1 200"));
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(head("GET", "/api/health/live", 0).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The connection is closed or reset: what came is no header.
    let _ = tokio::time::timeout(AT_ONCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_have_a_listener_of_their_own() {
    let settings = [("HTTP__INTERNAL_LISTEN", "127.0.0.1:0"), ("HTTP__MAX_CONNECTIONS", "50")];
    let mut server = Server::begin_with(&settings);
    server.wait_until_it_listens().await;
    let internal = NodeFile::read(&server.data_dir()).unwrap().commands();
    assert_ne!(internal, server.address());
    let get = async |address: SocketAddr, path: &str, token: &str| {
        let request = server.http.get(format!("http://{address}{path}")).bearer_auth(token);
        request.send().await.unwrap().status()
    };
    until("the node is ready", async || {
        let answer = server.http.get(format!("http://{internal}/api/health/ready")).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(())
    })
    .await;
    let admin = server.user("root", "admin");
    for path in ["/metrics", "/api/health", "/api/health/ready", "/api/health/live", "/api/admin/system/tree"]
    {
        assert_eq!(get(internal, path, &admin.token).await, StatusCode::OK, "{path}");
        assert_eq!(get(server.address(), path, &admin.token).await, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get(server.address(), "/api/posts", &admin.token).await, StatusCode::OK);
    // The socket's door to the routes is a public one.
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": admin.token}});
    let rpc = json!({"id": 2, "rpc": {"method": "GET /api/admin/system/tree", "data": {}}});
    socket.send(Message::text(format!("{connect}\n{rpc}"))).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(r#""id":2"#) {
        seen += socket.next().await.unwrap().unwrap().to_text().unwrap();
    }
    assert!(seen.contains(r#""code":104"#), "{seen}");
    // However many clients there are, operators see the node.
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.extend(connect_async(server.websocket_url()).await.ok());
    }
    assert_eq!(get(internal, "/api/health/ready", &admin.token).await, StatusCode::OK);
    // Commands on the data folder find it.
    let output = crate::server::mundotango(
        &server.data_dir(),
        &["user", "create", "--email", "eva@example.com", "--password", "abrazo-1234"],
    )
    .output()
    .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_gets_what_it_needs_and_a_stranger_a_line_in_the_log() {
    let settings = [("HTTP__ALLOWED_ORIGINS", r#"["http://app.example:8088"]"#)];
    let server = Server::start_with(&settings).await;
    let preflight = async |path: &str, origin: &str| {
        let request = server.http.request(Method::OPTIONS, server.url(path)).header("origin", origin);
        let request = request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "idempotency-key,traceparent,authorization");
        request.send().await.unwrap().headers().clone()
    };
    for path in ["/api/posts", "/emulation", "/connection/http_stream"] {
        let headers = preflight(path, "http://app.example:8088").await;
        assert_eq!(headers["access-control-allow-origin"], "http://app.example:8088", "{path}");
        assert_eq!(headers["access-control-max-age"], "7200", "{path}");
        let allowed = headers["access-control-allow-headers"].to_str().unwrap();
        for name in ["idempotency-key", "if-none-match", "x-request-id", "traceparent", "baggage"] {
            assert!(allowed.contains(name), "{path}: {allowed}");
        }
        let headers = preflight(path, "https://evil.example").await;
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}: {headers:?}");
    }
    let request = server.http.get(server.url("/api/posts")).header("origin", "http://app.example:8088");
    let answer = request.send().await.unwrap();
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    for name in ["retry-after", "location", "etag", "www-authenticate", "x-request-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    for _ in 0..20 {
        let refused = open_with(&server, "origin", "https://evil.example").await;
        assert_eq!(refused.err(), Some(StatusCode::FORBIDDEN));
    }
    let log = server.whole_log().await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("page refused")).collect();
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    for text in ["https://evil.example", &server.address().to_string(), "http.allowed_origins"] {
        assert!(line.contains(text), "{line}");
    }
}

/// react/create-react-app#1633, vercel/next.js#9965: proxies that compress hold streams back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_tell_proxies_to_leave_them_alone() {
    let server = Server::start().await;
    let ana = server.user("ana", "user");
    let connect = json!({"id": 1, "connect": {"token": ana.token}}).to_string();
    for (path, kind) in [
        ("/connection/sse", "text/event-stream; charset=utf-8"),
        ("/connection/http_stream", "application/x-ndjson; charset=utf-8"),
    ] {
        let request =
            server.http.post(server.url(path)).header("accept-encoding", "gzip").body(connect.clone());
        let answer = request.send().await.unwrap();
        let headers = answer.headers();
        assert!(headers["cache-control"].to_str().unwrap().contains("no-transform"), "{headers:?}");
        assert_eq!(
            (&headers["content-type"], &headers["x-accel-buffering"]),
            (&kind.parse().unwrap(), &"no".parse().unwrap())
        );
        assert!(!headers.contains_key("content-encoding"), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_no_text_is_a_problem_like_others() {
    let server = Server::start().await;
    let ana = server.user("ana", "user");
    for path in ["/api/posts/%ff", "/api/events/%ff", "/api/users/%c3%28"] {
        let (status, problem) = server.get(path, &ana).await;
        assert_eq!((status, &problem["status"]), (StatusCode::BAD_REQUEST, &json!(400)), "{path}: {problem}");
        assert_ne!(problem["errors"], Value::Null, "{problem}");
    }
}

//! Clients that are slow, rude or wrong.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, until};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn close_frame(socket: &mut Socket) -> CloseFrame {
    let wait = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the socket stays open")
}

async fn closed_after(server: &Server, message: Message) -> u16 {
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    socket.send(message).await.unwrap();
    close_frame(&mut socket).await.code.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_break_the_protocol_are_closed_with_a_code() {
    let server = Server::start_with(&[("SESSION__STALE_TIMEOUT", "1s")]).await;
    assert_eq!(closed_after(&server, Message::text("nonsense")).await, 3501);
    assert_eq!(closed_after(&server, Message::text("")).await, 3501);
    assert_eq!(closed_after(&server, Message::binary(vec![0xff; 10])).await, 3501);
    let forged = r#"{"id":1,"connect":{"token":"forged"}}"#;
    assert_eq!(closed_after(&server, Message::text(forged)).await, 3500);
    assert_eq!(closed_after(&server, Message::text("x".repeat(70_000))).await, 1009);
    let (mut silent, _) = connect_async(server.websocket_url()).await.unwrap();
    assert_eq!(u16::from(close_frame(&mut silent).await.code), 3502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_may_not_open_sockets() {
    let settings = [("HTTP__ALLOWED_ORIGINS", r#"["https://*.tango.example"]"#)];
    let server = Server::start_with(&settings).await;
    let open = async |origin: &str| {
        let mut request = server.websocket_url().into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        match connect_async(request).await {
            Ok((_, response)) => response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        }
    };
    let own = format!("http://{}", server.address());
    for origin in ["https://app.tango.example", &own] {
        assert_eq!(open(origin).await, StatusCode::SWITCHING_PROTOCOLS, "{origin}");
    }
    for origin in ["https://evil.example", "null", "https://app.tango.example.evil.example"] {
        assert_eq!(open(origin).await, StatusCode::FORBIDDEN, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_are_cut_off() {
    let server = Server::start_with(&[("HTTP__HEADER_TIMEOUT", "1s")]).await;
    let silent = TcpStream::connect(server.address()).await.unwrap();
    let mut dripping = TcpStream::connect(server.address()).await.unwrap();
    let start = Instant::now();
    let drip = async {
        for byte in b"GET /api/health HTTP/1.1\r\nx-long: ".iter().chain(std::iter::repeat(&b'x')) {
            if dripping.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(start.elapsed() < Duration::from_secs(20), "a dripping client is served for ever");
        }
    };
    let wait = async {
        let mut silent = silent;
        match silent.read(&mut [0; 16]).await {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("the silent connection got {other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    };
    tokio::join!(drip, wait);
    let answer = server.http.get(server.url("/api/health")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_limit_are_told_so() {
    let server = Server::start_with(&[("HTTP__MAX_CONNECTIONS", "8")]).await;
    let mut sockets = Vec::new();
    let mut refused = false;
    for _ in 0..9 {
        match connect_async(server.websocket_url()).await {
            Ok((socket, _)) => sockets.push(socket),
            Err(Error::Http(response)) => {
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                refused = true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused, "an upgraded socket keeps its place");
    drop(sockets);
    until("places are free again", async || connect_async(server.websocket_url()).await.ok().map(drop)).await;
}

/// G31: a process that may open few files keeps them for what it has; who is refused can come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g31_few_open_files_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let limited = folder.path().join("limited");
    let script = format!("#!/bin/sh\nulimit -n 256\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_mundotango"));
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(&limited, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Server::begin_of(&limited, &[]);
    server.wait_until_ready().await;
    let ana = server.register("ana").await;
    let mut here = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "posts:feed").await;
    let mut crowd = Vec::new();
    for number in 0..600 {
        crowd.extend(TcpStream::connect(server.address()).await);
        if number % 100 == 0 {
            // A connection that was there before: all work goes on.
            let body = json!({"content": number.to_string()});
            let (status, post) = server.post("/api/posts", &ana, body).await;
            assert_eq!(status, StatusCode::CREATED, "{post}");
            assert_eq!(here.publication().await["post"]["content"], number.to_string());
        }
    }
    let mut late = crowd.pop().unwrap();
    let mut answer = String::new();
    // It was refused, or closed without a word.
    let _ = late.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(crowd);
    until("places are free again", async || connect_async(server.websocket_url()).await.ok().map(drop)).await;
    let (status, _) = server.post("/api/posts", &ana, json!({"content": "after"})).await;
    assert_eq!(status, StatusCode::CREATED);
}

/// G31: on a full disk nothing is written in half; there is room again, and it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g31_a_full_disk_is_survived() {
    const GIB: u64 = 1 << 30;
    let folder = tempfile::tempdir().unwrap();
    let disk = rustix::fs::statvfs(folder.path()).unwrap();
    // So little more has to stay free than is free that a file fills the disk, as far as the server is concerned.
    let reserve = (disk.f_bavail * disk.f_frsize).saturating_sub(GIB);
    let server = Server::start_with(&[("STORE__RESERVE_BYTES", &reserve.to_string())]).await;
    let ana = server.register("ana").await;
    let post = async |content: &str| server.post("/api/posts", &ana, json!({"content": content})).await;
    assert_eq!(post("before").await.0, StatusCode::CREATED);
    let ballast = std::fs::File::create(folder.path().join("ballast")).unwrap();
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, 2 * GIB).unwrap();
    let (status, problem) = post("lost").await;
    assert_eq!((status, &problem["status"]), (StatusCode::INSUFFICIENT_STORAGE, &json!(507)), "{problem}");
    let (status, health) = server.get("/api/health/ready", &ana).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{health}");
    assert_eq!(health["parts"][0]["detail"], "the disk is full", "{health}");
    let (status, feed) = server.get("/api/posts", &ana).await;
    assert_eq!((status, feed["items"].as_array().unwrap().len()), (StatusCode::OK, 1), "reads go on");
    ballast.set_len(0).unwrap();
    assert_eq!(post("after").await.0, StatusCode::CREATED);
    let (status, _) = server.get("/api/health/ready", &ana).await;
    assert_eq!(status, StatusCode::OK);
}

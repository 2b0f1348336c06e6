//! What operators and service managers do to a node: signals, notifications, and starts that go wrong.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, mundotango, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_mean_what_operators_expect() {
    let mut server = Server::start().await;
    let ana = server.register("ana").await;
    let mut here = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "posts:feed").await;
    for name in ["HUP", "USR1", "USR2", "PIPE", "HUP"] {
        server.signal(name);
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.post("/api/posts", &ana, json!({"content": name})).await;
        assert_eq!(here.publication().await["post"]["content"], name);
    }
    assert_eq!(here.seen("disconnected") + here.seen("connecting"), 0);
    until("it is logged", async || {
        server.log().contains("SIGHUP: log.filter and [jobs] read again").then_some(())
    })
    .await;
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    assert!(server.log().contains("drained"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_how_the_node_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let heard = |wanted: &str| {
        let mut buffer = [0; 512];
        loop {
            let count = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.starts_with(wanted) {
                return text;
            }
            assert!(text.starts_with("WATCHDOG=1"), "{text} instead of {wanted}");
        }
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let mut server = Server::begin_in(&environment, &[]);
    heard("READY=1");
    server.wait_until_ready().await;
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    server.signal("HUP");
    let reloading = heard("RELOADING=1");
    let micros: u64 = reloading.split("MONOTONIC_USEC=").nth(1).unwrap().parse().unwrap();
    assert!(micros > 0);
    heard("READY=1");
    server.signal("TERM");
    heard("STOPPING=1");
    assert!(server.wait_for_end().await.success());
}

#[test]
fn an_address_that_is_taken_leaves_no_data_folder() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let listen = taken.local_addr().unwrap().to_string();
    let output = mundotango(&data_dir, &["serve", "--listen", &listen]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen on"), "{output:?}");
    assert!(!data_dir.exists());
}

/// The build of these tests has routes that break actors; a node without the switch does not serve them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_hooks_need_their_switch() {
    for (switch, expected) in [("1", StatusCode::NO_CONTENT), ("", StatusCode::NOT_FOUND)] {
        let mut server = Server::begin_in(&[("MUNDOTANGO_TEST_HOOKS", switch)], &[]);
        server.wait_until_ready().await;
        let body = json!({"keeper": "channels"});
        let (status, _) = server.call(Method::POST, "/api/test-hooks/panic", None, Some(body)).await;
        assert_eq!(status, expected);
    }
}

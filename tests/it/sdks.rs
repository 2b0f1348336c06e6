//! Every official SDK on every transport does what its users do.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::proxy::CuttingProxy;
use crate::sdk::{Sdk, SdkClient, parts, python};
use crate::server::{ROOM, Server};

/// A payload of which most stays the same from one number to the next.
fn long(number: u32) -> Value {
    json!({"text": "la cumparsita ñ ".repeat(12), "number": number})
}

async fn numbers(client: &mut SdkClient, expected: std::ops::Range<u32>) {
    for number in expected {
        assert_eq!(client.publication().await, long(number));
    }
}

async fn walk(sdk: Sdk, server: &Server) {
    let channel = format!("room:{sdk:?}");
    let publish = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            server.api("publish", json!({"channel": channel, "data": long(number)})).await;
        }
    };
    let proxy = CuttingProxy::start(server.address()).await;
    // The first token is over soon: the SDK has to fetch another and goes on with the same connection.
    let (short, fresh) = (server.user_for("ana", "user", "3s"), server.user("ana", "user"));
    let arguments =
        json!({"token": short.token, "freshToken": fresh.token, "channel": channel, "delta": true});
    let mut client = SdkClient::start_with(sdk, proxy.address(), arguments);
    client.event("connecting").await;
    client.event("connected").await;
    client.event("subscribed").await;

    publish(0..5).await;
    numbers(&mut client, 0..5).await;
    client.result(json!({"do": "publish", "channel": channel, "data": long(5)})).await;
    let own = client.event("publication").await;
    assert_eq!((&own["data"], &own["user"]), (&long(5), &json!("ana")));
    assert_eq!(client.result(json!({"do": "presence"})).await, json!(["ana"]));
    assert_eq!(client.result(json!({"do": "presenceStats"})).await["numUsers"], 1);
    let history = client.result(json!({"do": "history", "limit": 3})).await;
    assert_eq!((history.as_array().unwrap().len(), &history[0]["data"]), (3, &long(0)));
    let health = client.result(json!({"do": "rpc", "method": "GET /api/health", "data": {}})).await;
    assert!(health["status"].is_string(), "{health}");
    let items: Vec<_> = (6..16).map(long).collect();
    client.result(json!({"do": "batch", "items": items})).await;
    // Calls that run at the same time may overtake each other.
    let mut seen: Vec<_> = Vec::new();
    for _ in 6..16 {
        seen.push(client.publication().await["number"].as_u64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (6..16).collect::<Vec<_>>());

    client.event("tokenWanted").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(proxy.cut() > 0);
    publish(16..20).await;
    client.event("connecting").await;
    let back = client.event("subscribed").await;
    assert_eq!((&back["wasRecovering"], &back["recovered"]), (&json!(true), &json!(true)));
    publish(20..22).await;
    numbers(&mut client, 16..22).await;
    assert_eq!(client.seen("connecting"), 0, "the refreshed token held");
    assert_eq!(client.seen("publication"), 0);
}

macro_rules! walks {
    ($($name:ident: $sdk:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            walk(Sdk::$sdk, &Server::start_with(ROOM).await).await;
        }
    )*};
}

walks! {
    javascript_json: JavaScriptJson,
    javascript_protobuf: JavaScriptProtobuf,
    javascript_sse: JavaScriptSse,
    javascript_http_stream: JavaScriptHttpStream,
    python_json: PythonJson,
    python_protobuf: PythonProtobuf,
    java_protobuf: Java,
}

/// Signs the tokens of the SDK's own tests, instead of a secret that is too short for this server.
const SUITE_SECRET: &str = "the secret of the tests of the SDK";
/// The settings that the SDK's own tests want of a server, from the compose file beside them.
const SUITE: &[(&str, &str)] = &[
    ("AUTH__TOKEN__HMAC_SECRET_KEY", SUITE_SECRET),
    ("CHANNELS__WITHOUT_NAMESPACE__ALLOWED_DELTA_TYPES", r#"["fossil"]"#),
    ("CHANNELS__WITHOUT_NAMESPACE__DELTA_PUBLISH", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__PRESENCE", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__JOIN_LEAVE", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__FORCE_PUSH_JOIN_LEAVE", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__HISTORY_SIZE", "100"),
    ("CHANNELS__WITHOUT_NAMESPACE__HISTORY_TTL", "300s"),
    ("CHANNELS__WITHOUT_NAMESPACE__FORCE_RECOVERY", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__ALLOW_PUBLISH_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__ALLOW_PRESENCE_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__WITHOUT_NAMESPACE__ALLOW_HISTORY_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__NAMESPACES__SMALLHISTORY__FORCE_RECOVERY", "true"),
    ("CHANNELS__NAMESPACES__SMALLHISTORY__HISTORY_SIZE", "2"),
    ("CHANNELS__NAMESPACES__SMALLHISTORY__HISTORY_TTL", "300s"),
    ("CHANNELS__NAMESPACES__SMALLHISTORY__ALLOW_PUBLISH_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__NAMESPACES__SMALLHISTORY__ALLOW_HISTORY_FOR_SUBSCRIBER", "true"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdks_own_tests_pass() {
    let server = Server::start_with(SUITE).await;
    let sources = parts().join("python-sdk");
    assert!(sources.join("tests").exists(), "no {}: run `cargo xtask parts` first", sources.display());
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(sources.join("tests")).arg(folder.path()).status().await;
    assert!(copied.unwrap().success());
    // The address and the secret of the server that these tests expect are all that is changed.
    for entry in std::fs::read_dir(folder.path().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.replace("localhost:8000", &server.address().to_string());
            let secret = format!("hmac_secret = {SUITE_SECRET:?}");
            std::fs::write(&path, text.replace("hmac_secret = \"secret\"", &secret)).unwrap();
        }
    }
    let run = Command::new(python())
        .args(["-m", "unittest", "discover", "-s", "tests"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(4), run).await.expect("the tests hang").unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let end: Vec<_> = text.lines().rev().take(12).collect();
    assert!(output.status.success(), "{end:#?}");
    let ran = end.iter().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(ran.is_some_and(|ran| ran >= 180), "{end:#?}");
}

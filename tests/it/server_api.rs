//! The server API, driven by the library that backends use.

use std::process::Stdio;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::sdk::{Sdk, SdkClient, python};
use crate::server::{API_KEY, ROOM, Server, until};

/// A backend that speaks with the server through `cent`.
struct Backend {
    _child: Child,
    calls: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Backend {
    fn start(server: &Server, key: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/python/server_api.py");
        let mut child = Command::new(python())
            .args([script, &server.url(""), key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let calls = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, calls, answers }
    }

    async fn answer(&mut self, call: &str, with: Value) -> Value {
        let line = format!("{}\n", json!({"call": call, "with": with}));
        self.calls.write_all(line.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), self.answers.next_line()).await;
        let line = answer.expect("no answer").unwrap().unwrap_or_else(|| panic!("it ended at {call}"));
        serde_json::from_str(&line).unwrap()
    }

    async fn result(&mut self, call: &str, with: Value) -> Value {
        let mut answer = self.answer(call, with).await;
        assert!(answer["error"].is_null(), "{call}: {answer}");
        answer["result"].take()
    }

    async fn error(&mut self, call: &str, with: Value) -> u64 {
        self.answer(call, with).await["error"]["code"].as_u64().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_publish_and_read() {
    let server = Server::start_with(ROOM).await;
    let mut backend = Backend::start(&server, API_KEY);
    let ana = server.user("ana", "user");
    let mut client = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "room:a").await;

    let publish = json!({"channel": "room:a", "data": {"n": 1}, "idempotency_key": "one"});
    let first = backend.result("publish", publish.clone()).await;
    assert_eq!((&first["offset"], first["epoch"].is_string()), (&json!(1), true));
    assert_eq!(backend.result("publish", publish).await, first, "the same key gives the same result");
    backend.result("publish", json!({"channel": "room:a", "data": {"n": 2}, "tags": {"a": "b"}})).await;
    for number in [1, 2] {
        assert_eq!(client.publication().await["n"], number);
    }
    let channels = json!(["room:a", "nowhere:a"]);
    let sent = backend.result("broadcast", json!({"channels": channels, "data": {"n": 3}})).await;
    assert_eq!(sent["responses"][0]["result"]["offset"], 3);
    assert_eq!(sent["responses"][1]["error"]["code"], 102);
    assert_eq!(client.publication().await["n"], 3);

    let history = backend.result("history", json!({"channel": "room:a", "limit": 2, "reverse": true})).await;
    assert_eq!(history["publications"][0]["data"]["n"], 3);
    assert_eq!(history["publications"][1]["tags"]["a"], "b");
    assert_eq!(backend.result("presence_stats", json!({"channel": "room:a"})).await["num_clients"], 1);
    let presence = backend.result("presence", json!({"channel": "room:a"})).await;
    assert_eq!(presence["presence"].as_object().unwrap().values().next().unwrap()["user"], "ana");
    let channels = backend.result("channels", json!({"pattern": "room:*"})).await;
    assert_eq!(channels["channels"], json!({"room:a": {"num_clients": 1}}));
    let node = &backend.result("info", json!({})).await["nodes"][0];
    assert_eq!((&node["num_clients"], &node["num_users"]), (&json!(1), &json!(1)));
    assert!(node["process"]["rss"].as_u64().unwrap() > 1 << 20, "{node}");
    backend.result("history_remove", json!({"channel": "room:a"})).await;
    let history = backend.result("history", json!({"channel": "room:a", "limit": -1})).await;
    assert_eq!((history["publications"].as_array().unwrap().len(), &history["offset"]), (0, &json!(3)));

    let batch = json!({"requests": [
        {"publish": {"channel": "room:a", "data": {"n": 4}}},
        {"presence_stats": {"channel": "room:a"}},
    ]});
    let replies = backend.result("batch", batch).await;
    assert_eq!(replies["replies"].as_array().unwrap().len(), 2, "{replies}");
    assert_eq!(client.publication().await["n"], 4);

    assert_eq!(backend.error("publish", json!({"channel": "nowhere:a", "data": {}})).await, 102);
    assert_eq!(backend.error("presence", json!({"channel": "posts:feed"})).await, 108);
    let mut stranger = Backend::start(&server, "another key");
    assert_eq!(stranger.error("info", json!({})).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_rule_over_sessions() {
    let server = Server::start_with(ROOM).await;
    let mut backend = Backend::start(&server, API_KEY);
    let ana = server.user("ana", "user");
    let mut client = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "room:a").await;
    let mut other = SdkClient::subscribed(Sdk::PythonProtobuf, &server, &ana, "room:a").await;

    backend.result("subscribe", json!({"user": "ana", "channel": "room:b"})).await;
    assert_eq!(client.event("serverSubscribed").await["channel"], "room:b");
    backend.result("publish", json!({"channel": "room:b", "data": 7})).await;
    let publication = client.event("serverPublication").await;
    assert_eq!((&publication["channel"], &publication["data"]), (&json!("room:b"), &json!(7)));
    backend.result("unsubscribe", json!({"user": "ana", "channel": "room:b"})).await;
    assert_eq!(client.event("serverUnsubscribed").await["channel"], "room:b");
    backend.result("unsubscribe", json!({"user": "ana", "channel": "room:a"})).await;
    assert_eq!(client.event("unsubscribed").await["code"], 2000);
    assert_eq!(server.api("send", json!({"user": "ana", "data": {"hello": 1}})).await, json!({"result": {}}));
    assert_eq!(client.event("message").await["data"]["hello"], 1);

    let connections = backend.result("connections", json!({"user": "ana", "expression": ""})).await;
    let connections = connections["connections"].as_object().unwrap().clone();
    let id = |protocol: &str| {
        let found = connections.iter().find(|(_, session)| session["protocol"] == protocol);
        found.expect(protocol).0.clone()
    };
    assert_eq!(connections.len(), 2);
    let status = backend.result("get_user_status", json!({"users": ["ana", "nobody"]})).await;
    assert_eq!(status["statuses"].as_array().unwrap().len(), 1);
    assert!(status["statuses"][0]["online"].as_i64().unwrap() > 0);

    backend.result("disconnect", json!({"user": "ana", "client": id("json")})).await;
    assert_eq!(client.event("disconnected").await["code"], 3503);
    let reason = json!({"code": 4100, "reason": "come again"});
    backend.result("disconnect", json!({"user": "ana", "disconnect": reason})).await;
    assert_eq!(other.event("connecting").await["code"], 4100);
    until("the other is back", async || {
        let left = server.api("connections", json!({"user": "ana"})).await;
        let left = left["result"]["connections"].as_object()?;
        // The session that was ended may still be there for a moment.
        (left.len() == 1 && !left.contains_key(&id("protobuf"))).then_some(())
    })
    .await;
    backend.result("refresh", json!({"user": "ana", "client": "no such session", "expired": true})).await;
    backend.result("refresh", json!({"user": "ana", "expired": true})).await;
    assert_eq!(other.event("connecting").await["code"], 3005);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_locked_out_lose_their_sockets_at_once_and_for_good() {
    let mut server = Server::start_with(ROOM).await;
    let ana = server.register("ana").await;
    let mut client = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "room:a").await;
    assert_eq!(server.api("block_user", json!({"user": ana.id})).await, json!({"result": {}}));
    assert_eq!(client.event("disconnected").await["code"], 3503);
    assert_eq!(server.get("/api/users/me", &ana).await.0, StatusCode::UNAUTHORIZED);
    server.signal("KILL");
    server.wait_for_end().await;
    server.start_again().await;
    let login = json!({"email": "ana@example.com", "password": "abrazo-1234"});
    let (status, _) = server.call(Method::POST, "/api/auth/login", None, Some(login.clone())).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "it is on disk");
    server.api("unblock_user", json!({"user": ana.id})).await;
    assert_eq!(server.get("/api/users/me", &ana).await.0, StatusCode::OK);

    // A login that ends takes its sockets with it, and leaves those of the others.
    let (_, other) = server.call(Method::POST, "/api/auth/login", None, Some(login)).await;
    let other = crate::server::User {
        id: ana.id.clone(),
        token: other["token"].as_str().unwrap().to_owned(),
        refresh_token: String::new(),
    };
    let mut stays = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "room:a").await;
    let mut goes = SdkClient::subscribed(Sdk::PythonJson, &server, &other, "room:a").await;
    server.post("/api/auth/logout", &other, json!({})).await;
    assert_eq!(goes.event("disconnected").await["code"], 3503);
    assert_eq!(server.get("/api/users/me", &other).await.0, StatusCode::UNAUTHORIZED);
    server.api("publish", json!({"channel": "room:a", "data": 1})).await;
    stays.publication().await;
    server.post("/api/auth/logout-all", &ana, json!({})).await;
    assert_eq!(stays.event("disconnected").await["code"], 3503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_as_its_users_know_it() {
    let server = Server::start_with(ROOM).await;
    let post = async |path: &str, key: Option<&str>, body: &'static str| {
        let mut request = server.http.post(server.url(path)).body(body);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let key = Some(API_KEY);
    for (wrong, reason) in [(None, "the key is missing"), (Some("wrong"), "the key is wrong")] {
        let (status, answer) = post("/api/info", wrong, "{}").await;
        assert!(status == 401 && answer.contains(reason), "{status} {answer}");
    }
    assert_eq!(post("/api/info?api_key=the%20key%20of%20a%20test", None, "{}").await.0, 200);
    assert_eq!(post("/api/info", key, "").await.0, 400);
    assert_eq!(post("/api/publish", key, "{nonsense").await.0, 400);
    assert_eq!(post("/api/no_such_method", key, "{}").await.0, 404);
    let (status, answer) = post("/api/publish", key, r#"{"channel":"room:a"}"#).await;
    let message = "bad request: data or b64data is required";
    assert_eq!((status, answer), (200, format!(r#"{{"error":{{"code":107,"message":"{message}"}}}}"#)));
    let (_, answer) = post("/api/publish", key, r#"{"chanel":"room:a","data":1}"#).await;
    assert!(
        answer.contains("107")
            && answer.contains("channel is empty; unknown: chanel; publish takes channel,"),
        "{answer}"
    );
    let request = server.http.post(server.url("/api/publish")).body(r#"{"channel":"nowhere:a","data":1}"#);
    let request = request.header("authorization", format!("apikey {API_KEY}"));
    let answer = request.header("x-centrifugo-error-mode", "transport").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.text().await.unwrap(), r#"{"code":102,"message":"unknown channel"}"#);
    let get = server.http.get(server.url("/api/publish")).header("x-api-key", API_KEY).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);

    // Both APIs stand in one document and share no path.
    let (_, document) = server.call(Method::GET, "/api/docs/json", None, None).await;
    let of_server = |operation: &Value| operation["post"]["tags"][0] == "server";
    let paths = document["paths"].as_object().unwrap();
    let methods: Vec<_> = paths.iter().filter(|(_, operation)| of_server(operation)).collect();
    assert!(methods.len() > 20);
    for (path, operation) in methods {
        assert_eq!(operation.as_object().unwrap().len(), 1, "{path} is the server API's alone");
        assert_eq!(path.matches('/').count(), 2, "{path}");
    }
}

/// A namespace with a history of any bytes.
const BYTES: &[(&str, &str)] = &[
    ("CHANNELS__NAMESPACES__BYTES__PUBLICATION_DATA_FORMAT", "binary"),
    ("CHANNELS__NAMESPACES__BYTES__HISTORY_SIZE", "10"),
    ("CHANNELS__NAMESPACES__BYTES__HISTORY_TTL", "10m"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_an_object_and_null_is_absent() {
    let server = Server::start_with(&[ROOM, BYTES].concat()).await;
    let call = async |method: &str, body: &str| {
        let request = server.http.post(server.url(&format!("/api/{method}"))).header("x-api-key", API_KEY);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    };
    // centrifugal/centrifugo#1083, elpheria/rpc-websockets#151
    let (_, published) =
        call("publish", r#"{"channel":"room:a","data":null,"b64data":null,"tags":null,"version":null}"#)
            .await;
    assert_eq!(published["result"]["offset"], 1, "{published}");
    let (_, history) =
        call("history", r#"{"channel":"room:a","limit":-1,"since":null,"reverse":null}"#).await;
    assert_eq!(history["result"]["publications"][0]["data"], Value::Null);
    assert!(history["result"]["publications"][0].as_object().unwrap().contains_key("data"), "{history}");
    for body in [r#"{"channel":"room:a","b64data":""}"#, r#"{"channel":"room:a","b64data":"aGk="}"#] {
        let (_, refused) = call("publish", body).await;
        assert_eq!(refused["error"]["code"], 107, "{body} is no json: {refused}");
    }

    for (method, body) in [
        ("history_remove", r#"["room:a"]"#),
        ("publish", r#"["room:a"]"#),
        ("presence", r#"["room:a"]"#),
        ("info", "[]"),
        ("history", r#"{"channel":"room:a","since":[1,"e"]}"#),
        ("disconnect", r#"{"user":"ana","disconnect":[3000,"gone"]}"#),
        ("batch", r#"[[{"info":{}}]]"#),
    ] {
        assert_eq!(call(method, body).await.0, 400, "{method} {body}");
    }
    let (_, batch) =
        call("batch", r#"{"commands":[{"history_remove":["room:a"]},{"info":null}],"parallel":true}"#).await;
    assert_eq!(batch["replies"][0]["error"]["code"], 107, "{batch}");
    assert!(batch["replies"][1]["info"]["nodes"].is_array(), "{batch}");
    let (_, history) = call("history", r#"{"channel":"room:a","limit":-1}"#).await;
    assert_eq!(history["result"]["publications"].as_array().unwrap().len(), 1, "no history was removed");

    let (_, published) = call("publish", r#"{"channel":"bytes:a","b64data":"aGk="}"#).await;
    assert_eq!(published["result"]["offset"], 1, "{published}");
    call("publish", r#"{"channel":"bytes:a","data":{"n":1}}"#).await;
    let (_, history) = call("history", r#"{"channel":"bytes:a","limit":-1}"#).await;
    let kept = &history["result"]["publications"];
    assert_eq!((&kept[0]["b64data"], &kept[0]["data"]), (&json!("aGk="), &Value::Null), "{history}");
    assert_eq!((&kept[1]["data"], &kept[1]["b64data"]), (&json!({"n": 1}), &Value::Null), "{history}");

    let ana = server.user("ana", "user");
    let (status, _) = server.call(Method::POST, "/api/posts", Some(&ana.token), Some(json!(["hola"]))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

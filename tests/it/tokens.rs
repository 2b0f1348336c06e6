//! Tokens through the real server: who comes in with which, who is told what, and who loses his.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use mundotango_gateway::tokens::{Claims, Tokens};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::server::{ROOM, Server, User, until};

/// The backend's secret.
const SECRET: &str = "a secret of the backend, 32 bytes+";

fn backend() -> Tokens {
    Tokens::new(SECRET.as_bytes(), Duration::from_mins(5))
}

/// A token of the backend with claims as they are.
fn token(claims: &Value) -> String {
    use base64::Engine as _;
    let part = |text: String| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(json!({"alg": "HS256"}).to_string()), part(claims.to_string()));
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

async fn with_backend() -> Server {
    Server::start_with(&[ROOM, &[("AUTH__TOKEN__HMAC_SECRET_KEY", SECRET)]].concat()).await
}

pub struct Socket(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Socket {
    /// Connects with a token; the socket and the reply, or the code with which it was closed.
    pub async fn connect(server: &Server, token: &str) -> (Self, Result<Value, u16>) {
        let (socket, _) = connect_async(server.websocket_url()).await.unwrap();
        let mut socket = Self(socket);
        let reply = socket.ask(json!({"id": 1, "connect": {"token": token}})).await;
        (socket, reply)
    }

    async fn ask(&mut self, command: Value) -> Result<Value, u16> {
        self.0.send(Message::text(command.to_string())).await.unwrap();
        self.next().await
    }

    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    let first = serde_json::Deserializer::from_str(&text).into_iter().next();
                    return Ok(first.unwrap().unwrap());
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.unwrap().code.into()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The code with which the server closes the socket.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

pub async fn refresh(server: &Server, token: &str) -> (StatusCode, Value) {
    server.call(Method::POST, "/api/auth/refresh", None, Some(json!({"refreshToken": token}))).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_any_id_connect_to_a_channel_of_their_own() {
    let server = with_backend().await;
    for (user, channel) in [
        ("did:plc:abc", "#did%3Aplc%3Aabc"),
        ("google:42", "#google%3A42"),
        ("josé", "#jos%C3%A9"),
        ("a,b", "#a%2Cb"),
        ("42", "#42"),
    ] {
        let (mut socket, reply) = Socket::connect(&server, &token(&json!({"sub": user}))).await;
        let subs = &reply.unwrap()["connect"]["subs"];
        assert!(subs[channel].is_object(), "{user}: {subs}");
        // Nobody else may subscribe.
        let (mut other, _) = Socket::connect(&server, &token(&json!({"sub": "b"}))).await;
        let refused = other.ask(json!({"id": 2, "subscribe": {"channel": channel}})).await.unwrap();
        assert_eq!(refused["error"]["code"], 103, "{refused}");
        let publication = json!({"channel": channel, "data": {"for": user}});
        server.api("publish", publication).await;
        assert_eq!(socket.next().await.unwrap()["push"]["pub"]["data"]["for"], user);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_of_a_refusal_is_in_the_log_and_no_token_is() {
    let server = with_backend().await;
    let good = token(&json!({"sub": "42", "exp": 1_990_000_000.5, "role": "authenticated", "sid": 7}));
    assert!(Socket::connect(&server, &good).await.1.is_ok());
    let ahead = token(&json!({"sub": "42", "nbf": 4_000_000_000_u64}));
    assert_eq!(Socket::connect(&server, &ahead).await.1.unwrap()["error"]["code"], 109, "worth another try");
    let bad = token(&json!({"sub": "42", "exp": "tomorrow"}));
    for _ in 0..30 {
        assert_eq!(Socket::connect(&server, &bad).await.1, Err(3500));
    }
    let log = server.whole_log().await;
    assert!(log.contains("claim `exp`: must be a number of seconds"), "{log}");
    assert_eq!(log.matches("token refused").count(), 1, "the log is not flooded");
    assert!(!log.contains(bad.rsplit_once('.').unwrap().1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_token_opens_one_channel_and_nothing_else() {
    let server = with_backend().await;
    let claims = Claims { sub: "42".to_owned(), channel: Some("$room:one".to_owned()), ..Claims::default() };
    let subscription = backend().sign(&claims).unwrap();
    let connection = backend().sign(&Claims { channel: None, ..claims }).unwrap();

    let (status, problem) = server.call(Method::GET, "/api/posts", Some(&subscription), None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("token_invalid")));
    assert_eq!(server.call(Method::GET, "/api/posts", Some(&connection), None).await.0, StatusCode::OK);
    assert_eq!(Socket::connect(&server, &subscription).await.1, Err(3500));

    let (mut socket, _) = Socket::connect(&server, &connection).await;
    let subscribe =
        |id, channel: &str, token: &str| json!({"id": id, "subscribe": {"channel": channel, "token": token}});
    let refused = socket.ask(subscribe(2, "$room:one", &connection)).await.unwrap();
    assert_eq!(refused["error"]["code"], 103, "{refused}");
    let granted = socket.ask(subscribe(3, "$room:one", &subscription)).await.unwrap();
    assert!(granted["subscribe"].is_object(), "{granted}");
    assert_eq!(socket.ask(subscribe(4, "$room:two", &subscription)).await, Err(3500));
    let log = server.whole_log().await;
    assert!(
        log.contains("another channel") && log.contains("$room:two") && log.contains("$room:one"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_token_does_not_mind_a_bad_one() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let expired = server.user_for("ana", "user", "1s").token;
    until("the token has expired", async || {
        let (status, problem) = server.call(Method::GET, "/api/posts", Some(&expired), None).await;
        (status == StatusCode::UNAUTHORIZED).then(|| assert_eq!(problem["code"], "token_expired"))
    })
    .await;
    for bad in [expired.as_str(), "undefined"] {
        let login = json!({"email": "ana@example.com", "password": "abrazo-1234"});
        let (status, _) = server.call(Method::POST, "/api/auth/login", Some(bad), Some(login)).await;
        assert_eq!(status, StatusCode::OK);
        let body = json!({"refreshToken": ana.refresh_token});
        let (status, _) = server.call(Method::POST, "/api/auth/refresh", Some(bad), Some(body)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(server.call(Method::GET, "/api/health", Some(bad), None).await.0, StatusCode::OK);
    }
    let answer = server.http.get(server.url("/api/users/me")).bearer_auth("undefined").send().await.unwrap();
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert_eq!(challenge, r#"Bearer error="invalid_token", error_description="token_invalid""#);
    let answer = server.http.get(server.url("/api/users/me")).send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer", "no token, no error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshing_twice_gives_the_same_token_and_a_late_copy_ends_everything() {
    // Source: supabase/auth#466.
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let (first, other) =
        tokio::join!(refresh(&server, &ana.refresh_token), refresh(&server, &ana.refresh_token));
    assert_eq!((first.0, other.0), (StatusCode::OK, StatusCode::OK), "two tabs");
    assert_eq!(first.1["refreshToken"], other.1["refreshToken"]);
    let again = refresh(&server, &ana.refresh_token).await;
    assert_eq!(again.1["refreshToken"], first.1["refreshToken"], "an answer that got lost");

    let (_, second) = refresh(&server, text(&first.1["refreshToken"])).await;
    let (mut socket, connected) = Socket::connect(&server, text(&second["token"])).await;
    connected.unwrap();
    // The token before the one before the newest: somebody has a copy.
    let (status, problem) = refresh(&server, &ana.refresh_token).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("refresh_token_invalid")));
    assert_eq!(socket.closed().await, 3503);
    for token in [&ana.token, text(&second["token"])] {
        let (status, problem) = server.call(Method::GET, "/api/users/me", Some(token), None).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("token_revoked")));
    }
    assert_eq!(refresh(&server, text(&second["refreshToken"])).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_a_logins_id_cannot_end_it() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let (login_id, secret) = ana.refresh_token.split_once('.').unwrap();
    for forged in
        [format!("{login_id}.guess"), format!("{login_id}.7.guess"), format!("{login_id}.1{secret}")]
    {
        assert_eq!(refresh(&server, &forged).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(refresh(&server, &ana.refresh_token).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_everywhere_ends_every_token_at_once_and_lets_the_owner_in_again() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let log_in = async || {
        let login = json!({"email": "ana@example.com", "password": "abrazo-1234"});
        let (status, answer) = server.call(Method::POST, "/api/auth/login", None, Some(login)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    };
    let phone = log_in().await;
    let (mut socket, connected) = Socket::connect(&server, text(&phone["token"])).await;
    connected.unwrap();
    let (status, _) = server.call(Method::POST, "/api/auth/logout-all", Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    // In the same second the owner comes in again.
    let fresh = log_in().await;
    let me = async |token: &str| server.call(Method::GET, "/api/users/me", Some(token), None).await.0;
    assert_eq!(me(text(&fresh["token"])).await, StatusCode::OK);
    assert_eq!(socket.closed().await, 3503);
    for (token, refresh_token) in [
        (ana.token.as_str(), ana.refresh_token.as_str()),
        (text(&phone["token"]), text(&phone["refreshToken"])),
    ] {
        assert_eq!(me(token).await, StatusCode::UNAUTHORIZED);
        assert_eq!(refresh(&server, refresh_token).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(refresh(&server, text(&fresh["refreshToken"])).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_invalidates_a_users_tokens_ends_refresh_tokens_too() {
    let server = Server::start_with(ROOM).await;
    let ana = server.register("ana").await;
    server.api("invalidate_user_tokens", json!({"user": ana.id})).await;
    assert_eq!(refresh(&server, &ana.refresh_token).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_passwords_is_held_up_and_counted() {
    let server = Server::start_with(&[("AUTH__RATES__FAILED_LOGINS", "3")]).await;
    let User { .. } = server.register("ana").await;
    let log_in = async |password: &str| {
        let login = json!({"email": "ana@example.com", "password": password});
        let request = server.http.post(server.url("/api/auth/login")).json(&login);
        request.send().await.unwrap()
    };
    for _ in 0..4 {
        let answer = log_in("wrong-password").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "wrong_credentials");
    }
    let answer = log_in("wrong-password").await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait));
    let metrics = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("logins_total{result=\"refused\"} 4"), "{metrics}");
    assert!(metrics.contains("logins_total{result=\"limited\"} 1"), "{metrics}");
}

#[test]
fn blank_and_short_keys_open_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("HTTP__API_KEY", "short"),
        ("AUTH__TOKEN__HMAC_SECRET_KEY", "short"),
        ("AUTH__TOKEN__JWKS_PUBLIC_ENDPOINT", "http://id.example/keys"),
    ] {
        let mut command = crate::server::mundotango(folder.path(), &["config", "check"]);
        let output = command.env(format!("MUNDOTANGO__{name}"), value).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(&name.to_lowercase().replace("__", ".")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_provider_that_hangs_holds_up_no_request_for_long() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", silent.local_addr().unwrap());
    let server = Server::start_with(&[("AUTH__TOKEN__JWKS_PUBLIC_ENDPOINT", &url)]).await;
    // {"alg":"RS256","kid":"1"} and {"sub":"42"}
    let foreign = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiI0MiJ9.AAAA";
    let started = std::time::Instant::now();
    assert_eq!(server.call(Method::GET, "/api/health", Some(foreign), None).await.0, StatusCode::OK);
    assert!(started.elapsed() < Duration::from_secs(1));
    let asking = (0..20).map(|_| server.call(Method::GET, "/api/posts", Some(foreign), None));
    for (status, _) in futures_util::future::join_all(asking).await {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "worth another try");
    }
    assert_eq!(Socket::connect(&server, foreign).await.1.unwrap()["error"]["code"], 100);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_refresh_the_new_token_counts() {
    // Source: home-assistant/core#56760.
    let server = with_backend().await;
    let of = |id: &str| token(&json!({"sub": "42", "jti": id, "iat": 1_700_000_000, "exp": 1_990_000_000}));
    let (mut socket, connected) = Socket::connect(&server, &of("first")).await;
    connected.unwrap();
    let refreshed = socket.ask(json!({"id": 2, "refresh": {"token": of("second")}})).await.unwrap();
    assert!(refreshed["refresh"].is_object(), "{refreshed}");
    let shown = server.api("connections", json!({"user": "42"})).await.to_string();
    assert!(shown.contains("\"second\"") && !shown.contains("\"first\""), "{shown}");
    server.api("revoke_token", json!({"uid": "first"})).await;
    let alive = socket.ask(json!({"id": 3, "rpc": {"method": "GET /api/posts"}})).await.unwrap();
    assert!(alive["rpc"].is_object(), "{alive}");
    server.api("revoke_token", json!({"uid": "second"})).await;
    assert_eq!(socket.closed().await, 3503);
}

//! Pushes to a service that answers as Google's does.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use jiff::Timestamp;
use mundotango_ops::Secret;
use mundotango_push::VapidKeys;
use mundotango_push::{
    Destination, FcmOptions, Push, PushError, PushOptions, Pusher, SetupError, Topic, Urgency,
};
use serde_json::{Value, json};

use crate::server::{Asked, Reply, Server};
use crate::{options, pusher, silent, word};

const TOKEN: &str = "cXyZ-1:APA91b_secret";
const TOKENS: &str = "/token";
const SEND: &str = "/v1/projects/tango-1/messages:send";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// Making an RSA key takes a while, so all tests share one.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

fn android() -> Destination {
    Destination::Fcm { token: TOKEN.to_owned().try_into().unwrap() }
}

fn account(token_url: &str) -> Value {
    let der: Pkcs8V1Der<'_> = KEY.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*der));
    json!({
        "type": "service_account",
        "project_id": "tango-1",
        "private_key_id": "key-1",
        "private_key": pem,
        "client_email": "push@tango-1.iam.gserviceaccount.com",
        "token_uri": token_url,
    })
}

fn google_options(server: &Server) -> PushOptions {
    let account = account(&format!("{}{TOKENS}", server.url()));
    PushOptions {
        ca: server.ca(),
        fcm: FcmOptions {
            service_account: Some(Secret::new(account.to_string())),
            base_url: server.url(),
            ..FcmOptions::default()
        },
        ..options()
    }
}

fn google(server: &Server) -> Pusher {
    pusher(&google_options(server))
}

/// What Google's token service says, with the number of the token.
fn granted(number: usize) -> Reply {
    let token = format!("access-{number}");
    Reply::new(200, json!({"access_token": token, "expires_in": 3_599, "token_type": "Bearer"}).to_string())
}

/// An error of FCM, with its code in the details if it has one.
fn error(status: u16, name: &str, code: &str) -> Reply {
    let detail = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code});
    let other = json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": []});
    let details = if code.is_empty() { json!([other]) } else { json!([other, detail]) };
    let error = json!({"code": status, "message": "No.", "status": name, "details": details});
    Reply::new(status, json!({ "error": error }).to_string())
}

fn count(server: &Server, path: &str) -> usize {
    server.asked().iter().filter(|asked| asked.path == path).count()
}

/// Checks who asks for a token, as Google does.
fn verify(asked: &Asked) {
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
    let body = String::from_utf8(asked.body.clone()).unwrap();
    let (grant, assertion) = body.split_once("&assertion=").unwrap();
    assert_eq!(grant, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer");
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.public_key().as_ref())
        .verify(signed.as_bytes(), &bytes(signature))
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&bytes(header)).unwrap();
    let claims: Value = serde_json::from_slice(&bytes(claims)).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &json!("key-1")));
    assert_eq!(claims["iss"], "push@tango-1.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], SCOPE);
    assert!(claims["aud"].as_str().unwrap().ends_with(TOKENS));
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((Timestamp::now().as_second() - iat).abs() < 60 && exp == iat + 3_600);
}

#[tokio::test]
async fn an_android_gets_what_was_pushed() {
    let server = Server::tls(&[b"h2"], |asked| {
        Some(if asked.path == TOKENS {
            granted(1)
        } else {
            Reply::new(200, json!({"name": "m/1"}).to_string())
        })
    })
    .await;
    let pusher = google(&server);
    let alert = Push {
        title: Some("María".to_owned()),
        body: Some("¿Bailamos?".to_owned()),
        urgency: Urgency::High,
        topic: Some(Topic::new("room-1").unwrap()),
        badge: Some(3),
        ttl: Duration::from_hours(24 * 365),
        ..silent(&json!({"room": 1}))
    };
    pusher.push(&android(), &alert).await.unwrap();
    pusher.push(&android(), &Push { badge: Some(1), ..silent(&json!({"sync": true})) }).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.iter().map(|asked| &*asked.path).collect::<Vec<_>>(), [TOKENS, SEND, SEND]);
    verify(&asked[0]);
    assert_eq!(asked[1].header("authorization"), "Bearer access-1");
    let android = json!({
        "ttl": "2419200s",
        "priority": "HIGH",
        "collapse_key": "room-1",
        "notification": {"tag": "room-1", "notification_count": 3},
    });
    let message = json!({
        "token": TOKEN,
        "data": {"payload": "{\"room\":1}"},
        "notification": {"title": "María", "body": "¿Bailamos?"},
        "android": android,
    });
    assert_eq!(asked[1].json(), json!({ "message": message }));
    let message = json!({
        "token": TOKEN,
        "data": {"payload": "{\"sync\":true}"},
        "android": {"ttl": "60s", "priority": "NORMAL"},
    });
    assert_eq!(asked[2].json(), json!({ "message": message }));
}

#[tokio::test]
async fn t39_each_of_googles_answers_is_told_apart_and_only_unregistered_ends_a_device() {
    for (reply, wanted) in [
        (error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), "refused"),
        (error(400, "INVALID_ARGUMENT", ""), "refused"),
        (error(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), "provider"),
        (error(403, "PERMISSION_DENIED", ""), "provider"),
        (error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), "refused"),
        (error(404, "NOT_FOUND", "UNREGISTERED"), "gone"),
        (error(404, "NOT_FOUND", ""), "provider"),
        (Reply::new(404, "<html>not here</html>"), "temporary"),
        (Reply::new(413, ""), "too large"),
        (error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED").header("retry-after", "60"), "temporary 60"),
        (error(500, "INTERNAL", "INTERNAL"), "temporary"),
        (error(503, "UNAVAILABLE", "UNAVAILABLE").header("retry-after", "30"), "temporary 30"),
    ] {
        let text = format!("{reply:?}");
        let server =
            Server::plain(move |asked| Some(if asked.path == TOKENS { granted(1) } else { reply.clone() }))
                .await;
        let result = google(&server).push(&android(), &silent(&json!({}))).await;
        assert_eq!(word(&result), wanted, "{text}");
        assert_eq!((count(&server, TOKENS), count(&server, SEND)), (1, 1), "{text}");
        let error = result.unwrap_err();
        assert_eq!(error.deletes(Timestamp::now()), wanted == "gone", "{text}");
        assert!(!error.to_string().contains("secret") && !error.to_string().contains("access-"), "{error}");
    }
}

#[tokio::test]
async fn t40_many_pushes_at_once_ask_for_one_token() {
    let server =
        Server::plain(|asked| Some(if asked.path == TOKENS { granted(1) } else { Reply::new(200, "{}") }))
            .await;
    let pusher = google(&server);
    let push = silent(&json!({}));
    let (to, push) = (&android(), &push);
    let sent = join_all((0..20).map(|_| pusher.push(to, push))).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!((count(&server, TOKENS), count(&server, SEND)), (1, 20));
}

#[tokio::test]
async fn t40_a_token_that_google_refuses_is_replaced_once() {
    let number = AtomicUsize::new(0);
    let server = Server::plain(move |asked| {
        Some(match (&*asked.path, asked.header("authorization")) {
            (TOKENS, _) => granted(number.fetch_add(1, Ordering::SeqCst)),
            (_, "Bearer access-1") => Reply::new(200, "{}"),
            _ => error(401, "UNAUTHENTICATED", ""),
        })
    })
    .await;
    let pusher = google(&server);
    pusher.push(&android(), &silent(&json!({}))).await.unwrap();
    pusher.push(&android(), &silent(&json!({}))).await.unwrap();
    assert_eq!((count(&server, TOKENS), count(&server, SEND)), (2, 3));
}

#[tokio::test]
async fn t40_an_account_without_rights_makes_no_storm_of_tokens() {
    let server = Server::plain(|asked| {
        Some(if asked.path == TOKENS { granted(1) } else { error(401, "UNAUTHENTICATED", "") })
    })
    .await;
    let pusher = google(&server);
    for _ in 0..5 {
        assert_eq!(word(&pusher.push(&android(), &silent(&json!({}))).await), "provider");
    }
    assert_eq!((count(&server, TOKENS), count(&server, SEND)), (2, 6));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_reason_is_told() {
    let refused =
        json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}).to_string();
    for (reply, wanted) in [
        (Reply::new(400, refused), "provider"),
        (Reply::new(401, ""), "provider"),
        (Reply::new(503, "").header("retry-after", "5"), "temporary 5"),
        (Reply::new(200, "{}"), "temporary"),
    ] {
        let server = Server::plain(move |_| Some(reply.clone())).await;
        let pusher = google(&server);
        for _ in 0..2 {
            let result = pusher.push(&android(), &silent(&json!({}))).await;
            assert_eq!(word(&result), wanted, "{result:?}");
        }
        assert_eq!((count(&server, TOKENS), count(&server, SEND)), (2, 0));
    }
}

#[tokio::test]
async fn a_token_that_ends_soon_serves_on_while_google_gives_no_other() {
    let number = AtomicUsize::new(0);
    let server = Server::plain(move |asked| {
        Some(match (&*asked.path, number.fetch_add(1, Ordering::SeqCst)) {
            (TOKENS, 0) => Reply::new(200, json!({"access_token": "short", "expires_in": 240}).to_string()),
            (TOKENS, _) => Reply::new(503, ""),
            _ => Reply::new(200, "{}"),
        })
    })
    .await;
    let pusher = google(&server);
    for _ in 0..2 {
        pusher.push(&android(), &silent(&json!({}))).await.unwrap();
    }
    assert_eq!((count(&server, TOKENS), count(&server, SEND)), (2, 2));
}

#[tokio::test]
async fn a_message_that_google_would_not_take_is_not_sent() {
    let server = Server::plain(|_| Some(granted(1))).await;
    let push = Push { body: Some("x".repeat(4_096)), ..silent(&json!({})) };
    assert_eq!(google(&server).push(&android(), &push).await, Err(PushError::TooLarge));
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_service_account_is_checked_at_the_start_and_never_shown() {
    let server = Server::plain(|_| None).await;
    let good = account("https://oauth2.googleapis.com/token");
    for (field, value) in [
        ("private_key", json!("hidden")),
        ("private_key", json!(null)),
        ("project_id", json!("a/../hidden")),
        ("token_uri", json!("http://hidden.example.com/")),
    ] {
        let mut account = good.clone();
        account[field] = value;
        let mut options = google_options(&server);
        options.fcm.service_account = Some(Secret::new(account.to_string()));
        let Err(error) = Pusher::new(&options, VapidKeys::generate().unwrap()) else { panic!("{field}") };
        assert!(matches!(error, SetupError::Value { option: "push.fcm.service_account", .. }), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}

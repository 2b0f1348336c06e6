//! Pushes to a service that answers as Apple's does, over TLS and HTTP/2.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Version;
use jiff::Timestamp;
use mundotango_ops::Secret;
use mundotango_push::{ApnsOptions, Destination, Push, PushError, PushOptions, Pusher, Topic, Urgency};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::server::{Asked, Reply, Server};
use crate::{options, pusher, silent, word};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const BUNDLE: &str = "com.example.tango";

fn iphone() -> Destination {
    Destination::Apns { token: TOKEN.to_owned().try_into().unwrap() }
}

fn apple(server: &Server, key: &KeyPair) -> Pusher {
    pusher(&PushOptions {
        ca: server.ca(),
        apns: ApnsOptions {
            key: Some(Secret::new(key.serialize_pem())),
            key_id: "KEYKEYKEY1".to_owned(),
            team_id: "TEAMTEAM01".to_owned(),
            topic: BUNDLE.to_owned(),
            base_url: server.url(),
            ..ApnsOptions::default()
        },
        ..options()
    })
}

/// Checks who sends, as Apple does.
fn verify(asked: &Asked, key: &KeyPair) {
    let token = asked.header("authorization").strip_prefix("bearer ").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.der_bytes())
        .verify(signed.as_bytes(), &bytes(signature))
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&bytes(header)).unwrap();
    let claims: Value = serde_json::from_slice(&bytes(claims)).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &json!("KEYKEYKEY1")));
    assert_eq!(claims["iss"], "TEAMTEAM01");
    assert!((Timestamp::now().as_second() - claims["iat"].as_i64().unwrap()).abs() < 60);
}

#[tokio::test]
async fn an_iphone_gets_what_apple_demands() {
    let server = Server::tls(&[b"h2", b"http/1.1"], |_| Some(Reply::new(200, ""))).await;
    let key = KeyPair::generate().unwrap();
    let pusher = apple(&server, &key);
    let alert = Push {
        title: Some("María".to_owned()),
        body: Some("¿Bailamos?".to_owned()),
        urgency: Urgency::High,
        topic: Some(Topic::of_name("room:1")),
        badge: Some(3),
        ttl: Duration::from_hours(1),
        ..silent(&json!({"room": 1}))
    };
    let badge = Push { badge: Some(0), urgency: Urgency::High, ..silent(&json!(null)) };
    let background = Push { ttl: Duration::ZERO, urgency: Urgency::High, ..silent(&json!({"sync": true})) };
    for push in [&alert, &badge, &background] {
        pusher.push(&iphone(), push).await.unwrap();
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    for asked in &asked {
        assert_eq!((asked.version, asked.path.as_str()), (Version::HTTP_2, &*format!("/3/device/{TOKEN}")));
        assert_eq!(asked.header("apns-topic"), BUNDLE);
        verify(asked, &key);
    }
    let heads: Vec<_> = asked
        .iter()
        .map(|asked| ["apns-push-type", "apns-priority", "apns-collapse-id"].map(|name| asked.header(name)))
        .collect();
    let collapse = Topic::of_name("room:1");
    assert_eq!(heads, [["alert", "10", collapse.as_str()], ["alert", "5", ""], ["background", "5", ""]]);
    let until: i64 = asked[0].header("apns-expiration").parse().unwrap();
    assert!((until - Timestamp::now().as_second() - 3_600).abs() < 60, "{until}");
    assert_eq!(asked[2].header("apns-expiration"), "0");
    let alert = json!({"title": "María", "body": "¿Bailamos?"});
    assert_eq!(
        asked[0].json(),
        json!({"aps": {"alert": alert, "sound": "default", "badge": 3}, "payload": {"room": 1}})
    );
    assert_eq!(asked[1].json(), json!({"aps": {"badge": 0, "content-available": 1}, "payload": null}));
    assert_eq!(asked[2].json(), json!({"aps": {"content-available": 1}, "payload": {"sync": true}}));
    // T40: one token for all.
    assert_eq!(asked[0].header("authorization"), asked[2].header("authorization"));
}

#[tokio::test]
async fn t39_each_of_apples_answers_is_told_apart_and_only_410_ends_a_device() {
    let since = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    for (status, reason, wanted) in [
        (200, "", "ok"),
        (400, "BadCollapseId", "refused"),
        (400, "BadDeviceToken", "refused"),
        (400, "DeviceTokenNotForTopic", "refused"),
        (400, "BadTopic", "provider"),
        (400, "TopicDisallowed", "provider"),
        (400, "IdleTimeout", "temporary"),
        (403, "InvalidProviderToken", "provider"),
        (403, "MissingProviderToken", "provider"),
        (404, "BadPath", "provider"),
        (405, "MethodNotAllowed", "provider"),
        (410, "Unregistered", "gone"),
        (410, "ExpiredToken", "gone"),
        (413, "PayloadTooLarge", "too large"),
        (429, "TooManyRequests", "temporary 9"),
        (429, "TooManyProviderTokenUpdates", "provider"),
        (500, "InternalServerError", "temporary"),
        (503, "Shutdown", "temporary"),
    ] {
        let server = Server::tls(&[b"h2"], move |_| {
            let body = match (status, reason) {
                (200, _) => String::new(),
                (410, _) => json!({"reason": reason, "timestamp": 1_700_000_000_123_i64}).to_string(),
                _ => json!({"reason": reason}).to_string(),
            };
            let reply = Reply::new(status, body);
            Some(if reason == "TooManyRequests" { reply.header("retry-after", "9") } else { reply })
        })
        .await;
        let result = apple(&server, &KeyPair::generate().unwrap()).push(&iphone(), &silent(&json!({}))).await;
        assert_eq!(word(&result), wanted, "{reason}");
        assert_eq!(server.count(), 1, "{reason}");
        if let Err(error) = result {
            assert!(!error.to_string().contains(TOKEN), "{error}");
            assert_eq!(error.deletes(since), wanted == "gone", "{reason}");
            let later = since + Duration::from_secs(1);
            assert!(!error.deletes(later), "{reason}: the device has registered again");
        }
    }
}

#[tokio::test]
async fn t39_a_wrong_address_of_apple_is_noticed_after_some_devices() {
    let server =
        Server::tls(&[b"h2"], |_| Some(Reply::new(400, json!({"reason": "BadDeviceToken"}).to_string())))
            .await;
    let pusher = apple(&server, &KeyPair::generate().unwrap());
    for number in 0..12 {
        let to = Destination::Apns { token: format!("{number:064x}").try_into().unwrap() };
        let wanted = if number < 9 { "refused" } else { "provider" };
        assert_eq!(word(&pusher.push(&to, &silent(&json!({}))).await), wanted, "{number}");
    }
}

#[tokio::test]
async fn t40_a_token_that_apple_calls_expired_is_replaced_once() {
    let asked = AtomicUsize::new(0);
    let server = Server::tls(&[b"h2"], move |_| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        let expired = json!({"reason": "ExpiredProviderToken"}).to_string();
        Some(if first { Reply::new(403, expired) } else { Reply::new(200, "") })
    })
    .await;
    let key = KeyPair::generate().unwrap();
    apple(&server, &key).push(&iphone(), &silent(&json!({}))).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].header("authorization"), asked[1].header("authorization"));
    verify(&asked[1], &key);
}

#[tokio::test]
async fn t40_a_wrong_clock_makes_no_storm_of_tokens() {
    let server = Server::tls(&[b"h2"], |_| {
        Some(Reply::new(403, json!({"reason": "ExpiredProviderToken"}).to_string()))
    })
    .await;
    let pusher = apple(&server, &KeyPair::generate().unwrap());
    for _ in 0..5 {
        assert_eq!(word(&pusher.push(&iphone(), &silent(&json!({}))).await), "provider");
    }
    assert_eq!(server.count(), 6, "one push asked twice, the others once");
    let mut tokens: Vec<_> =
        server.asked().iter().map(|asked| asked.header("authorization").to_owned()).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn apns_is_asked_by_http_2_or_not_at_all() {
    let server = Server::tls(&[b"http/1.1"], |_| Some(Reply::new(200, ""))).await;
    let result = apple(&server, &KeyPair::generate().unwrap()).push(&iphone(), &silent(&json!({}))).await;
    assert_eq!(word(&result), "temporary");
    assert_eq!(server.count(), 0);
    // Without TLS nothing is negotiated, and HTTP/2 is spoken all the same.
    let server = Server::plain(|_| Some(Reply::new(200, ""))).await;
    apple(&server, &KeyPair::generate().unwrap()).push(&iphone(), &silent(&json!({}))).await.unwrap();
    assert_eq!(server.asked()[0].version, Version::HTTP_2);
}

#[tokio::test]
async fn a_service_with_a_certificate_of_a_stranger_is_not_asked() {
    let server = Server::tls(&[b"h2"], |_| Some(Reply::new(200, ""))).await;
    let stranger = Server::tls(&[b"h2"], |_| Some(Reply::new(200, ""))).await;
    let options = PushOptions {
        ca: stranger.ca(),
        apns: ApnsOptions {
            key: Some(Secret::new(KeyPair::generate().unwrap().serialize_pem())),
            key_id: "KEYKEYKEY1".to_owned(),
            team_id: "TEAMTEAM01".to_owned(),
            topic: BUNDLE.to_owned(),
            base_url: server.url(),
            ..ApnsOptions::default()
        },
        ..options()
    };
    let result = pusher(&options).push(&iphone(), &silent(&json!({}))).await;
    assert_eq!(word(&result), "temporary");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_message_that_apple_would_not_take_is_not_sent() {
    let server = Server::tls(&[b"h2"], |_| Some(Reply::new(200, ""))).await;
    let push = Push { body: Some("x".repeat(4_096)), ..silent(&json!({})) };
    let result = apple(&server, &KeyPair::generate().unwrap()).push(&iphone(), &push).await;
    assert_eq!(result, Err(PushError::TooLarge));
    assert_eq!(server.count(), 0);
}

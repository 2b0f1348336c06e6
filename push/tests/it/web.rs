//! Web push to a service of the test's own.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mundotango_push::{
    Destination, EndpointError, MAX_PAYLOAD, Provider, Push, PushError, PushOptions, Pusher, Topic, Urgency,
    VapidKeys,
};
use serde_json::json;

use crate::browser::{Browser, verify};
use crate::server::{Body, Reply, Server};
use crate::{options, pusher, silent, word};

#[tokio::test]
async fn a_browser_reads_what_was_pushed_and_its_service_knows_the_sender() {
    let server = Server::plain(|_| Some(Reply::new(201, ""))).await;
    let browser = Browser::new();
    let to = browser.destination(&format!("{}/send/1", server.url()));
    let pusher = pusher(&options());
    let payload = json!({"channel": "room:1", "text": "¡Hola!"});
    let push = Push {
        ttl: Duration::ZERO,
        urgency: Urgency::High,
        topic: Some(Topic::new("room-1").unwrap()),
        ..silent(&payload)
    };
    for _ in 0..2 {
        pusher.push(&to, &push).await.unwrap();
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for asked in &asked {
        assert_eq!(browser.decrypt(&asked.body), payload.to_string().as_bytes());
        for (name, value) in [
            ("ttl", "0"),
            ("urgency", "high"),
            ("topic", "room-1"),
            ("content-encoding", "aes128gcm"),
            ("content-type", "application/octet-stream"),
        ] {
            assert_eq!(asked.header(name), value, "{name}");
        }
        let (claims, key) = verify(asked.header("authorization"));
        assert_eq!(claims["aud"], json!(server.url()));
        assert_eq!(claims["sub"], "mailto:ops@example.com");
        let left = claims["exp"].as_i64().unwrap() - Timestamp::now().as_second();
        assert!((11 * 3_600..=12 * 3_600).contains(&left), "{left}");
        assert_eq!(key, pusher.vapid_public_key());
    }
    // T40: one signature serves many pushes; each body has a key of its own.
    assert_eq!(asked[0].header("authorization"), asked[1].header("authorization"));
    assert_ne!(asked[0].body, asked[1].body);
}

#[tokio::test]
async fn t38_t39_each_answer_is_told_apart_and_only_404_and_410_end_a_destination() {
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(30));
    let server = Server::plain(move |asked| {
        let (status, wait) = asked.path.trim_start_matches('/').split_once('/').unwrap();
        let reply = Reply::new(status.parse().unwrap(), "why\r\nnot");
        Some(match wait {
            "" => reply,
            "date" => reply.header("retry-after", soon.clone()),
            wait => reply.header("retry-after", wait),
        })
    })
    .await;
    let browser = Browser::new();
    let pusher = pusher(&options());
    let mut count = 0;
    for (path, wanted) in [
        ("200/", "ok"),
        ("201/", "ok"),
        ("202/", "ok"),
        ("204/", "ok"),
        ("301/", "refused"),
        ("400/", "refused"),
        ("401/", "refused"),
        ("403/", "refused"),
        ("404/", "gone"),
        ("406/", "refused"),
        ("408/", "temporary"),
        ("410/", "gone"),
        ("413/", "too large"),
        ("429/", "temporary"),
        ("429/120", "temporary 120"),
        // More than a day is not waited for.
        ("429/date", "temporary 86400"),
        ("500/", "temporary"),
        ("502/", "temporary"),
        ("503/7", "temporary 7"),
    ] {
        let result =
            pusher.push(&browser.destination(&format!("{}/{path}", server.url())), &silent(&json!({}))).await;
        count += 1;
        assert_eq!(word(&result), wanted, "{path}");
        assert_eq!(server.count(), count, "{path} was asked once");
        let deletes = result.is_err_and(|error| error.deletes(Timestamp::now()));
        assert_eq!(deletes, wanted == "gone", "{path}");
    }
}

#[tokio::test]
async fn t39_a_service_that_refuses_many_browsers_in_a_row_refuses_the_node() {
    let server =
        Server::plain(|asked| Some(Reply::new(if asked.path == "/good" { 201 } else { 403 }, "another key")))
            .await;
    let browser = Browser::new();
    let pusher = pusher(&options());
    let push = async |path: &str| {
        let to = browser.destination(&format!("{}/{path}", server.url()));
        word(&pusher.push(&to, &silent(&json!({}))).await)
    };
    for _ in 0..12 {
        assert_eq!(push("stubborn").await, "refused");
    }
    for number in 0..8 {
        assert_eq!(push(&number.to_string()).await, "refused");
    }
    assert_eq!(push("good").await, "ok");
    for number in 0..9 {
        assert_eq!(push(&number.to_string()).await, "refused");
    }
    assert_eq!(push("9").await, "provider");
}

#[tokio::test]
async fn t43_a_redirect_is_not_followed() {
    let inner = Server::plain(|_| Some(Reply::new(201, ""))).await;
    let target = inner.url();
    let outer = Server::plain(move |asked| {
        let status = asked.path.trim_start_matches('/').parse().unwrap();
        Some(Reply::new(status, "").header("location", target.clone()))
    })
    .await;
    let browser = Browser::new();
    let pusher = pusher(&options());
    for status in [301, 302, 303, 307, 308] {
        let to = browser.destination(&format!("{}/{status}", outer.url()));
        assert_eq!(word(&pusher.push(&to, &silent(&json!({}))).await), "refused");
    }
    assert_eq!((outer.count(), inner.count()), (5, 0));
}

#[tokio::test]
async fn t43_endpoints_within_the_network_are_not_asked() {
    let server = Server::plain(|_| Some(Reply::new(201, ""))).await;
    let browser = Browser::new();
    let pusher = pusher(&PushOptions { private_endpoints: false, ..options() });
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    for (endpoint, wanted) in [
        (server.url(), Err(EndpointError::Scheme)),
        (format!("https://127.0.0.1:{port}/"), Err(EndpointError::Port)),
        ("https://127.0.0.1/".to_owned(), Err(EndpointError::Private)),
        ("https://[::ffff:127.0.0.1]/".to_owned(), Err(EndpointError::Private)),
        // A name says nothing until it is looked up, by the push.
        ("https://localhost/".to_owned(), Ok(())),
    ] {
        assert_eq!(pusher.check(&browser.subscription(&endpoint)), wanted, "{endpoint}");
        let error = pusher.push(&browser.destination(&endpoint), &silent(&json!({}))).await.unwrap_err();
        let PushError::Refused { why } = error else { panic!("{endpoint}: {error}") };
        assert!(wanted.is_err() || why == "the host has no address in the public Internet", "{why}");
    }
    assert_eq!(server.count(), 0);
    let allowed = PushOptions { allowed_hosts: vec!["push.example.com".to_owned()], ..options() };
    let refused = crate::pusher(&allowed).check(&browser.subscription(&server.url()));
    assert_eq!(refused, Err(EndpointError::Host));
}

#[tokio::test]
async fn the_status_decides_whatever_the_body_does() {
    let server = Server::plain(|asked| {
        let mut parts = asked.path.trim_start_matches('/').split('/');
        let status = parts.next().unwrap().parse().unwrap();
        let body = if parts.next() == Some("stalled") { Body::Stalled } else { Body::Endless };
        Some(Reply { body, ..Reply::new(status, "") })
    })
    .await;
    let browser = Browser::new();
    let pusher = pusher(&PushOptions { timeout: Duration::from_secs(2), ..options() });
    for (path, wanted) in [
        ("201/stalled", "ok"),
        ("410/stalled", "gone"),
        ("201/endless", "ok"),
        ("400/endless", "refused"),
        ("503/endless", "temporary"),
    ] {
        let to = browser.destination(&format!("{}/{path}", server.url()));
        let result = pusher.push(&to, &silent(&json!({}))).await;
        assert_eq!(word(&result), wanted, "{path}");
        assert!(result.err().is_none_or(|error| error.to_string().len() < 300));
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_tried_later() {
    let server = Server::plain(|_| None).await;
    let browser = Browser::new();
    let pusher = pusher(&PushOptions { timeout: Duration::from_secs(2), ..options() });
    let endpoint = format!("{}/secret-path", server.url());
    let error = pusher.push(&browser.destination(&endpoint), &silent(&json!({}))).await.unwrap_err();
    assert_eq!(word(&Err(error)), "temporary");
    assert_eq!(server.count(), 1);
    drop(server);
    let error = pusher.push(&browser.destination(&endpoint), &silent(&json!({}))).await.unwrap_err();
    assert!(!error.to_string().contains("secret-path"), "{error}");
    assert_eq!(word(&Err(error)), "temporary");
}

#[tokio::test]
async fn t42_the_largest_payload_stays_below_the_smallest_limit_and_a_larger_one_is_not_sent() {
    let server = Server::plain(|_| Some(Reply::new(201, ""))).await;
    let browser = Browser::new();
    let to = browser.destination(&server.url());
    let pusher = pusher(&options());
    let payload = json!("x".repeat(MAX_PAYLOAD - 2));
    pusher.push(&to, &silent(&payload)).await.unwrap();
    let body = &server.asked()[0].body;
    assert!(body.len() < 3_070, "{}", body.len());
    assert_eq!(browser.decrypt(body), payload.to_string().as_bytes());
    let larger = silent(&json!("x".repeat(MAX_PAYLOAD - 1)));
    assert_eq!(pusher.push(&to, &larger).await, Err(PushError::TooLarge));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn after_a_change_of_keys_old_subscriptions_go_on() {
    let server = Server::plain(|_| Some(Reply::new(201, ""))).await;
    let old = VapidKeys::generate().unwrap();
    let pusher = Pusher::new(&options(), old.clone().rotate().unwrap()).unwrap();
    let browser = Browser::new();
    let subscription = browser.subscription(&server.url());
    let remembered = subscription.clone().with_application_server_key(*old.public_key());
    for to in [remembered, subscription.clone()] {
        pusher.push(&Destination::Web(to), &silent(&json!({}))).await.unwrap();
    }
    let keys: Vec<_> = server.asked().iter().map(|asked| verify(asked.header("authorization")).1).collect();
    assert_eq!(keys, [old.public_key().to_string(), pusher.vapid_public_key()]);
    let lost = subscription.with_application_server_key(*VapidKeys::generate().unwrap().public_key());
    assert_eq!(word(&pusher.push(&Destination::Web(lost), &silent(&json!({}))).await), "refused");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn what_is_not_configured_is_said() {
    let pusher = pusher(&PushOptions { subject: String::new(), ..options() });
    let browser = Browser::new();
    let token = "abc".to_owned().try_into().unwrap();
    let web = browser.destination("https://push.example.net/");
    let host = "push.example.net".to_owned();
    assert_eq!(Pusher::provider(&web), Provider::Web { host });
    for (to, option) in [(web, "push.subject"), (Destination::Fcm { token }, "push.fcm")] {
        let error = pusher.push(&to, &silent(&json!({}))).await.unwrap_err();
        let PushError::Provider { why } = error else { panic!("{error}") };
        assert!(why.contains(option), "{why}");
    }
}

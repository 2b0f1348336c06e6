//! The devices of users: whose they are, how many, and which are refused.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Site, member};
use crate::push_service::Browser;

/// Devices that a user can have.
const MOST: usize = 20;

/// The ids of devices.
fn ids(devices: &[Value]) -> Vec<&Value> {
    devices.iter().map(|device| &device["id"]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_belongs_to_who_signed_in_there_last() {
    let site = Site::start().await;
    let (ana, ben) = (member("ana"), member("ben"));
    let web = json!({"web": Browser::new().subscription("http://127.0.0.1:9/shared"), "name": "Laptop"});
    for device in [web, json!({"fcm": "token:of-a_phone"}), json!({"apns": "00fc13adff785122"})] {
        let first = site.register(&ana, device.clone()).await;
        let mut fields: Vec<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["id", "kind", "name", "registeredAt"], "no key and no address is shown");
        assert!(device[first["kind"].as_str().unwrap()] != Value::Null, "{first}");
        let again = site.register(&ana, device.clone()).await;
        assert_eq!((&again["id"], site.devices(&ana).await.len()), (&first["id"], 1), "an app starts again");

        let moved = site.register(&ben, device).await;
        assert_eq!((site.devices(&ana).await, site.devices(&ben).await), (vec![], vec![moved.clone()]));
        let path = format!("/api/push/devices/{}", moved["id"].as_str().unwrap());
        for (user, wanted) in
            [(&ana, StatusCode::NOT_FOUND), (&ben, StatusCode::NO_CONTENT), (&ben, StatusCode::NOT_FOUND)]
        {
            let (status, _) = site.server.call(Method::DELETE, &path, Some(&user.token), None).await;
            assert_eq!(status, wanted, "{}", user.id);
        }
        assert_eq!(site.devices(&ben).await, Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_device_that_was_registered_longest_ago_makes_room() {
    let site = Site::start().await;
    let (ana, browser) = (member("ana"), Browser::new());
    let device =
        |number: usize| json!({"web": browser.subscription(&format!("http://127.0.0.1:9/{number}"))});
    let mut registered = Vec::new();
    for number in 0..MOST {
        registered.push(site.register(&ana, device(number)).await);
    }
    assert_eq!(ids(&site.devices(&ana).await), ids(&registered));
    // The first one comes back before there are too many.
    site.register(&ana, device(0)).await;
    let newest = site.register(&ana, device(MOST)).await;
    let devices = site.devices(&ana).await;
    let kept = ids(&devices);
    assert_eq!(kept.len(), MOST);
    assert!(kept.contains(&&registered[0]["id"]) && kept.contains(&&newest["id"]), "{devices:?}");
    assert!(!kept.contains(&&registered[1]["id"]), "{devices:?}");
}

/// A device at an endpoint, with keys that are good.
fn at(endpoint: &str) -> Value {
    json!({"web": Browser::new().subscription(endpoint)})
}

/// A device whose subscription has a value that is not good.
fn with(pointer: &str, value: Value) -> Value {
    let mut device = at("https://push.example.com/x");
    *device.pointer_mut(pointer).unwrap() = value;
    device
}

/// T43: endpoints are what users say they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t43_what_cannot_be_reached_or_may_not_be_is_refused_with_the_field() {
    let site = Site::start_with(&[("PUSH__PRIVATE_ENDPOINTS", "false")]).await;
    let ana = member("ana");
    let both = json!({"web": at("https://push.example.com/x")["web"], "fcm": "token"});
    for (device, field, part) in [
        (at("http://push.example.com/x"), "web.endpoint", "https://"),
        (at("https://push.example.com:8443/x"), "web.endpoint", "port 443"),
        (at("https://127.0.0.1/x"), "web.endpoint", "public"),
        (at("https://2130706433/x"), "web.endpoint", "public"),
        (at("https://169.254.169.254/latest/meta-data"), "web.endpoint", "public"),
        (at("https://[::ffff:10.0.0.1]/x"), "web.endpoint", "public"),
        (at("ftp://push.example.com/x"), "web.endpoint", ""),
        (with("/web/keys/p256dh", json!(BASE64_URL_SAFE_NO_PAD.encode([4; 65]))), "web", "keys.p256dh"),
        (with("/web/keys/auth", json!("AAAA")), "web", "keys.auth"),
        (with("/web/keys", json!({"auth": "AAAA"})), "web.keys.p256dh", ""),
        (both, "body", "exactly one"),
        (json!({"name": "Laptop"}), "body", "exactly one"),
        (json!({"fcm": "../v1/projects"}), "fcm", "token"),
        (json!({"gcm": "token"}), "gcm", ""),
        (json!({"fcm": "token", "name": "x".repeat(101)}), "name", ""),
    ] {
        let (status, problem) = site.server.post("/api/push/devices", &ana, device.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{device}: {problem}");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[0]["field"]), (1, &json!(field)), "{device}: {problem}");
        assert!(errors[0]["message"].as_str().unwrap().contains(part), "{device}: {problem}");
    }
    assert_eq!(site.devices(&ana).await, Vec::<Value>::new());
    site.register(&ana, at("https://updates.push.services.mozilla.com/wpush/v2/x")).await;
    assert_eq!(site.devices(&ana).await.len(), 1);
}

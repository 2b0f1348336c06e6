//! What push services answer, and what becomes of devices and of what could not be pushed.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{Site, member};
use crate::jobs::failures;
use crate::push_service::{Answer, Asked, Browser, PushService, claims, status, status_with};
use crate::server::until;

/// What the services of these tests ask senders to wait, in seconds.
const RETRY_AFTER: i64 = 3_600;
/// Longer than the pause after a first attempt, in seconds.
const FIRST_PAUSE: i64 = 60;
/// A device token of Apple's form.
const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

fn due(job: &Value) -> Timestamp {
    job["due"].as_str().unwrap().parse().unwrap()
}

/// Answers with the status that the path names, and never at `/slow`.
fn by_path(asked: &Asked, elsewhere: &str) -> Answer {
    match asked.path.trim_start_matches('/') {
        "slow" => Answer::Never,
        "429" => status_with(429, "retry-after", &RETRY_AFTER.to_string()),
        code @ ("301" | "307") => status_with(code.parse().unwrap(), "location", elsewhere),
        code => status(code.parse().unwrap()),
    }
}

/// A8: only a device that its service calls gone is removed, and nobody leads the node elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_only_gone_removes_a_device_and_no_redirect_is_followed() {
    let inside = PushService::of_browsers(|_| status(200)).await;
    let elsewhere = inside.url("/inside");
    let service = PushService::of_browsers(move |asked| by_path(asked, &elsewhere)).await;
    let site = Site::start_with(&[("PUSH__TIMEOUT", "1s")]).await;
    for (path, is_kept, why) in [
        ("/404", false, None),
        ("/410", false, None),
        ("/413", true, None),
        ("/429", true, Some("429")),
        ("/403", true, None),
        ("/500", true, Some("500")),
        ("/slow", true, Some("no answer within 1s")),
        ("/301", true, None),
        ("/307", true, None),
    ] {
        let user = member(&path[1..]);
        site.register(&user, json!({"web": Browser::new().subscription(&service.url(path))})).await;
        site.told(&user, "Milonga").await;
        let before = Timestamp::now();
        let job = site.push_now(&user).await;
        assert_eq!(service.asked_at(path).len(), 1, "{path}");
        assert_eq!(site.devices(&user).await.len(), usize::from(is_kept), "{path}");
        // What may work later is tried later, and all else is over.
        assert_eq!(job.is_some(), why.is_some(), "{path}: {job:?}");
        let Some((job, why)) = job.zip(why) else { continue };
        assert_eq!((&job["state"], &job["attempts"]), (&json!("delayed"), &json!(1)), "{path}: {job}");
        assert!(failures(&job).iter().all(|failure| failure.contains(why)), "{path}: {job}");
        let waits = due(&job).duration_since(before).as_secs();
        let is_long = waits >= RETRY_AFTER;
        assert!(if path == "/429" { is_long } else { waits < FIRST_PAUSE }, "{path}: {waits} s");
    }
    assert_eq!(inside.asked().len(), 0);
}

/// A8: devices of one user, at services of which one works, one is busy, one fails and one forgot the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_a_device_that_was_told_is_not_told_again_for_the_sake_of_others() {
    let is_well = Arc::new(AtomicBool::new(false));
    let service = PushService::of_browsers({
        let is_well = Arc::clone(&is_well);
        move |asked| if is_well.load(Ordering::Relaxed) { status(201) } else { by_path(asked, "") }
    })
    .await;
    let site = Site::start().await;
    let ana = member("ana");
    let paths = ["/201", "/429", "/500", "/410"];
    for path in paths {
        site.register(&ana, json!({"web": Browser::new().subscription(&service.url(path))})).await;
    }
    site.told(&ana, "Milonga").await;
    let before = Timestamp::now();
    let job = site.push_now(&ana).await.expect("two devices are to be told later");
    assert_eq!(paths.map(|path| service.asked_at(path).len()), [1; 4]);
    assert_eq!(site.devices(&ana).await.len(), 3);
    let waits = due(&job).duration_since(before);
    assert!(
        waits >= SignedDuration::from_secs(RETRY_AFTER),
        "a service that asks for time gets it: {waits:?}"
    );
    is_well.store(true, Ordering::Relaxed);
    assert_eq!(site.turn(&job).await, None);
    assert_eq!(paths.map(|path| service.asked_at(path).len()), [1, 2, 2, 1]);
}

/// T45: the number on the icon follows what is read elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t45_what_is_read_elsewhere_is_taken_from_the_icons_of_apps() {
    let apple = PushService::of_apple(|_| status(200)).await;
    let browsers = PushService::of_browsers(|_| status(201)).await;
    let key = KeyPair::generate().unwrap();
    let (key_file, ca) = (apple.path("key.p8"), apple.path("ca.pem"));
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let site = Site::start_with(&[
        ("PUSH__CA", ca.to_str().unwrap()),
        ("PUSH__APNS__KEY_FILE", key_file.to_str().unwrap()),
        ("PUSH__APNS__KEY_ID", "KEYKEYKEY1"),
        ("PUSH__APNS__TEAM_ID", "TEAMTEAM01"),
        ("PUSH__APNS__TOPIC", "com.example.tango"),
        ("PUSH__APNS__BASE_URL", apple.origin()),
    ])
    .await;
    let ana = member("ana");
    site.register(&ana, json!({"apns": TOKEN})).await;
    site.register(&ana, json!({"web": Browser::new().subscription(&browsers.url("/ana"))})).await;
    let (one, two) = (site.told(&ana, "Milonga").await, site.told(&ana, "Practica").await);
    assert_eq!(site.push_now(&ana).await, None);
    // What is read within a moment is told at once.
    site.pause_pushes(true).await;
    site.read(&ana, &one["id"]).await;
    site.read(&ana, &two["id"]).await;
    site.pause_pushes(false).await;
    until("the icon is told", async || (apple.asked().len() == 2).then_some(())).await;
    let three = site.told(&ana, "Concierto").await;
    assert_eq!(site.push_now(&ana).await, None);

    let asked = apple.asked();
    let bodies: Vec<_> = asked.iter().map(|asked| asked.json()["aps"].clone()).collect();
    let alert = |text: &str, badge: u64| {
        let alert = json!({"title": "MundoTango", "body": text});
        json!({"alert": alert, "sound": "default", "badge": badge})
    };
    let cleared = json!({"badge": 0, "content-available": 1});
    let wanted = [alert("2 new notifications", 2), cleared, alert("You have a place at Concierto", 1)];
    assert_eq!(bodies, wanted, "the badge is the whole number, and one clear is enough for two");
    assert_eq!(asked[1].json()["payload"], json!({"type": "notifications.read", "unread": 0}));
    assert_eq!(asked[2].json()["payload"]["ids"], json!([three["id"]]));
    let wanted = format!("/3/device/{TOKEN}");
    for asked in &asked {
        assert_eq!((asked.path.as_str(), asked.header("apns-topic")), (wanted.as_str(), "com.example.tango"));
        let token = asked.header("authorization").strip_prefix("bearer ").unwrap();
        assert_eq!(claims(token, key.public_key_raw())["iss"], "TEAMTEAM01");
    }
    // A browser would have to show something, so it is not told.
    assert_eq!(browsers.asked().len(), 2);
}

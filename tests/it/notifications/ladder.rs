//! What is pushed, when, and to whom: only what no device has shown and nobody has read.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SUBJECT, Site, member};
use crate::push_service::{Browser, PushService, status};
use crate::server::until;

/// How far the clocks of India are before UTC, all year, in seconds.
const INDIA: i64 = 19_800;

/// A time of a job.
fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// What clocks in India show.
fn in_india(at: Timestamp) -> String {
    let minute = (at.as_second() + INDIA).rem_euclid(86_400) / 60;
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Quiet hours in India that began an hour ago, and when they end.
pub(super) fn quiet_now() -> (Value, Timestamp) {
    let now = Timestamp::now();
    let end = now + SignedDuration::from_hours(2);
    let hours = json!({"from": in_india(now - SignedDuration::from_hours(1)), "to": in_india(end)});
    let end = Timestamp::from_second(end.as_second() / 60 * 60).unwrap();
    (json!({"timeZone": "Asia/Kolkata", "quietHours": hours}), end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_device_has_shown_is_pushed_so_that_the_browser_alone_can_read_it() {
    let service = PushService::of_browsers(|_| status(201)).await;
    let site = Site::start().await;
    let (ana, browser) = (member("ana"), Browser::new());
    site.register(&ana, json!({"web": browser.subscription(&service.url("/ana"))})).await;
    let (_, key) = site.server.call(Method::GET, "/api/push/key", None, None).await;

    let one = site.told(&ana, "Milonga").await;
    let job = site.delayed("push", &ana.id).await;
    let waits = time(&job["due"]).duration_since(time(&one["at"]));
    assert!((waits - SignedDuration::from_secs(10)).abs() <= SignedDuration::from_millis(1), "{waits:?}");
    assert_eq!(site.turn(&job).await, None);
    let asked = service.asked().pop().unwrap();
    let wanted = json!({
        "type": "notifications", "ids": [one["id"]], "unread": 1, "text": "You have a place at Milonga",
        "url": format!("http://localhost:5000/events/{}", one["thing"].as_str().unwrap()),
    });
    assert_eq!((asked.path.as_str(), browser.read(&asked)), ("/ana", wanted));
    let (claims, signed_by) = asked.vapid();
    let known = [&claims["aud"], &claims["sub"], &key["publicKey"]];
    assert_eq!(known, [service.origin(), SUBJECT, signed_by.as_str()], "{claims}");
    let life = claims["exp"].as_i64().unwrap() - Timestamp::now().as_second();
    assert!((1..=12 * 60 * 60).contains(&life), "{claims}");
    let ttl: u64 = asked.header("ttl").parse().unwrap();
    assert!((1..=12 * 60 * 60).contains(&ttl) && asked.header("topic").len() == 32, "{asked:?}");

    // Those of a while are pushed together, in the user's language.
    site.prefer(&ana, json!({"language": "es"})).await;
    let (two, three) = (site.told(&ana, "Practica").await, site.told(&ana, "Concierto").await);
    assert_eq!(site.push_now(&ana).await, None);
    let wanted = json!({
        "type": "notifications", "ids": [three["id"], two["id"]], "unread": 3, "text": "2 avisos nuevos",
        "url": "http://localhost:5000/notifications",
    });
    assert_eq!(browser.read(&service.asked().pop().unwrap()), wanted);
    site.prefer(&ana, json!({"silentPush": true})).await;
    let four = site.told(&ana, "Clase").await;
    assert_eq!(site.push_now(&ana).await, None);
    let wanted = json!({"type": "notifications", "ids": [four["id"]], "unread": 4});
    assert_eq!(browser.read(&service.asked().pop().unwrap()), wanted, "no word of what it is");
    assert_eq!(service.asked().len(), 3);
}

/// T46: each rung looks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t46_what_was_shown_read_removed_or_muted_meanwhile_is_not_pushed() {
    let service = PushService::of_browsers(|_| status(201)).await;
    let site = Site::start().await;
    for name in ["shown", "read", "removed", "muted"] {
        let (user, browser) = (member(name), Browser::new());
        let path = format!("/{name}");
        site.register(&user, json!({"web": browser.subscription(&service.url(&path))})).await;
        let one = site.told(&user, "Milonga").await;
        let own = format!("/api/notifications/{}", one["id"].as_str().unwrap());
        match name {
            "shown" => drop(site.post("/api/notifications/shown", &user, json!({"upTo": one["id"]})).await),
            "read" => drop(site.read(&user, &one["id"]).await),
            "removed" => {
                let (status, _) = site.server.call(Method::DELETE, &own, Some(&user.token), None).await;
                assert!(status.is_success());
            }
            _ => drop(site.post("/api/notifications/mute", &user, json!({"thing": one["thing"]})).await),
        }
        assert_eq!(site.push_now(&user).await, None);
        assert_eq!(service.asked_at(&path).len(), 0, "{name}");
        // The next one is pushed, and alone.
        let two = site.told(&user, "Practica").await;
        assert_eq!(site.push_now(&user).await, None);
        let asked = service.asked_at(&path);
        assert_eq!(asked.len(), 1, "{name}");
        assert_eq!(browser.read(&asked[0])["ids"], json!([two["id"]]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_muted_nothing_is_told_until_it_is_heard_again() {
    let site = Site::start().await;
    let ana = member("ana");
    let event = site.event(&site.host, "Milonga", Some(1)).await;
    let mute = "/api/notifications/mute";
    let preferences = site.post(mute, &ana, json!({"thing": event})).await;
    assert_eq!(preferences["muted"], json!({&event: null}));
    site.promote_at(&event, &ana).await;
    until("the job is done", async || (site.done("notify").await == 1).then_some(())).await;
    assert_eq!((site.list(&ana).await, site.unread_count(&ana).await), (Vec::new(), 0));
    assert_eq!(site.delayed_jobs("push", &ana.id).await, Vec::<Value>::new());

    let preferences = site.post(mute, &ana, json!({"thing": event, "hours": 0})).await;
    assert_eq!(preferences["muted"], json!({}));
    site.answer(&event, &ana, "declined").await;
    site.promote_at(&event, &ana).await;
    site.unread_of(&ana, &event).await;
    assert_eq!(site.list(&ana).await.len(), 1);
}

/// T48: on the user's clocks, for all devices; what is told meanwhile is in the list at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t48_in_quiet_hours_a_push_waits_for_their_end() {
    let service = PushService::of_browsers(|_| status(201)).await;
    let site = Site::start().await;
    let (ana, ben) = (member("ana"), member("ben"));
    for user in [&ana, &ben] {
        let endpoint = service.url(&format!("/{}", user.id));
        site.register(user, json!({"web": Browser::new().subscription(&endpoint)})).await;
    }
    let (quiet, end) = quiet_now();
    site.prefer(&ana, quiet.clone()).await;
    site.told(&ana, "Milonga").await;
    assert_eq!(time(&site.delayed("push", &ana.id).await["due"]), end);

    // Hours that are chosen when the push is already on its way hold it as well.
    site.told(&ben, "Milonga").await;
    site.prefer(&ben, quiet).await;
    assert_eq!(site.push_now(&ben).await, None);
    assert_eq!(time(&site.delayed("push", &ben.id).await["due"]), end);
    assert_eq!(service.asked().len(), 0);
    site.prefer(&ben, json!({"quietHours": null})).await;
    assert_eq!(site.push_now(&ben).await, None);
    assert_eq!((service.asked_at("/ana").len(), service.asked_at("/ben").len()), (0, 1));
}

//! The list of notifications: what is in it, what becomes one, and what other devices hear of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Connected, READ_ALL, Site, member};

/// The fields of a problem document that are wrong.
fn fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no field is named: {problem}"));
    errors.iter().map(|error| error["field"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_listed_counted_and_heard_on_all_devices() {
    let site = Site::start().await;
    let ana = member("ana");
    let mut devices = [Connected::new(&site, &ana).await, Connected::new(&site, &ana).await];
    let mut told = Vec::new();
    for (title, unread) in [("Milonga", 1), ("Practica", 2), ("Concierto", 3)] {
        let one = site.told(&ana, title).await;
        let event = one["thing"].as_str().unwrap();
        let known = [&one["kind"], &one["title"], &one["path"]];
        assert_eq!(known, ["eventPromoted", title, format!("/events/{event}").as_str()], "{one}");
        assert_eq!((&one["count"], &one["actorId"]), (&json!(1), &Value::Null), "{one}");
        for device in &mut devices {
            let wanted = json!({"type": "notification.created", "notification": one, "unread": unread});
            assert_eq!(device.next().await, wanted, "the schema of the list, and the whole number");
        }
        assert_eq!(site.unread_count(&ana).await, unread);
        told.insert(0, one);
    }
    assert_eq!(site.list(&ana).await, told, "the last one first");

    let [newest, middle, oldest] = [&told[0]["id"], &told[1]["id"], &told[2]["id"]];
    // The second time it changes nothing, and nobody hears of it.
    for _ in 0..2 {
        assert_eq!(site.read(&ana, oldest).await, json!({"unread": 2}));
    }
    let answer = site.post(READ_ALL, &ana, json!({"upTo": middle})).await;
    assert_eq!(answer, json!({"unread": 1}), "what came later stays unread");
    let read: Vec<_> = site.list(&ana).await.iter().map(|one| one["read"] == true).collect();
    assert_eq!(read, [false, true, true]);
    let path = format!("/api/notifications/{}", newest.as_str().unwrap());
    for wanted in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let (status, _) = site.server.call(Method::DELETE, &path, Some(&ana.token), None).await;
        assert_eq!(status, wanted);
    }
    assert_eq!((site.list(&ana).await.len(), site.unread_count(&ana).await), (2, 0));
    for device in &mut devices {
        let wanted = json!({"type": "notification.read", "id": oldest, "unread": 2});
        assert_eq!(device.next().await, wanted);
        let wanted = json!({"type": "notifications.read", "upTo": middle, "unread": 1});
        assert_eq!(device.next().await, wanted);
        let wanted = json!({"type": "notification.read", "id": newest, "unread": 0});
        assert_eq!(device.next().await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_comes_in_pages_and_is_read_whole() {
    let site = Site::start().await;
    let ana = member("ana");
    for title in ["one", "two", "three"] {
        site.told(&ana, title).await;
    }
    let (status, page) = site.server.get("/api/notifications?limit=2", &ana).await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (StatusCode::OK, 2), "{page}");
    let rest = format!("/api/notifications?limit=2&cursor={}", page["nextCursor"].as_str().unwrap());
    let (status, rest) = site.server.get(&rest, &ana).await;
    assert_eq!((status, &rest["nextCursor"]), (StatusCode::OK, &Value::Null), "{rest}");
    let titles = [&page["items"][0], &page["items"][1], &rest["items"][0]].map(|one| one["title"].clone());
    assert_eq!(titles, ["three", "two", "one"]);
    assert_eq!(site.post(READ_ALL, &ana, json!({})).await, json!({"unread": 0}));
    assert!(site.list(&ana).await.iter().all(|one| one["read"] == true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_what_others_are_told() {
    let site = Site::start().await;
    let (ana, ben) = (member("ana"), member("ben"));
    let one = site.told(&ana, "Milonga").await;
    let path = format!("/api/notifications/{}", one["id"].as_str().unwrap());
    assert_eq!(site.list(&ben).await, Vec::<Value>::new());
    let delete = async |path: &str| site.server.call(Method::DELETE, path, Some(&ben.token), None).await.0;
    assert_eq!(delete(&path).await, StatusCode::NOT_FOUND);
    assert_eq!(delete("/api/notifications/none").await, StatusCode::NOT_FOUND);
    for path in ["/api/notifications/none/read".to_owned(), format!("{path}/read")] {
        let (status, _) = site.server.post(&path, &ben, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: ids are a user's own numbers");
    }
    site.post(READ_ALL, &ben, json!({})).await;
    assert_eq!(site.list(&ana).await, [one]);
    for (method, path) in [
        (Method::GET, "/api/notifications"),
        (Method::GET, "/api/notifications/unread-count"),
        (Method::POST, READ_ALL),
        (Method::DELETE, path.as_str()),
    ] {
        let (status, _) = site.server.call(method, path, None, Some(json!({}))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_with_the_field() {
    let site = Site::start().await;
    let ana = member("ana");
    let post = Method::POST;
    for (method, path, body, field) in [
        (&post, "read-all", json!({"upTo": 5}), "upTo"),
        (&post, "read-all", json!({"upTo": "the last"}), "upTo"),
        (&post, "read-all", json!({"until": "1"}), "until"),
        (&post, "shown", json!({"upTo": "-1"}), "upTo"),
        (&post, "shown", json!([]), "body"),
        (&post, "mute", json!({}), "thing"),
        (&post, "mute", json!({"thing": "x", "hours": 8761}), "hours"),
        (&Method::PATCH, "preferences", json!({"timeZone": "Mars/Olympus"}), "timeZone"),
        (&Method::PATCH, "preferences", json!({"quietHours": {"from": "22:00"}}), "quietHours.to"),
        (
            &Method::PATCH,
            "preferences",
            json!({"quietHours": {"from": "24:00", "to": "08:00"}}),
            "quietHours.from",
        ),
        (&Method::PATCH, "preferences", json!({"kinds": {"eventLost": {}}}), "kinds.eventLost"),
        (
            &Method::PATCH,
            "preferences",
            json!({"kinds": {"eventMoved": {"push": "no"}}}),
            "kinds.eventMoved.push",
        ),
    ] {
        let path = format!("/api/notifications/{path}");
        let (status, problem) =
            site.server.call(method.clone(), &path, Some(&ana.token), Some(body.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {problem}");
        assert_eq!(fields(&problem), [field], "{path} {body}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_an_event_are_one_notification_until_it_is_read() {
    let site = Site::start().await;
    let mut device = Connected::new(&site, &site.host).await;
    let event = site.event(&site.host, "Milonga", None).await;
    let mut heard = Vec::new();
    for (wave, is_read) in [(["a", "b", "c"], false), (["d", "e", "f"], true), (["g", "h", "i"], false)] {
        for guest in wave {
            site.answer(&event, &member(guest), "going").await;
        }
        site.tell_of_answers(&event).await;
        let message = device.next().await;
        heard.push((message["notification"]["count"].clone(), message["unread"].clone()));
        if is_read {
            site.read(&site.host, &message["notification"]["id"]).await;
            assert_eq!(device.next().await["unread"], 0);
        }
    }
    assert_eq!(heard, [(json!(3), json!(1)), (json!(6), json!(1)), (json!(3), json!(1))]);
    let listed = site.list(&site.host).await;
    let counts: Vec<_> = listed.iter().map(|one| (one["count"].clone(), one["read"] == true)).collect();
    assert_eq!(counts, [(json!(3), false), (json!(6), true)], "the first has become a part of the second");
    assert!(listed.iter().all(|one| one["kind"] == "eventAnswers" && one["thing"] == event));
    for id in ["0", "99", "x"] {
        let path = format!("/api/notifications/{id}/read");
        let (status, problem) = site.server.post(&path, &site.host, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "there never was {id}: {problem}");
    }
}

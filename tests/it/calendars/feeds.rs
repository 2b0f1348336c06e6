//! Calendars that programs subscribe to by a secret address.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{answer, day, event, fetch, only_event, read};
use crate::server::{API_KEY, Server, User};

/// Makes a calendar; its id and the path of its address.
async fn subscribe(server: &Server, user: &User, body: Value) -> (String, String) {
    let (status, calendar) = server.post("/api/calendars", user, body).await;
    assert_eq!(status, StatusCode::CREATED, "{calendar}");
    (calendar["id"].as_str().unwrap().to_owned(), path_of(&calendar))
}

fn path_of(calendar: &Value) -> String {
    let url = calendar["url"].as_str().unwrap();
    let path = url.strip_prefix("http://localhost:5000").unwrap_or_else(|| panic!("{url}"));
    let token = path.strip_prefix("/api/calendars/feed/").and_then(|rest| rest.strip_suffix(".ics"));
    assert!(token.is_some_and(|token| token.len() > 64), "{url}");
    path.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calendars_follow_what_becomes_of_events() {
    let server = Server::start().await;
    let (ana, host) = (server.register("ana").await, server.register("host").await);
    let title =
        "Milonga, con orquesta; \"la noche\" \\ 👩\u{200d}❤\u{fe0f}\u{200d}👨 y más 💃 de una línea larga 💃";
    let (first_day, other_day) = (day(20), day(200));
    let made = event(&server, &host, title, "Berlin", &first_day).await;
    let id = made["id"].as_str().unwrap();
    let (_, mine) = subscribe(&server, &ana, json!({"kind": "mine"})).await;
    let (_, of_host) = subscribe(&server, &ana, json!({"kind": "host", "hostId": host.id})).await;
    let (_, of_city) = subscribe(&server, &ana, json!({"kind": "city", "city": "berlin"})).await;
    let feeds = [&mine, &of_host, &of_city];

    let empty = read(&fetch(&server, &mine, None).await.text).await;
    assert_eq!((&empty["name"], &empty["events"]), (&json!("MundoTango"), &json!([])));
    assert_eq!(read(&fetch(&server, &of_host, None).await.text).await["name"], "MundoTango: host");
    answer(&server, &made, &ana, "maybe").await;
    assert_eq!(only_event(&fetch(&server, &mine, None).await.text).await["status"], "TENTATIVE");
    answer(&server, &made, &ana, "going").await;
    for feed in feeds {
        let fetched = fetch(&server, feed, None).await;
        assert_eq!(fetched.status, StatusCode::OK);
        assert_eq!(fetched.headers["content-type"], "text/calendar; charset=utf-8");
        assert!(fetched.headers["cache-control"].to_str().unwrap().contains("private"));
        assert!(fetched.headers.contains_key("last-modified"));
        assert!(fetched.text.split("\r\n").all(|line| line.len() <= 75), "{}", fetched.text);
        let found = only_event(&fetched.text).await;
        let uid = format!("{id}@localhost");
        assert_eq!((&found["uid"], &found["sequence"]), (&json!(uid), &json!(0)));
        assert_eq!((&found["summary"], &found["status"]), (&json!(title), &json!("CONFIRMED")));
        assert_eq!((&found["start"], &found["end"]), (&made["eventDate"], &made["endDate"]));
        assert_eq!(
            (&found["zone"], &found["location"]),
            (&json!("Europe/Berlin"), &json!("Ballhaus, Auguststraße 24"))
        );
        let description = found["description"].as_str().unwrap();
        assert!(
            description.contains("10 €; socios") && description.ends_with(&format!("/events/{id}")),
            "{description}"
        );
    }

    let before = fetch(&server, &mine, None).await;
    let tag = before.headers["etag"].to_str().unwrap();
    let same = fetch(&server, &mine, Some(tag)).await;
    assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(same.headers["etag"], tag);
    let path = format!("/api/events/{id}");
    let patch = async |change: Value| {
        let (status, changed) = server.call(Method::PATCH, &path, Some(&host.token), Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{changed}");
        changed
    };
    patch(json!({"title": "Gran Milonga"})).await;
    let renamed = fetch(&server, &mine, Some(tag)).await;
    let found = only_event(&renamed.text).await;
    assert_eq!((&found["summary"], &found["sequence"]), (&json!("Gran Milonga"), &json!(0)));

    // Over the change of the clocks, to where the other offset holds.
    let times = json!({"eventDate": format!("{other_day}T22:00"), "endDate": format!("{other_day}T23:59")});
    let moved = patch(times).await;
    for feed in feeds {
        let found = only_event(&fetch(&server, feed, None).await.text).await;
        assert_eq!((&found["sequence"], &found["start"]), (&json!(1), &moved["eventDate"]));
        assert_eq!(found["uid"], format!("{id}@localhost"), "it is the same event");
    }
    let reason = json!({"reason": "The hall is flooded."});
    assert_eq!(server.post(&format!("{path}/cancel"), &host, reason).await.0, StatusCode::OK);
    for feed in feeds {
        let found = only_event(&fetch(&server, feed, None).await.text).await;
        assert_eq!((&found["sequence"], &found["status"]), (&json!(2), &json!("CANCELLED")));
        assert_eq!(found["summary"], "Cancelled: Gran Milonga");
        assert!(found["description"].as_str().unwrap().starts_with("The hall is flooded.\n\n"), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_both_sides_of_a_change_of_the_clocks_are_at_their_times() {
    let server = Server::start().await;
    let (ana, host) = (server.register("ana").await, server.register("host").await);
    let (_, feed) = subscribe(&server, &ana, json!({"kind": "host", "hostId": host.id})).await;
    let mut wanted = Vec::new();
    for (number, zone) in [
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "America/Santiago",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "UTC",
    ]
    .into_iter()
    .enumerate()
    {
        for month in 0..11 {
            let date = day(15 + 30 * month);
            let body = json!({
                "title": format!("{number} {month}"), "eventDate": format!("{date}T21:30"), "timeZone": zone,
                "location": "Club", "eventType": "class",
            });
            let (status, event) = server.post("/api/events", &host, body).await;
            assert_eq!(status, StatusCode::CREATED, "{event}");
            wanted.push((event["title"].clone(), event["eventDate"].clone()));
        }
    }
    let read = read(&fetch(&server, &feed, None).await.text).await;
    let mut found: Vec<_> = read["events"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), wanted.len());
    found.sort_by_key(|event| event["summary"].as_str().unwrap().to_owned());
    wanted.sort_by_key(|(title, _)| title.as_str().unwrap().to_owned());
    for (found, (title, start)) in found.iter().zip(&wanted) {
        assert_eq!((&found["summary"], &found["start"]), (title, start), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_opens_a_calendar_until_it_is_another_or_its_user_is_locked_out() {
    let settings = [("HTTP__API_KEY", API_KEY), ("LOG__FILTER", "debug")];
    let server = Server::start_with(&settings).await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (id, first) = subscribe(&server, &ana, json!({"kind": "mine"})).await;
    let status = async |path: &str| fetch(&server, path, None).await.status;
    assert_eq!(status(&first).await, StatusCode::OK);

    let rotate = format!("/api/calendars/{id}/rotate");
    assert_eq!(server.post(&rotate, &ben, json!({})).await.0, StatusCode::NOT_FOUND, "it is not Ben's");
    let (_, rotated) = server.call(Method::POST, &rotate, Some(&ana.token), None).await;
    let second = path_of(&rotated);
    assert_eq!((status(&first).await, status(&second).await), (StatusCode::NOT_FOUND, StatusCode::OK));
    assert!(rotated["rotatedAt"].is_string() && rotated["id"] == id, "{rotated}");

    server.api("block_user", json!({"user": ana.id})).await;
    let locked_out = fetch(&server, &second, None).await;
    assert_eq!(locked_out.status, StatusCode::NOT_FOUND);
    let never_was = fetch(&server, &second.replace(".ics", "A.ics"), None).await;
    assert_eq!(never_was.text, locked_out.text, "nobody learns which it is");
    server.api("unblock_user", json!({"user": ana.id})).await;
    assert_eq!(status(&second).await, StatusCode::OK);

    let (_, listed) = server.get("/api/calendars", &ana).await;
    let text = listed.to_string();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["kind"]), (&json!(id), &json!("mine")));
    let secret = second.trim_start_matches("/api/calendars/feed/").trim_end_matches(".ics");
    assert!(!text.contains("url") && !text.contains("oken") && !text.contains(secret), "{text}");
    assert_eq!(server.get("/api/calendars", &ben).await.1["items"], json!([]));
    for path in [format!("/api/calendars/feed/{secret}"), "/api/calendars/feed/x.ics".to_owned()] {
        assert_eq!(status(&path).await, StatusCode::NOT_FOUND, "{path}");
    }

    let remove = format!("/api/calendars/{id}");
    let call = async |user: &User| server.call(Method::DELETE, &remove, Some(&user.token), None).await.0;
    assert_eq!(call(&ben).await, StatusCode::NOT_FOUND);
    assert_eq!(call(&ana).await, StatusCode::NO_CONTENT);
    assert_eq!(call(&ana).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&second).await, StatusCode::NOT_FOUND);
    let log = server.whole_log().await;
    assert!(log.contains("/api/calendars/feed/(hidden)"), "requests are in the log");
    assert!(!log.contains(secret), "what opens a calendar is not");
    let metrics = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("route=\"/api/calendars/feed/{token}\"") && !metrics.contains(secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calendars_are_bounded_in_number_and_in_how_often_they_are_fetched() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    for number in 0..20 {
        subscribe(&server, &ana, json!({"kind": "city", "city": format!("City {number}")})).await;
    }
    let (status, problem) = server.post("/api/calendars", &ana, json!({"kind": "mine"})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("full")));
    let (_, page) = server.get("/api/calendars?limit=15", &ana).await;
    let rest = format!("/api/calendars?limit=15&cursor={}", page["nextCursor"].as_str().unwrap());
    let (_, rest) = server.get(&rest, &ana).await;
    assert_eq!((page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (15, 5));

    let id = page["items"][0]["id"].as_str().unwrap();
    let (_, rotated) = server.post(&format!("/api/calendars/{id}/rotate"), &ana, json!({})).await;
    let path = path_of(&rotated);
    let mut statuses = Vec::new();
    for _ in 0..70 {
        statuses.push(fetch(&server, &path, None).await.status);
    }
    assert_eq!((statuses[59], statuses[69]), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));

    for (body, field) in [
        (json!({"kind": "host"}), "hostId"),
        (json!({"kind": "city"}), "city"),
        (json!({"kind": "mine", "city": "Rosario"}), "city"),
        (json!({"kind": "mine", "hostId": ana.id}), "hostId"),
    ] {
        let (status, problem) = server.post("/api/calendars", &ana, body.clone()).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{body}"
        );
    }
    let nobody = json!({"kind": "host", "hostId": "01a22267-5695-774a-9335-497936266a2f"});
    assert_eq!(server.post("/api/calendars", &ana, nobody).await.0, StatusCode::NOT_FOUND);
    let without_account = server.user("x", "user");
    assert_eq!(
        server.post("/api/calendars", &without_account, json!({"kind": "mine"})).await.0,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_can_be_downloaded() {
    let server = Server::start().await;
    let (ana, host) = (server.register("ana").await, server.register("host").await);
    let made = event(&server, &host, "Milonga", "Berlin", &day(10)).await;
    let id = made["id"].as_str().unwrap();
    let url = server.url(&format!("/api/events/{id}/calendar.ics"));
    let answer = server.http.get(&url).bearer_auth(&ana.token).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], "inline; filename=\"event.ics\"");
    let found = only_event(&answer.text().await.unwrap()).await;
    assert_eq!((&found["uid"], &found["start"]), (&json!(format!("{id}@localhost")), &made["eventDate"]));
    assert_eq!(server.http.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let none = server.get("/api/events/01a22267-5695-774a-9335-497936266a2f/calendar.ics", &ana).await;
    assert_eq!(none.0, StatusCode::NOT_FOUND);
}

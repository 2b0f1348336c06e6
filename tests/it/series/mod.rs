//! Series of events, as their hosts and guests meet them.

mod calendar;
mod hosts;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, User, until};

const SERIES: &str = "/api/events/series";
const VENUE: &str = "America/Argentina/Buenos_Aires";

/// A weekly milonga from Friday, 4 May 2040 on.
fn milonga(city: &str) -> Value {
    json!({
        "title": "Milonga", "eventDate": "2040-05-04T21:00", "endDate": "2040-05-05T03:00", "timeZone": VENUE,
        "location": {"text": "La Viruta", "city": city}, "eventType": "milonga", "capacity": 20,
        "repeats": {"frequency": "weekly", "count": 8},
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn path(series: &Value) -> String {
    format!("{SERIES}/{}", series["id"].as_str().unwrap())
}

fn event_path(date: &Value) -> String {
    format!("/api/events/{}", date["eventId"].as_str().unwrap())
}

async fn give(server: &Server, host: &User, body: Value) -> Value {
    let (status, series) = server.post(SERIES, host, body).await;
    assert_eq!(status, StatusCode::CREATED, "{series}");
    series
}

async fn patch(server: &Server, user: &User, path: &str, change: Value) -> (StatusCode, Value) {
    server.call(Method::PATCH, path, Some(&user.token), Some(change)).await
}

/// Waits until all events of a series are as it says; the series then.
async fn settled(server: &Server, user: &User, path: &str) -> Value {
    until(&format!("{path} is settled"), async || {
        let (status, series) = server.get(path, user).await;
        (status == StatusCode::OK && series["isSettled"] == true).then_some(series)
    })
    .await
}

/// All dates of a series, page by page.
async fn dates(server: &Server, user: &User, path: &str) -> Vec<Value> {
    let (mut all, mut query) = (Vec::new(), String::new());
    loop {
        let (status, page) = server.get(&format!("{path}/dates?limit=7{query}"), user).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["nextCursor"].as_str() else { return all };
        query = format!("&cursor={cursor}");
    }
}

fn fields<'a>(dates: &'a [Value], field: &str) -> Vec<&'a Value> {
    dates.iter().map(|date| &date[field]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_series_is_announced_once_and_its_dates_are_events() {
    let server = Server::start().await;
    let (host, ana) = (server.register("host").await, server.user("ana", "user"));
    let mut listener = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "events:all").await;
    let series = give(&server, &host, milonga("Rosario")).await;
    assert_eq!((&series["host"]["username"], &series["timeZone"]), (&json!("host"), &json!(VENUE)));
    let times = [&series["startTime"], &series["endTime"], &series["endDay"], &series["firstDate"]];
    assert_eq!(times, [&json!("21:00"), &json!("03:00"), &json!(1), &json!("2040-05-04")]);
    assert_eq!(series["repeats"]["weekdays"], json!(["friday"]));
    assert_eq!(series["renewedUntil"], "2041-05-04");
    let next = series["nextDates"].as_array().unwrap();
    assert_eq!((next.len(), &next[0]["originalStart"]), (8, &json!("2040-05-04T21:00:00")));

    let (_, event) = server.get(&event_path(&next[1]), &ana).await;
    for (field, value) in [
        ("seriesId", &series["id"]),
        ("originalStart", &json!("2040-05-11T21:00:00")),
        ("localEnd", &json!("2040-05-12T03:00:00")),
        ("title", &json!("Milonga")),
        ("capacity", &json!(20)),
        ("host", &series["host"]),
    ] {
        assert_eq!(&event[field], value, "{field}");
    }
    let (_, listed) = server.get("/api/events?city=rosario", &ana).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 8);
    let listed = dates(&server, &ana, &path(&series)).await;
    assert_eq!(fields(&listed, "eventId"), fields(next, "eventId"));
    assert!(listed.iter().all(|date| date["state"] == "made" && date["event"]["seriesId"] == series["id"]));

    let alone =
        json!({"title": "T", "eventDate": "2040-01-01T20:00:00Z", "location": "L", "eventType": "class"});
    let (_, alone) = server.post("/api/events", &host, alone).await;
    assert_eq!((&alone["seriesId"], &alone["originalStart"]), (&Value::Null, &Value::Null));
    let told = listener.publication().await;
    assert_eq!((&told["type"], &told["series"]["id"]), (&json!("series.created"), &series["id"]));
    assert_eq!(&told["dates"], &series["nextDates"], "the first dates are told with it");
    assert_eq!(listener.publication().await["type"], "event.created", "and no date alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_wrong_with_a_series_is_named() {
    let server = Server::start().await;
    let host = server.user("host", "user");
    let repeats = |repeats: Value| with(milonga("Rosario"), "repeats", repeats);
    for (body, wrong) in [
        (repeats(json!({})), "repeats.frequency"),
        (repeats(json!({"frequency": "yearly"})), "repeats.frequency"),
        (repeats(json!({"frequency": "daily", "weekdays": ["friday"]})), "repeats.weekdays"),
        (repeats(json!({"frequency": "weekly", "weekdays": []})), "repeats.weekdays"),
        (repeats(json!({"frequency": "weekly", "weekdays": ["friyay"]})), "repeats.weekdays.0"),
        (repeats(json!({"frequency": "weekly", "dayOfMonth": 4})), "repeats.dayOfMonth"),
        (repeats(json!({"frequency": "monthly", "dayOfMonth": 32})), "repeats.dayOfMonth"),
        (
            repeats(json!({"frequency": "monthly", "weekdayOfMonth": {"nth": 0, "weekday": "friday"}})),
            "repeats.weekdayOfMonth.nth",
        ),
        (repeats(json!({"frequency": "daily", "interval": 0})), "repeats.interval"),
        (repeats(json!({"frequency": "daily", "count": 367})), "repeats.count"),
        (repeats(json!({"frequency": "daily", "count": 3, "until": "2040-06-01"})), "repeats.count"),
        (repeats(json!({"frequency": "daily", "until": "1 June"})), "repeats.until"),
        (repeats(json!({"frequency": "daily", "except": ["2040-06-01T21:00"]})), "repeats.except.0"),
        // The first date is none of the rule's.
        (repeats(json!({"frequency": "weekly", "weekdays": ["tuesday"]})), "eventDate"),
        (repeats(json!({"frequency": "daily", "except": ["2040-05-04"]})), "eventDate"),
        (repeats(json!({"frequency": "daily", "until": "2040-05-01"})), "eventDate"),
        (with(milonga("Rosario"), "endDate", json!("2040-06-04T03:00")), "endDate"),
        (with(milonga("Rosario"), "eventDate", json!("2020-05-01T21:00")), "endDate"),
    ] {
        let (status, problem) = server.post(SERIES, &host, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"], wrong, "{body}: {problem}");
    }
    let series = give(&server, &host, milonga("Rosario")).await;
    let path = path(&series);
    for (change, wrong) in [
        (json!({"endDay": 1}), "endDay"),
        (json!({"startTime": "25:00"}), "startTime"),
        (json!({"endTime": "20:00", "endDay": 0}), "endTime"),
        (json!({"from": "2040-05-05T21:00:00", "title": "x"}), "from"),
        (json!({"from": "tomorrow", "title": "x"}), "from"),
        (json!({"repeats": {"frequency": "daily", "until": "2020-01-01"}}), "repeats"),
        (json!({"capacity": 0}), "capacity"),
    ] {
        let (status, problem) = patch(&server, &host, &path, change.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{change}: {problem}");
        assert_eq!(problem["errors"][0]["field"], wrong, "{change}: {problem}");
    }
    let stranger = server.user("stranger", "user");
    for (method, path, body) in [
        (Method::PATCH, path.clone(), json!({"title": "x"})),
        (Method::POST, format!("{path}/cancel"), json!({})),
        (Method::POST, format!("{path}/renew"), json!({})),
    ] {
        let (status, _) = server.call(method, &path, Some(&stranger.token), Some(body)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    for path in [format!("{SERIES}/none"), format!("{SERIES}/none/dates")] {
        assert_eq!(server.get(&path, &host).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t18_one_date_may_differ_and_all_change_together() {
    let server = Server::start().await;
    let (host, ana) = (server.user("host", "user"), server.user("ana", "user"));
    let series = give(&server, &host, milonga("Rosario")).await;
    let (path, next) = (path(&series), series["nextDates"].as_array().unwrap());
    let gala = event_path(&next[2]);
    server.post(&format!("{gala}/rsvp"), &ana, json!({})).await;
    let (status, _) =
        patch(&server, &host, &gala, json!({"title": "Gala", "eventDate": "2040-05-19T22:30"})).await;
    assert_eq!(status, StatusCode::OK);
    let noted = until("the series knows of it", async || {
        let listed = dates(&server, &ana, &path).await;
        (listed[2]["ownFields"] == json!(["title", "time"])).then_some(listed)
    });
    assert_eq!(noted.await[2]["originalStart"], "2040-05-18T21:00:00", "its name stays");

    let change = json!({"title": "Práctica", "startTime": "20:00", "description": "Bring shoes."});
    let (status, changed) = patch(&server, &host, &path, change).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!((&changed["id"], &changed["title"]), (&series["id"], &json!("Práctica")));
    settled(&server, &host, &path).await;
    let after = dates(&server, &ana, &path).await;
    assert_eq!(fields(&after, "eventId"), fields(next, "eventId"));
    for (number, date) in after.iter().enumerate() {
        let event = &date["event"];
        let day = date["originalStart"].as_str().unwrap().split('T').next().unwrap();
        let (title, start) = if number == 2 {
            ("Gala", "2040-05-19T22:30:00".to_owned())
        } else {
            ("Práctica", format!("{day}T20:00:00"))
        };
        assert_eq!((&event["title"], &event["localStart"]), (&json!(title), &json!(start)), "{number}");
        assert_eq!(event["description"], "Bring shoes.");
    }
    assert_eq!(after[2]["event"]["counts"]["going"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_this_and_following_keep_their_events_and_answers() {
    let server = Server::start().await;
    let (host, ana) = (server.user("host", "user"), server.user("ana", "user"));
    let series = give(&server, &host, milonga("Rosario")).await;
    let (old, next) = (path(&series), series["nextDates"].as_array().unwrap());
    server.post(&format!("{}/rsvp", event_path(&next[5])), &ana, json!({})).await;
    server.call(Method::PUT, &format!("{old}/attendance"), Some(&host.token), None).await;
    let from = &next[3]["originalStart"];
    let change = json!({"from": from, "startTime": "22:00", "repeats": {"frequency": "weekly", "weekdays": ["saturday"], "count": 5}});
    let request = server.http.patch(server.url(&old)).bearer_auth(&host.token);
    let request = request.header("idempotency-key", "once").json(&change);
    let divided: Value = request.try_clone().unwrap().send().await.unwrap().json().await.unwrap();
    assert_eq!((&divided["continues"], &divided["startTime"]), (&series["id"], &json!("22:00")), "{divided}");
    let again: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(again["id"], divided["id"]);
    let new = path(&divided);
    let (rest, before) = (settled(&server, &host, &new).await, settled(&server, &host, &old).await);
    assert_eq!((&before["continuedBy"], &rest["attending"]), (&divided["id"], &json!(true)));
    let (before, after) = (dates(&server, &ana, &old).await, dates(&server, &ana, &new).await);
    let events = [fields(&before, "eventId"), fields(&after, "eventId")].concat();
    assert_eq!(events, fields(next, "eventId"));
    assert_eq!(after[0]["originalStart"], "2040-05-26T22:00:00");
    for date in &after {
        assert_eq!(
            (&date["event"]["seriesId"], &date["originalStart"]),
            (&divided["id"], &date["event"]["localStart"])
        );
    }
    let attendees = format!("{}/attendees", event_path(&next[5]));
    until("both have answered", async || {
        let (_, answers) = server.get(&attendees, &ana).await;
        let users = fields(answers["items"].as_array().unwrap(), "userId");
        (users == [&json!("ana"), &json!("host")]).then_some(())
    })
    .await;
    let (_, told) = server.get(&event_path(&next[5]), &ana).await;
    assert_eq!(told["seriesId"], divided["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_date_the_rest_or_all_can_be_cancelled() {
    let server = Server::start().await;
    let (host, ana) = (server.user("host", "user"), server.user("ana", "user"));
    let series = give(&server, &host, milonga("Rosario")).await;
    let (path, next) = (path(&series), series["nextDates"].as_array().unwrap());
    server.post(&format!("{}/rsvp", event_path(&next[6])), &ana, json!({})).await;
    server.post(&format!("{}/cancel", event_path(&next[1])), &host, json!({})).await;
    until("the series knows of it", async || {
        let listed = dates(&server, &ana, &path).await;
        (listed[1]["state"] == "cancelled").then_some(())
    })
    .await;
    let end = json!({"from": next[5]["originalStart"], "reason": "The hall is flooded."});
    let (status, ended) = server.post(&format!("{path}/cancel"), &host, end).await;
    assert_eq!((status, &ended["cancelledAt"]), (StatusCode::OK, &Value::Null), "{ended}");
    settled(&server, &host, &path).await;
    let (_, event) = server.get(&event_path(&next[6]), &ana).await;
    assert_eq!(event["cancelReason"], "The hall is flooded.");
    until("who answered is told", async || {
        let (_, page) = server.get("/api/notifications", &ana).await;
        let told = |one: &Value| one["kind"] == "seriesCancelled" && one["thing"] == series["id"];
        page["items"].as_array().unwrap().iter().any(told).then_some(())
    })
    .await;
    let (_, listed) = server.get("/api/events?city=Rosario", &ana).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 4);
    let (status, _) = server.post(&format!("{path}/cancel"), &host, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let ended = settled(&server, &host, &path).await;
    assert!(ended["cancelledAt"].is_string() && ended["nextDates"] == json!([]), "{ended}");
    let (_, listed) = server.get("/api/events?city=Rosario", &ana).await;
    assert_eq!(listed["items"], json!([]));
    for (method, path) in
        [(Method::PUT, format!("{path}/attendance")), (Method::POST, format!("{path}/renew"))]
    {
        let (status, problem) = server.call(method, &path, Some(&host.token), None).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("over")), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_always_coming_is_an_answer_to_each_date() {
    let server = Server::start().await;
    let (host, ana) = (server.user("host", "user"), server.user("ana", "user"));
    let series = give(&server, &host, milonga("Rosario")).await;
    let (path, next) = (path(&series), series["nextDates"].as_array().unwrap());
    server.post(&format!("{}/rsvp", event_path(&next[2])), &ana, json!({"status": "declined"})).await;
    let attendance = format!("{path}/attendance");
    for _ in 0..2 {
        let (status, _) = server.call(Method::PUT, &attendance, Some(&ana.token), None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    let going = async || {
        let listed = dates(&server, &ana, &path).await;
        listed.iter().map(|date| date["event"]["counts"]["going"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    until("all but one are answered", async || (going().await == [1, 1, 0, 1, 1, 1, 1, 1]).then_some(()))
        .await;
    let (_, seen) = server.get(&path, &ana).await;
    assert_eq!((&seen["attending"], &seen["alwaysComing"]), (&json!(true), &json!(1)));
    // The rule gives two more, which are answered by themselves.
    let longer = json!({"repeats": {"frequency": "weekly", "weekdays": ["friday"], "count": 10}});
    patch(&server, &host, &path, longer).await;
    let all = [1, 1, 0, 1, 1, 1, 1, 1, 1, 1];
    until("new dates are answered", async || (going().await == all).then_some(())).await;
    let (status, _) = server.call(Method::DELETE, &attendance, Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, seen) = server.get(&path, &ana).await;
    assert_eq!((&seen["attending"], &seen["alwaysComing"]), (&json!(false), &json!(0)));
    let (_, told) = server.get("/api/notifications", &host).await;
    assert_eq!(told["items"], json!([]), "the host is not told of each date");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_user_has_twenty_series_that_go_on() {
    let server = Server::start().await;
    let host = server.user("host", "user");
    let body = || with(milonga("Rosario"), "repeats", json!({"frequency": "monthly", "count": 1}));
    let first = give(&server, &host, body()).await;
    for _ in 1..20 {
        give(&server, &host, body()).await;
    }
    let (status, problem) = server.post(SERIES, &host, body()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("full")), "{problem}");
    server.post(&format!("{}/cancel", path(&first)), &host, json!({})).await;
    give(&server, &host, body()).await;
    let (status, renewed) = server.post(&format!("{}/renew", path(&first)), &host, json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{renewed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_at_any_moment_leaves_no_twins_and_no_holes() {
    let mut server = Server::start().await;
    let (host, root) = (server.user("host", "user"), server.user("root", "admin"));
    let daily = json!({"frequency": "daily", "count": 100});
    let series = give(&server, &host, with(milonga("Rosario"), "repeats", daily)).await;
    let old = path(&series);
    server.signal("KILL");
    server.wait_for_end().await;
    server.start_again().await;
    settled(&server, &host, &old).await;
    let before = dates(&server, &host, &old).await;
    assert_eq!(before.len(), 100);

    // Divided, and nothing of it done.
    let queue = "/api/admin/jobs/queues/series";
    let (status, _) = patch(&server, &root, queue, json!({"paused": true})).await;
    assert_eq!(status, StatusCode::OK);
    let change = json!({"from": before[40]["originalStart"], "title": "Marathon", "startTime": "20:00"});
    let (status, divided) = patch(&server, &host, &old, change).await;
    assert_eq!((status, &divided["isSettled"]), (StatusCode::OK, &json!(false)), "{divided}");
    server.signal("KILL");
    server.wait_for_end().await;
    server.start_again().await;
    let (status, problem) = patch(&server, &host, &old, json!({"title": "x"})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    patch(&server, &root, queue, json!({"paused": false})).await;
    // And again while it is done.
    let new = path(&divided);
    until("some dates are there", async || (dates(&server, &host, &new).await.len() > 20).then_some(()))
        .await;
    server.signal("KILL");
    server.wait_for_end().await;
    server.start_again().await;
    settled(&server, &host, &old).await;
    settled(&server, &host, &new).await;
    let (kept, rest) = (dates(&server, &host, &old).await, dates(&server, &host, &new).await);
    assert_eq!((kept.len(), rest.len()), (40, 60));
    let events = [fields(&kept, "eventId"), fields(&rest, "eventId")].concat();
    assert_eq!(events, fields(&before, "eventId"));
    for date in &rest {
        let event = &date["event"];
        assert_eq!((&event["title"], &event["seriesId"]), (&json!("Marathon"), &divided["id"]), "{date}");
        assert!(event["localStart"].as_str().unwrap().ends_with("T20:00:00"), "{date}");
    }
    let (_, listed) = server.get("/api/events?city=Rosario&limit=100", &host).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 100);
    // What is behind them are places in the list where dates were before.
    if let Some(cursor) = listed["nextCursor"].as_str() {
        let (_, rest) =
            server.get(&format!("/api/events?city=Rosario&limit=100&cursor={cursor}"), &host).await;
        assert_eq!((&rest["items"], &rest["nextCursor"]), (&json!([]), &Value::Null));
    }
}

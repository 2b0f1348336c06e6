//! Analytics on a whole server: from a client's batch to an admin's figures.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{Server, User, until};

const EVENTS: &str = "/api/analytics/events";
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
const CRAWLER: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The beginning of a UTC day.
fn midnight(days_ago: i32) -> Timestamp {
    let day = (Timestamp::now() - HOUR * (24 * days_ago)).as_second().div_euclid(86_400);
    Timestamp::from_second(day * 86_400).unwrap()
}

/// An event whose id was made at a time.
fn event(time: Timestamp, number: usize, name: &str) -> Value {
    let millis = format!("{:012x}", time.as_millisecond());
    let id = format!("{}-{}-7000-8000-{number:012x}", &millis[..8], &millis[8..]);
    json!({"id": id, "kind": "page_view", "name": name, "path": format!("/posts/{number}")})
}

/// Sends events, as a user or nobody, with headers; the answer.
async fn send(server: &Server, user: Option<&User>, headers: &[(&str, &str)], events: &[Value]) -> Value {
    let mut request = server.http.post(server.url(EVENTS)).json(&json!({"events": events}));
    if let Some(user) = user {
        request = request.bearer_auth(&user.token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body = answer.json().await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    body
}

async fn figures(server: &Server, root: &User, query: &str) -> Value {
    let (status, answer) = server.get(&format!("/api/admin/analytics/{query}"), root).await;
    assert_eq!(status, StatusCode::OK, "{query}: {answer}");
    answer
}

/// A field of each point of a series.
async fn series(server: &Server, root: &User, query: &str, field: &str) -> Vec<Value> {
    let answer = figures(server, root, &format!("series?{query}")).await;
    answer["points"].as_array().unwrap().iter().map(|point| point[field].clone()).collect()
}

/// What became of events on this node so far.
async fn outcome(server: &Server, outcome: &str) -> u64 {
    let text = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let name = format!("analytics_events_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
}

/// Waits until so many events were counted and found to be there already.
async fn settled(server: &Server, counted: u64, duplicates: u64) {
    until(&format!("{counted} events are counted, and {duplicates} had been"), async || {
        let seen = (outcome(server, "counted").await, outcome(server, "duplicate").await);
        assert!(seen.0 <= counted, "{seen:?}");
        (seen == (counted, duplicates)).then_some(())
    })
    .await;
}

/// Probe A11, over HTTP: the events are three days late when they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t49_a_day_sent_twice_and_shuffled_counts_once_and_bots_are_apart() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let users: Vec<_> = (0..6).map(|number| server.user(&format!("user-{number}"), "user")).collect();
    let begin = midnight(4);
    // Of each user 96 events, one a quarter of an hour; of a crawler as many.
    let of = |who: usize| -> Vec<Value> {
        let time = |quarter: usize| begin + SignedDuration::from_mins(15 * i64::try_from(quarter).unwrap());
        (0..96).map(|quarter| event(time(quarter), who * 1_000 + quarter, "home")).collect()
    };
    let mut batches: Vec<_> = (0..7)
        .flat_map(|who| of(who).chunks(32).map(|some| (who, some.to_vec())).collect::<Vec<_>>())
        .collect();
    batches.extend(batches.clone());
    batches.shuffle(&mut StdRng::seed_from_u64(49));
    for (who, events) in &mut batches {
        events.shuffle(&mut StdRng::seed_from_u64(49));
        let user = users.get(*who);
        let agent = if user.is_some() { BROWSER } else { CRAWLER };
        let answer = send(&server, user, &[("user-agent", agent)], events).await;
        assert_eq!(answer, json!({"accepted": events.len(), "refused": []}));
    }
    settled(&server, 7 * 96, 7 * 96).await;
    let range = format!("from={begin}&to={}", begin + HOUR * 24);
    let day = format!("metric=events&step=day&{range}");
    assert_eq!(series(&server, &root, &day, "value").await, [6 * 96]);
    assert_eq!(series(&server, &root, &day, "bots").await, [96]);
    for metric in ["visitors", "members"] {
        let query = format!("metric={metric}&step=day&{range}");
        assert_eq!(series(&server, &root, &query, "value").await, [6], "{metric}: a crawler is no visitor");
    }
    let quarters = format!("metric=events&step=15m&{range}");
    assert_eq!(series(&server, &root, &quarters, "value").await, vec![json!(6); 96]);
    let top = figures(&server, &root, &format!("top?kind=page_view&by=path&{range}")).await;
    assert_eq!(top["groups"][0]["group"], "/posts/:id");
    assert_eq!(top["groups"][0]["events"], json!({"human": 6 * 96, "bot": 96, "unknown": 0}));
    assert!(top["definition"].as_str().unwrap().contains("each id once"), "{top}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t52_figures_are_those_of_the_zones_own_days() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let day = midnight(3);
    // Midnight in Tehran is at half past eight in the evening in UTC.
    let midnight_there = day + HOUR * 20 + SignedDuration::from_mins(30);
    let minute = SignedDuration::from_mins(1);
    let events = [
        event(midnight_there - minute, 1, "home"),
        event(midnight_there, 2, "home"),
        event(midnight_there + minute, 3, "home"),
    ];
    send(&server, Some(&root), &[], &events).await;
    settled(&server, 3, 0).await;
    let dates = day.to_zoned_datetime(TimeZone::UTC).date();
    let range = format!("from={dates}&to={}", dates.tomorrow().unwrap().tomorrow().unwrap());
    let query = format!("metric=events&step=day&zone=Asia/Tehran&{range}");
    assert_eq!(series(&server, &root, &query, "value").await, [1, 2]);
    let query = format!("metric=events&step=day&zone=UTC&{range}");
    assert_eq!(series(&server, &root, &query, "value").await, [3, 0]);

    let zone = TimeZone::get("America/New_York").unwrap();
    let change = zone.preceding(Timestamp::now() - HOUR * 48).next().unwrap().timestamp();
    let date = change.to_zoned_datetime(zone.clone()).date();
    let begin = date.to_zoned_datetime(zone.clone()).unwrap();
    let length = date.tomorrow().unwrap().to_zoned_datetime(zone).unwrap().duration_since(&begin).as_hours();
    assert!(length == 23 || length == 25, "{date}");
    let query =
        format!("metric=events&step=hour&zone=America/New_York&from={date}&to={}", date.tomorrow().unwrap());
    let labels = series(&server, &root, &query, "label").await;
    assert_eq!(labels.len(), usize::try_from(length).unwrap(), "{labels:?}");
    assert!(labels[0].as_str().unwrap().starts_with(&format!("{date}T00:00:00-0")), "{labels:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t54_of_who_objects_nothing_is_kept_and_reads_are_counted_by_the_server() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let now = Timestamp::now();
    let events = [event(now, 1, "home"), event(now, 2, "home")];
    for headers in [[("user-agent", BROWSER), ("sec-gpc", "1")], [("user-agent", BROWSER), ("dnt", "1")]] {
        let answer = send(&server, Some(&root), &headers, &events).await;
        assert_eq!(answer, json!({"accepted": 0, "refused": [], "notKept": "signal"}));
    }
    assert_eq!(outcome(&server, "opted_out").await, 4);
    send(&server, None, &[("user-agent", BROWSER)], &events[..1]).await;
    settled(&server, 1, 0).await;
    let range = format!("from={}&to={}", now - HOUR, now + HOUR);
    let values = series(&server, &root, &format!("metric=events&step=month&{range}"), "value").await;
    assert_eq!(values.iter().filter_map(Value::as_u64).sum::<u64>(), 1);

    let (status, _) = server.get("/api/posts", &root).await;
    assert_eq!(status, StatusCode::OK);
    until("the read is counted by its route", async || {
        let top = figures(&server, &root, &format!("top?kind=server_read&by=name&{range}")).await;
        let groups = top["groups"].as_array().unwrap();
        groups.iter().find(|group| group["group"] == "/api/posts").map(|group| {
            assert_eq!(group["events"], json!({"human": 0, "bot": 0, "unknown": 1}), "{top}");
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_a_kill_after_they_were_acknowledged() {
    let mut server = Server::start().await;
    let root = server.user("root", "admin");
    let begin = midnight(2);
    let events: Vec<_> = (0..100).map(|number| event(begin + HOUR, number, "home")).collect();
    for some in events.chunks(10) {
        send(&server, Some(&root), &[], some).await;
    }
    server.signal("KILL");
    server.wait_for_end().await;
    server.start_again().await;
    let query = format!("metric=events&step=day&from={begin}&to={}", begin + HOUR * 24);
    until("all are counted", async || {
        let counted = series(&server, &root, &query, "value").await[0].as_u64().unwrap();
        assert!(counted <= 100, "{counted}");
        (counted == 100).then_some(())
    })
    .await;
    // Sent again, as by a client that had no answer.
    for some in events.chunks(10) {
        send(&server, Some(&root), &[], some).await;
    }
    until("all had been counted", async || (outcome(&server, "duplicate").await >= 100).then_some(())).await;
    assert_eq!(series(&server, &root, &query, "value").await, [100]);
}

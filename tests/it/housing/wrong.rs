//! What cannot be meant is refused, with the fields that are wrong.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Town, day, fields};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_with_the_field() {
    let town = Town::start().await;
    let room = town.room().await;
    let path = format!("/api/housing/{}", room["id"].as_str().unwrap());
    let (bookings, nights) = (format!("{path}/bookings"), format!("{path}/nights"));
    let with = |field: &str, value: Value| {
        let mut listing = json!({"title": "T", "price": 45, "location": "L", "accommodationType": "room"});
        listing[field] = value;
        listing
    };
    let new = "/api/housing".to_owned();
    let (post, patch, put) = (Method::POST, Method::PATCH, Method::PUT);
    let cases = [
        (&post, &new, json!({}), vec!["accommodationType", "location", "price", "title"]),
        (&post, &new, with("price", json!(45.555)), vec!["price"]),
        (&post, &new, with("price", json!(-1)), vec!["price"]),
        (&post, &new, with("price", json!("45")), vec!["price"]),
        (&post, &new, with("currency", json!("XXX")), vec!["currency"]),
        (&post, &new, with("amenities", json!(["wifi", "pool"])), vec!["amenities.1"]),
        (&post, &new, with("photos", json!(["http://a.example/x.jpg"])), vec!["photos.0"]),
        (&post, &new, with("photos", json!(vec!["https://a.example/x.jpg"; 21])), vec!["photos"]),
        (&post, &new, with("maxGuests", json!(0)), vec!["maxGuests"]),
        (&post, &new, with("timeZone", json!("Mars/Olympus")), vec!["timeZone"]),
        (&patch, &path, json!({"minNights": 10, "maxNights": 5}), vec!["maxNights"]),
        (&patch, &path, json!({"price": 45.555}), vec!["price"]),
        (&patch, &path, json!({"currency": "JPY"}), vec!["currency"]),
        (&patch, &path, json!({"currency": "JPY", "price": 45.5}), vec!["price"]),
        (&patch, &path, json!({"status": "gone"}), vec!["status"]),
        (&put, &nights, json!({"from": day(1), "to": day(3)}), vec!["blocked"]),
        (&put, &nights, json!({"from": day(3), "to": day(3), "blocked": true}), vec!["to"]),
        (&put, &nights, json!({"from": day(-2), "to": day(3), "blocked": true}), vec!["from"]),
        (&put, &nights, json!({"from": day(540), "to": day(560), "blocked": true}), vec!["to"]),
        (&put, &nights, json!({"from": day(1), "to": day(3), "price": 1.005}), vec!["price"]),
        (&post, &bookings, json!({"from": "soon", "to": "later"}), vec!["from", "to"]),
        (&post, &bookings, json!({"from": day(5), "to": day(4)}), vec!["to"]),
        (&post, &bookings, json!({"from": day(-2), "to": day(4)}), vec!["from"]),
        (&post, &bookings, json!({"from": day(5), "to": day(8), "guests": 3}), vec!["guests"]),
    ];
    for (method, path, body, expected) in cases {
        let (status, problem) = town.call(method.clone(), path, &town.host, body.clone()).await;
        let is_own = path == &bookings && status == StatusCode::FORBIDDEN;
        let (status, problem) =
            if is_own { town.server.post(path, &town.ana, body.clone()).await } else { (status, problem) };
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {problem}");
        let mut wrong = fields(&problem);
        wrong.sort_unstable();
        assert_eq!(wrong, expected, "{method} {path} {body}: {problem}");
    }
    for (query, field) in [
        ("from=2030-01-01", "to"),
        ("to=2030-01-01", "from"),
        ("from=2030-01-02&to=2030-01-01", "to"),
        ("from=2030-01-01&to=2032-01-01", "to"),
        ("minPrice=x", "minPrice"),
        ("guests=51", "guests"),
        ("near=1,2", "near"),
        ("mine=yes", "mine"),
        ("accommodationType=castle", "accommodationType"),
    ] {
        let (status, problem) = town.server.get(&format!("/api/housing?{query}"), &town.ana).await;
        assert_eq!((status, fields(&problem)), (StatusCode::BAD_REQUEST, vec![field]), "{query}");
    }
    for query in ["", "?from=2030-01-01", "?from=2030-01-01&to=2031-01-03"] {
        let (status, problem) = town.server.get(&format!("{path}/availability{query}"), &town.ana).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
    }
}

/// Trap 29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_that_changed_is_told_before_anything_is_asked_for() {
    let town = Town::start().await;
    let room = town.room().await;
    let path = format!("/api/housing/{}", room["id"].as_str().unwrap());
    let prices = json!({"from": day(11), "to": day(12), "price": 60});
    let (status, _) = town.call(Method::PUT, &format!("{path}/nights"), &town.host, prices).await;
    assert_eq!(status, StatusCode::OK);
    let body = |total: Value| json!({"from": day(10), "to": day(13), "expectedTotal": total});
    let (status, problem) =
        town.server.post(&format!("{path}/bookings"), &town.ana, body(json!(136.5))).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("price_changed")));
    assert_eq!(
        (fields(&problem), &problem["errors"][0]["allowed"]),
        (vec!["expectedTotal"], &json!(["151"]))
    );
    assert_eq!(town.ids("/api/bookings", &town.ana).await, [Value::Null; 0]);
    let (status, booking) = town.server.post(&format!("{path}/bookings"), &town.ana, body(json!(151))).await;
    assert_eq!(status, StatusCode::CREATED, "{booking}");
    // What was agreed on stays, whatever the host does then.
    let (status, _) = town
        .call(Method::PATCH, &path, &town.host, json!({"price": 99, "cancellationPolicy": "strict"}))
        .await;
    assert_eq!(status, StatusCode::OK);
    let confirmed = town.done(&booking, "confirm", &town.host, json!({})).await;
    assert_eq!(
        (&confirmed["quote"]["total"], &confirmed["cancellationPolicy"]["name"]),
        (&json!(151), &json!("moderate"))
    );
}

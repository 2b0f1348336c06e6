//! Who sees where a place is, and who sees bookings and reviews.

use mundotango::community::location::Coordinates;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Town, page_of};
use crate::server::User;

const PLACE: Coordinates = Coordinates { latitude: -34.617, longitude: -58.371 };

fn point(listing: &Value) -> Coordinates {
    let degrees = |name: &str| listing["location"][name].as_f64().unwrap();
    Coordinates { latitude: degrees("latitude"), longitude: degrees("longitude") }
}

/// Trap 35.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_guests_of_confirmed_bookings_know_the_address() {
    let town = Town::start().await;
    let room = town.room().await;
    assert_eq!(
        (&room["location"]["text"], &room["location"]["isExact"]),
        (&json!("Defensa 755, 4B"), &json!(true))
    );
    let path = format!("/api/housing/{}", room["id"].as_str().unwrap());
    let booking = town.ask(&room, &town.ana, 10, 3).await;
    let admin = town.server.user("eva", "admin");
    let mut shown: Option<Coordinates> = None;
    for user in [&town.ana, &town.ben, &admin] {
        let list = town.get("/api/housing?near=-34.617,-58.371,5", user).await;
        for seen in [town.get(&path, user).await, list["items"][0].clone()] {
            let text = seen.to_string();
            assert!(!text.contains("Defensa") && !text.contains("Ring"), "{text}");
            assert_eq!(seen["location"]["city"], "Buenos Aires");
            let km = PLACE.distance_km(point(&seen));
            assert!((0.4..1.6).contains(&km), "{km} km");
            assert_eq!(*shown.get_or_insert(point(&seen)), point(&seen), "it is drawn once");
        }
    }
    assert_eq!(town.get(&page_of(&booking), &town.ana).await["place"], Value::Null);
    // A search around the place itself does not find it, and one around the shown point does.
    for (centre, found) in [(PLACE, 0), (shown.unwrap(), 1)] {
        let near = format!("/api/housing?near={},{},0.3", centre.latitude, centre.longitude);
        assert_eq!(town.ids(&near, &town.ben).await.len(), found, "{near}");
    }
    // Saying the same place again draws no other point.
    let again = json!({"location": {"text": "Defensa 755", "city": "Buenos Aires", "latitude": -34.617, "longitude": -58.371}});
    let (status, _) = town.call(Method::PATCH, &path, &town.host, again).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(point(&town.get(&path, &town.ben).await), shown.unwrap());

    town.done(&booking, "confirm", &town.host, json!({})).await;
    let seen = town.get(&path, &town.ana).await;
    assert_eq!((&seen["location"]["text"], &seen["checkIn"]), (&json!("Defensa 755"), &json!("Ring at 4B.")));
    assert_eq!(point(&seen), PLACE);
    assert_eq!(town.get(&page_of(&booking), &town.ana).await["place"]["location"]["text"], "Defensa 755");
    assert_eq!(town.get(&path, &town.ben).await["location"]["isExact"], false);
    town.done(&booking, "cancel", &town.ana, json!({})).await;
    assert_eq!(town.get(&page_of(&booking), &town.ana).await["place"], Value::Null);
    assert!(town.get(&page_of(&booking), &town.host).await["place"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_is_between_two_people() {
    let town = Town::start().await;
    let room = town.room().await;
    let booking = town.ask(&room, &town.ana, 10, 3).await;
    let (status, _) = town.server.get(&page_of(&booking), &town.ben).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let offer = json!({"from": "2040-05-01", "to": "2040-05-03"});
    let review = json!({"rating": 5, "text": "x"});
    let refused = async |action: &str, user: &User, body: &Value| {
        town.act(&booking, action, user, body.clone()).await.0
    };
    for (action, body, guest) in [
        ("confirm", &json!({}), false),
        ("decline", &json!({}), false),
        ("counter", &offer, false),
        ("no-show", &json!({}), false),
        ("accept", &json!({}), true),
        ("cancel", &json!({}), true),
        ("reviews", &review, true),
    ] {
        assert_eq!(refused(action, &town.ben, body).await, StatusCode::NOT_FOUND, "{action}");
        if !guest {
            assert_eq!(refused(action, &town.ana, body).await, StatusCode::FORBIDDEN, "{action}");
        }
    }
    let path = format!("/api/housing/{}", room["id"].as_str().unwrap());
    let (status, _) = town.call(Method::PATCH, &path, &town.ana, json!({"price": 1})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let own = format!("{path}/bookings");
    let (status, _) =
        town.server.post(&own, &town.host, json!({"from": super::day(3), "to": super::day(4)})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "nobody books the own place");
    assert_eq!(town.ids("/api/bookings", &town.ben).await, [Value::Null; 0]);
    // Trap 31: a side whose account is not there leaves the booking readable.
    let stranger = town.server.user("01a22267-0000-7000-8000-000000000000", "user");
    let gone = town.ask(&room, &stranger, 20, 3).await;
    let seen = town.get(&page_of(&gone), &town.host).await;
    assert_eq!((&seen["guest"], &seen["guestId"]), (&Value::Null, &json!(stranger.id)));
    town.done(&gone, "decline", &town.host, json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_place_is_found_by_its_host_alone() {
    let town = Town::start().await;
    let room = town.room().await;
    let path = format!("/api/housing/{}", room["id"].as_str().unwrap());
    let (_, paused) = town.call(Method::PATCH, &path, &town.host, json!({"status": "paused"})).await;
    assert_eq!(paused["status"], "paused");
    assert_eq!(town.ids("/api/housing", &town.ana).await, [Value::Null; 0]);
    assert_eq!(town.ids("/api/housing?mine=true", &town.ana).await, [Value::Null; 0]);
    assert_eq!(town.ids("/api/housing?mine=true", &town.host).await, [room["id"].clone()]);
    let body = json!({"from": super::day(3), "to": super::day(4)});
    let (status, _) = town.server.post(&format!("{path}/bookings"), &town.ana, body).await;
    assert_eq!(status, StatusCode::CONFLICT);
    town.call(Method::PATCH, &path, &town.host, json!({"status": "active"})).await;
    for (query, found) in [
        ("city=buenos%20aires", 1),
        ("city=Rosario", 0),
        ("accommodationType=room", 1),
        ("accommodationType=house", 0),
        ("minPrice=45.5&maxPrice=45.5", 1),
        ("minPrice=45.51", 0),
        ("currency=USD", 0),
        ("guests=2", 1),
        ("guests=3", 0),
        ("q=MILONGAS%20telmo", 1),
        ("q=palermo", 0),
    ] {
        assert_eq!(town.ids(&format!("/api/housing?{query}"), &town.ana).await.len(), found, "{query}");
    }
}

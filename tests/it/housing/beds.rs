//! Places to stay for who comes to an event.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Town, day, room_body};

impl Town {
    /// An event of three nights from so many days from now on.
    async fn festival(&self, from: i64, location: Value) -> String {
        let event = json!({
            "title": "Festival", "eventDate": format!("{}T20:00", day(from)), "endDate": format!("{}T04:00", day(from + 3)),
            "eventType": "festival", "location": location, "timeZone": super::ZONE,
        });
        let (status, event) = self.server.post("/api/events", &self.ben, event).await;
        assert_eq!(status, StatusCode::CREATED, "{event}");
        event["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beds_for_an_event_are_near_it_and_free_on_all_of_its_nights() {
    let town = Town::start().await;
    let (near, busy) = (town.room().await, town.room().await);
    let mut elsewhere = room_body();
    elsewhere["location"] =
        json!({"text": "Plaza Moreno", "city": "La Plata", "latitude": -34.92, "longitude": -57.95});
    let (status, elsewhere) = town.server.post("/api/housing", &town.host, elsewhere).await;
    assert_eq!(status, StatusCode::CREATED, "{elsewhere}");
    // The last night of the festival is somebody's.
    let booking = town.ask(&busy, &town.ben, 12, 2).await;
    town.done(&booking, "confirm", &town.host, json!({})).await;

    let venue = json!({"text": "La Viruta", "latitude": -34.6, "longitude": -58.43});
    let event = town.festival(10, venue).await;
    let beds = |event: &str, more: &str| format!("/api/housing?event={event}{more}");
    assert_eq!(town.ids(&beds(&event, ""), &town.ana).await, [near["id"].clone()]);
    let later = format!("&from={}&to={}", day(20), day(22));
    let both = [busy["id"].clone(), near["id"].clone()];
    assert_eq!(
        town.ids(&beds(&event, &later), &town.ana).await,
        both,
        "other nights count before the event's"
    );
    assert_eq!(town.ids(&beds(&event, "&city=La%20Plata"), &town.ana).await, [elsewhere["id"].clone()]);
    assert_eq!(town.ids(&beds(&event, "&guests=40"), &town.ana).await, Vec::<Value>::new());

    let of_city = town.festival(10, json!({"text": "A hall", "city": "la plata"})).await;
    assert_eq!(town.ids(&beds(&of_city, ""), &town.ana).await, [elsewhere["id"].clone()]);
    let nowhere = town.festival(10, json!({"text": "A hall"})).await;
    let (status, problem) = town.server.get(&beds(&nowhere, ""), &town.ana).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("event")));
    let none = town.server.get(&beds("01a22267-5695-774a-9335-497936266a2f", ""), &town.ana).await;
    assert_eq!(none.0, StatusCode::NOT_FOUND);
}

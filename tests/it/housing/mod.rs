//! Places to stay, through REST: the journey of a stay, who sees what, and what cannot be meant.

mod beds;
mod calendar;
mod journey;
mod privacy;
mod reviews;
mod wrong;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, User};

/// The zone of the places.
const ZONE: &str = "America/Argentina/Buenos_Aires";

/// Good bodies of the routes of housing. What they lead to need not be there: bodies are read first.
pub fn good_bodies() -> Vec<(&'static str, String, Value)> {
    let listing_body = json!({
        "title": "Room", "description": "Quiet", "price": 45.5, "currency": "EUR", "accommodationType": "room",
        "location": {"text": "Defensa 755", "city": "Buenos Aires", "latitude": -34.6, "longitude": -58.4},
        "timeZone": "America/Argentina/Buenos_Aires", "maxGuests": 2, "minNights": 2, "maxNights": 30,
        "amenities": ["wifi", "danceFloor"], "houseRules": "No shoes.", "checkIn": "Ring at 4B.",
        "photos": ["https://a.example/a.jpg"], "cancellationPolicy": "strict",
    });
    let mut change = listing_body.clone();
    change["status"] = json!("paused");
    let booking = json!({"from": "2030-05-01", "to": "2030-05-04", "guests": 1, "message": "x", "expectedTotal": 136.5});
    let nights = json!({"from": "2030-05-01", "to": "2030-05-04", "blocked": true, "price": 60});
    let offer = json!({"from": "2030-05-01", "to": "2030-05-04", "total": 100, "message": "x"});
    let review = json!({"rating": 5, "text": "Quiet.", "private": "x"});
    vec![
        ("post /api/housing", "/api/housing".to_owned(), listing_body),
        ("patch /api/housing/{id}", "/api/housing/x".to_owned(), change),
        ("put /api/housing/{id}/nights", "/api/housing/x/nights".to_owned(), nights),
        ("post /api/housing/{id}/bookings", "/api/housing/x/bookings".to_owned(), booking),
        ("post /api/bookings/{id}/decline", "/api/bookings/x/decline".to_owned(), json!({"reason": "x"})),
        ("post /api/bookings/{id}/cancel", "/api/bookings/x/cancel".to_owned(), json!({"reason": "x"})),
        ("post /api/bookings/{id}/counter", "/api/bookings/x/counter".to_owned(), offer),
        ("post /api/bookings/{id}/accept", "/api/bookings/x/accept".to_owned(), json!({"offer": 1})),
        ("post /api/bookings/{id}/reviews", "/api/bookings/x/reviews".to_owned(), review),
        (
            "post /api/bookings/{id}/reviews/reply",
            "/api/bookings/x/reviews/reply".to_owned(),
            json!({"text": "Thank you."}),
        ),
    ]
}

/// A room that is offered.
pub fn room_body() -> Value {
    json!({
        "title": "Room in San Telmo", "description": "Near three milongas.", "price": 45.5,
        "location": {"text": "Defensa 755, 4B", "city": "Buenos Aires", "latitude": -34.617, "longitude": -58.371},
        "accommodationType": "room", "timeZone": ZONE, "checkIn": "Ring at 4B.",
        "cancellationPolicy": "moderate",
    })
}

/// Nights that are asked for, from so many days from now on.
pub fn stay_body(from: i64, nights: i64) -> Value {
    json!({"from": day(from), "to": day(from + nights)})
}

/// A date so many days from today, on the clocks of the places.
fn day(days: i64) -> Date {
    let now = Timestamp::now() + SignedDuration::from_hours(24 * days);
    now.to_zoned_datetime(TimeZone::get(ZONE).unwrap()).date()
}

/// The fields of a problem document that are wrong.
fn fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no field is named: {problem}"));
    errors.iter().map(|error| error["field"].as_str().unwrap()).collect()
}

/// A server with a host and two guests.
struct Town {
    server: Server,
    host: User,
    ana: User,
    ben: User,
}

impl Town {
    async fn start() -> Self {
        let server = Server::start().await;
        let host = server.register("host").await;
        let (ana, ben) = (server.register("ana").await, server.register("ben").await);
        Self { server, host, ana, ben }
    }

    async fn call(&self, method: Method, path: &str, user: &User, body: Value) -> (StatusCode, Value) {
        self.server.call(method, path, Some(&user.token), Some(body)).await
    }

    /// A room of the host's.
    async fn room(&self) -> Value {
        let (status, room) = self.server.post("/api/housing", &self.host, room_body()).await;
        assert_eq!(status, StatusCode::CREATED, "{room}");
        room
    }

    /// Asks for nights of a place, from so many days from now on.
    async fn ask(&self, room: &Value, guest: &User, from: i64, nights: i64) -> Value {
        let path = format!("/api/housing/{}/bookings", room["id"].as_str().unwrap());
        let (status, booking) = self.server.post(&path, guest, stay_body(from, nights)).await;
        assert_eq!(status, StatusCode::CREATED, "{booking}");
        booking
    }

    /// Does something with a booking; the answer.
    async fn act(&self, booking: &Value, action: &str, user: &User, body: Value) -> (StatusCode, Value) {
        self.server.post(&format!("{}/{action}", page_of(booking)), user, body).await
    }

    /// The same where it has to work.
    async fn done(&self, booking: &Value, action: &str, user: &User, body: Value) -> Value {
        let (status, answer) = self.act(booking, action, user, body).await;
        assert!(status.is_success(), "{action}: {status} {answer}");
        answer
    }

    async fn get(&self, path: &str, user: &User) -> Value {
        let (status, answer) = self.server.get(path, user).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// The ids of a list.
    async fn ids(&self, path: &str, user: &User) -> Vec<Value> {
        let page = self.get(path, user).await;
        page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
    }
}

/// Where a booking is read.
fn page_of(booking: &Value) -> String {
    format!("/api/bookings/{}", booking["id"].as_str().unwrap())
}

//! Where people write: each operation that makes something, with a good body and its fields for texts.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::chat::{done, id_of, of};
use crate::housing::{room_body, stay_body};
use crate::server::{Server, User};

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Another user for each text, as users have their limits.
    Writers,
    /// The one to whom the place belongs.
    Owner,
}

/// Where people write.
pub struct Place {
    /// As the API's document has it.
    pub operation: &'static str,
    pub path: String,
    pub body: Value,
    /// Where in the body texts stand.
    pub fields: &'static [&'static str],
    pub by: By,
    /// Whether the answer has the texts at the same places.
    pub is_answered: bool,
}

impl Place {
    pub fn method(&self) -> Method {
        self.operation.split(' ').next().unwrap().parse().unwrap()
    }

    /// The body with a text in one field.
    pub fn with(&self, field: &str, text: &str) -> Value {
        let mut body = self.body.clone();
        *body.pointer_mut(field).unwrap_or_else(|| panic!("{} has no {field}", self.operation)) = json!(text);
        body
    }
}

fn place(operation: &'static str, body: Value, fields: &'static [&'static str]) -> Place {
    let path = operation.split(' ').nth(1).unwrap().to_owned();
    Place { operation, path, body, fields, by: By::Writers, is_answered: true }
}

/// One of the owner's.
fn owners(operation: &'static str, path: String, body: Value, fields: &'static [&'static str]) -> Place {
    Place { path, by: By::Owner, ..place(operation, body, fields) }
}

/// An event in which each text can be another one.
fn event_body() -> Value {
    json!({
        "title": "x", "description": "x", "eventDate": "2040-01-01T20:00:00Z", "eventType": "milonga",
        "location": {"text": "x", "city": "x"},
    })
}

/// All of them, on a server with things of the owner's.
pub async fn places(server: &Server, owner: &User) -> Vec<Place> {
    let made = async |path: &str, body: Value| id_of(&done(server, Method::POST, path, owner, body).await);
    let post = made("/api/posts", json!({"content": "x"})).await;
    let room = made("/api/housing", room_body()).await;
    let chat = made("/api/chat/conversations", json!({"title": "Camp", "memberIds": []})).await;
    let ticket = made("/api/support/tickets", json!({"subject": "x", "text": "x"})).await;
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    let poll = json!({"options": ["a", "b"], "until": tomorrow});
    let media = json!([{"url": "https://a.example/a.jpg", "alt": "x"}]);
    let mut series = event_body();
    series["repeats"] = json!({"frequency": "weekly", "count": 2});
    let mut listing = room_body();
    for field in ["description", "houseRules", "checkIn"] {
        listing[field] = json!("x");
    }
    let mut stay = stay_body(10, 3);
    stay["message"] = json!("x");
    let report = json!({"kind": "post", "id": post, "category": "spam", "words": "x"});
    let until = "2099-01-01T00:00:00Z";
    let of_event: &'static [&'static str] = &["/title", "/description", "/location/text", "/location/city"];
    vec![
        place(
            "POST /api/posts",
            json!({"content": "x", "media": media, "poll": poll}),
            &["/content", "/media/0/alt", "/poll/options/0"],
        ),
        Place {
            path: format!("/api/posts/{post}/comments"),
            ..place("POST /api/posts/{id}/comments", json!({"content": "x"}), &["/content"])
        },
        place("POST /api/events", event_body(), of_event),
        place("POST /api/events/series", series, of_event),
        place(
            "POST /api/housing",
            listing,
            &["/title", "/description", "/houseRules", "/checkIn", "/location/text", "/location/city"],
        ),
        Place {
            path: format!("/api/housing/{room}/bookings"),
            ..place("POST /api/housing/{id}/bookings", stay, &["/message"])
        },
        place("POST /api/chat/conversations", json!({"title": "x", "memberIds": []}), &["/title"]),
        place("POST /api/support/tickets", json!({"subject": "x", "text": "x"}), &["/subject", "/text"]),
        place(
            "POST /api/founder-approval",
            json!({"title": "x", "description": "x", "area": "events"}),
            &["/title", "/description"],
        ),
        place("POST /api/reports", report, &["/words"]),
        place("POST /api/calendars", json!({"kind": "city", "city": "x"}), &["/city"]),
        place("POST /api/push/devices", json!({"fcm": "x", "name": "x"}), &["/name"]),
        owners(
            "POST /api/chat/conversations/{id}/messages",
            of(&chat, "messages"),
            json!({"text": "x"}),
            &["/text"],
        ),
        Place {
            // It is answered with the ticket, which has a text of its own.
            is_answered: false,
            ..owners(
                "POST /api/support/tickets/{id}/messages",
                format!("/api/support/tickets/{ticket}/messages"),
                json!({"text": "x"}),
                &["/text"],
            )
        },
        owners(
            "POST /api/admin/announcements",
            "/api/admin/announcements".to_owned(),
            json!({"title": "x", "text": "x", "until": until}),
            &["/title", "/text"],
        ),
        owners(
            "PATCH /api/users/me",
            "/api/users/me".to_owned(),
            json!({"fullName": "x", "bio": "x", "city": "x", "pronouns": "x", "cities": ["x"]}),
            &["/fullName", "/bio", "/city", "/pronouns", "/cities/0"],
        ),
    ]
}

/// Operations with fields for texts that are not tried, and why.
pub const NOT_TRIED: &[(&str, &str)] = &[
    ("POST /api/auth/register", "the letters' test does it"),
    ("POST /api/admin/users", "as registering"),
    ("POST /api/auth/login", "a device's name, shown to its user alone"),
    ("POST /api/auth/login/second-factor", "a code, which is compared and not kept"),
    ("POST /api/auth/totp/confirm", "a code, which is compared and not kept"),
    ("POST /api/auth/totp/recovery-codes", "a code, which is compared and not kept"),
    ("POST /api/users/me/email", "a code, which is compared and not kept"),
    ("POST /api/analytics/events", "counted, and shown to admins as text"),
    ("POST /api/life-ceo/chat", "shown to its user alone, as text"),
    ("POST /api/events/{id}/cancel", "as a description"),
    ("POST /api/events/series/{id}/cancel", "as a description"),
    ("POST /api/events/{id}/door", "a device's name, which is only compared"),
    ("POST /api/bookings/{id}/reviews", "needs a stay that is over; as a comment"),
    ("POST /api/bookings/{id}/reviews/reply", "needs a stay that is over; as a comment"),
    ("POST /api/bookings/{id}/cancel", "as a message with a request"),
    ("POST /api/bookings/{id}/decline", "as a message with a request"),
    ("POST /api/bookings/{id}/counter", "as a message with a request"),
    ("POST /api/payments/{id}/refund", "a reason of the payee's; as a description"),
    ("POST /api/moderation/decisions/{id}/appeal", "for reviewers; as a report"),
    ("POST /api/moderation/appeals/by-link", "for reviewers; as a report"),
    ("POST /api/admin/payments/{id}/settle", "a reason of the staff's"),
    ("POST /api/admin/system/traces", "names, which are compared and shown to admins"),
    ("POST /api/admin/users/{id}/block", "a reason of the staff's"),
    ("POST /api/admin/users/{id}/unblock", "a reason of the staff's"),
    ("POST /api/founder-approval/{id}/approve", "a reason of the staff's"),
    ("POST /api/founder-approval/{id}/reject", "a reason of the staff's"),
    ("POST /api/safety-reviews", "a reason of the staff's"),
    ("POST /api/safety-reviews/{id}/appeal", "a reason of the staff's"),
    ("POST /api/safety-reviews/{id}/escalate", "a reason of the staff's"),
    ("POST /api/safety-reviews/{id}/resolve", "a reason of the staff's"),
    ("POST /api/support/tickets/{id}/resolve", "a reason of the staff's"),
];

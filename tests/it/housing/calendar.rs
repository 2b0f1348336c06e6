//! Stays in the calendars of guests and hosts.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Town, day, page_of};
use crate::server::User;

impl Town {
    /// A calendar of a user's stays; its address on this server.
    async fn calendar(&self, user: &User) -> String {
        let (status, made) = self.server.post("/api/calendars", user, json!({"kind": "stays"})).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let url = made["url"].as_str().unwrap();
        format!("/api/calendars/{}", url.split_once("/api/calendars/").unwrap().1)
    }

    async fn text(&self, path: &str, user: Option<&User>) -> String {
        let mut request = self.server.http.get(self.server.url(path));
        if let Some(user) = user {
            request = request.bearer_auth(&user.token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap().replace("\r\n ", "")
    }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stays_are_in_the_calendars_of_both_sides() {
    let town = Town::start().await;
    let room = town.room().await;
    let (guests, hosts) = (town.calendar(&town.ana).await, town.calendar(&town.host).await);
    let booking = town.ask(&room, &town.ana, 10, 3).await;
    let file = format!("{}/calendar.ics", page_of(&booking));
    assert!(!town.text(&guests, None).await.contains("VEVENT"), "nothing is confirmed");
    let asked = town.text(&file, Some(&town.host)).await;
    has(&asked, &["STATUS:TENTATIVE"]);
    let stranger = town.server.get(&file, &town.ben).await;
    assert_eq!(stranger.0, StatusCode::NOT_FOUND);

    town.done(&booking, "confirm", &town.host, json!({})).await;
    let date = |days| day(days).strftime("%Y%m%d").to_string();
    let days = [format!("DTSTART;VALUE=DATE:{}", date(10)), format!("DTEND;VALUE=DATE:{}", date(13))];
    let [first, end] = days.each_ref().map(String::as_str);
    let place = "LOCATION:Defensa 755\\, 4B";
    let guest = town.text(&guests, None).await;
    has(
        &guest,
        &[
            first,
            end,
            place,
            "STATUS:CONFIRMED",
            "TRANSP:OPAQUE",
            "SUMMARY:Stay with host: Room in San Telmo",
        ],
    );
    let host = town.text(&hosts, None).await;
    has(
        &host,
        &[
            first,
            end,
            place,
            "STATUS:CONFIRMED",
            "TRANSP:TRANSPARENT",
            "SUMMARY:Guest ana: Room in San Telmo",
        ],
    );
    let uid = |text: &str| text.lines().find(|line| line.starts_with("UID:")).map(str::to_owned);
    assert!(uid(&guest).is_some() && uid(&guest) == uid(&host) && uid(&guest) == uid(&asked));

    town.done(&booking, "cancel", &town.host, json!({"reason": "The roof leaks."})).await;
    let cancelled = town.text(&guests, None).await;
    has(&cancelled, &[first, "STATUS:CANCELLED", "SUMMARY:Cancelled: Stay with host: Room in San Telmo"]);
    assert!(!cancelled.contains("Defensa"), "who does not stay there need not know where it is: {cancelled}");

    let wrong = json!({"kind": "stays", "city": "Berlin", "hostId": Value::Null});
    let (status, problem) = town.server.post("/api/calendars", &town.ana, wrong).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("city")));
}

//! Events out of the files of other programs.

use mundotango::icalendar;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{day, event};
use crate::server::{Server, User};

/// A file with events that are given by their properties.
fn file(events: &[&str]) -> String {
    let events: Vec<_> =
        events.iter().map(|event| format!("BEGIN:VEVENT\r\n{event}END:VEVENT\r\n")).collect();
    let events = events.concat();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Test//EN\r\nX-WR-TIMEZONE:Europe/Berlin\r\n{events}END:VCALENDAR\r\n"
    )
}

/// Imports a file; the report.
pub(super) async fn import(server: &Server, user: &User, file: String) -> Value {
    let (status, report) = send(server, user, "", "text/calendar; charset=utf-8", file).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    report
}

async fn send(
    server: &Server,
    user: &User,
    query: &str,
    kind: &str,
    body: impl Into<reqwest::Body>,
) -> (StatusCode, Value) {
    let request =
        server.http.post(server.url(&format!("/api/events/import{query}"))).bearer_auth(&user.token);
    let answer = request.header("content-type", kind).body(body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

pub(super) fn outcomes(report: &Value) -> Vec<&str> {
    report["items"].as_array().unwrap().iter().map(|item| item["outcome"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_makes_events_once_and_changes_them_when_it_comes_again() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (first, second) = (day(10).replace('-', ""), day(11).replace('-', ""));
    let milonga = format!(
        "UID:milonga@example.org\r\nDTSTART:{first}T210000\r\nDTEND:{second}T030000\r\nSUMMARY:Milonga\\, con orquesta\r\n\
         DESCRIPTION:Live\\nmusic\r\nLOCATION:Ballhaus\r\nGEO:52.52;13.39\r\nCATEGORIES:Tango\r\n",
    );
    let practica = format!(
        "UID:practica@example.org\r\nDTSTART;VALUE=DATE:{second}\r\nSUMMARY:Practica\r\nLOCATION:Club\r\nCATEGORIES:PRACTICA\r\n",
    );
    let weekly = format!(
        "UID:weekly\r\nDTSTART:{first}T200000Z\r\nRRULE:FREQ=WEEKLY\r\nSUMMARY:Clase\r\nLOCATION:Club\r\n"
    );
    let nowhere = format!("UID:nowhere\r\nDTSTART:{first}T200000Z\r\nSUMMARY:Clase\r\n");
    let long_ago = "UID:past\r\nDTSTART:20200101T200000Z\r\nSUMMARY:Clase\r\nLOCATION:Club\r\n";
    let nameless = format!("DTSTART:{first}T200000Z\r\nSUMMARY:Clase\r\nLOCATION:Club\r\n");
    let all = [&milonga, &practica, &weekly, &nowhere, long_ago, &milonga, &nameless];

    let report = import(&server, &ana, file(&all)).await;
    assert_eq!(
        outcomes(&report),
        ["created", "refused", "created", "created", "refused", "refused", "refused"],
        "{report}"
    );
    assert_eq!((&report["created"], &report["refused"]), (&json!(3), &json!(4)));
    for (index, why) in [(1, "UID"), (4, "LOCATION"), (5, "DTSTART"), (6, "UID")] {
        let reason = report["items"][index]["reason"].as_str().unwrap();
        assert!(reason.starts_with(why), "{reason}");
    }
    let id = report["items"][0]["eventId"].as_str().unwrap().to_owned();
    let (_, made) = server.get(&format!("/api/events/{id}"), &ben).await;
    assert_eq!(
        (&made["title"], &made["description"]),
        (&json!("Milonga, con orquesta"), &json!("Live\nmusic"))
    );
    assert_eq!(made["localStart"], format!("{}T21:00:00", day(10)));
    assert_eq!((&made["timeZone"], &made["host"]["id"]), (&json!("Europe/Berlin"), &json!(ana.id)));
    assert_eq!((&made["eventType"], &made["location"]["latitude"]), (&json!("milonga"), &json!(52.52)));
    let practica_id = report["items"][2]["eventId"].as_str().unwrap();
    let (_, whole_day) = server.get(&format!("/api/events/{practica_id}"), &ben).await;
    assert_eq!(
        (&whole_day["eventType"], &whole_day["localStart"]),
        (&json!("practica"), &json!(format!("{}T00:00:00", day(11))))
    );
    assert_eq!(whole_day["localEnd"], format!("{}T00:00:00", day(12)));

    assert_eq!(outcomes(&import(&server, &ana, file(&all[..2])).await), ["unchanged", "unchanged"]);
    let moved = milonga.replace("T210000", "T220000").replace("Milonga\\,", "Gran Milonga\\,");
    let report = import(&server, &ana, file(&[&moved])).await;
    assert_eq!((outcomes(&report), &report["items"][0]["eventId"]), (vec!["changed"], &json!(id)));
    let (_, changed) = server.get(&format!("/api/events/{id}"), &ben).await;
    assert_eq!((&changed["title"], &changed["version"]), (&json!("Gran Milonga, con orquesta"), &json!(1)));

    // The names of another user's files are that user's own.
    let report = import(&server, &ben, file(&[&milonga])).await;
    assert_eq!(outcomes(&report), ["created"]);
    assert_ne!(report["items"][0]["eventId"], id);
    let cancelled = format!("{milonga}STATUS:CANCELLED\r\n");
    let never_here = cancelled.replace("milonga@", "other@");
    let report = import(&server, &ana, file(&[&cancelled, &never_here])).await;
    assert_eq!(outcomes(&report), ["cancelled", "refused"], "{report}");
    let (_, gone) = server.get(&format!("/api/events/{id}"), &ben).await;
    assert!(gone["cancelledAt"].is_string(), "{gone}");
    assert_eq!(
        outcomes(&import(&server, &ana, file(&[&milonga])).await),
        ["refused"],
        "it is cancelled for good"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_events_are_taken_however_many_import_them_at_once() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let date = day(30).replace('-', "");
    let events: Vec<_> = (0..icalendar::MOST_EVENTS)
        .map(|number| {
            format!("UID:{number}\r\nDTSTART:{date}T200000Z\r\nSUMMARY:Clase {number}\r\nLOCATION:Club\r\n")
        })
        .collect();
    let events: Vec<_> = events.iter().map(String::as_str).collect();
    let (one, other) =
        tokio::join!(import(&server, &ana, file(&events)), import(&server, &ana, file(&events)));
    let ids = |report: &Value| -> Vec<Value> {
        report["items"].as_array().unwrap().iter().map(|item| item["eventId"].clone()).collect()
    };
    assert_eq!(ids(&one), ids(&other), "both made the same events");
    let (mut listed, mut cursor) = (0, String::new());
    loop {
        let (_, page) = server.get(&format!("/api/events?limit=100{cursor}"), &ana).await;
        listed += page["items"].as_array().unwrap().len();
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, icalendar::MOST_EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_calendar_or_too_much_of_one_is_refused() {
    let server = Server::start().await;
    let (ana, host) = (server.register("ana").await, server.register("host").await);
    let one =
        format!("UID:1\r\nDTSTART:{}T200000\r\nSUMMARY:Clase\r\nLOCATION:Club\r\n", day(9).replace('-', ""));
    let (status, _) = send(&server, &ana, "", "application/json", "{}").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let many = vec![one.as_str(); icalendar::MOST_EVENTS + 1];
    for body in [String::new(), "hello".to_owned(), file(&many), "BEGIN:X\r\n".repeat(10_000)] {
        let (status, problem) = send(&server, &ana, "", "text/calendar", body).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (StatusCode::BAD_REQUEST, &json!("body")),
            "{problem}"
        );
    }
    let (status, _) = send(&server, &ana, "", "text/calendar", vec![0xff, 0xfe]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = send(&server, &ana, "", "text/calendar", "x".repeat(1024 * 1024 + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    for query in ["?eventType=party", "?timeZone=Mars/Phobos", "?zone=UTC"] {
        let (status, problem) = send(&server, &ana, query, "text/calendar", file(&[&one])).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
    }
    let query = "?eventType=class&timeZone=America/Montevideo";
    let (_, report) = send(&server, &ana, query, "text/calendar", file(&[&one])).await;
    let (_, made) =
        server.get(&format!("/api/events/{}", report["items"][0]["eventId"].as_str().unwrap()), &ana).await;
    assert_eq!((&made["eventType"], &made["timeZone"]), (&json!("class"), &json!("America/Montevideo")));

    // What is downloaded here can be imported by somebody else.
    let made = event(&server, &host, "Milonga", "Berlin", &day(10)).await;
    let url = server.url(&format!("/api/events/{}/calendar.ics", made["id"].as_str().unwrap()));
    let text = server.http.get(url).bearer_auth(&host.token).send().await.unwrap().text().await.unwrap();
    let report = import(&server, &ana, text).await;
    assert_eq!(outcomes(&report), ["created"], "{report}");
    let (_, copy) =
        server.get(&format!("/api/events/{}", report["items"][0]["eventId"].as_str().unwrap()), &ana).await;
    assert_eq!((&copy["eventDate"], &copy["endDate"]), (&made["eventDate"], &made["endDate"]));
}

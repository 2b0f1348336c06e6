//! Calendars as their readers have them: what is subscribed to, mailed and downloaded is read by libraries of others, and what
//! their programs export is taken.

mod feeds;
mod import;
mod invitations;
mod repeating;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango::icalendar;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::sdk::parts;
use crate::server::{Server, User};

/// The venue's zone, whose clocks change twice within each year.
const VENUE: &str = "Europe/Berlin";
/// How long another library may take to read a calendar.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A day so many days from now, by the clocks of the venue.
fn day(days: i64) -> String {
    let there = Timestamp::now() + SignedDuration::from_hours(24 * days);
    there.in_tz(VENUE).unwrap().date().to_string()
}

/// An event of the host's in a city of its own; as it was answered.
async fn event(server: &Server, host: &User, title: &str, city: &str, date: &str) -> Value {
    let body = json!({
        "title": title, "description": "Con orquesta, desde las diez.\n\nEntrada: 10 €; socios: 8 €.",
        "eventDate": format!("{date}T21:00"), "endDate": format!("{date}T23:30"), "timeZone": VENUE,
        "location": {"text": "Ballhaus, Auguststraße 24", "city": city, "latitude": 52.52, "longitude": 13.39},
        "eventType": "milonga",
    });
    let (status, event) = server.post("/api/events", host, body).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    event
}

async fn answer(server: &Server, event: &Value, user: &User, status: &str) {
    let path = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    let (code, answer) = server.post(&path, user, json!({"status": status})).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
}

/// A calendar as a program fetches it.
struct Fetched {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// Fetches a calendar by its path, with the tag of what the program has.
async fn fetch(server: &Server, path: &str, known: Option<&str>) -> Fetched {
    let mut request = server.http.get(server.url(path));
    if let Some(tag) = known {
        request = request.header("if-none-match", tag);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Fetched { status, headers, text: answer.text().await.unwrap() }
}

/// What a program of another library reads in a calendar.
async fn read_by(program: PathBuf, script: &str, calendar: &str) -> Value {
    let script = folder().join(script);
    let mut child = Command::new(program)
        // Its own copy of the zones, which is not older than ours.
        .env("PYTHONTZPATH", "")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(calendar.as_bytes()).await.unwrap();
    drop(input);
    let output =
        tokio::time::timeout(READ_WITHIN, child.wait_with_output()).await.expect("it hangs").unwrap();
    assert!(output.status.success(), "{}\n{calendar}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calendars")
}

/// Reads a calendar by `ical.js`, by Python's `icalendar` and by our own reader, which all have to find the same in it.
async fn read(calendar: &str) -> Value {
    assert!(folder().join("node_modules").exists(), "run `cargo xtask parts` first");
    let python = parts().join("python-calendars/bin/python");
    assert!(python.exists(), "no {}: run `cargo xtask parts` first", python.display());
    let (javascript, python) =
        tokio::join!(read_by("node".into(), "read.mjs", calendar), read_by(python, "read.py", calendar));
    assert_eq!(javascript, python, "{calendar}");
    let own = icalendar::read(calendar, None).unwrap();
    let events = javascript["events"].as_array().unwrap();
    assert_eq!(own.len(), events.len(), "{calendar}");
    for (own, event) in own.iter().zip(events) {
        assert_eq!((&json!(own.uid), &json!(own.summary)), (&event["uid"], &event["summary"]));
        assert_eq!(
            (&json!(own.description), &json!(own.location)),
            (&event["description"], &event["location"])
        );
        let found = own.when.as_ref().unwrap();
        let at = |time: Timestamp| json!(format!("{time:.3}"));
        assert_eq!(at(found.start.timestamp()), event["start"], "{calendar}");
        assert_eq!(at(found.end.as_ref().unwrap().timestamp()), event["end"], "{calendar}");
        assert_eq!(own.is_cancelled, event["status"] == "CANCELLED");
    }
    javascript
}

/// The one event of a calendar.
async fn only_event(calendar: &str) -> Value {
    let mut read = read(calendar).await;
    assert_eq!(read["events"].as_array().unwrap().len(), 1, "{calendar}");
    read["events"][0].take()
}

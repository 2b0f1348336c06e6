//! Letters that get an event into a calendar, move it there, and take it out again.

use mail_parser::{MessageParser, MimeHeaders as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{answer, day, event, only_event, read};
use crate::jobs::retry;
use crate::mail::{SmtpServer, by_smtp};
use crate::server::{Server, User, until};

/// Waits until a job of something is delayed, and gives it its turn.
async fn bring_forward(server: &Server, root: &User, queue: &str, kind: &str, (field, id): (&str, &str)) {
    let path = format!("/api/admin/jobs/queues/{queue}?state=delayed&limit=100");
    let job = until(&format!("the job {kind} is delayed"), async || {
        let (_, page) = server.get(&path, root).await;
        let mut jobs = page["items"].as_array().unwrap().iter();
        jobs.find(|job| job["kind"] == kind && job["payload"][field] == id).cloned()
    })
    .await;
    retry(server, root, &job).await;
}

/// The calendar in the letter to a user whose subject begins so, and what the letter's header says that it wants.
async fn calendar_in(mail: &SmtpServer, username: &str, subject: &str) -> Option<(String, String)> {
    until(&format!("the letter {subject} to {username}"), async || {
        mail.letters_to(username).iter().find_map(|arrived| {
            let letter = MessageParser::default().parse(&arrived.raw)?;
            if !letter.subject()?.starts_with(subject) {
                return None;
            }
            let part = letter.parts.iter().find(|part| part.is_content_type("text", "calendar"));
            let told = part.map(|part| {
                let method = part.content_type().unwrap().attribute("method").unwrap().to_owned();
                (method, part.text_contents().unwrap().to_owned())
            });
            let file = letter.attachments().find(|part| part.attachment_name() == Some("invite.ics"));
            assert_eq!(file.is_some(), told.is_some());
            Some(told)
        })
    })
    .await
}

/// What such a letter tells calendar programs, as others read it.
async fn told(mail: &SmtpServer, username: &str, subject: &str) -> Value {
    let (method, calendar) = calendar_in(mail, username, subject).await.expect("it has a calendar");
    let whole = read(&calendar).await;
    assert_eq!(whole["method"], method, "header and calendar say the same");
    let unfolded = calendar.replace("\r\n ", "");
    assert!(unfolded.contains("\r\nORGANIZER;CN=\"MundoTango\":mailto:no-reply@localhost\r\n"), "{unfolded}");
    let attendee = format!("mailto:{username}@example.com\r\n");
    assert!(unfolded.contains("PARTSTAT=ACCEPTED") && unfolded.contains(&attendee), "{unfolded}");
    let mut event = only_event(&calendar).await;
    event["method"] = json!(method);
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_in_the_calendar_of_who_is_going_moves_there_and_leaves_it() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, "20s")).await;
    let root = server.user("root", "admin");
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let host = server.register("ok-host").await;
    let made = event(&server, &host, "Milonga", "Berlin", &day(20)).await;
    let id = made["id"].as_str().unwrap();

    // Who wants one gets a letter on an own answer, and who has said nothing does not.
    let wish = json!({"kinds": {"eventGoing": {"email": true}}});
    let path = "/api/notifications/preferences";
    let (status, preferences) = server.call(Method::PATCH, path, Some(&ana.token), Some(wish)).await;
    assert_eq!(status, StatusCode::OK, "{preferences}");
    assert_eq!(preferences["kinds"]["eventGoing"], json!({"inApp": false, "push": false, "email": true}));
    answer(&server, &made, &ana, "going").await;
    answer(&server, &made, &ben, "maybe").await;
    bring_forward(&server, &root, "email", "rsvp_letter", ("user_id", &ana.id)).await;
    let invited = told(&mail, "ok-ana", "You are going: Milonga").await;
    assert_eq!((&invited["method"], &invited["sequence"]), (&json!("REQUEST"), &json!(0)));
    assert_eq!((&invited["uid"], &invited["start"]), (&json!(format!("{id}@localhost")), &made["eventDate"]));

    let change = json!({"eventDate": format!("{}T22:00", day(21)), "endDate": format!("{}T23:00", day(21))});
    let (_, moved) =
        server.call(Method::PATCH, &format!("/api/events/{id}"), Some(&host.token), Some(change)).await;
    bring_forward(&server, &root, "notification", "event_moved", ("event_id", id)).await;
    let again = told(&mail, "ok-ana", "Changed: Milonga").await;
    assert_eq!((&again["method"], &again["sequence"]), (&json!("REQUEST"), &json!(1)));
    assert_eq!((&again["uid"], &again["start"]), (&invited["uid"], &moved["eventDate"]));
    assert_eq!(calendar_in(&mail, "ok-ben", "Changed: Milonga").await, None, "Ben has it in no calendar");

    server.post(&format!("/api/events/{id}/cancel"), &host, json!({})).await;
    let gone = told(&mail, "ok-ana", "Cancelled: Milonga").await;
    assert_eq!((&gone["method"], &gone["sequence"]), (&json!("CANCEL"), &json!(2)));
    assert_eq!((&gone["uid"], &gone["status"]), (&invited["uid"], &json!("CANCELLED")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_a_place_gets_the_event_into_the_calendar() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, "20s")).await;
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let body = json!({
        "title": "Clase", "eventDate": format!("{}T20:00", day(5)), "timeZone": "Europe/Berlin", "capacity": 1,
        "location": "Ballhaus", "eventType": "class",
    });
    let (_, made) = server.post("/api/events", &ben, body).await;
    answer(&server, &made, &ben, "going").await;
    answer(&server, &made, &ana, "going").await;
    answer(&server, &made, &ben, "declined").await;
    let invited = told(&mail, "ok-ana", "There is a place for you: Clase").await;
    assert_eq!((&invited["method"], &invited["start"]), (&json!("REQUEST"), &made["eventDate"]));
    let length = |event: &Value| {
        let time = |name: &str| event[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        time("end").duration_since(time("start")).as_hours()
    };
    assert_eq!(length(&invited), 4, "an event without an end has one in calendars");
}

/// The letters to a user whose subject begins so.
fn letters_about(mail: &SmtpServer, username: &str, subject: &str) -> usize {
    let letters = mail.letters_to(username);
    let subjects = letters.iter().filter_map(|letter| {
        let letter = MessageParser::default().parse(&letter.raw)?;
        Some(letter.subject()?.to_owned())
    });
    subjects.filter(|one| one.starts_with(subject)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_series_is_one_letter_and_one_notification_for_each_who_is_concerned() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, "20s")).await;
    let root = server.user("root", "admin");
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let (eva, host) = (server.register("ok-eva").await, server.register("ok-host").await);
    let body = json!({
        "title": "Milonga", "eventDate": "2040-05-04T21:00", "endDate": "2040-05-05T03:00",
        "timeZone": "Europe/Berlin", "location": "Ballhaus", "eventType": "milonga",
        "repeats": {"frequency": "weekly", "count": 16},
    });
    let (status, series) = server.post("/api/events/series", &host, body).await;
    assert_eq!(status, StatusCode::CREATED, "{series}");
    let path = format!("/api/events/series/{}", series["id"].as_str().unwrap());
    let (_, page) = server.get(&format!("{path}/dates?limit=100"), &host).await;
    let dates: Vec<_> = page["items"].as_array().unwrap().iter().map(|date| date["event"].clone()).collect();
    for date in &dates[..14] {
        answer(&server, date, &ana, "going").await;
    }
    answer(&server, &dates[14], &ana, "declined").await;
    answer(&server, &dates[0], &ben, "maybe").await;
    answer(&server, &dates[1], &eva, "going").await;

    // Two changes in quick succession are told together.
    for start in ["22:00", "22:30"] {
        let change = json!({"startTime": start});
        let (status, _) = server.call(Method::PATCH, &path, Some(&host.token), Some(change)).await;
        assert_eq!(status, StatusCode::OK);
    }
    // Who says no before the letter is sent hears nothing more.
    answer(&server, &dates[1], &eva, "declined").await;
    let id = series["id"].as_str().unwrap();
    until("the dates have followed", async || {
        let (_, series) = server.get(&path, &host).await;
        (series["isSettled"] == true).then_some(())
    })
    .await;
    until("both jobs have had their turn", async || {
        let path = "/api/admin/jobs/queues/notification?state=delayed&limit=100";
        let (_, page) = server.get(path, &root).await;
        let mut jobs = page["items"].as_array().unwrap().iter();
        let waits = |job: &&Value| job["kind"] == "series_changes" && job["payload"]["series_id"] == id;
        match jobs.find(waits).cloned() {
            Some(job) => {
                retry(&server, &root, &job).await;
                None
            }
            None => (letters_about(&mail, "ok-ana", "Changed: Milonga") > 0).then_some(()),
        }
    })
    .await;
    let (method, calendar) = calendar_in(&mail, "ok-ana", "Changed: Milonga").await.unwrap();
    assert_eq!((method.as_str(), calendar.matches("BEGIN:VEVENT").count()), ("REQUEST", 14));
    assert_eq!(calendar.matches("T223000\r\n").count(), 14, "{calendar}");
    assert!(!calendar.contains("SEQUENCE:0\r\n"), "{calendar}");
    assert_eq!(calendar_in(&mail, "ok-ben", "Changed: Milonga").await, None, "Ben has it in no calendar");
    let raw = mail.letters_to("ok-ana").into_iter().map(|letter| letter.raw);
    let mut texts =
        raw.filter_map(|raw| Some(MessageParser::default().parse(&raw)?.body_text(0)?.into_owned()));
    let text = texts.rfind(|text| text.contains("/events/series/")).unwrap();
    assert!(text.contains("And 2 more."), "{text}");

    let (status, _) = server.post(&format!("{path}/cancel"), &host, json!({"reason": "Closed"})).await;
    assert_eq!(status, StatusCode::OK);
    let (method, calendar) = calendar_in(&mail, "ok-ana", "Cancelled: Milonga").await.unwrap();
    assert_eq!((method.as_str(), calendar.matches("STATUS:CANCELLED").count()), ("CANCEL", 14));
    until("Ben is told", async || (letters_about(&mail, "ok-ben", "Cancelled: Milonga") == 1).then_some(()))
        .await;
    for (user, changed, cancelled) in [("ok-ana", 1, 1), ("ok-ben", 1, 1), ("ok-eva", 0, 0)] {
        assert_eq!(letters_about(&mail, user, "Changed: Milonga"), changed, "{user}");
        assert_eq!(letters_about(&mail, user, "Cancelled: Milonga"), cancelled, "{user}");
    }
    let told = until("Ana's list has the end", async || {
        let (_, told) = server.get("/api/notifications", &ana).await;
        let has_it = told["items"].as_array()?.iter().any(|one| one["kind"] == "seriesCancelled");
        has_it.then_some(told)
    })
    .await;
    let kinds: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    for kind in ["seriesChanged", "seriesCancelled"] {
        assert_eq!(kinds.iter().filter(|one| **one == kind).count(), 1, "{told}");
    }
    assert!(!kinds.iter().any(|kind| kind.starts_with("eventMoved") || kind.starts_with("eventCancelled")));
}

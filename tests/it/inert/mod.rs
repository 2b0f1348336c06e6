//! Whatever people write is refused with a clear problem, or comes out as the text that it is: in answers, letters, calendars and
//! pages.

mod places;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use mail_parser::MessageParser;
use mundotango::icalendar;
use reqwest::header::{CONTENT_TYPE, HeaderMap, X_CONTENT_TYPE_OPTIONS};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use url::form_urlencoded;

use self::places::{By, NOT_TRIED, Place, places};
use self::texts::{MARKS, TEXTS, kept, name_of};
use crate::chat::{done, id_of};
use crate::mail::{Arrived, SmtpServer};
use crate::server::{Server, User, until};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
/// Stands in a body where an escape is written by hand.
const MARK: &str = "HERE";
/// Most octets of a line in a calendar.
const MOST_OCTETS: usize = 75;
/// Pages that the server makes.
const PAGES: [&str; 6] = [
    "verify-email",
    "reset-password",
    "confirm-email",
    "undo-email-change",
    "undo-deletion",
    "forgot-password",
];

/// An answer of which no browser makes something else than it says it is.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{text}");
        Self { status, headers, text }
    }

    fn kind(&self) -> &str {
        self.headers.get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// It refuses, and says why in a problem document.
    fn is_clear_refusal(&self, what: &str) {
        assert!(self.status.is_client_error(), "{what}: {} {}", self.status, self.text);
        assert_eq!(self.kind(), PROBLEM, "{what}: {}", self.text);
        let problem = self.json();
        assert!(problem["code"].is_string() && problem["title"].is_string(), "{what}: {problem}");
    }
}

/// Writes by a body as it stands.
async fn write(server: &Server, place: &Place, user: &User, body: String) -> Answer {
    let request = server.http.request(place.method(), server.url(&place.path)).bearer_auth(&user.token);
    Answer::of(request.header(CONTENT_TYPE, JSON).body(body)).await
}

/// Each text in each field: how often a field took one.
async fn tried(server: &Server, owner: &User, writers: &[User], place: &Place) -> BTreeMap<String, usize> {
    let mut taken = BTreeMap::new();
    for field in place.fields {
        let count = taken.entry((*field).to_owned()).or_default();
        for (number, text) in TEXTS.iter().enumerate() {
            let what = format!("{} {field}: {text:?}", place.operation);
            let user = if place.by == By::Owner { owner } else { &writers[number] };
            let answer = write(server, place, user, place.with(field, text).to_string()).await;
            if !answer.status.is_success() {
                answer.is_clear_refusal(&what);
                continue;
            }
            *count += 1;
            if answer.status != StatusCode::NO_CONTENT {
                assert_eq!(answer.kind(), JSON, "{what}");
            }
            // Where the answer has the field, it is the text and nothing else.
            let shown = answer.json().pointer(field).and_then(Value::as_str).map(str::to_owned);
            if let Some(shown) = shown.filter(|_| place.is_answered) {
                assert_eq!(shown, kept(text), "{what}");
            }
        }
    }
    taken
}

/// Half of a character, in the escapes of JSON, is none.
async fn halves_are_refused(server: &Server, user: &User, place: &Place) {
    for (field, half) in place.fields.iter().flat_map(|field| {
        [r"\ud83d", r"\udc83", r"\ud83dx", r"\udc83\ud83d"].into_iter().map(move |half| (field, half))
    }) {
        let body = place.with(field, MARK).to_string();
        let whole = body.replace(&format!("\"{MARK}\""), &format!("\"{half}\""));
        assert_ne!(body, whole);
        let answer = write(server, place, user, whole).await;
        let what = format!("{} {field}: {half}", place.operation);
        answer.is_clear_refusal(&what);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {}", answer.text);
    }
}

async fn admin(server: &Server, username: &str) -> User {
    let account = server.register(username).await;
    server.user(&account.id, "admin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_text_is_refused_with_a_clear_problem_or_answered_as_it_is() {
    let server = Server::start().await;
    let owner = admin(&server, "owner").await;
    let mut writers = Vec::new();
    for number in 0..TEXTS.len() {
        writers.push(server.register(&name_of(number)).await);
    }
    let mut never = Vec::new();
    for place in places(&server, &owner).await {
        for (field, count) in Box::pin(tried(&server, &owner, &writers, &place)).await {
            if count == 0 {
                never.push(format!("{} {field}", place.operation));
            }
        }
        halves_are_refused(&server, &owner, &place).await;
    }
    assert!(never.is_empty(), "took no text at all, so nothing was tried: {never:#?}");

    // What was taken is read as JSON, and is text there.
    for path in
        ["/api/posts?limit=100", "/api/events?limit=100", "/api/housing?limit=100", "/api/announcements"]
    {
        let answer = Answer::of(server.http.get(server.url(path)).bearer_auth(&owner.token)).await;
        assert_eq!((answer.status, answer.kind()), (StatusCode::OK, JSON), "{path}");
        assert!(!answer.json().is_null(), "{path}");
    }
    for text in TEXTS {
        let mut url = Url::parse(&server.url("/api/")).unwrap();
        url.path_segments_mut().unwrap().push(text);
        let answer = Answer::of(server.http.get(url).bearer_auth(&owner.token)).await;
        assert!(answer.status.is_client_error() && answer.kind() == PROBLEM, "{text:?}: {}", answer.text);
    }
}

/// A letter holds nobody else's lines, and nothing of its HTML part is what somebody wrote.
fn is_inert(arrived: &Arrived, text: &str) {
    let letter = MessageParser::default().parse(arrived.raw.as_slice()).unwrap();
    assert!(letter.header_raw("Bcc").is_none(), "{text:?} makes a header");
    assert_eq!(arrived.to.len(), 1, "{text:?} sends it to others: {:?}", arrived.to);
    assert_eq!(letter.to().unwrap().iter().count(), 1, "{text:?}");
    let html = letter.body_html(0).unwrap();
    for mark in MARKS {
        assert!(!html.contains(mark), "{text:?}: {mark} is in {html}");
    }
    let calendars = letter.parts.iter().filter_map(|part| part.text_contents());
    for calendar in calendars.filter(|text| text.starts_with("BEGIN:VCALENDAR")) {
        is_one_event(calendar, None, text);
    }
}

/// A calendar has one event, whatever its texts say.
fn is_one_event(calendar: &str, title: Option<&str>, text: &str) {
    let lines: Vec<_> = calendar.split("\r\n").collect();
    for line in &lines {
        assert!(line.len() <= MOST_OCTETS, "{text:?}: {line:?} is too long");
        assert!(
            !line.contains(|character: char| character.is_control() && character != '\t'),
            "{text:?}: {line:?}"
        );
    }
    let unfolded = calendar.replace("\r\n ", "");
    for name in ["BEGIN:VEVENT", "END:VEVENT", "SUMMARY:", "UID:", "END:VCALENDAR"] {
        let count = unfolded.split("\r\n").filter(|line| line.starts_with(name)).count();
        assert_eq!(count, 1, "{text:?}: {name} in {calendar}");
    }
    let items = icalendar::read(calendar, None).unwrap();
    assert_eq!(items.len(), 1, "{text:?}");
    if let Some(title) = title {
        assert_eq!(items[0].summary, title, "{text:?}");
    }
}

/// An event whose texts are one, with a plain title where the title cannot be it; its id and its title, if it is taken at all.
async fn event_of(server: &Server, host: &User, text: &str) -> Option<(String, String)> {
    // Within the time that calendars look ahead.
    let at = Timestamp::now() + SignedDuration::from_hours(30 * 24);
    for title in [text, "Milonga"] {
        let event = json!({
            "title": title, "description": text, "eventDate": at, "eventType": "milonga", "capacity": 1,
            "location": {"text": text, "city": "Rosario"},
        });
        let request = server.http.post(server.url("/api/events")).bearer_auth(&host.token).json(&event);
        let answer = Answer::of(request).await;
        if answer.status == StatusCode::CREATED {
            return Some((id_of(&answer.json()), kept(title)));
        }
        answer.is_clear_refusal(text);
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_and_calendars_hold_what_was_written_as_text() {
    let mail = SmtpServer::start();
    let server = crate::links::start(&mail, &[]).await;
    let host = server.register("host").await;
    let guest = server.register("guest").await;
    let (mut named, mut titled) = (0, 0);
    for (number, text) in TEXTS.iter().enumerate() {
        let username = name_of(number);
        let account = json!({
            "email": format!("{username}@example.com"), "password": "abrazo-1234", "username": username,
            "fullName": text,
        });
        let request = server.http.post(server.url("/api/auth/register")).json(&account);
        let answer = Answer::of(request).await;
        if answer.status == StatusCode::CREATED {
            named += 1;
            for letter in mail.copies(&username, 1).await {
                is_inert(&letter, text);
            }
        } else {
            answer.is_clear_refusal(text);
        }

        let Some((id, title)) = event_of(&server, &host, text).await else { continue };
        titled += 1;
        let path = format!("/api/events/{id}/calendar.ics");
        let calendar = Answer::of(server.http.get(server.url(&path)).bearer_auth(&guest.token)).await;
        assert_eq!((calendar.status, calendar.kind()), (StatusCode::OK, "text/calendar; charset=utf-8"));
        is_one_event(&calendar.text, Some(&title), text);
        // The guest waits, gets the place, and is told of it.
        let rsvp = format!("/api/events/{id}/rsvp");
        for (user, status) in [(&host, "going"), (&guest, "going"), (&host, "declined")] {
            done(&server, Method::POST, &rsvp, user, json!({"status": status})).await;
        }
    }
    assert!(named > 5 && titled > 5, "{named} names and {titled} titles were taken");
    // The first one confirms the address.
    let letters = until("the guest is told of all places", async || {
        Some(mail.letters_to("guest")).filter(|letters| letters.len() > titled)
    })
    .await;
    for letter in letters {
        is_inert(&letter, "the title of an event");
    }

    let wanted = json!({"kind": "host", "hostId": host.id});
    let made = done(&server, Method::POST, "/api/calendars", &guest, wanted).await;
    let address = Url::parse(made["url"].as_str().unwrap()).unwrap();
    let feed = Answer::of(server.http.get(server.url(address.path()))).await;
    assert_eq!((feed.status, feed.kind()), (StatusCode::OK, "text/calendar; charset=utf-8"));
    let events = feed.text.replace("\r\n ", "");
    let count = events.split("\r\n").filter(|line| *line == "BEGIN:VEVENT").count();
    assert_eq!(count, titled, "{}", feed.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_the_server_hold_nothing_of_what_is_sent() {
    let server = Server::start().await;
    for (page, text) in PAGES.into_iter().flat_map(|page| TEXTS.iter().map(move |text| (page, *text))) {
        let url = Url::parse_with_params(&server.url(&format!("/{page}")), [("token", text), ("x", text)]);
        let url = url.unwrap();
        let form: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("email", text), ("password", text), ("token", text)])
            .finish();
        let post = server.http.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        for answer in [Answer::of(server.http.get(url)).await, Answer::of(post.body(form)).await] {
            let what = format!("{page}: {text:?}: {}", answer.text);
            assert!(!answer.status.is_server_error(), "{what}");
            assert_eq!(answer.kind(), "text/html; charset=utf-8", "{what}");
            assert!(!answer.headers["content-security-policy"].to_str().unwrap().contains("script"));
            for mark in MARKS.into_iter().chain(["alert(1)", "7*7", "victim@example.com"]) {
                assert!(!answer.text.contains(mark), "{mark}: {what}");
            }
        }
    }
}

/// Where in a body people write: texts that are neither a choice nor of a narrow form.
fn texts_in(document: &Value, schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        texts_in(document, &document["components"]["schemas"][name], at, found);
        return;
    }
    for choices in ["oneOf", "anyOf", "allOf"] {
        for choice in schema[choices].as_array().into_iter().flatten() {
            texts_in(document, choice, at, found);
        }
    }
    // All but control characters: what people write.
    if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains(r"[^\u0000-")) {
        found.insert(at.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        texts_in(document, property, &format!("{at}/{name}"), found);
    }
    if schema["items"].is_object() {
        texts_in(document, &schema["items"], &format!("{at}/0"), found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_field_for_texts_of_what_people_make_is_tried_or_has_a_reason() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let server = Server::start().await;
    let owner = admin(&server, "owner").await;
    let places = places(&server, &owner).await;
    let mut missing = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let operation = format!("POST {path}");
        let schema = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() || NOT_TRIED.iter().any(|(known, _)| *known == operation) {
            continue;
        }
        let mut found = BTreeSet::new();
        texts_in(&document, schema, "", &mut found);
        let known = places.iter().find(|place| place.operation == operation);
        let is_tried = |field: &String| known.is_some_and(|place| place.fields.contains(&field.as_str()));
        // A place is a text, or has one.
        let is_short = |field: &String| found.contains(&format!("{field}/text"));
        let without = found.iter().filter(|field| !is_tried(field) && !is_short(field));
        missing.extend(without.map(|field| format!("{operation} {field}")));
    }
    assert!(missing.is_empty(), "add them to `places`, or a reason to NOT_TRIED: {missing:#?}");
}

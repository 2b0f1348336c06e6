//! The letters of a community's life, from the calls that cause them to the readers' mailboxes.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT_LANGUAGE, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::jobs::{counts, retry};
use crate::links::{
    CHANGED_SUBJECT, CONFIRMED_WITHIN, NEW_PASSWORD, Opened, RESET, RESET_SUBJECT, VERIFY, VERIFY_SUBJECT,
    forgot, letter, log_in, subjects, use_link,
};
use crate::mail::{SmtpServer, by_smtp};
use crate::server::{Server, User, until};

/// The address of the site. Mail programs unsubscribe by one click over HTTPS alone.
const SITE: &str = "https://tango.example";
/// The zone of the events, and that of the one who reads Spanish.
const VENUE: &str = "America/Argentina/Buenos_Aires";
const HOME: &str = "Europe/Madrid";
const PREFERENCES: &str = "/api/notifications/preferences";

/// The full event, as it is planned at first and as it is then, for those who read English and Spanish.
const BEFORE: &str = "Saturday, 5 May 2040, 22:00 (Buenos Aires time)";
const BEFORE_ES: &str = "sábado, 5 de mayo de 2040, 22:00 (hora de Buenos Aires); \
                         para ti: domingo, 6 de mayo de 2040, 03:00 (hora de Madrid)";
const AFTER: &str = "Saturday, 12 May 2040, 21:00 (Buenos Aires time)";
const AFTER_ES: &str = "sábado, 12 de mayo de 2040, 21:00 (hora de Buenos Aires); \
                        para ti: domingo, 13 de mayo de 2040, 02:00 (hora de Madrid)";

/// A server, its users, and where their letters arrive.
struct Journey {
    mail: SmtpServer,
    server: Server,
    root: User,
    /// Reads Spanish, in Madrid.
    ana: User,
    ben: User,
    host: User,
}

/// Fails unless both parts of a letter hold some words, and its headers and both parts say how to leave its
/// list, if it has one.
fn check(letter: &Opened, language: &str, list: Option<&str>, words: &[&str]) {
    assert_eq!(letter.language, language, "{}", letter.subject);
    for part in [&letter.text, &letter.html] {
        for word in words {
            assert!(part.contains(*word), "{word:?} is not in {part}");
        }
        assert_eq!(part.contains("/api/mail/unsubscribe"), list.is_some(), "{part}");
    }
    let Some(list) = list else {
        let headers = [&letter.unsubscribe, &letter.one_click, &letter.list_id];
        assert!(headers.iter().all(|header| header.is_none()), "{}: {headers:?}", letter.subject);
        return;
    };
    assert_eq!(letter.one_click.as_deref(), Some("List-Unsubscribe=One-Click"), "{}", letter.subject);
    let id = format!("MundoTango {list} <{list}.localhost>");
    assert_eq!(letter.list_id.as_ref(), Some(&id), "{}", letter.subject);
    let link = letter.link("api/mail/unsubscribe");
    assert!(link.starts_with(SITE), "{link}");
    assert_eq!(letter.unsubscribe, Some(format!("<{link}>")), "{}", letter.subject);
}

/// What the clocks of a place show at a time.
fn clock(time: Timestamp, zone: &str) -> String {
    time.to_zoned_datetime(TimeZone::get(zone).unwrap()).strftime("%H:%M").to_string()
}

impl Journey {
    async fn begin() -> Self {
        let mail = SmtpServer::start();
        let settings = [&by_smtp(&mail.port, CONFIRMED_WITHIN)[..], &[("MAIL__PUBLIC_URL", SITE)]].concat();
        let server = Server::start_with(&settings).await;
        let root = server.user("root", "admin");
        let ana = server.register("ok-ana").await;
        let ben = server.register("ok-ben").await;
        let host = server.register("ok-host").await;
        Self { mail, server, root, ana, ben, host }
    }

    async fn letter(&self, username: &str, subject: &str, count: usize) -> Opened {
        let letter = letter(&self.mail, username, subject, count).await;
        assert_eq!(letter.recipient, format!("{username}@example.com"));
        letter
    }

    /// Calls a route that answers with a body.
    async fn call(&self, method: Method, path: &str, user: &User, body: Value) -> Value {
        let (status, answer) = self.server.call(method, path, Some(&user.token), Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Waits until a job of something is delayed, and gives it its turn.
    async fn bring_forward(&self, queue: &str, kind: &str, (field, id): (&str, &str)) {
        let path = format!("/api/admin/jobs/queues/{queue}?state=delayed&limit=100");
        let job = until(&format!("the job {kind} is delayed"), async || {
            let (status, page) = self.server.get(&path, &self.root).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let mut jobs = page["items"].as_array().unwrap().iter();
            jobs.find(|job| job["kind"] == kind && job["payload"][field] == id).cloned()
        })
        .await;
        retry(&self.server, &self.root, &job).await;
    }

    /// An event; its id.
    async fn event(&self, title: &str, at: &str, capacity: Option<u32>) -> String {
        let event = json!({
            "title": title, "eventDate": at, "timeZone": VENUE, "eventType": "milonga",
            "location": "Salón Canning", "capacity": capacity,
        });
        let event = self.call(Method::POST, "/api/events", &self.host, event).await;
        event["id"].as_str().unwrap().to_owned()
    }

    /// Answers to an event; what the answer became.
    async fn answer(&self, event: &str, user: &User, status: &str) -> Value {
        let path = format!("/api/events/{event}/rsvp");
        self.call(Method::POST, &path, user, json!({"status": status})).await["status"].take()
    }

    /// Moves an event to another time.
    async fn moves(&self, event: &str, at: &str) {
        self.call(Method::PATCH, &format!("/api/events/{event}"), &self.host, json!({"eventDate": at})).await;
        // Further changes are waited for.
        self.bring_forward("notification", "event_moved", ("event_id", event)).await;
    }

    /// Whether a user gets letters about events.
    async fn takes_activity_letters(&self, user: &User) -> bool {
        let (status, preferences) = self.server.get(PREFERENCES, user).await;
        assert_eq!(status, StatusCode::OK, "{preferences}");
        preferences["activityLetters"].as_bool().unwrap()
    }

    /// Waits until no letter is to be sent now.
    async fn until_quiet(&self) {
        until("no letter waits or is on its way", async || {
            let [waiting, _, running, dead] = counts(&self.server, &self.root).await;
            assert_eq!(dead, 0, "all letters are taken");
            (waiting + running == 0).then_some(())
        })
        .await;
    }
}

/// Everybody confirms the address.
async fn addresses_are_confirmed(journey: &Journey) {
    for username in ["ok-ana", "ok-ben", "ok-host"] {
        let asked = journey.letter(username, VERIFY_SUBJECT, 1).await;
        let greeting = format!("Hello {username},");
        let body = "Please confirm that this is your e-mail address. The button works for 48 hours.";
        check(&asked, "en", None, &[&greeting, body]);
        assert!(asked.link("verify-email").starts_with(SITE), "{}", asked.text);
        let token = asked.token("verify-email");
        use_link(&journey.server, VERIFY, json!({"token": token})).await;
        let subject = format!("Welcome to MundoTango, {username}");
        let welcome = journey.letter(username, &subject, 1).await;
        let greeting = format!("Welcome, {username}!");
        check(&welcome, "en", None, &[&greeting, "Your account at MundoTango is ready.", SITE]);
    }
}

/// Ben has forgotten the password, and logs in with another.
async fn a_password_is_reset(journey: &mut Journey) {
    const ADDRESS: &str = "ok-ben@example.com";
    assert_eq!(forgot(&journey.server, ADDRESS).await.0, StatusCode::ACCEPTED);
    let asked = journey.letter("ok-ben", RESET_SUBJECT, 1).await;
    check(&asked, "en", None, &["Hello ok-ben,", "The button works once, for 60 minutes."]);
    assert!(asked.link("reset-password").starts_with(SITE), "{}", asked.text);
    let body = json!({"token": asked.token("reset-password"), "password": NEW_PASSWORD});
    use_link(&journey.server, RESET, body).await;
    let told = journey.letter("ok-ben", CHANGED_SUBJECT, 1).await;
    let again = format!("{SITE}/forgot-password");
    check(&told, "en", None, &["The password of your account at MundoTango was changed.", &again]);
    let (status, logged_in) = log_in(&journey.server, ADDRESS, NEW_PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "{logged_in}");
    logged_in["token"].as_str().unwrap().clone_into(&mut journey.ben.token);
}

/// Ana reads Spanish, and the host gets a summary each day, which is due since an hour.
async fn readers_choose(journey: &Journey) {
    let spanish = json!({"language": "es", "timeZone": HOME});
    journey.call(Method::PATCH, PREFERENCES, &journey.ana, spanish).await;
    let hour = clock(Timestamp::now() - SignedDuration::from_hours(1), "UTC");
    let daily = json!({"digests": "daily", "digestHour": hour});
    journey.call(Method::PATCH, PREFERENCES, &journey.host, daily).await;
}

/// Ben gives the one place back, for which Ana waits; the event.
async fn a_place_becomes_free(journey: &Journey) -> String {
    let Journey { ana, ben, .. } = journey;
    let event = journey.event("Milonga del Sur", "2040-05-05T22:00", Some(1)).await;
    assert_eq!(journey.answer(&event, ben, "going").await, "going");
    assert_eq!(journey.answer(&event, ana, "going").await, "waitlisted");
    assert_eq!(journey.answer(&event, ben, "declined").await, "declined");
    assert_eq!(journey.answer(&event, ben, "maybe").await, "maybe");
    journey.bring_forward("notification", "event_answers", ("event_id", &event)).await;
    let told = journey.letter("ok-ana", "Hay un lugar para ti: Milonga del Sur", 1).await;
    let page = format!("{SITE}/events/{event}");
    let words = ["¡Buenas noticias, ok-ana!", BEFORE_ES, "Salón Canning", &page];
    check(&told, "es", Some("activity"), &words);
    event
}

/// Ana is going to an event that begins in a day, and Ben may come; the event and when it starts.
async fn who_is_going_is_reminded(journey: &Journey) -> (String, Timestamp) {
    let start = Timestamp::now() + SignedDuration::from_hours(24) + SignedDuration::from_mins(5);
    let event = journey.event("Práctica", &start.to_string(), None).await;
    assert_eq!(journey.answer(&event, &journey.ana, "going").await, "going");
    assert_eq!(journey.answer(&event, &journey.ben, "maybe").await, "maybe");
    journey.bring_forward("email", "event_reminders", ("event_id", &event)).await;
    journey.bring_forward("email", "reminder_letter", ("user_id", &journey.ana.id)).await;
    let told = journey.letter("ok-ana", "Muy pronto: Práctica", 1).await;
    let (there, here) = (format!(", {}", clock(start, VENUE)), format!(", {}", clock(start, HOME)));
    let page = format!("{SITE}/events/{event}");
    let words = ["(hora de Buenos Aires); para ti: ", "(hora de Madrid)", &there, &here, &page];
    check(&told, "es", Some("activity"), &words);
    (event, start)
}

/// The host moves the full event, and cancels it; Ana's last letter.
async fn an_event_is_moved_and_cancelled(journey: &Journey, event: &str) -> Opened {
    let page = format!("{SITE}/events/{event}");
    journey.moves(event, "2040-05-12T21:00").await;
    let told = journey.letter("ok-ana", "Cambio: Milonga del Sur", 1).await;
    let before = format!("Iba a ser: {BEFORE_ES}. Así queda ahora:");
    check(&told, "es", Some("activity"), &[&before, AFTER_ES, "Salón Canning", &page]);
    let told = journey.letter("ok-ben", "Changed: Milonga del Sur", 1).await;
    let before = format!("It was to be on {BEFORE}. This is how it is now:");
    check(&told, "en", Some("activity"), &[&before, AFTER, "Salón Canning", &page]);
    assert!(!told.text.contains("for you:"), "nobody knows where Ben lives: {}", told.text);

    let reason = json!({"reason": "La pista está mojada."});
    journey.call(Method::POST, &format!("/api/events/{event}/cancel"), &journey.host, reason).await;
    let told = journey.letter("ok-ben", "Cancelled: Milonga del Sur", 1).await;
    let words = ["The organiser writes:", "La pista está mojada.", AFTER, &page];
    check(&told, "en", Some("activity"), &words);
    let told = journey.letter("ok-ana", "Cancelado: Milonga del Sur", 1).await;
    let words = ["Quien lo organiza escribe:", "La pista está mojada.", AFTER_ES, &page];
    check(&told, "es", Some("activity"), &words);
    told
}

/// The host has not read of the answers.
async fn what_is_unread_is_in_the_digest(journey: &Journey, event: &str) {
    journey.bring_forward("notification", "digest", ("user_id", &journey.host.id)).await;
    let told = journey.letter("ok-host", "New for you at MundoTango: ", 1).await;
    let page = format!("{SITE}/events/{event}");
    let words = ["You have not read this yet", "2 new answers to Milonga del Sur", &page];
    check(&told, "en", Some("digest"), &words);
}

/// Sends the form behind the link of a letter.
async fn unsubscribe(journey: &Journey, path: &str, form: &'static str) {
    let request = journey.server.http.post(journey.server.url(path));
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{form}");
}

/// T31: Ana leaves the list of a letter, and comes back.
async fn letters_stop_and_come_again(journey: &Journey, last: &Opened, event: &str, start: Timestamp) {
    let Journey { server, ana, .. } = journey;
    let path = last.link("api/mail/unsubscribe").strip_prefix(SITE).unwrap();
    let later = |hours| (start + SignedDuration::from_hours(hours)).to_string();
    for method in [Method::HEAD, Method::GET] {
        let request = server.http.request(method.clone(), server.url(path)).header(ACCEPT_LANGUAGE, "es");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{method}");
        let page = answer.text().await.unwrap();
        assert_eq!(page.contains("¿Cancelar la suscripción?"), method == Method::GET, "{page}");
    }
    assert!(journey.takes_activity_letters(ana).await);
    journey.moves(event, &later(1)).await;
    journey.letter("ok-ana", "Cambio: Práctica", 1).await;
    journey.letter("ok-ben", "Changed: Práctica", 1).await;

    unsubscribe(journey, path, "List-Unsubscribe=One-Click").await;
    assert!(!journey.takes_activity_letters(ana).await);
    journey.moves(event, &later(2)).await;
    journey.letter("ok-ben", "Changed: Práctica", 2).await;
    // Ana's letter has its job before Ben's.
    journey.until_quiet().await;
    journey.letter("ok-ana", "Cambio: Práctica", 1).await;
    assert_eq!(forgot(server, "ok-ana@example.com").await.0, StatusCode::ACCEPTED);
    let asked = journey.letter("ok-ana", "Elige una contraseña nueva", 1).await;
    check(&asked, "es", None, &["Hola, ok-ana:", "El botón funciona una sola vez, durante 60 minutos."]);
    assert!(asked.link("reset-password").starts_with(SITE), "{}", asked.text);

    unsubscribe(journey, path, "List-Return=Yes").await;
    assert!(journey.takes_activity_letters(ana).await);
    journey.moves(event, &later(3)).await;
    let told = journey.letter("ok-ana", "Cambio: Práctica", 2).await;
    check(&told, "es", Some("activity"), &[&format!("{SITE}/events/{event}")]);
    journey.letter("ok-ben", "Changed: Práctica", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_the_right_letters_from_registration_to_the_digest() {
    let mut journey = Journey::begin().await;
    addresses_are_confirmed(&journey).await;
    a_password_is_reset(&mut journey).await;
    readers_choose(&journey).await;
    let full = a_place_becomes_free(&journey).await;
    let (open, start) = who_is_going_is_reminded(&journey).await;
    let last = an_event_is_moved_and_cancelled(&journey, &full).await;
    what_is_unread_is_in_the_digest(&journey, &full).await;
    letters_stop_and_come_again(&journey, &last, &open, start).await;

    journey.until_quiet().await;
    let to_ana = [
        VERIFY_SUBJECT,
        "Welcome to MundoTango, ok-ana",
        "Hay un lugar para ti: Milonga del Sur",
        "Muy pronto: Práctica",
        "Cambio: Milonga del Sur",
        "Cancelado: Milonga del Sur",
        "Cambio: Práctica",
        "Elige una contraseña nueva",
        "Cambio: Práctica",
    ];
    assert_eq!(subjects(&journey.mail, "ok-ana"), to_ana);
    let to_ben = [
        VERIFY_SUBJECT,
        "Welcome to MundoTango, ok-ben",
        RESET_SUBJECT,
        CHANGED_SUBJECT,
        // A new password ends all logins, and whoever logs in from then on is told of.
        "A new device is logged in to your account",
        "Changed: Milonga del Sur",
        "Cancelled: Milonga del Sur",
        "Changed: Práctica",
        "Changed: Práctica",
        "Changed: Práctica",
    ];
    assert_eq!(subjects(&journey.mail, "ok-ben"), to_ben);
    let to_host = subjects(&journey.mail, "ok-host");
    assert_eq!(to_host[..2], [VERIFY_SUBJECT, "Welcome to MundoTango, ok-host"]);
    assert_eq!(to_host.len(), 3, "{to_host:?}");
}

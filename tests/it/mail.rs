//! Letters as they arrive: in the folder of a node without a mail server, and at a server that does what
//! the recipient's name says.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use mail_parser::{Message, MessageParser, MimeHeaders as _};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::jobs::{LEFT_BEHIND, counted, failures, in_state, job_of, pause, retry};
use crate::server::{Server, User, until};

/// How long the tests' server may take to confirm a letter, where it does not.
const CONFIRMED_WITHIN: &str = "2s";
/// Nothing is done any more.
const EMPTY: [u64; 4] = [0; 4];

/// A mail server that keeps what it takes. Recipients' names say what it does with a letter: see its program.
pub struct SmtpServer {
    child: Child,
    /// The program ends when this does.
    _input: ChildStdin,
    pub port: String,
    letters: Arc<Mutex<Vec<Arrived>>>,
}

/// A letter that a server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub from: String,
    pub to: Vec<String>,
    pub raw: Vec<u8>,
}

impl Arrived {
    fn of(line: &str) -> Self {
        let told: Value = serde_json::from_str(line).unwrap();
        let to = told["to"].as_array().unwrap().iter().map(|to| to.as_str().unwrap().to_owned());
        Self {
            from: told["from"].as_str().unwrap().to_owned(),
            to: to.collect(),
            raw: BASE64_STANDARD.decode(told["raw"].as_str().unwrap()).unwrap(),
        }
    }

    pub fn message_id(&self) -> String {
        parsed(&self.raw).message_id().unwrap().to_owned()
    }
}

impl SmtpServer {
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// The same on a port; on any for 0.
    pub fn start_on(port: u16) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp");
        assert!(folder.join("node_modules").exists(), "run `cargo xtask parts` first");
        let mut child = Command::new("node")
            .arg(folder.join("server.mjs"))
            .arg(json!({"port": port}).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let started: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let letters: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let all = Arc::clone(&letters);
        // It ends with the program.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                all.lock().push(Arrived::of(&line));
            }
        });
        Self { child, _input: input, port: started["port"].to_string(), letters }
    }

    /// All letters so far.
    pub fn letters(&self) -> Vec<Arrived> {
        self.letters.lock().clone()
    }

    /// Those to a user of the tests so far.
    pub fn letters_to(&self, username: &str) -> Vec<Arrived> {
        let address = format!("{username}@example.com");
        self.letters().into_iter().filter(|letter| letter.to.contains(&address)).collect()
    }

    /// Waits until so many letters to a user were taken.
    pub async fn copies(&self, username: &str, count: usize) -> Vec<Arrived> {
        until(&format!("{count} letters to {username}"), async || {
            Some(self.letters_to(username)).filter(|letters| letters.len() >= count)
        })
        .await
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The settings of a node that sends letters to a server on this machine, which may take so long to confirm.
pub fn by_smtp<'a>(port: &'a str, final_timeout: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("MAIL__TRANSPORT", "smtp"),
        ("MAIL__SMTP__HOST", "127.0.0.1"),
        ("MAIL__SMTP__PORT", port),
        ("MAIL__SMTP__TLS", "none"),
        ("MAIL__SMTP__FINAL_TIMEOUT", final_timeout),
    ]
}

/// The letters in the folder of a node without a mail server, in the order of their making.
pub fn files(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.data_dir().join("mail")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut letters: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect();
    letters.sort();
    letters
}

fn parsed(raw: &[u8]) -> Message<'_> {
    MessageParser::default().parse(raw).unwrap()
}

/// The letters in a node's folder whose subject holds a text.
pub fn about(server: &Server, text: &str) -> Vec<Vec<u8>> {
    let letters = files(server).into_iter().map(|file| fs::read(file).unwrap());
    letters.filter(|raw| parsed(raw).subject().unwrap().contains(text)).collect()
}

/// The one recipient of a letter.
fn recipient(letter: &Message<'_>) -> String {
    letter.to().unwrap().first().unwrap().address().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_account_gets_a_letter() {
    const NAME: &str = "<b>Ana</b> & Co";
    let mut server = Server::start().await;
    let account = json!({
        "email": "ana@example.com", "password": "abrazo-1234", "username": "ana", "fullName": NAME,
    });
    let (status, answer) = server.call(Method::POST, "/api/auth/register", None, Some(account)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let file = until("the letter is there", async || files(&server).pop()).await;
    let raw = fs::read(&file).unwrap();
    let letter = parsed(&raw);
    assert_eq!(recipient(&letter), "ana@example.com");
    assert_eq!(letter.to().unwrap().first().unwrap().name(), Some(NAME));
    let from = letter.from().unwrap().first().unwrap();
    assert_eq!((from.name(), from.address()), (Some("MundoTango"), Some("no-reply@localhost")));
    assert_eq!(letter.subject(), Some("Confirm your e-mail address"));
    let id = letter.message_id().unwrap().strip_suffix("@localhost").unwrap();
    assert!(file.to_str().unwrap().ends_with(&format!("-{id}.eml")), "{id} is not of {}", file.display());
    let whole = std::str::from_utf8(&raw).unwrap();
    assert!(whole.contains("\r\nAuto-Submitted: auto-generated\r\n"), "{whole}");
    let kinds = letter.parts[1..].iter().map(|part| part.content_type().unwrap().subtype().unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["plain", "html"], "programs show the last that they know");
    let (text, html) = (letter.body_text(0).unwrap(), letter.body_html(0).unwrap());
    assert!(text.contains(NAME) && text.contains("http://localhost:5000/verify-email?token="), "{text}");
    assert!(html.contains("&lt;b&gt;Ana&lt;") && html.contains("&amp; Co"), "{html}");
    assert!(!html.contains("<b>Ana"), "{html}");

    // A letter that is sent again overwrites its file.
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    server.start_again().await;
    tokio::time::sleep(LEFT_BEHIND).await;
    assert_eq!(files(&server), std::slice::from_ref(&file), "one letter is enough");
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
}

/// An event with one place; where it is answered.
async fn event(server: &Server, title: &str) -> String {
    event_at(server, title, "2040-05-01T20:00:00Z").await
}

/// The same at a time.
async fn event_at(server: &Server, title: &str, at: &str) -> String {
    let host = server.user("host", "user");
    let event = json!({
        "title": title, "description": "", "eventDate": at, "eventType": "milonga",
        "location": "Salon Canning", "capacity": 1,
    });
    let (status, event) = server.post("/api/events", &host, event).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    format!("/api/events/{}/rsvp", event["id"].as_str().unwrap())
}

/// Answers to an event; what the answer became.
async fn answer(server: &Server, rsvp: &str, user: &User, status: &str) -> Value {
    let (code, answer) = server.post(rsvp, user, json!({"status": status})).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    answer["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_is_told_of_the_place_by_a_letter() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    until("both have their first letter", async || (files(&server).len() == 2).then_some(())).await;
    counted(&server, &root, EMPTY).await;
    let rsvp = event(&server, "Milonga").await;
    assert_eq!(answer(&server, &rsvp, &ana, "going").await, "going");
    assert_eq!(answer(&server, &rsvp, &ben, "going").await, "waitlisted");
    answer(&server, &rsvp, &ana, "declined").await;
    let raw = until("the letter is there", async || about(&server, "Milonga").pop()).await;
    let letter = parsed(&raw);
    assert_eq!(letter.subject(), Some("There is a place for you: Milonga"));
    assert_eq!(recipient(&letter), "ben@example.com");
    let text = letter.body_text(0).unwrap();
    let page = rsvp.strip_prefix("/api").unwrap().strip_suffix("/rsvp").unwrap();
    let page = format!("http://localhost:5000{page}");
    for part in ["Tuesday, 1 May 2040, 20:00 (UTC)", "Salon Canning", page.as_str()] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // The reminders wait for the day before the event.
    counted(&server, &root, [0, 1, 0, 0]).await;
    assert_eq!(files(&server).len(), 3, "nobody else is told");

    // Who gave the place back before the letter had its turn is not told of it.
    let rsvp = event(&server, "Practica").await;
    assert_eq!(answer(&server, &rsvp, &ana, "going").await, "going");
    assert_eq!(answer(&server, &rsvp, &ben, "going").await, "waitlisted");
    pause(&server, &root, true).await;
    answer(&server, &rsvp, &ana, "declined").await;
    counted(&server, &root, [1, 2, 0, 0]).await;
    answer(&server, &rsvp, &ben, "declined").await;
    pause(&server, &root, false).await;
    counted(&server, &root, [0, 2, 0, 0]).await;
    assert_eq!(about(&server, "Practica").len(), 0);
}

/// T26: who is told is decided when the time has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_going_is_reminded_a_day_before() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    until("both have their first letter", async || (files(&server).len() == 2).then_some(())).await;
    let in_a_day = Timestamp::now() + SignedDuration::from_hours(24);
    let soon = event_at(&server, "Milonga", &(in_a_day + SignedDuration::from_secs(3)).to_string()).await;
    let too_soon =
        event_at(&server, "Practica", &(in_a_day - SignedDuration::from_hours(1)).to_string()).await;
    for rsvp in [&soon, &too_soon] {
        assert_eq!(answer(&server, rsvp, &ana, "going").await, "going");
        answer(&server, rsvp, &ben, "maybe").await;
    }
    counted(&server, &root, [0, 1, 0, 0]).await;
    let raw = until("the letter is there", async || about(&server, "Milonga").pop()).await;
    assert_eq!(
        (recipient(&parsed(&raw)).as_str(), parsed(&raw).subject()),
        ("ana@example.com", Some("Soon: Milonga"))
    );
    counted(&server, &root, EMPTY).await;
    assert_eq!(files(&server).len(), 3, "nobody else is reminded, and of nothing that is nearer");
}

/// A2: what a server takes, and what it wants to take later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_letter_is_delivered_once_also_if_it_is_put_off_first() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, CONFIRMED_WITHIN)).await;
    let root = server.user("root", "admin");
    server.register("ok-ana").await;
    let ana = mail.copies("ok-ana", 1).await.remove(0);
    assert_eq!((ana.from.as_str(), ana.to.len()), ("no-reply@localhost", 1));
    assert_eq!(recipient(&parsed(&ana.raw)), "ok-ana@example.com");
    counted(&server, &root, EMPTY).await;

    let ben = server.register("greylist-ben").await;
    let job = in_state(&server, &root, &ben, "delayed").await;
    assert_eq!((&job["attempts"], &job["ended"]), (&json!(1), &Value::Null), "{job}");
    let why = failures(&job);
    assert!(why.len() == 1 && why[0].contains("451") && why[0].contains("greylisted, try again"), "{why:?}");
    assert!(job["due"].is_string() && job["why"].as_str().unwrap().contains("greylisted"), "{job}");
    assert_eq!(mail.letters_to("greylist-ben").len(), 0);
    retry(&server, &root, &job).await;
    mail.copies("greylist-ben", 1).await;
    counted(&server, &root, EMPTY).await;
    tokio::time::sleep(LEFT_BEHIND).await;
    assert_eq!(mail.letters().len(), 2, "one for each");
}

/// A2: what a server never takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_letter_that_is_refused_is_dead_with_the_servers_words() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, CONFIRMED_WITHIN)).await;
    let root = server.user("root", "admin");
    for (username, words) in
        [("unknown-ana", "550 5.1.1 no such user here"), ("full-ben", "552 5.2.2 mailbox full")]
    {
        let user = server.register(username).await;
        let job = in_state(&server, &root, &user, "dead").await;
        assert_eq!((&job["ended"], &job["attempts"]), (&json!("failed"), &json!(1)), "{job}");
        let why = failures(&job);
        assert!(why.len() == 1 && why[0].starts_with("refused") && why[0].contains(words), "{why:?}");
    }
    counted(&server, &root, [0, 0, 0, 2]).await;
    assert_eq!(mail.letters().len(), 0);
}

/// A2: what a server may have taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_letter_of_which_nobody_knows_is_sent_again_by_an_admin_alone() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, CONFIRMED_WITHIN)).await;
    let root = server.user("root", "admin");
    let mut jobs = Vec::new();
    for username in ["drop-ana", "silent-ben"] {
        let user = server.register(username).await;
        let job = in_state(&server, &root, &user, "dead").await;
        assert_eq!(job["ended"], "failed", "{job}");
        let why = failures(&job);
        assert!(why.len() == 1 && why[0].contains("nobody knows whether it was sent"), "{why:?}");
        jobs.push((username, user, job));
    }
    tokio::time::sleep(LEFT_BEHIND).await;
    for (username, user, job) in &jobs {
        assert_eq!(mail.letters_to(username).len(), 1, "{username}");
        assert_eq!(job_of(&server, &root, user).await.as_ref(), Some(job));
    }
    let (username, user, job) = &jobs[0];
    retry(&server, &root, job).await;
    let copies = mail.copies(username, 2).await;
    assert_eq!(copies[0].message_id(), copies[1].message_id(), "a mailbox can drop the second");
    let again = until("it is dead again", async || {
        job_of(&server, &root, user).await.filter(|job| job["state"] == "dead" && failures(job).len() == 2)
    })
    .await;
    assert_eq!((&again["id"], &again["attempts"]), (&job["id"], &json!(1)), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_waits_for_a_server_that_is_away() {
    // The port is free again at once.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start_with(&by_smtp(&port.to_string(), CONFIRMED_WITHIN)).await;
    let root = server.user("root", "admin");
    let ana = server.register("ana").await;
    let job = in_state(&server, &root, &ana, "delayed").await;
    let why = failures(&job);
    assert!(why.len() == 1 && why[0].contains("while connecting"), "{why:?}");
    let mail = SmtpServer::start_on(port);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(mail.letters().len(), 0, "its time has not come");
    retry(&server, &root, &job).await;
    mail.copies("ana", 1).await;
    counted(&server, &root, EMPTY).await;
}

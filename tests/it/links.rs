//! Links that are mailed: what they do, once, and what they never do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mail_parser::{MessageParser, MimeHeaders as _};
use mundotango::community::accounts::links::{MailedLink, Purpose};
use mundotango_gateway::tokens::Tokens;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::jobs::{counted, in_state, path_of};
use crate::mail::{Arrived, SmtpServer, by_smtp};
use crate::server::{Server, User, until};

/// What users of the tests log in with.
pub const PASSWORD: &str = "abrazo-1234";
/// What they change it to.
pub const NEW_PASSWORD: &str = "ocho-atras-5678";
/// How long the tests' mail server may take to confirm a letter: longer than it ever needs.
pub const CONFIRMED_WITHIN: &str = "20s";

/// Where a page sends back the token of the link that opened it.
pub const VERIFY: &str = "/api/auth/verify";
pub const RESET: &str = "/api/auth/reset-password";
const CONFIRM: &str = "/api/auth/confirm-email";
const UNDO: &str = "/api/auth/undo-email-change";
/// Where links are asked for.
pub const FORGOT: &str = "/api/auth/forgot-password";
const SEND_AGAIN: &str = "/api/auth/verify/resend";
const CHANGE: &str = "/api/users/me/email";

/// Subjects of letters.
pub const VERIFY_SUBJECT: &str = "Confirm your e-mail address";
pub const RESET_SUBJECT: &str = "Set a new password";
pub const CHANGED_SUBJECT: &str = "Your password was changed";
const NEW_ADDRESS_SUBJECT: &str = "Confirm your new e-mail address";
pub const ADDRESS_CHANGED_SUBJECT: &str = "Your e-mail address was changed";

/// A letter as its reader has it.
#[derive(Clone, Debug)]
pub struct Opened {
    pub recipient: String,
    pub subject: String,
    pub text: String,
    /// With the entities of `/`, `'` and `&` read.
    pub html: String,
    /// The language that the page says it is in.
    pub language: String,
    /// Headers of a letter that one can unsubscribe from.
    pub unsubscribe: Option<String>,
    pub one_click: Option<String>,
    pub list_id: Option<String>,
}

/// Opens a letter, which has to have one recipient and both parts, and those of an invitation if it is one.
pub fn opened(arrived: &Arrived) -> Opened {
    let letter = MessageParser::default().parse(arrived.raw.as_slice()).unwrap();
    let kinds = letter.parts[1..].iter().map(|part| part.content_type().unwrap().subtype().unwrap());
    let kinds: Vec<_> = kinds.collect();
    let invites = kinds == ["alternative", "plain", "html", "calendar", "ics"];
    assert!(invites || kinds == ["plain", "html"], "{kinds:?}");
    let recipient = letter.to().unwrap().first().unwrap().address().unwrap().to_owned();
    assert_eq!(arrived.to, [recipient.as_str()], "the envelope and the header name the same one");
    let html = letter.body_html(0).unwrap().replace("&#x2f;", "/").replace("&#x27;", "'");
    let language = html.split_once("<html lang=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let header = |name: &'static str| letter.header_raw(name).map(|value| value.trim().to_owned());
    Opened {
        recipient,
        subject: letter.subject().unwrap().to_owned(),
        text: letter.body_text(0).unwrap().into_owned(),
        html: html.replace("&amp;", "&"),
        language,
        unsubscribe: header("List-Unsubscribe"),
        one_click: header("List-Unsubscribe-Post"),
        list_id: header("List-Id"),
    }
}

impl Opened {
    /// The link with a token to a page of the site, which both parts have.
    pub fn link(&self, page: &str) -> &str {
        let mark = format!("/{page}?token=");
        let link = self.text.split_whitespace().find(|word| word.contains(&mark));
        let link = link.unwrap_or_else(|| panic!("no link to {page} in {}", self.text));
        assert!(self.html.contains(&format!("href=\"{link}\"")), "{link} is not in {}", self.html);
        link
    }

    /// The token of that link.
    pub fn token(&self, page: &str) -> String {
        self.link(page).split_once("?token=").unwrap().1.to_owned()
    }
}

/// Waits until so many letters, and no more, whose subjects begin with some words came to a user; the last.
pub async fn letter(mail: &SmtpServer, username: &str, subject: &str, count: usize) -> Opened {
    let what = format!("{count} letters {subject:?} to {username}");
    let mut letters = until(&what, async || {
        let mut letters: Vec<_> = mail.letters_to(username).iter().map(opened).collect();
        letters.retain(|letter| letter.subject.starts_with(subject));
        (letters.len() >= count).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), count, "{what}");
    letters.pop().unwrap()
}

/// The subjects of all letters that came to a user so far.
pub fn subjects(mail: &SmtpServer, username: &str) -> Vec<String> {
    mail.letters_to(username).iter().map(|arrived| opened(arrived).subject).collect()
}

/// Calls a route without a login, as the pages behind links do.
pub async fn post(server: &Server, path: &str, body: Value) -> (StatusCode, Value) {
    server.call(Method::POST, path, None, Some(body)).await
}

/// Logs in.
pub async fn log_in(server: &Server, email: &str, password: &str) -> (StatusCode, Value) {
    post(server, "/api/auth/login", json!({"email": email, "password": password})).await
}

/// Asks for a link that sets a new password.
pub async fn forgot(server: &Server, email: &str) -> (StatusCode, Value) {
    post(server, FORGOT, json!({"email": email})).await
}

/// Uses a link that is good, where the answer has no body.
pub async fn use_link(server: &Server, path: &str, body: Value) {
    let (status, answer) = post(server, path, body).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{path}: {answer}");
}

/// Uses a link that is not good.
async fn refused(server: &Server, path: &str, body: Value) {
    let (status, problem) = post(server, path, body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::GONE, &json!("link_invalid")), "{path}: {problem}");
}

pub async fn start(mail: &SmtpServer, more: &[(&str, &str)]) -> Server {
    Server::start_with(&[&by_smtp(&mail.port, CONFIRMED_WITHIN)[..], more].concat()).await
}

/// The caller's own account.
pub async fn me(server: &Server, user: &User) -> Value {
    let (status, me) = server.get("/api/users/me", user).await;
    assert_eq!(status, StatusCode::OK, "{me}");
    me
}

/// Whether a password opens an account.
pub async fn opens(server: &Server, email: &str, password: &str) -> bool {
    let (status, answer) = log_in(server, email, password).await;
    if status == StatusCode::OK {
        return true;
    }
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::UNAUTHORIZED, &json!("wrong_credentials")),
        "{answer}"
    );
    false
}

/// Fails unless a login has ended, with all its tokens.
async fn assert_logged_out(server: &Server, token: &str, refresh_token: &str) {
    let (status, problem) = server.call(Method::GET, "/api/users/me", Some(token), None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{problem}");
    let (status, problem) = post(server, "/api/auth/refresh", json!({"refreshToken": refresh_token})).await;
    let known = (status, &problem["code"]);
    assert_eq!(known, (StatusCode::UNAUTHORIZED, &json!("refresh_token_invalid")), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_confirms_an_address_once_and_opening_it_changes_nothing() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let root = server.user("root", "admin");
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let first = letter(&mail, "ok-ana", VERIFY_SUBJECT, 1).await;
    assert_eq!(first.recipient, "ok-ana@example.com");
    assert!(first.link("verify-email").starts_with("http://localhost:5000/verify-email?"), "{}", first.text);
    let token = first.token("verify-email");

    // Filters of mail servers open all links, some by HEAD.
    for (path, shown) in [("/verify-email", StatusCode::OK), (VERIFY, StatusCode::METHOD_NOT_ALLOWED)] {
        for method in [Method::GET, Method::HEAD] {
            let path = format!("{path}?token={token}");
            let (status, _) = server.call(method.clone(), &path, None, None).await;
            assert_eq!(status, shown, "{method} {path}");
        }
    }
    assert_eq!(forgot(&server, "ok-ana@example.com").await.0, StatusCode::ACCEPTED);
    let of_reset = letter(&mail, "ok-ana", RESET_SUBJECT, 1).await.token("reset-password");
    let of_ben = letter(&mail, "ok-ben", VERIFY_SUBJECT, 1).await.token("verify-email");

    let (sealed, _) = token.rsplit_once('~').unwrap();
    let (_, seal_of_ben) = of_ben.rsplit_once('~').unwrap();
    let id = sealed.rsplit('~').next().unwrap().to_owned();
    let copy = MailedLink { purpose: Purpose::VerifyEmail, user_id: ana.id.clone(), id };
    let elsewhere = Tokens::new(&[7; 32], Duration::from_mins(1));
    for (what, bad) in [
        ("another user's id", of_ben.replacen(&ben.id, &ana.id, 1)),
        ("another link's seal", format!("{sealed}~{seal_of_ben}")),
        ("another purpose", of_reset.clone()),
        ("another purpose by name", of_reset.replacen("reset~", "verify~", 1)),
        ("another server's seal", copy.sealed(&elsewhere).unwrap()),
        ("no seal", sealed.to_owned()),
        ("nonsense", "nonsense".to_owned()),
    ] {
        let (status, problem) = post(&server, VERIFY, json!({"token": bad})).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::GONE, &json!("link_invalid")),
            "{what}: {problem}"
        );
    }
    refused(&server, RESET, json!({"token": token, "password": NEW_PASSWORD})).await;
    assert!(opens(&server, "ok-ana@example.com", PASSWORD).await);
    assert_eq!(me(&server, &ana).await["emailVerified"], false);

    use_link(&server, VERIFY, json!({"token": token})).await;
    assert_eq!(me(&server, &ana).await["emailVerified"], true);
    assert_eq!(me(&server, &ben).await["emailVerified"], false);
    let welcome = "Welcome to MundoTango, ok-ana";
    assert_eq!(letter(&mail, "ok-ana", welcome, 1).await.recipient, "ok-ana@example.com");
    // Who opens the page twice is not told that something is wrong.
    use_link(&server, VERIFY, json!({"token": token})).await;
    counted(&server, &root, [0; 4]).await;
    assert_eq!(subjects(&mail, "ok-ana"), [VERIFY_SUBJECT, RESET_SUBJECT, welcome]);
    assert_eq!(subjects(&mail, "ok-ben"), [VERIFY_SUBJECT]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_sets_a_password_once_and_ends_all_logins() {
    const ADDRESS: &str = "ok-ana@example.com";
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let root = server.user("root", "admin");
    let ana = server.register("ok-ana").await;
    letter(&mail, "ok-ana", VERIFY_SUBJECT, 1).await;
    counted(&server, &root, [0; 4]).await;

    let unknown = forgot(&server, "ok-nobody@example.com").await;
    assert_eq!(unknown, (StatusCode::ACCEPTED, Value::Null));
    let mut tokens = Vec::new();
    for count in 1..=4 {
        assert_eq!(forgot(&server, ADDRESS).await, unknown, "nobody learns who has an account");
        // Who asks and asks takes no link away from Ana, and sends her no more letters.
        if count < 4 {
            tokens.push(letter(&mail, "ok-ana", RESET_SUBJECT, count).await.token("reset-password"));
        }
        // A request makes no job of its own as long as there is one for the address.
        counted(&server, &root, [0; 4]).await;
    }
    assert_eq!(mail.letters().len(), 4, "nobody but Ana gets a letter, and she has three");

    let with = |token: &str, password: &str| json!({"token": token, "password": password});
    let (status, problem) = post(&server, RESET, with(&tokens[0], "short")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    let (status, second) = log_in(&server, ADDRESS, PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "nothing has changed yet: {second}");

    use_link(&server, RESET, with(&tokens[0], NEW_PASSWORD)).await;
    for token in &tokens {
        refused(&server, RESET, with(token, "sacada-9012")).await;
    }
    assert_logged_out(&server, &ana.token, &ana.refresh_token).await;
    let (token, refresh_token) = (second["token"].as_str(), second["refreshToken"].as_str());
    assert_logged_out(&server, token.unwrap(), refresh_token.unwrap()).await;
    assert!(!opens(&server, ADDRESS, PASSWORD).await);
    let (status, logged_in) = log_in(&server, ADDRESS, NEW_PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "{logged_in}");
    let ana = User { token: logged_in["token"].as_str().unwrap().to_owned(), ..ana };
    assert_eq!(me(&server, &ana).await["emailVerified"], true, "who has the link reads the mail");

    let told = letter(&mail, "ok-ana", CHANGED_SUBJECT, 1).await;
    assert!(told.text.contains("http://localhost:5000/forgot-password"), "{}", told.text);
    assert!(!told.text.contains(NEW_PASSWORD) && !told.html.contains(NEW_PASSWORD));
    letter(&mail, "ok-ana", "A new device is logged in", 1).await;
    counted(&server, &root, [0; 4]).await;
    assert_eq!(mail.letters().len(), 6);
}

/// Asks for another address; the token of the link that came there.
pub async fn new_address(mail: &SmtpServer, server: &Server, user: &User, username: &str) -> String {
    let body = json!({"email": format!("{username}@example.com"), "password": PASSWORD});
    let (status, answer) = server.post(CHANGE, user, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    letter(mail, username, NEW_ADDRESS_SUBJECT, 1).await.token("confirm-email")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_changed_by_a_link_to_the_new_one_and_back_by_a_link_to_the_old_one() {
    const OLD: &str = "ok-ana@example.com";
    const NEW: &str = "ok-ana-new@example.com";
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let ana = server.register("ok-ana").await;
    let wrong = json!({"email": NEW, "password": "wrong-password"});
    let (status, problem) = server.post(CHANGE, &ana, wrong).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNAUTHORIZED, &json!("wrong_credentials")),
        "{problem}"
    );

    let token = new_address(&mail, &server, &ana, "ok-ana-new").await;
    assert_eq!(me(&server, &ana).await["email"], OLD);
    assert!(opens(&server, OLD, PASSWORD).await && !opens(&server, NEW, PASSWORD).await);

    // Whoever has the link is told nothing of the account.
    use_link(&server, CONFIRM, json!({"token": token})).await;
    refused(&server, CONFIRM, json!({"token": token})).await;
    let changed = me(&server, &ana).await;
    assert_eq!(
        (&changed["email"], &changed["emailVerified"]),
        (&json!(NEW), &json!(true)),
        "the login goes on"
    );
    assert!(opens(&server, NEW, PASSWORD).await && !opens(&server, OLD, PASSWORD).await);
    // Nobody else gets the old address as long as it can be brought back.
    let other = json!({"email": OLD, "password": PASSWORD, "username": "ok-other", "fullName": "Other"});
    let (status, problem) = post(&server, "/api/auth/register", other).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("taken")), "{problem}");

    let told = letter(&mail, "ok-ana", ADDRESS_CHANGED_SUBJECT, 1).await;
    for part in [&told.text, &told.html] {
        assert!(part.contains("o•••@example.com") && !part.contains(NEW), "{part}");
    }
    let token = told.token("undo-email-change");
    refused(&server, CONFIRM, json!({"token": token})).await;
    use_link(&server, UNDO, json!({"token": token})).await;
    assert_logged_out(&server, &ana.token, &ana.refresh_token).await;
    // Whoever changed the address knows the password.
    assert!(!opens(&server, OLD, PASSWORD).await && !opens(&server, NEW, PASSWORD).await);
    refused(&server, UNDO, json!({"token": token})).await;

    let token = letter(&mail, "ok-ana", RESET_SUBJECT, 1).await.token("reset-password");
    use_link(&server, RESET, json!({"token": token, "password": NEW_PASSWORD})).await;
    assert!(opens(&server, OLD, NEW_PASSWORD).await && !opens(&server, OLD, PASSWORD).await);
    letter(&mail, "ok-ana", CHANGED_SUBJECT, 1).await;
    let to_old = [VERIFY_SUBJECT, ADDRESS_CHANGED_SUBJECT, RESET_SUBJECT, CHANGED_SUBJECT];
    assert_eq!(subjects(&mail, "ok-ana"), to_old);
    assert_eq!(subjects(&mail, "ok-ana-new"), [NEW_ADDRESS_SUBJECT]);
    server.register("ok-ana-new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_somebody_else_is_refused_to_who_reads_its_mail() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let token = new_address(&mail, &server, &ben, "ok-ana").await;
    let (status, problem) = post(&server, CONFIRM, json!({"token": token})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("taken")), "{problem}");
    for (user, email) in [(&ana, "ok-ana@example.com"), (&ben, "ok-ben@example.com")] {
        let (status, logged_in) = log_in(&server, email, PASSWORD).await;
        assert_eq!((status, &logged_in["user"]["id"]), (StatusCode::OK, &json!(user.id)), "{logged_in}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_mailed_again_until_the_address_is_confirmed() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let ana = server.register("ok-ana").await;
    let first = letter(&mail, "ok-ana", VERIFY_SUBJECT, 1).await.token("verify-email");
    let again = async |token: Option<&str>| server.call(Method::POST, SEND_AGAIN, token, None).await;
    assert_eq!(again(None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(again(Some(&ana.token)).await.0, StatusCode::ACCEPTED);
    let second = letter(&mail, "ok-ana", VERIFY_SUBJECT, 2).await.token("verify-email");
    assert_ne!(first, second);
    // The letters may have crossed.
    use_link(&server, VERIFY, json!({"token": first})).await;
    letter(&mail, "ok-ana", "Welcome to MundoTango", 1).await;
    let (status, problem) = again(Some(&ana.token)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_can_ask_for_so_many_links_and_no_more() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[("AUTH__RATES__LINKS_PER_ADDRESS", "2")]).await;
    let ana = server.register("ok-ana").await;
    let forgotten = json!({"email": "ok-ana@example.com"});
    let other = json!({"email": "ok-new@example.com", "password": PASSWORD});
    let ask = async |path: &str, body: Option<&Value>| {
        let request = server.http.post(server.url(path)).bearer_auth(&ana.token);
        let request = if let Some(body) = body { request.json(body) } else { request };
        request.send().await.unwrap()
    };
    assert_eq!(ask(SEND_AGAIN, None).await.status(), StatusCode::ACCEPTED);
    assert_eq!(ask(FORGOT, Some(&forgotten)).await.status(), StatusCode::ACCEPTED);
    // All ways to ask for one share the limit.
    for (path, body) in [(SEND_AGAIN, None), (FORGOT, Some(&forgotten)), (CHANGE, Some(&other))] {
        let answer = ask(path, body).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3600).contains(&wait), "{path}: {wait}");
    }
}

/// What the files below a folder hold, as text.
fn contents(folder: &Path) -> Vec<String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let own = files.iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned());
    own.chain(folders.iter().flat_map(|folder| contents(folder))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_no_file_and_no_log_holds_what_opens_an_account() {
    let mail = SmtpServer::start();
    let mut server = start(&mail, &[]).await;
    let root = server.user("root", "admin");
    // The server takes the letter without an answer, so its job stays.
    let ana = server.register("drop-ana").await;
    let token = letter(&mail, "drop-ana", VERIFY_SUBJECT, 1).await.token("verify-email");
    let [_, _, link_id, seal] = token.split('~').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let listed = in_state(&server, &root, &ana, "dead").await;
    let (status, job) = server.get(&path_of(&listed), &root).await;
    assert_eq!((status, &job), (StatusCode::OK, &listed));
    let payload = json!({"user_id": ana.id, "purpose": "verify_email", "link_id": link_id});
    assert_eq!((&job["kind"], &job["payload"]), (&json!("link_letter"), &payload), "{job}");
    assert!(!job.to_string().contains(seal), "{job}");
    server.call(Method::GET, &format!("/verify-email?token={token}"), None, None).await;

    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let files = contents(&server.data_dir());
    let is_there = |part: &str| files.iter().any(|file| file.contains(part));
    assert!(is_there(link_id), "this looks where the job is");
    assert!(seal.len() > 40, "{seal}");
    // What is stored compressed may be cut into pieces.
    for at in (0..seal.len() - 10).step_by(5) {
        assert!(!is_there(&seal[at..at + 10]), "a part of the seal lies in the data folder");
    }
    assert!(!server.log().contains(seal), "the seal is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_an_account_for_a_while_does_not_get_it_for_good() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let ana = server.register("ok-ana").await;
    // A reset ends what was asked for before it.
    let asked = new_address(&mail, &server, &ana, "ok-thief").await;
    assert_eq!(forgot(&server, "ok-ana@example.com").await.0, StatusCode::ACCEPTED);
    let reset = letter(&mail, "ok-ana", RESET_SUBJECT, 1).await.token("reset-password");
    use_link(&server, RESET, json!({"token": reset, "password": PASSWORD})).await;
    refused(&server, CONFIRM, json!({"token": asked})).await;

    // However often the address is changed, the first owner's way back stays.
    let (status, logged_in) = log_in(&server, "ok-ana@example.com", PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "{logged_in}");
    let thief = User { token: logged_in["token"].as_str().unwrap().to_owned(), ..ana };
    for number in 1..=4 {
        let token = new_address(&mail, &server, &thief, &format!("ok-thief{number}")).await;
        let (status, answer) = post(&server, CONFIRM, json!({"token": token})).await;
        let expected = if number <= 3 { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT };
        assert_eq!(status, expected, "{number}: {answer}");
    }
    let undo = letter(&mail, "ok-ana", ADDRESS_CHANGED_SUBJECT, 1).await.token("undo-email-change");
    use_link(&server, UNDO, json!({"token": undo})).await;
    assert!(!opens(&server, "ok-ana@example.com", PASSWORD).await);
    let reset = letter(&mail, "ok-ana", RESET_SUBJECT, 2).await.token("reset-password");
    use_link(&server, RESET, json!({"token": reset, "password": NEW_PASSWORD})).await;
    assert!(opens(&server, "ok-ana@example.com", NEW_PASSWORD).await);

    // The own address in other letters is no other address, and undoing that would give it away.
    let (status, problem) =
        server.post(CHANGE, &thief, json!({"email": "OK-ana@example.com", "password": NEW_PASSWORD})).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the thief is logged out: {problem}");
    let (_, logged_in) = log_in(&server, "ok-ana@example.com", NEW_PASSWORD).await;
    let ana = User { token: logged_in["token"].as_str().unwrap().to_owned(), ..thief };
    let (status, problem) =
        server.post(CHANGE, &ana, json!({"email": "OK-ana@example.com", "password": NEW_PASSWORD})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
}

//! The pages behind links of letters, as a person walks through them whose site has no front end of its own.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::jobs::counted;
use crate::links::{
    ADDRESS_CHANGED_SUBJECT, CHANGED_SUBJECT, NEW_PASSWORD, Opened, PASSWORD, RESET_SUBJECT, VERIFY_SUBJECT,
    forgot, letter, me, new_address, opens, start, subjects,
};
use crate::mail::SmtpServer;
use crate::server::Server;

/// The site that letters lead to.
const SITE: &str = "http://localhost:5000";
const FORM: &str = "application/x-www-form-urlencoded";
const FORGOT_PAGE: &str = "/forgot-password";

/// A page as a browser gets it.
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    html: String,
}

async fn call(server: &Server, method: Method, path: &str, header: (&str, &str), body: &str) -> Seen {
    let request = server.http.request(method, server.url(path)).header(header.0, header.1);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Seen { status, headers, html: answer.text().await.unwrap() }
}

/// Opens a page, as a reader of some languages.
async fn open(server: &Server, path: &str, languages: &str) -> Seen {
    call(server, Method::GET, path, ("accept-language", languages), "").await
}

/// Presses the button of a page; what it shows then.
async fn press(server: &Server, path: &str, form: &str) -> Seen {
    call(server, Method::POST, path, ("content-type", FORM), form).await
}

impl Seen {
    /// The heading, of a page with a status that no cache keeps and no script runs in.
    fn heading(&self, status: StatusCode) -> &str {
        let Self { headers, html, .. } = self;
        assert_eq!(self.status, status, "{html}");
        let header = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("x-robots-tag"), "noindex, nofollow");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && policy.contains("form-action 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
        html.split_once("<h1>").unwrap().1.split_once("</h1>").unwrap().0
    }

    fn has_form(&self) -> bool {
        self.html.contains("<form method=\"post\">")
    }
}

/// The path to a letter's page.
fn path_of(letter: &Opened, page: &str) -> String {
    let path = letter.link(page).strip_prefix(SITE).unwrap();
    assert!(path.starts_with(&format!("/{page}?token=")), "{path}");
    path.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_link_confirms_an_address_and_opening_it_changes_nothing() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let root = server.user("root", "admin");
    let ana = server.register("ok-ana").await;
    let path = path_of(&letter(&mail, "ok-ana", VERIFY_SUBJECT, 1).await, "verify-email");
    let wrong = format!("{path}x");

    let page = open(&server, &path, "en").await;
    assert_eq!(page.heading(StatusCode::OK), "Confirm your e-mail address");
    assert!(page.has_form(), "{}", page.html);
    let head = call(&server, Method::HEAD, &path, ("accept-language", "en"), "").await;
    assert_eq!((head.status, head.html.as_str()), (StatusCode::OK, ""));
    let spanish = open(&server, &path, "es-AR,es;q=0.9,en;q=0.8").await;
    assert_eq!(spanish.heading(StatusCode::OK), "Confirma tu dirección de correo");
    // Nobody learns from a page whether its link is good.
    for other in [wrong.as_str(), "/verify-email?token=nonsense", "/verify-email"] {
        assert_eq!(open(&server, other, "en").await.html, page.html, "{other}");
    }
    assert_eq!(me(&server, &ana).await["emailVerified"], false);

    let of_reset = path.replacen("verify-email", "reset-password", 1);
    for (bad, form) in [
        (wrong.as_str(), ""),
        ("/verify-email?token=nonsense", ""),
        ("/verify-email", ""),
        (of_reset.as_str(), "password=ocho-atras-5678"),
        (&path.replacen("verify-email", "confirm-email", 1), ""),
        (&path.replacen("verify-email", "undo-email-change", 1), ""),
    ] {
        let page = press(&server, bad, form).await;
        assert_eq!(page.heading(StatusCode::GONE), "This link does not work", "{bad}");
        assert!(!page.has_form(), "{}", page.html);
    }
    assert_eq!(me(&server, &ana).await["emailVerified"], false);

    // A mail service added something to the link.
    let page = press(&server, &format!("{path}&utm_source=letter"), "").await;
    assert_eq!(page.heading(StatusCode::OK), "Your address is confirmed");
    assert_eq!(me(&server, &ana).await["emailVerified"], true);
    let page = press(&server, &path, "").await;
    assert_eq!(page.heading(StatusCode::OK), "Your address is confirmed");
    let welcome = "Welcome to MundoTango, ok-ana";
    letter(&mail, "ok-ana", welcome, 1).await;
    counted(&server, &root, [0; 4]).await;
    assert_eq!(subjects(&mail, "ok-ana"), [VERIFY_SUBJECT, welcome]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_lead_from_a_forgotten_password_to_a_new_one() {
    const ADDRESS: &str = "ok-ana@example.com";
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let root = server.user("root", "admin");
    server.register("ok-ana").await;
    letter(&mail, "ok-ana", VERIFY_SUBJECT, 1).await;
    counted(&server, &root, [0; 4]).await;

    let page = open(&server, FORGOT_PAGE, "en").await;
    assert_eq!(page.heading(StatusCode::OK), "Forgot your password?");
    assert!(page.html.contains("<input id=\"email\" name=\"email\" type=\"email\""), "{}", page.html);
    for form in ["", "email=", "email=ana", "mail=ok-ana%40example.com"] {
        let page = press(&server, FORGOT_PAGE, form).await;
        assert_eq!(page.heading(StatusCode::BAD_REQUEST), "Forgot your password?", "{form}");
        assert!(page.has_form() && page.html.contains("ana@example.com."), "{}", page.html);
    }
    let unknown = press(&server, FORGOT_PAGE, "email=ok-nobody%40example.com").await;
    assert_eq!(unknown.heading(StatusCode::OK), "Look into your mail");
    let page = press(&server, FORGOT_PAGE, "email=ok-ana%40example.com").await;
    assert_eq!(
        (page.status, &page.html),
        (StatusCode::OK, &unknown.html),
        "nobody learns who has an account"
    );

    let path = path_of(&letter(&mail, "ok-ana", RESET_SUBJECT, 1).await, "reset-password");
    let page = open(&server, &path, "en").await;
    assert_eq!(page.heading(StatusCode::OK), "Set a new password");
    assert!(page.html.contains("autocomplete=\"new-password\" required minlength=\"8\""), "{}", page.html);
    for (form, wrong) in [
        ("", "at least 8 characters"),
        ("password=short", "at least 8 characters"),
        (&format!("password={}", "x".repeat(129)), "at most 128 characters"),
    ] {
        let page = press(&server, &path, form).await;
        assert_eq!(page.heading(StatusCode::BAD_REQUEST), "Set a new password");
        assert!(page.has_form() && page.html.contains(wrong), "{}", page.html);
    }
    let long = format!("password={NEW_PASSWORD}&x={}", "x".repeat(50 * 1024));
    let page = press(&server, &path, &long).await;
    assert_eq!(page.heading(StatusCode::PAYLOAD_TOO_LARGE), "This did not arrive as it should");
    let body = json!({"password": NEW_PASSWORD}).to_string();
    let page = call(&server, Method::POST, &path, ("content-type", "application/json"), &body).await;
    assert_eq!(page.heading(StatusCode::UNSUPPORTED_MEDIA_TYPE), "This did not arrive as it should");
    assert!(opens(&server, ADDRESS, PASSWORD).await, "nothing has changed yet");

    let form = format!("password={NEW_PASSWORD}");
    let page = press(&server, &path, &form).await;
    assert_eq!(page.heading(StatusCode::OK), "Your new password is saved");
    assert!(!page.html.contains(NEW_PASSWORD), "{}", page.html);
    assert!(opens(&server, ADDRESS, NEW_PASSWORD).await && !opens(&server, ADDRESS, PASSWORD).await);
    let page = press(&server, &path, &form).await;
    assert_eq!(page.heading(StatusCode::GONE), "This link does not work");
    assert!(page.html.contains("<a href=\"forgot-password\">"), "{}", page.html);

    letter(&mail, "ok-ana", CHANGED_SUBJECT, 1).await;
    counted(&server, &root, [0; 4]).await;
    letter(&mail, "ok-ana", "A new device is logged in", 1).await;
    assert_eq!(mail.letters().len(), 4, "nobody but Ana gets a letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_change_an_address_and_bring_the_old_one_back() {
    const OLD: &str = "ok-ana@example.com";
    const NEW: &str = "ok-ana-new@example.com";
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let token = new_address(&mail, &server, &ana, "ok-ana-new").await;
    let path = format!("/confirm-email?token={token}");
    let page = open(&server, &path, "en").await;
    assert_eq!(page.heading(StatusCode::OK), "Confirm your new e-mail address");
    assert_eq!(me(&server, &ana).await["email"], OLD);
    let page = press(&server, &path, "").await;
    assert_eq!(page.heading(StatusCode::OK), "Your new address is confirmed");
    assert_eq!(me(&server, &ana).await["email"], NEW);

    // Ben asks for an address that is Ana's by now.
    let token = new_address(&mail, &server, &ben, "ok-ana").await;
    let page = press(&server, &format!("/confirm-email?token={token}"), "").await;
    assert_eq!(page.heading(StatusCode::CONFLICT), "Another account has this address");
    assert_eq!(me(&server, &ben).await["email"], "ok-ben@example.com");

    let told = letter(&mail, "ok-ana", ADDRESS_CHANGED_SUBJECT, 1).await;
    let path = path_of(&told, "undo-email-change");
    let page = open(&server, &path, "es").await;
    assert_eq!(page.heading(StatusCode::OK), "¿Deshacer el cambio de tu dirección de correo?");
    assert!(opens(&server, NEW, PASSWORD).await);
    let page = press(&server, &path, "").await;
    assert_eq!(page.heading(StatusCode::OK), "Your address is back");
    assert!(!opens(&server, OLD, PASSWORD).await && !opens(&server, NEW, PASSWORD).await);
    let page = press(&server, &path, "").await;
    assert_eq!(page.heading(StatusCode::GONE), "This link does not work");
    // Whoever changed the address knows the password.
    let path = path_of(&letter(&mail, "ok-ana", RESET_SUBJECT, 1).await, "reset-password");
    let page = press(&server, &path, &format!("password={NEW_PASSWORD}")).await;
    assert_eq!(page.heading(StatusCode::OK), "Your new password is saved");
    assert!(opens(&server, OLD, NEW_PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_too_many_links_gets_a_page_that_says_so() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[("AUTH__RATES__LINKS_PER_ADDRESS", "1")]).await;
    let form = "email=ok-nobody%40example.com";
    // An address that is none is no letter.
    assert_eq!(press(&server, FORGOT_PAGE, "email=x").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(press(&server, FORGOT_PAGE, form).await.status, StatusCode::OK);
    let page = press(&server, FORGOT_PAGE, form).await;
    assert_eq!(page.heading(StatusCode::TOO_MANY_REQUESTS), "Too many tries");
    assert!(page.has_form(), "{}", page.html);
    let wait: u64 = page.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    // The API shares the limit.
    let (status, _) = forgot(&server, "ok-nobody@example.com").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_no_part_of_the_api() {
    let server = Server::start().await;
    let (status, document) = server.call(Method::GET, "/api/docs/json", None, None).await;
    assert_eq!(status, StatusCode::OK);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/auth/verify"));
    for page in [
        "verify-email",
        "reset-password",
        "confirm-email",
        "undo-email-change",
        "end-logins",
        "keep-second-factor",
        "forgot-password",
    ] {
        assert!(!paths.contains_key(&format!("/{page}")), "{page}");
        let page = open(&server, &format!("/{page}"), "en").await;
        page.heading(StatusCode::OK);
        assert!(page.has_form());
    }
    let answer = call(&server, Method::PUT, FORGOT_PAGE, ("content-type", FORM), "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

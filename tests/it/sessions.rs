//! The logins of a user through the real server: what is told of each, and that ending one ends it everywhere.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::links::{PASSWORD, letter, post, start, use_link};
use crate::mail::SmtpServer;
use crate::server::{Server, User};
use crate::tokens::{Socket, refresh};

const SESSIONS: &str = "/api/auth/sessions";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";

/// Another login of a user, with the name that it gives the device.
async fn log_in(server: &Server, username: &str, device: Option<&str>) -> User {
    let mut body = json!({"email": format!("{username}@example.com"), "password": PASSWORD});
    if let Some(device) = device {
        body["device"] = json!(device);
    }
    let request = server.http.post(server.url("/api/auth/login")).header("user-agent", FIREFOX);
    let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    User {
        id: answer["user"]["id"].as_str().unwrap().to_owned(),
        token: text("token"),
        refresh_token: text("refreshToken"),
    }
}

async fn sessions(server: &Server, user: &User) -> Vec<Value> {
    let (status, answer) = server.get(SESSIONS, user).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["items"].as_array().unwrap().clone()
}

/// The id of the login that asks.
async fn own_id(server: &Server, user: &User) -> String {
    let sessions = sessions(server, user).await;
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1, "{sessions:?}");
    current[0]["id"].as_str().unwrap().to_owned()
}

async fn end(server: &Server, user: &User, path: &str) -> StatusCode {
    server.call(Method::DELETE, path, Some(&user.token), None).await.0
}

async fn is_out(server: &Server, user: &User) -> bool {
    let (status, _) = server.get("/api/users/me", user).await;
    let (refreshed, _) = refresh(server, &user.refresh_token).await;
    assert_eq!(status, refreshed, "both tokens of a login are good or none");
    status == StatusCode::UNAUTHORIZED
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_ended_is_over_at_once_and_the_others_stay() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let (browser, kitchen) =
        (log_in(&server, "ana", None).await, log_in(&server, "ana", Some("Kitchen")).await);
    let seen = sessions(&server, &ana).await;
    let devices: Vec<_> = seen.iter().map(|session| session["device"].as_str()).collect();
    assert_eq!(
        devices,
        [Some("Kitchen"), Some("Firefox on Linux"), None],
        "the one that was used last first"
    );
    assert!(seen.iter().all(|session| session["network"] == "127.0.0.0/24"), "{seen:?}");

    let id = own_id(&server, &browser).await;
    let path = format!("{SESSIONS}/{id}");
    assert_eq!(end(&server, &ben, &path).await, StatusCode::NOT_FOUND, "somebody else's");
    let (mut socket, connected) = Socket::connect(&server, &browser.token).await;
    connected.unwrap();
    assert_eq!(end(&server, &ana, &path).await, StatusCode::NO_CONTENT);
    assert_eq!(socket.closed().await, 3503);
    assert!(is_out(&server, &browser).await);
    assert_eq!(end(&server, &ana, &path).await, StatusCode::NOT_FOUND, "it was ended");
    assert_eq!(sessions(&server, &kitchen).await.len(), 2);

    let (mut socket, connected) = Socket::connect(&server, &ana.token).await;
    connected.unwrap();
    assert_eq!(end(&server, &kitchen, SESSIONS).await, StatusCode::NO_CONTENT);
    assert_eq!(socket.closed().await, 3503);
    assert!(is_out(&server, &ana).await);
    assert!(!is_out(&server, &kitchen).await);
    assert!(!is_out(&server, &ben).await);
    let left = sessions(&server, &kitchen).await;
    assert_eq!((left.len(), &left[0]["device"], &left[0]["current"]), (1, &json!("Kitchen"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_from_a_new_device_is_told_of_and_its_letter_ends_all_logins() {
    const SUBJECT: &str = "A new device is logged in";
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    server.register("ana").await;
    let browser = log_in(&server, "ana", None).await;
    let told = letter(&mail, "ana", SUBJECT, 1).await;
    let words = told.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Firefox on Linux, 127.0.0.0/24"), "{words}");
    // The same again is no news, also when no login there is from there.
    assert_eq!(end(&server, &browser, SESSIONS).await, StatusCode::NO_CONTENT);
    server.call(Method::POST, "/api/auth/logout", Some(&browser.token), None).await;
    let browser = log_in(&server, "ana", None).await;
    log_in(&server, "ana", Some("Kitchen")).await;
    letter(&mail, "ana", SUBJECT, 2).await;
    // Three links are good at a time, and then no further letter is sent.
    for device in ["Phone", "Tablet", "Clock"] {
        log_in(&server, "ana", Some(device)).await;
    }
    letter(&mail, "ana", SUBJECT, 3).await;

    let end_logins = "/api/auth/end-logins";
    let token = told.token("end-logins");
    use_link(&server, end_logins, json!({"token": token})).await;
    assert!(is_out(&server, &browser).await);
    assert_eq!(post(&server, end_logins, json!({"token": token})).await.0, StatusCode::GONE);
    // The telephone may be that of a thief: it is news once more.
    log_in(&server, "ana", Some("Phone")).await;
    letter(&mail, "ana", SUBJECT, 4).await;
}

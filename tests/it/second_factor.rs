//! Logging in with a second factor, through the real server.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::links::{PASSWORD, letter, log_in, post, start};
use crate::mail::SmtpServer;
use crate::server::{Server, User};
use mundotango::community::accounts::totp::{code_at, step_of};

const TOTP: &str = "/api/auth/totp";
const CONFIRM: &str = "/api/auth/totp/confirm";
const ANSWER: &str = "/api/auth/login/second-factor";

/// Reads base 32 as apps do.
fn bytes_of(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0_u32);
    for letter in text.bytes() {
        let five = if letter.is_ascii_uppercase() { letter - b'A' } else { letter - b'2' + 26 };
        held = ((held << 5) | u32::from(five)) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).unwrap());
        }
    }
    bytes
}

/// What a device shows so many steps from now.
fn shown(secret: &[u8], steps: u64) -> String {
    code_at(secret, step_of(mundotango_storage::now()) + steps)
}

async fn begin(server: &Server, user: &User) -> Vec<u8> {
    let (status, begun) = server.post(TOTP, user, json!({"password": PASSWORD})).await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    let secret = begun["secret"].as_str().unwrap();
    assert!(begun["otpauthUri"].as_str().unwrap().contains(&format!("secret={secret}&")), "{begun}");
    bytes_of(secret)
}

/// Turns the second factor of a user on; the secret and the recovery codes.
pub async fn turn_on(server: &Server, user: &User) -> (Vec<u8>, Vec<String>) {
    let secret = begin(server, user).await;
    let (status, answer) = server.post(CONFIRM, user, json!({"code": shown(&secret, 0)})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let codes = answer["recoveryCodes"].as_array().unwrap();
    (secret, codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
}

/// The challenge that a login gets in the place of tokens.
pub async fn challenge(server: &Server, email: &str) -> String {
    let (status, problem) = log_in(server, email, PASSWORD).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNAUTHORIZED, &json!("second_factor_required")),
        "{problem}"
    );
    assert!(problem["token"].is_null() && problem["refreshToken"].is_null(), "{problem}");
    problem["challenge"].as_str().unwrap().to_owned()
}

pub async fn answer(server: &Server, challenge: &str, code: &str) -> (StatusCode, Value) {
    post(server, ANSWER, json!({"challenge": challenge, "code": code, "device": "Phone"})).await
}

async fn refused(server: &Server, challenge: &str, code: &str, why: &str) {
    let (status, problem) = answer(server, challenge, code).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!(why)), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_asked_for_after_the_password_and_is_good_once() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[("AUTH__RATES__FAILED_LOGINS", "100")]).await;
    let ana = server.register("ana").await;
    let email = "ana@example.com";

    let (status, problem) = server.post(TOTP, &ana, json!({"password": "another"})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("wrong_credentials")));
    begin(&server, &ana).await;
    assert_eq!(
        log_in(&server, email, PASSWORD).await.0,
        StatusCode::OK,
        "nothing asks before the first code"
    );
    let (status, problem) = server.post(CONFIRM, &ana, json!({"code": "nothing"})).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("code")));
    let (secret, codes) = turn_on(&server, &ana).await;
    assert_eq!(codes.len(), 10);
    letter(&mail, "ana", "Logging in now asks for a code", 1).await;
    let (status, _) = server.post(TOTP, &ana, json!({"password": PASSWORD})).await;
    assert_eq!(status, StatusCode::CONFLICT);

    let first = challenge(&server, email).await;
    refused(&server, &first, "nothing", "wrong_code").await;
    let code = shown(&secret, 1);
    let (status, logged_in) = answer(&server, &first, &code).await;
    assert_eq!(status, StatusCode::OK, "{logged_in}");
    assert_eq!(logged_in["user"]["id"], ana.id.as_str());
    let token = logged_in["token"].as_str().unwrap();
    let (_, sessions) = server.call(Method::GET, "/api/auth/sessions", Some(token), None).await;
    assert_eq!(
        (&sessions["items"][0]["device"], &sessions["items"][0]["current"]),
        (&json!("Phone"), &json!(true))
    );
    refused(&server, &first, &codes[0], "challenge_invalid").await;

    let second = challenge(&server, email).await;
    refused(&server, &second, &code, "wrong_code").await;
    assert_eq!(answer(&server, &second, &codes[0]).await.0, StatusCode::OK);
    let third = challenge(&server, email).await;
    refused(&server, &third, &codes[0], "wrong_code").await;
    let (_, state) = server.get(TOTP, &ana).await;
    assert_eq!(state, json!({"enabled": true, "recoveryCodesLeft": 9}));
    for forged in ["x".to_owned(), third.replace(&ana.id, "nobody"), format!("{third}x")] {
        refused(&server, &forged, &codes[1], "challenge_invalid").await;
    }

    let remove = async |password: &str, code: &str| {
        let body = json!({"password": password, "code": code});
        server.call(Method::DELETE, TOTP, Some(&ana.token), Some(body)).await
    };
    assert_eq!(remove("another", &codes[1]).await.1["code"], "wrong_credentials");
    assert_eq!(remove(PASSWORD, "nothing").await.1["code"], "wrong_code");
    assert_eq!(remove(PASSWORD, &codes[1]).await.0, StatusCode::NO_CONTENT);
    assert_eq!(remove(PASSWORD, &codes[2]).await.0, StatusCode::NOT_FOUND);
    letter(&mail, "ana", "Logging in asks for no code any more", 1).await;
    refused(&server, &third, &codes[2], "challenge_invalid").await;
    assert_eq!(log_in(&server, email, PASSWORD).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_alone_changes_neither_address_nor_codes_and_deletes_nothing() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[("AUTH__RATES__FAILED_LOGINS", "100")]).await;
    let ana = server.register("ana").await;
    let renew = async |code: &str| {
        server.post("/api/auth/totp/recovery-codes", &ana, json!({"password": PASSWORD, "code": code})).await
    };
    assert_eq!(renew("000000").await.0, StatusCode::NOT_FOUND, "there is no second factor");
    let (_, codes) = turn_on(&server, &ana).await;
    let address = json!({"email": "new@example.com", "password": PASSWORD});
    let deletion = json!({"confirmation": "ana", "password": PASSWORD});
    for (method, path, body) in
        [(Method::POST, "/api/users/me/email", address), (Method::DELETE, "/api/users/me", deletion)]
    {
        let ask = async |code: Option<&str>| {
            let mut body = body.clone();
            if let Some(code) = code {
                body["code"] = json!(code);
            }
            server.call(method.clone(), path, Some(&ana.token), Some(body)).await
        };
        let (status, problem) = ask(None).await;
        let told = (status, &problem["code"], &problem["challenge"]);
        assert_eq!(told, (StatusCode::UNAUTHORIZED, &json!("second_factor_required"), &Value::Null));
        assert_eq!(ask(Some("nothing")).await.1["code"], "wrong_code", "{path}");
        if path.ends_with("email") {
            assert_eq!(ask(Some(&codes[0])).await.0, StatusCode::ACCEPTED);
            assert_eq!(ask(Some(&codes[0])).await.1["code"], "wrong_code", "spent");
        }
    }
    assert_eq!(renew("nothing").await.1["code"], "wrong_code");
    let (status, renewed) = renew(&codes[1]).await;
    assert_eq!(status, StatusCode::OK, "{renewed}");
    let renewed: Vec<_> = renewed["recoveryCodes"].as_array().unwrap().iter().collect();
    assert_eq!(renewed.len(), 10);
    assert_eq!(renew(&codes[2]).await.1["code"], "wrong_code", "one of before");
    let deletion = json!({"confirmation": "ana", "password": PASSWORD, "code": renewed[0]});
    let (status, answer) =
        server.call(Method::DELETE, "/api/users/me", Some(&ana.token), Some(deletion)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_device_and_codes_is_helped_by_an_admin_and_nobody_else_is() {
    let mail = SmtpServer::start();
    let server = start(&mail, &[]).await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let eva = crate::admin::staff(&server, "eva", "admin").await;
    let take_off = async |user: &User, by: &User| {
        let path = format!("/api/admin/users/{}/second-factor", user.id);
        let body = json!({"reason": "She lost her phone; we have met."});
        server.call(Method::DELETE, &path, Some(&by.token), Some(body)).await
    };
    assert_eq!(take_off(&ana, &eva).await.0, StatusCode::NOT_FOUND, "there is none");
    let (_, codes) = turn_on(&server, &ana).await;
    assert_eq!(take_off(&ana, &ben).await.0, StatusCode::FORBIDDEN);
    assert_eq!(take_off(&eva, &eva).await.0, StatusCode::CONFLICT);
    let (status, answered) = take_off(&ana, &eva).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answered}");
    assert_eq!(take_off(&ana, &eva).await, (StatusCode::ACCEPTED, answered), "asked again");
    assert_eq!(server.get("/api/users/me", &ana).await.0, StatusCode::UNAUTHORIZED, "all logins end");
    let token =
        letter(&mail, "ana", "Your account will ask for no code", 1).await.token("keep-second-factor");
    let tried = challenge(&server, "ana@example.com").await;

    let keep = "/api/auth/keep-second-factor";
    crate::links::use_link(&server, keep, json!({"token": token})).await;
    assert_eq!(post(&server, keep, json!({"token": token})).await.0, StatusCode::GONE);
    assert_eq!(answer(&server, &tried, &codes[0]).await.0, StatusCode::OK, "the codes are as before");
    assert_eq!(take_off(&ana, &eva).await.0, StatusCode::ACCEPTED, "it can be begun again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_codes_is_held_up() {
    let server = Server::start_with(&[("AUTH__RATES__FAILED_LOGINS", "100")]).await;
    let ana = server.register("ana").await;
    let (secret, codes) = turn_on(&server, &ana).await;
    for _ in 0..2 {
        let tried = challenge(&server, "ana@example.com").await;
        for _ in 0..5 {
            // As good as any other guess, and never the code.
            let guess = format!("{:06}", (shown(&secret, 0).parse::<u32>().unwrap() + 500_000) % 1_000_000);
            refused(&server, &tried, &guess, "wrong_code").await;
        }
        refused(&server, &tried, &shown(&secret, 1), "challenge_invalid").await;
    }
    let held = challenge(&server, "ana@example.com").await;
    let (status, problem) = answer(&server, &held, &shown(&secret, 1)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_requests")));
    assert_eq!(answer(&server, &held, &codes[0]).await.0, StatusCode::OK, "the owner has another way in");
}

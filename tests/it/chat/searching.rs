//! Searching in messages: who finds what was said, and nothing that was said while the person was not there.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, group, of, register_all, say};
use crate::server::{Server, User};

/// How long an index may take to hear of a change.
const DELAY: Duration = Duration::from_secs(20);

/// The numbers of the messages that a search finds, in its order.
async fn said(server: &Server, user: &User, path: &str) -> Vec<u64> {
    let found = done(server, Method::GET, path, user, Value::Null).await;
    let items = found["items"].as_array().unwrap().iter();
    items.map(|item| item["message"]["seq"].as_u64().unwrap_or_else(|| panic!("{item}"))).collect()
}

/// Waits until a search finds these messages. Searches have a quota, so it does not ask all the time.
async fn until_said(server: &Server, user: &User, path: &str, wanted: &[u64]) {
    let start = Instant::now();
    loop {
        let found = said(server, user, path).await;
        if found == wanted {
            return;
        }
        assert!(start.elapsed() < DELAY, "{path} finds {found:?} instead of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

fn everywhere(words: &str) -> String {
    format!("/api/search?kind=message&q={words}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_is_found_by_who_was_there_and_by_nobody_else() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben", "cam", "dan"]).await;
    let [ana, ben, cam, dan] = users.as_slice() else { unreachable!() };
    let chat = group(&server, ana, &[ben]).await;
    let here = |words: &str| of(&chat, &format!("search?q={words}"));
    say(&server, &chat, ana, "Nos vemos en São Telmo").await;
    say(&server, &chat, ana, "¿Quién va a la milónga?").await;
    until_said(&server, ana, &everywhere("milonga"), &[2]).await;
    assert!(said(&server, ben, &everywhere("milonga")).await.is_empty(), "the group is only offered");
    done(&server, Method::POST, &of(&chat, "accept"), ben, Value::Null).await;

    let member = of(&chat, &format!("members/{}", ben.id));
    done(&server, Method::DELETE, &member, ana, Value::Null).await;
    say(&server, &chat, ana, "La milonga sin Ben").await;
    done(&server, Method::POST, &of(&chat, "members"), ana, json!({"userIds": [cam.id]})).await;
    done(&server, Method::POST, &of(&chat, "accept"), cam, Value::Null).await;
    say(&server, &chat, ana, "La milonga de Cam").await;

    // The last one first.
    until_said(&server, ana, &here("milonga"), &[4, 3, 2]).await;
    for (user, wanted) in [(ana, &[4, 3, 2][..]), (ben, &[2]), (cam, &[4]), (dan, &[])] {
        assert_eq!(said(&server, user, &everywhere("milonga")).await, wanted);
        if user.id != dan.id {
            assert_eq!(said(&server, user, &here("milonga")).await, wanted);
        }
    }
    let (status, answer) = server.get(&here("milonga"), dan).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    for (words, wanted) in [("sao", &[1][..]), ("%22sao%20telmo%22", &[1]), ("milnoga", &[2]), ("sin", &[])] {
        assert_eq!(said(&server, ben, &here(words)).await, wanted, "{words}");
    }
    let found = done(&server, Method::GET, &here("quien"), ben, Value::Null).await;
    let item = &found["items"][0];
    assert_eq!((&item["kind"], &item["conversationId"]), (&json!("message"), &json!(chat)));
    assert_eq!(item["highlights"], json!([{"field": "text", "from": 1, "to": 6}]), "{item}");
    let one = done(&server, Method::GET, &of(&chat, "messages?after=1&limit=1"), ben, Value::Null).await;
    assert_eq!(item["message"], one["items"][0], "as the history shows it");

    // Nobody finds a message who did not ask for messages.
    for path in ["/api/search?q=milonga", "/api/search/suggestions?q=milonga"] {
        let found = done(&server, Method::GET, path, ana, Value::Null).await;
        assert_eq!(found["items"], json!([]), "{path}");
    }
    let first = done(&server, Method::GET, &here("milonga&limit=2"), ana, Value::Null).await;
    let cursor = first["nextCursor"].as_str().unwrap();
    assert_eq!(said(&server, ana, &here(&format!("milonga&limit=2&cursor={cursor}"))).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_or_changed_is_not_found_by_what_it_said() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = group(&server, ana, &[ben]).await;
    let here = |words: &str| of(&chat, &format!("search?q={words}"));
    for text in ["cortina uno", "cortina dos", "cortina tres"] {
        say(&server, &chat, ana, text).await;
    }
    until_said(&server, ben, &here("cortina"), &[3, 2, 1]).await;
    done(&server, Method::DELETE, &of(&chat, "messages/3"), ana, Value::Null).await;
    assert_eq!(said(&server, ben, &here("cortina")).await, [2, 1], "each hit is read");
    done(&server, Method::PATCH, &of(&chat, "messages/2"), ana, json!({"text": "tanda dos"})).await;
    until_said(&server, ben, &here("tanda"), &[2]).await;
    assert_eq!(said(&server, ben, &here("cortina")).await, [1]);
}

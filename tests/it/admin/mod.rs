//! The work of moderators and admins, as REST and sockets show it.

mod moderation;
mod taking_away;
mod tickets;
mod trail;
mod users;
mod workflows;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, User, until};

/// The password of those whom these tests make.
const PASSWORD: &str = "abrazo-1234";

/// Somebody with an account of a role, who is logged in.
pub async fn staff(server: &Server, name: &str, role: &str) -> User {
    let root = server.user("root", "admin");
    let account = json!({
        "email": format!("{name}@example.com"), "password": PASSWORD, "username": name, "fullName": name, "role": role,
    });
    let (status, answer) = server.post("/api/admin/users", &root, account).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    log_in(server, name).await
}

async fn log_in(server: &Server, name: &str) -> User {
    let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
    let (status, answer) = server.call(Method::POST, "/api/auth/login", None, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    User {
        id: text(&answer["user"]["id"]),
        token: text(&answer["token"]),
        refresh_token: text(&answer["refreshToken"]),
    }
}

/// Does something that works.
async fn done(server: &Server, path: &str, user: &User, body: Value) -> Value {
    let (status, answer) = server.post(path, user, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

/// Tries something that does not; its code.
async fn refused(server: &Server, path: &str, user: &User, body: Value, wanted: StatusCode) -> Value {
    let (status, problem) = server.post(path, user, body).await;
    assert_eq!(status, wanted, "{path}: {problem}");
    problem
}

async fn read(server: &Server, path: &str, user: &User) -> Value {
    let (status, answer) = server.get(path, user).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

fn id(thing: &Value) -> String {
    thing["id"].as_str().unwrap_or_else(|| panic!("no id: {thing}")).to_owned()
}

/// The ids of a page.
fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(id).collect()
}

/// The acts that the audit trail has of a thing once there are so many, the oldest first.
async fn acts(server: &Server, thing: &str, count: usize) -> Vec<Value> {
    let root = server.user("root", "admin");
    let what = format!("{count} acts on {thing}");
    let acts = until(&what, async || {
        let page = read(server, &format!("/api/admin/audit?thing={thing}"), &root).await;
        let items = page["items"].as_array().unwrap().clone();
        (items.len() >= count).then_some(items)
    });
    let mut acts = acts.await;
    assert_eq!(acts.len(), count, "{acts:#?}");
    acts.reverse();
    acts
}

/// How often an action was counted.
async fn counted(server: &Server, workflow: &str, action: &str) -> u64 {
    let answer = server.http.get(server.url("/metrics")).send().await.unwrap();
    let line = format!("admin_workflow_actions_total{{action=\"{action}\",workflow_type=\"{workflow}\"}} ");
    let text = answer.text().await.unwrap();
    let count = text.lines().find_map(|one| one.strip_prefix(&line));
    count.unwrap_or_else(|| panic!("no {line}")).parse().unwrap()
}

/// A good body of every route that has one, and the path by which it is called.
pub fn good_bodies() -> Vec<(&'static str, String, Value)> {
    let assign = || json!({"assigneeId": "x", "version": 0});
    let reason = || json!({"reason": "x", "version": 0});
    let proposal =
        json!({"title": "A map", "description": "Of milongas.", "area": "events", "needsTwo": true});
    let review = json!({"kind": "post", "thingId": "x", "userId": "y", "reason": "Spam."});
    let until = "2099-01-01T00:00:00Z";
    let resolution = json!({
        "action": "restrict", "rule": "spam", "abilities": ["posting"], "until": until, "reason": "x", "version": 0,
    });
    let reply = json!({"text": "x", "to": "member", "version": 0});
    let bodies = [
        ("post /api/founder-approval", proposal),
        ("post /api/founder-approval/{id}/approve", reason()),
        ("post /api/founder-approval/{id}/reject", reason()),
        ("post /api/founder-approval/{id}/assign", assign()),
        ("post /api/safety-reviews", review),
        ("post /api/safety-reviews/{id}/assign", assign()),
        ("post /api/safety-reviews/{id}/resolve", resolution),
        ("post /api/safety-reviews/{id}/escalate", reason()),
        ("post /api/safety-reviews/{id}/appeal", json!({"outcome": "upheld", "reason": "x", "version": 0})),
        ("post /api/reports", json!({"kind": "post", "id": "x", "category": "spam", "words": "x"})),
        ("post /api/moderation/decisions/{id}/appeal", json!({"text": "x"})),
        ("post /api/moderation/appeals/by-link", json!({"token": "x", "text": "x"})),
        ("post /api/support/tickets", json!({"subject": "Help", "text": "I have no place."})),
        ("post /api/support/tickets/{id}/messages", reply),
        ("post /api/support/tickets/{id}/close", json!({"version": 0})),
        ("post /api/support/tickets/{id}/reopen", json!({"version": 0})),
        ("post /api/support/tickets/{id}/assign", assign()),
        ("post /api/support/tickets/{id}/resolve", reason()),
        ("put /api/admin/users/{id}/role", json!({"role": "moderator", "reason": "x"})),
        ("post /api/admin/users/{id}/block", json!({"reason": "x", "until": until})),
        ("post /api/admin/users/{id}/unblock", json!({"reason": "x", "decisions": true})),
        ("post /api/admin/announcements", json!({"title": "x", "text": "x", "until": until})),
        ("put /api/admin/flags/{name}", json!({"enabled": true, "percent": 10, "roles": ["admin"]})),
    ];
    let bodies = bodies.into_iter().map(|(route, body)| {
        let path = route.split(' ').nth(1).unwrap().replace("{id}", "no-id").replace("{name}", "map");
        (route, path, body)
    });
    bodies.collect()
}

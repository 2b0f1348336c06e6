//! Support tickets.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{acts, counted, done, id, ids, read, refused, staff};
use crate::mail::{SmtpServer, by_smtp};
use crate::server::{Server, User, until};

async fn open(server: &Server, user: &User) -> String {
    let body = json!({"subject": "My ticket", "text": "I paid, and have no place."});
    format!("/api/support/tickets/{}", id(&done(server, "/api/support/tickets", user, body).await))
}

/// A whole ticket; answers come as notifications and by mail, of an own server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_goes_to_and_fro_until_it_is_resolved_and_again() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, "10s")).await;
    let ana = server.register("ok-ana").await;
    let mia = staff(&server, "ok-mia", "moderator").await;
    mail.copies("ok-ana", 1).await;
    mail.copies("ok-mia", 1).await;
    let path = open(&server, &ana).await;
    let ticket = path.rsplit('/').next().unwrap().to_owned();
    assert_eq!(
        ids(&read(&server, "/api/support/tickets?state=open", &mia).await),
        std::slice::from_ref(&ticket)
    );
    done(&server, &format!("{path}/assign"), &mia, json!({})).await;

    let messages = format!("{path}/messages");
    done(&server, &messages, &mia, json!({"text": "She paid twice.", "to": "staff"})).await;
    done(&server, &messages, &mia, json!({"text": "You have a place now."})).await;
    let letter = mail.copies("ok-ana", 2).await.remove(1);
    let raw = String::from_utf8_lossy(&letter.raw).into_owned();
    assert!(raw.contains("You have a place now.") && raw.contains("My ticket"), "{raw}");
    assert!(!raw.contains("She paid twice."), "notes are for the staff");
    done(&server, &messages, &ana, json!({"text": "Thank you!"})).await;
    let letter = mail.copies("ok-mia", 2).await.remove(1);
    assert!(String::from_utf8_lossy(&letter.raw).contains("Thank you!"));

    let seen = read(&server, &messages, &ana).await;
    let seen: Vec<_> = seen["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["voice"], &one["authorId"], &one["text"]))
        .collect();
    let (staff, member) = (json!("staff"), json!("member"));
    assert_eq!(
        seen,
        [
            (&staff, &Value::Null, &json!("You have a place now.")),
            (&member, &json!(ana.id), &json!("Thank you!")),
        ],
        "members see the role, and no notes"
    );
    assert_eq!(read(&server, &messages, &mia).await["items"].as_array().unwrap().len(), 3);
    until("the member is told", async || {
        let list = read(&server, "/api/notifications", &ana).await;
        list["items"].as_array()?.iter().find(|one| one["kind"] == "ticketReplied").cloned()
    })
    .await;

    done(&server, &format!("{path}/resolve"), &mia, json!({"reason": "Solved."})).await;
    refused(&server, &messages, &ana, json!({"text": "One more thing"}), StatusCode::CONFLICT).await;
    assert!(ids(&read(&server, "/api/support/tickets?state=assigned", &mia).await).is_empty());
    let again = done(&server, &format!("{path}/reopen"), &ana, json!({})).await;
    assert_eq!((&again["state"], &again["ended"]), (&json!("assigned"), &Value::Null));
    let assigned = format!("/api/support/tickets?state=assigned&assignee={}", mia.id);
    assert_eq!(ids(&read(&server, &assigned, &mia).await), std::slice::from_ref(&ticket));
    let closed = done(&server, &format!("{path}/close"), &ana, json!({})).await;
    assert_eq!((&closed["state"], &closed["ended"]), (&json!("done"), &json!("closed")));

    // What members do with their own tickets is no act of the staff.
    let acts = acts(&server, &ticket, 4).await;
    let names: Vec<_> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(names, ["ticket.assigned", "ticket.noted", "ticket.replied", "ticket.resolved"]);
    assert_eq!(counted(&server, "support", "replied").await, 3);
    assert_eq!(counted(&server, "support", "opened").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_its_members_and_a_member_has_so_many() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let path = open(&server, &ana).await;
    for (method, path, body) in [
        (Method::GET, path.clone(), None),
        (Method::GET, format!("{path}/messages"), None),
        (Method::POST, format!("{path}/messages"), Some(json!({"text": "x"}))),
        (Method::POST, format!("{path}/close"), Some(json!({}))),
    ] {
        let (status, _) = server.call(method, &path, Some(&ben.token), body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, _) = server.get("/api/support/tickets?of=all", &ben).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(ids(&read(&server, "/api/support/tickets", &ben).await).is_empty());
    for _ in 0..19 {
        open(&server, &ana).await;
    }
    let body = json!({"subject": "x", "text": "x"});
    let problem = refused(&server, "/api/support/tickets", &ana, body, StatusCode::CONFLICT).await;
    assert_eq!(problem["code"], "full");
    open(&server, &ben).await;
}

/// Whoever loses the role leaves nothing behind that only admins could take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_moderator_held_waits_for_others_once_the_role_is_gone() {
    let server = Server::start().await;
    let (ana, eva) = (server.register("ana").await, staff(&server, "eva", "admin").await);
    let (mia, max) = (staff(&server, "mia", "moderator").await, staff(&server, "max", "moderator").await);
    let path = open(&server, &ana).await;
    done(&server, &format!("{path}/assign"), &mia, json!({})).await;
    let role = format!("/api/admin/users/{}/role", mia.id);
    let body = json!({"role": "user", "reason": "She asked for it."});
    let (status, answer) = server.call(Method::PUT, &role, Some(&eva.token), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    until("the ticket waits", async || {
        let ticket = read(&server, &path, &max).await;
        (ticket["state"] == "open" && ticket["assigneeId"].is_null()).then_some(())
    })
    .await;
    let taken = done(&server, &format!("{path}/assign"), &max, json!({})).await;
    assert_eq!(taken["assigneeId"], json!(max.id));
    let acts = acts(&server, path.rsplit('/').next().unwrap(), 3).await;
    assert_eq!((&acts[1]["act"], &acts[1]["actorId"]), (&json!("ticket.released"), &json!("system")));
}

/// What changes is told to the member's devices, and to those who work on tickets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_heard_by_the_staff_alone() {
    let server = Server::start().await;
    let (ana, mia) = (server.register("ana").await, staff(&server, "mia", "moderator").await);
    let path = open(&server, &ana).await;
    done(&server, &format!("{path}/assign"), &mia, json!({})).await;
    let queue = json!({"channel": "staff:queue", "recover": true, "epoch": "", "offset": 0});
    let refused = server.try_subscribe_once(&ana, queue.clone()).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(server.try_subscribe_once(&mia, json!({"channel": "staff:queue"})).await.is_ok());
}

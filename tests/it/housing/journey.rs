//! From a request to the end of the stay.

use std::collections::BTreeSet;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Town, day, page_of};
use crate::mail::{SmtpServer, by_smtp};
use crate::server::{Server, User, until};

/// What a user hears of bookings, until one stands so.
async fn heard(server: &Server, user: &User, last: &str, act: impl AsyncFnOnce()) -> Vec<Value> {
    let (mut socket, _) = connect_async(server.websocket_url()).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": user.token}});
    socket.send(Message::text(connect.to_string())).await.unwrap();
    let Message::Text(_) = socket.next().await.unwrap().unwrap() else { panic!("not connected") };
    act().await;
    let mut heard: Vec<Value> = Vec::new();
    let listening = async {
        while heard.last().is_none_or(|message| message["booking"]["status"] != last) {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            for push in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let data = push.unwrap()["push"]["pub"]["data"].take();
                if data["type"].as_str().is_some_and(|name| name.starts_with("booking.")) {
                    heard.push(data);
                }
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), listening).await.expect("nothing more came");
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stay_from_the_request_to_its_cancelling() {
    let town = Town::start().await;
    let room = town.room().await;
    let booking = town.ask(&room, &town.ana, 10, 3).await;
    assert_eq!(booking["status"], "requested");
    assert_eq!((&booking["quote"]["total"], &booking["payment"]), (&json!(136.5), &json!("none")));
    assert_eq!(booking["cancellationPolicy"]["rules"][0], json!({"daysBefore": 5, "percent": 100}));
    let other = town.ask(&room, &town.ben, 12, 2).await;
    assert_eq!(town.ids("/api/bookings?as=host&status=requested", &town.host).await.len(), 2);

    let heard = heard(&town.server, &town.ana, "confirmed", async || {
        let confirmed = town.done(&booking, "confirm", &town.host, json!({})).await;
        assert_eq!((&confirmed["status"], &confirmed["payment"]), (&json!("confirmed"), &json!("due")));
    })
    .await;
    let last = heard.last().unwrap();
    assert_eq!((&last["type"], &last["booking"]["id"]), (&json!("booking.changed"), &booking["id"]));
    // The other request follows by a job.
    until("the other is superseded", async || {
        (town.get(&page_of(&other), &town.ben).await["status"] == "superseded").then_some(())
    })
    .await;
    assert_eq!(town.ids("/api/bookings?as=host&status=requested", &town.host).await, [Value::Null; 0]);
    let (status, problem) = town.act(&other, "confirm", &town.host, json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    let (status, problem) = town.act(&booking, "decline", &town.host, json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");

    // The night of the check-out day is free, the one before is not.
    let calendar = format!("/api/housing/{}/availability", room["id"].as_str().unwrap());
    let calendar = format!("{calendar}?from={}&to={}", day(12), day(14));
    let nights = town.get(&calendar, &town.ben).await;
    let free: Vec<_> =
        nights["nights"].as_array().unwrap().iter().map(|night| night["free"].clone()).collect();
    assert_eq!((free, &nights["free"]), (vec![json!(false), json!(true)], &json!(false)));
    assert_eq!(nights["nights"][0].get("bookingId"), None, "only the host is told who comes");
    let own = town.get(&calendar, &town.host).await;
    assert_eq!(own["nights"][0]["bookingId"], booking["id"]);
    let path = format!("/api/housing/{}/bookings", room["id"].as_str().unwrap());
    let taken = json!({"from": day(12), "to": day(14)});
    let (status, problem) = town.server.post(&path, &town.ben, taken).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("nights_taken")));

    let reason = json!({"reason": "I am ill."});
    let cancelled = town.done(&booking, "cancel", &town.ana, reason).await;
    assert_eq!((&cancelled["status"], &cancelled["payment"]), (&json!("cancelled"), &json!("none")));
    assert_eq!(cancelled["refund"], json!({"percent": 100, "amount": 136.5}));
    let history = cancelled["history"].as_array().unwrap();
    assert_eq!((&history[1]["status"], &history[1]["by"]), (&json!("cancelled"), &json!("guest")));
    until("the nights are free", async || {
        (town.get(&calendar, &town.ben).await["free"] == true).then_some(())
    })
    .await;
    let metrics =
        town.server.http.get(town.server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for (status, count) in
        [("requested", 2), ("confirmed", 1), ("superseded", 1), ("cancelled", 1), ("no_show", 0)]
    {
        let line = format!("housing_bookings_total{{status=\"{status}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_offers_something_else_and_the_guest_accepts() {
    let town = Town::start().await;
    let room = town.room().await;
    let booking = town.ask(&room, &town.ana, 10, 3).await;
    let (status, _) = town.act(&booking, "accept", &town.ana, json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "nothing is offered");
    let offer = json!({"from": day(11), "to": day(13), "total": 80, "message": "I am back then."});
    let offered = town.done(&booking, "counter", &town.host, offer).await;
    assert_eq!((&offered["status"], &offered["from"]), (&json!("countered"), &json!(day(11))));
    assert_eq!((&offered["quote"]["total"], &offered["offer"]["number"]), (&json!(80), &json!(1)));
    let (status, _) = town.act(&booking, "accept", &town.host, json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "the guest accepts");
    let (status, _) = town.act(&booking, "accept", &town.ana, json!({"offer": 2})).await;
    assert_eq!(status, StatusCode::CONFLICT, "there is no second one");
    let accepted = town.done(&booking, "accept", &town.ana, json!({"offer": 1})).await;
    assert_eq!((&accepted["status"], &accepted["nights"]), (&json!("confirmed"), &json!(2)));
    for _ in 0..2 {
        let again = town.done(&booking, "accept", &town.ana, json!({"offer": 1})).await;
        assert_eq!(again["version"], accepted["version"], "said again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_again_is_one_booking() {
    let town = Town::start().await;
    let room = town.room().await;
    let path = town.server.url(&format!("/api/housing/{}/bookings", room["id"].as_str().unwrap()));
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let request =
            town.server.http.post(&path).bearer_auth(&town.ana.token).header("idempotency-key", "one");
        let answer = request.json(&json!({"from": day(5), "to": day(7)})).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        ids.insert(answer.json::<Value>().await.unwrap()["id"].to_string());
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(town.ids("/api/bookings", &town.ana).await.len(), 1);
}

/// Both sides are told by notifications and by letters, each of what it waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_are_told() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, "20s")).await;
    let host = server.register("ok-host").await;
    let (ana, ben) = (server.register("ok-ana").await, server.register("ok-ben").await);
    let town = Town { server, host, ana, ben };
    let room = town.room().await;
    let booking = town.ask(&room, &town.ana, 10, 3).await;
    let subject = |username: &str, words: &str| {
        let (mail, username, words) = (&mail, username.to_owned(), words.to_owned());
        async move {
            until(&format!("{username} reads {words:?}"), async || {
                let letters = mail.letters_to(&username);
                letters.iter().map(crate::links::opened).find(|letter| letter.subject.starts_with(&words))
            })
            .await
        }
    };
    let asked = subject("ok-host", "ok-ana would like to stay with you: Room in San Telmo").await;
    assert!(asked.text.contains(&format!("/bookings/{}", booking["id"].as_str().unwrap())), "{}", asked.text);
    assert!(!asked.text.contains("Defensa 755"), "{}", asked.text);
    town.done(&booking, "confirm", &town.host, json!({})).await;
    let confirmed = subject("ok-ana", "Your stay is confirmed: Room in San Telmo").await;
    assert!(confirmed.text.contains("Where: Defensa 755, 4B, Buenos Aires"), "{}", confirmed.text);
    town.done(&booking, "cancel", &town.host, json!({})).await;
    subject("ok-ana", "Booking cancelled: Room in San Telmo").await;
    let told = until("all is in the list", async || {
        let listed = town.get("/api/notifications", &town.ana).await;
        let items = listed["items"].as_array().unwrap().clone();
        (items.len() == 2).then_some(items)
    })
    .await;
    let kinds: Vec<_> = told.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["bookingCancelled", "bookingConfirmed"]);
    assert_eq!((&told[0]["thing"], &told[0]["actorId"]), (&booking["id"], &json!(town.host.id)));
    assert_eq!(told[0]["path"], format!("/bookings/{}", booking["id"].as_str().unwrap()));
}

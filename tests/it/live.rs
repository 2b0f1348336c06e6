//! What happens in the community arrives on sockets, through the official SDKs.

use std::time::Instant;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::sdk::{Sdk, SdkClient};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_made_by_rest_arrives_on_every_sdk() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let mut clients = Vec::new();
    for sdk in Sdk::ALL {
        clients.push((sdk, SdkClient::subscribed(sdk, &server, &ana, "posts:feed").await));
    }
    let (status, post) = server.post("/api/posts", &ana, json!({"content": "¡Hola, milongueros!"})).await;
    assert_eq!(status, StatusCode::CREATED);
    for (sdk, client) in &mut clients {
        let message = client.publication().await;
        assert_eq!(message["type"], "post.created", "{sdk:?}");
        assert_eq!(message["post"], post, "{sdk:?}: the same schema as REST gives");
    }
    for caller in 0..clients.len() {
        let made = json!({"do": "rpc", "method": "POST /api/posts", "data": {"content": "by rpc"}});
        let made = clients[caller].1.result(made).await;
        for (sdk, client) in &mut clients {
            assert_eq!(client.publication().await["post"], made, "{sdk:?}");
        }
        let posts = clients[caller].1.result(json!({"do": "rpc", "method": "GET /api/posts?limit=1"})).await;
        assert_eq!(posts["items"][0]["id"], made["id"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rpc_is_the_same_operation_with_the_same_errors() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    for sdk in Sdk::ALL {
        let mut client = SdkClient::subscribed(sdk, &server, &ana, "posts:feed").await;
        let mut code = async |method: &str, data: serde_json::Value| {
            let reply = client.act(json!({"do": "rpc", "method": method, "data": data})).await;
            assert_eq!(reply["ok"], false);
            (reply["code"].as_u64(), reply["message"].as_str().unwrap_or_default().to_owned())
        };
        let (status, message) = code("POST /api/posts", json!({"content": ""})).await;
        assert!(message.contains("content"), "{sdk:?}: {message}");
        assert_eq!(status, Some(400), "{sdk:?}");
        assert_eq!(code("GET /api/posts/none", json!({})).await.0, Some(404), "{sdk:?}");
        assert_eq!(code("GET /api/admin/system/tree", json!({})).await.0, Some(403), "{sdk:?}");
        assert_eq!(code("GET /api/nothing", json!({})).await.0, Some(104), "{sdk:?}");
        assert_eq!(code("DELETE /api/posts", json!({})).await.0, Some(104), "{sdk:?}");
        assert_eq!(code("nothing", json!({})).await.0, Some(104), "{sdk:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_answers_arrive_where_they_belong() {
    let server = Server::start().await;
    let (ana, beto) = (server.register("ana").await, server.register("beto").await);
    let mut all = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "events:all").await;
    let body = json!({
        "title": "Milonga", "description": "", "eventDate": "2030-01-01T20:00:00Z",
        "location": "La Viruta", "eventType": "milonga", "capacity": 1,
    });
    let (_, event) = server.post("/api/events", &ana, body).await;
    assert_eq!(all.publication().await["event"], event);

    let id = event["id"].as_str().unwrap();
    let mut one = SdkClient::subscribed(Sdk::PythonJson, &server, &beto, &format!("event:{id}")).await;
    assert_eq!(one.result(json!({"do": "presenceStats"})).await["numClients"], 1);
    let rsvp = format!("/api/events/{id}/rsvp");
    server.post(&rsvp, &ana, json!({})).await;
    let message = one.publication().await;
    assert_eq!((&message["type"], &message["counts"]["going"]), (&json!("event.rsvp"), &json!(1)));
    let (_, waiting) = server.post(&rsvp, &beto, json!({})).await;
    assert_eq!(waiting["status"], "waitlisted");
    one.publication().await;

    // Beto gets the place that Ana gives back, and is told on his personal channel.
    server.post(&rsvp, &ana, json!({"status": "declined"})).await;
    let personal = one.event("serverPublication").await;
    assert_eq!(personal["channel"], format!("#{}", beto.id));
    assert_eq!(
        (&personal["data"]["type"], &personal["data"]["rsvp"]["status"]),
        (&json!("event.promoted"), &json!("going"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_events_hears_the_last_counts_and_not_each_answer() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let mut all = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ana, "events:all").await;
    let body = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
    });
    let (_, event) = server.post("/api/events", &ana, body.clone()).await;
    assert_eq!(all.publication().await["type"], "event.created");
    let path = format!("/api/events/{}", event["id"].as_str().unwrap());

    let (rsvp, began) = (format!("{path}/rsvp"), Instant::now());
    let guests: Vec<_> = (0..10).map(|number| server.user(&format!("guest {number}"), "user")).collect();
    let answers = guests.iter().map(async |guest| {
        for status in ["going", "maybe", "going", "maybe", "going"] {
            let (code, answer) = server.post(&rsvp, guest, json!({"status": status})).await;
            assert_eq!(code, StatusCode::OK, "{answer}");
        }
    });
    join_all(answers).await;
    let (_, seen) = server.get(&path, &ana).await;
    assert_eq!((&seen["counts"]["going"], &seen["counts"]["maybe"]), (&json!(10), &json!(0)));

    let mut versions = Vec::new();
    let last = loop {
        let message = all.publication().await;
        assert_eq!((&message["type"], &message["eventId"]), (&json!("event.counts"), &event["id"]));
        versions.push(message["version"].as_u64().unwrap());
        if message["version"] == seen["version"] {
            break message;
        }
    };
    assert_eq!(last["counts"], seen["counts"], "the last counts are those that a list shows");
    let most = 2 + began.elapsed().as_secs();
    assert!(versions.len() as u64 <= most, "{} for 50 answers, {most} at most: {versions:?}", versions.len());
    assert!(versions.is_sorted(), "{versions:?}");

    // Of a draft nobody hears before it is published, and of the event above nothing is left to tell.
    let mut draft = body;
    draft["draft"] = json!(true);
    let (_, draft) = server.post("/api/events", &ana, draft).await;
    let path = format!("/api/events/{}", draft["id"].as_str().unwrap());
    let (status, _) = server.post(&format!("{path}/rsvp"), &ana, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let change = json!({"capacity": 3, "title": "Secret"});
    assert_eq!(server.call(Method::PATCH, &path, Some(&ana.token), Some(change)).await.0, StatusCode::OK);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    server.post(&format!("{path}/publish"), &ana, json!({})).await;
    let message = all.publication().await;
    assert_eq!((&message["type"], &message["event"]["id"]), (&json!("event.created"), &draft["id"]));
    server.post(&format!("{path}/rsvp"), &ana, json!({})).await;
    let message = all.publication().await;
    assert_eq!((&message["type"], &message["counts"]["going"]), (&json!("event.counts"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bookmark_shows_on_the_users_other_devices_and_to_nobody_else() {
    let server = Server::start().await;
    let (ana, beto) = (server.register("ana").await, server.register("beto").await);
    let mut device = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &beto, "posts:feed").await;
    let mut posts = Vec::new();
    for (content, visibility) in [("one", "public"), ("two", "public"), ("secret", "private")] {
        let body = json!({"content": content, "visibility": visibility});
        let (_, post) = server.post("/api/posts", &ana, body).await;
        posts.push(post["id"].as_str().unwrap().to_owned());
    }
    let bookmark = async |method: Method, post: &str| {
        server.call(method, &format!("/api/posts/{post}/bookmark"), Some(&beto.token), None).await.0
    };
    for post in &posts[..2] {
        assert_eq!(bookmark(Method::PUT, post).await, StatusCode::NO_CONTENT);
        assert_eq!(
            bookmark(Method::PUT, post).await,
            StatusCode::NO_CONTENT,
            "setting it again changes nothing"
        );
        let told = device.event("serverPublication").await;
        assert_eq!(told["channel"], format!("#{}", beto.id));
        assert_eq!(told["data"], json!({"type": "bookmark.changed", "postId": post, "bookmarked": true}));
    }
    assert_eq!(bookmark(Method::PUT, &posts[2]).await, StatusCode::NOT_FOUND, "what cannot be read");
    let listed = async |user| {
        let (_, page) = server.get("/api/bookmarks", user).await;
        let items = page["items"].as_array().unwrap();
        items.iter().map(|post| post["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&beto).await, ["two", "one"]);
    assert_eq!(listed(&ana).await, Vec::<String>::new());
    assert_eq!(bookmark(Method::DELETE, &posts[1]).await, StatusCode::NO_CONTENT);
    assert_eq!(device.event("serverPublication").await["data"]["bookmarked"], false);
    assert_eq!(listed(&beto).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_come_back_after_a_restart_and_miss_nothing() {
    let mut server = Server::start().await;
    let ana = server.register("ana").await;
    let mut clients = Vec::new();
    for sdk in Sdk::ALL {
        clients.push(SdkClient::subscribed(sdk, &server, &ana, "posts:feed").await);
    }
    server.post("/api/posts", &ana, json!({"content": "before"})).await;
    for client in &mut clients {
        assert_eq!(client.publication().await["post"]["content"], "before");
    }
    server.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.event("connecting").await["code"], 3001);
    }
    assert!(server.wait_for_end().await.success(), "{}", server.log());
    server.start_again().await;
    server.post("/api/posts", &ana, json!({"content": "after"})).await;
    for client in &mut clients {
        let subscribed = client.event("subscribed").await;
        assert_eq!((&subscribed["wasRecovering"], &subscribed["recovered"]), (&json!(true), &json!(true)));
        assert_eq!(client.publication().await["post"]["content"], "after");
        assert_eq!(client.seen("publication"), 0);
    }
}

//! Search, through REST: what is found and by whom, after changes, kills and lost indexes.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster;
use crate::housing::room_body;
use crate::server::{Server, User, until};

/// What a search finds.
pub async fn find(server: &Server, user: &User, query: &str) -> Value {
    let (status, answer) = server.get(&format!("/api/search?{query}"), user).await;
    assert_eq!(status, StatusCode::OK, "{query}: {answer}");
    answer
}

pub fn ids(found: &Value) -> Vec<&str> {
    let items = found["items"].as_array().unwrap();
    let kinds = ["person", "post", "event", "listing", "comment"];
    let things =
        items.iter().map(|item| kinds.map(|kind| &item[kind]).into_iter().find(|thing| thing.is_object()));
    things.map(|thing| thing.unwrap()["id"].as_str().unwrap()).collect()
}

/// Waits until a search finds so many things.
pub async fn until_found(server: &Server, user: &User, query: &str, count: usize) -> Value {
    until(&format!("{query} finds {count}"), async || {
        let found = find(server, user, query).await;
        (ids(&found).len() == count).then_some(found)
    })
    .await
}

async fn post(server: &Server, path: &str, user: &User, body: Value) -> String {
    let (status, made) = server.post(path, user, body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

fn event(title: &str) -> Value {
    json!({
        "title": title, "eventDate": "2030-01-01T20:00:00-03:00", "eventType": "milonga",
        "location": {"text": "La Viruta, Armenia 1366", "city": "Buenos Aires"},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn things_of_all_kinds_are_found_and_shown_as_their_routes_show_them() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let profile = json!({"fullName": "Пётр São", "bio": "Bailo tango", "city": "Berlin"});
    let (status, _) = server.call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(profile)).await;
    assert_eq!(status, StatusCode::OK);
    let said = post(&server, "/api/posts", &ana, json!({"content": "今晚探戈 with my friends"})).await;
    let given = post(&server, "/api/events", &ana, event("Milónga del Sur")).await;
    let room = post(&server, "/api/housing", &ana, room_body()).await;
    let (person, said, given, room) = (ana.id.as_str(), said.as_str(), given.as_str(), room.as_str());

    for (query, id, kind) in [
        ("q=%D0%9F%D0%B5%D1%82%D1%80", person, "person"),
        ("q=sao", person, "person"),
        ("q=pet&kind=post", "", ""),
        ("q=tango%20berlin", person, "person"),
        ("q=%E6%8E%A2%E6%88%88", said, "post"),
        ("q=milonga%20sur", given, "event"),
        ("q=MILON", given, "event"),
        ("q=milnoga%20sur", given, "event"),
        ("q=sur&city=buenos%20aires", given, "event"),
        ("q=viruta&from=2030-01-01T00:00:00Z&to=2030-01-03T00:00:00Z", given, "event"),
        ("q=%22san%20telmo%22", room, "listing"),
        ("q=milongas&kind=housing", room, "listing"),
    ] {
        if id.is_empty() {
            assert!(ids(&find(&server, &ben, query).await).is_empty(), "{query}");
            continue;
        }
        let found = until_found(&server, &ben, query, 1).await;
        let item = &found["items"][0];
        assert_eq!((ids(&found), item[kind].is_object()), (vec![id], true), "{query}: {found}");
        assert_eq!((&found["isComplete"], &found["nextCursor"]), (&json!(true), &Value::Null), "{query}");
        let path = match kind {
            "person" => format!("/api/users/{id}"),
            "post" => format!("/api/posts/{id}"),
            "event" => format!("/api/events/{id}"),
            _ => format!("/api/housing/{id}"),
        };
        let (_, page) = server.get(&path, &ben).await;
        // A user's page says more: how the caller stands to the user.
        for (field, value) in item[kind].as_object().unwrap() {
            assert_eq!(&page[field], value, "{query}: {field}");
        }
    }
    for query in [
        "q=sur&city=berlin",
        "q=viruta&to=2029-01-01T00:00:00Z",
        "q=armenia&kind=housing",
        "q=defensa",
        "q=4b",
    ] {
        assert!(ids(&find(&server, &ben, query).await).is_empty(), "{query}");
    }

    let found = find(&server, &ben, "q=milonga").await;
    assert_eq!(found["items"][0]["highlights"], json!([{"field": "title", "from": 0, "to": 7}]));
    let (status, suggested) = server.get("/api/search/suggestions?q=mil", &ben).await;
    let wanted = json!({"items": [{"kind": "event", "id": given, "text": "Milónga del Sur"}]});
    assert_eq!((status, suggested), (StatusCode::OK, wanted));
    let (status, all) = server.get("/api/user/global-search?q=milongas", &ben).await;
    assert_eq!((status, &all["housing"][0]["id"]), (StatusCode::OK, &json!(room)), "{all}");
    for kind in ["users", "posts", "events"] {
        assert!(all[kind].is_array(), "{all}");
    }
    for wrong in ["", "q=", "q=a&kind=all", "q=a&cursor=x", "q=a&totals=1"] {
        let (status, answer) = server.get(&format!("/api/search?{wrong}"), &ben).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_may_not_see_is_neither_found_nor_suggested_nor_counted() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    for visibility in ["private", "friends"] {
        for number in 0..10 {
            let body = json!({"content": format!("secreto {number}"), "visibility": visibility});
            post(&server, "/api/posts", &ana, body).await;
        }
    }
    let mut draft = event("Secreto milonga");
    draft["draft"] = json!(true);
    let draft = post(&server, "/api/events", &ana, draft).await;
    let mut room = room_body();
    room["title"] = json!("Secreto room");
    let room = post(&server, "/api/housing", &ana, room).await;
    until_found(&server, &ben, "q=secreto", 1).await;
    let paused = json!({"status": "paused"});
    let path = format!("/api/housing/{room}");
    let (status, _) = server.call(Method::PATCH, &path, Some(&ana.token), Some(paused)).await;
    assert_eq!(status, StatusCode::OK);
    until_found(&server, &ana, "q=secreto&limit=100", 22).await;
    let own = post(&server, "/api/posts", &ben, json!({"content": "secreto of mine"})).await;
    let found = until_found(&server, &ben, "q=secreto&limit=1", 1).await;
    assert_eq!((ids(&found), &found["nextCursor"]), (vec![own.as_str()], &Value::Null), "{found}");
    for query in ["q=secreto%20room", "q=secreto%20milonga", "q=secretto%205"] {
        assert!(ids(&find(&server, &ben, query).await).is_empty(), "{query}");
    }
    let (_, suggested) = server.get("/api/search/suggestions?q=sec", &ben).await;
    assert_eq!(suggested, json!({"items": []}));
    let (_, all) = server.get("/api/user/global-search?q=secreto", &ben).await;
    assert_eq!((all["posts"].as_array().unwrap().len(), &all["events"]), (1, &json!([])), "{all}");
    let (_, suggested) = server.get("/api/search/suggestions?q=sec", &ana).await;
    assert_eq!(suggested["items"].as_array().unwrap().len(), 2, "{suggested}");

    // Once it is shown to everybody, everybody finds it.
    let publish = format!("/api/events/{draft}/publish");
    let (status, _) = server.post(&publish, &ana, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    until_found(&server, &ben, "q=secreto&kind=event", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_goes_on_page_by_page_without_twins() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    for number in 0..25 {
        post(&server, "/api/posts", &ana, json!({"content": format!("tanda {number}")})).await;
    }
    until_found(&server, &ana, "q=tanda&limit=100", 25).await;
    let (mut seen, mut query) = (Vec::new(), "q=tanda&limit=10".to_owned());
    loop {
        let page = find(&server, &ana, &query).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { break };
        query = format!("q=tanda&limit=10&cursor={next}");
    }
    assert_eq!(seen.len(), 25);
    let newest_first = seen.is_sorted_by(|one, other| one > other);
    assert!(newest_first, "things that fit alike come newest first: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_found_by_its_new_text_alone_also_after_a_restart() {
    let mut server = Server::start().await;
    let ana = server.register("ana").await;
    let id = post(&server, "/api/events", &ana, event("Practica")).await;
    until_found(&server, &ana, "q=practica", 1).await;
    let path = format!("/api/events/{id}");
    let change = json!({"title": "Concierto"});
    let (status, _) = server.call(Method::PATCH, &path, Some(&ana.token), Some(change)).await;
    assert_eq!(status, StatusCode::OK);
    until_found(&server, &ana, "q=concierto", 1).await;
    assert!(ids(&find(&server, &ana, "q=practica").await).is_empty());
    let rename = json!({"fullName": "Carolina"});
    let (status, _) = server.call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(rename)).await;
    assert_eq!(status, StatusCode::OK);
    until_found(&server, &ana, "q=carolina", 1).await;
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    server.start_again().await;
    let found = find(&server, &ana, "q=concierto").await;
    assert_eq!((ids(&found), &found["isComplete"]), (vec![id.as_str()], &json!(true)), "it is not made anew");
    assert!(ids(&find(&server, &ana, "q=practica").await).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_indexing_loses_nothing() {
    let mut server = Server::start().await;
    let ana = server.register("ana").await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let server_now = &server;
        let say = |()| async {
            // Words that no search takes for each other.
            let word = mundotango_protocol::new_id().replace('-', "");
            let body = json!({"content": word});
            let saying = server_now.try_call(Method::POST, "/api/posts", Some(&ana.token), Some(body));
            let (status, made) = saying.await.ok()?;
            (status == StatusCode::CREATED).then(|| (word, made["id"].as_str().unwrap().to_owned()))
        };
        let killing = async {
            tokio::time::sleep(Duration::from_millis(60 * (round + 1))).await;
            server_now.signal("KILL");
        };
        let (said, ()) = tokio::join!(join_all([(); 40].map(say)), killing);
        acknowledged.extend(said.into_iter().flatten());
        server.wait_for_end().await;
        server.start_again().await;
    }
    assert!(!acknowledged.is_empty(), "nothing was said before the kills");
    for (word, id) in acknowledged {
        let found = until_found(&server, &ana, &format!("q={word}"), 1).await;
        assert_eq!(ids(&found), [id]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_removed_is_made_anew_while_the_node_serves() {
    let mut server = Server::start().await;
    let ana = server.register("ana").await;
    let id = post(&server, "/api/posts", &ana, json!({"content": "despedida"})).await;
    until_found(&server, &ana, "q=despedida", 1).await;
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    fs::remove_dir_all(server.data_dir().join("search")).unwrap();
    server.start_again().await;
    let found = until_found(&server, &ana, "q=despedida", 1).await;
    assert_eq!(ids(&found), [id.as_str()]);
    until("the index is whole", async || {
        (find(&server, &ana, "q=despedida").await["isComplete"] == true).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_are_found_by_those_who_may_read_the_post_and_do_not_hide_from_each_other() {
    let server = Server::start().await;
    let (ana, ben, cam) =
        (server.register("ana").await, server.register("ben").await, server.register("cam").await);
    let said = post(&server, "/api/posts", &ana, json!({"content": "Vals"})).await;
    let comments = format!("/api/posts/{said}/comments");
    let of_ben = post(&server, &comments, &ben, json!({"content": "¡Qué milónga!"})).await;
    let of_cam = post(&server, &comments, &cam, json!({"content": "Otra milonga"})).await;
    let (query, everything) = ("q=milonga&kind=comment", "q=milonga");
    let found = until_found(&server, &ana, query, 2).await;
    assert_eq!(found["items"][0]["comment"]["postId"], json!(said), "{found}");
    assert_eq!(ids(&find(&server, &ana, "q=otra%20milnoga&kind=comment").await), [of_cam.as_str()]);
    assert!(ids(&find(&server, &ana, everything).await).is_empty(), "comments are asked for");

    let block = format!("/api/users/{}/block", ben.id);
    let (status, answer) = server.call(Method::PUT, &block, Some(&cam.token), None).await;
    assert!(status.is_success(), "{answer}");
    until_found(&server, &cam, query, 1).await;
    until_found(&server, &ben, query, 1).await;

    // Who may not read the post any more is not shown a comment, and no longer meets one in the index.
    let path = format!("/api/posts/{said}");
    let private = json!({"visibility": "private"});
    let (status, answer) = server.call(Method::PATCH, &path, Some(&ana.token), Some(private)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(ids(&find(&server, &ben, query).await).is_empty());
    until_found(&server, &ana, query, 2).await;
    let public = json!({"visibility": "public"});
    let (status, answer) = server.call(Method::PATCH, &path, Some(&ana.token), Some(public)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    until_found(&server, &ben, query, 1).await;

    let gone = format!("/api/comments/{of_cam}");
    let (status, _) = server.call(Method::DELETE, &gone, Some(&cam.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(ids(&find(&server, &ana, query).await), [of_ben.as_str()]);
    let (status, _) = server.call(Method::DELETE, &path, Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(ids(&find(&server, &ana, query).await).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_an_index_says_so() {
    let server = Server::start_with(&[("SEARCH__ENABLED", "false")]).await;
    let ana = server.register("ana").await;
    let (status, answer) = server.get("/api/search?q=tango", &ana).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert!(!server.data_dir().join("search").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_find_what_one_of_them_wrote() {
    let nodes = cluster::start(2).await;
    let word = format!("cortina{}", mundotango_protocol::new_id().replace('-', ""));
    let ana = nodes[0].register(&word[..20]).await;
    let said = post(&nodes[0], "/api/posts", &ana, json!({"content": word})).await;
    let started = Instant::now();
    for node in &nodes {
        let found = until_found(node, &ana, &format!("q={word}"), 1).await;
        assert_eq!(ids(&found), [said.as_str()]);
    }
    println!("found on both nodes after {:?}", started.elapsed());
    let rename = json!({"fullName": format!("Ana {word}")});
    let (status, _) = nodes[1].call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(rename)).await;
    assert_eq!(status, StatusCode::OK);
    for node in &nodes {
        until_found(node, &ana, &format!("q={word}&kind=person"), 1).await;
    }
}

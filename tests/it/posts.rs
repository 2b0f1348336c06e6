//! Posts whole: edits, audiences, comments, mentions, hashtags, and what is newer.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster;
use crate::reactions::{Seen, watch};
use crate::server::{Server, User, until};

async fn post(server: &Server, user: &User, body: Value) -> Value {
    let (status, answer) = server.post("/api/posts", user, body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

fn id(thing: &Value) -> String {
    thing["id"].as_str().unwrap_or_else(|| panic!("no id: {thing}")).to_owned()
}

async fn ask(server: &Server, method: Method, path: &str, user: &User, body: Value) -> (StatusCode, Value) {
    let body = Some(body).filter(|body| !body.is_null());
    server.call(method, path, Some(&user.token), body).await
}

/// What was heard of a post on a channel that may be of others as well.
fn heard(seen: &Seen, post: &str, kind: &str) -> Vec<Value> {
    let seen = seen.lock();
    let of_post = seen.iter().map(|(_, data)| data).filter(|data| data.to_string().contains(post));
    of_post.filter(|data| data["type"] == kind).cloned().collect()
}

async fn hears(seen: &Seen, post: &str, kind: &str) -> Value {
    until(kind, async || heard(seen, post, kind).into_iter().next()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_shown_live_and_what_was_said_before_stays() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let made = post(&server, &ana, json!({"content": "Hola"})).await;
    let path = format!("/api/posts/{}", id(&made));
    let feed = watch(&server, &ben, "posts:feed").await.unwrap();
    let of_post = watch(&server, &ben, &format!("post:{}", id(&made))).await.unwrap();
    let media = json!([{"url": "https://example.com/a.jpg", "alt": "Two dancers"}]);
    let change = json!({"content": "Hola #Tango", "media": media, "revision": 1});
    let (status, seen) = ask(&server, Method::PATCH, &path, &ana, change.clone()).await;
    assert_eq!(
        (status, &seen["revision"], &seen["content"]),
        (StatusCode::OK, &json!(2), &json!("Hola #Tango"))
    );
    assert_eq!(
        seen["media"],
        json!([{"url": "https://example.com/a.jpg", "kind": "image", "alt": "Two dancers"}])
    );
    assert!(seen["editedAt"].is_string() && made["editedAt"].is_null());
    for channel in [&feed, &of_post] {
        let message = hears(channel, &id(&made), "post.updated").await;
        assert_eq!(
            (&message["post"]["content"], &message["post"]["revision"]),
            (&seen["content"], &json!(2))
        );
    }
    let (status, problem) = ask(&server, Method::PATCH, &path, &ana, change).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("conflict")),
        "of a revision that is old"
    );
    assert_eq!(
        ask(&server, Method::PATCH, &path, &ben, json!({"content": "x"})).await.0,
        StatusCode::FORBIDDEN
    );
    let (_, revisions) = server.get(&format!("{path}/revisions"), &ben).await;
    let said: Vec<_> = revisions["items"].as_array().unwrap().iter().map(|one| &one["content"]).collect();
    assert_eq!(said, [&json!("Hola #Tango"), &json!("Hola")]);
    let (status, problem) =
        ask(&server, Method::PATCH, &path, &ana, json!({"media": [{"url": "http://example.com/a.jpg"}]}))
            .await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_input")));
}

/// All doors to a post, for somebody who may not read it; but for taking back what that user wrote there.
async fn is_hidden(server: &Server, reader: &User, post: &str, comment: &str, author: &User) {
    let path = format!("/api/posts/{post}");
    for (method, path, body) in [
        (Method::GET, path.clone(), Value::Null),
        (Method::GET, format!("{path}/revisions"), Value::Null),
        (Method::GET, format!("{path}/comments"), Value::Null),
        (Method::POST, format!("{path}/comments"), json!({"content": "x"})),
        (Method::POST, format!("{path}/react"), json!({"reactionType": "heart"})),
        (Method::DELETE, format!("{path}/react"), Value::Null),
        (Method::PUT, format!("{path}/bookmark"), Value::Null),
        (Method::PATCH, path.clone(), json!({"content": "x"})),
        (Method::DELETE, path.clone(), Value::Null),
        (Method::PATCH, format!("/api/comments/{comment}"), json!({"content": "x"})),
        (Method::POST, format!("/api/comments/{comment}/react"), json!({"reactionType": "heart"})),
        (Method::DELETE, format!("/api/comments/{comment}/react"), Value::Null),
    ] {
        let (status, answer) = ask(server, method.clone(), &path, reader, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
    }
    for list in
        ["/api/posts", "/api/posts?tag=secreto", "/api/bookmarks", &format!("/api/users/{}/posts", author.id)]
    {
        let (_, page) = server.get(list, reader).await;
        assert!(!page.to_string().contains(post), "{list}: {page}");
    }
    assert_eq!(watch(server, reader, &format!("post:{post}")).await.unwrap_err(), 103);
}

async fn audiences(nodes: &[Server]) {
    let (one, other) = (&nodes[0], &nodes[nodes.len() - 1]);
    // Other tests register with the same cluster.
    let name = |name: &str| format!("{name}{}", std::process::id());
    let (ana, ben) = (one.register(&name("ana-p")).await, one.register(&name("ben-p")).await);
    let made = post(one, &ana, json!({"content": "all may know #secreto"})).await;
    let (post_id, path) = (id(&made), format!("/api/posts/{}", id(&made)));
    let (status, comment) = other.post(&format!("{path}/comments"), &ben, json!({"content": "I know"})).await;
    assert_eq!(status, StatusCode::CREATED, "{comment}");
    assert_eq!(
        ask(other, Method::PUT, &format!("{path}/bookmark"), &ben, Value::Null).await.0,
        StatusCode::NO_CONTENT
    );
    // The reader has it in the cache, and looks at it.
    assert_eq!(other.get(&path, &ben).await.0, StatusCode::OK);
    let feed = watch(other, &ben, "posts:feed").await.unwrap();
    let of_post = watch(other, &ben, &format!("post:{post_id}")).await.unwrap();
    let narrowed = json!({"visibility": "private", "content": "none may know #secreto"});
    let (status, seen) = ask(one, Method::PATCH, &path, &ana, narrowed).await;
    assert_eq!((status, &seen["visibility"]), (StatusCode::OK, &json!("private")));
    for channel in [&feed, &of_post] {
        assert_eq!(
            hears(channel, &post_id, "post.deleted").await,
            json!({"type": "post.deleted", "postId": post_id})
        );
    }
    until("the other node knows", async || {
        (other.get(&path, &ben).await.0 == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    is_hidden(other, &ben, &post_id, &id(&comment), &ana).await;
    assert_eq!(other.get(&path, &ana).await.0, StatusCode::OK, "its author sees it");

    // Whoever listens on hears nothing of what goes on.
    let react = json!({"reactionType": "heart"});
    assert_eq!(ask(one, Method::POST, &format!("{path}/react"), &ana, react).await.0, StatusCode::OK);
    let (_, answer) = one.post(&format!("{path}/comments"), &ana, json!({"content": "a thought"})).await;
    assert!(answer["author"].is_object(), "{answer}");
    hears(&of_post, &post_id, "post.changed").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    for (_, data) in of_post.lock().iter().chain(feed.lock().iter()) {
        let text = data.to_string();
        assert!(!text.contains("none may know") && !text.contains("a thought"), "{text}");
        assert!(
            data["type"] != "post.reacted" || data["reactions"].as_object().unwrap().is_empty(),
            "{text}"
        );
    }

    // What was written for few is not shown to those who come later.
    let shown = json!({"visibility": "public", "content": "all may know again"});
    assert_eq!(ask(one, Method::PATCH, &path, &ana, shown).await.0, StatusCode::OK);
    assert_eq!(hears(&feed, &post_id, "post.created").await["post"]["content"], "all may know again");
    let revisions = async |user: &User| {
        let (_, revisions) = one.get(&format!("{path}/revisions"), user).await;
        revisions["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["revision"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!((revisions(&ana).await, revisions(&ben).await), (vec![3, 2, 1], vec![3]));
    until("it is there again", async || (other.get(&path, &ben).await.0 == StatusCode::OK).then_some(()))
        .await;

    // A moderator takes it away, and all goes with it.
    let mia = one.user("mia", "moderator");
    assert_eq!(ask(one, Method::DELETE, &path, &ben, Value::Null).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(one, Method::DELETE, &path, &mia, Value::Null).await.0, StatusCode::NO_CONTENT);
    until("all are told", async || {
        let told = |seen: &Seen| heard(seen, &post_id, "post.deleted").len() == 2;
        (told(&feed) && told(&of_post)).then_some(())
    })
    .await;
    until("the other node knows", async || {
        (other.get(&path, &ana).await.0 == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    for user in [&ana, &ben] {
        is_hidden(other, user, &post_id, &id(&comment), &ana).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_a_post_any_more_hears_that_it_is_gone_on_a_node_alone() {
    audiences(&[Server::start().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_a_post_any_more_hears_that_it_is_gone_on_two_nodes() {
    audiences(&cluster::start(2).await).await;
}

/// The kinds of a user's notifications, with how often each happened.
async fn told(server: &Server, user: &User) -> BTreeSet<(String, u64)> {
    let (_, page) = server.get("/api/notifications", user).await;
    let items = page["items"].as_array().unwrap().iter();
    items.map(|one| (one["kind"].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_are_told_to_whom_they_concern_and_removed_ones_keep_their_place() {
    let server = Server::start().await;
    let (ana, ben, cam) =
        (server.register("ana").await, server.register("ben").await, server.register("cam").await);
    let made = post(&server, &ana, json!({"content": "Who dances?"})).await;
    let path = format!("/api/posts/{}/comments", id(&made));
    let of_post = watch(&server, &cam, &format!("post:{}", id(&made))).await.unwrap();
    let say = async |user: &User, content: &str, parent: Option<&Value>| {
        let body = json!({"content": content, "parentId": parent.map(id)});
        let (status, comment) = server.post(&path, user, body).await;
        assert_eq!(status, StatusCode::CREATED, "{comment}");
        comment
    };
    let first = say(&ben, "I do", None).await;
    let second = say(&ben, "and so does @Cam #tango", None).await;
    let answer = say(&ana, "so do I, @ben", Some(&first)).await;
    assert_eq!((&answer["parentId"], &answer["depth"]), (&first["id"], &json!(2)));
    assert_eq!(
        second["entities"],
        json!([
            {"kind": "mention", "start": 12, "end": 16, "userId": cam.id},
            {"kind": "hashtag", "start": 17, "end": 23, "tag": "tango"},
        ])
    );
    until("all are told", async || {
        let of =
            |kinds: &[(&str, u64)]| kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        let (ana, ben, cam) =
            (told(&server, &ana).await, told(&server, &ben).await, told(&server, &cam).await);
        let is_so = ana == of(&[("commentNew", 2)])
            && ben == of(&[("commentReplied", 1)])
            && cam == of(&[("mentionNew", 1)]);
        is_so.then_some(())
    })
    .await;
    let (_, seen) = server.get(&format!("/api/posts/{}", id(&made)), &cam).await;
    assert_eq!(seen["commentCount"], 3);
    until("the count is live", async || {
        let seen = of_post.lock();
        let counted = seen.iter().rev().find(|(_, data)| data["type"] == "post.reacted");
        (counted?.1["commentCount"] == 3).then_some(())
    })
    .await;

    let of_first = format!("/api/comments/{}", id(&first));
    let (status, edited) = ask(&server, Method::PATCH, &of_first, &ben, json!({"content": "We do"})).await;
    assert_eq!(
        (status, &edited["revision"], &edited["hasAnswers"]),
        (StatusCode::OK, &json!(2), &json!(true))
    );
    assert_eq!(hears(&of_post, &id(&made), "comment.updated").await["comment"]["content"], "We do");
    let react = format!("{of_first}/react");
    let (status, seen) = server.post(&react, &cam, json!({"reactionType": "like"})).await;
    assert_eq!(
        (status, &seen["reactions"], &seen["myReaction"]),
        (StatusCode::OK, &json!({"like": 1}), &json!("like"))
    );
    assert_eq!(ask(&server, Method::DELETE, &of_first, &cam, Value::Null).await.0, StatusCode::FORBIDDEN);
    for comment in [&first, &second] {
        // The post's author keeps it clean.
        let path = format!("/api/comments/{}", id(comment));
        assert_eq!(ask(&server, Method::DELETE, &path, &ana, Value::Null).await.0, StatusCode::NO_CONTENT);
        assert_eq!(ask(&server, Method::DELETE, &path, &ana, Value::Null).await.0, StatusCode::NOT_FOUND);
    }
    let (_, page) = server.get(&path, &cam).await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{page}");
    assert_eq!(
        (&items[0]["removed"], &items[0]["content"], &items[0]["author"]),
        (&json!(true), &json!(""), &Value::Null)
    );
    let (_, answers) = server.get(&format!("{path}?parent={}", id(&first)), &cam).await;
    assert_eq!(answers["items"][0]["id"], answer["id"], "the answers stay");
    let (status, _) = server.post(&path, &cam, json!({"content": "x", "parentId": id(&first)})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nobody answers what is removed");
    let (status, problem) = server.get(&format!("{path}?parent=x.1.0"), &cam).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("parent")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_comments_and_each_counts_once() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let made = post(&server, &ana, json!({"content": "Who dances?"})).await;
    let path = format!("/api/posts/{}/comments", id(&made));
    let writers: Vec<_> = (0..20).map(|number| server.user(&format!("writer-{number}"), "user")).collect();
    let writing = writers.iter().map(async |writer| {
        for turn in 0..20 {
            let (status, comment) =
                server.post(&path, writer, json!({"content": format!("turn {turn}")})).await;
            assert_eq!(status, StatusCode::CREATED, "{comment}");
        }
    });
    join_all(writing).await;
    let (_, seen) = server.get(&format!("/api/posts/{}", id(&made)), &ana).await;
    assert_eq!(seen["commentCount"], 400);
    let (mut listed, mut next) = (BTreeSet::new(), String::new());
    loop {
        let (_, page) = server.get(&format!("{path}?limit=100{next}"), &ana).await;
        listed.extend(page["items"].as_array().unwrap().iter().map(id));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(listed.len(), 400);
    // Of one user so many a minute are taken, and no more.
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        outcomes.push(server.post(&path, &writers[0], json!({"content": "more"})).await.0);
    }
    assert!(
        outcomes.contains(&StatusCode::CREATED) && outcomes.contains(&StatusCode::TOO_MANY_REQUESTS),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_again_makes_one_comment() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let made = post(&server, &ana, json!({"content": "Hola"})).await;
    let path = format!("/api/posts/{}/comments", id(&made));
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let request = server.http.post(server.url(&path)).header("idempotency-key", "once");
        let answer = request.bearer_auth(&ana.token).json(&json!({"content": "x"})).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        ids.insert(id(&answer.json().await.unwrap()));
    }
    assert_eq!(ids.len(), 1);
    let (_, page) = server.get(&path, &ana).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mentions_are_bounded_and_told_to_those_who_may_read() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    let private = post(&server, &ana, json!({"content": "about @ben", "visibility": "private"})).await;
    assert_eq!(private["entities"][0]["userId"], json!(ben.id));
    let many = |count: usize| (0..count).map(|one| format!("@dancer{one}")).collect::<Vec<_>>().join(" ");
    let (status, problem) = server.post("/api/posts", &ana, json!({"content": many(11)})).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("content")));
    let made = post(&server, &ana, json!({"content": format!("{} @ben", many(9))})).await;
    assert_eq!(made["entities"].as_array().unwrap().len(), 1, "a name that nobody has is text");
    // By an edit somebody is mentioned who was not, and told once; who was mentioned before is not told again.
    let path = format!("/api/posts/{}", id(&made));
    for content in ["@ben @cam", "@cam and @ben, @ana"] {
        let (status, answer) = ask(&server, Method::PATCH, &path, &ana, json!({"content": content})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    until("both are told", async || {
        let once = BTreeSet::from([("mentionNew".to_owned(), 1)]);
        (told(&server, &ben).await == once && told(&server, &cam).await == once).then_some(())
    })
    .await;
    assert!(told(&server, &ana).await.is_empty(), "nobody is told of what was one's own");
    let (_, page) = server.get("/api/notifications", &ben).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "of the private post nobody is told: {page}");
    assert_eq!(page["items"][0]["thing"], made["id"]);

    // A day's mentions end, whether posts are edited or written.
    let mut outcomes = Vec::new();
    for number in 0..60 {
        let content = if number % 2 == 0 { "@ben @cam" } else { "nobody" };
        outcomes.push(ask(&server, Method::PATCH, &path, &ana, json!({"content": content})).await.0);
    }
    for _ in 0..60 {
        outcomes.push(server.post("/api/posts", &ana, json!({"content": "@ben @cam"})).await.0);
    }
    assert!(outcomes.contains(&StatusCode::TOO_MANY_REQUESTS), "{outcomes:?}");
    assert!(outcomes.contains(&StatusCode::CONFLICT), "50 revisions: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hashtag_leads_to_its_posts_however_it_is_written() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let public = post(&server, &ana, json!({"content": "#Straße"})).await;
    let private = post(&server, &ana, json!({"content": "#STRASSE", "visibility": "private"})).await;
    post(&server, &ana, json!({"content": "strasse"})).await;
    assert_eq!(
        (&public["entities"][0]["tag"], &private["entities"][0]["tag"]),
        (&json!("strasse"), &json!("strasse"))
    );
    for tag in ["strasse", "%23STRASSE", "Stra%C3%9Fe"] {
        for (user, wanted) in [(&ana, vec![&private["id"], &public["id"]]), (&ben, vec![&public["id"]])] {
            let (status, page) = server.get(&format!("/api/posts?tag={tag}"), user).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|post| &post["id"]).collect();
            assert_eq!(ids, wanted, "{tag}");
        }
    }
    let (status, problem) = server.get("/api/posts?tag=a%20b", &ana).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("tag")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_newer_comes_in_its_order_and_says_where_more_is() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    for number in 0..3 {
        post(&server, &ana, json!({"content": format!("old {number}")})).await;
    }
    let (_, page) = server.get("/api/posts?limit=2", &ana).await;
    let mut newest = page["newest"].as_str().unwrap().to_owned();
    assert_eq!((json!(newest), &page["gap"]), (page["items"][0]["id"].clone(), &json!(false)));
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(id(&post(&server, &ana, json!({"content": format!("new {number}")})).await));
    }
    let (mut seen, mut gaps) = (Vec::new(), 0);
    loop {
        let (status, page) = server.get(&format!("/api/posts?after={newest}&limit=3"), &ana).await;
        assert_eq!((status, &page["nextCursor"]), (StatusCode::OK, &Value::Null), "{page}");
        for id in page["items"].as_array().unwrap().iter().map(id) {
            // Clients know by its id what comes again.
            if !seen.contains(&id) {
                seen.push(id);
            }
        }
        newest = page["newest"].as_str().unwrap().to_owned();
        if page["gap"] == false {
            break;
        }
        gaps += 1;
    }
    seen.retain(|id| made.contains(id));
    assert_eq!((&seen, gaps), (&made, 2), "the oldest first, and none is left out");
    assert_eq!(newest, made[6]);
    for wrong in ["after=x", &format!("after={newest}&tag=tango"), &format!("after={newest}&page=2")] {
        assert_eq!(
            server.get(&format!("/api/posts?{wrong}"), &ana).await.0,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
}

/// Whether a text that a client holds names one of these, as it is or in base 64.
fn names(text: &str, ids: &[String]) -> bool {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let read = String::from_utf8_lossy(&bytes);
    ids.iter().any(|id| text.contains(id.as_str()) || read.contains(id.as_str()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_place_in_a_list_names_a_post_that_its_reader_may_not_read() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    for (by, other) in [(&ana, &ben), (&ben, &ana)] {
        let path = format!("/api/users/{}/friend", other.id);
        assert!(ask(&server, Method::PUT, &path, by, json!({})).await.0.is_success());
    }
    until("ana is a friend of ben's", async || {
        let (_, friends) = server.get("/api/friends", &ben).await;
        friends["items"].as_array().is_some_and(|friends| !friends.is_empty()).then_some(())
    })
    .await;
    let first = id(&post(&server, &ana, json!({"content": "for all"})).await);
    let (_, feed) = server.get("/api/posts", &ben).await;
    assert_eq!(feed["newest"], json!(first));
    let mut hidden = Vec::new();
    for _ in 0..12 {
        let body = json!({"content": "for me #secreto", "visibility": "private"});
        hidden.push(id(&post(&server, &ana, body).await));
    }
    for list in [format!("/api/users/{}/posts?", ana.id), "/api/posts?".to_owned()] {
        let (mut path, mut seen) = (format!("{list}limit=1"), Vec::new());
        let mut pages = 0;
        loop {
            let (status, page) = server.get(&path, &ben).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            assert_eq!(server.get(&path, &ben).await.1, page, "a page is the same when it is read again");
            pages += 1;
            seen.extend(page["items"].as_array().unwrap().iter().map(id));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            assert!(!names(cursor, &hidden), "{cursor}");
            path = format!("{list}limit=1&cursor={cursor}");
        }
        assert!(pages > 1 && seen == [first.clone()], "{list}: {pages}, {seen:?}");
    }

    // The place behind hidden posts leads on all the same.
    let mut newest = first.clone();
    for _ in 0..4 {
        let (status, page) = server.get(&format!("/api/posts?after={newest}&limit=3"), &ben).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        newest = page["newest"].as_str().unwrap().to_owned();
        assert!(!names(&newest, &hidden), "{newest}");
    }
    let (_, page) = server.get(&format!("/api/posts?after={newest}&limit=3"), &ben).await;
    assert_eq!((&page["newest"], &page["gap"]), (&json!(newest), &json!(false)), "all was looked at");
    let last = id(&post(&server, &ana, json!({"content": "for all again"})).await);
    let (_, page) = server.get(&format!("/api/posts?after={newest}&limit=3"), &ben).await;
    assert_eq!(page["newest"], json!(last), "{page}");
    assert!(page["items"].as_array().unwrap().iter().any(|post| post["id"] == json!(last)), "{page}");
}

/// A comment is not out of reach for those who keep a post clean because its author hides from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_blocks_others_does_not_keep_a_comment_by_that() {
    let server = Server::start().await;
    let (ana, ben, cam) =
        (server.register("ana").await, server.register("ben").await, server.register("cam").await);
    let mia = server.register("mia").await;
    let mia = server.user(&mia.id, "moderator");
    let path = format!("/api/posts/{}", id(&post(&server, &ana, json!({"content": "Who dances?"})).await));
    let mut comments = Vec::new();
    for content in ["one", "two", "three"] {
        let (status, made) =
            server.post(&format!("{path}/comments"), &ben, json!({"content": content})).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        comments.push(format!("/api/comments/{}", id(&made)));
    }
    for other in [&ana, &cam, &mia] {
        let block = format!("/api/users/{}/block", other.id);
        assert!(ask(&server, Method::PUT, &block, &ben, Value::Null).await.0.is_success());
    }
    let remove =
        async |comment: &str, user: &User| ask(&server, Method::DELETE, comment, user, Value::Null).await.0;
    assert_eq!(remove(&comments[0], &cam).await, StatusCode::NOT_FOUND, "cam sees none of it");
    for (comment, user) in comments.iter().zip([&ana, &mia, &ben]) {
        assert_eq!(remove(comment, user).await, StatusCode::NO_CONTENT);
    }
    // Whoever is blocked cannot tell that from a post that is not there.
    for method in [Method::PATCH, Method::DELETE] {
        let body = if method == Method::PATCH { json!({"content": "x"}) } else { Value::Null };
        assert_eq!(ask(&server, method, &path, &ben, body).await.0, StatusCode::NOT_FOUND);
    }
}

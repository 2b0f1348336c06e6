//! The feed of those whom one follows, on a whole server: what is in it, what is not any more, and what is told of it.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::reactions::watch;
use crate::server::{Server, User, until};

const FEED: &str = "/api/posts/feed/following";

async fn post(server: &Server, user: &User, content: &str, visibility: &str) -> String {
    let body = json!({"content": content, "visibility": visibility});
    let (status, post) = server.post("/api/posts", user, body).await;
    assert_eq!(status, StatusCode::CREATED, "{post}");
    post["id"].as_str().unwrap().to_owned()
}

async fn ask(server: &Server, method: Method, path: &str, user: &User, body: Option<Value>) {
    let (status, answer) = server.call(method, path, Some(&user.token), body).await;
    assert!(status.is_success(), "{path}: {answer}");
}

async fn relate(server: &Server, method: Method, user: &User, other: &User, what: &str) {
    ask(server, method, &format!("/api/users/{}/{what}", other.id), user, None).await;
}

async fn feed(server: &Server, user: &User) -> Vec<String> {
    let (status, page) = server.get(FEED, user).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["items"].as_array().unwrap().iter().map(|post| post["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a feed holds these posts and no other ones.
async fn holds(server: &Server, user: &User, posts: &[&str]) {
    until("the feed holds what it should", async || (feed(server, user).await == posts).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_has_those_who_are_followed_and_nothing_that_is_not_to_be_seen() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    let before = post(&server, &ana, "before", "public").await;
    post(&server, &cam, "of somebody else", "public").await;
    relate(&server, Method::PUT, &ben, &ana, "follow").await;
    assert_eq!(feed(&server, &ben).await, [before.as_str()], "what was there before");

    let heard = watch(&server, &ben, "posts:feed").await.unwrap();
    let first = post(&server, &ana, "first", "public").await;
    post(&server, &ana, "for friends", "friends").await;
    let widened = post(&server, &ana, "for me", "private").await;
    let news = until("news", async || {
        let heard = heard.lock();
        heard.iter().map(|(_, data)| data).find(|data| data["type"] == "feed.new").cloned()
    });
    assert_eq!(news.await["count"], 1);
    holds(&server, &ben, &[&first, &before]).await;

    // What becomes public stands where it was made.
    let last = post(&server, &ana, "last", "public").await;
    let change = |visibility: &str| Some(json!({"visibility": visibility}));
    ask(&server, Method::PATCH, &format!("/api/posts/{widened}"), &ana, change("public")).await;
    holds(&server, &ben, &[&last, &widened, &first, &before]).await;
    let (_, page) = server.get(&format!("{FEED}?limit=3"), &ben).await;
    let next = page["nextCursor"].as_str().unwrap();
    let (_, page) = server.get(&format!("{FEED}?limit=3&cursor={next}"), &ben).await;
    assert_eq!((&page["items"][0]["id"], &page["nextCursor"]), (&json!(before), &Value::Null));

    // Nothing waits for a job that hides.
    ask(&server, Method::PATCH, &format!("/api/posts/{first}"), &ana, change("private")).await;
    ask(&server, Method::DELETE, &format!("/api/posts/{last}"), &ana, None).await;
    assert_eq!(feed(&server, &ben).await, [widened.as_str(), &before]);
    for (hide, show, what) in [(Method::PUT, Method::DELETE, "mute"), (Method::DELETE, Method::PUT, "follow")]
    {
        relate(&server, hide, &ben, &ana, what).await;
        assert_eq!(feed(&server, &ben).await, Vec::<String>::new(), "{what}");
        relate(&server, show, &ben, &ana, what).await;
        assert_eq!(feed(&server, &ben).await, [widened.as_str(), &before], "{what}");
    }
    relate(&server, Method::PUT, &ana, &ben, "block").await;
    assert_eq!(feed(&server, &ben).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_followed_later_is_in_the_feed_with_the_last_posts() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    assert_eq!(feed(&server, &ben).await, Vec::<String>::new());
    let mut posts = Vec::new();
    for number in 0..3 {
        posts.insert(0, post(&server, &ana, &number.to_string(), "public").await);
    }
    relate(&server, Method::PUT, &ben, &ana, "follow").await;
    let posts: Vec<_> = posts.iter().map(String::as_str).collect();
    holds(&server, &ben, &posts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_many_post_at_once_is_in_the_feed_once() {
    let server = Server::start().await;
    let ben = server.register("ben").await;
    let mut authors = Vec::new();
    for number in 0..5 {
        authors.push(server.register(&format!("author{number}")).await);
    }
    for author in &authors {
        relate(&server, Method::PUT, &ben, author, "follow").await;
    }
    assert_eq!(feed(&server, &ben).await, Vec::<String>::new());
    let node = &server;
    let of_author = |author| (0..8).map(move |_| post(node, author, "¡Bailemos!", "public"));
    let posting = authors.iter().flat_map(of_author);
    let mut posts = join_all(posting.collect::<Vec<_>>()).await;
    posts.sort_unstable_by(|one, other| other.cmp(one));
    let walked = async || {
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let (_, page) = server.get(&format!("{FEED}?limit=7{cursor}"), &ben).await;
            let items = page["items"].as_array().unwrap().iter();
            walked.extend(items.map(|post| post["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["nextCursor"].as_str() else { return walked };
            cursor = format!("&cursor={next}");
        }
    };
    until("all posts are in the feed", async || (walked().await == posts).then_some(())).await;
}

//! Previews of links: what a post shows of the page to which it leads, from sites that behave and sites that do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::reactions::{Seen, watch};
use crate::server::{Server, User, until};

/// Previews of pages that lie on the test's own machine.
pub const OF_TESTS: &[(&str, &str)] =
    &[("LINK_PREVIEWS__ENABLED", "true"), ("LINK_PREVIEWS__PRIVATE_ADDRESSES", "true")];
const PAGE: &str = concat!(
    "<!doctype html><html><head><title>HTML</title><meta property=\"og:title\" content=\"Milongas &amp; pr\u{e1}cticas\">",
    "<meta property=\"og:description\" content=\"Where to <b>dance</b>\"><meta property=\"og:site_name\" content=\"Tango\">",
    "<meta property=\"og:image\" content=\"https://cdn.example/a.png\"></head><body><title>late</title></body></html>"
);

/// A web site on all of the machine's own addresses, so that each page can have a host of its own.
pub struct Site {
    port: u16,
    /// The heads of the requests that came.
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Site {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([0; 4], 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::default();
        let noted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, Arc::clone(&noted)));
            }
        });
        Self { port, asked, task }
    }

    /// The address of a page, at a host by this number.
    pub fn page(&self, host: u8, path: &str) -> String {
        format!("http://127.0.0.{host}:{}{path}", self.port)
    }

    /// The requests for a path.
    fn asked(&self, path: &str) -> Vec<String> {
        let line = format!("GET {path} ");
        self.asked.lock().iter().filter(|head| head.starts_with(&line)).cloned().collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request as its path wants it.
async fn answer(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().push(head);
    let html = |more: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\n{more}\r\n"
        )
    };
    let elsewhere = |to: &str| {
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    };
    let whole = match path.as_str() {
        "/slow" => return tokio::time::sleep(Duration::from_mins(5)).await,
        "/drip" => {
            let _ = stream.write_all(format!("{}<title>drop by drop", html("")).as_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            return;
        }
        "/endless" => {
            let _ = stream.write_all(format!("{}<title>endless</title>", html("")).as_bytes()).await;
            while stream.write_all(&[b' '; 4_096]).await.is_ok() {}
            return;
        }
        "/bomb" => {
            format!("{}\u{1f}\u{8b}<title>packed</title>", html("content-encoding: gzip\r\n")).into_bytes()
        }
        "/robots" => format!("{}{PAGE}", html("x-robots-tag: nosnippet\r\n")).into_bytes(),
        "/text" => format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n{PAGE}")
            .into_bytes(),
        "/gone" => {
            format!("HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n{PAGE}")
                .into_bytes()
        }
        "/latin" => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=iso-8859-1\r\nconnection: close\r\n\r\n";
            [head.as_bytes(), b"<title>Pr\xe1ctica</title>"].concat()
        }
        "/untitled" => format!("{}<meta name=description content=x>", html("")).into_bytes(),
        "/turned" => format!("{}<title>evil\u{202e}gnp.exe\u{7}</title>", html("")).into_bytes(),
        "/on" => elsewhere("/page").into_bytes(),
        "/round" => elsewhere("/round").into_bytes(),
        "/to-file" => elsewhere("file:///etc/passwd").into_bytes(),
        "/to-user" => elsewhere("//ana@127.0.0.99/page").into_bytes(),
        _ => format!("{}{PAGE}", html("")).into_bytes(),
    };
    let _ = stream.write_all(&whole).await;
    let _ = stream.shutdown().await;
}

async fn post(server: &Server, user: &User, body: Value) -> String {
    let (status, answer) = server.post("/api/posts", user, body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["preview"], Value::Null, "nobody waits for a site");
    answer["id"].as_str().unwrap().to_owned()
}

async fn preview_of(server: &Server, user: &User, id: &str) -> Value {
    let (status, post) = server.get(&format!("/api/posts/{id}"), user).await;
    assert_eq!(status, StatusCode::OK, "{post}");
    post["preview"].clone()
}

/// The preview of a post, once it is there.
async fn previewed(server: &Server, user: &User, id: &str) -> Value {
    let look = async || Some(preview_of(server, user, id).await).filter(|preview| !preview.is_null());
    until("the link is looked at", look).await
}

async fn change(server: &Server, user: &User, id: &str, body: Value) -> Value {
    let path = format!("/api/posts/{id}");
    let (status, post) = server.call(Method::PATCH, &path, Some(&user.token), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{post}");
    post
}

/// Waits until so many links were looked at, whatever came of it.
async fn looked_at(server: &Server, count: usize) {
    let line = format!("background_jobs_total{{job_type=\"link_preview\",status=\"success\"}} {count}\n");
    until(&line, async || {
        let answer = server.http.get(server.url("/metrics")).send().await.ok()?;
        answer.text().await.ok()?.contains(&line).then_some(())
    })
    .await;
}

fn heard(seen: &Seen, id: &str) -> Vec<Value> {
    let seen = seen.lock();
    let previews = seen.iter().map(|(_, data)| data).filter(|data| data["type"] == "post.previewed");
    previews.filter(|data| data["postId"] == id).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_looked_at_once_and_its_preview_goes_with_it() {
    let site = Site::start().await;
    let server = Server::start_with(OF_TESTS).await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let feed = watch(&server, &ben, "posts:feed").await.unwrap();
    let link = site.page(1, "/page?a=1#top");
    let id = post(&server, &ana, json!({"content": format!("Look ({link}), all!")})).await;
    let preview = previewed(&server, &ben, &id).await;
    let wanted = json!({
        "url": link, "host": "127.0.0.1", "title": "Milongas & prácticas", "description": "Where to <b>dance</b>",
        "siteName": "Tango", "imageUrl": "https://cdn.example/a.png",
    });
    assert_eq!(preview, wanted);
    let message = until("the feed hears of it", async || heard(&feed, &id).into_iter().next()).await;
    assert_eq!(message, json!({"type": "post.previewed", "postId": id, "revision": 1, "preview": wanted}));
    let (_, page) = server.get("/api/posts", &ben).await;
    assert_eq!(page["items"][0]["preview"], wanted, "lists have it as well");
    let asked = site.asked("/page?a=1");
    let head = asked[0].to_lowercase();
    assert!(head.contains("user-agent: mundotango/") && head.contains("accept-encoding: identity"), "{head}");
    assert!(
        !head.contains("cookie:") && !head.contains("referer:") && !head.contains("authorization:"),
        "{head}"
    );

    // Other words leave it, other links take it away; what is known is not asked for again.
    let watched = watch(&server, &ben, &format!("post:{id}")).await.unwrap();
    let edited = change(&server, &ana, &id, json!({"content": format!("Again: {link}")})).await;
    assert_eq!(edited["preview"], wanted);
    let edited = change(&server, &ana, &id, json!({"content": "nothing"})).await;
    assert_eq!(edited["preview"], Value::Null);
    let other = site.page(1, "/page?a=1#end");
    let edited = change(&server, &ana, &id, json!({"content": other})).await;
    assert_eq!(edited["preview"], Value::Null);
    assert_eq!(previewed(&server, &ben, &id).await["url"], other);
    until("the post's channel hears of it", async || {
        let seen = watched.lock();
        let is_told = |data: &Value| data["type"] == "post.previewed" || data["type"] == "post.changed";
        seen.iter().any(|(_, data)| is_told(data) && data["postId"] == id).then_some(())
    })
    .await;
    let off = change(&server, &ana, &id, json!({"preview": false})).await;
    assert_eq!((&off["preview"], &off["revision"]), (&Value::Null, &json!(4)));
    change(&server, &ana, &id, json!({"preview": true})).await;
    previewed(&server, &ben, &id).await;
    assert_eq!(site.asked("/page?a=1").len(), 1);

    let path = format!("/api/posts/{id}");
    let (status, _) = server.call(Method::DELETE, &path, Some(&ana.token), None).await;
    assert_eq!((status, server.get(&path, &ana).await.0), (StatusCode::NO_CONTENT, StatusCode::NOT_FOUND));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_site_does_what_is_shown_of_it_is_bounded_and_plain() {
    let site = Site::start().await;
    let server = Server::start_with(OF_TESTS).await;
    let ana = server.register("ana").await;
    let cases = [
        ("/endless", Some("endless")),
        ("/latin", Some("Práctica")),
        ("/turned", Some("evilgnp.exe")),
        ("/on", Some("Milongas & prácticas")),
        ("/bomb", None),
        ("/robots", None),
        ("/text", None),
        ("/gone", None),
        ("/untitled", None),
        ("/round", None),
        ("/to-file", None),
        ("/to-user", None),
    ];
    let mut posts = Vec::new();
    for (host, (path, title)) in (1..).zip(cases) {
        let id = post(&server, &ana, json!({"content": site.page(host, path)})).await;
        posts.push((path, title, id));
    }
    looked_at(&server, cases.len()).await;
    for (path, title, id) in posts {
        assert_eq!(preview_of(&server, &ana, &id).await["title"].as_str(), title, "{path}");
    }
    assert_eq!(site.asked("/round").len(), 4, "a page leads on three times at the most");
    assert_eq!(site.asked("/page").len(), 1, "a name in an address is not sent on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_hangs_holds_up_no_other() {
    let site = Site::start().await;
    let server = Server::start_with(OF_TESTS).await;
    let ana = server.register("ana").await;
    let hanging = [site.page(1, "/slow"), site.page(2, "/drip"), site.page(3, "/slow")];
    let mut ids = Vec::new();
    for link in hanging {
        ids.push(post(&server, &ana, json!({"content": link})).await);
    }
    until("the sites are asked", async || {
        (site.asked("/slow").len() == 2 && site.asked("/drip").len() == 1).then_some(())
    })
    .await;
    let id = post(&server, &ana, json!({"content": site.page(4, "/page")})).await;
    previewed(&server, &ana, &id).await;
    for id in ids {
        assert_eq!(preview_of(&server, &ana, &id).await, Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_told_to_some_alone_and_those_of_who_wants_no_preview_are_not_asked() {
    let site = Site::start().await;
    let server = Server::start_with(OF_TESTS).await;
    let ana = server.register("ana").await;
    let hidden = |number: u8| site.page(number, &format!("/hidden-{number}"));
    let private = post(&server, &ana, json!({"content": hidden(1), "visibility": "private"})).await;
    post(&server, &ana, json!({"content": hidden(2), "visibility": "friends"})).await;
    post(&server, &ana, json!({"content": hidden(3), "preview": false})).await;
    let id = post(&server, &ana, json!({"content": site.page(4, "/page")})).await;
    previewed(&server, &ana, &id).await;
    for number in 1..=3 {
        assert_eq!(site.asked(&format!("/hidden-{number}")).len(), 0, "{number}");
    }
    change(&server, &ana, &private, json!({"visibility": "public"})).await;
    previewed(&server, &ana, &private).await;
    let narrowed = change(&server, &ana, &private, json!({"visibility": "private"})).await;
    assert!(narrowed["preview"].is_object(), "{narrowed}");
    assert_eq!(site.asked("/hidden-1").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t43_links_into_the_nodes_own_network_are_not_asked() {
    let settings = [("LINK_PREVIEWS__ENABLED", "true")];
    let site = Site::start().await;
    let server = Server::start_with(&settings).await;
    let ana = server.register("ana").await;
    let port = site.port;
    let links = [
        format!("http://127.0.0.1:{port}/a"),
        format!("http://localhost:{port}/b"),
        format!("http://[::ffff:127.0.0.1]:{port}/c"),
        format!("http://2130706433:{port}/d"),
        "http://localhost/e".to_owned(),
        format!("http://{}/f", server.address()),
    ];
    let mut ids = Vec::new();
    for link in &links {
        ids.push(post(&server, &ana, json!({"content": link})).await);
    }
    looked_at(&server, links.len()).await;
    for id in ids {
        assert_eq!(preview_of(&server, &ana, &id).await, Value::Null);
    }
    assert!(site.asked.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_looked_at_where_previews_are_off() {
    let settings = [("LINK_PREVIEWS__ENABLED", "false"), ("LINK_PREVIEWS__PRIVATE_ADDRESSES", "true")];
    let site = Site::start().await;
    let server = Server::start_with(&settings).await;
    let ana = server.register("ana").await;
    let root = server.user("root", "admin");
    let id = post(&server, &ana, json!({"content": site.page(1, "/page")})).await;
    let (status, queue) = server.get("/api/admin/jobs/queues/link_preview?state=waiting", &root).await;
    assert_eq!((status, &queue["items"]), (StatusCode::OK, &json!([])), "{queue}");
    assert_eq!(preview_of(&server, &ana, &id).await, Value::Null);
    assert!(site.asked.lock().is_empty());
}

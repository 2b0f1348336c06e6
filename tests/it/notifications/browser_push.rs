//! Web push as a person gets it: a real Firefox subscribes with the server's key, decrypts what the server
//! pushes and shows it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::{Site, member};
use crate::autopush::{Autopush, DELIVERED};
use crate::firefox::{Firefox, Tab};
use crate::server::{User, until};

/// The page of a front end. Tests call its functions where a user would press buttons.
const PAGE: &str = r#"<!doctype html>
<title>Front end</title>
<script>
async function call(api, path, options) {
  const answer = await fetch(api + path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${JSON.stringify(body)}`);
  return body;
}

async function subscribe(api, token) {
  await navigator.serviceWorker.register("/worker.js");
  const { pushManager } = await navigator.serviceWorker.ready;
  const { publicKey } = await call(api, "/api/push/key");
  const web = await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: publicKey });
  return await call(api, "/api/push/devices", {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ web, name: "Firefox" }),
  });
}

async function unsubscribe() {
  const { pushManager } = await navigator.serviceWorker.ready;
  return await (await pushManager.getSubscription()).unsubscribe();
}
</script>
"#;

/// Shows what is pushed, and reports what that was, what is shown of it and how many pages are open.
const WORKER: &str = r#"
async function show(pushed) {
  const tag = pushed.ids[0];
  await registration.showNotification("MundoTango", { body: pushed.text, data: pushed.url, tag });
  const shown = (await registration.getNotifications({ tag })).map(({ body }) => body);
  const pages = (await clients.matchAll({ includeUncontrolled: true })).length;
  await fetch("/reports", { method: "POST", body: JSON.stringify({ pushed, shown, pages }) });
}

addEventListener("push", (event) => event.waitUntil(show(event.data.json())));
"#;

/// The server of a front end, with the reports of its service worker. It ends with its value.
struct FrontEnd {
    origin: String,
    reports: Arc<Mutex<Vec<Value>>>,
    task: AbortHandle,
}

impl FrontEnd {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Without TLS, browsers let pages of this name alone have service workers.
        let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let reports = Arc::<Mutex<Vec<Value>>>::default();
        let noted = Arc::clone(&reports);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                let service = service_fn(move |request| serve(request, Arc::clone(&noted)));
                // A browser that goes away is no failure of the test.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { origin, reports, task: task.abort_handle() }
    }

    /// Waits for a report of the service worker, by its number from 0 on.
    async fn report(&self, number: usize) -> Value {
        until("the service worker gets a push", async || self.reports.lock().get(number).cloned()).await
    }
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    request: Request<Incoming>,
    reports: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match request.uri().path() {
        "/" => (200, "text/html", PAGE),
        "/worker.js" => (200, "text/javascript", WORKER),
        "/reports" => {
            let report = request.into_body().collect().await.unwrap().to_bytes();
            reports.lock().push(serde_json::from_slice(&report).unwrap());
            (204, "text/plain", "")
        }
        _ => (404, "text/plain", ""),
    };
    let answer = Response::builder().status(status).header("content-type", kind);
    Ok(answer.body(Full::from(body)).unwrap())
}

/// A user whose Firefox gets pushes of a server.
struct Subscribed {
    autopush: Autopush,
    front_end: FrontEnd,
    site: Site,
    ana: User,
    firefox: Firefox,
    /// Where the user subscribed.
    tab: Tab,
}

impl Subscribed {
    async fn new() -> Self {
        let (autopush, front_end) = (Autopush::start().await, FrontEnd::start().await);
        let (authority, preferences) = (autopush.authority(), autopush.preferences());
        let settings =
            [("PUSH__CA", authority.to_str().unwrap()), ("HTTP__ALLOWED_ORIGINS", &front_end.origin)];
        let (site, mut firefox) = tokio::join!(Site::start_with(&settings), Firefox::start(&preferences));
        let ana = member("ana");
        let tab = firefox.open(&front_end.origin).await;
        let call = format!("subscribe({}, {})", json!(site.server.url("")), json!(ana.token));
        let device = firefox.run(&tab, &call).await;
        assert_eq!((&device["kind"], &device["name"]), (&json!("web"), &json!("Firefox")), "{device}");
        assert_eq!(site.devices(&ana).await, [device]);
        Self { autopush, front_end, site, ana, firefox, tab }
    }

    /// Has the user told of a place at a new event, and the push of that made; the notification.
    async fn push(&self, title: &str) -> Value {
        let told = self.site.told(&self.ana, title).await;
        assert_eq!(self.site.push_now(&self.ana).await, None, "no device is to be told later");
        told
    }
}

/// What the service worker is to report of the push of one notification, with so many pages open.
fn report_of(told: &Value, title: &str, unread: usize, pages: usize) -> Value {
    let text = format!("You have a place at {title}");
    json!({
        "pushed": {
            "type": "notifications", "ids": [told["id"]], "unread": unread, "text": text,
            "url": format!("http://localhost:5000/events/{}", told["thing"].as_str().unwrap()),
        },
        "shown": [text],
        "pages": pages,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_decrypts_and_shows_pushes_while_its_tab_is_open_and_after_it_is_closed() {
    let mut user = Subscribed::new().await;
    let one = user.push("Milonga").await;
    assert_eq!(user.front_end.report(0).await, report_of(&one, "Milonga", 1, 1));

    user.firefox.close(&user.tab).await;
    let two = user.push("Practica").await;
    assert_eq!(user.front_end.report(1).await, report_of(&two, "Practica", 2, 0));

    let acknowledged = until("Firefox acknowledges both", async || {
        Some(user.autopush.acknowledged()).filter(|codes| codes.len() == 2)
    });
    assert_eq!(acknowledged.await, [DELIVERED; 2]);
    assert_eq!(user.autopush.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_firefox_that_unsubscribed_is_forgotten_when_its_push_service_calls_it_gone() {
    let mut user = Subscribed::new().await;
    assert_eq!(user.firefox.run(&user.tab, "unsubscribe()").await, json!(true));
    let gone = async || (user.autopush.subscriptions() == 0).then_some(());
    until("the push service forgets the subscription", gone).await;
    assert_eq!(user.site.devices(&user.ana).await.len(), 1, "nobody has told the server");

    user.push("Milonga").await;
    assert_eq!(user.autopush.asked().len(), 1);
    assert_eq!(user.site.devices(&user.ana).await, Vec::<Value>::new());
    user.push("Practica").await;
    assert_eq!(user.autopush.asked().len(), 1, "what is gone is not asked for again");
}

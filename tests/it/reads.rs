//! How often a call reads from the store: docs/store-reads.md states it for each operation, and a node counts it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::good_bodies;
use crate::housing::{room_body, stay_body};
use crate::server::{Server, User};

/// The page, of which this test writes the table.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/store-reads.md");
/// The areas all of whose operations are stated.
const AREAS: [&str; 6] = ["events", "housing", "payments", "people", "chat", "posts"];
/// Operations that are not: what they read depends on what they are given, on what is published at the same moment or on Stripe,
/// or a stay or a series has to be over.
const NOT_STATED: [&str; 19] = [
    "PUT /api/posts/{id}/vote",
    "DELETE /api/posts/{id}/vote",
    "POST /api/posts/{id}/react",
    "DELETE /api/posts/{id}/react",
    "POST /api/events/import",
    "POST /api/events/series/{id}/renew",
    "POST /api/bookings/{id}/no-show",
    "POST /api/bookings/{id}/reviews",
    "POST /api/bookings/{id}/reviews/reply",
    "POST /api/payments/checkout",
    "POST /api/payments/webhook",
    "GET /api/payments/{id}",
    "POST /api/payments/{id}/refund",
    "GET /api/payments/payee",
    "POST /api/payments/payee",
    "POST /api/payments/payee/dashboard",
    "GET /api/admin/payments",
    "POST /api/admin/payments/{id}/settle",
    "GET /api/admin/revenue",
];
/// Queries that read.
const READS: [&str; 2] = ["read", "scan"];
/// Tables of what goes on beside calls.
const BESIDE: [&str; 3] = ["jobs", "outbox", "analytics"];
/// How long sums of shards are kept, and some more.
const SUMS_ARE_KEPT: Duration = Duration::from_millis(2_200);
/// When what a call causes at once has read, as the new number of comments that a post's channel is told.
const CAUSED_WITHIN: Duration = Duration::from_millis(700);
/// How often a call is counted that may be made again: the least is its own, whatever goes on beside it.
const ROUNDS: usize = 3;

/// The page with the figures that were counted: the operations by their paths.
fn page_of(page: &str, counted: &BTreeMap<&'static str, u64>) -> String {
    let (text, _) = page.split_once("\n| `").expect("a table");
    let mut rows: Vec<_> = counted.iter().collect();
    rows.sort_by_key(|(operation, _)| operation.split_once(' ').map(|(method, path)| (path, method)));
    let rows = rows.iter().map(|(operation, reads)| format!("\n| `{operation}` | {reads} |"));
    text.to_owned() + &rows.collect::<String>() + "\n"
}

/// A node that does no jobs, so that nothing but the calls reads.
struct Quiet {
    server: Server,
    counted: BTreeMap<&'static str, u64>,
}

impl Quiet {
    async fn start() -> Self {
        // Its index would read what calls change.
        let server = Server::start_with(&[("SEARCH__ENABLED", "false")]).await;
        let root = server.user("root", "admin");
        let (_, queues) = server.get("/api/admin/jobs/queues", &root).await;
        for queue in queues.as_array().unwrap() {
            let path = format!("/api/admin/jobs/queues/{}", queue["name"].as_str().unwrap());
            let pause = Some(json!({"paused": true}));
            let (status, answer) = server.call(Method::PATCH, &path, Some(&root.token), pause).await;
            assert!(status.is_success(), "{answer}");
        }
        Self { server, counted: BTreeMap::new() }
    }

    /// Queries that have read so far.
    async fn reads(&self) -> u64 {
        let answer = self.server.http.get(self.server.url("/metrics")).send().await.unwrap();
        let metrics = answer.text().await.unwrap();
        let counts = metrics.lines().filter_map(|line| line.strip_prefix("db_query_duration_seconds_count{"));
        let label = |labels: &str, name: &str| {
            let value = labels.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            value.unwrap_or_default().to_owned()
        };
        let own = counts.filter_map(|line| {
            let (labels, count) = line.split_once("} ")?;
            let table = label(labels, "table");
            let is_own = READS.contains(&label(labels, "query_type").as_str())
                && !BESIDE.iter().any(|beside| table.starts_with(beside));
            is_own.then(|| count.parse::<f64>().unwrap())
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are small and whole"
        )]
        let sum = own.sum::<f64>() as u64;
        sum
    }

    /// Calls an operation and counts; the answer.
    async fn change(&mut self, operation: &'static str, path: &str, user: &User, body: Value) -> Value {
        self.change_within(Duration::ZERO, operation, path, user, body).await
    }

    /// The same, with what it causes in some time.
    async fn change_within(
        &mut self,
        time: Duration,
        operation: &'static str,
        path: &str,
        user: &User,
        body: Value,
    ) -> Value {
        let method: Method = operation.split(' ').next().unwrap().parse().unwrap();
        let before = self.reads().await;
        let (status, answer) = self
            .server
            .call(method, path, Some(&user.token), Some(body).filter(|body| !body.is_null()))
            .await;
        assert!(status.is_success(), "{operation}: {status} {answer}");
        tokio::time::sleep(time).await;
        let reads = self.reads().await - before;
        self.counted.entry(operation).and_modify(|least| *least = reads.min(*least)).or_insert(reads);
        answer
    }

    /// Waits until nothing reads that an earlier change caused and no sum is kept any more, and has those read anew that these
    /// pages show: so the next change finds them kept.
    async fn warm(&self, pages: &[&str], user: &User) {
        tokio::time::sleep(SUMS_ARE_KEPT).await;
        for page in pages {
            let (status, answer) = self.server.get(page, user).await;
            assert!(status.is_success(), "{page}: {answer}");
        }
    }

    /// Calls an operation that changes nothing.
    async fn read(&mut self, operation: &'static str, path: &str, user: &User) {
        for _ in 0..ROUNDS {
            self.change(operation, path, user, Value::Null).await;
        }
    }
}

fn id(thing: &Value) -> String {
    thing["id"].as_str().unwrap_or_else(|| panic!("no id: {thing}")).to_owned()
}

async fn events(node: &mut Quiet, host: &User, ana: &User, ben: &User) {
    let body = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00-03:00", "eventType": "milonga", "capacity": 1,
        "location": {"text": "La Viruta", "city": "Buenos Aires"},
    });
    let event = node.change("POST /api/events", "/api/events", host, body.clone()).await;
    let path = format!("/api/events/{}", id(&event));
    let of = |part: &str| format!("{path}/{part}");
    node.change("POST /api/events/{id}/rsvp", &of("rsvp"), ana, json!({})).await;
    node.change("POST /api/events/{id}/rsvp", &of("rsvp"), ben, json!({})).await;
    node.read("GET /api/events/{id}", &path, ana).await;
    node.read("GET /api/events", "/api/events?city=Buenos%20Aires", ana).await;
    node.read("GET /api/events/mine", "/api/events/mine?as=guest", ana).await;
    node.read("GET /api/events/{id}/attendees", &of("attendees"), host).await;
    node.read("GET /api/events/{id}/door", &of("door"), host).await;
    node.read("GET /api/events/{id}/hosts", &of("hosts"), host).await;
    node.change("PATCH /api/events/{id}", &path, host, json!({"description": "With a show."})).await;
    let (handover, to) = (of("rsvp/handover"), json!({"userId": ben.id}));
    let from = json!({"userId": ana.id});
    let offer = "POST /api/events/{id}/rsvp/handover";
    node.change(offer, &handover, ana, to.clone()).await;
    node.read("GET /api/events/{id}/rsvp/handover", &handover, ben).await;
    let decline = of("rsvp/handover/decline");
    node.change("POST /api/events/{id}/rsvp/handover/decline", &decline, ben, from.clone()).await;
    node.change(offer, &handover, ana, to.clone()).await;
    node.change("DELETE /api/events/{id}/rsvp/handover", &handover, ana, Value::Null).await;
    node.change(offer, &handover, ana, to).await;
    let accept = of("rsvp/handover/accept");
    node.change("POST /api/events/{id}/rsvp/handover/accept", &accept, ben, from).await;
    node.read("GET /api/events/{id}/friends", &of("friends"), ana).await;
    let hosts = of(&format!("hosts/{}", ben.id));
    node.change("PUT /api/events/{id}/hosts/{userId}", &hosts, host, json!({"role": "door"})).await;
    node.change("DELETE /api/events/{id}/hosts/{userId}", &hosts, host, Value::Null).await;
    let seen = json!({"checkIns": [{"userId": ana.id, "at": Timestamp::now().to_string()}]});
    node.change("POST /api/events/{id}/door", &of("door"), host, seen).await;
    node.change("PUT /api/events/{id}/offer", &of("offer"), host, json!({"userId": ben.id})).await;
    node.change("DELETE /api/events/{id}/offer", &of("offer"), host, Value::Null).await;
    node.change("PUT /api/events/{id}/offer", &of("offer"), host, json!({"userId": ben.id})).await;
    node.change("POST /api/events/{id}/offer/accept", &of("offer/accept"), ben, Value::Null).await;
    node.change("POST /api/events/{id}/cancel", &of("cancel"), ben, json!({"reason": "Rain."})).await;
    let mut draft = body.clone();
    draft["draft"] = json!(true);
    let draft = node.change("POST /api/events", "/api/events", host, draft).await;
    let publish = format!("/api/events/{}/publish", id(&draft));
    node.change("POST /api/events/{id}/publish", &publish, host, Value::Null).await;

    let mut series = body;
    series["repeats"] = json!({"frequency": "weekly", "count": 3});
    let series = node.change("POST /api/events/series", "/api/events/series", host, series).await;
    let path = format!("/api/events/series/{}", id(&series));
    let of = |part: &str| format!("{path}/{part}");
    node.read("GET /api/events/series/{id}", &path, ana).await;
    node.read("GET /api/events/series/{id}/dates", &of("dates"), ana).await;
    let attendance = of("attendance");
    node.change("PUT /api/events/series/{id}/attendance", &attendance, ana, json!({})).await;
    node.change("DELETE /api/events/series/{id}/attendance", &attendance, ana, Value::Null).await;
    node.read("GET /api/events/series/{id}/hosts", &of("hosts"), ana).await;
    let hosts = of(&format!("hosts/{}", ben.id));
    node.change("PUT /api/events/series/{id}/hosts/{userId}", &hosts, host, json!({"role": "editor"})).await;
    node.change("DELETE /api/events/series/{id}/hosts/{userId}", &hosts, host, Value::Null).await;
    node.change("PATCH /api/events/series/{id}", &path, host, json!({"title": "Gala"})).await;
    let (offer, to) = (of("offer"), json!({"userId": ben.id}));
    node.change("PUT /api/events/series/{id}/offer", &offer, host, to.clone()).await;
    node.change("DELETE /api/events/series/{id}/offer", &offer, host, Value::Null).await;
    node.change("PUT /api/events/series/{id}/offer", &offer, host, to).await;
    node.change("POST /api/events/series/{id}/offer/accept", &of("offer/accept"), ben, Value::Null).await;
    node.change("POST /api/events/series/{id}/cancel", &of("cancel"), ben, json!({"reason": "Rain."})).await;
}

async fn housing(node: &mut Quiet, host: &User, ana: &User, ben: &User) {
    let room = node.change("POST /api/housing", "/api/housing", host, room_body()).await;
    let path = format!("/api/housing/{}", id(&room));
    node.read("GET /api/housing", "/api/housing?city=Buenos%20Aires", ana).await;
    node.read("GET /api/housing/{id}", &path, ana).await;
    let days = stay_body(1, 30);
    let availability = format!(
        "{path}/availability?from={}&to={}",
        days["from"].as_str().unwrap(),
        days["to"].as_str().unwrap()
    );
    node.read("GET /api/housing/{id}/availability", &availability, ana).await;
    node.read("GET /api/housing/{id}/reviews", &format!("{path}/reviews"), ana).await;
    node.read("GET /api/users/{id}/reviews", &format!("/api/users/{}/reviews?as=host", host.id), ana).await;
    node.change("PATCH /api/housing/{id}", &path, host, json!({"description": "Very quiet."})).await;
    let mut nights = stay_body(60, 3);
    nights["blocked"] = json!(true);
    node.change("PUT /api/housing/{id}/nights", &format!("{path}/nights"), host, nights).await;

    let asks = format!("{path}/bookings");
    let mut pages = Vec::new();
    for (guest, from) in [(ana, 10), (ben, 20), (ana, 30)] {
        let booking = node.change("POST /api/housing/{id}/bookings", &asks, guest, stay_body(from, 3)).await;
        pages.push(format!("/api/bookings/{}", id(&booking)));
    }
    let of = |number: usize, part: &str| format!("{}/{part}", pages[number]);
    node.read("GET /api/bookings", "/api/bookings?as=guest", ana).await;
    node.read("GET /api/bookings/{id}", &pages[0], ana).await;
    node.change("POST /api/bookings/{id}/confirm", &of(0, "confirm"), host, Value::Null).await;
    node.change("POST /api/bookings/{id}/counter", &of(1, "counter"), host, stay_body(21, 3)).await;
    node.change("POST /api/bookings/{id}/accept", &of(1, "accept"), ben, json!({})).await;
    node.change("POST /api/bookings/{id}/decline", &of(2, "decline"), host, json!({})).await;
    node.change("POST /api/bookings/{id}/cancel", &of(0, "cancel"), ana, json!({})).await;
}

/// What two people do with each other, and what is listed of it.
async fn people(node: &mut Quiet, ana: &User, ben: &User) {
    let of = |user: &User, part: &str| format!("/api/users/{}{part}", user.id);
    node.change("PUT /api/users/{id}/follow", &of(ben, "/follow"), ana, Value::Null).await;
    node.change("PUT /api/users/{id}/friend", &of(ben, "/friend"), ana, Value::Null).await;
    node.change("PUT /api/users/{id}/friend", &of(ana, "/friend"), ben, Value::Null).await;
    node.change("PUT /api/users/{id}/mute", &of(ben, "/mute"), ana, Value::Null).await;
    node.read("GET /api/users/{id}", &of(ben, ""), ana).await;
    node.read("GET /api/users/{id}/followers", &of(ben, "/followers"), ben).await;
    node.read("GET /api/users/{id}/following", &of(ana, "/following"), ana).await;
    node.read("GET /api/friends", "/api/friends", ana).await;
    node.read("GET /api/friends/requests", "/api/friends/requests", ana).await;
    node.read("GET /api/friends/online", "/api/friends/online", ana).await;
    node.read("GET /api/mutes", "/api/mutes", ana).await;
    node.change("DELETE /api/users/{id}/mute", &of(ben, "/mute"), ana, Value::Null).await;
    node.change("DELETE /api/users/{id}/friend", &of(ben, "/friend"), ana, Value::Null).await;
    node.change("DELETE /api/users/{id}/follow", &of(ben, "/follow"), ana, Value::Null).await;
    node.change("PUT /api/users/{id}/block", &of(ben, "/block"), ana, Value::Null).await;
    node.read("GET /api/blocks", "/api/blocks", ana).await;
    node.change("DELETE /api/users/{id}/block", &of(ben, "/block"), ana, Value::Null).await;
}

async fn chat(node: &mut Quiet, ana: &User, ben: &User, cam: &User) {
    let list = "/api/chat/conversations";
    let group = json!({"title": "Camp", "memberIds": [ben.id]});
    let made = node.change("POST /api/chat/conversations", list, ana, group).await;
    let path = format!("{list}/{}", id(&made));
    let of = |part: &str| format!("{path}/{part}");
    let (sending, text) = ("POST /api/chat/conversations/{id}/messages", json!({"text": "Hola"}));
    node.change(sending, &of("messages"), ana, text.clone()).await;
    node.change(sending, &of("messages"), ana, text.clone()).await;
    node.read("GET /api/chat/conversations", list, ana).await;
    node.read("GET /api/chat/conversations/{id}", &path, ana).await;
    node.read("GET /api/chat/conversations/{id}/messages", &of("messages"), ana).await;
    node.read("GET /api/chat/conversations/{id}/members", &of("members"), ana).await;
    let members = ("POST /api/chat/conversations/{id}/members", of("members"));
    node.change(members.0, &members.1, ana, json!({"userIds": [cam.id]})).await;
    let member = of(&format!("members/{}", cam.id));
    let role = json!({"role": "admin"});
    node.change("PATCH /api/chat/conversations/{id}/members/{userId}", &member, ana, role).await;
    node.change("DELETE /api/chat/conversations/{id}/members/{userId}", &member, ana, Value::Null).await;
    node.change("PATCH /api/chat/conversations/{id}", &path, ana, json!({"title": "Tango camp"})).await;
    let change = "PATCH /api/chat/conversations/{id}/messages/{seq}";
    node.change(change, &of("messages/1"), ana, json!({"text": "Hola, Ben"})).await;
    let (reaction, heart) = (of("messages/1/reaction"), json!({"reactionType": "heart"}));
    node.change("PUT /api/chat/conversations/{id}/messages/{seq}/reaction", &reaction, ben, heart).await;
    let take_back = "DELETE /api/chat/conversations/{id}/messages/{seq}/reaction";
    node.change(take_back, &reaction, ben, Value::Null).await;
    let delete = "DELETE /api/chat/conversations/{id}/messages/{seq}";
    node.change(delete, &of("messages/2"), ana, Value::Null).await;
    node.change("POST /api/chat/conversations/{id}/typing", &of("typing"), ana, Value::Null).await;
    for (operation, part, body) in [
        ("PUT /api/chat/conversations/{id}/read", "read", json!({"seq": 1})),
        ("PUT /api/chat/conversations/{id}/unread", "unread", json!({"seq": 1})),
        ("PUT /api/chat/conversations/{id}/mute", "mute", json!({"muted": true})),
        ("PUT /api/chat/conversations/{id}/archive", "archive", json!({"archived": true})),
    ] {
        node.change(operation, &of(part), ben, body).await;
    }
    for (operation, answer) in [
        ("POST /api/chat/conversations/{id}/accept", "accept"),
        ("POST /api/chat/conversations/{id}/decline", "decline"),
    ] {
        let stranger = node.server.register(answer).await;
        let (_, asked) = node.server.post(list, &stranger, json!({"userId": ben.id})).await;
        let asked = format!("{list}/{}", id(&asked));
        node.server.post(&format!("{asked}/messages"), &stranger, text.clone()).await;
        node.change(operation, &format!("{asked}/{answer}"), ben, Value::Null).await;
    }
}

async fn posts(node: &mut Quiet, host: &User, ana: &User) {
    let body = json!({"content": "Who dances tonight? #tango"});
    let post = node.change("POST /api/posts", "/api/posts", host, body).await;
    let path = format!("/api/posts/{}", id(&post));
    let comments = format!("{path}/comments");
    let heart = json!({"reactionType": "heart"});
    node.warm(&["/api/posts"], ana).await;
    node.read("GET /api/posts", "/api/posts", ana).await;
    let eva = node.server.register("eva").await;
    let follow = format!("/api/users/{}/follow", host.id);
    node.server.call(Method::PUT, &follow, Some(&eva.token), None).await;
    node.read("GET /api/posts/feed/following", "/api/posts/feed/following", &eva).await;
    node.read("GET /api/posts/{id}", &path, ana).await;
    node.read("GET /api/posts/{id}/revisions", &format!("{path}/revisions"), ana).await;
    node.read("GET /api/users/{id}/posts", &format!("/api/users/{}/posts", host.id), ana).await;
    let pages = [path.as_str(), &comments];
    node.warm(&pages, ana).await;
    let said = json!({"content": "I do"});
    let operation = "POST /api/posts/{id}/comments";
    let comment = node.change_within(CAUSED_WITHIN, operation, &comments, ana, said.clone()).await;
    let comment = format!("/api/comments/{}", id(&comment));
    node.warm(&pages, ana).await;
    node.read("GET /api/posts/{id}/comments", &comments, ana).await;
    node.warm(&pages, ana).await;
    node.change("PATCH /api/comments/{id}", &comment, ana, json!({"content": "We do"})).await;
    node.warm(&pages, ana).await;
    node.change("POST /api/comments/{id}/react", &format!("{comment}/react"), host, heart).await;
    node.warm(&pages, ana).await;
    node.change("DELETE /api/comments/{id}/react", &format!("{comment}/react"), host, Value::Null).await;
    node.warm(&pages, ana).await;
    node.change_within(CAUSED_WITHIN, "DELETE /api/comments/{id}", &comment, ana, Value::Null).await;
    node.warm(&pages, ana).await;
    node.change("PATCH /api/posts/{id}", &path, host, json!({"content": "Who dances?"})).await;
    node.warm(&pages, ana).await;
    node.change("DELETE /api/posts/{id}", &path, host, Value::Null).await;
}

async fn admin(node: &mut Quiet, ana: &User) {
    let root = node.server.user("root", "admin");
    let made = async |node: &Quiet, path: &str, body: Value| {
        let (status, answer) = node.server.post(path, &root, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        id(&answer)
    };
    let bodies: BTreeMap<_, _> = good_bodies().into_iter().map(|(route, _, body)| (route, body)).collect();
    let proposal = made(node, "/api/founder-approval", bodies["post /api/founder-approval"].clone()).await;
    node.read("GET /api/founder-approval/pending", "/api/founder-approval/pending", &root).await;
    node.read("GET /api/founder-approval/mine", "/api/founder-approval/mine", &root).await;
    node.read("GET /api/founder-approval/{id}", &format!("/api/founder-approval/{proposal}"), &root).await;
    let review = made(node, "/api/safety-reviews", bodies["post /api/safety-reviews"].clone()).await;
    node.read("GET /api/safety-reviews/pending", "/api/safety-reviews/pending", &root).await;
    node.read("GET /api/safety-reviews/{id}", &format!("/api/safety-reviews/{review}"), &root).await;
    for list in ["GET /api/reports/mine", "GET /api/moderation/decisions", "GET /api/moderation/log"] {
        node.read(list, &list[4..], &root).await;
    }
    let ticket = made(node, "/api/support/tickets", bodies["post /api/support/tickets"].clone()).await;
    node.read("GET /api/support/tickets", "/api/support/tickets", &root).await;
    let path = format!("/api/support/tickets/{ticket}");
    node.read("GET /api/support/tickets/{id}", &path, &root).await;
    node.read("GET /api/support/tickets/{id}/messages", &format!("{path}/messages"), &root).await;
    node.read("GET /api/announcements", "/api/announcements", &root).await;
    node.read("GET /api/flags", "/api/flags", &root).await;
    node.read("GET /api/admin/flags", "/api/admin/flags", &root).await;
    node.read("GET /api/admin/users", &format!("/api/admin/users?q={}", ana.id), &root).await;
    node.read("GET /api/admin/audit", &format!("/api/admin/audit?actor={}", ana.id), &root).await;
    node.read("GET /api/admin/audit/roots", "/api/admin/audit/roots", &root).await;
    node.read("GET /api/admin/audit/verify", "/api/admin/audit/verify?day=2026-01-01", &root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_reads_as_often_as_is_stated() {
    let mut node = Quiet::start().await;
    let host = node.server.register("host").await;
    let (ana, ben) = (node.server.register("ana").await, node.server.register("ben").await);
    events(&mut node, &host, &ana, &ben).await;
    housing(&mut node, &host, &ana, &ben).await;
    let cam = node.server.register("cam").await;
    chat(&mut node, &ana, &ben, &cam).await;
    posts(&mut node, &host, &ana).await;
    node.read("GET /api/payments", "/api/payments", &ana).await;
    people(&mut node, &ana, &ben).await;
    admin(&mut node, &ana).await;
    node.read("GET /api/users/me/export", "/api/users/me/export", &ana).await;

    if std::env::var_os("MUNDOTANGO_WRITE_DOCS").is_some() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        std::fs::write(PAGE, page_of(&page, &node.counted)).unwrap();
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let counted = page_of(&page, &node.counted);
    let wrong: Vec<_> = page.lines().filter(|line| !counted.lines().any(|other| other == *line)).collect();
    assert!(wrong.is_empty() && page == counted, "it is not so: {wrong:#?}; what was counted: {counted}");

    let (_, document) = node.server.call(Method::GET, "/api/docs/json", None, None).await;
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let of_areas = |one: &Value| one["tags"][0].as_str().is_some_and(|tag| AREAS.contains(&tag));
        let methods = item.as_object().unwrap().iter().filter(move |(_, one)| of_areas(one));
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    let missing: BTreeSet<_> = operations
        .filter(|operation| {
            !node.counted.contains_key(operation.as_str()) && !NOT_STATED.contains(&operation.as_str())
        })
        .collect();
    assert!(missing.is_empty(), "these are not stated: {missing:?}");
}

//! How often a call reads from the store: docs/store-reads.md states it for each operation, and a node counts it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::housing::{room_body, stay_body};
use crate::server::{Server, User};

const STATED: &str = include_str!("../../docs/store-reads.md");
/// The areas all of whose operations are stated.
const AREAS: [&str; 3] = ["events", "housing", "payments"];
/// Operations that are not: what they read depends on what they are given or on Stripe, or a stay or a series has to be over.
const NOT_STATED: [&str; 11] = [
    "POST /api/events/import",
    "POST /api/events/series/{id}/renew",
    "POST /api/bookings/{id}/no-show",
    "POST /api/bookings/{id}/reviews",
    "POST /api/bookings/{id}/reviews/reply",
    "POST /api/payments/checkout",
    "POST /api/payments/webhook",
    "GET /api/payments/{id}",
    "POST /api/payments/{id}/refund",
    "GET /api/admin/payments",
    "GET /api/admin/revenue",
];
/// Queries that read.
const READS: [&str; 2] = ["read", "scan"];
/// Tables of what goes on beside calls.
const BESIDE: [&str; 3] = ["jobs", "outbox", "analytics"];
/// How often a call is counted that may be made again: the least is its own, whatever goes on beside it.
const ROUNDS: usize = 3;

/// The figures of the page, by operations.
fn stated() -> BTreeMap<String, String> {
    let rows = STATED.lines().filter_map(|line| {
        let (operation, reads) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((operation.to_owned(), reads.split(" |").next()?.trim().to_owned()))
    });
    rows.collect()
}

/// A node that does no jobs, so that nothing but the calls reads.
struct Quiet {
    server: Server,
    counted: BTreeMap<&'static str, u64>,
}

impl Quiet {
    async fn start() -> Self {
        let server = Server::start().await;
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
        let method: Method = operation.split(' ').next().unwrap().parse().unwrap();
        let before = self.reads().await;
        let (status, answer) = self
            .server
            .call(method, path, Some(&user.token), Some(body).filter(|body| !body.is_null()))
            .await;
        assert!(status.is_success(), "{operation}: {status} {answer}");
        let reads = self.reads().await - before;
        self.counted.entry(operation).and_modify(|least| *least = reads.min(*least)).or_insert(reads);
        answer
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_reads_as_often_as_is_stated() {
    let mut node = Quiet::start().await;
    let host = node.server.register("host").await;
    let (ana, ben) = (node.server.register("ana").await, node.server.register("ben").await);
    events(&mut node, &host, &ana, &ben).await;
    housing(&mut node, &host, &ana, &ben).await;
    node.read("GET /api/payments", "/api/payments", &ana).await;
    node.read("GET /api/users/me/export", "/api/users/me/export", &ana).await;

    let counted: BTreeMap<_, _> =
        node.counted.iter().map(|(operation, reads)| ((*operation).to_owned(), reads.to_string())).collect();
    let stated = stated();
    let wrong: Vec<_> =
        counted.iter().filter(|(operation, reads)| stated.get(*operation) != Some(reads)).collect();
    let gone: Vec<_> = stated.keys().filter(|operation| !counted.contains_key(*operation)).collect();
    assert!(wrong.is_empty() && gone.is_empty(), "counted otherwise: {wrong:#?}; not counted: {gone:?}");

    let (_, document) = node.server.call(Method::GET, "/api/docs/json", None, None).await;
    let operations = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let of_areas = |one: &Value| one["tags"][0].as_str().is_some_and(|tag| AREAS.contains(&tag));
        let methods = item.as_object().unwrap().iter().filter(move |(_, one)| of_areas(one));
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    let missing: BTreeSet<_> = operations
        .filter(|operation| !counted.contains_key(operation) && !NOT_STATED.contains(&operation.as_str()))
        .collect();
    assert!(missing.is_empty(), "these are not stated: {missing:?}");
}

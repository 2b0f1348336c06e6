//! Events through REST, as apps use them: parties and roles, more room, hosts, drafts, privacy, the door, one's own.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, User};

struct World {
    server: Server,
    ana: User,
    beto: User,
    carla: User,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let (ana, beto, carla) =
            (server.register("ana").await, server.register("beto").await, server.register("carla").await);
        Self { server, ana, beto, carla }
    }

    /// An event of Ana's; its path.
    async fn event(&self, more: Value) -> String {
        let mut body = json!({
            "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, event) = self.server.post("/api/events", &self.ana, body).await;
        assert_eq!(status, StatusCode::CREATED, "{event}");
        format!("/api/events/{}", event["id"].as_str().unwrap())
    }

    async fn answer(&self, path: &str, user: &User, body: Value) -> Value {
        let (status, answer) = self.server.post(&format!("{path}/rsvp"), user, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    async fn call(&self, method: Method, path: &str, user: &User, body: Value) -> (StatusCode, Value) {
        self.server.call(method, path, Some(&user.token), Some(body)).await
    }

    async fn seen(&self, path: &str, user: &User) -> Value {
        let (status, seen) = self.server.get(path, user).await;
        assert_eq!(status, StatusCode::OK, "{path}: {seen}");
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_and_follows_wait_apart_and_a_couple_comes_together() {
    let world = World::new().await;
    let path = world.event(json!({"capacity": 10, "roleLimits": {"lead": 1, "follow": 2}})).await;
    let couple = json!({"role": "lead", "guests": ["follow"]});
    let answer = world.answer(&path, &world.ana, couple).await;
    assert_eq!((&answer["status"], &answer["guests"]), (&json!("going"), &json!(["follow"])));
    let by_role = json!({"lead": 1, "follow": 1, "both": 0, "none": 0});
    assert_eq!(answer["counts"]["goingByRole"], by_role, "{answer}");

    let waits = world.answer(&path, &world.beto, json!({"role": "lead"})).await;
    let wanted = (&json!("waitlisted"), &json!(1), &json!("leads"));
    assert_eq!((&waits["status"], &waits["position"], &waits["waitsFor"]), wanted);
    let goes = world.answer(&path, &world.carla, json!({"role": "follow"})).await;
    assert_eq!(
        (&goes["status"], &goes["position"]),
        (&json!("going"), &json!(null)),
        "follows do not wait for leads"
    );

    let own = world.seen(&path, &world.beto).await;
    assert_eq!((&own["myRsvp"]["status"], &own["myRsvp"]["position"]), (&json!("waitlisted"), &json!(1)));
    let listed = world.seen("/api/events", &world.carla).await;
    assert_eq!(listed["items"][0]["myRsvp"]["role"], "follow", "{listed}");
    let impossible = json!({"role": "lead", "guests": ["lead"]});
    let (status, problem) = world.server.post(&format!("{path}/rsvp"), &world.beto, impossible).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("full")), "{problem}");

    // More leads may come: who waits moves up in the same change.
    let (status, changed) =
        world.call(Method::PATCH, &path, &world.ana, json!({"roleLimits": {"lead": 2, "follow": 2}})).await;
    assert_eq!((status, &changed["counts"]["going"]), (StatusCode::OK, &json!(4)), "{changed}");
    let (status, problem) = world.call(Method::PATCH, &path, &world.ana, json!({"capacity": 3})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().starts_with("4 are going, 2 of them lead"), "{problem}");
    assert_eq!(world.seen(&path, &world.beto).await["myRsvp"]["status"], "going");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_its_hosts_until_it_is_published() {
    let world = World::new().await;
    let path = world.event(json!({"draft": true, "title": "Secret"})).await;
    assert_eq!(world.server.get(&path, &world.beto).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        world.server.post(&format!("{path}/rsvp"), &world.beto, json!({})).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.seen("/api/events", &world.ana).await["items"], json!([]));
    let mine = world.seen("/api/events/mine?as=host", &world.ana).await;
    assert_eq!(mine["items"][0]["title"], "Secret", "{mine}");
    let change = json!({"title": "Milonga", "eventDate": "2030-02-01T20:00:00Z"});
    assert_eq!(world.call(Method::PATCH, &path, &world.ana, change).await.0, StatusCode::OK);
    let (status, published) = world.server.post(&format!("{path}/publish"), &world.ana, json!({})).await;
    assert_eq!((status, &published["isDraft"]), (StatusCode::OK, &json!(false)), "{published}");
    assert_eq!(world.seen("/api/events", &world.beto).await["items"][0]["title"], "Milonga");
    world.answer(&path, &world.beto, json!({})).await;
    assert_eq!(world.seen("/api/events/mine", &world.beto).await["items"][0]["myRsvp"]["status"], "going");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_help_and_an_event_changes_hands() {
    let world = World::new().await;
    let path = world.event(json!({"attendees": "hosts"})).await;
    let host = format!("{path}/hosts/{}", world.beto.id);
    world.answer(&path, &world.carla, json!({})).await;
    for reader in [&world.beto, &world.carla] {
        assert_eq!(world.server.get(&format!("{path}/attendees"), reader).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        world.call(Method::PUT, &host, &world.beto, json!({"role": "door"})).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        world.call(Method::PUT, &host, &world.ana, json!({"role": "door"})).await.0,
        StatusCode::NO_CONTENT
    );
    let attendees = world.seen(&format!("{path}/attendees"), &world.beto).await;
    assert_eq!(attendees["items"][0]["user"]["username"], "carla", "{attendees}");
    assert_eq!(
        world.call(Method::PATCH, &path, &world.beto, json!({"title": "x"})).await.0,
        StatusCode::FORBIDDEN
    );

    // Two devices at the door noted the same guest; the earlier one counts, though it arrives later.
    for at in ["2026-01-01T20:10:00Z", "2026-01-01T20:00:00Z", "2026-01-01T20:05:00Z"] {
        let notes = json!({"checkIns": [{"userId": world.carla.id, "at": at, "device": "Door"}]});
        let (status, door) = world.server.post(&format!("{path}/door"), &world.beto, notes).await;
        assert_eq!((status, &door["checkedIn"]), (StatusCode::OK, &json!(1)), "{door}");
    }
    let door = world.seen(&format!("{path}/door"), &world.ana).await;
    assert_eq!(door["items"][0]["checkedInAt"], "2026-01-01T20:00:00.000Z", "{door}");
    let late = json!({"checkIns": [{"userId": world.carla.id, "at": "2099-01-01T20:00:00Z"}]});
    let (status, problem) = world.server.post(&format!("{path}/door"), &world.ana, late).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");

    let offer = format!("{path}/offer");
    let to = json!({"userId": world.carla.id});
    assert_eq!(world.call(Method::PUT, &offer, &world.ana, to).await.0, StatusCode::NO_CONTENT);
    let accept = format!("{offer}/accept");
    assert_eq!(world.server.post(&accept, &world.beto, json!({})).await.0, StatusCode::NOT_FOUND);
    let (status, taken) = world.server.post(&accept, &world.carla, json!({})).await;
    assert_eq!((status, &taken["host"]["username"]), (StatusCode::OK, &json!("carla")), "{taken}");
    let hosts = world.seen(&format!("{path}/hosts"), &world.ana).await;
    let roles: Vec<_> = hosts["hosts"].as_array().unwrap().iter().map(|host| host["role"].clone()).collect();
    assert_eq!((&hosts["owner"]["username"], roles.len()), (&json!("carla"), 2), "{hosts}");
    // Who owned it stays an editor, and may go.
    assert_eq!(
        world.call(Method::PATCH, &path, &world.ana, json!({"title": "Moved"})).await.0,
        StatusCode::OK
    );
    let leave = format!("{path}/hosts/{}", world.ana.id);
    assert_eq!(world.call(Method::DELETE, &leave, &world.ana, json!({})).await.0, StatusCode::NO_CONTENT);
    assert_eq!(
        world.call(Method::PATCH, &path, &world.ana, json!({"title": "x"})).await.0,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_costs_something_is_held() {
    let world = World::new().await;
    let path = world.event(json!({"capacity": 1, "ticketPrice": {"minor": 1250, "currency": "EUR"}})).await;
    let held = world.answer(&path, &world.beto, json!({})).await;
    assert_eq!(
        (&held["status"], &held["counts"]["going"], &held["counts"]["held"]),
        (&json!("held"), &json!(0), &json!(1))
    );
    assert!(held["heldUntil"].is_string(), "{held}");
    let waits = world.answer(&path, &world.carla, json!({})).await;
    assert_eq!((&waits["status"], &waits["waitsFor"]), (&json!("waitlisted"), &json!("capacity")));
    let larger = json!({"role": "lead", "guests": ["follow"]});
    let (status, problem) = world.server.post(&format!("{path}/rsvp"), &world.beto, larger).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    world.answer(&path, &world.beto, json!({"status": "declined"})).await;
    let own = world.seen(&path, &world.carla).await;
    assert_eq!(own["myRsvp"]["status"], "held", "who waited is offered the place: {own}");
    let kinds = async || {
        let (_, list) = world.server.get("/api/notifications", &world.carla).await;
        list["items"].as_array().unwrap().iter().any(|one| one["kind"] == "eventOffered").then_some(())
    };
    crate::server::until("the offer is told", kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_days_are_days_until_they_are_changed() {
    let world = World::new().await;
    let days = json!({
        "eventDate": "2030-03-05T00:00", "endDate": "2030-03-08T00:00", "timeZone": "Europe/Berlin", "allDay": true,
    });
    let path = world.event(days).await;
    let seen = world.seen(&path, &world.beto).await;
    let clocks =
        |seen: &Value| (seen["allDay"].clone(), seen["localStart"].clone(), seen["localEnd"].clone());
    let whole = (json!(true), json!("2030-03-05T00:00:00"), json!("2030-03-09T00:00:00"));
    assert_eq!(clocks(&seen), whole);
    assert_eq!(seen["lastDay"], "2030-03-08", "as it was given");
    let file = world.server.http.get(world.server.url(&format!("{path}/calendar.ics")));
    let file = file.bearer_auth(&world.beto.token).send().await.unwrap().text().await.unwrap();
    for line in ["DTSTART;VALUE=DATE:20300305", "DTEND;VALUE=DATE:20300309"] {
        assert!(file.lines().any(|one| one == line), "{file}");
    }
    let alone = world.call(Method::PATCH, &path, &world.ana, json!({"allDay": false})).await;
    assert_eq!((alone.0, &alone.1["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("allDay")));
    let later = json!({"eventDate": "2030-03-12T10:00"});
    let (status, moved) = world.call(Method::PATCH, &path, &world.ana, later).await;
    assert_eq!(status, StatusCode::OK, "{moved}");
    assert_eq!(clocks(&moved), (json!(true), json!("2030-03-12T00:00:00"), json!("2030-03-13T00:00:00")));
    let timed = json!({"eventDate": "2030-03-12T22:00", "allDay": false});
    let (_, moved) = world.call(Method::PATCH, &path, &world.ana, timed).await;
    assert_eq!(clocks(&moved), (json!(false), json!("2030-03-12T22:00:00"), Value::Null));
}

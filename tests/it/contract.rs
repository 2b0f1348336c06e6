//! The API's document is what the server does: the one that is served is the one that clients were made from, and what
//! channels publish fits it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{SinkExt as _, StreamExt as _};
use jsonschema::Validator;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::admin::staff;
use crate::housing;
use crate::previews::{OF_TESTS, Site};
use crate::server::{Server, User};
use crate::stripe::{FakeStripe, SECRET_KEY};

/// The documents as they are kept.
const DOCUMENT: &str = "docs/openapi.json";
const CHANNELS: &str = "docs/asyncapi.json";

/// The served document, without the routes of tests.
async fn document(server: &Server) -> Value {
    let (status, mut document) = server.call(Method::GET, "/api/docs/json", None, None).await;
    assert_eq!(status, StatusCode::OK);
    let paths = document["paths"].as_object_mut().unwrap();
    paths.retain(|path, _| !path.starts_with("/api/test-hooks/"));
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    schemas.retain(|name, _| !["Victim", "Stall"].contains(&name.as_str()));
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_that_is_kept_is_the_one_that_is_served() {
    let server = Server::start().await;
    let (status, channels) = server.call(Method::GET, "/api/docs/asyncapi.json", None, None).await;
    assert_eq!(status, StatusCode::OK);
    for (name, served) in [(DOCUMENT, document(&server).await), (CHANNELS, channels)] {
        let served = serde_json::to_string_pretty(&served).unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("MUNDOTANGO_WRITE_DOCS").is_some() {
            fs::write(&path, &served).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let differs = kept.lines().zip(served.lines()).find(|(kept, served)| kept != served);
        assert!(
            kept == served,
            "{name} is not what is served, first at {differs:?}: MUNDOTANGO_WRITE_DOCS=1 cargo test --test it contract"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_compressed_ends_well() {
    let server = Server::start().await;
    let account = server.register("ana").await;
    let ana = server.user(&account.id, "admin");
    let request = server.http.get(server.url("/api/admin/system/export")).bearer_auth(&ana.token);
    let answer = request.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let bytes = answer.bytes().await.expect("the stream is whole");
    assert!(bytes.starts_with(&[0x1f, 0x8b]), "gzip");
    let log = server.whole_log().await;
    assert!(!log.contains("panicked"), "{log}");
}

/// Validators of what channels publish, by the forms of their names.
fn validators(document: &Value) -> BTreeMap<String, Validator> {
    let channels = document["x-channels"].as_object().unwrap();
    let validator = |about: &Value| {
        let schema = json!({"allOf": [about["message"]], "components": {"schemas": document["components"]["schemas"]}});
        jsonschema::draft202012::new(&schema).unwrap()
    };
    channels.iter().map(|(name, about)| (name.clone(), validator(about))).collect()
}

/// The form of a channel's name: `event:{id}` of `event:01a2…`.
fn form<'a>(forms: impl Iterator<Item = &'a String>, channel: &str) -> &'a str {
    let mut forms: Vec<_> =
        forms.filter(|form| form.split('{').next().is_some_and(|it| channel.starts_with(it))).collect();
    forms.sort_by_key(|form| form.len());
    // A name without a part that changes is the channel itself.
    let exact = forms.iter().position(|form| form.as_str() == channel);
    let open = forms.iter().position(|form| form.contains('{'));
    let Some(index) = exact.or(open) else { panic!("no channel of the form of {channel}") };
    forms[index]
}

/// A session that keeps what it receives.
struct Listener {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    next_id: u64,
    /// Channels with what they published.
    heard: Vec<(String, Value)>,
}

impl Listener {
    async fn connect(server: &Server, user: &User) -> Self {
        let (socket, _) = connect_async(server.websocket_url()).await.unwrap();
        let mut listener = Self { socket, next_id: 0, heard: Vec::new() };
        listener.ask("connect", json!({"token": user.token})).await;
        listener
    }

    async fn ask(&mut self, what: &str, body: Value) {
        self.next_id += 1;
        let command = json!({"id": self.next_id, what: body});
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        let id = self.next_id;
        let reply = self.until(|reply| reply["id"] == id).await;
        assert!(reply["error"].is_null(), "{what}: {reply}");
    }

    async fn subscribe(&mut self, channel: &str) {
        self.ask("subscribe", json!({"channel": channel})).await;
    }

    /// Reads until a reply is the one that is waited for.
    async fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = tokio::time::timeout(std::time::Duration::from_secs(30), self.socket.next());
            let Message::Text(text) = frame.await.expect("nothing more came").unwrap().unwrap() else {
                continue;
            };
            let mut found = None;
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let reply = reply.unwrap();
                let push = &reply["push"];
                if push["pub"].is_object() {
                    let channel = push["channel"].as_str().unwrap().to_owned();
                    self.heard.push((channel, push["pub"]["data"].clone()));
                }
                if is_it(&reply) {
                    found = Some(reply);
                }
            }
            if let Some(found) = found {
                return found;
            }
            if text == "{}" {
                self.socket.send(Message::text("{}")).await.unwrap();
            }
        }
    }

    /// Waits until something of these types was heard.
    async fn hear(&mut self, kinds: &[&str]) {
        for kind in kinds {
            if !self.heard.iter().any(|(_, message)| message["type"] == *kind) {
                let heard = self.until(|reply| reply["push"]["pub"]["data"]["type"] == *kind);
                let heard = tokio::time::timeout(std::time::Duration::from_secs(30), heard).await.is_ok();
                assert!(heard, "no {kind} was heard, but {:?}", self.heard);
            }
        }
    }
}

/// What is told only where what happened could not be told at once; `src/community/effects.rs` has tests of it.
const TOLD_LATE: [&str; 3] = ["event.outdated", "series.outdated", "announcement.outdated"];

/// All messages that the document has, by the schema and the value of `type`.
fn types(document: &Value) -> BTreeSet<(String, String)> {
    let mut types = BTreeSet::new();
    for about in document["x-channels"].as_object().unwrap().values() {
        let message = &about["message"];
        let messages = message["oneOf"].as_array().cloned().unwrap_or_else(|| vec![message.clone()]);
        for reference in messages {
            let name = reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            let schema = &document["components"]["schemas"][name];
            let variants = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
            for variant in variants {
                let kind = &variant["properties"]["type"];
                let kind = kind["enum"][0].as_str().or_else(|| kind["const"].as_str());
                types.insert((
                    name.to_owned(),
                    kind.unwrap_or_else(|| panic!("{name} has no type: {variant}")).to_owned(),
                ));
            }
        }
    }
    types
}

/// One gives a series and changes it, and another one takes it over and cancels it.
async fn give_a_series(server: &Server, host: &User, next: &User) {
    let series = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00-03:00", "eventType": "milonga", "location": "La Viruta",
        "repeats": {"frequency": "weekly", "count": 2},
    });
    let (status, series) = server.post("/api/events/series", host, series).await;
    assert_eq!(status, StatusCode::CREATED, "{series}");
    let path = format!("/api/events/series/{}", series["id"].as_str().unwrap());
    let (status, changed) =
        server.call(Method::PATCH, &path, Some(&host.token), Some(json!({"title": "Gala"}))).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let (offer, offered) = (json!({"userId": next.id}), format!("{path}/offer"));
    let (status, answer) = server.call(Method::PUT, &offered, Some(&host.token), Some(offer)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    let (status, taken) = server.post(&format!("{offered}/accept"), next, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{taken}");
    server.post(&format!("{path}/cancel"), next, json!({"reason": "The hall is flooded."})).await;
}

/// A post is commented, edited, and shown to fewer.
async fn comment_and_edit(server: &Server, (ana, beto): (&User, &User), id: &str) {
    let comments = format!("/api/posts/{id}/comments");
    let (_, comment) = server.post(&comments, beto, json!({"content": "I do, @ana #tango"})).await;
    let comment = format!("/api/comments/{}", comment["id"].as_str().unwrap());
    let edited = Some(json!({"content": "We do"}));
    server.call(Method::PATCH, &comment, Some(&beto.token), edited.clone()).await;
    server.call(Method::DELETE, &comment, Some(&beto.token), None).await;
    for change in [edited, Some(json!({"visibility": "friends"})), Some(json!({"content": "Who else?"}))] {
        server.call(Method::PATCH, &format!("/api/posts/{id}"), Some(&ana.token), change).await;
    }
}

/// A post asks, and somebody votes.
async fn ask_and_vote(server: &Server, (ana, beto): (&User, &User), listener: &mut Listener) {
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let poll = json!({"options": ["On Friday", "On Sunday"], "until": until});
    let (status, post) = server.post("/api/posts", ana, json!({"content": "When?", "poll": poll})).await;
    assert_eq!(status, StatusCode::CREATED, "{post}");
    let id = post["id"].as_str().unwrap();
    listener.subscribe(&format!("post:{id}")).await;
    let path = format!("/api/posts/{id}/vote");
    server.call(Method::PUT, &path, Some(&beto.token), Some(json!({"choices": [1]}))).await;
    listener.hear(&["post.polled"]).await;
}

/// Two become friends, and all that a group's channel tells happens in theirs.
async fn befriend_and_talk(server: &Server, listeners: &mut [Listener], users: [&User; 3]) {
    let [ana, beto, carla] = users;
    let done = async |method: Method, path: &str, by: &User, body: Value| {
        let (status, answer) = server.call(method, path, Some(&by.token), Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    };
    done(Method::PUT, &format!("/api/users/{}/friend", beto.id), ana, json!({})).await;
    listeners[1].hear(&["friend.requested"]).await;
    done(Method::PUT, &format!("/api/users/{}/friend", ana.id), beto, json!({})).await;
    listeners[0].hear(&["friend.accepted"]).await;

    done(Method::PUT, &format!("/api/users/{}/follow", ana.id), beto, json!({})).await;
    assert_eq!(server.get("/api/posts/feed/following", beto).await.0, StatusCode::OK);
    done(Method::POST, "/api/posts", ana, json!({"content": "Who dances now?"})).await;
    listeners[1].hear(&["feed.new"]).await;
    ask_and_vote(server, (ana, beto), &mut listeners[0]).await;

    let group = json!({"title": "Camp", "memberIds": [beto.id]});
    let group = done(Method::POST, "/api/chat/conversations", ana, group).await;
    let id = group["id"].as_str().unwrap();
    let path = format!("/api/chat/conversations/{id}");
    listeners[0].subscribe(&format!("chat:{id}")).await;
    done(Method::POST, &format!("{path}/messages"), ana, json!({"text": "Hola"})).await;
    done(Method::PATCH, &format!("{path}/messages/1"), ana, json!({"text": "Hola, Beto"})).await;
    let heart = json!({"reactionType": "heart"});
    done(Method::PUT, &format!("{path}/messages/1/reaction"), ana, heart).await;
    done(Method::DELETE, &format!("{path}/messages/1"), ana, json!({})).await;
    done(Method::POST, &format!("{path}/typing"), ana, json!({})).await;
    done(Method::PUT, &format!("{path}/read"), ana, json!({"seq": 1})).await;
    done(Method::POST, &format!("{path}/members"), ana, json!({"userIds": [carla.id]})).await;
    done(Method::PATCH, &format!("{path}/members/{}", carla.id), ana, json!({"role": "admin"})).await;
    done(Method::DELETE, &format!("{path}/members/{}", carla.id), ana, json!({})).await;
    done(Method::PATCH, &path, ana, json!({"title": "Tango camp"})).await;
    let of_messages = ["message.created", "message.edited", "message.reacted", "message.deleted"];
    listeners[0].hear(&of_messages).await;
    listeners[0].hear(&["typing", "read", "member.added", "member.changed", "member.removed"]).await;
    listeners[0].hear(&["conversation.changed", "chat.listed"]).await;
}

/// A member asks for help, and an admin tells everybody something and takes it back.
async fn work_of_the_staff(server: &Server, member: &User, listeners: &mut Vec<Listener>) {
    let eva = staff(server, "eva", "admin").await;
    let mut listener = Listener::connect(server, &eva).await;
    for channel in ["staff:queue", "announcements:all"] {
        listener.subscribe(channel).await;
    }
    let ticket = json!({"subject": "Help", "text": "I have no place."});
    let (status, ticket) = server.post("/api/support/tickets", member, ticket).await;
    assert_eq!(status, StatusCode::CREATED, "{ticket}");
    let until = json!({"title": "Maintenance", "text": "On Sunday.", "until": "2099-01-01T00:00:00Z"});
    let (status, told) = server.post("/api/admin/announcements", &eva, until).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    let path = format!("/api/admin/announcements/{}", told["id"].as_str().unwrap());
    server.call(Method::DELETE, &path, Some(&eva.token), None).await;
    listener.hear(&["queue.changed", "announcement.created", "announcement.removed"]).await;
    listeners[1].hear(&["case.changed"]).await;
    listeners.push(listener);
}

/// The names of all fields in a schema.
fn fields_of(schema: &Value, names: &mut BTreeSet<String>) {
    if let Some(fields) = schema["properties"].as_object() {
        names.extend(fields.keys().cloned());
    }
    match schema {
        Value::Object(parts) => parts.values().for_each(|part| fields_of(part, names)),
        Value::Array(parts) => parts.iter().for_each(|part| fields_of(part, names)),
        _ => {}
    }
}

/// The schemas to which a part of the document leads.
fn schemas_of<'a>(part: &'a Value, names: &mut BTreeSet<&'a str>) {
    match part {
        Value::Object(parts) => {
            let name = parts.get("$ref").and_then(Value::as_str);
            names.extend(name.and_then(|name| name.strip_prefix("#/components/schemas/")));
            parts.values().for_each(|part| schemas_of(part, names));
        }
        Value::Array(parts) => parts.iter().for_each(|part| schemas_of(part, names)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_schema_that_is_named_is_there() {
    let server = Server::start().await;
    for path in ["/api/docs/json", "/api/docs/asyncapi.json"] {
        let (_, document) = server.call(Method::GET, path, None, None).await;
        let mut names = BTreeSet::new();
        schemas_of(&document, &mut names);
        names.retain(|name| document["components"]["schemas"].get(name).is_none());
        assert!(names.is_empty(), "{path}: {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_is_named_in_camel_case() {
    let server = Server::start().await;
    for path in ["/api/docs/json", "/api/docs/asyncapi.json"] {
        let (_, document) = server.call(Method::GET, path, None, None).await;
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            let mut names = BTreeSet::new();
            fields_of(schema, &mut names);
            let wrong: Vec<_> = names.iter().filter(|field| field.contains('_')).collect();
            assert!(wrong.is_empty(), "{path}, {name}: {wrong:?}");
        }
    }
}

/// A place is declined, and then taken and given back.
async fn hand_a_place_on(server: &Server, path: &str, from: &User, to: &User) {
    let (receiver, giver) = (json!({"userId": to.id}), json!({"userId": from.id}));
    for answer in ["decline", "accept"] {
        let offered = server.post(&format!("{path}/rsvp/handover"), from, receiver.clone()).await;
        assert_eq!(offered.0, StatusCode::OK, "{}", offered.1);
        let (status, answered) =
            server.post(&format!("{path}/rsvp/handover/{answer}"), to, giver.clone()).await;
        assert!(status.is_success(), "{answer}: {answered}");
    }
    // As it was before.
    for (user, status) in [(to, "declined"), (from, "going")] {
        let (code, answer) = server.post(&format!("{path}/rsvp"), user, json!({"status": status})).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
    }
}

/// Somebody asks to stay with somebody, who has no place.
async fn decline_a_stay(server: &Server, host: &User, guest: &User) {
    let (_, room) = server.post("/api/housing", host, housing::room_body()).await;
    let path = format!("/api/housing/{}/bookings", room["id"].as_str().unwrap());
    let (status, booking) = server.post(&path, guest, housing::stay_body(10, 2)).await;
    assert_eq!(status, StatusCode::CREATED, "{booking}");
    let path = format!("/api/bookings/{}/decline", booking["id"].as_str().unwrap());
    server.post(&path, host, json!({"reason": "We are away."})).await;
}

/// Somebody begins to pay for a ticket of an event.
async fn order_a_ticket(server: &Server, host: &User, guest: &User) {
    let event = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00-03:00", "eventType": "milonga", "location": "La Viruta",
        "ticketPrice": {"minor": 1250, "currency": "EUR"},
    });
    let (_, event) = server.post("/api/events", host, event).await;
    let path = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    server.post(&path, guest, json!({})).await;
    let order = json!({"purpose": "ticket", "thingId": event["id"]});
    let (status, checkout) = server.post("/api/payments/checkout", guest, order).await;
    assert_eq!(status, StatusCode::CREATED, "{checkout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_publication_fits_its_schema() {
    let stripe = FakeStripe::start().await;
    let settings = [("PAYMENTS__SECRET_KEY", SECRET_KEY), ("PAYMENTS__API_URL", stripe.base())];
    let (site, server) =
        (Site::start().await, Server::start_with(&[settings.as_slice(), OF_TESTS].concat()).await);
    let document = document(&server).await;
    let validators = validators(&document);
    let (ana, beto, carla) =
        (server.register("ana").await, server.register("beto").await, server.register("carla").await);
    let mut listeners = vec![
        Listener::connect(&server, &ana).await,
        Listener::connect(&server, &beto).await,
        Listener::connect(&server, &carla).await,
    ];
    for channel in ["posts:feed", "events:all"] {
        listeners[0].subscribe(channel).await;
    }
    let words = format!("Who dances? {}", site.page(1, "/page"));
    let (_, post) = server.post("/api/posts", &ana, json!({"content": words})).await;
    let id = post["id"].as_str().unwrap();
    listeners[0].subscribe(&format!("post:{id}")).await;
    server.post(&format!("/api/posts/{id}/react"), &beto, json!({"reactionType": "heart"})).await;
    server.call(Method::PUT, &format!("/api/posts/{id}/bookmark"), Some(&ana.token), None).await;
    server.call(Method::DELETE, &format!("/api/posts/{id}/bookmark"), Some(&ana.token), None).await;
    listeners[0].hear(&["post.created", "post.previewed", "post.reacted", "bookmark.changed"]).await;
    comment_and_edit(&server, (&ana, &beto), id).await;
    listeners[0].hear(&["comment.created", "comment.updated", "comment.deleted"]).await;
    listeners[0].hear(&["post.updated", "post.deleted", "post.changed"]).await;
    befriend_and_talk(&server, &mut listeners, [&ana, &beto, &carla]).await;

    let event = json!({
        "title": "Milonga", "eventDate": "2030-01-01T20:00:00-03:00", "eventType": "milonga", "capacity": 1,
        "location": {"text": "La Viruta", "city": "Buenos Aires", "latitude": -34.6, "longitude": -58.4},
    });
    let (status, event) = server.post("/api/events", &ana, event).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    let path = format!("/api/events/{}", event["id"].as_str().unwrap());
    listeners[0].subscribe(&format!("event:{}", event["id"].as_str().unwrap())).await;
    // The second one waits, and gets the place of the first one.
    for (user, status) in [(&beto, "going"), (&carla, "going"), (&beto, "declined")] {
        let (code, answer) = server.post(&format!("{path}/rsvp"), user, json!({"status": status})).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
    }
    listeners[2].hear(&["event.promoted", "notification.created"]).await;
    hand_a_place_on(&server, &path, &carla, &beto).await;
    listeners[1].hear(&["place.offered"]).await;
    listeners[2].hear(&["place.declined", "place.taken"]).await;
    let change = json!({"eventDate": "2030-01-02T20:00:00-03:00"});
    let (status, changed) = server.call(Method::PATCH, &path, Some(&ana.token), Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let offer = json!({"userId": beto.id});
    let (status, offered) =
        server.call(Method::PUT, &format!("{path}/offer"), Some(&ana.token), Some(offer)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{offered}");
    let (status, taken) = server.post(&format!("{path}/offer/accept"), &beto, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{taken}");
    listeners[1].hear(&["event.offered"]).await;
    listeners[0].hear(&["event.takenOver"]).await;
    server.post(&format!("{path}/cancel"), &beto, json!({"reason": "The hall is flooded."})).await;
    let is_told = |reply: &Value| reply["push"]["pub"]["data"]["notification"]["kind"] == "eventCancelled";
    listeners[2].until(is_told).await;
    let (_, list) = server.get("/api/notifications", &carla).await;
    let notification = list["items"][0]["id"].as_str().unwrap();
    server.post(&format!("/api/notifications/{notification}/read"), &carla, json!({})).await;
    server.post("/api/notifications/read-all", &carla, json!({})).await;
    listeners[2].hear(&["notification.read", "notifications.read"]).await;
    let told = ["event.created", "event.rsvp", "event.counts", "event.changed", "event.cancelled"];
    listeners[0].hear(&told).await;

    order_a_ticket(&server, &ana, &beto).await;
    listeners[1].hear(&["payment.changed"]).await;
    give_a_series(&server, &ana, &beto).await;
    listeners[0].hear(&["series.created", "series.changed", "series.takenOver", "series.cancelled"]).await;
    listeners[1].hear(&["series.offered"]).await;

    let (_, said) = server.post("/api/life-ceo/chat", &beto, json!({"message": "Hi", "stream": true})).await;
    let conversation = said["conversationId"].as_str().unwrap();
    listeners[1].subscribe(said["channel"].as_str().unwrap()).await;
    let again = json!({"message": "And then?", "conversationId": conversation});
    server.post("/api/life-ceo/chat", &beto, again).await;
    listeners[1].hear(&["agent.turn", "agent.delta"]).await;

    decline_a_stay(&server, &ana, &beto).await;
    listeners[0].hear(&["booking.requested"]).await;
    listeners[1].hear(&["booking.changed"]).await;

    work_of_the_staff(&server, &beto, &mut listeners).await;

    let mut seen = BTreeSet::new();
    for (channel, message) in listeners.iter().flat_map(|listener| &listener.heard) {
        let form = form(validators.keys(), channel);
        let wrong: Vec<_> = validators[form].iter_errors(message).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{channel}: {message} is not of {form}: {wrong:?}");
        seen.insert(message["type"].as_str().unwrap().to_owned());
    }
    seen.extend(TOLD_LATE.map(str::to_owned));
    let unseen: Vec<_> = types(&document).into_iter().filter(|(_, kind)| !seen.contains(kind)).collect();
    assert!(unseen.is_empty(), "nothing of these was published: {unseen:?}");
    // What a client could mistake for another message is none.
    let wrong = json!({"type": "post.reacted", "post_id": id, "reactions": {}});
    assert!(!validators["post:{id}"].is_valid(&wrong));
}

/// Two types of one name are one schema in the document, and one of them is told wrongly.
#[test]
fn no_two_types_give_a_schema_the_same_name() {
    fn read(folder: &Path, names: &mut BTreeMap<String, Vec<PathBuf>>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                read(&path, names);
                continue;
            }
            let mut attributes = String::new();
            for line in fs::read_to_string(&path).unwrap().lines() {
                // The kinds of text, which a macro makes.
                if let Some((name, _)) = line.trim().split_once(" = rule(") {
                    names.entry(name.to_owned()).or_default().push(path.clone());
                }
                let words: Vec<_> = line.split([' ', '<', '(', ';', '{']).collect();
                let kind = words.iter().position(|word| matches!(*word, "struct" | "enum"));
                match kind.filter(|_| !line.starts_with(['/', ' ', '#'])) {
                    Some(kind) if attributes.contains("ToSchema") => {
                        let renamed =
                            attributes.split("as = ").nth(1).and_then(|rest| rest.split([')', ',']).next());
                        names
                            .entry(renamed.unwrap_or(words[kind + 1]).to_owned())
                            .or_default()
                            .push(path.clone());
                    }
                    None if line.starts_with("#[derive(") => line.clone_into(&mut attributes),
                    None if line.is_empty() || line.starts_with('}') => attributes.clear(),
                    _ => attributes.push_str(line),
                }
            }
        }
    }
    let mut names = BTreeMap::new();
    for sources in ["src", "gateway/src"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(sources), &mut names);
    }
    assert!(names.len() > 150, "only {} types were found", names.len());
    names.retain(|_, files| files.len() > 1);
    assert!(names.is_empty(), "{names:#?}");
}

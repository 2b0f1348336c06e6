//! Who is there, and what they made.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::chat::{Line, done, id_of, of};
use crate::cluster;
use crate::graph::befriend;
use crate::housing::{room_body, stay_body};
use crate::server::{Server, User};

/// Three nodes, and those who are not the ones who are seen.
pub struct World {
    pub nodes: Vec<Server>,
    /// Reads.
    pub ben: User,
    /// Is asked to be a friend, and reads that.
    pub eve: User,
    /// Owns what others meet in.
    pub cam: User,
    /// A post of Cam's.
    pub said: String,
    /// An event of Cam's, with Ben at the door.
    salon: String,
}

/// Somebody who is seen at all doors.
pub struct Subject {
    pub user: User,
    /// The ids, names and words of what there is of the user.
    things: BTreeMap<&'static str, String>,
    /// Is online.
    _line: Option<Line>,
}

async fn made(node: &Server, user: &User, path: &str, body: Value) -> String {
    id_of(&done(node, Method::POST, path, user, body).await)
}

async fn put(node: &Server, user: &User, path: &str, body: Value) {
    done(node, Method::PUT, path, user, body).await;
}

async fn post(node: &Server, user: &User, content: &str, visibility: &str) -> String {
    made(node, user, "/api/posts", json!({"content": content, "visibility": visibility})).await
}

fn event_body(title: &str) -> Value {
    json!({
        "title": title, "eventDate": "2040-01-01T20:00:00Z", "eventType": "milonga",
        "location": {"text": "La Viruta", "city": "Buenos Aires"},
    })
}

impl World {
    /// A community of its own store, as a deletion goes over all that a store has.
    pub async fn new() -> Self {
        let keyspace = format!("it_{}", mundotango_protocol::new_id().replace('-', ""));
        let settings = cluster::with(&cluster::settings(), "CLUSTER__CQL__KEYSPACE", &keyspace);
        let nodes = cluster::start_with(&settings, 3).await;
        let (ben, eve) = (nodes[0].register("ben").await, nodes[1].register("eve").await);
        let cam = nodes[2].register("cam").await;
        befriend(&nodes[0], &ben, &cam).await;
        let said = post(&nodes[0], &cam, "¿Quién baila?", "public").await;
        let salon = made(&nodes[0], &cam, "/api/events", event_body("Salón")).await;
        let door = format!("/api/events/{salon}/hosts/{}", ben.id);
        put(&nodes[0], &cam, &door, json!({"role": "door"})).await;
        Self { nodes, ben, eve, cam, said, salon }
    }

    /// A group of Cam's, in which all are who were asked.
    pub async fn group(&self, members: &[&User]) -> String {
        let ids: Vec<_> = members.iter().map(|user| &user.id).collect();
        let body = json!({"title": "Camp", "memberIds": ids});
        let group = made(&self.nodes[0], &self.cam, "/api/chat/conversations", body).await;
        for member in members {
            done(&self.nodes[0], Method::POST, &of(&group, "accept"), member, Value::Null).await;
        }
        group
    }

    /// Somebody of whom there is something at all doors. The word stands in what there is, and nowhere else.
    pub async fn subject(&self, name: &str, word: &str) -> Subject {
        let node = &self.nodes[0];
        let user = node.register(name).await;
        let line = Line::open(node, &user).await;
        let mut subject = Subject { user, things: BTreeMap::new(), _line: Some(line) };
        let user = subject.user.clone();
        self.acquaint(&user).await;
        let said = format!("{word} con @ben #{word}");
        subject.note("id", user.id.clone());
        for (thing, text) in
            [("name", name), ("word", word), ("cam", self.cam.id.as_str()), ("said", self.said.as_str())]
        {
            subject.note(thing, text.to_owned());
        }
        subject.note("post", post(node, &user, &said, "public").await);
        subject.note("friends", post(node, &user, "entre amigos", "friends").await);
        let bookmark = format!("/api/posts/{}/bookmark", subject.thing("post"));
        put(node, &self.ben, &bookmark, Value::Null).await;
        let comments = format!("/api/posts/{}/comments", self.said);
        subject.note("comment", made(node, &user, &comments, json!({"content": "¡Yo!"})).await);
        self.talk(&mut subject).await;
        self.meet(&mut subject, word).await;
        self.stay(&mut subject, word).await;
        subject
    }

    /// How somebody stands to the others.
    async fn acquaint(&self, user: &User) {
        let node = &self.nodes[0];
        befriend(node, user, &self.ben).await;
        for (one, other, what) in [
            (&self.ben, user, "follow"),
            (user, &self.ben, "follow"),
            (user, &self.cam, "follow"),
            (&self.cam, user, "follow"),
            (user, &self.eve, "friend"),
        ] {
            put(node, one, &format!("/api/users/{}/{what}", other.id), Value::Null).await;
        }
    }

    /// What somebody says to others.
    async fn talk(&self, subject: &mut Subject) {
        let (node, user) = (&self.nodes[0], subject.user.clone());
        let chat = made(node, &user, "/api/chat/conversations", json!({"userId": self.ben.id})).await;
        let camp = self.group(&[&self.ben, &user]).await;
        for conversation in [&chat, &camp] {
            done(node, Method::POST, &of(conversation, "messages"), &user, json!({"text": "Hola"})).await;
        }
        subject.note("chat", chat);
        subject.note("camp", camp);
    }

    /// What somebody gives, and where somebody comes.
    async fn meet(&self, subject: &mut Subject, word: &str) {
        let (node, user) = (&self.nodes[0], subject.user.clone());
        let event = made(node, &user, "/api/events", event_body(word)).await;
        for (guest, event) in [(&self.ben, &event), (&user, &self.salon)] {
            done(node, Method::POST, &format!("/api/events/{event}/rsvp"), guest, json!({})).await;
        }
        let hosted = made(node, &self.cam, "/api/events", event_body("Práctica")).await;
        let host = format!("/api/events/{hosted}/hosts/{}", user.id);
        put(node, &self.cam, &host, json!({"role": "door"})).await;
        let mut series = event_body(word);
        series["repeats"] = json!({"frequency": "weekly", "count": 2});
        subject.note("series", made(node, &user, "/api/events/series", series).await);
        subject.note("event", event);
        subject.note("salon", self.salon.clone());
        subject.note("hosted", hosted);
    }

    /// Where somebody has others stay.
    async fn stay(&self, subject: &mut Subject, word: &str) {
        let (node, user) = (&self.nodes[0], subject.user.clone());
        let mut room = room_body();
        room["title"] = json!(format!("{word} 3"));
        let listing = made(node, &user, "/api/housing", room).await;
        let days = stay_body(10, 3);
        let bookings = format!("/api/housing/{listing}/bookings");
        subject.note("booking", made(node, &self.ben, &bookings, days.clone()).await);
        subject.note("listing", listing);
        for day in ["from", "to"] {
            subject.note(day, days[day].as_str().unwrap().to_owned());
        }
    }
}

impl Subject {
    fn note(&mut self, thing: &'static str, text: String) {
        self.things.insert(thing, text);
    }

    pub fn thing(&self, name: &str) -> &str {
        &self.things[name]
    }

    /// A text with the things in the place of their names.
    pub fn filled(&self, text: &str) -> String {
        self.things
            .iter()
            .fold(text.to_owned(), |text, (name, thing)| text.replace(&format!("{{{name}}}"), thing))
    }

    /// The same with another post, of other words.
    pub async fn with_another_post(&self, world: &World) -> Self {
        let (node, word) = (&world.nodes[0], "lunfardo");
        let id = post(node, &self.user, &format!("{word} #{word}"), "public").await;
        put(node, &world.ben, &format!("/api/posts/{id}/bookmark"), Value::Null).await;
        let mut other = Self { user: self.user.clone(), things: self.things.clone(), _line: None };
        other.note("post", id);
        other.note("word", word.to_owned());
        other
    }
}

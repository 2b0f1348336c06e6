//! What one client can do to a node, as fast as it can.

use std::future::ready;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use mundotango_gateway::tokens::{Claims, Tokens};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Arena, SECRET};

/// One kind of abuse.
pub(super) struct Abuse {
    pub(super) name: &'static str,
    /// Settings of the node, where the abuse needs some.
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// Prepares the abuse; the future that comes back is the abuse itself, and is dropped when its time is over.
    pub(super) prepare: fn(Arena) -> BoxFuture<'static, BoxFuture<'static, ()>>,
}

/// Makes an [`Abuse`] of a function, which is async where the abuse has to be prepared.
macro_rules! abuse {
    ($name:literal, async $prepare:ident, $settings:expr) => {
        Abuse { name: $name, settings: $settings, prepare: |arena| $prepare(arena).boxed() }
    };
    ($name:literal, $rampage:ident, $settings:expr) => {
        Abuse { name: $name, settings: $settings, prepare: |arena| ready($rampage(arena)).boxed() }
    };
}

pub(super) const ABUSES: &[Abuse] = &[
    abuse!("none", nothing, &[]),
    abuse!("WebSocket pings without a token", pings, &[]),
    abuse!("request bodies that never come", slow_bodies, &[("HTTP__MAX_CONNECTIONS", "300")]),
    abuse!("publish flood", publish_flood, &[]),
    // With the room's 1,000 publications the history alone would hold 240 MB, as it was told to.
    abuse!("delta bombs", delta_bombs, &[("CHANNELS__NAMESPACES__ROOM__HISTORY_SIZE", "20")]),
    abuse!("presence of a large channel", async presence_of_a_crowd, &[("HTTP__CONNECTION_RATE", "0")]),
    abuse!("logouts beside 1,000 sessions", async logouts, &[("HTTP__CONNECTION_RATE", "0")]),
    abuse!("subscribe storm", subscribe_storm, &[]),
    abuse!("tokens of a stalled identity provider", stalled_identity_provider, &[]),
    abuse!("peers that do not read", peers_that_do_not_read, &[]),
];

/// A user's token, of a login where one is given.
pub(super) fn token(user: &str, login: Option<String>) -> String {
    let claims = Claims { sub: user.to_owned(), sid: login, ..Claims::default() };
    Tokens::new(SECRET.as_bytes(), Duration::from_hours(1)).sign(&claims).unwrap()
}

/// A server that takes connections and requests and never answers.
pub(super) fn stalled_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
        }
    });
    address
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(arena: &Arena, encoding: &str) -> Socket {
    let mut request = format!("ws://{}/connection/websocket", arena.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", encoding.parse().unwrap());
    connect_async(request).await.unwrap().0
}

/// Opens a socket and connects as a user; `commands` follow the connect in the same frame.
async fn connect(arena: &Arena, user: &str, commands: &[Value]) -> Socket {
    let mut socket = open(arena, "centrifuge-json").await;
    let mut frame = json!({"id": 1, "connect": {"token": token(user, None)}}).to_string();
    for command in commands {
        frame = format!("{frame}\n{command}");
    }
    socket.send(Message::text(frame)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket
}

fn subscribe(id: usize, channel: &str) -> Value {
    json!({"id": id, "subscribe": {"channel": channel}})
}

/// Reads and forgets until the socket is closed.
async fn read_all(
    mut reading: impl futures_util::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
) {
    while let Some(Ok(_)) = reading.next().await {}
}

/// Sends the same frames again and again while what comes is read, and connects again when the socket is closed.
async fn send_for_ever(arena: Arena, user: String, before: Vec<Value>, frames: impl Fn(u64) -> String) {
    let mut round = 0;
    loop {
        let (mut sending, reading) = connect(&arena, &user, &before).await.split();
        let send = async {
            loop {
                round += 1;
                if sending.send(Message::text(frames(round))).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = send => {}
            () = read_all(reading) => {}
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn all(futures: impl IntoIterator<Item = BoxFuture<'static, ()>>) -> BoxFuture<'static, ()> {
    join_all(futures).map(drop).boxed()
}

/// The canary alone.
fn nothing(_: Arena) -> BoxFuture<'static, ()> {
    std::future::pending().boxed()
}

/// Two sockets, one for each core, that send nothing but the shortest pings.
fn pings(arena: Arena) -> BoxFuture<'static, ()> {
    let flood = async move |arena: Arena| loop {
        let mut stream = TcpStream::connect(arena.address).await.unwrap();
        let upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: fairness\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(10_000);
        let write = async { while writing.write_all(&pings).await.is_ok() {} };
        let read = async {
            let mut buffer = vec![0; 64 * 1024];
            while reading.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        };
        tokio::select! {
            () = write => {}
            () = read => {}
        }
    };
    all([flood(arena).boxed(), flood(arena).boxed()])
}

/// More connections than the node takes, each with a request whose body never comes.
fn slow_bodies(arena: Arena) -> BoxFuture<'static, ()> {
    let paths =
        ["/emulation", "/connection/http_stream", "/connection/sse", "/api/publish", "/api/auth/login"];
    let hold = async move |arena: Arena, path: &'static str| loop {
        if let Ok(mut stream) = TcpStream::connect(arena.address).await {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: fairness\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
            );
            if stream.write_all(head.as_bytes()).await.is_ok() {
                // An answer or the end comes when the node has waited long enough.
                let _ = stream.read(&mut [0; 1024]).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    all((0..400).map(|number| hold(arena, paths[number % paths.len()]).boxed()))
}

/// Four sessions that publish as fast as the node takes it.
fn publish_flood(arena: Arena) -> BoxFuture<'static, ()> {
    all((0..4).map(|number| {
        let channel = format!("room:flood{number}");
        let before = vec![subscribe(2, &channel)];
        let publish = json!({"id": 3, "publish": {"channel": channel, "data": "x".repeat(200)}});
        let frame = vec![publish.to_string(); 100].join("\n");
        send_for_ever(arena, format!("flood{number}"), before, move |_| frame.clone()).boxed()
    }))
}

/// A field of a Protobuf message that is bytes, text or a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(bytes.len()));
    field.extend(bytes);
    field
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits are taken")]
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    bytes.push(value as u8);
    bytes
}

/// A Protobuf command; `body` is the request in the command's field `number`.
fn command(id: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let message = [vec![1 << 3, id], field(number, body)].concat();
    [varint(message.len()), message].concat()
}

/// Payloads that make a naïve delta encoder quadratic, into channels with subscribers of deltas.
fn delta_bombs(arena: Arena) -> BoxFuture<'static, ()> {
    let texts = [
        vec![0x80; 60_000],
        format!("\"{}\"", "😀".repeat(15_000)).into_bytes(),
        format!("\"{}\"", "ab".repeat(30_000)).into_bytes(),
        format!("\"{}\"", "é".repeat(15_000) + &"😀é".repeat(5_000)).into_bytes(),
    ];
    all(texts.into_iter().enumerate().map(|(number, payload)| {
        let channel = format!("room:bomb{number}");
        async move {
            let subscribe = json!({"id": 2, "subscribe": {"channel": channel, "delta": "fossil"}});
            let subscriber = connect(&arena, "bombed", &[subscribe]).await;
            let mut bomber = open(&arena, "centrifuge-protobuf").await;
            let connect = command(1, 4, &field(1, token("bomber", None).as_bytes()));
            let subscribe = command(2, 5, &field(1, channel.as_bytes()));
            bomber.send(Message::binary([connect, subscribe].concat())).await.unwrap();
            let (mut sending, reading) = bomber.split();
            let bombs = async {
                for round in 0_usize.. {
                    // Each payload differs a little from the one before, so that there is something to encode.
                    let mut payload = payload.clone();
                    let at = 1 + round % 1000;
                    payload.swap(at, at + 4000);
                    let publish = [field(1, channel.as_bytes()), field(2, &payload)].concat();
                    if sending.send(Message::binary(command(3, 7, &publish))).await.is_err() {
                        break;
                    }
                }
            };
            tokio::join!(bombs, read_all(reading), read_all(subscriber));
        }
        .boxed()
    }))
}

/// Opens sessions of a crowd that do nothing; they are closed when what comes back is dropped.
async fn crowd(arena: &Arena, count: usize, commands: &[Value]) -> Vec<Socket> {
    let mut crowd = Vec::with_capacity(count);
    for first in (0..count).step_by(100) {
        let some = first..count.min(first + 100);
        let names: Vec<_> = some.map(|number| format!("crowd{number}")).collect();
        crowd.extend(join_all(names.iter().map(|name| connect(arena, name, commands))).await);
    }
    crowd
}

/// Reads and forgets what a crowd gets.
fn keep_reading(crowd: Vec<Socket>) -> BoxFuture<'static, ()> {
    all(crowd.into_iter().map(|socket| read_all(socket).boxed()))
}

/// Three of 3,000 that are present ask all the time who is there.
async fn presence_of_a_crowd(arena: Arena) -> BoxFuture<'static, ()> {
    let crowd = crowd(&arena, 3_000, &[subscribe(2, "room:hall")]).await;
    let ask = (0..3).map(|number| {
        let presence = json!({"id": 3, "presence": {"channel": "room:hall"}});
        let frame = vec![presence.to_string(); 20].join("\n");
        let before = vec![subscribe(2, "room:hall")];
        send_for_ever(arena, format!("asker{number}"), before, move |_| frame.clone()).boxed()
    });
    all(ask.chain([keep_reading(crowd)]))
}

/// Logins that end one after the other, beside many sessions that these do not concern.
async fn logouts(arena: Arena) -> BoxFuture<'static, ()> {
    let crowd = crowd(&arena, 1_000, &[]).await;
    let client = reqwest::Client::new();
    let log_out = (0..8).map(|number| {
        let (client, url) = (client.clone(), format!("http://{}/api/auth/logout", arena.address));
        async move {
            for round in 0_u64.. {
                let token = token("leaver", Some(format!("login-{number}-{round}")));
                let _ = client.post(&url).bearer_auth(token).send().await;
            }
        }
        .boxed()
    });
    all(log_out.chain([keep_reading(crowd)]))
}

/// Ten sessions that look at channels that nobody else ever looks at.
fn subscribe_storm(arena: Arena) -> BoxFuture<'static, ()> {
    all((0..10).map(|number| {
        let frame = move |round| {
            let commands = (0..50).flat_map(|step| {
                let channel = format!("posts:{number}-{round}-{step}-{}", "x".repeat(200));
                [
                    json!({"id": 2 * step + 2, "subscribe": {"channel": channel}}).to_string(),
                    json!({"id": 2 * step + 3, "unsubscribe": {"channel": channel}}).to_string(),
                ]
            });
            commands.collect::<Vec<_>>().join("\n")
        };
        send_for_ever(arena, format!("storm{number}"), Vec::new(), frame).boxed()
    }))
}

/// Connects and requests with tokens whose key only a provider knows that does not answer.
fn stalled_identity_provider(arena: Arena) -> BoxFuture<'static, ()> {
    // {"alg":"RS256","kid":"unknown","typ":"JWT"} . {"sub":"42"} . a signature that nobody made
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6InVua25vd24iLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiI0MiJ9.AAAA";
    assert_ne!(arena.stalled, arena.address);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
    let sockets = (0..50).map(|_| {
        async move {
            loop {
                let mut socket = open(&arena, "centrifuge-json").await;
                let connect = json!({"id": 1, "connect": {"token": token}});
                if socket.send(Message::text(connect.to_string())).await.is_ok() {
                    read_all(socket).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        .boxed()
    });
    let requests = (0..50).map(|_| {
        let (client, url) = (client.clone(), format!("http://{}/api/posts", arena.address));
        async move {
            loop {
                let _ = client.get(&url).bearer_auth(token).send().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        .boxed()
    });
    all(sockets.chain(requests))
}

/// Twenty subscribers that never read, in a channel into which much is published.
fn peers_that_do_not_read(arena: Arena) -> BoxFuture<'static, ()> {
    let silent = async move |arena: Arena, number: usize| loop {
        let mut socket = connect(&arena, &format!("silent{number}"), &[subscribe(2, "room:loud")]).await;
        // The node ends the session after a while, which is only seen by asking.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if socket.send(Message::text("{}")).await.is_err() {
                break;
            }
        }
    };
    let publish =
        json!({"id": 3, "publish": {"channel": "room:loud", "data": "x".repeat(16_000)}}).to_string();
    let loud =
        send_for_ever(arena, "loud".to_owned(), vec![subscribe(2, "room:loud")], move |_| publish.clone());
    let silent = (0..20).map(move |number| silent(arena, number).boxed());
    all(silent.collect::<Vec<_>>().into_iter().chain([loud.boxed()]))
}

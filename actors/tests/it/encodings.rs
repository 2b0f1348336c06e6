//! Clients of both encodings in one channel, and payloads that one of the encodings cannot carry.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mundotango_actors::{Engine, EngineError, Outgoing, Publish, Session, SessionOptions, Transport, Whose};
use mundotango_protocol::{
    ChannelName, Command, ConnectRequest, Encoding, HistoryRequest, Publication, PublishRequest, Reply,
    RpcRequest, SubscribeRequest, delta, is_json,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use crate::client::engine_with;

/// A client of either encoding.
struct Client {
    session: Session,
    encoding: Encoding,
    /// Whether payloads come as texts that hold JSON, as in a JSON client's subscription with differences.
    texts: bool,
    /// What was written to it, in order.
    replies: Vec<Reply>,
    ended: bool,
}

impl Client {
    /// Connects, and subscribes to a channel.
    async fn subscribed(engine: &Engine, encoding: Encoding, channel: &str, delta: &str) -> Self {
        let session = engine.open_session(Transport::WebSocket, encoding);
        let texts = encoding == Encoding::Json && !delta.is_empty();
        let mut client = Self { session, encoding, texts, replies: Vec::new(), ended: false };
        let connect = ConnectRequest { token: "ana".to_owned(), ..ConnectRequest::default() };
        client.ask(Command { connect: Some(Box::new(connect)), ..Command::default() }).await;
        let subscribe = SubscribeRequest {
            channel: channel.to_owned(),
            delta: delta.to_owned(),
            ..SubscribeRequest::default()
        };
        let reply = client.ask(Command { subscribe: Some(Box::new(subscribe)), ..Command::default() }).await;
        assert!(reply.subscribe.is_some(), "{reply:?}");
        client
    }

    /// Sends a command and gives its answer.
    async fn ask(&mut self, command: Command) -> Reply {
        let command = Command { id: 9, ..command };
        let frame = match self.encoding {
            Encoding::Json => serde_json::to_vec(&command).unwrap(),
            Encoding::Protobuf => command.encode_length_delimited_to_vec(),
        };
        self.session.receive(Bytes::from(frame)).await;
        loop {
            self.drain().await;
            if let Some(at) = self.replies.iter().position(|reply| reply.id == 9) {
                return self.replies.remove(at);
            }
            assert!(!self.ended, "the session ended");
            tokio::task::yield_now().await;
        }
    }

    /// Takes in what is there, each message on a line of its own.
    async fn drain(&mut self) {
        while let Some(wakeup) = self.session.wait().now_or_never() {
            match self.session.proceed(wakeup).await {
                Some(Outgoing::Messages(written)) => {
                    self.session.written();
                    for mut bytes in written {
                        match self.encoding {
                            Encoding::Json => self.replies.extend(
                                std::str::from_utf8(&bytes).unwrap().split(['\n', '\r']).map(|line| {
                                    serde_json::from_str::<Reply>(line).expect("one message a line")
                                }),
                            ),
                            Encoding::Protobuf => {
                                while !bytes.is_empty() {
                                    self.replies.push(Reply::decode_length_delimited(&mut bytes).unwrap());
                                }
                            }
                        }
                    }
                }
                Some(Outgoing::End(_)) => {
                    self.ended = true;
                    return;
                }
                _ => {}
            }
        }
    }

    /// The payloads that came, with differences applied as SDKs do.
    fn payloads(&self) -> Vec<Bytes> {
        let mut base = Bytes::new();
        let mut payloads = Vec::new();
        for reply in &self.replies {
            let Some(publication) = reply.push.as_ref().and_then(|push| push.publication.as_ref()) else {
                continue;
            };
            let mut data = publication.data.clone();
            if self.texts {
                data = serde_json::from_slice::<String>(&data).expect("a text").into();
            }
            if publication.delta {
                data = delta::apply(&base, &data, 1 << 20).expect("a delta of the payload before").into();
            }
            base = data.clone();
            payloads.push(data);
        }
        payloads
    }
}

async fn engine() -> Arc<Engine> {
    engine_with(SessionOptions { commands_per_second: 0, ..SessionOptions::default() }).await
}

async fn publish(engine: &Engine, channel: &str, data: &Bytes) -> Result<(), EngineError> {
    let publication = Publication { data: data.clone(), ..Publication::default() };
    engine.publish(&ChannelName::parse(channel).unwrap(), Publish::new(publication)).await.map(|_| ())
}

/// What a JSON client reads of a payload.
fn on_a_line(json: &Bytes) -> String {
    let text = std::str::from_utf8(json).unwrap().trim_matches([' ', '\t', '\n', '\r']);
    text.replace(['\n', '\r'], " ")
}

fn payload() -> impl Strategy<Value = Bytes> {
    let fixed: &[&'static [u8]] = &[
        b"hi",
        b"",
        b"null",
        b"[\n1,\r\n{\"push\":{\"channel\":\"open:a\",\"pub\":{\"data\":1}}}\n]",
        b"\xff\x00",
        b"{\"a\":1,\"a\":{\"b\":null}}",
        b"123456789012345678901234567890.5e+3",
        b"{\"text\":\"a text that is longer than a window of the encoder\",\"n\":1}",
        b"{\"text\":\"a text that is longer than a window of the encoder\",\"n\":2}",
    ];
    prop_oneof![
        4 => prop::sample::select(fixed).prop_map(Bytes::from_static),
        1 => (1..300usize).prop_map(|length| Bytes::from(vec![0x80; length])),
        1 => vec(any::<u8>(), 0..60).prop_map(Bytes::from),
        1 => ".{0,40}".prop_map(|text| Bytes::from(serde_json::json!({"text": text}).to_string())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_client_gets_what_its_encoding_carries(payloads in vec(payload(), 1..12), together in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let engine = engine().await;
            let mut clients = Vec::new();
            for encoding in Encoding::ALL {
                clients.push(Client::subscribed(&engine, encoding, "bytes:a", "").await);
                clients.push(Client::subscribed(&engine, encoding, "bytes:a", "fossil").await);
            }
            for payload in &payloads {
                publish(&engine, "bytes:a", payload).await.unwrap();
                if !together {
                    tokio::task::yield_now().await;
                }
            }
            for client in &mut clients {
                for _ in 0..50 {
                    client.drain().await;
                    tokio::task::yield_now().await;
                }
                assert!(!client.ended, "another's encoding ended the session");
            }
            for client in &clients {
                match client.encoding {
                    Encoding::Protobuf => assert_eq!(client.payloads(), payloads),
                    Encoding::Json => {
                        let json = payloads.iter().filter(|payload| is_json(payload));
                        let read: Vec<_> = client.payloads().iter().map(on_a_line).collect();
                        assert_eq!(read, json.map(on_a_line).collect::<Vec<_>>());
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn bytes_are_refused_where_the_format_is_json() {
    let engine = engine().await;
    let mut protobuf = Client::subscribed(&engine, Encoding::Protobuf, "open:a", "").await;
    for data in [&b"hi"[..], b"", b"\xff", b"{} {}"].map(Bytes::from_static) {
        assert_eq!(publish(&engine, "open:a", &data).await, Err(EngineError::WrongFormat));
        let publish = PublishRequest { channel: "open:a".to_owned(), data };
        let reply = protobuf.ask(Command { publish: Some(publish), ..Command::default() }).await;
        assert_eq!(reply.error.unwrap().code, 107);
    }
    publish(&engine, "open:a", &Bytes::from_static(b"null")).await.unwrap();
}

#[tokio::test]
async fn what_json_cannot_carry_ends_no_session() {
    let engine = engine().await;
    let mut json = Client::subscribed(&engine, Encoding::Json, "bytes:a", "").await;
    let whose = Whose { user: "ana".to_owned(), ..Whose::default() };
    engine.message(&whose, Bytes::from_static(b"\xff")).await.complete().unwrap();
    publish(&engine, "bytes:a", &Bytes::from_static(b"hi")).await.unwrap();
    publish(&engine, "bytes:a", &Bytes::from_static(b"7")).await.unwrap();
    let history = HistoryRequest { channel: "bytes:a".to_owned(), limit: -1, ..HistoryRequest::default() };
    let reply = json.ask(Command { history: Some(Box::new(history)), ..Command::default() }).await;
    let kept: Vec<_> =
        reply.history.unwrap().publications.into_iter().map(|publication| publication.data).collect();
    assert_eq!(kept, ["7"], "history stays readable");
    let rpc = RpcRequest { method: "bytes".to_owned(), data: Bytes::new() };
    let reply = json.ask(Command { rpc: Some(rpc), ..Command::default() }).await;
    assert!(reply.error.is_some(), "an answer that is no json is an error of that call alone");
    assert!(!json.ended);
}

//! How each server is spoken to: what opens a session with a subscription, and what its messages mean.

use anyhow::Context as _;
use bytes::Bytes;
use mundotango_protocol::{Command, ConnectRequest, PublishRequest, Reply, SubscribeRequest};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A server's way of speaking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// The Centrifuge protocol in JSON.
    #[default]
    Json,
    /// The Centrifuge protocol in Protobuf.
    Protobuf,
    /// nchan: a socket is a subscription, a POST a publication.
    Nchan,
    /// Socket.IO 4 with rooms.
    Socketio,
}

/// What a message means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// One of the answers that opening waits for.
    Answer,
    /// A publication's payload.
    Publication(Bytes),
    /// Something that wants this answer.
    Reply(Message),
}

impl Dialect {
    /// Where a session connects.
    pub(crate) fn path(self, path: &str, channel: Option<&str>) -> String {
        match self {
            Self::Json | Self::Protobuf => path.to_owned(),
            Self::Nchan => format!("/sub/{}", channel.unwrap_or("none")),
            Self::Socketio => "/socket.io/?EIO=4&transport=websocket".to_owned(),
        }
    }

    /// The WebSocket subprotocol.
    pub(crate) fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Json => Some("centrifuge-json"),
            Self::Protobuf => Some("centrifuge-protobuf"),
            Self::Nchan | Self::Socketio => None,
        }
    }

    /// Whether publications are sent by HTTP instead of the socket.
    pub(crate) fn publishes_by_post(self) -> bool {
        self == Self::Nchan
    }

    /// What opens a session: messages, and how many answers each is to wait for.
    pub(crate) fn opening(self, token: &str, channel: Option<&str>) -> anyhow::Result<Vec<(Message, usize)>> {
        match self {
            Self::Json | Self::Protobuf => {
                let connect = ConnectRequest { token: token.to_owned(), ..ConnectRequest::default() };
                let mut commands =
                    vec![Command { id: 1, connect: Some(Box::new(connect)), ..Command::default() }];
                if let Some(channel) = channel {
                    let subscribe =
                        SubscribeRequest { channel: channel.to_owned(), ..SubscribeRequest::default() };
                    commands.push(Command {
                        id: 2,
                        subscribe: Some(Box::new(subscribe)),
                        ..Command::default()
                    });
                }
                // SDKs send both in one frame.
                Ok(vec![(self.frame(&commands)?, commands.len())])
            }
            Self::Nchan => Ok(Vec::new()),
            Self::Socketio => {
                let mut messages = vec![(Message::text(format!("40{}", json!({ "token": token }))), 1)];
                if let Some(channel) = channel {
                    messages.push((Message::text(format!("420{}", json!(["subscribe", channel]))), 1));
                }
                Ok(messages)
            }
        }
    }

    /// A publication on the socket.
    pub(crate) fn publish(self, id: u32, channel: &str, data: Bytes) -> anyhow::Result<Message> {
        match self {
            Self::Json | Self::Protobuf => {
                let publish = PublishRequest { channel: channel.to_owned(), data };
                self.frame(&[Command { id, publish: Some(publish), ..Command::default() }])
            }
            Self::Socketio => {
                let data: &RawValue = serde_json::from_slice(&data)?;
                Ok(Message::text(format!("42{}", serde_json::to_string(&("publish", channel, data))?)))
            }
            Self::Nchan => anyhow::bail!("nchan publishes by post"),
        }
    }

    fn frame(self, commands: &[Command]) -> anyhow::Result<Message> {
        if self == Self::Protobuf {
            let mut frame = Vec::new();
            for command in commands {
                command.encode_length_delimited(&mut frame)?;
            }
            return Ok(Message::binary(frame));
        }
        let lines: Vec<_> = commands.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        Ok(Message::text(lines.join("\n")))
    }

    /// Reads a frame of the server.
    pub(crate) fn read(self, message: Message) -> anyhow::Result<Vec<Incoming>> {
        let bytes = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => anyhow::bail!("closed by the server: {frame:?}"),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(Vec::new()),
        };
        match self {
            Self::Json => serde_json::Deserializer::from_slice(&bytes)
                .into_iter::<Reply>()
                .filter_map(|reply| self.meaning(reply.map_err(Into::into)).transpose())
                .collect(),
            Self::Protobuf => {
                let (mut rest, mut incoming) = (bytes, Vec::new());
                while !rest.is_empty() {
                    incoming.extend(self.meaning(Ok(Reply::decode_length_delimited(&mut rest)?))?);
                }
                Ok(incoming)
            }
            Self::Nchan => Ok(vec![Incoming::Publication(bytes)]),
            Self::Socketio => socketio(&bytes),
        }
    }

    fn meaning(self, reply: anyhow::Result<Reply>) -> anyhow::Result<Option<Incoming>> {
        let reply = reply?;
        if let Some(error) = reply.error {
            anyhow::bail!("error {}: {}", error.code, error.message);
        }
        if reply == Reply::default() {
            return Ok(Some(Incoming::Reply(self.frame(&[Command::default()])?)));
        }
        let Some(push) = reply.push else { return Ok((reply.id <= 2).then_some(Incoming::Answer)) };
        anyhow::ensure!(push.unsubscribe.is_none(), "the subscription was taken away");
        Ok(push.publication.map(|publication| Incoming::Publication(publication.data)))
    }
}

fn socketio(bytes: &[u8]) -> anyhow::Result<Vec<Incoming>> {
    let text = std::str::from_utf8(bytes)?;
    Ok(match text.as_bytes() {
        [b'2'] => vec![Incoming::Reply(Message::text("3"))],
        [b'4', b'0' | b'3', ..] => vec![Incoming::Answer],
        [b'4', b'2', rest @ ..] => {
            let event: Vec<Value> = serde_json::from_slice(rest)?;
            let payload = event.get(1).context("an event without data")?;
            vec![Incoming::Publication(Bytes::from(payload.to_string()))]
        }
        [b'4', b'4', ..] => anyhow::bail!("refused: {text}"),
        _ => Vec::new(),
    })
}

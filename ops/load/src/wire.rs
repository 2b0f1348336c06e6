//! The client's side of the frames: commands out, replies in.

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes};
use clap::ValueEnum;
use mundotango_protocol::{Command, Reply};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

/// How sessions write their messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// JSON text frames.
    Json,
    /// Protobuf binary frames.
    Protobuf,
}

impl Encoding {
    /// The name on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// The WebSocket subprotocol that asks a server for it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }

    /// Writes one command as a frame.
    pub fn command(self, command: &Command) -> anyhow::Result<Message> {
        Ok(match self {
            Self::Json => Message::text(serde_json::to_string(command)?),
            Self::Protobuf => Message::binary(command.encode_length_delimited_to_vec()),
        })
    }

    /// Reads all replies of a frame.
    pub fn replies(self, frame: Bytes) -> anyhow::Result<Vec<Reply>> {
        match self {
            Self::Json => serde_json::Deserializer::from_slice(&frame)
                .into_iter()
                .collect::<Result<_, _>>()
                .context("malformed reply"),
            Self::Protobuf => protobuf_replies(frame),
        }
    }
}

fn protobuf_replies(mut frame: Bytes) -> anyhow::Result<Vec<Reply>> {
    let mut replies = Vec::new();
    while frame.has_remaining() {
        let length = usize::try_from(prost::encoding::decode_varint(&mut frame)?)?;
        ensure!(length <= frame.len(), "reply of {length} bytes, but the frame has {} left", frame.len());
        replies.push(Reply::decode(frame.split_to(length))?);
    }
    if replies.is_empty() {
        bail!("frame holds no reply");
    }
    Ok(replies)
}

/// Whether a reply is the server's ping.
pub fn is_ping(reply: &Reply) -> bool {
    reply.id == 0 && reply.push.is_none() && reply.error.is_none()
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::{Encoding as ServerEncoding, PublishRequest, Publication, Push};

    use super::*;

    #[test]
    fn the_servers_side_reads_what_is_written_here_and_the_other_way_round() {
        for (ours, theirs) in
            [(Encoding::Json, ServerEncoding::Json), (Encoding::Protobuf, ServerEncoding::Protobuf)]
        {
            let request = PublishRequest { channel: "a:b".to_owned(), data: Bytes::from_static(b"{\"n\":1}") };
            let command = Command { id: 7, publish: Some(request), ..Command::default() };
            let frame = ours.command(&command).unwrap().into_data();
            assert_eq!(theirs.decode_commands(frame).unwrap(), [command]);

            let publication = Publication { data: Bytes::from_static(b"[1]"), offset: 3, ..Publication::default() };
            let push = Reply::push("a:b", Push::publication(publication));
            let replies = [Reply::ping(), push];
            let messages: Vec<_> = replies.iter().map(|reply| theirs.encode_reply(reply).unwrap()).collect();
            let frame = Bytes::from(messages.join(theirs.separator()));
            let read = ours.replies(frame).unwrap();
            assert_eq!(read, replies);
            assert!(is_ping(&read[0]) && !is_ping(&read[1]));
        }
    }

    #[test]
    fn a_truncated_frame_is_refused() {
        assert!(Encoding::Protobuf.replies(Bytes::from_static(&[9, 1])).is_err());
        assert!(Encoding::Protobuf.replies(Bytes::new()).is_err());
        assert!(Encoding::Json.replies(Bytes::from_static(b"{\"id\":")).is_err());
    }
}

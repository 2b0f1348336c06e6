//! JSON frames: one message a line.

use bytes::Bytes;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::objects::Objects;
use crate::{Command, FrameError, MAX_COMMANDS_PER_FRAME, Reply};

/// A command as clients write it: an object, whose `null` fields are absent. `null` itself is no command: it would be read
/// as an empty one, which is a pong.
struct Line(Command);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let command = Option::deserialize(Objects::with_absent_nulls(deserializer))?;
        command.map(Self).ok_or_else(|| D::Error::invalid_type(Unexpected::Unit, &"a command"))
    }
}

/// Reads all commands of a frame.
pub fn decode_commands(frame: &[u8]) -> Result<Vec<Command>, FrameError> {
    let mut commands = Vec::new();
    // A stream of values rather than lines: payloads may hold line breaks of their own.
    for line in serde_json::Deserializer::from_slice(frame).into_iter::<Line>() {
        if commands.len() == MAX_COMMANDS_PER_FRAME {
            return Err(FrameError::TooMany(MAX_COMMANDS_PER_FRAME));
        }
        commands.push(line?.0);
    }
    if commands.is_empty() { Err(FrameError::Empty) } else { Ok(commands) }
}

/// Puts an id into a reply without one.
pub fn with_id(id: u32, reply: &Bytes) -> Bytes {
    let rest = reply.strip_prefix(b"{").unwrap_or(reply);
    let separator = if rest.starts_with(b"}") { "" } else { "," };
    [format!("{{\"id\":{id}{separator}").as_bytes(), rest].concat().into()
}

/// Writes one reply, without a line break. Payloads that are no JSON are left out where the reply makes sense without
/// them; an error says that the payload is all of the reply.
pub fn encode_reply(reply: &Reply) -> Result<Bytes, FrameError> {
    let written =
        serde_json::to_vec(reply).or_else(|_| serde_json::to_vec(&reply.clone().into_json_part()))?;
    Ok(Bytes::from(written))
}

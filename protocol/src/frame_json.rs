//! JSON frames: one message a line.

use bytes::Bytes;

use crate::{Command, FrameError, MAX_COMMANDS_PER_FRAME, Reply};

/// Reads all commands of a frame.
pub fn decode_commands(frame: &[u8]) -> Result<Vec<Command>, FrameError> {
    let mut commands = Vec::new();
    // A stream of values rather than lines: payloads may hold line breaks of their own.
    for command in serde_json::Deserializer::from_slice(frame).into_iter::<Command>() {
        if commands.len() == MAX_COMMANDS_PER_FRAME {
            return Err(FrameError::TooMany(MAX_COMMANDS_PER_FRAME));
        }
        commands.push(command?);
    }
    if commands.is_empty() { Err(FrameError::Empty) } else { Ok(commands) }
}

/// Puts an id into a reply without one.
pub fn with_id(id: u32, reply: &Bytes) -> Bytes {
    let rest = reply.strip_prefix(b"{").unwrap_or(reply);
    let separator = if rest.starts_with(b"}") { "" } else { "," };
    [format!("{{\"id\":{id}{separator}").as_bytes(), rest].concat().into()
}

/// Writes one reply, without a line break.
pub fn encode_reply(reply: &Reply) -> Result<Bytes, FrameError> {
    Ok(Bytes::from(serde_json::to_vec(reply)?))
}

//! Protobuf frames: each message behind its length, an unsigned LEB128 number.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;

use crate::{Command, FrameError, MAX_COMMANDS_PER_FRAME, Reply};

/// Reads all commands of a frame. Payloads share the frame's memory.
pub fn decode_commands(frame: Bytes) -> Result<Vec<Command>, FrameError> {
    let mut commands = Vec::new();
    let mut rest = frame;
    while rest.has_remaining() {
        if commands.len() == MAX_COMMANDS_PER_FRAME {
            return Err(FrameError::TooMany(MAX_COMMANDS_PER_FRAME));
        }
        let wanted = prost::encoding::decode_varint(&mut rest)?;
        let length = usize::try_from(wanted)
            .ok()
            .filter(|length| *length <= rest.len())
            .ok_or(FrameError::Truncated { wanted, left: rest.len() })?;
        commands.push(Command::decode(rest.split_to(length))?);
    }
    if commands.is_empty() { Err(FrameError::Empty) } else { Ok(commands) }
}

/// Puts an id into a reply without one: fields of a message may stand in any order.
pub fn with_id(id: u32, reply: &Bytes) -> Bytes {
    let mut rest = reply.clone();
    // What `encode_reply` wrote begins with a length.
    let _ = prost::encoding::decode_varint(&mut rest);
    let head = Reply { id, ..Reply::default() };
    let length = head.encoded_len() + rest.len();
    let mut buffer = BytesMut::with_capacity(length + prost::length_delimiter_len(length));
    prost::encoding::encode_varint(length as u64, &mut buffer);
    head.encode_raw(&mut buffer);
    buffer.extend_from_slice(&rest);
    buffer.freeze()
}

/// Writes one reply with its length.
pub fn encode_reply(reply: &Reply) -> Bytes {
    let length = reply.encoded_len();
    let mut buffer = BytesMut::with_capacity(length + prost::length_delimiter_len(length));
    prost::encoding::encode_varint(length as u64, &mut buffer);
    reply.encode_raw(&mut buffer);
    buffer.freeze()
}

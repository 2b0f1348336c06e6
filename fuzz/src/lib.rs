//! Code that several targets share.

use mundotango_protocol::Command;
use prost::Message as _;

/// Writes a command as clients do in Protobuf.
pub fn encode(command: &Command, frame: &mut Vec<u8>) {
    command.encode_length_delimited(frame).expect("a vector grows");
}

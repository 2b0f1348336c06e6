//! The Centrifuge client protocol, version 2: the messages of a client's connection.
//!
//! One connection speaks one [`Encoding`] for its whole life. The same message types serve both encodings:
//! [`frame_json`] and [`frame_protobuf`] read [`Command`]s from a client's frame and write [`Reply`]s to it.
//!
//! This crate does no I/O, knows no clock, and holds no state. Sessions and channels are unknown to it.

mod channel_name;
mod command;
pub mod delta;
mod error_code;
mod fanout;
mod filter;
pub mod frame_json;
pub mod frame_protobuf;
mod id;
mod json;
pub mod objects;
mod publication;
mod reply;

use bytes::Bytes;

pub use channel_name::{ChannelName, ChannelNameError, MAX_CHANNEL_LENGTH, escape_user};
pub use command::{
    Command, ConnectRequest, EmulationRequest, HistoryRequest, PresenceRequest, PresenceStatsRequest,
    PublishRequest, RefreshRequest, Request, RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest,
    UnsubscribeRequest,
};
pub use error_code::{Disconnect, DisconnectReason, ErrorCode, UnsubscribeCode};
pub use fanout::Fanout;
pub use filter::{Filter, FilterError, FilterNode};
pub use id::{ClientId, new_id};
pub use json::is_json;
pub use publication::{ClientInfo, Publication, StreamPosition};
pub use reply::{
    ConnectPush, ConnectResult, DisconnectPush, Empty, ErrorReply, HistoryResult, Join, Leave, Message,
    PresenceResult, PresenceStatsResult, Push, RefreshPush, RefreshResult, Reply, RpcResult,
    SubRefreshResult, SubscribePush, SubscribeResult, UnsubscribePush,
};

/// How a connection writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON objects, newline-separated in a frame.
    Json,
    /// Protobuf messages, each behind its length.
    Protobuf,
}

impl Encoding {
    /// The encodings, for what is made once for each of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The name used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// Reads all commands of one frame.
    pub fn decode_commands(self, frame: Bytes) -> Result<Vec<Command>, FrameError> {
        match self {
            Self::Json => frame_json::decode_commands(&frame),
            Self::Protobuf => frame_protobuf::decode_commands(frame),
        }
    }

    /// Writes one reply so that it can be joined with others in one frame, with the [separator](Encoding::separator)
    /// between them. What JSON cannot carry is left out; an error if nothing would be left.
    pub fn encode_reply(self, reply: &Reply) -> Result<Bytes, FrameError> {
        match self {
            Self::Json => frame_json::encode_reply(reply),
            Self::Protobuf => Ok(frame_protobuf::encode_reply(reply)),
        }
    }

    /// Gives an encoded reply that has no id this one: what many ask for is encoded once.
    pub fn with_id(self, id: u32, reply: &Bytes) -> Bytes {
        match self {
            Self::Json => frame_json::with_id(id, reply),
            Self::Protobuf => frame_protobuf::with_id(id, reply),
        }
    }

    /// The bytes between two messages that share a frame.
    pub fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::Protobuf => b"",
        }
    }
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame holds no command.
    #[error("frame holds no command")]
    Empty,
    /// The frame is not JSON of the expected shape.
    #[error("malformed json: {0}")]
    Json(#[from] serde_json::Error),
    /// The frame is not Protobuf of the expected shape.
    #[error("malformed protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A length prefix points past the frame's end.
    #[error("message of {wanted} bytes, but the frame has {left} left")]
    Truncated {
        /// The length in the prefix.
        wanted: u64,
        /// The bytes that the frame still has.
        left: usize,
    },
    /// More commands than one frame may carry.
    #[error("more than {0} commands in a frame")]
    TooMany(usize),
}

/// Most commands that one frame may carry, so that a small frame cannot make much work.
pub const MAX_COMMANDS_PER_FRAME: usize = 1024;

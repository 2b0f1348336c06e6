//! Messages between nodes for the subscribers of a channel.
//!
//! A node ignores fields that it does not know, so nodes of neighbouring versions can talk. No field ever gets another
//! meaning.

use prost::Message as _;

use crate::publication::{ClientInfo, Publication};

/// Something that happened in a channel, for its subscribers on other nodes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fanout {
    /// A publication with its offset.
    #[prost(message, optional, tag = "1")]
    pub publication: Option<Publication>,
    /// The epoch of the publication's offset; empty where the channel keeps no history.
    #[prost(string, tag = "2")]
    pub epoch: String,
    /// True if the publication may be written as the difference to the one before.
    #[prost(bool, tag = "3")]
    pub delta: bool,
    /// The session that does not get the publication.
    #[prost(string, tag = "4")]
    pub exclude: String,
    /// A session that joined.
    #[prost(message, optional, tag = "5")]
    pub join: Option<ClientInfo>,
    /// A session that left.
    #[prost(message, optional, tag = "6")]
    pub leave: Option<ClientInfo>,
}

impl Fanout {
    /// The message's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads a message; `None` if the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }
}

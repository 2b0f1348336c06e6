//! A message for many clients, encoded at most once an encoding.

use std::cell::OnceCell;

use bytes::Bytes;
use mundotango_protocol::{Encoding, FrameError, Reply};

/// A reply with the bytes it has in each encoding, made when first asked for.
pub(crate) struct Encoded<'a> {
    reply: &'a Reply,
    json: OnceCell<Option<Bytes>>,
    protobuf: OnceCell<Option<Bytes>>,
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(reply: &'a Reply) -> Self {
        Self { reply, json: OnceCell::new(), protobuf: OnceCell::new() }
    }

    /// The bytes, or `None` if the payload cannot be written in this encoding.
    pub(crate) fn bytes(&self, encoding: Encoding) -> Option<&Bytes> {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        let encode = || match encoding.encode_reply(self.reply) {
            Ok(bytes) => Some(bytes),
            Err(FrameError::Json(error)) => {
                tracing::debug!(%error, "payload is not json");
                None
            }
            Err(error) => {
                tracing::error!(%error, "reply cannot be encoded");
                None
            }
        };
        cell.get_or_init(encode).as_ref()
    }
}

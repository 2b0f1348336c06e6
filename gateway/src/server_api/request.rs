//! What the methods of the server API take.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use mundotango_actors::{SubscriptionOverride, Whose};
use mundotango_protocol::{ChannelName, Publication, StreamPosition};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{ApiError, ApiErrorCode};

/// Reads a method's body, or a part of it: what several methods take is a type of its own, and other fields are left
/// alone.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

/// Bytes that are given in base 64 or as JSON; `None` if in neither.
pub(super) fn bytes(base64: Option<&str>, json: Option<&RawValue>) -> Result<Option<Bytes>, ApiError> {
    match (base64, json) {
        (Some(text), _) => match BASE64_STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(_) => Err(ApiErrorCode::BadRequest.into()),
        },
        // A line break between tokens would end the message for clients that split frames at line breaks.
        (None, Some(json)) => Ok(Some(Bytes::from(json.get().replace(['\n', '\r'], " ")))),
        (None, None) => Ok(None),
    }
}

/// Reads a channel's name. The application may use any, but it has to have one.
pub(super) fn channel(name: &str) -> Result<ChannelName, ApiError> {
    ChannelName::parse(name).map_err(|_| ApiErrorCode::BadRequest.into())
}

/// A channel that something is asked of.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OfChannel {
    pub(super) channel: String,
}

/// What a publication is like, wherever it goes.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PublicationBody {
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    tags: BTreeMap<String, String>,
    skip_history: bool,
    idempotency_key: String,
    delta: bool,
    version: u64,
    version_epoch: String,
    /// The session that does not get it.
    exclude_client: String,
}

impl PublicationBody {
    pub(super) fn publish(&self) -> Result<mundotango_actors::Publish, ApiError> {
        let data = bytes(self.b64data.as_deref(), self.data.as_deref())?;
        let data = data.ok_or(ApiErrorCode::BadRequest)?;
        let version = (self.version > 0).then(|| mundotango_storage::hot::Version {
            number: self.version,
            epoch: self.version_epoch.clone(),
        });
        Ok(mundotango_actors::Publish {
            publication: Publication { data, tags: self.tags.clone(), ..Publication::default() },
            skip_history: self.skip_history,
            delta: self.delta,
            idempotency_key: Some(self.idempotency_key.clone()).filter(|key| !key.is_empty()),
            version,
            exclude: mundotango_protocol::ClientId::parse(&self.exclude_client),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BroadcastBody {
    pub(super) channels: Vec<String>,
}

/// Whose sessions something is done to.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WhoseBody {
    user: String,
    client: String,
    session: String,
}

impl WhoseBody {
    pub(super) fn whose(&self) -> Whose {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Whose { user: self.user.clone(), client: some(&self.client), session: some(&self.session) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SubscribeBody {
    pub(super) channel: String,
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: Option<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: Option<String>,
    pub(super) expire_at: u64,
    pub(super) recover_since: Option<StreamPosition>,
    #[serde(rename = "override")]
    pub(super) change: Option<SubscriptionOverride>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DisconnectBody {
    pub(super) whitelist: Vec<String>,
    pub(super) disconnect: Option<DisconnectReasonBody>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DisconnectReasonBody {
    pub(super) code: u16,
    pub(super) reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RefreshBody {
    pub(super) expired: bool,
    pub(super) expire_at: u64,
    pub(super) info: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SendBody {
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HistoryBody {
    pub(super) channel: String,
    pub(super) limit: i64,
    pub(super) since: Option<StreamPosition>,
    pub(super) reverse: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ChannelsBody {
    pub(super) pattern: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RpcBody {
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OfUser {
    pub(super) user: String,
    /// Until when, in Unix seconds; 0 for ever.
    pub(super) expire_at: i64,
    /// Which tokens, in Unix seconds; 0 for those until now.
    pub(super) issued_before: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OfUsers {
    pub(super) users: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OfToken {
    pub(super) uid: String,
    /// Until when, in Unix seconds; 0 for ever.
    pub(super) expire_at: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BatchBody {
    /// Each an object with one field: the method and what it takes.
    pub(super) commands: Vec<BTreeMap<String, Box<RawValue>>>,
    /// Whether the commands may be worked on at the same time.
    #[serde(default)]
    pub(super) parallel: bool,
}

//! The bodies of the server API's methods.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use mundotango_actors::{SubscriptionOverride, Whose};
use mundotango_protocol::{ChannelName, Publication, StreamPosition, objects};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer::ApiError;
use super::describe::Kind;

/// Reads one view of a method's body: an object, whose `null` fields are absent. A method reads several views (whose
/// sessions, which publication) of the same body, and each view ignores the fields of the others.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    objects::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

/// The fields of a body that its method does not take, such as misspelled ones.
pub(super) fn unknown_fields(body: &[u8], known: &[(&str, Kind)]) -> Vec<String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    fields.into_keys().filter(|field| known.iter().all(|(name, _)| name != field)).collect()
}

/// Bytes that are given in base 64 or as JSON; `None` if in neither.
pub(super) fn bytes(base64: Option<&str>, json: Option<&RawValue>) -> Result<Option<Bytes>, ApiError> {
    match (base64, json) {
        (Some(text), _) => match BASE64_STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) => Err(ApiError::bad_request(format!("bytes are not base64: {error}"))),
        },
        (None, Some(json)) => Ok(Some(Bytes::from(json.get().to_owned()))),
        (None, None) => Ok(None),
    }
}

/// A payload, which has to be there.
fn payload(base64: Option<&str>, json: Option<&RawValue>) -> Result<Bytes, ApiError> {
    bytes(base64, json)?.ok_or_else(|| ApiError::bad_request("data or b64data is required"))
}

/// `#[serde(deserialize_with = "present")]`: a payload may be `null`, unlike a field that is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a channel's name, which is printable ASCII here as on sockets: a channel of another name would be one that no
/// client can subscribe to.
pub(super) fn channel(name: &str) -> Result<ChannelName, ApiError> {
    ChannelName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// The body of a method without fields: an object all the same.
#[derive(Deserialize)]
pub(super) struct NoFields {}

/// A channel that something is asked of.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OfChannel {
    pub(super) channel: String,
}

/// The publication of `publish` and `broadcast`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PublicationBody {
    #[serde(deserialize_with = "present")]
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
        let data = payload(self.b64data.as_deref(), self.data.as_deref())?;
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
            again: false,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BroadcastBody {
    pub(super) channels: Vec<String>,
}

/// The user, and the sessions of the user, that a method is about.
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
    #[serde(deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
}

impl SendBody {
    /// The message, which is never empty: a JSON session could not be told.
    pub(super) fn message(&self) -> Result<Bytes, ApiError> {
        let data = payload(self.b64data.as_deref(), self.data.as_deref())?;
        if data.is_empty() { Err(ApiError::bad_request("b64data is empty")) } else { Ok(data) }
    }
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
    /// True if the commands may be worked on at the same time.
    pub(super) parallel: bool,
}

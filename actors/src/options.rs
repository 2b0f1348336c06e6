//! What operators can set about sessions and channels, under the names that users of such servers know.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use documented::DocumentedFields;
use mundotango_ops::{IntCounter, duration as friendly, metrics};
use mundotango_protocol::{ChannelName, is_json};
use mundotango_storage::history::MAX_HISTORY_TTL;
use mundotango_storage::hot::HistoryLimits;
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The `[session]` section: what one connection may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct SessionOptions {
    /// Whether clients may connect without a token.
    pub allow_anonymous: bool,
    /// Time between the server's pings.
    #[serde(with = "friendly")]
    pub ping_interval: Duration,
    /// Time for the client's pong before the session ends with code 3012.
    #[serde(with = "friendly")]
    pub pong_timeout: Duration,
    /// Time for a successful connect before the session ends with code 3502.
    #[serde(with = "friendly")]
    pub stale_timeout: Duration,
    /// Time past a token's expiry for the client to refresh it before the session ends with code 3005.
    #[serde(with = "friendly")]
    pub expired_grace: Duration,
    /// After how long a session ends with code 3011, so that its client connects anew, maybe to another node; each session's
    /// own time is up to a tenth shorter or longer. 0 for never.
    #[serde(with = "friendly")]
    pub max_age: Duration,
    /// How many percent of its sessions a node with more than its share of the cluster's asks in a second to connect anew,
    /// with code 3011; 0 for none.
    pub shed_percent: u32,
    /// Most channels a session is subscribed to.
    pub channel_limit: usize,
    /// Largest frame that a client may send, in bytes.
    pub max_frame_bytes: usize,
    /// Most bytes that wait for a slow client before the session ends with code 3008.
    pub outbox_bytes: usize,
    /// Most RPCs of one session that run at the same time; further ones are refused with code 111.
    pub rpc_concurrency: usize,
    /// Time for one RPC. What changes something goes on behind it.
    #[serde(with = "friendly")]
    pub rpc_timeout: Duration,
    /// Most publications that one history call returns.
    pub history_max_publications: usize,
    /// Most publications that one recovery returns; who missed more is not recovered.
    pub recovery_max_publications: usize,
    /// Whether each user's sessions are subscribed to `#{user id}` by the server.
    pub personal_channel: bool,
    /// The namespace of the personal channels; empty for none.
    pub personal_channel_namespace: String,
    /// Most sessions of one user; another one ends with code 3504. 0 for no limit.
    pub user_connection_limit: usize,
    /// Commands a second that a session may send, with bursts of twice as many. A WebSocket that sends more is read later;
    /// what comes all the same, and by other transports, is refused with code 111, and the session ends with code 3013 if
    /// it goes on. 0 for no limit.
    pub commands_per_second: u32,
    /// Time without progress after which an actor with waiting messages counts as hung: logged, counted and shown.
    #[serde(with = "friendly")]
    pub hung_after: Duration,
    /// For development: clients without a token may do everything.
    pub insecure: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            stale_timeout: Duration::from_secs(10),
            expired_grace: Duration::from_secs(25),
            max_age: Duration::ZERO,
            shed_percent: 1,
            channel_limit: 128,
            max_frame_bytes: 64 * 1024,
            outbox_bytes: 1024 * 1024,
            rpc_concurrency: 64,
            rpc_timeout: Duration::from_secs(30),
            history_max_publications: 300,
            recovery_max_publications: 300,
            personal_channel: true,
            personal_channel_namespace: String::new(),
            user_connection_limit: 0,
            commands_per_second: 200,
            hung_after: Duration::from_secs(30),
            insecure: false,
        }
    }
}

/// What clients get that come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryMode {
    /// All that they missed.
    #[default]
    Stream,
    /// The latest publication.
    Cache,
}

/// How publications are written as the difference to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaType {
    /// Fossil deltas.
    Fossil,
}

/// What the payloads of a namespace's publications are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// JSON texts, which every client can read. Other payloads are refused when they are published.
    #[default]
    Json,
    /// Any bytes. JSON connections do not get those that are no JSON.
    Binary,
}

impl DataFormat {
    /// Whether a payload may be published.
    pub fn admits(self, data: &[u8]) -> bool {
        match self {
            Self::Json => is_json(data),
            Self::Binary => true,
        }
    }
}

/// A regular expression that channel names have to match.
#[derive(Clone, Debug)]
pub struct ChannelPattern(Regex);

impl PartialEq for ChannelPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for ChannelPattern {}

impl Serialize for ChannelPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for ChannelPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Regex::new(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// What the channels of one namespace are like. Everything is off unless it is turned on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceOptions {
    /// Most publications kept; with `history_ttl` turns history on.
    pub history_size: usize,
    /// How long each publication is kept.
    #[serde(with = "friendly")]
    pub history_ttl: Duration,
    /// How long offset and epoch are remembered after the last publication, at least.
    #[serde(with = "friendly")]
    pub history_meta_ttl: Duration,
    /// How long each publication is kept in the store as well, for days or years; 0 for not at all. It is acknowledged
    /// when the store has it then.
    #[serde(with = "friendly")]
    pub history_archive_ttl: Duration,
    /// Every subscription notices holes in the stream.
    pub force_positioning: bool,
    /// Clients may ask for subscriptions that notice holes in the stream.
    pub allow_positioning: bool,
    /// Every subscription can be recovered.
    pub force_recovery: bool,
    /// Clients may ask for subscriptions that can be recovered.
    pub allow_recovery: bool,
    /// Who is subscribed is kept.
    pub presence: bool,
    /// Joining and leaving is published to those who ask for it.
    pub join_leave: bool,
    /// Joining and leaving is published to every subscriber.
    pub force_push_join_leave: bool,
    /// Signed-in clients may subscribe.
    pub allow_subscribe_for_client: bool,
    /// Where clients may subscribe, anonymous ones may too.
    pub allow_subscribe_for_anonymous: bool,
    /// Signed-in clients may publish.
    pub allow_publish_for_client: bool,
    /// Signed-in clients may publish where they are subscribed.
    pub allow_publish_for_subscriber: bool,
    /// Where clients may publish, anonymous ones may too.
    pub allow_publish_for_anonymous: bool,
    /// Signed-in clients may read history.
    pub allow_history_for_client: bool,
    /// Signed-in clients may read history where they are subscribed.
    pub allow_history_for_subscriber: bool,
    /// Where clients may read history, anonymous ones may too.
    pub allow_history_for_anonymous: bool,
    /// Signed-in clients may read presence.
    pub allow_presence_for_client: bool,
    /// Signed-in clients may read presence where they are subscribed.
    pub allow_presence_for_subscriber: bool,
    /// Where clients may read presence, anonymous ones may too.
    pub allow_presence_for_anonymous: bool,
    /// Names with `#` are open to the users that they list.
    pub allow_user_limited_channels: bool,
    /// What clients get that come back.
    pub force_recovery_mode: RecoveryMode,
    /// The differences that clients may ask for; they need history.
    pub allowed_delta_types: Vec<DeltaType>,
    /// Whether publications are written as differences to clients that asked for them.
    pub delta_publish: bool,
    /// Clients may ask for the publications whose tags fit a filter.
    pub allow_tags_filter: bool,
    /// Clients do not get what they published themselves.
    pub exclude_publisher: bool,
    /// What payloads may be published: `json` (also the default) or `binary`.
    pub publication_data_format: DataFormat,
    /// What the names after the namespace have to match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_regex: Option<ChannelPattern>,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            history_size: 0,
            history_ttl: Duration::ZERO,
            history_meta_ttl: Duration::from_hours(720),
            history_archive_ttl: Duration::ZERO,
            force_positioning: false,
            allow_positioning: false,
            force_recovery: false,
            allow_recovery: false,
            presence: false,
            join_leave: false,
            force_push_join_leave: false,
            allow_subscribe_for_client: false,
            allow_subscribe_for_anonymous: false,
            allow_publish_for_client: false,
            allow_publish_for_subscriber: false,
            allow_publish_for_anonymous: false,
            allow_history_for_client: false,
            allow_history_for_subscriber: false,
            allow_history_for_anonymous: false,
            allow_presence_for_client: false,
            allow_presence_for_subscriber: false,
            allow_presence_for_anonymous: false,
            allow_user_limited_channels: false,
            force_recovery_mode: RecoveryMode::Stream,
            allowed_delta_types: Vec::new(),
            delta_publish: false,
            allow_tags_filter: false,
            exclude_publisher: false,
            publication_data_format: DataFormat::Json,
            channel_regex: None,
        }
    }
}

impl NamespaceOptions {
    /// Whether a name may be a channel of this namespace.
    pub fn admits(&self, channel: &ChannelName) -> bool {
        self.channel_regex.as_ref().is_none_or(|pattern| pattern.0.is_match(channel.without_namespace()))
    }

    /// These options with what a token says of one subscription.
    pub fn with(self: &Arc<Self>, change: &SubscriptionOverride) -> Arc<Self> {
        if *change == SubscriptionOverride::default() {
            return Arc::clone(self);
        }
        let mut options = Self::clone(self);
        for (change, option) in [
            (change.presence, &mut options.presence),
            (change.join_leave, &mut options.join_leave),
            (change.force_push_join_leave, &mut options.force_push_join_leave),
            (change.force_recovery, &mut options.force_recovery),
            (change.force_positioning, &mut options.force_positioning),
        ] {
            if let Some(change) = change {
                *option = change.value;
            }
        }
        Arc::new(options)
    }

    /// The history to keep, if any.
    pub fn history(&self) -> Option<HistoryLimits> {
        if self.history_size == 0 || self.history_ttl.is_zero() {
            return None;
        }
        let hot = HistoryLimits::new(self.history_size, self.history_ttl, self.history_meta_ttl);
        let archived = !self.history_archive_ttl.is_zero();
        Some(if archived { hot.archived(self.history_archive_ttl) } else { hot })
    }
}

/// Overrides of namespace options for one subscription, from its token or from the server API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscriptionOverride {
    /// See [`NamespaceOptions::presence`].
    pub presence: Option<BoolValue>,
    /// See [`NamespaceOptions::join_leave`].
    pub join_leave: Option<BoolValue>,
    /// See [`NamespaceOptions::force_push_join_leave`].
    pub force_push_join_leave: Option<BoolValue>,
    /// See [`NamespaceOptions::force_recovery`].
    pub force_recovery: Option<BoolValue>,
    /// See [`NamespaceOptions::force_positioning`].
    pub force_positioning: Option<BoolValue>,
}

/// A wrapper, so that `false` can be told from "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoolValue {
    /// The value.
    pub value: bool,
}

/// The `[channels]` section: the namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelsOptions {
    /// Channels without a `:` in their name, the personal ones among them.
    pub without_namespace: NamespaceOptions,
    /// By the part of the name before the first `:`. Channels of other namespaces do not exist.
    pub namespaces: BTreeMap<String, NamespaceOptions>,
}

impl ChannelsOptions {
    /// A digest of each namespace's options. Nodes compare digests, as a node with a smaller history trims everybody's.
    pub(crate) fn digests(&self) -> Vec<(String, String)> {
        let digest = |options: &NamespaceOptions| {
            // Defaults are left out, so that an option that a newer version adds changes no digest.
            let default = serde_json::to_value(NamespaceOptions::default()).unwrap_or_default();
            let mut fields = serde_json::to_value(options).unwrap_or_default();
            if let Some(fields) = fields.as_object_mut() {
                fields.retain(|name, value| default.get(name) != Some(value));
            }
            let text = fields.to_string();
            // FNV-1a, as nodes of every version must come to the same.
            let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            format!("{hash:016x}")
        };
        let named = self.namespaces.iter();
        let named = named.map(|(name, options)| (format!("namespace {name}"), digest(options)));
        let without = ("channels without a namespace".to_owned(), digest(&self.without_namespace));
        named.chain(std::iter::once(without)).collect()
    }

    /// What is wrong with the section, if anything.
    pub fn problems(&self) -> Vec<String> {
        let all =
            self.namespaces.iter().map(|(name, options)| (format!("channels.namespaces.{name}"), options));
        let all =
            all.chain(std::iter::once(("channels.without_namespace".to_owned(), &self.without_namespace)));
        all.flat_map(|(path, options)| {
            let recovers = options.force_recovery
                || options.allow_recovery
                || options.force_positioning
                || options.allow_positioning;
            [
                ((options.history_size > 0) == options.history_ttl.is_zero())
                    .then(|| format!("{path}: history needs both history_size and history_ttl")),
                (recovers && options.history().is_none())
                    .then(|| format!("{path}: recovery and positioning need history_size and history_ttl")),
                (!options.history_archive_ttl.is_zero() && options.history().is_none())
                    .then(|| format!("{path}: history_archive_ttl needs history_size and history_ttl")),
                (options.history_archive_ttl > MAX_HISTORY_TTL)
                    .then(|| format!("{path}: history_archive_ttl can be 10 years (87600h) at most")),
                (options.delta_publish && options.allowed_delta_types.is_empty())
                    .then(|| format!("{path}: delta_publish needs allowed_delta_types = [\"fossil\"]")),
                (!options.allowed_delta_types.is_empty() && options.history().is_none())
                    .then(|| format!("{path}: allowed_delta_types needs history_size and history_ttl")),
            ]
        })
        .flatten()
        .collect()
    }
}

/// A namespace of a running node.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) options: Arc<NamespaceOptions>,
    /// Publications into its channels.
    pub(crate) publications: IntCounter,
}

impl Namespace {
    fn new(label: &str, options: NamespaceOptions) -> Self {
        let publications = metrics().realtime_publications_total.with_label_values(&[label]);
        Self { options: Arc::new(options), publications }
    }
}

/// The namespaces of a running node, shared by all its channels and sessions.
#[derive(Debug)]
pub(crate) struct Namespaces {
    without: Namespace,
    by_name: HashMap<String, Namespace>,
}

impl Namespaces {
    pub(crate) fn new(options: ChannelsOptions) -> Self {
        let named = options.namespaces.into_iter().map(|(name, options)| {
            let namespace = Namespace::new(&name, options);
            (name, namespace)
        });
        Self { without: Namespace::new("none", options.without_namespace), by_name: named.collect() }
    }

    /// The namespace of a channel, or `None` if it is not configured.
    pub(crate) fn of(&self, channel: &ChannelName) -> Option<&Namespace> {
        match channel.namespace() {
            None => Some(&self.without),
            Some(namespace) => self.by_name.get(namespace),
        }
    }
}

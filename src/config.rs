//! The configuration: one documented struct, from defaults, a file, the environment and flags, the later over the
//! earlier.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use mundotango_actors::bus::NatsOptions;
use mundotango_actors::{ChannelsOptions, NamespaceOptions, SessionOptions};
use mundotango_gateway::{HttpOptions, Secret, TokenOptions};
use mundotango_ops::LogOptions;
use mundotango_storage::RedisOptions;
use mundotango_storage::embedded::EmbeddedOptions;
use mundotango_storage::scylla::ScyllaOptions;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::community::RateOptions;

/// What the environment's variables begin with; `__` stands between sections, as in `MUNDOTANGO__SESSION__OUTBOX_BYTES`.
pub const ENV_PREFIX: &str = "MUNDOTANGO__";
/// Shortest secret that tokens may be signed with, in bytes: what HS256 hashes to (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Shortest key of the server API, in bytes: so many that nobody can guess one.
const MIN_API_KEY_BYTES: usize = 16;
/// Where a secret that was made lies in the data folder.
const SECRET_FILE: &str = "secret";

/// All that operators can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the node listens.
    pub listen: SocketAddr,
    /// Where everything lies that lasts.
    pub data_dir: PathBuf,
    /// Tokens and passwords.
    pub auth: AuthOptions,
    /// What one connection may do.
    pub session: SessionOptions,
    /// The namespaces of channels.
    pub channels: ChannelsOptions,
    /// The doors.
    pub http: HttpOptions,
    /// The embedded store.
    pub store: EmbeddedOptions,
    /// The engines that several nodes share.
    pub cluster: ClusterOptions,
    /// How a node goes away.
    pub drain: DrainOptions,
    /// What is logged, and how.
    pub log: LogOptions,
}

/// The `[auth]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthOptions {
    /// Signs tokens; at least 32 bytes. Without one a secret is made at the first start and kept in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The keys that verify tokens of an application's own backend.
    pub token: TokenOptions,
    /// How long an access token is good.
    #[serde(with = "friendly")]
    pub access_token_ttl: Duration,
    /// How long a refresh token is good.
    #[serde(with = "friendly")]
    pub refresh_token_ttl: Duration,
    /// Most passwords that are hashed at the same time, each on a core and 19 MiB of its own; half of the cores if not
    /// set, as the others serve everybody who is in already.
    pub password_concurrency: usize,
    /// How often somebody may register, log in and refresh.
    pub rates: RateOptions,
}

/// The `[cluster]` section: where the engines are that several nodes share. A node without them is alone and needs none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterOptions {
    /// What the node is called in lists; the address that it listens on if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where NATS is, such as `nats://127.0.0.1:4222`; several servers are divided by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<String>,
    /// How long sending over NATS may take.
    #[serde(with = "friendly")]
    pub nats_timeout: Duration,
    /// Where Redis is, such as `redis://127.0.0.1:6379`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<String>,
    /// How long a call of Redis may take.
    #[serde(with = "friendly")]
    pub redis_timeout: Duration,
    /// What subjects in NATS and keys in Redis begin with; clusters that share servers need different ones.
    pub prefix: String,
    /// ScyllaDB, or another CQL server.
    pub cql: ScyllaOptions,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            name: None,
            nats: None,
            nats_timeout: Duration::from_secs(1),
            redis: None,
            redis_timeout: Duration::from_millis(500),
            prefix: "mt".to_owned(),
            cql: ScyllaOptions::default(),
        }
    }
}

impl ClusterOptions {
    /// Whether the node shares engines with others.
    pub fn is_shared(&self) -> bool {
        self.nats.is_some() || self.redis.is_some() || !self.cql.nodes.is_empty()
    }

    /// How to reach NATS.
    pub fn nats_options(&self) -> NatsOptions {
        NatsOptions {
            url: self.nats.clone().unwrap_or_default(),
            prefix: self.prefix.clone(),
            timeout: self.nats_timeout,
        }
    }

    /// How to reach Redis.
    pub fn redis_options(&self) -> RedisOptions {
        RedisOptions {
            url: self.redis.clone().unwrap_or_default(),
            prefix: self.prefix.clone(),
            timeout: self.redis_timeout,
        }
    }
}

/// The `[drain]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainOptions {
    /// Over how long sessions are told to come back elsewhere, one after the other.
    #[serde(with = "friendly")]
    pub window: Duration,
    /// How long sessions and requests may take to end.
    #[serde(with = "friendly")]
    pub deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            data_dir: PathBuf::from("mundotango-data"),
            auth: AuthOptions::default(),
            session: SessionOptions::default(),
            channels: community_channels(),
            http: HttpOptions::default(),
            store: EmbeddedOptions::default(),
            cluster: ClusterOptions::default(),
            drain: DrainOptions::default(),
            log: LogOptions::default(),
        }
    }
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            secret: None,
            token: TokenOptions::default(),
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(30 * 24),
            password_concurrency: std::thread::available_parallelism()
                .map_or(1, |cores| (cores.get() / 2).max(1)),
            rates: RateOptions::default(),
        }
    }
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self { window: Duration::from_secs(3), deadline: Duration::from_secs(10) }
    }
}

/// The channels of the community. A file that sets one option of a namespace leaves its others as they are here.
fn community_channels() -> ChannelsOptions {
    let recoverable = NamespaceOptions {
        history_size: 100,
        history_ttl: Duration::from_mins(10),
        force_recovery: true,
        allow_user_limited_channels: true,
        ..NamespaceOptions::default()
    };
    let open = NamespaceOptions { allow_subscribe_for_client: true, ..recoverable.clone() };
    let with_presence = NamespaceOptions {
        presence: true,
        join_leave: true,
        allow_presence_for_subscriber: true,
        ..open.clone()
    };
    ChannelsOptions {
        without_namespace: recoverable.clone(),
        namespaces: BTreeMap::from([
            ("posts".to_owned(), open.clone()),
            ("events".to_owned(), open),
            ("event".to_owned(), with_presence),
            // Who may subscribe is asked of the Life CEO.
            ("agent".to_owned(), recoverable),
        ]),
    }
}

/// What the command line sets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overrides {
    /// Where the node listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Where everything lies that lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
}

impl Config {
    /// Reads all layers. Keys that nothing knows are refused.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> anyhow::Result<Self> {
        let mut layers = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            layers = layers.merge(Toml::string(&text));
        }
        layers = layers.merge(Env::prefixed(ENV_PREFIX).split("__"));
        layers = layers.merge(Serialized::defaults(overrides));
        let config: Self = layers.extract().map_err(|errors| {
            let lines: Vec<_> = errors.into_iter().map(|error| describe(&error, file)).collect();
            anyhow::anyhow!("{}", lines.join("\n"))
        })?;
        config.check()?;
        Ok(config)
    }

    /// What the node is called, where it listens on an address.
    pub fn node_name(&self, listen: SocketAddr) -> String {
        self.cluster.name.clone().unwrap_or_else(|| listen.to_string())
    }

    /// Refuses values that cannot work, all of them at once.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut problems = self.channels.problems();
        problems.extend(self.http.problems());
        problems.extend(self.auth.token.problems());
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let secret = self.auth.secret.as_ref();
        let too_short = |secret: Option<&Secret>, option, min| secret?.too_short(option, min);
        for problem in [
            too_short(secret, "auth.secret", MIN_SECRET_BYTES),
            too_short(self.http.api_key.as_ref(), "http.api_key", MIN_API_KEY_BYTES),
        ] {
            require(problem.is_none(), problem.as_deref().unwrap_or_default());
        }
        require(
            secret.is_none() || secret != self.auth.token.hmac_secret_key.as_ref(),
            "auth.token.hmac_secret_key: must not be auth.secret, or the backend's tokens could make admins",
        );
        let cluster = &self.cluster;
        let parts = [cluster.nats.is_some(), cluster.redis.is_some(), !cluster.cql.nodes.is_empty()];
        require(
            !cluster.is_shared() || parts == [true; 3],
            "cluster: nats, redis and cql.nodes belong together: all three, or none",
        );
        require(
            !cluster.is_shared() || secret.is_some(),
            "auth.secret: has to be set in a cluster, the same on every node",
        );
        for (name, duration) in [
            ("cluster.nats_timeout", cluster.nats_timeout),
            ("cluster.redis_timeout", cluster.redis_timeout),
            ("auth.access_token_ttl", self.auth.access_token_ttl),
            ("auth.refresh_token_ttl", self.auth.refresh_token_ttl),
            ("session.ping_interval", self.session.ping_interval),
            ("session.pong_timeout", self.session.pong_timeout),
            ("session.stale_timeout", self.session.stale_timeout),
            ("session.rpc_timeout", self.session.rpc_timeout),
            ("http.header_timeout", self.http.header_timeout),
            ("http.request_timeout", self.http.request_timeout),
            ("http.body_timeout", self.http.body_timeout),
            ("drain.deadline", self.drain.deadline),
        ] {
            require(!duration.is_zero(), &format!("{name}: must be longer than nothing"));
        }
        for (name, number) in [
            ("auth.password_concurrency", self.auth.password_concurrency),
            ("store.max_open_files", self.store.max_open_files),
            ("session.channel_limit", self.session.channel_limit),
            ("session.max_frame_bytes", self.session.max_frame_bytes),
            ("session.outbox_bytes", self.session.outbox_bytes),
            ("session.rpc_concurrency", self.session.rpc_concurrency),
            ("http.max_connections", self.http.max_connections),
            ("http.max_body_bytes", self.http.max_body_bytes),
        ] {
            require(number > 0, &format!("{name}: must be at least 1"));
        }
        require(
            self.session.pong_timeout < self.session.ping_interval,
            "session.pong_timeout: must be shorter than session.ping_interval",
        );
        require(self.drain.window < self.drain.deadline, "drain.window: must be shorter than drain.deadline");
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }
}

/// One error of a layer: which key, what is wrong, and where it was set.
fn describe(error: &figment::Error, file: Option<&Path>) -> String {
    let source = match error.metadata.as_ref().map(|metadata| metadata.name.as_ref()) {
        Some(name) if name.contains("environment") => "the environment".to_owned(),
        Some(name) if name.contains("TOML") => {
            file.map_or_else(|| name.to_owned(), |file| file.display().to_string())
        }
        Some(name) => name.to_owned(),
        None => "the configuration".to_owned(),
    };
    let path = error.path.join(".");
    let place = if path.is_empty() { source } else { format!("{source}, {path}") };
    format!("{place}: {}", error.kind)
}

impl AuthOptions {
    /// The configured secret, or the data folder's, made if there is none.
    pub fn secret_or_made(&self, data_dir: &Path) -> anyhow::Result<Secret> {
        if let Some(secret) = &self.secret {
            return Ok(secret.clone());
        }
        let path = data_dir.join(SECRET_FILE);
        let made_or_read = || -> io::Result<String> {
            if !path.exists() {
                make_secret(&path)?;
            }
            fs::read_to_string(&path)
        };
        let text = made_or_read().with_context(|| format!("cannot make or read {}", path.display()))?;
        let secret = Secret::new(text.trim().to_owned());
        anyhow::ensure!(
            secret.expose().len() >= MIN_SECRET_BYTES,
            "{} holds less than {MIN_SECRET_BYTES} bytes",
            path.display()
        );
        Ok(secret)
    }
}

/// Writes a random secret, unless another process has just done so. A crash leaves either none or a whole one.
fn make_secret(path: &Path) -> io::Result<()> {
    let secret: [u8; 32] = rand::rng().random();
    let temporary = path.with_extension(std::process::id().to_string());
    // Nobody but the node's own user may read it.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    for byte in secret {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)?;
    file.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_hide_nothing_but_secrets() {
        let mut config = Config::default();
        config.check().unwrap();
        config.auth.secret = Some(Secret::new("a secret that is long enough to sign".to_owned()));
        let text = toml::to_string(&config).unwrap();
        assert!(!text.contains("long enough") && text.contains("secret = \"***\""));
        assert!(!format!("{config:?}").contains("long enough"));
    }

    #[test]
    fn a_file_changes_a_namespace_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mundotango.toml");
        fs::write(&file, "[channels.namespaces.posts]\nhistory_size = 7\n[channels.namespaces.extra]\n")
            .unwrap();
        let config = Config::load(Some(&file), &Overrides::default()).unwrap();
        let posts = &config.channels.namespaces["posts"];
        assert_eq!((posts.history_size, posts.force_recovery), (7, true));
        assert!(config.channels.namespaces.contains_key("extra"));
        assert!(config.channels.namespaces.contains_key("events"));
    }

    #[test]
    fn what_nothing_knows_or_cannot_work_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mundotango.toml");
        for (text, wanted) in [
            ("[session]\nping_intervall = \"25s\"", "ping_intervall"),
            ("[session]\nping_interval = \"often\"", "session.ping_interval"),
            ("[session]\nping_interval = \"0s\"", "session.ping_interval"),
            ("[auth]\nsecret = \"short\"", "auth.secret"),
            ("[auth]\nsecret = \"\"", "auth.secret"),
            ("[http]\napi_key = \"short\"", "http.api_key"),
            ("[http]\napi_key = \"\"", "http.api_key"),
            ("[http]\napi_key = 1234567890123456", "http.api_key"),
            ("[auth.token]\nhmac_secret_key = \"\"", "auth.token.hmac_secret_key"),
            ("[auth.token]\nhmac_secret_key = \"short\"", "auth.token.hmac_secret_key"),
            ("[auth.token]\nrsa_public_key = \" \"", "auth.token.rsa_public_key"),
            ("[auth.token]\nissuer = \"\"", "auth.token.issuer"),
            (
                "[auth.token]\njwks_public_endpoint = \"http://id.example/keys\"",
                "auth.token.jwks_public_endpoint",
            ),
            ("[channels.namespaces.x]\nforce_recovery = true", "channels.namespaces.x"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Config::load(Some(&file), &Overrides::default()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("short\""), "{error}");
        }
    }

    #[test]
    fn a_secret_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = AuthOptions::default().secret_or_made(folder.path()).unwrap();
        let second = AuthOptions::default().secret_or_made(folder.path()).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.expose().len(), 64);
    }
}

//! The configuration: one documented struct, from defaults, a file, the environment and flags, the later over the
//! earlier.

mod auth;
mod check;
mod describe;
mod jobs;
mod layers;
mod link_previews;
mod payments;
mod read;
mod search;
mod show;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::Context as _;
use documented::DocumentedFields;
use mundotango_actors::bus::NatsOptions;
use mundotango_actors::{ChannelsOptions, NamespaceOptions, SessionOptions};
use mundotango_gateway::HttpOptions;
use mundotango_ops::traces::TracesOptions;
use mundotango_ops::{LogOptions, ServerUrls, duration as friendly};
use mundotango_push::PushOptions;
use mundotango_storage::embedded::EmbeddedOptions;
use mundotango_storage::scylla::ScyllaOptions;
use mundotango_storage::{RedisOptions, TlsFiles};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::email::MailOptions;
pub use auth::{AuthOptions, RateOptions};
pub(crate) use check::MIN_SECRET_BYTES;
pub use jobs::JobsOptions;
use layers::{Source, Tree};
pub use link_previews::LinkPreviewOptions;
pub use payments::PaymentsOptions;
pub use search::SearchOptions;

/// All that operators can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that the node listens on.
    pub listen: SocketAddr,
    /// The folder of everything that lasts.
    pub data_dir: PathBuf,
    /// Tokens and passwords.
    pub auth: AuthOptions,
    /// What one connection may do.
    pub session: SessionOptions,
    /// The namespaces of channels.
    pub channels: ChannelsOptions,
    /// The doors: listeners, limits and origins.
    pub http: HttpOptions,
    /// The embedded store.
    pub store: EmbeddedOptions,
    /// The engines that several nodes share.
    pub cluster: ClusterOptions,
    /// How many jobs a node does at the same time.
    pub jobs: JobsOptions,
    /// Letters: who sends them, and by which server.
    pub mail: MailOptions,
    /// Pushes to devices.
    pub push: PushOptions,
    /// Payments by Stripe.
    pub payments: PaymentsOptions,
    /// The index of words that a node keeps for itself.
    pub search: SearchOptions,
    /// Whether links of public posts are looked at.
    pub link_previews: LinkPreviewOptions,
    /// How a node goes away.
    pub drain: DrainOptions,
    /// What is logged, and how.
    pub log: LogOptions,
    /// Where spans of traces go, and of which traces.
    pub traces: TracesOptions,
}

/// The `[cluster]` section: where the engines are that several nodes share. A node without them is alone and needs none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterOptions {
    /// The node's name in lists; the address that it listens on if absent, with the host's name instead of `0.0.0.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address of NATS, such as `nats://127.0.0.1:4222`, or of several servers, divided by commas; `tls://` encrypts,
    /// `nats://user:password@host` and `nats://token@host` sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<ServerUrls>,
    /// A file with credentials for NATS, as `nsc` makes them: a JWT and the seed of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_credentials: Option<PathBuf>,
    /// A file with the seed of the nkey by which the node signs in to NATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_nkey: Option<PathBuf>,
    /// The certificates of the connection to NATS.
    pub nats_tls: TlsFiles,
    /// How long sending over NATS may take.
    #[serde(with = "friendly")]
    pub nats_timeout: Duration,
    /// The address of Redis, such as `redis://127.0.0.1:6379`; `rediss://` encrypts, `redis://user:password@host/2` signs
    /// in and chooses a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<ServerUrls>,
    /// The certificates of the connection to Redis.
    pub redis_tls: TlsFiles,
    /// How long a call of Redis may take.
    #[serde(with = "friendly")]
    pub redis_timeout: Duration,
    /// The beginning of subjects in NATS and keys in Redis; clusters that share servers need different ones.
    pub prefix: String,
    /// ScyllaDB, or another CQL server.
    pub cql: ScyllaOptions,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            name: None,
            nats: None,
            nats_credentials: None,
            nats_nkey: None,
            nats_tls: TlsFiles::default(),
            nats_timeout: Duration::from_secs(1),
            redis: None,
            redis_tls: TlsFiles::default(),
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
            urls: self.nats.clone().unwrap_or_default(),
            credentials: self.nats_credentials.clone(),
            nkey: self.nats_nkey.clone(),
            tls: self.nats_tls.clone(),
            prefix: self.prefix.clone(),
            timeout: self.nats_timeout,
        }
    }

    /// How to reach Redis.
    pub fn redis_options(&self) -> RedisOptions {
        RedisOptions {
            url: self.redis.clone().unwrap_or_default(),
            tls: self.redis_tls.clone(),
            prefix: self.prefix.clone(),
            timeout: self.redis_timeout,
        }
    }
}

/// The `[drain]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
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
            jobs: JobsOptions::default(),
            mail: MailOptions::default(),
            push: PushOptions::default(),
            payments: PaymentsOptions::default(),
            search: SearchOptions::default(),
            link_previews: LinkPreviewOptions::default(),
            drain: DrainOptions::default(),
            log: LogOptions::default(),
            traces: TracesOptions::default(),
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
        ..recoverable.clone()
    };
    ChannelsOptions {
        without_namespace: recoverable.clone(),
        namespaces: BTreeMap::from([
            ("posts".to_owned(), open.clone()),
            ("events".to_owned(), open.clone()),
            ("announcements".to_owned(), open),
            // Who may subscribe is asked of the accounts.
            ("staff".to_owned(), recoverable.clone()),
            // Who may subscribe is asked of the events.
            ("event".to_owned(), with_presence),
            // Who may subscribe is asked of the posts.
            ("post".to_owned(), recoverable.clone()),
            // Who may subscribe is asked of the Life CEO.
            ("agent".to_owned(), recoverable),
            // Who may subscribe is asked of the conversations. Without history: what was said before somebody joined is not to be recovered.
            ("chat".to_owned(), NamespaceOptions::default()),
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

/// Where the configuration comes from beside the environment, so that it can be read again.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What the command line sets.
    pub overrides: Overrides,
}

impl ConfigSource {
    /// Reads all layers, and refuses what cannot work, all of it at once.
    pub fn load(&self) -> anyhow::Result<Config> {
        Config::load(self.file.as_deref(), &self.overrides)
    }
}

impl Config {
    /// Reads all layers, and refuses what cannot work, all of it at once.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> anyhow::Result<Self> {
        Self::load_from(file, env::vars_os(), overrides)
    }

    fn load_from(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &Overrides,
    ) -> anyhow::Result<Self> {
        let variables: Vec<_> = variables.into_iter().collect();
        let mut problems = describe::misspelt_variables(variables.iter().map(|(name, _)| name));
        let defaults = Tree::of(Table::try_from(Self::default())?, &Source::Default);
        let mut tree = defaults.clone();
        if let Some(file) = file {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let table = text.parse::<Table>().map_err(|error| no_toml(file, &text, &error))?;
            tree.merge(Tree::of(table, &Source::File(file.to_owned())));
        }
        tree.merge(layers::of_opentelemetry(&variables));
        tree.merge(layers::environment(variables, &mut problems));
        tree.merge(Tree::of(Table::try_from(overrides)?, &Source::CommandLine));
        let (config, wrong) = read_all(tree, &defaults, &mut problems)?;
        // A default stands for what could not be read, so nothing is said of how other options fit to that.
        let of_wrong = |problem: &String| wrong.iter().any(|path| problem.contains(path.as_str()));
        problems.extend(config.problems().into_iter().filter(|problem| !of_wrong(problem)));
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(config)
    }

    /// What the node is called in lists. The address that it listens on is a name only where other nodes have another.
    pub fn node_name(&self, listen: SocketAddr) -> String {
        if let Some(name) = &self.cluster.name {
            return name.clone();
        }
        if !listen.ip().is_unspecified() {
            return listen.to_string();
        }
        let host = rustix::system::uname();
        format!("{}:{}", host.nodename().to_string_lossy(), listen.port())
    }
}

/// Reads the options from the merged layers. What cannot be read becomes a problem and is replaced by its default, until
/// all that is wrong is known; the paths of these are returned too.
fn read_all(
    mut tree: Tree,
    defaults: &Tree,
    problems: &mut Vec<String>,
) -> anyhow::Result<(Config, Vec<String>)> {
    let mut wrong = Vec::new();
    loop {
        match read::read::<Config>(&tree) {
            Ok((config, unknown)) => {
                problems.extend(unknown.iter().map(|unknown| describe::unknown(unknown, &tree)));
                return Ok((config, wrong));
            }
            Err(error) => {
                let path = error.path.join(".");
                anyhow::ensure!(!path.is_empty() && !wrong.contains(&path), "{path}: {error}");
                let source = tree.at(&error.path).map_or(Source::Default, Tree::source);
                problems.push(format!("{}: {error}", source.spell(&path)));
                tree.reset(&error.path, defaults);
                wrong.push(path);
            }
        }
    }
}

/// A file that is no TOML. The parser's own text shows the line, which may hold a secret.
fn no_toml(file: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    anyhow::anyhow!("{}, line {line}: {}", file.display(), error.message())
}

#[cfg(test)]
mod tests {
    use mundotango_gateway::Secret;

    use super::*;

    #[test]
    fn the_defaults_hold_and_hide_nothing_but_secrets() {
        let mut config = Config::default();
        assert_eq!(config.problems(), Vec::<String>::new());
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

    fn from_environment(variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        let variables = variables
            .iter()
            .map(|(name, value)| (format!("{}{name}", layers::ENV_PREFIX).into(), value.into()));
        Config::load_from(None, variables, &Overrides::default())
    }

    #[test]
    fn the_environment_means_what_people_write_into_it() {
        let config = from_environment(&[
            ("HTTP__API_KEY", "00123456789012345"),
            ("HTTP__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ("HTTP__MAX_CONNECTIONS", " 1_000 "),
            ("HTTP__UNIDIRECTIONAL", "Yes"),
            ("AUTH__SECRET", ""),
            ("AUTH__TOKEN__AUDIENCE", "123456789012"),
            ("AUTH__TOKEN__ISSUER", "true"),
            ("SESSION__ALLOW_ANONYMOUS", "True"),
            ("SESSION__PERSONAL_CHANNEL", "off"),
            ("SESSION__PING_INTERVAL", "1m"),
            ("CHANNELS__NAMESPACES__POSTS__HISTORY_ARCHIVE_TTL", "1y"),
            ("CHANNELS__NAMESPACES__POSTS__ALLOWED_DELTA_TYPES", "fossil"),
            ("CHANNELS__NAMESPACES__EVENTS__ALLOWED_DELTA_TYPES", r#"["fossil"]"#),
            ("CHANNELS__NAMESPACES__007__PRESENCE", "1"),
            ("CLUSTER__NAME", "1.5"),
            ("CLUSTER__PREFIX", "007"),
        ])
        .unwrap();
        assert_eq!(config.http.api_key, Some(Secret::new("00123456789012345".to_owned())));
        assert_eq!(config.http.allowed_origins, ["https://a.example", "https://b.example"]);
        assert_eq!((config.http.max_connections, config.http.unidirectional), (1000, true));
        assert_eq!(config.auth.secret, None);
        assert_eq!(config.auth.token.audience.as_deref(), Some("123456789012"));
        assert_eq!(config.auth.token.issuer.as_deref(), Some("true"));
        assert_eq!((config.session.allow_anonymous, config.session.personal_channel), (true, false));
        assert_eq!(config.session.ping_interval, Duration::from_mins(1));
        let posts = &config.channels.namespaces["posts"];
        assert_eq!(posts.history_archive_ttl, Duration::from_hours(365 * 24));
        assert_eq!(posts.allowed_delta_types, config.channels.namespaces["events"].allowed_delta_types);
        assert_eq!(posts.allowed_delta_types.len(), 1);
        assert!(config.channels.namespaces["007"].presence);
        assert_eq!((config.cluster.name.as_deref(), config.cluster.prefix.as_str()), (Some("1.5"), "007"));
        let one = from_environment(&[("HTTP__ALLOWED_ORIGINS", "http://127.0.0.1:8088")]).unwrap();
        assert_eq!(one.http.allowed_origins, ["http://127.0.0.1:8088"]);
    }

    #[test]
    fn all_problems_of_all_kinds_are_told_at_once_with_the_variable() {
        let error = from_environment(&[
            ("SESSION__PING_INTERVALL", "1s"),
            ("HTTP_API_KEY", "hidden-by-mistake"),
            ("AUTH__TOKEN", "hidden-as-section"),
            ("SESSION__PONG_TIMEOUT", "often"),
            ("SESSION__ALLOW_ANONYMOUS", "maybe"),
            ("SESSION__CHANNEL_LIMIT", "-1"),
            ("CHANNELS__NAMESPACES__POSTS__FORCE_RECOVERY_MODE", "cash"),
            ("CHANNELS__NAMESPACES__POSTS__CHANNEL_REGEX", "("),
            ("DRAIN__WINDOW", "1h"),
        ])
        .unwrap_err()
        .to_string();
        for wanted in [
            "MUNDOTANGO__SESSION__PING_INTERVALL): there is no such option; did you mean MUNDOTANGO__SESSION__PING_INTERVAL?",
            "did you mean MUNDOTANGO__HTTP__API_KEY?",
            "auth.token (MUNDOTANGO__AUTH__TOKEN): is a section",
            "session.pong_timeout (MUNDOTANGO__SESSION__PONG_TIMEOUT): \"often\" is no duration",
            "session.allow_anonymous (MUNDOTANGO__SESSION__ALLOW_ANONYMOUS): must be true or false",
            "session.channel_limit (MUNDOTANGO__SESSION__CHANNEL_LIMIT): must be a whole number, at least 0",
            "\"cash\" is not one of stream, cache",
            "channel_regex (MUNDOTANGO__CHANNELS__NAMESPACES__POSTS__CHANNEL_REGEX): ",
            "drain.window: must be shorter",
        ] {
            assert!(error.contains(wanted), "{wanted} is not in\n{error}");
        }
        assert!(!error.contains("hidden"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_without_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mundotango.toml");
        fs::write(&file, "[auth]\nsecret = hidden\n").unwrap();
        let error = Config::load(Some(&file), &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("mundotango.toml, line 2") && !error.contains("hidden"), "{error}");
    }

    #[test]
    fn nodes_that_listen_everywhere_are_called_by_their_hosts() {
        let mut config = Config::default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert_eq!(config.node_name(SocketAddr::from(([0; 4], 5000))), format!("{host}:5000"));
        assert_eq!(config.node_name(SocketAddr::from(([10, 0, 0, 1], 5000))), "10.0.0.1:5000");
        config.cluster.name = Some("node-1".to_owned());
        assert_eq!(config.node_name(SocketAddr::from(([0; 4], 5000))), "node-1");
    }
}

//! The node that runs by this configuration: asked as a container's health check asks it, and as an operator does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use mundotango_gateway::PartHealth;
use reqwest::Client;
use serde_json::Value;
use tokio::time::timeout;

use super::finding::{Finding, kinds};
use crate::config::{Config, ConfigSource};
use crate::node_file::NodeFile;

kinds! { "node";
    NOT_RUNNING: Hint "not-running",
        "nobody is served here",
        "start it (`mundotango serve`, systemctl start mundotango), unless it should stand still";
    NOT_READY: Broken "not-ready",
        "balancers send nobody here",
        "look at the parts that it names, here and in docs/cluster.md";
    DEGRADED: Warning "degraded",
        "the node serves, and what needs this part is refused or comes late",
        "look at the findings of that part, and at its row in docs/cluster.md";
    SEARCH_BEHIND: Warning "search-behind",
        "what was written meanwhile is not found",
        "while the index is made anew it passes by itself; otherwise the log says why the search index is behind";
}

/// An index that is so far behind is told of.
const SEARCH_IS_BEHIND: Duration = Duration::from_mins(5);

/// How long the node may take to say that it is ready.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The variable of the data folder, for a configuration that cannot be read any more.
const DATA_DIR_VARIABLE: &str = "MUNDOTANGO__DATA_DIR";

/// Where a node may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    address: SocketAddr,
    has_tls: bool,
}

/// What a node said of itself.
pub(super) struct Answer {
    pub(super) address: SocketAddr,
    pub(super) is_ready: bool,
    health: Value,
}

impl Answer {
    /// The status and the parts that are not well, in one line.
    pub(super) fn words(&self) -> String {
        let status = self.health["status"].as_str().unwrap_or("no status");
        let parts: Vec<_> = self.parts().map(|(name, detail, _)| format!("{name}: {detail}")).collect();
        if parts.is_empty() { status.to_owned() } else { format!("{status} ({})", parts.join("; ")) }
    }

    /// The parts that are not well: the name, what is wrong, and whether nothing goes without it.
    fn parts(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let parts = self.health["parts"].as_array().into_iter().flatten();
        parts.filter(|part| part["healthy"] == false).map(|part| {
            let text = |name: &str| part[name].as_str().unwrap_or("?");
            (text("name"), text("detail"), part["required"] == true)
        })
    }
}

/// Asks the running node whether it is ready. Also where the configuration was changed to one that cannot work: the node
/// goes on with what it was started with.
pub(super) async fn probe(source: &ConfigSource) -> anyhow::Result<Answer> {
    let places = match source.load() {
        Ok(config) => places(&config),
        Err(error) => {
            let of_variable = std::env::var_os(DATA_DIR_VARIABLE).map(PathBuf::from);
            let folder = source.overrides.data_dir.clone().or(of_variable);
            let place = folder.as_deref().and_then(told);
            vec![place.with_context(|| format!("{error:#}"))?]
        }
    };
    timeout(PROBE_TIMEOUT, ask(&places)).await.context("no answer in time")?
}

/// Looks at the node that runs, if one does.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    match timeout(PROBE_TIMEOUT, ask(&places(config))).await {
        Ok(Ok(answer)) if !answer.is_ready => {
            vec![NOT_READY.says(format!("the node on {} is {}", answer.address, answer.words()))]
        }
        Ok(Ok(answer)) => {
            let says = |(name, detail, _): (&str, &str, bool)| DEGRADED.says(format!("{name}: {detail}"));
            answer.parts().map(says).collect()
        }
        Ok(Err(error)) => vec![NOT_RUNNING.says(format!("{error:#}"))],
        Err(_) => vec![NOT_READY.says(format!("the node does not answer within {PROBE_TIMEOUT:?}"))],
    }
}

/// What the node's own parts are, for findings that it gives itself.
pub(super) fn of_parts(parts: &[PartHealth]) -> Vec<Finding> {
    let ill = parts.iter().filter(|part| !part.healthy);
    ill.map(|part| {
        let kind = if part.required { &NOT_READY } else { &DEGRADED };
        kind.says(format!("{}: {}", part.name, part.detail.as_deref().unwrap_or("?")))
    })
    .collect()
}

/// What a node finds of its own search index, which last had all so many seconds ago.
pub(super) fn of_search(lag_seconds: i64) -> Option<Finding> {
    let lag = Duration::from_secs(u64::try_from(lag_seconds).unwrap_or_default());
    (lag >= SEARCH_IS_BEHIND).then(|| SEARCH_BEHIND.says(format!("the search index is behind by {lag:?}")))
}

/// Where a node on a data folder says that it is; always without TLS.
fn told(data_dir: &Path) -> Option<Place> {
    let node = NodeFile::read(data_dir)?;
    Some(Place { address: reachable(node.commands()), has_tls: false })
}

/// Where the node may be, the likeliest first: where it says in its folder, then where the configuration has it, as a node of
/// a cluster may have no folder, and a folder may be that of a node which was killed.
fn places(config: &Config) -> Vec<Place> {
    let configured = match config.http.internal_listen {
        Some(address) => Place { address: reachable(address), has_tls: false },
        None => Place { address: reachable(config.listen), has_tls: config.http.tls.certificate.is_some() },
    };
    let mut places: Vec<_> = told(&config.data_dir).into_iter().chain([configured]).collect();
    places.dedup();
    places
}

/// An address to connect with, for one that is listened on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(places: &[Place]) -> anyhow::Result<Answer> {
    // The certificate is for the name that clients use. Nothing secret is sent, and the address is this machine's own.
    let client = Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    let mut last = None;
    for Place { address, has_tls } in places {
        let s = if *has_tls { "s" } else { "" };
        match client.get(format!("http{s}://{address}/api/health/ready")).send().await {
            Ok(answer) => {
                let is_ready = answer.status() == StatusCode::OK;
                let health = answer.json().await.unwrap_or_default();
                return Ok(Answer { address: *address, is_ready, health });
            }
            Err(error) => {
                last = Some(anyhow::Error::from(error).context(format!("no node answers on {address}")));
            }
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no address to ask")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_where_it_says_it_is_and_then_where_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: folder.path().to_owned(),
            listen: ([0, 0, 0, 0], 5000).into(),
            ..Config::default()
        };
        let plain = |address: &str| Place { address: address.parse().unwrap(), has_tls: false };
        assert_eq!(places(&config), [plain("127.0.0.1:5000")]);
        config.http.tls.certificate = Some("cert.pem".into());
        assert_eq!(places(&config), [Place { has_tls: true, ..plain("127.0.0.1:5000") }]);
        config.http.internal_listen = Some("[::]:9000".parse().unwrap());
        assert_eq!(places(&config), [plain("[::1]:9000")]);
        let told = r#"{"pid":1,"listen":"0.0.0.0:5000","internal":"127.0.0.1:1234"}"#;
        std::fs::write(folder.path().join("node.json"), told).unwrap();
        assert_eq!(places(&config), [plain("127.0.0.1:1234"), plain("[::1]:9000")]);
    }

    #[test]
    fn an_index_that_is_behind_for_minutes_is_told_of() {
        assert!(of_search(0).is_none() && of_search(299).is_none() && of_search(-1).is_none());
        assert!(of_search(300).is_some());
    }

    #[test]
    fn an_answer_is_told_in_one_line() {
        let health = serde_json::json!({"status": "unavailable", "parts": [
            {"name": "store", "healthy": true, "required": true},
            {"name": "redis", "healthy": false, "required": false, "detail": "gone"},
        ]});
        let answer = Answer { address: ([127, 0, 0, 1], 1).into(), is_ready: false, health };
        assert_eq!(answer.words(), "unavailable (redis: gone)");
    }
}

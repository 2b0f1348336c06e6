//! NATS: whether its servers are there, let the node in, know each other and are new enough.

use std::time::Duration;

use mundotango_actors::bus::{Bus as _, NatsBus};
use mundotango_ops::ServerUrls;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::finding::{Finding, kinds};
use super::{LOOK_TIMEOUT, is_here, version};
use crate::config::Config;

kinds! { "nats";
    UNREACHABLE: Broken "unreachable",
        "nodes do not hear each other: each serves its own sessions, and the rest comes late from history",
        "start the server, or correct `cluster.nats`; look at firewalls between";
    REFUSED: Broken "refused",
        "nodes do not hear each other as long as NATS does not let them in",
        "correct the user and password in `cluster.nats`, or the files of `cluster.nats_*`";
    SERVER_GONE: Warning "server-gone",
        "with each server that is gone fewer are left that may go",
        "start the server, or take it out of `cluster.nats`";
    SPLIT: Broken "split",
        "what one server gets the others do not pass on, so nodes at different servers do not hear each other",
        "connect the servers by routes: `cluster { name, routes }` in the configuration of each";
    OLD: Warning "old",
        "versions before 2.10 are not tested",
        "upgrade NATS, one server after the other";
    OPEN: Warning "open",
        "who reaches NATS without a password can speak as a node",
        "set a user with a password, a token or an nkey in NATS and in `cluster.nats`";
}

/// The oldest version that is supported.
const OLDEST: [u32; 2] = [2, 10];
/// The port of NATS where a URL has none.
const PORT: u16 = 4222;
/// The longest greeting that is read, in bytes.
const MAX_GREETING: u64 = 64 * 1024;
/// How long one of several servers may take for its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// What a server says when somebody connects: the line `INFO`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Info {
    version: String,
    auth_required: bool,
    /// Certificates of clients are checked.
    tls_verify: bool,
    /// The name of the servers' cluster.
    cluster: Option<String>,
}

/// A server that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
}

/// Looks at all servers.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Some(urls) = &config.cluster.nats else { return Vec::new() };
    let servers = servers(urls);
    let greetings = servers.iter().map(|server| async move {
        let greeted = timeout(GREETING_TIMEOUT, greeting(server)).await;
        (server, greeted.unwrap_or_else(|_| Err("no answer in time".to_owned())))
    });
    let (signed_in, greetings) = tokio::join!(sign_in(config), futures_util::future::join_all(greetings));
    let mut findings = of_greetings(&greetings);
    let is_any_there = greetings.iter().any(|(_, greeting)| greeting.is_ok());
    match signed_in {
        Ok(()) => {}
        Err(why) if is_any_there => findings.push(REFUSED.says(format!("{urls}: {why}"))),
        Err(why) => {
            findings.clear();
            findings.push(UNREACHABLE.says(format!("{urls}: {why}")));
        }
    }
    findings
}

pub(super) fn late(config: &Config) -> Finding {
    let urls = config.cluster.nats.as_ref().map(ServerUrls::to_string).unwrap_or_default();
    UNREACHABLE.says(format!("{urls}: no answer within {LOOK_TIMEOUT:?}"))
}

/// Connects as a node does.
async fn sign_in(config: &Config) -> Result<(), String> {
    let bus = NatsBus::open(&config.cluster.nats_options(), "mundotango doctor").await;
    let bus = bus.map_err(|error| error.to_string())?;
    let mut connected = bus.connected();
    // A little less than the whole look may take, so that the reason is known.
    let connecting = timeout(LOOK_TIMEOUT.mul_f32(0.8), connected.wait_for(|connected| *connected)).await;
    match connecting {
        Ok(Ok(_)) => Ok(()),
        _ => Err(bus.watch_failure()().unwrap_or_else(|| "not connected".to_owned())),
    }
}

fn servers(urls: &ServerUrls) -> Vec<Server> {
    let urls = urls.expose().split(',').filter_map(|url| Url::parse(url.trim()).ok());
    urls.filter_map(|url| Some(Server { host: url.host_str()?.to_owned(), port: url.port().unwrap_or(PORT) }))
        .collect()
}

/// What a server says first. One that speaks TLS from the first byte says nothing, and is no failure.
async fn greeting(server: &Server) -> Result<Option<Info>, String> {
    let host = server.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, server.port)).await.map_err(|error| error.to_string())?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_GREETING));
    match timeout(GREETING_TIMEOUT / 2, reader.read_line(&mut line)).await {
        Err(_) => Ok(None),
        Ok(read) => {
            read.map_err(|error| error.to_string())?;
            info(&line).map(Some).ok_or_else(|| "what answers there is no NATS".to_owned())
        }
    }
}

fn info(line: &str) -> Option<Info> {
    serde_json::from_str(line.strip_prefix("INFO ")?.trim()).ok()
}

fn of_greetings(greetings: &[(&Server, Result<Option<Info>, String>)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut clusters = Vec::new();
    for (Server { host, port }, greeting) in greetings {
        match greeting {
            Err(why) => findings.push(SERVER_GONE.says(format!("{host}:{port}: {why}"))),
            Ok(None) => {}
            Ok(Some(info)) => {
                if version(&info.version).is_some_and(|version| version < OLDEST) {
                    findings.push(OLD.says(format!("{host}:{port} has version {}", info.version)));
                }
                if !info.auth_required && !info.tls_verify && !is_here(host) {
                    findings.push(OPEN.says(format!("{host}:{port} lets in everybody")));
                }
                clusters.push(info.cluster.as_deref());
            }
        }
    }
    let first = clusters.first().copied().flatten();
    let is_one = first.is_some() && clusters.iter().all(|cluster| *cluster == first);
    if clusters.len() > 1 && !is_one {
        findings
            .push(SPLIT.says(format!("the {} servers of cluster.nats are not one cluster", clusters.len())));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(infos: &[&str]) -> Vec<&'static str> {
        let server = Server { host: "nats".to_owned(), port: PORT };
        let greetings: Vec<_> = infos.iter().map(|line| (&server, Ok(info(line)))).collect();
        of_greetings(&greetings).into_iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn servers_are_judged_by_their_greetings() {
        let good = r#"INFO {"version":"2.12.1","auth_required":true,"cluster":"a","max_payload":1}"#;
        assert_eq!(ids(&[good, good]), Vec::<&str>::new());
        assert_eq!(ids(&[&good.replace("2.12.1", "2.9.25")]), [OLD.id]);
        assert_eq!(ids(&[&good.replace("true", "false")]), [OPEN.id]);
        assert_eq!(ids(&[good, &good.replace("\"a\"", "\"b\"")]), [SPLIT.id]);
        let alone = good.replace(r#","cluster":"a""#, "");
        assert_eq!(ids(&[&alone]), Vec::<&str>::new());
        assert_eq!(ids(&[&alone, &alone]), [SPLIT.id]);
        assert_eq!(info("HTTP/1.1 200 OK"), None);
    }

    #[test]
    fn servers_are_read_from_all_urls() {
        let all = servers(&ServerUrls::new("nats://u:p@a:1, tls://b"));
        let all: Vec<_> = all.into_iter().map(|server| (server.host, server.port)).collect();
        assert_eq!(all, [("a".to_owned(), 1), ("b".to_owned(), PORT)]);
    }
}

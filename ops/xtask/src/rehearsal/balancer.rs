//! HAProxy in front of the nodes, by the configuration that is shipped, and the Prometheus that the watch asks.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::door::Door;
use super::nodes::{Running, free_port};
use crate::root;

/// How long HAProxy and Prometheus may take until they answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that HAProxy takes.
const MAX_CONNECTIONS: usize = 450;
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A running part of the rehearsal, and where it is.
pub(super) struct Part {
    pub(super) url: String,
    process: Running,
}

/// The shipped configuration with these nodes, as its head says it is changed where no DNS server knows them.
fn configuration(shipped: &str, nodes: &[SocketAddr], door: u16, inside: u16) -> anyhow::Result<String> {
    let mut text = shipped.replace("resolvers names init-addr last,libc,none", "");
    let begin = text.find("\nresolvers names").context("no section of resolvers")?;
    let end = text[begin..].find("\nfrontend").context("no section behind the resolvers")? + begin;
    text.replace_range(begin..end, "");
    // As many connections as a machine's default limit of open files allows.
    text = text.replace("maxconn 50000", &format!("maxconn {MAX_CONNECTIONS}"));
    for (number, node) in (1..).zip(nodes) {
        text = text.replace(&format!("node-{number}:5000"), &node.to_string());
    }
    for (port, here) in [(8080, door), (8404, inside)] {
        text = text.replace(&format!("bind :{port}"), &format!("bind 127.0.0.1:{here}"));
    }
    let asks_for_names = |line: &str| !line.trim_start().starts_with('#') && line.contains("resolvers");
    anyhow::ensure!(!text.contains(":5000") && !text.lines().any(asks_for_names), "a name is left:\n{text}");
    Ok(text)
}

/// Starts HAProxy.
pub(super) fn haproxy(folder: &Path, nodes: &[SocketAddr]) -> anyhow::Result<Part> {
    let (door, inside) = (free_port()?, free_port()?);
    let shipped = fs::read_to_string(root().join("ops/deploy/haproxy.cfg"))?;
    let file = folder.join("haproxy.cfg");
    fs::write(&file, configuration(&shipped, nodes, door, inside)?)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "haproxy", "-db", "-f"]).arg(&file);
    let process = Running::start(command, &folder.join("haproxy.log"))?;
    let part = Part { url: format!("http://127.0.0.1:{door}"), process };
    part.wait_for(&format!("http://127.0.0.1:{inside}"), "/live")
}

/// Starts a Prometheus that scrapes the nodes.
pub(super) fn prometheus(folder: &Path, nodes: &[SocketAddr]) -> anyhow::Result<Part> {
    let targets: Vec<_> = nodes.iter().map(SocketAddr::to_string).collect();
    let config = json!({
        "global": { "scrape_interval": "5s" },
        "scrape_configs": [{ "job_name": "mundotango", "static_configs": [{ "targets": targets }] }],
    });
    let file = folder.join("prometheus.yml");
    fs::write(&file, config.to_string())?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "prometheus"]);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
    command.arg(format!("--web.listen-address={address}"));
    let process = Running::start(command, &folder.join("prometheus.log"))?;
    let part = Part { url: format!("http://{address}"), process };
    let url = part.url.clone();
    part.wait_for(&url, "/-/ready")
}

impl Part {
    fn wait_for(mut self, url: &str, path: &str) -> anyhow::Result<Self> {
        let (door, start) = (Door::new(url), Instant::now());
        loop {
            self.process.must_run()?;
            match door.get(path, None) {
                Ok((200, _)) => return Ok(self),
                outcome if start.elapsed() > PATIENCE => anyhow::bail!("{url}{path}: {outcome:?}"),
                _ => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_is_used_with_addresses_alone_changed() {
        let shipped = fs::read_to_string(root().join("ops/deploy/haproxy.cfg")).unwrap();
        let nodes = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let made = configuration(&shipped, &nodes, 80, 81).unwrap();
        for line in
            ["bind 127.0.0.1:80\n", "server node-3 127.0.0.1:3\n", "balance leastconn", "option redispatch"]
        {
            assert!(made.contains(line), "{line} is not in\n{made}");
        }
        assert!(configuration(&shipped, &nodes[..2], 80, 81).is_err(), "a node is missing");
    }
}

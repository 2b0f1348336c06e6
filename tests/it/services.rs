//! Servers of a test's own, which it kills and freezes: those that all tests share have to stay.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::{settings, with};

/// What is told of a server.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    address: SocketAddr,
    pid: Option<u32>,
}

/// Running servers. They end with this, however it ends: their keeper reads from a pipe of ours.
pub struct Services {
    keeper: Child,
    lines: BufReader<ChildStdout>,
    servers: BTreeMap<String, Told>,
    _folder: TempDir,
}

impl Services {
    /// Chooses where servers for so many nodes will be, without starting them.
    pub fn plan(nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Command::new(env!("CARGO"))
            .args(["xtask", "services", "hold", "--nodes", &nodes.to_string(), "--dir"])
            .arg(folder.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(keeper.stdout.take().unwrap());
        let mut services = Self { keeper, lines, servers: BTreeMap::new(), _folder: folder };
        services.hear();
        services
    }

    /// Starts servers for so many nodes.
    pub fn start(nodes: usize) -> Self {
        let mut services = Self::plan(nodes);
        services.start_missing();
        services
    }

    fn hear(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        self.servers = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }

    /// Starts those that do not run, and waits until all serve.
    pub fn start_missing(&mut self) {
        writeln!(self.keeper.stdin.as_mut().unwrap()).unwrap();
        self.hear();
    }

    /// Sends a server a signal by name.
    pub fn signal(&self, server: &str, signal: &str) {
        let pid = self.servers[server].pid.unwrap();
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
        assert!(sent.unwrap().success(), "{server} is gone");
    }

    /// The names of a kind's servers.
    pub fn of(&self, kind: &str) -> Vec<String> {
        self.servers.keys().filter(|name| name.starts_with(kind)).cloned().collect()
    }

    fn addresses(&self, kind: &str) -> Vec<SocketAddr> {
        self.of(kind).iter().map(|name| self.servers[name].address).collect()
    }

    /// What nodes on these servers have in common.
    pub fn settings(&self) -> Vec<(String, String)> {
        let urls = |scheme: &str, kind: &str| {
            let urls: Vec<_> =
                self.addresses(kind).iter().map(|address| format!("{scheme}://{address}")).collect();
            urls.join(",")
        };
        let cql = self.addresses("cql");
        let changes = [
            ("CLUSTER__NATS", urls("nats", "nats")),
            ("CLUSTER__REDIS", urls("redis", "redis")),
            ("CLUSTER__CQL__NODES", json!(cql).to_string()),
            ("CLUSTER__CQL__REPLICATION_FACTOR", cql.len().to_string()),
            ("CLUSTER__CQL__KEYSPACE", "own".to_owned()),
            ("CLUSTER__CQL__REQUEST_TIMEOUT", "2s".to_owned()),
        ];
        changes.iter().fold(settings(), |settings, (name, value)| with(&settings, name, value))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // A frozen one is killed like any other.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

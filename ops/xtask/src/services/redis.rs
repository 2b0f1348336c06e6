//! Redis: what is hot, for all nodes. Nothing of it has to survive.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::parts;

use super::kind::{Kind, Place, connect};

/// See the module.
pub(crate) struct Redis;

/// Installs it, unless it is there.
pub(crate) fn install() -> anyhow::Result<()> {
    parts::need_package("redis-server", "--version", &["redis-server"])
}

/// The command of a server that writes nothing down until it is told to.
pub(crate) fn server(ip: Ipv4Addr, port: u16, folder: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", &ip.to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
        .arg(folder);
    command
}

impl Kind for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn install(&self) -> anyhow::Result<()> {
        install()
    }

    fn servers(&self, _nodes: u16) -> u16 {
        1
    }

    fn ports(&self, _index: u16) -> std::ops::Range<u16> {
        9..10
    }

    fn command(&self, place: &Place) -> anyhow::Result<Command> {
        Ok(server(place.ip, place.port(0), &place.folder))
    }

    fn ready(&self, place: &Place) -> anyhow::Result<()> {
        let mut stream = connect(place.address())?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        anyhow::ensure!(answer == "+PONG\r\n", "answers {answer:?} to PING");
        Ok(())
    }

    fn test_variable(&self) -> &'static str {
        "MUNDOTANGO_TEST_REDIS"
    }

    fn test_value(&self, addresses: &[SocketAddr]) -> String {
        addresses.iter().map(|address| format!("redis://{address}")).collect::<Vec<_>>().join(",")
    }

    fn settings(&self, addresses: &[SocketAddr]) -> Vec<(&'static str, String)> {
        vec![("cluster.redis", format!("\"{}\"", self.test_value(addresses)))]
    }
}

//! What a folder of servers remembers: how many, on which ports, and which processes they are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::kind::{Kind, Place};
use super::kinds::KINDS;
use super::process::Process;

/// Where it is written down.
const FILE: &str = "services.json";

/// What `services.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// For how many nodes.
    pub(crate) nodes: u16,
    /// The first of the servers' ports.
    pub(crate) first_port: u16,
    /// The servers that were started and not taken down, by their names.
    pub(crate) servers: BTreeMap<String, Server>,
}

/// A server that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Where clients find it.
    pub(crate) address: SocketAddr,
    /// Which process it is.
    #[serde(flatten)]
    pub(crate) process: Process,
}

impl State {
    /// Reads a folder's; none if it has none.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path)?;
        Ok(Some(serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?))
    }

    /// Writes it down, so that a crash leaves the one before or this one.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let temporary = folder.join(format!("{FILE}.new"));
        fs::write(&temporary, serde_json::to_vec_pretty(self)?)?;
        Ok(fs::rename(temporary, folder.join(FILE))?)
    }

    /// Where all servers stand that belong to it.
    pub(crate) fn places(&self, folder: &Path) -> Vec<(&'static dyn Kind, Place)> {
        let mut places = Vec::new();
        for kind in KINDS {
            let servers = kind.servers(self.nodes);
            for index in 0..servers {
                let name = if servers == 1 {
                    kind.name().to_owned()
                } else {
                    format!("{}-{}", kind.name(), index + 1)
                };
                let place = Place {
                    folder: folder.join(&name),
                    name,
                    index,
                    nodes: self.nodes,
                    ip: kind.ip(index, self.nodes),
                    first_port: self.first_port,
                    ports: kind.ports(index),
                };
                places.push((kind, place));
            }
        }
        places
    }

    /// The process of a server, if it runs.
    pub(crate) fn running(&self, name: &str) -> Option<&Process> {
        self.servers.get(name).map(|server| &server.process).filter(|process| process.runs())
    }
}

/// The right to change a folder's servers; waits for whoever has it. It ends with this process at the latest.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            println!("waiting for another command, which has {}", path.display());
            file.lock()?;
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(State::read(folder.path()).unwrap(), None);
        let process = Process { pid: 7, started: "boot/1".to_owned() };
        let server = Server { address: "127.0.0.1:20000".parse().unwrap(), process };
        let servers = BTreeMap::from([("nats".to_owned(), server)]);
        let state = State { nodes: 1, first_port: 20_000, servers };
        state.write(folder.path()).unwrap();
        assert_eq!(State::read(folder.path()).unwrap(), Some(state));
    }
}

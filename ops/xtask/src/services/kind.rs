//! What there is to know of a kind of server. A new kind is a file with this trait, and a word in `kinds.rs`.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The ports that one folder's servers have, from its first on.
pub(crate) const BLOCK: u16 = 16;
/// Longest wait for a server's answer to a probe.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// A kind of server.
pub(crate) trait Kind: Sync {
    /// What its servers are called.
    fn name(&self) -> &'static str;
    /// Installs it, unless it is there.
    fn install(&self) -> anyhow::Result<()>;
    /// How many of them serve so many nodes.
    fn servers(&self, nodes: u16) -> u16;
    /// The ports of a server in the folder's block, the clients' first.
    fn ports(&self, index: u16) -> Range<u16>;
    /// Where a server listens.
    fn ip(&self, _index: u16, _nodes: u16) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }
    /// Starts a server; its folder is there.
    fn command(&self, place: &Place) -> anyhow::Result<Command>;
    /// Asks once whether a server serves; the error says what is missing.
    fn ready(&self, place: &Place) -> anyhow::Result<()>;
    /// The variable that tells tests where the servers are.
    fn test_variable(&self) -> &'static str;
    /// Its value.
    fn test_value(&self, addresses: &[SocketAddr]) -> String;
    /// What a node's configuration says of the servers: keys, and values in TOML.
    fn settings(&self, addresses: &[SocketAddr]) -> Vec<(&'static str, String)>;
}

/// Where one server stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The server's name.
    pub(crate) name: String,
    /// Which of its kind it is, from 0.
    pub(crate) index: u16,
    /// How many nodes are served.
    pub(crate) nodes: u16,
    /// Where it listens.
    pub(crate) ip: Ipv4Addr,
    /// The first port of the folder's block.
    pub(crate) first_port: u16,
    /// Its ports in the block.
    pub(crate) ports: Range<u16>,
    /// What is its own.
    pub(crate) folder: PathBuf,
}

impl Place {
    /// Where clients find it.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((self.ip, self.port(0)))
    }

    /// One of its ports.
    pub(crate) fn port(&self, which: u16) -> u16 {
        self.first_port + self.ports.start + which
    }

    /// The same port of another of its kind.
    pub(crate) fn port_of(&self, kind: &dyn Kind, index: u16, which: u16) -> u16 {
        self.first_port + kind.ports(index).start + which
    }

    /// All others of its kind.
    pub(crate) fn others(&self) -> impl Iterator<Item = u16> {
        let own = self.index;
        (0..self.nodes).filter(move |index| *index != own)
    }
}

/// Connects for a probe, which may not wait for ever.
pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_PATIENCE)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
    Ok(stream)
}

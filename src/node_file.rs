//! What a running node tells other commands on its data folder.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Tells other commands of the running node.
const NODE_FILE: &str = "node.json";

/// What a running node tells other commands on its data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFile {
    /// The node's process.
    pub pid: u32,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where metrics, health and the admins' routes are, always without TLS; with the clients if absent.
    #[serde(default)]
    pub internal: Option<SocketAddr>,
}

impl NodeFile {
    /// Where commands on the data folder find the node.
    pub fn commands(&self) -> SocketAddr {
        self.internal.unwrap_or(self.listen)
    }

    /// What the node that runs on a data folder says of itself, if one does.
    pub fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data_dir.join(NODE_FILE)).ok()?).ok()
    }

    /// Tells it.
    pub(crate) fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let path = data_dir.join(NODE_FILE);
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Tells no more, as the node ends.
    pub(crate) fn remove(data_dir: &Path) {
        let _ = fs::remove_file(data_dir.join(NODE_FILE));
    }
}

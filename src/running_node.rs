//! The node that runs on a data folder, as other commands on that folder talk to it: as an admin, by the folder's secret.

use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use mundotango_gateway::tokens::Tokens;
use serde_json::Value;

use crate::community::roles::Role;
use crate::config::Config;
use crate::data_folder;
use crate::node_client;
use crate::node_file::NodeFile;

/// How long a command's token is good.
const TOKEN_TTL: Duration = Duration::from_mins(1);

/// A running node.
pub(crate) struct RunningNode {
    node: NodeFile,
    token: String,
}

impl RunningNode {
    /// The node that runs on the configured data folder.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let folder = config.data_dir.display();
        let node = NodeFile::read(&config.data_dir)
            .with_context(|| format!("no node runs on {folder}, or it does not say where it listens"))?;
        let secret = data_folder::existing_secret(config)?;
        let tokens = Tokens::new(secret.expose().as_bytes(), TOKEN_TTL);
        let token = tokens.issue("command-line", Role::Admin.as_str(), None)?;
        Ok(Self { node, token })
    }

    /// Calls the API; the JSON of the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let address = self.node.commands();
        node_client::call(address, method, path, &self.token, body)
            .await
            .with_context(|| format!("the node {} on {address} did not do it", self.node.pid))
    }
}

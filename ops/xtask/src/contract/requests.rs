//! Postman's requests, sent by newman.

use super::clients::tool;
use super::node::{API_KEY, Node};
use crate::postman::{COLLECTION, ENVIRONMENT};
use crate::{root, run};

/// Sends all requests in their order; an error if a test of one fails.
pub(super) fn send(node: &Node) -> anyhow::Result<()> {
    let mut newman = tool("newman");
    newman.arg("run").arg(root().join(COLLECTION)).arg("--environment").arg(root().join(ENVIRONMENT));
    let admin = node.admin()?;
    let values = [("baseUrl", node.url()), ("adminToken", admin.as_str()), ("apiKey", API_KEY)];
    let values = values.map(|(name, value)| format!("{name}={value}"));
    for value in &values {
        newman.args(["--env-var", value]);
    }
    // A page of each request would bury what failed.
    newman.args(["--reporters", "cli", "--reporter-cli-no-success-assertions", "--reporter-cli-no-banner"]);
    newman.args(["--timeout-request", "30000", "--color", "off", "--ignore-redirects"]);
    run(&mut newman)
}

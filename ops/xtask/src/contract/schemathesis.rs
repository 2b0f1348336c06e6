//! Made-up requests: what the document allows has to work, what it does not has to be refused, and every answer has to be one
//! that it describes.

use std::process::Command;

use super::node::{API_KEY, Node};
use super::{Options, folder};
use crate::postman::DOCUMENT;
use crate::{parts, root, run};

/// Sends requests, the same ones for a seed; an error if any answer is not as the document says.
pub(super) fn send(node: &mut Node, options: &Options) -> anyhow::Result<()> {
    let environment = parts::folder().join("schemathesis");
    parts::pip_packages(&environment, &folder().join("requirements.txt"))?;
    let mut command = Command::new(environment.join("bin/schemathesis"));
    command
        .arg("--config-file")
        .arg(folder().join("schemathesis.toml"))
        .arg("run")
        .arg(root().join(DOCUMENT));
    command.args(["--url", node.url(), "--seed", &options.seed.to_string()]);
    command.args(["--max-examples", &options.examples.to_string()]);
    if let Some(seconds) = options.seconds {
        command.args(["--max-time", &seconds.to_string()]);
    }
    command.args(["--no-color", "--workers", "1"]).current_dir(folder());
    command.env("MUNDOTANGO_TOKEN", node.admin()?).env("MUNDOTANGO_API_KEY", API_KEY);
    run(&mut command)?;
    node.must_be_well()
}

//! `cargo xtask contract`: holds the server to the API's document, from outside. A linter reads the document; three makers of
//! clients make one each, which is compiled and used against a fresh server; Postman's requests run against one; and
//! schemathesis sends what the document allows and what it does not, and looks at what comes back.

mod clients;
mod node;
mod requests;
mod rules;
mod schemathesis;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use node::Node;
use serde_json::Value;

use crate::postman::DOCUMENT;
use crate::{parts, postman, root, target_folder};

/// The AsyncAPI document, which says what channels publish.
const CHANNELS: &str = "docs/asyncapi.json";
/// Requests that schemathesis makes up for an operation, unless another number is given.
const FEW: u64 = 3;
/// The seed of a test run.
const SEED: u64 = 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The document alone: our rules, and redocly's.
    Lint,
    /// Clients, made, compiled and used.
    Clients,
    /// Postman's collection.
    Postman,
    /// Made-up requests.
    Schemathesis,
}

#[derive(Args)]
pub(crate) struct Options {
    /// What to do [default: everything]
    what: Vec<What>,
    /// A node's program [default: the one of the last build]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Requests that schemathesis makes up for each operation and each walk from one to the next.
    #[arg(long, default_value_t = FEW)]
    examples: u64,
    /// Seconds after which it ends in any case [default: it does all]
    #[arg(long)]
    seconds: Option<u64>,
    /// Where schemathesis begins.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
}

impl Options {
    /// As in a test run, of this program.
    pub(crate) fn short(binary: &Path) -> Self {
        Self { what: Vec::new(), binary: Some(binary.to_owned()), examples: FEW, seconds: None, seed: SEED }
    }
}

/// Where the tools and what they need are.
fn folder() -> PathBuf {
    root().join("ops/contract")
}

/// Does what is asked for; an error at the first part that does not hold.
pub(crate) fn run_with(options: &Options) -> anyhow::Result<()> {
    let is_wanted = |what: What| options.what.is_empty() || options.what.contains(&what);
    let binary = options.binary.clone().unwrap_or_else(|| target_folder().join("debug/mundotango"));
    if is_wanted(What::Lint) || is_wanted(What::Clients) || is_wanted(What::Postman) {
        parts::need("node", "nodejs")?;
        parts::npm_packages(&folder())?;
    }
    if is_wanted(What::Lint) {
        lint()?;
    }
    if is_wanted(What::Clients) {
        clients::make()?;
        let node = Node::start(&binary)?;
        clients::use_all(&node)?;
    }
    if is_wanted(What::Postman) {
        postman::run_with(&postman::Options { check: true })?;
        let node = Node::start(&binary)?;
        requests::send(&node)?;
    }
    if is_wanted(What::Schemathesis) {
        let mut node = Node::start(&binary)?;
        schemathesis::send(&mut node, options)?;
    }
    Ok(())
}

fn lint() -> anyhow::Result<()> {
    let document: Value = serde_json::from_str(&std::fs::read_to_string(root().join(DOCUMENT))?)?;
    let wrong = rules::violations(&document);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut redocly = clients::tool("redocly");
    redocly.args(["lint", "--config", "redocly.yaml", "--format", "stylish"]);
    redocly.args([DOCUMENT, CHANNELS].map(|document| root().join(document)));
    crate::run(redocly.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true"))
}

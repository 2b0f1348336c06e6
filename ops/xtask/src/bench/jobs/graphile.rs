//! graphile-worker, in a PostgreSQL.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{parts, root};

use super::peer::{Peer, Way};
use super::postgres::{self, Postgres};

/// As many jobs as keep it at work for some ten seconds.
const MAX_JOBS: u64 = 5_000;
/// The same where they are put 100 at once.
const MAX_BULK_JOBS: u64 = 40_000;

const WAYS: [Way; 3] = [
    Way::new("graphile-worker", MAX_JOBS),
    Way { tuned: true, ..Way::new("graphile-worker, localQueue of 500, completeJobBatchDelay 0", MAX_JOBS) },
    Way { tuned: true, bulk: true, ..Way::new("graphile-worker, the same, addJobs of 100", MAX_BULK_JOBS) },
];

fn folder() -> PathBuf {
    root().join("ops/load/graphile")
}

/// Installs it and what it needs.
pub(super) fn install() -> anyhow::Result<()> {
    postgres::install()?;
    parts::npm_packages(&folder())
        .context("graphile-worker's npm packages are missing: `cargo xtask parts` installs node and npm")
}

fn command() -> Command {
    let mut command = Command::new("node");
    command.arg(folder().join("bench.mjs"));
    command
}

/// It, in a database of its own.
pub(super) fn peer(postgres: &Postgres) -> Peer {
    Peer { command, server: postgres.options(), ways: &WAYS, durabilities: postgres::DURABILITIES }
}

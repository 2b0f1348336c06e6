//! `cargo xtask rehearse`: deployments as `cd.yml` does them, on this machine, while a community is used.
//!
//! Version A runs as three nodes behind HAProxy. B follows with a migration and stays. C refuses logins, which the smoke test
//! finds; the store of D is far away, which the watch of the objectives finds: both are left for B again, across their
//! migrations. Meanwhile sockets recover, posts are written, accounts made, each of which is owed one letter, and an agent
//! streams its answers. At the end nothing has failed, nothing is lost or doubled, and sessions are spread evenly.

mod agent;
mod balancer;
mod deployment;
mod door;
mod load;
mod nodes;
mod shared;
mod slow;
mod sockets;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use self::deployment::{Account, Outcome, Stage};
use self::load::Load;
use self::nodes::{Node, Version};
use crate::earlier::{self, Profile};
use crate::services::{self, TestServices};
use crate::{cargo, parts, run, target_folder};

/// Nodes, as the shipped configuration of HAProxy has them.
const NODES: usize = 3;
/// How much later each answer of version D's store comes.
const FAR: Duration = Duration::from_millis(300);
/// How long the watch has to have seen no restart before the next deployment: its window.
const WINDOW: Duration = Duration::from_mins(1);
/// How long the last letters may take.
const LETTERS_WITHIN: Duration = Duration::from_secs(30);

/// How it is rehearsed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The commit whose build is version A [default: this one]
    #[arg(long)]
    from: Option<String>,
    /// Without D, whose watch takes minutes.
    #[arg(long)]
    short: bool,
    /// How often, one after the other.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// A node's program [default: it is built]
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// What a rehearsal needs.
struct Script<'a> {
    /// The program of version A, and of the others.
    programs: (&'a Path, &'a Path),
    /// Where the engines are, as nodes are told.
    engines: &'a [(String, String)],
    is_short: bool,
}

/// Rehearses as the command line says.
pub(crate) fn rehearse(options: &Options) -> anyhow::Result<()> {
    let binary = if let Some(binary) = &options.binary {
        binary.clone()
    } else {
        run(&mut cargo(&["build", "--bin", "mundotango"]))?;
        target_folder().join("debug/mundotango")
    };
    let from = options.from.as_ref().map(|commit| earlier::build_of(commit, Profile::Debug)).transpose()?;
    let running = engines_of_environment();
    if running.is_none() {
        services::install()?;
    }
    let programs = (from.as_deref().unwrap_or(&binary), binary.as_path());
    for number in 1..=options.times {
        println!("-- rehearsal {number} of {}", options.times);
        // Each has servers of its own, as the tables of the one before would stay in them.
        let services = running.is_none().then(TestServices::start).transpose()?;
        services.iter().try_for_each(TestServices::wait)?;
        let own = || services.as_ref().map(TestServices::node_variables).unwrap_or_default();
        let engines = running.clone().unwrap_or_else(own);
        Script { programs, engines: &engines, is_short: options.short }.play()?;
    }
    Ok(())
}

/// The engines that the environment names, as `cargo xtask services up` says it.
fn engines_of_environment() -> Option<Vec<(String, String)>> {
    let names = ["NATS", "REDIS", "CQL__NODES", "CQL__REPLICATION_FACTOR"];
    let of = |name: &str| {
        let name = format!("MUNDOTANGO__CLUSTER__{name}");
        let value = std::env::var(&name).ok()?;
        Some((name, value))
    };
    names.into_iter().map(of).collect()
}

/// The short form, where the engines run already.
pub(crate) fn short(binary: &Path, engines: &[(String, String)]) -> anyhow::Result<()> {
    Script { programs: (binary, binary), engines, is_short: true }.play()
}

impl Script<'_> {
    /// Plays the whole rehearsal in a folder of its own, which stays if it fails.
    fn play(&self) -> anyhow::Result<()> {
        parts::need_package("haproxy", "-v", &["haproxy"])?;
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let prefix = format!("rehearsal{}", started.as_secs());
        let folder = target_folder().join("rehearsal").join(&prefix);
        fs::create_dir_all(&folder)?;
        let cql = self.cql()?;
        // Its tables stay: a server for tests goes with its folder.
        self.play_in(&folder, &prefix, cql).with_context(|| format!("logs are in {}", folder.display()))?;
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    /// The address of the first CQL server.
    fn cql(&self) -> anyhow::Result<SocketAddr> {
        let nodes =
            self.engines.iter().find(|(name, _)| name.ends_with("CQL__NODES")).context("no CQL server")?;
        let plain = nodes.1.trim_matches(['[', ']']);
        let first = plain.split(',').next().unwrap_or_default().trim().trim_matches('"');
        first.to_socket_addrs()?.next().with_context(|| format!("{first} has no address"))
    }

    fn version(&self, name: &'static str, binary: &Path, prefix: &str) -> Version {
        let own = [
            ("AUTH__SECRET", "a secret that all nodes of a rehearsal share"),
            ("AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0"),
            ("CLUSTER__CQL__KEYSPACE", prefix),
            ("CLUSTER__CQL__MIGRATE", "false"),
            ("CLUSTER__PREFIX", prefix),
            ("HTTP__API_KEY", load::API_KEY),
            ("HTTP__TRUSTED_PROXIES", "127.0.0.1"),
            ("CHANNELS__NAMESPACES__ROOM__HISTORY_SIZE", "1000"),
            ("CHANNELS__NAMESPACES__ROOM__HISTORY_TTL", "10m"),
            ("CHANNELS__NAMESPACES__ROOM__FORCE_RECOVERY", "true"),
            ("CHANNELS__NAMESPACES__ROOM__ALLOW_SUBSCRIBE_FOR_CLIENT", "true"),
            // Of three hundred sessions one in a hundred a second takes a minute.
            ("SESSION__SHED_PERCENT", "5"),
        ];
        let own = own.map(|(name, value)| (format!("MUNDOTANGO__{name}"), value.to_owned()));
        let settings = self.engines.iter().cloned().chain(own).collect();
        Version { name, binary: binary.to_owned(), settings }
    }

    fn play_in(&self, folder: &Path, prefix: &str, cql: SocketAddr) -> anyhow::Result<()> {
        let start = Instant::now();
        let act = |what: &str| println!("{:>5.0} s: {what}", start.elapsed().as_secs_f64());
        let a = self.version("A", self.programs.0, prefix);
        let b = self.version("B", self.programs.1, prefix);
        let c = b.with("C", "MUNDOTANGO__AUTH__RATES__LOGINS_PER_ADDRESS", "1");

        let nodes = (0..NODES).map(|number| Node::new(folder, number)).collect::<anyhow::Result<Vec<_>>>()?;
        let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let balancer = balancer::haproxy(folder, &addresses)?;
        let prometheus = if self.is_short { None } else { Some(balancer::prometheus(folder, &addresses)?) };
        let account = Account { email: load::email(&format!("{prefix}-user")), password: load::PASSWORD };
        let mut stage = Stage {
            nodes,
            url: &balancer.url,
            prometheus: prometheus.as_ref().map(|part| part.url.as_str()),
            cql,
            keyspace: prefix,
            account,
            migrations: 0,
        };
        act("A is installed");
        stage.install(&a)?;
        let load = Load::start(&balancer.url, prefix)?;
        act("all use it, B is deployed");
        match stage.deploy(&b)? {
            Outcome::Stays => {}
            Outcome::Failed(error) => return Err(error.context("B is as good as A")),
        }
        act("B stays, C is deployed, which refuses logins");
        load.logins_are_broken(true);
        fails(stage.deploy(&c)?, "failed: sign in")?;
        act("the smoke test finds C broken, B is brought back");
        stage.go_back(&b)?;
        load.logins_are_broken(false);
        if !self.is_short {
            thread::sleep(WINDOW);
            let far = slow::proxy(cql, FAR)?;
            let d = b.with("D", "MUNDOTANGO__CLUSTER__CQL__NODES", &format!("[\"{far}\"]"));
            act("B is back, D is deployed, whose store is far away");
            fails(stage.deploy(&d)?, "the budget of slow requests burns too fast")?;
            act("the watch finds D slow, B is brought back");
            stage.go_back(&b)?;
        }
        stage.refuses_to_go_back(&b)?;
        act("B is back; a way back that cannot work is refused before anything is touched");
        let (sessions, took) = stage.is_even()?;
        act(&format!("sessions are {sessions:?}, {:.0} s later", took.as_secs_f64()));
        let outcome = load.end()?;
        outcome.check()?;
        let letters = letters_are_single(&stage.nodes, &outcome.registered)?;
        act(&format!(
            "{} requests, none failed and none longer than {:.1?} ({} sent again as their connection was closed; \
             {} logins refused by C, as it is broken); {} publications to {} sessions, which moved {} times and \
             recovered; {} posts, {letters} letters, {} answers of an agent: nothing lost or doubled",
            outcome.requests,
            outcome.longest,
            outcome.sent_again,
            outcome.refused_logins,
            outcome.published,
            outcome.sessions,
            outcome.moves,
            outcome.posts,
            outcome.answers
        ));
        Ok(())
    }
}

/// An error if a bad version stays, or is found bad for another reason than it is.
fn fails(outcome: Outcome, why: &str) -> anyhow::Result<()> {
    match outcome {
        Outcome::Failed(error) if format!("{error:#}").contains(why) => Ok(()),
        outcome => anyhow::bail!("{outcome:?} instead of {why:?}"),
    }
}

/// Waits until everybody who registered has a letter, and sees that nobody has two; how many there are.
fn letters_are_single(nodes: &[Node], registered: &[String]) -> anyhow::Result<usize> {
    let start = Instant::now();
    loop {
        let mut letters = BTreeMap::<&str, usize>::new();
        for node in nodes {
            for letter in node.letters()? {
                let to = registered.iter().find(|address| letter.contains(address.as_str()));
                *letters.entry(to.map_or("somebody else", String::as_str)).or_default() += 1;
            }
        }
        let doubled: Vec<_> = letters.iter().filter(|(_, count)| **count > 1).collect();
        anyhow::ensure!(doubled.is_empty(), "more letters than one: {doubled:?}");
        if registered.iter().all(|address| letters.contains_key(address.as_str())) {
            return Ok(letters.len());
        }
        let (have, of) = (letters.len(), registered.len());
        anyhow::ensure!(start.elapsed() < LETTERS_WITHIN, "{have} letters of {of} within {LETTERS_WITHIN:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

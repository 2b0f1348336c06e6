//! A deployment as `cd.yml` does it, with processes in the place of pods: migrate by one process, change one node after the
//! other, smoke test, watch the objectives; and the way back, which is asked of the earlier version first.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::nodes::{Node, Version};
use crate::services::cql_client::CqlClient;

/// How long a node has to be ready before the next one is changed, as a balancer has to see it first.
const MIN_READY: Duration = Duration::from_secs(3);
/// How long a migration may take that others hold up.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(30);
/// The sessions of each node are within so many percent of the mean.
const EVEN_PERCENT: u64 = 20;
/// How long it may take until they are.
const EVEN_WITHIN: Duration = Duration::from_mins(2);
/// The number of the first made-up migration: the program has fewer of its own for long.
const FIRST_NUMBER: u32 = 900;

/// Which account the smoke test uses.
pub(super) struct Account {
    pub(super) email: String,
    pub(super) password: &'static str,
}

/// What is deployed to, and by which commands.
pub(super) struct Stage<'a> {
    pub(super) nodes: Vec<Node>,
    /// The balancer's address.
    pub(super) url: &'a str,
    /// A Prometheus that scrapes the nodes, where the objectives are watched.
    pub(super) prometheus: Option<&'a str>,
    pub(super) cql: SocketAddr,
    pub(super) keyspace: &'a str,
    pub(super) account: Account,
    /// How many migrations were made up.
    pub(super) migrations: u32,
}

/// What a deployment came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It serves and is well.
    Stays,
    /// It does not, and why.
    Failed(anyhow::Error),
}

impl Stage<'_> {
    /// Migrates and changes all nodes, then tries and watches what runs.
    pub(super) fn deploy(&mut self, version: &Version) -> anyhow::Result<Outcome> {
        self.migrate(version)?;
        self.roll(version)?;
        let tried = self.smoke().and_then(|()| self.watch());
        Ok(match tried {
            Ok(()) => Outcome::Stays,
            Err(error) => Outcome::Failed(error),
        })
    }

    /// Goes back to a version: it is asked whether it can work with the tables before anything is touched.
    pub(super) fn go_back(&mut self, version: &Version) -> anyhow::Result<()> {
        let said = version.migrate(&["--dry-run"]).context("the way back is refused")?;
        anyhow::ensure!(said.contains("newer version"), "no newer migration is known: {said}");
        self.roll(version)?;
        self.smoke()
    }

    /// Starts a version where nothing runs.
    pub(super) fn install(&mut self, version: &Version) -> anyhow::Result<()> {
        version.migrate(&[])?;
        for node in &mut self.nodes {
            node.start(version)?;
        }
        self.nodes.iter_mut().try_for_each(Node::wait)?;
        // Until the balancer has seen them.
        thread::sleep(MIN_READY);
        Ok(())
    }

    /// Brings the tables to a version. Programs of one tree have the same migrations, so what a later version would add is
    /// added here: a column to a table in use, a table, and the row that tells of both.
    fn migrate(&mut self, version: &Version) -> anyhow::Result<()> {
        version.migrate(&[])?;
        let number = FIRST_NUMBER + self.migrations;
        self.migrations += 1;
        self.write_schema(&format!("ALTER TABLE {}.posts ADD rehearsal_{number} text", self.keyspace))?;
        self.write_schema(&format!(
            "CREATE TABLE {}.rehearsal_{number} (id text PRIMARY KEY)",
            self.keyspace
        ))?;
        self.note(number, &format!("{number}_rehearsal.cql"))
    }

    /// Writes down a migration as applied.
    fn note(&self, number: u32, name: &str) -> anyhow::Result<()> {
        self.write_schema(&format!(
            "INSERT INTO {}.schema_migrations (number, name, checksum, applied_at) \
             VALUES ({number}, '{name}', '', toTimestamp(now()))",
            self.keyspace
        ))
    }

    fn write_schema(&self, statement: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            match CqlClient::connect(self.cql).and_then(|mut client| client.query(statement)) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > SCHEMA_PATIENCE => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(500)),
            }
        }
    }

    /// Replaces one node after the other.
    fn roll(&mut self, version: &Version) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        for node in &mut self.nodes {
            longest = longest.max(node.end()?);
            node.start(version)?;
            node.wait()?;
            thread::sleep(MIN_READY);
        }
        println!(
            "   {} runs on all nodes after {:.1} s; a node drained within {longest:.1?}",
            version.name,
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// The pipeline's own command.
    pub(super) fn smoke(&self) -> anyhow::Result<()> {
        let mut smoke = own_command("smoke")?;
        smoke.env("MUNDOTANGO_SMOKE_URL", self.url).env("MUNDOTANGO_SMOKE_EMAIL", &self.account.email);
        smoke.env("MUNDOTANGO_SMOKE_PASSWORD", self.account.password);
        succeeds(smoke)
    }

    fn watch(&self) -> anyhow::Result<()> {
        let Some(prometheus) = self.prometheus else { return Ok(()) };
        let mut watch = own_command("slo-watch")?;
        watch.env("PROMETHEUS_URL", prometheus).args(["--minutes", "1", "--window", "1m"]);
        succeeds(watch)
    }

    /// A version that takes something away cannot be left for an earlier one: the way back is refused and nothing changes.
    pub(super) fn refuses_to_go_back(&self, version: &Version) -> anyhow::Result<()> {
        let number = FIRST_NUMBER + self.migrations;
        self.note(number, &format!("{number}_contract_rehearsal.cql"))?;
        let outcome = version.migrate(&["--dry-run"]);
        let remove = format!("DELETE FROM {}.schema_migrations WHERE number = {number}", self.keyspace);
        self.write_schema(&remove)?;
        match outcome {
            Ok(said) => anyhow::bail!("an earlier version takes tables that lack something: {said}"),
            Err(error) if format!("{error:#}").contains("this one is older") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the nodes have about the same number of sessions; the numbers, and how long it took.
    pub(super) fn is_even(&self) -> anyhow::Result<(Vec<u64>, Duration)> {
        let start = Instant::now();
        loop {
            let sessions = self.nodes.iter().map(Node::sessions).collect::<anyhow::Result<Vec<_>>>()?;
            if even(&sessions) {
                return Ok((sessions, start.elapsed()));
            }
            anyhow::ensure!(
                start.elapsed() < EVEN_WITHIN,
                "sessions are not even within {EVEN_WITHIN:?}: {sessions:?}"
            );
            thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Whether each is within a fifth of the mean.
fn even(sessions: &[u64]) -> bool {
    let (count, total) = (u64::try_from(sessions.len()).unwrap_or(u64::MAX), sessions.iter().sum::<u64>());
    total > 0 && sessions.iter().all(|one| (one * count).abs_diff(total) * 100 <= total * EVEN_PERCENT)
}

/// A command of this very program.
fn own_command(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    Ok(command)
}

/// Runs a command of the pipeline; an error with the end of what it said.
fn succeeds(mut command: Command) -> anyhow::Result<()> {
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    anyhow::ensure!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_is_within_a_fifth_of_the_mean() {
        assert!(even(&[110, 110, 80]));
        assert!(!even(&[111, 111, 78]));
        assert!(!even(&[121, 90, 89]));
        assert!(!even(&[0, 0, 0]));
    }
}

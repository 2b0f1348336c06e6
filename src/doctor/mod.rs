//! An operator's check-up: what is wrong with an installation, why it matters and what to do, looked at from outside the
//! node.
//!
//! Each file looks at one part and declares what it can find there; docs/findings.md lists all. Looks run side by side, each
//! bounded in time: a part that cannot be reached is a finding and holds up no other.

mod config;
mod cql;
mod finding;
mod machine;
mod mail;
mod nats;
mod node;
mod payments;
mod redis;
mod route;
mod store;
mod tls;
mod traces;

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::time::timeout;

use self::finding::kinds;
pub use self::finding::{Finding, Severity};
pub(crate) use self::route::router;
use crate::config::{Config, ConfigSource};

kinds! { "doctor";
    LATE: Broken "look-late",
        "a disk that does not answer holds up the node as well",
        "look at the disks and network file systems of `data_dir` and of the named files";
}

/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// The exit code of a doctor who could not look.
const COULD_NOT_LOOK: u8 = 2;

/// A look that blocks, as it reads files.
type LookHere = Box<dyn FnOnce(&Config) -> Vec<Finding> + Send>;

/// What the command takes.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only ask the node that runs by this configuration whether it is ready: one line, exit code 0 or 1.
    #[arg(long)]
    probe: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is printed, and how the command ends.
pub(crate) struct Told {
    /// Without the last line's end.
    pub(crate) text: String,
    /// 0 if nothing is broken, 1 if something is, 2 if it could not be looked at.
    pub(crate) code: ExitCode,
}

/// Does what the command says.
pub(crate) async fn run(source: &ConfigSource, args: &DoctorArgs) -> Told {
    if args.probe { probe(source, args.json).await } else { check_up(source, args.json).await }
}

async fn probe(source: &ConfigSource, as_json: bool) -> Told {
    let (is_ready, says) = match node::probe(source).await {
        Ok(answer) => (answer.is_ready, format!("{} on {}", answer.words(), answer.address)),
        Err(error) => (false, format!("{error:#}").replace('\n', "; ")),
    };
    let text = match (as_json, is_ready) {
        (true, _) => json!({"ready": is_ready, "says": says}).to_string(),
        (false, true) => format!("ready: {says}"),
        (false, false) => format!("not ready: {says}"),
    };
    Told { text, code: if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE } }
}

async fn check_up(source: &ConfigSource, as_json: bool) -> Told {
    // A file that is not there is a slip of the command line, not of the installation.
    if let Some(file) = &source.file
        && let Err(error) = fs::read(file)
    {
        let text = format!("cannot look: cannot read {}: {error}", file.display());
        let text = if as_json { json!({"error": text}).to_string() } else { text };
        return Told { text, code: ExitCode::from(COULD_NOT_LOOK) };
    }
    let findings = match source.load() {
        Ok(config) => look(&Arc::new(config), source.file.as_deref()).await,
        Err(error) => config::refused(&error),
    };
    let is_broken = findings.iter().any(|finding| finding.severity == Severity::Broken);
    let text = if as_json { json!({"findings": findings}).to_string() } else { in_words(&findings) };
    Told { text, code: if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS } }
}

/// Looks at everything. The worst is first.
pub async fn look(config: &Arc<Config>, file: Option<&Path>) -> Vec<Finding> {
    let here = look_here(Arc::clone(config), file.map(Path::to_owned)).boxed();
    let looks: Vec<BoxFuture<'_, Vec<Finding>>> = vec![
        here,
        node::look(config).boxed(),
        within(LOOK_TIMEOUT, nats::look(config), || nats::late(config)).boxed(),
        within(LOOK_TIMEOUT, redis::look(config), || redis::late(config)).boxed(),
        // The driver talks with the servers several times before the first question.
        within(2 * LOOK_TIMEOUT, cql::look(config), || cql::late(config)).boxed(),
        within(LOOK_TIMEOUT, mail::look(config), || mail::late(config)).boxed(),
        within(LOOK_TIMEOUT, payments::look(config), || payments::late(config)).boxed(),
        within(LOOK_TIMEOUT, traces::look(config), traces::late).boxed(),
    ];
    sorted(join_all(looks).await.into_iter().flatten().collect())
}

/// Looks at what is on this machine: the configuration, limits, certificates, and the data folder of a node alone.
async fn look_here(config: Arc<Config>, file: Option<PathBuf>) -> Vec<Finding> {
    let looks: [(&str, LookHere); 4] = [
        ("the configuration", Box::new(move |config| config::look(config, file.as_deref()))),
        ("the limits of the machine", Box::new(machine::look)),
        ("the certificates", Box::new(tls::look)),
        // What lasts is in the engines where nodes share them.
        (
            "the data folder",
            Box::new(|config| if config.cluster.is_shared() { Vec::new() } else { store::look(config) }),
        ),
    ];
    let looks = looks.map(|(what, look)| {
        let config = Arc::clone(&config);
        // A file system that hangs holds its thread, and nothing else.
        let looking = tokio::task::spawn_blocking(move || look(&config));
        within(LOOK_TIMEOUT, looking.map(Result::unwrap_or_default), move || {
            LATE.says(format!("the look at {what} took longer than {LOOK_TIMEOUT:?}"))
        })
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// A look within its time; one that takes longer is a finding itself.
async fn within(
    limit: Duration,
    look: impl Future<Output = Vec<Finding>>,
    late: impl FnOnce() -> Finding,
) -> Vec<Finding> {
    timeout(limit, look).await.unwrap_or_else(|_| vec![late()])
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (finding.severity, finding.part));
    findings
}

/// The findings for a person at a terminal.
fn in_words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { id, severity, says, why, to_do, .. } in findings {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{:8} {id}: {says}\n         why: {why}\n         do:  {to_do}\n",
            severity.as_str()
        );
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [broken, warnings, hints] = [Severity::Broken, Severity::Warning, Severity::Hint].map(count);
    let _ = write!(text, "{broken} broken, {warnings} warnings, {hints} hints");
    text
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<[u32; 2]> {
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let mut parts = text.trim_start_matches('v').split('.');
    Some([number(parts.next()?)?, parts.next().and_then(number).unwrap_or_default()])
}

/// All that can be found, in the order of docs/findings.md.
#[cfg(test)]
fn all_kinds() -> impl Iterator<Item = &'static finding::Kind> {
    let parts = [
        config::KINDS,
        machine::KINDS,
        store::KINDS,
        tls::KINDS,
        nats::KINDS,
        redis::KINDS,
        cql::KINDS,
        mail::KINDS,
        payments::KINDS,
        traces::KINDS,
        node::KINDS,
        KINDS,
    ];
    parts.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_far_as_they_count() {
        assert_eq!(version("2.12.1"), Some([2, 12]));
        assert_eq!(version("v5.0-beta1"), Some([5, 0]));
        assert_eq!(version("2025.4.0~rc1"), Some([2025, 4]));
        assert_eq!(version("7"), Some([7, 0]));
        assert_eq!(version(""), None);
    }

    #[test]
    fn findings_are_told_in_words_the_worst_first() {
        let findings = sorted(vec![config::refused(&anyhow::anyhow!("x"))[0].clone(), LATE.says("it hangs")]);
        let text = in_words(&findings);
        assert!(text.starts_with("broken   config.refused: x\n         why: "), "{text}");
        assert!(text.ends_with("2 broken, 0 warnings, 0 hints"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_takes_too_long_is_a_finding() {
        let found = within(LOOK_TIMEOUT, std::future::pending(), || LATE.says("late")).await;
        assert_eq!(found[0].id, "doctor.look-late");
    }
}

//! Servers as processes: started so that they outlive this one, known again later, ended for sure.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// How long a process that was killed may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at processes that are to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until it is taken down.
    UntilDown,
    /// No longer than the thread that starts it, however that ends.
    WithStarter,
}

/// A process that can be told from a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// The boot and the clock tick at which it started.
    pub(crate) started: String,
}

impl Process {
    /// Starts a command in a session of its own, with its output added to a file.
    pub(crate) fn start(command: &Command, log: &Path, lifetime: Lifetime) -> anyhow::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        // `setsid` and `setpriv` turn into the program they run, so the pid is the server's.
        let mut detached = Command::new("setsid");
        if lifetime == Lifetime::WithStarter {
            detached.args(["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        detached.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            detached.current_dir(folder);
        }
        detached.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = detached.spawn().context("cannot run setsid (Debian's util-linux)")?;
        let pid = child.id();
        let started = started(pid).with_context(|| format!("process {pid} ended at once"))?;
        Ok(Self { pid, started })
    }

    /// Whether it still runs.
    pub(crate) fn runs(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }

    /// The memory that it holds, in bytes; 0 for one that is gone.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or_default() * 1024
    }

    fn signal(&self, name: &str) {
        // Looked at now, as the pid may have been given to another process meanwhile.
        if self.runs() {
            // The shell's own `kill` is there also where the program is not; the process may end first.
            let _ = Command::new("sh")
                .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Ends processes: asks all of them at once, and kills those that take longer than the patience.
pub(crate) fn end(processes: &[Process], patience: Duration) -> anyhow::Result<()> {
    if !patience.is_zero() {
        ask_and_wait(processes, "TERM", patience);
    }
    ask_and_wait(processes, "KILL", KILL_PATIENCE);
    let left: Vec<_> = processes.iter().filter(|process| process.runs()).map(|process| process.pid).collect();
    anyhow::ensure!(left.is_empty(), "processes {left:?} do not end");
    Ok(())
}

fn ask_and_wait(processes: &[Process], signal: &str, patience: Duration) {
    for process in processes {
        process.signal(signal);
    }
    let start = Instant::now();
    while start.elapsed() < patience && processes.iter().any(Process::runs) {
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// When a process started; none if it is gone, or has ended and waits for its parent to notice.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = running_since(&stat)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}/{ticks}", boot.trim()))
}

/// The clock tick of the start in a line of `/proc/PID/stat` (proc(5): fields 3 and 22).
fn running_since(stat: &str) -> Option<&str> {
    // The name stands in brackets, and may hold brackets and spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::start(&command, &folder.join("log"), Lifetime::WithStarter).unwrap()
    }

    #[test]
    fn a_state_is_read_behind_any_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(running_since(&format!("7 (a) b (c) S {rest}")), Some("4711"));
        assert_eq!(running_since(&format!("7 (a) Z {rest}")), None);
        assert_eq!(running_since("7 (a"), None);
    }

    #[test]
    fn a_process_is_known_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        assert!(process.runs());
        end(std::slice::from_ref(&process), Duration::from_secs(5)).unwrap();
        assert!(!process.runs());
    }

    #[test]
    fn a_pid_that_was_given_again_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let earlier = Process { pid: process.pid, started: "another boot/1".to_owned() };
        assert!(!earlier.runs());
        end(&[earlier], Duration::from_millis(50)).unwrap();
        assert!(process.runs());
        end(&[process], Duration::ZERO).unwrap();
    }
}

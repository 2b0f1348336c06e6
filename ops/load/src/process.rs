//! What the kernel says of the server's process.

use std::fs;

use anyhow::Context as _;

/// Clock ticks a second in /proc, which Linux fixes for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// The server's processes, taken together.
#[derive(Clone, Debug)]
pub(crate) struct ServerProcess(Vec<u32>);

impl ServerProcess {
    /// Processes by their numbers; `None` where there is none.
    pub(crate) fn of(pids: &[u32]) -> Option<Self> {
        (!pids.is_empty()).then(|| Self(pids.to_vec()))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.0.iter().map(|pid| resident_bytes(*pid)).sum()
    }

    /// CPU time of all its threads so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.0.iter().map(|pid| cpu_seconds(*pid)).sum()
    }
}

fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("is the server running?")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("is the server running?")?;
    // The name may hold spaces; what follows its closing bracket does not.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.get(index).context("stat is short")?.parse::<u64>()? as f64)
    };
    // utime and stime, the 14th and 15th field of the whole line.
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

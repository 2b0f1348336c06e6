//! The machine: how many files may be open, how many clients may wait, and whether its clock is right.

use std::fs;
use std::time::Duration;

use mundotango_gateway::BACKLOG;
use rlimit::{ProcLimits, Resource};

use super::finding::{Finding, kinds};
use crate::config::Config;
use crate::engines::{CLOCK_BOUND, CLOCK_TOLERANCE};
use crate::node_file::NodeFile;
use crate::open_files::connections_within;

kinds! { "machine";
    FEW_FILES: Warning "few-open-files",
        "each connection is an open file, so the node lets in fewer clients than `http.max_connections`",
        "raise the hard limit: `LimitNOFILE=` of the unit, `nofile` of the container or of limits.conf";
    SHORT_QUEUE: Hint "short-accept-queue",
        "in a storm of clients that come back, connections that do not fit are tried again seconds later",
        "sysctl -w net.core.somaxconn=4096, and the same in /etc/sysctl.d";
    CLOCK_OFF: Warning "clock-off",
        "of two writes the one with the later time wins, so newer changes may lose to older ones",
        "keep all machines in step by NTP (chrony, systemd-timesyncd)";
    CLOCK_FAR_OFF: Broken "clock-far-off",
        "a node whose clock is this far off does not become ready, and may delete what is not old",
        "set the clock by NTP before a node starts";
}

/// Looks at the machine's limits. Those of a running node count, as a service has others than a shell.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(files) = open_files(config) {
        let (possible, wanted) = (connections_within(files, config), config.http.max_connections);
        if possible < wanted {
            let says = format!(
                "{files} files may be open, which leaves {possible} connections, and http.max_connections is {wanted}"
            );
            findings.push(FEW_FILES.says(says));
        }
    }
    let queue = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    if let Some(queue) = queue.and_then(|text| text.trim().parse::<i32>().ok()).filter(|n| *n < BACKLOG) {
        findings
            .push(SHORT_QUEUE.says(format!("net.core.somaxconn is {queue}, and {BACKLOG} are asked for")));
    }
    findings
}

/// The hard limit of open files, of the node that runs on the data folder if there is one.
fn open_files(config: &Config) -> Option<usize> {
    let node = NodeFile::read(&config.data_dir).and_then(|node| i32::try_from(node.pid).ok());
    let of_node = node.and_then(|pid| ProcLimits::read_process(pid).ok()?.max_open_files);
    let files = match of_node {
        // No limit is as good as the largest.
        Some(files) => files.hard_limit.unwrap_or(u64::MAX),
        None => rlimit::getrlimit(Resource::NOFILE).ok()?.1,
    };
    Some(usize::try_from(files).unwrap_or(usize::MAX))
}

/// Judges by how many milliseconds the clock is ahead of another machine's.
pub(super) fn clock(of: &str, ahead: i64) -> Option<Finding> {
    let by = Duration::from_millis(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let kind = match i64::try_from(ahead.unsigned_abs()).unwrap_or(i64::MAX) {
        off if off > CLOCK_BOUND => &CLOCK_FAR_OFF,
        off if off > CLOCK_TOLERANCE => &CLOCK_OFF,
        _ => return None,
    };
    Some(kind.says(format!("the clock of this machine is {by:?} {side} that of {of}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_by_how_far_it_is_off() {
        let told = |ahead| clock("Redis", ahead).map(|finding| finding.id);
        assert_eq!([0, 500, -500].map(told), [None; 3]);
        assert_eq!([501, -9_000].map(told), [Some("machine.clock-off"); 2]);
        assert_eq!([10_001, i64::MIN].map(told), [Some("machine.clock-far-off"); 2]);
    }

    #[test]
    fn files_that_do_not_suffice_are_told() {
        let mut config = Config { data_dir: "/nowhere".into(), ..Config::default() };
        config.http.max_connections = usize::MAX;
        assert!(look(&config).iter().any(|finding| finding.id == "machine.few-open-files"));
        config.http.max_connections = 1;
        assert!(look(&config).iter().all(|finding| finding.id != "machine.few-open-files"));
    }
}

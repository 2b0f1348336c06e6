//! Our own bench of the queue.

use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;

use crate::cargo;

/// From the kill of a process until its job begins in one that was started then.
pub(super) const RECOVERY: &str = "recovery";
/// The part of it from the start of the workers on.
pub(super) const RECOVERY_OF_WORKERS: &str = "recovery, from the start of the workers on";

/// What it prints. The whole workspace, as its features are those of the build that is there.
pub(super) fn measure() -> anyhow::Result<Vec<Value>> {
    let mut bench = cargo(&["bench", "--quiet", "--workspace", "--bench", "queue"]);
    let output = bench.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    anyhow::ensure!(output.status.success(), "the bench of our queue ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// The line of a measurement.
pub(super) fn find<'a>(
    ours: &'a [Value],
    what: &str,
    workers: u64,
    callers: Option<u64>,
) -> anyhow::Result<&'a Value> {
    let is_it = |line: &&Value| {
        line["what"].as_str() == Some(what)
            && line["workers"].as_u64() == Some(workers)
            && line["callers"].as_u64() == callers
    };
    ours.iter().find(is_it).with_context(|| format!("our bench says nothing of {what:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_ours_is_found_by_all_that_tells_it_apart() {
        let lines = [
            json!({ "what": "nothing", "workers": 50, "callers": 2_048 }),
            json!({ "what": "nothing", "workers": 10, "callers": 256 }),
            json!({ "what": "nothing", "workers": 50, "callers": 256 }),
            json!({ "what": "nothing, half of the most", "workers": 50 }),
        ];
        assert_eq!(find(&lines, "nothing", 50, Some(256)).unwrap(), &lines[2]);
        assert_eq!(find(&lines, "nothing, half of the most", 50, None).unwrap(), &lines[3]);
        assert!(find(&lines, "5 ms", 50, Some(64)).is_err());
    }
}

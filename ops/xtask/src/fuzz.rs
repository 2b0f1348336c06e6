//! Fuzzing: all code that reads a client's bytes, and whole sessions, for a stated number of executions.

use std::fs;
use std::process::{Command, Stdio};

use crate::{root, run, target_folder};

/// The targets, by the names of their programs, each with the number by which its executions are divided: a script of
/// sessions starts an engine and takes about that much longer than reading a frame, and a calendar is a long text.
const TARGETS: &[(&str, u64)] = &[
    ("json_frames", 1),
    ("protobuf_frames", 1),
    ("channel_names", 1),
    ("tokens", 1),
    ("deltas", 1),
    ("sessions", 100),
    ("calendars", 10),
];
/// Longest input, in bytes.
const MAX_INPUT_BYTES: usize = 4096;

/// Installs what runs the targets.
pub(crate) fn install() -> anyhow::Result<()> {
    let mut version = Command::new("cargo");
    version.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    run(Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))
}

/// Runs every target so many times, or its share of that, from its seeds and what earlier runs found worth keeping.
pub(crate) fn all(executions: u64) -> anyhow::Result<()> {
    let folder = root().join("fuzz");
    for (target, divisor) in TARGETS {
        let executions = executions / divisor;
        let corpus = target_folder().join("fuzz-corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let mut fuzz = Command::new("cargo");
        fuzz.args(["fuzz", "run", "--fuzz-dir"])
            .arg(&folder)
            // The flags of coverage are the unstable compiler's; our own code has nothing unsafe to sanitize.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["--sanitizer", "none", "--target-dir"])
            .arg(target_folder().join("fuzz"))
            .arg(target)
            .arg(&corpus)
            .arg(folder.join("seeds").join(target))
            .args(["--", &format!("-runs={executions}"), &format!("-max_len={MAX_INPUT_BYTES}")])
            .args(["-verbosity=0", "-print_final_stats=1"])
            .current_dir(root());
        println!("-- {target}: {executions} executions");
        run(&mut fuzz)?;
    }
    Ok(())
}

//! The files that a linter is for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::root;

/// Templates of the Helm chart are no YAML until they are rendered.
const TEMPLATES: &str = "/templates/";

/// Shell scripts, by their first line if their name has no ending.
pub(crate) fn scripts() -> anyhow::Result<Vec<String>> {
    some("shell script", |path| match Path::new(path).extension() {
        Some(ending) => ending == "sh",
        None => begins_with_shell(path),
    })
}

/// Dockerfiles.
pub(crate) fn dockerfiles() -> anyhow::Result<Vec<String>> {
    some("Dockerfile", |path| {
        path.rsplit('/').next().is_some_and(|name| {
            name == "Dockerfile" || name.starts_with("Dockerfile.") || name.ends_with(".Dockerfile")
        })
    })
}

/// YAML files.
pub(crate) fn yaml() -> anyhow::Result<Vec<String>> {
    some("YAML file", |path| {
        Path::new(path).extension().is_some_and(|ending| ending == "yml" || ending == "yaml")
            && !path.contains(TEMPLATES)
    })
}

/// Files of the tree, also those that are not yet committed; an error if there are none, as a linter that looks at
/// nothing finds nothing.
fn some(kind: &str, is_one: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
    let output = git.current_dir(root()).output().context("cannot run git")?;
    anyhow::ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let all = names.split('\0').filter(|path| !path.is_empty() && root().join(path).is_file());
    let found: Vec<_> = all.filter(|path| is_one(path)).map(str::to_owned).collect();
    anyhow::ensure!(!found.is_empty(), "there is no {kind}");
    Ok(found)
}

fn begins_with_shell(path: &str) -> bool {
    let mut start = Vec::new();
    let read = File::open(root().join(path)).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && is_shell(&start)
}

/// Whether a file's start names a shell as its interpreter.
fn is_shell(start: &[u8]) -> bool {
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(interpreter) = std::str::from_utf8(first).ok().and_then(|line| line.strip_prefix("#!")) else {
        return false;
    };
    interpreter.split(['/', ' ']).any(|word| matches!(word, "sh" | "bash" | "dash" | "ksh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_told_by_their_first_line() {
        for start in ["#!/bin/sh\n", "#!/usr/bin/env bash\nset -e", "#! /bin/bash -e\n"] {
            assert!(is_shell(start.as_bytes()), "{start}");
        }
        for start in ["#!/usr/bin/env python3\n", "sh\n", "", "\n#!/bin/sh", "#!/usr/bin/fish\n"] {
            assert!(!is_shell(start.as_bytes()), "{start}");
        }
    }

    #[test]
    fn the_run_itself_is_looked_at() {
        assert!(scripts().unwrap().contains(&".ci/run".to_owned()));
        assert!(dockerfiles().unwrap().contains(&"ops/deploy/Dockerfile".to_owned()));
        let yaml = yaml().unwrap();
        assert!(yaml.contains(&".github/workflows/ci.yml".to_owned()));
        assert!(yaml.iter().all(|path| !path.contains(TEMPLATES)), "{yaml:?}");
    }
}

//! The modules of the gateway and of the application use each other in no circle. Those of the engine have layers, and a
//! test of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each module uses by `crate::`, in code and not in comments.
fn graph(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut paths = vec![source.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let first: PathBuf = path.strip_prefix(source).unwrap().iter().take(1).collect();
        let module = first.to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let used = graph.entry(module.to_owned()).or_default();
        for line in fs::read_to_string(&path).unwrap().lines().filter(|line| !line.trim().starts_with("//")) {
            assert!(!line.contains("crate::{"), "{module}: write one `use crate::` line a module");
            let names = line.split("crate::").skip(1).map(|after| {
                after.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default()
            });
            used.extend(names.filter(|name| *name != module).map(str::to_owned));
        }
    }
    graph
}

#[test]
fn modules_use_each_other_in_no_circle() {
    for folder in ["gateway/src", "src"] {
        let mut graph = graph(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(graph.values().any(|used| used.contains("config") || used.contains("options")), "{folder}");
        // Takes away, again and again, what uses nothing that is left. What stays is a circle and what uses it.
        while let Some(free) = graph
            .iter()
            .find(|(_, used)| used.iter().all(|name| !graph.contains_key(name)))
            .map(|(name, _)| name.clone())
        {
            graph.remove(&free);
        }
        assert!(graph.is_empty(), "{folder}: a circle among {graph:?}");
    }
}

//! Rules that the source of the engine keeps, read from the source itself.

use std::collections::BTreeMap;
use std::path::Path;

/// Where tasks may be spawned, how often, and why the supervision tree need not know of them, or how it does.
const SPAWNS: &[(&str, usize, &str)] = &[
    ("channel/registry.rs", 1, "a channel's actor: the keeper `channels` shows and watches it"),
    ("channel/renewal.rs", 1, "one message to the other nodes, which has a time-out"),
    ("channel/run_to_end.rs", 1, "the rest of one publication, whose calls have time-outs"),
    ("cluster/requests.rs", 1, "one request of another node, counted by a semaphore"),
    ("inspection/slow.rs", 1, "one look at all actors, on a thread where it may take its time"),
    ("placement/mod.rs", 1, "an actor that exists once: the keeper `owned` shows and watches it"),
    ("session/mod.rs", 1, "the farewell of one session whose transport was aborted"),
    ("session/rpc.rs", 1, "one call, which has a time-out and is counted by a tracker"),
    ("supervision.rs", 1, "waits for the end of the tree's root, and has no work"),
    ("tasks.rs", 1, "the helper by which the node's own tasks come into the tree"),
];

/// The Rust files below a folder with their texts, by path.
fn sources(folder: &Path, prefix: &str, all: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            sources(&path, &format!("{name}/"), all);
        } else {
            all.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn all_sources() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut all);
    assert!(all.contains_key("session/mod.rs"));
    all
}

/// A task that nobody supervises can crash or hang without anybody's notice.
#[test]
fn tasks_are_spawned_only_where_the_tree_knows_of_them() {
    let mut found = BTreeMap::new();
    for (name, text) in all_sources() {
        let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        let spawns = ["tokio::spawn(", "runtime.spawn(", "calls.spawn(", "spawn_blocking(", "thread::spawn("];
        let count = code.filter(|line| spawns.iter().any(|spawn| line.contains(spawn))).count();
        if count > 0 {
            found.insert(name, count);
        }
    }
    let allowed: BTreeMap<_, _> =
        SPAWNS.iter().map(|(name, count, _)| ((*name).to_owned(), *count)).collect();
    assert_eq!(found, allowed, "a long-lived task belongs to `Tasks::keep_running`");
}

#[test]
fn no_file_has_500_lines() {
    for (name, text) in all_sources() {
        let lines = text.lines().count();
        assert!(lines < 500, "{name} has {lines} lines: find its second subject");
    }
}

//! The order of this crate's modules: each may use those of its own layer and of the layers below, and no circle.
//! `cargo xtask layers` prints the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the bottom to the top.
const LAYERS: [&[&str]; 7] = [
    &["base64_bytes", "crashes", "options", "outbox", "vitals"],
    &["bus", "handle", "supervised"],
    &["tasks"],
    &["channel"],
    &["cluster", "placement", "pools", "session", "supervision", "telemetry"],
    &["control"],
    &["engine"],
];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The modules that each module uses by `crate::`, in code and not in comments.
fn graph() -> Graph {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut graph = Graph::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(&source).unwrap();
            let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
            if matches!(module, "lib" | "layers") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let used = graph.entry(module.to_owned()).or_default();
            for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
                assert!(!line.contains("crate::{"), "{module}: write one `use crate::` line a module");
                for after in line.split("crate::").skip(1) {
                    let name: String = after
                        .chars()
                        .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
                        .collect();
                    if name != module {
                        used.insert(name);
                    }
                }
            }
        }
    }
    graph
}

/// The modules in an order in which each stands behind those that it uses, or those of a circle.
fn sorted(mut graph: Graph) -> Result<Vec<String>, Vec<String>> {
    let mut order = Vec::new();
    while !graph.is_empty() {
        let free: Vec<_> = graph
            .iter()
            .filter(|(_, used)| used.iter().all(|name| !graph.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            return Err(graph.into_keys().collect());
        }
        for name in free {
            graph.remove(&name);
            order.push(name);
        }
    }
    Ok(order)
}

#[test]
fn modules_use_only_what_is_below_them_and_in_no_circle() {
    let graph = graph();
    for (module, used) in &graph {
        println!("{module} -> {}", used.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    }
    let layer_of = |module: &str| {
        let layer = LAYERS.iter().position(|layer| layer.contains(&module));
        layer.unwrap_or_else(|| panic!("{module} has no layer"))
    };
    for (module, used) in &graph {
        for below in used {
            assert!(layer_of(below) <= layer_of(module), "{module} must not use {below}");
        }
    }
    assert!(graph["channel"].contains("handle"), "the graph is read from the code");
    sorted(graph).expect("a circle of modules");
}

#[test]
fn a_circle_is_found() {
    let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    assert!(sorted(Graph::from([edge("a", "b"), edge("b", "c")])).is_ok());
    assert!(sorted(Graph::from([edge("a", "b"), edge("b", "c"), edge("c", "a")])).is_err());
}

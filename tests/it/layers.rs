//! The modules of the gateway and of the application use each other in no circle, nor do the application's files. Those of the
//! engine have layers, and a test of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// What is left of a graph when what uses nothing that is left, or is used by nothing, is taken away, again and again: circles,
/// and what lies between them.
fn circles(mut graph: Graph) -> Graph {
    loop {
        let is_free = |name: &String, used: &BTreeSet<String>| {
            let uses_none = used.iter().all(|other| !graph.contains_key(other));
            uses_none || !graph.values().any(|used| used.contains(name))
        };
        let free = graph.iter().find(|(name, used)| is_free(name, used)).map(|(name, _)| name.clone());
        let Some(free) = free else { return graph };
        graph.remove(&free);
    }
}

/// The modules that each module uses by `crate::`, in code and not in comments.
fn graph(source: &Path) -> Graph {
    let mut graph = Graph::new();
    for path in files(source) {
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
        let graph = graph(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(graph.values().any(|used| used.contains("config") || used.contains("options")), "{folder}");
        let circles = circles(graph);
        assert!(circles.is_empty(), "{folder}: a circle among {circles:?}");
    }
}

/// A file by the steps of its module's path.
type Module = Vec<String>;

/// Reads a path of modules, or a tree of them in braces, at the beginning of some code; what is behind it.
fn read_tree<'a>(mut code: &'a str, mut path: Module, found: &mut Vec<Module>) -> &'a str {
    loop {
        let end = code.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(code.len());
        path.push(code[..end].to_owned());
        code = &code[end..];
        let Some(below) = code.strip_prefix("::") else { break };
        code = below;
        if let Some(mut inner) = code.strip_prefix('{') {
            loop {
                inner = inner.trim_start_matches([',', ' ', '\n']);
                if inner.is_empty() || inner.starts_with('}') {
                    return &inner[inner.len().min(1)..];
                }
                inner = read_tree(inner, path.clone(), found);
                // Behind it may stand what it is called here.
                inner = &inner[inner.find([',', '}']).unwrap_or(inner.len())..];
            }
        }
    }
    found.push(path);
    code
}

/// The paths that begin with `crate` or `super` in a file's code, without its tests and comments, from the root on.
fn paths_in(text: &str, module: &[String]) -> Vec<Module> {
    let text = text.split("mod tests {").next().unwrap_or_default();
    let code: Vec<_> = text.lines().filter(|line| !line.trim().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for begin in ["crate::", "super::"] {
        for (at, _) in code.match_indices(begin) {
            let is_middle = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if !code[..at].ends_with(is_middle) {
                read_tree(&code[at..], Module::new(), &mut found);
            }
        }
    }
    let from_root = |path: Module| {
        let ups = path.iter().take_while(|step| *step == "super").count();
        let above: &[String] =
            if path[0] == "crate" { &[] } else { &module[..module.len().saturating_sub(ups)] };
        above.iter().chain(&path[ups.max(1)..]).cloned().collect()
    };
    found.into_iter().map(from_root).collect()
}

/// The files that each file uses, besides those that have a folder of their own: these put together what is in it. What such a
/// file passes on under a name of its own is not followed.
fn graph_of_files(source: &Path) -> Graph {
    let mut texts: BTreeMap<Module, String> = BTreeMap::new();
    let mut with_folder = BTreeSet::from([vec!["lib".to_owned()], vec!["main".to_owned()]]);
    let is_code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    for path in files(source).into_iter().filter(is_code) {
        let steps = path.strip_prefix(source).unwrap().with_extension("");
        let mut module: Module = steps.iter().map(|step| step.to_str().unwrap().to_owned()).collect();
        with_folder.insert(module[..module.len() - 1].to_vec());
        if module.last().is_some_and(|name| name == "mod") {
            module.pop();
        }
        texts.insert(module, fs::read_to_string(&path).unwrap());
    }
    let used_by = |module: &Module, text: &str| {
        let paths = paths_in(text, module);
        let files = paths.iter().filter_map(|path| {
            let mut files = (1..=path.len()).rev().map(|length| path[..length].to_vec());
            files.find(|file| texts.contains_key(file))
        });
        let others = files.filter(|file| file != module && !with_folder.contains(file));
        others.map(|file| file.join("/")).collect()
    };
    let files = texts.iter().filter(|(module, _)| !with_folder.contains(*module));
    files.map(|(module, text)| (module.join("/"), used_by(module, text))).collect()
}

#[test]
fn files_of_the_application_use_each_other_in_no_circle() {
    let graph = graph_of_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let uses = |file: &str, other: &str| graph[file].contains(other);
    assert!(uses("community/chat/members", "community/chat/jobs"), "the graph is read from the code");
    assert!(uses("community/policy/objects", "community/posts/visibility"), "one in a folder below as well");
    let circles = circles(graph);
    assert!(circles.is_empty(), "a circle among {circles:#?}");
}

#[test]
fn paths_are_read_from_trees_and_a_circle_is_found() {
    let module = ["community", "chat", "work"].map(str::to_owned);
    let code = "use super::{\n    Shared, kinds::{self as kept, Chat},\n};\nuse crate::texts::Id as Name;\n// crate::no\n\
                fn f() { super::super::policy::may(); }\nmod tests { use super::no; }";
    let paths: BTreeSet<_> = paths_in(code, &module).into_iter().map(|path| path.join("/")).collect();
    let expected = [
        "community/chat/Shared",
        "community/chat/kinds/self",
        "community/chat/kinds/Chat",
        "texts/Id",
        "community/policy/may",
    ];
    assert_eq!(paths, BTreeSet::from(expected.map(str::to_owned)));
    let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    assert!(circles(Graph::from([edge("a", "b"), edge("b", "c")])).is_empty());
    let left = circles(Graph::from([edge("a", "b"), edge("b", "c"), edge("c", "b"), edge("d", "e")]));
    assert!(left.into_keys().eq(["b", "c"]), "those of the circle alone");
}

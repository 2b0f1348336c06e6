//! The order of this crate's modules: each may use those of its own layer and of the layers below, and no circle. Nor do the
//! files of one module use each other in a circle. `cargo xtask layers` prints the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the bottom to the top.
const LAYERS: [&[&str]; 9] = [
    &["base64_bytes", "options", "recorder"],
    &["crashes", "outbox", "vitals"],
    &["bus", "handle", "supervised"],
    &["tasks"],
    &["channel"],
    &["cluster", "placement", "pools", "session", "supervision", "telemetry"],
    &["inspection"],
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

/// A file's code without its comments, and the paths that its `use` declarations name, public ones marked.
struct Source {
    code: String,
    uses: Vec<(bool, String)>,
}

impl Source {
    fn read(text: &str) -> Self {
        let mut source = Self { code: String::new(), uses: Vec::new() };
        let mut declaration: Option<(bool, String)> = None;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let is_public = line.starts_with("pub ") || line.starts_with("pub(");
            let after = if is_public { line.split_once(' ').map_or("", |(_, rest)| rest) } else { line };
            if declaration.is_none() && after.starts_with("use ") {
                declaration = Some((is_public, String::new()));
            }
            let Some((is_public, tree)) = &mut declaration else {
                source.code.push_str(line);
                source.code.push('\n');
                continue;
            };
            tree.push_str(line);
            if line.ends_with(';') {
                let (_, tree) = tree.split_once("use ").unwrap();
                let mut paths = Vec::new();
                expand(tree.trim_end_matches(';'), &mut paths);
                source.uses.extend(paths.into_iter().map(|path| (*is_public, path)));
                declaration = None;
            }
        }
        source
    }

    /// The paths in the code that begin so.
    fn paths_from(&self, begin: &str) -> Vec<String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let found = self.code.match_indices(begin);
        let whole = found.filter(|(at, _)| !self.code[..*at].ends_with(|c: char| is_word(c) || c == ':'));
        let path =
            |at: usize| self.code[at..].chars().take_while(|c| is_word(*c) || *c == ':').collect::<String>();
        whole.map(|(at, _)| path(at)).collect()
    }

    fn has_word(&self, word: &str) -> bool {
        self.code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
    }
}

/// The paths of a `use` declaration's tree.
fn expand(tree: &str, paths: &mut Vec<String>) {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return paths.extend(tree.split_whitespace().next().map(str::to_owned));
    };
    let inner = rest.rsplit_once('}').unwrap().0;
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    expand(&format!("{}{part}", prefix.trim()), paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The files of a module's folder, each with the other files of the folder that it uses. A name that the folder's `mod.rs`
/// only passes on counts as a use of the file that declares it.
fn files_of(module: &str, sources: &BTreeMap<String, Source>) -> Graph {
    let facade = &sources["mod"];
    let file_in = |path: &str| {
        let first = path.split("::").next().unwrap_or_default();
        sources.contains_key(first).then(|| first.to_owned())
    };
    let mut declared_in = BTreeMap::new();
    let mut graph = Graph::new();
    for (is_public, path) in &facade.uses {
        let Some(file) = file_in(path) else { continue };
        let name = path.rsplit("::").next().unwrap_or_default();
        declared_in.insert(name.to_owned(), file.clone());
        if !is_public || facade.has_word(name) {
            graph.entry("mod".to_owned()).or_default().insert(file);
        }
    }
    for file in sources.keys().filter(|file| !facade.paths_from(&format!("{file}::")).is_empty()) {
        graph.entry("mod".to_owned()).or_default().insert(file.clone());
    }
    let from_root = format!("crate::{module}::");
    for (file, source) in sources.iter().filter(|(file, _)| *file != "mod") {
        let declared = source.uses.iter().map(|(_, path)| path.clone());
        let paths = declared.chain(source.paths_from("super::")).chain(source.paths_from(&from_root));
        let used = graph.entry(file.clone()).or_default();
        for path in paths {
            let inside = path.strip_prefix("super::").or_else(|| path.strip_prefix(&from_root));
            // A glob is that of a file's own tests.
            let Some(inside) = inside.filter(|inside| *inside != "*") else { continue };
            let name = inside.split("::").next().unwrap_or_default();
            let target = file_in(inside).or_else(|| declared_in.get(name).cloned());
            used.insert(target.unwrap_or_else(|| "mod".to_owned()));
        }
        used.remove(file);
    }
    graph
}

#[test]
fn files_of_a_module_use_each_other_in_no_circle() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(source).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("mod.rs").exists() {
            continue;
        }
        let mut sources = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            sources.insert(name, Source::read(&std::fs::read_to_string(&path).unwrap()));
        }
        let module = folder.file_name().unwrap().to_str().unwrap();
        let graph = files_of(module, &sources);
        if module == "channel" {
            assert!(graph["actor"].contains("messages") && graph["stream"].contains("actor"));
        }
        if let Err(circle) = sorted(graph.clone()) {
            panic!("a circle among the files of {module}: {circle:?} in {graph:#?}");
        }
    }
}

#[test]
fn a_circle_of_files_is_found_behind_a_name_that_is_passed_on() {
    let sources = |upper: &str, lower: &str| -> BTreeMap<String, Source> {
        let facade = "mod upper;\nmod lower;\npub use upper::{\nAll, Some,\n};";
        let texts = [("mod", facade), ("upper", upper), ("lower", lower)];
        texts.map(|(name, text)| (name.to_owned(), Source::read(text))).into()
    };
    let one_way = sources("use super::lower::{self, Low};", "use crate::other::All;");
    assert!(sorted(files_of("room", &one_way)).is_ok());
    let circle = sources("use super::lower::Low;", "use super::{\nAll,\n};");
    assert!(sorted(files_of("room", &circle)).is_err());
    let circle = sources("use super::lower::Low;", "fn f() -> crate::room::upper::All {}");
    assert!(sorted(files_of("room", &circle)).is_err());
}

//! `cargo xtask sight`: what operators see of the server, made from code: dashboards, alerts and their tests.

mod alerts_nodes;
mod alerts_work;
mod dashboards;
mod families;
mod lint;
mod objectives;
mod panels;
mod promql;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Args;
use families::Families;
use lint::Linter;
use panels::Dashboard;
use rules::Group;

use crate::{parts, root, run, target_folder};

/// Folders whose files are made here, and what their files end in.
const FOLDERS: [(&str, &str); 3] =
    [("ops/dashboards", "json"), ("ops/alerts", "yml"), ("ops/alerts/tests", "yml")];
/// The page of all metrics, made from the registry.
const METRICS: &str = "docs/metrics.md";
const RUNBOOKS: &str = "docs/runbooks";

#[derive(Args)]
pub(crate) struct Options {
    /// Change nothing: fail if what is there differs from what would be made.
    #[arg(long)]
    check: bool,
    /// What links to runbooks begin with, such as the address of the repository's files.
    #[arg(long, default_value = "")]
    base: String,
    /// Print every expression as a line of JSON instead, as Prometheus would be asked.
    #[arg(long)]
    queries: bool,
}

impl Options {
    /// Compares and tests, and changes nothing.
    pub(crate) fn checking() -> Self {
        Self { check: true, base: String::new(), queries: false }
    }
}

/// Makes the files, or compares them, and has promtool test the rules.
pub(crate) fn run_with(options: &Options) -> anyhow::Result<()> {
    let dashboards = dashboards::all();
    let groups: Vec<_> = objectives::groups().chain([alerts_nodes::group(), alerts_work::group()]).collect();
    if options.queries {
        return print_queries(&dashboards, &groups);
    }
    let page = fs::read_to_string(root().join(METRICS)).with_context(|| format!("cannot read {METRICS}"))?;
    let families = Families::of_page(&page)?;
    let mut linter = Linter::new(&families);
    // First, as dashboards may show what rules record.
    linter.groups(&groups);
    linter.dashboards(&dashboards);
    linter.runbooks(&groups, &runbooks()?);
    let problems = linter.into_problems();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));

    let files = files(&dashboards, &groups, &options.base)?;
    if options.check {
        compare(&files)?;
    } else {
        write(&files)?;
    }
    promtool(&files, &dashboards)?;
    let tests: usize = groups.iter().flat_map(|group| &group.alerts).map(|alert| alert.cases.len()).sum();
    let alerts: usize = groups.iter().map(|group| group.alerts.len()).sum();
    println!("{} dashboards, {alerts} alerts, {tests} tests", dashboards.len());
    Ok(())
}

/// All files by their paths in the repository.
fn files(dashboards: &[Dashboard], groups: &[Group], base: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for dashboard in dashboards {
        let json = serde_json::to_string_pretty(&dashboard.json()?)?;
        files.insert(format!("ops/dashboards/{}.json", dashboard.name()), json + "\n");
    }
    for group in groups {
        files.insert(format!("ops/alerts/{}.yml", group.name), group.yaml(base)?);
        files.insert(format!("ops/alerts/tests/{}.yml", group.name), group.tests_yaml(base));
    }
    Ok(files)
}

/// Files that are in the folders.
fn present() -> anyhow::Result<BTreeSet<String>> {
    let mut present = BTreeSet::new();
    for (folder, extension) in FOLDERS {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        for entry in entries {
            let path = PathBuf::from(entry?.file_name());
            if path.extension().is_some_and(|found| found == extension) {
                present.insert(format!("{folder}/{}", path.display()));
            }
        }
    }
    Ok(present)
}

fn write(files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for (folder, _) in FOLDERS {
        fs::create_dir_all(root().join(folder))?;
    }
    for (path, text) in files {
        fs::write(root().join(path), text).with_context(|| format!("cannot write {path}"))?;
    }
    for path in present()?.into_iter().filter(|path| !files.contains_key(path)) {
        fs::remove_file(root().join(path))?;
    }
    Ok(())
}

fn compare(files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let differs = |(path, text): &(&String, &String)| {
        fs::read_to_string(root().join(path)).map_or(true, |found| found != **text)
    };
    let changed = files.iter().filter(differs).map(|(path, _)| path.clone());
    let too_many = present()?.into_iter().filter(|path| !files.contains_key(path));
    let differing: Vec<_> = changed.chain(too_many).collect();
    ensure!(differing.is_empty(), "not what `cargo xtask sight` makes: {}", differing.join(", "));
    Ok(())
}

/// Pages about alerts: their names and texts.
fn runbooks() -> anyhow::Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(root().join(RUNBOOKS)).with_context(|| format!("cannot read {RUNBOOKS}"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a page without a name")?;
        pages.push((name.to_owned(), fs::read_to_string(&path)?));
    }
    pages.sort();
    Ok(pages)
}

/// Has Prometheus' own tool read all rules and expressions, and run the tests.
fn promtool(files: &BTreeMap<String, String>, dashboards: &[Dashboard]) -> anyhow::Result<()> {
    parts::need_package("promtool", "--version", &["prometheus"])?;
    let as_rules = target_folder().join("sight/dashboards.yml");
    fs::create_dir_all(as_rules.parent().context("no folder")?)?;
    fs::write(&as_rules, expressions_as_rules(dashboards)?)?;
    let of = |folder: &str| {
        let is_in = |path: &&String| Path::new(path).parent() == Some(Path::new(folder));
        files.keys().filter(is_in).map(|path| root().join(path)).collect::<Vec<_>>()
    };
    run(Command::new("promtool").args(["check", "rules"]).arg(&as_rules).args(of("ops/alerts")))?;
    run(Command::new("promtool").args(["test", "rules"]).args(of("ops/alerts/tests")))
}

/// The expressions of panels as rules: a form in which promtool reads them.
fn expressions_as_rules(dashboards: &[Dashboard]) -> anyhow::Result<String> {
    let mut rules = String::from("groups:\n");
    for dashboard in dashboards {
        let _ = writeln!(rules, "  - name: {}\n    rules:", dashboard.name());
        for (index, expr) in dashboard_queries(dashboard)?.iter().enumerate() {
            let expr = serde_json::Value::from(expr.as_str());
            let _ =
                writeln!(rules, "      - {{ record: 'panel_{index}:{}', expr: {expr} }}", dashboard.name());
        }
    }
    Ok(rules)
}

/// A dashboard's expressions as Grafana sends them, all jobs and instances chosen.
fn dashboard_queries(dashboard: &Dashboard) -> anyhow::Result<Vec<String>> {
    let json = dashboard.json()?;
    let panels = json["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.filter_map(|target| target["expr"].as_str());
    let filled = |text: &str| {
        let variables = [("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", ".+"), ("$instance", ".+")];
        variables.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    Ok(expressions.map(filled).collect())
}

fn print_queries(dashboards: &[Dashboard], groups: &[Group]) -> anyhow::Result<()> {
    let print = |place: &str, expr: &str| println!("{}", serde_json::json!({"place": place, "expr": expr}));
    for dashboard in dashboards {
        dashboard_queries(dashboard)?.iter().for_each(|expr| print(dashboard.title, expr));
    }
    for group in groups {
        for rule in &group.recordings {
            print(&rule.name, &rule.expr);
        }
        for alert in &group.alerts {
            print(&alert.name, &alert.expr);
        }
    }
    Ok(())
}

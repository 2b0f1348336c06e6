//! The layers of the configuration: defaults, a file, the environment and flags, merged into one tree in which every
//! value knows where it was set.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use toml::{Table, Value};

/// What the environment's variables begin with; `__` stands between sections, as in `MUNDOTANGO__SESSION__OUTBOX_BYTES`.
pub(super) const ENV_PREFIX: &str = "MUNDOTANGO__";
/// What stands between the sections of a variable's name.
const ENV_SEPARATOR: &str = "__";

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere: the default.
    Default,
    /// In a file.
    File(PathBuf),
    /// By a variable of the environment.
    Environment,
    /// By a flag.
    CommandLine,
}

impl Source {
    /// A key as its source spells it.
    pub(super) fn spell(&self, path: &str) -> String {
        match self {
            Self::Default => path.to_owned(),
            Self::File(file) => format!("{path} ({})", file.display()),
            Self::Environment => format!("{path} ({})", variable(path)),
            Self::CommandLine => format!("{path} (--{})", path.replace('_', "-")),
        }
    }
}

/// The variable that sets a key.
pub(super) fn variable(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', ENV_SEPARATOR).to_uppercase())
}

/// A value, or a section of them.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Section(BTreeMap<String, Tree>),
    Value(Value, Source),
}

impl Tree {
    /// The tree of one layer.
    pub(super) fn of(table: Table, source: &Source) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let tree = match value {
                Value::Table(table) => Self::of(table, source),
                value => Self::Value(value, source.clone()),
            };
            (key, tree)
        });
        Self::Section(entries.collect())
    }

    /// Puts a later layer over this one.
    pub(super) fn merge(&mut self, over: Self) {
        match (self, over) {
            (Self::Section(entries), Self::Section(over)) => {
                for (key, tree) in over {
                    match entries.get_mut(&key) {
                        Some(entry) => entry.merge(tree),
                        None => drop(entries.insert(key, tree)),
                    }
                }
            }
            (tree, over) => *tree = over,
        }
    }

    /// What is at a path.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, key| match tree {
            Self::Section(entries) => entries.get(key),
            Self::Value(..) => None,
        })
    }

    /// Puts what another tree has at a path into its place here, or nothing if it has nothing there.
    pub(super) fn reset(&mut self, path: &[String], to: &Self) {
        let Some((last, section)) = path.split_last() else { return };
        let section = section.iter().try_fold(self, |tree, key| match tree {
            Self::Section(entries) => entries.get_mut(key),
            Self::Value(..) => None,
        });
        if let Some(Self::Section(entries)) = section {
            match to.at(path) {
                Some(tree) => drop(entries.insert(last.clone(), tree.clone())),
                None => drop(entries.remove(last)),
            }
        }
    }

    /// Where the first of the values here was set.
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Value(_, source) => source.clone(),
            Self::Section(entries) => entries.values().next().map_or(Source::Default, Self::source),
        }
    }
}

/// The layer of the environment. Every value is the text that stands there; a blank one is as good as none, as many
/// tools cannot unset a variable.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<String>,
) -> Tree {
    let mut tree = Tree::Section(BTreeMap::new());
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
        let Some(value) = value.to_str() else {
            problems.push(format!("{name}: is not UTF-8"));
            continue;
        };
        if value.trim().is_empty() {
            continue;
        }
        let leaf = Tree::Value(Value::String(value.to_owned()), Source::Environment);
        let path = path.to_lowercase();
        let within = |tree, key: &str| Tree::Section(BTreeMap::from([(key.to_owned(), tree)]));
        tree.merge(path.rsplit(ENV_SEPARATOR).fold(leaf, within));
    }
    tree
}

/// The layer of the variables by which all programs are told where traces go (OpenTelemetry Protocol Exporter). The node's
/// own variables go before it. `OTEL_SDK_DISABLED` turns it off.
pub(super) fn of_opentelemetry(variables: &[(OsString, OsString)]) -> Tree {
    let value = |wanted: &str| {
        let found = variables.iter().rfind(|(name, _)| name.to_str() == Some(wanted));
        found.and_then(|(_, value)| value.to_str()).map(str::trim).filter(|value| !value.is_empty())
    };
    let mut section = BTreeMap::new();
    if !value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        // The one is the base of all signals' addresses, the other one is taken as it is.
        let base = value("OTEL_EXPORTER_OTLP_ENDPOINT");
        let base = base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let own = |name| value(name).map(str::to_owned);
        let found = [
            ("endpoint", own("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(base)),
            ("headers", own("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or(own("OTEL_EXPORTER_OTLP_HEADERS"))),
            ("service_name", own("OTEL_SERVICE_NAME")),
        ];
        section.extend(found.into_iter().filter_map(|(key, value)| {
            Some((key.to_owned(), Tree::Value(Value::String(value?), Source::Environment)))
        }));
    }
    if section.is_empty() {
        return Tree::Section(section);
    }
    Tree::Section(BTreeMap::from([("traces".to_owned(), Tree::Section(section))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_opentelemetry_say_where_traces_go() {
        let read = |variables: &[(&str, &str)]| {
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let tree = of_opentelemetry(&variables);
            let at = |key: &str| match tree.at(&["traces".to_owned(), key.to_owned()]) {
                Some(Tree::Value(Value::String(text), Source::Environment)) => Some(text.clone()),
                _ => None,
            };
            (at("endpoint"), at("headers"))
        };
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert_eq!(read(&[base]).0.as_deref(), Some("http://collector:4318/v1/traces"));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/take");
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "a=b");
        let both = read(&[base, own, headers]);
        assert_eq!((both.0.as_deref(), both.1.as_deref()), (Some("http://other/take"), Some("a=b")));
        assert_eq!(read(&[base, ("OTEL_SDK_DISABLED", "TRUE")]), (None, None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), (None, None));
    }

    #[test]
    fn variables_are_texts_and_blank_ones_are_unset() {
        let variables = [
            ("MUNDOTANGO__HTTP__API_KEY", "00123"),
            ("MUNDOTANGO__AUTH__SECRET", " "),
            ("MUNDOTANGO__AUTH__TOKEN__AUDIENCE", "  text  "),
            ("MUNDOTANGO_PASSWORD", "x"),
        ];
        let tree = environment(variables.map(|(name, value)| (name.into(), value.into())), &mut Vec::new());
        let at = |path: &str| tree.at(&path.split('.').map(str::to_owned).collect::<Vec<_>>());
        assert!(matches!(at("http.api_key"), Some(Tree::Value(Value::String(text), _)) if text == "00123"));
        assert!(
            matches!(at("auth.token.audience"), Some(Tree::Value(Value::String(text), _)) if text == "  text  ")
        );
        assert!(at("auth.secret").is_none());
        assert!(matches!(&tree, Tree::Section(entries) if entries.len() == 2));
    }
}

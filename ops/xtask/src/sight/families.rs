//! The families of metrics that the server has, read from their page, which is made from the registry.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family: one name and its labels.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: Kind,
    pub(super) labels: BTreeSet<String>,
}

/// All families by their names.
#[derive(Debug)]
pub(super) struct Families(BTreeMap<String, Family>);

/// What a family's series are called beside the family itself.
const PARTS_OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// What is measured beside the families of the page: the process.
const BESIDE: [(&str, Kind); 7] = [
    ("process_cpu_seconds_total", Kind::Counter),
    ("process_max_fds", Kind::Gauge),
    ("process_open_fds", Kind::Gauge),
    ("process_resident_memory_bytes", Kind::Gauge),
    ("process_start_time_seconds", Kind::Gauge),
    ("process_threads", Kind::Gauge),
    ("process_virtual_memory_bytes", Kind::Gauge),
];

impl Families {
    /// Reads the page's table: name, kind, unit, labels with their values, and what it says.
    pub(super) fn of_page(page: &str) -> anyhow::Result<Self> {
        let rows = page.lines().filter(|line| line.starts_with("| `")).map(of_row);
        let mut families = rows.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        ensure!(!families.is_empty(), "there is no table of metrics");
        for (name, kind) in BESIDE {
            families.entry(name.to_owned()).or_insert(Family { kind, labels: BTreeSet::new() });
        }
        Ok(Self(families))
    }

    /// The family of a series, if there is one.
    pub(super) fn of(&self, series: &str) -> Option<&Family> {
        self.0.get(self.name_of(series)?)
    }

    fn name_of<'a>(&self, series: &'a str) -> Option<&'a str> {
        let is_histogram =
            |name: &&str| self.0.get(*name).is_some_and(|family| family.kind == Kind::Histogram);
        let of_histogram = PARTS_OF_HISTOGRAMS.iter().filter_map(|part| series.strip_suffix(part));
        let mut names = std::iter::once(series)
            .filter(|name| self.0.contains_key(*name) && !is_histogram(name))
            .chain(of_histogram.filter(is_histogram));
        names.next()
    }
}

/// A family of a row such as "| `name`° | kind | unit | label: value, value · *label* | … |".
fn of_row(row: &str) -> anyhow::Result<(String, Family)> {
    let mut cells = row.trim_matches('|').split('|').map(str::trim);
    let mut next = || cells.next().with_context(|| format!("a cell is missing in {row:?}"));
    let name = next()?.trim_end_matches('°').trim_matches('`').to_owned();
    let kind = match next()? {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        other => bail!("{name} is of the unknown kind {other:?}"),
    };
    let _unit = next()?;
    let labels = next()?.split('·').map(|label| label.split(':').next().unwrap_or_default());
    let labels =
        labels.map(|label| label.trim().trim_matches('*').to_owned()).filter(|label| !label.is_empty());
    let mut labels: BTreeSet<_> = labels.collect();
    if kind == Kind::Histogram {
        labels.insert("le".to_owned());
    }
    Ok((name, Family { kind, labels }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_belong_to_their_families() {
        let page = "# Metrics\n\n| metric | kind |\n|---|---|\n\
            | `a_total`° | counter |  | x: 1, 2 · *y* | How much |\n\
            | `b_seconds` | histogram | seconds | *z* | How long |\n\
            | `c` | gauge |  |  | How many |\n";
        let families = Families::of_page(page).unwrap();
        let labels = |series| families.of(series).unwrap().labels.iter().cloned().collect::<Vec<_>>();
        assert_eq!(labels("a_total"), ["x", "y"]);
        assert_eq!(labels("b_seconds_sum"), ["le", "z"]);
        assert!(labels("c").is_empty());
        assert_eq!(families.of("c").unwrap().kind, Kind::Gauge);
        assert_eq!(families.of("process_cpu_seconds_total").unwrap().kind, Kind::Counter);
        // A histogram has no series of its own name, and a gauge no buckets.
        assert!(families.of("b_seconds").is_none());
        assert!(families.of("c_bucket").is_none());
        assert!(Families::of_page("# Metrics\n").is_err());
        assert!(Families::of_page("| `d` | summary |  |  | What |\n").is_err());
    }
}

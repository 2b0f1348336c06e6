//! The page of the documentation that lists the metrics, made from their declarations.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::families::{DECLARED, UNFED};
use super::registrar::Declared;

/// Set where the page is to be written anew.
const WRITE: &str = "MUNDOTANGO_WRITE_DOCS";

fn unit(metric: &Declared) -> &'static str {
    let ends = [
        ("_timestamp_seconds", "Unix time"),
        ("_seconds", "seconds"),
        ("_bytes", "bytes"),
        ("_bytes_sent_total", "bytes"),
        ("_bytes_received_total", "bytes"),
    ];
    ends.iter().find(|(end, _)| metric.name.ends_with(end)).map_or("", |(_, unit)| unit)
}

fn page() -> String {
    let mut page = "# Metrics\n\n\
        Made from the registry; `MUNDOTANGO_WRITE_DOCS=1 cargo test -p mundotango-ops page` writes it. All are at `/metrics` \
        (of the internal listener, where there is one). Values of labels in italics are known when a node starts: routes, \
        tables, queues. Where all values are listed, each is there at 0 from the start. Metrics marked ° belong to what is \
        not built yet, and stay 0. Beside these there are Prometheus' own of the process (`process_…`).\n\n\
        | metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n"
        .to_owned();
    for metric in DECLARED {
        let labels = metric.labels.iter().map(|(name, values)| match values {
            [] => format!("*{name}*"),
            values if values.len() > 9 => format!("{name}: {} …", values[..3].join(", ")),
            values => format!("{name}: {}", values.join(", ")),
        });
        let labels: Vec<_> = labels.collect();
        let unfed = if UNFED.contains(&metric.name) { "°" } else { "" };
        let name = metric.name;
        let row =
            [&format!("`{name}`{unfed}"), metric.kind(), unit(metric), &labels.join(" · "), metric.help];
        writeln!(page, "| {} |", row.join(" | ")).unwrap();
    }
    page
}

#[test]
fn the_page_lists_all_metrics() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/metrics.md is not what the registry says: set {WRITE}=1 to write it anew"
    );
}

#[test]
fn what_is_not_fed_is_declared() {
    for name in UNFED {
        assert!(DECLARED.iter().any(|metric| metric.name == *name), "{name}");
    }
}

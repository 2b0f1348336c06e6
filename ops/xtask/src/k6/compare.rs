//! The figures of two runs beside each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// Milliseconds below which latencies differ by chance alone.
const TOO_SHORT_MS: f64 = 10.0;

/// What a run left.
#[derive(Debug, Deserialize)]
struct Summary {
    suite: String,
    asked: serde_json::Value,
    figures: BTreeMap<String, Figure>,
    refused: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Figure {
    value: f64,
    better: Option<Better>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Better {
    Less,
    More,
}

/// A line of the table.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    old: f64,
    new: f64,
    is_worse: bool,
}

/// Prints the figures of two files; an error where the new ones are so many times worse.
pub(super) fn files(old: &Path, new: &Path, tolerance: f64) -> anyhow::Result<()> {
    anyhow::ensure!(tolerance >= 1.0, "a tolerance below 1 refuses what is the same");
    let (old, new) = (read(old)?, read(new)?);
    let rows = rows(&old, &new, tolerance)?;
    println!("| {} | old | new | new / old | |\n|---|---|---|---|---|", new.suite);
    for Row { name, old, new, is_worse } in &rows {
        let ratio = if *old == 0.0 { "–".to_owned() } else { format!("{:.2}", new / old) };
        println!("| {name} | {old:.4} | {new:.4} | {ratio} | {} |", if *is_worse { "worse" } else { "" });
    }
    let worse: Vec<_> = rows.iter().filter(|row| row.is_worse).map(|row| row.name.as_str()).collect();
    anyhow::ensure!(worse.is_empty(), "more than {tolerance} times worse: {}", worse.join(", "));
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Summary> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} holds no figures", path.display()))
}

/// What both have, in the order of names.
fn rows(old: &Summary, new: &Summary, tolerance: f64) -> anyhow::Result<Vec<Row>> {
    anyhow::ensure!(
        old.suite == new.suite && old.asked == new.asked,
        "the runs were asked for different things: {} {} and {} {}",
        old.suite,
        old.asked,
        new.suite,
        new.asked
    );
    for run in [old, new] {
        anyhow::ensure!(run.refused.is_empty(), "a result was refused: {}", run.refused.join("; "));
    }
    let both = old.figures.iter().filter_map(|(name, old)| Some((name, old, new.figures.get(name)?)));
    Ok(both
        .map(|(name, old, new)| Row {
            name: name.clone(),
            old: old.value,
            new: new.value,
            is_worse: is_worse(name, *old, *new, tolerance),
        })
        .collect())
}

fn is_worse(name: &str, old: Figure, new: Figure, tolerance: f64) -> bool {
    let (old, new, better) = (old.value, new.value, new.better);
    // Where both are short by any measure a ratio tells of the machine.
    let is_latency = name.ends_with("p95 ms");
    match better {
        Some(Better::Less) if is_latency && old.max(new) < TOO_SHORT_MS => false,
        Some(Better::Less) => new > old * tolerance,
        Some(Better::More) => new * tolerance < old,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(figures: &[(&str, f64, &str)]) -> Summary {
        let figures: serde_json::Map<_, _> = figures
            .iter()
            .map(|(name, value, better)| ((*name).to_owned(), json!({"value": value, "better": better})))
            .collect();
        let all = json!({"suite": "load", "asked": {"rate": 5}, "figures": figures, "refused": []});
        serde_json::from_value(all).unwrap()
    }

    fn worse(old: &Summary, new: &Summary) -> Vec<String> {
        let rows = rows(old, new, 1.5).unwrap();
        rows.into_iter().filter(|row| row.is_worse).map(|row| row.name).collect()
    }

    #[test]
    fn what_is_worse_than_allowed_is_told_and_nothing_else() {
        let old = summary(&[
            ("cached p95 ms", 40.0, "less"),
            ("REST operations", 900.0, "more"),
            ("rpc p95 ms", 2.0, "less"),
        ]);
        let same = summary(&[("cached p95 ms", 59.0, "less"), ("REST operations", 650.0, "more")]);
        assert!(worse(&old, &same).is_empty());
        let other = summary(&[
            ("cached p95 ms", 61.0, "less"),
            ("REST operations", 550.0, "more"),
            ("rpc p95 ms", 9.0, "less"),
            ("new", 1.0, "less"),
        ]);
        assert_eq!(worse(&old, &other), ["REST operations", "cached p95 ms"]);
    }

    #[test]
    fn runs_that_cannot_be_compared_are_refused() {
        let (old, mut new) = (summary(&[]), summary(&[]));
        new.asked = json!({"rate": 6});
        assert!(rows(&old, &new, 1.5).is_err());
        let (old, mut new) = (summary(&[]), summary(&[]));
        new.refused.push("k6 was the limit".to_owned());
        assert!(rows(&old, &new, 1.5).is_err());
    }
}

//! Alerts, what they are tested with, and how both are written for Prometheus.

use std::fmt::Write as _;

use super::promql;

/// Which jobs the alerts are about: the server's, in one or several environments.
const OF_PROCESSES: &str = r#"job=~"mundotango.*""#;
/// The job of what tests put in.
const TEST_JOB: &str = "mundotango";
/// Where the pages about alerts are.
const RUNBOOKS: &str = "docs/runbooks";

/// Rules that are evaluated together, and are a file.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) recordings: Vec<Recording>,
    pub(super) alerts: Vec<Alert>,
}

/// What a rule computes for others.
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) expr: String,
}

/// How soon somebody has to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Severity {
    /// Now: users feel it.
    Page,
    /// On a working day.
    Ticket,
    /// When somebody wants to know.
    Info,
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
            Self::Info => "info",
        }
    }

    /// How long an alert goes on after its condition: a scrape that is missed is no recovery.
    fn keep_firing_for(self) -> Option<&'static str> {
        (self == Self::Page).then_some("10m")
    }
}

/// A condition that somebody should know of.
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) expr: String,
    /// How long the condition has to hold.
    pub(super) holds_for: &'static str,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) cases: Vec<Case>,
}

/// What a test of an alert is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    Firing,
    Silence,
    Edge,
}

/// Series that are put in, a value a minute, and the alerts that fire then.
pub(super) struct Case {
    pub(super) of: Of,
    about: &'static str,
    pub(super) series: Vec<(String, String)>,
    /// When it is looked at, in minutes.
    pub(super) at: u32,
    /// The labels of each alert that fires, beside its job.
    fires: Vec<&'static str>,
}

impl Alert {
    pub(super) fn new(
        severity: Severity,
        name: impl Into<String>,
        holds_for: &'static str,
        expr: impl Into<String>,
    ) -> Self {
        let (name, expr) = (name.into(), expr.into());
        let (summary, description, cases) = (String::new(), String::new(), Vec::new());
        Self { name, severity, expr, holds_for, summary, description, cases }
    }

    /// What it is in a line, and what that means.
    pub(super) fn says(mut self, summary: impl Into<String>, description: impl Into<String>) -> Self {
        (self.summary, self.description) = (summary.into(), description.into());
        self
    }

    /// With these series one alert of these labels fires at this minute.
    pub(super) fn fires(self, at: u32, labels: &'static str, series: &[(&str, impl AsRef<str>)]) -> Self {
        self.case(Of::Firing, "", at, vec![labels], series)
    }

    /// With these series nothing fires.
    pub(super) fn silent(self, at: u32, series: &[(&str, impl AsRef<str>)]) -> Self {
        self.case(Of::Silence, "", at, Vec::new(), series)
    }

    /// A case that is easily got wrong, where nothing fires.
    pub(super) fn edge(self, about: &'static str, at: u32, series: &[(&str, impl AsRef<str>)]) -> Self {
        self.case(Of::Edge, about, at, Vec::new(), series)
    }

    /// A case that is easily got wrong, where one fires.
    pub(super) fn edge_fires(
        self,
        about: &'static str,
        at: u32,
        labels: &'static str,
        series: &[(&str, impl AsRef<str>)],
    ) -> Self {
        self.case(Of::Edge, about, at, vec![labels], series)
    }

    fn case(
        mut self,
        of: Of,
        about: &'static str,
        at: u32,
        fires: Vec<&'static str>,
        series: &[(&str, impl AsRef<str>)],
    ) -> Self {
        let series =
            series.iter().map(|(name, values)| (of_test_job(name), values.as_ref().to_owned())).collect();
        self.cases.push(Case { of, about, series, at, fires });
        self
    }

    fn runbook(&self) -> String {
        format!("{RUNBOOKS}/{}.md", self.name)
    }
}

/// Adds the job, and the first node where none is named, to a series of a test.
fn of_test_job(series: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut of_job = String::new();
    if !series.contains("job=") {
        let _ = write!(of_job, "job=\"{TEST_JOB}\",");
    }
    if !series.contains("instance=") {
        of_job.push_str("instance=\"a\",");
    }
    let labels = format!("{of_job}{labels}");
    format!("{name}{{{}", labels.replace(",}", "}"))
}

impl Group {
    /// The rules as Prometheus reads them.
    pub(super) fn yaml(&self, base: &str) -> anyhow::Result<String> {
        let mut out =
            format!("{HEAD}groups:\n  - name: mundotango_{}\n    interval: 1m\n    rules:\n", self.name);
        for rule in &self.recordings {
            let expr = promql::scoped(&rule.expr, OF_PROCESSES, "")?;
            let _ = write!(out, "      - record: {}\n        expr: {}\n", rule.name, block(&expr, 10));
        }
        for alert in &self.alerts {
            let expr = promql::scoped(&alert.expr, OF_PROCESSES, "")?;
            let _ = write!(out, "      - alert: {}\n        expr: {}\n", alert.name, block(&expr, 10));
            let _ = writeln!(out, "        for: {}", alert.holds_for);
            if let Some(keep) = alert.severity.keep_firing_for() {
                let _ = writeln!(out, "        keep_firing_for: {keep}");
            }
            let _ = writeln!(out, "        labels:\n          severity: {}", alert.severity.name());
            let _ = writeln!(out, "        annotations:\n          summary: {}", quoted(&alert.summary));
            let _ = writeln!(out, "          description: {}", quoted(&alert.description));
            let _ = writeln!(out, "          runbook_url: {}", quoted(&format!("{base}{}", alert.runbook())));
        }
        Ok(out)
    }

    /// The tests of the rules as promtool reads them.
    pub(super) fn tests_yaml(&self, base: &str) -> String {
        let mut out = format!("{HEAD}rule_files: [../{}.yml]\nevaluation_interval: 1m\ntests:\n", self.name);
        for alert in &self.alerts {
            for case in &alert.cases {
                let of = match case.of {
                    Of::Firing => "fires",
                    Of::Silence => "is silent",
                    Of::Edge => case.about,
                };
                let name = quoted(&format!("{}: {of}", alert.name));
                let _ = write!(out, "  - name: {name}\n    interval: 1m\n    input_series:\n");
                if case.series.is_empty() {
                    // Something has to be there for time to pass.
                    let _ = writeln!(out, "      - {{ series: other, values: 0x{} }}", case.at + 1);
                }
                for (series, values) in &case.series {
                    let _ = writeln!(out, "      - series: '{series}'\n        values: {}", quoted(values));
                }
                let _ = writeln!(out, "    alert_rule_test:\n      - alertname: {}", alert.name);
                let _ = writeln!(out, "        eval_time: {}m", case.at);
                let none = if case.fires.is_empty() { " []" } else { "" };
                let _ = writeln!(out, "        exp_alerts:{none}");
                for labels in &case.fires {
                    let labels = labels_of(labels);
                    let _ = writeln!(
                        out,
                        "          - exp_labels:\n              severity: {}",
                        alert.severity.name()
                    );
                    for (label, value) in &labels {
                        let _ = writeln!(out, "              {label}: {}", quoted(value));
                    }
                    let filled = |text: &str| quoted(&filled(text, &labels));
                    let _ = writeln!(out, "            exp_annotations:");
                    let _ = writeln!(out, "              summary: {}", filled(&alert.summary));
                    let _ = writeln!(out, "              description: {}", filled(&alert.description));
                    let _ = writeln!(
                        out,
                        "              runbook_url: {}",
                        quoted(&format!("{base}{}", alert.runbook()))
                    );
                }
            }
        }
        out
    }
}

const HEAD: &str = "# Made by `cargo xtask sight`. Change what makes it: ops/xtask/src/sight/.\n";

/// `a=1 b=x y` as labels, and the job; `none` for no labels at all.
fn labels_of(text: &str) -> Vec<(String, String)> {
    if text == "none" {
        return Vec::new();
    }
    let job = (!text.contains("job=")).then(|| ("job".to_owned(), TEST_JOB.to_owned()));
    let others = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    job.into_iter().chain(others.map(|(label, value)| (label.to_owned(), value.to_owned()))).collect()
}

/// What Prometheus makes of a text with `{{ $labels.x }}`.
fn filled(text: &str, labels: &[(String, String)]) -> String {
    labels.iter().fold(text.to_owned(), |text, (label, value)| {
        text.replace(&format!("{{{{ $labels.{label} }}}}"), value)
    })
}

/// A text in quotation marks: what JSON reads, YAML reads as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text of several lines.
fn block(text: &str, indent: usize) -> String {
    let lines = text.lines().map(|line| format!("\n{:indent$}{}", "", line.trim()));
    format!("|-{}", lines.collect::<String>())
}

/// How many values a series of a test has; none if it ends in `stale`, as that is on purpose.
pub(super) fn count_values(values: &str) -> anyhow::Result<Option<u32>> {
    let mut count = 0;
    for item in values.split_whitespace() {
        if item == "stale" {
            return Ok(None);
        }
        // `a+bxN` and `axN` are a value and N more; `_xN` is N times no value.
        count += match item.rsplit_once('x') {
            Some(("_", times)) => times.parse()?,
            Some((_, times)) => times.parse::<u32>()? + 1,
            None => 1,
        };
    }
    Ok(Some(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_tests_get_a_job_and_a_node() {
        assert_eq!(of_test_job("up"), r#"up{job="mundotango",instance="a"}"#);
        assert_eq!(of_test_job(r#"x{instance="b",y="1"}"#), r#"x{job="mundotango",instance="b",y="1"}"#);
    }

    #[test]
    fn values_are_counted_as_promtool_reads_them() {
        assert_eq!(count_values("1 0x5 0+2x10 _x3 7").unwrap(), Some(22));
        assert_eq!(count_values("1x5 stale").unwrap(), None);
        assert!(count_values("1xy").is_err());
    }

    #[test]
    fn annotations_are_filled_with_the_labels() {
        let labels = labels_of("instance=a part=redis");
        assert_eq!(filled("{{ $labels.part }} of {{ $labels.instance }}", &labels), "redis of a");
        assert!(labels_of("none").is_empty());
    }
}

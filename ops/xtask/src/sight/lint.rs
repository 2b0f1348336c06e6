//! What dashboards, alerts and their pages are held to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::families::{Families, Kind};
use super::panels::Dashboard;
use super::promql::{self, Node, Selector};
use super::rules::{Alert, Case, Group, Of, count_values};

/// Units of Grafana that values of ours have: counts, shares, bytes, seconds, and things a second or minute.
const UNITS: [&str; 8] = ["short", "percentunit", "bytes", "Bps", "s", "reqps", "ops", "cpm"];
/// What makes something of a counter.
const OF_COUNTERS: [&str; 5] = ["rate", "increase", "irate", "resets", "changes"];
/// What makes nonsense of a gauge.
const NOT_OF_GAUGES: [&str; 3] = ["rate", "increase", "irate"];
/// Windows that a panel may have: what is between two of its points, what is shown, or a bar's day.
const WINDOWS_OF_PANELS: [&str; 3] = ["$__rate_interval", "$__range", "1d"];
/// Labels that Prometheus gives to whatever it scrapes.
const OF_TARGETS: [&str; 2] = ["job", "instance"];
/// What a page about an alert tells.
const SECTIONS: [&str; 5] = ["What it means", "What users notice", "Look here", "Do this", "When it is over"];
const LONGEST_SUMMARY: usize = 90;

/// Looks for what is wrong, against the families that there are.
pub(super) struct Linter<'a> {
    families: &'a Families,
    recorded: BTreeSet<String>,
    problems: Vec<String>,
}

impl<'a> Linter<'a> {
    pub(super) fn new(families: &'a Families) -> Self {
        Self { families, recorded: BTreeSet::new(), problems: Vec::new() }
    }

    /// All that was found.
    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }

    fn report(&mut self, place: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{place}: {problem}"));
    }

    pub(super) fn dashboards(&mut self, dashboards: &[Dashboard]) {
        self.no_doubles("dashboards", dashboards.iter().map(|dashboard| dashboard.title));
        for dashboard in dashboards {
            let panels: Vec<_> = dashboard.rows.iter().flat_map(|row| &row.panels).collect();
            for panel in &panels {
                let place = format!("{}, {}", dashboard.title, panel.title);
                if !UNITS.contains(&panel.unit) {
                    self.report(&place, format!("the unit {:?} is none of {UNITS:?}", panel.unit));
                }
                for query in &panel.queries {
                    if let Some(node) = self.expression(&place, &query.expr) {
                        self.windows(&place, &node);
                    }
                }
            }
            for row in &dashboard.rows {
                // The same figure stands above and as a graph below.
                self.no_doubles(dashboard.title, row.panels.iter().map(|panel| panel.title));
            }
            match dashboard.json() {
                Ok(json) => self.data_sources(dashboard.title, &json),
                Err(error) => self.report(dashboard.title, format!("{error:#}")),
            }
        }
    }

    pub(super) fn groups(&mut self, groups: &[Group]) {
        let recordings = || groups.iter().flat_map(|group| &group.recordings);
        self.recorded.extend(recordings().map(|rule| rule.name.clone()));
        for rule in recordings() {
            self.expression(&rule.name, &rule.expr);
        }
        let alerts: Vec<_> = groups.iter().flat_map(|group| &group.alerts).collect();
        self.no_doubles("alerts", alerts.iter().map(|alert| alert.name.as_str()));
        for alert in alerts {
            self.alert(alert);
        }
    }

    fn alert(&mut self, alert: &Alert) {
        let place = alert.name.as_str();
        self.expression(place, &alert.expr);
        if alert.summary.is_empty() || alert.summary.len() > LONGEST_SUMMARY {
            self.report(place, format!("the summary has to have 1 to {LONGEST_SUMMARY} bytes"));
        }
        if alert.description.is_empty() {
            self.report(place, "there is no description");
        }
        if !alert.holds_for.ends_with(['m', 'h']) {
            self.report(place, "how long the condition has to hold is missing");
        }
        // What fires always is never silent.
        let is_always = alert.expr == "vector(1)";
        let wanted = [Of::Firing, Of::Edge].into_iter().chain((!is_always).then_some(Of::Silence));
        for of in wanted {
            if !alert.cases.iter().any(|case| case.of == of) {
                self.report(place, format!("no test of {of:?}"));
            }
        }
        for case in &alert.cases {
            self.case(place, case);
        }
    }

    /// Tests put in what the server really has, for longer than they look.
    fn case(&mut self, place: &str, case: &Case) {
        for (series, values) in &case.series {
            if let Some(node) = self.parsed(place, series) {
                node.selectors().into_iter().for_each(|selector| self.selector(place, selector));
            }
            match count_values(values) {
                Ok(Some(count)) if count <= case.at => {
                    let problem = format!("{series} ends before minute {}: add values, or `stale`", case.at);
                    self.report(place, problem);
                }
                Ok(_) => {}
                Err(error) => self.report(place, format!("{values:?}: {error}")),
            }
        }
    }

    /// Each alert has its page, and each page its alert.
    pub(super) fn runbooks(&mut self, groups: &[Group], pages: &[(String, String)]) {
        let alerts: BTreeSet<_> =
            groups.iter().flat_map(|group| &group.alerts).map(|alert| &alert.name).collect();
        for alert in &alerts {
            if !pages.iter().any(|(name, _)| name == *alert) {
                self.report(alert, "there is no page of it in docs/runbooks");
            }
        }
        for (name, text) in pages {
            if !alerts.contains(name) {
                self.report(name, "the page is of no alert");
            }
            if text.lines().next() != Some(&format!("# {name}")) {
                self.report(name, "the page does not begin with its name");
            }
            let found: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            if found != SECTIONS {
                self.report(name, format!("the page's sections are {found:?}, not {SECTIONS:?}"));
            }
            let queries = text.split("```promql\n").skip(1).filter_map(|block| block.split("```").next());
            for query in queries.flat_map(str::lines) {
                self.expression(name, query);
            }
        }
    }

    fn parsed(&mut self, place: &str, text: &str) -> Option<Node> {
        promql::parse(text).map_err(|error| self.report(place, format!("{error:#}"))).ok()
    }

    fn expression(&mut self, place: &str, text: &str) -> Option<Node> {
        let node = self.parsed(place, text)?;
        node.each(&mut |part, around| match part {
            Node::Selector(selector) => {
                self.selector(place, selector);
                self.is_used_as_what_it_is(place, selector, around.last().copied());
            }
            Node::Call { function, arguments } => self.call(place, function, arguments),
            Node::Aggregation { by, .. } => self.labels_are_below(place, by, part),
            Node::Operation { matched, .. } => self.labels_are_below(place, matched, part),
            Node::Literal => {}
        });
        Some(node)
    }

    /// The labels of a series; none if there is no such series.
    fn labels_of(&self, name: &str) -> Option<BTreeSet<&str>> {
        if self.recorded.contains(name) {
            return Some(["job"].into());
        }
        let family = self.families.of(name);
        if family.is_none() && name != "up" {
            return None;
        }
        let own = family.iter().flat_map(|family| &family.labels).map(String::as_str);
        let own = own.filter(|label| *label != "le" || name.ends_with("_bucket"));
        Some(own.chain(OF_TARGETS).collect())
    }

    fn selector(&mut self, place: &str, selector: &Selector) {
        let Some(known) = self.labels_of(&selector.name) else {
            return self.report(place, format!("there is no series {}", selector.name));
        };
        let unknown: Vec<_> =
            selector.labels.iter().filter(|label| !known.contains(label.as_str())).cloned().collect();
        for label in unknown {
            self.report(place, format!("{} has no label {label}", selector.name));
        }
    }

    fn is_used_as_what_it_is(&mut self, place: &str, selector: &Selector, inside: Option<&Node>) {
        let Some(family) = self.families.of(&selector.name) else { return };
        let function = match inside {
            Some(Node::Call { function, .. }) => function.as_str(),
            _ => "",
        };
        match family.kind {
            Kind::Gauge if NOT_OF_GAUGES.contains(&function) => {
                self.report(place, format!("{function} of {}, which is a gauge", selector.name));
            }
            Kind::Counter | Kind::Histogram if !OF_COUNTERS.contains(&function) => {
                self.report(place, format!("{} is a counter: take its rate, then sum", selector.name));
            }
            _ => {}
        }
    }

    fn call(&mut self, place: &str, function: &str, arguments: &[Node]) {
        if OF_COUNTERS.contains(&function) && !matches!(arguments, [Node::Selector(_)]) {
            self.report(
                place,
                format!("{function} of something that is no series: take the rate first, then sum"),
            );
        }
        if function == "histogram_quantile" {
            let is_sum_of_rates = matches!(arguments, [_, Node::Aggregation { operator, by, arguments }]
                if operator == "sum" && by.iter().any(|label| label == "le")
                    && matches!(&arguments[..], [Node::Call { function, .. }] if function == "rate"));
            if !is_sum_of_rates {
                self.report(place, "histogram_quantile of something else than sum by (le, …) (rate(…))");
            }
        }
    }

    fn labels_are_below(&mut self, place: &str, labels: &[String], node: &Node) {
        let selectors = node.selectors();
        let known: BTreeSet<_> = selectors
            .iter()
            .filter_map(|selector| self.labels_of(&selector.name))
            .flatten()
            .map(str::to_owned)
            .collect();
        for label in labels.iter().filter(|label| !known.contains(*label)) {
            self.report(place, format!("nothing in it has a label {label}"));
        }
    }

    /// A fixed window shows other things than what is between two points.
    fn windows(&mut self, place: &str, node: &Node) {
        for window in node.selectors().into_iter().filter_map(|selector| selector.range.as_deref()) {
            if !WINDOWS_OF_PANELS.contains(&window) {
                self.report(place, format!("the window [{window}] is none of {WINDOWS_OF_PANELS:?}"));
            }
        }
    }

    /// A data source's id is another one in each Grafana.
    fn data_sources(&mut self, place: &str, json: &Value) {
        match json {
            Value::Object(fields) => {
                let source = fields.get("datasource");
                let uid = source.map(|source| source.get("uid").and_then(Value::as_str).unwrap_or_default());
                if uid.is_some_and(|uid| uid != "${datasource}") {
                    self.report(place, format!("the data source {uid:?} is no variable"));
                }
                fields.values().for_each(|value| self.data_sources(place, value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.data_sources(place, value)),
            _ => {}
        }
    }

    fn no_doubles<'b>(&mut self, place: &str, titles: impl Iterator<Item = &'b str>) {
        let mut seen = BTreeSet::new();
        for title in titles {
            if !seen.insert(title) {
                self.report(place, format!("{title:?} is there twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::{figure, graph, query, row};
    use super::super::rules::Severity;
    use super::*;

    const FAMILIES: &str = "| `a_total` | counter |  | x: 1 | A |\n| `g` | gauge |  | *y* | G |\n\
        | `d_seconds` | histogram | seconds | *x* | D |\n";

    fn problems(look: impl FnOnce(&mut Linter<'_>)) -> Vec<String> {
        let families = Families::of_page(FAMILIES).unwrap();
        let mut linter = Linter::new(&families);
        look(&mut linter);
        linter.into_problems()
    }

    #[track_caller]
    fn assert_found(found: &[String], wanted: &str) {
        assert!(found.len() == 1 && found[0].contains(wanted), "{wanted:?} is not what was found: {found:?}");
    }

    #[test]
    fn good_expressions_are_let_through() {
        for text in [
            "sum by (x) (rate(a_total[5m])) / clamp_min(sum(rate(a_total{x!=\"1\"}[5m])), 1e-9)",
            "max by (job, y) (max_over_time(g[5m])) > 0 and on (job) up == 1",
            "histogram_quantile(0.95, sum by (le, x) (rate(d_seconds_bucket[5m])))",
        ] {
            assert_eq!(problems(|linter| drop(linter.expression("here", text))), [""; 0], "{text}");
        }
    }

    #[test]
    fn bad_expressions_are_refused() {
        for (text, wanted) in [
            ("rate(b_total[5m])", "no series b_total"),
            ("rate(a_total{z=\"1\"}[5m])", "a_total has no label z"),
            ("sum by (z) (rate(a_total[5m]))", "nothing in it has a label z"),
            ("g + on (x) g", "nothing in it has a label x"),
            ("sum(a_total)", "a_total is a counter"),
            ("d_seconds_bucket{le=\"1\"}", "d_seconds_bucket is a counter"),
            ("rate(g[5m])", "rate of g, which is a gauge"),
            ("rate(sum(g))", "rate of something that is no series"),
            ("histogram_quantile(0.9, rate(d_seconds_bucket[5m]))", "something else than sum by (le"),
            ("sum by (le) (rate(d_seconds_count[5m]))", "nothing in it has a label le"),
            ("sum(", "a name is missing"),
        ] {
            assert_found(&problems(|linter| drop(linter.expression("here", text))), wanted);
        }
    }

    #[test]
    fn bad_panels_are_refused() {
        let of = |panels| Dashboard { title: "T", about: "", rows: vec![row("R", panels)] };
        let good = || graph("A", "short", [query("sum(rate(a_total[$__rate_interval]))", "")]);
        let found = |panels| problems(|linter| linter.dashboards(&[of(panels)]));
        assert_eq!(found([good(), figure("B", "s", "sum(g)")]), [""; 0]);
        assert_found(&found([good(), figure("B", "", "sum(g)")]), "the unit");
        assert_found(&found([good(), good()]), "twice");
        assert_found(&found([good(), figure("B", "s", "sum(rate(a_total[5m]))")]), "the window [5m]");
        let json = serde_json::json!({"panels": [{"datasource": {"uid": "prometheus"}}]});
        assert_found(&problems(|linter| linter.data_sources("T", &json)), "no variable");
        let json = serde_json::json!({"datasource": "Prometheus"});
        assert_found(&problems(|linter| linter.data_sources("T", &json)), "no variable");
    }

    fn alert() -> Alert {
        Alert::new(Severity::Page, "Much", "5m", "g > 1")
            .says("much", "there is much")
            .fires(3, "", &[("g", "2x5")])
            .silent(3, &[("g", "0x5")])
            .edge("is silent once", 3, &[("g", "2 stale")])
    }

    #[test]
    fn bad_alerts_are_refused() {
        let found = |alert: Alert| problems(|linter| linter.alert(&alert));
        assert_eq!(found(alert()), [""; 0]);
        assert_found(&found(Alert { summary: String::new(), ..alert() }), "summary");
        assert_found(&found(Alert { description: String::new(), ..alert() }), "description");
        assert_found(&found(Alert { holds_for: "", ..alert() }), "how long");
        assert_found(&found(alert().silent(9, &[("g", "0x5")])), "ends before minute 9");
        assert_found(&found(alert().silent(3, &[("g{z=\"1\"}", "0x5")])), "no label z");
        let mut untested = alert();
        untested.cases.remove(1);
        assert_found(&found(untested), "no test of Silence");
        let twice = [Group { name: "g", recordings: vec![], alerts: vec![alert(), alert()] }];
        assert_found(&problems(|linter| linter.groups(&twice)), "twice");
    }

    #[test]
    fn pages_and_alerts_belong_together() {
        let groups = [Group { name: "g", recordings: vec![], alerts: vec![alert()] }];
        let page = |name: &str| {
            let sections =
                SECTIONS.map(|section| format!("## {section}\n\n```promql\nsum(g)\n```\n")).concat();
            (name.to_owned(), format!("# {name}\n{sections}"))
        };
        let found = |pages: &[(String, String)]| problems(|linter| linter.runbooks(&groups, pages));
        assert_eq!(found(&[page("Much")]), [""; 0]);
        assert_found(&found(&[]), "no page of it");
        assert_found(&found(&[page("Much"), page("Little")]), "of no alert");
        assert_found(&found(&[("Much".into(), page("Little").1)]), "begin with its name");
        assert_found(&found(&[("Much".into(), "# Much\n".into())]), "sections");
        let (name, text) = page("Much");
        assert_found(&found(&[(name, text.replacen("sum(g)", "sum(a_total)", 1))]), "is a counter");
    }
}

//! Dashboards of Grafana out of few words: a panel is a title, a unit and queries.

use serde_json::{Value, json};

use super::promql;

/// The form of Grafana's dashboards that is written.
const SCHEMA_VERSION: u32 = 42;
/// Grafana's grid is so many columns wide.
const COLUMNS: usize = 24;
const PANEL_HEIGHT: usize = 8;
/// What every query is about: the chosen jobs and instances. What rules recorded is of a job as a whole.
const OF_PROCESSES: &str = r#"job=~"$job",instance=~"$instance""#;
const OF_RULES: &str = r#"job=~"$job""#;

/// A page of panels.
pub(super) struct Dashboard {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) rows: Vec<Row>,
}

/// Panels side by side under a title.
pub(super) struct Row {
    title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// What is drawn.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) queries: Vec<Query>,
    drawn: Drawn,
    /// From where on a value is yellow, and red.
    limits: Vec<(f64, &'static str)>,
    /// What low values are drawn in, where limits are.
    below: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Drawn {
    Lines,
    Stacked,
    /// A bar a day, stacked.
    Days,
    /// The newest value in large digits.
    Figure,
}

/// An expression and what its series are called.
pub(super) struct Query {
    pub(super) expr: String,
    legend: String,
}

pub(super) fn row<const N: usize>(title: &'static str, panels: [Panel; N]) -> Row {
    Row { title, panels: panels.into() }
}

/// Lines over time.
pub(super) fn graph<const N: usize>(title: &'static str, unit: &'static str, queries: [Query; N]) -> Panel {
    Panel { title, unit, queries: queries.into(), drawn: Drawn::Lines, limits: Vec::new(), below: "green" }
}

/// The newest value.
pub(super) fn figure(title: &'static str, unit: &'static str, expr: impl Into<String>) -> Panel {
    Panel { drawn: Drawn::Figure, ..graph(title, unit, [query(expr, "")]) }
}

/// What was counted each day.
pub(super) fn days(title: &'static str, unit: &'static str, counter: &str, label: &str) -> Panel {
    let expr = format!("sum by ({label}) (increase({counter}[1d]))");
    Panel { drawn: Drawn::Days, ..graph(title, unit, [query(expr, legend_of(label))]) }
}

pub(super) fn query(expr: impl Into<String>, legend: impl Into<String>) -> Query {
    Query { expr: expr.into(), legend: legend.into() }
}

/// A counter's rate, by a label.
pub(super) fn rate_by(counter: &str, label: &str) -> Query {
    query(format!("sum by ({label}) ({})", rate(counter)), legend_of(label))
}

/// A gauge's sum over all nodes, by a label.
pub(super) fn sum_by(gauge: &str, label: &str) -> Query {
    query(format!("sum by ({label}) ({gauge})"), legend_of(label))
}

/// A counter's rate over all series.
pub(super) fn rate_of(counter: &str) -> String {
    format!("sum({})", rate(counter))
}

/// What share one rate has of another; 0 where nothing happens.
pub(super) fn share(part: &str, whole: &str) -> String {
    format!("{} / clamp_min({}, 1e-9)", rate_of(part), rate_of(whole))
}

/// The time that 95 % of a histogram's values are below, by a label. `histogram` may have matchers.
pub(super) fn p95_by(histogram: &str, label: &str) -> Query {
    query(quantile("0.95", histogram, &format!("le, {label}")), legend_of(label))
}

/// Quantiles over all series.
pub(super) fn quantiles(histogram: &str) -> [Query; 3] {
    [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")]
        .map(|(of, name)| query(quantile(of, histogram, "le"), name))
}

/// The time that 95 % of all of a histogram's values are below.
pub(super) fn p95(histogram: &str) -> String {
    quantile("0.95", histogram, "le")
}

fn quantile(quantile: &str, histogram: &str, by: &str) -> String {
    let (name, matchers) = histogram.split_at(histogram.find('{').unwrap_or(histogram.len()));
    let buckets = rate(&format!("{name}_bucket{matchers}"));
    format!("histogram_quantile({quantile}, sum by ({by}) ({buckets}))")
}

fn rate(counter: &str) -> String {
    format!("rate({counter}[$__rate_interval])")
}

/// How Grafana names series by labels.
fn legend_of(labels: &str) -> String {
    labels.split(", ").map(|label| format!("{{{{{label}}}}}")).collect::<Vec<_>>().join(" ")
}

impl Panel {
    /// Areas on top of each other, where a sum is of interest as well.
    pub(super) fn stacked(self) -> Self {
        Self { drawn: Drawn::Stacked, ..self }
    }

    /// From where on it is yellow, and red.
    pub(super) fn limits(self, yellow: f64, red: f64) -> Self {
        Self { limits: vec![(yellow, "yellow"), (red, "red")], ..self }
    }

    /// Red at first, yellow and green from there on: where more is better.
    pub(super) fn wanted(self, yellow: f64, green: f64) -> Self {
        Self { limits: vec![(yellow, "yellow"), (green, "green")], below: "red", ..self }
    }

    fn json(&self, id: usize, place: &Value) -> anyhow::Result<Value> {
        let mut targets = Vec::new();
        for (query, name) in self.queries.iter().zip('A'..) {
            let mut target = json!({
                "refId": name.to_string(),
                "datasource": datasource(),
                "expr": promql::scoped(&query.expr, OF_PROCESSES, OF_RULES)?,
                "legendFormat": query.legend,
                "range": true,
            });
            if self.drawn == Drawn::Days {
                target["interval"] = json!("1d");
            }
            targets.push(target);
        }
        let mut steps = vec![json!({"color": self.below, "value": null})];
        steps.extend(self.limits.iter().map(|(value, color)| json!({"color": color, "value": value})));
        let is_stacked = matches!(self.drawn, Drawn::Stacked | Drawn::Days);
        let custom = json!({
            "drawStyle": if self.drawn == Drawn::Days { "bars" } else { "line" },
            "fillOpacity": if is_stacked { 40 } else { 5 },
            "showPoints": "never",
            "stacking": {"group": "A", "mode": if is_stacked { "normal" } else { "none" }},
            "thresholdsStyle": {"mode": if self.limits.is_empty() { "off" } else { "line" }},
        });
        let options = match self.drawn {
            Drawn::Figure => json!({
                "colorMode": if self.limits.is_empty() { "none" } else { "value" },
                "graphMode": "area",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            }),
            _ => json!({
                "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
        };
        Ok(json!({
            "id": id,
            "type": if self.drawn == Drawn::Figure { "stat" } else { "timeseries" },
            "title": self.title,
            "datasource": datasource(),
            "gridPos": place,
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "min": 0,
                    "custom": if self.drawn == Drawn::Figure { json!({}) } else { custom },
                    "thresholds": {"mode": "absolute", "steps": steps},
                },
                "overrides": [],
            },
            "options": options,
            "targets": targets,
        }))
    }
}

impl Dashboard {
    /// The name of its file and of its page, without an ending.
    pub(super) fn name(&self) -> String {
        self.title.to_lowercase().replace(' ', "-")
    }

    /// The dashboard as Grafana reads it.
    pub(super) fn json(&self) -> anyhow::Result<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        for row in &self.rows {
            let place = json!({"x": 0, "y": y, "w": COLUMNS, "h": 1});
            let id = panels.len() + 1;
            panels.push(json!({
                "id": id, "type": "row", "title": row.title,
                "gridPos": place, "collapsed": false, "panels": [],
            }));
            y += 1;
            let height =
                if row.panels.iter().all(|panel| panel.drawn == Drawn::Figure) { 4 } else { PANEL_HEIGHT };
            let width = COLUMNS / row.panels.len();
            for (index, panel) in row.panels.iter().enumerate() {
                let place = json!({"x": index * width, "y": y, "w": width, "h": height});
                panels.push(panel.json(panels.len() + 1, &place)?);
            }
            y += height;
        }
        Ok(json!({
            "uid": format!("mundotango-{}", self.name()),
            "title": format!("MundoTango: {}", self.title),
            "description": self.about,
            "tags": ["mundotango"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "links": [{
                "type": "dashboards", "title": "MundoTango", "tags": ["mundotango"], "asDropdown": true,
                "includeVars": true, "keepTime": true, "icon": "external link", "targetBlank": false,
            }],
            "templating": {"list": variables()},
            "annotations": {"list": [starts()]},
            "panels": panels,
        }))
    }
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variables() -> Value {
    let of_labels = |name, label, query: &str| {
        json!({
            "type": "query", "name": name, "label": label, "datasource": datasource(),
            "query": {"query": query, "refId": name}, "definition": query,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
            "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        })
    };
    json!([
        {
            "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
            "includeAll": false, "multi": false, "refresh": 1,
        },
        of_labels("job", "Job", "label_values(cluster_nodes, job)"),
        of_labels("instance", "Node", "label_values(cluster_nodes{job=~\"$job\"}, instance)"),
    ])
}

/// Marks where processes started, as deploys and crashes explain most bends of curves.
fn starts() -> Value {
    json!({
        "name": "Starts of nodes",
        "datasource": datasource(),
        "enable": true,
        "iconColor": "blue",
        "expr": format!("changes(process_start_time_seconds{{{OF_PROCESSES}}}[$__rate_interval]) > 0"),
        "titleFormat": "{{instance}} started",
        "step": "60s",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_before_sums_and_quantiles_keep_their_buckets() {
        assert_eq!(rate_by("a_total", "x").expr, "sum by (x) (rate(a_total[$__rate_interval]))");
        assert_eq!(
            p95_by("d_seconds{y=\"1\"}", "x").expr,
            "histogram_quantile(0.95, sum by (le, x) (rate(d_seconds_bucket{y=\"1\"}[$__rate_interval])))"
        );
    }

    #[test]
    fn panels_fill_rows_of_a_page() {
        let rows = vec![
            row("One", [figure("A", "s", "a"), figure("B", "s", "b")]),
            row("Two", [graph("C", "s", [query("c", "")])]),
        ];
        let json = Dashboard { title: "Two rows", about: "", rows }.json().unwrap();
        let places: Vec<_> =
            json["panels"].as_array().unwrap().iter().map(|panel| &panel["gridPos"]).collect();
        let numbers = |place: &Value| ["x", "y", "w", "h"].map(|key| place[key].as_u64().unwrap());
        assert_eq!(
            places.into_iter().map(numbers).collect::<Vec<_>>(),
            [[0, 0, 24, 1], [0, 1, 12, 4], [12, 1, 12, 4], [0, 5, 24, 1], [0, 6, 24, 8],]
        );
        assert_eq!(json["uid"], "mundotango-two-rows");
    }
}

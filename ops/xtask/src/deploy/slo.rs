//! `cargo xtask slo-watch`: asks a Prometheus for a while whether a community keeps its objectives after a deployment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::http::Site;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// So many looks one after the other have to find the same before it counts: one scrape that failed is no outage.
const STRIKES: u32 = 3;
/// The share of requests that may fail: 99.9 % are answered.
const AVAILABILITY_BUDGET: f64 = 0.001;
/// The share of requests that may take longer than half a second: 95 % do not.
const LATENCY_BUDGET: f64 = 0.05;
/// How much faster than allowed the budget of failures may be used up: at 14.4 a month's is gone in 50 hours, the fast
/// burn of Google's SRE workbook, chapter 5.
const MAX_AVAILABILITY_BURN: f64 = 14.4;
/// The same for slow requests, whose burn cannot exceed 20: here a fifth of them is slow.
const MAX_LATENCY_BURN: f64 = 4.0;

/// What is watched, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The Prometheus, such as `https://prometheus.example.org`.
    #[arg(long, env = "PROMETHEUS_URL")]
    prometheus: String,
    /// A bearer token for it.
    #[arg(long, env = "PROMETHEUS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Which nodes: label matchers of PromQL.
    #[arg(long, default_value = r#"job="mundotango""#)]
    selector: String,
    /// How far back each look goes, as PromQL says it.
    #[arg(long, default_value = "2m")]
    window: String,
    /// With fewer requests in the window than this their ratios say nothing.
    #[arg(long, default_value_t = 30.0)]
    min_requests: f64,
}

/// Something that must not be so.
struct Condition {
    name: &'static str,
    query: String,
    /// The value above which it counts.
    limit: f64,
    /// Whether it is a ratio of requests.
    is_ratio: bool,
}

/// Watches; an error as soon as a condition held in three looks one after the other.
pub(crate) fn watch(how: &Watch) -> anyhow::Result<()> {
    let mut site = Site::new(&how.prometheus)?;
    if let Some(token) = how.token.as_ref().filter(|token| !token.is_empty()) {
        site.sign_in(token.clone());
    }
    let (conditions, requests) = conditions(&how.selector, &how.window);
    let mut strikes = Strikes::default();
    let start = Instant::now();
    let length = Duration::from_secs(how.minutes * 60);
    loop {
        let found = look(&site, &conditions, &requests, how.min_requests);
        let seconds = start.elapsed().as_secs();
        println!("{seconds:>4} s: {}", if found.is_empty() { "well".to_owned() } else { found.join("; ") });
        if let Some(name) = strikes.count(&found) {
            anyhow::bail!("in {STRIKES} looks one after the other: {name}");
        }
        if start.elapsed() + LOOK_INTERVAL > length {
            // What is wrong only at the end would be wrong a moment later too.
            anyhow::ensure!(found.is_empty(), "at the end: {}", found.join("; "));
            return Ok(());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// What is looked at, and the query of how many requests there were.
fn conditions(nodes: &str, window: &str) -> (Vec<Condition>, String) {
    let rate = |metric: &str, and: &str| format!("sum(rate({metric}{{{nodes}{and}}}[{window}]))");
    let failed = rate("http_requests_total", r#",status_code=~"5..""#);
    let all = rate("http_requests_total", "");
    let fast = rate("http_request_duration_seconds_bucket", r#",le="0.5""#);
    let timed = rate("http_request_duration_seconds_count", "");
    let one = |name, query, limit, is_ratio| Condition { name, query, limit, is_ratio };
    let conditions = vec![
        one(
            "the budget of failed requests burns too fast",
            format!("({failed} or vector(0)) / {all} / {AVAILABILITY_BUDGET}"),
            MAX_AVAILABILITY_BURN,
            true,
        ),
        one(
            "the budget of slow requests burns too fast",
            format!("(1 - {fast} / {timed}) / {LATENCY_BUDGET}"),
            MAX_LATENCY_BURN,
            true,
        ),
        one(
            "a part that nodes need does not answer",
            format!("max(1 - part_healthy{{{nodes}}})"),
            0.0,
            false,
        ),
        one("actors hang", format!("max(actors_hung{{{nodes}}}) or vector(0)"), 0.0, false),
        one(
            "nodes start again and again",
            format!("max(changes(process_start_time_seconds{{{nodes}}}[{window}])) or vector(0)"),
            1.0,
            false,
        ),
        // Nobody scrapes, or nobody is there.
        one(
            "no node is scraped",
            format!("absent(process_start_time_seconds{{{nodes}}}) or vector(0)"),
            0.0,
            false,
        ),
    ];
    (conditions, format!("sum(increase(http_requests_total{{{nodes}}}[{window}]))"))
}

/// What is wrong now, by name and value.
fn look(site: &Site, conditions: &[Condition], requests: &str, min_requests: f64) -> Vec<String> {
    let requests = match value(site, requests) {
        Ok(requests) => requests.unwrap_or(0.0),
        Err(error) => return vec![format!("Prometheus does not answer: {error:#}")],
    };
    let counts = |one: &&Condition| !one.is_ratio || requests >= min_requests;
    let found = conditions.iter().filter(counts).filter_map(|one| match value(site, &one.query) {
        Ok(Some(value)) if value > one.limit => Some(format!("{}: {value:.2}", one.name)),
        Ok(_) => None,
        Err(error) => Some(format!("Prometheus does not answer: {error:#}")),
    });
    found.collect()
}

fn value(site: &Site, query: &str) -> anyhow::Result<Option<f64>> {
    let answer = site.query("/api/v1/query", "query", query)?.with_status(&[200])?;
    first(&answer).with_context(|| query.to_owned())
}

/// The value of an instant vector's only element; none for an empty vector and for what is no number (0 / 0).
fn first(answer: &Value) -> anyhow::Result<Option<f64>> {
    anyhow::ensure!(answer["status"] == "success", "{answer}");
    let elements = answer["data"]["result"].as_array().context("no vector")?;
    let Some(element) = elements.first() else {
        return Ok(None);
    };
    let value: f64 = element["value"][1].as_str().context("no value")?.parse()?;
    Ok(Some(value).filter(|value| !value.is_nan()))
}

/// How often one after the other each thing was found.
#[derive(Default)]
struct Strikes(BTreeMap<String, u32>);

impl Strikes {
    /// Counts a look; what was now found for the third time.
    fn count(&mut self, found: &[String]) -> Option<String> {
        let names: Vec<_> = found.iter().map(|one| one.split(':').next().unwrap_or_default()).collect();
        self.0.retain(|name, _| names.contains(&name.as_str()));
        for name in &names {
            *self.0.entry((*name).to_owned()).or_default() += 1;
        }
        self.0.iter().find(|(_, times)| **times >= STRIKES).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_is_found_three_times_running_counts() {
        let mut strikes = Strikes::default();
        assert_eq!(strikes.count(&found(&["slow: 5", "hung: 1"])), None);
        assert_eq!(strikes.count(&found(&["slow: 6"])), None);
        assert_eq!(strikes.count(&found(&["hung: 1"])), None);
        assert_eq!(strikes.count(&found(&["slow: 7", "hung: 2"])), None);
        assert_eq!(strikes.count(&found(&["hung: 2"])), Some("hung".to_owned()));
    }

    #[test]
    fn an_answer_without_a_number_is_no_value() {
        let of = |result: Value| first(&json!({ "status": "success", "data": { "result": result } }));
        assert_eq!(of(json!([])).unwrap(), None);
        assert_eq!(of(json!([{ "value": [1.5, "NaN"] }])).unwrap(), None);
        assert_eq!(of(json!([{ "value": [1.5, "14.5"] }])).unwrap(), Some(14.5));
        assert!(first(&json!({ "status": "error", "error": "parse error" })).is_err());
    }

    #[test]
    fn ratios_are_of_rates_of_the_nodes_that_are_meant() {
        let (conditions, requests) = conditions(r#"namespace="production""#, "2m");
        for query in conditions.iter().map(|one| &one.query).chain([&requests]) {
            assert!(query.contains(r#"namespace="production""#), "{query}");
        }
        assert!(conditions[0].query.starts_with(
            r#"(sum(rate(http_requests_total{namespace="production",status_code=~"5.."}[2m])) or vector(0)) /"#
        ));
    }
}

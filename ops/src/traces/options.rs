//! The `[traces]` section.

use std::time::Duration;

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use crate::{Secret, duration as friendly};

/// Where OTLP receivers take traces by HTTP.
const PATH: &str = "/v1/traces";
/// Most spans that may wait: about 1 KiB each.
const MOST_WAITING: usize = 1 << 20;

/// The `[traces]` section: where spans go, and of which traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct TracesOptions {
    /// The address of an OTLP receiver that takes protobuf by HTTP, such as `http://collector:4318`; without a path,
    /// `/v1/traces` is meant. Without an address nothing is traced. `OTEL_EXPORTER_OTLP_ENDPOINT` and
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` set it as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Headers of each request to the receiver, as `name=value,name=value` with values percent-encoded.
    /// `OTEL_EXPORTER_OTLP_HEADERS` sets them as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Secret>,
    /// The share of all traces that is recorded, from 0 to 1. It is decided where a trace begins.
    pub ratio: f64,
    /// How long the receiver may take for a request.
    #[serde(with = "friendly")]
    pub timeout: Duration,
    /// Spans that wait for the receiver; more are dropped and counted.
    pub queue_spans: usize,
    /// What the receiver knows all nodes as. `OTEL_SERVICE_NAME` sets it as well.
    pub service_name: String,
}

/// A ratio is never NaN where it was checked.
impl Eq for TracesOptions {}

impl Default for TracesOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: None,
            ratio: 0.01,
            timeout: Duration::from_secs(5),
            queue_spans: 4096,
            service_name: "mundotango".to_owned(),
        }
    }
}

impl TracesOptions {
    /// The address that spans are posted to.
    pub(super) fn url(&self) -> Option<Result<reqwest::Url, String>> {
        let endpoint = self.endpoint.as_deref().map(str::trim).filter(|endpoint| !endpoint.is_empty())?;
        Some(read_url(endpoint))
    }

    /// The headers, by name.
    pub(super) fn header_map(&self) -> Result<reqwest::header::HeaderMap, String> {
        let text = self.headers.as_ref().map(Secret::expose).unwrap_or_default();
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').ok_or("write name=value,name=value")?;
                let name = name.trim().parse::<reqwest::header::HeaderName>();
                let name = name.map_err(|_| "one of the names is no header's")?;
                let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
                let value = reqwest::header::HeaderValue::from_bytes(&value);
                let mut value = value.map_err(|_| "one of the values is no header's")?;
                value.set_sensitive(true);
                Ok((name, value))
            })
            .collect()
    }

    /// All that cannot work, each with the option's name first.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(Err(problem)) = self.url() {
            problems.push(format!("traces.endpoint: {problem}"));
        }
        if let Err(problem) = self.header_map() {
            problems.push(format!("traces.headers: {problem}"));
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            problems.push("traces.ratio: must be from 0 to 1".to_owned());
        }
        if self.timeout.is_zero() {
            problems.push("traces.timeout: must be more than 0s".to_owned());
        }
        if !(1..=MOST_WAITING).contains(&self.queue_spans) {
            problems.push(format!("traces.queue_spans: must be from 1 to {MOST_WAITING}"));
        }
        if self.service_name.trim().is_empty() {
            problems.push("traces.service_name: must not be empty".to_owned());
        }
        problems
    }
}

fn read_url(endpoint: &str) -> Result<reqwest::Url, String> {
    let form = "write an address such as http://collector:4318";
    let mut url: reqwest::Url = endpoint.parse().map_err(|_| form.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(form.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("passwords belong into traces.headers".to_owned());
    }
    if url.path() == "/" {
        url.set_path(PATH);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(endpoint: &str, headers: &str) -> TracesOptions {
        let headers = Some(Secret::new(headers.to_owned()));
        TracesOptions { endpoint: Some(endpoint.to_owned()), headers, ..TracesOptions::default() }
    }

    #[test]
    fn an_address_without_a_path_is_completed() {
        let url = |endpoint| options(endpoint, "").url().unwrap().map(String::from);
        assert_eq!(url("http://collector:4318").unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(url(" http://collector:4318/ ").unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(url("https://x.example/otlp/v1/traces").unwrap(), "https://x.example/otlp/v1/traces");
        assert!(TracesOptions::default().url().is_none() && options(" ", "").url().is_none());
        for wrong in ["collector:4318", "grpc://collector:4317", "http://u:p@collector", "://"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_read_as_opentelemetry_has_them() {
        let headers = options("http://x", "Authorization=Basic%20YTpi, x-tenant = 7 ,").header_map().unwrap();
        assert_eq!((headers["authorization"].as_bytes(), headers.len()), (&b"Basic YTpi"[..], 2));
        for wrong in ["novalue", "na me=x", "x=%0A"] {
            assert!(options("http://x", wrong).header_map().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(TracesOptions::default().problems(), Vec::<String>::new());
        let wrong = TracesOptions {
            ratio: f64::NAN,
            timeout: Duration::ZERO,
            queue_spans: 0,
            service_name: " ".to_owned(),
            ..options("nowhere", "secret")
        };
        let problems = wrong.problems();
        assert_eq!(problems.len(), 6, "{problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("secret")), "{problems:?}");
    }
}

//! Requests of a rehearsal's users. Each is sent once and counts as its user sees it.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

/// How long one answer may take before it counts as failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Where requests go: the balancer, or one node.
#[derive(Clone)]
pub(super) struct Door {
    agent: Agent,
    base: String,
}

impl Door {
    /// The door at an address such as `http://127.0.0.1:8080`, with connections of its own that it keeps open.
    pub(super) fn new(base: &str) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        Self { agent, base: base.to_owned() }
    }

    /// The status and the JSON of an answer to a GET.
    pub(super) fn get(&self, path: &str, token: Option<&str>) -> anyhow::Result<(u16, Value)> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        answer(request.call())
    }

    /// The same of a POST with JSON.
    pub(super) fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<(u16, Value)> {
        let mut request =
            Request::post(format!("{}{path}", self.base)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(self.agent.run(request.body(serde_json::to_vec(body)?)?))
    }
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<(u16, Value)> {
    let mut response = response?;
    let status = response.status().as_u16();
    let bytes = response.body_mut().read_to_vec()?;
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_else(|_| text())))
}

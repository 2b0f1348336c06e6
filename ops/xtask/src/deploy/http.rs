//! Requests to one site, over TLS where its address says so.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::TlsConfig;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A site, whose addresses all begin alike.
pub(super) struct Site {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// What a site answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    /// `Null` where it is not JSON.
    pub(super) body: Value,
}

impl Site {
    /// A site by its address, such as `https://community.example.org`.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "{url} does not begin with http:// or https://"
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            // A redirection is an answer too, and would take the token elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        Ok(Self { agent, base: url.trim_end_matches('/').to_owned(), token: None })
    }

    /// Signs all further requests.
    pub(super) fn sign_in(&mut self, token: String) {
        self.token = Some(token);
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// An answer to a request without a body.
    pub(super) fn ask(&self, method: &str, path: &str) -> anyhow::Result<Answer> {
        let request = self.request(method, path).body(())?;
        Self::answer(self.agent.run(request)).with_context(|| format!("{method} {path}"))
    }

    /// An answer to a request with JSON.
    pub(super) fn tell(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let request = self.request(method, path).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(body)?)?;
        Self::answer(self.agent.run(request)).with_context(|| format!("{method} {path}"))
    }

    /// An answer to `GET path?name=value`.
    pub(super) fn query(&self, path: &str, name: &str, value: &str) -> anyhow::Result<Answer> {
        let mut request = self.agent.get(format!("{}{path}", self.base)).query(name, value);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Self::answer(request.call()).with_context(|| format!("GET {path}"))
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Answer> {
        let mut response = response?;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let bytes = response.body_mut().read_to_vec()?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status: response.status().as_u16(), content_type, body })
    }
}

impl Answer {
    /// The body, if the status is one of those that are right.
    pub(super) fn with_status(self, right: &[u16]) -> anyhow::Result<Value> {
        anyhow::ensure!(right.contains(&self.status), "answered {}: {}", self.status, self.body);
        Ok(self.body)
    }
}

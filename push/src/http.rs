//! One request to a push service: bounded in time, in bytes, and in where it may lead.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mundotango_ops::public_network::{NotPublic, PublicOnly};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, header};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

use crate::error::{PushError, SetupError};

/// Most bytes of an answer that are read. Errors have some hundred.
const MAX_ANSWER: usize = 4 * 1024;
/// Most bytes of an answer that an error quotes.
const MAX_QUOTE: usize = 200;
/// The longest wait that a service may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// How long an unused connection to APNs stays open: Apple takes frequent new ones for an attack.
const APNS_IDLE: Duration = Duration::from_hours(1);
/// How often an HTTP/2 connection to APNs is probed, so that a dead one is noticed before it is needed.
const APNS_PING: Duration = Duration::from_mins(1);

/// Makes the clients of all services.
pub(crate) struct Clients {
    tls: ClientConfig,
    timeout: Duration,
}

impl Clients {
    /// Trusts Mozilla's list of authorities, and others besides.
    pub(crate) fn new(
        authorities: Vec<CertificateDer<'static>>,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let failed = |error: rustls::Error| SetupError::Client(error.to_string());
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for authority in authorities {
            roots.add(authority).map_err(failed)?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls, timeout })
    }

    /// For the endpoints of users. With `private` they may lie in any network.
    pub(crate) fn for_endpoints(&self, private: bool) -> Result<Client, SetupError> {
        let builder = self.builder(&[b"h2", b"http/1.1"]);
        let builder = if private { builder } else { builder.https_only(true).dns_resolver(PublicOnly) };
        built(builder)
    }

    /// For a service that the operator has named.
    pub(crate) fn for_service(&self) -> Result<Client, SetupError> {
        built(self.builder(&[b"h2", b"http/1.1"]))
    }

    /// For APNs, which speaks HTTP/2 alone.
    pub(crate) fn for_apns(&self) -> Result<Client, SetupError> {
        let builder = self
            .builder(&[b"h2"])
            .http2_prior_knowledge()
            .pool_idle_timeout(APNS_IDLE)
            .http2_keep_alive_interval(APNS_PING)
            .http2_keep_alive_timeout(self.timeout)
            .http2_keep_alive_while_idle(true);
        built(builder)
    }

    fn builder(&self, protocols: &[&[u8]]) -> ClientBuilder {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(self.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(8)
            .user_agent("MundoTango")
    }
}

fn built(builder: ClientBuilder) -> Result<Client, SetupError> {
    builder.build().map_err(|error| SetupError::Client(reason(&error)))
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// The beginning of the body: what came in time, [`MAX_ANSWER`] bytes at most.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The answer in words, for an error: the status, and the beginning of the body on one line.
    pub(crate) fn describe(&self) -> String {
        let body = &self.body[..self.body.len().min(MAX_QUOTE)];
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let body: String = String::from_utf8_lossy(body).chars().map(plain).collect();
        format!("{} {}", self.status, body.trim()).trim_end().to_owned()
    }

    /// A failure that passes.
    pub(crate) fn temporary(&self) -> PushError {
        PushError::Temporary { why: self.describe(), retry_after: self.retry_after }
    }

    /// Whether the status alone says that the failure passes.
    pub(crate) fn is_temporary(&self) -> bool {
        self.status.is_server_error()
            || matches!(
                self.status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            )
    }
}

/// Sends a request once, and waits for the answer no longer than `timeout`. The status decides; a body that
/// does not come in time is left out.
pub(crate) async fn send(request: RequestBuilder, timeout: Duration) -> Result<Answer, PushError> {
    let deadline = Instant::now() + timeout;
    let mut response = match timeout_at(deadline, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(failure(error)),
        Err(_) => return Err(PushError::temporary(format!("no answer within {timeout:?}"))),
    };
    let mut answer =
        Answer { status: response.status(), retry_after: retry_after(&response), body: Vec::new() };
    while answer.body.len() < MAX_ANSWER {
        let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await else { break };
        let wanted = chunk.len().min(MAX_ANSWER - answer.body.len());
        answer.body.extend_from_slice(&chunk[..wanted]);
        tokio::task::consume_budget().await;
    }
    Ok(answer)
}

/// Why there is no answer. A private address stays private tomorrow, all else may pass.
fn failure(error: reqwest::Error) -> PushError {
    let error = error.without_url();
    if NotPublic::caused(&error) {
        return PushError::refused(NotPublic.to_string());
    }
    if error.is_builder() {
        return PushError::refused(reason(&error));
    }
    PushError::temporary(reason(&error))
}

/// An error with its causes, on one line.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    mundotango_ops::retry_after(value, SystemTime::now(), MAX_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_quoted_short_and_on_one_line() {
        let body = format!("no\r\nsuch\u{1b}[2J {}", "é".repeat(5_000)).into_bytes();
        let answer = Answer { status: StatusCode::BAD_REQUEST, retry_after: None, body };
        let text = answer.describe();
        assert!(text.starts_with("400 Bad Request no  such [2J é"), "{text}");
        assert!(text.len() < 300 && !text.contains(char::is_control), "{text}");
    }

    #[tokio::test]
    async fn of_an_endless_answer_only_the_beginning_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 1_024]).await.is_ok() {}
        });
        // The answer has no end, so reading all of it would take the hour.
        let hour = Duration::from_hours(1);
        let client = Clients::new(Vec::new(), hour).unwrap().for_service().unwrap();
        let sent = tokio::time::timeout(Duration::from_mins(1), send(client.post(url), hour));
        let answer = sent.await.expect("the rest is read as well").unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (400, MAX_ANSWER));
        server.await.unwrap();
    }
}

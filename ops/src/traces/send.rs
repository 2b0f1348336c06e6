//! One request to the collector: OTLP by HTTP, in protobuf.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};

use super::options::TracesOptions;

/// Most of an answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Most characters of a collector's words that are shown.
const MAX_WORDS: usize = 200;
/// Longest pause that a collector can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Why spans were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// They certainly were not, and may be sent again.
    #[error("{why}")]
    Later {
        /// In words.
        why: String,
        /// When the collector wants them again.
        after: Option<Duration>,
    },
    /// They may have been, or will never be.
    #[error("{0}")]
    Lost(String),
}

/// Posts spans to one address.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    url: Url,
    headers: HeaderMap,
    resource: Resource,
}

impl Sender {
    /// Prepares requests; nothing is connected yet. `None` without an address.
    pub(super) fn new(options: &TracesOptions, resource: Resource) -> Option<Result<Self, String>> {
        let url = options.url()?;
        Some(url.and_then(|url| {
            let headers = options.header_map()?;
            let client = Client::builder()
                .timeout(options.timeout)
                .redirect(redirect::Policy::none())
                .build()
                .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
            Ok(Self { client, url, headers, resource })
        }))
    }

    /// Posts spans. How many of them the collector did not want.
    pub(super) async fn post(&self, spans: Vec<Span>) -> Result<usize, SendError> {
        let scope = InstrumentationScope { name: "mundotango".to_owned(), ..InstrumentationScope::default() };
        let of_scope = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let of_node = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![of_scope],
            ..ResourceSpans::default()
        };
        let body = ExportTraceServiceRequest { resource_spans: vec![of_node] }.encode_to_vec();
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let sent = request.header(CONTENT_TYPE, "application/x-protobuf").body(body).send().await;
        let mut response = sent.map_err(|error| {
            let why = with_causes(&error.without_url());
            // What a connection was never made for was not taken.
            if why.is_connect {
                SendError::Later { why: why.text, after: None }
            } else {
                SendError::Lost(why.text)
            }
        })?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let mut answer = Vec::new();
        // The status counts: a body that is cut off only takes words away.
        while let Ok(Some(piece)) = response.chunk().await {
            if answer.len() + piece.len() > MAX_ANSWER {
                break;
            }
            answer.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(rejected(&answer));
        }
        let words: String = String::from_utf8_lossy(&answer).chars().filter(|c| !c.is_control()).collect();
        let why = format!("{status} {}", words.chars().take(MAX_WORDS).collect::<String>());
        Err(match status {
            // Those that the specification of OTLP by HTTP names.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let after = after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
                SendError::Later { why, after }
            }
            _ => SendError::Lost(why),
        })
    }
}

/// How many spans a collector did not want of those that it took.
fn rejected(answer: &[u8]) -> usize {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
    usize::try_from(rejected).unwrap_or_default()
}

struct Causes {
    is_connect: bool,
    text: String,
}

/// An error of the client says little without what caused it.
fn with_causes(error: &reqwest::Error) -> Causes {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    Causes { is_connect: error.is_connect(), text }
}

/// Asks the collector whether it takes spans, by sending none. `None` if there is none; an error says why it does not.
pub async fn check(options: &TracesOptions) -> Option<Result<(), String>> {
    let sender = match Sender::new(options, Resource::default())? {
        Ok(sender) => sender,
        Err(error) => return Some(Err(error)),
    };
    Some(sender.post(Vec::new()).await.map(drop).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Secret;

    /// What becomes of a span at a server that answers so, and the request.
    async fn outcome(answer: Vec<u8>) -> (Result<usize, SendError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = TracesOptions {
            endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
            headers: Some(Secret::new("x-key=a%20b".to_owned())),
            ..TracesOptions::default()
        };
        let sender = Sender::new(&options, Resource::default()).unwrap().unwrap();
        let serving = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut read = 0;
            // Its body begins with the tag of its one field.
            while !request[..read].windows(5).any(|bytes| bytes == b"\r\n\r\n\x0a") {
                read += connection.read(&mut request[read..]).await.unwrap();
            }
            connection.write_all(&answer).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        tokio::join!(sender.post(vec![Span::default()]), serving)
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_request_is_as_the_specification_has_it() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (taken, request) = outcome(answer("200 OK", b"")).await;
        assert_eq!(taken, Ok(0));
        let head = request.to_lowercase();
        for wanted in ["post /v1/traces http/1.1", "content-type: application/x-protobuf", "x-key: a b"] {
            assert!(head.contains(wanted), "{wanted} is not in {request}");
        }
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, ..Default::default() });
        let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        assert_eq!(outcome(answer("200 OK", &body)).await.0, Ok(1), "what was not wanted is counted");
    }

    #[tokio::test]
    async fn only_what_was_certainly_not_taken_is_sent_again() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let late = outcome(answer("503 Service Unavailable\r\nretry-after: 2", b"busy")).await.0;
        let Err(SendError::Later { why, after }) = late else { panic!("{late:?}") };
        assert!(why.contains("busy") && after == Some(Duration::from_secs(2)), "{why} {after:?}");
        for lost in [answer("400 Bad Request", b""), answer("302 Found\r\nlocation: /", b""), Vec::new()] {
            let outcome = outcome(lost).await.0;
            assert!(matches!(outcome, Err(SendError::Lost(_))), "{outcome:?}");
        }
        let options =
            TracesOptions { endpoint: Some("http://127.0.0.1:1".to_owned()), ..TracesOptions::default() };
        let sender = Sender::new(&options, Resource::default()).unwrap().unwrap();
        let nobody = sender.post(Vec::new()).await;
        assert!(matches!(nobody, Err(SendError::Later { after: None, .. })), "{nobody:?}");
        assert!(check(&options).await.unwrap().unwrap_err().contains("refused"));
    }
}

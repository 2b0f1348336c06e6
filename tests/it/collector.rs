//! A collector of traces that keeps what it takes: OTLP by HTTP, read by the official types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;

use crate::server::until;

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    /// The `service.instance.id` of its node.
    pub node: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty for a root.
    pub parent: Vec<u8>,
    /// Traces and spans.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    pub attributes: BTreeMap<String, String>,
    pub has_failed: bool,
    /// In nanoseconds of the Unix epoch.
    pub began: u64,
    pub ended: u64,
}

impl Seen {
    fn of(node: &str, span: Span) -> Self {
        let status = span.status.unwrap_or_default();
        Self {
            name: span.name,
            node: node.to_owned(),
            trace: span.trace_id,
            id: span.span_id,
            parent: span.parent_span_id,
            links: span.links.into_iter().map(|link| (link.trace_id, link.span_id)).collect(),
            attributes: texts(span.attributes),
            has_failed: status.code == i32::from(SpanStatus::Error),
            began: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
        }
    }

    pub fn says(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// Whether it is a part of another span.
    pub fn is_child_of(&self, other: &Self) -> bool {
        self.trace == other.trace && self.parent == other.id
    }

    /// Whether it begins a trace of its own, with a link to another span.
    pub fn is_linked_to(&self, other: &Self) -> bool {
        let is_root = self.trace != other.trace && self.parent.is_empty();
        is_root && self.links.contains(&(other.trace.clone(), other.id.clone()))
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value)? {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(flag) => flag.to_string(),
            other => panic!("{other:?}"),
        };
        Some((attribute.key, value))
    };
    attributes.into_iter().filter_map(text).collect()
}

#[derive(Default)]
struct Taken {
    spans: Vec<Seen>,
    requests: usize,
}

/// A collector on a port of its own.
pub struct Collector {
    pub address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    pub async fn start() -> Self {
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let own = Arc::clone(&taken);
        let take = move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
            let mut taken = own.lock();
            taken.requests += 1;
            for of_node in request.resource_spans {
                let resource = texts(of_node.resource.unwrap_or_default().attributes);
                assert_eq!(resource["service.name"], "mundotango");
                let spans = of_node.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.spans.extend(spans.map(|span| Seen::of(&resource["service.instance.id"], span)));
            }
            StatusCode::OK
        };
        let router = Router::new().route("/v1/traces", post(take));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, taken }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn spans(&self) -> Vec<Seen> {
        self.taken.lock().spans.clone()
    }

    /// How many requests it had.
    pub fn requests(&self) -> usize {
        self.taken.lock().requests
    }

    /// Waits for a span.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        until(what, async || self.spans().into_iter().find(&is_it)).await
    }

    /// Waits for a span of a name within another one.
    pub async fn child(&self, parent: &Seen, name: &str) -> Seen {
        self.span(&format!("{name} in {}", parent.name), |span| span.name == name && span.is_child_of(parent))
            .await
    }
}

/// One that takes connections and never answers.
pub async fn hanging() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    address
}

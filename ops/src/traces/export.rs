//! The way of spans to a collector: a thread of its own with a runtime of its own, which nothing of the node waits for.
//!
//! It cannot feed itself, as spans are made by hand where the node works, and none is made here.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::options::TracesOptions;
use super::queue::{Queue, count_dropped};
use super::sampling;
use super::send::{SendError, Sender};
use crate::seldom::Seldom;

/// How long a span waits for others to be sent with it.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a batch is sent that the collector cannot take now.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// The queue, once there is a collector.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Who a node is to a collector.
#[derive(Clone, Debug)]
pub struct Instance<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The program's version.
    pub version: &'a str,
}

/// Why nothing is traced.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// An option cannot work.
    #[error("traces: {0}")]
    Options(String),
    /// The thread or its runtime could not be started.
    #[error("no thread for traces: {0}")]
    Thread(#[from] io::Error),
    /// Something else traces already.
    #[error("tracing was started before")]
    Twice,
}

/// Starts to trace for the whole process, if there is a collector. Whether there is.
pub fn start(options: &TracesOptions, instance: &Instance<'_>) -> Result<bool, TracesError> {
    let sender = Sender::new(options, resource(options, instance)).transpose();
    let Some(sender) = sender.map_err(TracesError::Options)? else { return Ok(false) };
    let queue = Arc::new(Queue::new(options.queue_spans));
    spawn(Arc::clone(&queue), sender)?;
    QUEUE.set(queue).map_err(|_| TracesError::Twice)?;
    sampling::set_ratio(options.ratio);
    Ok(true)
}

/// Whether there is a collector.
pub fn is_on() -> bool {
    QUEUE.get().is_some()
}

/// Takes a span that has ended.
pub(super) fn take(span: Span) {
    if let Some(queue) = QUEUE.get() {
        queue.push(span);
    }
}

/// Sends what waits, for so long at most; spans that end later are dropped. How many were not sent. Blocks its thread.
pub fn flush(patience: Duration) -> usize {
    QUEUE.get().map_or(0, |queue| queue.close(patience))
}

/// Names of the OpenTelemetry semantic conventions for resources.
fn resource(options: &TracesOptions, instance: &Instance<'_>) -> Resource {
    let attributes = [
        ("service.name", options.service_name.as_str()),
        ("service.version", instance.version),
        ("service.instance.id", instance.id),
        ("mundotango.node.name", instance.name),
    ];
    let attributes = attributes.map(|(key, text)| {
        let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    });
    Resource { attributes: attributes.into(), ..Resource::default() }
}

fn spawn(queue: Arc<Queue>, sender: Sender) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("traces".to_owned());
    thread.spawn(move || {
        send_all(&runtime, &queue, &sender);
        queue.ended();
    })?;
    Ok(())
}

fn send_all(runtime: &Runtime, queue: &Queue, sender: &Sender) {
    let lines = Seldom::once_a_minute();
    while let Some(batch) = queue.next(INTERVAL) {
        if batch.is_empty() {
            continue;
        }
        let count = batch.len();
        match runtime.block_on(send(queue, sender, batch)) {
            Ok(0) => {}
            Ok(unwanted) => {
                count_dropped(unwanted);
                if let Some(left_out) = lines.may_write() {
                    tracing::warn!(unwanted, left_out, "the collector of traces did not want some spans");
                }
            }
            Err(error) => {
                queue.count_failed(count);
                if let Some(left_out) = lines.may_write() {
                    tracing::warn!(%error, spans = count, left_out, "spans were not sent to the collector of traces");
                }
            }
        }
    }
}

/// Sends a batch, again if the collector cannot take it now and nobody waits for the end.
async fn send(queue: &Queue, sender: &Sender, batch: Vec<Span>) -> Result<usize, SendError> {
    let mut tried = 1;
    loop {
        let error = match sender.post(batch.clone()).await {
            Ok(unwanted) => return Ok(unwanted),
            Err(error) => error,
        };
        let SendError::Later { after, .. } = &error else { return Err(error) };
        if tried == TRIES || queue.is_closed() {
            return Err(error);
        }
        let pause = after.unwrap_or(PAUSE * 2_u32.pow(tried - 1));
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        tried += 1;
    }
}

//! Logs: readable lines for a person at a terminal, JSON for everything else.
//!
//! Nothing else of a running node writes to standard error: a reader that stops must not stop the node.

mod lines;
mod repeats;
mod with_trace;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic;
use std::sync::OnceLock;
use std::time::Duration;

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use lines::Lines;
use repeats::Repeats;
use with_trace::WithTrace;

/// The way out of all lines, once logging has started.
static LINES: OnceLock<&Lines> = OnceLock::new();
/// Replaces the filter, once logging has started.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// What is logged: a level, or directives such as `info,mundotango_gateway=debug`.
    pub filter: String,
    /// How a line looks: `text`, `json`, or `auto` for text on a terminal and JSON elsewhere.
    pub format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            // The libraries tell every connection that they make; the node itself tells what matters of them.
            filter:
                "info,fjall=warn,lsm_tree=warn,ractor_supervisor=warn,async_nats=warn,scylla=error,redis=warn"
                    .to_owned(),
            format: LogFormat::Auto,
        }
    }
}

impl LogOptions {
    /// What is wrong with the filter, if anything.
    pub fn problem(&self) -> Option<String> {
        EnvFilter::try_new(&self.filter).err().map(|error| LogError::from(error).to_string())
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text for people.
    Text,
    /// An object a line.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log.filter: is no filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The thread that writes lines could not be started.
    #[error("no thread for the log: {0}")]
    Thread(#[from] io::Error),
    /// Nothing logs any more.
    #[error("log.filter: not replaced: {0}")]
    NotReplaced(#[from] reload::Error),
    /// Something else logs already.
    #[error("logging was started before")]
    Twice,
}

/// Starts logging to standard error for the whole process. Panics are logged as well.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&options.filter)?);
    let filter = filter.and(Repeats::default());
    let to_terminal = io::stderr().is_terminal();
    let text = match options.format {
        LogFormat::Auto => to_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // Lines are written until the process ends.
    let lines: &'static Lines = Box::leak(Box::new(Lines::start(io::stderr())?));
    LINES.set(lines).map_err(|_| LogError::Twice)?;
    FILTER.set(handle).map_err(|_| LogError::Twice)?;
    let layer = fmt::layer().with_writer(move || lines);
    let layer = if text {
        layer.with_ansi(to_terminal).compact().map_event_format(WithTrace::text).with_filter(filter).boxed()
    } else {
        layer.json().flatten_event(true).map_event_format(WithTrace::json).with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(layer).try_init().map_err(|_| LogError::Twice)?;
    log_panics();
    Ok(())
}

/// Logs by another filter from now on. Where the filter is not one, or logging has not started, nothing changes.
pub fn set_filter(filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)?;
    if let Some(handle) = FILTER.get() {
        handle.reload(filter)?;
    }
    Ok(())
}

/// Waits until the lines logged so far are written, or the time is over because nobody reads them.
pub fn flush(patience: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(patience);
    }
}

/// The standard hook writes to standard error itself, so a panic would wait for ever for a reader that stopped.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let location = panic.location().map(ToString::to_string);
        tracing::error!(
            location,
            backtrace,
            thread = std::thread::current().name(),
            "panicked: {}",
            panic.payload_as_str().unwrap_or("without a message")
        );
    }));
}

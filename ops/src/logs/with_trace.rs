//! Lines that say which recorded span they belong to, so that a log leads to its trace and back.

use std::fmt::{self, Write as _};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::traces::{Hex, TraceContext, current};

/// A format of lines, with the ids of trace and span added to lines that have some.
pub(super) struct WithTrace<F> {
    format: F,
    add: fn(&mut String, TraceContext),
}

impl<F> WithTrace<F> {
    /// Adds them to text.
    pub(super) fn text(format: F) -> Self {
        Self { format, add: add_to_text }
    }

    /// Adds them to JSON.
    pub(super) fn json(format: F) -> Self {
        Self { format, add: add_to_json }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = current() else { return self.format.format_event(context, writer, event) };
        let mut line = String::new();
        // Without colours, as those cannot be turned on for another writer.
        self.format.format_event(context, Writer::new(&mut line), event)?;
        (self.add)(&mut line, trace);
        writer.write_str(&line)
    }
}

fn add_to_text(line: &mut String, trace: TraceContext) {
    line.truncate(line.trim_end_matches('\n').len());
    let (trace_id, span_id) = (trace.trace_id(), trace.span_id());
    // Writing into a string does not fail.
    let _ = writeln!(line, " trace_id={} span_id={}", Hex(&trace_id), Hex(&span_id));
}

/// A line of JSON is one object.
fn add_to_json(line: &mut String, trace: TraceContext) {
    let Some(end) = line.rfind('}') else { return };
    let ids = format!(r#","trace_id":"{}","span_id":"{}""#, Hex(&trace.trace_id()), Hex(&trace.span_id()));
    line.insert_str(end, &ids);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::Value;
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::traces::in_scope;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    fn log() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok();
        tracing::info!(number = 1, "without");
        in_scope(trace, || tracing::info!(text = "}\n", "with"));
    }

    #[test]
    fn lines_within_a_recorded_span_have_its_ids() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().with_writer(move || writer.clone());
        let layer = layer.json().flatten_event(true).map_event_format(WithTrace::json);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let read: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].get("trace_id"), &read[0]["number"]), (None, &Value::from(1)));
        assert_eq!(read[1]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((&read[1]["span_id"], &read[1]["text"]), (&"00f067aa0ba902b7".into(), &"}\n".into()));

        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let layer = layer.compact().map_event_format(WithTrace::text);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = lines.text();
        let ends = " trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7\n";
        assert!(text.ends_with(ends) && text.matches("trace_id").count() == 1, "{text}");
    }
}

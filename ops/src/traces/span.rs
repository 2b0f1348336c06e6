//! Spans: made with their parent or links before anything can read their context, ended when they are dropped.

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Written, Status};
use pin_project_lite::pin_project;

use super::context::{TraceContext, Within, current, within};
use super::sampling::{self, About};
use super::{export, is_on};

/// Longest text of a span in bytes; the rest is cut off, as clients choose some of them.
const MAX_TEXT: usize = 256;
/// Most attributes of a span.
const MAX_ATTRIBUTES: usize = 32;
/// Most links of a span: a batch may have more causes.
const MAX_LINKS: usize = 32;
/// The flag of a recorded trace.
const SAMPLED: u32 = 1;

/// What a span is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work within the node.
    Internal,
    /// Somebody waits for it.
    Server,
    /// It waits for another server.
    Client,
    /// It begins something that nobody waits for.
    Producer,
    /// It does what was begun so.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl From<$number> for Value<'_> {
            fn from(number: $number) -> Self {
                Self::Number(i64::from(number))
            }
        })*
    };
}

numbers!(u16, u32, i64);

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span of a trace that is recorded.
#[derive(Debug)]
pub struct Recorded {
    context: TraceContext,
    began: Instant,
    written: Written,
    has_ended: bool,
}

/// A piece of work in a trace. It is nothing, and costs nothing, where the trace is not recorded. A span that is dropped
/// before [`end`](Self::end) belongs to work that was cut off, and says so.
#[must_use = "a span ends when it is dropped"]
#[derive(Debug, Default)]
pub struct Span(Option<Box<Recorded>>);

impl Span {
    /// No span.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The root of a trace, if that is to be recorded. The only place where this is decided.
    pub fn root(name: &'static str, kind: Kind, about: About<'_>) -> Self {
        if !sampling::may_be() {
            return Self::none();
        }
        let trace: [u8; 16] = rand::random();
        if !sampling::is_chosen(trace, about) {
            return Self::none();
        }
        Self::begin(trace, None, name, kind)
    }

    /// A root for work whose trace is not recorded, if an operator asked for this always. A trace that is recorded goes on.
    pub fn child_or_always(name: &'static str, kind: Kind, about: About<'_>) -> Self {
        match current() {
            Some(parent) => Self::child_of(Some(parent), name, kind),
            None if sampling::may_be() && sampling::is_always(about) => {
                Self::begin(rand::random(), None, name, kind)
            }
            None => Self::none(),
        }
    }

    /// A part of the work at hand.
    pub fn child(name: &'static str, kind: Kind) -> Self {
        Self::child_of(current(), name, kind)
    }

    /// A part of other work that waits for this one, maybe on another node that is trusted.
    pub fn child_of(parent: Option<TraceContext>, name: &'static str, kind: Kind) -> Self {
        match parent.filter(TraceContext::is_sampled) {
            Some(parent) => Self::begin(parent.trace_id(), Some(parent), name, kind),
            None => Self::none(),
        }
    }

    /// What was caused by others that do not wait for it. One cause is its parent. Of several none is: it begins a trace with
    /// links to them.
    pub fn caused_by(mut causes: impl Iterator<Item = TraceContext>, name: &'static str, kind: Kind) -> Self {
        let Some(first) = causes.next() else { return Self::none() };
        let Some(second) = causes.next() else { return Self::child_of(Some(first), name, kind) };
        let mut span = Self::linked_to(Some(first), name, kind);
        for cause in std::iter::once(second).chain(causes) {
            span.link(cause);
        }
        span
    }

    /// What is done much later than what caused it: a trace of its own, recorded if that one is, with a link to it.
    pub fn linked_to(cause: Option<TraceContext>, name: &'static str, kind: Kind) -> Self {
        let Some(cause) = cause.filter(TraceContext::is_sampled) else { return Self::none() };
        let mut span = Self::begin(rand::random(), None, name, kind);
        span.link(cause);
        span
    }

    fn begin(trace: [u8; 16], parent: Option<TraceContext>, name: &'static str, kind: Kind) -> Self {
        if !is_on() {
            return Self::none();
        }
        let context = TraceContext::recorded(trace, rand::random());
        let written = Written {
            trace_id: trace.to_vec(),
            span_id: context.span_id().to_vec(),
            parent_span_id: parent.map(|parent| parent.span_id().to_vec()).unwrap_or_default(),
            flags: SAMPLED,
            name: name.to_owned(),
            kind: span_kind(kind).into(),
            start_time_unix_nano: nanos_since_epoch(),
            ..Written::default()
        };
        Self(Some(Box::new(Recorded { context, began: Instant::now(), written, has_ended: false })))
    }

    /// The span to say more of, if it is recorded: what that costs is paid for recorded ones alone.
    pub fn recorded(&mut self) -> Option<&mut Recorded> {
        self.0.as_deref_mut()
    }

    /// What others need to be part of it.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|recorded| recorded.context)
    }

    /// Links it to other work, whose trace may not be recorded anywhere.
    pub fn link(&mut self, to: TraceContext) {
        let Some(recorded) = &mut self.0 else { return };
        if recorded.written.links.len() < MAX_LINKS {
            recorded.written.links.push(Link {
                trace_id: to.trace_id().to_vec(),
                span_id: to.span_id().to_vec(),
                flags: u32::from(to.is_sampled()),
                ..Link::default()
            });
        } else {
            recorded.written.dropped_links_count += 1;
        }
    }

    /// A future that is part of this span.
    pub fn around<F: Future>(&self, work: F) -> Within<F> {
        within(self.context(), work)
    }

    /// Ends it as having failed.
    pub fn fail(mut self, why: &dyn Display) {
        if let Some(recorded) = self.recorded() {
            recorded.failed(why);
        }
        self.end();
    }

    /// Ends it.
    pub fn end(mut self) {
        if let Some(recorded) = &mut self.0 {
            recorded.has_ended = true;
        }
    }

    /// Ends it as having come out so.
    pub fn end_with<T, E: Display>(self, outcome: &Result<T, E>) {
        match outcome {
            Ok(_) => self.end(),
            Err(error) => self.fail(error),
        }
    }

    /// Does something as this span, which ends with it.
    pub fn run<F: Future>(self, work: F) -> Run<F> {
        Run { work: self.around(work), span: self }
    }
}

pin_project! {
    /// A future that is a span. It is no async function, as that would hold the work twice.
    #[must_use = "a future does nothing until it is awaited"]
    #[derive(Debug)]
    pub struct Run<F> {
        span: Span,
        #[pin]
        work: Within<F>,
    }
}

impl<T, E: Display, F: Future<Output = Result<T, E>>> Future for Run<F> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, waker: &mut Context<'_>) -> Poll<Result<T, E>> {
        let this = self.project();
        let poll = this.work.poll(waker);
        if let Poll::Ready(outcome) = &poll {
            std::mem::take(this.span).end_with(outcome);
        }
        poll
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut recorded) = self.0.take() else { return };
        if !recorded.has_ended {
            recorded.failed(&"cut off");
        }
        let took = u64::try_from(recorded.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Recorded { mut written, .. } = *recorded;
        written.end_time_unix_nano = written.start_time_unix_nano.saturating_add(took);
        export::take(written);
    }
}

impl Recorded {
    /// Gives it another name: one of few, as collectors count by names.
    pub fn name(&mut self, name: impl Into<Cow<'static, str>>) -> &mut Self {
        self.written.name = clipped(&name.into());
        self
    }

    /// Says more of it.
    pub fn set<'a>(&mut self, key: &'static str, value: impl Into<Value<'a>>) -> &mut Self {
        if self.written.attributes.len() == MAX_ATTRIBUTES {
            self.written.dropped_attributes_count += 1;
            return self;
        }
        let value = match value.into() {
            Value::Text(text) => AnyValue::StringValue(clipped(text)),
            Value::Number(number) => AnyValue::IntValue(number),
            Value::Flag(flag) => AnyValue::BoolValue(flag),
        };
        let value = Some(Any { value: Some(value) });
        self.written.attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        self
    }

    /// Says that it failed.
    pub fn failed(&mut self, why: &dyn Display) -> &mut Self {
        let message = clipped(&why.to_string());
        self.written.status = Some(Status { message, code: StatusCode::Error.into() });
        self
    }
}

fn span_kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    }
}

fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

fn nanos_since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::{Instance, TracesOptions, in_scope, start};

    const CAUSE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Spans are made only where they can go somewhere; nobody listens there.
    fn on() -> TraceContext {
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let options = TracesOptions { endpoint, ratio: 0.0, ..TracesOptions::default() };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // Another test may have done it.
        let _ = start(&options, &Instance { id: "1", name: "a", version: "0" });
        CAUSE.parse().unwrap()
    }

    fn written(span: &Span) -> &Written {
        &span.0.as_ref().unwrap().written
    }

    #[test]
    fn one_cause_is_the_parent_and_several_are_links() {
        let cause = on();
        let one = Span::caused_by([cause].into_iter(), "one", Kind::Consumer);
        assert_eq!(
            (written(&one).trace_id.as_slice(), written(&one).links.len()),
            (&cause.trace_id()[..], 0)
        );
        assert_eq!(written(&one).parent_span_id, cause.span_id());
        let many = Span::caused_by(std::iter::repeat_n(cause, MAX_LINKS + 2), "many", Kind::Consumer);
        assert!(written(&many).parent_span_id.is_empty() && written(&many).trace_id != cause.trace_id());
        assert_eq!((written(&many).links.len(), written(&many).dropped_links_count), (MAX_LINKS, 2));
        assert!(Span::caused_by(std::iter::empty(), "none", Kind::Consumer).context().is_none());
    }

    #[test]
    fn what_is_not_recorded_has_no_spans_below_it() {
        let cause = on();
        let muted = CAUSE.replace("-01", "-00").parse().ok();
        for span in [
            Span::root("root", Kind::Server, About::default()),
            Span::child("child", Kind::Internal),
            Span::child_of(muted, "muted", Kind::Server),
            Span::linked_to(muted, "muted", Kind::Consumer),
            Span::linked_to(None, "none", Kind::Consumer),
        ] {
            assert!(span.context().is_none(), "{span:?}");
        }
        let below = in_scope(Some(cause), || Span::child("below", Kind::Internal));
        assert_eq!(written(&below).parent_span_id, cause.span_id());
    }

    #[tokio::test]
    async fn a_span_is_current_while_its_work_runs_and_says_how_it_ended() {
        let cause = on();
        let mut span = Span::child_of(Some(cause), "work", Kind::Internal);
        let long = "\u{e9}".repeat(MAX_TEXT);
        if let Some(span) = span.recorded() {
            for _ in 0..=MAX_ATTRIBUTES {
                span.set("text", &long);
            }
        }
        assert_eq!(
            (written(&span).attributes.len(), written(&span).dropped_attributes_count),
            (MAX_ATTRIBUTES, 1)
        );
        assert_eq!(clipped(&long).len(), MAX_TEXT);
        let own = span.context();
        let outcome = span
            .run(async {
                tokio::task::yield_now().await;
                Err::<(), _>(format!("{:?}", current()))
            })
            .await;
        assert_eq!(outcome, Err(format!("{own:?}")));
        assert_eq!(current(), None);
        let mut failed = Span::child_of(Some(cause), "work", Kind::Internal);
        failed.recorded().unwrap().failed(&"why");
        assert_eq!(written(&failed).status.as_ref().unwrap().message, "why");
    }
}

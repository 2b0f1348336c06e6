//! Which trace the work at hand belongs to: what goes along between tasks, nodes and jobs.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Length of a `traceparent` of version 00: version, trace id, parent id and flags in hexadecimal, with dashes.
const LENGTH: usize = 55;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A span's place in its trace, as W3C's Trace Context has it: 25 bytes. Only a recorded span has one, so nothing is carried
/// along for the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent of W3C's Trace Context")]
pub struct NoTraceparent;

impl TraceContext {
    /// A recorded span. Ids of zeros alone are no ids.
    pub(super) const fn recorded(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self { trace, span, flags: SAMPLED }
    }

    /// The trace's id.
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// The span's id.
    pub const fn span_id(&self) -> [u8; 8] {
        self.span
    }

    /// Whether the trace is recorded where it comes from.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The context as a `traceparent`.
    pub fn traceparent(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{}-{:02x}", Hex(&self.trace), Hex(&self.span), self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Reads a `traceparent`. Versions after 00 may have more behind the flags, which is left out.
impl FromStr for TraceContext {
    type Err = NoTraceparent;

    fn from_str(text: &str) -> Result<Self, NoTraceparent> {
        let bytes = text.as_bytes();
        let version: [u8; 1] = unhex(bytes.get(..2))?;
        let ends_well = match (version, bytes.len()) {
            ([0xff], _) => false,
            ([0], length) => length == LENGTH,
            (_, length) => length == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let has_dashes = [2, 35, 52].into_iter().all(|at| bytes.get(at) == Some(&b'-'));
        if !ends_well || !has_dashes {
            return Err(NoTraceparent);
        }
        let [flags] = unhex(bytes.get(53..LENGTH))?;
        let context = Self { trace: unhex(bytes.get(3..35))?, span: unhex(bytes.get(36..52))?, flags };
        if context.trace == [0; 16] || context.span == [0; 8] {
            return Err(NoTraceparent);
        }
        Ok(context)
    }
}

/// Bytes as lower-case hexadecimal, as ids of traces are written.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Reads lower-case hexadecimal.
fn unhex<const BYTES: usize>(text: Option<&[u8]>) -> Result<[u8; BYTES], NoTraceparent> {
    let text = text.filter(|text| text.len() == 2 * BYTES).ok_or(NoTraceparent)?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NoTraceparent),
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
    }
    Ok(bytes)
}

thread_local! {
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// The recorded span that the work at hand belongs to, if there is one.
pub fn current() -> Option<TraceContext> {
    // A thread that ends has none any more.
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// The context that was there before, put back when this is dropped, also by a panic.
struct Restored(Option<TraceContext>);

impl Restored {
    fn after(context: Option<TraceContext>) -> Self {
        Self(CURRENT.try_with(|current| current.replace(context)).ok().flatten())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(self.0));
    }
}

/// Does something at once as part of a span, or of none: not of what runs around it.
pub fn in_scope<T>(context: Option<TraceContext>, work: impl FnOnce() -> T) -> T {
    let _restored = Restored::after(context);
    work()
}

pin_project! {
    /// A future that is part of a span, whichever thread polls it.
    #[must_use = "a future does nothing until it is awaited"]
    #[derive(Debug)]
    pub struct Within<F> {
        context: Option<TraceContext>,
        is_apart: bool,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, waker: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _restored = (*this.is_apart || this.context.is_some()).then(|| Restored::after(*this.context));
        this.work.poll(waker)
    }
}

/// Does something as part of a span. Without one it stays part of what it is part of, at the cost of one branch.
pub fn within<F: Future>(context: Option<TraceContext>, work: F) -> Within<F> {
    Within { context, is_apart: false, work }
}

/// Does something as part of a span, or of none: for work that is not only that of the task that does it.
pub fn apart<F: Future>(context: Option<TraceContext>, work: F) -> Within<F> {
    Within { context, is_apart: true, work }
}

/// Carries the span of the work at hand into a task that is started now.
pub fn carried<F: Future>(work: F) -> Within<F> {
    within(current(), work)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context: TraceContext = TRACEPARENT.parse().unwrap();
        assert_eq!(context.traceparent(), TRACEPARENT);
        assert!(context.is_sampled());
        assert_eq!((context.trace_id()[0], context.span_id()[7]), (0x4b, 0xb7));
        assert_eq!(size_of::<TraceContext>(), 25);
        let muted: TraceContext = TRACEPARENT.replace("-01", "-00").parse().unwrap();
        assert!(!muted.is_sampled());
        // What later versions add is of no harm.
        let later = format!("cc{}-more", &TRACEPARENT[2..]);
        assert_eq!(later.parse::<TraceContext>().unwrap().trace_id(), context.trace_id());
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-0f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NoTraceparent), "{text}");
        }
    }

    #[tokio::test]
    async fn it_goes_along_with_the_work_and_no_further() {
        let outer: Option<TraceContext> = TRACEPARENT.parse().ok();
        let inner = Some(TraceContext::recorded([1; 16], [2; 8]));
        assert_eq!(current(), None);
        within(outer, async {
            assert_eq!(current(), outer);
            tokio::task::yield_now().await;
            assert_eq!(within(inner, async { current() }).await, inner);
            assert_eq!(within(None, async { current() }).await, outer);
            assert_eq!(apart(None, async { current() }).await, None);
            assert_eq!(in_scope(None, current), None);
            assert_eq!(in_scope(inner, current), inner);
            let carried = tokio::spawn(carried(async { current() }));
            assert_eq!(carried.await.unwrap(), outer);
            assert_eq!(tokio::spawn(async { current() }).await.unwrap(), None);
            assert_eq!(current(), outer);
        })
        .await;
        assert_eq!(current(), None);
    }

    #[test]
    fn a_panic_leaves_none_behind() {
        let context = Some(TraceContext::recorded([1; 16], [2; 8]));
        let panicked = std::panic::catch_unwind(|| in_scope(context, || panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
    }
}

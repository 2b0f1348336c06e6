//! A handled message as a ring keeps it, in six words, and as operators see it.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use mundotango_ops::traces::TraceContext;
use serde::{Deserialize, Serialize};

use super::clock::{self, Micros};
use super::kind::MessageKind;

/// How many of an actor's last messages are shown.
pub(crate) const TAIL: usize = 64;
/// Words of an entry.
pub(super) const WORDS: usize = 6;
/// A wait that nobody measured.
const UNKNOWN: u32 = u32::MAX;

/// A trace id of W3C's trace context; 0 where the message belongs to no trace.
pub(crate) type TraceId = [u64; 2];

/// The trace id of a span.
pub(super) fn trace_id(of: TraceContext) -> TraceId {
    let id = u128::from_be_bytes(of.trace_id());
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
    [half(id >> 64), half(id)]
}

/// A handled message as a ring keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handled {
    /// When its handling ended.
    pub(crate) ended: Micros,
    /// The number of the actor.
    pub(crate) actor: u64,
    pub(crate) kind: MessageKind,
    /// Size of what it carries, in bytes.
    pub(crate) bytes: u32,
    /// How long it waited in the mailbox, in microseconds; `None` if that is not known.
    pub(crate) waited: Option<u32>,
    /// How long its handling took, in microseconds.
    pub(crate) took: u32,
    /// True if its handling ended by a panic.
    pub(crate) panicked: bool,
    pub(crate) trace: TraceId,
}

impl Handled {
    pub(super) fn to_words(self) -> [u64; WORDS] {
        let kind = u64::from(self.kind.number()) | (u64::from(self.panicked) << 8);
        let waited = self.waited.map_or(UNKNOWN, |waited| waited.min(UNKNOWN - 1));
        [
            self.ended,
            self.actor,
            (u64::from(self.bytes) << 32) | kind,
            (u64::from(waited) << 32) | u64::from(self.took),
            self.trace[0],
            self.trace[1],
        ]
    }

    pub(super) fn of_words(words: [u64; WORDS]) -> Option<Self> {
        let [ended, actor, what, times, first, second] = words;
        let [number, panicked, ..] = what.to_le_bytes();
        let waited = high(times);
        Some(Self {
            ended,
            actor,
            kind: MessageKind::of_number(number)?,
            bytes: high(what),
            waited: (waited != UNKNOWN).then_some(waited),
            took: low(times),
            panicked: panicked != 0,
            trace: [first, second],
        })
    }
}

fn high(word: u64) -> u32 {
    low(word >> 32)
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// A message that an actor handled, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledMessage {
    /// When its handling began.
    pub at: Timestamp,
    /// The kind of message.
    pub kind: Cow<'static, str>,
    /// Size of what it carries, in bytes.
    pub bytes: u32,
    /// How long it waited in the mailbox, in microseconds; `None` if that is not known.
    #[serde(default)]
    pub waited_micros: Option<u32>,
    /// How long its handling took, in microseconds.
    pub took_micros: u32,
    /// The id of the trace that it belongs to, if it does.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// True if its handling ended by a panic.
    #[serde(default)]
    pub panicked: bool,
}

impl From<&Handled> for HandledMessage {
    fn from(handled: &Handled) -> Self {
        let [first, second] = handled.trace;
        Self {
            at: clock::at(handled.ended.saturating_sub(handled.took.into())),
            kind: Cow::Borrowed(handled.kind.names().1),
            bytes: handled.bytes,
            waited_micros: handled.waited,
            took_micros: handled.took,
            trace_id: (handled.trace != [0, 0]).then(|| format!("{first:016x}{second:016x}")),
            panicked: handled.panicked,
        }
    }
}

/// Messages as one text for the log, the oldest first.
pub(crate) fn in_words(messages: &[HandledMessage]) -> String {
    let mut text = String::new();
    for message in messages {
        let separator = if text.is_empty() { "" } else { "; " };
        let at = message.at.strftime("%H:%M:%S.%6fZ");
        // Writing into a string does not fail.
        let _ = write!(text, "{separator}{at} {} {} B", message.kind, message.bytes);
        if let Some(waited) = message.waited_micros {
            let _ = write!(text, " waited {waited} us");
        }
        let _ = write!(text, " took {} us", message.took_micros);
        if let Some(trace) = &message.trace_id {
            let _ = write!(text, " trace {trace}");
        }
        if message.panicked {
            text.push_str(" panicked");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_the_id_that_its_traceparent_says() {
        let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        assert_eq!(trace_id(span), [0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736]);
    }

    #[test]
    fn an_entry_comes_back_from_its_words() {
        let handled = Handled {
            ended: 5_000_000,
            actor: u64::MAX,
            kind: MessageKind::OwnWork,
            bytes: u32::MAX,
            waited: None,
            took: 1_500_000,
            panicked: true,
            trace: [0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736],
        };
        assert_eq!(Handled::of_words(handled.to_words()), Some(handled));
        let plain = Handled { waited: Some(0), panicked: false, trace: [0, 0], ..handled };
        assert_eq!(Handled::of_words(plain.to_words()), Some(plain));
        let shown = HandledMessage::from(&handled);
        assert_eq!(shown.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(shown.at, clock::at(3_500_000));
        let text = in_words(&[HandledMessage::from(&plain), shown]);
        assert!(text.contains("own_work 4294967295 B waited 0 us took 1500000 us; "), "{text}");
        assert!(text.ends_with("trace 4bf92f3577b34da6a3ce929d0e0e4736 panicked"), "{text}");
    }
}

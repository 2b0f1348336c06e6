//! The recorder as actors use it: a guard around the handling of each message, and a stamp on what waits in a mailbox.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mundotango_ops::traces::{TraceContext, current};

use super::clock::{self, Micros};
use super::kind::MessageKind;
use super::message::{Handled, trace_id};
use super::ring;

/// Where the kind lies beside the time in [`Trail::doing`].
const KIND_SHIFT: u32 = 56;

static IS_ON: AtomicBool = AtomicBool::new(true);

/// Turns the recorder of the process off or on again, so that its cost can be measured. It is on from the start.
pub fn record_messages(on: bool) {
    IS_ON.store(on, Relaxed);
}

/// What the recorder knows of one actor: its number, by which its entries are found, and what it does now.
#[derive(Debug)]
pub(crate) struct Trail {
    number: u64,
    /// The kind and the begin of what the actor handles now; 0 while it waits.
    doing: AtomicU64,
}

impl Default for Trail {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { number: NEXT.fetch_add(1, Relaxed), doing: AtomicU64::new(0) }
    }
}

impl Trail {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What the actor handles now, and since when.
    pub(crate) fn doing(&self) -> Option<(MessageKind, Micros)> {
        let doing = self.doing.load(Relaxed);
        let number = u8::try_from(doing >> KIND_SHIFT).ok()?.checked_sub(1)?;
        Some((MessageKind::of_number(number)?, doing & ((1 << KIND_SHIFT) - 1)))
    }
}

/// A message in a mailbox, with when it came and the span of whoever sent it.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) message: T,
    stamp: Stamp,
}

/// When a message came, and the span that sent it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    /// 0 if nobody knows.
    came: Micros,
    trace: Option<TraceContext>,
}

impl Stamp {
    /// Of a message that comes now, sent by this span.
    pub(crate) fn new(trace: Option<TraceContext>) -> Self {
        Self { came: if IS_ON.load(Relaxed) { clock::now() } else { 0 }, trace }
    }

    /// Of a message that comes from another queue, so that nobody knows how long it waited.
    pub(crate) fn of_another_queue(trace: Option<TraceContext>) -> Self {
        Self { came: 0, trace }
    }

    /// The span that sent the message.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace
    }
}

impl<T> Queued<T> {
    /// Stamps a message that is put into a mailbox.
    pub(crate) fn new(message: T) -> Self {
        Self { message, stamp: Stamp::new(current()) }
    }

    /// A message that comes from another queue, so that nobody knows how long it waited.
    pub(crate) fn of_another_queue(message: T, trace: Option<TraceContext>) -> Self {
        Self { message, stamp: Stamp::of_another_queue(trace) }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// Records a message when it is dropped, however its handling ends: also by a panic.
pub(crate) struct Handling<'a> {
    trail: &'a Trail,
    kind: MessageKind,
    bytes: u32,
    stamp: Stamp,
    /// 0 while the recorder is off.
    began: Micros,
    /// What [`Trail::doing`] was before: the handling of one message may include that of others. `None` for work beside the
    /// actor, which may go on with its next message.
    before: Option<u64>,
}

impl<'a> Handling<'a> {
    /// The actor begins with a message whose wait nobody measured.
    pub(crate) fn begin(trail: &'a Trail, kind: MessageKind, bytes: usize) -> Self {
        let mut handling = Self::begin_queued(trail, kind, bytes, Stamp::default());
        if handling.began > 0 {
            handling.stamp.trace = current();
        }
        handling
    }

    /// The actor begins with a message of its mailbox.
    pub(crate) fn begin_queued(trail: &'a Trail, kind: MessageKind, bytes: usize, stamp: Stamp) -> Self {
        let mut handling = Self::beside(trail, kind, bytes, stamp);
        if handling.began > 0 {
            handling.before = Some(trail.doing.load(Relaxed));
            let kind = u64::from(kind.number()) + 1;
            trail.doing.store((kind << KIND_SHIFT) | handling.began, Relaxed);
        }
        handling
    }

    /// Work for the actor begins that does not keep it from its next message.
    pub(crate) fn beside(trail: &'a Trail, kind: MessageKind, bytes: usize, stamp: Stamp) -> Self {
        let began = if IS_ON.load(Relaxed) { clock::now() } else { 0 };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { trail, kind, bytes, stamp, began, before: None }
    }
}

impl Handling<'_> {
    /// The span of the message is known by now.
    pub(crate) fn belongs_to(&mut self, trace: Option<TraceContext>) {
        self.stamp.trace = trace;
    }
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        if self.began == 0 {
            return;
        }
        if let Some(before) = self.before {
            self.trail.doing.store(before, Relaxed);
        }
        let short = |micros: Micros| u32::try_from(micros).unwrap_or(u32::MAX);
        let ended = clock::now();
        let handled = Handled {
            ended,
            actor: self.trail.number,
            kind: self.kind,
            bytes: self.bytes,
            waited: (self.stamp.came > 0).then(|| short(self.began.saturating_sub(self.stamp.came))),
            took: short(ended.saturating_sub(self.began)),
            panicked: std::thread::panicking(),
            trace: self.stamp.trace.map(trace_id).unwrap_or_default(),
        };
        ring::write(handled.to_words());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_seen_at_work_until_its_message_is_handled() {
        let trail = Trail::default();
        assert_eq!(trail.doing(), None);
        let handling = Handling::begin(&trail, MessageKind::Connect, 1);
        let (kind, since) = trail.doing().unwrap();
        assert_eq!(kind, MessageKind::Connect, "the first kind is not taken for none");
        assert!(since > 0 && since <= clock::now());
        let inner = Handling::begin(&trail, MessageKind::Tick, 1);
        assert_eq!(trail.doing().unwrap().0, MessageKind::Tick);
        drop(inner);
        assert_eq!(trail.doing().unwrap().0, MessageKind::Connect);
        drop(handling);
        assert_eq!(trail.doing(), None);
    }
}

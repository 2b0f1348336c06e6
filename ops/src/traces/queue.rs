//! Spans on their way to the collector: bounded, and who ends a span never waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::{Condvar, Mutex};

use crate::metrics::metrics;

/// Most spans of one request.
pub(super) const BATCH: usize = 512;

/// The spans that wait.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the sender when there is a batch, or nothing more will come.
    has_batch: Condvar,
    /// Wakes who waits for the sender's end.
    is_done: Condvar,
    most: usize,
    /// Spans that the sender has taken and not sent yet.
    under_way: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Span>,
    is_closed: bool,
    has_ended: bool,
}

/// Counts spans that no collector has got.
pub(super) fn count_dropped(spans: usize) {
    metrics().trace_spans_dropped_total.inc_by(spans as u64);
}

impl Queue {
    /// A queue of at most so many spans.
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::default(),
            has_batch: Condvar::new(),
            is_done: Condvar::new(),
            most,
            under_way: AtomicUsize::new(0),
        }
    }

    /// Lets a span wait. One too many is dropped and counted.
    pub(super) fn push(&self, span: Span) {
        let mut state = self.state.lock();
        if state.is_closed || state.waiting.len() >= self.most {
            drop(state);
            count_dropped(1);
            return;
        }
        state.waiting.push(span);
        if state.waiting.len() == BATCH.min(self.most) {
            self.has_batch.notify_one();
        }
    }

    /// Waits for a batch, or for so long; those that wait longest come first. `None` once nothing will come any more.
    pub(super) fn next(&self, patience: Duration) -> Option<Vec<Span>> {
        self.under_way.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        let deadline = Instant::now() + patience;
        while state.waiting.len() < BATCH.min(self.most) && !state.is_closed {
            if self.has_batch.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        if state.is_closed && state.waiting.is_empty() {
            return None;
        }
        let count = state.waiting.len().min(BATCH);
        let batch = state.waiting.drain(..count).collect();
        self.under_way.store(count, Ordering::Relaxed);
        Some(batch)
    }

    /// Whether nothing comes any more, and somebody waits for the end.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// The spans that were taken last were not sent. Those that were given up with the queue are counted already.
    pub(super) fn count_failed(&self, spans: usize) {
        count_dropped(spans.min(self.under_way.swap(0, Ordering::Relaxed)));
    }

    /// Says that the sender has ended.
    pub(super) fn ended(&self) {
        self.state.lock().has_ended = true;
        self.is_done.notify_all();
    }

    /// Takes no more spans, and waits until those that wait are sent; for so long at most, and drops the rest then. How many
    /// were dropped.
    pub(super) fn close(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        state.is_closed = true;
        self.has_batch.notify_one();
        while !state.has_ended {
            if self.is_done.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let left = std::mem::take(&mut state.waiting).len();
        let under_way = if state.has_ended { 0 } else { self.under_way.swap(0, Ordering::Relaxed) };
        count_dropped(left + under_way);
        left + under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_wait_in_their_order_and_no_more_than_may() {
        let queue = Queue::new(BATCH + 1);
        for number in 0..BATCH as u64 + 3 {
            queue.push(Span { start_time_unix_nano: number, ..Span::default() });
        }
        let batch = queue.next(Duration::ZERO).unwrap();
        assert_eq!((batch.len(), batch[0].start_time_unix_nano), (BATCH, 0));
        let rest = queue.next(Duration::ZERO).unwrap();
        assert_eq!((rest.len(), rest[0].start_time_unix_nano), (1, BATCH as u64));
        assert_eq!(queue.next(Duration::ZERO).unwrap().len(), 0, "those of more were dropped");
    }

    #[test]
    fn closing_waits_for_a_sender_that_ends_and_drops_the_rest_of_one_that_hangs() {
        let queue = Queue::new(10);
        queue.push(Span::default());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while queue.next(Duration::from_secs(1)).is_some() {}
                queue.ended();
            });
            assert_eq!(queue.close(Duration::from_mins(1)), 0);
        });

        let queue = Queue::new(10);
        for _ in 0..3 {
            queue.push(Span::default());
        }
        assert_eq!(queue.next(Duration::ZERO).unwrap().len(), 3);
        queue.push(Span::default());
        assert_eq!(queue.close(Duration::from_millis(10)), 4, "three under way, and one that waited");
        queue.push(Span::default());
        assert_eq!(queue.next(Duration::ZERO), None);
    }
}

//! One thread's ring. Its thread writes, anybody reads, nobody waits: a reader tells by an entry's sequence number whether
//! the entry was overwritten while it was read (a sequence lock whose cells are atomic).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use parking_lot::Mutex;

use super::message::WORDS;

/// Entries of a ring, 56 bytes each.
pub(super) const ENTRIES: u64 = 4096;

/// All rings of the process. A thread that ends leaves its ring, entries and all, to the next thread that begins, so there
/// are no more rings than there were ever threads at the same time.
static RINGS: Mutex<Vec<Arc<Ring>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Own = Own::take();
}

#[derive(Default)]
struct Slot {
    /// Twice the entry's number and 2, or an odd number while it is written.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// The last entries of a thread.
pub(super) struct Ring {
    is_taken: AtomicBool,
    written: AtomicU64,
    slots: Box<[Slot]>,
}

impl Ring {
    fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(true),
            written: AtomicU64::new(0),
            slots: (0..ENTRIES).map(|_| Slot::default()).collect(),
        }
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(number % ENTRIES).unwrap_or_default())
    }

    /// Called by the ring's own thread alone.
    fn write(&self, words: [u64; WORDS]) {
        let number = self.written.load(Ordering::Relaxed);
        let Some(slot) = self.slot(number) else { return };
        slot.sequence.store(2 * number + 1, Ordering::Relaxed);
        // No word may be seen before the odd number.
        fence(Ordering::Release);
        for (cell, word) in slot.words.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        slot.sequence.store(2 * number + 2, Ordering::Release);
        self.written.store(number + 1, Ordering::Release);
    }

    fn read(&self, number: u64) -> Option<[u64; WORDS]> {
        let slot = self.slot(number)?;
        if slot.sequence.load(Ordering::Acquire) != 2 * number + 2 {
            return None;
        }
        let words = std::array::from_fn(|index| slot.words[index].load(Ordering::Relaxed));
        // The second look at the number may not come before the words.
        fence(Ordering::Acquire);
        (slot.sequence.load(Ordering::Relaxed) == 2 * number + 2).then_some(words)
    }

    /// The entries, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = [u64; WORDS]> + '_ {
        let written = self.written.load(Ordering::Acquire);
        let oldest = written.saturating_sub(ENTRIES);
        (oldest..written).rev().filter_map(|number| self.read(number))
    }
}

/// A thread's hold on its ring.
struct Own(Arc<Ring>);

impl Own {
    fn take() -> Self {
        let mut rings = RINGS.lock();
        let is_free = |ring: &Ring| !ring.is_taken.swap(true, Ordering::Acquire);
        if let Some(ring) = rings.iter().find(|ring| is_free(ring)) {
            return Self(Arc::clone(ring));
        }
        let ring = Arc::new(Ring::new());
        rings.push(Arc::clone(&ring));
        Self(ring)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// Writes an entry into the ring of the thread that runs this. What a thread does while it ends is not recorded.
pub(super) fn write(words: [u64; WORDS]) {
    let _ = OWN.try_with(|own| own.0.write(words));
}

/// All rings there are.
pub(super) fn all() -> Vec<Arc<Ring>> {
    RINGS.lock().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_its_newest_entries() {
        let ring = Ring::new();
        assert_eq!(ring.newest_first().count(), 0);
        for number in 0..ENTRIES + 10 {
            ring.write([number; WORDS]);
        }
        let kept: Vec<_> = ring.newest_first().map(|words| words[0]).collect();
        let expected: Vec<_> = (10..ENTRIES + 10).rev().collect();
        assert_eq!(kept, expected);
    }

    // A reader that takes words of two entries for one would show messages that never were.
    #[test]
    fn what_is_read_while_it_is_overwritten_is_left_out_and_never_mixed() {
        let ring = Ring::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..ENTRIES * 200 {
                    ring.write([number; WORDS]);
                }
                done.store(true, Ordering::Release);
            });
            let mut seen = 0;
            while !done.load(Ordering::Acquire) || seen == 0 {
                for words in ring.newest_first() {
                    assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
                    seen += 1;
                }
            }
        });
    }

    #[test]
    fn the_next_thread_takes_over_the_ring_of_one_that_ended() {
        let mark = u64::MAX - 7;
        let has_mark =
            || all().iter().filter(|ring| ring.newest_first().any(|words| words[1] == mark)).count();
        let one = || std::thread::scope(|scope| scope.spawn(|| write([0, mark, 0, 0, 0, 0])).join().unwrap());
        for _ in 0..50 {
            one();
        }
        // Other tests of the process may take a ring in between, but not fifty.
        assert!((1..40).contains(&has_mark()), "{}", has_mark());
    }
}

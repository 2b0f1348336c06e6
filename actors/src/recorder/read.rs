//! Reading the rings.

use super::clock::Micros;
use super::message::{Handled, HandledMessage, TAIL};
use super::ring;

/// The last messages of an actor, the oldest first; at most [`TAIL`].
pub(crate) fn tail(actor: u64) -> Vec<HandledMessage> {
    let mut found = Vec::new();
    for ring in ring::all() {
        // The second word is the actor's number: most entries are of others and need not be read further.
        let own = ring.newest_first().filter(|words| words[1] == actor).take(TAIL);
        found.extend(own.filter_map(Handled::of_words));
    }
    // Within a ring the newest came first; those of the same microsecond keep their order.
    found.reverse();
    found.sort_by_key(|handled| handled.ended);
    let older = found.len().saturating_sub(TAIL);
    found.iter().skip(older).map(HandledMessage::from).collect()
}

/// All messages whose handling ended since then, in no order.
pub(crate) fn recent(since: Micros) -> Vec<Handled> {
    let mut found = Vec::new();
    for ring in ring::all() {
        let recent = ring.newest_first().take_while(|words| words[0] >= since);
        found.extend(recent.filter_map(Handled::of_words));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::kind::MessageKind;
    use crate::recorder::trail::{Handling, Queued, Trail};

    #[test]
    fn the_tail_is_an_actors_last_messages_on_all_threads() {
        let (trail, other) = (Trail::default(), Trail::default());
        std::thread::scope(|scope| {
            let by_thread = |from: usize| {
                for bytes in from..from + 50 {
                    drop(Handling::begin(&trail, MessageKind::Ask, bytes));
                    drop(Handling::begin(&other, MessageKind::Tick, 0));
                }
            };
            scope.spawn(move || by_thread(0)).join().unwrap();
            scope.spawn(move || by_thread(50)).join().unwrap();
        });
        let tail = tail(trail.number());
        let bytes: Vec<_> = tail.iter().map(|message| message.bytes).collect();
        // Microseconds may be equal within a thread's run, but the threads ran one after the other.
        assert_eq!(bytes.len(), TAIL);
        assert!(bytes[..14].iter().all(|bytes| *bytes < 50) && bytes[14..].iter().all(|bytes| *bytes >= 50));
        assert!(tail.iter().all(|message| message.kind == "ask" && message.waited_micros.is_none()));
        let recent = recent(0);
        assert_eq!(recent.iter().filter(|handled| handled.actor == other.number()).count(), 100);
    }

    #[test]
    fn a_message_that_waited_says_how_long_and_one_that_panicked_that_it_did() {
        let trail = Trail::default();
        let queued = Queued::new(());
        let panicking = std::panic::catch_unwind(|| {
            let _handling = Handling::begin_queued(&trail, MessageKind::Deliver, 7, queued.stamp());
            panic!("as a test wants");
        });
        assert!(panicking.is_err());
        let tail = tail(trail.number());
        let [message] = &tail[..] else { panic!("{tail:?}") };
        assert!(message.panicked && message.waited_micros.is_some() && message.bytes == 7);
    }
}

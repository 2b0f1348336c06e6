//! What an outbox promises its writers and its owner.

use super::*;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn messages(outbox: &Outbox) -> Vec<Bytes> {
    match outbox.take() {
        Some(Outgoing::Messages(messages)) => messages,
        other => panic!("no messages but {other:?}"),
    }
}

fn end(outbox: &Outbox, reason: Disconnect) {
    assert_eq!(outbox.take(), Some(Outgoing::End(reason.into())));
}

#[test]
fn a_reply_comes_before_what_its_channel_wrote_and_nothing_else_waits() {
    let outbox = Outbox::new(1024);
    outbox.hold(1);
    outbox.hold(2);
    outbox.push_of(1, bytes("live 1"));
    outbox.push_of(2, bytes("live 2"));
    outbox.push_of(0, bytes("another channel"));
    outbox.push(bytes("ping"));
    assert_eq!(messages(&outbox), ["another channel", "ping"]);
    outbox.written();
    outbox.push_of(1, bytes("later 1"));
    outbox.release(&[1], Some(bytes("reply 1")));
    assert_eq!(messages(&outbox), ["reply 1", "live 1", "later 1"]);
    outbox.written();
    outbox.discard(2);
    assert_eq!((outbox.take(), outbox.waiting_bytes()), (None, 0));
    outbox.push_of(2, bytes("late"));
    assert_eq!(messages(&outbox), ["late"]);
}

#[test]
fn the_bound_counts_what_is_held_and_what_is_being_written() {
    let outbox = Outbox::new(8);
    outbox.hold(1);
    outbox.push_of(1, bytes("12345"));
    outbox.push(bytes("678"));
    assert_eq!(messages(&outbox), ["678"]);
    assert_eq!(outbox.waiting_bytes(), 8);
    outbox.push(bytes("9"));
    end(&outbox, Disconnect::Slow);
}

#[test]
fn ends_a_slow_client_and_forgets_what_waits() {
    let outbox = Outbox::new(8);
    outbox.push(bytes("12345678"));
    outbox.push(bytes("9"));
    end(&outbox, Disconnect::Slow);
    outbox.push(bytes("more"));
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[test]
fn writes_what_waits_before_the_end() {
    let outbox = Outbox::new(1024);
    outbox.push(bytes("last"));
    outbox.end(Disconnect::Shutdown);
    outbox.end(Disconnect::Stale);
    assert_eq!(messages(&outbox), ["last"]);
    assert_eq!(outbox.take(), None, "the owner is writing");
    outbox.written();
    end(&outbox, Disconnect::Shutdown);
}

#[test]
fn a_socket_that_takes_nothing_is_given_up_for_the_first_reason() {
    let outbox = Outbox::new(1024);
    outbox.push(bytes("one"));
    assert_eq!(messages(&outbox), ["one"]);
    outbox.push(bytes("two"));
    outbox.end(Disconnect::ForceDisconnect);
    assert_eq!(outbox.take(), None);
    outbox.give_up();
    end(&outbox, Disconnect::ForceDisconnect);
}

#[test]
fn batches_are_bounded() {
    let outbox = Outbox::new(1024 * 1024);
    for _ in 0..3 {
        outbox.push(Bytes::from(vec![0; 40 * 1024]));
    }
    for _ in 0..3 {
        assert_eq!(messages(&outbox).len(), 1);
        outbox.written();
    }
    assert_eq!(outbox.take(), None);
}

/// Takes what it is told to, and remembers what it took.
#[derive(Default)]
struct TestSocket {
    taken: Mutex<Vec<Bytes>>,
    next: Mutex<Option<DirectWrite>>,
}

impl DirectSocket for TestSocket {
    fn try_write(&self, messages: &[Bytes]) -> DirectWrite {
        let outcome = self.next.lock().take().unwrap_or(DirectWrite::Written);
        if outcome != DirectWrite::Blocked {
            self.taken.lock().push(messages.concat().into());
        }
        outcome
    }
}

#[test]
fn writes_directly_only_where_nothing_stands_before() {
    let (outbox, socket) = (Outbox::new(1024), Arc::new(TestSocket::default()));
    outbox.attach(Arc::<TestSocket>::clone(&socket));
    outbox.push(bytes("1"));
    *socket.next.lock() = Some(DirectWrite::Blocked);
    outbox.push(bytes("2"));
    outbox.push(bytes("3"));
    assert_eq!(*socket.taken.lock(), ["1"]);
    assert_eq!(messages(&outbox), ["2", "3"]);
    outbox.push(bytes("4"));
    assert_eq!(*socket.taken.lock(), ["1"], "the owner is writing");
    outbox.written();
    assert_eq!(messages(&outbox), ["4"]);
    outbox.written();
    *socket.next.lock() = Some(DirectWrite::Partly(1));
    outbox.push(bytes("5"));
    outbox.push(bytes("6"));
    assert_eq!(*socket.taken.lock(), ["1", "5"], "the rest of 5 comes before 6");
    assert_eq!(outbox.waiting_bytes(), 2, "the rest counts");
    assert_eq!(outbox.take(), Some(Outgoing::Flush));
    outbox.push(bytes("7"));
    outbox.written();
    assert_eq!(messages(&outbox), ["6", "7"]);
    outbox.written();
    outbox.hold(1);
    outbox.push_of(1, bytes("live"));
    outbox.release(&[1], Some(bytes("reply")));
    assert_eq!(*socket.taken.lock(), ["1", "5", "reply", "live"]);
}

#[test]
fn answers_to_one_frame_go_together_without_the_owner() {
    let (outbox, socket) = (Outbox::new(1024), Arc::new(TestSocket::default()));
    outbox.attach(Arc::<TestSocket>::clone(&socket));
    outbox.cork();
    outbox.push(bytes("1"));
    outbox.push(bytes("2"));
    assert!(socket.taken.lock().is_empty());
    outbox.uncork();
    assert_eq!(*socket.taken.lock(), ["12"]);
    outbox.cork();
    outbox.push(bytes("3"));
    *socket.next.lock() = Some(DirectWrite::Blocked);
    outbox.uncork();
    assert_eq!(messages(&outbox), ["3"]);
}

//! A session's outbox: the encoded messages that wait for its socket, bounded in bytes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::{Disconnect, DisconnectReason};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most bytes that one batch takes, so that a write stays of the size that sockets take at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The queue between those who write to a client and the task that owns its socket.
///
/// Where nothing waits, a message goes into the socket at once, by whoever has it: that saves the task's wake-up, which
/// costs as much as the write. Writers never wait: past the bound the session ends with [`Disconnect::Slow`], and the
/// client recovers.
pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
    limit_bytes: usize,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Messages from this index on wait until the reply that belongs before them is written.
    held_from: Option<usize>,
    end: Option<DisconnectReason>,
    socket: Option<Arc<dyn DirectSocket>>,
    /// Whether messages wait for the owner to write them all at once.
    corked: bool,
    /// Whether the owner is writing, so that nobody else may.
    owner_writes: bool,
    /// Whether the socket took a part of a message and the owner has to see to the rest.
    flush: bool,
}

/// A socket that takes messages from any task.
pub trait DirectSocket: Send + Sync {
    /// Writes a message without waiting.
    fn try_write(&self, message: &Bytes) -> DirectWrite;
}

/// What became of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectWrite {
    /// It is written.
    Written,
    /// A part is written; the socket keeps the rest, for its owner to write.
    Partly,
    /// Nothing is written, as the socket takes nothing now.
    Blocked,
}

/// What the task that owns the socket has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Write these messages; they may share a frame. Then call [`Outbox::written`].
    Messages(Vec<Bytes>),
    /// Write the rest that the socket keeps. Then call [`Outbox::written`].
    Flush,
    /// Ask by the transport's own means whether the client is there. Then call [`Outbox::written`].
    Ping,
    /// Close the socket.
    End(DisconnectReason),
}

impl Outbox {
    /// An empty outbox for at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { queue: Mutex::default(), changed: Notify::new(), limit_bytes }
    }

    /// Lets messages go into this socket at once, until [`detach`](Self::detach).
    pub fn attach(&self, socket: Arc<dyn DirectSocket>) {
        self.queue.lock().socket = Some(socket);
    }

    /// Lets go of the socket.
    pub fn detach(&self) {
        self.queue.lock().socket = None;
    }

    /// Puts a message behind the others. After the end it is dropped.
    pub fn push(&self, message: Bytes) {
        let mut queue = self.queue.lock();
        if queue.end.is_some() {
            return;
        }
        match queue.write_directly(&message) {
            DirectWrite::Written => return,
            DirectWrite::Partly => {}
            DirectWrite::Blocked => {
                queue.bytes += message.len();
                if queue.bytes > self.limit_bytes {
                    // What waits would not reach a client that reads this slowly: it recovers on its next connection.
                    *queue = Queue { end: Some(Disconnect::Slow.into()), ..Queue::default() };
                } else {
                    queue.messages.push_back(message);
                    if queue.corked {
                        return;
                    }
                }
            }
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Keeps back what is pushed from now on, until [`release`](Self::release).
    pub fn hold(&self) {
        let mut queue = self.queue.lock();
        queue.held_from = Some(queue.messages.len());
    }

    /// Puts a message before all that was kept back, and lets everything go.
    pub fn release(&self, first: Option<Bytes>) {
        let mut queue = self.queue.lock();
        let at = queue.held_from.take().unwrap_or(queue.messages.len()).min(queue.messages.len());
        if let Some(message) = first
            && queue.end.is_none()
            && queue.write_directly(&message) == DirectWrite::Blocked
        {
            queue.bytes += message.len();
            queue.messages.insert(at, message);
        }
        if queue.corked || !queue.has_work() {
            return;
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Lets messages gather until [`uncork`](Self::uncork), so that the answers to one frame go out in one.
    pub(crate) fn cork(&self) {
        self.queue.lock().corked = true;
    }

    pub(crate) fn uncork(&self) {
        let mut queue = self.queue.lock();
        queue.corked = false;
        if queue.has_work() {
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// Ends the session once what waits is written. The first reason counts.
    pub fn end(&self, reason: impl Into<DisconnectReason>) {
        let mut queue = self.queue.lock();
        queue.end.get_or_insert_with(|| reason.into());
        queue.held_from = None;
        drop(queue);
        self.changed.notify_one();
    }

    /// Whether the session is to end.
    pub fn is_ending(&self) -> bool {
        self.queue.lock().end.is_some()
    }

    /// Why the session is to end, if it is.
    pub fn ending(&self) -> Option<DisconnectReason> {
        self.queue.lock().end.clone()
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.queue.lock().messages.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner has written what it was told to write.
    pub fn written(&self) {
        self.queue.lock().owner_writes = false;
    }

    /// Wakes the owner of the socket, so that it looks at the session again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until something changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is to do now, if anything.
    pub(crate) fn take(&self) -> Option<Outgoing> {
        let mut queue = self.queue.lock();
        if queue.flush {
            queue.flush = false;
            queue.owner_writes = true;
            return Some(Outgoing::Flush);
        }
        let ready = queue.held_from.unwrap_or(queue.messages.len()).min(queue.messages.len());
        let mut count = 0;
        let mut bytes = 0;
        while count < ready && (count == 0 || bytes + queue.messages[count].len() <= BATCH_BYTES) {
            bytes += queue.messages[count].len();
            count += 1;
        }
        if count == 0 {
            return queue.end.clone().filter(|_| queue.messages.is_empty()).map(Outgoing::End);
        }
        let batch = queue.messages.drain(..count).collect();
        queue.bytes -= bytes;
        queue.owner_writes = true;
        if let Some(held_from) = &mut queue.held_from {
            *held_from -= count;
        }
        let more = count < ready || queue.end.is_some();
        if queue.messages.is_empty() {
            // A burst's buffer is not worth keeping in an idle session.
            queue.messages = VecDeque::new();
        }
        drop(queue);
        if more {
            self.changed.notify_one();
        }
        Some(Outgoing::Messages(batch))
    }
}

impl Queue {
    /// Writes a message into the socket if nothing stands before it.
    fn write_directly(&mut self, message: &Bytes) -> DirectWrite {
        let free = self.messages.is_empty()
            && self.held_from.is_none()
            && !(self.owner_writes || self.corked || self.flush);
        let Some(socket) = self.socket.as_ref().filter(|_| free) else { return DirectWrite::Blocked };
        let outcome = socket.try_write(message);
        self.flush = outcome == DirectWrite::Partly;
        outcome
    }

    fn has_work(&self) -> bool {
        self.flush || self.end.is_some() || !self.messages.is_empty()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue.lock();
        f.debug_struct("Outbox").field("bytes", &queue.bytes).field("end", &queue.end).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
    fn keeps_order_and_puts_the_reply_before_what_was_held() {
        let outbox = Outbox::new(1024);
        outbox.push(bytes("before"));
        outbox.hold();
        outbox.push(bytes("live"));
        assert_eq!(messages(&outbox), ["before"]);
        assert_eq!(outbox.take(), None);
        outbox.push(bytes("later"));
        outbox.release(Some(bytes("reply")));
        assert_eq!(messages(&outbox), ["reply", "live", "later"]);
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
        end(&outbox, Disconnect::Shutdown);
    }

    #[test]
    fn batches_are_bounded() {
        let outbox = Outbox::new(1024 * 1024);
        for _ in 0..3 {
            outbox.push(Bytes::from(vec![0; 40 * 1024]));
        }
        assert_eq!(messages(&outbox).len(), 1);
        assert_eq!(messages(&outbox).len(), 1);
        assert_eq!(messages(&outbox).len(), 1);
        assert_eq!(outbox.take(), None);
    }

    /// Takes what it is told to, and remembers what it took.
    #[derive(Default)]
    struct TestSocket {
        taken: Mutex<Vec<Bytes>>,
        next: Mutex<Option<DirectWrite>>,
    }

    impl DirectSocket for TestSocket {
        fn try_write(&self, message: &Bytes) -> DirectWrite {
            let outcome = self.next.lock().take().unwrap_or(DirectWrite::Written);
            if outcome != DirectWrite::Blocked {
                self.taken.lock().push(message.clone());
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
        *socket.next.lock() = Some(DirectWrite::Partly);
        outbox.push(bytes("5"));
        outbox.push(bytes("6"));
        assert_eq!(*socket.taken.lock(), ["1", "5"], "the rest of 5 comes before 6");
        assert_eq!(outbox.take(), Some(Outgoing::Flush));
        outbox.push(bytes("7"));
        outbox.written();
        assert_eq!(messages(&outbox), ["6", "7"]);
        outbox.written();
        outbox.hold();
        outbox.push(bytes("live"));
        outbox.release(Some(bytes("reply")));
        assert_eq!(messages(&outbox), ["reply", "live"]);
    }

    #[test]
    fn answers_to_one_frame_go_together() {
        let (outbox, socket) = (Outbox::new(1024), Arc::new(TestSocket::default()));
        outbox.attach(Arc::<TestSocket>::clone(&socket));
        outbox.cork();
        outbox.push(bytes("1"));
        outbox.hold();
        outbox.release(Some(bytes("2")));
        outbox.uncork();
        assert_eq!(messages(&outbox), ["1", "2"]);
        assert!(socket.taken.lock().is_empty());
    }
}

//! A session's outbox: the encoded messages that wait for its socket, bounded in bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use mundotango_protocol::Disconnect;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most bytes that one batch takes, so that a write stays of the size that sockets take at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The queue between those who write to a client and the task that owns its socket.
///
/// Writers never wait: past the bound the session ends with [`Disconnect::Slow`], and the client recovers.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
    limit_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Messages from this index on wait until the reply that belongs before them is written.
    held_from: Option<usize>,
    end: Option<Disconnect>,
}

/// What the task that owns the socket has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Write these messages; they may share a frame.
    Messages(Vec<Bytes>),
    /// Close the socket.
    End(Disconnect),
}

impl Outbox {
    /// An empty outbox for at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { queue: Mutex::default(), changed: Notify::new(), limit_bytes }
    }

    /// Puts a message behind the others. After the end it is dropped.
    pub fn push(&self, message: Bytes) {
        let mut queue = self.queue.lock();
        if queue.end.is_some() {
            return;
        }
        queue.bytes += message.len();
        if queue.bytes > self.limit_bytes {
            // What waits would not reach a client that reads this slowly: it recovers on its next connection.
            *queue = Queue { end: Some(Disconnect::Slow), ..Queue::default() };
        } else {
            queue.messages.push_back(message);
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
        {
            queue.bytes += message.len();
            queue.messages.insert(at, message);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Ends the session once what waits is written. The first reason counts.
    pub fn end(&self, reason: Disconnect) {
        let mut queue = self.queue.lock();
        queue.end.get_or_insert(reason);
        queue.held_from = None;
        drop(queue);
        self.changed.notify_one();
    }

    /// Whether the session is to end.
    pub fn ending(&self) -> Option<Disconnect> {
        self.queue.lock().end
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
        let ready = queue.held_from.unwrap_or(queue.messages.len()).min(queue.messages.len());
        let mut count = 0;
        let mut bytes = 0;
        while count < ready && (count == 0 || bytes + queue.messages[count].len() <= BATCH_BYTES) {
            bytes += queue.messages[count].len();
            count += 1;
        }
        if count == 0 {
            return queue.end.filter(|_| queue.messages.is_empty()).map(Outgoing::End);
        }
        let batch = queue.messages.drain(..count).collect();
        queue.bytes -= bytes;
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
        assert_eq!(outbox.take(), Some(Outgoing::End(Disconnect::Slow)));
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
        assert_eq!(outbox.take(), Some(Outgoing::End(Disconnect::Shutdown)));
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
}

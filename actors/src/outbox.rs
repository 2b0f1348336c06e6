//! A session's outbox: the encoded messages that wait for its socket, bounded in bytes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mundotango_protocol::{Disconnect, DisconnectReason};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::recorder::{self, Micros};

/// Most bytes that one batch takes, so that a write stays of the size that sockets take at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The queue between those who write to a client and the task that owns its socket.
///
/// Where nothing waits, a message goes into the socket at once, by whoever has it: that saves the task's wake-up, which
/// costs as much as the write. Writers never wait: past the bound the session ends with [`Disconnect::Slow`], and the
/// client recovers.
///
/// The bound counts all bytes that the kernel has not taken: queued, held back, and under way to the socket.
pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
    limit_bytes: usize,
}

/// A subscription's number: no two subscriptions of one session share it, so a late message for an ended one is known.
pub(crate) type SubscriptionNumber = u32;

#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    /// Bytes of `messages` and of what is held back.
    bytes: usize,
    /// Bytes that the owner is writing, or that the socket keeps.
    writing: usize,
    /// Since when something waits without a break; means nothing while nothing does.
    waiting_since: Micros,
    /// Messages of subscriptions whose reply is not written yet.
    held: Vec<Held>,
    end: Option<DisconnectReason>,
    socket: Option<Arc<dyn DirectSocket>>,
    /// True if messages gather, so that the replies to one frame share a write.
    corked: bool,
    /// True if the owner is writing, so that nobody else may.
    owner_writes: bool,
    /// True if the socket took a part of a message and the owner has to see to the rest.
    flush: bool,
}

/// Messages of a channel that wait for the reply of its subscription.
struct Held {
    number: SubscriptionNumber,
    messages: Vec<Bytes>,
}

/// A socket that takes messages from any task.
pub trait DirectSocket: Send + Sync {
    /// Writes messages, which may share a frame, without waiting.
    fn try_write(&self, messages: &[Bytes]) -> DirectWrite;
}

/// The outcome of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectWrite {
    /// All is written.
    Written,
    /// A part is written; the socket keeps the rest, of so many bytes, for its owner to write.
    Partly(usize),
    /// Nothing is written, as the socket takes nothing now.
    Blocked,
}

/// The next work of the task that owns the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Write these messages; they may share a frame. Then call [`Session::written`](crate::Session::written).
    Messages(Vec<Bytes>),
    /// Write the rest that the socket keeps. Then call [`Session::written`](crate::Session::written).
    Flush,
    /// Ask by the transport's own means whether the client is there.
    Ping,
    /// Close the socket, even where it has not taken what was written before.
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
        if queue.put(message, self.limit_bytes) {
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// Puts a channel's message behind the others, or keeps it back while its subscription is [held](Self::hold).
    pub(crate) fn push_of(&self, subscription: SubscriptionNumber, message: Bytes) {
        let mut queue = self.queue.lock();
        let limit = self.limit_bytes;
        if queue.hold_back(subscription, &message, limit) || !queue.put(message, limit) {
            return;
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Keeps back what a subscription's channel writes, until [`release`](Self::release) or [`discard`](Self::discard):
    /// its reply comes first. Nothing else waits for that reply.
    pub(crate) fn hold(&self, subscription: SubscriptionNumber) {
        let held = Held { number: subscription, messages: Vec::new() };
        self.queue.lock().held.push(held);
    }

    /// Writes the reply of subscriptions, and then what was kept back for it.
    pub(crate) fn release(&self, subscriptions: &[SubscriptionNumber], reply: Option<Bytes>) {
        let mut queue = self.queue.lock();
        let mut wakes = reply.is_some_and(|reply| queue.put(reply, self.limit_bytes));
        for number in subscriptions {
            for message in queue.take_held(*number) {
                wakes |= queue.put(message, self.limit_bytes);
            }
        }
        if wakes {
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// Drops what was kept back for a subscription that did not come about.
    pub(crate) fn discard(&self, subscription: SubscriptionNumber) {
        self.queue.lock().take_held(subscription);
    }

    /// Lets messages gather until [`uncork`](Self::uncork), so that the answers to one frame go out in one.
    pub(crate) fn cork(&self) {
        self.queue.lock().corked = true;
    }

    /// Writes what has gathered. Not by the owner's task, which may be waiting for the next command's outcome.
    pub(crate) fn uncork(&self) {
        let mut queue = self.queue.lock();
        queue.corked = false;
        queue.write_gathered();
        if queue.has_work() && !queue.owner_writes {
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// Ends the session once what waits is written. The first reason counts.
    pub fn end(&self, reason: impl Into<DisconnectReason>) {
        let mut queue = self.queue.lock();
        queue.end.get_or_insert_with(|| reason.into());
        let held = std::mem::take(&mut queue.held);
        queue.bytes -= held.iter().flat_map(|held| &held.messages).map(Bytes::len).sum::<usize>();
        drop(queue);
        self.changed.notify_one();
    }

    /// Ends the session now, as its socket takes nothing: what waits is dropped. The first reason counts.
    pub(crate) fn give_up(&self) {
        self.queue.lock().give_up();
        self.changed.notify_one();
    }

    /// True if the session is to end.
    pub fn is_ending(&self) -> bool {
        self.queue.lock().end.is_some()
    }

    /// Why the session is to end, if it is.
    pub fn ending(&self) -> Option<DisconnectReason> {
        self.queue.lock().end.clone()
    }

    /// Bytes that the kernel has not taken.
    pub fn waiting_bytes(&self) -> usize {
        self.queue.lock().waiting()
    }

    /// What the kernel has not taken, if that is anything.
    pub(crate) fn backlog(&self) -> Option<Backlog> {
        let queue = self.queue.lock();
        let bytes = queue.waiting();
        let (messages, since) = (queue.messages.len(), queue.waiting_since);
        (bytes > 0).then_some(Backlog { bytes, messages, since, limit_bytes: self.limit_bytes })
    }

    /// Bytes that may still be put in.
    pub(crate) fn room(&self) -> usize {
        self.limit_bytes.saturating_sub(self.waiting_bytes())
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.queue.lock().messages.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner has written what it was told to write.
    pub(crate) fn written(&self) {
        let mut queue = self.queue.lock();
        queue.owner_writes = false;
        queue.writing = 0;
    }

    /// Wakes the owner of the socket, so that it looks at the session again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until something changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is to do now, if anything; nothing while the owner is writing.
    pub(crate) fn take(&self) -> Option<Outgoing> {
        let mut queue = self.queue.lock();
        if queue.owner_writes {
            return None;
        }
        if queue.flush {
            queue.flush = false;
            queue.owner_writes = true;
            return Some(Outgoing::Flush);
        }
        let (count, bytes) = queue.batch();
        if count == 0 {
            return queue.end.clone().map(Outgoing::End);
        }
        let batch = queue.messages.drain(..count).collect();
        queue.bytes -= bytes;
        queue.writing = bytes;
        queue.owner_writes = true;
        queue.shrink();
        Some(Outgoing::Messages(batch))
    }
}

/// What waits for a socket.
pub(crate) struct Backlog {
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
    /// Since when something waits without a break.
    pub(crate) since: Micros,
    pub(crate) limit_bytes: usize,
}

impl Queue {
    /// Called before bytes begin to wait.
    fn note_wait(&mut self) {
        if self.waiting() == 0 {
            self.waiting_since = recorder::now();
        }
    }

    fn waiting(&self) -> usize {
        self.bytes + self.writing
    }

    /// Writes a message into the socket or puts it behind the others; whether the owner has to be woken.
    fn put(&mut self, message: Bytes, limit: usize) -> bool {
        if self.end.is_some() {
            return false;
        }
        if self.is_free() && self.messages.is_empty() {
            match self.write_directly(std::slice::from_ref(&message)) {
                DirectWrite::Written => return false,
                DirectWrite::Partly(_) => return true,
                DirectWrite::Blocked => {}
            }
        }
        if self.waiting() + message.len() > limit {
            // Waiting messages would not reach a client that reads this slowly: it recovers on its next connection.
            self.give_up();
            return true;
        }
        self.note_wait();
        self.bytes += message.len();
        self.messages.push_back(message);
        // An owner that writes looks here when it is done.
        !(self.corked || self.owner_writes)
    }

    /// Keeps a message back, if its subscription is held.
    fn hold_back(&mut self, subscription: SubscriptionNumber, message: &Bytes, limit: usize) -> bool {
        let waiting = self.waiting();
        let held = self.held.iter_mut().find(|held| held.number == subscription);
        let Some(held) = held else { return false };
        if waiting + message.len() > limit {
            // `put` finds the same, and ends the session.
            return false;
        }
        held.messages.push(message.clone());
        self.note_wait();
        self.bytes += message.len();
        true
    }

    fn take_held(&mut self, subscription: SubscriptionNumber) -> Vec<Bytes> {
        let at = self.held.iter().position(|held| held.number == subscription);
        let Some(at) = at else { return Vec::new() };
        let messages = self.held.swap_remove(at).messages;
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        self.bytes -= messages.iter().map(Bytes::len).sum::<usize>();
        messages
    }

    /// Ends the session without what waits.
    fn give_up(&mut self) {
        let end = self.end.take().unwrap_or_else(|| Disconnect::Slow.into());
        *self = Self { end: Some(end), ..Self::default() };
    }

    /// True if others than the owner may write into the socket.
    fn is_free(&self) -> bool {
        !(self.owner_writes || self.corked || self.flush)
    }

    fn write_directly(&mut self, messages: &[Bytes]) -> DirectWrite {
        let Some(socket) = &self.socket else { return DirectWrite::Blocked };
        let outcome = socket.try_write(messages);
        if let DirectWrite::Partly(rest) = outcome {
            self.note_wait();
            self.flush = true;
            self.writing = rest;
        }
        outcome
    }

    /// Writes what has gathered as far as the socket takes it.
    fn write_gathered(&mut self) {
        while self.socket.is_some() && self.is_free() {
            let (count, bytes) = self.batch();
            if count == 0 {
                return;
            }
            let batch: Vec<_> = self.messages.iter().take(count).cloned().collect();
            if self.write_directly(&batch) == DirectWrite::Blocked {
                return;
            }
            self.messages.drain(..count);
            self.bytes -= bytes;
            self.shrink();
        }
    }

    /// How many of the first messages one write takes, and their bytes.
    fn batch(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for message in &self.messages {
            if count > 0 && bytes + message.len() > BATCH_BYTES {
                break;
            }
            bytes += message.len();
            count += 1;
        }
        (count, bytes)
    }

    /// A burst's buffer is not worth keeping in an idle session.
    fn shrink(&mut self) {
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
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
mod tests;

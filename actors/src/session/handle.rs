//! What others hold of a session: who it is, its outbox, and a way to tell it something.

use std::collections::VecDeque;
use std::sync::OnceLock;

use mundotango_protocol::{ChannelName, ClientId, Disconnect, Encoding, UnsubscribeCode};
use parking_lot::Mutex;

use crate::outbox::Outbox;
use crate::vitals::{State, TreeNode, Vitals};

/// Messages that may wait for a session. More than that means that it is stuck, and it ends.
const MAILBOX_CAPACITY: usize = 256;

/// What a client is connected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket.
    WebSocket,
}

impl Transport {
    /// The name used in metrics and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// What can be said to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionMessage {
    /// From the node or an operator: end.
    Disconnect(Disconnect),
    /// From a channel: it no longer writes to you, because of this.
    SubscriptionLost(ChannelName, UnsubscribeCode),
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
}

/// A session as others see it.
#[derive(Debug)]
pub struct SessionHandle {
    client: ClientId,
    user: OnceLock<Box<str>>,
    transport: Transport,
    encoding: Encoding,
    outbox: Outbox,
    mailbox: Mutex<VecDeque<SessionMessage>>,
    vitals: Vitals,
}

impl SessionHandle {
    pub(crate) fn new(transport: Transport, encoding: Encoding, outbox_bytes: usize) -> Self {
        Self {
            client: ClientId::random(),
            user: OnceLock::new(),
            transport,
            encoding,
            outbox: Outbox::new(outbox_bytes),
            mailbox: Mutex::default(),
            vitals: Vitals::default(),
        }
    }

    /// The session's id.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The user's id, once the session is connected; empty for anonymous ones.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(AsRef::as_ref)
    }

    pub(crate) fn set_user(&self, user: &str) {
        // Set once, at connect: a refresh with another user is refused.
        let _ = self.user.set(user.into());
    }

    /// What the client is connected by.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// How the connection writes its messages.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The messages that wait for the socket.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Waits until something was put into the outbox, or it ended.
    pub async fn outbox_changed(&self) {
        self.outbox.changed().await;
    }

    pub(crate) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Tells the session something. It never waits: a session that does not take its messages is ended.
    pub fn tell(&self, message: SessionMessage) {
        let mut mailbox = self.mailbox.lock();
        if mailbox.len() >= MAILBOX_CAPACITY {
            drop(mailbox);
            self.outbox.end(Disconnect::Internal);
            return;
        }
        mailbox.push_back(message);
        drop(mailbox);
        self.outbox.wake();
    }

    pub(crate) fn next_message(&self) -> Option<SessionMessage> {
        self.mailbox.lock().pop_front()
    }

    /// Messages that wait for the session and its socket.
    pub(crate) fn waiting(&self) -> usize {
        self.mailbox.lock().len() + self.outbox.len()
    }

    pub(crate) fn tree_node(&self) -> TreeNode {
        let state = if self.outbox.ending().is_some() { State::Draining } else { State::Running };
        self.vitals.node(self.client.to_string(), "session", state, self.waiting())
    }
}

//! A session as others see it: its user, its outbox, and its mailbox.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::{
    ChannelName, ClientId, Disconnect, DisconnectReason, Encoding, StreamPosition, UnsubscribeCode,
};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::base64_bytes;
use crate::options::SubscriptionOverride;
use crate::outbox::{Outbox, SubscriptionNumber};
use crate::recorder::{MessageKind, Queued};
use crate::supervised::Seen;
use crate::vitals::{State, TreeNode, Vitals};

/// Messages that may wait for a session. More than that means that it is stuck, and it ends.
const MAILBOX_CAPACITY: usize = 256;

/// The kind of a session in the tree.
pub(crate) const KIND: &str = "session";

/// The kinds of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket.
    WebSocket,
    /// Server-sent events, with commands by POST to `/emulation`.
    Sse,
    /// An HTTP answer that does not end, with commands by POST to `/emulation`.
    HttpStream,
    /// A WebSocket that the client does not write to.
    UniWebSocket,
    /// Server-sent events alone.
    UniSse,
    /// An HTTP answer that does not end, alone.
    UniHttpStream,
}

impl Transport {
    /// The transports, each at the place of its number.
    pub(crate) const ALL: [Self; 6] =
        [Self::WebSocket, Self::Sse, Self::HttpStream, Self::UniWebSocket, Self::UniSse, Self::UniHttpStream];

    /// The name used in metrics and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::HttpStream => "http_stream",
            Self::UniWebSocket => "uni_websocket",
            Self::UniSse => "uni_sse",
            Self::UniHttpStream => "uni_http_stream",
        }
    }

    /// True if it is a WebSocket, and not an answer of HTTP that goes on.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::UniWebSocket)
    }

    /// True if the client's commands come by another way than the server's messages.
    pub fn is_emulated(self) -> bool {
        matches!(self, Self::Sse | Self::HttpStream)
    }

    /// True if the client only listens.
    pub fn is_unidirectional(self) -> bool {
        matches!(self, Self::UniWebSocket | Self::UniSse | Self::UniHttpStream)
    }
}

/// A subscription that the server makes for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSubscription {
    /// What other subscribers may know of the user, in JSON; may be empty.
    #[serde(with = "base64_bytes")]
    pub info: Bytes,
    /// The application's own data for the client, in JSON; may be empty.
    #[serde(with = "base64_bytes")]
    pub data: Bytes,
    /// When the subscription expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// Overrides of the namespace's options for this subscription.
    pub change: SubscriptionOverride,
}

/// A message to a session.
#[derive(Clone, Debug)]
pub enum SessionMessage {
    /// From the node or an operator: end.
    Disconnect(DisconnectReason),
    /// From the application: be subscribed.
    Subscribe {
        /// To this channel.
        channel: ChannelName,
        /// In this way.
        subscription: Box<ServerSubscription>,
        /// Catching up from here.
        recover: Option<StreamPosition>,
    },
    /// From the application: be subscribed no longer.
    Unsubscribe(ChannelName),
    /// From the application: the connection expires at another time, in Unix seconds, or never.
    Refresh {
        /// When.
        expires_at: Option<u64>,
        /// What others may know of the user from now on, in JSON; unchanged if absent.
        info: Option<Bytes>,
    },
    /// From the application: tell the client this.
    Message(Bytes),
    /// From a channel: it no longer writes to a subscription.
    SubscriptionLost {
        /// The channel.
        channel: ChannelName,
        /// The subscription that is lost, by its number in the outbox. The session may have a newer one to the channel.
        number: SubscriptionNumber,
        /// Why.
        code: UnsubscribeCode,
    },
    /// From a test: fail.
    #[cfg(feature = "test-hooks")]
    Panic,
}

impl SessionMessage {
    /// The kind and the size of the payload, as the flight recorder notes them.
    pub(crate) fn recorded(&self) -> (MessageKind, usize) {
        match self {
            Self::Disconnect(_) => (MessageKind::ToldDisconnect, 0),
            Self::Subscribe { subscription, .. } => (MessageKind::ToldSubscribe, subscription.data.len()),
            Self::Unsubscribe(_) => (MessageKind::ToldUnsubscribe, 0),
            Self::Refresh { info, .. } => (MessageKind::ToldRefresh, info.as_ref().map_or(0, Bytes::len)),
            Self::Message(data) => (MessageKind::ToldMessage, data.len()),
            Self::SubscriptionLost { .. } => (MessageKind::ToldLoss, 0),
            #[cfg(feature = "test-hooks")]
            Self::Panic => (MessageKind::BreakSession, 0),
        }
    }
}

/// A session as others see it.
#[derive(Debug)]
pub struct SessionHandle {
    client: ClientId,
    user: OnceLock<Box<str>>,
    who: RwLock<Option<Arc<Who>>>,
    opened_at: Timestamp,
    transport: Transport,
    encoding: Encoding,
    outbox: Outbox,
    mailbox: Mutex<VecDeque<Queued<SessionMessage>>>,
    vitals: Vitals,
}

/// Whose session it is, and what the newest token of the session says; known once it is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The user's id; empty for anonymous sessions.
    pub user: String,
    /// The login that the token came from.
    pub login_id: Option<String>,
    /// The token's own id.
    pub token_id: Option<String>,
    /// When the token was issued, in Unix seconds.
    pub issued_at: Option<u64>,
    /// What only the server knows of the user, in JSON; may be empty.
    pub meta: Bytes,
    /// The client library's name and version, as it says them.
    pub library: (String, String),
    /// The secret of sessions whose clients cannot name their connection otherwise.
    pub session_key: Option<String>,
}

impl SessionHandle {
    pub(crate) fn new(transport: Transport, encoding: Encoding, outbox_bytes: usize) -> Self {
        Self {
            client: ClientId::random(),
            user: OnceLock::new(),
            who: RwLock::default(),
            opened_at: Timestamp::now(),
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

    /// Whose session it is and by which token, once it is connected.
    pub fn who(&self) -> Option<Arc<Who>> {
        self.who.read().clone()
    }

    /// Set at connect and at each refresh, as revocations and lists go by the newest token. The user stays the same: a
    /// refresh for another one is refused.
    pub(crate) fn set_who(&self, who: Who) {
        let _ = self.user.set(who.user.as_str().into());
        *self.who.write() = Some(Arc::new(who));
    }

    /// When the connection was made.
    pub fn opened_at(&self) -> Timestamp {
        self.opened_at
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

    pub(crate) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Tells the session something. It never waits: a session that does not take its messages is ended.
    pub fn tell(&self, message: SessionMessage) {
        let mut mailbox = self.mailbox.lock();
        match message {
            // Nothing comes before the end then, so the session need not get there first.
            SessionMessage::Disconnect(reason) if mailbox.is_empty() => {
                drop(mailbox);
                self.outbox.end(reason);
                return;
            }
            // Once is enough, however often a node that goes away says so.
            SessionMessage::Disconnect(_)
                if mailbox.iter().any(|known| matches!(known.message, SessionMessage::Disconnect(_))) =>
            {
                return;
            }
            _ => {}
        }
        if mailbox.len() >= MAILBOX_CAPACITY {
            drop(mailbox);
            self.outbox.end(Disconnect::Internal);
            return;
        }
        mailbox.push_back(Queued::new(message));
        drop(mailbox);
        self.outbox.wake();
    }

    /// Ends a session that was told so, before it gets to its other messages.
    pub(crate) fn take_disconnect(&self) {
        let reason = self.mailbox.lock().iter().find_map(|queued| match &queued.message {
            SessionMessage::Disconnect(reason) => Some(reason.clone()),
            _ => None,
        });
        if let Some(reason) = reason {
            self.outbox.end(reason);
        }
    }

    pub(crate) fn next_message(&self) -> Option<Queued<SessionMessage>> {
        self.mailbox.lock().pop_front()
    }

    /// Messages that wait for the session.
    pub(crate) fn messages_waiting(&self) -> usize {
        self.mailbox.lock().len()
    }

    /// Messages that wait for the session and its socket.
    pub(crate) fn waiting(&self) -> usize {
        self.mailbox.lock().len() + self.outbox.len()
    }

    pub(crate) fn state(&self) -> State {
        if self.outbox.is_ending() { State::Draining } else { State::Running }
    }

    pub(crate) fn tree_node(&self) -> TreeNode {
        self.vitals.node(self.client.to_string(), KIND, self.state(), self.waiting())
    }

    pub(crate) fn seen(&self) -> Seen<'_> {
        Seen {
            kind: KIND,
            name: &self.client,
            state: self.state(),
            vitals: &self.vitals,
            waiting: self.messages_waiting(),
            bound: Some(MAILBOX_CAPACITY),
        }
    }
}

/// Which sessions something is done to: a user's, or some of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Whose {
    /// The user; the empty one's sessions are the anonymous ones.
    pub user: String,
    /// Only this session.
    pub client: Option<String>,
    /// Only the session with this secret; see [`Who::session_key`].
    pub session: Option<String>,
}

impl Whose {
    /// True if a session of the user is meant.
    pub(crate) fn fits(&self, session: &SessionHandle) -> bool {
        let key = || session.who().and_then(|who| who.session_key.clone());
        self.client.as_ref().is_none_or(|client| session.client().is(client))
            && self.session.as_ref().is_none_or(|session| key().as_ref() == Some(session))
    }
}

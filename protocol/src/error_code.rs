//! The protocol's numbers: errors in replies, reasons for an unsubscription, reasons for a disconnection.

use std::borrow::Cow;
use std::fmt;

use crate::reply::ErrorReply;

/// An error that answers one command; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u32)]
pub enum ErrorCode {
    /// Something failed on the node; worth another try.
    #[error("internal server error")]
    Internal = 100,
    /// The connection has no identity that could do this.
    #[error("unauthorized")]
    Unauthorized = 101,
    /// The channel's namespace is not configured.
    #[error("unknown channel")]
    UnknownChannel = 102,
    /// The identity may not do this.
    #[error("permission denied")]
    PermissionDenied = 103,
    /// No such RPC method.
    #[error("method not found")]
    MethodNotFound = 104,
    /// The session is subscribed to the channel already.
    #[error("already subscribed")]
    AlreadySubscribed = 105,
    /// A limit of the session is reached.
    #[error("limit exceeded")]
    LimitExceeded = 106,
    /// A field of the command is missing or malformed.
    #[error("bad request")]
    BadRequest = 107,
    /// The feature is off for this channel.
    #[error("not available")]
    NotAvailable = 108,
    /// The token's time is over; the client should get a new one.
    #[error("token expired")]
    TokenExpired = 109,
    /// The object of the command has expired.
    #[error("expired")]
    Expired = 110,
    /// Too many commands in too short a time; worth another try.
    #[error("too many requests")]
    TooManyRequests = 111,
    /// History no longer reaches back to the position asked for.
    #[error("unrecoverable position")]
    UnrecoverablePosition = 112,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// True if the client should try the same again by itself.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }
}

impl From<ErrorCode> for ErrorReply {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code(), message: code.to_string(), temporary: code.is_temporary() }
    }
}

/// Why the server took a subscription away. From 2500 on clients subscribe again by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u32)]
pub enum UnsubscribeCode {
    /// An operator or the application did it.
    #[error("server unsubscribe")]
    Server = 2000,
    /// The stream has a hole that could not be filled; the client recovers by subscribing again.
    #[error("insufficient state")]
    InsufficientState = 2500,
    /// The subscription's token was not refreshed.
    #[error("subscription expired")]
    Expired = 2501,
    /// The right to the subscription has changed.
    #[error("state invalidated")]
    StateInvalidated = 2502,
}

impl UnsubscribeCode {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }
}

/// Why the server ends a connection. Codes 3000–3499 make clients reconnect, 3500–3999 do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u16)]
pub enum Disconnect {
    /// The transport ended by itself.
    #[error("connection closed")]
    ConnectionClosed = 3000,
    /// The node is going away; another will take the client.
    #[error("shutdown")]
    Shutdown = 3001,
    /// The session failed on the node.
    #[error("internal server error")]
    Internal = 3004,
    /// The connection's token was not refreshed.
    #[error("connection expired")]
    Expired = 3005,
    /// A server-side subscription's token was not refreshed.
    #[error("subscription expired")]
    SubscriptionExpired = 3006,
    /// The client reads slower than it is written to.
    #[error("slow")]
    Slow = 3008,
    /// Writing to the transport failed.
    #[error("write error")]
    WriteError = 3009,
    /// A server-side subscription's stream has a hole.
    #[error("insufficient state")]
    InsufficientState = 3010,
    /// An operator asks the client to connect again.
    #[error("force reconnect")]
    ForceReconnect = 3011,
    /// No pong came in time.
    #[error("no pong")]
    NoPong = 3012,
    /// Too many commands in too short a time.
    #[error("too many requests")]
    TooManyRequests = 3013,
    /// The right to the connection has changed.
    #[error("state invalidated")]
    StateInvalidated = 3014,
    /// The token is not one that this server issued or trusts.
    #[error("invalid token")]
    InvalidToken = 3500,
    /// The client broke the protocol.
    #[error("bad request")]
    BadRequest = 3501,
    /// The client did not authenticate in time.
    #[error("stale")]
    Stale = 3502,
    /// An operator or the application ended the connection for good.
    #[error("force disconnect")]
    ForceDisconnect = 3503,
    /// The user has too many connections.
    #[error("connection limit")]
    ConnectionLimit = 3504,
    /// Server-side subscriptions exceed the session's limit.
    #[error("channel limit")]
    ChannelLimit = 3505,
    /// A payload cannot be written in the connection's encoding.
    #[error("inappropriate protocol")]
    InappropriateProtocol = 3506,
    /// The identity may not connect.
    #[error("permission denied")]
    PermissionDenied = 3507,
    /// The client used a feature that is off.
    #[error("not available")]
    NotAvailable = 3508,
    /// The client went on sending what was refused.
    #[error("too many errors")]
    TooManyErrors = 3509,
}

impl Disconnect {
    /// The WebSocket close code.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The disconnect that a client of a unidirectional transport gets instead of an error reply to its connect.
    pub fn of_connect_error(code: ErrorCode) -> Self {
        match code {
            ErrorCode::TokenExpired | ErrorCode::Expired => Self::Expired,
            ErrorCode::TooManyRequests => Self::TooManyRequests,
            ErrorCode::PermissionDenied => Self::PermissionDenied,
            // The client would send the same again.
            ErrorCode::UnknownChannel | ErrorCode::BadRequest => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// Longest reason that fits a WebSocket's close frame, in bytes (RFC 6455, 5.5).
const MAX_REASON_BYTES: usize = 123;

/// Why a connection ends: one of the protocol's reasons, or the application's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisconnectReason {
    code: u16,
    reason: Cow<'static, str>,
}

impl DisconnectReason {
    /// The application's own reason. Clients understand the codes 3000 to 4999; a reason that is too long is cut.
    pub fn custom(code: u16, reason: &str) -> Option<Self> {
        (3000..5000).contains(&code).then(|| {
            let end = reason.floor_char_boundary(MAX_REASON_BYTES);
            Self { code, reason: Cow::Owned(reason[..end].to_owned()) }
        })
    }

    /// The WebSocket close code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// For people; at most 123 bytes.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// True if a client reconnects by itself after this.
    pub fn reconnects(&self) -> bool {
        matches!(self.code, 3000..3500 | 4000..4500)
    }
}

impl From<Disconnect> for DisconnectReason {
    fn from(reason: Disconnect) -> Self {
        Self { code: reason.code(), reason: Cow::Owned(reason.to_string()) }
    }
}

impl PartialEq<Disconnect> for DisconnectReason {
    fn eq(&self, other: &Disconnect) -> bool {
        self.code == other.code()
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code)
    }
}

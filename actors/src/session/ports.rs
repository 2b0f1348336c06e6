//! The application, as sessions call it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_protocol::{ChannelName, ClientId, ErrorReply};

use crate::handle::{ServerSubscription, Who};
use crate::options::SubscriptionOverride;

/// The contents of a connection token.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The user's id; empty for anonymous sessions.
    pub user: String,
    /// The user's role, which the application alone understands.
    pub role: String,
    /// The login that the token came from.
    pub login_id: Option<String>,
    /// The token's own id.
    pub token_id: Option<String>,
    /// When the token was issued, in Unix seconds.
    pub issued_at: Option<u64>,
    /// When the connection expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What other clients may know of the user, in JSON; may be empty.
    pub info: Bytes,
    /// What only the server knows of the user, in JSON; may be empty.
    pub meta: Bytes,
    /// The channels to which the server subscribes the session, and how.
    pub subscriptions: BTreeMap<String, ServerSubscription>,
}

/// The contents of a subscription token.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionGrant {
    /// The channel.
    pub channel: String,
    /// The user that it is for.
    pub user: String,
    /// The only session that it is for, if it says so.
    pub client: Option<String>,
    /// When the subscription expires, in Unix seconds.
    pub expires_at: Option<u64>,
    /// What other subscribers may know of the user, in JSON; may be empty.
    pub info: Bytes,
    /// Overrides of the namespace's options for this subscription.
    pub change: SubscriptionOverride,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// The token was good once: the client should get another.
    Expired,
    /// The token was never good.
    Invalid,
    /// The token, or its user, was locked out.
    Blocked,
    /// The token cannot be checked now, as its key is not available.
    Unavailable,
}

/// Reads tokens for the sessions.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Reads a connection token.
    async fn connection(&self, token: &str) -> Result<Credentials, TokenRefusal>;

    /// Reads a subscription token.
    async fn subscription(&self, token: &str) -> Result<SubscriptionGrant, TokenRefusal>;

    /// True if a session's token, login or user is locked out; never where nothing can be revoked.
    fn is_revoked(&self, _who: &Who) -> bool {
        false
    }
}

/// Decides which users may subscribe to the channels of a namespace.
#[async_trait]
pub trait ChannelGate: Send + Sync {
    /// True if a user may subscribe to a channel.
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String>;
}

/// The caller of an RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The session.
    pub client: ClientId,
    /// The user's id; empty for anonymous sessions.
    pub user: String,
    /// The user's role, which the application alone understands.
    pub role: String,
    /// The login that the session's token came from.
    pub login_id: Option<String>,
    /// The id of the session's token.
    pub token_id: Option<String>,
    /// When the session's token was issued, in Unix seconds.
    pub issued_at: Option<u64>,
    /// What only the server knows of the user, from the session's token, in JSON; may be empty.
    pub meta: Bytes,
    /// The address that the session's connection comes from, if the transport knows it.
    pub address: Option<IpAddr>,
}

/// The application, as sessions call it.
#[async_trait]
pub trait RpcHandler: Send + Sync {
    /// Calls a method with an argument; both the argument and the answer are JSON, or empty.
    async fn call(&self, caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply>;
}

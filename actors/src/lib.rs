//! The real-time engine: the supervision tree, and the sessions and channels that live in it.
//!
//! It knows nothing of sockets (the gateway owns them), nothing of the application (it calls an [`RpcHandler`]), and
//! nothing of the engines behind the storage ports.

mod channel;
mod encoded;
mod engine;
mod options;
mod outbox;
mod session;
mod supervision;
mod vitals;

pub use channel::Channels;
pub use engine::{Engine, EngineError, EngineParts};
pub use options::{ChannelsOptions, NamespaceOptions, SessionOptions};
pub use outbox::{Outbox, Outgoing};
pub use session::{
    Authenticator, Caller, Credentials, RpcHandler, Session, SessionHandle, SessionMessage, Sessions,
    SubscriptionGrant, TokenRefusal, Transport, Wakeup,
};
pub use vitals::{State, TreeNode, Vitals};

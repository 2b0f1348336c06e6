//! The real-time engine: the supervision tree, and the sessions and channels that live in it.
//!
//! It knows nothing of sockets (the gateway owns them), nothing of the application (it calls an [`RpcHandler`]), and
//! nothing of the engines behind the storage ports.

pub mod bus;
mod channel;
mod cluster;
mod control;
mod engine;
mod options;
mod outbox;
mod placement;
mod session;
mod supervision;
mod vitals;

pub use channel::{Channels, Publish};
pub use cluster::{NodeError, NodeInfo, TopicHandler};
pub use control::{SessionView, Whose};
pub use engine::{ChannelGate, Engine, EngineError, EngineParts, NodeParts};
pub use options::{
    BoolValue, ChannelsOptions, DeltaType, NamespaceOptions, RecoveryMode, SessionOptions,
    SubscriptionOverride,
};
pub use outbox::{DirectSocket, DirectWrite, Outbox, Outgoing};
pub use placement::{OwnedActor, OwnedError, OwnedKind};
pub use session::{
    Authenticator, Caller, Credentials, RpcHandler, ServerSubscription, Session, SessionHandle,
    SessionMessage, Sessions, SubscriptionGrant, TokenRefusal, Transport, Wakeup, Who,
};
pub use vitals::{State, TreeNode, Vitals};

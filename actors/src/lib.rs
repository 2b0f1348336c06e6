//! The real-time engine: the supervision tree, and the sessions and channels that live in it.
//!
//! It knows nothing of sockets (the gateway owns them), nothing of the application (it calls an [`RpcHandler`]), and
//! nothing of the engines behind the storage ports.

mod base64_bytes;
pub mod bus;
mod channel;
mod cluster;
mod control;
mod crashes;
mod engine;
mod handle;
mod inspection;
mod options;
mod outbox;
mod placement;
mod pools;
mod recorder;
mod session;
mod supervised;
mod supervision;
mod tasks;
mod telemetry;
mod vitals;

pub use channel::{Channels, Publish};
pub use cluster::{Everywhere, NodeError, NodeInfo, TopicHandler};
pub use control::SessionView;
pub use crashes::Failure;
pub use engine::{Engine, EngineError, EngineParts, NodeParts};
pub use handle::{ServerSubscription, SessionHandle, SessionMessage, Transport, Who, Whose};
pub use inspection::{
    ActorView, Doing, LargeChannel, LongMailbox, SlowActor, SlowHandler, SlowSession, SlowView,
};
pub use options::{
    BoolValue, ChannelsOptions, DataFormat, DeltaType, NamespaceOptions, RecoveryMode, SessionOptions,
    SubscriptionOverride,
};
pub use outbox::{DirectSocket, DirectWrite, Outbox, Outgoing};
pub use placement::{OwnedActor, OwnedError, OwnedKind};
pub use recorder::{HandledMessage, record_messages};
pub use session::{
    Authenticator, Caller, ChannelGate, Credentials, RpcHandler, Session, Sessions, SubscriptionGrant,
    TokenRefusal, Wakeup,
};
pub use tasks::Pace;
pub use vitals::{State, TreeNode, Vitals};

#[cfg(test)]
mod layers;

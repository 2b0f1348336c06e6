//! Channels: one actor for each that has a subscriber on this node.

mod actor;
mod admission;
mod announcements;
mod batch;
mod context;
mod directory;
mod hot;
mod losses;
mod mailbox;
mod membership;
mod messages;
mod presence;
mod presence_answers;
mod publish;
mod registry;
mod renewal;
mod reorder;
mod run_to_end;
mod stream;
mod subscriber;
mod turn;
mod unrecorded;

pub(crate) use batch::recovered_deltas;
pub(crate) use context::{Context, Node};
pub(crate) use hot::{HOT_STATE_TIMEOUT, Hot};
pub(crate) use membership::Membership;
pub(crate) use messages::{Recovery, Subscribed};
pub use publish::Publish;
pub(crate) use publish::publication;
pub use registry::Channels;
pub(crate) use subscriber::{Subscriber, SubscriberFlags, SubscriptionNumber};

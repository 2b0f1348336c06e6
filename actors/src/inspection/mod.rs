//! What operators see when they look closely: one actor, and what is slow on a node.

mod actor;
mod ranking;
mod slow;
mod views;

pub use actor::ActorView;
pub(crate) use actor::look_at;
pub(crate) use slow::Slow;
pub use views::{Doing, LargeChannel, LongMailbox, SlowActor, SlowHandler, SlowSession, SlowView};

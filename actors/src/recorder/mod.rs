//! The flight recorder: what each actor handled last, for the log of its crash and for operators.
//!
//! Each thread writes into a ring of its own, which overwrites its oldest entries, so handling a message takes no lock and
//! allocates nothing. Readers look at all rings; an entry that is overwritten while they read it is left out.

mod clock;
mod kind;
mod message;
mod read;
mod ring;
mod trail;

pub(crate) use clock::{Micros, at, now};
pub(crate) use kind::MessageKind;
pub use message::HandledMessage;
pub(crate) use message::{Handled, in_words};
pub(crate) use read::{recent, tail};
pub use trail::record_messages;
pub(crate) use trail::{Handling, Queued, Stamp, Trail};

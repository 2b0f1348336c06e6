//! iCalendar (RFC 5545): writing what calendar programs read, and reading what they export. It knows nothing of the community.
//!
//! Writing is this crate's own. The well-known crate for it neither quotes names with commas in parameters nor escapes a lone
//! CR, writes parameters in another order each time, so that no entity tag holds, and puts a UID into each `VTIMEZONE`.

mod entry;
mod line;
mod read;
mod zone;

pub use entry::{Calendar, Entry, Mailbox, Method, Participants, Status, When};
pub use read::{Flaw, Found, Item, MOST_EVENTS, Unreadable, read};

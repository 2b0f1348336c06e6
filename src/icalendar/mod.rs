//! iCalendar (RFC 5545): writing what calendar programs read, and reading what they export. It knows nothing of the community.
//!
//! Writing is this crate's own. The well-known crate for it neither quotes names with commas in parameters nor escapes a lone
//! CR, writes parameters in another order each time, so that no entity tag holds, and puts a UID into each `VTIMEZONE`.

mod entry;
mod line;
mod occurs;
mod read;
mod recurrence;
mod times;
mod zone;

pub use entry::{Calendar, Entry, Mailbox, Method, Participants, Status, When};
pub use occurs::Occurs;
pub use read::{Item, MOST_EVENTS, Unreadable, read};
pub use recurrence::{Frequency, Recurrence, Until};
pub use times::{Flaw, Found, OneDate};

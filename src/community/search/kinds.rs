//! What kinds of things are searched for, by the names under which changes of them are noted.

/// The name of people.
pub const PERSON: &str = "person";
/// The name of posts.
pub const POST: &str = "post";
/// The name of events.
pub const EVENT: &str = "event";
/// The name of places to stay.
pub const HOUSING: &str = "housing";
/// The name of comments.
pub const COMMENT: &str = "comment";
/// The name of messages.
pub const MESSAGE: &str = "message";

/// The id of a message among all messages.
pub fn message_id(chat_id: &str, seq: u64) -> String {
    format!("{chat_id}:{seq}")
}

/// The conversation of a message and its number there, by such an id.
pub fn message_of(id: &str) -> Option<(&str, u64)> {
    let (chat_id, seq) = id.rsplit_once(':')?;
    let seq = seq.parse().ok().filter(|seq| message_id(chat_id, *seq) == id)?;
    Some((chat_id, seq))
}

//! What kinds of things are searched for, by the names under which changes of them are noted.

/// The name of people.
pub const PERSON: &str = "person";
/// The name of posts.
pub const POST: &str = "post";
/// The name of events.
pub const EVENT: &str = "event";
/// The name of places to stay.
pub const HOUSING: &str = "housing";

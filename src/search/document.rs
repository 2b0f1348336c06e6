//! What is indexed of a thing.

use jiff::Timestamp;

/// Most words that are indexed of a title, and of a name.
pub(super) const MOST_OF_TITLE: usize = 50;
/// Most words that are indexed of a text.
pub(super) const MOST_OF_TEXT: usize = 2_000;
/// Most places of one thing.
pub(super) const MOST_PLACES: usize = 6;

/// Who may find a thing. It keeps others' things from taking the places of a page; whoever finds one still reads it only if
/// policy says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    Everybody,
    /// This user.
    Only(String),
    /// This user, and the user's friends.
    FriendsOf(String),
    /// Who sees this number of a thread, and searches in it.
    InThread {
        /// The thread's id.
        thread: String,
        /// What is said there is numbered.
        number: u64,
    },
}

/// What is indexed of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is called: found by the beginnings of its words.
    pub title: String,
    /// What it says.
    pub text: String,
    /// The places where it is.
    pub places: Vec<String>,
    /// Who may find it.
    pub audience: Audience,
    /// When it is, or was made: what is nearer to now comes first among things that fit alike.
    pub at: Timestamp,
    /// When it is over, if it ever is: it comes behind what is not.
    pub over_at: Option<Timestamp>,
    /// Whether a search in a span of time finds it.
    pub has_time: bool,
    /// The thing that it goes with, by kind and id: when that is gone, so is this.
    pub part_of: Option<(&'static str, String)>,
}

//! What a search is narrowed to.

use std::ops::RangeInclusive;

use jiff::Timestamp;

/// A thread in which somebody may search, by the numbers of what is said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenThread {
    /// Its id.
    pub id: String,
    /// The numbers that the viewer sees.
    pub seen: Vec<RangeInclusive<u64>>,
}

/// What a search is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who searches.
    pub viewer: String,
    /// The viewer's friends.
    pub friends: Vec<String>,
    /// Only of these kinds; of all if there are none.
    pub kinds: Vec<&'static str>,
    /// Only in this place.
    pub place: Option<String>,
    /// Only not before this time.
    pub from: Option<Timestamp>,
    /// Only before this time.
    pub to: Option<Timestamp>,
    /// Only what is said in these threads, the last of it first. Where it does not say, nothing of any thread.
    pub threads: Option<Vec<SeenThread>>,
}

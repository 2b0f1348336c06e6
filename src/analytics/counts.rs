//! What is counted: events by their kind, name and path, and by what sent them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names and paths that are counted by themselves in a bucket; further ones are counted together.
pub const BUCKET_NAMES: usize = 64;
/// The same in a total of a day.
pub const DAY_NAMES: usize = 256;
/// What further names and paths are counted as. No name has brackets, and no path begins with one.
pub const OTHER: &str = "(other)";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A client showed a page.
    PageView,
    /// A user did something.
    UserAction,
    /// A user used a feature.
    FeatureUsage,
    /// The server answered a read, by the route; counted by the server itself.
    ServerRead,
    /// A session was opened; counted by the server itself.
    Session,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PageView => "page_view",
            Self::UserAction => "user_action",
            Self::FeatureUsage => "feature_usage",
            Self::ServerRead => "server_read",
            Self::Session => "session",
        }
    }
}

/// What sent an event, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A browser or an app.
    Human,
    /// A program that says so.
    Bot,
    /// It cannot be told.
    Unknown,
}

/// What events are counted by. Its text is part of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// All that clients and their users do; what the server counts itself is not among it.
    All,
    /// Of a kind.
    Kind(Kind),
    /// Of a kind and a name.
    Name(Kind, String),
    /// Of a kind and the form of a path.
    Path(Kind, String),
}

impl Dimension {
    /// The text by which it is stored.
    pub fn text(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Kind(kind) => format!("k/{}", kind.name()),
            Self::Name(kind, name) => format!("{}{name}", names_of(*kind)),
            Self::Path(kind, path) => format!("{}{path}", paths_of(*kind)),
        }
    }
}

/// What the texts of a kind's names begin with.
pub fn names_of(kind: Kind) -> String {
    format!("n/{}/", kind.name())
}

/// What the texts of a kind's paths begin with.
pub fn paths_of(kind: Kind) -> String {
    format!("p/{}/", kind.name())
}

/// Whether a dimension is one of those of which there may be too many.
fn is_named(dimension: &str) -> bool {
    dimension.starts_with("n/") || dimension.starts_with("p/")
}

/// The dimension that stands for further ones like this.
fn other_of(dimension: &str) -> String {
    let begin: usize = dimension.split_inclusive('/').take(2).map(str::len).sum();
    format!("{}{OTHER}", dimension.get(..begin).unwrap_or_default())
}

/// Events by what sent them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AnalyticsTally)]
pub struct Tally {
    /// Sent by a browser or an app.
    pub human: u64,
    /// Sent by a program that says so.
    pub bot: u64,
    /// It cannot be told what sent them.
    pub unknown: u64,
}

impl Tally {
    /// Events of one class.
    pub fn of(class: Class, events: u64) -> Self {
        let mut tally = Self::default();
        match class {
            Class::Human => tally.human = events,
            Class::Bot => tally.bot = events,
            Class::Unknown => tally.unknown = events,
        }
        tally
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.human = self.human.saturating_add(other.human);
        self.bot = self.bot.saturating_add(other.bot);
        self.unknown = self.unknown.saturating_add(other.unknown);
    }
}

/// Events by dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<String, Tally>);

impl Counts {
    /// Under which text a dimension is counted, where so many names and paths may be counted by themselves.
    pub fn place_of(&self, dimension: &str, most: usize) -> String {
        if !is_named(dimension) || self.0.contains_key(dimension) {
            return dimension.to_owned();
        }
        let named = self.0.keys().filter(|known| is_named(known) && !known.ends_with(OTHER)).count();
        if named < most || dimension.ends_with(OTHER) { dimension.to_owned() } else { other_of(dimension) }
    }

    /// Counts events of a dimension; under which text they were counted.
    pub fn add(&mut self, dimension: &str, tally: Tally, most: usize) -> String {
        let place = self.place_of(dimension, most);
        self.0.entry(place.clone()).or_default().add(tally);
        place
    }

    /// Counts all of another's events.
    pub fn add_all(&mut self, other: &Self, most: usize) {
        for (dimension, tally) in &other.0 {
            self.add(dimension, *tally, most);
        }
    }

    /// The same dimensions without events. Totals are made anew on it, so that what is counted by itself
    /// stays so.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self(self.0.keys().map(|dimension| (dimension.clone(), Tally::default())).collect())
    }

    /// Whether events of a dimension were counted, be it together with others.
    pub fn may_have(&self, dimension: &str) -> bool {
        self.0.contains_key(dimension) || self.0.contains_key(&other_of(dimension))
    }

    /// The events of a dimension.
    pub fn of(&self, dimension: &str) -> Tally {
        self.0.get(dimension).copied().unwrap_or_default()
    }

    /// The dimensions whose texts begin so, with what follows.
    pub fn below<'a>(&'a self, begin: &'a str) -> impl Iterator<Item = (&'a str, Tally)> {
        let found = self.0.range(begin.to_owned()..);
        found.map_while(move |(text, tally)| Some((text.strip_prefix(begin)?, *tally)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Tally = Tally { human: 1, bot: 0, unknown: 0 };

    #[test]
    fn further_names_are_counted_together_and_known_ones_go_on() {
        let mut counts = Counts::default();
        for text in [
            "all",
            "k/page_view",
            "n/page_view/a",
            "p/page_view//posts/:id",
            "n/page_view/b",
            "n/page_view/a",
        ] {
            counts.add(text, ONE, 2);
        }
        let names: Vec<_> = counts.below("n/page_view/").map(|(name, tally)| (name, tally.human)).collect();
        assert_eq!(names, [("(other)", 1), ("a", 2)]);
        assert_eq!(counts.below(&paths_of(Kind::PageView)).next().unwrap().0, "/posts/:id");
        assert_eq!(counts.place_of("p/user_action//x", 2), "p/user_action/(other)");
        assert_eq!(counts.of("all").human, 1);
    }

    #[test]
    fn totals_hold_no_more_names_than_they_may_and_all_events() {
        let mut day = Counts::default();
        for slot in 0..10 {
            let mut counts = Counts::default();
            for name in 0..8 {
                let name = Dimension::Name(Kind::UserAction, format!("{}", slot * 5 + name));
                counts.add(&name.text(), ONE, 64);
            }
            day.add_all(&counts, 20);
        }
        let names: Vec<_> = day.below("n/user_action/").collect();
        assert_eq!(names.len(), 21);
        assert_eq!(names.iter().map(|(_, tally)| tally.human).sum::<u64>(), 80);
    }

    #[test]
    fn texts_of_dimensions_stay_what_they_were() {
        let texts = [
            Dimension::All,
            Dimension::Kind(Kind::FeatureUsage),
            Dimension::Name(Kind::PageView, "home".to_owned()),
            Dimension::Path(Kind::PageView, "/posts/:id".to_owned()),
        ];
        let texts = texts.map(|dimension| dimension.text());
        assert_eq!(texts, ["all", "k/feature_usage", "n/page_view/home", "p/page_view//posts/:id"]);
    }
}

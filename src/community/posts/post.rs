//! What a post is: its text in revisions, and who may read it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::db::{Found, Part, key, number};
use serde::{Deserialize, Serialize};

use super::polls::rules::Poll;
use super::previews::links::first_link;
use super::previews::preview::Preview;
pub use super::visibility::Visibility;
use crate::community::policy::Object;
use crate::community::taken_away::TakenAway;

/// Most revisions of a post.
pub const MOST_REVISIONS: u32 = 50;
/// Changes of who may read a post after which it is not shown to more any more.
pub const MOST_AUDIENCES: u32 = 50;
/// Most media of a post.
pub const MOST_MEDIA: usize = 10;

/// What stands beside the words of a post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Where it is.
    pub url: String,
    /// What it is.
    pub kind: MediaKind,
    /// What it shows, for those who do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt: Option<String>,
}

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A page.
    Link,
}

/// What a post says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The words.
    pub content: String,
    /// What stands beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<Media>,
    /// The ids of those who are mentioned, by the names that the words have, in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mentions: BTreeMap<String, String>,
    /// When it was written.
    pub at: Timestamp,
}

impl Text {
    /// Words alone.
    pub fn new(content: impl Into<String>, at: Timestamp) -> Self {
        Self { content: content.into(), media: Vec::new(), mentions: BTreeMap::new(), at }
    }
}

/// What never changes about a post: whose it is, and what it said first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    author_id: String,
    content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    media: Vec<Media>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    mentions: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    poll: Option<Poll>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    without_preview: bool,
    visibility: Visibility,
    created_at: Timestamp,
}

impl Facts {
    pub(super) fn of(post: &Post) -> Self {
        let Text { content, media, mentions, .. } = post.text.clone();
        Self {
            author_id: post.author_id.clone(),
            content,
            media,
            mentions,
            poll: post.poll.clone(),
            without_preview: post.without_preview,
            visibility: post.visibility,
            created_at: post.created_at,
        }
    }

    /// The first revision.
    pub(super) fn text(&self) -> Text {
        Text {
            content: self.content.clone(),
            media: self.media.clone(),
            mentions: self.mentions.clone(),
            at: self.created_at,
        }
    }
}

/// What changes about a post besides its reactions and comments. A post that was never changed has none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the newest revision behind the first, and what it says, so that a post is one read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<Box<Newest>>,
    /// Who may read it, where that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) visibility: Option<Visibility>,
    /// How often that was changed.
    #[serde(default)]
    pub(super) audience_version: u32,
    /// From which revision on readers see what it said; 0 for all. What was written for few is not shown to those who came later.
    #[serde(default)]
    pub(super) shown_from: u32,
    /// What the page says of itself to which the text leads, once somebody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) preview: Option<Box<Preview>>,
    /// Whether it is not looked at, where that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) without_preview: Option<bool>,
    /// The decisions of the moderators that take it away: until the time to appeal is over it is there for its author alone.
    #[serde(default, skip_serializing_if = "TakenAway::is_empty")]
    pub(super) hidden_by: TakenAway,
}

/// The newest revision of a post that was edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    pub(super) revision: u32,
    pub(super) text: Text,
}

/// A row of a post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `v`, by number: what it said from a revision on.
    Revision(Box<Text>),
}

/// The revisions behind the first lie below this.
pub(super) const REVISIONS: &str = "v";

/// The key of a revision.
pub(super) fn revision_key(revision: u32) -> String {
    key(&[REVISIONS, &number(revision.into())])
}

/// One post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Sorted by the time of its making.
    pub id: String,
    /// The user who wrote it.
    pub author_id: String,
    /// What it says.
    pub text: Text,
    /// Which revision that is, from 1 on.
    pub revision: u32,
    /// What it asks.
    pub poll: Option<Poll>,
    /// What the page says of itself to which its text leads.
    pub preview: Option<Box<Preview>>,
    /// Whether the author wants no preview.
    pub without_preview: bool,
    /// Who may read it.
    pub visibility: Visibility,
    /// Rises whenever that changes.
    pub audience_version: u32,
    /// From which revision on its readers see what it said.
    pub shown_from: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Post {
    /// One that is new.
    pub fn made(id: String, author_id: String, text: Text, visibility: Visibility) -> Self {
        let created_at = text.at;
        Self {
            id,
            author_id,
            text,
            revision: 1,
            poll: None,
            preview: None,
            without_preview: false,
            visibility,
            audience_version: 0,
            shown_from: 0,
            created_at,
        }
    }

    /// One that was read.
    pub(in crate::community) fn found(id: &str, found: &Found<Facts, Head>) -> Self {
        Self::of(id, &found.facts, &found.head)
    }

    /// As a rule sees it.
    pub(super) fn in_part(id: &str, part: &Part<'_, Facts, Head, Row>) -> Self {
        Self::of(id, part.facts, &part.head)
    }

    fn of(id: &str, facts: &Facts, head: &Head) -> Self {
        let newest = head.newest.as_deref();
        Self {
            id: id.to_owned(),
            author_id: facts.author_id.clone(),
            text: newest.map_or_else(|| facts.text(), |newest| newest.text.clone()),
            revision: newest.map_or(1, |newest| newest.revision),
            poll: facts.poll.clone(),
            preview: head.preview.clone(),
            without_preview: head.without_preview.unwrap_or(facts.without_preview),
            visibility: if head.hidden_by.is_empty() {
                head.visibility.unwrap_or(facts.visibility)
            } else {
                Visibility::Private
            },
            audience_version: head.audience_version,
            shown_from: head.shown_from,
            created_at: facts.created_at,
        }
    }

    /// Whether its preview is still one of what it says.
    pub(super) fn has_preview(&self) -> bool {
        let link = self.preview.as_ref().map(|preview| preview.url.as_str());
        link.is_some() && !self.without_preview && first_link(&self.text.content) == link
    }

    /// The link of which it wants a preview and has none. Links that are told to some alone may be secrets, or work once: they are
    /// not looked at.
    pub(super) fn wanted_link(&self) -> Option<&str> {
        let is_wanted =
            self.visibility == Visibility::Public && !self.without_preview && self.preview.is_none();
        first_link(&self.text.content).filter(|_| is_wanted)
    }

    /// As policy looks at it.
    pub(in crate::community) fn object(&self) -> Object<'_> {
        Object::Post { author: &self.author_id, visibility: self.visibility }
    }

    /// Its beginning, as what it is called.
    pub(in crate::community) fn title(&self) -> String {
        title_of(&self.text.content)
    }
}

/// The beginning of a text, as what it is called.
pub(in crate::community) fn title_of(text: &str) -> String {
    const LONGEST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    let mut title: String = line.chars().take(LONGEST).collect();
    if title.len() < text.len() {
        title.push('…');
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_of_an_earlier_build_is_its_own_first_revision() {
        let facts = r#"{"author_id": "ana", "content": "Hola", "visibility": "public", "created_at": "2026-11-28T12:00:00.5Z"}"#;
        let facts: Facts = serde_json::from_str(facts).unwrap();
        let head: Head = serde_json::from_str("{}").unwrap();
        let post = Post::of("1", &facts, &head);
        assert_eq!(
            (post.text.content.as_str(), post.revision, post.visibility),
            ("Hola", 1, Visibility::Public)
        );
        assert_eq!(post, Post::made("1".to_owned(), "ana".to_owned(), facts.text(), Visibility::Public));
    }

    #[test]
    fn a_title_is_a_line() {
        assert_eq!(title_of("Hola"), "Hola");
        assert_eq!(title_of("Hola\na todos"), "Hola…");
        assert_eq!(title_of(&"ñ".repeat(90)).chars().count(), 81);
    }
}

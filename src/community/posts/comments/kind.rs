//! Comments as they are kept: partitions of a thousand each, with a row for each below the comment that it answers, so that a page
//! is one range. How many there are changes with the rows.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::{Erasure, Export, Fields, Kind, Whose, key, number};
use serde::{Deserialize, Serialize};

use super::rules::{CommentId, OF_A_PART, Place};
use crate::community::taken_away::TakenAway;

/// The comments on posts, by post and part.
pub static COMMENTS: Kind<(), Head, Row> =
    Kind::new("comments", "a part of a post's comments: 1,000 of 9 KB, 9 MB", PERSONAL)
        .implicit()
        .cached(Duration::from_mins(1));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::RowUser,
        Export::Given,
        // Where there are answers, the row stays as a place, of nobody.
        Erasure::RowRemoved,
        &[
            "rows.c.comment.author_id",
            "rows.c.comment.content",
            "rows.c.comment.at",
            "rows.c.comment.edited_at",
        ],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the author's own words name them"),
        Erasure::Kept("the id leads to nobody once the account is gone"),
        &["rows.c.comment.mentions.*"],
    ),
    Fields::of_nobody(&[
        "id",
        "head.written",
        "head.there",
        "head.open_at",
        "keys.c",
        "keys.k",
        "rows.c.comment.depth",
        "rows.c.comment.root",
        "rows.c.comment.revision",
        "rows.c.comment.is_removed",
        "rows.c.comment.is_answered",
        "rows.c.comment.hidden_by.*",
        "rows.k.made.*",
    ]),
];

/// Below this lie the comments, by the one that they answer and their own number.
pub(super) const BELOW: &str = "c";
/// Below this lie the numbers of comments by the requests that made them.
pub(super) const MADE: &str = "k";

/// What changes about a part besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many comments were ever written here.
    pub written: u32,
    /// How many of them are there.
    pub there: u32,
    /// A time at which the part before was full; unknown of a part without comments, and of one of an earlier build until it is
    /// written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_at: Option<Timestamp>,
}

impl Head {
    pub(super) fn is_full(&self) -> bool {
        self.written >= OF_A_PART
    }
}

/// A row of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `c`: a comment.
    Comment(Box<Stored>),
    /// Below `k`: the number of the comment that a request made, and that of the one that it answers.
    Made(u32, u32),
}

/// A comment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Who wrote it; nobody once it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) author_id: Option<String>,
    pub(super) content: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) mentions: BTreeMap<String, String>,
    pub(super) depth: u32,
    pub(super) root: u32,
    pub(super) revision: u32,
    pub(super) at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) edited_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) is_removed: bool,
    #[serde(default)]
    pub(super) is_answered: bool,
    /// The decisions of the moderators that take it away: while one does, there is its place alone.
    #[serde(default, skip_serializing_if = "TakenAway::is_empty")]
    pub(super) hidden_by: TakenAway,
}

impl Stored {
    /// What is left of it where it is removed: its place.
    pub(super) fn place_alone(self) -> Self {
        Self {
            author_id: None,
            content: String::new(),
            mentions: BTreeMap::new(),
            is_removed: true,
            hidden_by: TakenAway::default(),
            ..self
        }
    }
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Which one.
    pub id: CommentId,
    /// The user who wrote it; nobody once it is removed.
    pub author_id: Option<String>,
    /// What it says.
    pub content: String,
    /// The ids of those who are mentioned, by the names that the words have, in lower case.
    pub mentions: BTreeMap<String, String>,
    /// How deep it stands, from 1 on.
    pub depth: u32,
    /// Rises with each edit, from 1 on.
    pub revision: u32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was edited last.
    pub edited_at: Option<Timestamp>,
    /// Whether it is a place below which answers stand, and no more.
    pub is_removed: bool,
    /// Whether there are answers, or were.
    pub is_answered: bool,
    root: u32,
}

impl Comment {
    /// As it is seen: one that a decision takes away is as if it were removed.
    pub(super) fn new(id: CommentId, stored: Stored) -> Self {
        let stored = if stored.hidden_by.is_empty() { stored } else { stored.place_alone() };
        Self::kept(id, stored)
    }

    /// As it is kept, also where a decision takes it away.
    pub(super) fn kept(id: CommentId, stored: Stored) -> Self {
        Self {
            id,
            author_id: stored.author_id,
            content: stored.content,
            mentions: stored.mentions,
            depth: stored.depth,
            revision: stored.revision,
            created_at: stored.at,
            edited_at: stored.edited_at,
            is_removed: stored.is_removed,
            is_answered: stored.is_answered,
            root: stored.root,
        }
    }

    /// Whether nothing of it is shown: it is removed, and no answers need its place.
    pub fn is_gone(&self) -> bool {
        self.is_removed && !self.is_answered
    }

    /// The comment that it stands below.
    pub fn above(&self) -> Option<CommentId> {
        let (number, parent) = (self.id.parent, self.place().above_parent());
        (number > 0).then(|| CommentId { post: self.id.post.clone(), number, parent })
    }

    pub(super) fn place(&self) -> Place {
        Place { parent: self.id.parent, depth: self.depth, root: self.root }
    }
}

pub(super) fn part_id(post_id: &str, part: u32) -> String {
    format!("{post_id}:{part}")
}

pub(super) fn comment_key(parent: u32, comment: u32) -> String {
    key(&[BELOW, &number(parent.into()), &number(comment.into())])
}

pub(super) fn key_of(id: &CommentId) -> String {
    comment_key(id.parent, id.number)
}

/// The comment of a row of a post's comments.
pub(super) fn id_of(post_id: &str, row: &str) -> Option<CommentId> {
    let mut numbers = row.strip_prefix(BELOW)?.split('/').skip(1).map(|part| part.parse::<u32>().ok());
    let (parent, number) = (numbers.next()??, numbers.next()??);
    Some(CommentId { post: post_id.to_owned(), number, parent })
}

//! Writing comments, changing and removing them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Wants, key};
use serde::Serialize;

use super::kind::{COMMENTS, Comment, Head, MADE, Row, Stored, key_of, part_id};
use super::rules::{CommentId, MOST, MOST_REVISIONS, OF_A_PART, Place, next_number, part_of};
use crate::community::effects::Effect;
use crate::community::once::{MOST_BEFORE, may_be_later};
use crate::community::search::kinds::COMMENT;
use crate::community::taken_away::TakenAway;

/// A comment that somebody writes.
#[derive(Clone, Debug)]
pub struct NewComment {
    /// The id of the request, by which its comment is found if it is run again.
    pub request: String,
    /// Who writes it.
    pub author_id: String,
    /// What it says.
    pub content: String,
    /// Those who are mentioned, by their names in lower case.
    pub mentions: BTreeMap<String, String>,
    /// When it is written.
    pub at: Timestamp,
}

/// The comments of a store.
#[derive(Clone)]
pub struct CommentStore(Db);

/// What came of an attempt to write into a part.
enum Written {
    There(Option<Comment>),
    Full,
    /// The part is so new that an earlier run of the request may have written into one before.
    LookBefore,
}

impl CommentStore {
    /// The comments of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    pub(super) fn db(&self) -> &Db {
        &self.0
    }

    pub(super) async fn head(&self, post_id: &str, part: u32) -> Result<(Head, u64), StoreError> {
        let found = self.0.read(&COMMENTS, &part_id(post_id, part)).await?;
        Ok(found.map(|found| (found.head, found.version)).unwrap_or_default())
    }

    /// The part that takes comments now, as far as this node knows; behind the last one if all are full.
    pub(super) async fn open_part(&self, post_id: &str) -> Result<u32, StoreError> {
        let parts = MOST / OF_A_PART;
        let is_full = async |part| Ok::<_, StoreError>(self.head(post_id, part).await?.0.is_full());
        if !is_full(0).await? {
            return Ok(0);
        }
        // A part is full before the next is begun, so it is found by halves.
        let (mut full, mut step) = (0, 1);
        while full + step < parts && is_full(full + step).await? {
            full += step;
            step *= 2;
        }
        let mut open = (full + step).min(parts);
        while open - full > 1 {
            let middle = full + (open - full) / 2;
            if is_full(middle).await? {
                full = middle;
            } else {
                open = middle;
            }
        }
        Ok(open)
    }

    /// The comment with this id.
    pub async fn comment(&self, id: &CommentId) -> Result<Option<Comment>, StoreError> {
        let row = self.0.row(&COMMENTS, &part_id(&id.post, part_of(id.number)), &key_of(id)).await?;
        Ok(match row {
            Some(Row::Comment(stored)) => Some(Comment::new(id.clone(), *stored)),
            Some(Row::Made(..)) | None => None,
        })
    }

    /// The comment with this id as it is kept, also where a decision takes it away.
    pub(in crate::community) async fn kept(&self, id: &CommentId) -> Result<Option<Comment>, StoreError> {
        let row = self.0.row(&COMMENTS, &part_id(&id.post, part_of(id.number)), &key_of(id)).await?;
        Ok(match row {
            Some(Row::Comment(stored)) => Some(Comment::kept(id.clone(), *stored)),
            Some(Row::Made(..)) | None => None,
        })
    }

    /// Writes a comment; `None` if the post is gone, or the comment that is answered is. `effects` are what it causes.
    pub async fn add<E: Serialize>(
        &self,
        post_id: &str,
        new: NewComment,
        answers: Option<&Comment>,
        effects: impl Fn(&Comment) -> Result<Vec<E>, StoreError> + Clone + Send + 'static,
    ) -> Result<Option<Comment>, StoreError> {
        let place = match answers {
            None => Place::TOP,
            Some(answered) => {
                let place = answered.place().below(answered.id.number);
                // The one above it learns first that there are answers: should it be removed now, its place stays.
                let (number, parent) = (place.parent, place.above_parent());
                let above = CommentId { post: post_id.to_owned(), number, parent };
                if !self.note_answer(&above).await? {
                    return Ok(None);
                }
                place
            }
        };
        let (mut part, mut looked_before) = (self.open_part(post_id).await?, false);
        while part < MOST / OF_A_PART {
            match self.write(post_id, part, new.clone(), place, looked_before, effects.clone()).await? {
                None => return Ok(None),
                Some(Written::There(comment)) => return Ok(comment),
                Some(Written::Full) => part += 1,
                Some(Written::LookBefore) => {
                    if let Some(id) = self.written_before(post_id, part, &new).await? {
                        return self.comment(&id).await;
                    }
                    looked_before = true;
                }
            }
        }
        // The last part is full, and an earlier run may be what filled it.
        match self.written_before(post_id, part, &new).await? {
            Some(id) => self.comment(&id).await,
            None => Err(StoreError::Full("the list of comments")),
        }
    }

    /// The comment that an earlier run of a request may have put into a part before this one. Full parts take nothing, so what is
    /// not there now never will be.
    async fn written_before(
        &self,
        post_id: &str,
        part: u32,
        new: &NewComment,
    ) -> Result<Option<CommentId>, StoreError> {
        let made = key(&[MADE, &new.request]);
        for before in (0..part).rev() {
            if part - before > MOST_BEFORE {
                return Err(StoreError::Unknown("too much was written since the first run".to_owned()));
            }
            let read = self.0.read_with(&COMMENTS, &part_id(post_id, before), &[&made]).await?;
            let Some((found, rows)) = read else { break };
            if let Some(&Row::Made(number, parent)) = rows.get(&made) {
                return Ok(Some(CommentId { post: post_id.to_owned(), number, parent }));
            }
            if found.head.open_at.is_none_or(|open_at| !may_be_later(open_at, new.at)) {
                break;
            }
        }
        Ok(None)
    }

    /// Notes that a comment has answers; whether it is there.
    async fn note_answer(&self, id: &CommentId) -> Result<bool, StoreError> {
        let row = key_of(id);
        let part = part_id(&id.post, part_of(id.number));
        let noted = self.0.change(&COMMENTS, &part, Wants::head().row(&row), move |part| {
            let Some(Row::Comment(comment)) = part.row(&row).cloned() else {
                return Ok::<_, StoreError>(Decision::Stands(false));
            };
            if comment.is_answered {
                return Ok(Decision::Stands(true));
            }
            part.set(&row, Row::Comment(Box::new(Stored { is_answered: true, ..*comment })));
            Ok(Decision::Write(true))
        });
        Ok(noted.await?.unwrap_or_default())
    }

    async fn write<E: Serialize>(
        &self,
        post_id: &str,
        part_number: u32,
        new: NewComment,
        place: Place,
        looked_before: bool,
        effects: impl Fn(&Comment) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Written>, StoreError> {
        let (post, made, now) = (post_id.to_owned(), key(&[MADE, &new.request]), mundotango_storage::now());
        let wants = Wants::head().row(&made);
        self.0
            .change(&COMMENTS, &part_id(post_id, part_number), wants, move |part| {
                if let Some(&Row::Made(number, parent)) = part.row(&made) {
                    // The request was run before.
                    let id = CommentId { post: post.clone(), number, parent };
                    let there = part.row(&key_of(&id)).cloned();
                    let comment = match there {
                        Some(Row::Comment(stored)) => Some(Comment::new(id, *stored)),
                        Some(Row::Made(..)) | None => None,
                    };
                    return Ok(Decision::Stands(Written::There(comment)));
                }
                let is_young = part.head.open_at.is_none_or(|open_at| may_be_later(open_at, new.at));
                if part_number > 0 && is_young && !looked_before {
                    return Ok(Decision::Stands(Written::LookBefore));
                }
                let Some(number) = next_number(part_number, part.head.written) else {
                    return Ok(Decision::Stands(Written::Full));
                };
                let stored = Stored {
                    author_id: Some(new.author_id.clone()),
                    content: new.content.clone(),
                    mentions: new.mentions.clone(),
                    depth: place.depth,
                    root: place.root,
                    revision: 1,
                    at: new.at,
                    edited_at: None,
                    is_removed: false,
                    is_answered: false,
                    hidden_by: TakenAway::default(),
                };
                let id = CommentId { post: post.clone(), number, parent: place.parent };
                part.head.open_at = part.head.open_at.or(Some(now));
                part.head.written += 1;
                part.head.there += 1;
                part.set(&made, Row::Made(number, place.parent));
                part.set(key_of(&id), Row::Comment(Box::new(stored.clone())));
                let comment = Comment::new(id, stored);
                for effect in effects(&comment)? {
                    part.emit(&effect)?;
                }
                part.emit(&searched(&comment.id))?;
                Ok(Decision::Write(Written::There(Some(comment))))
            })
            .await
    }

    /// Changes what a comment says; as it is then, `None` if it is not there.
    pub async fn edit<E: Serialize>(
        &self,
        id: &CommentId,
        content: String,
        mentions: BTreeMap<String, String>,
        now: Timestamp,
        effects: impl Fn(&Comment) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Comment>, StoreError> {
        let (id, row) = (id.clone(), key_of(id));
        let part = part_id(&id.post, part_of(id.number));
        let edited = self.0.change(&COMMENTS, &part, Wants::head().row(&row), move |part| {
            let Some(Row::Comment(stored)) = part.row(&row).cloned().filter(is_seen) else {
                return Ok(Decision::Stands(None));
            };
            if stored.content == content && stored.mentions == mentions {
                return Ok(Decision::Stands(Some(Comment::new(id.clone(), *stored))));
            }
            if stored.revision >= MOST_REVISIONS {
                return Err(StoreError::Full("the list of a comment's revisions"));
            }
            let stored = Stored {
                content: content.clone(),
                mentions: mentions.clone(),
                revision: stored.revision + 1,
                edited_at: Some(now),
                ..*stored
            };
            part.set(&row, Row::Comment(Box::new(stored.clone())));
            let comment = Comment::new(id.clone(), stored);
            for effect in effects(&comment)? {
                part.emit(&effect)?;
            }
            part.emit(&searched(&id))?;
            Ok(Decision::Write(Some(comment)))
        });
        Ok(edited.await?.flatten())
    }

    /// Removes a comment; whether it was there. Where there are answers, its place stays, without words and author.
    pub async fn remove<E: Serialize>(
        &self,
        id: &CommentId,
        effects: impl Fn(bool) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        self.remove_if(id, None, effects).await
    }

    /// The same, only where this decision takes the comment away, if one is given.
    pub(super) async fn remove_if<E: Serialize>(
        &self,
        id: &CommentId,
        hidden_by: Option<String>,
        effects: impl Fn(bool) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let (row, gone) = (key_of(id), searched(id));
        let part = part_id(&id.post, part_of(id.number));
        let removed = self.0.change(&COMMENTS, &part, Wants::head().row(&row), move |part| {
            let Some(Row::Comment(stored)) = part.row(&row).cloned().filter(is_there) else {
                return Ok::<_, StoreError>(Decision::Stands(false));
            };
            if hidden_by.as_ref().is_some_and(|decision| !stored.hidden_by.has(decision)) {
                return Ok(Decision::Stands(false));
            }
            // One that is hidden is counted no more.
            let was_seen = u32::from(stored.hidden_by.is_empty());
            part.head.there = part.head.there.saturating_sub(was_seen);
            let has_place = stored.is_answered;
            if has_place {
                part.set(&row, Row::Comment(Box::new(stored.place_alone())));
            } else {
                part.remove(&row);
            }
            for effect in effects(has_place)? {
                part.emit(&effect)?;
            }
            part.emit(&gone)?;
            Ok(Decision::Write(true))
        });
        let removed = removed.await?.unwrap_or_default();
        if removed {
            self.delete_reactions(&id.to_string()).await?;
        }
        Ok(removed)
    }
}

/// Has the search indexes look at a comment.
pub(super) fn searched(id: &CommentId) -> Effect {
    Effect::changed(COMMENT, &id.to_string())
}

pub(super) fn is_there(row: &Row) -> bool {
    matches!(row, Row::Comment(stored) if !stored.is_removed)
}

fn is_seen(row: &Row) -> bool {
    is_there(row) && matches!(row, Row::Comment(stored) if stored.hidden_by.is_empty())
}

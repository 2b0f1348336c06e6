//! Making a post, changing it, and taking it away, as its partition keeps it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Effect, Wants};
use serde::Serialize;

use super::entities::tags_of;
use super::feeds;
use super::post::{
    Facts, MOST_AUDIENCES, MOST_REVISIONS, Media, Newest, Post, Row, Visibility, revision_key,
};
use super::store::{POSTS, PostStore};

/// What of a post is to be others; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct PostEdit {
    /// Its words, and the ids of those whom they mention, by name in lower case.
    pub words: Option<(String, BTreeMap<String, String>)>,
    /// What stands beside them.
    pub media: Option<Vec<Media>>,
    /// Who may read it.
    pub visibility: Option<Visibility>,
    /// Whether its link is not looked at.
    pub without_preview: Option<bool>,
    /// The revision that was changed, where whoever changes it says so.
    pub of_revision: Option<u32>,
}

/// A change of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The post before it.
    pub before: Post,
    /// The post after it.
    pub after: Post,
}

/// Why a post is not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EditError {
    /// It was changed meanwhile.
    #[error("the post was changed meanwhile")]
    Outdated,
    /// The moderators have taken it away.
    #[error("the moderators have taken the post away")]
    TakenAway,
    /// It has as many revisions as it may have.
    #[error("the post has as many revisions as it may have")]
    TooManyRevisions,
    /// Who may read it was changed as often as it may be.
    #[error("the audience of the post was changed as often as it may be")]
    TooManyAudiences,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a post is after an edit; `None` if that is what it is.
fn edited(before: &Post, edit: &PostEdit, now: Timestamp) -> Result<Option<Post>, EditError> {
    if edit.of_revision.is_some_and(|revision| revision != before.revision) {
        return Err(EditError::Outdated);
    }
    let mut after = before.clone();
    if let Some((content, mentions)) = &edit.words {
        after.text.content.clone_from(content);
        after.text.mentions.clone_from(mentions);
    }
    if let Some(media) = &edit.media {
        after.text.media.clone_from(media);
    }
    if let Some(without_preview) = edit.without_preview {
        after.without_preview = without_preview;
    }
    if !after.has_preview() {
        after.preview = None;
    }
    if after.text != before.text {
        if before.revision >= MOST_REVISIONS {
            return Err(EditError::TooManyRevisions);
        }
        after.text.at = now;
        after.revision += 1;
    }
    if let Some(visibility) = edit.visibility.filter(|visibility| *visibility != before.visibility) {
        let is_widened = visibility.is_wider_than(before.visibility);
        // Whoever gets to see it is told, which costs; to fewer it can always be shown.
        if is_widened && before.audience_version >= MOST_AUDIENCES {
            return Err(EditError::TooManyAudiences);
        }
        after.visibility = visibility;
        after.audience_version += 1;
        if is_widened {
            after.shown_from = after.revision;
        }
    }
    Ok((after != *before).then_some(after))
}

impl PostStore {
    /// Adds a post, with what that causes. Its id is a UUID of version 7.
    pub async fn create(&self, post: &Post, effects: &[Effect]) -> Result<(), StoreError> {
        self.db().create(&POSTS, &post.id, &Facts::of(post), &feeds::entries(post)?, effects).await
    }

    /// Changes a post; as it is then, `None` if there is none. `effects` are what the change causes.
    pub async fn edit<E: Serialize>(
        &self,
        id: &str,
        edit: PostEdit,
        now: Timestamp,
        effects: impl Fn(&Edit) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Post>, EditError> {
        let post_id = id.to_owned();
        self.db()
            .change(&POSTS, id, Wants::head(), move |part| {
                if !part.head.hidden_by.is_empty() {
                    return Err(EditError::TakenAway);
                }
                let before = Post::in_part(&post_id, part);
                let Some(after) = edited(&before, &edit, now)? else { return Ok(Decision::Stands(before)) };
                if after.revision != before.revision {
                    let newest = Newest { revision: after.revision, text: after.text.clone() };
                    part.head.newest = Some(Box::new(newest));
                    part.set(revision_key(after.revision), Row::Revision(Box::new(after.text.clone())));
                    for entry in feeds::tag_entries(&after, &tags_of(&before.text.content))? {
                        part.enter(entry);
                    }
                }
                if after.visibility != before.visibility {
                    part.head.visibility = Some(after.visibility);
                    part.head.audience_version = after.audience_version;
                    part.head.shown_from = after.shown_from;
                    part.enter(feeds::feed_entry(&after)?);
                }
                if after.without_preview != before.without_preview {
                    part.head.without_preview = Some(after.without_preview);
                }
                part.head.preview.clone_from(&after.preview);
                let change = Edit { before, after };
                for effect in effects(&change)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(change.after))
            })
            .await
    }

    /// Takes a post away with all that it ever said; whether it was there. `effects` are what that causes.
    pub async fn delete<E: Serialize>(
        &self,
        id: &str,
        effects: impl Fn(&Post) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let post_id = id.to_owned();
        let deleted = self.db().change(&POSTS, id, Wants::head(), move |part| {
            for effect in effects(&Post::in_part(&post_id, part))? {
                part.emit(&effect)?;
            }
            Ok::<_, StoreError>(Decision::Delete(()))
        });
        Ok(deleted.await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::community::posts::post::Text;
    use crate::community::posts::previews::preview::{Page, Preview};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn visibility() -> impl Strategy<Value = Visibility> {
        prop_oneof![Just(Visibility::Public), Just(Visibility::Friends), Just(Visibility::Private)]
    }

    proptest! {
        #[test]
        fn what_was_written_for_few_is_never_shown_to_more(
            first in visibility(),
            edits in prop::collection::vec((prop::option::of("[ab]"), prop::option::of(visibility())), 0..70),
        ) {
            let mut post = Post::made("1".to_owned(), "ana".to_owned(), Text::new("a", at(0)), first);
            // The widest audience for which each revision was written or shown since.
            let mut audiences = vec![first];
            for (second, (content, visibility)) in edits.into_iter().enumerate() {
                let now = at(i64::try_from(second).unwrap() + 1);
                let words = content.map(|content| (content, BTreeMap::new()));
                let edit = PostEdit { words, visibility, ..PostEdit::default() };
                match edited(&post, &edit, now) {
                    Ok(Some(after)) => {
                        prop_assert!(after.revision - post.revision <= 1);
                        prop_assert!(after.audience_version - post.audience_version <= 1);
                        if after.revision > post.revision {
                            audiences.push(after.visibility);
                        } else if after.visibility.is_wider_than(*audiences.last().unwrap()) {
                            *audiences.last_mut().unwrap() = after.visibility;
                        }
                        post = after;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let is_full = matches!(error, EditError::TooManyRevisions | EditError::TooManyAudiences);
                        prop_assert!(is_full, "{}", error);
                    }
                }
                prop_assert!(post.revision <= MOST_REVISIONS);
                prop_assert!(post.shown_from <= post.revision);
                for (index, audience) in audiences.iter().enumerate() {
                    let is_shown = index + 1 >= post.shown_from.max(1) as usize;
                    prop_assert!(!is_shown || !post.visibility.is_wider_than(*audience), "revision {} of {:?}", index + 1, post);
                }
            }
        }
    }

    #[test]
    fn a_post_is_shown_to_more_a_bounded_number_of_times_and_to_fewer_always() {
        let mut post =
            Post::made("1".to_owned(), "ana".to_owned(), Text::new("a", at(0)), Visibility::Public);
        let shown_to = |post: &Post, visibility| {
            edited(post, &PostEdit { visibility: Some(visibility), ..PostEdit::default() }, at(1))
        };
        for _ in 0..MOST_AUDIENCES / 2 {
            for visibility in [Visibility::Private, Visibility::Public] {
                post = shown_to(&post, visibility).unwrap().unwrap();
            }
        }
        assert_eq!(post.audience_version, MOST_AUDIENCES);
        for fewer in [Visibility::Friends, Visibility::Private] {
            post = shown_to(&post, fewer).unwrap().unwrap();
        }
        assert!(matches!(shown_to(&post, Visibility::Friends), Err(EditError::TooManyAudiences)));
    }

    #[test]
    fn a_preview_stays_with_its_link_and_goes_with_it() {
        let text = Text::new("Look: https://a.example/x!", at(0));
        let mut post = Post::made("1".to_owned(), "ana".to_owned(), text, Visibility::Public);
        assert_eq!(post.wanted_link(), Some("https://a.example/x"));
        let url = "https://a.example/x".to_owned();
        post.preview = Some(Box::new(Preview { url, page: Page::default() }));
        assert_eq!(post.wanted_link(), None, "it has one");
        let after = |post: &Post, words: &str| {
            let words = Some((words.to_owned(), BTreeMap::new()));
            edited(post, &PostEdit { words, ..PostEdit::default() }, at(1)).unwrap().unwrap()
        };
        let other_words = after(&post, "See https://a.example/x, https://b.example");
        assert_eq!((&other_words.preview, other_words.wanted_link()), (&post.preview, None));
        let other_link = after(&post, "See https://b.example, https://a.example/x");
        assert_eq!((&other_link.preview, other_link.wanted_link()), (&None, Some("https://b.example")));
        assert_eq!(after(&post, "no link").preview, None);
        let off = PostEdit { without_preview: Some(true), ..PostEdit::default() };
        let off = edited(&post, &off, at(1)).unwrap().unwrap();
        assert_eq!((&off.preview, off.wanted_link(), off.revision), (&None, None, 1));
        let on = PostEdit { without_preview: Some(false), ..PostEdit::default() };
        assert_eq!(edited(&off, &on, at(2)).unwrap().unwrap().wanted_link(), Some("https://a.example/x"));
        for narrower in [Visibility::Friends, Visibility::Private] {
            let edit = PostEdit { visibility: Some(narrower), ..PostEdit::default() };
            let narrowed = edited(&post, &edit, at(1)).unwrap().unwrap();
            assert_eq!(narrowed.preview, post.preview, "what was found stays, for those who may read it");
            assert_eq!(Post { preview: None, ..narrowed }.wanted_link(), None, "and nothing is looked for");
        }
    }

    #[test]
    fn an_edit_of_what_is_no_longer_there_is_refused() {
        let post = Post::made("1".to_owned(), "ana".to_owned(), Text::new("a", at(0)), Visibility::Public);
        let edit = |content: &str, of_revision| PostEdit {
            words: Some((content.to_owned(), BTreeMap::new())),
            of_revision,
            ..PostEdit::default()
        };
        let after = edited(&post, &edit("b", Some(1)), at(1)).unwrap().unwrap();
        assert_eq!((after.revision, after.text.at), (2, at(1)));
        assert!(matches!(edited(&after, &edit("c", Some(1)), at(2)), Err(EditError::Outdated)));
        assert_eq!(edited(&after, &edit("b", None), at(2)).unwrap(), None, "nothing is changed");
    }
}

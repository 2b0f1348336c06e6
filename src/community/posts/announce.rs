//! What changes of posts cause: who is told, and what is done later.
//!
//! A channel cannot put out who may no longer read a post, and keeps what it published. So what is published says something of
//! public posts alone; of others it says that something happened, and whoever may see it asks.

use std::collections::{BTreeMap, BTreeSet};

use mundotango_storage::StoreError;

use super::bodies::{PostBody, PostCounts, PostMessage};
use super::editing::Edit;
use super::live::channel_of;
use super::post::{Post, Visibility};
use super::timeline::jobs::fan_out;
use super::work;
use crate::community::Person;
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::points;
use crate::community::points::rules::Told;
use crate::community::search::kinds::POST;

/// Where public posts are published.
const FEED_CHANNEL: &str = "posts:feed";

/// Publishes what a message says of a post; late, when the post may be for fewer, only that something happened.
fn publish(channel: impl Into<String>, message: &PostMessage) -> Result<Effect, StoreError> {
    match message {
        PostMessage::Created { post } | PostMessage::Updated { post } => {
            Effect::publish_now(channel, message, &PostMessage::Changed { post_id: post.id.clone() })
        }
        PostMessage::Previewed { post_id, .. } => {
            Effect::publish_now(channel, message, &PostMessage::Changed { post_id: post_id.clone() })
        }
        PostMessage::Deleted { .. } | PostMessage::Changed { .. } => Effect::publish(channel, message),
    }
}

/// Tells those who look at the feed of a new public post, and the search of any; has it put into timelines.
pub(super) fn announce_new(
    post: &Post,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    let mut effects = Vec::new();
    if post.visibility == Visibility::Public {
        let body = PostBody::new(post.clone(), PostCounts::default(), people);
        effects.push(publish(FEED_CHANNEL, &PostMessage::Created { post: body })?);
        effects.push(earn(post, Told::Done, post.audience_version)?);
    }
    if post.visibility != Visibility::Private {
        effects.push(fan_out(&post.id)?);
    }
    effects.push(Effect::changed(POST, &post.id));
    Ok(effects)
}

/// Tells those who look at a post of an edit, and those who may not see it any more that it is gone.
pub(super) fn announce_edit(
    Edit { before, after }: &Edit,
    counts: &PostCounts,
    people: &BTreeMap<String, Person>,
) -> Result<Vec<Effect>, StoreError> {
    let (was, is) = (before.visibility == Visibility::Public, after.visibility == Visibility::Public);
    let body = || PostBody::new(after.clone(), counts.clone(), people);
    let gone = || PostMessage::Deleted { post_id: after.id.clone() };
    let (of_feed, of_post) = match (was, is) {
        (true, true) => (Some(PostMessage::Updated { post: body() }), PostMessage::Updated { post: body() }),
        (true, false) => (Some(gone()), gone()),
        (false, true) => (Some(PostMessage::Created { post: body() }), PostMessage::Updated { post: body() }),
        (false, false)
            if after.visibility.is_wider_than(before.visibility) || after.visibility == before.visibility =>
        {
            (None, PostMessage::Changed { post_id: after.id.clone() })
        }
        (false, false) => (None, gone()),
    };
    let mut effects = vec![publish(channel_of(&after.id), &of_post)?];
    if let Some(of_feed) = of_feed {
        effects.push(publish(FEED_CHANNEL, &of_feed)?);
    }
    if was != is {
        let told = if is { Told::Done } else { Told::TakenBack };
        effects.push(earn(after, told, after.audience_version)?);
    }
    if after.visibility.is_wider_than(before.visibility) {
        effects.push(fan_out(&after.id)?);
    }
    if after.visibility != before.visibility {
        effects.push(work::search_comments(&after.id)?);
    }
    effects.push(Effect::changed(POST, &after.id));
    Ok(effects)
}

/// Tells those who look at a post, and at the feed, what the page says of itself to which it leads. Only public posts are looked at.
pub(super) fn announce_preview(post: &Post) -> Result<Vec<Effect>, StoreError> {
    let Some(preview) = post.preview.as_deref().cloned() else { return Ok(Vec::new()) };
    let (post_id, revision) = (post.id.clone(), post.revision);
    let message = PostMessage::Previewed { post_id, revision, preview: preview.into() };
    [channel_of(&post.id), FEED_CHANNEL.to_owned()]
        .into_iter()
        .map(|channel| publish(channel, &message))
        .collect()
}

/// Has the author's points follow a post that becomes public, or is so no longer.
fn earn(post: &Post, told: Told, version: u32) -> Result<Effect, StoreError> {
    points::jobs::post(&post.author_id, &post.id, post.created_at, (told, version))
}

/// Tells those who look at a post that it is gone, and has removed what hung on it.
pub(super) fn announce_deleted(post: &Post) -> Result<Vec<Effect>, StoreError> {
    let gone = PostMessage::Deleted { post_id: post.id.clone() };
    let mut effects = vec![publish(channel_of(&post.id), &gone)?, work::remove_rest(post)?];
    if post.visibility == Visibility::Public {
        effects.push(publish(FEED_CHANNEL, &gone)?);
        effects.push(earn(post, Told::TakenBack, u32::MAX)?);
    }
    effects.push(Effect::changed(POST, &post.id));
    Ok(effects)
}

/// Tells those who look at a post which the moderators take away that it is gone; what hangs on it stays.
pub(super) fn announce_hidden(post: &Post) -> Result<Vec<Effect>, StoreError> {
    let gone = PostMessage::Deleted { post_id: post.id.clone() };
    let mut effects = vec![Effect::publish(channel_of(&post.id), &gone)?];
    if post.visibility == Visibility::Public {
        effects.push(Effect::publish(FEED_CHANNEL, &gone)?);
        effects.push(earn(post, Told::TakenBack, post.audience_version + 1)?);
    }
    effects.push(Effect::changed(POST, &post.id));
    Ok(effects)
}

/// Tells those who look at a post that it is there again. It is not new, so the feed is not told; timelines may have passed it over
/// while it was hidden.
pub(super) fn announce_shown(post: &Post) -> Result<Vec<Effect>, StoreError> {
    let again = PostMessage::Changed { post_id: post.id.clone() };
    let mut effects = vec![Effect::publish(channel_of(&post.id), &again)?];
    if post.visibility == Visibility::Public {
        effects.push(earn(post, Told::Done, post.audience_version)?);
    }
    if post.visibility != Visibility::Private {
        effects.push(fan_out(&post.id)?);
    }
    // Those that were looked at meanwhile are found by the author alone.
    effects.push(work::search_comments(&post.id)?);
    effects.push(Effect::changed(POST, &post.id));
    Ok(effects)
}

/// Tells people that they were mentioned at a post. What it is called is who did it: a text may be taken back.
pub(in crate::community) fn tell_mentioned(
    post_id: &str,
    by: &str,
    by_name: &str,
    user_ids: &BTreeSet<String>,
) -> Result<Vec<Effect>, StoreError> {
    let tell = |user_id: &String| {
        Tell {
            kind: NotificationKind::MentionNew,
            thing: post_id.to_owned(),
            title: by_name.to_owned(),
            actor_id: Some(by.to_owned()),
            count: 1,
            stale_at: None,
        }
        .effect(user_id)
    };
    user_ids.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use mundotango_storage::now;
    use serde_json::json;

    use super::*;
    use crate::community::posts::post::Text;
    use crate::community::posts::previews::preview::{Page, Preview};
    use crate::relay::Attempt;

    #[test]
    fn what_a_post_says_is_not_told_late() {
        let text = |words: &str| Text::new(words, now());
        let before = Post::made("1".to_owned(), "ana".to_owned(), text("before"), Visibility::Public);
        let after = Post { text: text("after"), ..before.clone() };
        let changed = json!({"type": "post.changed", "postId": "1"});
        let new = announce_new(&before, &BTreeMap::new()).unwrap();
        assert_eq!(new[0].said(Attempt::AtOnce)["post"]["content"], "before");
        assert_eq!(new[0].said(Attempt::Later), changed);
        let edit = Edit { before, after };
        let edited = announce_edit(&edit, &PostCounts::default(), &BTreeMap::new()).unwrap();
        for effect in &edited[..2] {
            assert_eq!(effect.said(Attempt::AtOnce)["post"]["content"], "after");
            assert_eq!(effect.said(Attempt::Later), changed);
        }
        let private = Post { visibility: Visibility::Private, ..edit.after.clone() };
        let narrowed = Edit { after: private, before: edit.before };
        for effect in &announce_edit(&narrowed, &PostCounts::default(), &BTreeMap::new()).unwrap()[..2] {
            assert_eq!(effect.said(Attempt::Later), json!({"type": "post.deleted", "postId": "1"}));
        }
        let page = Page { title: "Milongas".to_owned(), ..Page::default() };
        let preview = Some(Box::new(Preview { url: "https://a.example".to_owned(), page }));
        for effect in &announce_preview(&Post { preview, ..edit.after }).unwrap() {
            assert_eq!(effect.said(Attempt::AtOnce)["preview"]["host"], "a.example");
            assert_eq!(effect.said(Attempt::Later), changed);
        }
    }
}

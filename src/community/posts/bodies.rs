//! What clients send and see of posts.

use std::collections::BTreeMap;

use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Time, UpTo, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::editing::PostEdit;
use super::entities::{Entity, EntityKind, entities, tag_key};
use super::polls::bodies::{NewPoll, PollState, PollView};
use super::polls::rules::Poll;
use super::post::{MOST_MEDIA, Media, MediaKind, Post, Text, Visibility};
use super::previews::bodies::PreviewView;
use super::rules::ReactionType;
use crate::community::Person;
use crate::texts::{AltText, FeedPlace, PhotoAddress, PostText, TagText};

/// A picture, a film or a page beside the words.
#[derive(Clone, Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(as = NewMedia)]
pub(super) struct MediaBody {
    url: PhotoAddress,
    /// A picture if absent.
    #[deserr(default = Choice(MediaKind::Image))]
    #[schema(value_type = MediaKind, required = false)]
    kind: Choice<MediaKind>,
    /// What it shows, for those who do not see it.
    #[deserr(default)]
    #[schema(value_type = Option<AltText>)]
    alt: Maybe<AltText>,
}

fn media(list: UpTo<MediaBody, MOST_MEDIA>) -> Vec<Media> {
    let one = |body: MediaBody| Media {
        url: body.url.into_string(),
        kind: body.kind.0,
        alt: body.alt.value().map(AltText::into_string),
    };
    list.0.into_iter().map(one).collect()
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"content": "Who dances tonight? #tango", "visibility": "public"}))]
pub(super) struct NewPost {
    content: PostText,
    /// Public if absent.
    #[deserr(default = Choice(Visibility::Public))]
    #[schema(value_type = Visibility, required = false)]
    visibility: Choice<Visibility>,
    /// What stands beside the words.
    #[deserr(default)]
    #[schema(value_type = Vec<MediaBody>, max_items = 10, required = false)]
    media: Given<UpTo<MediaBody, MOST_MEDIA>>,
    /// A question to those who read it.
    #[deserr(default)]
    #[schema(value_type = NewPoll, required = false)]
    poll: Given<NewPoll>,
    /// Whether the server may look at the first link of the words and show what the page says of itself. True if absent; of public
    /// posts alone.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    preview: Given<bool>,
}

impl NewPost {
    /// As it is kept, without those whom it mentions; or what is wrong with it, at that time.
    pub(super) fn parts(self, at: Timestamp) -> Result<NewParts, FieldError> {
        let media = self.media.0.map(media).unwrap_or_default();
        let poll = self.poll.0.map(Poll::from);
        if poll.as_ref().is_some_and(|poll| !poll.is_timely(at)) {
            let message = "must be 5 minutes to 90 days from now";
            return Err(FieldError::new("poll.until", FieldCode::OutOfRange, message));
        }
        Ok(NewParts {
            text: Text { media, ..Text::new(self.content.into_string(), at) },
            visibility: self.visibility.0,
            poll,
            without_preview: self.preview.0 == Some(false),
        })
    }
}

/// What a new post is made of.
pub(super) struct NewParts {
    pub(super) text: Text,
    pub(super) visibility: Visibility,
    pub(super) poll: Option<Poll>,
    pub(super) without_preview: bool,
}

/// A change of a post; what is absent stays.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"content": "Who dances tomorrow?", "visibility": "friends"}))]
pub(super) struct PostChange {
    #[deserr(default)]
    #[schema(value_type = PostText, required = false)]
    content: Given<PostText>,
    /// Who may read it from now on.
    #[deserr(default)]
    #[schema(value_type = Visibility, required = false)]
    visibility: Given<Choice<Visibility>>,
    /// What stands beside the words: all of it.
    #[deserr(default)]
    #[schema(value_type = Vec<MediaBody>, max_items = 10, required = false)]
    media: Given<UpTo<MediaBody, MOST_MEDIA>>,
    /// Whether the server may look at the first link of the words and show what the page says of itself.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    preview: Given<bool>,
    /// The revision that was changed: where the post has another one by now, the change is refused.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 50, required = false)]
    revision: Given<Whole<1, 50>>,
}

impl PostChange {
    /// As it is kept, with nobody mentioned yet.
    pub(super) fn edit(self) -> PostEdit {
        PostEdit {
            words: self.content.0.map(|content| (content.into_string(), BTreeMap::new())),
            media: self.media.0.map(media),
            visibility: self.visibility.0.map(|choice| choice.0),
            without_preview: self.preview.0.map(|is_wanted| !is_wanted),
            of_revision: self.revision.0.map(Whole::get),
        }
    }
}

/// What the feed is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields, validate = one_way -> BadFields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedQuery {
    /// Only with this hashtag, with its sign or without.
    #[deserr(default)]
    #[param(value_type = Option<TagText>, inline)]
    pub(super) tag: Option<TagText>,
    /// Only what is newer than this, the oldest first: the `newest` of an answer before, or the id of a post. What was made in the
    /// two minutes before that may come again, as it may have been late: clients know it by its id.
    #[deserr(default)]
    #[param(value_type = Option<FeedPlace>, inline)]
    pub(super) after: Option<FeedPlace>,
}

fn one_way(query: FeedQuery, _at: ValuePointerRef<'_>) -> Result<FeedQuery, BadFields> {
    if query.tag.is_some() && query.after.is_some() {
        return Err(
            FieldError::new("after", FieldCode::Contradiction, "does not go together with tag").into()
        );
    }
    Ok(query)
}

/// The key of a hashtag that a client wrote.
pub(super) fn key_of(tag: TagText) -> Result<String, FieldError> {
    let text = tag.into_string();
    let bare = text.strip_prefix(['#', '＃']).unwrap_or(&text);
    tag_key(bare).ok_or_else(|| {
        FieldError::new("tag", FieldCode::BadForm, "must be letters, digits and _, with a letter among them")
    })
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct Reaction {
    #[schema(value_type = ReactionType)]
    pub(super) reaction_type: Choice<ReactionType>,
}

/// A picture, a film or a page beside the words.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Media)]
pub(super) struct MediaView {
    url: String,
    kind: MediaKind,
    /// What it shows.
    #[schema(required = true)]
    alt: Option<String>,
}

impl From<Media> for MediaView {
    fn from(Media { url, kind, alt }: Media) -> Self {
        Self { url, kind, alt }
    }
}

/// A part of a text that names a user or a subject, for clients to draw.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entity)]
pub(in crate::community) struct EntityView {
    kind: EntityKind,
    /// Where it begins with its sign, in UTF-16 code units, as JavaScript, Java and Swift count them.
    start: usize,
    /// Where it ends, in the same.
    end: usize,
    /// The user who is mentioned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<String>,
    /// The hashtag in the form by which hashtags are compared: what to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tag: Option<String>,
}

/// What a text names. A name that nobody had when it was written is text.
pub(in crate::community) fn entity_views(text: &str, mentions: &BTreeMap<String, String>) -> Vec<EntityView> {
    let view = |Entity { kind, key, start, end }| match kind {
        EntityKind::Mention => {
            let user_id = Some(mentions.get(&key)?.clone());
            Some(EntityView { kind, start, end, user_id, tag: None })
        }
        EntityKind::Hashtag => Some(EntityView { kind, start, end, user_id: None, tag: Some(key) }),
    };
    entities(text).into_iter().filter_map(view).collect()
}

/// A post, as everybody sees it who may.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct PostBody {
    pub(in crate::community) id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    author: Option<Person>,
    pub(in crate::community) content: String,
    /// What the words name.
    entities: Vec<EntityView>,
    media: Vec<MediaView>,
    /// What it asks; null where it asks nothing.
    #[schema(required = true)]
    poll: Option<PollView>,
    /// What the page says of itself to which the first link of the words leads. Null without a link, until the server has looked, and
    /// where there is nothing to show.
    #[schema(required = true)]
    preview: Option<PreviewView>,
    visibility: Visibility,
    created_at: Time,
    /// Rises with each edit, from 1 on.
    revision: u32,
    /// When it was edited last.
    #[schema(required = true)]
    edited_at: Option<Time>,
    /// How many reactions of each kind.
    #[schema(value_type = BTreeMap<String, u64>)]
    reactions: BTreeMap<ReactionType, u64>,
    /// How many comments; in lists about as many, past a thousand.
    comment_count: u64,
}

/// How often a post was reacted to and commented.
#[derive(Clone, Debug, Default)]
pub(super) struct PostCounts {
    pub(super) reactions: BTreeMap<ReactionType, u64>,
    pub(super) comments: u64,
}

impl PostBody {
    pub(super) fn new(post: Post, counts: PostCounts, people: &BTreeMap<String, Person>) -> Self {
        Self {
            author: people.get(&post.author_id).cloned(),
            id: post.id,
            entities: entity_views(&post.text.content, &post.text.mentions),
            edited_at: (post.revision > 1).then(|| post.text.at.into()),
            content: post.text.content,
            media: post.text.media.into_iter().map(MediaView::from).collect(),
            poll: post.poll.map(PollView::from),
            preview: post.preview.map(|preview| PreviewView::from(*preview)),
            visibility: post.visibility,
            created_at: post.created_at.into(),
            revision: post.revision,
            reactions: counts.reactions,
            comment_count: counts.comments,
        }
    }
}

/// A post, as the caller sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct SeenPost {
    #[serde(flatten)]
    pub(in crate::community) post: PostBody,
    /// The caller's own reaction.
    #[schema(required = true)]
    pub(super) my_reaction: Option<ReactionType>,
    /// How the poll stands; null where there is none.
    #[schema(required = true)]
    pub(super) poll_state: Option<PollState>,
}

/// A page of the feed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Feed)]
pub(super) struct FeedBody {
    pub(super) items: Vec<SeenPost>,
    /// What to send as `cursor` for older posts; null at the end, and with `after`.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
    /// What to send as `after` for newer posts: the id of a post that the caller sees, or a place that names none. Null where no
    /// post was looked at.
    #[schema(required = true)]
    pub(super) newest: Option<String>,
    /// With `after`: whether there are more that are newer. Ask again with `newest`.
    pub(super) gap: bool,
}

/// What a post said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevisionBody {
    revision: u32,
    content: String,
    /// What the words name.
    entities: Vec<EntityView>,
    media: Vec<MediaView>,
    /// From when on.
    at: Time,
}

impl RevisionBody {
    pub(super) fn new(revision: u32, text: Text) -> Self {
        Self {
            revision,
            entities: entity_views(&text.content, &text.mentions),
            content: text.content,
            media: text.media.into_iter().map(MediaView::from).collect(),
            at: text.at.into(),
        }
    }
}

/// What a post said, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revisions)]
pub(super) struct RevisionsBody {
    pub(super) items: Vec<RevisionBody>,
}

/// What `posts:feed` and `post:{id}` publish of posts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum PostMessage {
    /// There is a new public post, or one is public now.
    #[serde(rename = "post.created")]
    Created { post: PostBody },
    /// A public post was edited.
    #[serde(rename = "post.updated")]
    Updated { post: PostBody },
    /// The server has looked at the link of a public post.
    #[serde(rename = "post.previewed")]
    Previewed {
        #[serde(rename = "postId")]
        post_id: String,
        /// The revision of which it is.
        revision: u32,
        preview: PreviewView,
    },
    /// The post is gone, or not public any more. Who may still see it gets it by asking.
    #[serde(rename = "post.deleted")]
    Deleted {
        #[serde(rename = "postId")]
        post_id: String,
    },
    /// Something happened to a post, and nobody is told what: it is not public, or this is told late and the post may be for
    /// fewer by now. Ask for it.
    #[serde(rename = "post.changed")]
    Changed {
        #[serde(rename = "postId")]
        post_id: String,
    },
}

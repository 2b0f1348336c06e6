//! What is shown of what was found: each thing as it is now, if the caller may see it.

use std::collections::BTreeMap;

use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::kinds::{COMMENT, EVENT, HOUSING, MESSAGE, PERSON, POST};
use crate::community::Community;
use crate::community::accounts::PublicUser;
use crate::community::chat::bodies::FoundMessage;
use crate::community::events::bodies::SeenEvent;
use crate::community::housing::listings::ListingBody;
use crate::community::policy::Viewer;
use crate::community::posts::bodies::SeenPost;
use crate::community::posts::comments::bodies::SeenComment;
use crate::search::index::Hit;
use crate::search::marks::marks;
use crate::search::query::Search;

/// A kind of thing that is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FoundKind {
    /// A user.
    Person,
    /// Something that was said.
    Post,
    /// An event.
    Event,
    /// A place to stay.
    Housing,
    /// Something that was said below a post.
    Comment,
    /// Something that was said in a conversation of the caller's.
    Message,
}

impl FoundKind {
    /// The name in the index.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Person => PERSON,
            Self::Post => POST,
            Self::Event => EVENT,
            Self::Housing => HOUSING,
            Self::Comment => COMMENT,
            Self::Message => MESSAGE,
        }
    }
}

/// A thing that was found, as the routes of its kind show it.
#[derive(Debug)]
pub(super) enum Thing {
    Person(PublicUser),
    Post(SeenPost),
    Event(Box<SeenEvent>),
    Housing(ListingBody),
    Comment(SeenComment),
    Message(FoundMessage),
}

impl Thing {
    pub(super) fn kind(&self) -> FoundKind {
        match self {
            Self::Person(_) => FoundKind::Person,
            Self::Post(_) => FoundKind::Post,
            Self::Event(_) => FoundKind::Event,
            Self::Housing(_) => FoundKind::Housing,
            Self::Comment(_) => FoundKind::Comment,
            Self::Message(_) => FoundKind::Message,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Person(person) => &person.id,
            Self::Post(seen) => &seen.post.id,
            Self::Event(seen) => &seen.event.id,
            Self::Housing(listing) => &listing.id,
            Self::Comment(seen) => &seen.comment.id,
            Self::Message(found) => &found.id,
        }
    }

    /// What it is called, if it has a name.
    pub(super) fn title(&self) -> Option<&str> {
        match self {
            Self::Person(person) => Some(&person.full_name),
            Self::Post(_) | Self::Comment(_) | Self::Message(_) => None,
            Self::Event(seen) => Some(&seen.event.title),
            Self::Housing(listing) => Some(&listing.title),
        }
    }

    /// The series that it is a date of, if it is of one.
    pub(super) fn series(&self) -> Option<&str> {
        if let Self::Event(seen) = self { seen.event.series_id.as_deref() } else { None }
    }

    /// Its id, for what leads to it.
    pub(super) fn into_id(self) -> String {
        match self {
            Self::Person(person) => person.id,
            Self::Post(seen) => seen.post.id,
            Self::Event(seen) => seen.event.id,
            Self::Housing(listing) => listing.id,
            Self::Comment(seen) => seen.comment.id,
            Self::Message(found) => found.id,
        }
    }

    /// The fields that were searched: the name, the text, and whether it is found by the beginnings of its words.
    fn fields(&self) -> Vec<(&'static str, &str, bool)> {
        match self {
            Self::Person(person) => {
                let more = [("bio", person.bio.as_deref()), ("city", person.city.as_deref())];
                let names =
                    [("fullName", person.full_name.as_str(), true), ("username", &person.username, true)];
                let more = more.into_iter().filter_map(|(name, text)| Some((name, text?, false)));
                names.into_iter().chain(more).collect()
            }
            Self::Post(seen) => vec![("content", &seen.post.content, false)],
            Self::Event(seen) => {
                vec![("title", &seen.event.title, true), ("description", &seen.event.description, false)]
            }
            Self::Housing(listing) => {
                vec![("title", &listing.title, true), ("description", &listing.description, false)]
            }
            Self::Comment(seen) => vec![("content", &seen.comment.content, false)],
            Self::Message(found) => vec![("text", found.text(), false)],
        }
    }

    /// Where in its fields it says what was searched for.
    pub(super) fn highlights(&self, search: &Search, misspelt: bool) -> Vec<Highlight> {
        let of_field = |(field, text, by_beginnings): (&'static str, &str, bool)| {
            let marks = marks(text, search, by_beginnings, misspelt).into_iter();
            marks.map(move |mark| Highlight { field: field.to_owned(), from: mark.start, to: mark.end })
        };
        self.fields().into_iter().flat_map(of_field).collect()
    }
}

/// A part of a text in which something stands that was searched for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Highlight {
    /// The name of the field.
    field: String,
    /// Its first UTF-16 code unit, as strings of JavaScript count.
    from: usize,
    /// The code unit behind it.
    to: usize,
}

impl Community {
    /// Those things of hits that the caller may see, in the hits' order, as they are now: an index may be behind.
    pub(super) async fn things_of(&self, hits: &[Hit], identity: &Identity) -> Result<Vec<Thing>, Problem> {
        let ids = |kind: &str| -> Vec<String> {
            hits.iter().filter(|hit| hit.kind == kind).map(|hit| hit.id.clone()).collect()
        };
        let (people, posts, events, listings) = (ids(PERSON), ids(POST), ids(EVENT), ids(HOUSING));
        let mine = self.circles.view(&identity.user_id).await?;
        let viewer = Viewer::from(identity).knowing(&mine);
        let (comments, messages) = (ids(COMMENT), ids(MESSAGE));
        let (people, posts, events, listings, comments, messages) = tokio::try_join!(
            self.seen_people_by_id(&people, viewer),
            self.seen_posts_by_id(&posts, &identity.user_id),
            self.seen_events_by_id(&events, identity),
            self.seen_listings_by_id(&listings, identity, viewer),
            Box::pin(self.seen_comments_by_id(&comments, &identity.user_id)),
            Box::pin(self.seen_messages_by_id(&messages, identity)),
        )?;
        let things = people.into_iter().map(Thing::Person);
        let things = things.chain(posts.into_iter().map(Thing::Post));
        let things = things.chain(events.into_iter().map(Box::new).map(Thing::Event));
        let things = things.chain(listings.into_iter().map(Thing::Housing));
        let things = things.chain(comments.into_iter().map(Thing::Comment));
        let things = things.chain(messages.into_iter().map(Thing::Message));
        let mut seen: BTreeMap<_, _> =
            things.map(|thing| ((thing.kind().name(), thing.id().to_owned()), thing)).collect();
        let in_order = hits.iter().filter_map(|hit| {
            let name = [PERSON, POST, EVENT, HOUSING, COMMENT, MESSAGE]
                .into_iter()
                .find(|name| *name == hit.kind)?;
            seen.remove(&(name, hit.id.clone()))
        });
        Ok(in_order.collect())
    }
}

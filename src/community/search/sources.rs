//! What there is to search for: one line and one function for each kind of thing.
//!
//! A new kind of thing needs a name in `kinds.rs`, a line in [`sources`], the function that makes its document,
//! [`Effect::changed`] in each change of it, and a way to show it in `shown.rs`.
//!
//! [`Effect::changed`]: crate::community::effects::Effect::changed

use mundotango_storage::db::{Db, Found, KindSpec};

use super::comments::{Comments, audience_of};
use super::kinds::{EVENT, HOUSING, PERSON, POST};
use super::messages::Messages;
use crate::community::accounts::kind::{self as account, Account, USERS};
use crate::community::accounts::profile::FieldAudience;
use crate::community::accounts::store::User;
use crate::community::events::rules::Attendance;
use crate::community::events::store::{self as event, EVENTS, Event};
use crate::community::housing::listings::kind::{self as listing, LISTINGS, Listing};
use crate::community::housing::listings::words::areas;
use crate::community::posts::store::{POSTS, Post};
use crate::search::document::{Audience, Document};
use crate::search::source::{Partitions, Source};

/// All that is searched for in a store.
pub fn sources(db: &Db) -> Vec<Box<dyn Source>> {
    vec![
        Box::new(Partitions::new(db, PERSON, &USERS, person)),
        Box::new(Partitions::new(db, POST, &POSTS, |id, found| post(&Post::found(id, &found)))),
        Box::new(Partitions::new(db, EVENT, &EVENTS, event)),
        Box::new(Partitions::new(db, HOUSING, &LISTINGS, housing)),
        Box::new(Messages::new(db)),
        Box::new(Comments::new(db)),
    ]
}

/// The name under which partitions of a kind are searched for, if each is a thing. Messages and comments are rows, and note their
/// changes.
pub fn searched_as(kind: &KindSpec) -> Option<&'static str> {
    let all =
        [(USERS.spec(), PERSON), (POSTS.spec(), POST), (EVENTS.spec(), EVENT), (LISTINGS.spec(), HOUSING)];
    all.into_iter().find(|(searched, _)| searched.name == kind.name).map(|(_, name)| name)
}

fn person(id: &str, found: Found<account::Facts, Account>) -> Document {
    let user = User::new(id, &found.facts, found.head);
    // What is not for everybody is in no index: by what is found one could tell what it says.
    let told = &user.profile.audiences;
    let is_public = |audience: FieldAudience| audience == FieldAudience::Public;
    let audience = match user.paused_since {
        Some(_) => Audience::FriendsOf(user.id.clone()),
        None => Audience::Everybody,
    };
    let cities = user.profile.cities.iter().filter(|_| is_public(told.cities)).cloned();
    Document {
        title: format!("{} {}", user.full_name, user.username),
        places: user.city.filter(|_| is_public(told.city)).into_iter().chain(cities).collect(),
        text: user.bio.filter(|_| is_public(told.bio)).unwrap_or_default(),
        audience,
        at: user.created_at,
        over_at: None,
        has_time: false,
        part_of: None,
    }
}

fn post(post: &Post) -> Document {
    Document {
        title: String::new(),
        text: post.text.content.clone(),
        places: Vec::new(),
        audience: audience_of(post),
        at: post.created_at,
        over_at: None,
        has_time: true,
        part_of: None,
    }
}

fn event(id: &str, found: Found<event::Facts, Attendance>) -> Document {
    let event = Event::new(id, found);
    Document {
        title: event.title,
        text: format!("{}\n{}", event.description, event.location.text),
        places: areas(&event.location),
        audience: if event.is_draft || event.is_suspended {
            Audience::Only(event.host_id)
        } else {
            Audience::Everybody
        },
        at: event.when.starts_at(),
        over_at: Some(event.when.over_at()),
        has_time: true,
        part_of: None,
    }
}

fn housing(id: &str, found: Found<listing::Facts, listing::Head>) -> Document {
    let listing = Listing::found(id, found);
    let is_found = listing.is_found();
    let details = listing.details;
    Document {
        // Of where it is, only what everybody may know.
        places: areas(&details.location),
        title: details.title,
        text: details.description,
        audience: if is_found { Audience::Everybody } else { Audience::Only(listing.host_id) },
        at: listing.created_at,
        over_at: None,
        has_time: false,
        part_of: None,
    }
}

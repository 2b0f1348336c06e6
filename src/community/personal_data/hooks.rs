//! What kinds do themselves when somebody leaves, where their declarations alone do not say enough: rows that are counted, and
//! partitions in which nothing says whose they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Person, Plain};

use crate::community::accounts::names::NAMES;
use crate::community::accounts::store::AccountStore;
use crate::community::admin::roster::ROSTER;
use crate::community::calendars::imported::IMPORTED_EVENTS;
use crate::community::chat::kinds::{CHAT_BLOCKS, CHATS};
use crate::community::chat::leaving::LeavingMembers;
use crate::community::events::series::state::SERIES;
use crate::community::events::series::store::SeriesStore;
use crate::community::events::store::{EVENTS, EventStore};
use crate::community::graph::store::{CIRCLES, Circles, FOLLOWERS};
use crate::community::housing::leaving::LeavingGuests;
use crate::community::housing::listings::kind::LISTINGS;
use crate::community::notifications::store::{NOTIFICATIONS, NotificationStore};
use crate::community::points::board::BOARDS;
use crate::community::posts::comments::kind::COMMENTS;
use crate::community::posts::comments::leaving::LeavingCommenters;
use crate::community::posts::comments::reactions::COMMENT_REACTIONS;
use crate::community::posts::leaving::LeavingAuthors;
use crate::community::posts::polls::store::POLL_VOTES;
use crate::community::posts::store::{POST_REACTIONS, POSTS};
use crate::community::posts::timeline::store::{TIMELINES, TimelineStore};

/// What a kind does itself. Each call may come again, and changes nothing then.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Whose a partition is though nothing in it says so: the user's id, or the alias of one who left.
    async fn whose(&self, _plain: &Plain) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Whether partitions have to be shown to [`Self::whose`] though they name nobody.
    fn knows_whose(&self) -> bool {
        false
    }

    /// Takes the person's rows out of a partition, with what counts them, or the person out of what the declaration keeps. `rows`
    /// are those that change or go.
    async fn take_out(
        &self,
        _plain: &Plain,
        _rows: &[String],
        _person: &Person,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether rows are counted, so that only [`Self::take_out`] may remove them.
    fn counts_rows(&self) -> bool {
        true
    }

    /// Removes what goes with a partition that is removed.
    async fn before_removal(&self, _id: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The hooks, by the names of kinds.
pub type Hooks = BTreeMap<&'static str, Arc<dyn Hook>>;

/// Rows of which nothing is counted: they are simply removed.
pub struct NotCounted;

impl Hook for NotCounted {
    fn counts_rows(&self) -> bool {
        false
    }
}

/// The hooks of the features.
pub fn hooks(db: &Db) -> Hooks {
    let hook = |name: &'static str, hook: Arc<dyn Hook>| (name, hook);
    BTreeMap::from([
        hook(NAMES.spec().name, Arc::new(OfNames(AccountStore::new(db.clone())))),
        hook(POSTS.spec().name, Arc::new(OfPosts(LeavingAuthors::new(db)))),
        hook(POST_REACTIONS.spec().name, Arc::new(OfReactions(LeavingAuthors::new(db)))),
        hook(POLL_VOTES.spec().name, Arc::new(OfVotes(LeavingAuthors::new(db)))),
        hook(TIMELINES.spec().name, Arc::new(OfTimelines(TimelineStore::new(db.clone())))),
        hook(COMMENTS.spec().name, Arc::new(OfComments(LeavingCommenters::new(db)))),
        hook(COMMENT_REACTIONS.spec().name, Arc::new(OfCommentReactions(LeavingCommenters::new(db)))),
        hook(CIRCLES.spec().name, Arc::new(OfCircles(Circles::new(db.clone())))),
        hook(FOLLOWERS.spec().name, Arc::new(OfFollowers(Circles::new(db.clone())))),
        hook(CHATS.spec().name, Arc::new(OfChats(LeavingMembers::new(db)))),
        hook(CHAT_BLOCKS.spec().name, Arc::new(OfChatBlocks(LeavingMembers::new(db)))),
        hook(NOTIFICATIONS.spec().name, Arc::new(OfNotifications(NotificationStore::new(db.clone())))),
        hook(BOARDS.spec().name, Arc::new(NotCounted)),
        hook(ROSTER.spec().name, Arc::new(NotCounted)),
        hook(EVENTS.spec().name, Arc::new(OfEvents(EventStore::new(db.clone())))),
        hook(SERIES.spec().name, Arc::new(OfSeries(SeriesStore::new(db.clone())))),
        hook(LISTINGS.spec().name, Arc::new(OfListings(LeavingGuests::new(db)))),
        hook(IMPORTED_EVENTS.spec().name, Arc::new(OfImports(db.clone()))),
    ])
}

/// The id of what a partition is a shard of.
fn sharded(id: &str) -> &str {
    id.rsplit_once('#').map_or(id, |(of, _)| of)
}

struct OfNames(AccountStore);

#[async_trait]
impl Hook for OfNames {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.leave_name(&plain.id, &person.id).await
    }
}

struct OfPosts(LeavingAuthors);

#[async_trait]
impl Hook for OfPosts {
    async fn before_removal(&self, id: &str) -> Result<(), StoreError> {
        self.0.take_away(id).await
    }
}

struct OfReactions(LeavingAuthors);

#[async_trait]
impl Hook for OfReactions {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_reaction_back(sharded(&plain.id), &person.id).await
    }
}

struct OfVotes(LeavingAuthors);

#[async_trait]
impl Hook for OfVotes {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_vote_back(sharded(&plain.id), &person.id).await
    }
}

struct OfTimelines(TimelineStore);

#[async_trait]
impl Hook for OfTimelines {
    async fn take_out(
        &self,
        plain: &Plain,
        rows: &[String],
        _: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.forget(&plain.id, rows).await
    }
}

struct OfComments(LeavingCommenters);

#[async_trait]
impl Hook for OfComments {
    async fn take_out(
        &self,
        plain: &Plain,
        rows: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_out(&plain.id, rows, &person.id).await
    }
}

struct OfCommentReactions(LeavingCommenters);

#[async_trait]
impl Hook for OfCommentReactions {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_reaction_back(&plain.id, &person.id).await
    }
}

struct OfCircles(Circles);

#[async_trait]
impl Hook for OfCircles {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.forget(&plain.id, &person.id).await
    }
}

struct OfFollowers(Circles);

#[async_trait]
impl Hook for OfFollowers {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.forget_follower(sharded(&plain.id), &person.id).await
    }
}

struct OfChats(LeavingMembers);

#[async_trait]
impl Hook for OfChats {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_out(&plain.id, &person.id).await
    }
}

struct OfChatBlocks(LeavingMembers);

#[async_trait]
impl Hook for OfChatBlocks {
    async fn take_out(
        &self,
        plain: &Plain,
        rows: &[String],
        person: &Person,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_out_of_block(&plain.id, rows, &person.id, now).await
    }
}

struct OfNotifications(NotificationStore);

#[async_trait]
impl Hook for OfNotifications {
    async fn take_out(
        &self,
        plain: &Plain,
        rows: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.forget_actor(&plain.id, rows, &person.id).await
    }
}

struct OfEvents(EventStore);

#[async_trait]
impl Hook for OfEvents {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_out(&plain.id, &person.id, now).await
    }
}

struct OfSeries(SeriesStore);

#[async_trait]
impl Hook for OfSeries {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_out(&plain.id, &person.id, now).await
    }
}

struct OfListings(LeavingGuests);

#[async_trait]
impl Hook for OfListings {
    async fn take_out(
        &self,
        plain: &Plain,
        rows: &[String],
        _: &Person,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.take_out(&plain.id, rows, now).await
    }
}

/// The id of a claim is a digest: whose it is says only the event to which it leads.
struct OfImports(Db);

#[async_trait]
impl Hook for OfImports {
    fn knows_whose(&self) -> bool {
        true
    }

    async fn whose(&self, plain: &Plain) -> Result<Option<String>, StoreError> {
        let named = |field| plain.head.as_ref().and_then(|head| head.get(field)?.as_str());
        let made = match (named("event_id"), named("series_id")) {
            (Some(event), _) => self.0.plain(EVENTS.spec(), event, &[]).await?,
            (None, Some(series)) => self.0.plain(SERIES.spec(), series, &[]).await?,
            (None, None) => None,
        };
        Ok(made.and_then(|made| Some(made.facts?.get("host_id")?.as_str()?.to_owned())))
    }
}

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
use crate::community::calendars::imported::IMPORTED_EVENTS;
use crate::community::events::series::state::SERIES;
use crate::community::events::series::store::SeriesStore;
use crate::community::events::store::{EVENTS, EventStore};
use crate::community::housing::leaving::LeavingGuests;
use crate::community::housing::listings::kind::LISTINGS;
use crate::community::posts::store::{POST_REACTIONS, POSTS, PostStore};

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
        hook(POSTS.spec().name, Arc::new(OfPosts(PostStore::new(db.clone())))),
        hook(POST_REACTIONS.spec().name, Arc::new(OfReactions(PostStore::new(db.clone())))),
        hook(EVENTS.spec().name, Arc::new(OfEvents(EventStore::new(db.clone())))),
        hook(SERIES.spec().name, Arc::new(OfSeries(SeriesStore::new(db.clone())))),
        hook(LISTINGS.spec().name, Arc::new(OfListings(LeavingGuests::new(db)))),
        hook(IMPORTED_EVENTS.spec().name, Arc::new(OfImports(db.clone()))),
    ])
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

struct OfPosts(PostStore);

#[async_trait]
impl Hook for OfPosts {
    async fn before_removal(&self, id: &str) -> Result<(), StoreError> {
        self.0.remove_reactions(id).await
    }
}

struct OfReactions(PostStore);

#[async_trait]
impl Hook for OfReactions {
    async fn take_out(
        &self,
        plain: &Plain,
        _: &[String],
        person: &Person,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        let post = plain.id.rsplit_once('#').map_or(plain.id.as_str(), |(post, _)| post);
        self.0.react(post, &person.id, None).await.map(drop)
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
        let event = plain.head.as_ref().and_then(|head| head.get("event_id")?.as_str());
        let Some(event) = event else { return Ok(None) };
        let event = self.0.plain(EVENTS.spec(), event, &[]).await?;
        Ok(event.and_then(|event| Some(event.facts?.get("host_id")?.as_str()?.to_owned())))
    }
}

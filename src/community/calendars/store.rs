//! The calendars that users have addresses of: a partition a user, with a row for each.

use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

/// The calendars of each user.
pub static CALENDARS: Kind<(), (), Subscription> =
    Kind::new("calendars", "a user: 20 calendars of 400 B, 8 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &["id", "keys.c", "rows.c.shows.**", "rows.c.created_at", "rows.c.rotated_at"],
    ),
    Fields::of(
        Whose::User,
        Export::NotGiven("it only checks the address"),
        Erasure::Removed,
        &["rows.c.token_hash"],
    ),
];

/// Most calendars that a user has addresses of at the same time.
pub const MOST_CALENDARS: usize = 20;

/// Below this lie the calendars, by id.
const ROWS: &str = "c";

/// What a calendar shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shows {
    /// What the user answered.
    Mine,
    /// Where the user stays, and who stays with the user.
    Stays,
    /// What somebody gives.
    Host {
        /// Who that is.
        host_id: String,
    },
    /// What there is in a city.
    City {
        /// The name of the city.
        city: String,
    },
}

/// A calendar that can be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// What it shows.
    pub shows: Shows,
    /// The hash of the secret in its address.
    pub token_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its present address, if that is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
}

fn row_key(calendar_id: &str) -> String {
    key(&[ROWS, calendar_id])
}

/// The calendars of a store.
#[derive(Clone)]
pub struct CalendarStore(Db);

impl CalendarStore {
    /// The calendars of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a calendar, unless the user has as many as there may be.
    pub async fn add(
        &self,
        user_id: &str,
        calendar_id: &str,
        subscription: Subscription,
    ) -> Result<(), StoreError> {
        let (row, below) = (row_key(calendar_id), prefix(&[ROWS]));
        let wants = Wants::head().first(&below, MOST_CALENDARS);
        let added = self.0.change(&CALENDARS, user_id, wants, move |part| {
            if part.first(&below, MOST_CALENDARS).len() >= MOST_CALENDARS {
                return Err(StoreError::Full("the list of calendars"));
            }
            part.set(&row, subscription.clone());
            Ok(Decision::Write(()))
        });
        added.await.map(drop)
    }

    /// One calendar of a user.
    pub async fn calendar(
        &self,
        user_id: &str,
        calendar_id: &str,
    ) -> Result<Option<Subscription>, StoreError> {
        self.0.row(&CALENDARS, user_id, &row_key(calendar_id)).await
    }

    /// The calendars of a user with their ids, the oldest first.
    pub async fn of_user(
        &self,
        user_id: &str,
        page: PageRequest,
    ) -> Result<Page<(String, Subscription)>, StoreError> {
        let (after, skip) = page.start.behind(|calendar_id| Some(row_key(&calendar_id)))?;
        let range = RowRange::first(prefix(&[ROWS]), skip + page.limit).after(after);
        let rows = self.0.rows(&CALENDARS, user_id, &range).await?;
        let items = rows.items.into_iter().skip(skip).map(|(key, row)| (last_part(&key), row));
        Ok(Page { items: items.collect(), next: rows.next.map(|key| last_part(&key)) })
    }

    /// Gives a calendar another address, by which the old one leads nowhere; as it is then, `None` if there is none.
    pub async fn rotate(
        &self,
        user_id: &str,
        calendar_id: &str,
        token_hash: String,
        now: Timestamp,
    ) -> Result<Option<Subscription>, StoreError> {
        let row = row_key(calendar_id);
        let rotated = self.0.change(&CALENDARS, user_id, Wants::head().row(&row), move |part| {
            let Some(before) = part.row(&row).cloned() else {
                return Ok::<_, StoreError>(Decision::Stands(None));
            };
            let after = Subscription { token_hash: token_hash.clone(), rotated_at: Some(now), ..before };
            part.set(&row, after.clone());
            Ok(Decision::Write(Some(after)))
        });
        Ok(rotated.await?.flatten())
    }

    /// Takes a calendar away; whether there was one.
    pub async fn remove(&self, user_id: &str, calendar_id: &str) -> Result<bool, StoreError> {
        let row = row_key(calendar_id);
        let removed = self.0.change(&CALENDARS, user_id, Wants::head().row(&row), move |part| {
            if part.row(&row).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.remove(&row);
            Ok(Decision::Write(true))
        });
        Ok(removed.await?.unwrap_or_default())
    }
}

//! How many series a user gives at the same time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use serde::{Deserialize, Serialize};

use super::state::Series;
use super::store::SeriesStore;

/// The series that each user gives.
pub static HOSTED_SERIES: Kind<(), Hosted, ()> =
    Kind::new("hosted_series", "a user: 20 series of 80 B, 2 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] =
    &[Fields::of(Whose::User, Export::Given, Erasure::Removed, &["id", "head.series.*"])];

/// Most series of a user that go on.
pub const MOST_LIVE: usize = 20;
/// How long a series may take from its claim to its making: longer than a request does.
const MADE_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// The series of a user that may go on, and since when each counts. Which of them do, and are still the user's, is looked up only
/// where the list is full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hosted {
    series: BTreeMap<String, Timestamp>,
}

impl SeriesStore {
    /// Counts a series as one that a user gives, before it is made or goes on; refused where there are too many. Counting it again
    /// changes nothing.
    pub async fn claim(&self, user_id: &str, id: &str, now: Timestamp) -> Result<(), StoreError> {
        let full = StoreError::Full("the list of your series");
        let Some(others) = self.count(user_id, id, now, Vec::new()).await? else { return Ok(()) };
        let mut over = Vec::new();
        for (other, since) in others {
            let goes_on = match self.series(&other).await? {
                Some(series) if series.owner() == user_id => goes_on(&series, now)?,
                // It may be about to be made, or taken over.
                Some(_) | None => now.duration_since(since) < MADE_WITHIN,
            };
            if !goes_on {
                over.push(other);
            }
        }
        if over.is_empty() {
            return Err(full);
        }
        self.count(user_id, id, now, over).await?.map_or(Ok(()), |_| Err(full))
    }

    /// The series that a user gives and that may go on; some may be others' by now.
    pub async fn hosted(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        let found = self.0.read(&HOSTED_SERIES, user_id).await?;
        Ok(found.map(|found| found.head.series.into_keys().collect()).unwrap_or_default())
    }

    /// Counts a series no longer that was not made.
    pub async fn give_back(&self, user_id: &str, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        let given = self.0.change(&HOSTED_SERIES, user_id, Wants::head(), move |part| {
            let was_there = part.head.series.remove(&id).is_some();
            Ok::<_, StoreError>(if was_there { Decision::Write(()) } else { Decision::Stands(()) })
        });
        given.await.map(drop)
    }

    /// Counts a series after others are forgotten; those that are there, if they are too many.
    async fn count(
        &self,
        user_id: &str,
        id: &str,
        now: Timestamp,
        over: Vec<String>,
    ) -> Result<Option<BTreeMap<String, Timestamp>>, StoreError> {
        let id = id.to_owned();
        let counted = self.0.change(&HOSTED_SERIES, user_id, Wants::head(), move |part| {
            if part.head.series.contains_key(&id) {
                return Ok::<_, StoreError>(Decision::Stands(None));
            }
            part.head.series.retain(|known, _| !over.contains(known));
            if part.head.series.len() >= MOST_LIVE {
                return Ok(Decision::Stands(Some(part.head.series.clone())));
            }
            part.head.series.insert(id.clone(), now);
            Ok(Decision::Write(None))
        });
        Ok(counted.await?.flatten())
    }
}

fn goes_on(series: &Series, now: Timestamp) -> Result<bool, StoreError> {
    Ok(series.goes_on(series.today(now)?))
}

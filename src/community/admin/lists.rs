//! The lists in which cases are found: those that wait, by the time since when, and all of them.

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Entry, Fields, Index, Order, key, last_part, number};
use serde::{Deserialize, Serialize};

use super::work::Workflow;
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Cases that wait, by workflow: those that have waited longest come first.
pub static WORK_PENDING: Index<()> = Index::new(
    "work_pending",
    "30 days of a workflow: 100,000 entries of 100 B, 10 MB",
    month_of,
    Order::OldestFirst,
    Fields::AS_TARGET,
);

/// All cases of a workflow, and those of each user who opened some: the newest first.
pub static WORK_LISTS: Index<()> = Index::new(
    "work_lists",
    "30 days of a workflow: 100,000 entries of 100 B, 10 MB",
    month_of,
    Order::NewestFirst,
    Fields::AS_TARGET,
);

/// Takes the entry of a case that no longer waits out of the list.
static UNLIST: JobKind<Unlist> = JobKind::new("work_unlist", &NOTIFICATION, 1);

const MILLIS_OF_30_DAYS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Characters of a number in a key.
const NUMBER: usize = 20;

#[derive(Debug, Serialize, Deserialize)]
struct Unlist {
    list: String,
    key: String,
}

/// The bucket of a key, which begins with a time.
pub(super) fn month_of(key: &str) -> Option<i64> {
    Some(key.get(..NUMBER)?.parse::<i64>().ok()? / MILLIS_OF_30_DAYS)
}

/// The key of a case that waits, or is there, since a time.
pub(super) fn case_key(workflow: Workflow, since: Timestamp, id: &str) -> String {
    key(&[&number(since.as_millisecond().unsigned_abs()), workflow.name(), id])
}

/// The workflow and the id of the case to which a key leads.
pub fn case_of(key: &str) -> Option<(Workflow, String)> {
    let name = key.split('/').nth(1)?;
    let workflow = Workflow::ALL.into_iter().find(|workflow| workflow.name() == name)?;
    Some((workflow, last_part(key)))
}

/// The list of the cases that a user opened.
pub(super) fn of_user(workflow: Workflow, user_id: &str) -> String {
    format!("{}:{user_id}", workflow.name())
}

/// The entry of a case that waits.
pub(super) fn pending(workflow: Workflow, key: &str) -> Result<Entry, StoreError> {
    WORK_PENDING.entry(workflow.name(), key, &())
}

/// The entries of a case that was opened.
pub(super) fn opened(workflow: Workflow, key: &str, user_id: Option<&str>) -> Result<Vec<Entry>, StoreError> {
    let mut entries = vec![pending(workflow, key)?, WORK_LISTS.entry(workflow.name(), key, &())?];
    if let Some(user_id) = user_id {
        entries.push(WORK_LISTS.entry(of_user(workflow, user_id), key, &())?);
    }
    Ok(entries)
}

/// Takes the entry of a case that no longer waits out of the list. Where it waits again, it has another key.
pub(super) fn unlist(workflow: Workflow, key: &str) -> Result<Effect, StoreError> {
    let job = UNLIST.job(&Unlist { list: workflow.name().to_owned(), key: key.to_owned() })?;
    Ok(Effect::job(job.group(key)))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, db: &Db) -> NewPools {
    pools.handle(&UNLIST, Unlists(db.clone()))
}

struct Unlists(Db);

#[async_trait]
impl Handler<Unlist> for Unlists {
    async fn run(&self, _: &Attempted, job: Unlist) -> Result<(), Failure> {
        Ok(self.0.remove_entries(&[WORK_PENDING.entry(job.list, &job.key, &())?]).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_its_case_and_sorts_by_time() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let key = case_key(Workflow::Support, at(1_795_000_000_000), "a/b");
        assert_eq!(case_of(&key), Some((Workflow::Support, "a/b".to_owned())));
        assert!(key < case_key(Workflow::Feature, at(1_795_000_000_001), "a"));
        assert!(month_of(&key).is_some() && month_of("x").is_none());
        assert_eq!(case_of("x/y/z"), None);
    }
}

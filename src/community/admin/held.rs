//! What somebody holds who no longer works on cases: it goes back to the queue, so that others can take it.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, Jobs, NewJob, NewPools};
use mundotango_storage::db::{Db, Wants, outbox_key};
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use serde::{Deserialize, Serialize};

use super::approvals::{self, store::Proposals};
use super::desk::{Case, Desk, Kept, Open, Step};
use super::error::WorkError;
use super::reviews::{self, store::Reviews};
use super::tickets::{self, store::Tickets};
use super::work::Workflow;
use crate::community::accounts::store::AccountStore;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;
use crate::community::roles::Role;

/// Gives back some of what a user holds; the next one goes on behind it.
static GIVE_BACK: JobKind<GiveBack> = JobKind::new("work_give_back", &NOTIFICATION, 1);
/// When it is looked once more: somebody may just have been given something when the role was taken away.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(2);
/// Cases that one job gives back.
const OF_A_JOB: usize = 50;

#[derive(Debug, Serialize, Deserialize)]
struct GiveBack {
    user_id: String,
    workflow: Workflow,
    /// Behind which case it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Whether it is given back though the user is of the staff still: the user is locked out.
    #[serde(default)]
    locked_out: bool,
}

/// Gives all back that a user holds who is locked out.
pub(super) fn jobs_of_locked_out(user_id: &str, now: Timestamp) -> Result<Vec<NewJob>, StoreError> {
    let again = now.saturating_add(AGAIN_AFTER).unwrap_or(now);
    let due = Workflow::ALL.into_iter().flat_map(|workflow| [(workflow, now), (workflow, again)]);
    due.map(|(workflow, due)| {
        let payload = GiveBack { user_id: user_id.to_owned(), workflow, after: None, locked_out: true };
        Ok(GIVE_BACK.job(&payload)?.due(due).group(user_id))
    })
    .collect()
}

/// Gives all back that a user holds who is not of the staff any more from a time on.
pub(in crate::community) fn give_back(user_id: &str, at: Timestamp) -> Result<Vec<Effect>, StoreError> {
    let mut effects = Vec::new();
    for workflow in Workflow::ALL {
        for due in [at, at.saturating_add(AGAIN_AFTER).unwrap_or(at)] {
            let payload = GiveBack { user_id: user_id.to_owned(), workflow, after: None, locked_out: false };
            let job = GIVE_BACK.job(&payload)?;
            effects.push(Effect::job(job.due(due).group(user_id)));
        }
    }
    Ok(effects)
}

/// The cases of all workflows, and who is of the staff.
pub struct Held {
    accounts: AccountStore,
    proposals: Desk<Proposals>,
    reviews: Desk<Reviews>,
    tickets: Desk<Tickets>,
}

impl Held {
    /// Those of a store.
    pub fn new(db: &Db) -> Self {
        Self {
            accounts: AccountStore::new(db.clone()),
            proposals: Desk::new(db.clone()),
            reviews: Desk::new(db.clone()),
            tickets: Desk::new(db.clone()),
        }
    }

    /// Gives back some of what a user holds who is not of the staff; behind which case to go on, where there may be more.
    pub async fn give_back(
        &self,
        user_id: &str,
        workflow: Workflow,
        after: Option<String>,
        now: Timestamp,
    ) -> Result<Option<String>, WorkError> {
        if self.accounts.user(user_id).await?.is_some_and(|user| user.role >= Role::Moderator) {
            return Ok(None);
        }
        self.release_some(user_id, workflow, after, now).await
    }

    /// Gives all back that a user holds who is locked out, of the staff or not.
    pub async fn give_all_back(&self, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        for workflow in Workflow::ALL {
            let mut after = None;
            loop {
                let released = self.release_some(user_id, workflow, after, now).await;
                after = released.map_err(|error| match error {
                    WorkError::Store(error) => error,
                    error => StoreError::Unavailable(error.to_string()),
                })?;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn release_some(
        &self,
        user_id: &str,
        workflow: Workflow,
        after: Option<String>,
        now: Timestamp,
    ) -> Result<Option<String>, WorkError> {
        match workflow {
            Workflow::Feature => release(&self.proposals, user_id, after, now, approvals::changed).await,
            Workflow::Safety => release(&self.reviews, user_id, after, now, reviews::changed).await,
            Workflow::Support => release(&self.tickets, user_id, after, now, tickets::changed).await,
        }
    }
}

async fn release<C: Case>(
    desk: &Desk<C>,
    user_id: &str,
    after: Option<String>,
    now: Timestamp,
    effects: fn(&Kept<C>, &Act) -> Result<Vec<Effect>, StoreError>,
) -> Result<Option<String>, WorkError> {
    let start = after.map_or(PageStart::First, PageStart::After);
    let held = |case: &Kept<C>| case.work.is_held_by(user_id);
    let page = desk.pending(held, PageRequest { start, limit: OF_A_JOB }).await?;
    for case in &page.items {
        let thing = C::WORKFLOW.thing();
        let act = Act::by_system(&format!("{thing}.released"), thing, &*case.id, now);
        let (act, user) = (act.with("assignee", user_id), user_id.to_owned());
        let rule = move |part: &mut Open<'_, C>| {
            let is_held = part.head.work.is_held_by(&user);
            if is_held {
                part.head.work.release();
            }
            Ok(is_held)
        };
        let step = Step { version: None, now, action: "released" };
        desk.change(&case.id, step, Wants::head(), rule, move |case| effects(case, &act)).await?;
    }
    Ok(page.next)
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, db: &Db, jobs: &Jobs) -> NewPools {
    pools.handle(&GIVE_BACK, Own { held: Held::new(db), jobs: jobs.clone() })
}

struct Own {
    held: Held,
    jobs: Jobs,
}

#[async_trait]
impl Handler<GiveBack> for Own {
    async fn run(&self, attempted: &Attempted, job: GiveBack) -> Result<(), Failure> {
        let GiveBack { user_id, workflow, after, locked_out } = job;
        let released = if locked_out {
            self.held.release_some(&user_id, workflow, after, now()).await
        } else {
            self.held.give_back(&user_id, workflow, after, now()).await
        };
        let after = released.map_err(Failure::retry)?;
        let Some(after) = after else { return Ok(()) };
        // The same name at each attempt: whoever does this job again finds the next one.
        let id = format!("{}.{user_id}.{after}.held", outbox_key(attempted.caused_at()));
        let payload = GiveBack { user_id: user_id.clone(), workflow, after: Some(after), locked_out };
        let next = GIVE_BACK.job(&payload)?;
        self.jobs.enqueue_as(id, next.group(user_id)).await.map(drop).map_err(Failure::retry)
    }
}

//! The jobs of departures and exports: settling what is open when somebody leaves, and the sweep.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Revocations;
use mundotango_gateway::revocation_store::Revoked;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewJob, NewPools, Queue};
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::rules::{Departure, Stage};
use super::store::SweepStore;
use super::sweep::{Catalogue, Sweeper, Swept, Visits};
use crate::community::accounts::store::AccountStore;
use crate::community::audit::store::AuditStore;
use crate::community::effects::Effect;
use crate::community::events::leaving::{LeavingHosts, Settled};
use crate::community::housing::leaving::LeavingGuests;

/// What is done for those who leave, and who want an export.
pub static PERSONAL_DATA: Queue = Queue::new("personal_data", 2);

/// Looks how far somebody is who leaves, and does what is next.
static DEPARTURE: JobKind<OfUser> =
    JobKind::new("departure", &PERSONAL_DATA, 1).timeout(Duration::from_mins(10)).attempts(100);
/// Goes over all that is stored.
static SWEEP: JobKind<Nothing> = JobKind::new("personal_data_sweep", &PERSONAL_DATA, 1)
    .timeout(Duration::from_mins(10))
    .attempts(100)
    .backoff(Duration::from_secs(5), Duration::from_mins(5));

/// How long a sweep goes on before it gives its place back.
const TURN: Duration = Duration::from_mins(5);
/// Longer than any token is good.
const LOCKED_OUT_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Pause before it is looked again whether dates of a series have followed.
const FOLLOWED: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize, Deserialize)]
struct OfUser {
    user_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Nothing {}

/// Has somebody looked after who leaves, at a time or now.
pub(super) fn depart(user_id: &str, at: Option<Timestamp>) -> Result<Effect, StoreError> {
    let job = DEPARTURE.job(&OfUser { user_id: user_id.to_owned() })?.group(user_id);
    Ok(Effect::job(match at {
        Some(at) => job.due(at),
        None => job,
    }))
}

/// Has all that is stored gone over.
pub(super) fn sweep() -> Result<Effect, StoreError> {
    Ok(Effect::job(sweep_job()?))
}

/// The job that goes over all that is stored, if somebody waits for that.
pub fn sweep_job() -> Result<NewJob, StoreError> {
    SWEEP.job(&Nothing {})
}

/// An id that is nobody's, and that nothing leads to: it has no time, and cannot be computed from the user's.
fn alias() -> String {
    let random: u128 = rand::random();
    let (a, b, c) = (random & 0xfff, (random >> 12) & 0x3fff, (random >> 26) & 0xffff_ffff_ffff);
    format!("00000000-0000-7{a:03x}-{:04x}-{c:012x}", 0x8000 | b)
}

/// Does what is next for those who leave.
struct Departures {
    accounts: AccountStore,
    store: SweepStore,
    hosts: LeavingHosts,
    guests: LeavingGuests,
    visits: Arc<dyn Visits>,
    audit: AuditStore,
    revocations: Arc<Revocations>,
}

/// The jobs of this file.
pub fn handled(
    pools: NewPools,
    db: &Db,
    revocations: &Arc<Revocations>,
    catalogue: Catalogue,
    visits: &Arc<dyn Visits>,
) -> NewPools {
    let departures = Departures {
        accounts: AccountStore::new(db.clone()),
        store: SweepStore::new(db.clone()),
        hosts: LeavingHosts::new(db),
        guests: LeavingGuests::new(db),
        visits: Arc::clone(visits),
        audit: AuditStore::new(db.clone()),
        revocations: Arc::clone(revocations),
    };
    let sweeper = Sweeper::new(db, Arc::new(catalogue), Arc::clone(visits));
    pools.handle(&DEPARTURE, departures).handle(&SWEEP, Sweeps(sweeper))
}

#[async_trait]
impl Handler<OfUser> for Departures {
    async fn run(&self, _: &Attempted, OfUser { user_id }: OfUser) -> Result<(), Failure> {
        let now = now();
        match self.accounts.account(&user_id).await? {
            Some((_, None)) => return Ok(self.store.forget(&user_id).await?),
            Some((_, Some(leaving))) => {
                let departure = Departure::new(leaving.since, leaving.until, Stage::Leaving);
                self.store.note(&user_id, departure).await?;
                if self.accounts.close(&user_id, now).await?.is_none() {
                    return Ok(());
                }
            }
            None => {
                // It was removed by an attempt before this one.
                if !self.store.is_noted(&user_id).await? {
                    return Ok(());
                }
            }
        }
        self.store.move_on(&user_id, Stage::Settling, alias(), Vec::new()).await?;
        if self.hosts.settle(&user_id, now).await? == Settled::NotYet {
            let why = "dates of a series follow it".to_owned();
            return Err(Failure::Later { why, after: FOLLOWED });
        }
        self.guests.settle(&user_id, now).await?;
        self.visits.forget(&user_id).await?;
        self.accounts.delete_closed(&user_id).await?;
        // Also where nothing was written about the user yet: nothing can be read that is written from now on.
        self.audit.forget(&user_id).await?;
        // Tokens are locked out since the user asked for it; those of admins' deletions once more.
        self.revocations.revoke(Revoked::UserTokens(user_id.clone()), Some(now + LOCKED_OUT_FOR)).await?;
        Ok(self.store.move_on(&user_id, Stage::Sweeping, alias(), vec![sweep()?]).await?)
    }
}

struct Sweeps(Sweeper);

#[async_trait]
impl Handler<Nothing> for Sweeps {
    async fn run(&self, attempted: &Attempted, _: Nothing) -> Result<(), Failure> {
        match Box::pin(self.0.run(&attempted.id, TURN)).await? {
            Swept::All => Ok(()),
            Swept::NotAll => {
                let why = "the round goes on".to_owned();
                Err(Failure::Later { why, after: Duration::from_millis(100) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mundotango_storage::db::day_of_id;

    use super::alias;

    #[test]
    fn an_alias_is_an_id_of_no_time() {
        assert_eq!(day_of_id(&alias()), Some(0));
        assert_ne!(alias(), alias());
    }
}

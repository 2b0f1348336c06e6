//! Carries out decisions, and takes back what is overturned. All of it may be done again, and comes to what the case says now: a
//! decision is one change of its case, and what follows from it elsewhere bears its id.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_gateway::Revocations;
use mundotango_gateway::revocation_store::Revoked;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};

use super::store::ReportStore;
use crate::community::Community;
use crate::community::accounts::restrictions::{BY_HAND, Restriction, is_taken_over};
use crate::community::accounts::store::AccountStore;
use crate::community::admin::desk::{Desk, Kept};
use crate::community::admin::held::Held;
use crate::community::admin::reviews::case::{Outcome, Ruling, ThingKind};
use crate::community::admin::reviews::store::Reviews;
use crate::community::admin::reviews::work::{DECISION, OfCase};
use crate::community::audit::rules::{Act, Thing, Words};
use crate::community::chat::hiding::HiddenMessages;
use crate::community::events::store::EventStore;
use crate::community::housing::listings::store::ListingStore;
use crate::community::posts::comments::hiding::HiddenComments;
use crate::community::posts::store::PostStore;

/// Reporters whose records are brought up to date at once.
const AT_ONCE: usize = 100;
/// How often a case is looked at again that changed meanwhile: it is decided once, and overturned once.
const LOOKS: usize = 3;

type Case = Kept<Reviews>;

/// Who carries out what moderators decide.
#[derive(Clone)]
pub struct Enforcer {
    db: Db,
    posts: PostStore,
    comments: HiddenComments,
    messages: HiddenMessages,
    events: EventStore,
    listings: ListingStore,
    accounts: AccountStore,
    reports: ReportStore,
    held: Arc<Held>,
    revocations: Arc<Revocations>,
}

/// What is done to a thing because of a decision, for the audit trail.
fn act(case: &Case, act: &str, at: Timestamp) -> Act {
    let thing = Thing { kind: case.facts.kind.name().to_owned(), id: case.facts.thing.clone() };
    Act {
        at,
        actor: "system".to_owned(),
        role: "system".to_owned(),
        act: act.to_owned(),
        thing,
        subject: case.facts.subject().map(str::to_owned),
        words: Words { reason: None, details: [("decision".to_owned(), case.id.clone())].into() },
    }
}

impl Enforcer {
    /// On a store, with who is locked out.
    pub fn new(db: &Db, revocations: Arc<Revocations>) -> Self {
        Self {
            posts: PostStore::new(db.clone()),
            comments: HiddenComments::new(db),
            messages: HiddenMessages::new(db),
            events: EventStore::new(db.clone()),
            listings: ListingStore::new(db.clone()),
            accounts: AccountStore::new(db.clone()),
            reports: ReportStore::new(db.clone()),
            held: Arc::new(Held::new(db)),
            db: db.clone(),
            revocations,
        }
    }

    /// Brings the thing and whom a case is about to what is decided of it.
    pub async fn carry_out(&self, case_id: &str, now: Timestamp) -> Result<(), StoreError> {
        self.follow(case_id, now, false).await
    }

    /// The same, with the records of those who reported, who may be many.
    pub async fn carry_out_all(&self, case_id: &str, now: Timestamp) -> Result<(), StoreError> {
        self.follow(case_id, now, true).await
    }

    async fn follow(&self, case_id: &str, now: Timestamp, with_reports: bool) -> Result<(), StoreError> {
        let desk = Desk::<Reviews>::new(self.db.clone());
        let mut done = None;
        for _ in 0..LOOKS {
            let Some(case) = desk.case(case_id).await? else { return Ok(()) };
            // Decisions of earlier builds have no ruling: who made them carried them out.
            let (Some(outcome), Some(ruling)) = (case.own.outcome, case.own.ruling.clone()) else {
                return Ok(());
            };
            let is_in_force = !case.own.is_overturned();
            // It may have been overturned while this was carried out.
            if done == Some(is_in_force) {
                return Ok(());
            }
            match outcome {
                Outcome::None | Outcome::Warn => {}
                Outcome::Remove if is_in_force => Box::pin(self.take_away(&case, now)).await?,
                Outcome::Remove => Box::pin(self.give_back(&case, now)).await?,
                Outcome::Restrict => self.restrict(&case, &ruling, is_in_force, now).await?,
                Outcome::Lock => self.lock(&case, &ruling, is_in_force, now).await?,
            }
            if with_reports && outcome == Outcome::Lock && is_in_force {
                self.give_work_back(&case, now).await?;
            }
            if with_reports {
                self.note_reports(&desk, case_id, outcome != Outcome::None && is_in_force).await?;
            }
            done = Some(is_in_force);
        }
        Ok(())
    }

    /// Takes the thing away that a case is about: it is hidden until nothing can bring it back, and gone then.
    async fn take_away(&self, case: &Case, now: Timestamp) -> Result<(), StoreError> {
        let (thing, is_final) = (case.facts.thing.as_str(), case.own.is_final(now));
        let hidden = act(case, &format!("{}.hidden", case.facts.kind.name()), now);
        let removed = act(case, &format!("{}.removed", case.facts.kind.name()), now);
        match case.facts.kind {
            ThingKind::Post => {
                self.posts.hide(thing, &case.id, hidden).await?;
                if is_final {
                    self.posts.delete_hidden(thing, &case.id, removed).await?;
                }
            }
            ThingKind::Comment => {
                self.comments.hide(thing, &case.id, hidden).await?;
                if is_final {
                    self.comments.remove_hidden(thing, &case.id, removed).await?;
                }
            }
            ThingKind::Message => {
                self.messages.hide(thing, &case.id, hidden).await?;
                if is_final {
                    self.messages.delete_hidden(thing, &case.id, removed, now).await?;
                }
            }
            ThingKind::Event => {
                self.events.suspend(thing, &case.id, hidden, now).await?;
                if is_final {
                    self.events.cancel_suspended(thing, &case.id, removed, now).await?;
                }
            }
            // Stays that are confirmed are at it still, so it stays hidden.
            ThingKind::Listing => {
                self.listings.hide(thing, &case.id, hidden).await?;
            }
            ThingKind::User | ThingKind::Series | ThingKind::Booking => {}
        }
        Ok(())
    }

    /// Gives back what this decision took away, unless another one holds it, or whose it is has deleted it.
    async fn give_back(&self, case: &Case, now: Timestamp) -> Result<(), StoreError> {
        let (thing, decision) = (case.facts.thing.as_str(), case.id.as_str());
        let shown = act(case, &format!("{}.shown", case.facts.kind.name()), now);
        match case.facts.kind {
            ThingKind::Post => {
                self.posts.show(thing, decision, shown).await?;
            }
            ThingKind::Comment => {
                self.comments.show(thing, decision, shown).await?;
            }
            ThingKind::Message => self.messages.show(thing, decision, shown).await?,
            ThingKind::Event => {
                self.events.give_back(thing, decision, shown, now).await?;
            }
            ThingKind::Listing => {
                self.listings.show(thing, decision, shown).await?;
            }
            ThingKind::User | ThingKind::Series | ThingKind::Booking => {}
        }
        Ok(())
    }

    async fn restrict(
        &self,
        case: &Case,
        ruling: &Ruling,
        is_in_force: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(user) = case.facts.subject() else { return Ok(()) };
        let abilities = ruling.abilities.iter().filter(|_| is_in_force);
        let restrictions = abilities.map(|ability| Restriction {
            decision: case.id.clone(),
            ability: Some(*ability),
            until: ruling.until,
            taken_over: false,
        });
        self.accounts.restrict(user, &case.id, restrictions.collect(), now).await.map(drop)
    }

    /// Locks whom a case is about out, or lets the user in again unless something else keeps the user out. Once an admin has
    /// ended the locks of decisions, this one says nothing of it any more.
    async fn lock(
        &self,
        case: &Case,
        ruling: &Ruling,
        is_in_force: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(user) = case.facts.subject() else { return Ok(()) };
        if is_in_force {
            return self.lock_out(user, &case.id, ruling.until, now).await;
        }
        let held = self.accounts.restrictions_now(user).await?;
        let (own, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|one| one.decision == case.id);
        if own.is_empty() || is_taken_over(&own, &case.id) {
            return Ok(());
        }
        self.keep_out_for(user, &others, now).await?;
        // The last step: whoever does this again after a failure finds what is left to do.
        self.accounts.restrict(user, &case.id, Vec::new(), now).await.map(drop)
    }

    /// Locks a user out because an admin says so, beside what decisions say: whichever ends last ends it.
    pub(in crate::community) async fn block(
        &self,
        user: &str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.lock_out(user, BY_HAND, until, now).await
    }

    /// Takes back what an admin has said, and with `decisions` what decisions say as well.
    pub(in crate::community) async fn unblock(
        &self,
        user: &str,
        decisions: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let held = self.accounts.restrictions_now(user).await?.into_iter();
        let stands = |one: &Restriction| !decisions && one.decision != BY_HAND;
        let others: Vec<_> = held.filter(stands).collect();
        self.keep_out_for(user, &others, now).await?;
        if decisions {
            self.accounts.take_locks_over(user).await?;
        }
        self.accounts.restrict(user, BY_HAND, Vec::new(), now).await.map(drop)
    }

    /// Notes why a user is locked out, and closes the doors for as long as the longest reason says.
    async fn lock_out(
        &self,
        user: &str,
        why: &str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let lock = Restriction { decision: why.to_owned(), ability: None, until, taken_over: false };
        let mut held = self.accounts.restrict(user, why, vec![lock], now).await?;
        if is_taken_over(&held, why) {
            return Ok(());
        }
        // Another reason may be noted at the same moment, and what was told last is what holds.
        for _ in 0..LOOKS {
            let Some(until) = longest_lock(&held, now).map(|lock| lock.until) else { return Ok(()) };
            self.revocations.revoke(Revoked::User(user.to_owned()), until).await?;
            held = self.accounts.restrictions_now(user).await?;
            if longest_lock(&held, now).is_some_and(|lock| lock.until == until) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Keeps a user out for as long as the longest of these says, or lets the user in where none does.
    async fn keep_out_for(
        &self,
        user: &str,
        reasons: &[Restriction],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let revoked = Revoked::User(user.to_owned());
        match longest_lock(reasons, now) {
            Some(lock) => self.revocations.revoke(revoked, lock.until).await?,
            None => drop(self.revocations.reinstate(&revoked).await?),
        }
        Ok(())
    }

    /// Gives back the cases that whom a lock is about holds, so that others can take them.
    async fn give_work_back(&self, case: &Case, now: Timestamp) -> Result<(), StoreError> {
        let Some(user) = case.facts.subject() else { return Ok(()) };
        let is_out = longest_lock(&self.accounts.restrictions_now(user).await?, now).is_some();
        if is_out {
            Box::pin(self.held.give_all_back(user, now)).await?;
        }
        Ok(())
    }

    /// Notes with all who reported whether they were right.
    async fn note_reports(
        &self,
        desk: &Desk<Reviews>,
        case_id: &str,
        upheld: bool,
    ) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let reports = desk.reports(case_id, after.as_deref(), AT_ONCE).await?;
            for (user, _) in &reports {
                self.reports.note(user, case_id, upheld).await?;
            }
            let Some((last, _)) = reports.into_iter().next_back() else { return Ok(()) };
            after = Some(last);
        }
    }
}

/// The restriction that locks somebody out for longest, if one of these does that no admin has taken over.
fn longest_lock(held: &[Restriction], now: Timestamp) -> Option<&Restriction> {
    let locks = held.iter().filter(|one| one.ability.is_none() && one.holds(now) && !one.taken_over);
    locks.max_by_key(|one| one.until.unwrap_or(Timestamp::MAX))
}

/// The jobs of this file.
pub fn handled(pools: NewPools, enforcer: Enforcer) -> NewPools {
    pools.handle(&DECISION, enforcer)
}

#[async_trait]
impl Handler<OfCase> for Enforcer {
    async fn run(&self, _: &Attempted, job: OfCase) -> Result<(), Failure> {
        Ok(self.carry_out_all(&job.case_id, now()).await?)
    }
}

impl Community {
    /// Carries out what was just decided of a case. Where that fails, the job of the decision does it.
    pub(in crate::community) async fn carry_out_decision(&self, case_id: &str) {
        if let Err(error) = Box::pin(self.enforcer.carry_out(case_id, now())).await {
            tracing::warn!(%error, case_id, "a decision is carried out later");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lock_counts_and_one_that_is_over_does_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let lock = |until: Option<i64>| Restriction {
            decision: "d".to_owned(),
            ability: None,
            until: until.map(at),
            taken_over: false,
        };
        let longest = |held: &[Restriction], now| longest_lock(held, at(now)).map(|lock| lock.until);
        assert_eq!(longest(&[lock(Some(5)), lock(Some(9))], 1), Some(Some(at(9))));
        assert_eq!(longest(&[lock(Some(5)), lock(None)], 1), Some(None));
        assert_eq!(longest(&[lock(Some(5))], 5), None);
        let taken_over = Restriction { taken_over: true, ..lock(None) };
        assert_eq!(longest(&[lock(Some(5)), taken_over], 1), Some(Some(at(5))));
    }
}

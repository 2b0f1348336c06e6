//! Changing payments: each change is one of the payment's partition, with all that it causes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Part, Wants};

use super::causes::{self, Changed, Told};
use super::reads::{
    ALL, ATTEMPTS, OWED, Order, PAYMENT_LISTS, PAYMENTS, Payment, PaymentReads, Row, STRIPE_EVENTS,
    dispute_key, event_key, list_of, posting_key, refund_key,
};
use super::rules::RefundRefusal;
use super::state::{Facts, Head, Place, Posting, Refund, Stage};
use super::stripe::{About, DisputeStatus, RefundStatus, Seen, SeenDispute, SeenRefund};
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::money::Money;

/// Rows of events that a payment has at most. Those of more change it all the same, as seeing them again changes nothing.
const MOST_EVENTS: u32 = 150;
/// How soon is looked how a payment is that was begun.
const FIRST_LOOK: SignedDuration = SignedDuration::from_mins(10);

/// Why a refund is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RefundError {
    /// The payment does not allow it.
    #[error(transparent)]
    Refused(#[from] RefundRefusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A refund that is asked for.
#[derive(Clone, Debug)]
pub struct AskedRefund {
    /// Its id: asking again under the same one is asking once.
    pub id: String,
    /// How much, in minor units; all that is left without it.
    pub minor: Option<u64>,
    /// The user who asks; nobody where something here caused it.
    pub by: Option<String>,
    /// Why, in words.
    pub reason: Option<String>,
}

/// Money that an admin gave back by other means.
#[derive(Clone, Debug)]
pub struct SettledOtherwise {
    /// Its id: noting it again under the same one is noting it once.
    pub id: String,
    /// How much, in minor units; all that is owed without it.
    pub minor: Option<u64>,
    /// The admin.
    pub by: String,
    /// How it was given, and why so.
    pub reason: String,
    /// What the audit trail says of it.
    pub act: Act,
}

pub(super) type Paying<'a> = Part<'a, Facts, Head, Row>;

pub(super) fn refund_in(part: &mut Paying<'_>, id: &str) -> Option<Refund> {
    match part.row(&refund_key(id)) {
        Some(Row::Refund(refund)) => Some(refund.clone()),
        _ => None,
    }
}

/// A change on its way.
pub(super) struct Changing<'a> {
    pub(super) id: &'a str,
    pub(super) has_changed: bool,
    postings: BTreeMap<String, Posting>,
    told: Vec<Told>,
}

impl<'a> Changing<'a> {
    fn new(id: &'a str) -> Self {
        Self { id, has_changed: false, postings: BTreeMap::new(), told: Vec::new() }
    }

    fn post(&mut self, cause: String, posting: Option<Posting>) {
        self.postings.extend(posting.map(|posting| (cause, posting)));
    }

    fn see(&mut self, part: &mut Paying<'_>, seen: &Seen, now: Timestamp) {
        match seen {
            Seen::Session(session) => {
                let before = part.head.clone();
                let posting = part.head.see_session(part.facts, session, now);
                self.has_changed |= part.head != before;
                self.post("capture".to_owned(), posting);
            }
            Seen::Refund(refund) => self.see_refund(part, refund, now),
            Seen::Dispute(dispute) => self.see_dispute(part, dispute, now),
            Seen::Changed => self.told.push(Told::ToBeAsked),
        }
    }

    fn see_refund(&mut self, part: &mut Paying<'_>, seen: &SeenRefund, now: Timestamp) {
        let own = seen.own.as_deref().unwrap_or(&seen.id);
        let before = refund_in(part, own);
        let known = part.head.see_refund(part.facts, before.as_ref(), seen, now);
        let Some((after, posting)) = known else { return };
        self.has_changed = true;
        let is_accepted =
            |refund: &Refund| matches!(refund.status, RefundStatus::Pending | RefundStatus::Succeeded);
        // Of what goes back because there was no room the payer was told at once.
        let is_automatic = own == self.id;
        if is_accepted(&after) && !before.as_ref().is_some_and(is_accepted) && !is_automatic {
            self.told.push(Told::GoesBack(after.minor));
        }
        if let Some(at) = after.tried_again_at(now).filter(|_| seen.own.is_some()) {
            self.told.push(Told::IsTriedAgain(own.to_owned(), at));
        }
        let verb = if after.status == RefundStatus::Failed { "refund-failed" } else { "refund" };
        self.post(format!("{verb}.{own}"), posting);
        part.set(refund_key(own), Row::Refund(after));
    }

    fn see_dispute(&mut self, part: &mut Paying<'_>, seen: &SeenDispute, now: Timestamp) {
        let before = match part.row(&dispute_key(&seen.id)) {
            Some(Row::Dispute(dispute)) => Some(dispute.clone()),
            _ => None,
        };
        let known = part.head.see_dispute(part.facts, before.as_ref(), seen, now);
        let Some((after, posting)) = known else { return };
        self.has_changed = true;
        // While the bank had it, it could not go back for the place that was not to be had.
        let owed = part.head.owed();
        if after.status == DisputeStatus::Won && (part.head.stage == Stage::RefundDue || owed > 0) {
            let in_all = part.head.refunded.saturating_add(part.head.refunding).saturating_add(owed);
            let in_all = Some(in_all).filter(|_| part.head.stage != Stage::RefundDue);
            self.told.push(Told::IsOwed(seen.id.clone(), in_all));
        }
        let verb = if after.status.is_withdrawn() { "dispute" } else { "reinstated" };
        self.post(format!("{verb}.{}", seen.id), posting);
        part.set(dispute_key(&seen.id), Row::Dispute(after));
    }

    /// Writes what a rule left, with all that it causes; whether anything is to be written.
    fn finish(
        self,
        part: &mut Paying<'_>,
        before: Head,
        now: Timestamp,
    ) -> Result<Decision<Changed>, StoreError> {
        if self.has_changed {
            part.head.version += 1;
        }
        for (cause, posting) in &self.postings {
            part.set(posting_key(cause), Row::Posting(*posting));
            part.emit(&causes::posting(self.id, cause)?)?;
        }
        // It stays there, and is left out of what is read once nothing is owed.
        if before.owed() == 0 && part.head.owed() > 0 {
            part.enter(PAYMENT_LISTS.entry(OWED, self.id, &())?);
        }
        let after = Payment { id: self.id.to_owned(), facts: part.facts.clone(), head: part.head.clone() };
        let changed = Changed { before, after };
        let caused = causes::of(&changed, &self.told, now)?;
        for effect in &caused {
            part.emit(effect)?;
        }
        let is_written = self.has_changed || !caused.is_empty();
        Ok(if is_written { Decision::Write(changed) } else { Decision::Stands(changed) })
    }
}

/// The payments of a store.
#[derive(Clone)]
pub struct PaymentStore {
    db: Db,
    reads: PaymentReads,
}

impl PaymentStore {
    /// The payments of a store.
    pub fn new(db: Db) -> Self {
        Self { reads: PaymentReads::new(db.clone()), db }
    }

    /// What reads them.
    pub fn reads(&self) -> &PaymentReads {
        &self.reads
    }

    /// Begins another payment of an order, where the last one still is that which is over; the id of the last one then, and
    /// which of the order's payments that is. So of those who begin at the same time all go on with one.
    pub async fn begin(
        &self,
        order: &Order,
        over: Option<String>,
        new_id: String,
        now: Timestamp,
    ) -> Result<(String, u32), StoreError> {
        let look_at = now.saturating_add(FIRST_LOOK).unwrap_or(now);
        let order = order.id();
        let begun = self.db.change(&ATTEMPTS, &order, Wants::head(), move |part| {
            if let Some(last) = part.head.last.clone().filter(|last| Some(last) != over.as_ref()) {
                return Ok::<_, StoreError>(Decision::Stands((last, part.head.count)));
            }
            part.head.last = Some(new_id.clone());
            part.head.count += 1;
            // Whatever becomes of who began it, somebody looks.
            part.emit(&causes::look(&new_id, look_at)?)?;
            Ok(Decision::Write((new_id.clone(), part.head.count)))
        });
        begun.await?.ok_or_else(|| StoreError::Damaged("an implicit partition is not there".to_owned()))
    }

    /// Creates the payment of an id that was begun, unless it is there already; the one that is there then.
    pub async fn create(&self, id: &str, facts: &Facts) -> Result<Payment, StoreError> {
        let lists = [ALL.to_owned(), list_of(&facts.payer)].into_iter();
        let entries = lists.map(|list| PAYMENT_LISTS.entry(list, id, &()));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        self.db.create_once(&PAYMENTS, id, facts, &Head::default(), &[], &entries).await?;
        let made = self.reads.payment(id).await?;
        made.ok_or_else(|| StoreError::Unavailable("a payment that was made is not there".to_owned()))
    }

    pub(super) async fn change<E: From<StoreError> + Send + 'static>(
        &self,
        id: &str,
        wants: Wants,
        now: Timestamp,
        mut rule: impl FnMut(&mut Changing<'_>, &mut Paying<'_>) -> Result<(), E> + Send + 'static,
    ) -> Result<Option<Changed>, E> {
        let own = id.to_owned();
        let rule = move |part: &mut Paying<'_>| {
            let (before, mut changing) = (part.head.clone(), Changing::new(&own));
            rule(&mut changing, part)?;
            Ok::<_, E>(changing.finish(part, before, now)?)
        };
        self.db.change(&PAYMENTS, id, wants, rule).await
    }

    /// Takes what Stripe says of a payment, once for an event; `None` if there is no such payment.
    pub async fn see(
        &self,
        id: &str,
        event: Option<&str>,
        seen: Seen,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        let event = event.map(event_key);
        let mut wants = event.iter().fold(Wants::head(), Wants::row);
        wants = match &seen {
            Seen::Refund(refund) => wants.row(refund_key(refund.own.as_deref().unwrap_or(&refund.id))),
            Seen::Dispute(dispute) => wants.row(dispute_key(&dispute.id)),
            Seen::Session(_) | Seen::Changed => wants,
        };
        self.change(id, wants, now, move |changing, part| {
            if event.as_ref().is_some_and(|event| part.row(event).is_some()) {
                return Ok(());
            }
            changing.see(part, &seen, now);
            let is_kept = changing.has_changed && part.head.events < MOST_EVENTS;
            if let Some(event) = event.as_ref().filter(|_| is_kept) {
                part.head.events += 1;
                part.set(event, Row::Event(now));
            }
            Ok(())
        })
        .await
    }

    /// Ends a payment of which Stripe has no session that anybody could pay on.
    pub async fn abandon(
        &self,
        id: &str,
        stage: Stage,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        self.change(id, Wants::head(), now, move |changing, part| {
            changing.has_changed = part.head.abandon(stage);
            Ok(())
        })
        .await
    }

    /// Notes what came of asking for what was paid for. Where it is not to be had, a refund of all that is left is due, under the
    /// payment's own id.
    pub async fn settle(
        &self,
        id: &str,
        place: Place,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        self.change(id, Wants::head(), now, move |changing, part| {
            let (stage, id) = (part.head.stage, changing.id);
            if let Some(refund) = part.head.settle(place, now) {
                part.set(refund_key(id), Row::Refund(refund));
                part.emit(&causes::refund(id, id)?)?;
            }
            changing.has_changed = part.head.stage != stage;
            Ok(())
        })
        .await
    }

    /// Notes that the thing was told that no money comes.
    pub async fn note_released(&self, id: &str, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        self.change(id, Wants::head(), now, |changing, part| {
            changing.has_changed = !std::mem::replace(&mut part.head.released, true);
            Ok(())
        })
        .await
    }

    /// Asks for a refund, once for its id.
    pub async fn ask_refund(
        &self,
        id: &str,
        asked: AskedRefund,
        now: Timestamp,
    ) -> Result<Option<Changed>, RefundError> {
        let wants = Wants::head().row(refund_key(&asked.id));
        self.change(id, wants, now, move |changing, part| {
            if refund_in(part, &asked.id).is_some() {
                return Ok(());
            }
            let AskedRefund { minor, by, reason, .. } = asked.clone();
            let currency = part.facts.total.currency;
            let refund = part.head.ask_refund(currency, minor, by, reason, now)?;
            part.set(refund_key(&asked.id), Row::Refund(refund));
            part.emit(&causes::refund(changing.id, &asked.id)?)?;
            changing.has_changed = true;
            Ok(())
        })
        .await
    }

    /// Notes that Stripe does not make a refund, and why.
    pub async fn refuse_refund(
        &self,
        id: &str,
        refund_id: &str,
        why: String,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        let refund_id = refund_id.to_owned();
        let wants = Wants::head().row(refund_key(&refund_id));
        self.change(id, wants, now, move |changing, part| {
            let Some(before) = refund_in(part, &refund_id) else { return Ok(()) };
            if let Some(after) = part.head.refuse_refund(&before, why.clone()) {
                part.set(refund_key(&refund_id), Row::Refund(after));
                changing.has_changed = true;
            }
            Ok(())
        })
        .await
    }

    /// Notes that an admin gave back by other means what could not go back, once for its id.
    pub async fn settle_otherwise(
        &self,
        id: &str,
        settled: SettledOtherwise,
        now: Timestamp,
    ) -> Result<Option<Changed>, RefundError> {
        let wants = Wants::head().row(refund_key(&settled.id));
        self.change(id, wants, now, move |changing, part| {
            if refund_in(part, &settled.id).is_some() {
                return Ok(());
            }
            let SettledOtherwise { minor, by, reason, act, .. } = settled.clone();
            let (refund, posting) = part.head.settle_otherwise(part.facts, minor, by, reason, now)?;
            let sum = Money::new(refund.minor, part.facts.total.currency).display();
            part.emit(&Effect::audit(act.with("amount", sum)))?;
            part.set(refund_key(&settled.id), Row::Refund(refund));
            changing.post(format!("settled.{}", settled.id), Some(posting));
            changing.has_changed = true;
            Ok(())
        })
        .await
    }

    /// Keeps an event of a payment that is not known, or not by its name, until it is.
    pub async fn park(&self, event: &str, about: &About) -> Result<(), StoreError> {
        let again = causes::parked(event)?.kept()?;
        self.db.create(&STRIPE_EVENTS, event, about, &[], &[again]).await
    }
}

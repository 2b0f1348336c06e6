//! What becomes of a payment: pure functions of what is kept of it and of what Stripe says.
//!
//! What Stripe says comes in any order and more than once, so nothing here depends on that: a stage gives way only to one of
//! a higher rank, so does the status of a refund and of a dispute, and sums are those of the refunds and disputes. Money
//! outranks its absence: a payment that failed or ended is paid all the same if money comes for it.

use jiff::{SignedDuration, Timestamp};

use super::quote::Quote;
use super::state::{Dispute, Facts, Head, Movement, Place, Posting, Refund, Session, Stage};
use super::stripe::{RefundStatus, SeenDispute, SeenRefund, SeenSession, SessionStatus, from_stripe};
use crate::community::money::{Currency, Money};

/// Most refunds of one payment.
pub const MOST_REFUNDS: u32 = 50;
/// How long a payment is asked after that has no end yet. Bank debits take two weeks.
const ASKED_AFTER: SignedDuration = SignedDuration::from_hours(40 * 24);
/// How long after its end a session that still looks open is asked after.
const SESSION_ENDS: SignedDuration = SignedDuration::from_mins(1);
/// How often is looked at what is under way here.
const SOON: SignedDuration = SignedDuration::from_mins(10);
/// How often a refund is tried for which there is no money: for three days.
const MOST_TRIES: u32 = 8;
/// How long is waited before the second try; each further pause is twice as long.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);
/// Why a refund that was put off is not made any more: Stripe's dashboard sent money back meanwhile.
const SENT_BY_HAND: &str = "sent_by_hand";
/// How often is looked at what banks are at.
const SELDOM: SignedDuration = SignedDuration::from_hours(6);

/// Why a refund is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundRefusal {
    /// No money came.
    #[error("no money came that could go back")]
    NotPaid,
    /// Less is left than was asked for.
    #[error("only {} can go back: the rest went back, is on its way, or is disputed", .0.display())]
    TooMuch(Money),
    /// There are as many as there may be.
    #[error("a payment has {MOST_REFUNDS} refunds at most")]
    TooMany,
    /// So much is not owed that could be settled.
    #[error("{} could not be sent back: no more can be settled by other means", .0.display())]
    NotOwed(Money),
}

/// What another checkout of the same thing by the same payer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A payment that is over: another one begins.
    Over,
    /// A payment that goes on.
    Open,
    /// A payment of other terms, or whose page has ended: it is withdrawn first.
    Stale,
    /// A payment that is under way; why no other one begins.
    Busy(&'static str),
}

impl Head {
    fn advance(&mut self, stage: Stage) -> bool {
        let is_further = stage.rank() > self.stage.rank();
        if is_further {
            self.stage = stage;
        }
        is_further
    }

    /// What Stripe says of the session; the money that came, if it came just now.
    pub fn see_session(&mut self, facts: &Facts, seen: &SeenSession, now: Timestamp) -> Option<Posting> {
        let is_other = self.session.as_ref().is_some_and(|own| own.id != seen.id);
        if is_other && !seen.is_paid {
            return None;
        }
        let own = self.session.get_or_insert_with(|| Session { id: seen.id.clone(), url: None });
        own.url = own.url.take().or_else(|| seen.url.clone());
        self.intent = self.intent.take().or_else(|| seen.intent.clone());
        let stage = match seen.status {
            // What counts is the money and not that the payer is done.
            _ if seen.is_paid => Stage::Paid,
            SessionStatus::Open => Stage::Session,
            SessionStatus::Complete if seen.has_failed => Stage::Failed,
            SessionStatus::Complete => Stage::Processing,
            SessionStatus::Expired => Stage::Expired,
        };
        if !self.advance(stage) || stage != Stage::Paid {
            return None;
        }
        let total = facts.total;
        let is_same_currency = seen.currency.as_deref().and_then(Currency::parse) == Some(total.currency);
        let came = seen.total.filter(|_| is_same_currency).and_then(|came| from_stripe(came, total.currency));
        self.is_odd = came != Some(total.minor);
        self.captured = came.unwrap_or(total.minor);
        Some(Posting { movement: Movement::Captured, minor: self.captured, fee: facts.fee, at: now })
    }

    /// Ends a payment of which Stripe has no session that anybody could pay on; whether that changed anything.
    pub fn abandon(&mut self, stage: Stage) -> bool {
        self.stage == Stage::Created && self.advance(stage)
    }

    /// Notes what came of asking for what was paid for; the refund that is due for that, if one is. Only the first answer
    /// counts.
    pub fn settle(&mut self, place: Place, now: Timestamp) -> Option<Refund> {
        if self.stage != Stage::Paid {
            return None;
        }
        match place {
            Place::Taken => {
                self.advance(Stage::Fulfilled);
                None
            }
            Place::NoRoom => {
                self.advance(Stage::RefundDue);
                self.add_refund(self.refundable(), None, None, now)
            }
        }
    }

    /// Asks for a refund, of so much or of all that is left.
    pub fn ask_refund(
        &mut self,
        currency: Currency,
        wanted: Option<u64>,
        by: Option<String>,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Refund, RefundRefusal> {
        let left = self.refundable();
        let wanted = wanted.unwrap_or(left);
        if self.captured == 0 {
            return Err(RefundRefusal::NotPaid);
        }
        if self.refunds >= MOST_REFUNDS {
            return Err(RefundRefusal::TooMany);
        }
        if wanted > left {
            return Err(RefundRefusal::TooMuch(Money::new(left, currency)));
        }
        let refund = self.add_refund(wanted, by, reason, now);
        refund.ok_or_else(|| RefundRefusal::TooMuch(Money::new(0, currency)))
    }

    fn add_refund(
        &mut self,
        minor: u64,
        by: Option<String>,
        reason: Option<String>,
        now: Timestamp,
    ) -> Option<Refund> {
        if minor == 0 {
            return None;
        }
        let refund = Refund { by, reason, ..Refund::due(minor, now) };
        self.count_refund(None, &refund);
        // What is asked for again is not owed twice.
        self.failed = self.failed.saturating_sub(minor);
        Some(refund)
    }

    fn count_refund(&mut self, before: Option<&Refund>, after: &Refund) {
        let (was_going, was_gone) = before.map_or((0, 0), Refund::shares);
        let (goes, is_gone) = after.shares();
        self.refunding = self.refunding.saturating_sub(was_going).saturating_add(goes);
        self.refunded = self.refunded.saturating_sub(was_gone).saturating_add(is_gone);
        self.refunds += u32::from(before.is_none());
    }

    /// What Stripe's dashboard sends while something is owed stands for that, or it would go out once more; where it fails, that is
    /// owed again.
    fn cover(&mut self, before: Option<&Refund>, after: &mut Refund) {
        let (did_count, counts) = (before.is_some_and(Refund::counts), after.counts());
        if counts && !did_count {
            after.covers = after.minor.min(self.failed);
            self.failed = self.failed.saturating_sub(after.covers);
        }
        if did_count && !counts {
            self.failed = self.failed.saturating_add(std::mem::take(&mut after.covers));
        }
    }

    /// What Stripe says of a refund: as it is then, and the money that moved. `None` where that is known already, and for an
    /// amount that the currency does not have.
    pub fn see_refund(
        &mut self,
        facts: &Facts,
        before: Option<&Refund>,
        seen: &SeenRefund,
        now: Timestamp,
    ) -> Option<(Refund, Option<Posting>)> {
        let minor = from_stripe(seen.amount, facts.total.currency)?;
        let mut after = before.cloned().unwrap_or_else(|| Refund::due(minor, now));
        after.stripe = after.stripe.or_else(|| Some(seen.id.clone()));
        if seen.status.rank() > after.status.rank() {
            // One that was refused and is there all the same is no longer owed.
            if after.status == RefundStatus::Refused {
                self.failed = self.failed.saturating_sub(after.minor);
            }
            // Of the dashboard's own refunds those know who made them.
            if seen.status == RefundStatus::Failed && seen.own.is_some() {
                self.failed = self.failed.saturating_add(after.minor);
                self.failed_why.clone_from(&seen.why);
            }
            after.status = seen.status;
            after.refused.clone_from(&seen.why);
            // Of what is left, Stripe knows best how much that is.
            after.minor = if after.status == RefundStatus::Failed { after.minor } else { minor };
        }
        if before == Some(&after) {
            return None;
        }
        if seen.own.is_none() {
            self.cover(before, &mut after);
        }
        let was_gone = self.refunded;
        self.count_refund(before, &after);
        let (low, high) = (was_gone.min(self.refunded), was_gone.max(self.refunded));
        let movement = if self.refunded > was_gone { Movement::Refunded } else { Movement::RefundFailed };
        let fee = facts.fee_of(high).saturating_sub(facts.fee_of(low));
        let posting = Posting { movement, minor: high - low, fee, at: now };
        Some((after, Some(posting).filter(|posting| posting.minor > 0)))
    }

    /// A refund that Stripe does not make, and why; `None` where Stripe has made it meanwhile. It is owed.
    pub fn refuse_refund(&mut self, before: &Refund, why: String) -> Option<Refund> {
        if before.status != RefundStatus::Due {
            return None;
        }
        self.failed_why = Some(why.clone());
        let after = Refund { status: RefundStatus::Refused, refused: Some(why), ..before.clone() };
        self.count_refund(Some(before), &after);
        self.failed = self.failed.saturating_add(after.minor);
        Some(after)
    }

    /// A refund that could not be sent yet gives way to what Stripe's dashboard sent since it was asked for: it does not go out by
    /// itself any more, and what is missing of it is owed. As it is then, with the refunds of the dashboard, which stand for the
    /// rest; `None` where there are none.
    pub fn give_way(
        &mut self,
        before: &Refund,
        refunds: Vec<(String, Refund)>,
    ) -> Option<(Refund, Vec<(String, Refund)>)> {
        let is_sent = |(id, one): &(String, Refund)| one.is_by_hand_since(id, before.at);
        let mut sent: Vec<_> = refunds.into_iter().filter(is_sent).collect();
        if sent.is_empty() {
            return None;
        }
        let after = self.refuse_refund(before, SENT_BY_HAND.to_owned())?;
        for (_, one) in &mut sent {
            let covers = one.uncovering().min(self.failed);
            one.covers = one.covers.saturating_add(covers);
            self.failed = self.failed.saturating_sub(covers);
        }
        Some((after, sent))
    }

    /// An admin gives back by other means what could not go back, or a part of it.
    pub fn settle_otherwise(
        &mut self,
        facts: &Facts,
        wanted: Option<u64>,
        by: String,
        reason: String,
        now: Timestamp,
    ) -> Result<(Refund, Posting), RefundRefusal> {
        let owed = self.owed();
        let minor = wanted.unwrap_or(owed);
        if owed == 0 || minor > owed {
            return Err(RefundRefusal::NotOwed(Money::new(owed, facts.total.currency)));
        }
        if self.refunds >= MOST_REFUNDS {
            return Err(RefundRefusal::TooMany);
        }
        let new = Refund::due(minor, now);
        let refund = Refund { status: RefundStatus::Settled, by: Some(by), reason: Some(reason), ..new };
        let was_gone = self.refunded;
        self.count_refund(None, &refund);
        self.failed = self.failed.saturating_sub(minor);
        let fee = facts.fee_of(self.refunded).saturating_sub(facts.fee_of(was_gone));
        Ok((refund, Posting { movement: Movement::Settled, minor, fee, at: now }))
    }

    /// What Stripe says of a dispute: as it is then, and the money that moved. `None` where that is known already, and for an
    /// amount that the currency does not have.
    pub fn see_dispute(
        &mut self,
        facts: &Facts,
        before: Option<&Dispute>,
        seen: &SeenDispute,
        now: Timestamp,
    ) -> Option<(Dispute, Option<Posting>)> {
        let minor = from_stripe(seen.amount, facts.total.currency)?;
        let is_further = |before: &Dispute| seen.status.rank() > before.status.rank();
        if !before.is_none_or(is_further) {
            return None;
        }
        let after = Dispute { minor: before.map_or(minor, |before| before.minor), status: seen.status };
        let (was, is) = (before.map_or(0, Dispute::withdrawn), after.withdrawn());
        self.disputed = self.disputed.saturating_sub(was).saturating_add(is);
        let movement = if is > was { Movement::Disputed } else { Movement::Reinstated };
        let posting = Posting { movement, minor: is.abs_diff(was), fee: 0, at: now };
        Some((after, Some(posting).filter(|posting| posting.minor > 0)))
    }

    /// What another checkout finds, of what the thing costs now.
    pub fn standing(&self, facts: &Facts, quote: &Quote, now: Timestamp) -> Standing {
        match self.stage {
            Stage::Created | Stage::Session => {
                let is_good = now < facts.expires_at && facts.are_those_of(quote);
                if is_good { Standing::Open } else { Standing::Stale }
            }
            Stage::Processing => Standing::Busy("a payment for this is under way"),
            Stage::Paid => Standing::Busy("this is paid"),
            // What is owed waits for an admin, and keeps nobody from paying once more.
            Stage::RefundDue if self.refunding > 0 || self.refundable() > self.owed() => {
                Standing::Busy("the money of the payment before is on its way back")
            }
            // Whoever gave up what was paid for may buy it again: whether that is so the thing itself has said by now.
            Stage::RefundDue | Stage::Fulfilled | Stage::Failed | Stage::Expired => Standing::Over,
        }
    }

    /// When is to be looked again how a payment is; `None` where nothing is open, and where it was asked after long enough.
    pub fn looked_again_in(&self, facts: &Facts, now: Timestamp) -> Option<SignedDuration> {
        // Refunds may be made long after, and end by themselves.
        if self.refunding == 0 && now.duration_since(facts.made_at) > ASKED_AFTER {
            return None;
        }
        match self.stage {
            Stage::Created | Stage::Session => {
                let ends = facts.expires_at.duration_since(now) + SESSION_ENDS;
                Some(ends.clamp(SESSION_ENDS, SELDOM))
            }
            Stage::Processing => Some(SELDOM),
            Stage::Paid => Some(SOON),
            Stage::Failed | Stage::Expired if !self.released => Some(SOON),
            Stage::Failed | Stage::Expired | Stage::Fulfilled | Stage::RefundDue => {
                (self.refunding > 0).then_some(SELDOM)
            }
        }
    }
}

impl Refund {
    /// Puts a refund off for which there is no money at Stripe; `None` where that was tried often enough.
    pub fn put_off(&self, why: String, now: Timestamp) -> Option<Self> {
        let tries = self.tries + 1;
        let not_before = now.saturating_add(pause_before(tries)).unwrap_or(now);
        let after = Self { refused: Some(why), tries, not_before: Some(not_before), ..self.clone() };
        (tries < MOST_TRIES).then_some(after)
    }

    /// When a refund is tried again that failed for want of money; `None` of any other, and where that was tried often enough.
    pub fn tried_again_at(&self, now: Timestamp) -> Option<Timestamp> {
        let may_work = self.status == RefundStatus::Failed
            && self.refused.as_deref().is_some_and(is_want_of_money)
            && self.tries + 1 < MOST_TRIES;
        may_work.then(|| now.saturating_add(pause_before(self.tries + 1)).unwrap_or(now))
    }
}

/// What Stripe's dashboard sent since a refund was asked for and does not stand for what was owed: it may have been told before the
/// failure that it makes good, so that much of the refund is not asked for again by itself.
pub fn sent_by_hand_since(refunds: &[(String, Refund)], asked_at: Timestamp) -> u64 {
    let sent = refunds.iter().filter(|(id, refund)| refund.is_by_hand_since(id, asked_at));
    sent.map(|(_, refund)| refund.uncovering()).sum()
}

/// How long is waited before a refund is tried for the next time.
fn pause_before(tries: u32) -> SignedDuration {
    let pause = FIRST_PAUSE * 2_i32.pow(tries.saturating_sub(1).min(MOST_TRIES));
    pause.min(LONGEST_PAUSE)
}

/// Whether Stripe says that there is no money for a refund now: there may be some later.
pub fn is_want_of_money(code: &str) -> bool {
    matches!(code, "balance_insufficient" | "insufficient_funds")
}

#[cfg(test)]
pub(super) mod tests;

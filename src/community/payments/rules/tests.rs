//! What becomes of payments, whatever happens to them.

mod by_hand;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::quote::{Line, Purpose, SHORTEST_HOLD, tests::quote};
use super::super::state::Status;
use super::super::stripe::{DisputeStatus, Seen};
use super::*;

const TOTAL: u64 = 2500;
const FEE: u64 = 62;

fn now() -> Timestamp {
    "2026-12-04T21:00:00Z".parse().unwrap()
}

/// A payment for two places at 12.50, with 2.5 % for the platform.
pub(in crate::community::payments) fn facts() -> Facts {
    let currency = Currency::parse("EUR").unwrap();
    Facts {
        purpose: Purpose::Ticket,
        thing: "event".to_owned(),
        attempt: 1,
        payer: "ana".to_owned(),
        payee: "host".to_owned(),
        title: "Milonga".to_owned(),
        lines: vec![Line { name: "Entrance".to_owned(), unit: 1250, quantity: 2 }],
        total: Money::new(TOTAL, currency),
        fee: FEE,
        account: None,
        made_at: now(),
        expires_at: now() + SignedDuration::from_mins(33),
    }
}

fn session(status: SessionStatus, is_paid: bool, has_failed: bool) -> SeenSession {
    SeenSession {
        id: "cs_1".to_owned(),
        url: (status == SessionStatus::Open).then(|| "https://checkout.example/1".to_owned()),
        intent: (status == SessionStatus::Complete).then(|| "pi_1".to_owned()),
        status,
        is_paid,
        has_failed,
        total: Some(TOTAL),
        currency: Some("eur".to_owned()),
    }
}

fn open() -> SeenSession {
    session(SessionStatus::Open, false, false)
}

fn paid() -> SeenSession {
    session(SessionStatus::Complete, true, false)
}

fn refund(id: &str, amount: u64, status: RefundStatus) -> SeenRefund {
    let why = (status == RefundStatus::Failed).then(|| "declined".to_owned());
    SeenRefund { id: id.to_owned(), own: None, amount, status, why }
}

/// A payment with its rows, as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    head: Head,
    refunds: BTreeMap<String, Refund>,
    disputes: BTreeMap<String, Dispute>,
    postings: Vec<Posting>,
}

impl Kept {
    fn see(&mut self, seen: &Seen) {
        let facts = facts();
        match seen {
            Seen::Session(session) => self.postings.extend(self.head.see_session(&facts, session, now())),
            Seen::Refund(refund) => {
                let own = refund.own.clone().unwrap_or_else(|| refund.id.clone());
                let before = self.refunds.get(&own).cloned();
                if let Some((after, posting)) = self.head.see_refund(&facts, before.as_ref(), refund, now()) {
                    self.refunds.insert(own, after);
                    self.postings.extend(posting);
                }
            }
            Seen::Dispute(dispute) => {
                let before = self.disputes.get(&dispute.id).cloned();
                if let Some((after, posting)) = self.head.see_dispute(&facts, before.as_ref(), dispute, now())
                {
                    self.disputes.insert(dispute.id.clone(), after);
                    self.postings.extend(posting);
                }
            }
            Seen::Changed => {}
        }
    }

    fn of(all: &[Seen]) -> Self {
        let mut kept = Self::default();
        for seen in all {
            kept.see(seen);
        }
        kept
    }

    /// What the postings come to: money, and the platform's part of it.
    fn balance(&self) -> (i128, i128) {
        self.postings.iter().fold((0, 0), |(money, fees), posting| {
            let sign = match posting.movement {
                Movement::Captured | Movement::RefundFailed | Movement::Reinstated => 1,
                Movement::Refunded | Movement::Disputed | Movement::Settled => -1,
            };
            (money + sign * i128::from(posting.minor), fees + sign * i128::from(posting.fee))
        })
    }

    /// What has to hold whatever happened.
    fn check(&self) {
        let sum = |of: fn(&Refund) -> u64| self.refunds.values().map(of).sum::<u64>();
        assert_eq!(self.head.refunding, sum(|refund| refund.shares().0), "{self:#?}");
        assert_eq!(self.head.refunded, sum(|refund| refund.shares().1), "{self:#?}");
        assert_eq!(
            self.head.disputed,
            self.disputes.values().map(Dispute::withdrawn).sum::<u64>(),
            "{self:#?}"
        );
        let gone = i128::from(self.head.refunded) + i128::from(self.head.disputed);
        let (money, fees) = self.balance();
        assert_eq!(money, i128::from(self.head.captured) - gone, "{self:#?}");
        let fee = if self.head.captured > 0 { FEE } else { 0 };
        assert_eq!(fees, i128::from(fee) - i128::from(facts().fee_of(self.head.refunded)), "{self:#?}");
        let captured = self.postings.iter().filter(|posting| posting.movement == Movement::Captured).count();
        assert_eq!(captured, usize::from(self.head.captured > 0), "money comes once");
    }
}

#[test]
fn t74_complete_is_not_paid() {
    let mut kept = Kept::of(&[Seen::Session(open())]);
    assert_eq!(kept.head.status(), Status::Session);
    kept.see(&Seen::Session(session(SessionStatus::Complete, false, false)));
    assert_eq!((kept.head.status(), kept.head.captured), (Status::Processing, 0));
    let mut failed = kept.clone();
    failed.see(&Seen::Session(session(SessionStatus::Complete, false, true)));
    assert_eq!(failed.head.status(), Status::Failed);
    kept.see(&Seen::Session(paid()));
    assert_eq!((kept.head.status(), kept.head.captured), (Status::Paid, TOTAL));
    kept.check();
}

#[test]
fn t10_money_that_comes_after_the_end_is_money() {
    for end in [session(SessionStatus::Expired, false, false), session(SessionStatus::Complete, false, true)]
    {
        let mut kept = Kept::of(&[Seen::Session(end.clone()), Seen::Session(paid())]);
        assert_eq!(kept.head.status(), Status::Paid);
        kept.see(&Seen::Session(end));
        assert_eq!(kept.head.status(), Status::Paid, "nothing takes it back");
    }
}

#[test]
fn t10_where_there_is_no_room_all_goes_back_and_only_the_first_answer_counts() {
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    let due = kept.head.settle(Place::NoRoom, now()).unwrap();
    assert_eq!((due.minor, due.status, kept.head.status()), (TOTAL, RefundStatus::Due, Status::RefundDue));
    assert_eq!(kept.head.settle(Place::Taken, now()), None);
    assert_eq!((kept.head.stage, kept.head.refundable()), (Stage::RefundDue, 0));
    kept.refunds.insert("own".to_owned(), due);
    let back = SeenRefund { own: Some("own".to_owned()), ..refund("re_1", TOTAL, RefundStatus::Succeeded) };
    kept.see(&Seen::Refund(back));
    assert_eq!(kept.head.status(), Status::Refunded);
    kept.check();

    let mut taken = Kept::of(&[Seen::Session(paid())]);
    assert_eq!(taken.head.settle(Place::Taken, now()), None);
    assert_eq!(taken.head.settle(Place::NoRoom, now()), None);
    assert_eq!((taken.head.status(), taken.head.refunding), (Status::Fulfilled, 0));
}

#[test]
fn t76_refunds_add_up_pending_ones_count_and_none_takes_the_place_away() {
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    kept.head.settle(Place::Taken, now());
    let euro = facts().total.currency;
    let ask = |kept: &mut Kept, id: &str, wanted: Option<u64>| {
        let asked = kept.head.ask_refund(euro, wanted, None, None, now());
        asked.map(|refund| kept.refunds.insert(id.to_owned(), refund)).map(drop)
    };
    assert_eq!(ask(&mut kept, "a", Some(1000)), Ok(()));
    assert_eq!(ask(&mut kept, "b", Some(1501)), Err(RefundRefusal::TooMuch(Money::new(1500, euro))));
    // One made at Stripe's dashboard meanwhile counts as well.
    kept.see(&Seen::Refund(refund("re_dashboard", 500, RefundStatus::Pending)));
    assert_eq!(kept.head.refundable(), 1000);
    assert_eq!(ask(&mut kept, "b", None), Ok(()));
    assert_eq!(kept.refunds["b"].minor, 1000);
    assert_eq!(ask(&mut kept, "c", None), Err(RefundRefusal::TooMuch(Money::new(0, euro))));
    kept.check();
    for (id, own, minor) in
        [("re_1", Some("a"), 1000), ("re_2", Some("b"), 1000), ("re_dashboard", None, 500)]
    {
        assert_eq!(kept.head.status(), Status::Fulfilled, "a part is not all");
        let seen = SeenRefund { own: own.map(str::to_owned), ..refund(id, minor, RefundStatus::Succeeded) };
        kept.see(&Seen::Refund(seen));
    }
    assert_eq!((kept.head.status(), kept.head.stage), (Status::Refunded, Stage::Fulfilled));
    kept.check();
    // A bank that does not take it brings it back.
    kept.see(&Seen::Refund(refund("re_dashboard", 500, RefundStatus::Failed)));
    assert_eq!((kept.head.status(), kept.head.refundable()), (Status::Fulfilled, 500));
    kept.check();
}

#[test]
fn a_refund_that_stripe_does_not_make_is_free_again() {
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    let due = kept.head.ask_refund(facts().total.currency, Some(100), None, None, now()).unwrap();
    let refused = kept.head.refuse_refund(&due, "no".to_owned()).unwrap();
    assert_eq!((kept.head.refundable(), refused.status), (TOTAL, RefundStatus::Refused));
    assert_eq!(kept.head.refuse_refund(&refused, "no".to_owned()), None);
    // If Stripe made it all the same, that counts.
    kept.refunds.insert("own".to_owned(), refused);
    let made = SeenRefund { own: Some("own".to_owned()), ..refund("re_1", 100, RefundStatus::Succeeded) };
    kept.see(&Seen::Refund(made));
    assert_eq!(kept.head.refundable(), TOTAL - 100);
    kept.check();
}

#[test]
fn what_did_not_arrive_is_owed_until_it_is_asked_for_again_or_settled() {
    let euro = facts().total.currency;
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    kept.head.settle(Place::Taken, now());
    let due = kept.head.ask_refund(euro, Some(1000), None, None, now()).unwrap();
    kept.refunds.insert("a".to_owned(), due);
    let told =
        |status| Seen::Refund(SeenRefund { own: Some("a".to_owned()), ..refund("re_1", 1000, status) });
    kept.see(&told(RefundStatus::Succeeded));
    assert_eq!(kept.head.owed(), 0);
    for _ in 0..2 {
        kept.see(&told(RefundStatus::Failed));
        kept.see(&told(RefundStatus::Succeeded));
        assert_eq!((kept.head.owed(), kept.head.failed_why.as_deref()), (1000, Some("declined")));
    }
    // Of what the dashboard sends back those know who did it there; all of it leaves nothing that is owed.
    let mut by_hand = kept.clone();
    by_hand.see(&Seen::Refund(refund("re_2", TOTAL, RefundStatus::Succeeded)));
    assert_eq!(by_hand.head.owed(), 0);
    by_hand.see(&Seen::Refund(refund("re_2", TOTAL, RefundStatus::Failed)));
    assert_eq!(by_hand.head.owed(), 1000);

    let again = kept.head.ask_refund(euro, Some(400), None, None, now()).unwrap();
    kept.refunds.insert("b".to_owned(), again);
    assert_eq!(kept.head.owed(), 600);
    let settle = |head: &mut Head, wanted| {
        head.settle_otherwise(&facts(), wanted, "root".to_owned(), "cash".to_owned(), now())
    };
    assert_eq!(settle(&mut kept.head, Some(601)).unwrap_err(), RefundRefusal::NotOwed(Money::new(600, euro)));
    let (settled, posting) = settle(&mut kept.head, None).unwrap();
    kept.refunds.insert("c".to_owned(), settled);
    kept.postings.push(posting);
    assert_eq!((kept.head.owed(), kept.head.refunded, kept.head.refunding), (0, 600, 400));
    assert!(settle(&mut kept.head, None).is_err());
    kept.check();
}

#[test]
fn a_refund_without_money_is_put_off_for_three_days() {
    let mut one = Refund::due(100, now());
    let (mut at, mut tries) = (now(), 0);
    while let Some(after) = one.put_off("balance_insufficient".to_owned(), at) {
        let next = after.not_before.unwrap();
        assert!(next > at && next.duration_since(at) <= LONGEST_PAUSE);
        (one, at, tries) = (after, next, tries + 1);
    }
    assert_eq!((tries, at.duration_since(now()).as_hours()), (7, 79));
    let failed = |why: &str| {
        let (status, refused) = (RefundStatus::Failed, Some(why.to_owned()));
        Refund { status, refused, ..Refund::due(100, now()) }.tried_again_at(now())
    };
    assert_eq!(failed("insufficient_funds"), Some(now() + FIRST_PAUSE));
    assert_eq!(failed("declined"), None);
}

#[test]
fn nothing_goes_back_that_never_came() {
    let euro = facts().total.currency;
    let mut head = Kept::of(&[Seen::Session(open())]).head;
    assert_eq!(head.ask_refund(euro, None, None, None, now()), Err(RefundRefusal::NotPaid));
    let mut head = Kept::of(&[Seen::Session(paid())]).head;
    for _ in 0..MOST_REFUNDS {
        head.ask_refund(euro, Some(1), None, None, now()).unwrap();
    }
    assert_eq!(head.ask_refund(euro, Some(1), None, None, now()), Err(RefundRefusal::TooMany));
}

#[test]
fn what_is_not_what_was_asked_for_buys_nothing() {
    for odd in [
        SeenSession { total: Some(TOTAL - 1), ..paid() },
        SeenSession { total: None, ..paid() },
        SeenSession { currency: Some("jpy".to_owned()), ..paid() },
    ] {
        let kept = Kept::of(&[Seen::Session(odd)]);
        assert!(kept.head.is_void() && kept.head.stage == Stage::Paid, "{kept:?}");
    }
    assert!(!Kept::of(&[Seen::Session(paid())]).head.is_void());
}

#[test]
fn a_dispute_takes_the_money_until_it_is_won() {
    let dispute = |status| Seen::Dispute(SeenDispute { id: "dp_1".to_owned(), amount: TOTAL, status });
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    kept.head.settle(Place::Taken, now());
    kept.see(&dispute(DisputeStatus::Inquiry));
    assert_eq!(kept.head.status(), Status::Fulfilled);
    kept.see(&dispute(DisputeStatus::Open));
    assert_eq!((kept.head.status(), kept.head.refundable()), (Status::Disputed, 0));
    let mut lost = kept.clone();
    lost.see(&dispute(DisputeStatus::Lost));
    assert_eq!((lost.head.status(), lost.balance().0), (Status::Disputed, 0));
    kept.see(&dispute(DisputeStatus::Won));
    kept.see(&dispute(DisputeStatus::Open));
    assert_eq!((kept.head.status(), kept.balance().0), (Status::Fulfilled, i128::from(TOTAL)));
    kept.check();
    lost.check();
}

#[test]
fn another_checkout_goes_on_with_the_payment_while_its_terms_hold() {
    let facts = facts();
    let same = Quote { held_until: facts.expires_at + SHORTEST_HOLD, ..quote(now()) };
    let standing = |head: &Head, quote: &Quote, at| head.standing(&facts, quote, at);
    let open = Kept::of(&[Seen::Session(open())]).head;
    for head in [&Head::default(), &open] {
        assert_eq!(standing(head, &same, now()), Standing::Open);
        assert_eq!(standing(head, &same, facts.expires_at), Standing::Stale);
        let mut dearer = same.clone();
        dearer.lines[0].unit += 1;
        assert_eq!(standing(head, &dearer, now()), Standing::Stale);
        let shorter = Quote { held_until: facts.expires_at, ..same.clone() };
        assert_eq!(standing(head, &shorter, now()), Standing::Stale);
    }
    let mut paid = Kept::of(&[Seen::Session(paid())]).head;
    assert!(matches!(standing(&paid, &same, now()), Standing::Busy(_)));
    paid.settle(Place::NoRoom, now());
    assert!(matches!(standing(&paid, &same, now()), Standing::Busy(_)), "its money is on its way back");
    // It did not arrive: an admin looks at it, and nothing is on its way.
    let due = Refund::due(TOTAL, now());
    let own = SeenRefund { own: Some("own".to_owned()), ..refund("re_1", TOTAL, RefundStatus::Failed) };
    paid.see_refund(&facts, Some(&due), &own, now()).unwrap();
    assert_eq!((paid.owed(), standing(&paid, &same, now())), (TOTAL, Standing::Over));
    let partly = Head { failed: TOTAL - 1, ..paid.clone() };
    assert!(matches!(standing(&partly, &same, now()), Standing::Busy(_)), "the rest is still to be sent");
    paid.ask_refund(facts.total.currency, Some(1), None, None, now()).unwrap();
    assert!(matches!(standing(&paid, &same, now()), Standing::Busy(_)), "it is sent again");
    let expired = Kept::of(&[Seen::Session(session(SessionStatus::Expired, false, false))]).head;
    assert_eq!(standing(&expired, &same, now()), Standing::Over);
}

#[test]
fn what_is_open_is_looked_at_again_and_what_has_an_end_is_not() {
    let facts = facts();
    let again = |head: &Head| head.looked_again_in(&facts, now()).map(|after| after.as_mins());
    let session_ends = Some(34);
    assert_eq!(again(&Head::default()), session_ends);
    let mut head = Kept::of(&[Seen::Session(open())]).head;
    assert_eq!(again(&head), session_ends);
    assert_eq!(head.looked_again_in(&facts, facts.expires_at + SELDOM).map(|after| after.as_mins()), Some(1));
    head.see_session(&facts, &session(SessionStatus::Expired, false, false), now());
    assert_eq!(again(&head), Some(10), "the thing is still to be told");
    head.released = true;
    assert_eq!(again(&head), None);
    let mut head = Kept::of(&[Seen::Session(paid())]).head;
    assert_eq!(again(&head), Some(10));
    head.settle(Place::NoRoom, now());
    assert_eq!(again(&head), Some(360), "until the money is back");
    let much_later = now() + ASKED_AFTER + SOON;
    assert_eq!(head.looked_again_in(&facts, much_later), Some(SELDOM), "however long ago it was paid");
    let slow = session(SessionStatus::Complete, false, false);
    let mut head = Kept::of(&[Seen::Session(open())]).head;
    head.see_session(&facts, &slow, now());
    assert_eq!((again(&head), head.looked_again_in(&facts, much_later)), (Some(360), None));
}

/// What Stripe says in the life of a payment, in its order.
fn life() -> impl Strategy<Value = Vec<Seen>> {
    let ends = prop_oneof![
        Just(vec![open(), session(SessionStatus::Expired, false, false)]),
        Just(vec![
            open(),
            session(SessionStatus::Complete, false, false),
            session(SessionStatus::Complete, false, true)
        ]),
        Just(vec![open(), session(SessionStatus::Complete, false, false), paid()]),
        Just(vec![open(), paid()]),
    ];
    let statuses = prop_oneof![
        Just(vec![RefundStatus::Pending]),
        Just(vec![RefundStatus::Succeeded]),
        Just(vec![RefundStatus::Pending, RefundStatus::Succeeded]),
        Just(vec![RefundStatus::Pending, RefundStatus::Succeeded, RefundStatus::Failed]),
        Just(vec![RefundStatus::Failed]),
    ];
    let refunds = prop::collection::vec((1..=TOTAL / 4, statuses), 0..4);
    let disputes = prop_oneof![
        Just(vec![]),
        Just(vec![DisputeStatus::Inquiry]),
        Just(vec![DisputeStatus::Inquiry, DisputeStatus::Open, DisputeStatus::Won]),
        Just(vec![DisputeStatus::Open, DisputeStatus::Lost]),
    ];
    (ends, refunds, disputes).prop_map(|(sessions, refunds, disputes)| {
        let is_paid = sessions.iter().any(|session| session.is_paid);
        let mut all: Vec<_> = sessions.into_iter().map(Seen::Session).collect();
        if is_paid {
            for (number, (amount, statuses)) in refunds.into_iter().enumerate() {
                let id = format!("re_{number}");
                all.extend(statuses.into_iter().map(|status| Seen::Refund(refund(&id, amount, status))));
            }
            let dispute = |status| SeenDispute { id: "dp_1".to_owned(), amount: TOTAL / 5, status };
            all.extend(disputes.into_iter().map(|status| Seen::Dispute(dispute(status))));
        }
        all
    })
}

/// The same in any order, with some of it twice or thrice.
fn lives() -> impl Strategy<Value = (Vec<Seen>, Vec<Seen>)> {
    life().prop_flat_map(|life| {
        let thrice: Vec<_> = life.iter().cycle().take(3 * life.len()).cloned().collect();
        let least = life.len();
        (Just(life), Just(thrice).prop_shuffle(), 0..=2 * least).prop_map(move |(life, mut all, fewer)| {
            // All of it is there once at the least.
            all.truncate(3 * life.len() - fewer);
            all.extend(life.iter().rev().cloned());
            (life, all)
        })
    })
}

/// What anybody does with a payment.
#[derive(Clone, Debug)]
enum Act {
    See(Seen),
    Settle(Place),
    Ask(Option<u64>),
    Refuse,
    Abandon,
    Release,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let see = (lives(), any::<prop::sample::Index>())
        .prop_map(|((_, all), index)| Act::See(index.get(&all).clone()));
    let act = prop_oneof![
        6 => see,
        1 => prop_oneof![Just(Act::Settle(Place::Taken)), Just(Act::Settle(Place::NoRoom))],
        2 => prop::option::of(1..TOTAL).prop_map(Act::Ask),
        1 => Just(Act::Refuse),
        1 => Just(Act::Abandon),
        1 => Just(Act::Release),
    ];
    prop::collection::vec(act, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn t73_whatever_the_order_and_however_often_it_ends_the_same((life, shuffled) in lives()) {
        let (wanted, kept) = (Kept::of(&life), Kept::of(&shuffled));
        kept.check();
        let end = |kept: &Kept| {
            let Head { stage, captured, refunded, refunding, disputed, .. } = kept.head;
            (stage, captured, refunded, refunding, disputed, kept.balance())
        };
        prop_assert_eq!(end(&kept), end(&wanted));
    }

    #[test]
    fn no_order_of_events_reaches_what_may_not_be(acts in acts()) {
        let mut kept = Kept::default();
        let mut asked = 0;
        for act in acts {
            let before = kept.head.clone();
            match act {
                Act::See(seen) => kept.see(&seen),
                Act::Settle(place) => {
                    if let Some(due) = kept.head.settle(place, now()) {
                        kept.refunds.insert("automatic".to_owned(), due);
                    }
                }
                Act::Ask(wanted) => {
                    let left = before.refundable();
                    let answer = kept.head.ask_refund(facts().total.currency, wanted, None, None, now());
                    if let Ok(due) = answer {
                        prop_assert!(due.minor <= left, "more than is left");
                        asked += 1;
                        kept.refunds.insert(format!("asked {asked}"), due);
                    }
                }
                Act::Refuse => {
                    let due = kept.refunds.iter().find(|(_, one)| one.status == RefundStatus::Due);
                    if let Some((id, due)) = due.map(|(id, due)| (id.clone(), due.clone())) {
                        let refused = kept.head.refuse_refund(&due, String::new()).unwrap();
                        kept.refunds.insert(id, refused);
                    }
                }
                Act::Abandon => {
                    kept.head.abandon(Stage::Expired);
                }
                Act::Release => kept.head.released = true,
            }
            kept.check();
            let (was, is) = (before.stage, kept.head.stage);
            prop_assert!(is == was || is.rank() > was.rank(), "{:?} became {:?}", was, is);
            prop_assert!(kept.head.captured >= before.captured, "money that came does not vanish");
            let is_given = matches!(is, Stage::Fulfilled | Stage::RefundDue | Stage::Paid);
            prop_assert_eq!(is_given, kept.head.captured > 0, "places for money, and money for places: {:?}", kept);
        }
    }
}

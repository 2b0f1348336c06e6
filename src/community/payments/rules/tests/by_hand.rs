//! What Stripe's dashboard sends back beside what is asked for here.

use super::*;

#[test]
fn what_the_dashboard_sends_stands_for_what_is_owed_until_it_fails() {
    let euro = facts().total.currency;
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    kept.head.settle(Place::Taken, now());
    let due = kept.head.ask_refund(euro, Some(1500), None, None, now()).unwrap();
    kept.refunds.insert("a".to_owned(), due);
    let own = SeenRefund { own: Some("a".to_owned()), ..refund("re_1", 1500, RefundStatus::Failed) };
    let failed = Seen::Refund(own);
    let by_hand = |status| Seen::Refund(refund("re_2", 1500, status));
    let held_back = |kept: &Kept| {
        let rows: Vec<_> = kept.refunds.clone().into_iter().collect();
        sent_by_hand_since(&rows, now())
    };
    let mut as_told = kept.clone();
    as_told.see(&failed);
    assert_eq!((as_told.head.owed(), held_back(&as_told)), (1500, 0));
    for status in [RefundStatus::Pending, RefundStatus::Succeeded] {
        as_told.see(&by_hand(status));
        assert_eq!((as_told.head.owed(), as_told.refunds["re_2"].covers), (0, 1500), "{status:?}");
        assert_eq!(held_back(&as_told), 0, "it is off what is owed already");
    }
    as_told.see(&by_hand(RefundStatus::Failed));
    assert_eq!((as_told.head.owed(), as_told.refunds["re_2"].covers), (1500, 0));
    assert_eq!(held_back(&as_told), 0);
    // The other way round nobody knows what it was for: it is owed, and does not go out by itself.
    kept.see(&by_hand(RefundStatus::Succeeded));
    kept.see(&failed);
    assert_eq!((kept.head.owed(), held_back(&kept)), (1000, 1500));
    let rows: Vec<_> = kept.refunds.into_iter().collect();
    let later = now() + SignedDuration::from_mins(1);
    assert_eq!(
        sent_by_hand_since(&rows, later),
        0,
        "what was sent before it was asked for is another matter"
    );
}

#[test]
fn what_is_due_gives_way_to_what_the_dashboard_sent() {
    let euro = facts().total.currency;
    let mut kept = Kept::of(&[Seen::Session(paid())]);
    kept.head.settle(Place::Taken, now());
    let due = kept.head.ask_refund(euro, Some(1000), None, None, now()).unwrap();
    let rows = |kept: &Kept| kept.refunds.clone().into_iter().collect::<Vec<_>>();
    assert_eq!(kept.head.give_way(&due, rows(&kept)), None, "the dashboard has sent nothing");
    kept.see(&Seen::Refund(refund("re_1", 700, RefundStatus::Succeeded)));
    let (refused, sent) = kept.head.give_way(&due, rows(&kept)).unwrap();
    assert_eq!((refused.status, kept.head.refunding, kept.head.owed()), (RefundStatus::Refused, 0, 300));
    assert_eq!((sent.len(), sent[0].1.covers), (1, 700));
    assert_eq!(kept.head.give_way(&refused, rows(&kept)), None, "it is not due any more");
    kept.refunds.extend(sent);
    kept.see(&Seen::Refund(refund("re_1", 700, RefundStatus::Failed)));
    assert_eq!(kept.head.owed(), 1000);
}

/// What is sent back, and what does not arrive.
#[derive(Clone, Debug)]
enum Sent {
    /// So much is asked for here.
    Asked(u64),
    /// All that is owed is asked for here.
    Again,
    /// Stripe's dashboard sends so much.
    ByHand(u64, RefundStatus),
    /// One that is on its way, or arrived, comes back.
    Fails(prop::sample::Index),
    /// One that is due gives way to those of the dashboard.
    GivesWay(prop::sample::Index),
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let status = prop_oneof![Just(RefundStatus::Pending), Just(RefundStatus::Succeeded)];
    let one = prop_oneof![
        3 => (1..TOTAL).prop_map(Sent::Asked),
        1 => Just(Sent::Again),
        3 => (1..TOTAL, status).prop_map(|(minor, status)| Sent::ByHand(minor, status)),
        4 => any::<prop::sample::Index>().prop_map(Sent::Fails),
        2 => any::<prop::sample::Index>().prop_map(Sent::GivesWay),
    ];
    prop::collection::vec(one, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_failed_is_owed_asked_for_again_or_sent_by_the_dashboard(acts in sent()) {
        let euro = facts().total.currency;
        let mut kept = Kept::of(&[Seen::Session(paid())]);
        kept.head.settle(Place::Taken, now());
        let mut asked_again = 0;
        for (number, act) in acts.into_iter().enumerate() {
            let before = kept.head.clone();
            let wanted = match act {
                Sent::Asked(minor) => Some(minor),
                Sent::Again => Some(before.owed()),
                Sent::ByHand(minor, status) => {
                    // Stripe sends no more than it has.
                    if minor <= before.refundable() {
                        kept.see(&Seen::Refund(refund(&format!("re_{number}"), minor, status)));
                    }
                    None
                }
                Sent::Fails(index) => {
                    let counting = kept.refunds.iter().filter(|(_, one)| one.counts());
                    let counting: Vec<_> = counting.map(|(id, one)| (id.clone(), one.minor)).collect();
                    if !counting.is_empty() {
                        let (id, minor) = index.get(&counting);
                        let own = Some(id.clone()).filter(|id| id.starts_with("own"));
                        let failed = refund(&format!("re_{id}"), *minor, RefundStatus::Failed);
                        let id = if own.is_some() { failed.id.clone() } else { id.clone() };
                        kept.see(&Seen::Refund(SeenRefund { id, own, ..failed }));
                    }
                    None
                }
                Sent::GivesWay(index) => {
                    let due = kept.refunds.clone().into_iter().filter(|(_, one)| one.status == RefundStatus::Due);
                    let due: Vec<_> = due.collect();
                    if !due.is_empty() {
                        let (id, one) = index.get(&due);
                        let rows = kept.refunds.clone().into_iter().collect();
                        if let Some((after, sent)) = kept.head.give_way(one, rows) {
                            kept.refunds.insert(id.clone(), after);
                            kept.refunds.extend(sent);
                        }
                    }
                    None
                }
            };
            if let Some(wanted) = wanted
                && let Ok(due) = kept.head.ask_refund(euro, Some(wanted), None, None, now())
            {
                asked_again += before.failed - kept.head.failed;
                kept.refunds.insert(format!("own {number}"), due);
            }
            kept.check();
            let sum = |are_ours: bool, of: fn(&Refund) -> u64| {
                let those = kept.refunds.iter().filter(|(id, _)| id.starts_with("own") == are_ours);
                those.map(|(_, one)| of(one)).sum::<u64>()
            };
            let failed = sum(true, |one| if one.counts() { 0 } else { one.minor });
            let sent_again = asked_again + sum(false, |one| one.covers);
            prop_assert_eq!(kept.head.failed + sent_again, failed, "{:?}", kept);
            let gone = kept.head.refunded + kept.head.refunding;
            prop_assert!(gone + kept.head.owed() <= TOTAL, "more than came: {:?}", kept);
        }
    }
}

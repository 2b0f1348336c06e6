//! What the store of payments promises.

use jiff::{SignedDuration, Timestamp};
use mundotango::community::audit::rules::Act;
use mundotango::community::money::{Currency, Money};
use mundotango::community::payments::ledger::{Ledger, Side};
use mundotango::community::payments::payees::rules::PayeeState;
use mundotango::community::payments::payees::store::PayeeStore;
use mundotango::community::payments::quote::{Line, Purpose};
use mundotango::community::payments::reads::{Order, Payment};
use mundotango::community::payments::rules::RefundRefusal;
use mundotango::community::payments::state::{Facts, Movement, Place, Posting, Stage, Status};
use mundotango::community::payments::store::{AskedRefund, PaymentStore, RefundError, SettledOtherwise};
use mundotango::community::payments::stripe::{
    About, DisputeStatus, RefundStatus, Seen, SeenAccount, SeenDispute, SeenRefund, SeenSession,
    SessionStatus,
};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use tokio::task::JoinSet;

use super::{first, walk};

fn order() -> Order {
    Order { purpose: Purpose::Ticket, thing: new_id(), payer: new_id() }
}

fn facts(order: &Order, attempt: u32) -> Facts {
    Facts {
        purpose: order.purpose,
        thing: order.thing.clone(),
        attempt,
        payer: order.payer.clone(),
        payee: new_id(),
        title: "Milonga".to_owned(),
        lines: vec![Line { name: "Entrance".to_owned(), unit: 1250, quantity: 2 }],
        total: Money::new(2500, Currency::parse("EUR").unwrap()),
        fee: 62,
        account: None,
        made_at: now(),
        expires_at: now() + SignedDuration::from_mins(33),
    }
}

fn paid() -> Seen {
    Seen::Session(SeenSession {
        id: "cs_1".to_owned(),
        url: None,
        intent: Some("pi_1".to_owned()),
        status: SessionStatus::Complete,
        is_paid: true,
        has_failed: false,
        total: Some(2500),
        currency: Some("eur".to_owned()),
    })
}

async fn begun(store: &PaymentStore, order: &Order) -> Payment {
    let (id, attempt) = store.begin(order, None, new_id(), now()).await.unwrap();
    store.create(&id, &facts(order, attempt)).await.unwrap()
}

fn asked(minor: Option<u64>) -> AskedRefund {
    AskedRefund { id: new_id(), minor, by: Some("host".to_owned()), reason: Some("rain".to_owned()) }
}

/// Runs the suite.
pub async fn payments(nodes: &[Db; 2]) {
    let stores = nodes.clone().map(PaymentStore::new);
    of_those_who_begin_one_begins(&stores).await;
    an_event_changes_a_payment_once(&stores).await;
    refunds_never_exceed_what_came(&stores).await;
    Box::pin(what_could_not_go_back_is_listed(&stores)).await;
    Box::pin(what_the_dashboard_sends_is_owed_no_longer(&stores)).await;
    Box::pin(a_payee_has_one_account(&nodes.clone().map(PayeeStore::new))).await;
    lists_are_in_order(&stores[0]).await;
    what_is_parked_is_found(&stores[0]).await;
    what_is_posted_twice_counts_once(&nodes.clone().map(Ledger::new)).await;
}

async fn of_those_who_begin_one_begins(stores: &[PaymentStore; 2]) {
    let order = order();
    assert_eq!(stores[0].reads().last(&order).await.unwrap(), None);
    let mut begun = JoinSet::new();
    for number in 0..20 {
        let (store, order) = (stores[number % 2].clone(), order.clone());
        begun.spawn(async move { store.begin(&order, None, new_id(), now()).await.unwrap() });
    }
    let begun = begun.join_all().await;
    assert!(begun.iter().all(|one| *one == begun[0] && one.1 == 1), "{begun:?}");
    let id = &begun[0].0;
    assert_eq!(stores[1].reads().last(&order).await.unwrap().as_ref(), Some(id));
    assert_eq!(stores[0].reads().payment(id).await.unwrap(), None, "it is begun, and not made");
    let mut made = JoinSet::new();
    for number in 0..10 {
        let (store, id) = (stores[number % 2].clone(), id.clone());
        let facts = Facts { title: number.to_string(), ..facts(&order, 1) };
        made.spawn(async move { store.create(&id, &facts).await.unwrap() });
    }
    let made = made.join_all().await;
    assert!(made.iter().all(|one| *one == made[0]), "the terms are those of one");
    // The next one begins where that one is over, once.
    let next = stores[0].begin(&order, Some(id.clone()), new_id(), now()).await.unwrap();
    assert_eq!(next.1, 2);
    assert_eq!(stores[1].begin(&order, Some(id.clone()), new_id(), now()).await.unwrap(), next);
}

async fn an_event_changes_a_payment_once(stores: &[PaymentStore; 2]) {
    let payment = begun(&stores[0], &order()).await;
    assert_eq!(payment.status(), Status::Created);
    let mut all = JoinSet::new();
    for number in 0..12 {
        let (store, id) = (stores[number % 2].clone(), payment.id.clone());
        let event = format!("evt_{}", number % 3);
        all.spawn(async move { store.see(&id, Some(&event), paid(), now()).await.unwrap().unwrap() });
    }
    let all = all.join_all().await;
    let came = all.iter().filter(|one| one.before.captured == 0 && one.after.head.captured > 0).count();
    assert_eq!(came, 1, "the money comes once");
    let read = stores[1].reads().payment(&payment.id).await.unwrap().unwrap();
    assert_eq!((read.status(), read.head.captured, read.head.events), (Status::Paid, 2500, 1));
    assert_eq!(read.head.intent.as_deref(), Some("pi_1"));
    let posted = stores[0].reads().posting(&payment.id, "capture").await.unwrap().unwrap();
    assert_eq!((posted.minor, posted.fee, posted.movement), (2500, 62, Movement::Captured));
    assert_eq!(stores[0].see(&new_id(), Some("evt"), paid(), now()).await.unwrap(), None);
    assert_eq!(stores[0].reads().payment("no id").await.unwrap(), None);

    // Only the first answer to whether there is room counts.
    let mut all = JoinSet::new();
    for (number, place) in [Place::NoRoom, Place::Taken].into_iter().cycle().take(10).enumerate() {
        let (store, id) = (stores[number % 2].clone(), payment.id.clone());
        all.spawn(async move { store.settle(&id, place, now()).await.unwrap().unwrap() });
    }
    all.join_all().await;
    let read = stores[0].reads().payment(&payment.id).await.unwrap().unwrap();
    let due = stores[0].reads().refund(&payment.id, &payment.id).await.unwrap();
    match read.head.stage {
        Stage::Fulfilled => assert_eq!(due, None),
        Stage::RefundDue => {
            assert_eq!(due.map(|due| (due.minor, due.status)), Some((2500, RefundStatus::Due)));
        }
        other => panic!("{other:?}"),
    }
    let lost = Seen::Dispute(SeenDispute { id: "dp_1".to_owned(), amount: 100, status: DisputeStatus::Lost });
    let seen = stores[0].see(&payment.id, Some("evt_9"), lost, now()).await.unwrap().unwrap();
    assert_eq!(seen.after.status(), Status::Disputed);
}

async fn refunds_never_exceed_what_came(stores: &[PaymentStore; 2]) {
    let payment = begun(&stores[0], &order()).await;
    let id = payment.id;
    let none = stores[0].ask_refund(&id, asked(None), now()).await.unwrap_err();
    assert!(matches!(none, RefundError::Refused(RefundRefusal::NotPaid)), "{none}");
    stores[0].see(&id, None, paid(), now()).await.unwrap();
    stores[0].settle(&id, Place::Taken, now()).await.unwrap();
    let mut all = JoinSet::new();
    for number in 0..20 {
        let (store, id) = (stores[number % 2].clone(), id.clone());
        all.spawn(async move { store.ask_refund(&id, asked(Some(200)), now()).await.is_ok() });
    }
    let taken = all.join_all().await.into_iter().filter(|is_taken| *is_taken).count();
    assert_eq!(taken, 12, "12 × 200 of 2500");
    let rest = asked(None);
    for _ in 0..3 {
        let changed = stores[1].ask_refund(&id, rest.clone(), now()).await.unwrap().unwrap();
        assert_eq!((changed.after.head.refunding, changed.after.head.refunds), (2500, 13), "once for its id");
    }
    let refunds = stores[0].reads().refunds(&id).await.unwrap();
    assert_eq!(refunds.iter().map(|(_, refund)| refund.minor).sum::<u64>(), 2500);
    for (number, (own, refund)) in refunds.iter().enumerate() {
        if number == 0 {
            let no = "charge_disputed".to_owned();
            let changed = stores[1].refuse_refund(&id, own, no, now()).await.unwrap().unwrap();
            assert_eq!(changed.after.head.refundable(), refund.minor);
            continue;
        }
        let seen = SeenRefund {
            id: format!("re_{number}"),
            own: Some(own.clone()),
            amount: refund.minor,
            status: RefundStatus::Succeeded,
            why: None,
        };
        for store in stores {
            store.see(&id, None, Seen::Refund(seen.clone()), now()).await.unwrap();
        }
    }
    let read = stores[0].reads().payment(&id).await.unwrap().unwrap();
    let back = 2500 - refunds[0].1.minor;
    assert_eq!((read.head.refunded, read.head.refunding, read.status()), (back, 0, Status::Fulfilled));
}

async fn what_could_not_go_back_is_listed(stores: &[PaymentStore; 2]) {
    let id = begun(&stores[0], &order()).await.id;
    stores[0].see(&id, None, paid(), now()).await.unwrap();
    stores[0].settle(&id, Place::Taken, now()).await.unwrap();
    let refund = asked(Some(1000));
    stores[0].ask_refund(&id, refund.clone(), now()).await.unwrap();
    let why = || "balance_insufficient".to_owned();
    // Of those who hear that there is no money at the same time one puts it off.
    let mut all = JoinSet::new();
    for number in 0..6 {
        let (store, id, own) = (stores[number % 2].clone(), id.clone(), refund.id.clone());
        let (why, at) = (why(), now());
        all.spawn(async move { store.put_off_refund(&id, &own, 0, why, at).await.unwrap() });
    }
    all.join_all().await;
    let row = stores[1].reads().refund(&id, &refund.id).await.unwrap().unwrap();
    assert_eq!((row.status, row.tries), (RefundStatus::Due, 1));
    assert!(row.not_before.is_some_and(|at| at > now()));
    let is_listed = async || {
        let page = stores[1].reads().owed(None, first(50)).await.unwrap();
        page.items.iter().any(|payment| payment.id == id)
    };
    assert!(!is_listed().await);
    let seen = SeenRefund {
        id: "re_1".to_owned(),
        own: Some(refund.id.clone()),
        amount: 1000,
        status: RefundStatus::Failed,
        why: Some("insufficient_funds".to_owned()),
    };
    for store in stores {
        store.see(&id, None, Seen::Refund(seen.clone()), now()).await.unwrap();
    }
    let read = stores[0].reads().payment(&id).await.unwrap().unwrap();
    assert_eq!((read.head.owed(), read.head.failed_why.as_deref()), (1000, Some("insufficient_funds")));
    assert!(is_listed().await);
    for store in stores {
        store.ask_again(&id, &refund.id, 0, now()).await.unwrap();
    }
    let read = stores[0].reads().payment(&id).await.unwrap().unwrap();
    assert_eq!((read.head.owed(), read.head.refunding, read.head.refunds), (0, 1000, 2), "once");
    assert!(!is_listed().await);
    let again = format!("{}.again", refund.id);
    let refused = stores[0].refuse_refund(&id, &again, "charge_disputed".to_owned(), now()).await;
    assert_eq!(refused.unwrap().unwrap().after.head.owed(), 1000);

    // Of admins who settle the same at the same time one does.
    let mut all = JoinSet::new();
    for number in 0..6 {
        let (store, id) = (stores[number % 2].clone(), id.clone());
        let settled = SettledOtherwise {
            id: new_id(),
            minor: None,
            by: new_id(),
            reason: "in cash".to_owned(),
            act: Act::by_system("payment.settled", "payment", id.as_str(), now()),
        };
        all.spawn(async move { store.settle_otherwise(&id, settled, now()).await.is_ok() });
    }
    let settled = all.join_all().await.into_iter().filter(|is_settled| *is_settled).count();
    let read = stores[1].reads().payment(&id).await.unwrap().unwrap();
    assert_eq!((settled, read.head.refunded, read.head.owed()), (1, 1000, 0));
    assert!(!is_listed().await);
}

async fn what_the_dashboard_sends_is_owed_no_longer(stores: &[PaymentStore; 2]) {
    let id = begun(&stores[0], &order()).await.id;
    stores[0].see(&id, None, paid(), now()).await.unwrap();
    stores[0].settle(&id, Place::Taken, now()).await.unwrap();
    let refund = asked(Some(1500));
    stores[0].ask_refund(&id, refund.clone(), now()).await.unwrap();
    let tell = async |stripe: &str, own: Option<&String>, status: RefundStatus| {
        let seen = SeenRefund {
            id: stripe.to_owned(),
            own: own.cloned(),
            amount: 1500,
            status,
            why: (status == RefundStatus::Failed).then(|| "insufficient_funds".to_owned()),
        };
        for store in stores {
            store.see(&id, None, Seen::Refund(seen.clone()), now()).await.unwrap();
        }
        let head = stores[0].reads().payment(&id).await.unwrap().unwrap().head;
        (head.owed(), head.refunding, head.refunded)
    };
    let own = Some(&refund.id);
    assert_eq!(tell("re_1", own, RefundStatus::Failed).await, (1500, 0, 0));
    assert_eq!(tell("re_2", None, RefundStatus::Pending).await, (0, 1500, 0));
    let again = format!("{}.again", refund.id);
    stores[1].ask_again(&id, &refund.id, 0, now()).await.unwrap();
    assert_eq!(stores[0].reads().refund(&id, &again).await.unwrap(), None, "it is on its way");
    let row = stores[0].reads().refund(&id, "re_2").await.unwrap().unwrap();
    assert_eq!((row.minor, row.covers), (1500, 1500));
    assert_eq!(tell("re_2", None, RefundStatus::Failed).await, (1500, 0, 0));
    // So much of it may have been sent.
    stores[0].ask_again(&id, &refund.id, 1000, now()).await.unwrap();
    let row = stores[1].reads().refund(&id, &again).await.unwrap().unwrap();
    assert_eq!((row.minor, row.status), (500, RefundStatus::Due));
    // What the dashboard sends stands for the rest.
    assert_eq!(tell("re_3", None, RefundStatus::Succeeded).await, (0, 500, 1500));
    // That much of it was sent after the last one was asked for, which gives way.
    for store in stores {
        store.give_way(&id, &again, now()).await.unwrap();
    }
    let row = stores[0].reads().refund(&id, &again).await.unwrap().unwrap();
    assert_eq!(row.status, RefundStatus::Refused);
    let row = stores[1].reads().refund(&id, "re_3").await.unwrap().unwrap();
    assert_eq!(row.covers, 1500);
    let head = stores[1].reads().payment(&id).await.unwrap().unwrap().head;
    assert_eq!((head.owed(), head.refunding, head.refunded), (0, 0, 1500));
}

async fn a_payee_has_one_account(stores: &[PayeeStore; 2]) {
    let (user, account) = (new_id(), format!("acct_{}", new_id()));
    let seen = SeenAccount {
        id: account.clone(),
        takes_money: false,
        pays_out: false,
        due: vec!["external_account".to_owned()],
        disabled: Some("requirements.past_due".to_owned()),
    };
    assert_eq!(stores[0].of(&user).await.unwrap().state(), PayeeState::None);
    let mut all = JoinSet::new();
    for number in 0..10 {
        let (store, user, seen) = (stores[number % 2].clone(), user.clone(), seen.clone());
        all.spawn(async move { store.take(&user, 0, seen, now()).await.unwrap().account });
    }
    let all = all.join_all().await;
    assert!(all.iter().all(|one| one.as_ref() == Some(&account)), "{all:?}");
    assert_eq!(stores[1].owner_of(&account).await.unwrap(), Some(user.clone()));
    assert_eq!(stores[0].owner_of("acct_of_others").await.unwrap(), None);
    // Of those who read it when it is old one has Stripe asked.
    let later = now() + SignedDuration::from_mins(1);
    let mut all = JoinSet::new();
    for number in 0..10 {
        let (store, user) = (stores[number % 2].clone(), user.clone());
        all.spawn(async move { store.ask(&user, later).await.unwrap() });
    }
    assert_eq!(all.join_all().await.into_iter().filter(|asks| *asks).count(), 1);
    // Of two answers of Stripe's that were asked for at the same time one counts.
    let version = stores[0].of(&user).await.unwrap().version;
    assert!(stores[0].note(&user, version, Some(seen.clone()), now()).await.unwrap());
    assert!(!stores[1].note(&user, version, None, now()).await.unwrap());
    let payee = stores[1].of(&user).await.unwrap();
    assert_eq!((payee.state(), payee.version), (PayeeState::Incomplete, version + 1));
}

async fn lists_are_in_order(store: &PaymentStore) {
    let payer = new_id();
    let mut ids = Vec::new();
    for number in 0..7 {
        let order = Order { payer: payer.clone(), ..order() };
        let payment = begun(store, &order).await;
        if number % 3 == 0 {
            let dispute = SeenDispute { id: "dp".to_owned(), amount: 1, status: DisputeStatus::Open };
            store.see(&payment.id, None, Seen::Dispute(dispute), now()).await.unwrap();
        }
        ids.insert(0, payment.id);
        // Ids of one millisecond are in no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let reads = store.reads();
    for limit in [1, 3, 50] {
        let read = async |page: PageRequest| reads.of_payer(&payer, page).await;
        assert_eq!(walk(limit, read, |payment: &Payment| payment.id.clone()).await, ids, "by {limit}");
        let read = async |page: PageRequest| reads.all(Some(Status::Disputed), page).await;
        let disputed = walk(limit, read, |payment: &Payment| payment.id.clone()).await;
        let own: Vec<_> = disputed.into_iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(own, [ids[0].clone(), ids[3].clone(), ids[6].clone()], "by {limit}");
    }
    let second = PageRequest { start: PageStart::Skip(2), limit: 2 };
    let page = reads.of_payer(&payer, second).await.unwrap();
    assert_eq!(page.items.iter().map(|one| &one.id).collect::<Vec<_>>(), [&ids[2], &ids[3]]);
    let foreign = PageRequest { start: PageStart::After("x".to_owned()), limit: 1 };
    assert!(matches!(reads.of_payer(&payer, foreign).await, Err(StoreError::BadCursor)));
    assert_eq!(reads.of_payer(&new_id(), first(5)).await.unwrap().items, Vec::new());
}

async fn what_is_parked_is_found(store: &PaymentStore) {
    let (event, about) = (new_id(), About { payment: None, intent: Some("pi_1".to_owned()), seen: paid() });
    assert_eq!(store.reads().parked(&event).await.unwrap(), None);
    for _ in 0..2 {
        store.park(&event, &about).await.unwrap();
    }
    assert_eq!(store.reads().parked(&event).await.unwrap(), Some(about));
}

async fn what_is_posted_twice_counts_once(nodes: &[Ledger; 2]) {
    let (order, payment) = (order(), new_id());
    let facts = facts(&order, 1);
    // A day that no other suite has.
    let day = u64::from_str_radix(&payment[payment.len() - 5..], 16).unwrap();
    let at = Timestamp::from_second(4_102_444_800 + i64::try_from(day).unwrap() * 86_400).unwrap();
    let movements = [(Movement::Captured, 2500, 62, "capture"), (Movement::Refunded, 500, 12, "refund.a")];
    let mut all = JoinSet::new();
    for number in 0..12 {
        let (ledger, facts, payment) = (nodes[number % 2].clone(), facts.clone(), payment.clone());
        let (movement, minor, fee, cause) = movements[number / 2 % 2];
        let posting = Posting { movement, minor, fee, at };
        all.spawn(async move { ledger.post(&payment, &facts, cause, posting).await.unwrap() });
    }
    all.join_all().await;
    let date = at.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let before = date.yesterday().unwrap();
    let days = nodes[0].days(&[before, date]).await.unwrap();
    assert_eq!(days.len(), 1, "{days:?}");
    let sums = days[0].sums;
    assert_eq!((days[0].day, days[0].purpose, days[0].currency.code()), (date, Purpose::Ticket, "EUR"));
    assert_eq!((sums.payments, sums.net(), sums.net_fees()), (1, 2000, 50));
    let account = format!("payee:{}:EUR", facts.payee);
    let lines = nodes[1].lines(&account, first(10)).await.unwrap().items;
    let shown: Vec<_> = lines.iter().map(|line| (line.movement, line.side, line.minor)).collect();
    let wanted = [(Movement::Captured, Side::Credit, 2438), (Movement::Refunded, Side::Debit, 488)];
    assert_eq!(shown, wanted);
}

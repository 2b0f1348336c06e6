//! Where payments are kept, and what reads them: a partition each, with rows for its refunds, disputes, postings, and the events
//! that changed it.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::{
    self, Db, Erasure, Export, Fields, Found, Index, Kind, RowRange, Whose, day_of_id, key, last_part, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::quote::Purpose;
use super::state::{Dispute, Facts, Head, Posting, Refund, Status};
use super::stripe::{About, DisputeStatus};

/// The payments.
pub static PAYMENTS: Kind<Facts, Head, Row> =
    Kind::new("payments", "a payment: 300 rows of 200 B, 60 KB", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Sides,
        Export::Given,
        Erasure::Anonymous("the payment stays for bookkeeping"),
        &["facts.payer", "facts.payee"],
    ),
    Fields::of(
        Whose::Sides,
        Export::Given,
        Erasure::Kept(
            "10 years for bookkeeping, or as long as the operator's law asks; it names nobody once payer and payee are replaced",
        ),
        &[
            "id",
            "facts.purpose",
            "facts.thing",
            "facts.attempt",
            "facts.title",
            "facts.lines.**",
            "facts.total.**",
            "facts.made_at",
            "facts.expires_at",
            "head.stage",
            "head.captured",
            "head.refunded",
            "head.refunding",
            "head.disputed",
            "head.failed",
            "keys.f",
            "rows.f.refund.minor",
            "rows.f.refund.status",
            "rows.f.refund.covers",
            "rows.f.refund.at",
            "rows.d.dispute.**",
            "rows.l.posting.**",
        ],
    ),
    Fields::of(
        Whose::Sides,
        Export::NotGiven("it is a name at Stripe, which gives it itself"),
        Erasure::Kept(
            "10 years for bookkeeping, or as long as the operator's law asks; it names nobody once payer and payee are replaced",
        ),
        &[
            "facts.account",
            "head.session.id",
            "head.intent",
            "head.failed_why",
            "rows.f.refund.stripe",
            "rows.f.refund.refused",
            "keys.d",
            "keys.w",
            "keys.l",
        ],
    ),
    Fields::of(
        Whose::Sides,
        Export::NotGiven("it opens the page to pay on"),
        Erasure::Emptied,
        &["head.session.url"],
    ),
    Fields::of(
        Whose::Named,
        Export::Given,
        Erasure::Anonymous("the refund stays for bookkeeping"),
        &["rows.f.refund.by"],
    ),
    Fields::of(Whose::Named, Export::Given, Erasure::Emptied, &["rows.f.refund.reason"]),
    Fields::of_nobody(&[
        "rows.f.refund.tries",
        "rows.f.refund.not_before",
        "facts.fee",
        "head.is_odd",
        "head.released",
        "head.refunds",
        "head.events",
        "head.version",
        "rows.w.event",
    ]),
];

/// Which of a payer's payments for a thing is the last one.
pub static ATTEMPTS: Kind<(), Attempts, ()> =
    Kind::new("payment_attempts", "a payer and a thing: 100 B", PERSONAL_OF_ATTEMPTS).implicit();
/// The same of attempts.
const PERSONAL_OF_ATTEMPTS: &[Fields] = &[Fields::of(
    Whose::Named,
    Export::NotGiven("the payments are"),
    Erasure::Removed,
    &["id", "head.count", "head.last"],
)];

/// Lists of payments: `all`, `payer:` with the user's id, and `owed` of those of which money could not go back. By the payment's
/// id.
pub static PAYMENT_LISTS: Index<()> = Index::new(
    "payment_lists",
    "a day of a list: 100,000 entries of 100 B, 10 MB",
    day_of_id,
    db::Order::NewestFirst,
    Fields::AS_TARGET,
);
/// Events of payments that are not known, or not by their names.
pub static STRIPE_EVENTS: Kind<About, (), ()> =
    Kind::new("stripe_events", "an event: 500 B", PERSONAL_OF_EVENTS).ttl(Duration::from_hours(7 * 24));
/// The same of stripe events.
const PERSONAL_OF_EVENTS: &[Fields] = &[Fields::of(
    Whose::Sides,
    Export::NotGiven("the payment is"),
    Erasure::Kept("7 days, by its time to live"),
    &["id", "facts.payment", "facts.intent", "facts.seen.**"],
)];

/// Entries that one page of a list that is narrowed looks at: past them it ends early, with a cursor to go on.
const MOST_LOOKED_AT: usize = 2_000;
/// Entries that are read at a time where others are left out.
const READ_AT_ONCE: usize = 100;
/// Refunds of a payment that are read. There are fewer of those that are asked for here.
pub(super) const MOST_REFUNDS_READ: usize = 100;
/// Most disputes that are read. A bank has one of a payment, seldom two.
const MOST_DISPUTES_READ: usize = 20;

pub(super) const ALL: &str = "all";
/// The list of payments of which money could once not go back.
pub(super) const OWED: &str = "owed";

/// The list of a payer.
pub(super) fn list_of(payer: &str) -> String {
    format!("payer:{payer}")
}

/// What is paid for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What kind of thing it is.
    pub purpose: Purpose,
    /// The id of the very thing.
    pub thing: String,
    /// The user who pays.
    pub payer: String,
}

impl Order {
    /// The id of its attempts.
    pub(super) fn id(&self) -> String {
        key(&[self.purpose.as_str(), &self.thing, &self.payer])
    }
}

/// What changes about the payments of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many there were.
    pub(super) count: u32,
    /// The id of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<String>,
}

/// A row of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `w`, by the event's id: when it changed something.
    Event(Timestamp),
    /// Below `f`, by its id here, or at Stripe where it was not asked for here.
    Refund(Refund),
    /// Below `d`, by its id at Stripe.
    Dispute(Dispute),
    /// Below `l`, by its cause.
    Posting(Posting),
}

pub(super) fn event_key(id: &str) -> String {
    key(&["w", id])
}

/// Where the refunds of a payment are.
pub(super) fn refunds_prefix() -> String {
    prefix(&["f"])
}

pub(super) fn refund_key(id: &str) -> String {
    key(&["f", id])
}

pub(super) fn dispute_key(id: &str) -> String {
    key(&["d", id])
}

pub(super) fn posting_key(cause: &str) -> String {
    key(&["l", cause])
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Sorted by the time of its making.
    pub id: String,
    /// What never changes.
    pub facts: Facts,
    /// What changes.
    pub head: Head,
}

impl Payment {
    fn new(id: String, found: Found<Facts, Head>) -> Self {
        Self { id, facts: found.facts, head: found.head }
    }

    /// What it is for, and by whom.
    pub fn order(&self) -> Order {
        let Facts { purpose, thing, payer, .. } = &self.facts;
        Order { purpose: *purpose, thing: thing.clone(), payer: payer.clone() }
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.head.status()
    }
}

/// The payments of a store, to be read.
#[derive(Clone)]
pub struct PaymentReads(Db);

impl PaymentReads {
    /// The payments of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// The id of the last payment of an order.
    pub async fn last(&self, order: &Order) -> Result<Option<String>, StoreError> {
        let attempts = self.0.read(&ATTEMPTS, &order.id()).await?;
        Ok(attempts.and_then(|attempts| attempts.head.last))
    }

    /// The payment with this id.
    pub async fn payment(&self, id: &str) -> Result<Option<Payment>, StoreError> {
        if day_of_id(id).is_none() {
            return Ok(None);
        }
        Ok(self.0.read(&PAYMENTS, id).await?.map(|found| Payment::new(id.to_owned(), found)))
    }

    /// A refund of a payment.
    pub async fn refund(&self, id: &str, refund_id: &str) -> Result<Option<Refund>, StoreError> {
        Ok(match self.0.row(&PAYMENTS, id, &refund_key(refund_id)).await? {
            Some(Row::Refund(refund)) => Some(refund),
            _ => None,
        })
    }

    /// The refunds of a payment with their ids, by these.
    pub async fn refunds(&self, id: &str) -> Result<Vec<(String, Refund)>, StoreError> {
        let range = RowRange::first(refunds_prefix(), MOST_REFUNDS_READ);
        let rows = self.0.rows(&PAYMENTS, id, &range).await?.items.into_iter();
        let refunds = rows.filter_map(|(key, row)| match row {
            Row::Refund(refund) => Some((last_part(&key), refund)),
            _ => None,
        });
        Ok(refunds.collect())
    }

    /// Whether a bank has money of a payment, and has not decided yet whose it is.
    pub async fn is_in_dispute(&self, id: &str) -> Result<bool, StoreError> {
        let range = RowRange::first(prefix(&["d"]), MOST_DISPUTES_READ);
        let rows = self.0.rows(&PAYMENTS, id, &range).await?.items;
        let is_open =
            |row: &Row| matches!(row, Row::Dispute(dispute) if dispute.status == DisputeStatus::Open);
        Ok(rows.iter().any(|(_, row)| is_open(row)))
    }

    /// Money that moved, by its cause.
    pub async fn posting(&self, id: &str, cause: &str) -> Result<Option<Posting>, StoreError> {
        Ok(match self.0.row(&PAYMENTS, id, &posting_key(cause)).await? {
            Some(Row::Posting(posting)) => Some(posting),
            _ => None,
        })
    }

    /// What a parked event says.
    pub async fn parked(&self, event: &str) -> Result<Option<About>, StoreError> {
        Ok(self.0.read(&STRIPE_EVENTS, event).await?.map(|found| found.facts))
    }

    /// The payments of a payer, the newest first.
    pub async fn of_payer(&self, payer: &str, page: PageRequest) -> Result<Page<Payment>, StoreError> {
        self.list(&list_of(payer), |_| true, false, page).await
    }

    /// All payments, or those that stand so, the newest first.
    pub async fn all(&self, status: Option<Status>, page: PageRequest) -> Result<Page<Payment>, StoreError> {
        let stands_so = move |payment: &Payment| status.is_none_or(|status| status == payment.status());
        self.list(ALL, stands_so, status.is_some(), page).await
    }

    /// Those of which money could not go back, of all or of those that stand so, the newest first.
    pub async fn owed(&self, status: Option<Status>, page: PageRequest) -> Result<Page<Payment>, StoreError> {
        let is_owed = move |payment: &Payment| {
            payment.head.owed() > 0 && status.is_none_or(|status| status == payment.status())
        };
        self.list(OWED, is_owed, true, page).await
    }

    async fn list(
        &self,
        list: &str,
        is_wanted: impl Fn(&Payment) -> bool + Send,
        is_narrowed: bool,
        page: PageRequest,
    ) -> Result<Page<Payment>, StoreError> {
        let (mut after, mut skip) = page.start.behind(|id| day_of_id(&id).map(|_| id))?;
        let (mut items, mut looked_at) = (Vec::new(), 0);
        loop {
            let wanted = if is_narrowed { READ_AT_ONCE } else { skip + page.limit - items.len() };
            let entries = self.0.walk(&PAYMENT_LISTS, &[list], after.as_deref(), wanted).await?;
            let ids: Vec<_> = entries.items.into_iter().map(|(id, ())| id).collect();
            looked_at += wanted;
            let found = self.0.read_all(&PAYMENTS, &ids).await?;
            let mut found = ids.into_iter().zip(found).peekable();
            while items.len() < page.limit
                && let Some((id, found)) = found.next()
            {
                after = Some(id.clone());
                // What is not there yet, or stands otherwise, is left out.
                let payment = found.map(|found| Payment::new(id, found));
                let held = payment.filter(&is_wanted);
                match held {
                    Some(_) if skip > 0 => skip -= 1,
                    Some(payment) => items.push(payment),
                    None => {}
                }
            }
            let is_over = entries.next.is_none() && found.peek().is_none();
            if is_over || items.len() == page.limit || looked_at >= MOST_LOOKED_AT {
                return Ok(Page { items, next: after.filter(|_| !is_over) });
            }
            after = entries.next;
        }
    }
}

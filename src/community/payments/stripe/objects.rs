//! Stripe's objects, as far as they are read: fields that this does not name may come, go and change.
//! (Stripe documentation, API reference: Checkout Sessions, Payment Intents, Charges, Refunds, Disputes, Events.)

use std::collections::BTreeMap;

use mundotango_storage::db::time_of_id;
use serde::{Deserialize, Serialize, de};
use serde_json::value::RawValue;

use super::seen::{
    DisputeStatus, RefundStatus, Seen, SeenAccount, SeenDispute, SeenRefund, SeenSession, SessionStatus,
};

/// The field of metadata that names a payment. Other programs may use the same account, with names of their own.
pub(super) const PAYMENT: &str = "mundotango_payment";
/// The field of metadata that names a payee.
pub(super) const PAYEE: &str = "mundotango_payee";
/// The field of metadata that names a refund.
pub(super) const REFUND: &str = "mundotango_refund";
/// Most of what an account still lacks that is read, and the longest name of it in bytes.
const MOST_DUE: usize = 30;
const MAX_DUE_BYTES: usize = 100;
/// The longest id that Stripe makes.
const MAX_ID_BYTES: usize = 255;

type Metadata = BTreeMap<String, String>;

/// The payment that metadata names.
fn payment_of(metadata: Option<&Metadata>) -> Option<String> {
    metadata?.get(PAYMENT).filter(|id| time_of_id(id).is_some()).cloned()
}

/// An object by its id, or the object itself where that was asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expandable {
    Id(String),
    Object(Intent),
}

impl Expandable {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Object(intent) => &intent.id,
        }
    }

    fn has_failed(&self) -> bool {
        let Self::Object(intent) = self else { return false };
        matches!(intent.status.as_deref(), Some("requires_payment_method" | "canceled"))
    }
}

/// A payment intent.
#[derive(Deserialize)]
pub(super) struct Intent {
    id: String,
    status: Option<String>,
    metadata: Option<Metadata>,
}

impl Intent {
    pub(super) fn payment(&self) -> Option<String> {
        payment_of(self.metadata.as_ref())
    }
}

/// A Checkout Session.
#[derive(Deserialize)]
pub(super) struct Session {
    id: String,
    url: Option<String>,
    status: Option<String>,
    payment_status: Option<String>,
    amount_total: Option<u64>,
    currency: Option<String>,
    payment_intent: Option<Expandable>,
    metadata: Option<Metadata>,
}

impl Session {
    pub(super) fn seen(&self, has_failed: bool) -> SeenSession {
        let intent = self.payment_intent.as_ref();
        SeenSession {
            id: self.id.clone(),
            url: self.url.clone(),
            intent: intent.map(|intent| intent.id().to_owned()),
            status: match self.status.as_deref() {
                Some("complete") => SessionStatus::Complete,
                Some("expired") => SessionStatus::Expired,
                _ => SessionStatus::Open,
            },
            is_paid: matches!(self.payment_status.as_deref(), Some("paid" | "no_payment_required")),
            has_failed: has_failed || intent.is_some_and(Expandable::has_failed),
            total: self.amount_total,
            currency: self.currency.clone(),
        }
    }
}

/// A refund.
#[derive(Deserialize)]
pub(super) struct Refund {
    id: String,
    amount: u64,
    status: Option<String>,
    failure_reason: Option<String>,
    payment_intent: Option<String>,
    metadata: Option<Metadata>,
}

impl Refund {
    pub(super) fn seen(&self) -> SeenRefund {
        SeenRefund {
            id: self.id.clone(),
            own: self.metadata.as_ref().and_then(|metadata| metadata.get(REFUND).cloned()),
            amount: self.amount,
            status: match self.status.as_deref() {
                Some("succeeded") => RefundStatus::Succeeded,
                Some("failed" | "canceled") => RefundStatus::Failed,
                Some("requires_action") => RefundStatus::NeedsAction,
                _ => RefundStatus::Pending,
            },
            why: match self.status.as_deref() {
                Some("failed") => self.failure_reason.clone().or_else(|| Some("unknown".to_owned())),
                Some("canceled") => Some("canceled".to_owned()),
                _ => None,
            },
        }
    }
}

/// An account of a payee's.
#[derive(Deserialize)]
pub(super) struct Account {
    id: String,
    #[serde(default)]
    payouts_enabled: bool,
    capabilities: Option<Capabilities>,
    requirements: Option<Requirements>,
}

#[derive(Deserialize)]
struct Capabilities {
    transfers: Option<String>,
}

#[derive(Deserialize)]
struct Requirements {
    currently_due: Option<Vec<String>>,
    disabled_reason: Option<String>,
}

impl Account {
    pub(super) fn seen(self) -> SeenAccount {
        let transfers = self.capabilities.and_then(|capabilities| capabilities.transfers);
        let (due, disabled) = self
            .requirements
            .map_or((None, None), |requirements| (requirements.currently_due, requirements.disabled_reason));
        let is_name = |name: &String| name.len() <= MAX_DUE_BYTES;
        SeenAccount {
            id: self.id,
            takes_money: transfers.as_deref() == Some("active"),
            pays_out: self.payouts_enabled,
            due: due.unwrap_or_default().into_iter().filter(is_name).take(MOST_DUE).collect(),
            disabled: disabled.filter(is_name),
        }
    }
}

/// A page that a payee opens once.
#[derive(Deserialize)]
pub struct Link {
    /// Its address.
    pub url: String,
    /// Until when, in seconds since 1970.
    pub expires_at: Option<i64>,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
}

/// A charge.
#[derive(Deserialize)]
struct Charge {
    payment_intent: Option<String>,
    metadata: Option<Metadata>,
}

/// A dispute.
#[derive(Deserialize)]
pub(super) struct Dispute {
    id: String,
    amount: u64,
    status: String,
    payment_intent: Option<String>,
    metadata: Option<Metadata>,
}

impl Dispute {
    pub(super) fn seen(&self) -> SeenDispute {
        let status = match self.status.as_str() {
            "needs_response" | "under_review" => DisputeStatus::Open,
            "won" => DisputeStatus::Won,
            "lost" => DisputeStatus::Lost,
            // Inquiries, also those that were closed or prevented: no money has moved.
            _ => DisputeStatus::Inquiry,
        };
        SeenDispute { id: self.id.clone(), amount: self.amount, status }
    }
}

/// The body of an answer that is an error.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorTold,
}

/// What an error says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorTold {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// An event, as it comes.
#[derive(Deserialize)]
struct Event<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The connected account that it is about.
    account: Option<String>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The event's id.
    pub event: String,
    /// What it is about; `None` for kinds of events that are not read.
    pub about: Option<About>,
    /// The account of a payee that is another way: Stripe is asked how.
    pub account: Option<String>,
}

/// What is said, and of which payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The payment, where the object names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// The payment intent, by which the payment can be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// What is said.
    pub seen: Seen,
}

impl About {
    fn of(metadata: Option<&Metadata>, intent: Option<String>, seen: Seen) -> Self {
        Self { payment: payment_of(metadata), intent, seen }
    }
}

/// Reads an event that was verified. An error is of the event itself: an object that is not as it was thought to be only has
/// to be asked for.
pub(super) fn read_event(body: &[u8]) -> Result<News, serde_json::Error> {
    let Event { id, kind, account, data: Data { object } } = serde_json::from_slice(body)?;
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(de::Error::custom("its id is none"));
    }
    if matches!(&*kind, "account.updated" | "account.application.deauthorized" | "capability.updated") {
        let account = account.filter(|account| account.len() <= MAX_ID_BYTES);
        return Ok(News { event: id, about: None, account });
    }
    let about = read_about(&kind, object.get()).or_else(|error| {
        tracing::warn!(%error, kind, event = id, "Stripe tells something in a form of its own");
        let charge: Charge = serde_json::from_str(object.get())?;
        let about = About::of(charge.metadata.as_ref(), charge.payment_intent, Seen::Changed);
        Ok::<_, serde_json::Error>(Some(about))
    });
    Ok(News { event: id, about: about.unwrap_or_default(), account: None })
}

fn read_about(kind: &str, object: &str) -> Result<Option<About>, serde_json::Error> {
    Ok(Some(match kind {
        "checkout.session.completed"
        | "checkout.session.async_payment_succeeded"
        | "checkout.session.async_payment_failed"
        | "checkout.session.expired" => {
            let session: Session = serde_json::from_str(object)?;
            let seen = session.seen(kind == "checkout.session.async_payment_failed");
            About::of(session.metadata.as_ref(), seen.intent.clone(), Seen::Session(seen))
        }
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            let refund: Refund = serde_json::from_str(object)?;
            let seen = Seen::Refund(refund.seen());
            About::of(refund.metadata.as_ref(), refund.payment_intent, seen)
        }
        // It tells a sum, and not which refunds that is of.
        "charge.refunded" => {
            let charge: Charge = serde_json::from_str(object)?;
            About::of(charge.metadata.as_ref(), charge.payment_intent, Seen::Changed)
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => {
            let dispute: Dispute = serde_json::from_str(object)?;
            let seen = Seen::Dispute(dispute.seen());
            About::of(dispute.metadata.as_ref(), dispute.payment_intent, seen)
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "01a22267-5695-774a-9335-497936266a2f";

    fn news(kind: &str, object: &Value) -> News {
        let event = json!({"id": "evt_1", "object": "event", "type": kind, "data": {"object": object}});
        read_event(event.to_string().as_bytes()).unwrap()
    }

    fn session(more: &Value) -> Value {
        let mut session = json!({
            "id": "cs_1", "object": "checkout.session", "url": null, "status": "complete", "payment_status": "paid",
            "amount_total": 2500, "currency": "eur", "payment_intent": "pi_1", "metadata": {PAYMENT: ID},
            "something_new": {"a": [1]},
        });
        session.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        session
    }

    fn seen_session(kind: &str, more: &Value) -> SeenSession {
        let about = news(kind, &session(more)).about.unwrap();
        assert_eq!((about.payment.as_deref(), about.intent.as_deref()), (Some(ID), Some("pi_1")));
        let Seen::Session(seen) = about.seen else { panic!("{:?}", about.seen) };
        seen
    }

    #[test]
    fn t74_what_counts_is_whether_the_money_is_there() {
        let paid = seen_session("checkout.session.completed", &json!({}));
        assert!(paid.is_paid && paid.total == Some(2500) && paid.currency.as_deref() == Some("eur"));
        let delayed = seen_session("checkout.session.completed", &json!({"payment_status": "unpaid"}));
        assert!(!delayed.is_paid && !delayed.has_failed && delayed.status == SessionStatus::Complete);
        let unpaid = json!({"payment_status": "unpaid"});
        assert!(seen_session("checkout.session.async_payment_failed", &unpaid).has_failed);
        assert!(seen_session("checkout.session.async_payment_succeeded", &json!({})).is_paid);
        let expired = json!({"status": "expired", "payment_status": "unpaid"});
        assert_eq!(seen_session("checkout.session.expired", &expired).status, SessionStatus::Expired);
        // As it is answered to who asks, with the intent in it.
        for (status, has_failed) in
            [("processing", false), ("requires_payment_method", true), ("canceled", true)]
        {
            let asked = session(
                &json!({"payment_status": "unpaid", "payment_intent": {"id": "pi_1", "status": status}}),
            );
            let seen = serde_json::from_value::<Session>(asked).unwrap().seen(false);
            assert_eq!((seen.has_failed, seen.intent.as_deref()), (has_failed, Some("pi_1")), "{status}");
        }
    }

    #[test]
    fn t76_refunds_are_told_apart() {
        let refund = |status: &str, metadata: Value| {
            let object = json!({"id": "re_1", "amount": 100, "status": status, "payment_intent": "pi_1", "metadata": metadata});
            let about = news("refund.updated", &object).about.unwrap();
            let Seen::Refund(seen) = about.seen else { panic!("{:?}", about.seen) };
            (about.payment, seen.own, seen.status)
        };
        let own = json!({PAYMENT: ID, REFUND: "r"});
        let told = (Some(ID.to_owned()), Some("r".to_owned()), RefundStatus::Succeeded);
        assert_eq!(refund("succeeded", own), told);
        assert_eq!(refund("requires_action", json!({})), (None, None, RefundStatus::NeedsAction));
        assert_eq!(refund("canceled", json!({})).2, RefundStatus::Failed);
        let charge = json!({"id": "ch_1", "amount_refunded": 100, "payment_intent": "pi_1", "metadata": {PAYMENT: ID}});
        assert_eq!(news("charge.refunded", &charge).about.unwrap().seen, Seen::Changed);
    }

    #[test]
    fn disputes_take_money_and_inquiries_do_not() {
        for (status, is_withdrawn) in [
            ("warning_needs_response", false),
            ("needs_response", true),
            ("under_review", true),
            ("won", false),
            ("lost", true),
            ("prevented", false),
            ("something_new", false),
        ] {
            let object = json!({"id": "dp_1", "amount": 100, "status": status, "payment_intent": "pi_1"});
            let about = news("charge.dispute.updated", &object).about.unwrap();
            let Seen::Dispute(seen) = about.seen else { panic!("{:?}", about.seen) };
            assert_eq!(seen.status.is_withdrawn(), is_withdrawn, "{status}");
        }
    }

    #[test]
    fn what_an_account_lacks_is_read_and_an_event_names_it_alone() {
        let account = json!({
            "id": "acct_1", "details_submitted": true, "payouts_enabled": false, "capabilities": {"transfers": "pending"},
            "requirements": {"currently_due": ["external_account"], "disabled_reason": "requirements.past_due"},
        });
        let seen = serde_json::from_value::<Account>(account.clone()).unwrap().seen();
        assert!(!seen.takes_money && !seen.pays_out && !seen.is_closed(), "{seen:?}");
        assert_eq!(seen.due, ["external_account"]);
        let bare = serde_json::from_value::<Account>(json!({"id": "acct_1"})).unwrap().seen();
        assert!(!bare.takes_money && bare.due.is_empty(), "{bare:?}");
        let event = json!({
            "id": "evt_1", "type": "account.updated", "account": "acct_1", "data": {"object": account},
        });
        let news = read_event(event.to_string().as_bytes()).unwrap();
        assert_eq!((news.account.as_deref(), news.about), (Some("acct_1"), None));
    }

    #[test]
    fn t77_unknown_kinds_and_forms_are_no_errors() {
        assert_eq!(news("invoice.paid", &json!({"id": "in_1"})).about, None);
        assert_eq!(news("checkout.session.completed", &json!([1])).about, None);
        // Where the form has changed, Stripe is asked.
        let changed = session(&json!({"amount_total": "25.00"}));
        let about = news("checkout.session.completed", &changed).about.unwrap();
        assert_eq!((about.payment.as_deref(), about.seen), (Some(ID), Seen::Changed));
        // Names that are none of ours are nobody's.
        let foreign = session(&json!({"metadata": {PAYMENT: "../x"}}));
        assert_eq!(news("checkout.session.completed", &foreign).about.unwrap().payment, None);
        for bad in ["", "{}", "[]", "{\"id\": \"\", \"type\": \"x\", \"data\": {\"object\": {}}}"] {
            assert!(read_event(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

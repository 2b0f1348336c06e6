//! What an account at Stripe holds, and what its payers, its banks and its owner do.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Asked, Mishap};

/// What a call is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

type Form = BTreeMap<String, String>;

#[derive(Clone, Debug)]
struct Session {
    form: Form,
    amount: u64,
    status: &'static str,
    payment_status: &'static str,
    intent: Option<String>,
    expires_at: i64,
}

#[derive(Clone, Debug)]
struct Intent {
    amount: u64,
    currency: String,
    status: &'static str,
    metadata: Value,
    /// It went on to a connected account.
    is_transferred: bool,
    /// The platform took a share of it.
    has_fee: bool,
}

#[derive(Clone, Debug)]
struct Refund {
    intent: String,
    amount: u64,
    status: &'static str,
    failure: Option<&'static str>,
    metadata: Value,
}

/// An account of a payee's.
#[derive(Clone, Debug)]
struct Connected {
    metadata: Value,
    is_submitted: bool,
    works: bool,
    due: Vec<&'static str>,
    disabled: Option<&'static str>,
    is_cut_off: bool,
}

#[derive(Clone, Debug)]
struct Dispute {
    intent: String,
    amount: u64,
    status: &'static str,
}

/// An account.
pub struct Account {
    /// The time on Stripe's clocks.
    pub now: Timestamp,
    /// How refunds begin: `succeeded`, `pending` or `requires_action`.
    pub refunds_begin: &'static str,
    /// Why the next refunds are refused, one after the other. What is refused for want of money is kept under its key.
    pub refuses_refunds: VecDeque<&'static str>,
    pub(super) asked: Vec<Asked>,
    pub(super) mishaps: VecDeque<(String, Mishap)>,
    /// What is kept under keys, with what was asked.
    pub(super) kept: BTreeMap<String, (String, Answer)>,
    number: u64,
    sessions: BTreeMap<String, Session>,
    intents: BTreeMap<String, Intent>,
    refunds: BTreeMap<String, Refund>,
    disputes: BTreeMap<String, Dispute>,
    connected: BTreeMap<String, Connected>,
    /// Pages of payees, with whether somebody has opened them.
    links: BTreeMap<String, bool>,
    events: Vec<Value>,
}

/// An error as Stripe answers it.
pub fn refused(status: u16, kind: &str, code: &str) -> Answer {
    let error = json!({"type": kind, "code": code, "message": format!("refused: {code}")});
    Answer { status, body: json!({"error": error}) }
}

fn invalid(code: &str) -> Answer {
    refused(400, "invalid_request_error", code)
}

/// An error that Stripe says in words alone.
fn refused_in_words(message: &str) -> Answer {
    let error = json!({"type": "invalid_request_error", "message": message});
    Answer { status: 400, body: json!({"error": error}) }
}

/// The metadata of a form, or of a field of it.
fn metadata(form: &Form, of: &str) -> Value {
    let begin = if of.is_empty() { "metadata[".to_owned() } else { format!("{of}[metadata][") };
    let names = form.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(&*begin)?.strip_suffix(']')?;
        Some((name.to_owned(), Value::from(value.as_str())))
    });
    Value::Object(names.collect())
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            now: Timestamp::now(),
            refunds_begin: "succeeded",
            refuses_refunds: VecDeque::new(),
            asked: Vec::new(),
            mishaps: VecDeque::new(),
            kept: BTreeMap::new(),
            number: 0,
            sessions: BTreeMap::new(),
            intents: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            connected: BTreeMap::new(),
            links: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    fn id(&mut self, kind: &str) -> String {
        self.number += 1;
        format!("{kind}_{:05}", self.number)
    }

    /// The events since this was asked last, in their order.
    pub fn take_events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events)
    }

    /// The ids of all sessions, the oldest first.
    pub fn sessions(&self) -> Vec<String> {
        self.sessions.keys().cloned().collect()
    }

    /// How a session is.
    pub fn status(&self, session: &str) -> &'static str {
        self.sessions[session].status
    }

    /// The payment intent of a session on which somebody has paid.
    pub fn intent_of(&self, session: &str) -> String {
        self.sessions[session].intent.clone().unwrap()
    }

    /// What went back of a payment intent, or is on its way.
    pub fn refunded(&self, intent: &str) -> u64 {
        let own = self.refunds.values().filter(|one| one.intent == intent && one.status != "failed");
        own.map(|one| one.amount).sum()
    }

    /// The ids of all refunds, the oldest first.
    pub fn refunds(&self) -> Vec<String> {
        self.refunds.keys().cloned().collect()
    }

    fn emit(&mut self, kind: &str, object: &Value) {
        self.emit_of(None, kind, object);
    }

    fn emit_of(&mut self, account: Option<&str>, kind: &str, object: &Value) {
        let id = self.id("evt");
        let created = self.now.as_second();
        let mut event = json!({
            "id": id, "object": "event", "type": kind, "created": created, "livemode": false,
            "data": {"object": object},
        });
        if let Some(account) = account {
            event["account"] = json!(account);
        }
        self.events.push(event);
    }

    fn session_json(&self, id: &str, expand: bool) -> Value {
        let session = &self.sessions[id];
        let intent = session
            .intent
            .as_ref()
            .map(|id| if expand { self.intent_json(id) } else { Value::from(id.as_str()) });
        let url = (session.status == "open").then(|| format!("https://checkout.stripe.example/{id}"));
        json!({
            "id": id, "object": "checkout.session", "url": url, "status": session.status,
            "payment_status": session.payment_status, "amount_total": session.amount,
            "currency": session.form["line_items[0][price_data][currency]"], "payment_intent": intent,
            "metadata": metadata(&session.form, ""), "expires_at": session.expires_at, "mode": "payment",
        })
    }

    fn intent_json(&self, id: &str) -> Value {
        let intent = &self.intents[id];
        json!({
            "id": id, "object": "payment_intent", "amount": intent.amount, "currency": intent.currency,
            "status": intent.status, "metadata": intent.metadata,
        })
    }

    fn refund_json(&self, id: &str) -> Value {
        let refund = &self.refunds[id];
        json!({
            "id": id, "object": "refund", "amount": refund.amount, "status": refund.status,
            "failure_reason": refund.failure, "payment_intent": refund.intent, "metadata": refund.metadata,
        })
    }

    fn dispute_json(&self, id: &str) -> Value {
        let dispute = &self.disputes[id];
        json!({
            "id": id, "object": "dispute", "amount": dispute.amount, "status": dispute.status,
            "payment_intent": dispute.intent, "metadata": {},
        })
    }

    fn charge_json(&self, intent: &str) -> Value {
        json!({
            "id": format!("ch_{intent}"), "object": "charge", "amount_refunded": self.refunded(intent),
            "payment_intent": intent, "metadata": self.intents[intent].metadata,
        })
    }

    // What the API does.

    pub(super) fn create_session(&mut self, form: &Form) -> Answer {
        let mut amount = 0;
        for line in 0.. {
            let field = |name: &str| form.get(&format!("line_items[{line}]{name}"));
            let Some(price) = field("[price_data][unit_amount]") else { break };
            let count = field("[quantity]").map_or(1, |count| count.parse::<u64>().unwrap());
            amount += price.parse::<u64>().unwrap() * count;
        }
        let Some(expires_at) = form.get("expires_at").and_then(|at| at.parse::<i64>().ok()) else {
            return invalid("parameter_missing");
        };
        let lasts = expires_at - self.now.as_second();
        if !(30 * 60..=24 * 60 * 60).contains(&lasts) {
            return invalid("invalid_expires_at");
        }
        if amount < 50 {
            return invalid("amount_too_small");
        }
        let destination = form.get("payment_intent_data[transfer_data][destination]");
        if destination.is_some_and(|account| self.connected.get(account).is_some_and(|one| !one.works)) {
            return invalid("insufficient_capabilities_for_transfer");
        }
        let fee =
            form.get("payment_intent_data[application_fee_amount]").map(|fee| fee.parse::<u64>().unwrap());
        if fee.is_some_and(|fee| fee == 0 || fee > amount) {
            return invalid("parameter_invalid_integer");
        }
        let id = self.id("cs");
        let session = Session {
            form: form.clone(),
            amount,
            status: "open",
            payment_status: "unpaid",
            intent: None,
            expires_at,
        };
        self.sessions.insert(id.clone(), session);
        Answer { status: 200, body: self.session_json(&id, false) }
    }

    pub(super) fn session(&self, id: &str, expand: bool) -> Answer {
        if !self.sessions.contains_key(id) {
            return refused(404, "invalid_request_error", "resource_missing");
        }
        Answer { status: 200, body: self.session_json(id, expand) }
    }

    pub(super) fn expire_session(&mut self, id: &str) -> Answer {
        match self.sessions.get(id) {
            None => refused(404, "invalid_request_error", "resource_missing"),
            Some(session) if session.status != "open" => invalid("session_not_open"),
            Some(_) => {
                self.end(id);
                Answer { status: 200, body: self.session_json(id, false) }
            }
        }
    }

    pub(super) fn intent(&self, id: &str) -> Answer {
        if !self.intents.contains_key(id) {
            return refused(404, "invalid_request_error", "resource_missing");
        }
        Answer { status: 200, body: self.intent_json(id) }
    }

    pub(super) fn create_refund(&mut self, form: &Form) -> Answer {
        let intent = form.get("payment_intent").cloned().unwrap_or_default();
        let Some(known) = self.intents.get(&intent) else {
            return refused(404, "invalid_request_error", "resource_missing");
        };
        let asks = |name: &str| form.get(name).is_some_and(|value| value == "true");
        if asks("reverse_transfer") && !known.is_transferred {
            return refused_in_words(&format!(
                "Cannot reverse transfer on charge ch_{intent} because it does not have an associated transfer."
            ));
        }
        if asks("refund_application_fee") && !known.has_fee {
            return refused_in_words(&format!(
                "Attempting to refund_application_fee on charge ch_{intent}, but it has no application fee"
            ));
        }
        let left = known.amount.saturating_sub(self.refunded(&intent));
        let amount = form.get("amount").map_or(left, |amount| amount.parse().unwrap());
        if left == 0 {
            return invalid("charge_already_refunded");
        }
        if amount > left {
            return invalid("amount_too_large");
        }
        if let Some(code) = self.refuses_refunds.pop_front() {
            return invalid(code);
        }
        let id = self.add_refund(&intent, amount, metadata(form, ""));
        Answer { status: 200, body: self.refund_json(&id) }
    }

    fn connected_json(&self, id: &str) -> Value {
        let account = &self.connected[id];
        let transfers = if account.works { "active" } else { "inactive" };
        json!({
            "id": id, "object": "account", "type": "express", "metadata": account.metadata,
            "details_submitted": account.is_submitted, "charges_enabled": account.works,
            "payouts_enabled": account.works, "capabilities": {"card_payments": transfers, "transfers": transfers},
            "requirements": {
                "currently_due": account.due, "disabled_reason": account.disabled, "pending_verification": [],
            },
        })
    }

    pub(super) fn create_account(&mut self, form: &Form) -> Answer {
        if form.get("type").is_none_or(|kind| kind != "express") {
            return invalid("parameter_missing");
        }
        let id = self.id("acct");
        let account = Connected {
            metadata: metadata(form, ""),
            is_submitted: false,
            works: false,
            due: vec!["business_type", "external_account", "tos_acceptance.date"],
            disabled: Some("requirements.past_due"),
            is_cut_off: false,
        };
        self.connected.insert(id.clone(), account);
        Answer { status: 200, body: self.connected_json(&id) }
    }

    pub(super) fn connected_account(&self, id: &str) -> Answer {
        match self.connected.get(id) {
            Some(account) if !account.is_cut_off => Answer { status: 200, body: self.connected_json(id) },
            _ => refused(403, "invalid_request_error", "account_invalid"),
        }
    }

    /// A page of a payee's that opens once: to say what is due, or to see the money.
    pub(super) fn create_link(&mut self, account: &str, is_login: bool) -> Answer {
        match self.connected.get(account) {
            Some(known) if !known.is_cut_off => {
                if is_login && !known.is_submitted {
                    return invalid("account_onboarding_incomplete");
                }
            }
            _ => return refused(403, "invalid_request_error", "account_invalid"),
        }
        let url = format!("https://connect.stripe.example/{}", self.id("link"));
        self.links.insert(url.clone(), false);
        let expires_at = (!is_login).then_some(self.now.as_second() + 300);
        Answer { status: 200, body: json!({"object": "account_link", "url": url, "expires_at": expires_at}) }
    }

    pub(super) fn list_refunds(&self, intent: &str) -> Answer {
        let own = self.refunds.iter().filter(|(_, one)| one.intent == intent).rev();
        let data: Vec<_> = own.map(|(id, _)| self.refund_json(id)).collect();
        Answer { status: 200, body: json!({"object": "list", "data": data, "has_more": false}) }
    }

    pub(super) fn list_disputes(&self, intent: &str) -> Answer {
        let own = self.disputes.iter().filter(|(_, one)| one.intent == intent);
        let data: Vec<_> = own.map(|(id, _)| self.dispute_json(id)).collect();
        Answer { status: 200, body: json!({"object": "list", "data": data, "has_more": false}) }
    }

    fn add_refund(&mut self, intent: &str, amount: u64, metadata: Value) -> String {
        let id = self.id("re");
        let refund =
            Refund { intent: intent.to_owned(), amount, status: self.refunds_begin, failure: None, metadata };
        self.refunds.insert(id.clone(), refund);
        let (refund, charge) = (self.refund_json(&id), self.charge_json(intent));
        self.emit("refund.created", &refund);
        self.emit("charge.refunded", &charge);
        id
    }

    // What payers do.

    fn complete(&mut self, id: &str, payment_status: &'static str, intent_status: &'static str) {
        let session = &self.sessions[id];
        let intent = Intent {
            amount: session.amount,
            currency: session.form["line_items[0][price_data][currency]"].clone(),
            status: intent_status,
            metadata: metadata(&session.form, "payment_intent_data"),
            is_transferred: session.form.contains_key("payment_intent_data[transfer_data][destination]"),
            has_fee: session.form.contains_key("payment_intent_data[application_fee_amount]"),
        };
        let intent_id = self.id("pi");
        self.intents.insert(intent_id.clone(), intent);
        let session = self.sessions.get_mut(id).unwrap();
        assert_eq!(session.status, "open", "nobody can pay on {id}");
        (session.status, session.payment_status, session.intent) =
            ("complete", payment_status, Some(intent_id));
        let json = self.session_json(id, false);
        self.emit("checkout.session.completed", &json);
    }

    /// A payer pays by a card.
    pub fn pay(&mut self, session: &str) {
        self.complete(session, "paid", "succeeded");
    }

    /// A payer pays by a way that takes days.
    pub fn pay_slowly(&mut self, session: &str) {
        self.complete(session, "unpaid", "processing");
    }

    /// Days later: the money is there, or it is not.
    pub fn clear(&mut self, session: &str, is_there: bool) {
        let intent = self.intent_of(session);
        let status = if is_there { "succeeded" } else { "requires_payment_method" };
        self.intents.get_mut(&intent).unwrap().status = status;
        if is_there {
            self.sessions.get_mut(session).unwrap().payment_status = "paid";
        }
        let end = if is_there { "succeeded" } else { "failed" };
        let json = self.session_json(session, false);
        self.emit(&format!("checkout.session.async_payment_{end}"), &json);
    }

    /// The time of a session is over.
    pub fn end(&mut self, session: &str) {
        self.sessions.get_mut(session).unwrap().status = "expired";
        let json = self.session_json(session, false);
        self.emit("checkout.session.expired", &json);
    }

    // What its owner and banks do.

    /// The owner sends money back by the dashboard.
    pub fn refund_by_hand(&mut self, intent: &str, amount: u64) -> String {
        self.add_refund(intent, amount, json!({}))
    }

    /// A refund is made that was asked for, and nobody hears of it.
    pub fn refund_unheard(&mut self, intent: &str, amount: u64, metadata: Value) {
        self.add_refund(intent, amount, metadata);
        self.events.clear();
    }

    /// A bank is done with a refund.
    pub fn settle_refund(&mut self, refund: &str, status: &'static str) {
        self.refunds.get_mut(refund).unwrap().status = status;
        let json = self.refund_json(refund);
        self.emit(if status == "failed" { "refund.failed" } else { "refund.updated" }, &json);
    }

    /// A bank does not take a refund, for this reason; the events go by both names that there are of it.
    pub fn bounce_refund(&mut self, refund: &str, why: &'static str) {
        let known = self.refunds.get_mut(refund).unwrap();
        (known.status, known.failure) = ("failed", Some(why));
        let json = self.refund_json(refund);
        self.emit("refund.failed", &json);
        self.emit("charge.refund.updated", &json);
    }

    /// The ids of the accounts of payees, the oldest first.
    pub fn connected(&self) -> Vec<String> {
        self.connected.keys().cloned().collect()
    }

    /// A payee opens a page that was made; it opens once.
    pub fn open_link(&mut self, url: &str) -> bool {
        self.links.get_mut(url).is_some_and(|is_opened| !std::mem::replace(is_opened, true))
    }

    /// Stripe thinks of a payee's account: what it still wants to know, and why it is not in use.
    pub fn judge(
        &mut self,
        account: &str,
        works: bool,
        due: &[&'static str],
        disabled: Option<&'static str>,
    ) {
        let known = self.connected.get_mut(account).unwrap();
        (known.is_submitted, known.works, known.disabled) = (true, works, disabled);
        known.due = due.to_vec();
        let json = self.connected_json(account);
        self.emit_of(Some(account), "account.updated", &json);
    }

    /// A payee cuts the account off from the platform.
    pub fn cut_off(&mut self, account: &str) {
        self.connected.get_mut(account).unwrap().is_cut_off = true;
        let application = json!({"id": "ca_1", "object": "application", "name": "MundoTango"});
        self.emit_of(Some(account), "account.application.deauthorized", &application);
    }

    /// A payer's bank takes money.
    pub fn dispute(&mut self, intent: &str, amount: u64) -> String {
        let id = self.id("dp");
        let dispute = Dispute { intent: intent.to_owned(), amount, status: "needs_response" };
        self.disputes.insert(id.clone(), dispute);
        let json = self.dispute_json(&id);
        self.emit("charge.dispute.created", &json);
        id
    }

    /// A dispute is decided.
    pub fn decide(&mut self, dispute: &str, status: &'static str) {
        self.disputes.get_mut(dispute).unwrap().status = status;
        let json = self.dispute_json(dispute);
        self.emit("charge.dispute.closed", &json);
    }

    /// Nothing goes wrong any more.
    pub fn recover(&mut self) {
        self.mishaps.clear();
    }

    /// The time passes here.
    pub fn pass(&mut self, by: SignedDuration) {
        self.now = self.now.checked_add(by).unwrap();
        let now = self.now.as_second();
        let over: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, one)| one.status == "open" && one.expires_at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &over {
            self.end(id);
        }
    }
}

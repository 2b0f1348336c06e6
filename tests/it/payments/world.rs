//! Payments on a store of their own, a Stripe, and something to pay for, with a clock and a queue that the test moves.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mundotango::community::payments::checkout::Checkout;
use mundotango::community::payments::ledger::{Side, Sums};
use mundotango::community::payments::payable::Payables;
use mundotango::community::payments::quote::Purpose;
use mundotango::community::payments::reads::{Order, Payment};
use mundotango::community::payments::service::Payments;
use mundotango::community::payments::state::Status;
use mundotango::config::PaymentsOptions;
use mundotango::schema::schema;
use mundotango_gateway::problem::Problem;
use mundotango_jobs::{Failure, Jobs};
use mundotango_ops::Secret;
use mundotango_protocol::new_id;
use mundotango_storage::db::{Due, Outlet};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::{PageRequest, PageStart, to_the_millisecond};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::Door;
use crate::stripe::{FakeStripe, SECRET_KEY, WEBHOOK_SECRET, signature};

/// The most rounds of work: jobs that cause others for ever are a fault.
const MOST_ROUNDS: usize = 200;

/// What changes caused.
#[derive(Default)]
struct Caused(Mutex<Vec<Value>>);

impl Outlet for Caused {
    fn take(&self, due: Due) {
        let effects = due.effects().unwrap().unwrap();
        self.0.lock().extend(effects.map(|(_, effect)| effect.read::<Value>().unwrap()));
    }
}

/// A job that waits.
#[derive(Clone, Debug)]
struct Job {
    kind: String,
    payload: Value,
    due: Timestamp,
    attempts: u32,
}

pub struct World {
    pub stripe: FakeStripe,
    pub door: Arc<Door>,
    pub payments: Payments,
    now: Mutex<Timestamp>,
    caused: Arc<Caused>,
    jobs: Mutex<Vec<Job>>,
    /// What payers were told, by the kinds of notifications.
    told: Mutex<Vec<String>>,
    letters: Mutex<usize>,
    /// The channels with the statuses that they were told.
    published: Mutex<Vec<(String, String)>>,
    dead: Mutex<Vec<String>>,
    _store: EmbeddedStore,
    _folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut PaymentsOptions)) -> Self {
        let stripe = FakeStripe::start().await;
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap();
        let caused = Arc::new(Caused::default());
        let db = store.stores().db.with_outlet(Arc::<Caused>::clone(&caused));
        let now = to_the_millisecond(Timestamp::now());
        // Both clocks are one: a session ends at Stripe when it does here.
        stripe.account().now = now;
        let door = Arc::new(Door::new(now));
        let mut options = PaymentsOptions {
            secret_key: Some(Secret::new(SECRET_KEY.to_owned())),
            webhook_secrets: vec![Secret::new(WEBHOOK_SECRET.to_owned())],
            api_url: stripe.base().to_owned(),
            fee_basis_points: 250,
            ..PaymentsOptions::default()
        };
        change(&mut options);
        let payables = Payables::default().with(Purpose::Ticket, Arc::<Door>::clone(&door));
        let jobs = Jobs::new(db.clone(), |_, _| ());
        let payments = Payments::new(&db, jobs, &options, "https://tango.example", payables).unwrap();
        Self {
            stripe,
            door,
            payments,
            now: Mutex::new(now),
            caused,
            jobs: Mutex::default(),
            told: Mutex::default(),
            letters: Mutex::default(),
            published: Mutex::default(),
            dead: Mutex::default(),
            _store: store,
            _folder: folder,
        }
    }

    pub fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    pub fn order(payer: &str) -> Order {
        Order { purpose: Purpose::Ticket, thing: "door".to_owned(), payer: payer.to_owned() }
    }

    pub async fn checkout(&self, payer: &str) -> Result<Checkout, Problem> {
        self.payments.checkout(&Self::order(payer), new_id(), self.now()).await
    }

    /// The newest session at Stripe.
    pub fn session(&self) -> String {
        self.stripe.account().sessions().pop().expect("there is a session")
    }

    pub async fn payment(&self, id: &str) -> Payment {
        self.payments.store().reads().payment(id).await.unwrap().expect("there is such a payment")
    }

    pub async fn status(&self, id: &str) -> Status {
        self.payment(id).await.status()
    }

    /// Delivers an event as Stripe does.
    pub async fn deliver(&self, event: &Value) -> Result<(), Problem> {
        let (body, now) = (event.to_string(), self.now());
        let signature = signature(WEBHOOK_SECRET, &body, now);
        self.payments.receive(&signature, body.as_bytes(), now).await
    }

    /// Delivers all events that are new, each once and in their order; what they were.
    pub async fn deliver_all(&self) -> Vec<Value> {
        let events = self.stripe.account().take_events();
        for event in &events {
            self.deliver(event).await.unwrap();
        }
        events
    }

    /// Takes what changes caused into the queue.
    fn gather(&self) {
        for effect in std::mem::take(&mut *self.caused.0.lock()) {
            if let Some(publish) = effect.get("publish") {
                let status = publish["message"]["payment"]["status"].as_str().unwrap().to_owned();
                self.published.lock().push((publish["channel"].as_str().unwrap().to_owned(), status));
                continue;
            }
            if effect.get("audit").is_some() {
                continue;
            }
            let job = &effect["job"];
            let (kind, payload) = (job["job"]["kind"].as_str().unwrap(), job["job"]["payload"].clone());
            match kind {
                "notify" => self.told.lock().push(payload["kind"].as_str().unwrap().to_owned()),
                "payment_letter" => *self.letters.lock() += 1,
                _ => {
                    let due = job["due"].as_str().map_or(self.now(), |due| due.parse().unwrap());
                    self.jobs.lock().push(Job { kind: kind.to_owned(), payload, due, attempts: 0 });
                }
            }
        }
    }

    /// Does all jobs that are due, and those that they cause.
    pub async fn work(&self) {
        for _ in 0..MOST_ROUNDS {
            self.gather();
            let now = self.now();
            let due: Vec<_> = {
                let mut jobs = self.jobs.lock();
                let (due, later) = std::mem::take(&mut *jobs).into_iter().partition(|job| job.due <= now);
                *jobs = later;
                due
            };
            if due.is_empty() {
                return;
            }
            for job in due {
                self.run(job).await;
            }
        }
        panic!("the work has no end: {:?}", self.jobs.lock());
    }

    async fn run(&self, mut job: Job) {
        let of = |field: &str| job.payload[field].as_str().unwrap().to_owned();
        let (payments, now) = (&self.payments, self.now());
        job.attempts += 1;
        let is_last = job.attempts >= 10;
        let outcome = match job.kind.as_str() {
            "payment_step" => payments.step(&of("payment_id"), now).await,
            "payment_look" => payments.look(&of("payment_id"), now).await,
            "payment_refund" => payments.send_refund(&of("payment_id"), &of("refund_id"), now).await,
            "payment_posting" => payments.post(&of("payment_id"), &of("cause")).await,
            "payment_refund_owed" => {
                let minor = job.payload["minor"].as_u64();
                payments.ask_owed_refund(&of("payment_id"), &of("cause"), minor, now).await
            }
            "payment_refund_again" => payments.ask_again(&of("payment_id"), &of("refund_id"), now).await,
            "stripe_event" => payments.take_parked(&of("event_id"), is_last, now).await,
            other => panic!("nobody does {other}"),
        };
        let pause = match outcome {
            Ok(()) => return,
            Err(Failure::Hopeless(why)) => return self.dead.lock().push(why),
            Err(Failure::Retry { why, .. }) if is_last => return self.dead.lock().push(why),
            Err(Failure::Retry { after, .. }) => {
                after.map_or(SignedDuration::from_secs(30), |after| after.try_into().unwrap())
            }
            Err(Failure::Later { after, .. }) => {
                job.attempts -= 1;
                after.try_into().unwrap()
            }
        };
        job.due = now + pause.max(SignedDuration::from_secs(1));
        self.jobs.lock().push(job);
    }

    /// Lets the time pass here and at Stripe, minute by minute, and does what becomes due. Events wait.
    pub async fn pass(&self, by: SignedDuration) {
        let end = self.now() + by;
        self.work().await;
        while self.now() < end {
            let next = self.jobs.lock().iter().map(|job| job.due).min();
            let step = next.map_or(end, |next| next.min(end)).duration_since(self.now());
            let step = step.max(SignedDuration::from_secs(1));
            self.stripe.account().pass(step);
            let now = self.now() + step;
            *self.now.lock() = now;
            self.door.set_now(now);
            self.work().await;
        }
    }

    /// Jobs that wait for their time.
    pub fn waiting(&self) -> usize {
        self.gather();
        self.jobs.lock().len()
    }

    /// What payers were told since the last time; each by a letter as well.
    pub fn told(&self) -> Vec<String> {
        self.gather();
        let told = std::mem::take(&mut *self.told.lock());
        assert_eq!(std::mem::take(&mut *self.letters.lock()), told.len(), "{told:?}");
        told
    }

    /// The statuses that a user's own channel was told since the last time.
    pub fn published(&self, user: &str) -> Vec<String> {
        self.gather();
        let channel = format!("#{user}");
        let (own, others) = std::mem::take(&mut *self.published.lock())
            .into_iter()
            .partition::<Vec<_>, _>(|(known, _)| *known == channel);
        *self.published.lock() = others;
        own.into_iter().map(|(_, status)| status).collect()
    }

    /// Why jobs were given up.
    pub fn dead(&self) -> Vec<String> {
        self.dead.lock().clone()
    }

    /// What all days up to now come to, in euros.
    pub async fn sums(&self) -> Sums {
        let today = Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let days: Vec<_> = today.series(jiff::ToSpan::days(1)).take(90).collect();
        let mut sums = Sums::default();
        for one in self.payments.ledger().days(&days).await.unwrap() {
            sums.add(&one.sums);
        }
        sums
    }

    /// What an account of the ledger has: its debits less its credits.
    pub async fn balance(&self, account: &str) -> i64 {
        let all = PageRequest { start: PageStart::First, limit: 1_000 };
        let lines = self.payments.ledger().lines(account, all).await.unwrap();
        assert_eq!(lines.next, None);
        let sign = |side| if side == Side::Debit { 1 } else { -1 };
        lines.items.iter().map(|line| sign(line.side) * i64::try_from(line.minor).unwrap()).sum()
    }
}

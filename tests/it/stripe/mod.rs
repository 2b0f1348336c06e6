//! A Stripe of the tests' own, on this machine: it keeps sessions, payment intents, refunds and disputes, honours idempotency keys
//! as Stripe does, signs its events by the real scheme, and goes wrong by script. Nothing here is shared with the code under
//! test.

mod account;
mod doors;

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub use account::Account;

/// The secret key of the account.
pub const SECRET_KEY: &str = "sk_test_of_the_tests";
/// The signing secret of the webhook.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_tests_alone";

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// It is answered so, and nothing is done.
    Fails(u16),
    /// It is done, and answered 500: that is kept under the key.
    FailsAfter,
    /// It is done, and the connection is cut in the middle of the answer.
    CutAfter,
    /// It is done, and answered when somebody says so.
    Hold(Arc<Notify>),
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub form: std::collections::BTreeMap<String, String>,
    pub key: Option<String>,
    pub version: Option<String>,
}

/// The service. It ends with its value.
pub struct FakeStripe {
    base: String,
    account: Arc<Mutex<Account>>,
    task: AbortHandle,
}

impl FakeStripe {
    pub async fn start() -> Self {
        // The client wants to know whose cryptography it is to use, though nothing here speaks TLS.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let account = Arc::new(Mutex::new(Account::new()));
        let routes = doors::router(Arc::clone(&account));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }).abort_handle();
        Self { base, account, task }
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The account, to act as its payers, its banks and its owner do.
    pub fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock()
    }

    /// All that was asked at a path.
    pub fn asked(&self, method: &str, path: &str) -> Vec<Asked> {
        let asked = self.account().asked.clone();
        asked.into_iter().filter(|one| one.method == method && one.path == path).collect()
    }

    /// Lets something go wrong with the next call of a path.
    pub fn next(&self, path: &str, mishap: Mishap) {
        self.account().mishaps.push_back((path.to_owned(), mishap));
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The header of an event's delivery at a time.
pub fn signature(secret: &str, body: &str, at: Timestamp) -> String {
    let time = at.as_second();
    let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), format!("{time}.{body}").as_bytes());
    let hex = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    format!("t={time},v1={hex},v0=none")
}

/// Each event so many times, in an order that follows from a number.
pub fn shuffled(events: &[Value], times: usize, seed: u64) -> Vec<Value> {
    let mut all: Vec<_> = events.iter().cycle().take(times * events.len()).cloned().collect();
    all.shuffle(&mut SmallRng::seed_from_u64(seed));
    all
}

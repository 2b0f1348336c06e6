//! How often somebody may register, log in and refresh, fetch and import calendars, comment, report, mention people, have links
//! looked at, offer groups to strangers and ask them for conversations, hand places on, begin payments, have pages of Stripe's made
//! as a payee, and search in messages.
//!
//! Each address has a quota for each of the three. Guessing passwords is held up by counting failures alone: those of an
//! address at an account close the account for that address, so nobody can lock the owner out from elsewhere. Failures of
//! all addresses together only slow the account down: attempts then pass one after the other, also the owner's, until the
//! guessing stops. Quotas are hot state, so all nodes count together; without hot state each node counts by itself.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mundotango_gateway::ClientAddress;
use mundotango_gateway::problem::Problem;
use mundotango_storage::hot::{HotState, MemoryHotState, Quota};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::config::RateOptions;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// How often a calendar is fetched by its address, by all programs that have it.
const CALENDAR: Quota = Quota { limit: 60, window: HOUR };
/// How many files with events a user imports.
const IMPORTS: Quota = Quota { limit: 20, window: HOUR };
/// How often others are told that somebody types in a conversation.
const TYPING: Quota = Quota { limit: 1, window: Duration::from_secs(3) };
/// How many people who do not know the user the user asks for a conversation; before the address is known to be the user's, fewer.
const REQUESTS: Quota = Quota { limit: 100, window: Duration::from_hours(24) };
const REQUESTS_OF_UNVERIFIED: Quota = Quota { limit: 20, window: Duration::from_hours(24) };
/// How often a user searches in messages.
const MESSAGE_SEARCHES: Quota = Quota { limit: 120, window: MINUTE };
/// How often a user comments.
const COMMENTS: Quota = Quota { limit: 30, window: MINUTE };
/// How much a user reports.
const REPORTS: Quota = Quota { limit: 20, window: Duration::from_hours(24) };
/// How many people a user mentions.
const MENTIONS: Quota = Quota { limit: 100, window: Duration::from_hours(24) };
/// How many links of a user are looked at.
const PREVIEWS: Quota = Quota { limit: 60, window: HOUR };
/// To how many people who do not know the user the user offers groups.
const OFFERS: Quota = Quota { limit: 300, window: Duration::from_hours(24) };
/// To how many people a user offers a place at an event.
const HANDOVERS: Quota = Quota { limit: 20, window: Duration::from_hours(24) };
/// How many pages of Stripe's a payee has made: each is a call of Stripe under a key of its own.
const PAYEE_PAGES: Quota = Quota { limit: 10, window: HOUR };
/// How often a user asks to pay: each time may be a call of Stripe under a key of its own.
const CHECKOUTS: Quota = Quota { limit: 60, window: HOUR };
/// In what time [`RateOptions::failed_logins`] come back.
const FAILURES_WINDOW: Duration = Duration::from_mins(15);
/// How often a slowed account may be tried.
const SLOWED: Quota = Quota { limit: 1, window: Duration::from_secs(1) };
/// How long an account stays slowed after a failure that was one too many.
const SLOWED_FOR: Duration = Duration::from_mins(2);
/// How long an attempt at a slowed account waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Attempts that wait at the same time.
const WAITING: usize = 256;
/// Closed and slowed accounts that are remembered.
const REMEMBERED: usize = 100_000;

/// Whom a request's quotas are counted for.
#[derive(Clone, Debug)]
pub(super) struct Address(String);

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Calls of the server API come without an address. All of them share the quotas of one.
        let address = parts.extensions.get::<ClientAddress>();
        Ok(Self(address.map_or_else(|| "unknown".to_owned(), |address| address.limited_as().to_string())))
    }
}

/// The quotas, and who has used theirs up.
pub(super) struct Limits {
    options: RateOptions,
    hot: Arc<dyn HotState>,
    /// Stands in for hot state while that is away.
    own: MemoryHotState,
    /// Until when an account is closed for an address, or slowed for all.
    held_up: Mutex<HashMap<String, Instant>>,
    waiting: Semaphore,
}

/// An attempt to log in that was let through.
pub(super) struct Attempt<'a> {
    limits: &'a Limits,
    account: String,
    address: &'a Address,
}

impl Limits {
    pub(super) fn new(options: RateOptions, hot: Arc<dyn HotState>) -> Self {
        Self {
            options,
            hot,
            own: MemoryHotState::new(),
            held_up: Mutex::default(),
            waiting: Semaphore::new(WAITING),
        }
    }

    pub(super) async fn register(&self, address: &Address) -> Result<(), Problem> {
        self.per_address("register", self.options.registrations_per_address, HOUR, address).await
    }

    pub(super) async fn refresh(&self, address: &Address) -> Result<(), Problem> {
        self.per_address("refresh", self.options.refreshes_per_address, MINUTE, address).await
    }

    /// A letter with a link that somebody asks for.
    pub(super) async fn link(&self, address: &Address) -> Result<(), Problem> {
        self.per_address("link", self.options.links_per_address, HOUR, address).await
    }

    /// A calendar that is fetched by its address.
    pub(super) async fn calendar(&self, calendar_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("calendar:{calendar_id}"), CALENDAR).await;
        wait.map_or(Ok(()), |wait| Err(too_many("requests for this calendar", wait)))
    }

    /// A file with events that a user imports.
    pub(super) async fn import(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("import:{user_id}"), IMPORTS).await;
        wait.map_or(Ok(()), |wait| Err(too_many("imported files", wait)))
    }

    /// Whether others are told that a user types in a conversation.
    pub(super) async fn typing(&self, chat_id: &str, user_id: &str) -> bool {
        self.take(&format!("typing:{chat_id}:{user_id}"), TYPING).await.is_none()
    }

    /// A person who does not know a user and whom the user asks for a conversation.
    pub(super) async fn request(&self, user_id: &str, is_verified: bool) -> Result<(), Problem> {
        let quota = if is_verified { REQUESTS } else { REQUESTS_OF_UNVERIFIED };
        let wait = self.take(&format!("request:{user_id}"), quota).await;
        wait.map_or(Ok(()), |wait| Err(too_many("people who do not know you", wait)))
    }

    /// A search of a user in messages.
    pub(super) async fn message_search(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("message-search:{user_id}"), MESSAGE_SEARCHES).await;
        wait.map_or(Ok(()), |wait| Err(too_many("searches in messages", wait)))
    }

    /// A comment that a user writes.
    pub(super) async fn comment(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("comment:{user_id}"), COMMENTS).await;
        wait.map_or(Ok(()), |wait| Err(too_many("comments", wait)))
    }

    /// Something that a user reports.
    pub(super) async fn report(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("report:{user_id}"), REPORTS).await;
        wait.map_or(Ok(()), |wait| Err(too_many("reports", wait)))
    }

    /// A place at an event that a user offers to somebody.
    pub(super) async fn handover(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("handover:{user_id}"), HANDOVERS).await;
        wait.map_or(Ok(()), |wait| Err(too_many("places that you offer", wait)))
    }

    /// A page of Stripe's that is made for a payee.
    pub(super) async fn payee_page(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("payee-page:{user_id}"), PAYEE_PAGES).await;
        wait.map_or(Ok(()), |wait| Err(too_many("pages of Stripe's", wait)))
    }

    /// A payment that a user begins, or goes on with.
    pub(super) async fn checkout(&self, user_id: &str) -> Result<(), Problem> {
        let wait = self.take(&format!("checkout:{user_id}"), CHECKOUTS).await;
        wait.map_or(Ok(()), |wait| Err(too_many("payments that you begin", wait)))
    }

    /// Whether a link of a user is looked at.
    pub(super) async fn preview(&self, user_id: &str) -> bool {
        self.take(&format!("preview:{user_id}"), PREVIEWS).await.is_none()
    }

    /// So many people whom a user mentions.
    pub(super) async fn mentions(&self, user_id: &str, people: usize) -> Result<(), Problem> {
        self.take_for_each(people, &format!("mention:{user_id}"), MENTIONS, "mentions").await
    }

    /// So many people who do not know a user and to whom the user offers a group.
    pub(super) async fn offers(&self, user_id: &str, people: usize) -> Result<(), Problem> {
        self.take_for_each(people, &format!("offer:{user_id}"), OFFERS, "people who do not know you").await
    }

    async fn take_for_each(&self, people: usize, key: &str, quota: Quota, what: &str) -> Result<(), Problem> {
        for _ in 0..people {
            if let Some(wait) = self.take(key, quota).await {
                return Err(too_many(what, wait));
            }
        }
        Ok(())
    }

    /// Lets an attempt at an account through, or says when to come again. To be asked before the password is looked at,
    /// so that an attempt too many learns nothing.
    pub(super) async fn login<'a>(
        &'a self,
        email: &str,
        address: &'a Address,
    ) -> Result<Attempt<'a>, Problem> {
        let attempt = self.let_through(email, address).await;
        if attempt.is_err() {
            mundotango_ops::metrics().logins_total.with_label_values(&["limited"]).inc();
        }
        attempt
    }

    async fn let_through<'a>(&'a self, email: &str, address: &'a Address) -> Result<Attempt<'a>, Problem> {
        self.per_address("login", self.options.logins_per_address, MINUTE, address).await?;
        // No address of a user lies in hot state, and keys have one length.
        let account = URL_SAFE_NO_PAD.encode(Sha256::digest(email.to_lowercase().as_bytes()));
        let attempt = Attempt { limits: self, account, address };
        if let Some(wait) = self.held_up_for(&attempt.closed_key()) {
            return Err(too_many("failed logins", wait));
        }
        if self.held_up_for(&attempt.slowed_key()).is_some() {
            self.wait_for_turn(&attempt.slowed_key()).await?;
        }
        Ok(attempt)
    }

    async fn wait_for_turn(&self, key: &str) -> Result<(), Problem> {
        let Ok(_place) = self.waiting.try_acquire() else { return Err(too_many("logins", PATIENCE)) };
        let deadline = Instant::now() + PATIENCE;
        while let Some(wait) = self.take(key, SLOWED).await {
            if Instant::now() + wait > deadline {
                return Err(too_many("logins to this account", PATIENCE));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn per_address(
        &self,
        what: &str,
        limit: u32,
        window: Duration,
        Address(address): &Address,
    ) -> Result<(), Problem> {
        if limit == 0 {
            return Ok(());
        }
        let wait = self.take(&format!("auth:{what}:{address}"), Quota { limit, window }).await;
        wait.map_or(Ok(()), |wait| Err(too_many("requests from this address", wait)))
    }

    async fn take(&self, key: &str, quota: Quota) -> Option<Duration> {
        match self.hot.take(key, quota).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::debug!(%error, "this node counts by itself");
                self.own.take(key, quota).await.ok().flatten()
            }
        }
    }

    fn held_up_for(&self, key: &str) -> Option<Duration> {
        let until = *self.held_up.lock().get(key)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    fn hold_up(&self, key: String, wait: Duration) {
        let mut held_up = self.held_up.lock();
        if held_up.len() >= REMEMBERED {
            let now = Instant::now();
            held_up.retain(|_, until| *until > now);
        }
        if held_up.len() < REMEMBERED {
            held_up.insert(key, Instant::now() + wait);
        }
    }
}

impl Attempt<'_> {
    fn closed_key(&self) -> String {
        format!("auth:failed:{}:{}", self.account, self.address.0)
    }

    fn slowed_key(&self) -> String {
        format!("auth:slowed:{}", self.account)
    }

    /// The password was wrong.
    pub(super) async fn failed(self) {
        mundotango_ops::metrics().logins_total.with_label_values(&["refused"]).inc();
        let limits = self.limits;
        let options = &limits.options;
        if options.failed_logins > 0 {
            let quota = Quota { limit: options.failed_logins, window: FAILURES_WINDOW };
            if let Some(wait) = limits.take(&self.closed_key(), quota).await {
                limits.hold_up(self.closed_key(), wait);
            }
        }
        if options.failed_logins_per_account > 0 {
            let quota = Quota { limit: options.failed_logins_per_account, window: HOUR };
            let key = format!("auth:failed:{}", self.account);
            if limits.take(&key, quota).await.is_some() {
                limits.hold_up(self.slowed_key(), SLOWED_FOR);
            }
        }
    }
}

fn too_many(what: &str, wait: Duration) -> Problem {
    Problem::too_many_requests(format!("too many {what}")).with_retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(options: RateOptions) -> Limits {
        Limits::new(options, Arc::new(MemoryHotState::new()))
    }

    async fn fail(limits: &Limits, address: &str) -> Result<(), Problem> {
        let address = Address(address.to_owned());
        limits.login("Ana@example.com", &address).await?.failed().await;
        Ok(())
    }

    #[tokio::test]
    async fn who_guesses_is_held_up_and_the_owner_is_not() {
        let limits = limits(RateOptions { failed_logins: 3, ..RateOptions::default() });
        for _ in 0..4 {
            fail(&limits, "192.0.2.1").await.unwrap();
        }
        assert_eq!(fail(&limits, "192.0.2.1").await.unwrap_err().status().as_u16(), 429);
        let home = Address("192.0.2.2".to_owned());
        assert!(limits.login("ana@example.com", &home).await.is_ok());
        let guesser = Address("192.0.2.1".to_owned());
        assert!(limits.login("beto@example.com", &guesser).await.is_ok(), "another account");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_under_attack_from_everywhere_is_slowed_and_not_closed() {
        let limits = Arc::new(limits(RateOptions { failed_logins_per_account: 5, ..RateOptions::default() }));
        for number in 0..6 {
            fail(&limits, &format!("192.0.2.{number}")).await.unwrap();
        }
        let owner = Address("198.51.100.1".to_owned());
        assert!(limits.login("ana@example.com", &owner).await.is_ok());
        assert!(
            limits
                .held_up_for(&limits.login("ana@example.com", &owner).await.unwrap().slowed_key())
                .is_some()
        );
    }

    #[tokio::test]
    async fn who_offers_groups_to_strangers_reaches_300_people_a_day() {
        let limits = limits(RateOptions::default());
        for _ in 0..3 {
            limits.offers("ana", 100).await.unwrap();
        }
        assert_eq!(limits.offers("ana", 1).await.unwrap_err().status().as_u16(), 429);
        assert!(limits.offers("ana", 0).await.is_ok() && limits.offers("ben", 1).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_has_quotas_and_0_is_none() {
        let options =
            RateOptions { registrations_per_address: 2, refreshes_per_address: 0, ..RateOptions::default() };
        let limits = limits(options);
        let (one, other) = (Address("192.0.2.1".to_owned()), Address("192.0.2.2".to_owned()));
        assert!(limits.register(&one).await.is_ok() && limits.register(&one).await.is_ok());
        assert_eq!(limits.register(&one).await.unwrap_err().status().as_u16(), 429);
        assert!(limits.register(&other).await.is_ok());
        for _ in 0..1000 {
            assert!(limits.refresh(&one).await.is_ok());
        }
    }
}

//! Letters: jobs that hold who is told of what, and no more. What the letter says is looked up when it is sent, so that nobody
//! is told of what is no longer so.

pub(super) mod accounts;
pub(super) mod asking;
pub(super) mod bookings;
pub(super) mod decisions;
pub(super) mod digests;
pub(super) mod events;
pub(super) mod handovers;
pub(super) mod invitations;
pub(super) mod payments;
pub(super) mod series;
pub(super) mod tickets;
pub(super) mod unsubscribe;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use mundotango_gateway::tokens::{TokenError, Tokens};
use mundotango_jobs::{Attempted, Breakers, Failure, Jobs, NewPools, Queue, Seen};
use mundotango_ops::traces::{Kind, Span};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use sha2::{Digest as _, Sha256};

use super::accounts::store::{AccountStore, User};
use super::admin::desk::Desk;
use super::admin::reviews::store::Reviews;
use super::admin::tickets::store::Tickets;
use super::events::series::store::SeriesStore;
use super::events::store::EventStore;
use super::housing::bookings::store::BookingStore;
use super::housing::listings::store::ListingStore;
use super::notifications::preferences::{PreferenceStore, Preferences};
use super::notifications::store::NotificationStore;
use super::payments::reads::PaymentReads;
use super::site::Site;
use crate::email::{
    Address, Dates, Feedback, Invitation, Language, Letter, MailOptions, Mailbox, Message, MessageId,
    Renderer, ReturnPaths, SendError, SuppressionList, TemporaryScope, Transport, UnsubscribeLinks,
};

/// The letters that wait.
pub static EMAIL: Queue = Queue::new("email", 5);

/// Longer than a server may take for all steps of a letter, as the options bound each of them.
const SEND_TIMEOUT: Duration = Duration::from_mins(20);

/// When something is done that was to be at a time: at once where that has passed since another time and the event has not begun,
/// and not at all where it had passed before.
fn due_since(due: Timestamp, since: Timestamp, starts_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (due > since && now < starts_at).then(|| due.max(now))
}

/// Who writes letters.
pub struct Letters {
    jobs: Jobs,
    accounts: AccountStore,
    events: EventStore,
    series: SeriesStore,
    payments: PaymentReads,
    bookings: BookingStore,
    listings: ListingStore,
    tickets: Desk<Tickets>,
    reviews: Desk<Reviews>,
    notifications: NotificationStore,
    preferences: PreferenceStore,
    tokens: Arc<Tokens>,
    renderer: Renderer,
    dates: Dates,
    links: UnsubscribeLinks,
    transport: Box<dyn Transport>,
    breakers: Breakers,
    suppressions: SuppressionList,
    from: Mailbox,
    bounces: Option<ReturnPaths>,
    public_url: String,
    site: Site,
    language: Language,
}

/// How long letters wait where the mail server refuses everything that comes from here.
const MISCONFIGURED: Duration = Duration::from_mins(5);

/// Where letters go, for the circuit breaker.
const DESTINATION: &str = "the mail server";

/// The jobs that are done by those who write letters.
pub fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    let pools = events::handled(accounts::handled(pools, letters), letters);
    let pools = series::handled(pools, letters);
    let pools = tickets::handled(invitations::handled(pools, letters), letters);
    let pools = asking::handled(handovers::handled(pools, letters), letters);
    let pools = bookings::handled(payments::handled(pools, letters), letters);
    digests::handled(decisions::handled(pools, letters), letters)
}

/// The secret that signs return paths. It is made of the node's secret, so all nodes have the same.
pub(crate) fn return_path_secret(tokens: &Tokens) -> Result<String, TokenError> {
    tokens.seal("return paths", "key")
}

/// The one writer of letters, shared by the kinds of jobs.
struct Own(Arc<Letters>);

impl Letters {
    /// Reads users and events from a store, puts letters to many into their queue, and sends by a transport.
    pub fn new(
        db: &Db,
        jobs: Jobs,
        tokens: Arc<Tokens>,
        options: &MailOptions,
        transport: Box<dyn Transport>,
    ) -> anyhow::Result<Self> {
        let secret = return_path_secret(&tokens)?;
        let bounces =
            ReturnPaths::of_mailbox(options.bounces.as_deref(), secret.as_bytes()).context("mail.bounces")?;
        Ok(Self {
            jobs,
            accounts: AccountStore::new(db.clone()),
            events: EventStore::new(db.clone()),
            series: SeriesStore::new(db.clone()),
            payments: PaymentReads::new(db.clone()),
            bookings: BookingStore::new(db.clone()),
            listings: ListingStore::new(db.clone()),
            tickets: Desk::new(db.clone()),
            reviews: Desk::new(db.clone()),
            notifications: NotificationStore::new(db.clone()),
            preferences: PreferenceStore::new(db.clone()),
            links: UnsubscribeLinks::new(&options.public_url, unsubscribe::key(&tokens)?)?,
            tokens,
            renderer: Renderer::new()?,
            dates: Dates::new()?,
            transport,
            breakers: Breakers::default(),
            suppressions: SuppressionList::new(db.clone()),
            from: options.from.parse().context("mail.from")?,
            bounces,
            public_url: options.public_url.trim_end_matches('/').to_owned(),
            site: Site::of(options)?,
            language: options.language,
        })
    }

    /// Who reads a letter, if there is still such a user.
    async fn reader(&self, user_id: &str) -> Result<Option<Reader>, Failure> {
        let Some(user) = self.accounts.user(user_id).await? else { return Ok(None) };
        self.reading(user).await.map(Some)
    }

    /// Who reads the letter about the end of the own account.
    async fn reader_who_leaves(&self, user_id: &str) -> Result<Option<Reader>, Failure> {
        let Some((user, Some(_))) = self.accounts.account(user_id).await? else { return Ok(None) };
        self.reading(user).await.map(Some)
    }

    async fn reading(&self, user: User) -> Result<Reader, Failure> {
        let preferences = self.preferences.of(&user.id).await?;
        let language = preferences.language().unwrap_or(self.language);
        Ok(Reader { user, preferences, language })
    }

    /// Sends a letter to a user's address, unless the user does not want such letters.
    async fn send(&self, attempted: &Attempted, reader: &Reader, letter: &Letter) -> Result<(), Failure> {
        self.send_to(attempted, reader, &reader.user.email, letter).await
    }

    /// Sends a letter to a user at some address.
    async fn send_to(
        &self,
        attempted: &Attempted,
        reader: &Reader,
        address: &str,
        letter: &Letter,
    ) -> Result<(), Failure> {
        self.send_with(attempted, reader, address, letter, None).await
    }

    /// The same with what calendar programs read, if there is something for them.
    async fn send_with(
        &self,
        attempted: &Attempted,
        reader: &Reader,
        address: &str,
        letter: &Letter,
        invitation: Option<&Invitation>,
    ) -> Result<(), Failure> {
        if letter.scope().list().is_some_and(|list| !reader.preferences.takes(list)) {
            count(letter, "unwanted");
            return Ok(());
        }
        let address: Address =
            address.parse().map_err(|error| Failure::Hopeless(format!("the user's address {error}")))?;
        let message = self
            .compose(attempted, reader, &address, letter, invitation)
            .map_err(|error| Failure::Hopeless(format!("{error:#}")))?;
        let now = mundotango_storage::now();
        if let Some(why) = self.suppressions.why_not(&address, letter.scope(), message.id(), now).await? {
            tracing::info!(letter = letter.name(), %why, "a letter is not sent");
            count(letter, "suppressed");
            return Ok(());
        }
        self.breakers.admit(DESTINATION)?;
        let mut span = Span::child("mail send", Kind::Client);
        if let Some(span) = span.recorded() {
            span.set("mail.letter", letter.name()).set("mail.message.id", message.id().as_str());
        }
        let outcome = span.run(self.transport.send(&message)).await;
        let (status, seen) = seen(&outcome);
        count(letter, status);
        self.breakers.note(DESTINATION, seen);
        match outcome {
            Ok(()) => Ok(()),
            Err(SendError::Temporary { why, retry_after, .. }) => {
                Err(Failure::Retry { why, after: retry_after })
            }
            Err(SendError::Misconfigured { why }) => {
                tracing::error!(why, "the mail server refuses this node");
                Err(Failure::Later { why, after: MISCONFIGURED })
            }
            Err(error @ SendError::Refused { .. }) => {
                self.note_refusal(&address, &error, message.id()).await?;
                Err(Failure::Hopeless(error.to_string()))
            }
            // A second copy is worse than none for these letters; an admin sees what is uncertain and may try again.
            Err(error @ SendError::Uncertain { .. }) => Err(Failure::Hopeless(error.to_string())),
        }
    }

    /// Notes what a refusal says of an address.
    async fn note_refusal(
        &self,
        address: &Address,
        error: &SendError,
        message: &MessageId,
    ) -> Result<(), StoreError> {
        let SendError::Refused { enhanced: Some(enhanced), .. } = error else { return Ok(()) };
        let Some(feedback) = Feedback::of_refusal(address, enhanced, message) else { return Ok(()) };
        self.suppressions.record(&feedback, mundotango_storage::now()).await.map(drop)
    }

    fn compose(
        &self,
        attempted: &Attempted,
        reader: &Reader,
        address: &Address,
        letter: &Letter,
        invitation: Option<&Invitation>,
    ) -> anyhow::Result<Message> {
        // A name that no header can hold is left out.
        let to = Mailbox { name: reader.user.full_name.parse().ok(), address: address.clone() };
        let rendered = self.renderer.render(letter, reader.language, &self.links.of(&reader.user.id))?;
        let id = MessageId::of_job(&message_id(&attempted.id))?;
        let made = attempted.enqueued_at();
        let domain = self.from.address.domain();
        let message = Message::compose_with(&self.from, &to, &rendered, invitation, id, domain, made)?;
        Ok(match &self.bounces {
            Some(paths) => {
                let return_path = paths.of(message.id(), address)?;
                message.with_return_path(&return_path)?
            }
            None => message,
        })
    }
}

/// What an attempt is called in the metrics, and what it says of the mail server. A recipient whose mail is not taken for now
/// is no fault of the server: letters to others go on.
fn seen(outcome: &Result<(), SendError>) -> (&'static str, Seen) {
    match outcome {
        Ok(()) => ("sent", Seen::Works),
        Err(SendError::Temporary { scope: TemporaryScope::Recipient, .. }) => ("failed", Seen::Works),
        Err(SendError::Temporary { scope: TemporaryScope::Server, .. }) => ("failed", Seen::Fails),
        Err(SendError::Refused { .. }) => ("refused", Seen::Works),
        Err(SendError::Uncertain { .. }) => ("uncertain", Seen::Fails),
        Err(SendError::Misconfigured { .. }) => ("misconfigured", Seen::RefusesAll),
    }
}

fn count(letter: &Letter, status: &str) {
    mundotango_ops::metrics().letters_total.with_label_values(&[letter.name(), status]).inc();
}

/// Who reads a letter.
struct Reader {
    user: User,
    preferences: Preferences,
    language: Language,
}

impl Reader {
    fn name(&self) -> String {
        self.user.full_name.clone()
    }
}

/// The name of a job's message, the same at each attempt: ids of jobs may be longer than a message's, and hold more.
fn message_id(job: &str) -> String {
    let digest = Sha256::digest(job.as_bytes());
    digest.first_chunk().map_or_else(String::new, |first| format!("{:032x}", u128::from_be_bytes(*first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fell_due_while_an_event_was_away_is_done_at_once_unless_it_has_begun() {
        let hour = |hour: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hour);
        let starts = hour(100);
        let at = |due, since, now| due_since(hour(due), hour(since), starts, hour(now));
        assert_eq!(at(76, 10, 20), Some(hour(76)), "it is to come");
        assert_eq!(at(76, 70, 80), Some(hour(80)), "it was away then");
        assert_eq!(at(76, 77, 80), None, "it was there still, and they were told");
        assert_eq!(at(76, 70, 100), None, "it has begun");
        assert_eq!(at(76, 76, 76), None, "as for one that is made too late");
    }

    #[test]
    fn one_recipients_trouble_holds_up_no_other_letter() {
        let later = |scope| Err(SendError::Temporary { why: String::new(), retry_after: None, scope });
        let breakers = Breakers::default();
        for _ in 0..100 {
            breakers.note(DESTINATION, seen(&later(TemporaryScope::Recipient)).1);
            assert!(breakers.admit(DESTINATION).is_ok());
        }
        for _ in 0..100 {
            breakers.note(DESTINATION, seen(&later(TemporaryScope::Server)).1);
        }
        assert!(breakers.admit(DESTINATION).is_err());
    }
}

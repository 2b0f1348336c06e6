//! Letters: jobs that hold who is told of what, and no more. What the letter says is looked up when it is sent, so that nobody
//! is told of what is no longer so.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools, Queue};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use serde::{Deserialize, Serialize};

use super::accounts::store::{AccountStore, User};
use super::effects::Effect;
use super::events::rules::RsvpStatus;
use super::events::store::{Event, EventStore};
use crate::email::{
    EventLines, Language, Letter, MailOptions, Mailbox, Message, MessageId, Renderer, SendError, Transport,
};

/// The letters that wait.
pub static EMAIL: Queue = Queue::new("email", 5);

/// To somebody who has just got an account.
static WELCOME: JobKind<Welcome> = JobKind::new("welcome_letter", &EMAIL, 1)
    .timeout(SEND_TIMEOUT)
    .backoff(Duration::from_secs(15), Duration::from_hours(2))
    .useless_after(Duration::from_hours(7 * 24));
/// To somebody who waited for a place and has one.
static PROMOTED: JobKind<Promoted> = JobKind::new("promoted_letter", &EMAIL, 1)
    .timeout(SEND_TIMEOUT)
    .backoff(Duration::from_secs(15), Duration::from_mins(30))
    .useless_after(Duration::from_hours(24));

/// Longer than a server may take for all steps of a letter, as the options bound each of them.
const SEND_TIMEOUT: Duration = Duration::from_mins(20);

#[derive(Debug, Serialize, Deserialize)]
struct Welcome {
    user_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Promoted {
    user_id: String,
    event_id: String,
}

/// Welcomes a new user.
pub(super) fn welcome(user_id: &str) -> Result<Effect, StoreError> {
    Ok(Effect::job(WELCOME.job(&Welcome { user_id: user_id.to_owned() })?))
}

/// Tells a user who waited of the place. Those of one event share turns with all other letters.
pub(super) fn promoted(user_id: &str, event_id: &str) -> Result<Effect, StoreError> {
    let payload = Promoted { user_id: user_id.to_owned(), event_id: event_id.to_owned() };
    Ok(Effect::job(PROMOTED.job(&payload)?.group(event_id)))
}

/// Who writes letters.
pub struct Letters {
    accounts: AccountStore,
    events: EventStore,
    renderer: Renderer,
    transport: Box<dyn Transport>,
    from: Mailbox,
    public_url: String,
    language: Language,
}

/// The jobs that are done by those who write letters.
pub fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&WELCOME, Own(Arc::clone(letters))).handle(&PROMOTED, Own(Arc::clone(letters)))
}

/// The one writer of letters, shared by the kinds of jobs.
struct Own(Arc<Letters>);

#[async_trait]
impl Handler<Welcome> for Own {
    async fn run(&self, attempted: &Attempted, job: Welcome) -> Result<(), Failure> {
        let letters = &self.0;
        let Some(user) = letters.accounts.user(&job.user_id).await? else { return Ok(()) };
        let letter = Letter::Welcome { name: user.full_name.clone(), home_url: letters.public_url.clone() };
        letters.send(attempted, &user, &letter).await
    }
}

#[async_trait]
impl Handler<Promoted> for Own {
    async fn run(&self, attempted: &Attempted, job: Promoted) -> Result<(), Failure> {
        let letters = &self.0;
        let Some(user) = letters.accounts.user(&job.user_id).await? else { return Ok(()) };
        let Some(event) = letters.events.event(&job.event_id).await? else { return Ok(()) };
        let answer = letters.events.rsvp_of(&job.event_id, &job.user_id).await?;
        let is_going = answer.is_some_and(|answer| answer.status == RsvpStatus::Going);
        // Who gave the place back meanwhile, or comes too late, is not told of it.
        if !is_going || event.when.over_at() <= mundotango_storage::now() {
            return Ok(());
        }
        let event = letters.lines_of(&event);
        letters.send(attempted, &user, &Letter::Promoted { name: user.full_name.clone(), event }).await
    }
}

impl Letters {
    /// Reads users and events from a store and sends by a transport.
    pub fn new(db: &Db, options: &MailOptions, transport: Box<dyn Transport>) -> anyhow::Result<Self> {
        Ok(Self {
            accounts: AccountStore::new(db.clone()),
            events: EventStore::new(db.clone()),
            renderer: Renderer::new()?,
            transport,
            from: options.from.parse().context("mail.from")?,
            public_url: options.public_url.trim_end_matches('/').to_owned(),
            language: options.language,
        })
    }

    fn lines_of(&self, event: &Event) -> EventLines {
        let start = &event.when.start;
        let zone = start.time_zone().iana_name().unwrap_or("UTC");
        EventLines {
            title: event.title.clone(),
            when: format!("{} ({zone})", start.strftime("%Y-%m-%d %H:%M")),
            place: event.location.text.clone(),
            url: format!("{}/events/{}", self.public_url, event.id),
        }
    }

    async fn send(&self, attempted: &Attempted, user: &User, letter: &Letter) -> Result<(), Failure> {
        let message =
            self.compose(attempted, user, letter).map_err(|error| Failure::Hopeless(format!("{error:#}")))?;
        match self.transport.send(&message).await {
            Ok(()) => Ok(()),
            Err(SendError::Temporary { why, retry_after }) => Err(Failure::Retry { why, after: retry_after }),
            Err(error @ (SendError::Refused { .. } | SendError::Uncertain { .. })) => {
                // A second copy is worse than none for these letters; an admin sees what is uncertain and may try again.
                Err(Failure::Hopeless(error.to_string()))
            }
        }
    }

    fn compose(&self, attempted: &Attempted, user: &User, letter: &Letter) -> anyhow::Result<Message> {
        let address = user.email.parse().context("the user's address")?;
        // A name that no header can hold is left out.
        let to = Mailbox { name: user.full_name.parse().ok(), address };
        let rendered = self.renderer.render(letter, self.language)?;
        let id = MessageId::of_job(&attempted.id.replace('.', "-"))?;
        let made = Timestamp::from_millisecond(attempted.enqueued).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Message::compose(&self.from, &to, &rendered, id, self.from.address.domain(), made)?)
    }
}

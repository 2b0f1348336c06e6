//! Letters: jobs that hold who is told of what, and no more. What the letter says is looked up when it is sent, so that nobody
//! is told of what is no longer so.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, Jobs, NewPools, Queue};
use mundotango_storage::db::Db;
use mundotango_storage::{PageRequest, PageStart, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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

/// Reminds all who are going to an event, a letter each.
static REMINDERS: JobKind<Reminders> = JobKind::new("event_reminders", &EMAIL, 1)
    .timeout(Duration::from_mins(10))
    .useless_after(Duration::from_hours(12));
/// To somebody who is going to an event that begins soon.
static REMINDER: JobKind<Reminder> = JobKind::new("reminder_letter", &EMAIL, 1)
    .timeout(SEND_TIMEOUT)
    .backoff(Duration::from_secs(15), Duration::from_mins(30))
    .useless_after(Duration::from_hours(18));

/// How long before an event those are reminded who are going.
const REMINDED_BEFORE: SignedDuration = SignedDuration::from_hours(24);
/// Answers that are read at once.
const ANSWERS_AT_ONCE: usize = 100;
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

#[derive(Debug, Serialize, Deserialize)]
struct Reminders {
    event_id: String,
    /// When it starts: a reminder is of the event as it was planned then.
    starts_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reminder {
    user_id: String,
    event_id: String,
    starts_at: Timestamp,
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

/// Reminds those who will be going to an event; nothing where that is too soon.
pub(super) fn reminders(event: &Event) -> Result<Option<Effect>, StoreError> {
    let starts_at = event.when.starts_at();
    let due = starts_at - REMINDED_BEFORE;
    if due <= event.created_at {
        return Ok(None);
    }
    let job = REMINDERS.job(&Reminders { event_id: event.id.clone(), starts_at })?;
    Ok(Some(Effect::job(job.due(due).group(event.id.as_str()))))
}

/// Who writes letters.
pub struct Letters {
    jobs: Jobs,
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
    let own = || Own(Arc::clone(letters));
    pools.handle(&WELCOME, own()).handle(&PROMOTED, own()).handle(&REMINDERS, own()).handle(&REMINDER, own())
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
        let is_going = letters.is_going(&job.event_id, &job.user_id).await?;
        // Who gave the place back meanwhile, or comes too late, is not told of it.
        if !is_going || event.when.over_at() <= mundotango_storage::now() {
            return Ok(());
        }
        let event = letters.lines_of(&event);
        letters.send(attempted, &user, &Letter::Promoted { name: user.full_name.clone(), event }).await
    }
}

#[async_trait]
impl Handler<Reminders> for Own {
    async fn run(&self, attempted: &Attempted, job: Reminders) -> Result<(), Failure> {
        let letters = &self.0;
        if letters.upcoming(&job.event_id, job.starts_at).await?.is_none() {
            return Ok(());
        }
        let mut start = PageStart::First;
        loop {
            let page =
                letters.events.rsvps(&job.event_id, PageRequest { start, limit: ANSWERS_AT_ONCE }).await?;
            for answer in page.items.iter().filter(|answer| answer.status == RsvpStatus::Going) {
                let payload = Reminder {
                    user_id: answer.user_id.clone(),
                    event_id: job.event_id.clone(),
                    starts_at: job.starts_at,
                };
                // Whoever does this job again finds the letters that are there, or were sent.
                let id = format!("{}.{}", attempted.id, answer.user_id);
                let letter = REMINDER.job(&payload)?.group(job.event_id.as_str());
                letters.jobs.enqueue_as(id, letter).await.map_err(Failure::retry)?;
            }
            match page.next {
                Some(next) => start = PageStart::After(next),
                None => return Ok(()),
            }
        }
    }
}

#[async_trait]
impl Handler<Reminder> for Own {
    async fn run(&self, attempted: &Attempted, job: Reminder) -> Result<(), Failure> {
        let letters = &self.0;
        let Some(event) = letters.upcoming(&job.event_id, job.starts_at).await? else { return Ok(()) };
        let Some(user) = letters.accounts.user(&job.user_id).await? else { return Ok(()) };
        if !letters.is_going(&job.event_id, &job.user_id).await? {
            return Ok(());
        }
        let event = letters.lines_of(&event);
        letters.send(attempted, &user, &Letter::Reminder { name: user.full_name.clone(), event }).await
    }
}

impl Letters {
    /// Reads users and events from a store, puts letters to many into their queue, and sends by a transport.
    pub fn new(
        db: &Db,
        jobs: Jobs,
        options: &MailOptions,
        transport: Box<dyn Transport>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            jobs,
            accounts: AccountStore::new(db.clone()),
            events: EventStore::new(db.clone()),
            renderer: Renderer::new()?,
            transport,
            from: options.from.parse().context("mail.from")?,
            public_url: options.public_url.trim_end_matches('/').to_owned(),
            language: options.language,
        })
    }

    /// The event, if it still starts then and has not started.
    async fn upcoming(&self, event_id: &str, starts_at: Timestamp) -> Result<Option<Event>, StoreError> {
        let event = self.events.event(event_id).await?;
        let is_planned = |event: &Event| event.when.starts_at() == starts_at;
        Ok(event.filter(|event| is_planned(event) && starts_at > mundotango_storage::now()))
    }

    async fn is_going(&self, event_id: &str, user_id: &str) -> Result<bool, StoreError> {
        let answer = self.events.rsvp_of(event_id, user_id).await?;
        Ok(answer.is_some_and(|answer| answer.status == RsvpStatus::Going))
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
        let id = MessageId::of_job(&message_id(&attempted.id))?;
        let made = Timestamp::from_millisecond(attempted.enqueued).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Message::compose(&self.from, &to, &rendered, id, self.from.address.domain(), made)?)
    }
}

/// The name of a job's message, the same at each attempt: ids of jobs may be longer than a message's, and hold more.
fn message_id(job: &str) -> String {
    let digest = Sha256::digest(job.as_bytes());
    digest.first_chunk().map_or_else(String::new, |first| format!("{:032x}", u128::from_be_bytes(*first)))
}

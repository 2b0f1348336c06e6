//! Asking those who are going to an event whether they still come, some days before it, where its hosts want that: who does not
//! declines, and the place goes to the first who waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::events::{Telling, fan_out, letter};
use super::{Letters, Own, due_since};
use crate::community::effects::Effect;
use crate::community::events::rules::RsvpStatus;
use crate::community::events::store::Event;
use crate::community::notifications::kinds::NotificationKind;
use crate::email::Letter;

/// Asks all who are going to an event.
static QUESTIONS: JobKind<Questions> = fan_out("event_still_coming").useless_after(Duration::from_hours(24));
/// To somebody who is going.
static QUESTION: JobKind<Question> = letter("still_coming_letter").useless_after(Duration::from_hours(24));

/// Asks all who are going to an event.
#[derive(Debug, Serialize, Deserialize)]
struct Questions {
    event_id: String,
    /// When it starts: they are asked of the event as it was planned then.
    starts_at: Timestamp,
    /// How many days before it.
    days: u32,
    /// Behind whose answer this job begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    user_id: String,
    event_id: String,
    /// When the event starts: the letter is of no use where it was moved meanwhile.
    starts_at: Timestamp,
}

fn due(starts_at: Timestamp, days: u32) -> Timestamp {
    starts_at - SignedDuration::from_hours(24 * i64::from(days))
}

/// Has those asked who will be going to an event; nothing where nobody is to be, or it is too late for that. They are asked at once
/// where they should have been since a time, and it has not begun.
pub(in crate::community) fn question(
    event: &Event,
    since: Timestamp,
    now: Timestamp,
) -> Result<Option<Effect>, StoreError> {
    let Some(days) = event.settings.ask_again else { return Ok(None) };
    let starts_at = event.when.starts_at();
    let Some(due) = due_since(due(starts_at, days), since, starts_at, now) else { return Ok(None) };
    let job = QUESTIONS.job(&Questions { event_id: event.id.clone(), starts_at, days, after: None })?;
    Ok(Some(Effect::job(job.due(due).group(event.id.as_str()))))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    let own = || Own(Arc::clone(letters));
    pools.handle(&QUESTIONS, own()).handle(&QUESTION, own())
}

#[async_trait]
impl Handler<Questions> for Own {
    async fn run(&self, attempted: &Attempted, job: Questions) -> Result<(), Failure> {
        let Own(letters) = self;
        // Where it was moved, or is to be asked at another time, another job asks.
        let Some(event) = letters.upcoming(&job.event_id, job.starts_at, now()).await? else { return Ok(()) };
        if event.settings.ask_again != Some(job.days) {
            return Ok(());
        }
        // Whatever jobs ask before the same start, a guest hears of it once.
        let since = due(job.starts_at, job.days).max(attempted.enqueued_at());
        let letter = |user_id: &str| {
            let (user_id, event_id) = (user_id.to_owned(), job.event_id.clone());
            Ok(QUESTION.job(&Question { user_id, event_id, starts_at: job.starts_at })?.due(since))
        };
        let telling = Telling {
            event: &event,
            kind: NotificationKind::EventStillComing,
            since,
            is_told: |status| status == RsvpStatus::Going,
            letter: &letter,
        };
        let Some(after) = letters.tell_some(&telling, job.after.clone()).await? else { return Ok(()) };
        let (event_id, starts_at, days) = (job.event_id.clone(), job.starts_at, job.days);
        let next = Questions { event_id, starts_at, days, after: Some(after.clone()) };
        letters.go_on(&telling, &after, QUESTIONS.job(&next)?).await
    }
}

#[async_trait]
impl Handler<Question> for Own {
    async fn run(&self, attempted: &Attempted, job: Question) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(event) = letters.upcoming(&job.event_id, job.starts_at, now()).await? else { return Ok(()) };
        let answer = letters.events.rsvp_of(&job.event_id, &job.user_id).await?;
        // Who has answered meanwhile is not asked.
        if answer.is_none_or(|answer| answer.status != RsvpStatus::Going) {
            return Ok(());
        }
        let kind = NotificationKind::EventStillComing;
        let Some(reader) = letters.guest(&job.user_id, &job.event_id, kind).await? else { return Ok(()) };
        let text = kind.words(reader.language, &event.title, 1);
        let url = letters.lines_of(&event, &reader).url;
        let letter = Letter::Notification { name: reader.name(), text, url };
        letters.send(attempted, &reader, &letter).await
    }
}

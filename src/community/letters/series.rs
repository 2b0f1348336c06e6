//! What those who answered dates of a series are told of a change of it: one letter and one notification each, of all dates that
//! concern that person.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::db::outbox_key;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use serde::{Deserialize, Serialize};

use super::events::letter;
use super::{Letters, Own, Reader};
use crate::community::events::rules::RsvpStatus;
use crate::community::events::series::jobs::{OfChange, TELL};
use crate::community::events::series::telling::ToldChange;
use crate::community::events::store::Event;
use crate::community::events::taking::Followed;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::email::{Letter, SeriesDate};
use crate::icalendar::Method;

/// To somebody who answered dates of a series that are others now, or do not take place.
static DATES: JobKind<ToReader> = letter("series_letter").useless_after(Duration::from_hours(72));

/// How soon it is looked again whether the events have followed.
const LOOKS_AGAIN: Duration = Duration::from_secs(2);
/// How long that is waited for: what has not followed by then is told of by nobody.
const FOLLOWS_WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// Events that are read at once.
const EVENTS_AT_ONCE: usize = 50;
/// Answers that are read at once.
const ANSWERS_AT_ONCE: usize = 100;
/// Pages of answers that one job goes through; the next one goes on behind them.
const PAGES_OF_A_JOB: usize = 20;
/// Dates that a letter names of each sort; the others are counted.
const MOST_DATES: usize = 12;
/// Dates that a letter holds for calendar programs.
const MOST_ENTRIES: usize = 60;

/// A letter to one who answered.
#[derive(Debug, Serialize, Deserialize)]
struct ToReader {
    user_id: String,
    series_id: String,
    version: u64,
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    let own = || Own(Arc::clone(letters));
    pools.handle(&TELL, own()).handle(&DATES, own())
}

/// What a change made of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Moved,
    Cancelled,
}

/// What a change made of an event, if people are told of that.
fn became(change: &ToldChange, followed: &Followed, now: Timestamp) -> Option<Became> {
    let (telling, event) = (&change.telling, &followed.event);
    if event.when.starts_at() <= now {
        return None;
    }
    if let Some(cancelled) = &event.cancelled {
        let is_of_it = (telling.since..=telling.at).contains(&cancelled.at);
        return is_of_it.then_some(Became::Cancelled);
    }
    // What a decision has taken away is told to nobody; they hear of it once it is given back.
    if event.is_suspended {
        return None;
    }
    let revisions = telling.since_rev..change.until_rev;
    (!telling.is_end && revisions.contains(&followed.moved_by)).then_some(Became::Moved)
}

/// Whether an event is as the change wants it, or will never be.
fn has_followed(change: &ToldChange, followed: &Followed, now: Timestamp) -> bool {
    let event = &followed.event;
    let takes_revision = !change.telling.is_end && followed.rev >= change.telling.rev;
    takes_revision || event.cancelled.is_some() || event.is_given_away || event.when.starts_at() <= now
}

#[async_trait]
impl Handler<OfChange> for Own {
    async fn run(&self, attempted: &Attempted, job: OfChange) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(change) = letters.series.told_change(&job.series_id, job.version).await? else {
            return Ok(());
        };
        let now = now();
        let events = letters.events_of_change(&change).await?;
        let is_late = now.duration_since(change.telling.at) > FOLLOWS_WITHIN;
        if !is_late && !events.iter().all(|event| has_followed(&change, event, now)) {
            let why = "the dates of a series have not followed yet".to_owned();
            return Err(Failure::Later { why, after: LOOKS_AGAIN });
        }
        let since = job.since.unwrap_or_else(|| attempted.enqueued_at());
        let job = OfChange { since: Some(since), ..job };
        letters.tell_of_dates(&change, &events, job, now).await
    }
}

#[async_trait]
impl Handler<ToReader> for Own {
    async fn run(&self, attempted: &Attempted, job: ToReader) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(change) = letters.series.told_change(&job.series_id, job.version).await? else {
            return Ok(());
        };
        let kind = kind_of(&change);
        let reader = letters.reader(&job.user_id).await?;
        let Some(reader) = reader.filter(|reader| reader.preferences.ways(kind).email) else { return Ok(()) };
        Box::pin(letters.send_dates(attempted, &change, &reader, now())).await
    }
}

/// What a change is told as.
const fn kind_of(change: &ToldChange) -> NotificationKind {
    if change.telling.is_end { NotificationKind::SeriesCancelled } else { NotificationKind::SeriesChanged }
}

impl Letters {
    /// The events that a change may concern, in order.
    async fn events_of_change(&self, change: &ToldChange) -> Result<Vec<Followed>, StoreError> {
        let ids: Vec<_> = change.telling.events.iter().cloned().collect();
        let mut events = Vec::new();
        for some in ids.chunks(EVENTS_AT_ONCE) {
            events.extend(self.events.followed(some).await?);
        }
        Ok(events)
    }

    /// Tells those who answered, event by event. Whoever answered several has the job already.
    async fn tell_of_dates(
        &self,
        change: &ToldChange,
        events: &[Followed],
        job: OfChange,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (mut told, mut pages, mut after) = (BTreeSet::new(), 0, job.after.clone());
        for followed in events {
            let event = &followed.event;
            // Those before it were told of.
            if job.event_id.as_ref().is_some_and(|begin| event.id < *begin) {
                continue;
            }
            let Some(became) = became(change, followed, now) else { continue };
            let is_begun = job.event_id.as_ref() == Some(&event.id);
            let behind = after.take().filter(|_| is_begun);
            let mut start = behind.map_or(PageStart::First, PageStart::After);
            loop {
                if pages == PAGES_OF_A_JOB {
                    let after = if let PageStart::After(after) = start { Some(after) } else { None };
                    return self.go_on_telling(job, &event.id, after).await;
                }
                pages += 1;
                let request = PageRequest { start, limit: ANSWERS_AT_ONCE };
                let page = self.events.rsvps(&event.id, request).await?;
                let comes = |status: RsvpStatus| status != RsvpStatus::Declined;
                let users: Vec<_> = page
                    .items
                    .iter()
                    .filter(|answer| comes(answer.status))
                    .map(|answer| answer.user_id.as_str())
                    .collect();
                if became == Became::Moved {
                    self.events.lead_again(event, &users).await?;
                }
                for user_id in users {
                    if told.insert(user_id.to_owned()) {
                        self.tell_of_change(change, &job, user_id).await?;
                    }
                }
                let Some(next) = page.next else { break };
                start = PageStart::After(next);
            }
        }
        Ok(())
    }

    /// Tells one who answered. Whoever does it again finds the jobs that are there, or were done.
    async fn tell_of_change(
        &self,
        change: &ToldChange,
        job: &OfChange,
        user_id: &str,
    ) -> Result<(), Failure> {
        let telling = &change.telling;
        let since = job.since.unwrap_or(telling.due);
        let id = format!("{}.{}.{}.{user_id}", outbox_key(since), job.series_id, job.version);
        let notice = Tell {
            kind: kind_of(change),
            thing: telling.of.clone(),
            title: telling.title.clone(),
            actor_id: None,
            count: 1,
            stale_at: None,
        };
        self.jobs.enqueue_as(format!("{id}.n"), notice.job(user_id)?).await.map_err(Failure::retry)?;
        let (series_id, version) = (job.series_id.clone(), job.version);
        let letter = DATES.job(&ToReader { user_id: user_id.to_owned(), series_id, version })?;
        self.jobs.enqueue_as(id, letter.group(telling.of.as_str())).await.map_err(Failure::retry)?;
        Ok(())
    }

    /// Puts the job there that goes on behind an answer to an event.
    async fn go_on_telling(
        &self,
        job: OfChange,
        event_id: &str,
        after: Option<String>,
    ) -> Result<(), Failure> {
        let since = job.since.unwrap_or_else(now);
        let behind = after.as_deref().unwrap_or_default();
        let id = format!("{}.{}.{}.{event_id}.{behind}.more", outbox_key(since), job.series_id, job.version);
        let next = OfChange { event_id: Some(event_id.to_owned()), after, ..job };
        let group = next.series_id.clone();
        let next = TELL.job(&next)?.group(group);
        self.jobs.enqueue_as(id, next).await.map(drop).map_err(Failure::retry)
    }

    /// Sends the letter about the dates that concern its reader as the answers are now; nothing where none does.
    async fn send_dates(
        &self,
        attempted: &Attempted,
        change: &ToldChange,
        reader: &Reader,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (mut moved, mut cancelled) = (Vec::new(), Vec::new());
        let events = self.events_of_change(change).await?;
        for some in events.chunks(EVENTS_AT_ONCE) {
            let ids: Vec<_> = some.iter().map(|followed| followed.event.id.clone()).collect();
            let answers = self.events.rsvps_of(&ids, &reader.user.id).await?;
            for (followed, answer) in some.iter().zip(answers) {
                let Some(status) = answer.map(|answer| answer.status) else { continue };
                let is_unwanted = reader.preferences.is_muted(&followed.event.id, now);
                if status == RsvpStatus::Declined || is_unwanted {
                    continue;
                }
                match became(change, followed, now) {
                    Some(Became::Moved) => moved.push((&followed.event, status)),
                    Some(Became::Cancelled) => cancelled.push((&followed.event, status)),
                    None => {}
                }
            }
        }
        if moved.is_empty() && cancelled.is_empty() {
            return Ok(());
        }
        for dates in [&mut moved, &mut cancelled] {
            dates.sort_by_key(|(event, _)| event.when.starts_at());
        }
        let reason = cancelled.iter().find_map(|(event, _)| event.cancelled.as_ref()?.reason.clone());
        let letter = Letter::SeriesDates {
            name: reader.name(),
            title: change.telling.title.clone(),
            ends: moved.is_empty(),
            moved: self.dates_of(&moved, reader),
            more_moved: moved.len().saturating_sub(MOST_DATES),
            cancelled: self.dates_of(&cancelled, reader),
            more_cancelled: cancelled.len().saturating_sub(MOST_DATES),
            reason,
            url: format!("{}/events/series/{}", self.public_url, change.telling.of),
        };
        // One letter wants one thing of a calendar program: what is gone is taken away where nothing else is to be put there.
        let going = |dates: &[(&Event, RsvpStatus)]| -> Vec<Event> {
            let going = dates.iter().filter(|(_, status)| *status == RsvpStatus::Going);
            going.map(|(event, _)| (*event).clone()).take(MOST_ENTRIES).collect()
        };
        let (method, entries) = match going(&moved) {
            none if none.is_empty() => (Method::Cancel, going(&cancelled)),
            some => (Method::Request, some),
        };
        let made = attempted.enqueued_at();
        let invitation = (!entries.is_empty()).then(|| self.invitation_to(method, &entries, reader, made));
        self.send_with(attempted, reader, &reader.user.email, &letter, invitation.as_ref()).await
    }

    /// The first of some dates, as a letter names them.
    fn dates_of(&self, dates: &[(&Event, RsvpStatus)], reader: &Reader) -> Vec<SeriesDate> {
        let lines = dates.iter().take(MOST_DATES).map(|(event, _)| self.lines_of(event, reader));
        lines.map(|lines| SeriesDate { when: lines.when, place: lines.place, url: lines.url }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::community::events::rules::{Cancelled, Plan, Settings};
    use crate::community::events::schedule::Schedule;
    use crate::community::events::series::state::Telling;
    use crate::community::events::store::{Edited, EventType};
    use crate::community::location::Location;

    #[test]
    fn what_moderators_took_away_is_told_to_nobody_until_it_is_cancelled() {
        let now: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
        let plan = Plan {
            title: "Buy!".to_owned(),
            description: String::new(),
            when: Schedule::at("2030-02-01T20:00:00Z".parse().unwrap()),
            location: Location::default(),
        };
        let edited = Edited { plan, settings: Settings::default() };
        let event = Event::made("e".to_owned(), "ana".to_owned(), EventType::Milonga, edited, now);
        let telling = Telling {
            version: 1,
            of: "s".to_owned(),
            title: "Milonga".to_owned(),
            at: now,
            since: now,
            due: now,
            rev: 2,
            since_rev: 2,
            is_end: false,
            events: BTreeSet::from(["e".to_owned()]),
        };
        let change = ToldChange { telling, until_rev: u32::MAX };
        let mut followed = Followed { event, rev: 2, moved_by: 2 };
        assert_eq!(became(&change, &followed, now), Some(Became::Moved));
        followed.event.is_suspended = true;
        assert_eq!(became(&change, &followed, now), None);
        followed.event.cancelled = Some(Cancelled { at: now, reason: None });
        assert_eq!(became(&change, &followed, now), Some(Became::Cancelled));
    }
}

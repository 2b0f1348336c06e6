//! What is in a calendar at the moment at which somebody looks: so many events at most, and none that its user may not see.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};

use super::store::Shows;
use crate::community::Community;
use crate::community::events::calendar_entry;
use crate::community::events::listing::EventFilter;
use crate::community::events::rules::RsvpStatus;
use crate::community::events::store::Event;
use crate::community::housing::stay;
use crate::community::policy::{Action, Verdict, Viewer};
use crate::email::Language;
use crate::icalendar::Entry;

/// Most events of a calendar.
pub(super) const MOST_EVENTS: usize = 500;
/// Of these, most that are to come; the rest is left to what was, so that what was cancelled does not just vanish.
const MOST_TO_COME: usize = 400;
/// How long events stay in a calendar after they began, also those that were cancelled.
pub(super) const LOOKS_BACK: SignedDuration = SignedDuration::from_hours(60 * 24);
/// How far ahead a calendar looks.
pub(super) const LOOKS_AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Events that are read at once.
const AT_ONCE: usize = 100;
/// Most reads of a list for one calendar: a page may be short where filters leave much out.
const MOST_READS: usize = 8;

/// An event, and what the calendar's user answered.
type Shown = (Event, Option<RsvpStatus>);

/// Reads a list up to a time or a number of events, however much of it is left out. An event that was just moved may stand in
/// two places of a list, and in the first of them though it starts much later: it is taken once, and ends no reading.
async fn gather<'a, T: Send>(
    until: Timestamp,
    most: usize,
    event: fn(&T) -> &Event,
    read: impl Fn(PageRequest) -> BoxFuture<'a, Result<Page<T>, StoreError>> + Send,
) -> Result<Vec<T>, StoreError> {
    let (mut all, mut start, mut seen) = (Vec::new(), PageStart::First, HashSet::new());
    for _ in 0..MOST_READS {
        let page = read(PageRequest { start, limit: AT_ONCE.min(most - all.len()) }).await?;
        let wanted = page.items.into_iter().filter(|item| {
            let event = event(item);
            event.when.starts_at() < until && seen.insert(event.id.clone())
        });
        all.extend(wanted);
        match page.next {
            Some(next) if all.len() < most => start = PageStart::After(next),
            _ => break,
        }
    }
    Ok(all)
}

impl Community {
    /// The events in a city, soonest first.
    async fn events_in(
        &self,
        city: &str,
        (from, until): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Result<Vec<Event>, StoreError> {
        let of_city =
            EventFilter { city: Some(city.to_owned()), with_cancelled: true, ..EventFilter::default() };
        // A city has so many that what was would leave no room for what is to come.
        let to_come = EventFilter { still_on: Some(now), to: Some(until), ..of_city.clone() };
        let read = |page| self.events.events(&to_come, page).boxed();
        let to_come = gather(until, MOST_TO_COME, |event| event, read).await?;
        let past = EventFilter { from: Some(from), to: Some(now), ..of_city };
        let read = |page| self.events.events(&past, page).boxed();
        let mut past = gather(until, MOST_READS * AT_ONCE, |event| event, read).await?;
        let known: BTreeSet<_> = to_come.iter().map(|event| event.id.as_str()).collect();
        past.retain(|event| !known.contains(event.id.as_str()));
        let left_out = past.len().saturating_sub(MOST_EVENTS - to_come.len());
        Ok(past.into_iter().skip(left_out).chain(to_come).collect())
    }

    /// What a calendar shows its user now, soonest first.
    pub(super) async fn entries_of(
        &self,
        user_id: &str,
        shows: &Shows,
        language: Language,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        let from = now.saturating_sub(LOOKS_BACK).unwrap_or(Timestamp::MIN);
        let until = now.saturating_add(LOOKS_AHEAD).unwrap_or(Timestamp::MAX);
        let unanswered = |events: Vec<Event>| events.into_iter().map(|event| (event, None)).collect();
        let mut shown: Vec<Shown> = match shows {
            Shows::Stays => {
                let from = from.to_zoned_datetime(TimeZone::UTC).date();
                // A stay may have begun long before, and go on.
                let longest = i32::try_from(stay::MOST_NIGHTS).unwrap_or(i32::MAX);
                let since = stay::days_later(from, -longest);
                let store = &self.housing.store;
                let mut stays = store.stays(user_id, since, MOST_EVENTS).await?;
                stays.retain(|booking| booking.stay().from < from && booking.stay().to >= from);
                stays.extend(store.stays(user_id, from, MOST_EVENTS).await?);
                stays.truncate(MOST_EVENTS);
                return self.stay_entries(user_id, &stays, language, now).await;
            }
            Shows::Mine => {
                let read = |page| self.events.of_user(user_id, from, page).boxed();
                let answered = gather(until, MOST_EVENTS, |(event, _)| event, read).await?;
                let answered =
                    answered.into_iter().filter(|(_, answer)| answer.status != RsvpStatus::Declined);
                answered.map(|(event, answer)| (event, Some(answer.status))).collect()
            }
            Shows::Host { host_id } => {
                let read = |page| self.events.of_host(host_id, from, page).boxed();
                unanswered(gather(until, MOST_EVENTS, |event| event, read).await?)
            }
            Shows::City { city } => unanswered(self.events_in(city, (from, until), now).await?),
        };
        // What was right when the address was made may be wrong now.
        let viewer = Viewer::user(user_id);
        let verdicts = shown.iter().map(|(event, _)| self.events.may(viewer, Action::Read, event));
        let mut verdicts = try_join_all(verdicts).await?.into_iter();
        shown.retain(|_| verdicts.next().is_some_and(Verdict::is_allowed));
        let hosts = self.people(shown.iter().map(|(event, _)| event.host_id.clone()).collect()).await;
        let names: BTreeMap<_, _> =
            hosts.iter().map(|(id, person)| (id.as_str(), person.full_name.as_str())).collect();
        let entries = shown.iter().map(|(event, answer)| {
            let host = names.get(event.host_id.as_str()).copied();
            calendar_entry::entry(event, *answer, host, &self.site, language)
        });
        Ok(entries.collect())
    }
}

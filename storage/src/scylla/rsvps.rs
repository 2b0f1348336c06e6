//! Answers to events: the event's state is read, what the answer comes to is worked out, and all of it is written if
//! nobody else answered meanwhile.

use jiff::Timestamp;
use mundotango_protocol::new_id;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::events::{EVENT_SERIAL, State};
use super::query::{Change, Query};
use super::session::Cql;
use super::value::{count, damaged, from_cql, limit, name_of, named, to_cql};
use crate::events::{Rsvp, RsvpChoice, RsvpOutcome, RsvpStatus};
use crate::rsvp_rules::{Places, changes};
use crate::{Page, PageRequest, PageStart, StoreError};

/// How often an answer is tried when other nodes come between.
const MAX_TRIES: u32 = 30;

const ANSWER: Query = Query::read(
    "event_rows",
    "SELECT key, status, updated_at, place, writer_of_row FROM event_rows WHERE id = ? AND kind = 'a' AND key = ?",
);
const ANSWERS: Query = Query::read(
    "event_rows",
    "SELECT key, status, updated_at, place, writer_of_row FROM event_rows WHERE id = ? AND kind = 'a' AND key > ? \
     LIMIT ?",
);
const FIRST_WAITING: Query =
    Query::read("event_rows", "SELECT key, user_id FROM event_rows WHERE id = ? AND kind = 'w' LIMIT 1");
const SET_COUNTS: Query = Query::cas(
    "event_rows",
    "UPDATE event_rows SET going = ?, maybe = ?, waitlisted = ?, next_place = ?, version = ?, writer = ? \
     WHERE id = ? IF version = ?",
);
const SET_ANSWER: Query = Query::cas(
    "event_rows",
    "INSERT INTO event_rows (id, kind, key, status, updated_at, place, writer_of_row) VALUES (?, 'a', ?, ?, ?, ?, ?)",
);
const WAIT: Query =
    Query::cas("event_rows", "INSERT INTO event_rows (id, kind, key, user_id) VALUES (?, 'w', ?, ?)");
const WAIT_NO_MORE: Query =
    Query::cas("event_rows", "DELETE FROM event_rows WHERE id = ? AND kind = 'w' AND key = ?");

#[derive(DeserializeRow)]
struct AnswerRow {
    key: String,
    status: String,
    updated_at: CqlTimestamp,
    place: Option<i64>,
    writer_of_row: Option<String>,
}

/// An answer as it stands.
pub(super) struct Standing {
    pub(super) rsvp: Rsvp,
    /// The place on the waitlist.
    place: Option<u64>,
    /// Names the call that wrote it.
    writer: Option<String>,
}

impl AnswerRow {
    fn read(self, event_id: &str) -> Result<Standing, StoreError> {
        let rsvp = Rsvp {
            event_id: event_id.to_owned(),
            user_id: self.key,
            status: named(self.status)?,
            updated_at: from_cql(self.updated_at)?,
        };
        Ok(Standing { rsvp, place: self.place.map(count).transpose()?, writer: self.writer_of_row })
    }
}

/// What a call wants, and its own name.
struct Wish<'a> {
    user_id: &'a str,
    choice: RsvpChoice,
    now: Timestamp,
    writer: String,
}

/// What the call would write.
struct Plan {
    outcome: RsvpOutcome,
    places: Places,
    version: Option<i64>,
    /// Place on the waitlist that is given up.
    left: Option<u64>,
    /// Place on the waitlist that is taken.
    taken: Option<u64>,
    /// Place on the waitlist of the one who is promoted.
    promoted: Option<String>,
}

/// A place as a key that sorts by number.
fn place_key(place: u64) -> String {
    format!("{place:020}")
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Cql {
    pub(super) async fn standing(
        &self,
        event_id: &str,
        user_id: &str,
    ) -> Result<Option<Standing>, StoreError> {
        let row = self.one::<AnswerRow>(&ANSWER, (event_id, user_id)).await?;
        row.map(|row| row.read(event_id)).transpose()
    }

    pub(super) async fn list_answers(
        &self,
        event_id: &str,
        page: &PageRequest,
    ) -> Result<Page<Rsvp>, StoreError> {
        let (after, skip) = match &page.start {
            PageStart::First => ("", 0),
            PageStart::Skip(items) => ("", *items),
            PageStart::After(user_id) => (user_id.as_str(), 0),
        };
        let most = skip.saturating_add(page.limit);
        let rows = self.rows::<AnswerRow>(&ANSWERS, (event_id, after, limit(most.saturating_add(1)))).await?;
        let is_more = rows.len() > most;
        let page_rows = rows.into_iter().skip(skip).take(page.limit);
        let items: Vec<Rsvp> =
            page_rows.map(|row| Ok(row.read(event_id)?.rsvp)).collect::<Result<_, StoreError>>()?;
        let next = items.last().filter(|_| is_more).map(|last| last.user_id.clone());
        Ok(Page { items, next })
    }

    /// See [`crate::events::EventStore::rsvp`].
    pub(super) async fn answer(
        &self,
        event_id: &str,
        user_id: &str,
        choice: RsvpChoice,
        now: Timestamp,
    ) -> Result<Option<RsvpOutcome>, StoreError> {
        let _turn = self.turn("event_rows", event_id).await?;
        let wish = Wish { user_id, choice, now, writer: new_id() };
        // What a try would have come to whose outcome is unknown.
        let mut unsure: Option<(StoreError, RsvpOutcome)> = None;
        let known = |unsure: &Option<(StoreError, RsvpOutcome)>, error| match unsure {
            Some((unknown, _)) => unknown.clone(),
            None => error,
        };
        for tries in 0..MAX_TRIES {
            let state = self.event_state(&EVENT_SERIAL, event_id).await;
            let Some(state) = state.map_err(|error| known(&unsure, error))? else { return Ok(None) };
            // Read after the version, so that one who changes it meanwhile makes the write fail.
            let before = self.standing(event_id, user_id).await.map_err(|error| known(&unsure, error))?;
            if let Some((_, outcome)) = unsure.take_if(|_| is_written(&wish, &state, before.as_ref())) {
                return Ok(Some(RsvpOutcome { event: state.event, ..outcome }));
            }
            if let Some(before) = &before
                && !changes(Some(before.rsvp.status), choice)
            {
                let (rsvp, previous) = (before.rsvp.clone(), Some(before.rsvp.status));
                return Ok(Some(RsvpOutcome { rsvp, previous, promoted: None, event: state.event }));
            }
            let plan = self.plan(&wish, state, before).await.map_err(|error| known(&unsure, error))?;
            match self.carry_out(&wish, &plan).await {
                Ok(true) => return Ok(Some(plan.outcome)),
                Ok(false) => {}
                Err(error @ StoreError::Unknown(_)) => unsure = Some((error, plan.outcome)),
                Err(error) => return Err(known(&unsure, error)),
            }
            self.back_off(tries).await;
        }
        Err(known(&unsure, StoreError::Unavailable("too many answer one event".to_owned())))
    }

    /// Works out what the answer comes to.
    async fn plan(
        &self,
        wish: &Wish<'_>,
        state: State,
        before: Option<Standing>,
    ) -> Result<Plan, StoreError> {
        let mut places = state.places();
        let mut event = state.event;
        let previous = before.as_ref().map(|before| before.rsvp.status);
        if let Some(previous) = previous {
            places.leave(previous);
        }
        let (status, taken) = places.enter(wish.choice);
        let answer = |user_id: &str, status| Rsvp {
            event_id: event.id.clone(),
            user_id: user_id.to_owned(),
            status,
            updated_at: wish.now,
        };
        let rsvp = answer(wish.user_id, status);
        let first = if places.promotes(previous) && places.counts.waitlisted > 0 {
            let first = self.one::<(String, String)>(&FIRST_WAITING, (&event.id,)).await?;
            // The counts were read before; that nobody waits means that they are old, and the write will fail.
            first.map(|(place, user_id)| (place, answer(&user_id, RsvpStatus::Going)))
        } else {
            None
        };
        if first.is_some() {
            places.promote();
        }
        event.counts = places.counts;
        let (promoted, promoted_rsvp) = first.unzip();
        Ok(Plan {
            outcome: RsvpOutcome { rsvp, previous, promoted: promoted_rsvp, event },
            places,
            version: state.version,
            left: before.and_then(|before| before.place),
            taken,
            promoted,
        })
    }

    /// Writes an answer and all that follows from it, if nobody else answered since the event was read; whether nobody
    /// did.
    async fn carry_out(&self, wish: &Wish<'_>, plan: &Plan) -> Result<bool, StoreError> {
        let (id, counts) = (&plan.outcome.event.id, plan.places.counts);
        let next_version = plan.version.unwrap_or_default() + 1;
        let mut changes = vec![
            Change::new(
                &SET_COUNTS,
                (
                    i64::from(counts.going),
                    i64::from(counts.maybe),
                    i64::from(counts.waitlisted),
                    number(plan.places.next_place),
                    next_version,
                    &wish.writer,
                    id,
                    plan.version,
                ),
            ),
            set_answer(&plan.outcome.rsvp, plan.taken, Some(&wish.writer))?,
        ];
        if let Some(place) = plan.left {
            changes.push(Change::new(&WAIT_NO_MORE, (id, place_key(place))));
        }
        if let Some(place) = plan.taken {
            changes.push(Change::new(&WAIT, (id, place_key(place), wish.user_id)));
        }
        if let Some(promoted) = &plan.outcome.promoted {
            let place = plan.promoted.as_ref().ok_or_else(|| damaged("promoted from no place"))?;
            changes.push(Change::new(&WAIT_NO_MORE, (id, place)));
            changes.push(set_answer(promoted, None, None)?);
        }
        self.compare_and_set_together(changes).await
    }
}

fn set_answer<'a>(
    rsvp: &'a Rsvp,
    place: Option<u64>,
    writer: Option<&'a str>,
) -> Result<Change<'a>, StoreError> {
    let (status, updated_at) = (name_of(rsvp.status)?, to_cql(rsvp.updated_at));
    let values = (&rsvp.event_id, &rsvp.user_id, status, updated_at, place.map(number), writer);
    Ok(Change::new(&SET_ANSWER, values))
}

/// Whether an earlier try of the same call was carried out: it wrote its name to the event, and to the answer for when
/// others wrote theirs to the event since.
fn is_written(wish: &Wish<'_>, state: &State, before: Option<&Standing>) -> bool {
    let writers = [state.writer.as_ref(), before.and_then(|before| before.writer.as_ref())];
    writers.contains(&Some(&wish.writer))
}

//! Answers to events: who comes, who waits, and who moves up.

use std::collections::VecDeque;

use jiff::Timestamp;
use mundotango_storage::db::{Decision, Part, RowRange, Wants, behind, key, last_part, number, prefix};
use mundotango_storage::{Page, PageRequest, PageStart, StoreError};
use serde::{Deserialize, Serialize};

use super::mine;
use super::places::{First, Limit, Limits, Line, Party, next_in};
use super::rules::{Attendance, NewAnswer, RsvpChoice, RsvpStatus};
use super::store::{EVENTS, Event, EventError, EventStore, Facts, Row, still_to_come};

type EventPart<'a> = Part<'a, Facts, Attendance, Row>;

/// Below this lie the answers, by user.
const ANSWERS: &str = "a";
/// Most parties that one change gives places to; a job goes on behind them.
const MOST_PROMOTED: u32 = 50;
/// Further behind in a line nobody is told how far.
pub const FURTHEST_POSITION: usize = 500;

/// A user's answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    status: RsvpStatus,
    /// When the status was reached.
    at: Timestamp,
    /// Who comes.
    #[serde(default, skip_serializing_if = "Party::is_one")]
    party: Party,
    /// The number in the line of one who waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// In which line that is.
    #[serde(default, skip_serializing_if = "Line::is_of_all")]
    line: Line,
}

impl Answer {
    fn place(&self) -> Option<(Line, u64)> {
        self.number.map(|number| (self.line, number))
    }
}

/// A user's answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rsvp {
    /// The event.
    pub event_id: String,
    /// The user who answers.
    pub user_id: String,
    /// What the answer amounts to.
    pub status: RsvpStatus,
    /// Who comes.
    pub party: Party,
    /// When the status was reached.
    pub updated_at: Timestamp,
    /// Where the user waits: in which line, and with which number.
    pub place: Option<(Line, u64)>,
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RsvpOutcome {
    /// The user's answer as it stands.
    pub rsvp: Rsvp,
    /// The user's status before.
    pub previous: Option<RsvpStatus>,
    /// Those who waited and got the places that this answer freed.
    pub promoted: Promoted,
    /// The limit that keeps the user waiting.
    pub waits_for: Option<Limit>,
    /// The event with its counts after the change.
    pub event: Event,
    /// When the host is to be told of the answer, where that is still to be arranged.
    pub tell_host: Option<Timestamp>,
}

/// Those who waited and have places now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// Their answers, in the order of their places.
    pub answers: Vec<Rsvp>,
    /// Whether there may be more: so many get places in one change.
    pub has_more: bool,
}

fn answer_key(user_id: &str) -> String {
    key(&[ANSWERS, user_id])
}

/// Below this lie the users who wait in a line, by their numbers.
fn below(line: Line) -> &'static str {
    match line {
        Line::Any => "w",
        Line::Leads => "wl",
        Line::Follows => "wf",
        Line::Others => "wo",
    }
}

fn waiting_key(line: Line, place: u64) -> String {
    key(&[below(line), &number(place)])
}

fn rsvp_of(event_id: &str, user_id: &str, answer: Answer) -> Rsvp {
    Rsvp {
        event_id: event_id.to_owned(),
        user_id: user_id.to_owned(),
        status: answer.status,
        updated_at: answer.at,
        place: answer.place(),
        party: answer.party,
    }
}

fn answer_of(part: &mut EventPart<'_>, user_id: &str) -> Option<Answer> {
    match part.row(&answer_key(user_id)) {
        Some(Row::Answer(answer)) => Some(answer.clone()),
        _ => None,
    }
}

/// Whether an answer says what another one said already. Who waits and asks again keeps the place in the line.
fn stands(before: &Answer, choice: RsvpChoice, party: &Party) -> bool {
    let is_same = matches!(
        (before.status, choice),
        (RsvpStatus::Going | RsvpStatus::Waitlisted, RsvpChoice::Going)
            | (RsvpStatus::Maybe, RsvpChoice::Maybe)
            | (RsvpStatus::Declined, RsvpChoice::Declined)
    );
    is_same && before.party == *party
}

/// What a new answer comes to, and whether anything changes by it.
fn answer(
    part: &mut EventPart<'_>,
    user_id: &str,
    new: &NewAnswer,
    now: Timestamp,
) -> Result<(Answer, bool), EventError> {
    let before = answer_of(part, user_id);
    let choice = new.choice;
    let party = match (choice, &new.party, &before) {
        (RsvpChoice::Declined, ..) => Party::default(),
        (_, Some(party), _) => party.clone(),
        (_, None, Some(before)) => before.party.clone(),
        (_, None, None) => Party::default(),
    };
    if let Some(before) = before.as_ref().filter(|before| stands(before, choice, &party)) {
        return Ok((before.clone(), false));
    }
    still_to_come(part, now)?;
    let limits = part.facts.settings(&part.head).limits;
    let heads = party.heads();
    // A party that never fits would hold up all who wait behind it.
    if choice == RsvpChoice::Going
        && let Some(limit) = limits.broken_by(heads)
    {
        return Err(EventError::NoRoom(limit));
    }
    part.head.answers += 1;
    if let Some(before) = before {
        let known = before.party.heads();
        match (before.status, choice) {
            (RsvpStatus::Going, RsvpChoice::Going) if !heads.is_within(known) => {
                grow(part, &before, &party, &limits)?;
                return Ok((keep(part, user_id, Answer { party, ..before }), true));
            }
            (RsvpStatus::Going, RsvpChoice::Going) => {
                part.head.uncount(RsvpStatus::Going, known);
                part.head.count(RsvpStatus::Going, heads);
                return Ok((keep(part, user_id, Answer { party, ..before }), true));
            }
            // Fewer of the same wait where they are.
            (RsvpStatus::Waitlisted, RsvpChoice::Going)
                if heads.is_within(known) && Line::of(heads, &limits) == before.line =>
            {
                part.head.uncount(RsvpStatus::Waitlisted, known);
                part.head.count(RsvpStatus::Waitlisted, heads);
                return Ok((keep(part, user_id, Answer { party, ..before }), true));
            }
            _ => leave(part, &before),
        }
    }
    let entered = enter(part, user_id, choice, party, &limits, now);
    Ok((keep(part, user_id, entered), true))
}

fn keep(part: &mut EventPart<'_>, user_id: &str, answer: Answer) -> Answer {
    part.set(answer_key(user_id), Row::Answer(answer.clone()));
    answer
}

/// A party that has a place brings others as well, or others than before: they need room, and pass nobody who waits.
fn grow(part: &mut EventPart<'_>, before: &Answer, party: &Party, limits: &Limits) -> Result<(), EventError> {
    let (known, heads) = (before.party.heads(), party.heads());
    let together = part.head.going().without(known).and(heads);
    if let Some(limit) = limits.broken_by(together) {
        return Err(EventError::NoRoom(limit));
    }
    if part.head.counts.waitlisted > 0 {
        return Err(EventError::OthersWait);
    }
    part.head.uncount(RsvpStatus::Going, known);
    part.head.count(RsvpStatus::Going, heads);
    Ok(())
}

/// Takes an answer back.
fn leave(part: &mut EventPart<'_>, before: &Answer) {
    part.head.uncount(before.status, before.party.heads());
    if let Some((line, place)) = before.place() {
        part.head.leave(line);
        part.remove(waiting_key(line, place));
    }
}

/// What a choice amounts to. A place is free only if there is room and nobody waits; who passes somebody in a line of its own
/// does so in [`promote`].
fn enter(
    part: &mut EventPart<'_>,
    user_id: &str,
    choice: RsvpChoice,
    party: Party,
    limits: &Limits,
    now: Timestamp,
) -> Answer {
    let heads = party.heads();
    let has_room = limits.broken_by(part.head.going().and(heads)).is_none();
    let status = match choice {
        RsvpChoice::Going if has_room && part.head.counts.waitlisted == 0 => RsvpStatus::Going,
        RsvpChoice::Going => RsvpStatus::Waitlisted,
        RsvpChoice::Maybe => RsvpStatus::Maybe,
        RsvpChoice::Declined => RsvpStatus::Declined,
    };
    part.head.count(status, heads);
    let line = Line::of(heads, limits);
    let place = (status == RsvpStatus::Waitlisted).then(|| part.head.join(line));
    if let Some(place) = place {
        part.set(waiting_key(line, place), Row::Waiting(user_id.to_owned()));
    }
    let line = if place.is_some() { line } else { Line::default() };
    Answer { status, at: now, party, number: place, line }
}

/// Those who wait in a line, as far as they were read.
struct Queue {
    line: Line,
    waiting: VecDeque<(u64, String, Answer)>,
    /// Whether there are more behind them.
    is_cut: bool,
    /// Whether one was passed over who cannot get a place as the limits are.
    skips: bool,
}

fn queue(part: &mut EventPart<'_>, line: Line, limits: &Limits, most: usize) -> Queue {
    let start = waiting_key(line, part.head.first_in(line));
    let rows = part.between(&start, &behind(&prefix(&[below(line)])), most);
    let rows: Vec<_> = rows
        .into_iter()
        .filter_map(|(key, row)| if let Row::Waiting(user) = row { Some((key, user.clone())) } else { None })
        .collect();
    let mut queue = Queue { line, waiting: VecDeque::new(), is_cut: rows.len() >= most, skips: false };
    for (key, user) in rows {
        let answer = answer_of(part, &user);
        match answer.and_then(|answer| Some((answer.place()?, answer))) {
            Some((place, answer)) if waiting_key(place.0, place.1) == key => {
                if limits.broken_by(answer.party.heads()).is_some() {
                    queue.skips = true;
                } else {
                    queue.waiting.push_back((place.1, user, answer));
                }
            }
            // Nobody waits there any longer.
            _ => part.remove(key),
        }
    }
    queue
}

/// Gives free places to those who wait, in their order.
pub(super) fn promote(part: &mut EventPart<'_>, event_id: &str, now: Timestamp) -> Promoted {
    let mut promoted = Promoted::default();
    let limits = part.facts.settings(&part.head).limits;
    let room = limits.room(part.head.going()).min(MOST_PROMOTED);
    if part.head.counts.waitlisted == 0 || room == 0 {
        return promoted;
    }
    let most = usize::try_from(room).unwrap_or_default() + 1;
    let waited_in: Vec<_> = Line::ALL.into_iter().filter(|line| part.head.is_waited_in(*line)).collect();
    let mut queues: Vec<_> = waited_in.into_iter().map(|line| queue(part, line, &limits, most)).collect();
    if part.is_missing() {
        return promoted;
    }
    loop {
        let firsts: Vec<_> = queues
            .iter()
            .filter_map(|queue| {
                let (number, _, answer) = queue.waiting.front()?;
                Some(First { line: queue.line, number: *number, party: answer.party.heads() })
            })
            .collect();
        let Some(next) = next_in(part.head.going(), &limits, &firsts) else { break };
        let Some(queue) = queues.iter_mut().find(|queue| queue.line == next.line) else { break };
        let Some((place, user, answer)) = queue.waiting.pop_front() else { break };
        part.head.uncount(RsvpStatus::Waitlisted, next.party);
        part.head.count(RsvpStatus::Going, next.party);
        part.head.leave(next.line);
        if !queue.skips {
            part.head.pass(next.line, place);
        }
        part.remove(waiting_key(next.line, place));
        let is_going = Answer {
            status: RsvpStatus::Going,
            at: now,
            party: answer.party,
            number: None,
            line: Line::default(),
        };
        let is_going = keep(part, &user, is_going);
        promoted.answers.push(rsvp_of(event_id, &user, is_going));
        if queue.waiting.is_empty() && queue.is_cut {
            promoted.has_more = true;
            break;
        }
    }
    promoted
}

impl EventStore {
    /// Records a user's answer; `None` if there is no such event.
    ///
    /// However many race, no limit is exceeded: who comes too late is waitlisted, in the order of coming. Places that are
    /// given back go to the first who wait in the same step. Saying again what stands already changes nothing. `effects` are
    /// what an answer that is new causes. What is over or cancelled takes none.
    pub async fn rsvp<E: Serialize>(
        &self,
        event_id: &str,
        user_id: &str,
        new: impl Into<NewAnswer>,
        now: Timestamp,
        effects: impl Fn(&RsvpOutcome) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<RsvpOutcome>, EventError> {
        let (id, user, new) = (event_id.to_owned(), user_id.to_owned(), new.into());
        let wants = Wants::head().row(answer_key(user_id));
        self.db()
            .change(&EVENTS, event_id, wants, move |part| {
                let previous = answer_of(part, &user).map(|before| before.status);
                let (answered, is_new) = answer(part, &user, &new, now)?;
                let mut promoted = if is_new { promote(part, &id, now) } else { Promoted::default() };
                // Who joined a line may have moved up at once, past those who wait for the other role.
                let own = promoted.answers.iter().position(|rsvp| rsvp.user_id == user);
                let rsvp = match own {
                    Some(at) => promoted.answers.remove(at),
                    None => rsvp_of(&id, &user, answered),
                };
                // Who toggles an answer does not tell the host each time.
                let owner = part.facts.owner(&part.head);
                let tells = previous.is_none() && rsvp.status != RsvpStatus::Declined && user != owner;
                let tell_host = if is_new && tells { part.head.note_untold(now) } else { None };
                let waits_for = (rsvp.status == RsvpStatus::Waitlisted)
                    .then(|| {
                        let limits = part.facts.settings(&part.head).limits;
                        limits.broken_by(part.head.going().and(rsvp.party.heads()))
                    })
                    .flatten();
                let event = Event::of(&id, part.facts.clone(), part.head.clone());
                let outcome = RsvpOutcome { rsvp, previous, promoted, waits_for, event, tell_host };
                if !is_new {
                    return Ok(Decision::Stands(outcome));
                }
                if outcome.rsvp.status != RsvpStatus::Declined {
                    part.enter(mine::guest_entry(&user, &outcome.event)?);
                }
                for effect in effects(&outcome)? {
                    part.emit(&effect)?;
                }
                Ok(Decision::Write(outcome))
            })
            .await
    }

    /// Gives free places to those who wait, where one change could not give them all. `effects` are what that causes.
    pub async fn promote<E: Serialize>(
        &self,
        event_id: &str,
        now: Timestamp,
        effects: impl Fn(&Event, &Promoted) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let id = event_id.to_owned();
        let given = self.db().change(&EVENTS, event_id, Wants::head(), move |part| {
            let promoted = match still_to_come(part, now) {
                Ok(()) => promote(part, &id, now),
                Err(_) => Promoted::default(),
            };
            if promoted.answers.is_empty() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.answers += 1;
            for effect in effects(&Event::of(&id, part.facts.clone(), part.head.clone()), &promoted)? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(()))
        });
        given.await.map(drop)
    }

    /// A user's answer to an event.
    pub async fn rsvp_of(&self, event_id: &str, user_id: &str) -> Result<Option<Rsvp>, StoreError> {
        let row = self.db().row(&EVENTS, event_id, &answer_key(user_id)).await?;
        Ok(row.and_then(|row| rsvp_in(event_id, user_id, row)))
    }

    /// A user's answers to several events, in their order.
    pub async fn rsvps_of(
        &self,
        event_ids: &[String],
        user_id: &str,
    ) -> Result<Vec<Option<Rsvp>>, StoreError> {
        let rows = self.db().row_of_all(&EVENTS, event_ids, &answer_key(user_id)).await?;
        let answers = event_ids.iter().zip(rows).map(|(id, row)| rsvp_in(id, user_id, row?));
        Ok(answers.collect())
    }

    /// How many wait before a user in the user's line, that user counted; `None` for more than [`FURTHEST_POSITION`].
    pub async fn position(&self, rsvp: &Rsvp) -> Result<Option<usize>, StoreError> {
        let Some((line, place)) = rsvp.place else { return Ok(None) };
        let Some(found) = self.db().read(&EVENTS, &rsvp.event_id).await? else { return Ok(None) };
        let before = found.head.first_in(line).checked_sub(1).map(|before| waiting_key(line, before));
        let range = RowRange::first(prefix(&[below(line)]), FURTHEST_POSITION).after(before);
        let rows = self.db().rows(&EVENTS, &rsvp.event_id, &range).await?;
        let own = waiting_key(line, place);
        Ok(rows.items.iter().position(|(key, _)| *key == own).map(|before| before + 1))
    }

    /// All answers to an event, by user id, which is the cursor.
    pub async fn rsvps(&self, event_id: &str, page: PageRequest) -> Result<Page<Rsvp>, StoreError> {
        let (after, skip) = match page.start {
            PageStart::First => (None, 0),
            PageStart::After(user_id) => (Some(answer_key(&user_id)), 0),
            PageStart::Skip(items) => (None, items),
        };
        let range = RowRange::first(prefix(&[ANSWERS]), skip + page.limit).after(after);
        let rows = self.db().rows(&EVENTS, event_id, &range).await?;
        let items = rows.items.into_iter().skip(skip);
        let items = items.filter_map(|(key, row)| rsvp_in(event_id, &last_part(&key), row));
        Ok(Page { items: items.collect(), next: rows.next.map(|key| last_part(&key)) })
    }
}

fn rsvp_in(event_id: &str, user_id: &str, row: Row) -> Option<Rsvp> {
    match row {
        Row::Answer(answer) => Some(rsvp_of(event_id, user_id, answer)),
        Row::Waiting(_) | Row::CoHost(_) => None,
    }
}

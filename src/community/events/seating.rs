//! Seating: what an answer comes to on the event's partition. Who gets a place, who holds one until it is paid, who waits, and
//! who moves up.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{Part, behind, key, last_part, number, prefix};
use mundotango_storage::to_the_millisecond;

use super::handover::Handover;
use super::places::{First, Limits, Line, Party, next_in};
use super::rules::{Answer, Attendance, NewAnswer, RsvpChoice, RsvpStatus};
use super::store::{EventError, Facts, Row, not_suspended, still_on, still_to_come};

/// A ticket that was paid for.
#[derive(Clone, Debug)]
pub struct PaidTicket {
    /// The id of the payment.
    pub payment: String,
    /// For how many it is.
    pub people: u32,
}

/// The partition of an event.
pub(super) type EventPart<'a> = Part<'a, Facts, Attendance, Row>;

/// Below this lie the answers, by user.
pub(super) const ANSWERS: &str = "a";
/// Most parties that one change gives places to; a job goes on behind them.
const MOST_PROMOTED: u32 = 50;
/// Most parties behind those looked at first that one change passes over, as they do not fit.
const MOST_PASSED_OVER: usize = 50;
/// How long a place is held for one who is to pay for it. A page to pay on takes 35 minutes of it at the least.
const HELD_FOR: SignedDuration = SignedDuration::from_hours(1);
/// A hold that ends sooner than this begins anew when its user asks again, if nobody waits.
const RENEWED_BELOW: SignedDuration = SignedDuration::from_mins(40);
/// How long a place is held for one who waited for it, and has to see the letter first.
const OFFERED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Most holds that one change ends.
const MOST_LAPSED: usize = 50;
/// Below this lie the users who hold places, by when the holds end.
const HELD: &str = "x";
/// Below this lie the users who offer their places, by the user to whom they do.
pub(super) const OFFERED: &str = "o";

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
    /// Until when a place is held for the user.
    pub held_until: Option<Timestamp>,
    /// The payment by which the user took the place.
    pub payment: Option<String>,
    /// To whom the user offers the place; it may be over.
    pub handover: Option<Handover>,
}

/// Those who waited and have places now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// Their answers, in the order of their places.
    pub answers: Vec<Rsvp>,
    /// Whether there may be more: so many get places in one change.
    pub has_more: bool,
}

pub(super) fn answer_key(user_id: &str) -> String {
    key(&[ANSWERS, user_id])
}

/// Below this lie the users who wait in a line, by their numbers.
pub(super) fn below(line: Line) -> &'static str {
    match line {
        Line::Any => "w",
        Line::Leads => "wl",
        Line::Follows => "wf",
        Line::Others => "wo",
    }
}

fn held_key(until: Timestamp, user_id: &str) -> String {
    key(&[HELD, &number(until.as_millisecond().unsigned_abs()), user_id])
}

pub(super) fn offered_key(to: &str, from: &str) -> String {
    key(&[OFFERED, to, from])
}

pub(super) fn waiting_key(line: Line, place: u64) -> String {
    key(&[below(line), &number(place)])
}

pub(super) fn rsvp_of(event_id: &str, user_id: &str, answer: Answer) -> Rsvp {
    Rsvp {
        event_id: event_id.to_owned(),
        user_id: user_id.to_owned(),
        status: answer.status,
        updated_at: answer.at,
        place: answer.place(),
        held_until: answer.until.filter(|_| answer.status == RsvpStatus::Held),
        payment: answer.payment,
        handover: answer.handover,
        party: answer.party,
    }
}

pub(super) fn answer_of(part: &mut EventPart<'_>, user_id: &str) -> Option<Answer> {
    match part.row(&answer_key(user_id)) {
        Some(Row::Answer(answer)) => Some(answer.clone()),
        _ => None,
    }
}

/// Whether an answer says what another one said already. Who waits and asks again keeps the place in the line.
fn stands(before: &Answer, choice: RsvpChoice, party: &Party) -> bool {
    let is_same = matches!(
        (before.status, choice),
        (RsvpStatus::Going | RsvpStatus::Held | RsvpStatus::Waitlisted, RsvpChoice::Going)
            | (RsvpStatus::Maybe, RsvpChoice::Maybe)
            | (RsvpStatus::Declined, RsvpChoice::Declined)
    );
    is_same && before.party == *party
}

/// What a new answer comes to, and whether anything changes by it.
pub(super) fn answer(
    part: &mut EventPart<'_>,
    user_id: &str,
    new: &NewAnswer,
    now: Timestamp,
) -> Result<(Answer, bool), EventError> {
    lapse(part, now);
    let before = answer_of(part, user_id);
    let choice = new.choice;
    // Who has answered one that is taken away can still give the place back.
    let can_come = |before: &Answer| before.status != RsvpStatus::Declined;
    let withdraws = choice == RsvpChoice::Declined && before.as_ref().is_some_and(can_come);
    if !withdraws {
        not_suspended(part)?;
    }
    let party = match (choice, &new.party, &before) {
        (RsvpChoice::Declined, ..) | (_, None, None) => Party::default(),
        (_, Some(party), _) => party.clone(),
        (_, None, Some(before)) => before.party.clone(),
    };
    let nobody_waits = part.head.counts.waitlisted == 0;
    let is_renewed = |before: &Answer| {
        before.status == RsvpStatus::Held
            && nobody_waits
            && before.until.is_some_and(|until| until.duration_since(now) < RENEWED_BELOW)
    };
    if let Some(before) =
        before.as_ref().filter(|before| stands(before, choice, &party) && !is_renewed(before))
    {
        return Ok((before.clone(), false));
    }
    still_on(part, now)?;
    let limits = part.facts.settings(&part.head).limits;
    let heads = party.heads();
    // A party that never fits would hold up all who wait behind it.
    if choice == RsvpChoice::Going
        && let Some(limit) = limits.broken_by(heads)
    {
        return Err(EventError::NoRoom(limit));
    }
    // The price is of those who came when it was told.
    let has_ticket = |before: &Answer| before.status == RsvpStatus::Held || before.payment.is_some();
    if choice == RsvpChoice::Going
        && before.as_ref().is_some_and(|before| has_ticket(before) && before.party != party)
    {
        return Err(EventError::HasTicket);
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
            _ => leave(part, user_id, &before),
        }
    }
    let entered = enter(part, user_id, choice, party, &limits, now);
    Ok((keep(part, user_id, entered), true))
}

pub(super) fn keep(part: &mut EventPart<'_>, user_id: &str, answer: Answer) -> Answer {
    part.set(answer_key(user_id), Row::Answer(answer.clone()));
    answer
}

/// A party that has a place brings others as well, or others than before: they need room, and pass nobody who waits.
fn grow(part: &mut EventPart<'_>, before: &Answer, party: &Party, limits: &Limits) -> Result<(), EventError> {
    let (known, heads) = (before.party.heads(), party.heads());
    let together = part.head.seated().without(known).and(heads);
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
pub(super) fn leave(part: &mut EventPart<'_>, user_id: &str, before: &Answer) {
    part.head.uncount(before.status, before.party.heads());
    if let Some(until) = before.until {
        part.remove(held_key(until, user_id));
    }
    if let Some((line, place)) = before.place() {
        part.head.leave(line);
        part.remove(waiting_key(line, place));
    }
    end_offer(part, user_id, before);
}

/// Takes the offer of a place out of what its receiver finds.
pub(super) fn end_offer(part: &mut EventPart<'_>, user_id: &str, answer: &Answer) {
    if let Some(offer) = &answer.handover {
        part.remove(offered_key(&offer.to, user_id));
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
    let has_room = limits.broken_by(part.head.seated().and(heads)).is_none();
    let status = match choice {
        RsvpChoice::Going if has_room && part.head.counts.waitlisted == 0 => {
            return seat(part, user_id, party, now, HELD_FOR);
        }
        RsvpChoice::Going => RsvpStatus::Waitlisted,
        RsvpChoice::Maybe => RsvpStatus::Maybe,
        RsvpChoice::Declined => RsvpStatus::Declined,
    };
    part.head.count(status, heads);
    let mut answer = Answer::new(status, now, party);
    if status == RsvpStatus::Waitlisted {
        answer.line = Line::of(heads, limits);
        let place = part.head.join(answer.line);
        answer.number = Some(place);
        part.set(waiting_key(answer.line, place), Row::Waiting(user_id.to_owned()));
    }
    answer
}

/// Gives a place: for good, or where it has to be paid for a while.
fn seat(
    part: &mut EventPart<'_>,
    user_id: &str,
    party: Party,
    now: Timestamp,
    held_for: SignedDuration,
) -> Answer {
    let heads = party.heads();
    let is_paid = part.facts.settings(&part.head).ticket.is_some();
    let status = if is_paid { RsvpStatus::Held } else { RsvpStatus::Going };
    part.head.count(status, heads);
    let mut answer = Answer::new(status, now, party);
    if is_paid {
        // What is kept of a time is its milliseconds.
        let until = to_the_millisecond(now.saturating_add(held_for).unwrap_or(Timestamp::MAX));
        part.set(held_key(until, user_id), Row::Held(user_id.to_owned()));
        answer.until = Some(until);
    }
    answer
}

/// Takes back places that were held until now at the latest, and not paid. Where places have come to cost nothing, they are
/// given for good instead.
pub(super) fn lapse(part: &mut EventPart<'_>, now: Timestamp) {
    if part.head.held.total() == 0 {
        return;
    }
    let is_paid = part.facts.settings(&part.head).ticket.is_some();
    let until = if is_paid {
        key(&[HELD, &number(now.as_millisecond().unsigned_abs().saturating_add(1))])
    } else {
        behind(&prefix(&[HELD]))
    };
    let rows = part.between(&prefix(&[HELD]), &until, MOST_LAPSED);
    let users: Vec<_> = rows.into_iter().map(|(key, _)| (last_part(&key), key)).collect();
    for (user, key) in users {
        part.remove(key);
        let Some(answer) = answer_of(part, &user) else { continue };
        if answer.status != RsvpStatus::Held {
            continue;
        }
        let heads = answer.party.heads();
        part.head.uncount(RsvpStatus::Held, heads);
        let after = if is_paid {
            // The end of the hold tells it from an answer of the user's own: who pays late still brings the same party.
            Answer { until: answer.until, ..Answer::new(RsvpStatus::Declined, now, answer.party) }
        } else {
            part.head.count(RsvpStatus::Going, heads);
            Answer::new(RsvpStatus::Going, now, answer.party)
        };
        keep(part, &user, after);
    }
}

/// Gives places for good to a party that paid for as many as it is; whether there are any.
pub(super) fn seat_paid(
    part: &mut EventPart<'_>,
    user_id: &str,
    ticket: &PaidTicket,
    now: Timestamp,
) -> Result<Option<Answer>, EventError> {
    lapse(part, now);
    let Some(before) = answer_of(part, user_id) else { return Ok(None) };
    if before.status == RsvpStatus::Going {
        // The same payment may be told of again; another one for the same place is too much.
        return Ok(Some(before).filter(|before| before.payment.as_ref() == Some(&ticket.payment)));
    }
    still_to_come(part, now)?;
    let heads = before.party.heads();
    // Who declined meanwhile and came again with others has another price.
    if heads.total() != ticket.people {
        return Ok(None);
    }
    // Who declined does not come by money that arrives later.
    if before.status == RsvpStatus::Declined && before.until.is_none() {
        return Ok(None);
    }
    if before.status != RsvpStatus::Held {
        let limits = part.facts.settings(&part.head).limits;
        let has_room = limits.broken_by(part.head.seated().and(heads)).is_none();
        if !has_room || part.head.counts.waitlisted > 0 {
            return Ok(None);
        }
    }
    leave(part, user_id, &before);
    part.head.count(RsvpStatus::Going, heads);
    part.head.answers += 1;
    let payment = Some(ticket.payment.clone());
    Ok(Some(keep(part, user_id, Answer { payment, ..Answer::new(RsvpStatus::Going, now, before.party) })))
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

/// The first of those who wait in a line. Where none of them fits, those behind them are looked at as well: nobody is held up by
/// parties that do not fit any longer.
fn queue(part: &mut EventPart<'_>, line: Line, limits: &Limits, most: usize) -> Queue {
    let queue = first_of(part, line, limits, most);
    if queue.waiting.is_empty() && queue.skips && queue.is_cut {
        return first_of(part, line, limits, most + MOST_PASSED_OVER);
    }
    queue
}

fn first_of(part: &mut EventPart<'_>, line: Line, limits: &Limits, most: usize) -> Queue {
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

/// Gives free places to those who wait, in their order; also those whose holds have ended.
pub(super) fn promote(part: &mut EventPart<'_>, event_id: &str, now: Timestamp) -> Promoted {
    let mut promoted = Promoted::default();
    lapse(part, now);
    let settings = part.facts.settings(&part.head);
    // Places that cost nothing any longer are given for good, some in each change.
    promoted.has_more = settings.ticket.is_none() && part.head.held.total() > 0;
    let limits = settings.limits;
    let room = limits.room(part.head.seated()).min(MOST_PROMOTED);
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
        let Some(next) = next_in(part.head.seated(), &limits, &firsts) else { break };
        if promoted.answers.len() >= usize::try_from(MOST_PROMOTED).unwrap_or_default() {
            promoted.has_more = true;
            break;
        }
        let Some(queue) = queues.iter_mut().find(|queue| queue.line == next.line) else { break };
        let Some((place, user, answer)) = queue.waiting.pop_front() else { break };
        part.head.uncount(RsvpStatus::Waitlisted, next.party);
        part.head.leave(next.line);
        if !queue.skips {
            part.head.pass(next.line, place);
        }
        part.remove(waiting_key(next.line, place));
        // Whoever offered a place in the line has another one now, and decides anew.
        end_offer(part, &user, &answer);
        let seated = seat(part, &user, answer.party, now, OFFERED_FOR);
        let seated = keep(part, &user, seated);
        promoted.answers.push(rsvp_of(event_id, &user, seated));
        if queue.waiting.is_empty() && queue.is_cut {
            promoted.has_more = true;
            break;
        }
    }
    promoted
}

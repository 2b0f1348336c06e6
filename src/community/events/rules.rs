//! What an answer to an event comes to.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::counts::CountsTold;
use super::handover::Handover;
use super::occurrence::Following;
use super::places::{Heads, Limits, Line, Party};
use super::schedule::Schedule;
use crate::community::location::Location;
use crate::community::money::Money;
use crate::community::taken_away::TakenAway;

/// How many people answered what, guests among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsvpCounts {
    /// Have a place.
    pub going: u32,
    /// May come.
    pub maybe: u32,
    /// Wait for a place.
    pub waitlisted: u32,
}

/// What a user can answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RsvpChoice {
    /// Wants a place.
    #[default]
    Going,
    /// May come.
    #[serde(alias = "interested")]
    Maybe,
    /// Does not come.
    Declined,
}

/// What a user's answer amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RsvpStatus {
    /// Has a place.
    Going,
    /// May come.
    Maybe,
    /// Does not come.
    Declined,
    /// Wants a place; the event is full.
    Waitlisted,
    /// Has a place for a while, and keeps it by paying.
    Held,
}

/// What a user answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAnswer {
    /// Whether the user comes.
    pub choice: RsvpChoice,
    /// Who comes; `None` for those of the answer before, or the user alone.
    pub party: Option<Party>,
}

impl From<RsvpChoice> for NewAnswer {
    fn from(choice: RsvpChoice) -> Self {
        Self { choice, party: None }
    }
}

/// Who answers.
#[derive(Clone, Debug)]
pub(super) enum By {
    /// The user, now.
    User(NewAnswer),
    /// The user, beforehand: always coming.
    Habit,
}

impl By {
    /// What is answered.
    pub(super) fn answer(&self) -> NewAnswer {
        match self {
            Self::User(new) => new.clone(),
            Self::Habit => RsvpChoice::Going.into(),
        }
    }

    /// Whether an answer stays that was given before. Who said no to this very event has the last word.
    pub(super) fn leaves(&self, before: RsvpStatus) -> bool {
        matches!(self, Self::Habit) && before == RsvpStatus::Declined
    }

    /// Whether the host is told of each. Who is always coming answers many events at once.
    pub(super) fn tells(&self) -> bool {
        matches!(self, Self::User(_))
    }
}

/// A user's answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub(super) status: RsvpStatus,
    /// When the status was reached.
    pub(super) at: Timestamp,
    /// Who comes.
    #[serde(default, skip_serializing_if = "Party::is_one")]
    pub(super) party: Party,
    /// The number in the line of one who waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
    /// In which line that is.
    #[serde(default, skip_serializing_if = "Line::is_of_all")]
    pub(super) line: Line,
    /// Until when a place is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    /// The payment by which a place was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment: Option<String>,
    /// To whom the place is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handover: Option<Handover>,
}

impl Answer {
    pub(super) fn new(status: RsvpStatus, at: Timestamp, party: Party) -> Self {
        Self {
            status,
            at,
            party,
            number: None,
            line: Line::default(),
            until: None,
            payment: None,
            handover: None,
        }
    }

    pub(super) fn place(&self) -> Option<(Line, u64)> {
        self.number.map(|number| (self.line, number))
    }
}

/// To whom it is told who comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttendeeList {
    /// To everybody.
    #[default]
    Everyone,
    /// To those who have a place, and to the hosts.
    Going,
    /// To the hosts.
    Hosts,
}

/// How an event is given: what hosts set, and those who come do not read as its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How many may come.
    #[serde(default)]
    pub limits: Limits,
    /// To whom it is told who comes.
    #[serde(default)]
    pub attendees: AttendeeList,
    /// What a place costs; `None` for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Money>,
    /// How many days before it those who are going are asked whether they still come; `None` for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again: Option<u32>,
}

impl Settings {
    /// Of an event that so many may come to, and nothing else is said of.
    pub fn capacity(total: Option<u32>) -> Self {
        Self { limits: Limits::total(total), ..Self::default() }
    }
}

/// What a host may do who does not own the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CoHostRole {
    /// Changes and cancels it, sees who comes, and checks them in.
    Editor,
    /// Sees who comes, and checks them in.
    Door,
}

/// Most hosts beside the owner.
pub const MOST_CO_HOSTS: usize = 20;

/// What an event was changed to since it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub title: String,
    /// What it is.
    pub description: String,
    /// When it is.
    pub when: Schedule,
    /// Where it is.
    pub location: Location,
}

/// What those who answered knew of an event before it was moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MovedFrom {
    /// When it was to be.
    pub when: Schedule,
    /// Where it was to be.
    pub location: Location,
    /// When they are to be told.
    pub told_at: Timestamp,
}

/// That an event does not take place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Since when that is so.
    pub at: Timestamp,
    /// Why, if the host said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How often time or place of an event may be changed: each change leaves an entry in the lists, and is told to many.
pub const MOST_MOVES: u32 = 20;
/// How long further changes are waited for before those who answered are told.
const MOVE_TOLD_AFTER: SignedDuration = SignedDuration::from_mins(2);
/// How long answers are gathered before the host is told of them.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// The host should have been told so long ago: the job was dropped. The next answer makes another.
const TELLING_IS_LOST: SignedDuration = SignedDuration::from_hours(1);

/// What changes about an event besides the answers themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attendance {
    /// How many people answered what.
    pub counts: RsvpCounts,
    /// Those who are going and dance; what is left of `counts.going` does not or has not said.
    #[serde(default)]
    pub dancing: Heads,
    /// Those who have places for a while, by what they dance.
    #[serde(default)]
    pub held: Heads,
    /// The number of the next party that joins a line. It only rises, so that no clock decides who came first.
    pub next_in_line: u64,
    /// No number of the line of all lies before this one, so that nobody reads over those who got a place long ago.
    pub first_in_line: u64,
    /// Likewise of those who lead, who follow, and who do not dance, where these wait apart.
    #[serde(default)]
    pub first_of_role: [u64; 3],
    /// How many parties wait in each of these lines.
    #[serde(default)]
    pub waiting_of_role: [u32; 3],
    /// How often the event was answered or changed. It rises with each, also with those that are written together.
    #[serde(default)]
    pub answers: u64,
    /// What the event was changed to; absent where it is as it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// What its hosts have set since; absent where it is as it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Box<Settings>>,
    /// Who owns it, if that is no longer the user who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// To whom the owner offers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_to: Option<String>,
    /// How many co-hosts there are.
    #[serde(default)]
    pub co_hosts: usize,
    /// That a draft was published.
    #[serde(default)]
    pub is_published: bool,
    /// That it does not take place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Box<Cancelled>>,
    /// How often time or place were changed.
    #[serde(default)]
    pub moves: u32,
    /// How often what calendars show was changed: SEQUENCE of RFC 5546, section 2.1.4.
    #[serde(default)]
    pub sequence: u32,
    /// When the event itself was changed last, not its answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// When it was to be at first, where those who answered are still to be told that time or place are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Box<MovedFrom>>,
    /// Answers of which the host was not told.
    #[serde(default)]
    pub untold: u32,
    /// When the host is to be told of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// How far lists of events have heard of the counts; absent where nobody has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_told: Option<CountsTold>,
    /// How far the event follows its series; absent where it is as its series made it, or is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<Box<Following>>,
    /// The decisions of the moderators that take it away: while one does, it is there for its hosts alone, and takes no answers.
    #[serde(default, skip_serializing_if = "TakenAway::is_empty")]
    pub hidden_by: TakenAway,
    /// Since when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Timestamp>,
}

impl Attendance {
    /// Notes that time or place are others than those who answered know; when they are to be told, if that is still to be
    /// arranged.
    pub fn note_move(&mut self, when: &Schedule, location: &Location, now: Timestamp) -> Option<Timestamp> {
        self.moves += 1;
        let arranged = self.moved_from.as_ref().map(|from| from.told_at);
        if arranged.is_some_and(|at| now.duration_since(at) < TELLING_IS_LOST) {
            return None;
        }
        let told_at = now.checked_add(MOVE_TOLD_AFTER).ok()?;
        if let Some(from) = &mut self.moved_from {
            // What they know is what they were told last.
            from.told_at = told_at;
        } else {
            let (when, location) = (when.clone(), location.clone());
            self.moved_from = Some(Box::new(MovedFrom { when, location, told_at }));
        }
        Some(told_at)
    }

    /// Notes an answer of which the host is to be told; when that is, if it is still to be arranged.
    pub fn note_untold(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.untold = self.untold.saturating_add(1);
        if self.told_at.is_some_and(|at| now.duration_since(at) < TELLING_IS_LOST) {
            return None;
        }
        self.told_at = now.checked_add(TOLD_AFTER).ok();
        self.told_at
    }

    /// The answers of which the host is told now; how many.
    pub fn take_untold(&mut self) -> u32 {
        self.told_at = None;
        std::mem::take(&mut self.untold)
    }

    /// Notes a change of the event itself; whether calendars show it.
    pub fn note_change(&mut self, is_shown_by_calendars: bool, now: Timestamp) {
        self.answers += 1;
        self.sequence += u32::from(is_shown_by_calendars);
        self.changed_at = Some(now);
    }

    /// Those who are going, by what they dance.
    pub fn going(&self) -> Heads {
        let dancing = Heads { none: 0, ..self.dancing };
        Heads { none: self.counts.going.saturating_sub(dancing.total()), ..dancing }
    }

    /// Those who have a place, for good or for a while.
    pub fn seated(&self) -> Heads {
        self.going().and(self.held)
    }

    /// Counts a party with a status.
    pub fn count(&mut self, status: RsvpStatus, party: Heads) {
        match status {
            RsvpStatus::Going => self.dancing = self.dancing.and(Heads { none: 0, ..party }),
            RsvpStatus::Held => self.held = self.held.and(party),
            RsvpStatus::Maybe | RsvpStatus::Waitlisted | RsvpStatus::Declined => {}
        }
        if let Some(count) = self.count_of(status) {
            *count = count.saturating_add(party.total());
        }
    }

    /// Counts a party no longer.
    pub fn uncount(&mut self, status: RsvpStatus, party: Heads) {
        match status {
            RsvpStatus::Going => self.dancing = self.dancing.without(party),
            RsvpStatus::Held => self.held = self.held.without(party),
            RsvpStatus::Maybe | RsvpStatus::Waitlisted | RsvpStatus::Declined => {}
        }
        if let Some(count) = self.count_of(status) {
            *count = count.saturating_sub(party.total());
        }
    }

    /// The number of one more party in a line.
    pub fn join(&mut self, line: Line) -> u64 {
        if let Some(waiting) = role_of(line).and_then(|at| self.waiting_of_role.get_mut(at)) {
            *waiting = waiting.saturating_add(1);
        }
        let number = self.next_in_line;
        self.next_in_line += 1;
        number
    }

    /// A party leaves a line.
    pub fn leave(&mut self, line: Line) {
        if let Some(waiting) = role_of(line).and_then(|at| self.waiting_of_role.get_mut(at)) {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// Whether there may be a party in a line.
    pub fn is_waited_in(&self, line: Line) -> bool {
        self.counts.waitlisted > 0
            && role_of(line).is_none_or(|at| self.waiting_of_role.get(at).is_some_and(|waiting| *waiting > 0))
    }

    /// No party in a line has a lower number.
    pub fn first_in(&self, line: Line) -> u64 {
        role_of(line).and_then(|at| self.first_of_role.get(at)).copied().unwrap_or(self.first_in_line)
    }

    /// Nobody is left in a line up to a number.
    pub fn pass(&mut self, line: Line, number: u64) {
        match role_of(line).and_then(|at| self.first_of_role.get_mut(at)) {
            Some(first) => *first = number + 1,
            None => self.first_in_line = number + 1,
        }
    }

    fn count_of(&mut self, status: RsvpStatus) -> Option<&mut u32> {
        match status {
            RsvpStatus::Going => Some(&mut self.counts.going),
            RsvpStatus::Maybe => Some(&mut self.counts.maybe),
            RsvpStatus::Waitlisted => Some(&mut self.counts.waitlisted),
            RsvpStatus::Declined | RsvpStatus::Held => None,
        }
    }
}

/// Where a line's figures are kept; `None` for the line of all, whose are fields of their own.
fn role_of(line: Line) -> Option<usize> {
    match line {
        Line::Any => None,
        Line::Leads => Some(0),
        Line::Follows => Some(1),
        Line::Others => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::DanceRole;
    use super::*;

    #[test]
    fn counts_are_of_people_and_those_of_builds_before_are_of_no_role() {
        let mut event: Attendance = serde_json::from_str(
            r#"{"counts": {"going": 3, "maybe": 0, "waitlisted": 0}, "next_in_line": 0, "first_in_line": 0}"#,
        )
        .unwrap();
        assert_eq!(event.going(), Heads { none: 3, ..Heads::default() });
        let couple = Party { role: DanceRole::Lead, guests: vec![DanceRole::Follow] }.heads();
        event.count(RsvpStatus::Going, couple);
        assert_eq!(event.going(), Heads { leads: 1, follows: 1, both: 0, none: 3 });
        event.uncount(RsvpStatus::Going, Party::default().heads());
        event.uncount(RsvpStatus::Going, couple);
        assert_eq!((event.going(), event.counts.going), (Heads { none: 2, ..Heads::default() }, 2));
    }

    #[test]
    fn each_line_has_a_beginning_of_its_own_and_numbers_are_of_all() {
        let mut event = Attendance::default();
        assert_eq!([Line::Any, Line::Leads, Line::Any].map(|line| event.join(line)), [0, 1, 2]);
        event.counts.waitlisted = 3;
        assert_eq!(Line::ALL.map(|line| event.is_waited_in(line)), [true, true, false, false]);
        event.pass(Line::Leads, 1);
        event.leave(Line::Leads);
        assert_eq!(Line::ALL.map(|line| event.first_in(line)), [0, 2, 0, 0]);
        assert!(!event.is_waited_in(Line::Leads));
    }
}

//! What an answer to an event comes to.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::community::location::Location;

/// How many answered what.
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
}

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
    /// How many answered what.
    pub counts: RsvpCounts,
    /// The number of the next one who joins the waitlist. It only rises, so that no clock decides who came first.
    pub next_in_line: u64,
    /// No number of the waitlist lies before this one, so that nobody reads over those who got a place long ago.
    pub first_in_line: u64,
    /// How often the event was answered or changed. It rises with each, also with those that are written together.
    #[serde(default)]
    pub answers: u64,
    /// What the event was changed to; absent where it is as it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// That it does not take place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Box<Cancelled>>,
    /// How often time or place were changed.
    #[serde(default)]
    pub moves: u32,
    /// When it was to be at first, where those who answered are still to be told that time or place are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Box<MovedFrom>>,
    /// Answers of which the host was not told.
    #[serde(default)]
    pub untold: u32,
    /// When the host is to be told of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
}

/// Whether a choice changes what stands already. Who waits and asks again keeps the place in the line.
pub fn changes(previous: Option<RsvpStatus>, choice: RsvpChoice) -> bool {
    !matches!(
        (previous, choice),
        (Some(RsvpStatus::Going | RsvpStatus::Waitlisted), RsvpChoice::Going)
            | (Some(RsvpStatus::Maybe), RsvpChoice::Maybe)
            | (Some(RsvpStatus::Declined), RsvpChoice::Declined)
    )
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

    /// Takes an answer back.
    pub fn leave(&mut self, before: RsvpStatus) {
        if let Some(count) = self.count_of(before) {
            *count = count.saturating_sub(1);
        }
    }

    /// What a choice amounts to, and the number in the line of one who has to wait. A place is free only if there is room
    /// and nobody waits for it.
    pub fn enter(&mut self, choice: RsvpChoice, capacity: Option<u32>) -> (RsvpStatus, Option<u64>) {
        self.answers += 1;
        let is_free = self.has_room(capacity) && self.counts.waitlisted == 0;
        let status = match choice {
            RsvpChoice::Going if is_free => RsvpStatus::Going,
            RsvpChoice::Going => RsvpStatus::Waitlisted,
            RsvpChoice::Maybe => RsvpStatus::Maybe,
            RsvpChoice::Declined => RsvpStatus::Declined,
        };
        if let Some(count) = self.count_of(status) {
            *count += 1;
        }
        let number = (status == RsvpStatus::Waitlisted).then_some(self.next_in_line);
        self.next_in_line += u64::from(number.is_some());
        (status, number)
    }

    /// Whether there is a place for one who waits.
    pub fn promotes(&self, capacity: Option<u32>) -> bool {
        self.counts.waitlisted > 0 && self.has_room(capacity)
    }

    /// Gives a place to the one who waited with this number, the first in the line.
    pub fn promote(&mut self, number: u64) {
        self.leave(RsvpStatus::Waitlisted);
        self.counts.going += 1;
        self.first_in_line = number + 1;
    }

    fn has_room(&self, capacity: Option<u32>) -> bool {
        capacity.is_none_or(|capacity| self.counts.going < capacity)
    }

    fn count_of(&mut self, status: RsvpStatus) -> Option<&mut u32> {
        match status {
            RsvpStatus::Going => Some(&mut self.counts.going),
            RsvpStatus::Maybe => Some(&mut self.counts.maybe),
            RsvpStatus::Waitlisted => Some(&mut self.counts.waitlisted),
            RsvpStatus::Declined => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_event_waitlists_and_a_freed_place_promotes() {
        let (mut event, capacity) = (Attendance::default(), Some(1));
        assert_eq!(event.enter(RsvpChoice::Going, capacity), (RsvpStatus::Going, None));
        assert_eq!(event.enter(RsvpChoice::Going, capacity), (RsvpStatus::Waitlisted, Some(0)));
        assert_eq!(event.enter(RsvpChoice::Going, capacity), (RsvpStatus::Waitlisted, Some(1)));
        assert!(!event.promotes(capacity));
        event.leave(RsvpStatus::Going);
        assert_eq!(event.enter(RsvpChoice::Maybe, capacity), (RsvpStatus::Maybe, None));
        assert!(event.promotes(capacity));
        event.promote(0);
        assert!(!event.promotes(capacity));
        assert_eq!(event.counts, RsvpCounts { going: 1, maybe: 1, waitlisted: 1 });
        assert_eq!(event.first_in_line, 1);
    }

    #[test]
    fn a_newcomer_does_not_overtake_who_waits() {
        let mut event = Attendance::default();
        event.enter(RsvpChoice::Going, Some(1));
        event.enter(RsvpChoice::Going, Some(1));
        // As when the capacity was raised and nobody has been promoted yet.
        assert_eq!(event.enter(RsvpChoice::Going, Some(3)).0, RsvpStatus::Waitlisted);
    }
}

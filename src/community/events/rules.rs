//! What an answer to an event comes to.

use serde::{Deserialize, Serialize};

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

/// What changes about an event besides the answers themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    /// How many answered what.
    pub counts: RsvpCounts,
    /// The number of the next one who joins the waitlist. It only rises, so that no clock decides who came first.
    pub next_in_line: u64,
    /// No number of the waitlist lies before this one, so that nobody reads over those who got a place long ago.
    pub first_in_line: u64,
    /// How many answers were taken. It rises with each, also with those that are written together.
    #[serde(default)]
    pub answers: u64,
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

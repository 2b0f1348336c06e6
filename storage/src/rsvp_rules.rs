//! What an answer to an event comes to: the rules that every adapter applies to the state that it read.

use crate::events::{RsvpChoice, RsvpCounts, RsvpStatus};

/// Whether a choice changes what stands already.
pub(crate) fn changes(previous: Option<RsvpStatus>, choice: RsvpChoice) -> bool {
    match (previous, choice) {
        // Who waits keeps the place in the queue.
        (Some(RsvpStatus::Going | RsvpStatus::Waitlisted), RsvpChoice::Going)
        | (Some(RsvpStatus::Maybe), RsvpChoice::Maybe)
        | (Some(RsvpStatus::Declined), RsvpChoice::Declined) => false,
        _ => true,
    }
}

/// An event's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// How many may come; `None` for no limit.
    pub(crate) capacity: Option<u32>,
    /// How many answered what.
    pub(crate) counts: RsvpCounts,
    /// Rises with everybody who comes to the waitlist, so that clocks don't matter.
    pub(crate) next_place: u64,
}

impl Places {
    /// Takes the answer back that stood before.
    pub(crate) fn leave(&mut self, before: RsvpStatus) {
        if let Some(count) = self.count_of(before) {
            *count = count.saturating_sub(1);
        }
    }

    /// What a choice amounts to, and the place on the waitlist if it is that.
    pub(crate) fn enter(&mut self, choice: RsvpChoice) -> (RsvpStatus, Option<u64>) {
        let status = match choice {
            RsvpChoice::Going if self.has_room() => RsvpStatus::Going,
            RsvpChoice::Going => RsvpStatus::Waitlisted,
            RsvpChoice::Maybe => RsvpStatus::Maybe,
            RsvpChoice::Declined => RsvpStatus::Declined,
        };
        if let Some(count) = self.count_of(status) {
            *count += 1;
        }
        let place = (status == RsvpStatus::Waitlisted).then_some(self.next_place);
        self.next_place += u64::from(place.is_some());
        (status, place)
    }

    /// Whether the first on the waitlist, if there is one, gets the place of one who was `previous` before.
    pub(crate) fn promotes(&self, previous: Option<RsvpStatus>) -> bool {
        previous == Some(RsvpStatus::Going) && self.has_room()
    }

    /// Gives a free place to one who waited.
    pub(crate) fn promote(&mut self) {
        self.leave(RsvpStatus::Waitlisted);
        self.counts.going += 1;
    }

    fn has_room(&self) -> bool {
        self.capacity.is_none_or(|capacity| self.counts.going < capacity)
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
        let mut places = Places { capacity: Some(1), counts: RsvpCounts::default(), next_place: 0 };
        assert_eq!(places.enter(RsvpChoice::Going), (RsvpStatus::Going, None));
        assert_eq!(places.enter(RsvpChoice::Going), (RsvpStatus::Waitlisted, Some(0)));
        assert_eq!(places.enter(RsvpChoice::Going), (RsvpStatus::Waitlisted, Some(1)));
        assert!(!places.promotes(Some(RsvpStatus::Waitlisted)));
        places.leave(RsvpStatus::Going);
        assert_eq!(places.enter(RsvpChoice::Maybe), (RsvpStatus::Maybe, None));
        assert!(places.promotes(Some(RsvpStatus::Going)));
        places.promote();
        assert!(!places.promotes(Some(RsvpStatus::Going)));
        assert_eq!(places.counts, RsvpCounts { going: 1, maybe: 1, waitlisted: 1 });
    }
}

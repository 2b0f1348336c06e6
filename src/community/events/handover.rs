//! Handing a place on: what an offer is, and which party may take the place of another.
//!
//! The place goes over as it is, so there is never one more or less by it, and nobody who waits is passed: a party that would take
//! of what others wait for has to wait as well.

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::to_the_millisecond;
use serde::{Deserialize, Serialize};

use super::places::{Heads, Limit, Limits, Line};

/// How long a place is offered to somebody, if the event does not begin before.
pub const OFFERED_FOR: SignedDuration = SignedDuration::from_hours(48);
/// Most places at an event that are offered to one user at a time.
pub const MOST_OFFERS_TO_ONE: usize = 5;

/// That a user offers the own place to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// To whom.
    pub to: String,
    /// Until when it can be taken.
    pub until: Timestamp,
}

impl Handover {
    /// Of a place at an event that begins at a time.
    pub fn new(to: &str, begins_at: Timestamp, now: Timestamp) -> Self {
        let until = now.saturating_add(OFFERED_FOR).unwrap_or(Timestamp::MAX).min(begins_at);
        // What is kept of a time is its milliseconds.
        Self { to: to.to_owned(), until: to_the_millisecond(until) }
    }

    /// Whether it can be taken.
    pub fn is_open(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether a user can take it.
    pub fn is_to(&self, user_id: &str, now: Timestamp) -> bool {
        self.to == user_id && self.is_open(now)
    }
}

/// Why a party does not take the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It has more people.
    Larger,
    /// More of a role than there is room for.
    NoRoom(Limit),
    /// There is room for that role, for which others wait.
    OthersWait,
    /// The place is in the line of those who dance something else.
    OtherLine,
}

/// Whether a party may have the place of another that has one, beside all who have one.
pub fn fits_place(
    seated: Heads,
    limits: &Limits,
    (before, after): (Heads, Heads),
    somebody_waits: bool,
) -> Result<(), Unfit> {
    if after.total() > before.total() {
        return Err(Unfit::Larger);
    }
    if limits.asks_no_more(after, before) {
        return Ok(());
    }
    match limits.broken_by(seated.without(before).and(after)) {
        Some(limit) => Err(Unfit::NoRoom(limit)),
        None if somebody_waits => Err(Unfit::OthersWait),
        None => Ok(()),
    }
}

/// Whether a party may have the place of another in a line.
pub fn fits_line(limits: &Limits, line: Line, (before, after): (Heads, Heads)) -> Result<(), Unfit> {
    if after.total() > before.total() {
        return Err(Unfit::Larger);
    }
    // Where limits came after the party did, it waits where none would any more.
    let is_of_line = after == before || Line::of(after, limits) == line;
    if !is_of_line || !limits.asks_no_more(after, before) {
        return Err(Unfit::OtherLine);
    }
    limits.broken_by(after).map_or(Ok(()), |limit| Err(Unfit::NoRoom(limit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads(leads: u32, follows: u32, both: u32, none: u32) -> Heads {
        Heads { leads, follows, both, none }
    }

    const ROLES: Limits = Limits { total: Some(5), leads: Some(2), follows: Some(2) };

    #[test]
    fn an_offer_ends_after_two_days_or_when_the_event_begins() {
        let now: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
        let hours = SignedDuration::from_hours;
        let offer = Handover::new("ben", now + hours(100), now);
        assert_eq!(offer.until, now + OFFERED_FOR);
        assert!(offer.is_to("ben", now) && !offer.is_to("ana", now));
        assert!(!offer.is_to("ben", offer.until), "at its end it is over");
        assert_eq!(Handover::new("ben", now + hours(3), now).until, now + hours(3));
    }

    #[test]
    fn a_leads_place_goes_to_a_lead_unless_there_is_room_for_the_other_role() {
        let lead = heads(1, 0, 0, 0);
        let follow = heads(0, 1, 0, 0);
        let full = heads(2, 2, 0, 0);
        assert_eq!(fits_place(full, &ROLES, (lead, lead), true), Ok(()));
        assert_eq!(fits_place(full, &ROLES, (lead, follow), false), Err(Unfit::NoRoom(Limit::Follows)));
        assert_eq!(fits_place(heads(2, 1, 0, 0), &ROLES, (lead, follow), false), Ok(()));
        assert_eq!(fits_place(heads(2, 1, 0, 0), &ROLES, (lead, follow), true), Err(Unfit::OthersWait));
        let all = Limits::total(Some(2));
        assert_eq!(fits_place(heads(2, 0, 0, 0), &all, (lead, follow), true), Ok(()), "roles have no limits");
        let couple = heads(1, 1, 0, 0);
        assert_eq!(fits_place(full, &ROLES, (couple, follow), true), Ok(()), "a smaller party");
        assert_eq!(fits_place(heads(1, 0, 0, 0), &ROLES, (lead, couple), false), Err(Unfit::Larger));
    }

    #[test]
    fn a_place_in_a_line_stays_in_its_line() {
        let (lead, follow, couple) = (heads(1, 0, 0, 0), heads(0, 1, 0, 0), heads(1, 1, 0, 0));
        assert_eq!(fits_line(&ROLES, Line::Leads, (lead, lead)), Ok(()));
        assert_eq!(fits_line(&ROLES, Line::Leads, (lead, follow)), Err(Unfit::OtherLine));
        assert_eq!(fits_line(&ROLES, Line::Any, (couple, follow)), Err(Unfit::OtherLine));
        assert_eq!(fits_line(&ROLES, Line::Any, (lead, lead)), Ok(()), "it waited before roles had limits");
        assert_eq!(fits_line(&Limits::total(Some(1)), Line::Any, (lead, follow)), Ok(()));
    }

    fn some_heads() -> impl Strategy<Value = Heads> {
        (0..3_u32, 0..3_u32, 0..3_u32, 0..3_u32).prop_map(|(leads, follows, both, none)| Heads {
            leads,
            follows,
            both,
            none,
        })
    }

    proptest! {
        /// Whoever takes whose place, no limit is broken that held, and nobody who waits could have come before and cannot now.
        #[test]
        fn a_place_that_is_handed_on_breaks_no_limit_and_takes_nothing_of_who_waits(
            (total, leads, follows) in (prop::option::of(0..9_u32), prop::option::of(0..6_u32), prop::option::of(0..6_u32)),
            others in some_heads(),
            before in some_heads(),
            after in some_heads(),
            waits in some_heads(),
            somebody_waits in any::<bool>(),
        ) {
            let limits = Limits { total, leads, follows };
            let seated = others.and(before);
            prop_assume!(limits.broken_by(seated).is_none());
            if fits_place(seated, &limits, (before, after), somebody_waits).is_ok() {
                let then = others.and(after);
                prop_assert_eq!(limits.broken_by(then), None);
                prop_assert!(then.total() <= seated.total());
                if somebody_waits && limits.broken_by(seated.and(waits)).is_none() {
                    prop_assert_eq!(limits.broken_by(then.and(waits)), None);
                }
            }
        }
    }
}

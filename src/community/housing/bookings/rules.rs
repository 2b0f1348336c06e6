//! What becomes of a booking, as a pure rule of what is kept and the time. Deadlines are judged here whenever a booking is read:
//! what a job writes down later was so before.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::bill::Bill;
use crate::community::housing::error::HousingError;
use crate::community::housing::listings::rows::Which;
use crate::community::housing::status::{Side, Status};
use crate::community::housing::stay::{self, Stay};
use crate::community::housing::terms::{Offer, Quote, Request};

/// How many days after check-out the sides can write reviews, which are shown then at the latest.
pub const REVIEWED_WITHIN: i32 = 14;
/// How many days after check-out a host can say that the guest did not come.
const NO_SHOW_WITHIN: i32 = 2;
/// The hour at which reminders come, on the clocks of the place.
const REMINDER_HOUR: i8 = 9;

/// A state that a booking came into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The state.
    pub status: Status,
    /// Since when.
    pub at: Timestamp,
    /// Which side did it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Side>,
}

/// Which reviews there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The guest has written one.
    #[serde(default)]
    pub guest: bool,
    /// The host has.
    #[serde(default)]
    pub host: bool,
    /// Since when they are shown, where that is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revealed_at: Option<Timestamp>,
}

/// What changes about a booking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How it stood when it was written; [`Booking::status`] says how it stands.
    #[serde(default)]
    pub status: Status,
    /// The last offer of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Box<Offer>>,
    /// How the money stands.
    #[serde(default)]
    pub bill: Bill,
    /// Why it was declined or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its reviews.
    #[serde(default)]
    pub reviews: Written,
    /// The states that it came into, the first one left out. A host makes ten offers at most, so there are few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<Passed>,
    /// Rises with each change.
    #[serde(default)]
    pub version: u64,
}

/// One booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Sorted by the time of its making.
    pub id: String,
    /// What the guest asked for.
    pub request: Request,
    /// What became of it.
    pub progress: Progress,
}

/// Something that may change a booking's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The listing has an offer of the host.
    Counter(Box<Offer>),
    /// The listing gave it the nights at this time.
    Confirm(Timestamp),
    /// The listing gave a night of it to another.
    Supersede,
    /// The listing ended it, as nobody answered in time.
    Expire,
    /// The host says no.
    Decline(Option<String>),
    /// One side cancels; why.
    Cancel(Side, Option<String>),
    /// The check-out day has come.
    Complete,
    /// The host says that the guest did not come.
    NoShow,
}

impl Booking {
    /// A booking that was just asked for.
    pub fn new(id: String, request: Request) -> Self {
        Self { id, request, progress: Progress::default() }
    }

    /// Its nights: those of the last offer, if there is one.
    pub fn stay(&self) -> Stay {
        self.progress.offer.as_ref().map_or(self.request.stay, |offer| offer.stay)
    }

    /// What they cost.
    pub fn quote(&self) -> &Quote {
        self.progress.offer.as_ref().map_or(&self.request.quote, |offer| &offer.quote)
    }

    /// The number of the last offer; 0 where there is none.
    pub fn offers(&self) -> u32 {
        self.progress.offer.as_ref().map_or(0, |offer| offer.number)
    }

    /// Until when it can be answered.
    pub fn answer_by(&self) -> Timestamp {
        self.progress.offer.as_ref().map_or(self.request.answer_by, |offer| offer.answer_by)
    }

    /// When a day so long after check-out begins where the guest stays.
    fn after_check_out(&self, days: i32) -> Timestamp {
        stay::begins(stay::days_later(self.stay().to, days), 0, &self.request.time_zone)
    }

    /// When the check-out day begins.
    pub fn completes_at(&self) -> Timestamp {
        self.after_check_out(0)
    }

    /// When its reviews are shown at the latest, and none is taken any more.
    pub fn reveals_by(&self) -> Timestamp {
        self.after_check_out(REVIEWED_WITHIN)
    }

    /// When a reminder comes so many days after a day of the stay.
    pub fn reminder(&self, day: Date, days: i32) -> Timestamp {
        stay::begins(stay::days_later(day, days), REMINDER_HOUR, &self.request.time_zone)
    }

    /// How it stands at a time.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.progress.status {
            pending if pending.is_pending() && now >= self.answer_by() => Status::Expired,
            Status::Confirmed if now >= self.completes_at() => Status::Completed,
            status => status,
        }
    }

    /// Its request, as the listing is asked for it.
    pub fn which(&self) -> Which {
        Which { guest_id: self.request.guest_id.clone(), booking_id: self.id.clone(), stay: self.stay() }
    }

    /// The user on a side.
    pub fn user(&self, side: Side) -> &str {
        match side {
            Side::Guest => &self.request.guest_id,
            Side::Host => &self.request.host_id,
        }
    }

    /// On which side a user is.
    pub fn side_of(&self, user_id: &str) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| self.user(*side) == user_id)
    }

    /// Takes a step; whether it changed anything. What the listing decided is taken from whatever is pending, as the listing has
    /// judged the deadline; what a side does is judged at this time.
    pub fn take(&mut self, step: &Step, now: Timestamp) -> Result<bool, HousingError> {
        let (stored, status) = (self.progress.status, self.status(now));
        let (next, at, by) = match step {
            Step::Counter(offer) if stored.is_pending() && offer.number > self.offers() => {
                self.progress.offer = Some(offer.clone());
                (Status::Countered, now, Some(Side::Host))
            }
            Step::Confirm(at) if stored.is_pending() => {
                let by = if self.offers() == 0 { Side::Host } else { Side::Guest };
                let total = self.quote().total();
                self.progress.bill.confirmed(total);
                (Status::Confirmed, *at, Some(by))
            }
            Step::Supersede if stored.is_pending() => (Status::Superseded, now, None),
            Step::Expire if stored.is_pending() => (Status::Expired, self.answer_by(), None),
            Step::Decline(reason) => match status {
                Status::Declined => return Ok(false),
                status if status.is_pending() => {
                    self.progress.reason.clone_from(reason);
                    (Status::Declined, now, Some(Side::Host))
                }
                status => return Err(HousingError::InState(status)),
            },
            Step::Cancel(side, reason) => match (status, side) {
                (Status::Cancelled, _) => return Ok(false),
                (status, Side::Host) if status.is_pending() => {
                    return Err(HousingError::NotNow("decline a request that is not confirmed yet"));
                }
                (status, side) if status.is_pending() || status == Status::Confirmed => {
                    self.progress.reason.clone_from(reason);
                    if status == Status::Confirmed {
                        self.pay_back(*side, now);
                    }
                    (Status::Cancelled, now, Some(*side))
                }
                (status, _) => return Err(HousingError::InState(status)),
            },
            Step::Complete if stored == Status::Confirmed && status == Status::Completed => {
                (Status::Completed, self.completes_at(), None)
            }
            Step::Counter(_) | Step::Confirm(_) | Step::Supersede | Step::Expire | Step::Complete => {
                return Ok(false);
            }
            Step::NoShow if stored == Status::NoShow => return Ok(false),
            Step::NoShow => {
                self.may_be_no_show(status, now)?;
                (Status::NoShow, now, Some(Side::Host))
            }
        };
        self.progress.status = next;
        self.progress.passed.push(Passed { status: next, at, by });
        self.progress.version += 1;
        Ok(true)
    }

    /// Works out what a guest gets back of a confirmed stay that is cancelled. A host who cancels gives all of it back.
    fn pay_back(&mut self, by: Side, now: Timestamp) {
        let percent = match by {
            Side::Host => 100,
            Side::Guest => {
                self.request.policy.percent(self.stay(), stay::today(&self.request.time_zone, now))
            }
        };
        let total = self.quote().total();
        self.progress.bill.cancelled(total, percent);
    }

    fn may_be_no_show(&self, status: Status, now: Timestamp) -> Result<(), HousingError> {
        if !matches!(status, Status::Confirmed | Status::Completed) {
            return Err(HousingError::InState(status));
        }
        if now < stay::begins(self.stay().from, 0, &self.request.time_zone) {
            return Err(HousingError::NotNow("the check-in day has not come"));
        }
        if now >= self.after_check_out(NO_SHOW_WITHIN) {
            return Err(HousingError::NotNow("a host can say this until two days after check-out"));
        }
        if self.progress.reviews.guest || self.progress.reviews.host {
            return Err(HousingError::NotNow("there is a review of the stay"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::super::bill::{Payment, Refund};
    use super::*;
    use crate::community::housing::listings::calendar::tests::request;
    use crate::community::housing::terms::CancellationPolicy;
    use crate::community::money::Currency;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A booking of three nights, asked for eleven days before, in Buenos Aires.
    pub(crate) fn booking() -> Booking {
        let stay = Stay::new(date(2030, 5, 12), date(2030, 5, 15)).unwrap();
        Booking::new("booking".to_owned(), request("guest", stay, at("2030-05-01T12:00:00Z")))
    }

    fn confirmed() -> Booking {
        let mut booking = booking();
        let now = at("2030-05-01T13:00:00Z");
        assert_eq!(booking.take(&Step::Confirm(now), now), Ok(true));
        booking
    }

    #[test]
    fn deadlines_are_judged_when_a_booking_is_read() {
        let booking = booking();
        assert_eq!(booking.status(at("2030-05-03T11:59:59Z")), Status::Requested);
        assert_eq!(booking.status(at("2030-05-03T12:00:00Z")), Status::Expired);
        let confirmed = confirmed();
        assert_eq!(confirmed.status(at("2030-05-15T02:59:59Z")), Status::Confirmed);
        assert_eq!(confirmed.status(at("2030-05-15T03:00:00Z")), Status::Completed, "in Buenos Aires");
        assert_eq!(confirmed.reveals_by(), at("2030-05-29T03:00:00Z"));
    }

    #[test]
    fn a_host_answers_in_time_and_a_listing_has_judged_that() {
        let late = at("2030-05-04T00:00:00Z");
        let mut expired = booking();
        let refused = expired.take(&Step::Decline(None), late);
        assert_eq!(refused, Err(HousingError::InState(Status::Expired)));
        // The listing confirmed in time, and the booking hears of it late.
        let mut late_to_hear = booking();
        assert_eq!(late_to_hear.take(&Step::Confirm(at("2030-05-03T11:00:00Z")), late), Ok(true));
        assert_eq!(late_to_hear.status(late), Status::Confirmed);
        assert_eq!(late_to_hear.take(&Step::Expire, late), Ok(false));
    }

    #[test]
    fn what_is_closed_stays_closed() {
        let now = at("2030-05-01T13:00:00Z");
        let mut cancelled = booking();
        assert_eq!(cancelled.take(&Step::Cancel(Side::Guest, None), now), Ok(true));
        for step in [Step::Confirm(now), Step::Supersede, Step::Expire, Step::Complete] {
            assert_eq!(cancelled.take(&step, now), Ok(false), "{step:?}");
        }
        assert_eq!(cancelled.take(&Step::Cancel(Side::Guest, None), now), Ok(false), "said again");
        let refused = cancelled.take(&Step::Decline(None), now);
        assert_eq!(refused, Err(HousingError::InState(Status::Cancelled)));
        assert_eq!((cancelled.progress.version, cancelled.progress.passed.len()), (1, 1));
    }

    #[test]
    fn what_is_paid_back_is_worked_out_when_it_is_cancelled() {
        for (by, when, percent) in [
            (Side::Guest, "2030-05-07T12:00:00Z", 100),
            (Side::Guest, "2030-05-08T12:00:00Z", 50),
            (Side::Guest, "2030-05-12T12:00:00Z", 0),
            (Side::Host, "2030-05-12T12:00:00Z", 100),
        ] {
            let mut booking = confirmed();
            assert_eq!(booking.progress.bill.payment, Payment::Due);
            assert_eq!(booking.take(&Step::Cancel(by, None), at(when)), Ok(true));
            let minor = 12_000 * u64::from(percent) / 100;
            assert_eq!(booking.progress.bill.refund, Some(Refund { percent, minor }), "{by:?} {when}");
        }
        let mut withdrawn = booking();
        withdrawn.take(&Step::Cancel(Side::Guest, None), at("2030-05-02T12:00:00Z")).unwrap();
        assert_eq!(withdrawn.progress.bill, Bill::default());
    }

    #[test]
    fn a_frozen_policy_outlives_its_listing() {
        let mut booking = booking();
        booking.request.policy.rules.clear();
        let now = at("2030-05-01T13:00:00Z");
        booking.take(&Step::Confirm(now), now).unwrap();
        booking.take(&Step::Cancel(Side::Guest, None), now).unwrap();
        assert_eq!(booking.progress.bill.refund.unwrap().percent, 0);
        assert_eq!(CancellationPolicy::Moderate.rules().len(), 2);
    }

    #[test]
    fn a_guest_who_did_not_come_is_noted_around_the_stay() {
        for (when, allowed) in [
            ("2030-05-12T02:00:00Z", false),
            ("2030-05-12T04:00:00Z", true),
            ("2030-05-17T02:00:00Z", true),
            ("2030-05-17T04:00:00Z", false),
        ] {
            assert_eq!(confirmed().take(&Step::NoShow, at(when)).is_ok(), allowed, "{when}");
        }
        let mut reviewed = confirmed();
        reviewed.progress.reviews.host = true;
        assert!(reviewed.take(&Step::NoShow, at("2030-05-16T00:00:00Z")).is_err());
        assert!(booking().take(&Step::NoShow, at("2030-05-02T00:00:00Z")).is_err());
    }

    fn step() -> impl Strategy<Value = Step> {
        let offer = (1..12_u32).prop_map(|number| {
            let stay = Stay::new(date(2030, 5, 20), date(2030, 5, 22)).unwrap();
            let quote = Quote::of(stay, Currency::default(), |_| 3_000);
            Step::Counter(Box::new(Offer {
                number,
                stay,
                quote,
                message: None,
                answer_by: at("2030-05-06T00:00:00Z"),
            }))
        });
        let side = any::<bool>().prop_map(|guest| if guest { Side::Guest } else { Side::Host });
        prop_oneof![
            offer,
            Just(Step::Confirm(at("2030-05-02T00:00:00Z"))),
            Just(Step::Supersede),
            Just(Step::Expire),
            Just(Step::Decline(None)),
            side.prop_map(|side| Step::Cancel(side, None)),
            Just(Step::Complete),
            Just(Step::NoShow),
        ]
    }

    /// What a state may become.
    fn next(status: Status) -> &'static [Status] {
        use Status::{
            Cancelled, Completed, Confirmed, Countered, Declined, Expired, NoShow, Requested, Superseded,
        };
        match status {
            Requested | Countered => &[Countered, Confirmed, Declined, Superseded, Expired, Cancelled],
            Confirmed => &[Cancelled, Completed, NoShow],
            Completed => &[NoShow],
            Declined | Superseded | Expired | Cancelled | NoShow => &[],
        }
    }

    proptest! {
        #[test]
        fn states_follow_each_other_as_the_table_says(
            steps in prop::collection::vec((step(), 0..72_i64), 1..40),
        ) {
            let (mut booking, mut now) = (booking(), at("2030-05-01T12:00:00Z"));
            for (step, hours) in steps {
                now += SignedDuration::from_hours(hours);
                let before = booking.clone();
                if booking.take(&step, now) == Ok(true) {
                    let (from, to) = (before.progress.status, booking.progress.status);
                    prop_assert!(next(from).contains(&to), "{from:?} became {to:?} by {step:?}");
                    prop_assert_eq!(booking.progress.version, before.progress.version + 1);
                    prop_assert_eq!(booking.progress.passed.last().map(|passed| passed.status), Some(to));
                    let mut again = booking.clone();
                    prop_assert!(again.take(&step, now) != Ok(true), "{step:?} twice");
                } else {
                    prop_assert_eq!(&booking, &before, "{:?} left something", step);
                }
                // What is judged is what is kept, or what the next look writes down.
                let judged = booking.status(now);
                prop_assert!(judged == booking.progress.status || next(booking.progress.status).contains(&judged));
                prop_assert!(booking.progress.passed.len() <= 16);
            }
        }
    }
}

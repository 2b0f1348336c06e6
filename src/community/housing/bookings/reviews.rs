//! Reviews of a stay, as pure rules: each side writes one, neither sees the other's before both are written or the time for it is
//! over, and then they stay as they are.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rules::Booking;
use crate::community::housing::error::HousingError;
use crate::community::housing::status::{Side, Status};

/// What one side says of a stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// From 1 to 5.
    pub stars: u32,
    /// For everybody.
    pub text: String,
    /// For the other side alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<String>,
    /// When it was written.
    pub written_at: Timestamp,
    /// What the other side answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
}

/// An answer to a review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// For everybody.
    pub text: String,
    /// When it was written.
    pub written_at: Timestamp,
}

impl Booking {
    /// Whether a side has written a review.
    pub fn has_reviewed(&self, side: Side) -> bool {
        match side {
            Side::Guest => self.progress.reviews.guest,
            Side::Host => self.progress.reviews.host,
        }
    }

    /// Fails unless a side may write a review at a time. The right comes from the stay, and from nothing that happened between
    /// the two since.
    pub fn may_review(&self, side: Side, now: Timestamp) -> Result<(), HousingError> {
        let status = self.status(now);
        if status != Status::Completed {
            return Err(HousingError::InState(status));
        }
        if self.has_reviewed(side) {
            return Err(HousingError::WrittenBefore(
                "you have reviewed this stay, and a review stays as it is",
            ));
        }
        if now >= self.reveals_by() {
            return Err(HousingError::NotNow("a stay can be reviewed until 14 days after check-out"));
        }
        Ok(())
    }

    /// Notes a side's review; whether both are shown by it.
    pub fn note_review(&mut self, side: Side, now: Timestamp) -> Result<bool, HousingError> {
        self.may_review(side, now)?;
        let written = &mut self.progress.reviews;
        match side {
            Side::Guest => written.guest = true,
            Side::Host => written.host = true,
        }
        let both = written.guest && written.host;
        written.revealed_at = both.then_some(now);
        self.progress.version += 1;
        Ok(both)
    }

    /// Since when reviews are shown at a time, if they are.
    pub fn revealed_at(&self, now: Timestamp) -> Option<Timestamp> {
        let written = &self.progress.reviews;
        let by_time = (written.guest || written.host).then(|| self.reveals_by()).filter(|at| now >= *at);
        written.revealed_at.or(by_time)
    }

    /// Writes down that the time to write reviews is over; whether some are shown by that, and were not before.
    pub fn note_revealed(&mut self, now: Timestamp) -> bool {
        let is_news = self.progress.reviews.revealed_at.is_none() && self.revealed_at(now).is_some();
        if is_news {
            self.progress.reviews.revealed_at = self.revealed_at(now);
            self.progress.version += 1;
        }
        is_news
    }
}

impl Review {
    /// Adds what the other side answers to it, if that has not answered.
    pub fn reply(&mut self, text: String, now: Timestamp) -> Result<(), HousingError> {
        if self.reply.is_some() {
            return Err(HousingError::WrittenBefore(
                "you have answered this review, and an answer stays as it is",
            ));
        }
        self.reply = Some(Reply { text, written_at: now });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Step;
    use super::super::rules::tests::booking;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn stayed() -> Booking {
        let mut booking = booking();
        let now = at("2030-05-01T13:00:00Z");
        booking.take(&Step::Confirm(now), now).unwrap();
        booking
    }

    /// Trap 33.
    #[test]
    fn reviews_are_hidden_until_both_are_written() {
        let (mut stay, now) = (stayed(), at("2030-05-16T00:00:00Z"));
        assert_eq!(stay.note_review(Side::Guest, now), Ok(false));
        assert_eq!(stay.revealed_at(now), None);
        assert!(matches!(stay.note_review(Side::Guest, now), Err(HousingError::WrittenBefore(_))));
        assert_eq!(stay.note_review(Side::Host, now), Ok(true));
        assert_eq!(stay.revealed_at(now), Some(now));
        assert!(!stay.note_revealed(at("2030-06-16T00:00:00Z")), "they were shown before");
    }

    #[test]
    fn or_until_the_time_to_write_them_is_over() {
        let (mut stay, over) = (stayed(), at("2030-05-29T03:00:00Z"));
        assert_eq!(stay.note_review(Side::Host, at("2030-05-16T00:00:00Z")), Ok(false));
        assert!(!stay.note_revealed(at("2030-05-29T02:59:59Z")));
        assert_eq!(stay.revealed_at(over), Some(over), "also before a job has written it down");
        assert!(matches!(stay.note_review(Side::Guest, over), Err(HousingError::NotNow(_))));
        assert!(stay.note_revealed(over) && !stay.note_revealed(over));
        let nobody = stayed();
        assert_eq!(nobody.revealed_at(over), None, "nothing was written");
    }

    #[test]
    fn only_who_has_stayed_reviews() {
        let now = at("2030-05-14T00:00:00Z");
        assert_eq!(stayed().may_review(Side::Guest, now), Err(HousingError::InState(Status::Confirmed)));
        let mut no_show = stayed();
        no_show.take(&Step::NoShow, now).unwrap();
        let later = at("2030-05-16T00:00:00Z");
        assert_eq!(no_show.may_review(Side::Host, later), Err(HousingError::InState(Status::NoShow)));
        let mut cancelled = stayed();
        cancelled.take(&Step::Cancel(Side::Host, None), now).unwrap();
        assert_eq!(cancelled.may_review(Side::Guest, later), Err(HousingError::InState(Status::Cancelled)));
    }

    #[test]
    fn a_review_is_answered_once() {
        let now = at("2030-05-16T00:00:00Z");
        let mut review =
            Review { stars: 4, text: "Quiet.".to_owned(), private: None, written_at: now, reply: None };
        review.reply("Thank you.".to_owned(), now).unwrap();
        assert!(matches!(review.reply("Again.".to_owned(), now), Err(HousingError::WrittenBefore(_))));
    }
}

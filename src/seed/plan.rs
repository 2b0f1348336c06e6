//! What is made: how many of each kind, who made it, and when.

use jiff::{SignedDuration, Timestamp};

use super::draw::{Draw, together};

/// Posts for each user.
pub(super) const POSTS_A_USER: u64 = 2;
/// Users for each event.
const USERS_AN_EVENT: u64 = 20;
/// Fewest events, so that a few users have something to answer.
const FEWEST_EVENTS: u64 = 4;
/// A new account is mailed a link at its first logins, for a day; accounts here are older.
const YOUNGEST_ACCOUNT: SignedDuration = SignedDuration::from_hours(100 * 24);
/// How much older the oldest account is.
const ACCOUNTS_OVER: SignedDuration = SignedDuration::from_hours(600 * 24);
/// The span in which posts were written.
const POSTS_OVER: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What one run makes. Everything in it follows from these three, so that no thing has to be remembered for
/// another.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which of all communities it is.
    pub seed: u64,
    /// How many users it has.
    pub users: u64,
    /// The time that counts as now.
    pub at: Timestamp,
}

impl Plan {
    /// How many posts there are.
    pub fn posts(&self) -> u64 {
        self.users.saturating_mul(POSTS_A_USER)
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        (self.users / USERS_AN_EVENT).max(FEWEST_EVENTS)
    }

    /// The numbers of a thing. Of another number of users or another time nothing is the same, so that two
    /// runs never write different things under one id.
    pub(super) fn draw(&self, kind: &str, number: u64) -> Draw {
        let run = [self.seed, self.users, self.at.as_millisecond().unsigned_abs()];
        Draw::new(together(&run), kind, number)
    }

    /// A time up to so long before `latest`, to the millisecond.
    pub(super) fn before(draw: &mut Draw, latest: Timestamp, over: SignedDuration) -> Timestamp {
        let millis = i64::try_from(over.as_millis()).unwrap_or(i64::MAX);
        let ago = SignedDuration::from_millis(draw.between(0, millis));
        latest.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When a user's account was made, and its id.
    pub(super) fn account(&self, user: u64) -> (Timestamp, String) {
        let mut draw = self.draw("accounts", user);
        let latest = self.at.checked_sub(YOUNGEST_ACCOUNT).unwrap_or(Timestamp::UNIX_EPOCH);
        let made_at = Self::before(&mut draw, latest, ACCOUNTS_OVER);
        let id = draw.id(made_at);
        (made_at, id)
    }

    /// The id of a user.
    pub fn user_id(&self, user: u64) -> String {
        self.account(user).1
    }

    /// When a post was written, and its id.
    pub(super) fn post(&self, post: u64) -> (Timestamp, String) {
        let mut draw = self.draw("post times", post);
        let written_at = Self::before(&mut draw, self.at, POSTS_OVER);
        let id = draw.id(written_at);
        (written_at, id)
    }

    /// The username of a user.
    pub fn username(&self, user: u64) -> String {
        format!("dancer{}.{}", self.seed, user + 1)
    }

    /// The e-mail address of a user, in a domain that nobody can own (RFC 2606).
    pub fn email(&self, user: u64) -> String {
        format!("{}@seed.example", self.username(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_differ_have_nothing_in_common() {
        let plan = Plan { seed: 1, users: 10, at: Timestamp::from_second(1_700_000_000).unwrap() };
        let others = [
            Plan { seed: 2, ..plan },
            Plan { users: 11, ..plan },
            Plan { at: Timestamp::from_second(1_700_086_400).unwrap(), ..plan },
        ];
        for other in others {
            assert_ne!(plan.user_id(3), other.user_id(3));
            assert_ne!(plan.post(3).1, other.post(3).1);
        }
        assert_eq!(plan.user_id(3), Plan { ..plan }.user_id(3));
        assert_eq!((plan.posts(), plan.events(), Plan { users: 1000, ..plan }.events()), (20, 4, 50));
    }

    #[test]
    fn whoever_writes_has_an_account_for_long() {
        let plan = Plan { seed: 1, users: 1000, at: Timestamp::from_second(1_700_000_000).unwrap() };
        let youngest = (0..plan.users).map(|user| plan.account(user).0).max().unwrap();
        let oldest_post = (0..plan.posts()).map(|post| plan.post(post).0).min().unwrap();
        assert!(youngest < oldest_post);
        assert!((0..plan.posts()).all(|post| plan.post(post).0 <= plan.at));
    }
}

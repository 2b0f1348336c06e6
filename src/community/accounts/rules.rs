//! What presenting a refresh token comes to.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long the token before the newest one still gives the newest: two tabs of a browser refresh at once, and an answer
/// gets lost. Longer than clients wait before they try again.
pub const ROTATION_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Most logins of one user. The oldest goes when there is one more.
pub const MAX_LOGINS: usize = 50;

/// One device's login: a family of refresh tokens, of which only the newest is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Names the family. Sorted by the time of its making.
    pub id: String,
    /// The user who logged in.
    pub user_id: String,
    /// SHA-256 of the newest refresh token's secret.
    pub token_hash: String,
    /// The same of the token that the newest one replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_hash: Option<String>,
    /// When it was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
    /// When the family was made.
    pub created_at: Timestamp,
    /// When its newest token stops to be good.
    pub expires_at: Timestamp,
    /// The device, as its program told or its user called it at the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The network from which it was used last: a /24 or a /48.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// What a presented token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The newest of its login.
    Newest,
    /// Replaced less than [`ROTATION_GRACE`] ago.
    JustReplaced,
    /// Good once.
    Old,
    /// Of a login whose time is over.
    Expired,
}

/// What came of presenting a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The token was the newest; the new one is in its place.
    Rotated(Login),
    /// The token was replaced less than [`ROTATION_GRACE`] ago. Nothing changed: the login has the newest token's hash.
    Repeated(Login),
    /// The token was good once, so somebody holds a copy. The caller ends the login and its access tokens.
    Reused,
    /// There is no such login, or its time is over.
    Unknown,
}

impl Login {
    /// What a token with this hash is at a time.
    pub fn present(&self, presented_hash: &str, now: Timestamp) -> Presented {
        let replaced_at = self.rotated_at.filter(|_| self.previous_hash.as_deref() == Some(presented_hash));
        if self.expires_at <= now {
            Presented::Expired
        } else if self.token_hash == presented_hash {
            Presented::Newest
        } else if replaced_at.is_some_and(|at| now.duration_since(at) < ROTATION_GRACE) {
            Presented::JustReplaced
        } else {
            Presented::Old
        }
    }

    /// When it was last used to get tokens.
    pub fn used_at(&self) -> Timestamp {
        self.rotated_at.unwrap_or(self.created_at)
    }

    /// The login with another newest token.
    #[must_use]
    pub fn rotated(self, new_hash: &str, now: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            token_hash: new_hash.to_owned(),
            previous_hash: Some(self.token_hash),
            rotated_at: Some(now),
            expires_at,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_before_the_newest_is_good_for_a_while() {
        let now = Timestamp::UNIX_EPOCH;
        let later = now + SignedDuration::from_hours(1);
        let login = Login {
            id: "1".to_owned(),
            user_id: "ana".to_owned(),
            token_hash: "first".to_owned(),
            previous_hash: None,
            rotated_at: None,
            created_at: now,
            expires_at: later,
            device: None,
            network: None,
        };
        assert_eq!(login.used_at(), now);
        assert_eq!(login.present("first", now), Presented::Newest);
        let login = login.rotated("second", now, later);
        assert_eq!(login.present("second", now), Presented::Newest);
        assert_eq!(login.present("first", now + SignedDuration::from_secs(29)), Presented::JustReplaced);
        assert_eq!(login.present("first", now + ROTATION_GRACE), Presented::Old);
        assert_eq!(login.present("nonsense", now), Presented::Old);
        assert_eq!(login.present("second", later), Presented::Expired);
    }
}

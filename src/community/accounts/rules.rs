//! What presenting a refresh token comes to.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long the token before the newest one still gives the newest: two tabs of a browser refresh at once, and an answer
/// gets lost. Longer than clients wait before they try again.
pub const ROTATION_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Most logins of one user. The oldest goes when there is one more.
pub const MAX_LOGINS: usize = 50;

/// Most devices of one user that are remembered. The one that was seen longest ago goes when there is one more.
pub const MAX_DEVICES: usize = 50;

/// From where a login was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The device, as its program told or its user called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// When a login was last made from there.
    pub seen_at: Timestamp,
}

impl Device {
    fn is_of(&self, login: &Login) -> bool {
        self.device == login.device && self.network == login.network
    }

    /// From where a login is made, if none is known from there.
    pub fn news(known: &[Self], login: &Login) -> Option<String> {
        if known.iter().any(|one| one.is_of(login)) {
            return None;
        }
        let told: Vec<_> =
            [&login.device, &login.network].into_iter().flatten().map(String::as_str).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// Remembers from where a login is made, beside those that are known.
    pub fn note(known: &mut Vec<Self>, login: &Login) {
        known.retain(|one| !one.is_of(login));
        let (device, network) = (login.device.clone(), login.network.clone());
        known.push(Self { device, network, seen_at: login.created_at });
        let too_many = known.len().saturating_sub(MAX_DEVICES);
        known.drain(..too_many);
    }
}

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

    fn login(device: &str, network: &str) -> Login {
        let now = Timestamp::UNIX_EPOCH;
        Login {
            id: "1".to_owned(),
            user_id: "ana".to_owned(),
            token_hash: "first".to_owned(),
            previous_hash: None,
            rotated_at: None,
            created_at: now,
            expires_at: now + SignedDuration::from_hours(1),
            device: Some(device.to_owned()),
            network: Some(network.to_owned()),
        }
    }

    #[test]
    fn a_login_from_where_none_was_before_is_news_once() {
        let (home, phone, away) = (login("Firefox", "a"), login("Phone", "a"), login("Phone", "b"));
        let mut known = Vec::new();
        let mut note = |login: &Login| {
            let news = Device::news(&known, login);
            Device::note(&mut known, login);
            news
        };
        assert_eq!(note(&home).as_deref(), Some("Firefox, a"));
        assert_eq!(note(&home), None);
        assert_eq!(note(&phone).as_deref(), Some("Phone, a"));
        assert_eq!(note(&phone), None);
        assert_eq!(note(&away).as_deref(), Some("Phone, b"), "another network");
        let nowhere = Login { device: None, network: None, ..login("", "") };
        assert_eq!(note(&nowhere), None);
    }

    #[test]
    fn no_more_devices_are_remembered_than_may_be() {
        let mut known = Vec::new();
        for number in 0..=MAX_DEVICES {
            Device::note(&mut known, &login(&number.to_string(), "a"));
        }
        assert_eq!(known.len(), MAX_DEVICES);
        assert!(Device::news(&known, &login("1", "a")).is_none());
        assert!(Device::news(&known, &login("0", "a")).is_some(), "it was seen longest ago");
    }

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

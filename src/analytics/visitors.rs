//! Who visits, without knowing who it is: ids by HMAC, which nobody can turn back without the key.
//!
//! - A user who is logged in has one id for as long as the installation's key lives, so that different users
//!   can be counted over any time.
//! - Anybody else has an id of the address and the agent by a random key of the UTC day. The key is destroyed
//!   two days after it was made, so nobody can tell afterwards whose ids they were. It follows that such a
//!   visitor is another one each day.
//!
//! Neither address nor agent is ever stored. Of an IPv6 address the first 64 bits count alone: devices change
//! the others.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use mundotango_gateway::ClientAddress;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Fields, Kind};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::slots::Day;

/// The key of users' ids.
pub static MEMBER_KEY: Kind<Key, (), ()> = Kind::new("analytics_member_key", "one key of 60 B", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of_nobody(&["id", "facts.key"])];

/// The keys of days, by the day's number.
pub static DAY_KEYS: Kind<Key, (), ()> =
    Kind::new("analytics_day_keys", "a day's key of 60 B", PERSONAL).ttl(Duration::from_hours(48));

/// The one partition of [`MEMBER_KEY`].
const ONLY: &str = "only";
const KEY_BYTES: usize = 32;
/// Half of a MAC: two of a billion visitors share an id with a probability of 10^-21.
const ID_BYTES: usize = 16;

/// A random key, in base64.
#[derive(Clone, Serialize, Deserialize)]
pub struct Key {
    key: String,
}

/// The id of somebody who visits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Visitor(String);

impl Visitor {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the id of a user.
    pub fn is_member(&self) -> bool {
        self.0.starts_with("u:")
    }
}

/// Makes the ids of visitors.
pub struct Visitors {
    db: Db,
    member_key: tokio::sync::OnceCell<Vec<u8>>,
    day_key: Mutex<Option<(Day, Vec<u8>)>>,
}

impl Visitors {
    /// With keys that a store keeps.
    pub fn new(db: Db) -> Self {
        Self { db, member_key: tokio::sync::OnceCell::new(), day_key: Mutex::new(None) }
    }

    /// The id of a user.
    pub async fn member(&self, user_id: &str) -> Result<Visitor, StoreError> {
        let key = self.member_key.get_or_try_init(|| self.key(&MEMBER_KEY, ONLY)).await?;
        Ok(Visitor(format!("u:{}", mac(key, &[user_id.as_bytes()]))))
    }

    /// The id of somebody who is not logged in, on a day.
    pub async fn anonymous(&self, day: Day, address: IpAddr, agent: &str) -> Result<Visitor, StoreError> {
        let known = self.day_key.lock().clone().filter(|(of, _)| *of == day);
        let key = if let Some((_, key)) = known {
            key
        } else {
            let key = self.key(&DAY_KEYS, &day.0.to_string()).await?;
            *self.day_key.lock() = Some((day, key.clone()));
            key
        };
        let network = ClientAddress(address.to_canonical()).limited_as().to_string();
        Ok(Visitor(format!("a:{}", mac(&key, &[network.as_bytes(), agent.as_bytes()]))))
    }

    /// A stored key, or one that is made now. Of several nodes that make it the first one counts.
    async fn key(&self, kind: &'static Kind<Key, (), ()>, id: &str) -> Result<Vec<u8>, StoreError> {
        let stored = async || Ok::<_, StoreError>(self.db.read(kind, id).await?.map(|found| found.facts));
        let key = if let Some(key) = stored().await? {
            key
        } else {
            let made = Key { key: BASE64_STANDARD_NO_PAD.encode(rand::random::<[u8; KEY_BYTES]>()) };
            if self.db.create_once(kind, id, &made, &(), &[], &[]).await? {
                made
            } else {
                let gone = || StoreError::Unavailable(format!("the key of {} is gone", kind.spec().name));
                stored().await?.ok_or_else(gone)?
            }
        };
        let damaged = |error| StoreError::Damaged(format!("a key of {}: {error}", kind.spec().name));
        BASE64_STANDARD_NO_PAD.decode(&key.key).map_err(damaged)
    }
}

/// The MAC of parts, in hexadecimal. Each part has its length before it, so that no two lists of parts are
/// alike.
fn mac(key: &[u8], parts: &[&[u8]]) -> String {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    let tag = mac.sign();
    tag.as_ref().iter().take(ID_BYTES).fold(String::new(), |mut hex, byte| {
        // Writing into a string does not fail.
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestStore;
    use super::*;

    #[tokio::test]
    async fn t55_ids_hold_for_a_day_and_members_ids_for_good() {
        let store = TestStore::open();
        let visitors = Visitors::new(store.db());
        let of = async |day: u32, address: &str, agent: &str| {
            visitors.anonymous(Day(day), address.parse().unwrap(), agent).await.unwrap()
        };
        let ana = of(20_000, "192.0.2.7", "Firefox").await;
        assert_eq!(of(20_000, "192.0.2.7", "Firefox").await, ana);
        assert_eq!(of(20_000, "::ffff:192.0.2.7", "Firefox").await, ana);
        assert_ne!(of(20_000, "192.0.2.7", "Chrome").await, ana);
        assert_ne!(of(20_000, "192.0.2.8", "Firefox").await, ana);
        assert_ne!(of(20_001, "192.0.2.7", "Firefox").await, ana, "another day's key");
        let home = of(20_001, "2001:db8:0:1:aaaa::1", "x").await;
        assert_eq!(of(20_001, "2001:db8:0:1:bbbb::2", "x").await, home);
        assert_ne!(of(20_001, "2001:db8:0:2:aaaa::1", "x").await, home);

        let another_node = Visitors::new(store.db());
        let address = "192.0.2.7".parse().unwrap();
        assert_eq!(another_node.anonymous(Day(20_000), address, "Firefox").await.unwrap(), ana);
        let member = visitors.member("42").await.unwrap();
        assert_eq!(another_node.member("42").await.unwrap(), member);
        assert!(member.is_member() && !ana.is_member());
        assert_eq!(member.as_str().len(), "u:".len() + 2 * ID_BYTES);
    }

    #[test]
    fn a_mac_depends_on_the_key_and_on_where_parts_end() {
        let all = [mac(b"k", &[b"ab", b"c"]), mac(b"k", &[b"a", b"bc"]), mac(b"l", &[b"ab", b"c"])];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        // By `hmac.new(b"k", b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\x01c", "sha256")` of Python.
        assert_eq!(all[0], "a11f5fedad87524b2e34a286d8fd7881");
    }
}

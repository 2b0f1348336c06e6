//! What was found at an address, for a day: a page to which many link is fetched once, and one that says nothing as well.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Fields, Kind, Wants};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::preview::Page;

/// How long an address is known.
const KNOWN_FOR: Duration = Duration::from_hours(24);
/// What was found, by the digest of the address.
pub static LINK_PREVIEWS: Kind<(), Known, ()> =
    Kind::new("link_previews", "an address: 4 KB, for a day", PERSONAL).implicit().ttl(KNOWN_FOR);
/// Whose the fields are: what anybody finds at an address, which itself is not kept.
const PERSONAL: &[Fields] = &[Fields::of_nobody(&["id", "head.at", "head.page.**"])];

/// What is known of an address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// When it was looked at; it was not, where that is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What the page says of itself, where it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
}

/// The addresses that are known.
#[derive(Clone)]
pub struct KnownPages(Db);

impl KnownPages {
    /// Those of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// What was found at an address; `None` where nobody has looked since yesterday.
    pub async fn known(&self, url: &Url) -> Result<Option<Known>, StoreError> {
        let found = self.0.read(&LINK_PREVIEWS, &id_of(url)).await?;
        Ok(found.map(|found| found.head).filter(|known| known.at.is_some()))
    }

    /// Remembers what was found at an address.
    pub async fn remember(&self, url: &Url, page: Option<Page>, now: Timestamp) -> Result<(), StoreError> {
        let id = id_of(url);
        let remembered = self.0.change(&LINK_PREVIEWS, &id, Wants::head(), move |part| {
            part.head = Known { at: Some(now), page: page.clone() };
            Ok::<_, StoreError>(Decision::Write(()))
        });
        remembered.await.map(drop)
    }
}

/// The partition of an address, however it is written and whatever part of the page it leads to.
fn id_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    let digest = Sha256::digest(url.as_str().as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        for digit in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(digit.into(), 16));
        }
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_however_it_is_written() {
        let id = |address: &str| id_of(&Url::parse(address).unwrap());
        assert_eq!(id("HTTPS://Example.com:443/a#top"), id("https://example.com/a"));
        assert_eq!(id("https://example.com"), id("https://example.com/#"));
        assert_ne!(id("https://example.com/a?x=1"), id("https://example.com/a?x=2"));
        assert_ne!(id("http://example.com/"), id("https://example.com/"));
        assert_eq!(id("https://example.com/").len(), 64);
    }
}

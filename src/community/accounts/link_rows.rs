//! The rows of mailed links, as rules see and leave them.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{key, prefix};

use super::kind::{DEVICES, LOGINS, Owned, Row};
use super::links::{Link, MAX_LINKS, Purpose};
use super::rules::MAX_LOGINS;
use crate::community::letters;

/// Below this lie the links, by purpose and id.
const LINKS: &str = "t";

pub(super) fn link_key(purpose: Purpose, link_id: &str) -> String {
    key(&[LINKS, purpose.name(), link_id])
}

pub(super) fn links_of(purpose: Purpose) -> String {
    prefix(&[LINKS, purpose.name()])
}

pub(super) fn as_link(row: Option<&Row>) -> Option<&Link> {
    match row {
        Some(Row::Link(link)) => Some(link),
        Some(_) | None => None,
    }
}

/// The link, if it is good at a time.
pub(super) fn good(part: &mut Owned<'_>, purpose: Purpose, link_id: &str, now: Timestamp) -> Option<Link> {
    as_link(part.row(&link_key(purpose, link_id))).filter(|link| link.expires_at > now).cloned()
}

/// Ends all links of a purpose: one was used.
pub(super) fn end_links(part: &mut Owned<'_>, purpose: Purpose) {
    let keys: Vec<_> =
        part.first(&links_of(purpose), MAX_LINKS + 1).into_iter().map(|(key, _)| key).collect();
    for key in keys {
        part.remove(key);
    }
}

/// Adds a link and has its letter sent; whether there was room. Where [`MAX_LINKS`] are good, none is added: whoever asks again
/// and again takes no link away from its owner.
pub(super) fn put_link(
    part: &mut Owned<'_>,
    user_id: &str,
    purpose: Purpose,
    id: &str,
    link: Link,
) -> Result<bool, StoreError> {
    let before = part.first(&links_of(purpose), MAX_LINKS + 1);
    let is_over = |row: &Row| as_link(Some(row)).is_none_or(|other| other.expires_at <= link.made_at);
    let (over, good): (Vec<_>, Vec<_>) = before.into_iter().partition(|(_, row)| is_over(row));
    let (over, has_room): (Vec<_>, _) =
        (over.into_iter().map(|(key, _)| key).collect(), good.len() < MAX_LINKS);
    if !has_room {
        return Ok(false);
    }
    for key in over {
        part.remove(key);
    }
    part.set(link_key(purpose, id), Row::Link(link));
    part.emit(&letters::accounts::link(user_id, id, purpose)?)?;
    Ok(true)
}

/// Ends all logins, and knows no device any longer: whoever made one of them may have been somebody else.
pub(super) fn end_logins(part: &mut Owned<'_>) {
    part.set(DEVICES, Row::Devices(Vec::new()));
    let keys: Vec<_> =
        part.first(&prefix(&[LOGINS]), MAX_LOGINS + 1).into_iter().map(|(key, _)| key).collect();
    for key in keys {
        part.remove(key);
    }
}

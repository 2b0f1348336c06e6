//! The rows of a user's logins, as rules see and leave them.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Wants, key, prefix};

use super::kind::{CHALLENGES, DEVICES, LOGINS, Owned, PASSWORD, Row, TOTP};
use super::link_rows::{links_of, put_link};
use super::links::{Link, MAX_LINKS, Purpose};
use super::rules::{Device, Login, MAX_LOGINS};
use super::totp::{Challenge, MAX_CHALLENGES, Totp};

pub(super) fn login_key(login_id: &str) -> String {
    key(&[LOGINS, login_id])
}

pub(super) fn as_login(row: Option<&Row>) -> Option<&Login> {
    match row {
        Some(Row::Login(login)) => Some(login),
        Some(_) | None => None,
    }
}

/// Makes room for one more row below a prefix: those that are over go, and of more than `most` the oldest.
fn make_room(part: &mut Owned<'_>, below: &str, most: usize, is_over: impl Fn(&Row) -> bool) {
    let rows = part.first(&prefix(&[below]), most + 1);
    let (over, good): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| is_over(row));
    // Ids sort by the time of their making, so the oldest come first.
    let too_many = (good.len() + 1).saturating_sub(most);
    let ended: Vec<_> = over.into_iter().chain(good.into_iter().take(too_many)).map(|(key, _)| key).collect();
    for key in ended {
        part.remove(key);
    }
}

/// What [`put_login`] looks at.
pub(super) fn of_logins() -> Wants {
    let logins = Wants::head().row(DEVICES).first(&prefix(&[LOGINS]), MAX_LOGINS + 1);
    logins.first(&links_of(Purpose::EndLogins), MAX_LINKS + 1)
}

/// Adds a login. Those that are over end, and of too many the oldest. Where it is made from a device that was not seen before, a
/// letter with a link that ends all logins tells of it, as long as fewer such links are good than may be.
pub(super) fn put_login(part: &mut Owned<'_>, login: &Login) -> Result<(), StoreError> {
    let now = login.created_at;
    let known = match part.row(DEVICES) {
        Some(Row::Devices(devices)) => Some(devices.clone()),
        Some(_) | None => None,
    };
    let logins = part.first(&prefix(&[LOGINS]), MAX_LOGINS + 1).into_iter();
    let logins: Vec<_> = logins.filter_map(|(_, row)| as_login(Some(row)).cloned()).collect();
    // Whoever ends all logins by a link has an empty list, and hears of each device anew.
    let is_first = known.is_none() && logins.is_empty();
    let mut devices = known.unwrap_or_else(|| {
        // Of before it was remembered: those from where there are logins are known.
        let mut devices = Vec::new();
        for one in &logins {
            Device::note(&mut devices, one);
        }
        devices
    });
    let news = Device::news(&devices, login).filter(|_| !is_first);
    let is_told = if let Some(news) = news {
        let email = part.head.email.clone();
        let link = Link { other: Some(news), ..Link::new(Purpose::EndLogins, email, now) };
        put_link(part, &login.user_id, Purpose::EndLogins, &login.id, link)?
    } else {
        true
    };
    // One of which no letter could tell stays unknown: the next login from there is news again.
    if is_told {
        Device::note(&mut devices, login);
    }
    part.set(DEVICES, Row::Devices(devices));
    make_room(part, LOGINS, MAX_LOGINS, |row| {
        as_login(Some(row)).is_none_or(|other| other.expires_at <= now)
    });
    part.set(login_key(&login.id), Row::Login(login.clone()));
    Ok(())
}

pub(super) fn challenge_key(id: &str) -> String {
    key(&[CHALLENGES, id])
}

pub(super) fn totp_of(part: &mut Owned<'_>) -> Option<Totp> {
    match part.row(TOTP) {
        Some(Row::Totp(totp)) => Some(totp.clone()),
        Some(_) | None => None,
    }
}

pub(super) fn as_challenge(row: Option<&Row>) -> Option<&Challenge> {
    match row {
        Some(Row::Challenge(challenge)) => Some(challenge),
        Some(_) | None => None,
    }
}

pub(super) fn as_password(row: Option<Row>) -> Option<String> {
    match row {
        Some(Row::Password(hash)) => Some(hash),
        Some(_) | None => None,
    }
}

/// The hash of the password; empty where there is none, which nothing is the hash of.
pub(super) fn password_of(part: &mut Owned<'_>) -> String {
    match part.row(PASSWORD) {
        Some(Row::Password(hash)) => hash.clone(),
        Some(_) | None => String::new(),
    }
}

/// Puts a challenge in the place of a login where the user has a second factor; whether that is so.
pub(super) fn put_challenge(part: &mut Owned<'_>, login: &Login) -> bool {
    let now = login.created_at;
    if !totp_of(part).is_some_and(|totp| totp.is_on_at(now)) {
        return false;
    }
    let challenge = Challenge::new(&password_of(part), now);
    make_room(part, CHALLENGES, MAX_CHALLENGES, |row| {
        as_challenge(Some(row)).is_none_or(|other| other.until <= now)
    });
    part.set(challenge_key(&login.id), Row::Challenge(challenge));
    true
}

//! The secret in a calendar's address. It names its user and its calendar, so no list of secrets leads there, and only the hash
//! of the rest is kept: who reads the store or a backup of it can open no calendar.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Bytes of the ids of user and calendar.
const ID_BYTES: usize = 16;
/// Bytes that nobody can guess.
const SECRET_BYTES: usize = 32;
/// Bytes of a whole token.
const BYTES: usize = 2 * ID_BYTES + SECRET_BYTES;

/// What opens a calendar.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CalendarToken {
    user: Uuid,
    calendar: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl CalendarToken {
    /// A token with a new secret; `None` for ids that no node has made.
    pub(super) fn new(user_id: &str, calendar_id: &str) -> Option<Self> {
        let (user, calendar) = (Uuid::parse_str(user_id).ok()?, Uuid::parse_str(calendar_id).ok()?);
        // Only the form that ids have leads back to them.
        let is_told = user.to_string() == user_id && calendar.to_string() == calendar_id;
        is_told.then(|| Self { user, calendar, secret: rand::random() })
    }

    /// Reads what stands in an address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (user, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
        let (calendar, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let secret = *rest.first_chunk()?;
        Some(Self { user: Uuid::from_bytes(*user), calendar: Uuid::from_bytes(*calendar), secret })
    }

    /// As it stands in an address. It is longer than any id, by which the log knows not to show it.
    pub(super) fn text(&self) -> String {
        let parts = [self.user.as_bytes().as_slice(), self.calendar.as_bytes(), &self.secret];
        URL_SAFE_NO_PAD.encode(parts.concat())
    }

    pub(super) fn user_id(&self) -> String {
        self.user.to_string()
    }

    pub(super) fn calendar_id(&self) -> String {
        self.calendar.to_string()
    }

    /// What is kept of it. The secret has 256 bits that nobody can guess, so one round is enough.
    pub(super) fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.secret))
    }

    /// Whether it is the one whose hash is kept, in a time that tells nothing of how alike they are.
    pub(super) fn is_of(&self, hash: &str) -> bool {
        verify_slices_are_equal(self.hash().as_bytes(), hash.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::new_id;

    use super::*;

    #[test]
    fn a_token_leads_to_its_calendar_and_opens_that_alone() {
        let (user, calendar) = (new_id(), new_id());
        let token = CalendarToken::new(&user, &calendar).unwrap();
        let text = token.text();
        assert!(
            text.len() > 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')),
            "{text}"
        );
        let read = CalendarToken::parse(&text).unwrap();
        assert!(read == token && read.is_of(&token.hash()));
        assert_eq!((read.user_id(), read.calendar_id()), (user.clone(), calendar.clone()));
        let other = CalendarToken::new(&user, &calendar).unwrap();
        assert!(!other.is_of(&token.hash()) && !token.is_of(""));
        assert!(!token.hash().contains(&text) && !text.contains(&token.hash()));
    }

    #[test]
    fn what_no_node_has_made_is_no_token() {
        let text = CalendarToken::new(&new_id(), &new_id()).unwrap().text();
        for bad in [
            "",
            "x",
            "..",
            &text[1..],
            &format!("{text}A"),
            &format!("{text}="),
            &text.replace(&text[..1], "+"),
        ] {
            assert!(CalendarToken::parse(bad).is_none(), "{bad}");
        }
        assert!(CalendarToken::new("ana", &new_id()).is_none());
        assert!(CalendarToken::new(&new_id().to_uppercase(), &new_id()).is_none());
    }
}

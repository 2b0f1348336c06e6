//! Links by which people unsubscribe from letters, without signing in.
//!
//! A link is signed, so that nobody can unsubscribe somebody else, and it does not expire: laws of several
//! countries ask that the link of an old letter works. It can be used again, as mail programs and people do.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

use super::MailingList;

/// The path of the page to which links lead, and to which mail programs POST (RFC 8058).
pub const UNSUBSCRIBE_PATH: &str = "/api/mail/unsubscribe";

/// What a token begins with; another layout would have another.
const VERSION: u8 = 1;
/// Bytes of the signature at the end of a token.
const TAG_BYTES: usize = 32;
/// Longest token that is read, in characters.
const MAX_TOKEN_CHARACTERS: usize = 256;
/// Longest address of the site: a link of it has to fit into one line of a header (RFC 5322, 2.1.1).
const MAX_SITE_CHARACTERS: usize = 600;

/// Why no links can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the site's address must be an http:// or https:// address of up to {MAX_SITE_CHARACTERS} characters"
)]
pub struct BadSite;

/// Signs and reads tokens: HMAC-SHA256 with a key that is used for nothing else.
#[derive(Clone)]
pub struct UnsubscribeKey(hmac::Key);

impl UnsubscribeKey {
    /// Derives the key from a secret of the site, which may have other uses. All nodes need the same, and
    /// letters that are out need the one with which they were signed.
    pub fn new(secret: &[u8]) -> Self {
        let derived =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"mundotango unsubscribe tokens");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The token by which a user leaves a list: letters, digits, `-` and `_`. The id is one of ours, of 64
    /// bytes at most.
    pub fn token(&self, user_id: &str, list: MailingList) -> String {
        let mut bytes = vec![VERSION, code(list)];
        bytes.extend_from_slice(user_id.as_bytes());
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whose token it is, and for which list. `None` for whatever was not signed with this key. The signature
    /// is compared in constant time.
    pub fn read(&self, token: &str) -> Option<(String, MailingList)> {
        if token.len() > MAX_TOKEN_CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        hmac::verify(&self.0, signed, tag).ok()?;
        let [VERSION, list, user_id @ ..] = signed else { return None };
        let list = MailingList::ALL.into_iter().find(|known| code(*known) == *list)?;
        Some((String::from_utf8(user_id.to_vec()).ok()?, list))
    }
}

impl fmt::Debug for UnsubscribeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnsubscribeKey(***)")
    }
}

/// The byte of a list in tokens, which stays as it is: letters that are out have it.
const fn code(list: MailingList) -> u8 {
    match list {
        MailingList::Activity => 1,
        MailingList::Digest => 2,
    }
}

/// Makes the links of a site.
#[derive(Clone, Debug)]
pub struct UnsubscribeLinks {
    page: Url,
    key: UnsubscribeKey,
}

impl UnsubscribeLinks {
    /// Links that begin with the address of the site.
    pub fn new(public_url: &str, key: UnsubscribeKey) -> Result<Self, BadSite> {
        let page = format!("{}{UNSUBSCRIBE_PATH}", public_url.trim_end_matches('/'));
        let page = Url::parse(&page).map_err(|_| BadSite)?;
        if !matches!(page.scheme(), "http" | "https") || page.as_str().len() > MAX_SITE_CHARACTERS {
            return Err(BadSite);
        }
        Ok(Self { page, key })
    }

    /// The links of one user.
    pub fn of<'a>(&'a self, user_id: &'a str) -> UserLinks<'a> {
        UserLinks { links: self, user_id }
    }
}

/// Makes the links of one user.
#[derive(Clone, Copy, Debug)]
pub struct UserLinks<'a> {
    links: &'a UnsubscribeLinks,
    user_id: &'a str,
}

impl UserLinks<'_> {
    /// The link to leave a list.
    pub fn link(&self, list: MailingList) -> UnsubscribeLink {
        let mut url = self.links.page.clone();
        url.query_pairs_mut().clear().append_pair("token", &self.links.key.token(self.user_id, list));
        UnsubscribeLink { list, url }
    }
}

/// A link by which one user leaves a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubscribeLink {
    list: MailingList,
    url: Url,
}

impl UnsubscribeLink {
    /// The list.
    pub fn list(&self) -> MailingList {
        self.list
    }

    /// The address: printable ASCII without spaces and angle brackets.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Whether mail programs may unsubscribe by themselves, which they do by HTTPS alone (RFC 8058, 3.1).
    pub fn is_one_click(&self) -> bool {
        self.url.scheme() == "https"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USER: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn key() -> UnsubscribeKey {
        UnsubscribeKey::new(b"a secret of thirty-two bytes or so")
    }

    #[test]
    fn t31_a_token_is_read_again_and_again_for_its_own_list() {
        for list in MailingList::ALL {
            let token = key().token(USER, list);
            assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')), "{token}");
            for _ in 0..3 {
                assert_eq!(key().read(&token), Some((USER.to_owned(), list)));
            }
        }
        let longest = "x".repeat(64);
        let token = key().token(&longest, MailingList::Digest);
        assert_eq!(key().read(&token), Some((longest, MailingList::Digest)));
    }

    #[test]
    fn tokens_of_letters_that_are_out_stay_valid() {
        // Made by another program from the same secret.
        let token = "AQEwMTg5MGE1ZC1hYzk2LTc3NGItYmNjZS1iMzAyMDk5YTgwNTeU3Ni2FV0-\
                     8_PqaycGPWXAJKrTLRPf7AgaLF-8eP-IlQ";
        assert_eq!(key().token(USER, MailingList::Activity), token);
        assert_eq!(key().read(token), Some((USER.to_owned(), MailingList::Activity)));
    }

    #[test]
    fn one_changed_byte_makes_a_token_none() {
        let token = key().token(USER, MailingList::Activity);
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut forged = bytes.clone();
                forged[at] ^= 1 << bit;
                assert_eq!(key().read(&URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit} of byte {at}");
            }
        }
        for cut in 0..token.len() {
            assert_eq!(key().read(&token[..cut]), None);
        }
        assert_eq!(key().read(&format!("{token}=")), None);
        assert_eq!(key().read(&format!("{token}A")), None);
        assert_eq!(UnsubscribeKey::new(b"another").read(&token), None);
    }

    #[test]
    fn what_is_signed_but_of_another_layout_is_no_token() {
        for body in [&[2, 1, b'x'][..], &[1, 0, b'x'], &[1, 3, b'x'], &[1], &[], &[1, 1, 0xff]] {
            let tag = hmac::sign(&key().0, body);
            let token = URL_SAFE_NO_PAD.encode([body, tag.as_ref()].concat());
            assert_eq!(key().read(&token), None, "{body:?}");
        }
        assert_eq!(key().read(&"A".repeat(MAX_TOKEN_CHARACTERS + 1)), None);
    }

    proptest! {
        #[test]
        fn whatever_somebody_sends_is_no_token(token in ".{0,300}") {
            prop_assert_eq!(key().read(&token), None);
        }
    }

    #[test]
    fn links_begin_with_the_site_and_fit_into_a_header() {
        let link = |site: &str| {
            let links = UnsubscribeLinks::new(site, key()).unwrap();
            links.of(USER).link(MailingList::Digest)
        };
        let made = link("https://example.com/app/");
        let start = "https://example.com/app/api/mail/unsubscribe?token=";
        assert_eq!(made.url(), format!("{start}{}", key().token(USER, MailingList::Digest)));
        assert!(made.is_one_click() && !link("http://localhost:5000").is_one_click());
        assert_eq!(made.list(), MailingList::Digest);
        let odd = link("https://tango.españa/<a> b>\u{2028}");
        assert!(odd.url().chars().all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>')), "{}", odd.url());
        for site in
            ["ftp://example.com", "example.com", "", &format!("https://example.com/{}", "x".repeat(600))]
        {
            assert!(UnsubscribeLinks::new(site, key()).is_err(), "{site}");
        }
    }

    #[test]
    fn no_log_shows_the_key() {
        let links = UnsubscribeLinks::new("https://example.com", key()).unwrap();
        assert!(format!("{:?}", links.of(USER)).contains("UnsubscribeKey(***)"));
    }
}

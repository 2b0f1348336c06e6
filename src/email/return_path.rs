//! Addresses to which mail servers send reports about single letters: `bounces+<id>-<signature>@example.com`.
//!
//! Anybody can write a report. The signature names the message and its recipient, so a report is believed
//! only at the return path of a letter, and only about the address to which that letter went.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::{Address, AddressError, MessageId};

/// What is signed begins with it; another layout would have another.
const VERSION: u8 = 1;
/// What stands between the name of the mailbox and the id of a message. Mail servers put all into the one
/// mailbox (RFC 5233).
const DETAIL_MARK: char = '+';
/// What stands between the id and the signature. Ids may hold it too, signatures may not.
const TAG_MARK: char = '-';
/// Bytes of the signature. A local part has room for few, and a guess has to be sent to a node.
const TAG_BYTES: usize = 8;
/// Room for the id of a letter that every mailbox must leave, in bytes.
const ID_BYTES: usize = 32;

/// Makes and reads the return paths of a mailbox: HMAC-SHA256 with a key that is used for nothing else.
#[derive(Clone)]
pub struct ReturnPaths {
    mailbox: Address,
    key: hmac::Key,
}

impl ReturnPaths {
    /// Return paths below a mailbox such as `bounces@example.com`. The key is derived from a secret of the
    /// site, which may have other uses; all nodes need the same. Fails if the mailbox is too long for ids of
    /// 32 bytes: the part before its `@` has 14 at most.
    pub fn new(mailbox: Address, secret: &[u8]) -> Result<Self, AddressError> {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"mundotango return paths");
        let paths = Self { mailbox, key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) };
        paths.path(&"0".repeat(ID_BYTES), 0)?;
        Ok(paths)
    }

    /// The return paths of a mailbox that the options may have.
    pub fn of_mailbox(mailbox: Option<&str>, secret: &[u8]) -> Result<Option<Self>, AddressError> {
        mailbox.map(|mailbox| Self::new(mailbox.parse()?, secret)).transpose()
    }

    /// Where reports about a message to a recipient go. Fails if there is no room for the id.
    pub fn of(&self, id: &MessageId, recipient: &Address) -> Result<Address, AddressError> {
        self.path(id.as_str(), u64::from_be_bytes(self.tag(id, recipient)))
    }

    /// Reads the address to which a report came; `None` if it does not have the form of a return path of this
    /// mailbox. The signature is checked by [`SignedPath::is_of`], which knows the recipient.
    pub fn read(&self, path: &Address) -> Option<SignedPath<'_>> {
        let (mailbox, domain) = self.mailbox.as_str().rsplit_once('@')?;
        let (local, path_domain) = path.as_str().rsplit_once('@')?;
        let (name, detail) = local.split_at_checked(mailbox.len())?;
        // Some servers change the case of addresses.
        if !name.eq_ignore_ascii_case(mailbox) || !path_domain.eq_ignore_ascii_case(domain) {
            return None;
        }
        let (id, tag) = detail.strip_prefix(DETAIL_MARK)?.rsplit_once(TAG_MARK)?;
        if tag.len() != 2 * TAG_BYTES || !tag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let tag = u64::from_str_radix(tag, 16).ok()?.to_be_bytes();
        Some(SignedPath { paths: self, message: MessageId::of_job(id).ok()?, tag })
    }

    fn path(&self, id: &str, tag: u64) -> Result<Address, AddressError> {
        let (mailbox, domain) = self.mailbox.as_str().rsplit_once('@').ok_or(AddressError::NoAddress)?;
        let width = 2 * TAG_BYTES;
        format!("{mailbox}{DETAIL_MARK}{id}{TAG_MARK}{tag:0width$x}@{domain}").parse()
    }

    /// The signature. An address is signed in lower case, because servers may report it in another case than
    /// the letter had.
    fn tag(&self, id: &MessageId, recipient: &Address) -> [u8; TAG_BYTES] {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(&[VERSION]);
        signing.update(id.as_str().as_bytes());
        // No id holds a zero, so the id and the address cannot be divided in another way.
        signing.update(&[0]);
        signing.update(recipient.as_str().to_ascii_lowercase().as_bytes());
        let whole = signing.sign();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&whole.as_ref()[..TAG_BYTES]);
        tag
    }
}

impl fmt::Debug for ReturnPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReturnPaths").field("mailbox", &self.mailbox).finish_non_exhaustive()
    }
}

/// An address that has the form of a return path. Whether it is one is known only beside a recipient.
#[derive(Clone, Debug)]
pub struct SignedPath<'a> {
    paths: &'a ReturnPaths,
    message: MessageId,
    tag: [u8; TAG_BYTES],
}

impl SignedPath<'_> {
    /// Whether it is the return path of a message to this recipient. The signature is compared in constant
    /// time.
    pub fn is_of(&self, recipient: &Address) -> bool {
        verify_slices_are_equal(&self.paths.tag(&self.message, recipient), &self.tag).is_ok()
    }

    /// The message that it names. This is true only if [`Self::is_of`] says so of some recipient.
    pub fn message(&self) -> &MessageId {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn paths() -> ReturnPaths {
        ReturnPaths::new(address("bounces@example.com"), b"a secret of the test").unwrap()
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn id(text: &str) -> MessageId {
        MessageId::of_job(text).unwrap()
    }

    /// Whether a path is read as that of the message to Ana.
    fn is_anas(path: &str) -> bool {
        let paths = paths();
        let read = paths.read(&address(path));
        read.is_some_and(|read| read.is_of(&address("ana@example.net")) && read.message() == &id(ID))
    }

    #[test]
    fn t32_a_return_path_names_the_message_and_its_recipient() {
        let path = paths().of(&id(ID), &address("ana@example.net")).unwrap();
        let (begin, tag) = path.as_str().split_once('@').unwrap().0.rsplit_once('-').unwrap();
        assert_eq!(begin, format!("bounces+{ID}"));
        assert_eq!(tag.len(), 16);
        assert!(path.as_str().ends_with("@example.com") && is_anas(path.as_str()), "{path}");
        let dashed = paths().of(&id("a-b_c-"), &address("ana@example.net")).unwrap();
        assert_eq!(paths().read(&dashed).unwrap().message(), &id("a-b_c-"));
    }

    #[test]
    fn paths_of_letters_that_are_out_stay_valid() {
        // Made by another program from the same secret.
        assert!(is_anas("bounces+00112233445566778899aabbccddeeff-0bda93f0b66f7efc@example.com"));
    }

    #[test]
    fn t32_a_path_counts_for_the_recipient_of_its_letter_alone() {
        let paths = paths();
        let path = paths.of(&id(ID), &address("ana@example.net")).unwrap();
        let read = paths.read(&path).unwrap();
        for other in ["bob@example.net", "ana@example.org", "xana@example.net", "ana+x@example.net"] {
            assert!(!read.is_of(&address(other)), "{other}");
        }
    }

    #[test]
    fn servers_may_change_the_case_of_addresses() {
        let path = paths().of(&id(ID), &address("Ana@example.net")).unwrap();
        assert!(is_anas(path.as_str()));
        let (local, tag) = path.as_str().split_once('@').unwrap().0.rsplit_once('-').unwrap();
        let shouted = format!("{}-{}@EXAMPLE.com", local.replace("bounces", "Bounces"), tag.to_uppercase());
        assert!(is_anas(&shouted), "{shouted}");
    }

    #[test]
    fn t32_a_forged_path_is_of_nobody() {
        let path = paths().of(&id(ID), &address("ana@example.net")).unwrap().to_string();
        let (local, _) = path.split_once('@').unwrap();
        for at in "bounces+".len()..local.len() {
            let digit = if &path[at..=at] == "0" { "1" } else { "0" };
            let forged = format!("{}{digit}{}", &path[..at], &path[at + 1..]);
            assert!(!is_anas(&forged), "{forged}");
        }
        let stranger = ReturnPaths::new(address("bounces@example.com"), b"another").unwrap();
        assert!(!is_anas(stranger.of(&id(ID), &address("ana@example.net")).unwrap().as_str()));
    }

    #[test]
    fn what_has_another_form_is_no_return_path() {
        let tag = "0123456789abcdef";
        for other in [
            "bounces@example.com".to_owned(),
            "bounces+1@example.com".to_owned(),
            "bounces+@example.com".to_owned(),
            format!("bounces+{tag}@example.com"),
            format!("bounces+-{tag}@example.com"),
            format!("bounces+1-{}@example.com", &tag[1..]),
            format!("bounces+1-{tag}0@example.com"),
            format!("bounces+1-+{}@example.com", &tag[1..]),
            format!("bounces+1-g{}@example.com", &tag[1..]),
            format!("bounces+a.b-{tag}@example.com"),
            format!("bounces-1-{tag}@example.com"),
            format!("b+1-{tag}@example.com"),
            format!("bounces+1-{tag}@example.org"),
        ] {
            assert!(paths().read(&address(&other)).is_none(), "{other}");
        }
        assert!(paths().read(&address(&format!("bounces+1-{tag}@example.com"))).is_some());
    }

    #[test]
    fn a_mailbox_leaves_room_for_ids() {
        let of = |local: usize| {
            let mailbox = address(&format!("{}@example.com", "b".repeat(local)));
            ReturnPaths::new(mailbox, b"a secret")
        };
        assert!(of(14).unwrap().of(&id(ID), &address("ana@example.net")).is_ok());
        assert_eq!(of(15).err(), Some(AddressError::TooLong));
        let long = paths().of(&id(&"x".repeat(60)), &address("ana@example.net"));
        assert_eq!(long, Err(AddressError::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_somebody_sends_is_no_return_path(detail in "[-+a-f0-9.]{0,50}") {
            let path = format!("bounces+{detail}@example.com").parse::<Address>();
            prop_assert!(path.map_or(true, |path| !is_anas(path.as_str())));
        }
    }

    #[test]
    fn no_log_shows_the_key() {
        let paths = paths();
        let path = paths.of(&id(ID), &address("ana@example.net")).unwrap();
        let shown = format!("{:?}", paths.read(&path).unwrap());
        assert!(shown.contains("mailbox") && !shown.contains("key"), "{shown}");
    }
}

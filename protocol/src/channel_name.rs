//! Channel names: `namespace:rest`, `#` before the users that may subscribe, `$` for channels that need a token.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

/// Longest channel name, in bytes.
pub const MAX_CHANNEL_LENGTH: usize = 255;

/// Separates the namespace from the rest of a name.
const NAMESPACE_BOUNDARY: char = ':';
/// Starts the list of users that a name is limited to.
const USER_BOUNDARY: char = '#';
/// Separates users in that list.
const USER_SEPARATOR: char = ',';
/// Starts the name of a channel that needs a subscription token.
const PRIVATE_PREFIX: char = '$';
/// Starts a byte of a user's id that is written as two hexadecimal digits.
const ESCAPE: char = '%';

/// A channel's name, checked: 1 to [`MAX_CHANNEL_LENGTH`] printable ASCII characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a text is no channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    /// The text is empty.
    #[error("channel is empty")]
    Empty,
    /// The text is too long.
    #[error("channel is longer than {MAX_CHANNEL_LENGTH} bytes")]
    TooLong,
    /// The text has a character that is not printable ASCII.
    #[error("channel has a character that is not printable ascii")]
    NotAscii,
}

impl ChannelName {
    /// Checks a client's text.
    pub fn parse(text: &str) -> Result<Self, ChannelNameError> {
        if text.is_empty() {
            return Err(ChannelNameError::Empty);
        }
        if text.len() > MAX_CHANNEL_LENGTH {
            return Err(ChannelNameError::TooLong);
        }
        if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(ChannelNameError::NotAscii);
        }
        Ok(Self(text.into()))
    }

    /// The personal channel of a user, to which the server subscribes the user's sessions. `namespace` may be empty.
    /// The user's id is [escaped](escape_user), so no two users share a channel. An id that is too long has none.
    pub fn personal(namespace: &str, user: &str) -> Result<Self, ChannelNameError> {
        let user = escape_user(user);
        match namespace {
            "" => Self::parse(&format!("{USER_BOUNDARY}{user}")),
            namespace => Self::parse(&format!("{namespace}{NAMESPACE_BOUNDARY}{USER_BOUNDARY}{user}")),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `:`, without the private prefix; `None` where there is no `:`.
    pub fn namespace(&self) -> Option<&str> {
        let (namespace, _) = self.0.split_once(NAMESPACE_BOUNDARY)?;
        Some(namespace.strip_prefix(PRIVATE_PREFIX).unwrap_or(namespace))
    }

    /// The part after the first `:`, or all of a name that has none.
    pub fn without_namespace(&self) -> &str {
        self.0.split_once(NAMESPACE_BOUNDARY).map_or(&self.0, |(_, rest)| rest)
    }

    /// Whether the name needs a subscription token.
    pub fn is_private(&self) -> bool {
        self.0.starts_with(PRIVATE_PREFIX)
    }

    /// Whether the name lists the users that may subscribe.
    pub fn is_user_limited(&self) -> bool {
        self.0.contains(USER_BOUNDARY)
    }

    /// Whether a user-limited name lists this user, [escaped](escape_user) or as the id is. Nobody is listed for the
    /// empty (anonymous) user.
    pub fn allows_user(&self, user: &str) -> bool {
        let Some((_, users)) = self.0.rsplit_once(USER_BOUNDARY) else { return false };
        if user.is_empty() {
            return false;
        }
        let escaped = escape_user(user);
        // An id with an escape of its own is only taken escaped: `a%2Cb` as it is would be the user `a,b`.
        let plain = if user.contains(ESCAPE) { &*escaped } else { user };
        users.split(USER_SEPARATOR).any(|listed| listed == &*escaped || listed == plain)
    }
}

/// A user's id as channel names hold it: every byte that means something in a name (`%`, `:`, `#`, `,`) and every byte
/// that is not printable ASCII is written as `%` and two hexadecimal digits, as in URLs. Different ids stay different.
pub fn escape_user(user: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| (0x20..0x7f).contains(&byte) && !b"%:#,".contains(&byte);
    if user.bytes().all(is_plain) {
        return Cow::Borrowed(user);
    }
    let mut escaped = String::with_capacity(user.len() + 16);
    for byte in user.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(escaped, "{ESCAPE}{byte:02X}");
        }
    }
    Cow::Owned(escaped)
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert_eq!(ChannelName::parse(""), Err(ChannelNameError::Empty));
        assert_eq!(ChannelName::parse("ñandú"), Err(ChannelNameError::NotAscii));
        assert_eq!(ChannelName::parse("a\nb"), Err(ChannelNameError::NotAscii));
        assert!(ChannelName::parse(&"x".repeat(255)).is_ok());
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(ChannelNameError::TooLong));
    }

    #[test]
    fn finds_the_namespace() {
        assert_eq!(name("posts:feed").namespace(), Some("posts"));
        assert_eq!(name("$chat:1").namespace(), Some("chat"));
        assert_eq!(name("a:b:c").namespace(), Some("a"));
        assert_eq!(name("news").namespace(), None);
    }

    #[test]
    fn limits_to_the_listed_users() {
        let dialog = name("dialog#42,43");
        assert!(dialog.allows_user("42") && dialog.allows_user("43"));
        assert!(!dialog.allows_user("4") && !dialog.allows_user(""));
        assert!(!name("dialog").allows_user("42"));
        assert!(name("a#1#2").allows_user("2") && !name("a#1#2").allows_user("1"));
        assert!(ChannelName::personal("", "7").unwrap().allows_user("7"));
        assert_eq!(ChannelName::personal("me", "7").unwrap().as_str(), "me:#7");
        assert!(name("dialog:1#google:42,7").allows_user("google:42"), "ids are also listed as they are");
    }

    #[test]
    fn a_personal_channel_is_its_owners_alone() {
        for (user, channel) in [
            ("42", "#42"),
            ("01a2-7695", "#01a2-7695"),
            ("auth0|5f7c8ec7c33c6c004bbafe82", "#auth0|5f7c8ec7c33c6c004bbafe82"),
            ("ana@example.com", "#ana@example.com"),
            ("google:42", "#google%3A42"),
            ("did:plc:abc", "#did%3Aplc%3Aabc"),
            ("https://id.example/ana#me", "#https%3A//id.example/ana%23me"),
            ("josé", "#jos%C3%A9"),
            ("a,b", "#a%2Cb"),
            ("a%2Cb", "#a%252Cb"),
            ("\n", "#%0A"),
        ] {
            let personal = ChannelName::personal("", user).unwrap();
            assert_eq!(personal.as_str(), channel);
            assert_eq!(personal.namespace(), None, "{user} must not choose a namespace");
            assert!(personal.allows_user(user));
        }
        assert!(ChannelName::personal("", &"é".repeat(43)).is_err(), "too long");
    }

    proptest::proptest! {
        #[test]
        fn no_two_users_share_a_personal_channel(one in "[a%,:#25C.é]{1,6}", other in "[a%,:#25C.é]{1,6}") {
            for namespace in ["", "me"] {
                let personal = ChannelName::personal(namespace, &one).unwrap();
                proptest::prop_assert!(personal.allows_user(&one));
                proptest::prop_assert_eq!(personal.allows_user(&other), one == other);
            }
        }
    }
}

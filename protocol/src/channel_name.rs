//! Channel names: `namespace:rest`, `#` before the users that may subscribe, `$` for channels that need a token.

use std::borrow::Borrow;
use std::fmt;
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
    pub fn personal(namespace: &str, user: &str) -> Result<Self, ChannelNameError> {
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

    /// Whether a user-limited name lists this user. Nobody is listed for the empty (anonymous) user.
    pub fn allows_user(&self, user: &str) -> bool {
        !user.is_empty()
            && self
                .0
                .rsplit_once(USER_BOUNDARY)
                .is_some_and(|(_, users)| users.split(USER_SEPARATOR).any(|allowed| allowed == user))
    }
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
    }
}

//! Links that are mailed: who has one proves to read the mail of an address.
//!
//! A link is a row of the user's partition, and good once. What the letter holds is sealed by the node's secret: neither the
//! store nor a queue has what opens an account.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::tokens::{TokenError, Tokens};
use serde::{Deserialize, Serialize};

/// What keeps the seals of links apart from others.
const SEALED_AS: &str = "mailed link";
/// Links of one purpose that are good at the same time: letters may cross. No further one is made while these are good.
pub const MAX_LINKS: usize = 3;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Says that the address is the user's.
    VerifyEmail,
    /// Sets a new password.
    ResetPassword,
    /// Puts a new address in the place of the old one.
    ConfirmEmail,
    /// Puts the old address back.
    UndoEmail,
    /// Keeps an account that is to be deleted.
    UndoDeletion,
    /// Ends all logins: one was made that may be somebody else's.
    EndLogins,
    /// Keeps a second factor that an admin takes off.
    KeepSecondFactor,
}

impl Purpose {
    /// How long a link is good.
    pub const fn lifetime(self) -> Duration {
        match self {
            Self::VerifyEmail | Self::ConfirmEmail => Duration::from_hours(48),
            Self::ResetPassword => Duration::from_hours(1),
            Self::EndLogins | Self::KeepSecondFactor => Duration::from_hours(24),
            Self::UndoEmail | Self::UndoDeletion => Duration::from_hours(7 * 24),
        }
    }

    /// Its name in keys and in links.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify",
            Self::ResetPassword => "reset",
            Self::ConfirmEmail => "confirm",
            Self::UndoEmail => "undo",
            Self::UndoDeletion => "stay",
            Self::EndLogins => "logins",
            Self::KeepSecondFactor => "factor",
        }
    }

    /// The page of the site that the link opens.
    pub const fn page(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify-email",
            Self::ResetPassword => "reset-password",
            Self::ConfirmEmail => "confirm-email",
            Self::UndoEmail => "undo-email-change",
            Self::UndoDeletion => "undo-deletion",
            Self::EndLogins => "end-logins",
            Self::KeepSecondFactor => "keep-second-factor",
        }
    }

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::VerifyEmail,
        Self::ResetPassword,
        Self::ConfirmEmail,
        Self::UndoEmail,
        Self::UndoDeletion,
        Self::EndLogins,
        Self::KeepSecondFactor,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// A link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where the letter goes. A link to an address that is the user's no longer is good for nothing.
    pub email: String,
    /// What is told of: another address, or from where a login was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl Link {
    /// A link that is made now, to an address.
    pub fn new(purpose: Purpose, email: String, now: Timestamp) -> Self {
        let lifetime = SignedDuration::try_from(purpose.lifetime()).unwrap_or(SignedDuration::MAX);
        let expires_at = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        Self { email, other: None, made_at: now, expires_at }
    }
}

/// A link as the letter has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailedLink {
    /// What it is for.
    pub purpose: Purpose,
    /// Whose it is.
    pub user_id: String,
    /// Its id among the user's.
    pub id: String,
}

impl MailedLink {
    /// The text that goes into the link.
    pub fn sealed(&self, tokens: &Tokens) -> Result<String, TokenError> {
        let text = format!("{}~{}~{}", self.purpose.name(), self.user_id, self.id);
        let seal = tokens.seal(SEALED_AS, &text)?;
        Ok(format!("{text}~{seal}"))
    }

    /// Reads such a text; `None` if no node has made it.
    pub fn read(tokens: &Tokens, text: &str) -> Option<Self> {
        let (sealed, seal) = text.rsplit_once('~')?;
        if !tokens.is_sealed(SEALED_AS, sealed, seal) {
            return None;
        }
        let mut parts = sealed.splitn(3, '~');
        let (purpose, user_id, id) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { purpose: Purpose::named(purpose)?, user_id: user_id.to_owned(), id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_node_sealed_is_read() {
        let tokens = Tokens::new(&[1; 32], Duration::from_mins(1));
        let link = MailedLink {
            purpose: Purpose::ResetPassword,
            user_id: "0198".to_owned(),
            id: "0199.1".to_owned(),
        };
        let text = link.sealed(&tokens).unwrap();
        assert_eq!(MailedLink::read(&tokens, &text), Some(link));
        for changed in
            [text.replace("reset", "undo"), text.replace("0198", "0197"), text.replace("0199", "0198")]
        {
            assert_eq!(MailedLink::read(&tokens, &changed), None, "{changed}");
        }
        for made_up in ["", "~", "reset~0198~0199~", "reset~0198", "reset~0198~0199.1~c2VhbA"] {
            assert_eq!(MailedLink::read(&tokens, made_up), None, "{made_up}");
        }
        let elsewhere = Tokens::new(&[2; 32], Duration::from_mins(1));
        assert_eq!(MailedLink::read(&elsewhere, &text), None);
    }
}

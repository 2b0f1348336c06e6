//! What mailboxes and providers tell about letters that were sent: bounces and complaints.
//!
//! All ways lead to a [`Feedback`]: a mail about a failed delivery ([`read_dsn`]), a notice of Amazon SES by
//! SNS ([`read_sns`]), an event of SendGrid ([`read_sendgrid`]), and a server's refusal while a letter is
//! sent ([`Feedback::of_refusal`]).

mod dsn;
mod sendgrid;
mod sns;
mod sns_client;

pub use dsn::read_dsn;
pub use sendgrid::{SendgridKey, SendgridKeyError, read_sendgrid};
pub use sns::{SigningCertificates, SnsMessage, SnsNews, read_sns};
pub use sns_client::SnsClient;

use super::{Address, MessageId};

/// Largest notice or mail that is read, in bytes: a batch of a thousand events, a mail with what it answers.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// What became of a letter at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// The address.
    pub address: Address,
    /// What happened.
    pub kind: FeedbackKind,
    /// The enhanced status code, such as `5.1.1` for an unknown recipient (RFC 3463).
    pub enhanced: Option<String>,
    /// Which message it is about, if that is told.
    pub message_id: Option<MessageId>,
    /// The name of this event: providers may tell of it several times.
    pub provider_event_id: String,
}

/// What happened to a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedbackKind {
    /// The address takes no mail at all.
    HardBounce,
    /// The address takes no mail for now, such as a full mailbox.
    SoftBounce,
    /// The person called the letter spam.
    Complaint,
}

/// Why nothing was learnt from a notice, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// It is no notice that can be read.
    #[error("the notice cannot be read: {0}")]
    Malformed(String),
    /// It is not from who it says.
    #[error("the notice is not authentic: {0}")]
    Forged(String),
    /// It is authentic, but too old or from the future: somebody may be sending it again.
    #[error("the time of the notice is too far from now")]
    Stale,
    /// Whether it is authentic cannot be seen for now: the provider should send it again.
    #[error("the notice cannot be verified for now: {0}")]
    Unavailable(String),
}

impl Feedback {
    /// What a mail server's refusal of a letter says about the recipient's address, by the enhanced status
    /// code; `None` if it says nothing about the address.
    pub fn of_refusal(address: &Address, enhanced: &str, message: &MessageId) -> Option<Self> {
        let code = Enhanced::find(enhanced)?;
        Some(Self {
            address: address.clone(),
            kind: code.meaning()?,
            enhanced: Some(code.to_string()),
            message_id: Some(message.clone()),
            provider_event_id: format!("refusal:{}", message.as_str()),
        })
    }
}

/// An enhanced status code: class, subject and detail (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Enhanced(u8, u16, u16);

impl Enhanced {
    /// The first code of a failure in a text, such as `550-5.1.1 <ana@example.com>: user unknown`.
    fn find(text: &str) -> Option<Self> {
        let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        words.map(|word| word.trim_matches('.')).find_map(|word| {
            let mut numbers = word.split('.');
            let mut next = || numbers.next().filter(|number| (1..=3).contains(&number.len()));
            let class = next()?.parse().ok().filter(|class| matches!(class, 4 | 5))?;
            let (subject, detail) = (next()?.parse().ok()?, next()?.parse().ok()?);
            numbers.next().is_none().then_some(Self(class, subject, detail))
        })
    }

    /// Whether it says no more than that something failed.
    fn is_vague(self) -> bool {
        (self.1, self.2) == (0, 0)
    }

    /// What a code says about the address; `None` if it is about the sender, the message or a rule of the
    /// receiver (IANA, SMTP Enhanced Status Codes).
    fn meaning(self) -> Option<FeedbackKind> {
        match self {
            // No such mailbox, domain or syntax; moved; a domain that takes no mail; a mailbox that is
            // disabled; a domain that does not exist.
            Self(5, 1, 1..=3 | 6 | 10) | Self(5, 2, 1) | Self(5, 4, 4) => Some(FeedbackKind::HardBounce),
            Self(_, 1, 7..=9) | Self(_, 2, 3) | Self(_, 3, 4) | Self(_, 5..=7, _) => None,
            _ => Some(FeedbackKind::SoftBounce),
        }
    }
}

impl std::fmt::Display for Enhanced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Which message a header `Message-ID` names, if it is one of ours by its form.
fn message_id(header: &str) -> Option<MessageId> {
    let header = header.trim();
    let (id, _domain) = header.strip_prefix('<').unwrap_or(header).split_once('@')?;
    MessageId::of_job(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_what_servers_say() {
        let find = |text: &str| Enhanced::find(text).map(|code| code.to_string());
        for (text, wanted) in [
            ("5.1.1", Some("5.1.1")),
            ("5.1.1 (bad destination mailbox address)", Some("5.1.1")),
            ("smtp; 550-5.1.1 The email account", Some("5.1.1")),
            ("smtp;550 5.7.26 no DMARC from 10.5.1.1", Some("5.7.26")),
            ("4.2.2.", Some("4.2.2")),
            ("2.0.0 ok", None),
            ("550 blocked: 5.9.10.11 is listed", None),
            ("5.1.x", None),
            ("5.1.1111", None),
            ("", None),
        ] {
            assert_eq!(find(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn t32_codes_that_are_not_about_the_address_say_nothing_about_it() {
        use FeedbackKind::{HardBounce, SoftBounce};
        for (code, wanted) in [
            ("5.1.1", Some(HardBounce)),
            ("5.1.10", Some(HardBounce)),
            ("5.2.1", Some(HardBounce)),
            ("5.4.4", Some(HardBounce)),
            ("5.2.2", Some(SoftBounce)),
            ("4.4.1", Some(SoftBounce)),
            ("4.1.1", Some(SoftBounce)),
            ("5.0.0", Some(SoftBounce)),
            // Our own address, the size, the content, a list of spammers.
            ("5.1.8", None),
            ("5.2.3", None),
            ("5.3.4", None),
            ("5.6.0", None),
            ("5.7.1", None),
        ] {
            assert_eq!(Enhanced::find(code).unwrap().meaning(), wanted, "{code}");
        }
    }

    #[test]
    fn t32_a_refusal_while_sending_is_feedback_too() {
        let (address, message) = ("ana@example.com".parse().unwrap(), MessageId::of_job("job-1").unwrap());
        let feedback = Feedback::of_refusal(&address, "5.1.1", &message).unwrap();
        assert_eq!((feedback.kind, feedback.enhanced.as_deref()), (FeedbackKind::HardBounce, Some("5.1.1")));
        assert_eq!((feedback.address, feedback.message_id), (address.clone(), Some(message.clone())));
        assert_eq!(Feedback::of_refusal(&address, "5.7.1", &message), None);
        assert_eq!(Feedback::of_refusal(&address, "nonsense", &message), None);
    }

    #[test]
    fn our_messages_are_known_by_their_ids() {
        let read = |header: &str| message_id(header).map(|id| id.as_str().to_owned());
        assert_eq!(read("<job-1@example.com>"), Some("job-1".to_owned()));
        assert_eq!(read(" job-1@example.com"), Some("job-1".to_owned()));
        for other in ["", "job-1", "<CA+x.y@mail.gmail.com>", "<@example.com>"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

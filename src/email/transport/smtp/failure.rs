//! What a failure of one step says about the message.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use super::{SendError, TemporaryScope};

/// Longest wait that a server's words can ask for. More is a mistake or an attack, and the letter is of no
/// use then.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// A step of handing a message over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Whether a connection that waited still works, or can wait again.
    Reuse,
    /// TCP, TLS from the first byte, the greeting and EHLO.
    Connect,
    /// STARTTLS and the second EHLO.
    StartTls,
    /// AUTH.
    SignIn,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// The message, before the final dot.
    Content,
    /// The final dot has left, or may have.
    FinalDot,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reuse => "at an idle connection",
            Self::Connect => "while connecting",
            Self::StartTls => "at STARTTLS",
            Self::SignIn => "at AUTH",
            Self::Sender => "at MAIL",
            Self::Recipient => "at RCPT",
            Self::Data => "at DATA",
            Self::Content => "before the final dot",
            Self::FinalDot => "after the final dot",
        })
    }
}

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Cause {
    /// The server said no.
    Answer {
        /// The reply code, 400 to 599.
        code: u16,
        /// The words after it.
        words: String,
    },
    /// There was no answer that can be understood, or no connection.
    Lost(String),
    /// There was no answer in time.
    TimedOut(Duration),
}

impl Cause {
    pub(super) fn of(error: &lettre::transport::smtp::Error) -> Self {
        match error.status() {
            Some(code) => Self::Answer {
                code: code.into(),
                words: error.source().map(ToString::to_string).unwrap_or_default(),
            },
            None => Self::Lost(error.to_string()),
        }
    }
}

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) cause: Cause,
}

impl Failure {
    /// Whether the next command can be sent on the same connection. 421 announces its end (RFC 5321, 3.8).
    pub(super) fn leaves_connection(&self) -> bool {
        matches!(self.cause, Cause::Answer { code, .. } if code != 421)
    }

    /// Whether this failure at a connection that waited says nothing about the message: its first command
    /// found the connection closed.
    pub(super) fn is_of_waiting(&self) -> bool {
        self.step == Step::Sender && !self.leaves_connection()
    }
}

impl From<Failure> for SendError {
    fn from(Failure { step, cause }: Failure) -> Self {
        match cause {
            // A wrong password or a user who may not send: nothing about the letter, and waiting does not help.
            Cause::Answer { code, words } if code >= 500 && step == Step::SignIn => {
                Self::Misconfigured { why: format!("{step}: {code} {words}") }
            }
            // What a server says before a letter is named is nothing about the letter.
            Cause::Answer { code, words }
                if code >= 500 && !matches!(step, Step::Connect | Step::StartTls) =>
            {
                Self::Refused { enhanced: enhanced(&words), why: format!("{step}: {code} {words}") }
            }
            Cause::Answer { code, words } => {
                let scope = scope(step, code);
                Self::Temporary {
                    retry_after: told_delay(&words),
                    why: format!("{step}: {code} {words}"),
                    scope,
                }
            }
            Cause::Lost(_) | Cause::TimedOut(_) => {
                let why = match cause {
                    Cause::TimedOut(limit) => format!("{step}: no answer in {} s", limit.as_secs_f32()),
                    Cause::Lost(words) | Cause::Answer { words, .. } => format!("{step}: {words}"),
                };
                if step == Step::FinalDot {
                    Self::Uncertain { why }
                } else {
                    Self::Temporary { why, retry_after: None, scope: TemporaryScope::Server }
                }
            }
        }
    }
}

/// Which letters a temporary answer is about. Before RCPT the server knows no recipient, and with 421 it takes
/// nothing more from anybody (RFC 5321, 3.8).
fn scope(step: Step, code: u16) -> TemporaryScope {
    match step {
        Step::Recipient | Step::Data | Step::Content | Step::FinalDot if code != 421 => {
            TemporaryScope::Recipient
        }
        _ => TemporaryScope::Server,
    }
}

/// The enhanced status code at the beginning of the server's words (RFC 2034).
fn enhanced(words: &str) -> Option<String> {
    let code = words.split_whitespace().next()?;
    let parts: Vec<_> = code.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (parts.len() == 3 && matches!(parts[0], "4" | "5") && parts.iter().all(is_number))
        .then(|| code.to_owned())
}

/// The wait that a server asks for in words, as those do that want a second attempt: `try again in 300
/// seconds`.
fn told_delay(words: &str) -> Option<Duration> {
    let words: Vec<_> = words.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.windows(2).find_map(|pair| {
        let unit = match pair[1].to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            _ => return None,
        };
        let delay = Duration::from_secs(pair[0].parse::<u64>().ok()?.checked_mul(unit)?);
        Some(delay.min(MAX_RETRY_AFTER))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(step: Step, code: u16, words: &str) -> SendError {
        Failure { step, cause: Cause::Answer { code, words: words.to_owned() } }.into()
    }

    #[test]
    fn answers_are_for_now_or_for_good_at_every_step() {
        let wrong = told(Step::SignIn, 535, "5.7.8 wrong password");
        assert!(matches!(wrong, SendError::Misconfigured { .. }), "{wrong}");
        let locked = told(Step::SignIn, 454, "4.7.0 later");
        assert!(matches!(locked, SendError::Temporary { .. }), "{locked}");
        for step in [Step::Sender, Step::Recipient, Step::Data, Step::Content, Step::FinalDot] {
            assert!(matches!(told(step, 451, "4.3.0 later"), SendError::Temporary { retry_after: None, .. }));
            let SendError::Refused { enhanced, why } = told(step, 550, "5.1.1 unknown") else {
                panic!("{step} is not refused");
            };
            assert_eq!(enhanced.as_deref(), Some("5.1.1"));
            assert!(why.ends_with("550 5.1.1 unknown"), "{why}");
        }
    }

    #[test]
    fn one_recipients_trouble_is_told_from_the_servers() {
        let scope = |failure: Failure| match failure.into() {
            SendError::Temporary { scope, .. } => scope,
            other => panic!("{other}"),
        };
        let answered =
            |step, code| scope(Failure { step, cause: Cause::Answer { code, words: String::new() } });
        for step in [Step::Recipient, Step::Data, Step::Content, Step::FinalDot] {
            for code in [450, 451, 452] {
                assert_eq!(answered(step, code), TemporaryScope::Recipient, "{step} {code}");
            }
            assert_eq!(answered(step, 421), TemporaryScope::Server, "{step}");
        }
        for step in [Step::Connect, Step::StartTls, Step::SignIn, Step::Sender] {
            for code in [421, 451, 454] {
                assert_eq!(answered(step, code), TemporaryScope::Server, "{step} {code}");
            }
        }
        assert_eq!(answered(Step::Connect, 554), TemporaryScope::Server);
        for step in [Step::Connect, Step::Sender, Step::Recipient, Step::Data, Step::Content] {
            let lost = Failure { step, cause: Cause::Lost("gone".to_owned()) };
            assert_eq!(scope(lost), TemporaryScope::Server, "{step}");
            let late = Failure { step, cause: Cause::TimedOut(Duration::from_secs(1)) };
            assert_eq!(scope(late), TemporaryScope::Server, "{step}");
        }
    }

    #[test]
    fn a_lost_answer_is_uncertain_only_after_the_final_dot() {
        for cause in [|| Cause::Lost("gone".to_owned()), || Cause::TimedOut(Duration::from_secs(1))] {
            let before = Failure { step: Step::Content, cause: cause() };
            assert!(matches!(before.into(), SendError::Temporary { .. }));
            let after = Failure { step: Step::FinalDot, cause: cause() };
            assert!(matches!(after.into(), SendError::Uncertain { .. }));
        }
    }

    #[test]
    fn codes_and_waits_are_read_from_the_servers_words() {
        assert_eq!(enhanced("5.7.26 no DMARC"), Some("5.7.26".to_owned()));
        for words in ["", "mailbox full", "5.1 x", "2.0.0 ok", "10.0.0.1 is listed", "5.1.x"] {
            assert_eq!(enhanced(words), None, "{words}");
        }
        let seconds = |words| told_delay(words).map(|delay| delay.as_secs());
        assert_eq!(seconds("4.2.0 Greylisted for 300 seconds"), Some(300));
        assert_eq!(seconds("try again in 5 minutes."), Some(300));
        assert_eq!(seconds("wait 99999999999999999999 hours"), None);
        assert_eq!(seconds("wait 999 hours"), Some(24 * 3600));
        assert_eq!(seconds("4.7.1 try again later"), None);
    }
}

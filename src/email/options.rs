//! The `[mail]` section: who sends letters, in what language, and by which server.

use std::net::IpAddr;
use std::time::Duration;

use documented::DocumentedFields;
use mundotango_ops::{Secret, duration as friendly};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Language, Mailbox};

/// The longest time for the answer to a command.
const MAX_COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest time for the answer to a whole message (RFC 5321, 4.5.3.2.6).
const MAX_FINAL_TIMEOUT: Duration = Duration::from_mins(10);

/// The `[mail]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct MailOptions {
    /// Where letters go: `folder` writes files into the data folder, `smtp` sends.
    pub transport: MailTransport,
    /// The sender of all letters, such as `MundoTango <no-reply@example.com>`.
    pub from: String,
    /// The address of the site that links in letters begin with.
    pub public_url: String,
    /// The language of letters to users who have not chosen one: `en` or `es`.
    pub language: Language,
    /// The server that takes letters.
    pub smtp: SmtpOptions,
}

impl Default for MailOptions {
    fn default() -> Self {
        Self {
            transport: MailTransport::default(),
            from: "MundoTango <no-reply@localhost>".to_owned(),
            public_url: "http://localhost:5000".to_owned(),
            language: Language::default(),
            smtp: SmtpOptions::default(),
        }
    }
}

/// Where letters go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTransport {
    /// Into files, for development.
    #[default]
    Folder,
    /// To a server.
    Smtp,
}

/// The `[mail.smtp]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpOptions {
    /// The host name of the server, or its IP address. The certificate has to be for this name.
    pub host: String,
    /// The port of the server: 587 for `starttls`, 465 for `tls`, most often.
    pub port: u16,
    /// How the connection is encrypted: `starttls`, `tls` from the first byte, or `none`. There is no
    /// fallback to plain text.
    pub tls: SmtpTls,
    /// The user by whom the node signs in, if the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of that user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// What the node calls itself to the server; the host name of the machine if absent. Servers may ask for
    /// a full name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello_name: Option<String>,
    /// How long the server may take to answer a command.
    #[serde(with = "friendly")]
    pub command_timeout: Duration,
    /// How long the server may take to confirm a whole message; a shorter time makes more letters uncertain
    /// (RFC 5321, 4.5.3.2.6).
    #[serde(with = "friendly")]
    pub final_timeout: Duration,
}

impl Default for SmtpOptions {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 587,
            tls: SmtpTls::default(),
            user: None,
            password: None,
            hello_name: None,
            command_timeout: Duration::from_secs(30),
            final_timeout: Duration::from_mins(10),
        }
    }
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Not at all.
    None,
    /// By the command STARTTLS, which the server has to offer.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
}

impl MailOptions {
    /// All that cannot work, each with the option's name first.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = self.from.parse::<Mailbox>() {
            problems.push(format!("mail.from: {error}"));
        }
        if !is_site(&self.public_url) {
            problems.push(
                "mail.public_url: must be the http:// or https:// address of the site, without ? and #"
                    .to_owned(),
            );
        }
        problems.extend(self.smtp.check().into_iter().map(|problem| format!("mail.smtp.{problem}")));
        problems
    }
}

impl SmtpOptions {
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        require(is_host(&self.host), "host: must be a host name or an IP address, without a port");
        require(self.port != 0, "port: must be at least 1");
        require(
            self.user.is_some() == self.password.is_some(),
            "user: user and password belong together: both, or none",
        );
        require(
            self.password.is_none() || self.tls != SmtpTls::None || is_loopback(&self.host),
            "tls: a password needs starttls or tls, or everybody on the way could read it",
        );
        require(
            self.hello_name.as_deref().is_none_or(is_host),
            "hello_name: must be a host name or an IP address",
        );
        let bounded = |timeout: Duration, most| !timeout.is_zero() && timeout <= most;
        let command = bounded(self.command_timeout, MAX_COMMAND_TIMEOUT);
        require(command, "command_timeout: must be longer than nothing, and 1m at most");
        let last = bounded(self.final_timeout, MAX_FINAL_TIMEOUT);
        require(last, "final_timeout: must be longer than nothing, and 10m at most");
        problems
    }
}

/// Whether links can begin with a text.
fn is_site(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

/// Whether a text can name a machine in a command of SMTP: nothing that could end the command is in it.
pub(super) fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.parse::<IpAddr>().is_ok() || (1..=253).contains(&text.len()) && text.chars().all(plain)
}

/// Whether a connection to a host stays on this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        assert_eq!(MailOptions::default().check(), Vec::<String>::new());
        let text = toml::to_string(&MailOptions::default()).unwrap();
        assert!(text.contains("transport = \"folder\"") && text.contains("tls = \"starttls\""), "{text}");
        assert_eq!(toml::from_str::<MailOptions>(&text).unwrap(), MailOptions::default());
    }

    #[test]
    fn all_that_cannot_work_is_told_at_once_and_no_secret_with_it() {
        let options = MailOptions {
            from: "MundoTango\nBcc: all@example.com".to_owned(),
            public_url: "ftp://example.com".to_owned(),
            smtp: SmtpOptions {
                host: "mail.example.com:25".to_owned(),
                port: 0,
                tls: SmtpTls::None,
                user: None,
                password: Some(Secret::new("hidden".to_owned())),
                hello_name: Some("a b".to_owned()),
                command_timeout: Duration::ZERO,
                final_timeout: Duration::ZERO,
            },
            ..MailOptions::default()
        };
        let problems = options.check();
        for name in [
            "mail.from:",
            "mail.public_url:",
            "mail.smtp.host:",
            "mail.smtp.port:",
            "mail.smtp.user:",
            "mail.smtp.tls:",
            "mail.smtp.hello_name:",
            "mail.smtp.command_timeout:",
            "mail.smtp.final_timeout:",
        ] {
            let found = problems.iter().filter(|problem| problem.starts_with(name)).count();
            assert_eq!(found, 1, "{name}: {problems:#?}");
        }
        assert!(!problems.join("").contains("hidden"), "{problems:?}");
    }
}

//! The `[mail]` section: who sends letters, in what language, and by which server.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use documented::DocumentedFields;
use mundotango_ops::{Secret, duration as friendly};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use url::Url;

use super::bounces::SendgridKey;
use super::{Language, Mailbox, ReturnPaths};

/// The longest time for the answer to a command.
const MAX_COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest time for the answer to a whole message (RFC 5321, 4.5.3.2.6).
const MAX_FINAL_TIMEOUT: Duration = Duration::from_mins(10);

/// The `[mail]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct MailOptions {
    /// Where letters go: `folder` writes files into the data folder; `smtp`, `ses` and `sendgrid` send.
    pub transport: MailTransport,
    /// The sender of all letters, such as `MundoTango <no-reply@example.com>`.
    pub from: String,
    /// Where reports about letters go that did not arrive, such as `bounces@example.com`: each letter has a return path of its
    /// own there, `bounces+<id>-<signature>@example.com`, so the part before the @ has 14 characters at most. Without one they go to `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounces: Option<String>,
    /// The address of the site that links in letters begin with.
    pub public_url: String,
    /// The language of letters to users who have not chosen one: `en` or `es`.
    pub language: Language,
    /// The server that takes letters.
    pub smtp: SmtpOptions,
    /// How letters are sent by Amazon SES.
    pub ses: SesOptions,
    /// How letters are sent by SendGrid.
    pub sendgrid: SendgridOptions,
}

impl Default for MailOptions {
    fn default() -> Self {
        Self {
            transport: MailTransport::default(),
            from: "MundoTango <no-reply@localhost>".to_owned(),
            bounces: None,
            public_url: "http://localhost:5000".to_owned(),
            language: Language::default(),
            smtp: SmtpOptions::default(),
            ses: SesOptions::default(),
            sendgrid: SendgridOptions::default(),
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
    /// To Amazon SES, by its HTTP API.
    Ses,
    /// To SendGrid, by its HTTP API.
    Sendgrid,
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
    /// A file with the certificates of the authorities that sign the server's certificate, in PEM; the public
    /// authorities if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
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
            ca_file: None,
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

/// The `[mail.ses]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct SesOptions {
    /// The AWS region, such as `eu-west-1`.
    pub region: String,
    /// The id of the access key; its user needs the permission `ses:SendRawEmail` or `ses:SendEmail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// The session token that belongs to an access key which is lent for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// The configuration set whose events tell of bounces and complaints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_set: Option<String>,
    /// The ARN of the SNS topic by which SES tells of bounces and complaints. Notices of other topics are
    /// refused: anybody can make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_arn: Option<String>,
    /// The address of the API; that of the region if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// How long SES may take to answer; a shorter time makes more letters uncertain.
    #[serde(with = "friendly")]
    pub answer_timeout: Duration,
}

impl Default for SesOptions {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            configuration_set: None,
            topic_arn: None,
            base_url: None,
            answer_timeout: Duration::from_secs(30),
        }
    }
}

/// The `[mail.sendgrid]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct SendgridOptions {
    /// The API key; it needs the permission `Mail Send`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// The key by which the Signed Event Webhook is verified, as the dashboard shows it (Base64). Without it
    /// no events are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_public_key: Option<String>,
    /// The address of the API: `https://api.eu.sendgrid.com` for a subuser in the EU.
    pub base_url: String,
    /// How long SendGrid may take to answer; a shorter time makes more letters uncertain.
    #[serde(with = "friendly")]
    pub answer_timeout: Duration,
}

impl Default for SendgridOptions {
    fn default() -> Self {
        Self {
            api_key: None,
            webhook_public_key: None,
            base_url: "https://api.sendgrid.com".to_owned(),
            answer_timeout: Duration::from_secs(30),
        }
    }
}

impl MailOptions {
    /// All that cannot work, each with the option's name first.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = self.from.parse::<Mailbox>() {
            problems.push(format!("mail.from: {error}"));
        }
        if let Err(error) = ReturnPaths::of_mailbox(self.bounces.as_deref(), b"") {
            problems.push(format!("mail.bounces: {error}"));
        }
        if !is_site(&self.public_url) {
            problems.push(
                "mail.public_url: must be the http:// or https:// address of the site, without ? and #"
                    .to_owned(),
            );
        }
        problems.extend(self.smtp.check().into_iter().map(|problem| format!("mail.smtp.{problem}")));
        let ses = self.ses.check(self.transport == MailTransport::Ses);
        problems.extend(ses.into_iter().map(|problem| format!("mail.ses.{problem}")));
        let sendgrid = self.sendgrid.check(self.transport == MailTransport::Sendgrid);
        problems.extend(sendgrid.into_iter().map(|problem| format!("mail.sendgrid.{problem}")));
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
        let ca_file = self.ca_file.as_deref().and_then(no_certificates);
        problems.extend(ca_file.map(|problem| format!("ca_file: {problem}")));
        problems
    }
}

impl SesOptions {
    /// Where the API is.
    pub(crate) fn base_url(&self) -> String {
        let domain = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        self.base_url.clone().unwrap_or_else(|| format!("https://email.{}.{domain}", self.region))
    }

    fn check(&self, is_used: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        require(
            (1..=40).contains(&self.region.len()) && self.region.chars().all(plain),
            "region: must be a region of AWS, such as eu-west-1",
        );
        let key = self.access_key_id.as_deref();
        require(
            key.is_some() == self.secret_access_key.is_some(),
            "access_key_id: access_key_id and secret_access_key belong together: both, or none",
        );
        require(!is_used || key.is_some(), "access_key_id: has to be set for transport = \"ses\"");
        let word = |c: char| c.is_ascii_alphanumeric();
        require(
            key.is_none_or(|key| !key.is_empty() && key.chars().all(word)),
            "access_key_id: has letters and digits only",
        );
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        require(
            self.configuration_set.as_deref().is_none_or(|set| !set.is_empty() && set.chars().all(word)),
            "configuration_set: has letters, digits, - and _ only",
        );
        require(
            self.topic_arn.as_deref().is_none_or(|arn| arn.starts_with("arn:aws") && arn.contains(":sns:")),
            "topic_arn: must be the ARN of an SNS topic, arn:aws:sns:…",
        );
        require(self.base_url.as_deref().is_none_or(is_api), NO_API);
        require(is_answer_timeout(self.answer_timeout), NO_ANSWER_TIMEOUT);
        problems
    }
}

impl SendgridOptions {
    fn check(&self, is_used: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        require(!is_used || self.api_key.is_some(), "api_key: has to be set for transport = \"sendgrid\"");
        require(
            self.webhook_public_key.as_deref().is_none_or(|key| key.parse::<SendgridKey>().is_ok()),
            "webhook_public_key: must be the verification key of the webhook, in Base64",
        );
        require(is_api(&self.base_url), NO_API);
        require(is_answer_timeout(self.answer_timeout), NO_ANSWER_TIMEOUT);
        problems
    }
}

/// What is wrong with the address of a provider's API.
const NO_API: &str = "base_url: must be an https:// address, without ? and # (http:// only for this machine)";
/// What is wrong with a time-out.
const NO_ANSWER_TIMEOUT: &str = "answer_timeout: must be longer than nothing, and 1m at most";

/// Whether letters may be sent to an address: who is between could read them and the key.
fn is_api(text: &str) -> bool {
    let is_safe = |url: &Url| url.scheme() == "https" || url.host_str().is_some_and(is_loopback);
    is_site(text) && Url::parse(text).is_ok_and(|url| is_safe(&url))
}

fn is_answer_timeout(timeout: Duration) -> bool {
    !timeout.is_zero() && timeout <= MAX_COMMAND_TIMEOUT
}

/// Why a file has no certificates; `None` if it has.
fn no_certificates(file: &Path) -> Option<String> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(certificates) if certificates.is_empty() => {
            Some(format!("there is no certificate in {}", file.display()))
        }
        Ok(_) => None,
        Err(error) => Some(format!("cannot read {}: {error}", file.display())),
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
                ca_file: Some(PathBuf::from("/nowhere.pem")),
                user: None,
                password: Some(Secret::new("hidden".to_owned())),
                hello_name: Some("a b".to_owned()),
                command_timeout: Duration::ZERO,
                final_timeout: Duration::ZERO,
            },
            ses: SesOptions {
                region: "eu west".to_owned(),
                access_key_id: None,
                secret_access_key: Some(Secret::new("hidden".to_owned())),
                session_token: None,
                configuration_set: Some("a b".to_owned()),
                topic_arn: Some("letters".to_owned()),
                base_url: Some("http://email.example.com".to_owned()),
                answer_timeout: Duration::ZERO,
            },
            sendgrid: SendgridOptions {
                api_key: None,
                webhook_public_key: Some("no key".to_owned()),
                base_url: "https://user:password@example.com".to_owned(),
                answer_timeout: Duration::from_hours(1),
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
            "mail.smtp.ca_file:",
            "mail.ses.region:",
            "mail.ses.access_key_id:",
            "mail.ses.configuration_set:",
            "mail.ses.topic_arn:",
            "mail.ses.base_url:",
            "mail.ses.answer_timeout:",
            "mail.sendgrid.webhook_public_key:",
            "mail.sendgrid.base_url:",
            "mail.sendgrid.answer_timeout:",
        ] {
            let found = problems.iter().filter(|problem| problem.starts_with(name)).count();
            assert_eq!(found, 1, "{name}: {problems:#?}");
        }
        assert!(!problems.join("").contains("hidden"), "{problems:?}");
    }

    #[test]
    fn a_provider_needs_its_keys_only_when_it_is_used() {
        for (transport, name) in [
            (MailTransport::Ses, "mail.ses.access_key_id:"),
            (MailTransport::Sendgrid, "mail.sendgrid.api_key:"),
        ] {
            let problems = MailOptions { transport, ..MailOptions::default() }.check();
            assert!(problems.len() == 1 && problems[0].starts_with(name), "{problems:?}");
        }
        let text = "transport = \"ses\"\n[ses]\nregion = \"cn-north-1\"\naccess_key_id = \"AKIDEXAMPLE\"\n\
                    secret_access_key = \"hidden\"\ntopic_arn = \"arn:aws-cn:sns:cn-north-1:1:letters\"";
        let options: MailOptions = toml::from_str(text).unwrap();
        assert_eq!(options.check(), Vec::<String>::new());
        assert_eq!(options.ses.base_url(), "https://email.cn-north-1.amazonaws.com.cn");
        assert_eq!(SesOptions::default().base_url(), "https://email.us-east-1.amazonaws.com");
        assert!(!toml::to_string(&options).unwrap().contains("hidden"));
    }
}

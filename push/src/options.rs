//! The `[push]` section: who pushes, by which services, and where endpoints may lie.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use documented::DocumentedFields;
use mundotango_ops::{Secret, duration as friendly};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::error::SetupError;

/// The longest time for an answer.
const MAX_TIMEOUT: Duration = Duration::from_mins(1);
/// Ends of host names that reach nobody (RFC 2606, RFC 6761, RFC 6762). Apple refuses such contacts.
const NO_CONTACT: [&str; 5] = ["localhost", "invalid", "local", "test", "localdomain"];

/// The `[push]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct PushOptions {
    /// Whom a push service may contact about this site, as mailto: or https: address (RFC 8292). Browsers are
    /// pushed to only if it is given.
    pub subject: String,
    /// Whether endpoints of browsers may use http, any port and private networks. For development alone: with
    /// it, users can make the node send requests into its own network.
    pub private_endpoints: bool,
    /// Hosts that endpoints of browsers may have, each with all below it, such as
    /// `push.services.mozilla.com`. Empty: all hosts.
    pub allowed_hosts: Vec<String>,
    /// How long a push service may take to answer.
    #[serde(with = "friendly")]
    pub timeout: Duration,
    /// A PEM file with certificates of authorities that are trusted besides the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Firebase Cloud Messaging, for apps on Android.
    pub fcm: FcmOptions,
    /// Apple's service, for apps on Apple's systems.
    pub apns: ApnsOptions,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            subject: String::new(),
            private_endpoints: false,
            allowed_hosts: Vec::new(),
            timeout: Duration::from_secs(10),
            ca: None,
            fcm: FcmOptions::default(),
            apns: ApnsOptions::default(),
        }
    }
}

/// The `[push.fcm]` section: on with a service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct FcmOptions {
    /// The JSON file of the service account, as Firebase's console gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_file: Option<PathBuf>,
    /// The text of that file, if there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Secret>,
    /// Where FCM is.
    pub base_url: String,
}

impl Default for FcmOptions {
    fn default() -> Self {
        Self {
            service_account_file: None,
            service_account: None,
            base_url: "https://fcm.googleapis.com".to_owned(),
        }
    }
}

/// The `[push.apns]` section: on with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct ApnsOptions {
    /// The .p8 file with the key that Apple gives for its push service, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The text of that file, if there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The identifier of the key: 10 characters.
    pub key_id: String,
    /// The identifier of the team that the key belongs to: 10 characters.
    pub team_id: String,
    /// The bundle identifier of the app.
    pub topic: String,
    /// Where APNs is; <https://api.sandbox.push.apple.com> for apps that Xcode installs.
    pub base_url: String,
}

impl Default for ApnsOptions {
    fn default() -> Self {
        Self {
            key_file: None,
            key: None,
            key_id: String::new(),
            team_id: String::new(),
            topic: String::new(),
            base_url: "https://api.push.apple.com".to_owned(),
        }
    }
}

impl PushOptions {
    /// All that cannot work, each with the option's name first.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("push.{problem}"));
            }
        };
        require(
            self.subject.is_empty() || is_contact(&self.subject),
            "subject: must be a mailto: or https: address under which somebody is reached",
        );
        require(
            self.allowed_hosts.iter().all(|host| is_host(host)),
            "allowed_hosts: must be names of hosts, without * and without ports",
        );
        require(
            !self.timeout.is_zero() && self.timeout <= MAX_TIMEOUT,
            "timeout: must be longer than nothing, and 1m at most",
        );
        let FcmOptions { service_account_file, service_account, base_url } = &self.fcm;
        require(
            service_account_file.is_none() || service_account.is_none(),
            "fcm.service_account: give the file or the text, not both",
        );
        require(
            is_service(base_url),
            "fcm.base_url: must be an https:// address; http:// on this machine alone",
        );
        let apns = &self.apns;
        require(
            apns.key_file.is_none() || apns.key.is_none(),
            "apns.key: give the file or the text, not both",
        );
        let on = apns.enabled();
        require(!on || is_id(&apns.key_id), "apns.key_id: must be the key's identifier of 10 characters");
        require(!on || is_id(&apns.team_id), "apns.team_id: must be the team's identifier of 10 characters");
        require(
            !on || is_bundle(&apns.topic),
            "apns.topic: must be the app's bundle identifier, such as com.example.app",
        );
        require(
            is_service(&apns.base_url),
            "apns.base_url: must be an https:// address; http:// on this machine alone",
        );
        problems
    }
}

impl FcmOptions {
    /// Whether apps are pushed to by FCM.
    pub fn enabled(&self) -> bool {
        self.service_account_file.is_some() || self.service_account.is_some()
    }

    /// The JSON of the service account, if there is one.
    pub(crate) fn account(&self) -> Result<Option<Secret>, SetupError> {
        text(
            "push.fcm.service_account_file",
            self.service_account_file.as_deref(),
            self.service_account.as_ref(),
        )
    }
}

impl ApnsOptions {
    /// Whether apps are pushed to by APNs.
    pub fn enabled(&self) -> bool {
        self.key_file.is_some() || self.key.is_some()
    }

    /// The PEM of the key, if there is one.
    pub(crate) fn pem(&self) -> Result<Option<Secret>, SetupError> {
        text("push.apns.key_file", self.key_file.as_deref(), self.key.as_ref())
    }
}

/// A secret from its file, or as it is.
fn text(
    option: &'static str,
    file: Option<&Path>,
    text: Option<&Secret>,
) -> Result<Option<Secret>, SetupError> {
    let Some(path) = file else { return Ok(text.cloned()) };
    let failed =
        |error: std::io::Error| SetupError::File { option, path: path.to_owned(), why: error.to_string() };
    fs::read_to_string(path).map(|text| Some(Secret::new(text))).map_err(failed)
}

/// Whether a push service can contact somebody by a text.
fn is_contact(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let host = match url.scheme() {
        "mailto" => url.path().rsplit_once('@').filter(|(user, _)| !user.is_empty()).map(|(_, host)| host),
        "https" => url.domain(),
        _ => None,
    };
    host.is_some_and(|host| {
        let host = host.trim_end_matches('.');
        let end = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        is_host(host) && host.contains('.') && !NO_CONTACT.contains(&end.as_str())
    })
}

/// Whether a text is the name of a host: labels with dots between.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether requests with credentials can go to an address.
pub(crate) fn is_service(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    };
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    plain && (url.scheme() == "https" || url.scheme() == "http" && loopback)
}

fn is_id(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_bundle(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=255).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        assert_eq!(PushOptions::default().check(), Vec::<String>::new());
        let text = toml::to_string(&PushOptions::default()).unwrap();
        assert!(text.contains("timeout = \"10s\"") && text.contains("[apns]"), "{text}");
        assert_eq!(toml::from_str::<PushOptions>(&text).unwrap(), PushOptions::default());
    }

    #[test]
    fn t41_a_subject_names_somebody_who_can_be_reached() {
        let problems = |subject: &str| {
            PushOptions { subject: subject.to_owned(), ..PushOptions::default() }.check().len()
        };
        for good in ["mailto:ops@example.com", "https://example.com/contact"] {
            assert_eq!(problems(good), 0, "{good}");
        }
        for bad in [
            "ops@example.com",
            "mailto:ops",
            "mailto:@example.com",
            "mailto:ops@localhost",
            "mailto:ops@push.localhost",
            "mailto:ops@example.invalid",
            "mailto:<ops@example.com>",
            "mailto:ops@127.0.0.1:80",
            "http://example.com",
            "https://localhost",
            "https://127.0.0.1",
        ] {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }

    #[test]
    fn all_that_cannot_work_is_told_at_once_and_no_secret_with_it() {
        let secret = || Some(Secret::new("hidden".to_owned()));
        let options = PushOptions {
            subject: "nobody".to_owned(),
            private_endpoints: false,
            allowed_hosts: vec!["*.example.com".to_owned()],
            timeout: Duration::ZERO,
            ca: None,
            fcm: FcmOptions {
                service_account_file: Some("a".into()),
                service_account: secret(),
                base_url: "http://example.com".to_owned(),
            },
            apns: ApnsOptions {
                key_file: Some("b".into()),
                key: secret(),
                key_id: "short".to_owned(),
                base_url: "apple".to_owned(),
                ..ApnsOptions::default()
            },
        };
        let problems = options.check();
        for name in [
            "push.subject:",
            "push.allowed_hosts:",
            "push.timeout:",
            "push.fcm.service_account:",
            "push.fcm.base_url:",
            "push.apns.key:",
            "push.apns.key_id:",
            "push.apns.team_id:",
            "push.apns.topic:",
            "push.apns.base_url:",
        ] {
            let found = problems.iter().filter(|problem| problem.starts_with(name)).count();
            assert_eq!(found, 1, "{name}: {problems:#?}");
        }
        assert_eq!(problems.len(), 10);
        assert!(!problems.join("").contains("hidden") && !format!("{options:?}").contains("hidden"));
    }
}

//! What the configuration alone says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mundotango_gateway::Secret;
use mundotango_push::{Pusher, VapidKeys};
use toml::{Table, Value};

use super::finding::{Finding, kinds};
use crate::config::Config;
use crate::email::{MailOptions, MailTransport};

kinds! { "config";
    REFUSED: Broken "refused",
        "no node starts with it, and a node that runs keeps the configuration before",
        "correct the option; `mundotango config show` says what each one is";
    WEAK: Warning "weak-secret",
        "who guesses it can sign tokens, also as an admin",
        "make another by `openssl rand -hex 32`; a new `auth.secret` ends all sessions";
    READABLE: Warning "readable-secrets",
        "everybody on this machine can read the secrets in the file",
        "chmod 0640 and give it to the node's group, or put the secrets into the environment";
    PLAIN: Hint "plain-http",
        "passwords and tokens pass in plain text where nothing in front of the node speaks TLS",
        "end TLS at a proxy and name it in `http.trusted_proxies`, or set `http.tls`";
    NO_PROXIES: Hint "no-trusted-proxies",
        "behind a proxy all clients have its address, so limits for one address are limits for everybody",
        "behind a proxy set `http.trusted_proxies`; without one this is well";
    ONE_DOOR: Hint "no-internal-listener",
        "metrics, health and the admins' routes are where everybody comes in",
        "set `http.internal_listen` to an address that only operators reach";
    ANY_ORIGIN: Hint "any-origin",
        "pages of every site may open sockets and call the API with their visitors' tokens",
        "name the origins of your own pages in `http.allowed_origins`";
    NO_RATES: Hint "no-rates",
        "passwords can be tried and accounts be made without a bound",
        "set the option to more than 0, unless a proxy in front bounds it";
    MAIL_FOLDER: Warning "mail-into-folder",
        "letters are written into files and sent to nobody: no address is confirmed, no password found again",
        "set `mail.transport` to `smtp`, `ses` or `sendgrid`";
    LOCAL_URL: Warning "local-public-url",
        "links in letters and pushes lead readers to their own machine",
        "set `mail.public_url` to the address by which users reach the site";
    LOCAL_SENDER: Warning "local-sender",
        "servers refuse letters from a domain that is not on the internet",
        "set `mail.from` to an address of a domain of yours, with SPF and DKIM";
    NO_SUBJECT: Hint "no-push-subject",
        "browsers are not pushed to without it",
        "set `push.subject` to a mailto: or https: address under which you are reached";
    PRIVATE_PUSH: Warning "private-push-endpoints",
        "users can make the node send requests into its own network",
        "turn `push.private_endpoints` off; it is for development";
    PRIVATE_PREVIEWS: Warning "private-link-previews",
        "users can make the node send requests into its own network",
        "turn `link_previews.private_addresses` off; it is for development";
    PUSH_KEYS: Broken "push-keys",
        "a node does not start with keys of a push service that cannot be read",
        "give the node the file as the service's console gave it, readable for the node's user";
}

/// Least different characters of a secret that was made by chance: 32 hexadecimal ones have 14 of 16, most often.
const MIN_DISTINCT: usize = 9;
/// What stands in secrets that were copied from an example.
const WORDS: [&str; 7] = ["changeme", "change-me", "change_me", "password", "example", "01234567", "secret"];
/// The options that hold secrets, by the last part of their names.
const SECRET_OPTIONS: [&str; 10] = [
    "api_key",
    "hmac_secret_key",
    "key",
    "password",
    "secret",
    "secret_access_key",
    "secret_key",
    "service_account",
    "session_token",
    "webhook_secrets",
];

/// What a configuration that was refused says, a finding for each of its problems.
pub(super) fn refused(error: &anyhow::Error) -> Vec<Finding> {
    format!("{error:#}").lines().map(|problem| REFUSED.says(problem)).collect()
}

/// Looks at a configuration that can work, and at the file that it came from.
pub(super) fn look(config: &Config, file: Option<&Path>) -> Vec<Finding> {
    let mut findings = secrets(config);
    findings.extend(file.and_then(readable));
    let listen = config.listen;
    let is_public = !listen.ip().is_loopback();
    if is_public {
        findings.extend(doors(config));
        if config.mail.transport == MailTransport::Folder {
            findings
                .push(MAIL_FOLDER.says(format!("mail.transport is folder, and the node serves on {listen}")));
        }
        if config.push.private_endpoints {
            findings.push(PRIVATE_PUSH.says("push.private_endpoints is on"));
        }
        if config.link_previews.enabled && config.link_previews.private_addresses {
            findings.push(PRIVATE_PREVIEWS.says("link_previews.private_addresses is on"));
        }
    }
    let mail = &config.mail;
    let is_default = mail.public_url == MailOptions::default().public_url;
    if is_default && (is_public || mail.transport != MailTransport::Folder) {
        findings.push(LOCAL_URL.says(format!("mail.public_url is {}", mail.public_url)));
    }
    if mail.transport != MailTransport::Folder && mail.from.trim_end_matches('>').ends_with("@localhost") {
        findings.push(LOCAL_SENDER.says(format!("mail.from is {}", mail.from)));
    }
    if config.push.subject.is_empty() {
        findings.push(NO_SUBJECT.says("push.subject is not set"));
    }
    // These keys are only for the look: those of the installation are in its store.
    let pushed = VapidKeys::generate().map_err(anyhow::Error::from);
    let pushed = pushed.and_then(|keys| Pusher::new(&config.push, keys).map_err(anyhow::Error::from));
    findings.extend(pushed.err().map(|error| PUSH_KEYS.says(format!("{error:#}"))));
    findings
}

/// What is told of a node that others reach.
fn doors(config: &Config) -> Vec<Finding> {
    let (http, listen) = (&config.http, config.listen);
    let mut findings = Vec::new();
    if http.trusted_proxies.is_empty() {
        findings.push(NO_PROXIES.says(format!("the node serves on {listen}, and no proxy is trusted")));
        if http.tls.certificate.is_none() {
            findings.push(PLAIN.says(format!("the node serves on {listen} without TLS")));
        }
    }
    if http.internal_listen.is_none() {
        findings
            .push(ONE_DOOR.says(format!("http.internal_listen is not set, and the node serves on {listen}")));
    }
    if http.allowed_origins.iter().any(|origin| origin == "*") {
        findings.push(ANY_ORIGIN.says("http.allowed_origins has *"));
    }
    let rates = &config.auth.rates;
    let off: Vec<_> = [
        ("registrations_per_address", rates.registrations_per_address),
        ("logins_per_address", rates.logins_per_address),
        ("links_per_address", rates.links_per_address),
        ("failed_logins", rates.failed_logins),
        ("failed_logins_per_account", rates.failed_logins_per_account),
    ]
    .into_iter()
    .filter(|(_, rate)| *rate == 0)
    .map(|(name, _)| format!("auth.rates.{name}"))
    .collect();
    if !off.is_empty() {
        findings.push(NO_RATES.says(format!("without a limit: {}", off.join(", "))));
    }
    findings
}

fn secrets(config: &Config) -> Vec<Finding> {
    [
        ("auth.secret", &config.auth.secret),
        ("auth.token.hmac_secret_key", &config.auth.token.hmac_secret_key),
        ("http.api_key", &config.http.api_key),
    ]
    .into_iter()
    .filter(|(_, secret)| secret.as_ref().map(Secret::expose).is_some_and(is_guessable))
    .map(|(name, _)| WEAK.says(format!("{name} does not look as if it was made by chance")))
    .collect()
}

/// Whether a person has thought of a secret, as far as it shows.
fn is_guessable(secret: &str) -> bool {
    let mut characters: Vec<_> = secret.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let text = secret.to_lowercase();
    characters.len() < MIN_DISTINCT || WORDS.iter().any(|word| text.contains(word))
}

/// What is wrong with the rights of a file that holds secrets.
fn readable(file: &Path) -> Option<Finding> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let table = fs::read_to_string(file).ok()?.parse::<Table>().ok()?;
    let is_open = mode & 0o004 != 0 && holds_secret(&table);
    is_open.then(|| {
        READABLE.says(format!("{} has the mode {:04o} and secrets in it", file.display(), mode & 0o7777))
    })
}

fn holds_secret(table: &Table) -> bool {
    table.iter().any(|(name, value)| match value {
        Value::Table(table) => holds_secret(table),
        // A path to a key is none, and a URL may hold a password.
        Value::String(text) => {
            let is_named = SECRET_OPTIONS.contains(&name.as_str()) && !text.starts_with('/');
            is_named && !text.trim().is_empty() || text.contains("://") && text.contains('@')
        }
        Value::Array(all) => SECRET_OPTIONS.contains(&name.as_str()) && !all.is_empty(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn defaults_on_loopback_are_well_but_for_browsers_that_are_not_pushed_to() {
        assert_eq!(ids(&look(&Config::default(), None)), ["config.no-push-subject"]);
    }

    #[test]
    fn a_node_that_others_reach_has_to_be_set() {
        let mut config = Config { listen: ([0, 0, 0, 0], 5000).into(), ..Config::default() };
        let found = look(&config, None);
        for wanted in [
            "config.plain-http",
            "config.no-trusted-proxies",
            "config.no-internal-listener",
            "config.mail-into-folder",
            "config.local-public-url",
        ] {
            assert!(ids(&found).contains(&wanted), "{wanted}: {found:#?}");
        }
        config.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        config.http.internal_listen = Some(([127, 0, 0, 1], 9000).into());
        config.mail.transport = MailTransport::Smtp;
        config.mail.public_url = "https://tango.example".to_owned();
        config.mail.from = "MundoTango <no-reply@tango.example>".to_owned();
        config.push.subject = "mailto:ops@tango.example".to_owned();
        assert_eq!(ids(&look(&config, None)), Vec::<&str>::new());
    }

    #[test]
    fn secrets_that_a_person_thought_of_are_told_and_not_shown() {
        assert!(!is_guessable("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"));
        for bad in ["changeme-changeme-changeme-changeme", "abababababababababababababababab"] {
            assert!(is_guessable(bad), "{bad}");
            let mut config = Config::default();
            config.auth.secret = Some(Secret::new(bad.to_owned()));
            let found = look(&config, None);
            assert!(ids(&found).contains(&"config.weak-secret") && !format!("{found:?}").contains(bad));
        }
    }

    #[test]
    fn a_file_with_secrets_is_for_the_node_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mundotango.toml");
        for (text, mode, is_told) in [
            ("[auth]\nsecret = \"x\"", 0o644, true),
            ("[auth]\nsecret = \"x\"", 0o640, false),
            ("[cluster]\nnats = \"nats://a:b@nats:4222\"", 0o644, true),
            ("[payments]\nwebhook_secrets = [\"whsec_x\"]", 0o644, true),
            ("[http.tls]\nkey = \"/etc/key.pem\"", 0o644, false),
        ] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(readable(&file).is_some(), is_told, "{text} {mode:o}");
        }
    }
}

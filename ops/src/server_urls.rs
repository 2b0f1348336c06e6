//! URLs of servers, whose passwords no log, no error and no printed configuration shows.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What is printed in the place of a password.
const MASK: &str = "***";

/// One URL, or several divided by commas, whose passwords and tokens are never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServerUrls(String);

impl ServerUrls {
    /// Hides the passwords of URLs.
    pub fn new(urls: impl Into<String>) -> Self {
        Self(urls.into())
    }

    /// The URLs with their passwords, for the one who connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for ServerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for ServerUrls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// URLs without their passwords. A password may hold `/`, `@` or `,` though a URL forbids them, so everything between a
/// scheme and the last `@` before the next scheme counts as a user and a password.
fn masked(urls: &str) -> String {
    let mut parts = urls.split("://");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("://");
        match part.rsplit_once('@') {
            Some((user, rest)) => {
                if let Some((user, _)) = user.split_once(':') {
                    text.push_str(user);
                    text.push(':');
                }
                text.push_str(MASK);
                text.push('@');
                text.push_str(&without_parameters(rest));
            }
            None => text.push_str(&without_parameters(part)),
        }
    }
    text
}

/// The rest of a URL with its `pass=` masked: the URL of a Unix socket has its password there.
fn without_parameters(rest: &str) -> String {
    let Some((before, query)) = rest.split_once('?') else { return rest.to_owned() };
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if name.starts_with("pass") => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    });
    format!("{before}?{}", parameters.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_url_shows_its_password() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2"),
            ("redis://:wrongsecret@127.0.0.1:6379", "redis://:***@127.0.0.1:6379"),
            ("rediss://ana:s3/cr@et@redis:6379/2", "rediss://ana:***@redis:6379/2"),
            ("unix:///run/redis.sock?db=1&pass=s3cret", "unix:///run/redis.sock?db=1&pass=***"),
            ("nats://t0ken@nats:4222", "nats://***@nats:4222"),
            ("nats://u:p,w@a:4222, tls://u:pw@b:4222", "nats://u:***@a:4222, tls://u:***@b:4222"),
            ("nats://a:4222,nats://b:4222", "nats://a:4222,nats://b:4222"),
            ("a:4222", "a:4222"),
        ] {
            let urls = ServerUrls::new(url);
            assert_eq!(urls.to_string(), shown);
            assert_eq!(format!("{urls:?}"), format!("\"{shown}\""));
            assert_eq!(urls.expose(), url);
        }
    }
}

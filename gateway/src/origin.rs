//! Which pages may use the node: those of its own host, and those of `http.allowed_origins`. Origins are compared as RFC
//! 6454 says: scheme, host and port, where the scheme's own port need not be written.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use mundotango_ops::Seldom;

/// Longest origin that is looked at: a host's name has at most 253 bytes.
const MAX_ORIGIN_BYTES: usize = 512;

static REFUSED: Seldom = Seldom::once_a_minute();

/// The origins whose pages may come in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allowed: Vec<Pattern>,
    /// Whether a page may be of any host that leads here. Where sessions need no token, a name is not enough: whoever
    /// owns it can have it lead to a victim's own machine (DNS rebinding).
    names_are_enough: bool,
}

impl Origins {
    /// `names_are_enough` unless sessions need no token. Patterns that nothing can match are left out.
    pub(crate) fn new(allowed: &[String], names_are_enough: bool) -> Self {
        let allowed = allowed.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        Self { allowed, names_are_enough }
    }

    /// Whether a request's page may come in. Requests without an `Origin` come from no page. A refusal is logged.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let allowed = origin.to_str().is_ok_and(|origin| self.matches(origin, host));
        if !allowed && let Some(left_out) = REFUSED.may_write() {
            tracing::warn!(
                ?origin,
                host,
                left_out,
                "page refused: its origin is neither the node's host nor in http.allowed_origins"
            );
        }
        allowed
    }

    fn matches(&self, origin: &str, host: &str) -> bool {
        if origin.len() > MAX_ORIGIN_BYTES {
            return false;
        }
        let origin = origin.to_ascii_lowercase();
        let parsed = Origin::parse(&origin);
        let same_host = parsed.as_ref().is_some_and(|origin| self.is_own(origin, host));
        same_host || self.allowed.iter().any(|pattern| pattern.matches(&origin, parsed.as_ref()))
    }

    fn is_own(&self, origin: &Origin<'_>, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let Some((name, port)) = split_port(&host) else { return false };
        let port = port.map_or_else(|| default_port(origin.scheme), |port| port.parse().ok());
        origin.host == name && origin.port == port && (self.names_are_enough || is_no_name(name))
    }
}

/// Whether a host cannot be made to lead elsewhere.
fn is_no_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// An origin's three parts; a port only where the scheme has one or it is written.
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = split_port(authority)?;
        let port = match port {
            Some(port) => Some(port.parse().ok()?),
            None => default_port(scheme),
        };
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        is_host.then_some(Self { scheme, host, port })
    }
}

/// `a.example:80` and `[::1]:80`, with or without the port. `None` if there is a port that is empty.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let name_ends = if authority.starts_with('[') { authority.find(']')? } else { 0 };
    match authority[name_ends..].find(':') {
        None => Some((authority, None)),
        Some(at) => {
            let (host, port) = authority.split_at(name_ends + at);
            (port.len() > 1).then(|| (host, Some(&port[1..])))
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// An entry of `http.allowed_origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// `*`
    Any,
    /// `null`, which browsers send for pages out of files and sandboxes.
    Null,
    /// `https://*.example:8443`
    Of { scheme: String, host: String, port: PortPattern },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortPattern {
    Any,
    Exactly(Option<u16>),
}

impl Pattern {
    /// Reads an entry, or says why no origin can match it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let hint = "write it as browsers send it, such as https://app.example or https://*.example";
        let Some((scheme, authority)) = lower.split_once("://") else {
            return Err(format!("{text:?} has no scheme: {hint}"));
        };
        if authority.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?} has more than scheme, host and port: {hint}"));
        }
        let Some((host, port)) = split_port(authority) else {
            return Err(format!("{text:?} has an empty port: {hint}"));
        };
        let port = match port {
            Some("*") => PortPattern::Any,
            Some(port) => match port.parse() {
                Ok(port) => PortPattern::Exactly(Some(port)),
                Err(_) => return Err(format!("{text:?} has a port that is no number: {hint}")),
            },
            None => PortPattern::Exactly(default_port(scheme)),
        };
        if host.is_empty() || scheme.is_empty() || lower.contains(char::is_whitespace) {
            return Err(format!("{text:?} is no origin: {hint}"));
        }
        Ok(Self::Of { scheme: scheme.to_owned(), host: host.to_owned(), port })
    }

    fn matches(&self, text: &str, origin: Option<&Origin<'_>>) -> bool {
        match (self, origin) {
            (Self::Any, _) => true,
            (Self::Null, _) => text == "null",
            (Self::Of { scheme, host, port }, Some(origin)) => {
                let port_fits = match port {
                    PortPattern::Any => true,
                    PortPattern::Exactly(port) => *port == origin.port,
                };
                port_fits && scheme == origin.scheme && fits(host.as_bytes(), origin.host.as_bytes())
            }
            (Self::Of { .. }, None) => false,
        }
    }
}

/// Whether a host fits a pattern in which `*` stands for any text. Only the last `*` is ever taken back, so many of them
/// cost no more than one.
fn fits(pattern: &[u8], host: &[u8]) -> bool {
    let (mut p, mut h) = (0, 0);
    // Where the last star is, and how far its text reaches.
    let mut star = None;
    while h < host.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, h));
                p += 1;
            }
            Some(byte) if *byte == host[h] => {
                p += 1;
                h += 1;
            }
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    (p, h) = (at + 1, reach + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::http::HeaderValue;

    use super::*;

    fn is_allowed(origins: &Origins, origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        origins.allow(&headers)
    }

    fn origins(allowed: &[&str]) -> Origins {
        Origins::new(&allowed.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), true)
    }

    #[test]
    fn lets_in_its_own_pages_and_the_allowed_ones() {
        let origins = origins(&["https://*.tango.example", "http://localhost:3000", "http://127.0.0.1:*"]);
        let host = "tango.example:5000";
        for origin in [
            "http://tango.example:5000",
            "https://app.tango.example",
            "https://app.tango.example:443",
            "http://LOCALHOST:3000",
            "http://127.0.0.1",
            "http://127.0.0.1:8088",
        ] {
            assert!(is_allowed(&origins, origin, host), "{origin}");
        }
        for origin in [
            "null",
            "https://tango.example.evil.example",
            "https://evil.example/.tango.example",
            "https://evil.example:1/.tango.example",
            "https://evil.example?.tango.example",
            "https://app.tango.example:8443",
            "http://localhost:30001",
            "https://eviltango.example",
            "http://tango.example",
            "http://tango.example:",
            "//tango.example:5000",
        ] {
            assert!(!is_allowed(&origins, origin, host), "{origin}");
        }
        assert!(origins.allow(&HeaderMap::new()));
    }

    /// RFC 6454, 6.2 and 4: react/react-native#7920, centrifugal/centrifugo#491.
    #[test]
    fn a_schemes_own_port_need_not_be_written() {
        let origins = origins(&["https://b.example:443"]);
        for (origin, host, allowed) in [
            ("https://a.example:443", "a.example", true),
            ("https://a.example", "a.example:443", true),
            ("http://a.example:80", "a.example", true),
            ("http://[::1]:80", "[::1]", true),
            ("https://a.example:80", "a.example", false),
            ("https://a.example", "a.example:80", false),
            ("https://b.example", "other", true),
        ] {
            assert_eq!(is_allowed(&origins, origin, host), allowed, "{origin} {host}");
        }
    }

    #[test]
    fn a_name_that_may_lead_anywhere_is_not_enough_where_no_token_is_needed() {
        let strict = Origins::new(&["http://mine.example".to_owned()], false);
        assert!(!is_allowed(&strict, "http://evil.example:5000", "evil.example:5000"));
        for (origin, host) in [
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://[::1]:5000", "[::1]:5000"),
            ("http://localhost:5000", "localhost:5000"),
            ("http://mine.example", "mine.example"),
        ] {
            assert!(is_allowed(&strict, origin, host), "{origin}");
        }
    }

    #[test]
    fn an_entry_that_nothing_can_match_is_refused() {
        for text in
            ["127.0.0.1:8088", "example.com", "https://a.example/", "https://a.example/app", "https://", ""]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        for text in ["https://a.example:", "https://a.example:x", "https://a example", "https://u@a.example"]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        for text in ["*", "null", "https://*.a.example", "http://localhost:*", "capacitor://localhost"] {
            assert!(Pattern::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_one() {
        let pattern = format!("https://{}b", "*a".repeat(100));
        let origins = origins(&[&pattern]);
        let start = Instant::now();
        assert!(!is_allowed(&origins, &format!("https://{}", "a".repeat(500)), "x"));
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
        assert!(fits(b"*.a.*", b"x.a.b.a.c") && !fits(b"*.a", b"a") && fits(b"**", b""));
    }
}

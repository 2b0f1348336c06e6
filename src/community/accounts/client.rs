//! From where a login is used, as its user recognises it: a device, and a network that is too wide to be one household's.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use mundotango_gateway::ClientAddress;

/// Most characters of a program's name that is not known here.
const MAX_PROGRAM: usize = 40;
/// Operating systems by what their browsers say. What stands in the texts of others comes last.
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];
/// Browsers, in the same order.
const BROWSERS: [(&str, &str); 11] = [
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

/// From where a request comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// The device, as its program tells; for people to recognise, and no proof of anything.
    pub(super) device: Option<String>,
    /// The network.
    pub(super) network: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let address = parts.extensions.get::<ClientAddress>();
        Ok(Self { device: agent.and_then(device_of), network: address.map(|address| network_of(address.0)) })
    }
}

impl Client {
    /// The same with the name that the client gives the device, if it gives one.
    pub(super) fn named(self, device: Option<String>) -> Self {
        Self { device: device.or(self.device), ..self }
    }
}

/// The device that a `User-Agent` tells of, such as `Firefox on Linux`.
fn device_of(agent: &str) -> Option<String> {
    let named = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (Some(name), None) => Some(name.to_owned()),
        (None, system) => {
            let program = agent.split(['/', ' ']).next().unwrap_or_default();
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
            let program: String =
                program.chars().take(MAX_PROGRAM).filter(|letter| is_name(*letter)).collect();
            match (program.as_str(), system) {
                ("" | "Mozilla", system) => system.map(str::to_owned),
                (program, Some(system)) => Some(format!("{program} on {system}")),
                (program, None) => Some(program.to_owned()),
            }
        }
    }
}

/// The network of an address: a /24 of IPv4, a /48 of IPv6.
fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, third, _] = address.octets();
            format!("{first}.{second}.{third}.0/24")
        }
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_the_browser_and_the_system() {
        for (agent, device) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
                 Safari/537.36 Edg/130.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iOS",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
                 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("MundoTango/2.1 (Android 14)", "MundoTango on Android"),
            ("curl/8.5.0", "curl"),
            ("Mozilla/5.0 (X11; Linux x86_64)", "Linux"),
        ] {
            assert_eq!(device_of(agent).as_deref(), Some(device), "{agent}");
        }
        assert_eq!(device_of(""), None);
        assert_eq!(device_of("Mozilla/5.0"), None);
        assert_eq!(device_of("<script>alert(1)</script>").as_deref(), Some("scriptalert1"));
        assert_eq!(device_of(&"x".repeat(1000)).map(|device| device.len()), Some(MAX_PROGRAM));
    }

    #[test]
    fn a_network_is_wider_than_a_household() {
        for (address, network) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("::1", "::/48"),
        ] {
            assert_eq!(network_of(address.parse().unwrap()), network);
        }
    }

    #[test]
    fn the_name_that_a_client_gives_comes_first() {
        let client = Client { device: Some("curl".to_owned()), network: None };
        assert_eq!(client.clone().named(None), client);
        assert_eq!(client.named(Some("Kitchen".to_owned())).device.as_deref(), Some("Kitchen"));
    }
}

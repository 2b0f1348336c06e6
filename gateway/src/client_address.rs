//! Which address a request comes from: the connection's other end, or the client that a trusted proxy names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The prefix that one IPv6 subscriber usually has for himself.
const IPV6_SUBSCRIBER_BITS: u8 = 64;

/// The address of the client that made a request, an extension of every request that came over a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address that limits count by. A client with IPv6 may use a whole /64 network, so all of it is one client.
    pub fn limited_as(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => Ipv6Net::new(address, IPV6_SUBSCRIBER_BITS)
                .map_or(self.0, |network| IpAddr::V6(network.network())),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address or a network, such as `192.0.2.7` or `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(|network| Self(network.trunc()))
            .map_err(|_| format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// The header in which trusted proxies name their clients. Only one counts: a proxy that writes one of them passes on
/// the other as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.7, 10.0.0.1`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.7, for="[2001:db8::1]:4711"` (RFC 7239)
    Forwarded,
}

/// The proxies whose word about a client's address is believed.
#[derive(Clone, Debug)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<Network>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    /// Whether an address is a trusted proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|Network(network)| network.contains(&address))
    }

    /// The client of a request: the last address in the chain of proxies that is no trusted proxy. Everything before
    /// that address in the header may be the client's own invention.
    pub(crate) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer;
        let mut entries = self.entries_from_the_last(headers);
        while self.trusts(client) {
            // A proxy that hides its client, or no entry: the proxy itself stands for its clients.
            let Some(address) = entries.next().flatten() else { break };
            client = address;
        }
        ClientAddress(client)
    }

    fn entries_from_the_last<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + 'a {
        let name = match self.header {
            ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let read = match self.header {
            ForwardedHeader::XForwardedFor => address_of,
            ForwardedHeader::Forwarded => address_of_element,
        };
        // Proxies add to the end of the last line, or add a line.
        let lines = headers.get_all(name).into_iter().rev().map(|line| line.to_str().unwrap_or_default());
        lines.flat_map(|line| line.rsplit(',')).map(read)
    }
}

/// The address in an element of `Forwarded`.
fn address_of_element(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address_of(node.trim().trim_matches('"'))
}

/// Reads `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:4711`.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.parse::<IpAddr>().is_ok() => text,
        None => text.rsplit_once(':')?.0,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"];
        TrustedProxies { networks: networks.map(|text| text.parse().unwrap()).to_vec(), header }
    }

    fn client(header: ForwardedHeader, peer: &str, lines: &[&'static str]) -> String {
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        proxies(header).client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        let client = |peer, lines: &[&'static str]| client(ForwardedHeader::XForwardedFor, peer, lines);
        assert_eq!(client("192.0.2.7", &["203.0.113.1"]), "192.0.2.7", "who is not trusted is not believed");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["8.8.8.8, 203.0.113.1,10.9.9.9"]), "203.0.113.1", "an invention");
        assert_eq!(
            client("10.0.0.1", &["8.8.8.8", "203.0.113.1"]),
            "203.0.113.1",
            "a line of the proxy's own"
        );
        assert_eq!(client("10.0.0.1", &["8.8.8.8, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["8.8.8.8, "]), "10.0.0.1");
        assert_eq!(client("127.0.0.1", &["10.1.1.1, 10.0.0.2"]), "10.1.1.1", "proxies alone");
        assert_eq!(client("127.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(client("2001:db8:1::5", &["2001:db8:2::9"]), "2001:db8:2::9");
        assert_eq!(client("127.0.0.1", &["::ffff:203.0.113.1"]), "203.0.113.1");
    }

    #[test]
    fn the_standards_header_is_read_as_it_is_written() {
        let client = |lines: &[&'static str]| client(ForwardedHeader::Forwarded, "10.0.0.1", lines);
        assert_eq!(client(&["for=203.0.113.1"]), "203.0.113.1");
        assert_eq!(client(&["proto=https;For=\"[2001:db8::1]:4711\";by=10.0.0.1"]), "2001:db8::1");
        assert_eq!(client(&["for=8.8.8.8, for=203.0.113.1;proto=http"]), "203.0.113.1");
        assert_eq!(client(&["for=\"8.8.8.8, for=203.0.113.1"]), "203.0.113.1", "a quote that never ends");
        assert_eq!(client(&["for=_hidden"]), "10.0.0.1");
        assert_eq!(client(&["proto=https"]), "10.0.0.1");
    }

    #[test]
    fn networks_are_read_or_refused() {
        for (text, written) in
            [("10.1.2.3/8", "10.0.0.0/8"), ("192.0.2.7", "192.0.2.7/32"), ("::1", "::1/128")]
        {
            assert_eq!(String::from(text.parse::<Network>().unwrap()), written);
        }
        for text in ["", "10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_subscriber_is_one_client() {
        let one = ClientAddress("2001:db8:0:1:aaaa::1".parse().unwrap());
        let two = ClientAddress("2001:db8:0:1:bbbb::2".parse().unwrap());
        let other = ClientAddress("2001:db8:0:2::1".parse().unwrap());
        assert_eq!(one.limited_as(), two.limited_as());
        assert_ne!(one.limited_as(), other.limited_as());
    }
}

//! The PROXY protocol, version 2: what a balancer that passes on TCP says before a connection's first byte.
//!
//! The format: <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>, section 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of the rest.
const HEAD_BYTES: usize = 16;
/// Longest rest that is read: addresses take at most 216 bytes, a certificate's names some hundred more.
const MAX_REST_BYTES: usize = 4096;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Reads the header off a connection. `None`: the balancer speaks for itself, as in its health checks.
pub(crate) async fn read_client(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let bad = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    let (signature, [command, family, length @ ..]) = (&head[..12], [head[12], head[13], head[14], head[15]]);
    if signature != SIGNATURE {
        return bad("a trusted proxy sent no proxy protocol header of version 2 (http.proxy_protocol)");
    }
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_REST_BYTES {
        return bad("a proxy protocol header is too long");
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let client = match (command, family) {
        (PROXY, TCP_OVER_IPV4) => rest.first_chunk::<4>().map(|bytes| IpAddr::V4(Ipv4Addr::from(*bytes))),
        (PROXY, TCP_OVER_IPV6) => rest.first_chunk::<16>().map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes))),
        // Its own words, a Unix socket, or nothing said: there is no client's address.
        (LOCAL | PROXY, _) => return Ok(None),
        _ => return bad("a proxy protocol header has an unknown command"),
    };
    match client {
        Some(client) => Ok(Some(client.to_canonical())),
        None => bad("a proxy protocol header is too short for its addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    async fn read(bytes: &[u8]) -> io::Result<(Option<IpAddr>, Vec<u8>)> {
        let mut stream = bytes;
        let client = read_client(&mut stream).await?;
        Ok((client, stream.to_vec()))
    }

    #[tokio::test]
    async fn reads_the_client_and_nothing_behind_the_header() {
        let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
        // Fields of the balancer's own follow the addresses.
        let rest = [&addresses[..], &[0x04, 0x00, 0x01, 0x00]].concat();
        let bytes = [header(PROXY, TCP_OVER_IPV4, &rest), b"GET".to_vec()].concat();
        let (client, behind) = read(&bytes).await.unwrap();
        assert_eq!((client, &behind[..]), (Some("203.0.113.7".parse().unwrap()), &b"GET"[..]));
        let client: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let rest = [&client.octets()[..], &[0; 20]].concat();
        assert_eq!(read(&header(PROXY, TCP_OVER_IPV6, &rest)).await.unwrap().0, Some(client.into()));
        assert_eq!(read(&header(LOCAL, 0, &[])).await.unwrap().0, None);
        assert_eq!(read(&header(PROXY, 0, &[])).await.unwrap().0, None);
    }

    #[tokio::test]
    async fn refuses_what_is_no_header() {
        for bytes in [
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            header(PROXY, TCP_OVER_IPV4, &[1, 2, 3]),
            header(0x22, TCP_OVER_IPV4, &[0; 12]),
            header(PROXY, TCP_OVER_IPV4, &[0; 12])[..20].to_vec(),
            header(PROXY, TCP_OVER_IPV4, &[0; 5000]),
        ] {
            assert!(read(&bytes).await.is_err());
        }
    }
}

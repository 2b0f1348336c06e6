//! The opening handshake (RFC 6455, 4.2): which requests become WebSockets, and what they are answered.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};

use super::byte_stream::ByteStream;
use crate::problem::Problem;
use crate::tls::Stream;

/// What a client's key is hashed with (RFC 6455, 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a key.
const KEY_BYTES: usize = 16;

/// A request that may become a WebSocket.
pub(super) struct Handshake {
    accept: HeaderValue,
    protocol: Option<&'static str>,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Reads a request; `protocols` are the subprotocols spoken, of which the client's first known one is chosen.
    pub(super) fn read(request: &mut Request, protocols: &[&'static str]) -> Result<Self, Problem> {
        let bad = |what: &str| Problem::new(StatusCode::BAD_REQUEST, what.to_owned());
        let headers = request.headers();
        if request.method() != Method::GET {
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "a websocket begins with get"));
        }
        if !has_token(headers, header::CONNECTION, "upgrade")
            || !has_token(headers, header::UPGRADE, "websocket")
        {
            return Err(bad("this is a websocket: connection: upgrade and upgrade: websocket are needed"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(bad("sec-websocket-version must be 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        if BASE64_STANDARD.decode(key).map_or(0, |key| key.len()) != KEY_BYTES {
            return Err(bad("sec-websocket-key must be 16 bytes in base 64"));
        }
        let protocol =
            offered(headers).find_map(|wanted| protocols.iter().find(|known| **known == wanted)).copied();
        let accept = accept_key(key);
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| bad("this connection cannot become a websocket"))?;
        Ok(Self { accept, protocol, upgrade })
    }

    /// The subprotocol that both speak.
    pub(super) fn protocol(&self) -> Option<&'static str> {
        self.protocol
    }

    /// The answer, and the connection that it makes: to be awaited once the answer is on its way.
    pub(super) fn accept(self) -> (Response, impl Future<Output = Option<(ByteStream, Bytes)>>) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let upgrade = self.upgrade;
        let connection = async move {
            let upgraded = upgrade.await.inspect_err(|error| tracing::debug!(%error, "not upgraded")).ok()?;
            let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
            ByteStream::take_over(parts.io.into_inner(), parts.read_buf)
                .inspect_err(|error| tracing::debug!(%error, "ended while it was upgraded"))
                .ok()
        };
        (response, connection)
    }
}

fn accept_key(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let accept = BASE64_STANDARD.encode(digest);
    // Base 64 is a header's text.
    HeaderValue::try_from(accept).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_a_key_as_the_standard_does() {
        // The example of RFC 6455, 1.3.
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

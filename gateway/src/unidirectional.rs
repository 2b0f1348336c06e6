//! Transports on which clients only listen: they send one connect request, and get bare pushes.

use bytes::Bytes;
use mundotango_actors::Session;
use mundotango_protocol::Disconnect;
use serde_json::value::RawValue;

/// What stands around a push in a reply.
const REPLY_BEGIN: &[u8] = br#"{"push":"#;
const REPLY_END: &[u8] = b"}";

/// Connects a session by its client's request; anything else ends it.
pub(crate) async fn connect(session: &mut Session, request: &[u8]) {
    match command_of(request) {
        Some(command) => session.receive(command).await,
        None => session.handle().outbox().end(Disconnect::BadRequest),
    }
}

/// The connect command of a connect request. The request has to be one JSON object, so that it cannot add commands.
fn command_of(request: &[u8]) -> Option<Bytes> {
    let request = if request.trim_ascii().is_empty() { b"{}" } else { request };
    let object: &RawValue = serde_json::from_slice(request).ok()?;
    let object = object.get();
    object.starts_with('{').then(|| Bytes::from(format!(r#"{{"id":1,"connect":{object}}}"#)))
}

/// The connect request in a query's `cf_connect`.
pub(crate) fn connect_of_query(query: &str) -> Option<Bytes> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(name, value)| (name == "cf_connect").then(|| Bytes::from(value.into_owned())))
}

/// The pushes of JSON replies, one a line. A ping stays what it is: an empty object.
pub(crate) fn pushes_of(replies: &[u8]) -> impl Iterator<Item = &[u8]> {
    replies.split(|byte| *byte == b'\n').map(|reply| {
        reply.strip_prefix(REPLY_BEGIN).and_then(|rest| rest.strip_suffix(REPLY_END)).unwrap_or(reply)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_lose_their_replies() {
        let replies = b"{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":{}}}}\n{}";
        let pushes: Vec<_> = pushes_of(replies).collect();
        assert_eq!(pushes, [&br#"{"channel":"a","pub":{"data":{}}}"#[..], b"{}"]);
    }

    #[test]
    fn connect_requests_become_commands() {
        assert_eq!(command_of(b" ").unwrap(), r#"{"id":1,"connect":{}}"#);
        let request = connect_of_query("a=1&cf_connect=%7B%22token%22%3A%22x%22%7D").unwrap();
        assert_eq!(command_of(&request).unwrap(), r#"{"id":1,"connect":{"token":"x"}}"#);
        for hostile in ["{}}{\"id\":2,\"rpc\":{\"method\":\"x\"}", "{},\"rpc\":{}", "{}\n{}", "1", "{"] {
            assert_eq!(command_of(hostile.as_bytes()), None, "{hostile}");
        }
        assert!(connect_of_query("a=1").is_none());
    }
}

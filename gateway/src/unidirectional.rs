//! Transports on which clients only listen: they send one connect request, and get bare pushes.

use bytes::Bytes;

/// What stands around a push in a reply.
const REPLY_BEGIN: &[u8] = br#"{"push":"#;
const REPLY_END: &[u8] = b"}";

/// The connect command of a connect request.
pub(crate) fn command_of(connect: &[u8]) -> Bytes {
    let connect = if connect.trim_ascii().is_empty() { b"{}" } else { connect };
    Bytes::from([br#"{"id":1,"connect":"#, connect, b"}"].concat())
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
        assert_eq!(command_of(b" "), r#"{"id":1,"connect":{}}"#);
        let request = connect_of_query("a=1&cf_connect=%7B%22token%22%3A%22x%22%7D").unwrap();
        assert_eq!(command_of(&request), r#"{"id":1,"connect":{"token":"x"}}"#);
        assert!(connect_of_query("a=1").is_none());
    }
}

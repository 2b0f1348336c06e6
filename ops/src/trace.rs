//! The trace that the work at hand belongs to, as W3C's trace context has it, so that it goes along to other nodes.

use std::future::Future;

tokio::task_local! {
    static TRACEPARENT: String;
}

/// Length of a `traceparent` of version 00: version, trace id, parent id and flags in hexadecimal, with dashes.
const LENGTH: usize = 55;

/// The `traceparent` of the work at hand, if it belongs to a trace.
pub fn current() -> Option<String> {
    TRACEPARENT.try_with(Clone::clone).ok()
}

/// Whether a text is a `traceparent` of version 00.
pub fn is_traceparent(text: &str) -> bool {
    text.len() == LENGTH
        && text.starts_with("00-")
        && text.bytes().enumerate().all(|(index, byte)| match index {
            2 | 35 | 52 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// Does something as part of a trace; of none if the text is no `traceparent`.
pub async fn within<T>(traceparent: Option<&str>, work: impl Future<Output = T>) -> T {
    match traceparent.filter(|text| is_traceparent(text)) {
        Some(traceparent) => TRACEPARENT.scope(traceparent.to_owned(), work).await,
        None => work.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn goes_along_with_the_work() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(current(), None);
        assert_eq!(within(Some(traceparent), async { current() }).await.as_deref(), Some(traceparent));
        assert_eq!(within(Some("00-short"), async { current() }).await, None);
        assert_eq!(within(None, async { current() }).await, None);
    }
}

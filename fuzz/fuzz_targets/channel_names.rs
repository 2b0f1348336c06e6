//! A client's text as a channel's name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mundotango_protocol::{ChannelName, MAX_CHANNEL_LENGTH};

fuzz_target!(|text: &str| {
    let Ok(name) = ChannelName::parse(text) else { return };
    assert_eq!(name.as_str(), text);
    assert!((1..=MAX_CHANNEL_LENGTH).contains(&text.len()) && text.is_ascii());
    if let Some(namespace) = name.namespace() {
        assert!(text.strip_prefix('$').unwrap_or(text).starts_with(namespace));
    }
    assert!(text.ends_with(name.without_namespace()));
    assert!(!name.allows_user(""));
    if name.allows_user("42") {
        assert!(name.is_user_limited());
    }
});

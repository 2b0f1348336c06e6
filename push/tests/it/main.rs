//! Pushes to real servers on this machine, which stand for the services of browsers, Google and Apple.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary share helpers")]

mod apns;
mod browser;
mod fcm;
mod server;
mod web;

use std::time::Duration;

use mundotango_push::{Push, PushError, PushOptions, Pusher, Urgency, VapidKeys};
use serde_json::Value;
use serde_json::value::to_raw_value;

/// Options that reach servers on this machine.
fn options() -> PushOptions {
    PushOptions {
        subject: "mailto:ops@example.com".to_owned(),
        private_endpoints: true,
        ..PushOptions::default()
    }
}

fn pusher(options: &PushOptions) -> Pusher {
    Pusher::new(options, VapidKeys::generate().unwrap()).unwrap()
}

/// A push that nobody sees.
fn silent(payload: &Value) -> Push {
    Push {
        payload: to_raw_value(payload).unwrap(),
        title: None,
        body: None,
        ttl: Duration::from_mins(1),
        urgency: Urgency::Normal,
        topic: None,
        badge: None,
    }
}

/// A result in one word, and after it how many seconds to wait.
fn word(result: &Result<(), PushError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(PushError::Gone { .. }) => "gone".to_owned(),
        Err(PushError::TooLarge) => "too large".to_owned(),
        Err(PushError::Refused { .. }) => "refused".to_owned(),
        Err(PushError::Temporary { retry_after: None, .. }) => "temporary".to_owned(),
        Err(PushError::Temporary { retry_after: Some(wait), .. }) => format!("temporary {}", wait.as_secs()),
        Err(PushError::Provider { .. }) => "provider".to_owned(),
    }
}

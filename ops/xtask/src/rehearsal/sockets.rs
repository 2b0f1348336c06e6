//! Subscribers that do what SDKs do: they come back after a cut, by the balancer, and recover.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::shared::Shared;
use crate::deploy::Socket;

/// Shortest pause before a client that was cut comes back, and what is added to it at most, in milliseconds.
const COME_BACK: (u64, u64) = (50, 450);
/// How often a subscriber looks whether the load ends.
const LOOK: Duration = Duration::from_millis(500);

/// One subscriber, and what it got.
#[derive(Default)]
pub(super) struct Subscriber {
    pub(super) channel: u64,
    /// The data of all publications, in the order in which they came.
    pub(super) numbers: Vec<u64>,
    /// How often it recovered.
    pub(super) recovered: usize,
    place: Place,
}

/// Where in a channel's stream a subscriber is.
#[derive(Default)]
pub(super) struct Place {
    epoch: String,
    offset: u64,
    subscribed_once: bool,
}

impl Place {
    /// Connects and subscribes at this place; the socket and the publications that were missed.
    pub(super) fn connect(
        &mut self,
        url: &str,
        token: &str,
        channel: &str,
    ) -> anyhow::Result<(Socket, Vec<Value>)> {
        let mut socket = Socket::open(url)?;
        socket.call("connect", &json!({ "token": token }))?;
        let mut subscribe = json!({ "channel": channel });
        if self.subscribed_once {
            subscribe["recover"] = json!(true);
            subscribe["offset"] = json!(self.offset);
            subscribe["epoch"] = json!(self.epoch);
        }
        let mut result = socket.call("subscribe", &subscribe)?;
        if self.subscribed_once {
            anyhow::ensure!(result["recovered"] == true, "{NOT_RECOVERED} {channel}: {result}");
        } else {
            self.subscribed_once = true;
            self.offset = result["offset"].as_u64().unwrap_or_default();
        }
        result["epoch"].as_str().unwrap_or_default().clone_into(&mut self.epoch);
        let missed = match result["publications"].take() {
            Value::Array(publications) => publications,
            _ => Vec::new(),
        };
        Ok((socket, missed))
    }

    /// Moves on to a publication, which has to be the next one.
    pub(super) fn next(&mut self, publication: &Value) -> Result<(), String> {
        let offset = publication["offset"].as_u64().unwrap_or_default();
        let wanted = self.offset + 1;
        self.offset = offset;
        if offset == wanted { Ok(()) } else { Err(format!("offset {offset} came instead of {wanted}")) }
    }

    pub(super) fn is_new(&self) -> bool {
        !self.subscribed_once
    }
}

/// How an error begins that no coming back mends.
const NOT_RECOVERED: &str = "not recovered in";

/// Whether coming again is all that a client has to do.
pub(super) fn may_come_again(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    // Refusals of the protocol that are temporary say so themselves.
    !text.contains(NOT_RECOVERED) && (!text.contains("was refused") || text.contains("\"temporary\":true"))
}

/// The pause before a client comes back; clients that were cut together do not come together.
pub(super) fn come_back(number: u64) {
    let (least, spread) = COME_BACK;
    thread::sleep(Duration::from_millis(least + number.wrapping_mul(2_654_435_761) % spread));
}

/// Runs a subscriber until the load ends.
pub(super) fn subscriber(shared: &Shared, token: &str, channel: u64) -> Subscriber {
    let mut subscriber = Subscriber { channel, ..Subscriber::default() };
    let name = format!("room:{channel}");
    while shared.goes_on() {
        if let Err(error) = subscriber.connection(shared, token, &name)
            && !may_come_again(&error)
        {
            shared.failed(format!("{name}: {error:#}"));
            return subscriber;
        }
        let number = u64::try_from(subscriber.recovered + subscriber.numbers.len()).unwrap_or_default();
        come_back(number + channel * 7);
    }
    subscriber
}

impl Subscriber {
    /// One connection, until it ends.
    fn connection(&mut self, shared: &Shared, token: &str, channel: &str) -> anyhow::Result<()> {
        let first = self.place.is_new();
        let (mut socket, missed) = self.place.connect(&shared.url, token, channel)?;
        if first {
            shared.subscribed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.recovered += 1;
        }
        for publication in &missed {
            self.take(shared, publication);
        }
        while shared.goes_on() {
            if let Some(push) = socket.push_within(LOOK)?
                && push["pub"].is_object()
            {
                self.take(shared, &push["pub"]);
            }
        }
        Ok(())
    }

    fn take(&mut self, shared: &Shared, publication: &Value) {
        if let Err(problem) = self.place.next(publication) {
            shared.failed(format!("room:{}: {problem}", self.channel));
        }
        self.numbers.extend(publication["data"].as_u64());
    }
}

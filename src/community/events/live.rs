//! `event:{id}`: what happens to one event, for those who may see it.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_actors::{ChannelGate, Engine};
use mundotango_protocol::ChannelName;

use super::store::EventStore;
use crate::community::policy::{Action, Verdict, Viewer};

/// The namespace of the events' channels.
const NAMESPACE: &str = "event";

/// Lets into an event's channel who may see the event.
struct Onlookers(EventStore);

#[async_trait]
impl ChannelGate for Onlookers {
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String> {
        let Some(id) = channel.as_str().strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix(':'))
        else {
            return Ok(false);
        };
        let Some(event) = self.0.event(id).await.map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        let verdict = self.0.may(Viewer::user(user), Action::Read, &event).await;
        verdict.map(Verdict::is_allowed).map_err(|error| error.to_string())
    }
}

/// Opens the events' channels.
pub(in crate::community) fn start(events: &EventStore, engine: &Engine) {
    engine.set_gate(NAMESPACE, Arc::new(Onlookers(events.clone())));
}

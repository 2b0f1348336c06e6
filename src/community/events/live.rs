//! `event:{id}`: what happens to one event, for those who may see it.

use std::sync::Arc;

use async_trait::async_trait;
use mundotango_actors::{ChannelGate, Engine};
use mundotango_protocol::ChannelName;

use super::store::EventStore;
use crate::community::policy::{self, Action, Involvement, Viewer};

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
        let may =
            |involved| policy::may(Viewer::user(user), Action::Read, &event.object(involved)).is_allowed();
        if may(Involvement::None) {
            return Ok(true);
        }
        let role = self.0.co_host(id, user).await.map_err(|error| error.to_string())?;
        Ok(role.is_some_and(|role| may(role.into())))
    }
}

/// Opens the events' channels.
pub(in crate::community) fn start(events: &EventStore, engine: &Engine) {
    engine.set_gate(NAMESPACE, Arc::new(Onlookers(events.clone())));
}

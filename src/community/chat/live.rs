//! `chat:{id}`: what is said in a conversation, for those who are in it; and who types.
//!
//! The channel keeps no history: what it published before somebody joined would else be recovered by whoever names an earlier
//! position. Messages are numbered without holes, so a client that was away asks `GET …/messages?after=` for what it lacks, and
//! that looks at the times at which the client's user was a member.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{ChannelGate, Engine, Publish};
use mundotango_protocol::{ChannelName, Publication};
use serde::Serialize;

use super::store::ChatStore;
use crate::community::policy::{self, Action, Object, Viewer};

/// The namespace of the conversations' channels.
const NAMESPACE: &str = "chat";

/// The channel of a conversation.
pub(super) fn channel_of(chat_id: &str) -> String {
    format!("{NAMESPACE}:{chat_id}")
}

/// Lets into a conversation's channel who is in the conversation.
struct Members(ChatStore);

#[async_trait]
impl ChannelGate for Members {
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String> {
        let Some(id) = channel.as_str().strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix(':'))
        else {
            return Ok(false);
        };
        let Some((_, member)) = self.0.chat(id, user).await.map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        let object = Object::Conversation { part: member.as_ref().into() };
        Ok(policy::may(Viewer::user(user), Action::TakePart, &object).is_allowed())
    }
}

/// Opens the conversations' channels.
pub(in crate::community) fn start(chats: &ChatStore, engine: &Engine) {
    engine.set_gate(NAMESPACE, Arc::new(Members(chats.clone())));
}

/// Publishes what is kept nowhere. Where that fails nobody misses it: it is over in seconds.
pub(super) async fn publish(engine: &Engine, chat_id: &str, message: &impl Serialize) {
    let publish = async || -> anyhow::Result<()> {
        let data = Bytes::from(serde_json::to_vec(message)?);
        let publication = Publication { data, ..Publication::default() };
        engine.publish(&ChannelName::parse(&channel_of(chat_id))?, Publish::new(publication)).await?;
        Ok(())
    };
    if let Err(error) = publish().await {
        tracing::debug!(%error, "who types is not told");
    }
}

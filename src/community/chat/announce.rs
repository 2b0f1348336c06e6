//! What is told of a message, in its conversation's channel.

use std::collections::BTreeMap;

use super::blocks::Announce;
use super::bodies::MessageView;
use super::kinds::Message;
use super::live::channel_of;
use super::updates::ChatUpdate;
use crate::community::Person;
use crate::community::effects::Effect;

/// What is told of a message.
pub type Update = fn(String, MessageView) -> ChatUpdate;

pub const CREATED: Update = |conversation_id, message| ChatUpdate::Created { conversation_id, message };
// Who joined later does not see what was said before, and is in the channel: what is told of a message that may be old has no
// words.
pub const EDITED: Update = |conversation_id, message| {
    let MessageView { seq, version, .. } = message;
    ChatUpdate::Edited { conversation_id, seq, version }
};
pub const DELETED: Update = |conversation_id, message| ChatUpdate::Deleted { conversation_id, message };
pub const REACTED: Update = |conversation_id, message| {
    let MessageView { seq, version, reactions, .. } = message;
    ChatUpdate::Reacted { conversation_id, seq, version, reactions }
};

/// Makes what a conversation's channel publishes of a message; `people` has its author.
pub fn announce(chat_id: &str, people: BTreeMap<String, Person>, update: Update) -> impl Announce + use<> {
    let id = chat_id.to_owned();
    move |seq: u64, message: &Message| {
        let view = MessageView::new(&(seq, message.clone()), &people);
        Effect::publish(channel_of(&id), &update(id.clone(), view))
    }
}

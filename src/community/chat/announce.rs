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
pub(super) type Update = fn(String, MessageView) -> ChatUpdate;

pub(super) const CREATED: Update =
    |conversation_id, message| ChatUpdate::Created { conversation_id, message };
// Who joined later does not see what was said before, and is in the channel: what is told of a message that may be old has no
// words.
pub(super) const EDITED: Update = |conversation_id, message| {
    let MessageView { seq, version, .. } = message;
    ChatUpdate::Edited { conversation_id, seq, version }
};
pub(super) const DELETED: Update =
    |conversation_id, message| ChatUpdate::Deleted { conversation_id, message };
pub(super) const REACTED: Update = |conversation_id, message| {
    let MessageView { seq, version, reactions, .. } = message;
    ChatUpdate::Reacted { conversation_id, seq, version, reactions }
};

/// Makes what a conversation's channel publishes of a message; `people` has its author.
pub(super) fn announce(
    chat_id: &str,
    people: BTreeMap<String, Person>,
    update: Update,
) -> impl Announce + use<> {
    let id = chat_id.to_owned();
    move |seq: u64, message: &Message| {
        let view = MessageView::new(&(seq, message.clone()), &people);
        let channel = channel_of(&id);
        match update(id.clone(), view) {
            // Late, somebody may be in the channel who has joined since.
            told @ ChatUpdate::Created { .. } => {
                let (conversation_id, version) = (id.clone(), message.version);
                Effect::publish_now(channel, &told, &ChatUpdate::Edited { conversation_id, seq, version })
            }
            told => Effect::publish(channel, &told),
        }
    }
}

#[cfg(test)]
mod tests {
    use mundotango_storage::now;
    use serde_json::json;

    use super::*;
    use crate::relay::Attempt;

    #[test]
    fn what_a_message_says_is_not_told_late() {
        let message = Message {
            id: "id".to_owned(),
            author: "ana".to_owned(),
            at: now(),
            text: Some("Hola".to_owned()),
            attachments: Vec::new(),
            reply_to: None,
            mentions: Vec::new(),
            rev: 0,
            edited_at: None,
            deleted_at: None,
            reactions: BTreeMap::new(),
            version: 1,
            hidden_by: crate::community::taken_away::TakenAway::default(),
        };
        let told = announce("camp", BTreeMap::new(), CREATED)(7, &message).unwrap();
        assert_eq!(told.said(Attempt::AtOnce)["message"]["text"], "Hola");
        let late = json!({"type": "message.edited", "conversationId": "camp", "seq": 7, "version": 1});
        assert_eq!(told.said(Attempt::Later), late);
    }
}

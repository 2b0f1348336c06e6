//! What people write to each other, as it is searched for: each message is a document, of the block in which it lies.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mundotango_storage::db::Db;
use mundotango_storage::{Page, StoreError};

use super::kinds::{MESSAGE, message_id, message_of};
use super::pages::{IDS_OF_A_PAGE, behind, not_given, place};
use crate::community::chat::kinds::{CHAT_BLOCKS, Message};
use crate::community::chat::store::ChatStore;
use crate::search::document::{Audience, Document};
use crate::search::source::Source;

/// Messages of a conversation that are read at a time.
const AT_ONCE: usize = 200;

/// The messages of a store.
pub(super) struct Messages {
    db: Db,
    chats: ChatStore,
}

impl Messages {
    /// Those of a store.
    pub(super) fn new(db: &Db) -> Self {
        Self { db: db.clone(), chats: ChatStore::new(db.clone()) }
    }

    /// Those of some messages that are there and can be read.
    async fn readable(&self, chat_id: &str, seqs: &[u64]) -> Result<BTreeMap<u64, Message>, StoreError> {
        match self.chats.messages_at(chat_id, seqs).await {
            Err(StoreError::Damaged(_)) => {}
            read => return read,
        }
        let mut readable = BTreeMap::new();
        for seq in seqs {
            match self.chats.messages_at(chat_id, &[*seq]).await {
                Ok(found) => readable.extend(found),
                Err(StoreError::Damaged(error)) => {
                    tracing::error!(error, chat_id, seq, "left out of the search index");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(readable)
    }
}

/// What is found of a message: what it says, as long as it says something.
fn document(chat_id: &str, seq: u64, message: &Message) -> Option<Document> {
    let text = message.text.clone().filter(|_| !message.is_gone())?;
    Some(Document {
        title: String::new(),
        text,
        places: Vec::new(),
        audience: Audience::InThread { thread: chat_id.to_owned(), number: seq },
        at: message.at,
        over_at: None,
        has_time: true,
        part_of: None,
    })
}

#[async_trait]
impl Source for Messages {
    fn kind(&self) -> &'static str {
        MESSAGE
    }

    async fn documents(&self, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let mut by_chat: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (chat_id, seq) in ids.iter().filter_map(|id| message_of(id)) {
            by_chat.entry(chat_id).or_default().push(seq);
        }
        let mut found = BTreeMap::new();
        for (chat_id, seqs) in by_chat {
            for some in seqs.chunks(AT_ONCE) {
                let messages = self.readable(chat_id, some).await?;
                found.extend(messages.into_iter().map(|(seq, message)| ((chat_id, seq), message)));
            }
        }
        let documents = ids.iter().map(|id| {
            let (chat_id, seq) = message_of(id)?;
            document(chat_id, seq, &found.remove(&(chat_id, seq))?)
        });
        Ok(documents.collect())
    }

    async fn ids(&self, from: Option<&str>) -> Result<Page<String>, StoreError> {
        let (given, scan) = place(from);
        let page = self.db.scan(&CHAT_BLOCKS, scan).await?;
        let (mut ids, mut last) = (Vec::new(), given);
        for (block, found) in not_given(&page.items, given) {
            if ids.len() >= IDS_OF_A_PAGE {
                return Ok(Page { items: ids, next: Some(behind(last, scan)) });
            }
            if let Some((chat_id, _)) = block.rsplit_once(':') {
                let numbers = found.facts.first..found.facts.first.saturating_add(found.head.count);
                ids.extend(numbers.map(|seq| message_id(chat_id, seq)));
            }
            last = block;
        }
        Ok(Page { items: ids, next: page.next.map(|next| behind("", Some(&next))) })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::community::taken_away::TakenAway;

    #[test]
    fn an_id_names_the_conversation_and_the_number() {
        assert_eq!(message_of(&message_id("d1", 7)), Some(("d1", 7)));
        assert_eq!((message_of("d1"), message_of("d1:x")), (None, None));
    }

    #[test]
    fn what_is_deleted_or_says_nothing_has_no_document() {
        let message = Message {
            id: "1".to_owned(),
            author: "ana".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            text: Some("¿Bailamos?".to_owned()),
            attachments: Vec::new(),
            reply_to: None,
            mentions: Vec::new(),
            rev: 0,
            edited_at: None,
            deleted_at: None,
            reactions: BTreeMap::new(),
            version: 1,
            hidden_by: TakenAway::default(),
        };
        let made = document("d1", 3, &message).unwrap();
        let audience = Audience::InThread { thread: "d1".to_owned(), number: 3 };
        assert_eq!((made.text.as_str(), made.audience), ("¿Bailamos?", audience));
        let deleted = Message { deleted_at: Some(Timestamp::UNIX_EPOCH), ..message.clone() };
        assert_eq!(document("d1", 3, &deleted), None);
        assert_eq!(document("d1", 3, &Message { text: None, ..message }), None);
    }
}

//! Messages as they are read: over all blocks, as far as the reader sees them, and counted where they are unread.

use std::collections::BTreeMap;

use mundotango_storage::StoreError;
use mundotango_storage::db::{RowRange, last_part, prefix};

use super::kinds::{BlockRow, CHAT_BLOCKS, Message, Numbered, block_id, message_key, reaction_key};
use super::rules::{BLOCK, MOST_UNREAD, Spans, block_of, first_of, is_unread};
use super::store::ChatStore;
use crate::community::posts::rules::ReactionType;

/// Messages that are looked at to count those that are unread.
const MOST_COUNTED: usize = 2_000;
/// Messages that are read at a time to count.
const COUNTED_AT_ONCE: usize = 200;

/// Which messages are read.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    /// Those before a number, the last one first; `u64::MAX` for the last of all.
    Before(u64),
    /// Those after a number, the first one first.
    After(u64),
}

impl ChatStore {
    /// The number of the last message, from a block on that there is.
    pub async fn last(&self, chat_id: &str, block: u64) -> Result<u64, StoreError> {
        let mut block = block;
        let mut last = first_of(block) - 1;
        while let Some(found) = self.db().read(&CHAT_BLOCKS, &block_id(chat_id, block)).await? {
            last = found.facts.first + found.head.count - 1;
            if found.head.count < BLOCK {
                break;
            }
            block += 1;
        }
        Ok(last)
    }

    /// A message, as it is seen.
    pub async fn message(&self, chat_id: &str, seq: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.kept_message(chat_id, seq).await?.map(Message::seen))
    }

    /// A message as it is kept, also where a decision takes it away.
    pub(super) async fn kept_message(&self, chat_id: &str, seq: u64) -> Result<Option<Message>, StoreError> {
        let row = self.db().row(&CHAT_BLOCKS, &block_id(chat_id, block_of(seq)), &message_key(seq)).await?;
        Ok(row.and_then(|row| match row {
            BlockRow::Message(message) => Some(*message),
            _ => None,
        }))
    }

    /// Those of some messages that are there, by their numbers.
    pub async fn messages_at(
        &self,
        chat_id: &str,
        seqs: &[u64],
    ) -> Result<BTreeMap<u64, Message>, StoreError> {
        let mut by_block: BTreeMap<u64, Vec<(u64, String)>> = BTreeMap::new();
        for seq in seqs {
            by_block.entry(block_of(*seq)).or_default().push((*seq, message_key(*seq)));
        }
        let mut messages = BTreeMap::new();
        for (block, wanted) in by_block {
            let keys: Vec<_> = wanted.iter().map(|(_, key)| key.as_str()).collect();
            let read = self.db().read_with(&CHAT_BLOCKS, &block_id(chat_id, block), &keys).await?;
            let Some((_, mut rows)) = read else { continue };
            messages.extend(wanted.iter().filter_map(|(seq, key)| match rows.remove(key) {
                Some(BlockRow::Message(message)) => Some((*seq, message.seen())),
                _ => None,
            }));
        }
        Ok(messages)
    }

    /// The own reactions of a user to these messages, in their order.
    pub async fn reactions_of(
        &self,
        chat_id: &str,
        user_id: &str,
        messages: &[Numbered],
    ) -> Result<Vec<Option<ReactionType>>, StoreError> {
        let mut reactions = vec![None; messages.len()];
        let reacted = messages.iter().enumerate().filter(|(_, (_, message))| !message.reactions.is_empty());
        let reacted: Vec<_> =
            reacted.map(|(place, (seq, _))| (place, block_of(*seq), reaction_key(*seq, user_id))).collect();
        for of_block in reacted.chunk_by(|one, other| one.1 == other.1) {
            let keys: Vec<_> = of_block.iter().map(|(_, _, key)| key.as_str()).collect();
            let block = block_id(chat_id, of_block[0].1);
            let Some((_, rows)) = self.db().read_with(&CHAT_BLOCKS, &block, &keys).await? else { continue };
            for (place, _, key) in of_block {
                if let Some(BlockRow::Reaction(reaction)) = rows.get(key) {
                    reactions[*place] = Some(*reaction);
                }
            }
        }
        Ok(reactions)
    }

    /// Messages that somebody sees, of those that there are up to a last one.
    pub async fn messages(
        &self,
        chat_id: &str,
        spans: &Spans,
        last: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Numbered>, StoreError> {
        let mut messages = Vec::with_capacity(limit);
        let mut next = match direction {
            Direction::Before(before) => before.saturating_sub(1).min(last),
            Direction::After(after) => after.saturating_add(1),
        };
        while messages.len() < limit {
            let wanted = match direction {
                Direction::Before(_) => spans.at_or_before(next).map(|(to, from)| {
                    let from = from.max(first_of(block_of(to)));
                    next = from - 1;
                    (from, to)
                }),
                Direction::After(_) => spans.at_or_after(next).map(|(from, to)| {
                    let to = to.min(first_of(block_of(from) + 1) - 1).min(last);
                    next = to.max(from) + 1;
                    (from, to)
                }),
            };
            let Some((from, to)) = wanted.filter(|(from, to)| *from <= *to && *to > 0) else { break };
            let limit = limit - messages.len();
            let is_backwards = matches!(direction, Direction::Before(_));
            messages.extend(self.messages_between(chat_id, from, to, limit, is_backwards).await?);
        }
        Ok(messages)
    }

    /// Messages of one block, from one number to another.
    async fn messages_between(
        &self,
        chat_id: &str,
        from: u64,
        to: u64,
        limit: usize,
        is_backwards: bool,
    ) -> Result<Vec<Numbered>, StoreError> {
        let length = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
        let below = prefix(&["s"]);
        let range = if is_backwards {
            RowRange::last(below, limit.min(length)).after(Some(message_key(to + 1)))
        } else {
            RowRange::first(below, limit.min(length)).after(Some(message_key(from - 1)))
        };
        let rows = self.db().rows(&CHAT_BLOCKS, &block_id(chat_id, block_of(from)), &range).await?;
        let numbered = |(key, row): (String, BlockRow)| match row {
            BlockRow::Message(message) => {
                let seq: u64 = last_part(&key).parse().ok()?;
                (from..=to).contains(&seq).then(|| (seq, message.seen()))
            }
            _ => None,
        };
        Ok(rows.items.into_iter().filter_map(numbered).collect())
    }

    /// How many messages are unread for whoever has read up to one, of those up to the last; and whether there may be more, as
    /// no more than 99 are counted, among 2,000 messages at most.
    pub async fn unread(
        &self,
        chat_id: &str,
        user_id: &str,
        spans: &Spans,
        read: u64,
        last: u64,
    ) -> Result<(u64, bool), StoreError> {
        let (mut unread, mut looked_at, mut after) = (0, 0, read.max(spans.unseen()));
        loop {
            if spans.last(last) <= after {
                return Ok((unread, false));
            }
            let some = self.messages(chat_id, spans, last, Direction::After(after), COUNTED_AT_ONCE).await?;
            let Some((to, _)) = some.last() else { return Ok((unread, false)) };
            after = *to;
            looked_at += some.len();
            for (seq, message) in &some {
                let is_own = message.author == user_id;
                unread += u64::from(is_unread(spans, read, *seq, is_own, message.deleted_at.is_some()));
                if unread > MOST_UNREAD {
                    return Ok((unread, true));
                }
            }
            if looked_at >= MOST_COUNTED {
                return Ok((unread, true));
            }
        }
    }
}

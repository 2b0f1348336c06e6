//! Messages: sent, changed, deleted and reacted to, in the block where each lies. `history.rs` reads them.
//!
//! Sending is one change of one partition: the number, the message, and the row that finds it by the id of its request. Blocks
//! are full at 1,000 messages, so the block of a number is known without looking. Whoever removes a member raises the version of
//! the members in the block that takes messages (`members.rs`); who has checked an earlier one checks again.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Found, Part, Wants, number, prefix};

use super::error::ChatError;
use super::jobs::{RAISE, RaiseJob};
use super::kinds::{
    BlockFacts, BlockHead, BlockRow, CHAT_BLOCKS, CHATS, ChatHead, Earlier, Member, Message, Numbered,
    block_id, earlier_key, member_key, message_key, reaction_key, sent_key,
};
use super::rules::{BLOCK, MOST_EDITS, MOST_REACTIONS, Raised, block_of, first_of, raise_pause};
use super::store::ChatStore;
use crate::community::effects::Effect;
use crate::community::once::{MOST_BEFORE, may_be_later};
use crate::community::posts::rules::{Counts, ReactionType, react};
use crate::community::search::kinds::{MESSAGE, message_id};
use crate::community::taken_away::TakenAway;

/// How often a message is tried to be sent where members or blocks change meanwhile.
const TRIES: usize = 16;

pub(super) type Block<'a> = Part<'a, BlockFacts, BlockHead, BlockRow>;

/// Makes what the channel publishes of a message, by its number.
pub trait Announce: Fn(u64, &Message) -> Result<Effect, StoreError> + Clone + Send + 'static {}
impl<A: Fn(u64, &Message) -> Result<Effect, StoreError> + Clone + Send + 'static> Announce for A {}

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The id that its request gave it: the same however often the request runs.
    pub id: String,
    /// When the request ran first.
    pub at: Timestamp,
    /// Who writes.
    pub author: String,
    /// What it says.
    pub text: Option<String>,
    /// Addresses.
    pub attachments: Vec<String>,
    /// The message that it answers.
    pub reply_to: Option<u64>,
    /// Members whom it mentions.
    pub mentions: Vec<String>,
    /// Most messages that there may be before, if the other side has not accepted.
    pub most_before: Option<u64>,
}

/// What came of trying to put a message into a block.
enum Appended {
    /// It is there by now.
    New(u64, Box<Message>),
    /// An earlier run of the request put it there.
    Before(u64),
    /// The block is full.
    Full,
    /// Members were removed since they were looked at.
    Stale,
    /// The block is so new that an earlier run of the request may have written to one before.
    LookBefore,
}

fn message_in(part: &mut Block<'_>, seq: u64) -> Result<Message, ChatError> {
    match part.row(&message_key(seq)) {
        Some(BlockRow::Message(message)) => Ok((**message).clone()),
        _ => Err(ChatError::NotFound("message")),
    }
}

impl ChatStore {
    /// Sends a message, once for its id; its number, and the message as it is.
    pub async fn send(
        &self,
        chat_id: &str,
        new: NewMessage,
        announce: impl Announce,
    ) -> Result<Numbered, ChatError> {
        let mut looked_before = false;
        for _ in 0..TRIES {
            let head = self.writable(chat_id, &new).await?;
            let mut block = head.block;
            loop {
                let appended =
                    self.append(chat_id, block, &head, &new, looked_before, announce.clone()).await?;
                match appended {
                    Some(Appended::New(seq, message)) => return Ok((seq, *message)),
                    Some(Appended::Before(seq)) => return self.sent(chat_id, seq).await,
                    Some(Appended::Full) => {
                        block += 1;
                        self.open_block(chat_id, block, head.members_version).await?;
                    }
                    None => self.open_block(chat_id, block, head.members_version).await?,
                    Some(Appended::Stale) => break,
                    Some(Appended::LookBefore) => {
                        if let Some(seq) = self.sent_before(chat_id, block, &new).await? {
                            return self.sent(chat_id, seq).await;
                        }
                        looked_before = true;
                    }
                }
            }
        }
        Err(StoreError::Unavailable("the members of a conversation change too often".to_owned()).into())
    }

    async fn sent(&self, chat_id: &str, seq: u64) -> Result<Numbered, ChatError> {
        let message = self.message(chat_id, seq).await?;
        Ok((seq, message.ok_or(ChatError::NotFound("message"))?))
    }

    /// The conversation, if its members as they are now may be written to so.
    async fn writable(&self, chat_id: &str, new: &NewMessage) -> Result<ChatHead, ChatError> {
        let own = member_key(&new.author);
        let mentioned: Vec<_> = new.mentions.iter().map(|user| member_key(user)).collect();
        let keys: Vec<_> = [&own].into_iter().chain(&mentioned).map(String::as_str).collect();
        let read = self.db().read_with(&CHATS, chat_id, &keys).await?;
        let (Found { head, .. }, rows) = read.ok_or(ChatError::NotFound("conversation"))?;
        let is_member = |key: &String| rows.get(key).is_some_and(Member::is_member);
        if !is_member(&own) {
            return Err(ChatError::NotFound("conversation"));
        }
        if !mentioned.iter().all(is_member) {
            return Err(ChatError::Field("mentions", "must be members of the conversation"));
        }
        if let Some(reply_to) = new.reply_to {
            let is_seen = rows.get(&own).is_some_and(|member| member.spans.sees(reply_to));
            if !is_seen || self.message(chat_id, reply_to).await?.is_none() {
                return Err(ChatError::Field("replyTo", "must be the number of a message that you see"));
            }
        }
        Ok(head)
    }

    /// Puts a message into a block, if it is there.
    async fn append(
        &self,
        chat_id: &str,
        block: u64,
        head: &ChatHead,
        new: &NewMessage,
        looked_before: bool,
        announce: impl Announce,
    ) -> Result<Option<Appended>, ChatError> {
        let (new, version, sent) = (new.clone(), head.members_version, sent_key(&new.id));
        let chat = chat_id.to_owned();
        let pause = raise_pause(head.members);
        let job = RAISE.job(&RaiseJob { chat_id: chat_id.to_owned(), block })?.group(chat_id);
        self.db()
            .change(&CHAT_BLOCKS, &block_id(chat_id, block), Wants::head().row(&sent), move |part| {
                if let Some(BlockRow::Sent(seq)) = part.row(&sent) {
                    return Ok(Decision::Stands(Appended::Before(*seq)));
                }
                let is_young = block > 0 && may_be_later(part.facts.opened_at, new.at);
                if is_young && !looked_before {
                    return Ok(Decision::Stands(Appended::LookBefore));
                }
                if part.head.count >= BLOCK {
                    return Ok(Decision::Stands(Appended::Full));
                }
                if part.head.members_version > version {
                    return Ok(Decision::Stands(Appended::Stale));
                }
                if new.most_before.is_some_and(|most| part.head.count >= most) {
                    return Err(ChatError::Pending);
                }
                part.head.members_version = version;
                part.head.count += 1;
                let seq = part.facts.first + part.head.count - 1;
                let message = Message {
                    id: new.id.clone(),
                    author: new.author.clone(),
                    at: new.at,
                    text: new.text.clone(),
                    attachments: new.attachments.clone(),
                    reply_to: new.reply_to,
                    mentions: new.mentions.clone(),
                    rev: 0,
                    edited_at: None,
                    deleted_at: None,
                    reactions: std::collections::BTreeMap::new(),
                    version: 1,
                    hidden_by: TakenAway::default(),
                };
                part.emit(&announce(seq, &message)?)?;
                part.emit(&Effect::changed(MESSAGE, &message_id(&chat, seq)))?;
                let (raised, due) = Raised::note(part.head.raised, new.at, pause);
                part.head.raised = Some(raised);
                if let Some(due) = due {
                    part.emit(&Effect::job(job.clone().due(due)))?;
                }
                let message = Box::new(message);
                part.set(message_key(seq), BlockRow::Message(message.clone()));
                part.set(&sent, BlockRow::Sent(seq));
                Ok(Decision::Write(Appended::New(seq, message)))
            })
            .await
    }

    /// The number of a message that an earlier run of its request may have put into a block before this one. Full blocks take
    /// nothing, so what is not there now never will be.
    async fn sent_before(
        &self,
        chat_id: &str,
        block: u64,
        new: &NewMessage,
    ) -> Result<Option<u64>, StoreError> {
        let sent = sent_key(&new.id);
        for before in (0..block).rev() {
            if block - before > u64::from(MOST_BEFORE) {
                return Err(StoreError::Unknown("too much was said since the first run".to_owned()));
            }
            let read = self.db().read_with(&CHAT_BLOCKS, &block_id(chat_id, before), &[&sent]).await?;
            let Some((found, mut rows)) = read else { break };
            if let Some(BlockRow::Sent(seq)) = rows.remove(&sent) {
                return Ok(Some(seq));
            }
            if !may_be_later(found.facts.opened_at, new.at) {
                break;
            }
        }
        Ok(None)
    }

    /// Makes a block, unless it is there; the one before it is full. It begins with the members' version of that one, or a
    /// later one that is known.
    pub(super) async fn open_block(
        &self,
        chat_id: &str,
        block: u64,
        members_version: u64,
    ) -> Result<(), StoreError> {
        let before = match block.checked_sub(1) {
            Some(before) => self.db().read(&CHAT_BLOCKS, &block_id(chat_id, before)).await?,
            None => None,
        };
        let known = before.map_or(0, |before| before.head.members_version);
        let facts = BlockFacts { first: first_of(block), opened_at: mundotango_storage::now() };
        let head = BlockHead { members_version: members_version.max(known), ..BlockHead::default() };
        self.db().create_once(&CHAT_BLOCKS, &block_id(chat_id, block), &facts, &head, &[], &[]).await?;
        if block > 0 {
            let moved = self.db().change(&CHATS, chat_id, Wants::head(), move |part| {
                if part.head.block >= block {
                    return Ok::<_, StoreError>(Decision::Stands(()));
                }
                part.head.block = block;
                Ok(Decision::Write(()))
            });
            moved.await?;
        }
        Ok(())
    }

    /// Changes a message by a rule that says whether it did; the message as it is then.
    pub(super) async fn change_message(
        &self,
        chat_id: &str,
        seq: u64,
        wants: Wants,
        announce: impl Announce,
        mut rule: impl FnMut(&mut Block<'_>, &mut Message) -> Result<bool, ChatError> + Send + 'static,
    ) -> Result<Message, ChatError> {
        let (id, wants) = (block_id(chat_id, block_of(seq)), wants.row(message_key(seq)));
        let changed = self.db().change(&CHAT_BLOCKS, &id, wants, move |part| {
            let mut message = message_in(part, seq)?;
            if !rule(part, &mut message)? {
                return Ok::<_, ChatError>(Decision::Stands(message.seen()));
            }
            message.version += 1;
            part.set(message_key(seq), BlockRow::Message(Box::new(message.clone())));
            let message = message.seen();
            part.emit(&announce(seq, &message)?)?;
            Ok(Decision::Write(message))
        });
        changed.await?.ok_or(ChatError::NotFound("message"))
    }

    /// Changes what a message says. What it said is kept.
    pub async fn edit(
        &self,
        chat_id: &str,
        seq: u64,
        text: String,
        now: Timestamp,
        announce: impl Announce,
    ) -> Result<Message, ChatError> {
        let searched = Effect::changed(MESSAGE, &message_id(chat_id, seq));
        let rule = move |part: &mut Block<'_>, message: &mut Message| {
            if message.is_gone() {
                return Err(ChatError::Conflict("the message is deleted"));
            }
            if message.text.as_ref() == Some(&text) {
                return Ok(false);
            }
            if message.rev >= MOST_EDITS {
                return Err(ChatError::Full("a message can be changed 20 times"));
            }
            let (author, before) = (message.author.clone(), message.text.replace(text.clone()));
            let earlier = Earlier { author, text: before, until: now };
            part.set(earlier_key(seq, message.rev), BlockRow::Earlier(earlier));
            part.emit(&searched)?;
            message.rev += 1;
            message.edited_at = Some(now);
            Ok(true)
        };
        self.change_message(chat_id, seq, Wants::head(), announce, rule).await
    }

    /// Deletes a message: its place stays, and nothing of what it said.
    pub async fn delete(
        &self,
        chat_id: &str,
        seq: u64,
        now: Timestamp,
        announce: impl Announce,
    ) -> Result<Message, ChatError> {
        self.delete_if(chat_id, seq, now, announce, |_, _| Ok(true)).await
    }

    /// The same, where a rule says so.
    pub(super) async fn delete_if(
        &self,
        chat_id: &str,
        seq: u64,
        now: Timestamp,
        announce: impl Announce,
        is_wanted: impl Fn(&mut Block<'_>, &Message) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<Message, ChatError> {
        let reactions = prefix(&["r", &number(seq)]);
        let most = usize::try_from(MOST_REACTIONS).unwrap_or(usize::MAX);
        let wants = Wants::head().first(&reactions, most);
        let searched = Effect::changed(MESSAGE, &message_id(chat_id, seq));
        let rule = move |part: &mut Block<'_>, message: &mut Message| {
            if message.deleted_at.is_some() || !is_wanted(part, &*message)? {
                return Ok(false);
            }
            let reacted = part.first(&reactions, most);
            let gone: Vec<_> = reacted.into_iter().map(|(key, _)| key).collect();
            for key in gone {
                part.remove(key);
            }
            (0..message.rev).for_each(|rev| part.remove(earlier_key(seq, rev)));
            message.text = None;
            message.attachments.clear();
            message.mentions.clear();
            message.reactions.clear();
            message.deleted_at = Some(now);
            part.emit(&searched)?;
            message.hidden_by = TakenAway::default();
            Ok(true)
        };
        self.change_message(chat_id, seq, wants, announce, rule).await
    }

    /// Puts a user's reaction in the place of the one before; `None` takes it back.
    pub async fn react(
        &self,
        chat_id: &str,
        seq: u64,
        user_id: &str,
        reaction: Option<ReactionType>,
        announce: impl Announce,
    ) -> Result<Message, ChatError> {
        let row = reaction_key(seq, user_id);
        let wants = Wants::head().row(&row);
        let rule = move |part: &mut Block<'_>, message: &mut Message| {
            // A reaction can be taken back from one that is hidden.
            if message.deleted_at.is_some() || (reaction.is_some() && message.is_gone()) {
                return Err(ChatError::Conflict("the message is deleted"));
            }
            let before = match part.row(&row) {
                Some(BlockRow::Reaction(before)) => Some(*before),
                _ => None,
            };
            let mut counts = Counts { reactions: std::mem::take(&mut message.reactions) };
            let count: u64 = counts.reactions.values().sum();
            if before.is_none() && reaction.is_some() && count >= MOST_REACTIONS {
                return Err(ChatError::Full("200 people can react to a message"));
            }
            let is_changed = react(&mut counts, before, reaction);
            message.reactions = counts.reactions;
            match reaction {
                _ if !is_changed => {}
                Some(reaction) => part.set(&row, BlockRow::Reaction(reaction)),
                None => part.remove(&row),
            }
            Ok(is_changed)
        };
        self.change_message(chat_id, seq, wants, announce, rule).await
    }
}

//! Conversations: made once, read by who is or was in them, and who may write to whom.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Found, RowRange, Wants, last_part, prefix};
use sha2::{Digest as _, Sha256};

use super::error::ChatError;
use super::kinds::{CHATS, ChatFacts, ChatHead, ChatKind, ListState, Member, Standing, member_key};
use super::rules::{ChatRole, MOST_KNOWN, Spans};
use crate::community::effects::Effect;
use crate::community::graph::relations::Relations;

/// People of a group who are named in lists.
const NAMED: usize = 5;
/// People who are or were in a group of whom is read at a time.
const READ_AT_ONCE: usize = 100;

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Its id.
    pub id: String,
    /// What never changes about it.
    pub facts: ChatFacts,
    /// What does.
    pub head: ChatHead,
}

impl Chat {
    /// The other person of a direct conversation.
    pub fn other(&self, user_id: &str) -> Option<&str> {
        let pair = self.facts.pair.as_ref()?;
        pair.iter().find(|one| *one != user_id).map(String::as_str)
    }

    /// Whether a direct conversation waits for this user to accept it, or the user declined it.
    pub fn waits_for(&self, user_id: &str) -> bool {
        match &self.head.standing {
            Standing::Open => false,
            Standing::Requested { by } => by != user_id,
            Standing::Declined { by } => by == user_id,
        }
    }

    /// How a list has it whose user said nothing of it yet.
    pub fn state_for(&self, user_id: &str, member: &Member) -> ListState {
        if self.waits_for(user_id) || member.offered_by.is_some() {
            ListState::Request
        } else {
            ListState::Open
        }
    }
}

/// Whether somebody may write to somebody else, and add that one to groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Open,
    /// As a request, which the other one may decline.
    Request,
    /// No.
    Never,
}

impl Reach {
    /// What circles make of it: who keeps the other out, or is kept out, does not reach that one, and friends need not ask.
    #[must_use]
    pub fn among(self, circle: &Relations, other: &str) -> Self {
        match self {
            _ if circle.keeps_apart(other) => Self::Never,
            Self::Request if circle.is_friend(other) => Self::Open,
            reach => reach,
        }
    }
}

/// Whether somebody may write to the other one of a direct conversation, by how they stand to each other in it.
pub fn reach_of(standing: Option<&Standing>, sender: &str) -> Reach {
    match standing {
        Some(Standing::Open) => Reach::Open,
        Some(Standing::Requested { by }) if by != sender => Reach::Open,
        Some(Standing::Declined { by }) if by == sender => Reach::Open,
        Some(Standing::Declined { .. }) => Reach::Never,
        Some(Standing::Requested { .. }) | None => Reach::Request,
    }
}

/// The id of the direct conversation of two people: the same whoever begins it.
pub fn direct_id(one: &str, other: &str) -> String {
    let [first, second] = if one <= other { [one, other] } else { [other, one] };
    let digest = Sha256::new().chain_update(first).chain_update([0]).chain_update(second).finalize();
    format!("d{}", BASE64_URL_SAFE_NO_PAD.encode(&digest[..20]))
}

/// The conversations of a store.
#[derive(Clone)]
pub struct ChatStore(Db);

impl ChatStore {
    /// The conversations of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    pub(super) fn db(&self) -> &Db {
        &self.0
    }

    /// Whether somebody may write to somebody else, and add that one to groups. `known` is how they stand in their direct
    /// conversation, where that was read. Whether one of them blocked the other is not asked here.
    pub async fn may_reach(
        &self,
        sender: &str,
        receiver: &str,
        known: Option<&Standing>,
    ) -> Result<Reach, StoreError> {
        if known.is_some() {
            return Ok(reach_of(known, sender));
        }
        let between = self.0.read(&CHATS, &direct_id(sender, receiver)).await?;
        Ok(reach_of(between.as_ref().map(|found| &found.head.standing), sender))
    }

    /// The direct conversation of two people; whether it is new. Who asks for it first has asked the other one, unless they are
    /// friends.
    pub async fn create_direct(
        &self,
        by: &str,
        other: &str,
        are_friends: bool,
        now: Timestamp,
    ) -> Result<(Chat, bool), StoreError> {
        let id = direct_id(by, other);
        let mut pair = [by.to_owned(), other.to_owned()];
        pair.sort_unstable();
        let member =
            Member { role: ChatRole::Member, spans: Spans::from(1), joined_at: now, offered_by: None };
        let rows: Vec<_> = pair.iter().map(|user| (member_key(user), member.clone())).collect();
        let facts = ChatFacts { kind: ChatKind::Direct, created_at: now, pair: Some(pair) };
        let standing = if are_friends { Standing::Open } else { Standing::Requested { by: by.to_owned() } };
        let head = ChatHead { members: 2, known: 2, standing, ..ChatHead::default() };
        self.create(&id, facts, head, &rows).await
    }

    /// A group with its owner alone; whether it is new.
    pub async fn create_group(
        &self,
        id: &str,
        owner: &str,
        title: String,
        history_for_new: bool,
        now: Timestamp,
    ) -> Result<(Chat, bool), StoreError> {
        let member =
            Member { role: ChatRole::Owner, spans: Spans::from(1), joined_at: now, offered_by: None };
        let facts = ChatFacts { kind: ChatKind::Group, created_at: now, pair: None };
        let head =
            ChatHead { title: Some(title), history_for_new, members: 1, known: 1, ..ChatHead::default() };
        self.create(id, facts, head, &[(member_key(owner), member)]).await
    }

    async fn create(
        &self,
        id: &str,
        facts: ChatFacts,
        head: ChatHead,
        rows: &[(String, Member)],
    ) -> Result<(Chat, bool), StoreError> {
        let is_new = self.0.create_once(&CHATS, id, &facts, &head, rows, &[]).await?;
        let chat = Chat { id: id.to_owned(), facts, head };
        if is_new {
            return Ok((chat, true));
        }
        let found = self.0.read(&CHATS, id).await?;
        let found = found.ok_or_else(|| StoreError::Damaged("a conversation is gone".to_owned()))?;
        Ok((Chat { facts: found.facts, head: found.head, ..chat }, false))
    }

    /// A conversation, and what a user is in it.
    pub async fn chat(&self, id: &str, user_id: &str) -> Result<Option<(Chat, Option<Member>)>, StoreError> {
        let key = member_key(user_id);
        let read = self.0.read_with(&CHATS, id, &[&key]).await?;
        Ok(read.map(|(Found { facts, head, .. }, mut rows)| {
            (Chat { id: id.to_owned(), facts, head }, rows.remove(&key))
        }))
    }

    /// Conversations, and what a user is in them, in the ids' order; those that are not there are left out.
    pub async fn chats(&self, ids: &[String], user_id: &str) -> Result<Vec<(Chat, Member)>, StoreError> {
        let key = member_key(user_id);
        let (found, rows) =
            tokio::try_join!(self.0.read_all(&CHATS, ids), self.0.row_of_all(&CHATS, ids, &key))?;
        let chats = ids.iter().zip(found).zip(rows);
        let chats = chats.filter_map(|((id, found), member)| {
            let Found { facts, head, .. } = found?;
            Some((Chat { id: id.clone(), facts, head }, member?))
        });
        Ok(chats.collect())
    }

    /// What a user is in conversations, in the ids' order.
    pub async fn memberships(
        &self,
        ids: &[String],
        user_id: &str,
    ) -> Result<Vec<Option<Member>>, StoreError> {
        self.0.row_of_all(&CHATS, ids, &member_key(user_id)).await
    }

    /// People who are in a group, a page at a time, behind one of them.
    pub async fn members(
        &self,
        id: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Member)>, Option<String>), StoreError> {
        let (mut members, mut after) = (Vec::<(String, Member)>::new(), after.map(member_key));
        loop {
            // Those who were members lie among them.
            let range = RowRange::first(prefix(&["m"]), limit.max(READ_AT_ONCE)).after(after);
            let rows = self.0.rows(&CHATS, id, &range).await?;
            for (key, member) in rows.items.into_iter().filter(|(_, member)| member.is_member()) {
                if members.len() >= limit {
                    let last = members.last().map(|(user, _)| user.clone());
                    return Ok((members, last));
                }
                members.push((last_part(&key), member));
            }
            after = rows.next;
            if after.is_none() {
                return Ok((members, None));
            }
        }
    }

    /// The first few people of a group.
    pub async fn some_members(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let (members, _) = self.members(id, None, NAMED).await?;
        Ok(members.into_iter().map(|(user, _)| user).collect())
    }

    /// All people who are in a conversation.
    pub async fn all_members(&self, id: &str) -> Result<Vec<(String, Member)>, StoreError> {
        Ok(self.members(id, None, MOST_KNOWN).await?.0)
    }

    /// Changes what a group is called, and what those see who join. `announce` makes what the channel publishes.
    pub async fn change_group(
        &self,
        id: &str,
        title: Option<String>,
        history_for_new: Option<bool>,
        announce: impl Fn(&ChatHead) -> Result<Effect, StoreError> + Send + 'static,
    ) -> Result<(), ChatError> {
        let changed = self.0.change(&CHATS, id, Wants::head(), move |part| {
            if part.facts.kind == ChatKind::Direct {
                return Err(ChatError::Conflict("a direct conversation has no title"));
            }
            let before = part.head.clone();
            if let Some(title) = &title {
                part.head.title = Some(title.clone());
            }
            part.head.history_for_new = history_for_new.unwrap_or(part.head.history_for_new);
            if part.head == before {
                return Ok(Decision::Stands(()));
            }
            part.emit(&announce(&part.head)?)?;
            Ok(Decision::Write(()))
        });
        changed.await?.ok_or(ChatError::NotFound("conversation"))
    }

    /// Accepts or declines a direct conversation that waits for a user.
    pub async fn answer(&self, id: &str, user_id: &str, accepts: bool) -> Result<(), ChatError> {
        let user = user_id.to_owned();
        let answered = self.0.change(&CHATS, id, Wants::head(), move |part| {
            let is_open_to_answer = match &part.head.standing {
                Standing::Requested { by } => *by != user,
                Standing::Declined { by } => *by == user,
                Standing::Open => false,
            };
            let wanted = if accepts { Standing::Open } else { Standing::Declined { by: user.clone() } };
            if !is_open_to_answer && part.head.standing != wanted {
                return Err(ChatError::Conflict("the conversation does not wait for your answer"));
            }
            if part.head.standing == wanted {
                return Ok(Decision::Stands(()));
            }
            part.head.standing = wanted;
            Ok(Decision::Write(()))
        });
        answered.await?.ok_or(ChatError::NotFound("conversation"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::community::graph::relations::Sorts;

    #[test]
    fn a_pair_has_one_conversation_whoever_begins() {
        assert_eq!(direct_id("ana", "ben"), direct_id("ben", "ana"));
        assert_ne!(direct_id("ana", "ben"), direct_id("anab", "en"));
        assert!(mundotango_protocol::ChannelName::parse(&format!("chat:{}", direct_id("a", "b"))).is_ok());
    }

    #[test]
    fn a_block_counts_more_than_what_was_accepted_and_friends_need_not_ask() {
        let circle = Relations::new(
            1,
            vec![
                ("ben".to_owned(), Sorts::FRIENDS),
                ("cam".to_owned(), Sorts::BLOCKED),
                ("dan".to_owned(), Sorts::BLOCKED_BY),
            ],
        );
        for (other, open, asks) in [
            ("ana", Reach::Open, Reach::Request),
            ("ben", Reach::Open, Reach::Open),
            ("cam", Reach::Never, Reach::Never),
            ("dan", Reach::Never, Reach::Never),
        ] {
            assert_eq!(Reach::Open.among(&circle, other), open, "{other}");
            assert_eq!(Reach::Request.among(&circle, other), asks, "{other}");
            assert_eq!(Reach::Never.among(&circle, other), Reach::Never, "{other}");
        }
    }

    #[test]
    fn a_stranger_asks_and_whoever_was_asked_may_write() {
        let requested = Standing::Requested { by: "ana".to_owned() };
        let declined = Standing::Declined { by: "ben".to_owned() };
        for (standing, of_ana, of_ben) in [
            (None, Reach::Request, Reach::Request),
            (Some(Standing::Open), Reach::Open, Reach::Open),
            (Some(requested), Reach::Request, Reach::Open),
            (Some(declined), Reach::Never, Reach::Open),
        ] {
            assert_eq!(reach_of(standing.as_ref(), "ana"), of_ana, "{standing:?}");
            assert_eq!(reach_of(standing.as_ref(), "ben"), of_ben, "{standing:?}");
        }
    }
}

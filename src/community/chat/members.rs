//! Who is in a group: added, removed, and given roles.
//!
//! Removing somebody is committed in the conversation. Then the block that takes messages learns of it (`spread`), so that a
//! message whose sender was a member when that was looked at is checked again: at once, and by a job if the node dies between.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Part, Wants, last_part, prefix};

use super::error::ChatError;
use super::jobs::{ADDED, AddedJob, REMOVED, RemovedJob};
use super::kinds::{CHAT_BLOCKS, CHATS, ChatFacts, ChatHead, ChatKind, Member, block_id, member_key};
use super::live::channel_of;
use super::rules::{BLOCK, ChatRole, MOST_KNOWN, MOST_MEMBERS, heir, may_remove};
use super::store::{Chat, ChatStore};
use crate::community::effects::Effect;

/// A subscription that was being made when its user was removed is ended as well: by then it is made.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(1);

type Group<'a> = Part<'a, ChatFacts, ChatHead, Member>;

/// What came of a change of members, for those who are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersChange {
    /// These people joined.
    Added(Vec<String>),
    /// Somebody left or was removed, and somebody else owns the group then.
    Removed {
        /// Who is gone.
        user_id: String,
        /// The new owner, if there is one.
        owner: Option<String>,
    },
    /// Somebody has another role.
    Role {
        /// Who.
        user_id: String,
        /// Which.
        role: ChatRole,
    },
}

/// Makes what the channel publishes of a change of members.
pub trait Announce: Fn(&MembersChange) -> Result<Effect, StoreError> + Send + 'static {}
impl<A: Fn(&MembersChange) -> Result<Effect, StoreError> + Send + 'static> Announce for A {}

fn of_group(part: &Group<'_>) -> Result<(), ChatError> {
    match part.facts.kind {
        ChatKind::Group => Ok(()),
        ChatKind::Direct => Err(ChatError::Conflict("a direct conversation keeps its two people")),
    }
}

fn role_in(part: &mut Group<'_>, user_id: &str) -> Option<ChatRole> {
    part.row(&member_key(user_id)).filter(|member| member.is_member()).map(|member| member.role)
}

/// Gives a member another role.
fn set_role(part: &mut Group<'_>, user_id: &str, role: ChatRole) {
    let key = member_key(user_id);
    if let Some(member) = part.row(&key).cloned() {
        part.set(key, Member { role, ..member });
    }
}

impl ChatStore {
    /// Has an admin add people to a group, each with whether the group is only offered to them; those who joined, as who is a
    /// member stays one.
    pub async fn add_members(
        &self,
        chat: &Chat,
        by: &str,
        people: BTreeMap<String, bool>,
        now: Timestamp,
        announce: impl Announce,
    ) -> Result<Vec<String>, ChatError> {
        let last = self.last(&chat.id, chat.head.block).await?;
        let (id, by) = (chat.id.clone(), by.to_owned());
        let wants =
            people.keys().fold(Wants::head().row(member_key(&by)), |wants, user| wants.row(member_key(user)));
        let added = self.db().change(&CHATS, &chat.id, wants, move |part| {
            of_group(part)?;
            if role_in(part, &by) < Some(ChatRole::Admin) {
                return Err(ChatError::Forbidden("only its admins may do this"));
            }
            let mut added = Vec::new();
            for (user, is_offer) in &people {
                let key = member_key(user);
                let before = part.row(&key).cloned();
                if before.as_ref().is_some_and(Member::is_member) {
                    continue;
                }
                part.head.known += usize::from(before.is_none());
                let mut spans = before.map(|member| member.spans).unwrap_or_default();
                spans.open(if part.head.history_for_new { 1 } else { last + 1 });
                let offered_by = is_offer.then(|| by.clone());
                part.set(key, Member { role: ChatRole::Member, spans, joined_at: now, offered_by });
                added.push(user.clone());
            }
            if added.is_empty() {
                return Ok(Decision::Stands(added));
            }
            part.head.members += added.len();
            if part.head.members > MOST_MEMBERS {
                return Err(ChatError::Full("a group has 1000 members at most"));
            }
            if part.head.known > MOST_KNOWN {
                return Err(ChatError::Full("3000 people were in this group, which is as many as can be"));
            }
            part.emit(&announce(&MembersChange::Added(added.clone()))?)?;
            let offered = added.iter().map(|user| (user.clone(), people.get(user).copied().unwrap_or(true)));
            let job = AddedJob { chat_id: id.clone(), people: offered.collect(), at: now };
            part.emit(&Effect::job(ADDED.job(&job)?.group(id.as_str())))?;
            Ok(Decision::Write(added))
        });
        added.await?.ok_or(ChatError::NotFound("conversation"))
    }

    /// Those of some users who are not in a conversation.
    pub async fn outside(&self, chat_id: &str, users: Vec<String>) -> Result<Vec<String>, StoreError> {
        let keys: Vec<_> = users.iter().map(|user| member_key(user)).collect();
        let wanted: Vec<_> = keys.iter().map(String::as_str).collect();
        let Some((_, rows)) = self.db().read_with(&CHATS, chat_id, &wanted).await? else { return Ok(users) };
        let users = users.into_iter().zip(&keys);
        let outside = users.filter(|(_, key)| !rows.get(*key).is_some_and(Member::is_member));
        Ok(outside.map(|(user, _)| user).collect())
    }

    /// Notes that somebody takes part in a group that was only offered.
    pub async fn accept_offer(&self, chat_id: &str, user_id: &str) -> Result<(), ChatError> {
        let key = member_key(user_id);
        let accepted = self.db().change(&CHATS, chat_id, Wants::head().row(&key), move |part| {
            let Some(member) = part.row(&key).filter(|member| member.offered_by.is_some()).cloned() else {
                return Ok::<_, ChatError>(Decision::Stands(()));
            };
            part.set(&key, Member { offered_by: None, ..member });
            Ok(Decision::Write(()))
        });
        accepted.await?.ok_or(ChatError::NotFound("conversation"))
    }

    /// Removes somebody from a group, or lets somebody leave. Nothing that the person sends after it is written.
    pub async fn remove_member(
        &self,
        chat: &Chat,
        by: &str,
        user_id: &str,
        announce: impl Announce,
    ) -> Result<(), ChatError> {
        let last = self.last(&chat.id, chat.head.block).await?;
        let (id, by, user) = (chat.id.clone(), by.to_owned(), user_id.to_owned());
        let wants = Wants::head().row(member_key(&by)).row(member_key(&user));
        let removed = self.db().change(&CHATS, &chat.id, wants, move |part| {
            of_group(part)?;
            let key = member_key(&user);
            let Some(member) = part.row(&key).cloned() else { return Err(ChatError::NotFound("member")) };
            let own_role = role_in(part, &by);
            if !member.is_member() {
                return Ok(Decision::Stands(None));
            }
            let own_role = own_role.ok_or(ChatError::NotFound("conversation"))?;
            if by != user && !may_remove(own_role, member.role) {
                return Err(ChatError::Forbidden("only who has a greater role may do this"));
            }
            let owner = if member.role == ChatRole::Owner { next_owner(part, &user) } else { None };
            if let Some(owner) = &owner {
                set_role(part, owner, ChatRole::Owner);
            }
            let mut spans = member.spans.clone();
            spans.close(last);
            part.set(key, Member { role: ChatRole::Member, spans, offered_by: None, ..member });
            part.head.members = part.head.members.saturating_sub(1);
            part.head.members_version += 1;
            let channel = channel_of(&id);
            part.emit(&Effect::EndSubscription { user_id: user.clone(), channel })?;
            part.emit(&announce(&MembersChange::Removed { user_id: user.clone(), owner })?)?;
            let version = part.head.members_version;
            let job = RemovedJob { chat_id: id.clone(), user_id: user.clone(), version };
            let at = mundotango_storage::now() + AGAIN_AFTER;
            part.emit(&Effect::job(REMOVED.job(&job)?.due(at).group(id.as_str())))?;
            Ok(Decision::Write(Some(version)))
        });
        if let Some(version) = removed.await?.ok_or(ChatError::NotFound("conversation"))? {
            self.spread(&chat.id, version).await?;
        }
        Ok(())
    }

    /// Takes somebody who is gone out of a conversation, as if the person had never been in it. A group of the person's passes on
    /// as when its owner leaves. Doing it again changes nothing.
    pub async fn forget_member(
        &self,
        chat_id: &str,
        user_id: &str,
        announce: impl Announce,
    ) -> Result<(), StoreError> {
        let (user, key) = (user_id.to_owned(), member_key(user_id));
        let wants = Wants::head().row(&key);
        let forgotten = self.db().change(&CHATS, chat_id, wants, move |part| {
            let Some(member) = part.row(&key).cloned() else {
                return Ok::<_, StoreError>(Decision::Stands(None));
            };
            part.remove(&key);
            part.head.known = part.head.known.saturating_sub(1);
            if !member.is_member() {
                return Ok(Decision::Write(None));
            }
            let owner = if member.role == ChatRole::Owner { next_owner(part, &user) } else { None };
            if let Some(owner) = &owner {
                set_role(part, owner, ChatRole::Owner);
            }
            part.head.members = part.head.members.saturating_sub(1);
            part.head.members_version += 1;
            part.emit(&announce(&MembersChange::Removed { user_id: user.clone(), owner })?)?;
            Ok(Decision::Write(Some(part.head.members_version)))
        });
        match forgotten.await?.flatten() {
            Some(version) => self.spread(chat_id, version).await,
            None => Ok(()),
        }
    }

    /// Gives a member a role; for the owner. Who makes somebody else the owner is an admin then.
    pub async fn set_role(
        &self,
        chat: &Chat,
        by: &str,
        user_id: &str,
        role: ChatRole,
        announce: impl Announce,
    ) -> Result<(), ChatError> {
        let (by, user) = (by.to_owned(), user_id.to_owned());
        let wants = Wants::head().row(member_key(&by)).row(member_key(&user));
        let changed = self.db().change(&CHATS, &chat.id, wants, move |part| {
            of_group(part)?;
            let own = role_in(part, &by);
            let before = role_in(part, &user).ok_or(ChatError::NotFound("member"))?;
            if own != Some(ChatRole::Owner) {
                return Err(ChatError::Forbidden("only its owner may do this"));
            }
            if before == role {
                return Ok(Decision::Stands(()));
            }
            if before == ChatRole::Owner {
                return Err(ChatError::Conflict("an owner makes somebody else the owner first"));
            }
            set_role(part, &user, role);
            if role == ChatRole::Owner {
                set_role(part, &by, ChatRole::Admin);
            }
            part.emit(&announce(&MembersChange::Role { user_id: user.clone(), role })?)?;
            Ok(Decision::Write(()))
        });
        changed.await?.ok_or(ChatError::NotFound("conversation"))
    }

    /// Has the block that takes messages know a version of the members. Where that block is full, the next one knows it: if
    /// there is none yet it is made, so that nobody makes it with an earlier version.
    pub async fn spread(&self, chat_id: &str, version: u64) -> Result<(), StoreError> {
        let Some(found) = self.db().read(&CHATS, chat_id).await? else { return Ok(()) };
        let mut block = found.head.block;
        loop {
            let id = block_id(chat_id, block);
            let known = self.db().change(&CHAT_BLOCKS, &id, Wants::head(), move |part| {
                let is_full = part.head.count >= BLOCK;
                if part.head.members_version >= version {
                    return Ok::<_, StoreError>(Decision::Stands(is_full));
                }
                part.head.members_version = version;
                Ok(Decision::Write(is_full))
            });
            match known.await? {
                Some(false) => return Ok(()),
                Some(true) => block += 1,
                None => self.open_block(chat_id, block, version).await?,
            }
        }
    }
}

/// Who owns a group whose owner leaves.
fn next_owner(part: &mut Group<'_>, leaving: &str) -> Option<String> {
    let members = part.first(&prefix(&["m"]), MOST_KNOWN);
    let members: Vec<_> = members
        .into_iter()
        .filter(|(_, member)| member.is_member())
        .map(|(key, member)| (last_part(&key), member.role, member.joined_at))
        .filter(|(user, ..)| user != leaving)
        .collect();
    heir(members.iter().map(|(user, role, at)| (user.as_str(), *role, *at))).map(str::to_owned)
}

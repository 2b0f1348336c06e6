//! The jobs of conversations: telling members' lists of new messages, and what follows from joining and leaving.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use mundotango_actors::Engine;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::db::{Db, Decision, Wants};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::bodies::ListUpdate;
use super::inbox::{InboxStore, News};
use super::kinds::{CHAT_BLOCKS, ChatKind, ListState, Listed, Member, Message, block_id};
use super::live::channel_of;
use super::rules::{Raised, SMALL};
use super::store::{Chat, ChatStore};
use crate::community::accounts::store::AccountStore;
use crate::community::effects::end_subscription;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::{NOTIFICATION, Tell};
use crate::community::people_of;

/// Tells members' lists of messages.
pub(super) static RAISE: JobKind<RaiseJob> = JobKind::new("chat_raise", &NOTIFICATION, 1);
/// Puts a group into the lists of those who joined.
pub(super) static ADDED: JobKind<AddedJob> = JobKind::new("chat_added", &NOTIFICATION, 1);
/// Sees to it that somebody who was removed writes and hears nothing more.
pub(super) static REMOVED: JobKind<RemovedJob> = JobKind::new("chat_removed", &NOTIFICATION, 1);

/// Lists that are told at the same time.
const AT_ONCE: usize = 16;
/// Messages that are looked at for whom they mention.
const MENTIONS_IN: usize = 200;

/// A conversation, and the block whose message caused the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RaiseJob {
    pub(super) chat_id: String,
    pub(super) block: u64,
}

/// A group, and who joined; each with whether it is only offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AddedJob {
    pub(super) chat_id: String,
    pub(super) people: Vec<(String, bool)>,
    pub(super) at: Timestamp,
}

/// Somebody who was removed, and the version of the members since then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RemovedJob {
    pub(super) chat_id: String,
    pub(super) user_id: String,
    pub(super) version: u64,
}

/// Who does the jobs.
struct Worker {
    chats: ChatStore,
    inboxes: InboxStore,
    accounts: AccountStore,
    engine: Arc<Engine>,
}

/// The jobs of this file.
pub fn handled(pools: NewPools, db: &Db, engine: &Arc<Engine>) -> NewPools {
    let worker = Arc::new(Worker {
        chats: ChatStore::new(db.clone()),
        inboxes: InboxStore::new(db.clone()),
        accounts: AccountStore::new(db.clone()),
        engine: Arc::clone(engine),
    });
    let own = || Own(Arc::clone(&worker));
    pools.handle(&RAISE, own()).handle(&ADDED, own()).handle(&REMOVED, own())
}

struct Own(Arc<Worker>);

/// What a member is told of by a notification.
#[derive(Clone)]
struct Told {
    last: u64,
    author: String,
    title: String,
    is_small: bool,
    /// Who is mentioned by one of the messages, and the number of that.
    mentioned: Arc<Vec<(String, u64)>>,
}

impl Told {
    /// The notification of a list's row, if there is one to make: not of what is read, muted, put away or only asked for.
    fn tell(&self, chat_id: &str, user_id: &str, row: &Listed, now: Timestamp) -> Option<Tell> {
        let is_quiet = row.state != ListState::Open
            || row.archived
            || row.muted_until.is_some_and(|until| until > now)
            || row.read >= self.last
            || row.told >= self.last
            || self.author == user_id;
        let is_mentioned =
            self.mentioned.iter().any(|(user, seq)| user == user_id && *seq > row.read.max(row.told));
        if is_quiet || !(self.is_small || is_mentioned) {
            return None;
        }
        let count = u32::try_from(self.last - row.told.max(row.read)).unwrap_or(u32::MAX);
        Some(Tell {
            kind: NotificationKind::MessageNew,
            thing: chat_id.to_owned(),
            title: self.title.clone(),
            actor_id: Some(self.author.clone()),
            count,
            stale_at: None,
        })
    }
}

impl Worker {
    /// Notes that lists hear of a block's messages now.
    async fn note_raised(&self, job: &RaiseJob, now: Timestamp) -> Result<(), StoreError> {
        let block = block_id(&job.chat_id, job.block);
        let noted = self.chats.db().change(&CHAT_BLOCKS, &block, Wants::head(), move |part| {
            part.head.raised = Some(Raised::at(now));
            Ok::<_, StoreError>(Decision::Write(()))
        });
        noted.await.map(drop)
    }

    async fn told(&self, chat: &Chat, last: u64, message: &Message) -> Result<Told, StoreError> {
        let author = people_of(&self.accounts, vec![message.author.clone()]).await.remove(&message.author);
        let name = author.map_or_else(|| "MundoTango".to_owned(), |author| author.full_name);
        let title = match chat.facts.kind {
            ChatKind::Direct => name,
            ChatKind::Group => chat.head.title.clone().unwrap_or(name),
        };
        let is_small = chat.head.members <= SMALL;
        let mut mentioned = Vec::new();
        if !is_small {
            let before = super::history::Direction::Before(last + 1);
            let all = super::rules::Spans::from(1);
            let messages = self.chats.messages(&chat.id, &all, last, before, MENTIONS_IN).await?;
            for (seq, message) in messages {
                mentioned.extend(message.mentions.into_iter().map(|user| (user, seq)));
            }
        }
        Ok(Told { last, author: message.author.clone(), title, is_small, mentioned: Arc::new(mentioned) })
    }

    /// Tells the lists of all members of the last message.
    async fn raise(&self, job: &RaiseJob, now: Timestamp) -> Result<(), StoreError> {
        self.note_raised(job, now).await?;
        let Some((chat, _)) = self.chats.chat(&job.chat_id, "").await? else { return Ok(()) };
        let last = self.chats.last(&chat.id, job.block.max(chat.head.block)).await?;
        let Some(message) = self.chats.message(&chat.id, last).await? else { return Ok(()) };
        let told = self.told(&chat, last, &message).await?;
        let members = self.chats.all_members(&chat.id).await?;
        let each = members.into_iter().map(|(user_id, member)| {
            let (chat, told) = (&chat, told.clone());
            async move { self.raise_one(chat, &user_id, &member, told, message.at, now).await }
        });
        stream::iter(each.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn raise_one(
        &self,
        chat: &Chat,
        user_id: &str,
        member: &Member,
        told: Told,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let state = if chat.waits_for(user_id) { ListState::Request } else { ListState::Open };
        let news = News { last: told.last, at, state, joins: false, read: member.spans.unseen() };
        let (chat_id, user) = (chat.id.clone(), user_id.to_owned());
        let follows = move |_: Option<&Listed>, row: &Listed| {
            let mut effects = vec![ListUpdate::of(&chat_id, row).effect(&user)?];
            if let Some(tell) = told.tell(&chat_id, &user, row, now) {
                effects.push(tell.effect(&user)?);
            }
            Ok(effects)
        };
        self.inboxes.hear(user_id, &chat.id, news, follows).await
    }

    /// Puts a group into the list of somebody who joined.
    async fn added(&self, job: &AddedJob, user_id: &str, is_offer: bool) -> Result<(), StoreError> {
        let Some((chat, member)) = self.chats.chat(&job.chat_id, user_id).await? else { return Ok(()) };
        let Some(member) = member.filter(Member::is_member) else { return Ok(()) };
        let state = if is_offer { ListState::Request } else { ListState::Open };
        let news = News { last: 0, at: job.at, state, joins: true, read: member.spans.unseen() };
        let (chat_id, user) = (chat.id.clone(), user_id.to_owned());
        let follows =
            move |_: Option<&Listed>, row: &Listed| Ok(vec![ListUpdate::of(&chat_id, row).effect(&user)?]);
        self.inboxes.hear(user_id, &chat.id, news, follows).await
    }
}

#[async_trait]
impl Handler<RaiseJob> for Own {
    async fn run(&self, _: &Attempted, job: RaiseJob) -> Result<(), Failure> {
        Ok(self.0.raise(&job, now()).await?)
    }
}

#[async_trait]
impl Handler<AddedJob> for Own {
    async fn run(&self, _: &Attempted, job: AddedJob) -> Result<(), Failure> {
        let each = job.people.iter().map(|(user, is_offer)| self.0.added(&job, user, *is_offer));
        stream::iter(each.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

#[async_trait]
impl Handler<RemovedJob> for Own {
    async fn run(&self, _: &Attempted, job: RemovedJob) -> Result<(), Failure> {
        let worker = &self.0;
        worker.chats.spread(&job.chat_id, job.version).await?;
        let member = worker.chats.chat(&job.chat_id, &job.user_id).await?.and_then(|(_, member)| member);
        // Who was taken in again meanwhile hears it again.
        if member.is_some_and(|member| member.is_member()) {
            return Ok(());
        }
        let ended = end_subscription(&worker.engine, &job.user_id, &channel_of(&job.chat_id)).await;
        ended.map_err(Failure::retry)
    }
}

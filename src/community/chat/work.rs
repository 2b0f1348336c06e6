//! Who does the jobs of conversations: telling members' lists of new messages, and what follows from joining and leaving.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use mundotango_actors::Engine;
use mundotango_jobs::{Attempted, Failure, Handler, NewPools};
use mundotango_storage::db::{Db, Decision, Wants};
use mundotango_storage::{StoreError, now};

use super::history::Direction;
use super::inbox::{self, InboxStore};
use super::jobs::{ADDED, AddedJob, RAISE, REMOVED, RaiseJob, RemovedJob};
use super::kinds::{CHAT_BLOCKS, ListState, Listed, Member, block_id};
use super::live::channel_of;
use super::rules::{Raised, SMALL, Spans};
use super::store::{Chat, ChatStore};
use super::telling::{Hearer, News};
use super::updates::ListUpdate;
use crate::community::accounts::store::AccountStore;
use crate::community::effects::end_subscription;
use crate::community::graph::store::Circles;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::people_of;

/// Lists that are told at the same time.
const AT_ONCE: usize = 16;
/// Messages of which members are told at a time.
const TOLD_OF: usize = 200;

/// Who does the jobs.
struct Worker {
    chats: ChatStore,
    inboxes: InboxStore,
    accounts: AccountStore,
    circles: Circles,
    engine: Arc<Engine>,
}

/// The jobs of conversations.
pub fn handled(pools: NewPools, db: &Db, engine: &Arc<Engine>) -> NewPools {
    let worker = Arc::new(Worker {
        chats: ChatStore::new(db.clone()),
        inboxes: InboxStore::new(db.clone()),
        accounts: AccountStore::new(db.clone()),
        circles: Circles::new(db.clone()),
        engine: Arc::clone(engine),
    });
    let own = || Own(Arc::clone(&worker));
    pools.handle(&RAISE, own()).handle(&ADDED, own()).handle(&REMOVED, own())
}

struct Own(Arc<Worker>);

/// What the lists of a conversation's members are told of.
struct Told {
    chat: Chat,
    last: u64,
    /// When the last message was written.
    at: Timestamp,
    news: News,
}

impl Told {
    /// The notification of a list's row, if there is one to make: not of what is read, muted, put away or only asked for.
    fn tell(&self, row: &Listed, hearer: Hearer<'_>, now: Timestamp) -> Option<Tell> {
        let is_quiet =
            row.state != ListState::Open || row.archived || row.muted_until.is_some_and(|until| until > now);
        if is_quiet {
            return None;
        }
        let heard = self.news.heard_by(hearer, row.read.max(row.told))?;
        let title = self.chat.head.title.clone().or(heard.name);
        Some(Tell {
            kind: NotificationKind::MessageNew,
            thing: self.chat.id.clone(),
            title: title.unwrap_or_else(|| "MundoTango".to_owned()),
            actor_id: Some(heard.author),
            count: heard.count,
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

    /// The messages that members of a conversation may be told of: in small ones those of which a member's list has not heard, in
    /// large ones the last 200.
    async fn news(&self, chat: &Chat, last: u64, members: &[(String, Member)]) -> Result<News, StoreError> {
        let is_small = chat.head.members <= SMALL;
        let after = if is_small {
            let users: Vec<_> = members.iter().map(|(user, _)| user.clone()).collect();
            let rows = self.inboxes.listed_by_all(&users, &chat.id).await?;
            let told = members.iter().zip(rows).map(|((_, member), row)| {
                row.map_or_else(|| member.spans.unseen(), |row| row.told.max(row.read))
            });
            told.min().unwrap_or(last)
        } else {
            0
        };
        let most = usize::try_from(last.saturating_sub(after)).unwrap_or(usize::MAX).min(TOLD_OF);
        let (all, before) = (Spans::from(1), Direction::Before(last + 1));
        let messages = self.chats.messages(&chat.id, &all, last, before, most).await?;
        let news = News::new(messages, !is_small);
        // A group is called by its title.
        let named = if chat.head.title.is_some() { Vec::new() } else { news.authors() };
        let people = people_of(&self.accounts, named).await.into_iter();
        Ok(news.named(people.map(|(user, person)| (user, person.full_name)).collect()))
    }

    /// Tells the lists of all members of the last message.
    async fn raise(&self, job: &RaiseJob, now: Timestamp) -> Result<(), StoreError> {
        self.note_raised(job, now).await?;
        let Some((chat, _)) = self.chats.chat(&job.chat_id, "").await? else { return Ok(()) };
        let last = self.chats.last(&chat.id, job.block.max(chat.head.block)).await?;
        let Some(message) = self.chats.message(&chat.id, last).await? else { return Ok(()) };
        let members = self.chats.all_members(&chat.id).await?;
        let news = self.news(&chat, last, &members).await?;
        let told = Arc::new(Told { chat, last, at: message.at, news });
        let each = members.into_iter().map(|(user_id, member)| {
            let told = Arc::clone(&told);
            async move { self.raise_one(told, &user_id, member, now).await }
        });
        stream::iter(each.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn raise_one(
        &self,
        told: Arc<Told>,
        user_id: &str,
        member: Member,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let circle =
            if told.news.may_concern(user_id) { self.circles.view(user_id).await? } else { Arc::default() };
        let news = inbox::News {
            last: told.last,
            at: told.at,
            state: told.chat.state_for(user_id, &member),
            offered_by: member.offered_by.clone(),
            joins: false,
            read: member.spans.unseen(),
        };
        let (chat_id, user) = (told.chat.id.clone(), user_id.to_owned());
        let follows = move |_: Option<&Listed>, row: &Listed| {
            let mut effects = vec![ListUpdate::of(&told.chat.id, row).effect(&user)?];
            let hearer = Hearer { user_id: &user, spans: &member.spans, circle: &circle };
            if let Some(tell) = told.tell(row, hearer, now) {
                effects.push(tell.effect(&user)?);
            }
            Ok(effects)
        };
        self.inboxes.hear(user_id, &chat_id, news, follows).await
    }

    /// Puts a group into the list of somebody who joined.
    async fn added(&self, job: &AddedJob, user_id: &str, is_offer: bool) -> Result<(), StoreError> {
        let Some((chat, member)) = self.chats.chat(&job.chat_id, user_id).await? else { return Ok(()) };
        let Some(member) = member.filter(Member::is_member) else { return Ok(()) };
        // Who has answered meanwhile is not asked again.
        let offered_by = member.offered_by.clone().filter(|_| is_offer);
        let state = if offered_by.is_some() { ListState::Request } else { ListState::Open };
        let read = member.spans.unseen();
        let news = inbox::News { last: 0, at: job.at, state, offered_by, joins: true, read };
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

//! Conversations of friends, and of groups.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::{Generator, as_sent, people};
use crate::community::chat::blocks::NewMessage;
use crate::community::chat::inbox::{InboxStore, News};
use crate::community::chat::kinds::{ListState, Listed, Message};
use crate::community::chat::members::MembersChange;
use crate::community::chat::store::ChatStore;
use crate::community::effects::Effect;
use crate::seed::draw::Draw;
use crate::seed::plan::Plan;
use crate::seed::words;
use crate::texts::{MessageText, Title};

/// How long ago the last conversation began, and the first before that.
const SINCE: SignedDuration = SignedDuration::from_hours(12);
const OVER: SignedDuration = SignedDuration::from_hours(60 * 24);
/// Seconds from one message to the next.
const PAUSE: (i64, i64) = (10, 900);
/// Users for each group.
const USERS_A_GROUP: u64 = 20;
/// The fewest and the most users of a group besides its owner.
const MEMBERS: (i64, i64) = (2, 9);
/// Of a hundred users, how many have read all.
const HAVE_READ: u64 = 70;

// A store that tells nobody leaves these out; they only have to be well-formed.
fn told(_: u64, _: &Message) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

fn members_told(_: &MembersChange) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

/// What both kinds of conversations are made with.
struct Talks {
    chats: ChatStore,
    lists: InboxStore,
}

impl Talks {
    fn new(db: &Db) -> Self {
        Self { chats: ChatStore::new(db.clone()), lists: InboxStore::new(db.clone()) }
    }

    /// Has people say something to each other in turn, and puts the conversation into their lists.
    async fn talk(
        &self,
        draw: &mut Draw,
        chat: &str,
        people: &[String],
        begun: Timestamp,
    ) -> anyhow::Result<()> {
        let (mut at, mut last) = (begun, 0);
        for (line, author) in words::dialogue(draw).iter().zip(people.iter().cycle()) {
            let text: MessageText = as_sent(*line)?;
            at = at.checked_add(SignedDuration::from_secs(draw.between(PAUSE.0, PAUSE.1)))?;
            let new = NewMessage {
                id: draw.id(at),
                at,
                author: author.clone(),
                text: Some(text.into_string()),
                attachments: Vec::new(),
                reply_to: None,
                mentions: Vec::new(),
                most_before: None,
            };
            last = Box::pin(self.chats.send(chat, new, told)).await?.0;
        }
        for user in people {
            let unread = if draw.percent(HAVE_READ) { 0 } else { 1 + draw.below(2) };
            let (state, read) = (ListState::Open, last.saturating_sub(unread));
            let news = News { last, at, state, offered_by: None, joins: true, read };
            let nothing = |_: Option<&Listed>, _: &Listed| Ok::<_, StoreError>(Vec::<Effect>::new());
            self.lists.hear(user, chat, news, nothing).await?;
        }
        Ok(())
    }
}

fn begun(draw: &mut Draw, plan: &Plan) -> Timestamp {
    Plan::before(draw, plan.at.checked_sub(SINCE).unwrap_or(Timestamp::UNIX_EPOCH), OVER)
}

/// Has each user talk to a friend.
pub(super) struct Conversations(Talks);

impl Conversations {
    pub(super) fn new(db: &Db) -> Self {
        Self(Talks::new(db))
    }
}

#[async_trait]
impl Generator for Conversations {
    fn name(&self) -> &'static str {
        "conversations"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, user: u64) -> anyhow::Result<u64> {
        let Some(friend) = people::friends(plan, user).first().copied() else { return Ok(0) };
        // Of two who would begin the same conversation, one does.
        if people::friends(plan, friend).first() == Some(&user) && friend < user {
            return Ok(0);
        }
        let mut draw = plan.draw("conversations", user);
        let at = begun(&mut draw, plan);
        let both = [plan.user_id(user), plan.user_id(friend)];
        let (chat, _) = self.0.chats.create_direct(&both[0], &both[1], true, at).await?;
        self.0.talk(&mut draw, &chat.id, &both, at).await?;
        Ok(1)
    }
}

/// Makes groups.
pub(super) struct Groups(Talks);

impl Groups {
    pub(super) fn new(db: &Db) -> Self {
        Self(Talks::new(db))
    }
}

#[async_trait]
impl Generator for Groups {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        (plan.users / USERS_A_GROUP).max(1)
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let mut draw = plan.draw("groups", number);
        let at = begun(&mut draw, plan);
        let title: Title = as_sent(format!("Milonga {}", words::occasion(&mut draw)))?;
        let wanted = draw.between(MEMBERS.0, MEMBERS.1).unsigned_abs() + 1;
        let members = draw.different(wanted, plan.users).into_iter().map(|user| plan.user_id(user));
        let members: Vec<_> = members.collect();
        let Some((owner, others)) = members.split_first() else { return Ok(0) };
        let id = draw.id(at);
        let (chat, _) = self.0.chats.create_group(&id, owner, title.into_string(), false, at).await?;
        let others = others.iter().map(|user| (user.clone(), false)).collect();
        self.0.chats.add_members(&chat, owner, others, at, members_told).await?;
        self.0.talk(&mut draw, &id, &members, at).await?;
        Ok(1)
    }
}

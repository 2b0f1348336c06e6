//! Users' lists of conversations: what each user has read, put away and muted.
//!
//! A row is made when somebody begins or joins a conversation, or is written to. It hears of new messages by jobs that each
//! conversation has at most once a second (`work.rs`). What is unread is never kept: it is counted when it is looked at.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Part, RowRange, Wants, last_part, prefix};

use super::error::ChatError;
use super::kinds::{CHAT_INBOXES, InboxHead, ListState, Listed, listed_key};
use super::room::{Full, MOST_LISTED, NoRoom};
use crate::community::effects::Effect;

type Inbox<'a> = Part<'a, (), InboxHead, Listed>;

/// News of a conversation for a list.
#[derive(Clone, Debug)]
pub struct News {
    /// Its last message.
    pub last: u64,
    /// When that was written, or the conversation was joined.
    pub at: Timestamp,
    /// What the row begins with, where there is none.
    pub state: ListState,
    /// Who offers the group, if it begins as a request.
    pub offered_by: Option<String>,
    /// Whether the user has just joined, so that a row of before begins with it as well.
    pub joins: bool,
    /// Up to where nothing is unread then.
    pub read: u64,
}

/// Makes what follows from a change of a row: of the row before, if there was one, and as it is.
pub trait Follows: Fn(Option<&Listed>, &Listed) -> Result<Vec<Effect>, StoreError> + Send + 'static {}
impl<A: Fn(Option<&Listed>, &Listed) -> Result<Vec<Effect>, StoreError> + Send + 'static> Follows for A {}

/// The lists of a store.
#[derive(Clone)]
pub struct InboxStore(Db);

/// Takes the row out that has to make room for another one, unless none may.
fn make_room(part: &mut Inbox<'_>, key: &str, before: Option<&Listed>, row: &Listed) -> Result<(), NoRoom> {
    let Some(full) = Full::of(&part.head, before, row)? else { return Ok(()) };
    let most = usize::try_from(MOST_LISTED).unwrap_or(usize::MAX);
    let rows = part.first(&prefix(&["c"]), most).into_iter();
    let others = rows.filter(|(other, row)| other != key && full.holds(row));
    let oldest = others.min_by_key(|(_, row)| row.at).map(|(key, row)| (key, row.clone()));
    if let Some((key, gone)) = oldest {
        part.head.replace(Some(&gone), None);
        part.remove(key);
    }
    Ok(())
}

/// Puts a row in the place of the one before.
fn put(part: &mut Inbox<'_>, key: &str, before: Option<&Listed>, row: Listed) {
    part.head.replace(before, Some(&row));
    part.set(key, row);
}

impl InboxStore {
    /// The lists of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// The row of a conversation in a user's list.
    pub async fn listed(&self, user_id: &str, chat_id: &str) -> Result<Option<Listed>, StoreError> {
        self.0.row(&CHAT_INBOXES, user_id, &listed_key(chat_id)).await
    }

    /// The rows of a conversation in the lists of these users, in their order.
    pub async fn listed_by_all(
        &self,
        users: &[String],
        chat_id: &str,
    ) -> Result<Vec<Option<Listed>>, StoreError> {
        self.0.row_of_all(&CHAT_INBOXES, users, &listed_key(chat_id)).await
    }

    /// How many groups of somebody wait for an answer of each of these users, in their order.
    pub async fn offers_of(&self, by: &str, users: &[String]) -> Result<Vec<usize>, StoreError> {
        let found = self.0.read_all(&CHAT_INBOXES, users).await?.into_iter();
        Ok(found.map(|found| found.map_or(0, |found| found.head.offers_of(by))).collect())
    }

    /// All rows of a user's list, by conversation.
    pub async fn all(&self, user_id: &str) -> Result<Vec<(String, Listed)>, StoreError> {
        let most = usize::try_from(MOST_LISTED).unwrap_or(usize::MAX);
        let rows = self.0.rows(&CHAT_INBOXES, user_id, &RowRange::first(prefix(&["c"]), most)).await?;
        Ok(rows.items.into_iter().map(|(key, row)| (last_part(&key), row)).collect())
    }

    /// Tells a list of a conversation's news. What is older than the list knows changes nothing, and what a full list has no room
    /// for is not listed.
    pub async fn hear(
        &self,
        user_id: &str,
        chat_id: &str,
        news: News,
        follows: impl Follows,
    ) -> Result<(), StoreError> {
        let key = listed_key(chat_id);
        let heard =
            self.0.change(&CHAT_INBOXES, user_id, Wants::head().row(&key), move |part: &mut Inbox<'_>| {
                let before = part.row(&key).cloned();
                if before.as_ref().is_some_and(|row| row.last >= news.last && row.at >= news.at) {
                    return Ok::<_, StoreError>(Decision::Stands(()));
                }
                let new = || Listed::new(news.state, news.offered_by.clone(), news.read, news.at);
                let mut row = before.clone().unwrap_or_else(new);
                row.last = row.last.max(news.last);
                row.at = row.at.max(news.at);
                if news.joins {
                    (row.state, row.offered_by) = (news.state, news.offered_by.clone());
                }
                if make_room(part, &key, before.as_ref(), &row).is_err() {
                    return Ok(Decision::Stands(()));
                }
                for effect in follows(before.as_ref(), &row)? {
                    part.emit(&effect)?;
                }
                row.told = row.last;
                put(part, &key, before.as_ref(), row);
                Ok(Decision::Write(()))
            });
        heard.await.map(drop)
    }

    /// Changes the row of a conversation by a rule; as it is then.
    pub async fn change(
        &self,
        user_id: &str,
        chat_id: &str,
        absent: Listed,
        mut rule: impl FnMut(&mut Listed) + Send + 'static,
        follows: impl Follows,
    ) -> Result<Listed, ChatError> {
        let key = listed_key(chat_id);
        let changed =
            self.0.change(&CHAT_INBOXES, user_id, Wants::head().row(&key), move |part: &mut Inbox<'_>| {
                let before = part.row(&key).cloned();
                let mut row = before.clone().unwrap_or_else(|| absent.clone());
                rule(&mut row);
                if before.as_ref() == Some(&row) {
                    return Ok::<_, StoreError>(Decision::Stands(row));
                }
                make_room(part, &key, before.as_ref(), &row)
                    .map_err(|NoRoom| StoreError::Full("your list of conversations"))?;
                for effect in follows(before.as_ref(), &row)? {
                    part.emit(&effect)?;
                }
                put(part, &key, before.as_ref(), row.clone());
                Ok(Decision::Write(row))
            });
        changed.await?.ok_or(ChatError::NotFound("conversation"))
    }
}

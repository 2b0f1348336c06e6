//! Users' lists of conversations: what each user has read, put away and muted.
//!
//! A row is made when somebody begins or joins a conversation, or is written to. It hears of new messages by jobs that each
//! conversation has at most once a second (`work.rs`). What is unread is never kept: it is counted when it is looked at.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Part, RowRange, Wants, last_part, prefix};

use super::error::ChatError;
use super::kinds::{CHAT_INBOXES, InboxHead, ListState, Listed, listed_key};
use crate::community::effects::Effect;

/// Conversations of one list; the one in which nothing happened for longest makes room.
pub const MOST_LISTED: u64 = 2_000;
/// Requests that wait in one list; the oldest makes room.
pub const MOST_REQUESTS: u64 = 100;

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

/// Takes the rows out that have to make room for another one.
fn make_room(part: &mut Inbox<'_>, state: ListState) {
    let is_request = |row: &Listed| row.state == ListState::Request;
    let too_many_requests = state == ListState::Request && part.head.requests >= MOST_REQUESTS;
    if !too_many_requests && part.head.count < MOST_LISTED {
        return;
    }
    let most = usize::try_from(MOST_LISTED).unwrap_or(usize::MAX);
    let rows = part.first(&prefix(&["c"]), most);
    let fits = rows.into_iter().filter(|(_, row)| !too_many_requests || is_request(row));
    let oldest = fits.min_by_key(|(_, row)| row.at).map(|(key, row)| (key, is_request(row)));
    if let Some((key, was_request)) = oldest {
        part.head.count = part.head.count.saturating_sub(1);
        part.head.requests = part.head.requests.saturating_sub(u64::from(was_request));
        part.remove(key);
    }
}

/// Puts a row in the place of the one before.
fn put(part: &mut Inbox<'_>, key: &str, before: Option<&Listed>, row: Listed) {
    let is_request = |row: &Listed| u64::from(row.state == ListState::Request);
    part.head.count += u64::from(before.is_none());
    part.head.requests += is_request(&row);
    part.head.requests = part.head.requests.saturating_sub(before.map_or(0, is_request));
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

    /// All rows of a user's list, by conversation.
    pub async fn all(&self, user_id: &str) -> Result<Vec<(String, Listed)>, StoreError> {
        let most = usize::try_from(MOST_LISTED).unwrap_or(usize::MAX);
        let rows = self.0.rows(&CHAT_INBOXES, user_id, &RowRange::first(prefix(&["c"]), most)).await?;
        Ok(rows.items.into_iter().map(|(key, row)| (last_part(&key), row)).collect())
    }

    /// Tells a list of a conversation's news. What is older than the list knows changes nothing.
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
                if before.is_none() {
                    make_room(part, news.state);
                }
                let new = Listed {
                    state: news.state,
                    read: news.read,
                    last: 0,
                    at: news.at,
                    archived: false,
                    muted_until: None,
                    told: news.read,
                };
                let mut row = before.clone().unwrap_or(new);
                row.last = row.last.max(news.last);
                row.at = row.at.max(news.at);
                if news.joins {
                    row.state = news.state;
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
                if before.is_none() {
                    make_room(part, row.state);
                }
                for effect in follows(before.as_ref(), &row)? {
                    part.emit(&effect)?;
                }
                put(part, &key, before.as_ref(), row.clone());
                Ok(Decision::Write(row))
            });
        changed.await?.ok_or(ChatError::NotFound("conversation"))
    }
}

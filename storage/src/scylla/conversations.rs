//! Conversations on a CQL server: a partition each, with what is known of it in static columns and a row for each turn.
//!
//! The fence is a static column that each take-over raises by compare-and-set, and that every write of a turn compares in
//! the same step. So a write under an older fence cannot be done, whenever it arrives.

use async_trait::async_trait;
use mundotango_protocol::new_id;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::query::{Change, Query};
use super::session::Cql;
use super::value::{count, damaged, from_cql, limit, name_of, named, to_cql};
use crate::conversations::{Conversation, ConversationStore, Fence, Fenced, MAX_TURNS, Turn};
use crate::{Page, PageRequest, PageStart, StoreError};

/// How often a change is tried when other nodes come between, or nobody says what came of it.
const MAX_TRIES: u32 = 30;

const STATE_TEXT: &str = "SELECT DISTINCT id, user_id, agent_id, created_at, fence, owner, turns FROM conversations \
                          WHERE id = ?";
const STATE: Query = Query::read("conversations", STATE_TEXT);
const STATE_SERIAL: Query = Query::serial_read("conversations", STATE_TEXT);
const CREATE: Query = Query::write(
    "conversations",
    "INSERT INTO conversations (id, user_id, agent_id, created_at) VALUES (?, ?, ?, ?)",
);
const TAKE_OVER: Query =
    Query::cas("conversations", "UPDATE conversations SET fence = ?, owner = ? WHERE id = ? IF fence = ?");
const COUNT_TURN: Query =
    Query::cas("conversations", "UPDATE conversations SET turns = ? WHERE id = ? IF fence = ? AND turns = ?");
const ADD_TURN: Query = Query::cas(
    "conversations",
    "INSERT INTO conversations (id, number, turn_id, speaker, content, finished, said_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
);
const SET_TURN: Query = Query::cas(
    "conversations",
    "UPDATE conversations SET content = ?, finished = ? WHERE id = ? AND number = ? IF fence = ?",
);
const TURN: Query = Query::serial_read(
    "conversations",
    "SELECT number, turn_id, speaker, content, finished, said_at FROM conversations WHERE id = ? AND number = ?",
);
const TURNS: Query = Query::read(
    "conversations",
    "SELECT number, turn_id, speaker, content, finished, said_at FROM conversations WHERE id = ? AND number > ? LIMIT ?",
);
const LAST_TURNS: Query = Query::read(
    "conversations",
    "SELECT number, turn_id, speaker, content, finished, said_at FROM conversations WHERE id = ? AND number > 0 \
     ORDER BY number DESC LIMIT ?",
);

#[derive(DeserializeRow)]
struct StateRow {
    id: String,
    user_id: Option<String>,
    agent_id: Option<String>,
    created_at: Option<CqlTimestamp>,
    fence: Option<i64>,
    owner: Option<String>,
    turns: Option<i64>,
}

#[derive(DeserializeRow)]
struct TurnRow {
    number: i64,
    turn_id: String,
    speaker: String,
    content: String,
    finished: bool,
    said_at: CqlTimestamp,
}

impl StateRow {
    fn conversation(self) -> Result<Option<Conversation>, StoreError> {
        let (Some(user_id), Some(agent_id), Some(created_at)) =
            (self.user_id, self.agent_id, self.created_at)
        else {
            return Ok(None);
        };
        Ok(Some(Conversation { id: self.id, user_id, agent_id, created_at: from_cql(created_at)? }))
    }
}

impl TurnRow {
    fn read(self) -> Result<Turn, StoreError> {
        Ok(Turn {
            number: count(self.number)?,
            id: self.turn_id,
            speaker: named(self.speaker)?,
            content: self.content,
            finished: self.finished,
            created_at: from_cql(self.said_at)?,
        })
    }
}

fn big(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(damaged)
}

impl Cql {
    async fn turn_at(&self, id: &str, number: i64) -> Result<Option<Turn>, StoreError> {
        self.one::<TurnRow>(&TURN, (id, number)).await?.map(TurnRow::read).transpose()
    }
}

#[async_trait]
impl ConversationStore for Cql {
    async fn create_conversation(&self, conversation: Conversation) -> Result<(), StoreError> {
        let Conversation { id, user_id, agent_id, created_at } = conversation;
        self.write(&CREATE, (id, user_id, agent_id, to_cql(created_at))).await
    }

    async fn conversation(&self, id: &str) -> Result<Option<Conversation>, StoreError> {
        self.one::<StateRow>(&STATE, (id,)).await?.map_or(Ok(None), StateRow::conversation)
    }

    async fn take_over(&self, id: &str) -> Result<Option<Fence>, StoreError> {
        let _turn = self.turn("conversations", id).await?;
        let owner = new_id();
        for tries in 0..MAX_TRIES {
            let Some(state) = self.one::<StateRow>(&STATE_SERIAL, (id,)).await? else { return Ok(None) };
            if state.owner.as_ref() == Some(&owner) {
                // A try of which nobody said what came of it.
                return Ok(Some(Fence(count(state.fence.unwrap_or_default())?)));
            }
            let next = state.fence.unwrap_or_default() + 1;
            match self.compare_and_set(&TAKE_OVER, (next, &owner, id, state.fence)).await {
                Ok(true) => return Ok(Some(Fence(count(next)?))),
                // The state tells at the next try.
                Ok(false) | Err(StoreError::Unknown(_)) => self.back_off(tries).await,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable("too many take one conversation over".to_owned()))
    }

    async fn add_turn(&self, id: &str, fence: Fence, turn: Turn) -> Result<Fenced<u64>, StoreError> {
        let _turn = self.turn("conversations", id).await?;
        let own = big(fence.0)?;
        // The number of a try of which nobody said what came of it, and what was said instead.
        let mut unsure: Option<(i64, StoreError)> = None;
        for tries in 0..MAX_TRIES {
            let known = |error| unsure.as_ref().map_or(error, |(_, unknown)| unknown.clone());
            if let Some((number, _)) = &unsure
                && self.turn_at(id, *number).await.map_err(known)?.is_some_and(|there| there.id == turn.id)
            {
                return Ok(Fenced::Written(count(*number)?));
            }
            let known = |error| unsure.as_ref().map_or(error, |(_, unknown)| unknown.clone());
            let state = self.one::<StateRow>(&STATE_SERIAL, (id,)).await.map_err(known)?;
            let Some(state) = state.filter(|state| state.fence == Some(own)) else {
                return Ok(Fenced::Refused);
            };
            let number = state.turns.unwrap_or_default() + 1;
            if count::<u64>(number)? > MAX_TURNS {
                return Err(StoreError::Full("the conversation"));
            }
            let counted = Change::new(&COUNT_TURN, (number, id, own, state.turns));
            let said = (
                id,
                number,
                &turn.id,
                name_of(turn.speaker)?,
                &turn.content,
                turn.finished,
                to_cql(turn.created_at),
            );
            let added = self.compare_and_set_together(vec![counted, Change::new(&ADD_TURN, said)]).await;
            match added {
                Ok(true) => return Ok(Fenced::Written(count(number)?)),
                Ok(false) => {}
                Err(error @ StoreError::Unknown(_)) => unsure = Some((number, error)),
                Err(error) => return Err(error),
            }
            self.back_off(tries).await;
        }
        let unavailable = StoreError::Unavailable("too many write to one conversation".to_owned());
        Err(unsure.map_or(unavailable, |(_, unknown)| unknown))
    }

    async fn set_turn(
        &self,
        id: &str,
        fence: Fence,
        number: u64,
        content: &str,
        finished: bool,
    ) -> Result<Fenced<()>, StoreError> {
        let _turn = self.turn("conversations", id).await?;
        let (own, number) = (big(fence.0)?, big(number)?);
        match self.compare_and_set(&SET_TURN, (content, finished, id, number, own)).await {
            Ok(true) => Ok(Fenced::Written(())),
            Ok(false) => Ok(Fenced::Refused),
            Err(unknown @ StoreError::Unknown(_)) => match self.turn_at(id, number).await {
                Ok(Some(turn)) if turn.content == content && turn.finished == finished => {
                    Ok(Fenced::Written(()))
                }
                // It did not happen, and what was read says that it never will: a serial read ends what is under way.
                Ok(_) => self.set_again(id, own, number, content, finished, unknown).await,
                Err(_) => Err(unknown),
            },
            Err(error) => Err(error),
        }
    }

    async fn turns(&self, id: &str, page: PageRequest) -> Result<Page<Turn>, StoreError> {
        let after: i64 = match &page.start {
            PageStart::First => 0,
            PageStart::After(cursor) => cursor.parse().map_err(|_| StoreError::BadCursor)?,
            PageStart::Skip(items) => i64::try_from(*items).unwrap_or(i64::MAX),
        };
        let rows = self.rows::<TurnRow>(&TURNS, (id, after, limit(page.limit.saturating_add(1)))).await?;
        let is_more = rows.len() > page.limit;
        let items: Vec<Turn> =
            rows.into_iter().take(page.limit).map(TurnRow::read).collect::<Result<_, _>>()?;
        let next = items.last().filter(|_| is_more).map(|last| last.number.to_string());
        Ok(Page { items, next })
    }

    async fn last_turns(&self, id: &str, most: usize) -> Result<Vec<Turn>, StoreError> {
        let rows = self.rows::<TurnRow>(&LAST_TURNS, (id, limit(most))).await?;
        let mut turns = rows.into_iter().map(TurnRow::read).collect::<Result<Vec<_>, _>>()?;
        turns.reverse();
        Ok(turns)
    }
}

impl Cql {
    async fn set_again(
        &self,
        id: &str,
        own: i64,
        number: i64,
        content: &str,
        finished: bool,
        unknown: StoreError,
    ) -> Result<Fenced<()>, StoreError> {
        match self.compare_and_set(&SET_TURN, (content, finished, id, number, own)).await {
            Ok(true) => Ok(Fenced::Written(())),
            Ok(false) => Ok(Fenced::Refused),
            Err(_) => Err(unknown),
        }
    }
}

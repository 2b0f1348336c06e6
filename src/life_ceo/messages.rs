//! What clients see of a conversation: its turns, and what its channel publishes.

use mundotango_gateway::input::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::store::{Speaker, Turn};

/// One message of a conversation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TurnBody {
    /// Its place, from 1.
    number: u64,
    /// Its id.
    id: String,
    /// Who says it.
    speaker: Speaker,
    /// What is said, so far.
    content: String,
    /// Whether all is said.
    finished: bool,
    /// When it began.
    created_at: Time,
}

impl From<Turn> for TurnBody {
    fn from(turn: Turn) -> Self {
        let Turn { number, id, speaker, content, finished, created_at } = turn;
        Self { number, id, speaker, content, finished, created_at: created_at.into() }
    }
}

/// What `agent:{conversationId}` publishes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(crate) enum AgentMessage {
    /// A turn began, or is finished.
    #[serde(rename = "agent.turn")]
    Turn {
        /// The turn as it stands.
        turn: TurnBody,
    },
    /// The next words of an answer.
    #[serde(rename = "agent.delta")]
    Delta {
        /// The turn's place.
        number: u64,
        /// After how many bytes of the turn's text these words stand.
        from: usize,
        /// The words.
        text: String,
    },
}

//! Why answers and changes of events are refused, as clients see it.

use axum::http::StatusCode;
use mundotango_gateway::problem::{Code, Problem};

use super::places::{Heads, Limit};
use super::rules::MOST_CO_HOSTS;
use super::store::EventError;

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Over => {
                let detail = "the event is over and takes no answers or changes";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Over)
            }
            EventError::Cancelled => {
                let detail = "the event is cancelled and takes no answers or changes";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Over)
            }
            EventError::MovedTooOften => {
                let detail = "time and place of an event can be changed 20 times";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            // Who may see it has an event that takes no answers; for all others there is none.
            EventError::Draft => Self::not_found("event"),
            EventError::Suspended => {
                let detail = "a decision of the moderators has taken the event away: it cannot be changed";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Restricted)
            }
            EventError::NoRoom(limit) => {
                let detail = format!("there is no room for so many: {}", of_limit(limit));
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EventError::HasTicket => {
                let detail =
                    "a party that has a ticket, or holds a place for one, does not change: decline first";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Conflict)
            }
            EventError::OthersWait => {
                let detail = "others wait for a place: a larger party passes nobody";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EventError::BelowGoing(limit, going) => {
                let Heads { leads, follows, .. } = going;
                let total = going.total();
                let detail = format!(
                    "{total} are going, {leads} of them lead and {follows} follow: {}",
                    of_limit(limit)
                );
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EventError::TooManyHosts => too_many_hosts("an event"),
            EventError::NotOffered => Self::not_found("offer of this event to you"),
            EventError::Store(error) => error.into(),
        }
    }
}

/// It has as many hosts as it may.
pub(super) fn too_many_hosts(thing: &str) -> Problem {
    let detail = format!("{thing} has {MOST_CO_HOSTS} hosts beside its owner at most");
    Problem::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
}

fn of_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Capacity => "more than may come in all",
        Limit::Leads => "more than may come who lead",
        Limit::Follows => "more than may come who follow",
        Limit::Dancers => "more than may come who dance",
    }
}

//! Why answers and changes of events are refused, as clients see it.

use axum::http::StatusCode;
use mundotango_gateway::problem::{Code, Problem};

use super::handover::{MOST_OFFERS_TO_ONE, Unfit};
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
            EventError::PlaceIsPaid => {
                let detail = "a place that is paid for, or is to be paid, is not handed on: decline, and the host decides about the money";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::PlaceIsPaid)
            }
            EventError::NoPlace => {
                let detail = "you have no place at the event, and wait for none";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Conflict)
            }
            EventError::AlreadyOffered => {
                let detail = "you offer the place to somebody else: take that back first";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Conflict)
            }
            EventError::OfferedEnough => {
                let detail =
                    format!("{MOST_OFFERS_TO_ONE} places at an event are offered to one user at most");
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            EventError::NotHanded => Self::not_found(OFFERED_PLACE),
            EventError::AlreadyThere => {
                let detail = "you have a place at the event, or wait for one";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Conflict)
            }
            EventError::Begun => {
                let detail = "the event has begun: places are handed on before that";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Over)
            }
            EventError::Unfit(unfit) => unfit.into(),
            EventError::NotOffered => Self::not_found("offer of this event to you"),
            EventError::Store(error) => error.into(),
        }
    }
}

/// What there is not for whom no place is offered.
pub(super) const OFFERED_PLACE: &str = "offer of a place to you";

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Larger => {
                let detail = "the place is for fewer people: bring no more than it is for";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            Unfit::OtherLine => {
                let detail = "the place in the line is for those who dance the same";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
            Unfit::NoRoom(limit) => EventError::NoRoom(limit).into(),
            Unfit::OthersWait => {
                let detail = "others wait: the place is for those who dance the same";
                Self::new(StatusCode::CONFLICT, detail).with_code(Code::Full)
            }
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

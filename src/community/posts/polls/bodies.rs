//! What clients send and see of polls.

use std::collections::BTreeSet;

use deserr::{Deserr, ValuePointerRef};
use jiff::Timestamp;
use mundotango_gateway::input::{BadFields, Given, Time, UpTo, Whole};
use mundotango_gateway::problem::FieldCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::{FEWEST_OPTIONS, MOST_OPTIONS, Poll, Vote, Votes};
use crate::texts::PollOption;

/// The place of an option, from 0 on.
type Place = Whole<0, 7>;

/// A question with a new post. It cannot be changed later.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields, validate = different -> BadFields)]
pub(in crate::community::posts) struct NewPoll {
    /// What can be chosen: 2 to 8 different texts.
    #[schema(value_type = Vec<PollOption>, min_items = 2, max_items = 8)]
    options: UpTo<PollOption, MOST_OPTIONS>,
    /// Whether more than one can be chosen. Not, if absent.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    multiple: Given<bool>,
    /// Until when one can vote: 5 minutes to 90 days from now.
    until: Time,
}

fn different(body: NewPoll, at: ValuePointerRef<'_>) -> Result<NewPoll, BadFields> {
    let all: BTreeSet<_> = body.options.0.iter().map(|option| option.clone().into_string()).collect();
    if all.len() < FEWEST_OPTIONS || all.len() < body.options.0.len() {
        let message = format!("must have {FEWEST_OPTIONS} options at least, all different");
        return Err(BadFields::one(at, FieldCode::OutOfRange, message));
    }
    Ok(body)
}

impl From<NewPoll> for Poll {
    fn from(body: NewPoll) -> Self {
        Self {
            options: body.options.0.into_iter().map(PollOption::into_string).collect(),
            multiple: body.multiple.0.unwrap_or_default(),
            until: body.until.0,
        }
    }
}

/// A vote in a poll.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"choices": [0]}))]
pub(super) struct NewVote {
    /// The places of the options that are chosen, from 0 on.
    #[schema(value_type = Vec<Place>, min_items = 1, max_items = 8)]
    choices: UpTo<Place, MOST_OPTIONS>,
}

impl NewVote {
    pub(super) fn vote(self) -> Vote {
        self.choices.0.into_iter().filter_map(|place| u8::try_from(place.get()).ok()).collect()
    }
}

/// A question with a post.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Poll)]
pub(in crate::community::posts) struct PollView {
    /// What can be chosen.
    options: Vec<String>,
    /// Whether more than one can be chosen.
    multiple: bool,
    /// Until when one can vote.
    until: Time,
}

impl From<Poll> for PollView {
    fn from(Poll { options, multiple, until }: Poll) -> Self {
        Self { options, multiple, until: until.into() }
    }
}

/// How a poll stands for the caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community::posts) struct PollState {
    /// Whether nobody can vote any more.
    is_over: bool,
    /// How many have voted.
    voters: u64,
    /// The places of the options that the caller chose.
    my_choices: Vec<u8>,
    /// How many chose each option, in their order; null until the caller has voted or the poll is over.
    #[schema(required = true)]
    votes: Option<Vec<u64>>,
}

impl PollState {
    pub(super) fn new(poll: &Poll, votes: &Votes, own: Option<Vote>, now: Timestamp) -> Self {
        let is_over = poll.is_over(now);
        let is_shown = is_over || own.is_some();
        Self {
            is_over,
            voters: votes.voters,
            my_choices: own.into_iter().flatten().collect(),
            votes: is_shown.then(|| votes.of_options(poll.options.len())),
        }
    }
}

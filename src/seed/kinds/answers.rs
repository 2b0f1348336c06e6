//! Answers to events.

use std::collections::BTreeMap;

use anyhow::Context as _;
use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::{AT_ONCE, Generator, events};
use crate::community::events::rules::RsvpChoice;
use crate::community::events::store::EventStore;
use crate::seed::plan::Plan;

/// Answers of each user, to different events.
const A_USER: u64 = 2;
/// Who answers gives the next answer something to tell the host of, within the hour; these are older than
/// that.
const YOUNGEST: SignedDuration = SignedDuration::from_hours(2);
/// Between the announcement of the youngest event and the youngest answer.
const OVER: SignedDuration = SignedDuration::from_hours(60);

/// Users whose answers are made in one step: more of them keep more events busy at the same time.
const USERS_A_STEP: u64 = 2_000;

/// A user's answer to an event.
struct Answer {
    user: u64,
    choice: RsvpChoice,
    at: Timestamp,
}

/// Makes answers by the rules of capacity and waitlist. Who comes first gets a place, so those to one event
/// are made one after the other, and so are the steps: else the same seed would give places to others.
pub(super) struct Answers(EventStore);

impl Answers {
    pub(super) fn new(db: &Db) -> Self {
        Self(EventStore::new(db.clone()))
    }

    async fn answer(&self, plan: &Plan, event: u64, answers: Vec<Answer>) -> anyhow::Result<u64> {
        let (event_id, made) = (events::announced(plan, event).1, answers.len() as u64);
        for Answer { user, choice, at } in answers {
            let nobody_is_told = |_: &_| Ok::<_, StoreError>(Vec::<()>::new());
            let answered = self.0.rsvp(&event_id, &plan.user_id(user), choice, at, nobody_is_told).await?;
            answered.context("an event is missing")?;
        }
        Ok(made)
    }
}

#[async_trait]
impl Generator for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users.div_ceil(USERS_A_STEP)
    }

    fn at_once(&self) -> usize {
        1
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let latest = plan.at.checked_sub(YOUNGEST).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut by_event: BTreeMap<u64, Vec<Answer>> = BTreeMap::new();
        let first = number * USERS_A_STEP;
        for user in first..plan.users.min(first + USERS_A_STEP) {
            let mut draw = plan.draw("answers", user);
            for event in draw.different(A_USER, plan.events()) {
                let choice = match draw.below(10) {
                    0 => RsvpChoice::Declined,
                    1 | 2 => RsvpChoice::Maybe,
                    _ => RsvpChoice::Going,
                };
                let at = Plan::before(&mut draw, latest, OVER);
                by_event.entry(event).or_default().push(Answer { user, choice, at });
            }
        }
        stream::iter(by_event)
            .map(|(event, answers)| self.answer(plan, event, answers))
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, made| Ok(sum + made))
            .await
    }
}

//! Support tickets: a member and the staff write to each other until one of them ends it. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::community::admin::error::WorkError;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Head;

/// Most messages of a ticket besides the first.
pub const MOST_MESSAGES: u64 = 500;
/// Within what time the staff is to answer a member.
pub const ANSWERED_WITHIN: SignedDuration = SignedDuration::from_hours(48);
/// How long a ticket waits for its member before somebody is to look again.
const LOOKED_AT_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long a ticket that is over can be opened again.
const REOPENED_WITHIN: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What never changes about a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The member who needs help.
    pub user_id: String,
    /// What it is about, in a line.
    pub subject: String,
    /// The first message.
    pub text: String,
    /// When it was opened.
    pub created_at: Timestamp,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TicketVoice)]
pub enum Voice {
    /// The member.
    Member,
    /// The staff, to the member.
    Staff,
    /// The staff, to itself.
    Note,
}

/// Who ended a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TicketEnd)]
pub enum End {
    /// The staff: it is resolved.
    Resolved,
    /// The member: it is closed.
    Closed,
}

/// How a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// By whom.
    pub how: End,
    /// When.
    pub at: Timestamp,
}

/// What changes about a ticket besides its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Messages besides the first, notes among them.
    pub messages: u64,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

fn after(now: Timestamp, time: SignedDuration) -> Option<Timestamp> {
    now.saturating_add(time).ok()
}

/// Adds a message; its number.
pub fn say(head: &mut Head<Own>, voice: Voice, now: Timestamp) -> Result<u64, WorkError> {
    // What the staff notes for itself may come when all is over.
    if head.work.is_done() && voice != Voice::Note {
        return Err(WorkError::NotNow("the ticket is closed; open it again to go on"));
    }
    if head.own.messages >= MOST_MESSAGES {
        return Err(WorkError::Full("messages in this ticket"));
    }
    head.own.messages += 1;
    match voice {
        Voice::Member => head.work.due = after(now, ANSWERED_WITHIN),
        Voice::Staff => head.work.due = after(now, LOOKED_AT_AFTER),
        Voice::Note => {}
    }
    Ok(head.own.messages)
}

/// Ends it for the member; whether that changed anything.
pub fn close(head: &mut Head<Own>, now: Timestamp) -> bool {
    if head.work.is_done() {
        return false;
    }
    head.own.ended = Some(Ended { how: End::Closed, at: now });
    head.work.finish();
    true
}

/// Ends it for the staff; whether that changed anything.
pub fn resolve(head: &mut Head<Own>, staff: &Staff, now: Timestamp) -> Result<bool, WorkError> {
    if head.work.is_done() {
        return Ok(false);
    }
    head.work.held_by(staff)?;
    head.own.ended = Some(Ended { how: End::Resolved, at: now });
    head.work.finish();
    Ok(true)
}

/// Opens it again; whether that changed anything.
pub fn reopen(head: &mut Head<Own>, now: Timestamp) -> Result<bool, WorkError> {
    let Some(ended) = head.own.ended.filter(|_| head.work.is_done()) else { return Ok(false) };
    if now.duration_since(ended.at) > REOPENED_WITHIN {
        return Err(WorkError::NotNow("a ticket can be opened again within 14 days; open another one"));
    }
    head.own.ended = None;
    head.work.reopen(now);
    head.work.due = after(now, ANSWERED_WITHIN);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::community::admin::staff::tests::staff;
    use crate::community::admin::work::State;

    #[derive(Clone, Debug)]
    enum Act {
        Say(Voice),
        Assign(Staff),
        Close,
        Resolve(Staff),
        Reopen,
    }

    fn act() -> impl Strategy<Value = Act> {
        let voice = prop_oneof![Just(Voice::Member), Just(Voice::Staff), Just(Voice::Note)];
        prop_oneof![
            3 => voice.prop_map(Act::Say),
            2 => staff().prop_map(Act::Assign),
            1 => Just(Act::Close),
            1 => staff().prop_map(Act::Resolve),
            2 => Just(Act::Reopen),
        ]
    }

    proptest! {
        #[test]
        fn a_ticket_is_over_or_goes_on(steps in prop::collection::vec((act(), 0_i64..400), 0..40)) {
            let mut head = Head::<Own>::default();
            let mut now = Timestamp::UNIX_EPOCH;
            for (act, hours) in steps {
                now += SignedDuration::from_hours(hours);
                let before = head.clone();
                let changed = match &act {
                    Act::Say(voice) => say(&mut head, *voice, now).map(|_| true),
                    Act::Assign(by) => head.work.assign(by, &by.user_id),
                    Act::Close => Ok(close(&mut head, now)),
                    Act::Resolve(by) => resolve(&mut head, by, now),
                    Act::Reopen => reopen(&mut head, now),
                };
                prop_assert_eq!(matches!(changed, Ok(true)), head != before, "{:?}: {:?}", act, changed);
                prop_assert_eq!(head.own.ended.is_some(), head.work.is_done());
                if before.work.is_done() && head != before {
                    let is_note = matches!(act, Act::Say(Voice::Note));
                    let age = now.duration_since(before.own.ended.unwrap().at);
                    prop_assert!(is_note || matches!(act, Act::Reopen) && age <= REOPENED_WITHIN, "{:?}", act);
                }
                prop_assert!(head.work.state != State::Assigned || head.work.assignee.is_some());
                prop_assert!(head.own.messages >= before.own.messages);
            }
        }
    }

    #[test]
    fn a_ticket_has_so_many_messages_and_no_more() {
        let mut head = Head::<Own>::default();
        for number in 1..=MOST_MESSAGES {
            assert_eq!(say(&mut head, Voice::Member, Timestamp::UNIX_EPOCH).unwrap(), number);
        }
        let refused = say(&mut head, Voice::Note, Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(WorkError::Full(_))));
    }
}

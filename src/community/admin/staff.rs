//! Who works on cases, and who may take one. Pure.

use mundotango_gateway::Identity;

use super::error::WorkError;
use super::work::{State, Work};
use crate::community::roles::{Role, role_of};

/// Who works on cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staff {
    /// The user's id.
    pub user_id: String,
    /// Whether the user may do everything.
    pub is_admin: bool,
}

impl From<&Identity> for Staff {
    fn from(identity: &Identity) -> Self {
        Self { user_id: identity.user_id.clone(), is_admin: role_of(identity) >= Role::Admin }
    }
}

impl Work {
    /// Refuses what was decided on the view of another version.
    pub fn expect(&self, version: Option<u64>) -> Result<(), WorkError> {
        if version.is_none_or(|version| version == self.version) {
            Ok(())
        } else {
            Err(WorkError::Stale(self.clone()))
        }
    }

    /// Refuses what is decided, resolved or closed.
    pub fn still_open(&self) -> Result<(), WorkError> {
        if self.is_done() { Err(WorkError::Over(self.clone())) } else { Ok(()) }
    }

    /// Refuses those who step into what somebody else works on; admins may.
    pub fn held_by(&self, staff: &Staff) -> Result<(), WorkError> {
        let is_others = self.assignee.as_ref().is_some_and(|assignee| *assignee != staff.user_id);
        if self.state == State::Assigned && is_others && !staff.is_admin {
            return Err(WorkError::Held(self.clone()));
        }
        Ok(())
    }

    /// Gives it to somebody; whether that changed anything. A moderator takes what nobody has and hands on what is the moderator's own;
    /// an admin gives anything to anybody.
    pub fn assign(&mut self, staff: &Staff, to: &str) -> Result<bool, WorkError> {
        self.still_open()?;
        if self.state == State::Assigned && self.assignee.as_deref() == Some(to) {
            return Ok(false);
        }
        self.held_by(staff)?;
        if self.state == State::Open && to != staff.user_id && !staff.is_admin {
            return Err(WorkError::Forbidden("only admins give others what nobody works on"));
        }
        (self.state, self.assignee) = (State::Assigned, Some(to.to_owned()));
        Ok(true)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// Some people of the staff: the last one is an admin.
    pub(in super::super) fn staff() -> impl Strategy<Value = Staff> {
        (0..3_u8).prop_map(|number| Staff { user_id: format!("s{number}"), is_admin: number == 2 })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Assign(Staff, String),
        Finish,
        Reopen,
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (staff(), "s[0-3]").prop_map(|(by, to)| Step::Assign(by, to)),
            1 => Just(Step::Finish),
            1 => Just(Step::Reopen),
            1 => Just(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn who_works_on_a_case_follows_the_rule(steps in prop::collection::vec(step(), 0..30)) {
            let mut work = Work::default();
            for step in steps {
                let before = work.clone();
                match step {
                    Step::Assign(by, to) => {
                        if let Ok(changed) = work.assign(&by, &to) {
                            prop_assert!(!before.is_done());
                            prop_assert_eq!(work.assignee.as_deref(), Some(to.as_str()));
                            prop_assert_eq!(changed, before != work);
                            let is_assigned = before.state == State::Assigned;
                            let was_own = is_assigned && before.assignee.as_ref() == Some(&by.user_id);
                            let takes = before.state == State::Open && to == by.user_id;
                            prop_assert!(!changed || by.is_admin || was_own || takes);
                        } else {
                            prop_assert_eq!(&work, &before);
                        }
                    }
                    Step::Finish => work.finish(),
                    Step::Reopen if work.is_done() => work.reopen(Timestamp::UNIX_EPOCH),
                    Step::Release if !work.is_done() => work.release(),
                    Step::Reopen | Step::Release => {}
                }
                prop_assert!(work.state != State::Assigned || work.assignee.is_some());
                prop_assert!(work.state != State::Open || work.assignee.is_none());
            }
        }
    }

    #[test]
    fn of_two_who_take_the_same_one_has_it_and_the_other_is_told_who() {
        let mut work = Work::default();
        let [one, other] = ["s0", "s1"].map(|id| Staff { user_id: id.to_owned(), is_admin: false });
        assert!(work.assign(&one, "s0").unwrap());
        assert!(!work.assign(&one, "s0").unwrap(), "doing it again changes nothing");
        let Err(WorkError::Held(seen)) = work.assign(&other, "s1") else { panic!("it is taken") };
        assert_eq!(seen.assignee.as_deref(), Some("s0"));
        assert!(matches!(work.expect(Some(7)), Err(WorkError::Stale(_))));
        assert!(work.expect(None).is_ok() && work.expect(Some(0)).is_ok());
    }
}

//! Making decisions of reviews, and the one appeal against each. Pure.

use jiff::{SignedDuration, Timestamp};

use super::case::{APPEAL_WITHIN, Appeal, Facts, Judged, Outcome, Own, Rule, Ruling, Said};
use super::rules::may_work;
use crate::community::accounts::restrictions::Ability;
use crate::community::admin::error::WorkError;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Head;

/// Within what time an appeal is to be decided.
const JUDGED_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What somebody wants to decide.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is to come of it.
    pub outcome: Outcome,
    /// By which rule.
    pub rule: Rule,
    /// What the user is to be kept from.
    pub abilities: Vec<Ability>,
    /// Until when.
    pub until: Option<Timestamp>,
}

impl Wanted {
    /// The ruling, of what is reviewed; or the field that is wrong, and why.
    pub fn ruling(&self, facts: &Facts, now: Timestamp) -> Result<Ruling, (&'static str, &'static str)> {
        let (outcome, is_about_somebody) = (self.outcome, facts.subject().is_some());
        if (outcome == Outcome::Restrict) == self.abilities.is_empty() {
            return Err(("abilities", "are needed with restrict, and with nothing else"));
        }
        match (outcome, self.until) {
            (Outcome::Restrict, None) => return Err(("until", "is needed: a restriction ends")),
            (Outcome::Restrict | Outcome::Lock, Some(until)) if until <= now => {
                return Err(("until", "must be later than now"));
            }
            (Outcome::None | Outcome::Warn | Outcome::Remove, Some(_)) => {
                return Err(("until", "goes together with restrict and lock alone"));
            }
            _ => {}
        }
        if outcome == Outcome::Remove && !facts.kind.can_be_taken_away() {
            return Err(("action", "users, series and bookings are not taken away"));
        }
        if matches!(outcome, Outcome::Restrict | Outcome::Lock) && !is_about_somebody {
            return Err(("action", "the review says of nobody whom it is about"));
        }
        let mut abilities = self.abilities.clone();
        abilities.sort_unstable();
        abilities.dedup();
        let appeal_until = now.saturating_add(APPEAL_WITHIN).unwrap_or(Timestamp::MAX);
        Ok(Ruling { rule: self.rule, abilities, until: self.until, appeal_until })
    }
}

/// Appeals a decision; whether that changed anything. Once, and as long as there is time. Of whom the decision is about the own
/// appeal takes the place of one that an admin has sent in and nobody has judged.
pub fn appeal(
    facts: &Facts,
    head: &mut Head<Own>,
    by: &str,
    text: &str,
    now: Timestamp,
) -> Result<bool, WorkError> {
    let is_own = |by: &str| facts.subject() == Some(by);
    if let Some(known) = &head.own.appeal {
        if known.by == by && known.text == text {
            return Ok(false);
        }
        if !is_own(by) || is_own(&known.by) || known.judged.is_some() {
            return Err(WorkError::NotNow("there is one appeal for a decision, and it was made"));
        }
    }
    let Some((_, ruling, said)) = head.own.effective() else {
        return Err(WorkError::NotNow("nothing was decided that can be appealed"));
    };
    if said.by == by && !is_own(by) {
        return Err(WorkError::NotNow("another admin sends an appeal in than the one who decided"));
    }
    if ruling.appeal_until <= now {
        return Err(WorkError::NotNow("the time to appeal is over"));
    }
    head.own.appeal = Some(Appeal { by: by.to_owned(), at: now, text: text.to_owned(), judged: None });
    head.work.release();
    head.work.queued_at = Some(now);
    head.work.due = now.saturating_add(JUDGED_WITHIN).ok();
    Ok(true)
}

/// Decides an appeal; whether that changed anything.
pub fn judge(
    facts: &Facts,
    head: &mut Head<Own>,
    staff: &Staff,
    upheld: bool,
    reason: String,
    now: Timestamp,
) -> Result<bool, WorkError> {
    let judged = head.own.appeal.as_ref().and_then(|appeal| appeal.judged.as_ref());
    if judged.is_some_and(|judged| judged.upheld == upheld && judged.said.by == staff.user_id) {
        return Ok(false);
    }
    may_work(facts, &head.own, staff)?;
    head.work.still_open()?;
    head.work.held_by(staff)?;
    let Some(appeal) = head.own.appeal.as_mut().filter(|appeal| appeal.judged.is_none()) else {
        return Err(WorkError::NotNow("there is no appeal to decide"));
    };
    appeal.judged = Some(Judged { upheld, said: Said { by: staff.user_id.clone(), at: now, reason } });
    head.work.finish();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::community::admin::reviews::case::{FINAL_AFTER, ThingKind};
    use crate::community::admin::reviews::rules::resolve;
    use crate::community::admin::staff::tests::staff;

    fn facts(kind: ThingKind, about: Option<&str>) -> Facts {
        Facts {
            kind,
            thing: "x".to_owned(),
            about: about.map(str::to_owned),
            opened_by: None,
            rule: None,
            reason: "x".to_owned(),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn wanted(outcome: Outcome) -> Wanted {
        Wanted { outcome, rule: Rule::Spam, abilities: Vec::new(), until: None }
    }

    fn at(days: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(days * 24)
    }

    #[test]
    fn each_outcome_takes_what_belongs_to_it_and_no_more() {
        let (post, series) = (facts(ThingKind::Post, Some("ben")), facts(ThingKind::Series, None));
        let field =
            |wanted: Wanted, facts: &Facts| wanted.ruling(facts, at(1)).map_err(|(field, _)| field).err();
        let restrict = |abilities: &[Ability], until| Wanted {
            abilities: abilities.to_vec(),
            until,
            ..wanted(Outcome::Restrict)
        };
        assert_eq!(field(wanted(Outcome::Remove), &post), None);
        for kind in [ThingKind::Comment, ThingKind::Message, ThingKind::Event, ThingKind::Listing] {
            assert_eq!(field(wanted(Outcome::Remove), &facts(kind, None)), None, "{kind:?}");
        }
        assert_eq!(field(wanted(Outcome::Remove), &series), Some("action"));
        assert_eq!(field(wanted(Outcome::Lock), &series), Some("action"));
        assert_eq!(field(wanted(Outcome::Lock), &post), None);
        assert_eq!(field(restrict(&[], Some(at(2))), &post), Some("abilities"));
        assert_eq!(field(restrict(&[Ability::Posting], None), &post), Some("until"));
        assert_eq!(field(restrict(&[Ability::Posting], Some(at(1))), &post), Some("until"));
        assert_eq!(field(Wanted { until: Some(at(2)), ..wanted(Outcome::Warn) }, &post), Some("until"));
        let twice = restrict(&[Ability::Posting, Ability::Hosting, Ability::Posting], Some(at(2)));
        let ruling = twice.ruling(&post, at(1)).unwrap();
        assert_eq!((ruling.abilities.len(), ruling.appeal_until), (2, at(15)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Resolve(bool),
        Appeal(bool),
        SendIn,
        Judge(bool),
        Wait,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => any::<bool>().prop_map(Act::Resolve),
            3 => any::<bool>().prop_map(Act::Appeal),
            2 => Just(Act::SendIn),
            3 => any::<bool>().prop_map(Act::Judge),
            1 => Just(Act::Wait),
        ]
    }

    proptest! {
        /// Trap 67.
        #[test]
        fn a_decision_is_appealed_once_in_time_and_judged_by_another(
            steps in prop::collection::vec((staff(), act()), 0..25),
        ) {
            let facts = facts(ThingKind::Post, Some("ben"));
            let (mut head, mut day) = (Head::<Own>::default(), 0);
            for (by, act) in steps {
                let (before, now) = (head.clone(), at(day));
                let done = match act {
                    Act::Resolve(acts) => {
                        let outcome = if acts { Outcome::Warn } else { Outcome::None };
                        resolve(&facts, &mut head, &by, outcome, "x".to_owned(), now).inspect(|changed| {
                            if *changed {
                                head.own.ruling = wanted(outcome).ruling(&facts, now).ok();
                            }
                        })
                    }
                    Act::Appeal(same) => {
                        appeal(&facts, &mut head, "ben", if same { "a" } else { "b" }, now)
                    }
                    Act::SendIn => appeal(&facts, &mut head, &by.user_id, "c", now),
                    Act::Judge(upheld) => judge(&facts, &mut head, &by, upheld, "x".to_owned(), now),
                    Act::Wait => {
                        day += 5;
                        Ok(false)
                    }
                };
                let changed = head != before;
                prop_assert_eq!(matches!(done, Ok(true)), changed, "{:?}", done);
                if before.own.outcome.is_some() {
                    prop_assert_eq!(&head.own.outcome, &before.own.outcome, "a decision is made once");
                    prop_assert_eq!(&head.own.resolution, &before.own.resolution);
                }
                if changed && matches!(act, Act::Appeal(_) | Act::SendIn) {
                    let (_, ruling, said) = before.own.effective().unwrap();
                    prop_assert!(now < ruling.appeal_until && !head.work.is_done());
                    let sender = &head.own.appeal.as_ref().unwrap().by;
                    prop_assert_ne!(&said.by, sender, "who decided uses up nobody's appeal");
                    if let Some(known) = &before.own.appeal {
                        prop_assert!(known.judged.is_none() && known.by != "ben" && sender == "ben");
                    }
                }
                if changed && let Act::Judge(upheld) = act {
                    prop_assert_ne!(&before.own.resolution.as_ref().unwrap().by, &by.user_id);
                    prop_assert_eq!(head.own.is_overturned(), !upheld);
                    prop_assert!(head.work.is_done() && head.own.is_final(now));
                }
                let waits = head.own.outcome.is_none() || head.own.is_appealed();
                prop_assert_eq!(head.work.is_done(), !waits);
            }
        }
    }

    #[test]
    fn a_strike_lasts_180_days_unless_it_is_overturned() {
        let facts = facts(ThingKind::Post, Some("ben"));
        let person = |id: &str| Staff { user_id: id.to_owned(), is_admin: false };
        let mut head = Head::<Own>::default();
        resolve(&facts, &mut head, &person("s0"), Outcome::Warn, "x".to_owned(), at(0)).unwrap();
        head.own.ruling = wanted(Outcome::Warn).ruling(&facts, at(0)).ok();
        assert!(head.own.is_strike(at(179)) && !head.own.is_strike(at(180)));
        assert!(
            !head.own.is_final(at(14)) && head.own.is_final(at(14) + FINAL_AFTER),
            "the time to appeal ends"
        );
        let sent_in = appeal(&facts, &mut head, "s0", "Nothing.", at(1));
        assert!(matches!(sent_in, Err(WorkError::NotNow(_))), "who decided does not: {sent_in:?}");
        assert!(appeal(&facts, &mut head, "s1", "Something.", at(1)).unwrap());
        assert!(appeal(&facts, &mut head, "ben", "It was not me.", at(1)).unwrap(), "the own one counts");
        assert!(appeal(&facts, &mut head, "ben", "And more.", at(1)).is_err(), "once");
        assert!(matches!(
            judge(&facts, &mut head, &person("s0"), false, "x".to_owned(), at(2)),
            Err(WorkError::NotNow(_))
        ));
        judge(&facts, &mut head, &person("s1"), false, "x".to_owned(), at(2)).unwrap();
        assert!(!head.own.is_strike(at(3)));
    }
}

//! What a change of a series makes of its dates: pure functions of what there is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::rules::{Ends, Rule, Times, earlier, later, occurrences};
use super::state::Template;

/// Most dates that are planned in one step.
pub(super) const MOST_AT_ONCE: usize = 60;
/// Most days after its start on which a date ends.
pub(in crate::community) const MOST_DAYS: u32 = 30;

/// Whether a date is still to begin.
pub(super) fn is_to_come(date: Date, times: &Times, zone: &TimeZone, now: Timestamp) -> bool {
    times.on(date, zone).is_some_and(|when| when.starts_at() > now)
}

/// The dates that are to have their rows next: behind those that were planned before, and up to a day.
pub(super) fn next_dates(
    template: &Template,
    zone: &TimeZone,
    known: &BTreeSet<Date>,
    planned: Option<Date>,
    last: Date,
    now: Timestamp,
) -> Vec<Date> {
    let dates = occurrences(&template.rule, &template.times, zone, template.first, last).into_iter();
    dates
        .filter(|date| planned.is_none_or(|planned| *date > planned) && !known.contains(date))
        // A series that slept does not make up for what is over.
        .filter(|date| template.times.on(*date, zone).is_some_and(|when| when.over_at() > now))
        .take(MOST_AT_ONCE)
        .collect()
}

/// The first date of a rule that is to take the place of another one: in the day, week or month of the first date that it
/// changes, after the dates that stay, and not begun.
pub(super) fn first_of(
    template: &Template,
    zone: &TimeZone,
    changed_from: Date,
    stays: Option<Date>,
    now: Timestamp,
) -> Option<Date> {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let behind = stays.map_or(Date::MIN, |stays| later(stays, 1));
    let from = template.rule.period_of(changed_from).max(behind).max(today);
    let first = template.rule.first_from(from)?;
    if is_to_come(first, &template.times, zone, now) {
        return Some(first);
    }
    template.rule.first_from(later(today, 1))
}

/// What is left of a rule from a date on, where it was counted from another one.
pub(super) fn rest_of(rule: &Rule, first: Date, from: Date) -> Rule {
    let Ends::After(count) = rule.ends else { return rule.clone() };
    let all = Rule { excluded: BTreeSet::new(), ..rule.clone() };
    let gone = u32::try_from(all.dates(first, earlier(from, 1)).count()).unwrap_or(u32::MAX);
    Rule { ends: Ends::After(count.saturating_sub(gone)), ..rule.clone() }
}

/// The days within which a rule gives its next date, if it gives one at all: the fifth of a day of the week each 99 months is the
/// rarest.
const WITHIN_DAYS: u32 = 60 * 366;

/// A rule from a day on, where it was counted from an earlier date: what is left of it, and its first date then, which may be one
/// that is left out. So the weeks or months that it skips stay the same ones. `None` if nothing is left.
pub(in crate::community) fn rest_from(rule: &Rule, first: Date, from: Date) -> Option<(Rule, Date)> {
    let all = Rule { excluded: BTreeSet::new(), ..rule.clone() };
    let date = all.dates(first, later(from.max(first), WITHIN_DAYS)).find(|date| *date >= from)?;
    let mut rest = rest_of(rule, first, date);
    rest.excluded.retain(|excluded| *excluded >= date);
    Some((rest, date))
}

/// What becomes of dates that a changed rule does not give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rearranged {
    /// Those that have another day now, with the day.
    pub(super) moved: Vec<(Date, Date)>,
    /// Those that do not take place.
    pub(super) dropped: Vec<Date>,
}

/// Finds new days for dates that a changed rule does not give: in the same day, week or month, in order, among those that are
/// not taken. `old` are the dates that there are, and whether each can be moved; `new` are those that the rule gives.
pub(super) fn rearrange(rule: &Rule, old: &BTreeMap<Date, bool>, new: &[Date]) -> Rearranged {
    let wanted: BTreeSet<_> = new.iter().copied().collect();
    let mut free: BTreeMap<Date, Vec<Date>> = BTreeMap::new();
    // From behind, so that the first is the last of each list.
    for date in wanted.iter().rev().filter(|date| !old.contains_key(*date)) {
        free.entry(rule.period_of(*date)).or_default().push(*date);
    }
    let mut rearranged = Rearranged::default();
    for (date, can_move) in old.iter().filter(|(date, _)| !wanted.contains(*date)) {
        let place = can_move.then(|| free.get_mut(&rule.period_of(*date)).and_then(Vec::pop)).flatten();
        match place {
            Some(place) => rearranged.moved.push((*date, place)),
            None => rearranged.dropped.push(*date),
        }
    }
    rearranged
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};
    use mundotango_storage::zone_named;
    use proptest::prelude::*;

    use super::super::rules::{Day, End, Repeats};
    use super::*;
    use crate::community::events::rules::Settings;
    use crate::community::location::Location;

    fn weekly(on: &[Day]) -> Rule {
        Rule {
            repeats: Repeats::Weekly(on.iter().copied().collect()),
            interval: 1,
            ends: Ends::Never,
            excluded: BTreeSet::new(),
        }
    }

    fn template(rule: Rule) -> Template {
        Template {
            rev: 1,
            title: "Milonga".to_owned(),
            description: String::new(),
            location: Location::default(),
            settings: Settings::default(),
            times: Times { start: time(21, 0, 0, 0), end: Some(End { days: 1, time: time(3, 0, 0, 0) }) },
            rule,
            first: date(2026, 12, 1),
            owner: None,
        }
    }

    #[test]
    fn a_changed_rule_begins_in_the_week_of_what_it_changes() {
        let zone = zone_named("Europe/Berlin").unwrap();
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let first = |on, from, stays| {
            first_of(&template(weekly(&[on])), &zone, from, stays, now).unwrap().to_string()
        };
        let (tuesday, thursday) = (date(2026, 12, 8), date(2026, 12, 10));
        assert_eq!(first(Day::Wednesday, tuesday, None), "2026-12-09");
        assert_eq!(first(Day::Monday, tuesday, None), "2026-12-07");
        // Behind what stays, and not in the past.
        assert_eq!(first(Day::Monday, thursday, Some(tuesday)), "2026-12-14");
        assert_eq!(first(Day::Monday, date(2026, 12, 2), None), "2026-12-07");
        assert_eq!(first(Day::Tuesday, date(2026, 12, 2), None), "2026-12-01", "it begins tonight");
        let late: Timestamp = "2026-12-01T20:00:00Z".parse().unwrap();
        let begun = first_of(&template(weekly(&[Day::Tuesday])), &zone, date(2026, 12, 2), None, late);
        assert_eq!(begun, Some(tuesday));
    }

    #[test]
    fn what_is_left_of_a_count_is_counted_with_what_was_left_out() {
        let mut rule = Rule { ends: Ends::After(10), ..weekly(&[Day::Tuesday]) };
        rule.excluded.insert(date(2026, 12, 8));
        let rest = rest_of(&rule, date(2026, 12, 1), date(2026, 12, 15));
        assert_eq!(rest.ends, Ends::After(8));
        assert_eq!(
            rest.dates(date(2026, 12, 15), Date::MAX).last(),
            rule.dates(date(2026, 12, 1), Date::MAX).last()
        );
    }

    #[test]
    fn what_is_left_of_a_rule_skips_the_same_weeks_and_counts_on() {
        let mut rule = Rule { interval: 2, ends: Ends::After(5), ..weekly(&[Day::Tuesday]) };
        rule.excluded = [date(2026, 12, 1), date(2026, 12, 15)].into();
        let (rest, first) = rest_from(&rule, date(2026, 12, 1), date(2026, 12, 2)).unwrap();
        assert_eq!((first, rest.ends), (date(2026, 12, 15), Ends::After(4)));
        assert_eq!(rest.excluded, [date(2026, 12, 15)].into());
        let (all, left) = (rule.dates(date(2026, 12, 1), Date::MAX), rest.dates(first, Date::MAX));
        assert_eq!(left.collect::<Vec<_>>(), all.collect::<Vec<_>>());
        assert_eq!(rest_from(&rule, date(2026, 12, 1), date(2027, 1, 27)), None);
    }

    #[test]
    fn t18_dates_move_within_their_week_and_the_others_are_dropped() {
        let old = [date(2026, 12, 1), date(2026, 12, 8), date(2026, 12, 15)];
        let old: BTreeMap<_, _> = old.into_iter().zip([true, false, true]).collect();
        let rule = weekly(&[Day::Wednesday]);
        let new: Vec<_> = rule.dates(date(2026, 12, 2), date(2026, 12, 9)).collect();
        let rearranged = rearrange(&rule, &old, &new);
        assert_eq!(rearranged.moved, [(date(2026, 12, 1), date(2026, 12, 2))]);
        assert_eq!(rearranged.dropped, [date(2026, 12, 8), date(2026, 12, 15)]);
        assert_eq!(rearrange(&weekly(&[Day::Tuesday]), &old, &[]).dropped.len(), 3);
    }

    fn some_days() -> impl Strategy<Value = Vec<Day>> {
        prop::collection::btree_set(0..7_usize, 1..=7)
            .prop_map(|all| all.into_iter().map(|number| Day::ALL[number]).collect())
    }

    proptest! {
        #[test]
        fn t18_no_date_is_left_behind_and_no_two_share_a_day(
            before in some_days(), after in some_days(), fixed in 0..4_usize, ends in 0..80_u32,
        ) {
            let (before, mut after) = (weekly(&before), weekly(&after));
            after.ends = Ends::Until(later(date(2026, 12, 1), ends));
            let (first, last) = (date(2026, 12, 1), date(2027, 2, 1));
            let old: BTreeMap<_, _> =
                before.dates(first, last).enumerate().map(|(number, date)| (date, number % 4 >= fixed)).collect();
            let new: Vec<_> = after.dates(first, last).collect();
            let Rearranged { moved, dropped } = rearrange(&after, &old, &new);
            let kept = old.keys().filter(|date| new.contains(date)).count();
            prop_assert_eq!(kept + moved.len() + dropped.len(), old.len());
            let days: BTreeSet<_> = moved.iter().map(|(_, day)| *day).collect();
            prop_assert_eq!(days.len(), moved.len());
            for (date, day) in &moved {
                prop_assert!(old[date] && new.contains(day) && !old.contains_key(day));
                prop_assert_eq!(after.period_of(*date), after.period_of(*day));
            }
            prop_assert!(dropped.iter().all(|date| old.contains_key(date) && !new.contains(date)));
        }

        #[test]
        fn what_is_planned_follows_what_was_planned_before(on in some_days(), ahead in 1..200_u32) {
            let zone = zone_named("America/New_York").unwrap();
            let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
            let (template, last) = (template(weekly(&on)), later(date(2026, 12, 1), ahead));
            let (mut known, mut planned, mut steps) = (BTreeSet::new(), None, 0);
            loop {
                let dates = next_dates(&template, &zone, &known, planned, last, now);
                prop_assert!(dates.len() <= MOST_AT_ONCE && dates.is_sorted());
                let Some(newest) = dates.last() else { break };
                planned = Some(*newest);
                prop_assert!(dates.iter().all(|date| known.insert(*date)));
                steps += 1;
                prop_assert!(steps < 10);
            }
            let all: Vec<_> = template.rule.dates(template.first, last).collect();
            prop_assert_eq!(known.into_iter().collect::<Vec<_>>(), all);
        }
    }
}

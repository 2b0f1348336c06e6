//! What members report: their reports and copies of what these judge, kept with the review, so that nothing that its author does
//! later takes them away. Reports about one thing are one review; what they weigh brings it forward in the queue, and does nothing
//! else.

use jiff::Timestamp;
use mundotango_storage::db::{
    Decision, RowRange, Wants, key, last_part, number, prefix, shard_of, time_of_id,
};
use mundotango_storage::{StoreError, now};

use super::case::{Facts, Report, Row, Snapshot, ThingKind};
use super::rules::{queued_at, raises};
use super::store::{CASE_LISTS, REVIEWS, Reviews, reported_by};
use crate::community::admin::desk::{Desk, Kept, Open};
use crate::community::admin::error::WorkError;
use crate::community::admin::lists;
use crate::community::admin::live;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Workflow;

/// The rule by which reports open reviews.
pub const BY_REPORTS: &str = "memberReports";
/// What a review says that was opened so.
const REPORTED: &str = "Members have reported this.";
/// Most reports of one review.
pub const MOST_REPORTS: u32 = 2_000;
/// Most copies of what is reported.
pub const MOST_COPIES: u32 = 10;
/// The first of them, which stay; of the others the oldest makes room.
const FIRST_COPIES: usize = 3;
/// Below this lie the reports, by the user who reported.
const REPORTS: &str = "r";
/// Below this lie the copies, by what follows from their words.
const COPIES: &str = "s";

/// What came of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is there, or one of the same member was.
    There(Report),
    /// The review is decided: what comes now needs another one.
    Over,
}

/// A number that follows from what a copy says, so that the same is kept once.
fn mark(copy: &Snapshot) -> u64 {
    let mut all = format!("{}\n{}", copy.title.as_deref().unwrap_or_default(), copy.text);
    for address in &copy.media {
        all.push('\n');
        all.push_str(address);
    }
    shard_of(&all, u64::MAX)
}

fn report_key(user_id: &str) -> String {
    key(&[REPORTS, user_id])
}

fn copy_key(copy: &Snapshot) -> String {
    key(&[COPIES, &number(mark(copy))])
}

/// Which copy makes room for a new one, if one has to: many edits take neither what was reported first out nor what is said now.
fn makes_room(mut copies: Vec<(Timestamp, String)>) -> Option<String> {
    if copies.len() < MOST_COPIES as usize {
        return None;
    }
    copies.sort();
    copies.into_iter().nth(FIRST_COPIES).map(|(_, key)| key)
}

/// Refuses to have somebody of the staff decide what the same person has reported as a member.
pub(super) fn must_not_have_reported(part: &mut Open<'_, Reviews>, staff: &Staff) -> Result<(), WorkError> {
    match part.row(&report_key(&staff.user_id)) {
        Some(_) => Err(WorkError::Forbidden("what somebody has reported is for others to review")),
        None => Ok(()),
    }
}

/// What such a rule looks at.
pub(super) fn wants_of(user_id: &str) -> Wants {
    Wants::head().row(report_key(user_id))
}

impl Desk<Reviews> {
    /// Opens the review of a thing that members report, unless it is there. Its id says when it was opened.
    pub async fn open_reported(
        &self,
        id: &str,
        (kind, thing, about): (ThingKind, &str, Option<String>),
    ) -> Result<(), WorkError> {
        if self.case(id).await?.is_some() {
            return Ok(());
        }
        let facts = Facts {
            kind,
            thing: thing.to_owned(),
            about,
            opened_by: None,
            rule: Some(BY_REPORTS.to_owned()),
            reason: REPORTED.to_owned(),
            created_at: time_of_id(id).unwrap_or_else(now),
        };
        self.open(id, facts.with_subject(), |case| Ok(vec![live::to_staff(case)?])).await?;
        Ok(())
    }

    /// Adds a member's report to a review, with a copy of what it judges; `None` if there is no such review. A member has one
    /// report in a review: sent again, it is that one.
    pub async fn report(
        &self,
        id: &str,
        by: &str,
        report: Report,
        copy: Snapshot,
    ) -> Result<Option<Reported>, StoreError> {
        let (case_id, row, copy_row) = (id.to_owned(), report_key(by), copy_key(&copy));
        let list = reported_by(by);
        let entry = CASE_LISTS.entry(list, &lists::case_key(Workflow::Safety, report.at, id), &())?;
        let copies = prefix(&[COPIES]);
        let wants = Wants::head().row(&row).row(&copy_row).first(&copies, MOST_COPIES as usize);
        let reported = self.db().change(&REVIEWS, id, wants, move |part| {
            // An appeal is judged on what was decided: what is reported afterwards is another case.
            let is_over = part.head.own.outcome.is_some();
            if let Some(Row::Report(known)) = part.row(&row).cloned()
                && (!is_over || known.id == report.id)
            {
                return Ok(Decision::Stands(Reported::There(*known)));
            }
            if is_over {
                return Ok(Decision::Stands(Reported::Over));
            }
            if part.head.own.reports >= MOST_REPORTS {
                return Err(StoreError::Full("the list of reports of this"));
            }
            let before = Kept::<Reviews>::in_part(&case_id, part);
            let is_known = part.row(&copy_row).is_some();
            if !is_known {
                let known = part.first(&copies, MOST_COPIES as usize).into_iter();
                let known = known.filter_map(|(key, row)| match row {
                    Row::Snapshot(copy) => Some((copy.at, key)),
                    Row::Report(_) => None,
                });
                match makes_room(known.collect()) {
                    Some(key) => part.remove(key),
                    None => part.head.own.copies += 1,
                }
                part.set(&copy_row, Row::Snapshot(Box::new(copy.clone())));
            }
            part.set(&row, Row::Report(Box::new(report.clone())));
            part.enter(entry.clone());
            part.head.own.reports += 1;
            part.head.own.weight = part.head.own.weight.saturating_add(report.weight);
            let weight = part.head.own.weight;
            if raises(weight) > raises(before.own.weight) {
                part.head.work.queued_at = Some(queued_at(before.opened_at(), weight));
                part.emit(&lists::unlist(Workflow::Safety, &before.pending_key())?)?;
                let after = Kept::<Reviews>::in_part(&case_id, part);
                part.enter(lists::pending(Workflow::Safety, &after.pending_key())?);
                // Told where it moves, so that a crowd does not tell each of its reports.
                part.emit(&live::to_staff(&after)?)?;
            }
            Ok(Decision::Write(Reported::There(report.clone())))
        });
        reported.await
    }

    /// A member's report in a review.
    pub async fn report_of(&self, id: &str, by: &str) -> Result<Option<Report>, StoreError> {
        Ok(match self.db().row(&REVIEWS, id, &report_key(by)).await? {
            Some(Row::Report(report)) => Some(*report),
            Some(Row::Snapshot(_)) | None => None,
        })
    }

    /// Reports of a review behind a member's, with who made them.
    pub async fn reports(
        &self,
        id: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Report)>, StoreError> {
        let range = RowRange::first(prefix(&[REPORTS]), limit).after(after.map(report_key));
        let rows = self.db().rows(&REVIEWS, id, &range).await?.items.into_iter();
        let reports = rows.filter_map(|(key, row)| match row {
            Row::Report(report) => Some((last_part(&key), *report)),
            Row::Snapshot(_) => None,
        });
        Ok(reports.collect())
    }

    /// The copies of what a review is about, the oldest first.
    pub async fn copies(&self, id: &str) -> Result<Vec<Snapshot>, StoreError> {
        let range = RowRange::first(prefix(&[COPIES]), MOST_COPIES as usize);
        let rows = self.db().rows(&REVIEWS, id, &range).await?.items.into_iter();
        let copies = rows.filter_map(|(_, row)| match row {
            Row::Snapshot(copy) => Some(*copy),
            Row::Report(_) => None,
        });
        let mut copies: Vec<_> = copies.collect();
        copies.sort_by_key(|copy| copy.at);
        Ok(copies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_copies_and_the_newest_stay() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut copies = Vec::new();
        for number in 0..100 {
            if let Some(gone) = makes_room(copies.clone()) {
                copies.retain(|(_, key)| *key != gone);
            }
            copies.push((at(number), number.to_string()));
        }
        let kept: Vec<_> = copies.iter().map(|(at, _)| at.as_second()).collect();
        assert_eq!(kept, [0, 1, 2, 93, 94, 95, 96, 97, 98, 99]);
    }
}

//! Proposals as they are kept.

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{Erasure, Export, Fields, Kind, Whose};

use super::rules::{Facts, Own};
use crate::community::admin::desk::Case;
use crate::community::admin::work::{Head, Workflow};

/// The proposals.
pub static PROPOSALS: Kind<Facts, Head<Own>, ()> =
    Kind::new("proposals", "a proposal: 10,000 characters, 45 KB", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Anonymous("the community decides on it, whoever proposed it"),
        &["facts.requested_by"],
    ),
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Kept("as long as what came of it; it says what is to be built, not who wants it"),
        &["facts.title", "facts.description", "facts.area", "facts.needs_two", "facts.created_at"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is told by role"),
        Erasure::Anonymous("the decision stands, whoever made it"),
        &["head.work.assignee", "head.own.approvals.*.by", "head.own.rejection.by"],
    ),
    Fields::of_nobody(&[
        "id",
        "head.work.state",
        "head.work.due",
        "head.work.version",
        "head.work.changed_at",
        "head.work.queued_at",
        "head.own.approvals.*.at",
        "head.own.approvals.*.reason",
        "head.own.rejection.at",
        "head.own.rejection.reason",
        "head.own.outcome",
    ]),
];

/// The workflow of proposals.
#[derive(Clone, Copy, Debug)]
pub struct Proposals;

impl Case for Proposals {
    type Facts = Facts;
    type Own = Own;
    type Row = ();

    const WORKFLOW: Workflow = Workflow::Feature;
    const WITHIN: SignedDuration = SignedDuration::from_hours(14 * 24);
    const MOST_OPEN: usize = 10;
    const MANY: &'static str = "open proposals of yours";

    fn kind() -> &'static Kind<Facts, Head<Own>, ()> {
        &PROPOSALS
    }

    fn opened(facts: &Facts) -> (Timestamp, Option<&str>) {
        (facts.created_at, Some(&facts.requested_by))
    }
}

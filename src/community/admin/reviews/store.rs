//! Safety reviews as they are kept.

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{Erasure, Export, Fields, Kind, Whose};

use super::rules::{Facts, Own};
use crate::community::admin::desk::Case;
use crate::community::admin::work::{Head, Workflow};

/// The reviews.
pub static REVIEWS: Kind<Facts, Head<Own>, ()> =
    Kind::new("safety_reviews", "a review: 3 texts of 500 characters, 7 KB", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("what was decided is told to whom it is about; who looks after others is not"),
        Erasure::Anonymous("the review stands, whoever it was about and whoever made it"),
        &[
            "facts.thing",
            "facts.about",
            "facts.opened_by",
            "head.work.assignee",
            "head.own.escalated.by",
            "head.own.resolution.by",
        ],
    ),
    Fields::of(
        Whose::At("facts.about"),
        Export::NotGiven("what was decided is told to whom it is about; who looks after others is not"),
        Erasure::Emptied,
        &["facts.reason", "head.own.escalated.reason", "head.own.resolution.reason"],
    ),
    Fields::of_nobody(&[
        "id",
        "facts.kind",
        "facts.rule",
        "facts.created_at",
        "head.work.state",
        "head.work.due",
        "head.work.version",
        "head.work.changed_at",
        "head.work.queued_at",
        "head.own.escalated.at",
        "head.own.outcome",
        "head.own.resolution.at",
    ]),
];

/// The workflow of safety reviews.
#[derive(Clone, Copy, Debug)]
pub struct Reviews;

impl Case for Reviews {
    type Facts = Facts;
    type Own = Own;
    type Row = ();

    const WORKFLOW: Workflow = Workflow::Safety;
    const WITHIN: SignedDuration = SignedDuration::from_hours(24);
    const MOST_OPEN: usize = 200;
    const MANY: &'static str = "open reviews of yours";

    fn kind() -> &'static Kind<Facts, Head<Own>, ()> {
        &REVIEWS
    }

    fn opened(facts: &Facts) -> (Timestamp, Option<&str>) {
        (facts.created_at, facts.opened_by.as_deref())
    }
}

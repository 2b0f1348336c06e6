//! Safety reviews as they are kept.

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{Erasure, Export, Fields, Index, Kind, Order, Whose};
use mundotango_storage::{Page, PageRequest, StoreError};

use super::case::{Facts, Own, Row};
use crate::community::admin::desk::{Case, Desk, Kept};
use crate::community::admin::lists;
use crate::community::admin::work::{Head, Workflow};

/// The reviews.
pub static REVIEWS: Kind<Facts, Head<Own>, Row> = Kind::new(
    "safety_reviews",
    "a review: 2,000 reports of 4 KB and 10 copies of 60 KB, 9 MB, most far less",
    PERSONAL,
);
/// Why whom a case is about gets nothing of it but the own words.
const TOLD_ELSEWHERE: Export =
    Export::NotGiven("what was decided is told at /api/moderation/decisions; that somebody reported is not");
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
            "head.own.appeal.by",
            "head.own.appeal.judged.said.by",
        ],
    ),
    Fields::of(
        Whose::At("facts.about"),
        Export::NotGiven("what was decided is told to whom it is about; who looks after others is not"),
        Erasure::Emptied,
        &[
            "facts.reason",
            "head.own.escalated.reason",
            "head.own.resolution.reason",
            "head.own.appeal.judged.said.reason",
        ],
    ),
    Fields::of(Whose::At("facts.about"), Export::Given, Erasure::Emptied, &["head.own.appeal.text"]),
    Fields::of(
        Whose::At("facts.about"),
        TOLD_ELSEWHERE,
        Erasure::Emptied,
        &[
            "rows.s.snapshot.title",
            "rows.s.snapshot.text",
            "rows.s.snapshot.media.*",
            "rows.s.snapshot.before.*.text",
            "rows.s.snapshot.before.*.media.*",
        ],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the message is, where it was written"),
        Erasure::Anonymous("what was said before stands with the case, by nobody"),
        &["rows.s.snapshot.before.*.by"],
    ),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Anonymous("the case stands, whoever reported it"),
        &["keys.r"],
    ),
    Fields::of(Whose::RowUser, Export::Given, Erasure::Emptied, &["rows.r.report.words"]),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Kept("it was reported, whoever reported it"),
        &["rows.r.report.rule", "rows.r.report.at"],
    ),
    Fields::of(
        Whose::At("facts.about"),
        TOLD_ELSEWHERE,
        Erasure::Kept("what was decided stands, about nobody"),
        &[
            "head.own.outcome",
            "head.own.ruling.rule",
            "head.own.ruling.abilities.*",
            "head.own.ruling.until",
            "head.own.ruling.appeal_until",
            "head.own.appeal.at",
            "head.own.appeal.judged.upheld",
        ],
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
        "head.own.resolution.at",
        "head.own.appeal.judged.said.at",
        "head.own.reports",
        "head.own.weight",
        "head.own.copies",
        "rows.r.report.id",
        "rows.r.report.weight",
        "keys.s",
        "rows.s.snapshot.revision",
        "rows.s.snapshot.at",
        "rows.s.snapshot.before.*.at",
    ]),
];

/// Reviews by what they are to somebody: those that a member has reported, those that decided something about a user, and all that
/// decided something. The newest first.
pub static CASE_LISTS: Index<()> = Index::new(
    "case_lists",
    "30 days of decisions: 100,000 entries of 100 B, 10 MB",
    lists::month_of,
    Order::NewestFirst,
    Fields::AS_TARGET,
);

/// The list of all that was decided.
pub const ALL_DECISIONS: &str = "log";

/// The list of what was decided about a user.
pub fn decided_about(user_id: &str) -> String {
    format!("decided:{user_id}")
}

/// The list of the reviews in which a user has a report.
pub fn reported_by(user_id: &str) -> String {
    format!("reports:{user_id}")
}

/// The workflow of safety reviews.
#[derive(Clone, Copy, Debug)]
pub struct Reviews;

impl Case for Reviews {
    type Facts = Facts;
    type Own = Own;
    type Row = Row;

    const WORKFLOW: Workflow = Workflow::Safety;
    const WITHIN: SignedDuration = SignedDuration::from_hours(24);
    const MOST_OPEN: usize = 200;
    const MANY: &'static str = "open reviews of yours";

    fn kind() -> &'static Kind<Facts, Head<Own>, Row> {
        &REVIEWS
    }

    fn opened(facts: &Facts) -> (Timestamp, Option<&str>) {
        (facts.created_at, facts.opened_by.as_deref())
    }
}

impl Desk<Reviews> {
    /// The reviews of a list of [`CASE_LISTS`], of those that are there and wanted. A page may end before it is full.
    pub async fn listed(
        &self,
        list: &str,
        wanted: impl Fn(&Kept<Reviews>) -> bool,
        page: PageRequest,
    ) -> Result<Page<Kept<Reviews>>, StoreError> {
        self.walk(&CASE_LISTS, list, |_, case| wanted(case), page).await
    }
}

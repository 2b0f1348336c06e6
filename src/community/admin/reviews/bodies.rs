//! What clients see of reviews.

use mundotango_gateway::input::Time;
use mundotango_storage::now;
use serde::Serialize;
use utoipa::ToSchema;

use super::Review;
use super::case::{Before, Outcome, Report, Rule, Said, Snapshot, ThingKind};
use crate::community::accounts::restrictions::Ability;
use crate::community::admin::bodies::WorkBody;

/// What somebody of the staff said.
#[derive(Debug, Serialize, ToSchema)]
struct ReviewNote {
    by: String,
    at: Time,
    reason: String,
}

impl From<&Said> for ReviewNote {
    fn from(said: &Said) -> Self {
        Self { by: said.by.clone(), at: said.at.into(), reason: said.reason.clone() }
    }
}

/// What a decision says besides its action and its reason.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RulingBody {
    rule: Rule,
    /// What the user is kept from.
    abilities: Vec<Ability>,
    /// Until when; for ever if null, where the action is one that ends.
    #[schema(required = true)]
    until: Option<Time>,
    /// Until when it can be appealed.
    appeal_until: Time,
}

/// What somebody has against a decision.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AppealOfReview {
    /// Who sent it in: whom the review is about, or an admin for somebody who is locked out.
    by: String,
    at: Time,
    text: String,
    /// Whether the decision stands; null while the appeal waits.
    #[schema(required = true)]
    upheld: Option<bool>,
    /// Who decided on the appeal.
    #[schema(required = true)]
    judged: Option<ReviewNote>,
}

/// A review, as the staff sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SafetyReviewBody {
    id: String,
    /// Of what kind the thing is that is looked at.
    kind: ThingKind,
    thing_id: String,
    /// The user whom it is about, if that is known.
    #[schema(required = true)]
    user_id: Option<String>,
    /// Who opened it; null where a rule did.
    #[schema(required = true)]
    opened_by: Option<String>,
    /// The rule that opened it.
    #[schema(required = true)]
    rule: Option<String>,
    reason: String,
    /// How many members have reported it.
    reports: u32,
    /// What their reports weigh together: the more, the sooner it comes in the queue.
    weight: u32,
    /// Why it was handed on to admins, if it was.
    #[schema(required = true)]
    escalated: Option<ReviewNote>,
    /// What came of it; null while it waits.
    #[schema(required = true)]
    action: Option<Outcome>,
    #[schema(required = true)]
    resolution: Option<ReviewNote>,
    /// By which rule that was decided, and until when.
    #[schema(required = true)]
    ruling: Option<RulingBody>,
    #[schema(required = true)]
    appeal: Option<AppealOfReview>,
    #[serde(flatten)]
    work: WorkBody,
}

impl SafetyReviewBody {
    pub(super) fn new(case: &Review) -> Self {
        let own = &case.own;
        Self {
            id: case.id.clone(),
            kind: case.facts.kind,
            thing_id: case.facts.thing.clone(),
            user_id: case.facts.subject().map(str::to_owned),
            opened_by: case.facts.opened_by.clone(),
            rule: case.facts.rule.clone(),
            reason: case.facts.reason.clone(),
            reports: own.reports,
            weight: own.weight,
            escalated: own.escalated.as_ref().map(Into::into),
            action: own.outcome,
            resolution: own.resolution.as_ref().map(Into::into),
            ruling: own.ruling.as_ref().map(|ruling| RulingBody {
                rule: ruling.rule,
                abilities: ruling.abilities.clone(),
                until: ruling.until.map(Into::into),
                appeal_until: ruling.appeal_until.into(),
            }),
            appeal: own.appeal.as_ref().map(|appeal| AppealOfReview {
                by: appeal.by.clone(),
                at: appeal.at.into(),
                text: appeal.text.clone(),
                upheld: appeal.judged.as_ref().map(|judged| judged.upheld),
                judged: appeal.judged.as_ref().map(|judged| (&judged.said).into()),
            }),
            work: WorkBody::new(case, true, now()),
        }
    }
}

/// What a member reported.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReportOfReview {
    by: String,
    rule: Rule,
    #[schema(required = true)]
    words: Option<String>,
    at: Time,
    /// What it weighs, by what came of the member's earlier reports.
    weight: u32,
}

/// What was reported, as it was then.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CopyOfReview {
    #[schema(required = true)]
    title: Option<String>,
    text: String,
    /// The addresses of what stands beside the words.
    media: Vec<String>,
    /// Which revision it is, where revisions are counted.
    #[schema(required = true)]
    revision: Option<u32>,
    /// What was said shortly before it, where it is a message of a chat; the oldest first.
    before: Vec<SaidBefore>,
    at: Time,
}

/// A message before one that was reported.
#[derive(Debug, Serialize, ToSchema)]
struct SaidBefore {
    /// The id of who wrote it.
    by: String,
    text: String,
    /// The addresses of what is attached.
    media: Vec<String>,
    at: Time,
}

impl From<Before> for SaidBefore {
    fn from(before: Before) -> Self {
        let Before { by, text, media, at } = before;
        Self { by, text, media, at: at.into() }
    }
}

/// A review with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReviewedBody {
    #[serde(flatten)]
    review: SafetyReviewBody,
    /// Some of the reports, 50 at most.
    reported: Vec<ReportOfReview>,
    /// What was reported, as it was then, the oldest first.
    copies: Vec<CopyOfReview>,
    /// How many decisions of the last 180 days did something to whom it is about, and were not overturned; 50 at most.
    strikes: usize,
}

impl ReviewedBody {
    pub(super) fn new(
        case: &Review,
        reports: Vec<(String, Report)>,
        copies: Vec<Snapshot>,
        strikes: usize,
    ) -> Self {
        let reported = reports.into_iter().map(|(by, report)| ReportOfReview {
            by,
            rule: report.rule,
            words: report.words,
            at: report.at.into(),
            weight: report.weight,
        });
        let copies = copies.into_iter().map(|copy| CopyOfReview {
            title: copy.title,
            text: copy.text,
            media: copy.media,
            revision: copy.revision,
            before: copy.before.into_iter().map(Into::into).collect(),
            at: copy.at.into(),
        });
        Self {
            review: SafetyReviewBody::new(case),
            reported: reported.collect(),
            copies: copies.collect(),
            strikes,
        }
    }
}

//! Deciding a review, and deciding an appeal against that. Whom it is about is told what, by which rule, why, until when, and how to
//! appeal; what is decided is carried out by a job of the decision's change, so neither is without the other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Time, UpTo};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::db::Wants;
use mundotango_storage::{PageRequest, PageStart, StoreError, now};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::SafetyReviewBody;
use super::case::{Appeal, Outcome, Rule};
use super::evidence::{must_not_have_reported, wants_of};
use super::rules::resolve;
use super::rulings::{Wanted, appeal, judge};
use super::store::{ALL_DECISIONS, CASE_LISTS, Reviews, decided_about};
use super::{Review, THING, changed, found, work};
use crate::community::Community;
use crate::community::accounts::restrictions::Ability;
use crate::community::admin::bodies::{Version, number};
use crate::community::admin::desk::{Desk, Open, Step};
use crate::community::admin::error::WorkError;
use crate::community::admin::lists;
use crate::community::admin::staff::Staff;
use crate::community::admin::work::Workflow;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::letters;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::posts::post::title_of;
use crate::community::roles::{self, Role};
use crate::texts::Reason;

type Shared = State<Arc<Community>>;

/// Decisions about a user that are looked at for strikes.
const MOST_STRIKES: usize = 50;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(resolve_review)).routes(routes!(judge_appeal))
}

/// What is to come of a review.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({
    "action": "restrict", "rule": "spam", "abilities": ["posting"], "until": "2030-12-04T21:00:00Z",
    "reason": "The same advertisement in ten posts."
}))]
struct ResolveBody {
    /// What comes of it. `remove` takes a post, comment, message, event or place to stay away, `restrict` keeps whom it is about
    /// from something for a time, and `lock`, which is for admins, locks the user out.
    #[schema(value_type = Outcome)]
    action: Choice<Outcome>,
    /// Which rule was broken, or was not; `other` if absent.
    #[deserr(default)]
    #[schema(value_type = Rule, required = false)]
    rule: Given<Choice<Rule>>,
    /// What the user is kept from; with `restrict` alone.
    #[deserr(default)]
    #[schema(value_type = Vec<Ability>, max_items = 4, required = false)]
    abilities: Given<UpTo<Choice<Ability>, 4>>,
    /// Until when; needed with `restrict`, for ever if absent with `lock`.
    #[deserr(default)]
    #[schema(value_type = Time, required = false)]
    until: Given<Time>,
    /// Why. Whom it is about reads this.
    reason: Reason,
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    version: Version,
}

/// What can come of an appeal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AppealOutcome {
    /// The decision stands.
    Upheld,
    /// The decision is taken back, with what it did.
    Overturned,
}

/// What is to come of an appeal.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct JudgeBody {
    #[schema(value_type = AppealOutcome)]
    outcome: Choice<AppealOutcome>,
    /// Why. Whom it is about reads this.
    reason: Reason,
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    version: Version,
}

impl ResolveBody {
    fn wanted(&self) -> Wanted {
        let abilities = self.abilities.0.as_ref().map(|list| &list.0);
        Wanted {
            outcome: self.action.0,
            rule: self.rule.0.map_or(Rule::Other, |rule| rule.0),
            abilities: abilities.into_iter().flatten().map(|ability| ability.0).collect(),
            until: self.until.0.map(|until| until.0),
        }
    }
}

/// What follows from a decision, or from what came of the appeal against it: it is carried out, and whom it is about is told.
fn follows(case: &Review, act: &Act) -> Result<Vec<Effect>, StoreError> {
    let mut effects = changed(case, act)?;
    effects.push(Effect::job(work::carry_out(&case.id, None)?));
    let Some((outcome, ruling, said)) = case.own.effective() else { return Ok(effects) };
    let judged = case.own.appeal.as_ref().and_then(|appeal| appeal.judged.as_ref());
    if outcome == Outcome::Remove && judged.is_none() {
        // Until then it can be given back.
        effects.push(Effect::job(work::carry_out(&case.id, Some(ruling.final_at()))?));
    }
    let Some(user) = case.facts.subject() else { return Ok(effects) };
    let (kind, reason) = match judged {
        None => (NotificationKind::DecisionMade, &said.reason),
        Some(judged) => (NotificationKind::AppealDecided, &judged.said.reason),
    };
    let tell = Tell {
        kind,
        thing: case.id.clone(),
        title: title_of(reason),
        actor_id: None,
        count: 1,
        stale_at: None,
    };
    effects.push(tell.effect(user)?);
    effects.push(letters::decisions::told(&case.id, judged.is_some())?);
    Ok(effects)
}

impl Community {
    /// Refuses to have somebody of the staff decide what is about a friend, or about somebody whom one of the two has blocked.
    async fn must_be_impartial(&self, identity: &Identity, case: &Review) -> Result<(), Problem> {
        let Some(subject) = case.facts.subject() else { return Ok(()) };
        let circle = self.circles.view(&identity.user_id).await?;
        if circle.is_friend(subject) || circle.keeps_apart(subject) {
            let detail =
                "what is about a friend, or about somebody who is kept apart, is for others to review";
            return Err(Problem::forbidden(detail));
        }
        Ok(())
    }
}

impl Desk<Reviews> {
    /// How many decisions about whom a review is about count as strikes.
    pub(super) async fn strikes(&self, case: &Review, now: Timestamp) -> Result<usize, StoreError> {
        let Some(user) = case.facts.subject() else { return Ok(0) };
        let page = PageRequest { start: PageStart::First, limit: MOST_STRIKES };
        let decided = self.listed(&decided_about(user), |case| case.own.is_strike(now), page).await?;
        Ok(decided.items.len())
    }

    /// Appeals a decision; as it is then, `None` if there is no such review.
    pub async fn appeal(
        &self,
        id: &str,
        by: &str,
        text: String,
        now: Timestamp,
        effects: impl Fn(&Review, &Appeal) -> Result<Vec<Effect>, StoreError> + Send + 'static,
    ) -> Result<Option<Review>, WorkError> {
        let (by, step) = (by.to_owned(), Step { version: None, now, action: "appealed" });
        let rule = move |part: &mut Open<'_, Reviews>| appeal(part.facts, &mut part.head, &by, &text, now);
        let effects = move |case: &Review| {
            let Some(appeal) = &case.own.appeal else { return Ok(Vec::new()) };
            let mut all = effects(case, appeal)?;
            all.push(super::live::to_staff(case)?);
            Ok::<_, StoreError>(all)
        };
        self.change(id, step, Wants::head(), rule, effects).await
    }
}

/// Say what comes of a review; for moderators, and for admins once it is handed on to them. Whom it is about is told.
#[utoipa::path(
    post, path = "/api/safety-reviews/{id}/resolve", operation_id = "resolveSafetyReview",
    tag = "admin", request_body = ResolveBody,
    responses(
        (status = OK, body = SafetyReviewBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn resolve_review(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<ResolveBody>,
) -> Result<Json<SafetyReviewBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (now, staff, wanted) = (now(), Staff::from(&identity), body.wanted());
    if wanted.outcome == Outcome::Lock {
        roles::require(&identity, Role::Admin)?;
    }
    let desk = &community.desks.reviews;
    let case = desk.case(&id).await?.ok_or_else(|| Problem::not_found(THING))?;
    community.must_be_impartial(&identity, &case).await?;
    let wrong = |(field, why): (&str, &str)| Problem::invalid_field(field, FieldCode::Contradiction, why);
    let ruling = wanted.ruling(&case.facts, now).map_err(wrong)?;
    if wanted.outcome == Outcome::Lock
        && let Some(user) = case.facts.subject()
        && community.accounts.user(user).await?.is_some_and(|user| user.role >= Role::Admin)
    {
        let detail = "an admin cannot be locked out: take the role away first";
        return Err(Problem::new(axum::http::StatusCode::CONFLICT, detail));
    }
    let (outcome, reason) = (wanted.outcome, body.reason.into_string());
    let mut act = Act::by(&identity, "review.resolved", THING, &id, now).because(Some(reason.clone()));
    act = act.with("action", outcome.name()).with("rule", ruling.rule.name());
    if let Some(until) = ruling.until {
        act = act.with("until", until.to_string());
    }
    let mut lists_of = vec![ALL_DECISIONS.to_owned()];
    lists_of.extend(case.facts.subject().filter(|_| outcome != Outcome::None).map(decided_about));
    let key = lists::case_key(Workflow::Safety, now, &id);
    let step = Step { version: number(body.version), now, action: "closed" };
    let wants = wants_of(&identity.user_id);
    let rule = move |part: &mut Open<'_, Reviews>| {
        must_not_have_reported(part, &staff)?;
        let is_new = resolve(part.facts, &mut part.head, &staff, outcome, reason.clone(), now)?;
        if is_new {
            part.head.own.ruling = Some(ruling.clone());
            for list in &lists_of {
                part.enter(CASE_LISTS.entry(list.as_str(), &key, &())?);
            }
        }
        Ok::<_, WorkError>(is_new)
    };
    let changing = desk.change(&id, step, wants, rule, move |case| follows(case, &act));
    let case = Box::pin(changing).await?;
    community.carry_out_decision(&id).await;
    found(case)
}

/// Decide an appeal; for another moderator or admin than the one who decided. What is overturned is taken back, with what it did.
#[utoipa::path(
    post, path = "/api/safety-reviews/{id}/appeal", operation_id = "judgeAppeal",
    tag = "admin", request_body = JudgeBody,
    responses(
        (status = OK, body = SafetyReviewBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn judge_appeal(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<JudgeBody>,
) -> Result<Json<SafetyReviewBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (now, staff) = (now(), Staff::from(&identity));
    let (upheld, reason) = (body.outcome.0 == AppealOutcome::Upheld, body.reason.into_string());
    let act = Act::by(&identity, "review.appealJudged", THING, &id, now).because(Some(reason.clone()));
    let act = act.with("outcome", if upheld { "upheld" } else { "overturned" });
    let step = Step { version: number(body.version), now, action: "judged" };
    let desk = &community.desks.reviews;
    if let Some(case) = desk.case(&id).await? {
        community.must_be_impartial(&identity, &case).await?;
    }
    let wants = wants_of(&identity.user_id);
    let rule = move |part: &mut Open<'_, Reviews>| {
        must_not_have_reported(part, &staff)?;
        judge(part.facts, &mut part.head, &staff, upheld, reason.clone(), now)
    };
    let changing = desk.change(&id, step, wants, rule, move |case| follows(case, &act));
    let case = Box::pin(changing).await?;
    community.carry_out_decision(&id).await;
    found(case)
}

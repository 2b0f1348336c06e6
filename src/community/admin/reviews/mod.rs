//! Safety reviews: moderators look at what may do harm, and say what comes of it. Whatever else finds harm brings its cases here.

pub mod rules;
pub mod store;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Time};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::Wants;
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rules::{Facts, Outcome, Said, ThingKind, escalate, may_work, resolve};
use self::store::Reviews;
use super::bodies::{AssignBody, QueueQuery, ReasonBody, Version, WorkBody, number};
use super::desk::{Kept, Open, Step};
use super::live;
use super::staff::Staff;
use super::work::Workflow;
use crate::community::Community;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::roles::{self, Role};
use crate::texts::{Id, Reason};

type Shared = State<Arc<Community>>;
type Review = Kept<Reviews>;

const THING: &str = Workflow::Safety.thing();

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(pending))
        .routes(routes!(read))
        .routes(routes!(assign))
        .routes(routes!(resolve_review))
        .routes(routes!(escalate_review))
}

/// What is to be looked at.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct NewSafetyReview {
    /// Of what kind the thing is.
    #[schema(value_type = ThingKind)]
    kind: Choice<ThingKind>,
    /// The thing's id.
    thing_id: Id,
    /// The user whom it is about, where the thing is no user.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    user_id: Maybe<Id>,
    /// Why.
    reason: Reason,
}

/// What is to come of a review.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct ResolveBody {
    /// What comes of it.
    #[schema(value_type = Outcome)]
    action: Choice<Outcome>,
    /// Why.
    reason: Reason,
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    version: Version,
}

/// What somebody of the staff said.
#[derive(Debug, Serialize, ToSchema)]
struct ReviewNote {
    by: String,
    at: Time,
    reason: String,
}

/// A review, as the staff sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SafetyReviewBody {
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
    /// Why it was handed on to admins, if it was.
    #[schema(required = true)]
    escalated: Option<ReviewNote>,
    /// What came of it; null while it waits.
    #[schema(required = true)]
    action: Option<Outcome>,
    #[schema(required = true)]
    resolution: Option<ReviewNote>,
    #[serde(flatten)]
    work: WorkBody,
}

impl SafetyReviewBody {
    fn new(case: &Review) -> Self {
        let note =
            |said: &Said| ReviewNote { by: said.by.clone(), at: said.at.into(), reason: said.reason.clone() };
        Self {
            id: case.id.clone(),
            kind: case.facts.kind,
            thing_id: case.facts.thing.clone(),
            user_id: case.facts.subject().map(str::to_owned),
            opened_by: case.facts.opened_by.clone(),
            rule: case.facts.rule.clone(),
            reason: case.facts.reason.clone(),
            escalated: case.own.escalated.as_ref().map(note),
            action: case.own.outcome,
            resolution: case.own.resolution.as_ref().map(note),
            work: WorkBody::new(case, true, now()),
        }
    }
}

/// What a change of a review causes. What is said of it is sealed under the key of whom it is about.
pub(super) fn changed(case: &Review, act: &Act) -> Result<Vec<Effect>, StoreError> {
    let act = case.facts.subject().map_or_else(|| act.clone(), |subject| act.clone().about(subject));
    Ok(vec![live::to_staff(case)?, Effect::audit(act)])
}

fn found(case: Option<Review>) -> Result<Json<SafetyReviewBody>, Problem> {
    let case = case.ok_or_else(|| Problem::not_found(THING))?;
    Ok(Json(SafetyReviewBody::new(&case)))
}

impl Community {
    /// Opens a review because a rule of the system's says so, under an id that is the same each time.
    pub async fn open_review(
        &self,
        id: &str,
        (kind, thing, about): (ThingKind, String, Option<String>),
        rule: &str,
        reason: String,
    ) -> Result<(), Problem> {
        let created_at = mundotango_storage::db::time_of_id(id).unwrap_or_else(now);
        let rule = Some(rule.to_owned());
        let facts = Facts { kind, thing, about, opened_by: None, rule, reason, created_at };
        self.desks.reviews.open(id, facts.with_subject(), |case| Ok(vec![live::to_staff(case)?])).await?;
        Ok(())
    }
}

/// Open a review of something; for moderators and admins.
#[utoipa::path(
    post, path = "/api/safety-reviews", operation_id = "createSafetyReview",
    tag = "admin", params(IdempotencyKey), request_body = NewSafetyReview,
    responses(
        (status = CREATED, body = SafetyReviewBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn open(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewSafetyReview>,
) -> Result<(StatusCode, Json<SafetyReviewBody>), Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (created_at, id) = (new_id.made_at(), new_id.into_text());
    let facts = Facts {
        kind: body.kind.0,
        thing: body.thing_id.into_string(),
        about: body.user_id.value().map(Id::into_string),
        opened_by: Some(identity.user_id.clone()),
        rule: None,
        reason: body.reason.into_string(),
        created_at,
    };
    let facts = facts.with_subject();
    let act = Act::by(&identity, "review.opened", THING, &id, created_at).because(Some(facts.reason.clone()));
    let opened = community.desks.reviews.open(&id, facts, |case| changed(case, &act)).await?;
    Ok((StatusCode::CREATED, Json(SafetyReviewBody::new(&opened))))
}

/// Reviews that wait, those first that have waited longest; for moderators and admins.
#[utoipa::path(
    get, path = "/api/safety-reviews/pending", operation_id = "listPendingSafetyReviews",
    tag = "admin", params(QueueQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<SafetyReviewBody>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn pending(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page }: ListQuery<QueueQuery>,
) -> Result<Json<PageBody<SafetyReviewBody>>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (holds, own) = (filter.holds(), identity.user_id);
    // Nobody reads what others say about the own person.
    let wanted = move |case: &Review| holds(case) && case.facts.subject() != Some(own.as_str());
    let found = community.desks.reviews.pending(wanted, page.request()).await?;
    Ok(Json(page.body(found.map(|case| SafetyReviewBody::new(&case)))))
}

/// One review; for moderators and admins.
#[utoipa::path(
    get, path = "/api/safety-reviews/{id}", operation_id = "getSafetyReview", tag = "admin",
    responses(
        (status = OK, body = SafetyReviewBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SafetyReviewBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let case = community.desks.reviews.case(&id).await?;
    found(case.filter(|case| case.facts.subject() != Some(identity.user_id.as_str())))
}

/// Say who works on a review; for moderators, and for admins once it is handed on to them.
#[utoipa::path(
    post, path = "/api/safety-reviews/{id}/assign", operation_id = "assignSafetyReview",
    tag = "admin", request_body = AssignBody,
    responses(
        (status = OK, body = SafetyReviewBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn assign(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<AssignBody>,
) -> Result<Json<SafetyReviewBody>, Problem> {
    let desk = &community.desks.reviews;
    let guard = |part: &Open<'_, Reviews>, staff: &Staff| may_work(part.facts, &part.head.own, staff);
    found(community.assign_case(desk, &identity, &id, body, guard, changed).await?)
}

/// Say what comes of a review; for moderators, and for admins once it is handed on to them.
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
    let (now, staff) = (now(), Staff::from(&identity));
    let (outcome, reason) = (body.action.0, body.reason.into_string());
    let act = Act::by(&identity, "review.resolved", THING, &id, now).because(Some(reason.clone()));
    let act = act.with("action", outcome.name());
    let step = Step { version: number(body.version), now, action: "closed" };
    let rule = move |part: &mut Open<'_, Reviews>| {
        resolve(part.facts, &mut part.head, &staff, outcome, reason.clone(), now)
    };
    let case =
        community.desks.reviews.change(&id, step, Wants::head(), rule, move |case| changed(case, &act));
    found(case.await?)
}

/// Hand a review on to admins; for moderators.
#[utoipa::path(
    post, path = "/api/safety-reviews/{id}/escalate", operation_id = "escalateSafetyReview",
    tag = "admin", request_body = ReasonBody,
    responses(
        (status = OK, body = SafetyReviewBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn escalate_review(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<ReasonBody>,
) -> Result<Json<SafetyReviewBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (now, staff) = (now(), Staff::from(&identity));
    let reason = body.reason.into_string();
    let act = Act::by(&identity, "review.escalated", THING, &id, now).because(Some(reason.clone()));
    let step = Step { version: number(body.version), now, action: "escalated" };
    let rule =
        move |part: &mut Open<'_, Reviews>| escalate(part.facts, &mut part.head, &staff, reason.clone(), now);
    let case =
        community.desks.reviews.change(&id, step, Wants::head(), rule, move |case| changed(case, &act));
    found(case.await?)
}

//! Safety reviews: moderators look at what may do harm, and say what comes of it. Whatever else finds harm brings its cases here.

mod bodies;
pub mod case;
mod deciding;
pub mod evidence;
pub mod rules;
pub mod rulings;
pub mod store;
pub mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::Wants;
use mundotango_storage::{StoreError, now};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{ReviewedBody, SafetyReviewBody};
use self::case::{Facts, ThingKind};
use self::rules::{escalate, may_work};
use self::store::Reviews;
use super::bodies::{AssignBody, QueueQuery, ReasonBody, number};
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
/// Reports that are shown with a review.
const SHOWN_REPORTS: usize = 50;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(pending))
        .routes(routes!(read))
        .routes(routes!(assign))
        .routes(routes!(escalate_review))
        .merge(deciding::router())
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

/// One review, with copies of what was reported, 50 of the reports, and how many strikes whom it is about has; for moderators
/// and admins.
#[utoipa::path(
    get, path = "/api/safety-reviews/{id}", operation_id = "getSafetyReview", tag = "admin",
    responses(
        (status = OK, body = ReviewedBody),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<ReviewedBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let desk = &community.desks.reviews;
    let case = desk.case(&id).await?;
    let case = case.filter(|case| case.facts.subject() != Some(identity.user_id.as_str()));
    let case = case.ok_or_else(|| Problem::not_found(THING))?;
    let (reports, copies, strikes) = if case.own.reports == 0 {
        (Vec::new(), Vec::new(), desk.strikes(&case, now()).await?)
    } else {
        tokio::try_join!(
            desk.reports(&id, None, SHOWN_REPORTS),
            desk.copies(&id),
            desk.strikes(&case, now())
        )?
    };
    Ok(Json(ReviewedBody::new(&case, reports, copies, strikes)))
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

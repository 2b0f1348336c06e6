//! Approvals: members propose what the platform is to do, and the staff decides.

pub mod rules;
pub mod store;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Time};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::Wants;
use mundotango_storage::{StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rules::{Area, Facts, Outcome, Vote, approve, reject};
use self::store::Proposals;
use super::bodies::{AssignBody, QueueQuery, ReasonBody, StepBody, WorkBody, number};
use super::desk::{Kept, Open, Step};
use super::live;
use super::staff::Staff;
use super::work::Workflow;
use crate::community::Community;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::roles::{self, Role};
use crate::texts::{Description, Reason, Title};

type Shared = State<Arc<Community>>;
type Proposal = Kept<Proposals>;

const THING: &str = Workflow::Feature.thing();

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(propose))
        .routes(routes!(pending))
        .routes(routes!(mine))
        .routes(routes!(read))
        .routes(routes!(approve_proposal))
        .routes(routes!(reject_proposal))
        .routes(routes!(assign))
}

/// What is proposed.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({
    "title": "A map of milongas", "description": "Show on a map where one dances tonight.", "area": "events",
}))]
struct NewProposal {
    title: Title,
    description: Description,
    #[schema(value_type = Area)]
    area: Choice<Area>,
    /// Whether two have to agree; always so where it is about payments or safety.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    needs_two: Given<bool>,
}

/// What somebody of the staff said to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProposalVote {
    /// Who it was; null for those who do not work on proposals.
    #[schema(required = true)]
    by: Option<String>,
    at: Time,
    #[schema(required = true)]
    reason: Option<String>,
}

/// What a member proposes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProposalBody {
    id: String,
    title: String,
    description: String,
    area: Area,
    /// The user who proposes it.
    requested_by: String,
    /// Whether two have to agree.
    needs_two: bool,
    /// Who approved so far.
    approvals: Vec<ProposalVote>,
    /// Who rejected it.
    #[schema(required = true)]
    rejection: Option<ProposalVote>,
    /// What became of it; null while it waits.
    #[schema(required = true)]
    outcome: Option<Outcome>,
    #[serde(flatten)]
    work: WorkBody,
}

impl ProposalBody {
    fn new(case: &Proposal, is_staff: bool) -> Self {
        let vote = |vote: &Vote| ProposalVote {
            by: Some(vote.by.clone()).filter(|_| is_staff),
            at: vote.at.into(),
            reason: vote.reason.clone(),
        };
        Self {
            id: case.id.clone(),
            title: case.facts.title.clone(),
            description: case.facts.description.clone(),
            area: case.facts.area,
            requested_by: case.facts.requested_by.clone(),
            needs_two: case.facts.needs_two,
            approvals: case.own.approvals.iter().map(vote).collect(),
            rejection: case.own.rejection.as_ref().map(vote),
            outcome: case.own.outcome,
            work: WorkBody::new(case, is_staff, now()),
        }
    }
}

/// What a change of a proposal causes: those are told whom it concerns, and the audit trail says who did it.
pub(super) fn changed(case: &Proposal, act: &Act) -> Result<Vec<Effect>, StoreError> {
    let mut effects = live::to_all(case)?;
    effects.push(Effect::audit(act.clone()));
    if case.work.is_done() {
        let told = Tell {
            kind: NotificationKind::ApprovalDecided,
            thing: case.id.clone(),
            title: case.facts.title.clone(),
            // Who decided is not told.
            actor_id: None,
            count: 1,
            stale_at: None,
        };
        effects.push(told.effect(&case.facts.requested_by)?);
    }
    Ok(effects)
}

fn found(case: Option<Proposal>) -> Result<Json<ProposalBody>, Problem> {
    let case = case.ok_or_else(|| Problem::not_found(THING))?;
    Ok(Json(ProposalBody::new(&case, true)))
}

/// Propose what the platform is to do. A user has 10 open proposals at most.
#[utoipa::path(
    post, path = "/api/founder-approval", operation_id = "createProposal",
    tag = "admin", params(IdempotencyKey), request_body = NewProposal,
    responses(
        (status = CREATED, body = ProposalBody),
        (status = BAD_REQUEST, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn propose(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewProposal>,
) -> Result<(StatusCode, Json<ProposalBody>), Problem> {
    let area = body.area.0;
    let facts = Facts {
        title: body.title.into_string(),
        description: body.description.into_string(),
        area,
        requested_by: identity.user_id.clone(),
        needs_two: area.needs_two() || body.needs_two.0.unwrap_or_default(),
        created_at: new_id.made_at(),
    };
    let opened = community.desks.proposals.open(&new_id.into_text(), facts, live::to_all).await?;
    let is_staff = roles::require(&identity, Role::Moderator).is_ok();
    Ok((StatusCode::CREATED, Json(ProposalBody::new(&opened, is_staff))))
}

/// Proposals that wait for a decision, those first that have waited longest; for moderators and admins.
#[utoipa::path(
    get, path = "/api/founder-approval/pending", operation_id = "listPendingProposals",
    tag = "admin", params(QueueQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<ProposalBody>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn pending(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page }: ListQuery<QueueQuery>,
) -> Result<Json<PageBody<ProposalBody>>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let found = community.desks.proposals.pending(filter.holds(), page.request()).await?;
    Ok(Json(page.body(found.map(|case| ProposalBody::new(&case, true)))))
}

/// The caller's own proposals, the newest first.
#[utoipa::path(
    get, path = "/api/founder-approval/mine", operation_id = "listMyProposals",
    tag = "admin", params(QueueQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<ProposalBody>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn mine(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page }: ListQuery<QueueQuery>,
) -> Result<Json<PageBody<ProposalBody>>, Problem> {
    if filter.assignee.is_some() {
        // Members do not learn who works on their proposals.
        roles::require(&identity, Role::Moderator)?;
    }
    let own = Some(identity.user_id.as_str());
    let found = community.desks.proposals.all(own, filter.holds(), page.request()).await?;
    Ok(Json(page.body(found.map(|case| ProposalBody::new(&case, false)))))
}

/// One proposal; for who proposes it, moderators and admins.
#[utoipa::path(
    get, path = "/api/founder-approval/{id}", operation_id = "getProposal", tag = "admin",
    responses((status = OK, body = ProposalBody), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<ProposalBody>, Problem> {
    let case = community.desks.proposals.case(&id).await?.ok_or_else(|| Problem::not_found(THING))?;
    let object = Object::Proposal { by: &case.facts.requested_by };
    policy::may(Viewer::from(&identity), Action::Read, &object).allows(THING)?;
    Ok(Json(ProposalBody::new(&case, roles::require(&identity, Role::Moderator).is_ok())))
}

/// Approve a proposal; for moderators and admins who did not propose it. Where two have to agree, it waits for another one.
#[utoipa::path(
    post, path = "/api/founder-approval/{id}/approve", operation_id = "approveProposal",
    tag = "admin", request_body = StepBody,
    responses(
        (status = OK, body = ProposalBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn approve_proposal(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<StepBody>,
) -> Result<Json<ProposalBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (now, staff) = (now(), Staff::from(&identity));
    let reason = body.reason.value().map(Reason::into_string);
    let act = Act::by(&identity, "proposal.approved", THING, &id, now).because(reason.clone());
    let step = Step { version: number(body.version), now, action: "approved" };
    let rule = move |part: &mut Open<'_, Proposals>| {
        approve(part.facts, &mut part.head, &staff, reason.clone(), now)
    };
    let case =
        community.desks.proposals.change(&id, step, Wants::head(), rule, move |case| changed(case, &act));
    found(case.await?)
}

/// Reject a proposal; for moderators and admins who did not propose it. Who proposed it is told why.
#[utoipa::path(
    post, path = "/api/founder-approval/{id}/reject", operation_id = "rejectProposal",
    tag = "admin", request_body = ReasonBody,
    responses(
        (status = OK, body = ProposalBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn reject_proposal(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<ReasonBody>,
) -> Result<Json<ProposalBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (now, staff) = (now(), Staff::from(&identity));
    let reason = body.reason.into_string();
    let act = Act::by(&identity, "proposal.rejected", THING, &id, now).because(Some(reason.clone()));
    let step = Step { version: number(body.version), now, action: "rejected" };
    let rule =
        move |part: &mut Open<'_, Proposals>| reject(part.facts, &mut part.head, &staff, reason.clone(), now);
    let case =
        community.desks.proposals.change(&id, step, Wants::head(), rule, move |case| changed(case, &act));
    found(case.await?)
}

/// Say who works on a proposal; for moderators and admins.
#[utoipa::path(
    post, path = "/api/founder-approval/{id}/assign", operation_id = "assignProposal",
    tag = "admin", request_body = AssignBody,
    responses(
        (status = OK, body = ProposalBody),
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
) -> Result<Json<ProposalBody>, Problem> {
    let desk = &community.desks.proposals;
    let case = community.assign_case(desk, &identity, &id, body, |_, _| Ok(()), changed).await?;
    found(case)
}

//! What the moderators decided: about the caller, with the reason and the way to appeal, and about everybody, without names and words.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::tz::TimeZone;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::Problem;
use mundotango_storage::{Page, StoreError, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::links::AppealLink;
use crate::community::Community;
use crate::community::accounts::email::not_good;
use crate::community::accounts::restrictions::Ability;
use crate::community::admin::desk::Kept;
use crate::community::admin::reviews::case::{Appeal, Outcome, Rule, ThingKind};
use crate::community::admin::reviews::store::{ALL_DECISIONS, Reviews, decided_about};
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::roles;
use crate::texts::{AppealText, LinkToken};

type Shared = State<Arc<Community>>;

/// What a decision is called in errors.
const THING: &str = "decision";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(appeal))
        .routes(routes!(appeal_by_link))
        .routes(routes!(log))
}

/// An appeal, as whom the decision is about sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AppealBody {
    at: Time,
    text: String,
    /// Whether the decision stands; null while the appeal waits.
    #[schema(required = true)]
    upheld: Option<bool>,
    /// When that was decided.
    #[schema(required = true)]
    judged_at: Option<Time>,
    /// Why.
    #[schema(required = true)]
    reason: Option<String>,
}

impl From<&Appeal> for AppealBody {
    fn from(appeal: &Appeal) -> Self {
        let judged = appeal.judged.as_ref();
        Self {
            at: appeal.at.into(),
            text: appeal.text.clone(),
            upheld: judged.map(|judged| judged.upheld),
            judged_at: judged.map(|judged| judged.said.at.into()),
            reason: judged.map(|judged| judged.said.reason.clone()),
        }
    }
}

/// A decision about the caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DecisionBody {
    id: String,
    /// Of what kind the thing is that was looked at.
    kind: ThingKind,
    thing_id: String,
    action: Outcome,
    rule: Rule,
    /// What the caller is kept from.
    abilities: Vec<Ability>,
    /// Until when; for ever if null, where the action is one that ends.
    #[schema(required = true)]
    until: Option<Time>,
    /// Why.
    reason: String,
    at: Time,
    /// Until when it can be appealed: once.
    appeal_until: Time,
    #[schema(required = true)]
    appeal: Option<AppealBody>,
}

impl DecisionBody {
    /// The decision of a case, if it is one that does something to somebody.
    fn of(case: &Kept<Reviews>) -> Option<Self> {
        let (action, ruling, said) = case.own.effective()?;
        Some(Self {
            id: case.id.clone(),
            kind: case.facts.kind,
            thing_id: case.facts.thing.clone(),
            action,
            rule: ruling.rule,
            abilities: ruling.abilities.clone(),
            until: ruling.until.map(Into::into),
            reason: said.reason.clone(),
            at: said.at.into(),
            appeal_until: ruling.appeal_until.into(),
            appeal: case.own.appeal.as_ref().map(Into::into),
        })
    }
}

/// What somebody has against a decision.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct NewAppeal {
    /// What is wrong with it.
    text: AppealText,
}

/// What somebody has against a decision who cannot log in.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct AppealByLink {
    /// The token of the link that was mailed with the decision.
    token: LinkToken,
    /// What is wrong with it.
    text: AppealText,
}

impl Community {
    /// Appeals the decision that a mailed link is of, for whom it is about.
    pub(in crate::community) async fn appeal_by_link(
        &self,
        token: LinkToken,
        text: AppealText,
    ) -> Result<(), Problem> {
        let link = AppealLink::read(&self.tokens, &token.into_string()).ok_or_else(not_good)?;
        let desk = &self.desks.reviews;
        let case = desk.case(&link.decision).await?.ok_or_else(not_good)?;
        if case.facts.subject() != Some(link.user_id.as_str()) || case.own.effective().is_none() {
            return Err(not_good());
        }
        let effects = |_: &Kept<Reviews>, _: &Appeal| Ok(Vec::new());
        let appealed = desk.appeal(&link.decision, &link.user_id, text.into_string(), now(), effects);
        Box::pin(appealed).await?.map(drop).ok_or_else(not_good)
    }
}

/// A decision, as everybody sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    /// The day, in UTC.
    #[schema(format = Date)]
    day: String,
    /// Of what kind the thing is that was looked at.
    kind: ThingKind,
    rule: Rule,
    action: Outcome,
    /// Whether it was taken back on appeal.
    overturned: bool,
}

impl LogEntry {
    fn of(case: &Kept<Reviews>) -> Option<Self> {
        let (action, ruling, said) =
            (case.own.outcome?, case.own.ruling.as_ref()?, case.own.resolution.as_ref()?);
        Some(Self {
            day: said.at.to_zoned_datetime(TimeZone::UTC).date().to_string(),
            kind: case.facts.kind,
            rule: ruling.rule,
            action,
            overturned: case.own.is_overturned(),
        })
    }
}

/// What the moderators decided about the caller, the newest first: by which rule, why, until when, and until when it can be appealed.
#[utoipa::path(
    get, path = "/api/moderation/decisions", operation_id = "listDecisions", tag = "moderation",
    params(PageQuery),
    responses((status = OK, body = PageBody<DecisionBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<DecisionBody>>, Problem> {
    let desk = &community.desks.reviews;
    let is_shown = |case: &Kept<Reviews>| case.own.effective().is_some();
    let page = desk.listed(&decided_about(&identity.user_id), is_shown, query.page.request()).await?;
    let items = page.items.iter().filter_map(DecisionBody::of).collect();
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

/// Appeal a decision about the caller: once, within 14 days. Somebody else than who decided looks at it. For somebody who is locked
/// out, another admin than the one who decided sends in what came by mail; the user's own appeal takes the place of that until it is
/// judged.
#[utoipa::path(
    post, path = "/api/moderation/decisions/{id}/appeal", operation_id = "appealDecision", tag = "moderation",
    request_body = NewAppeal,
    responses(
        (status = OK, body = DecisionBody),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn appeal(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewAppeal>,
) -> Result<Json<DecisionBody>, Problem> {
    let (desk, hidden, now) = (&community.desks.reviews, || Problem::not_found(THING), now());
    let case = desk.case(&id).await?.ok_or_else(hidden)?;
    let subject = case.facts.subject().ok_or_else(hidden)?.to_owned();
    let (outcome, ..) = case.own.effective().ok_or_else(hidden)?;
    let is_own = subject == identity.user_id;
    let may_appeal = is_own || (outcome == Outcome::Lock && roles::is_admin(&identity));
    if !may_appeal {
        return Err(hidden());
    }
    let act = Act::by(&identity, "review.appealed", "review", &id, now).about(&subject);
    let effects = move |_: &Kept<Reviews>, appeal: &Appeal| {
        // Members do nothing by a right that others lack.
        let act = (!is_own).then(|| act.clone().because(Some(appeal.text.clone())));
        Ok::<Vec<Effect>, StoreError>(act.map(Effect::audit).into_iter().collect())
    };
    let appealed = desk.appeal(&id, &identity.user_id, body.text.into_string(), now, effects);
    let case = Box::pin(appealed).await?.ok_or_else(hidden)?;
    DecisionBody::of(&case).map(Json).ok_or_else(hidden)
}

/// Appeal a decision without a login, by the token of the link that was mailed to who is locked out: once, and as long as there is
/// time to appeal.
#[utoipa::path(
    post, path = "/api/moderation/appeals/by-link", operation_id = "appealByLink", tag = "moderation",
    security(()), request_body = AppealByLink,
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = GONE, body = Problem),
    ),
)]
async fn appeal_by_link(
    State(community): Shared,
    ValidJson(body): ValidJson<AppealByLink>,
) -> Result<StatusCode, Problem> {
    community.appeal_by_link(body.token, body.text).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the moderators decided, the newest first: the day, the rule and what was done, without names and words.
#[utoipa::path(
    get, path = "/api/moderation/log", operation_id = "listModerationLog", tag = "moderation", security(()),
    params(PageQuery),
    responses((status = OK, body = PageBody<LogEntry>), (status = BAD_REQUEST, body = Problem)),
)]
async fn log(
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<LogEntry>>, Problem> {
    let page = community.desks.reviews.listed(ALL_DECISIONS, |_| true, query.page.request()).await?;
    let items = page.items.iter().filter_map(LogEntry::of).collect();
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

//! Members' reports and due process: reporting what does harm, decisions with their reasons, appeals, and restrictions that end by
//! themselves. The cases are safety reviews (`admin/reviews`): there moderators decide, and here members see what concerns them.

pub mod decisions;
pub mod enforcing;
pub mod links;
pub mod rules;
pub mod store;
mod things;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use futures_util::future::try_join_all;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Time};
use mundotango_gateway::problem::{Code, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{Page, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rules::ReportOutcome;
use self::things::ReportableKind;
use super::Community;
use super::accounts::restrictions::Ability;
use super::admin::reviews::case::{Report, Rule, ThingKind};
use super::admin::reviews::store::reported_by;
use super::policy;
use crate::texts::{Id, ReportText};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(report)).routes(routes!(mine)).merge(decisions::router())
}

/// What is reported.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct NewReport {
    #[schema(value_type = ReportableKind)]
    kind: Choice<ReportableKind>,
    /// The thing's id; of a message the conversation's, a colon, and the message's number. Of a booking of the caller's the other
    /// side is reported.
    id: Id,
    /// Which rule is broken.
    #[schema(value_type = Rule)]
    category: Choice<Rule>,
    /// More of it.
    #[deserr(default)]
    #[schema(value_type = Option<ReportText>)]
    words: Maybe<ReportText>,
}

/// A report of the caller's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReportBody {
    id: String,
    /// Of what kind the thing is.
    kind: ThingKind,
    /// The thing's id; of a booking with the side that is reported behind it.
    thing_id: String,
    category: Rule,
    #[schema(required = true)]
    words: Option<String>,
    at: Time,
    /// What came of it.
    outcome: ReportOutcome,
}

impl ReportBody {
    fn new(kind: ThingKind, thing_id: String, report: Report, outcome: ReportOutcome) -> Self {
        Self {
            id: report.id,
            kind,
            thing_id,
            category: report.rule,
            words: report.words,
            at: report.at.into(),
            outcome,
        }
    }
}

impl Community {
    /// Refuses whom a decision of the moderators keeps from something. It is asked wherever something is written.
    pub(in crate::community) async fn must_be_able(
        &self,
        user_id: &str,
        ability: Ability,
    ) -> Result<(), Problem> {
        let restrictions = self.accounts.restrictions(user_id).await?;
        policy::may_use(ability, &restrictions, now()).map_err(|until| {
            let until = until.map_or_else(|| "for good".to_owned(), |until| format!("until {until:.3}"));
            let detail = format!("a decision of the moderators keeps you from this {until}");
            Problem::forbidden(detail).with_code(Code::Restricted)
        })
    }
}

/// Report something that the caller sees and that is somebody else's; at most 20 a day. It hides nothing by itself: moderators look
/// at what was reported, as it was at that moment. Something that the caller has reported already, and nobody has decided on, is
/// answered as it was.
#[utoipa::path(
    post, path = "/api/reports", operation_id = "createReport", tag = "moderation",
    params(IdempotencyKey), request_body = NewReport,
    responses(
        (status = CREATED, body = ReportBody),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn report(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewReport>,
) -> Result<(StatusCode, Json<ReportBody>), Problem> {
    let (at, by, id) = (new_id.made_at(), identity.user_id.as_str(), body.id.into_string());
    let kind = ThingKind::from(body.kind.0);
    let seen = Box::pin(community.reportable(body.kind.0, &id, &identity, at)).await?;
    let id = seen.thing.unwrap_or(id);
    let reports = &community.reports;
    let report = if let Some((_, known)) = reports.known(kind, &id, by).await? {
        known
    } else {
        community.limits.report(by).await?;
        let report = Report {
            id: new_id.into_text(),
            rule: body.category.0,
            words: body.words.value().map(ReportText::into_string),
            at,
            weight: reports.weight_of(by).await?,
        };
        let thing = (kind, id.as_str(), Some(seen.about.as_str()));
        Box::pin(reports.report(thing, by, &report, &seen.snapshot)).await?.1
    };
    Ok((StatusCode::CREATED, Json(ReportBody::new(kind, id, report, ReportOutcome::Open))))
}

/// What the caller has reported, the newest first, and what came of it. Who decided is not told.
#[utoipa::path(
    get, path = "/api/reports/mine", operation_id = "listMyReports", tag = "moderation", params(PageQuery),
    responses((status = OK, body = PageBody<ReportBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn mine(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<ReportBody>>, Problem> {
    let (desk, user) = (&community.desks.reviews, identity.user_id.as_str());
    let page = desk.listed(&reported_by(user), |_| true, query.page.request()).await?;
    let own = try_join_all(page.items.iter().map(|case| desk.report_of(&case.id, user))).await?;
    let items = page.items.into_iter().zip(own).filter_map(|(case, report)| {
        let outcome = ReportOutcome::of(&case.own);
        Some(ReportBody::new(case.facts.kind, case.facts.thing, report?, outcome))
    });
    let items = items.collect();
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

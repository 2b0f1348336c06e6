//! All that is mine: getting a copy of it, and leaving so that nothing of it stays.
//!
//! Both follow from what each kind declares of its fields, so they hold for kinds that are added later. A round over all that is
//! stored ([`sweep`]) is made for all who wait together: nobody chooses what it costs.

pub mod export_store;
pub mod exporting;
pub mod hooks;
pub mod rules;
pub mod store;
pub mod sweep;
mod taking;
pub mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Maybe, Time};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_protocol::new_id;
use mundotango_storage::{Page, now};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rules::{Departure, Stage, Sweep};
use super::Community;
use super::accounts::email::{LinkBody, not_good};
use super::accounts::kind::Leaving;
use super::accounts::leaving::By;
use super::accounts::links::Purpose;
use super::accounts::store::User;
use super::admin::held;
use super::audit::rules::Act;
use super::limits::Address;
use super::roles::{self, Role};
use crate::texts::{GivenPassword, LinkToken, SecondFactorCode, Username};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(leave))
        .routes(routes!(stay))
        .routes(routes!(remove))
        .routes(routes!(departures))
        .merge(taking::router())
}

/// That the account is to be deleted.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct LeaveBody {
    /// The password, so that nobody does it who only found the device.
    password: GivenPassword,
    /// The user name, so that nobody does it by mistake.
    confirmation: Username,
    /// What the device shows, or a recovery code; needed where the account has a second factor.
    #[deserr(default)]
    #[schema(value_type = Option<SecondFactorCode>)]
    code: Maybe<SecondFactorCode>,
}

/// That somebody's account is to be deleted.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct RemoveBody {
    /// The user name of the account, so that nobody does it by mistake.
    confirmation: Username,
}

/// That an account will be deleted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LeavingBody {
    /// Until when the account can be kept, by the link in the letter.
    until: Time,
}

/// How the deletion of accounts stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeparturesBody {
    /// How many users have left of whom nothing is there any more.
    done: u64,
    /// The round over all that is stored, if one is under way.
    #[schema(required = true)]
    round: Option<RoundBody>,
    /// Those who leave.
    items: Vec<DepartureBody>,
    /// What to send as `cursor` for the next page; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A round over all that is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SweepRound)]
struct RoundBody {
    number: u64,
    begun_at: Time,
    /// Partitions and entries that it has gone over.
    looked_at: u64,
    /// How many the round before went over in all.
    of_about: u64,
    /// How many who leave it is made for.
    leavers: usize,
    /// How many exports.
    exports: usize,
}

/// Somebody who leaves.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Departure)]
struct DepartureBody {
    user_id: String,
    since: Time,
    /// Until when the account can be kept.
    until: Time,
    stage: Stage,
    /// Rounds that were made.
    rounds: u32,
    /// What the last round changed: partitions and entries.
    changed: u64,
    /// In how many the user is left that it could not change.
    left: u64,
    /// Whether somebody has to look why traces stay.
    is_stuck: bool,
}

impl From<(String, Departure)> for DepartureBody {
    fn from((user_id, departure): (String, Departure)) -> Self {
        let is_stuck = departure.is_stuck();
        let Departure { since, until, stage, rounds, last, .. } = departure;
        let (since, until) = (since.into(), until.into());
        Self { user_id, since, until, stage, rounds, changed: last.changed, left: last.left, is_stuck }
    }
}

impl RoundBody {
    fn of(sweep: Sweep) -> Option<Self> {
        let round = sweep.round?;
        Some(Self {
            number: round.number,
            begun_at: round.begun_at.into(),
            looked_at: round.looked_at,
            of_about: sweep.last_looked_at,
            leavers: round.leavers.len(),
            exports: round.exporters.len(),
        })
    }
}

impl Community {
    /// Hides an account, ends all its logins and sockets, and has it deleted.
    async fn begin_leaving(&self, user_id: &str, by: By, now: Timestamp) -> Result<Leaving, Problem> {
        // Tokens go first: if something fails after that, the same can be asked for again after another login.
        self.lock_out_user(user_id).await?;
        let is_staff = self.accounts.user(user_id).await?.is_some_and(|user| user.role >= Role::Moderator);
        let user = user_id.to_owned();
        let effects = move |leaving: &Leaving| {
            let mut effects = vec![work::depart(&user, None)?];
            if is_staff {
                effects.extend(held::give_back(&user, now)?);
            }
            if leaving.until > leaving.since {
                effects.push(work::depart(&user, Some(leaving.until))?);
            }
            Ok(effects)
        };
        let leaving = self.accounts.leave(user_id, by, now, effects).await?;
        // Somebody may have logged in between.
        self.lock_out_user(user_id).await?;
        leaving.ok_or_else(|| Problem::not_found("user"))
    }

    /// Keeps an account that is to be deleted, by the token of a link.
    pub(super) async fn undo_deletion(&self, token: LinkToken) -> Result<(), Problem> {
        let link = self.mailed_link(token, Purpose::UndoDeletion)?;
        let user = link.user_id.clone();
        let effects = move || Ok(vec![work::depart(&user, None)?]);
        let is_kept = self.accounts.stay(&link.user_id, &link.id, now(), effects).await?;
        is_kept.then_some(()).ok_or_else(not_good)
    }
}

fn must_be(username: &str, confirmation: Username) -> Result<(), Problem> {
    if confirmation.into_string().to_lowercase() == username.to_lowercase() {
        return Ok(());
    }
    Err(Problem::invalid_field("confirmation", FieldCode::NotAllowed, "must be the user name of the account"))
}

/// An admin loses the role first, which another one takes away: so there is always one.
fn must_be_no_admin(user: &User) -> Result<(), Problem> {
    if user.role < Role::Admin {
        return Ok(());
    }
    let detail = "an admin's account cannot be deleted: another admin takes the role away first";
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

/// Delete the own account. It is hidden and logged out at once, and deleted after 7 days, with all that is only the caller's; the link
/// in the letter keeps it until then.
#[utoipa::path(
    delete, path = "/api/users/me", operation_id = "deleteMe", tag = "users", request_body = LeaveBody,
    responses(
        (status = ACCEPTED, body = LeavingBody),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn leave(
    identity: Identity,
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<LeaveBody>,
) -> Result<(StatusCode, Json<LeavingBody>), Problem> {
    let user = community.existing_user(&identity.user_id).await?;
    must_be(&user.username, body.confirmation)?;
    community.check_password(&user, body.password, &address).await?;
    must_be_no_admin(&user)?;
    community.check_code(&user, body.code, &address).await?;
    let leaving = community.begin_leaving(&user.id, By::User(new_id()), now()).await?;
    Ok((StatusCode::ACCEPTED, Json(LeavingBody { until: leaving.until.into() })))
}

/// Keep an account that is to be deleted, by the token of the link that was mailed. Log in again then.
#[utoipa::path(
    post, path = "/api/auth/undo-deletion", operation_id = "undoDeletion",
    tag = "auth", security(()), request_body = LinkBody,
    responses((status = NO_CONTENT), (status = BAD_REQUEST, body = Problem), (status = GONE, body = Problem)),
)]
async fn stay(State(community): Shared, ValidJson(body): ValidJson<LinkBody>) -> Result<StatusCode, Problem> {
    community.undo_deletion(body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete somebody's account at once, without a way back; for admins.
#[utoipa::path(
    delete, path = "/api/admin/users/{id}", operation_id = "deleteUser", tag = "admin", request_body = RemoveBody,
    responses(
        (status = ACCEPTED, body = LeavingBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<RemoveBody>,
) -> Result<(StatusCode, Json<LeavingBody>), Problem> {
    roles::require(&identity, Role::Admin)?;
    let account = community.accounts.account(&id).await?;
    let (user, _) = account.ok_or_else(|| Problem::not_found("user"))?;
    must_be(&user.username, body.confirmation)?;
    must_be_no_admin(&user)?;
    let now = now();
    community.audit.note(Act::by(&identity, "user.deleted", "user", &id, now)).await?;
    let leaving = community.begin_leaving(&id, By::Admin, now).await?;
    Ok((StatusCode::ACCEPTED, Json(LeavingBody { until: leaving.until.into() })))
}

/// Those who leave, and how far the deletion of each is; for admins.
#[utoipa::path(
    get, path = "/api/admin/departures", operation_id = "listDepartures", tag = "admin", params(PageQuery),
    responses(
        (status = OK, body = DeparturesBody), (status = BAD_REQUEST, body = Problem), (status = FORBIDDEN, body = Problem),
    ),
)]
async fn departures(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<DeparturesBody>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let sweep = community.sweep.sweep().await?;
    let page = community.sweep.departures(query.page.request()).await?;
    let items = page.items.into_iter().map(DepartureBody::from).collect();
    let PageBody { items, next_cursor } = query.page.body(Page { items, next: page.next });
    Ok(Json(DeparturesBody { done: sweep.done, round: RoundBody::of(sweep), items, next_cursor }))
}

//! Points, and the boards of who has most: for posts that all can read, for hosting events that take place, and for being there.
//!
//! Nothing here is opaque: members read which of the things they did earned what (`rules.rs` says how many, and the caps), and
//! who does not want to be compared is on no board.

pub mod board;
pub(super) mod jobs;
pub mod rules;
pub mod store;
pub mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::civil::Date;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, ValidJson, ValidQuery};
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_storage::db::Db;
use mundotango_storage::now;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::board::{BoardStore, MOST_SHOWN, Standing};
use self::rules::{Cause, Entry, Score};
use self::store::ScoreStore;
use super::policy::{self, Action, Object, Viewer};
use super::{Community, Person};
use crate::texts::City;

pub use self::work::handled;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(leaderboard)).routes(routes!(own, show)).routes(routes!(deeds))
}

/// Points and boards of a store.
pub(super) struct Points {
    scores: ScoreStore,
    boards: BoardStore,
}

impl Points {
    pub(super) fn new(db: &Db) -> Self {
        Self { scores: ScoreStore::new(db.clone()), boards: BoardStore::new(db.clone()) }
    }
}

/// A month of the calendar, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Month(String);

impl Deserr<BadFields> for Month {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a month, such as 2026-11";
        let Value::String(month) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        let is_month = month.len() == 7 && format!("{month}-01").parse::<Date>().is_ok();
        if is_month {
            Ok(Self(month))
        } else {
            Err(BadFields::one(at, FieldCode::BadForm, format!("must be {WANTED}")))
        }
    }
}

/// Which board.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields, validate = of_a_month -> BadFields)]
#[into_params(parameter_in = Query)]
struct BoardQuery {
    /// Of this month (UTC); of all time if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 7, pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$", example = "2026-11")]
    month: Option<Month>,
    /// Only what happened in this city; with `month`.
    #[deserr(default)]
    #[param(value_type = Option<City>)]
    city: Option<City>,
}

fn of_a_month(query: BoardQuery, _at: ValuePointerRef<'_>) -> Result<BoardQuery, BadFields> {
    if query.city.is_some() && query.month.is_none() {
        return Err(FieldError::new("month", FieldCode::Missing, "is required with city").into());
    }
    Ok(query)
}

/// A member on a board.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BoardPlace {
    /// 1 for the best; who has as many points got them later.
    rank: usize,
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    user: Option<Person>,
    points: u32,
}

/// A board.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BoardBody {
    /// At most 100, the best first. Ranks of those who are left out are missing.
    items: Vec<BoardPlace>,
}

/// Points of a month.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MonthBody {
    /// The month (UTC), such as 2026-11.
    month: String,
    points: u32,
}

/// What a member has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PointsBody {
    /// All that was earned and not taken back.
    points: u32,
    /// Points of this month (UTC).
    this_month: u32,
    /// The last 24 months in which there were any, the newest first.
    months: Vec<MonthBody>,
    /// Whether the boards show the member.
    shown: bool,
    /// The place on the board of all time; null for who is not among its first 100.
    #[schema(required = true)]
    rank: Option<usize>,
}

/// Whether the boards show the caller.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct Shown {
    shown: bool,
}

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeedBody {
    cause: Cause,
    /// The post or the event.
    thing_id: String,
    /// The day (UTC) to which it counts.
    day: String,
    /// Less than usual where a cap was reached.
    points: u32,
    /// Whether the points were taken back, as of a post that was deleted.
    taken_back: bool,
}

impl From<Entry> for DeedBody {
    fn from(entry: Entry) -> Self {
        Self {
            cause: entry.deed.cause,
            thing_id: entry.deed.thing,
            day: entry.deed.day,
            points: entry.points,
            taken_back: entry.is_taken_back,
        }
    }
}

fn rank_of(standings: &[(String, Standing)], user_id: &str) -> Option<usize> {
    standings.iter().take(MOST_SHOWN).position(|(user, _)| user == user_id).map(|place| place + 1)
}

impl Community {
    async fn points_of(&self, user_id: &str) -> Result<Json<PointsBody>, Problem> {
        let all_time = board::id(None, None);
        let points = &self.points;
        let (score, standings) =
            tokio::try_join!(points.scores.score(user_id), points.boards.standings(&all_time))?;
        let Score { points, months, is_hidden, .. } = score;
        let this_month = months.get(&jobs::month(now())).map_or(0, |month| month.points);
        let months = months.into_iter().rev().map(|(month, of)| MonthBody { month, points: of.points });
        let rank = rank_of(&standings, user_id).filter(|_| !is_hidden);
        Ok(Json(PointsBody { points, this_month, months: months.collect(), shown: !is_hidden, rank }))
    }
}

/// Who has most points: of all time, of a month, or of a month in a city. It may be some seconds behind. Who has blocked the caller, is
/// blocked, or pauses and is no friend, is left out, and the others keep their ranks.
#[utoipa::path(
    get, path = "/api/leaderboard", operation_id = "getLeaderboard", tag = "points", params(BoardQuery),
    responses((status = OK, body = BoardBody), (status = BAD_REQUEST, body = Problem)),
)]
async fn leaderboard(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<BoardQuery>,
) -> Result<Json<BoardBody>, Problem> {
    let month = query.month.map(|Month(month)| month);
    let city = query.city.map(City::into_string);
    let board = board::id(month.as_deref(), city.as_deref());
    let mut standings = community.points.boards.standings(&board).await?;
    standings.truncate(MOST_SHOWN);
    let mine = community.circles.view(&identity.user_id).await?;
    let viewer = Viewer::from(&identity).knowing(&mine);
    let mut ranked: Vec<_> = (1..).zip(standings).collect();
    let people = community.people(ranked.iter().map(|(_, (user, _))| user.clone()).collect()).await;
    ranked.retain(|(_, (user, _))| {
        let is_paused = people.get(user).is_some_and(|person| person.is_paused);
        policy::may(viewer, Action::Read, &Object::Somebody { user, is_paused }).is_allowed()
    });
    let places = ranked.into_iter().map(|(rank, (user_id, standing))| BoardPlace {
        rank,
        user: people.get(&user_id).cloned(),
        user_id,
        points: standing.points,
    });
    Ok(Json(BoardBody { items: places.collect() }))
}

/// The caller's points.
#[utoipa::path(
    get, path = "/api/users/me/points", operation_id = "getMyPoints", tag = "points",
    responses((status = OK, body = PointsBody)),
)]
async fn own(identity: Identity, State(community): Shared) -> Result<Json<PointsBody>, Problem> {
    community.points_of(&identity.user_id).await
}

/// Have the boards show the caller, or leave the caller out of them. Points are counted either way.
#[utoipa::path(
    put, path = "/api/users/me/points", operation_id = "showMyPoints", tag = "points", request_body = Shown,
    responses((status = OK, body = PointsBody), (status = BAD_REQUEST, body = Problem)),
)]
async fn show(
    identity: Identity,
    State(community): Shared,
    ValidJson(Shown { shown }): ValidJson<Shown>,
) -> Result<Json<PointsBody>, Problem> {
    community.points.scores.hide(&identity.user_id, !shown).await?;
    community.points_of(&identity.user_id).await
}

/// What the caller did that earns points, the newest things first.
#[utoipa::path(
    get, path = "/api/users/me/points/deeds", operation_id = "listMyDeeds", tag = "points", params(PageQuery),
    responses((status = OK, body = PageBody<DeedBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn deeds(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<DeedBody>>, Problem> {
    let page = community.points.scores.deeds(&identity.user_id, query.page.request()).await?;
    Ok(Json(query.page.body(page.map(DeedBody::from))))
}

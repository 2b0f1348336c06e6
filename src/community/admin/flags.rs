//! Feature flags: what is on for whom. A user's answer is the same each time: it follows from the flag's name and the user's id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Given, Time, Whole};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix, shard_of,
};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::WorkError;
use crate::community::Community;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::roles::{self, Role, role_of};

type Shared = State<Arc<Community>>;

/// All flags.
pub static FLAGS: Kind<(), (), Flag> = Kind::new("flags", "all: 200 of 300 B, 60 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is told by role"),
        Erasure::Anonymous("the flag stands, whoever set it"),
        &["rows.f.by"],
    ),
    Fields::of_nobody(&["id", "keys.f", "rows.f.enabled", "rows.f.percent", "rows.f.roles.*", "rows.f.at"]),
];

const ALL: &str = "all";
/// Most flags.
const MOST: usize = 200;
/// Most roles of a flag: all that there are.
const MOST_ROLES: usize = 3;
/// Longest name, in characters.
const MOST_CHARACTERS: usize = 64;

/// What is on for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// Off for everybody if not.
    pub enabled: bool,
    /// For how many of a hundred users.
    pub percent: u32,
    /// Beside those for everybody of these roles.
    pub roles: BTreeSet<Role>,
    /// When it was set.
    pub at: Timestamp,
    /// Who set it.
    pub by: String,
}

impl Flag {
    /// Whether it is on for a user.
    pub fn is_on(&self, name: &str, user_id: &str, role: Role) -> bool {
        let is_in = || shard_of(&key(&[name, user_id]), 100) < u64::from(self.percent);
        self.enabled && (self.roles.contains(&role) || is_in())
    }
}

/// The flags of a store.
#[derive(Clone)]
pub struct FlagStore(Db);

impl FlagStore {
    /// The flags of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Sets a flag, with what that causes.
    pub async fn set(&self, name: &str, flag: Flag, effect: Effect) -> Result<(), WorkError> {
        let (row, below) = (key(&["f", name]), prefix(&["f"]));
        let set = self.0.change(&FLAGS, ALL, Wants::head().first(&below, MOST + 1), move |part| {
            let rows = part.first(&below, MOST + 1);
            let is_known = rows.iter().any(|(key, _)| *key == row);
            if rows.len() >= MOST && !is_known {
                return Err(WorkError::Full("flags"));
            }
            part.set(&row, flag.clone());
            part.emit(&effect)?;
            Ok(Decision::Write(()))
        });
        set.await.map(drop)
    }

    /// Removes a flag, with what that causes; whether there was one.
    pub async fn remove(&self, name: &str, effect: Effect) -> Result<bool, StoreError> {
        let row = key(&["f", name]);
        let removed = self.0.change(&FLAGS, ALL, Wants::head().row(&row), move |part| {
            if part.row(&row).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.remove(&row);
            part.emit(&effect)?;
            Ok(Decision::Write(true))
        });
        Ok(removed.await?.unwrap_or_default())
    }

    /// All flags by name.
    pub async fn all(&self) -> Result<BTreeMap<String, Flag>, StoreError> {
        let rows = self.0.rows(&FLAGS, ALL, &RowRange::first(prefix(&["f"]), MOST)).await?.items;
        Ok(rows.into_iter().map(|(key, flag)| (last_part(&key), flag)).collect())
    }
}

/// What is on for whom.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"enabled": true, "percent": 10, "roles": ["moderator", "admin"]}))]
struct FlagBody {
    /// Off for everybody if not.
    enabled: bool,
    /// For how many of a hundred users; for none if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, maximum = 100, required = false)]
    percent: Given<Whole<0, 100>>,
    /// Beside those for everybody of these roles.
    #[deserr(default)]
    #[schema(value_type = Vec<Role>, max_items = 3, required = false)]
    roles: Given<Vec<Choice<Role>>>,
}

/// A flag, as admins see it.
#[derive(Debug, Serialize, ToSchema)]
struct FlagView {
    name: String,
    enabled: bool,
    /// For how many of a hundred users.
    percent: u32,
    roles: BTreeSet<Role>,
    /// When it was set.
    at: Time,
}

impl FlagView {
    fn new(name: String, flag: Flag) -> Self {
        let Flag { enabled, percent, roles, at, .. } = flag;
        Self { name, enabled, percent, roles, at: at.into() }
    }
}

/// All flags.
#[derive(Debug, Serialize, ToSchema)]
struct FlagList {
    items: Vec<FlagView>,
}

/// What is on for the caller.
#[derive(Debug, Serialize, ToSchema)]
struct OwnFlags {
    /// By the names of the flags. Only those are named that are on: what is not there is off.
    flags: BTreeMap<String, bool>,
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(own)).routes(routes!(list)).routes(routes!(set, remove))
}

/// What is on for the caller. A flag that is off for the caller is not named.
#[utoipa::path(
    get, path = "/api/flags", operation_id = "getFlags", tag = "users",
    responses((status = OK, body = OwnFlags)),
)]
async fn own(identity: Identity, State(community): Shared) -> Result<Json<OwnFlags>, Problem> {
    let role = role_of(&identity);
    let flags = community.desks.flags.all().await?.into_iter();
    let on = flags.filter(|(name, flag)| flag.is_on(name, &identity.user_id, role));
    Ok(Json(OwnFlags { flags: on.map(|(name, _)| (name, true)).collect() }))
}

/// All flags; for admins.
#[utoipa::path(
    get, path = "/api/admin/flags", operation_id = "listFlags", tag = "admin",
    responses((status = OK, body = FlagList), (status = FORBIDDEN, body = Problem)),
)]
async fn list(identity: Identity, State(community): Shared) -> Result<Json<FlagList>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let flags = community.desks.flags.all().await?.into_iter();
    Ok(Json(FlagList { items: flags.map(|(name, flag)| FlagView::new(name, flag)).collect() }))
}

/// Set a flag; for admins. There are 200 at most.
#[utoipa::path(
    put, path = "/api/admin/flags/{name}", operation_id = "setFlag", tag = "admin", request_body = FlagBody,
    responses(
        (status = OK, body = FlagView),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn set(
    identity: Identity,
    State(community): Shared,
    Path(name): Path<String>,
    ValidJson(body): ValidJson<FlagBody>,
) -> Result<(StatusCode, Json<FlagView>), Problem> {
    roles::require(&identity, Role::Admin)?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name.is_empty() || name.len() > MOST_CHARACTERS || !name.chars().all(is_plain) {
        let message = "must be 1 to 64 letters, digits, -, _ and .";
        return Err(Problem::invalid_field("name", FieldCode::BadForm, message));
    }
    let roles = body.roles.0.unwrap_or_default();
    if roles.len() > MOST_ROLES {
        return Err(Problem::invalid_field("roles", FieldCode::TooLong, "must name 3 roles at most"));
    }
    let now = now();
    let flag = Flag {
        enabled: body.enabled,
        percent: body.percent.0.map_or(0, Whole::get),
        roles: roles.into_iter().map(|role| role.0).collect(),
        at: now,
        by: identity.user_id.clone(),
    };
    let roles: Vec<_> = flag.roles.iter().map(|role| role.as_str()).collect();
    let act = Act::by(&identity, "flag.set", "flag", &*name, now)
        .with("enabled", flag.enabled.to_string())
        .with("percent", flag.percent.to_string())
        .with("roles", roles.join(","));
    community.desks.flags.set(&name, flag.clone(), Effect::audit(act)).await?;
    Ok((StatusCode::OK, Json(FlagView::new(name, flag))))
}

/// Remove a flag, which is off for everybody then; for admins.
#[utoipa::path(
    delete, path = "/api/admin/flags/{name}", operation_id = "removeFlag", tag = "admin",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    roles::require(&identity, Role::Admin)?;
    let act = Act::by(&identity, "flag.removed", "flag", &*name, now());
    let is_removed = community.desks.flags.remove(&name, Effect::audit(act)).await?;
    is_removed.then_some(StatusCode::NO_CONTENT).ok_or_else(|| Problem::not_found("flag"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flag(percent: u32, roles: &[Role]) -> Flag {
        let roles = roles.iter().copied().collect();
        Flag { enabled: true, percent, roles, at: Timestamp::UNIX_EPOCH, by: "ana".to_owned() }
    }

    proptest! {
        #[test]
        fn who_has_it_keeps_it_as_it_is_given_to_more(user in "[a-z0-9-]{1,36}", less in 0_u32..=100, more in 0_u32..=100) {
            let (less, more) = (less.min(more), less.max(more));
            let is_on = |percent| flag(percent, &[]).is_on("x", &user, Role::User);
            prop_assert!(!is_on(less) || is_on(more));
            prop_assert!(!is_on(0) && is_on(100));
        }
    }

    #[test]
    fn a_share_of_users_is_about_that_share_and_each_flag_has_its_own() {
        let count = |name: &str| {
            (0..10_000).filter(|id| flag(30, &[]).is_on(name, &id.to_string(), Role::User)).count()
        };
        assert!((2_500..3_500).contains(&count("one")), "{}", count("one"));
        let both = (0..10_000).filter(|id| {
            ["one", "other"].iter().all(|name| flag(30, &[]).is_on(name, &id.to_string(), Role::User))
        });
        assert!((500..1_300).contains(&both.count()), "two flags are not the same share");
    }

    #[test]
    fn a_role_has_it_whatever_the_share_unless_it_is_off() {
        let mut flag = flag(0, &[Role::Admin]);
        assert!(flag.is_on("x", "ana", Role::Admin) && !flag.is_on("x", "ana", Role::Moderator));
        flag.enabled = false;
        assert!(!flag.is_on("x", "ana", Role::Admin));
    }
}

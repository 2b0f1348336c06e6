//! The audit trail: what those did who may do more than others. It is only ever added to, and who changes it is found out.
//!
//! An entry is written by an effect of the change that acted ([`Effect::audit`](super::effects::Effect::audit)), so neither exists
//! without the other. Where the change lies in another crate, the entry is written before it ([`AuditStore::note`](store::AuditStore::note)).

mod lists;
mod root;
pub mod roots;
pub mod rules;
pub mod seal;
pub mod store;
pub mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, ValidQuery};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::Problem;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::roots::CheckedRoot;
use self::rules::{Act, Break, Tip};
use self::store::{Shown, Wanted};
use super::Community;
use super::housing::stay::CivilDate;
use super::policy::Action;
use super::roles::{self, Role};
use crate::texts::Id;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(roots)).routes(routes!(verify))
}

impl Community {
    /// Writes down, before it is done, that an admin does something with what somebody else owns, by the right that admins have.
    pub(super) async fn note_admins_right(
        &self,
        identity: &Identity,
        action: Action,
        (kind, id, owner): (&str, &str, &str),
    ) -> Result<(), Problem> {
        let verb = match action {
            Action::Change => "changed",
            Action::CheckIn => "checkedIn",
            Action::HandOver => "handedOver",
            // What is taken away by a right is noted with the change itself, and nobody may more in others' conversations.
            Action::Read | Action::ReadAttendees | Action::Remove | Action::TakePart => return Ok(()),
        };
        if !roles::is_admin(identity) || identity.user_id == owner {
            return Ok(());
        }
        let act = Act::by(identity, &format!("{kind}.{verb}"), kind, id, mundotango_storage::now());
        Ok(self.audit.note(act).await?)
    }
}

/// Which entries of the trail.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Only what this user did.
    #[deserr(default)]
    #[param(value_type = Option<Id>, inline)]
    actor: Option<Id>,
    /// Only what was done to the thing of this id.
    #[deserr(default)]
    #[param(value_type = Option<Id>, inline)]
    thing: Option<Id>,
    /// Only what is called so, such as `ticket.assigned`.
    #[deserr(default)]
    #[param(value_type = Option<Id>, inline)]
    act: Option<Id>,
    /// Only of this day, in UTC.
    #[deserr(default)]
    #[param(value_type = Option<CivilDate>, inline)]
    day: Option<CivilDate>,
}

/// Something that somebody did who may do more than others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEntry {
    /// The name of what wrote it, which no other entry has.
    id: String,
    at: Time,
    /// The user who did it; `system` for a rule. Null where it was done in a review that is about the caller.
    #[schema(required = true)]
    actor_id: Option<String>,
    /// The user's role at that moment.
    role: String,
    /// What was done.
    act: String,
    /// Of what kind it is that it was done to.
    thing_kind: String,
    /// Its id.
    thing_id: String,
    /// Why, in the words of who did it; null, as the details are none, where it was done in a review that is about the caller.
    #[schema(required = true)]
    reason: Option<String>,
    /// More of it, by name.
    details: BTreeMap<String, String>,
    /// Whether reason and details cannot be read any more, as the person is erased whom they are about.
    erased: bool,
    /// The chain that it is in: a day and a shard.
    chain: String,
    /// Its number there.
    number: u64,
    /// Its hash, which the next one names.
    hash: String,
}

impl AuditEntry {
    /// An entry, as a user sees it.
    fn seen_by(user_id: &str, Shown { entry, chain, number, words }: Shown) -> Self {
        let (erased, is_own_review) = (words.is_none(), entry.is_review_of(user_id));
        let words = words.filter(|_| !is_own_review).unwrap_or_default();
        Self {
            id: entry.id,
            at: entry.at.into(),
            actor_id: (!is_own_review).then_some(entry.actor),
            role: entry.role,
            act: entry.act,
            thing_kind: entry.thing.kind,
            thing_id: entry.thing.id,
            reason: words.reason,
            details: words.details,
            erased,
            chain,
            number,
            hash: entry.hash,
        }
    }
}

/// What was done, the newest first; for admins. Where few entries are as wanted, a page may have fewer than its limit. Of what was
/// done in a review that is about the caller it is not told who did it, and why.
#[utoipa::path(
    get, path = "/api/admin/audit", operation_id = "listAudit", tag = "admin", params(AuditQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<AuditEntry>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page }: ListQuery<AuditQuery>,
) -> Result<Json<PageBody<AuditEntry>>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let wanted = Wanted {
        actor: filter.actor.map(Id::into_string),
        thing: filter.thing.map(Id::into_string),
        act: filter.act.map(Id::into_string),
        day: filter.day.map(|day| day.0),
    };
    let caller = &identity.user_id;
    let mut found = community.audit.list(&wanted, page.request()).await?;
    // Who is looked for by the actor is told by what is found.
    found.items.retain(|one| wanted.actor.is_none() || !one.entry.is_review_of(caller));
    Ok(Json(page.body(found.map(|one| AuditEntry::seen_by(caller, one)))))
}

/// What is signed of a day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditRoot {
    /// The day, in UTC.
    day: String,
    signed_at: Time,
    /// How many entries each chain of the day has, and the hash of its last one.
    chains: Vec<AuditTip>,
    /// The hash of the root that was signed before it; empty for the first one.
    previous: String,
    /// The hash of all this, which is signed.
    hash: String,
    /// The public key (Ed25519), in base 64.
    key: String,
    /// The signature of the hash's text, in base 64.
    signature: String,
    /// Whether the signature holds.
    signed: bool,
    /// Whether the key is this installation's own of now.
    own_key: bool,
    /// Whether `previous` is the hash of the root before it.
    linked: bool,
}

/// Where a chain ended.
#[derive(Debug, Serialize, ToSchema)]
struct AuditTip {
    entries: u64,
    /// The hash of its last entry; empty where there is none.
    hash: String,
}

impl From<CheckedRoot> for AuditRoot {
    fn from(CheckedRoot { root, is_signed, is_own, is_linked }: CheckedRoot) -> Self {
        let chains = root.tips.into_iter().map(|Tip { count, last }| AuditTip { entries: count, hash: last });
        Self {
            day: root.day.to_string(),
            signed_at: root.signed_at.into(),
            chains: chains.collect(),
            previous: root.previous,
            hash: root.hash,
            key: root.key,
            signature: root.signature,
            signed: is_signed,
            own_key: is_own,
            linked: is_linked,
        }
    }
}

/// The signed roots of the days, the last that was signed first; for admins. Keep them elsewhere: what they say cannot be made anew.
#[utoipa::path(
    get, path = "/api/admin/audit/roots", operation_id = "listAuditRoots", tag = "admin", params(PageQuery),
    responses(
        (status = OK, body = PageBody<AuditRoot>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn roots(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<AuditRoot>>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let found = community.audit_roots.list(query.page.request()).await?;
    Ok(Json(query.page.body(found.map(AuditRoot::from))))
}

/// Which day is checked.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DayQuery {
    /// In UTC.
    #[param(value_type = CivilDate, inline)]
    day: CivilDate,
}

/// Whether a day is as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditCheck {
    day: String,
    /// Whether nothing is wrong.
    whole: bool,
    /// Each chain of the day.
    chains: Vec<ChainCheck>,
    /// The roots of the day: none before it is over, and more than one where entries came late.
    roots: Vec<AuditRoot>,
    /// Whether no root is of the day, though days before and behind it are signed.
    unsigned: bool,
    /// The roots of all days, which have numbers without holes.
    all_roots: RootsCheck,
}

/// Whether all roots are there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RootsCheck {
    /// How many there are to be.
    roots: u64,
    /// Where the first is missing, was changed, or does not name the one before it.
    #[schema(required = true)]
    broken: Option<Break>,
}

/// Whether a chain is as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChainCheck {
    chain: String,
    entries: u64,
    /// Where it breaks first, if it does.
    #[schema(required = true)]
    broken: Option<Break>,
}

/// Compute the hashes of a day's entries again, and compare them with what was signed and with the lists; for admins. Of all days it
/// is seen whether a root is missing.
#[utoipa::path(
    get, path = "/api/admin/audit/verify", operation_id = "verifyAudit", tag = "admin", params(DayQuery),
    responses(
        (status = OK, body = AuditCheck),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn verify(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<DayQuery>,
) -> Result<Json<AuditCheck>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let day = query.day.0;
    let checked = community.audit_roots.check(day).await?;
    let whole = checked.is_whole();
    let chains = rules::chains(day).into_iter().zip(checked.chains);
    let chains = chains.map(|(chain, (entries, broken))| ChainCheck { chain, entries, broken });
    Ok(Json(AuditCheck {
        day: day.to_string(),
        whole,
        chains: chains.collect(),
        roots: checked.roots.into_iter().map(AuditRoot::from).collect(),
        unsigned: checked.is_unsigned,
        all_roots: RootsCheck { roots: checked.all_roots.0, broken: checked.all_roots.1 },
    }))
}

//! The work of moderators and admins: approvals of proposals, safety reviews and support tickets, which have one shape
//! ([`work`], [`desk`]); users and their roles; announcements and feature flags.

pub mod announcements;
pub mod approvals;
mod bodies;
pub mod desk;
pub mod error;
pub mod flags;
pub mod held;
pub mod lists;
pub(super) mod live;
pub mod reviews;
pub mod roster;
pub mod slots;
pub mod staff;
pub mod tickets;
mod users;
pub mod work;

use std::sync::Arc;

use mundotango_gateway::Identity;
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_jobs::{Jobs, NewPools};
use mundotango_storage::db::{Db, Wants};
use mundotango_storage::{StoreError, now};
use utoipa_axum::router::OpenApiRouter;

use self::approvals::store::Proposals;
use self::bodies::{AssignBody, number};
use self::desk::{Case, Desk, Kept, Open, Step};
use self::error::WorkError;
use self::reviews::store::Reviews;
use self::roster::{Roles, Roster};
use self::staff::Staff;
use self::tickets::store::Tickets;
use super::Community;
use super::audit::rules::Act;
use super::effects::Effect;
use super::roles::{self, Role};
use crate::texts::Id;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .merge(approvals::router())
        .merge(reviews::router())
        .merge(tickets::router())
        .merge(users::router())
        .merge(announcements::router())
        .merge(flags::router())
}

/// The jobs of this feature.
pub fn handled(pools: NewPools, db: &Db, jobs: &Jobs, roles: Roles) -> NewPools {
    roster::handled(held::handled(lists::handled(pools, db), db, jobs), roles)
}

/// The desks, and what else admins work on.
pub(super) struct Desks {
    pub(super) proposals: Desk<Proposals>,
    pub(super) reviews: Desk<Reviews>,
    pub(super) tickets: Desk<Tickets>,
    pub(super) roster: Roster,
    pub(super) announcements: announcements::AnnouncementStore,
    pub(super) flags: flags::FlagStore,
}

impl Desks {
    /// Those of a store.
    pub(super) fn new(db: &Db) -> Self {
        Self {
            proposals: Desk::new(db.clone()),
            reviews: Desk::new(db.clone()),
            tickets: Desk::new(db.clone()),
            roster: Roster::new(db.clone()),
            announcements: announcements::AnnouncementStore::new(db.clone()),
            flags: flags::FlagStore::new(db.clone()),
        }
    }
}

impl Community {
    /// Gives a case to somebody of the staff; for moderators and admins. `guard` is what its workflow has against it, and `effects`
    /// are what a change causes.
    async fn assign_case<C: Case>(
        &self,
        desk: &Desk<C>,
        identity: &Identity,
        id: &str,
        body: AssignBody,
        guard: fn(&Open<'_, C>, &Staff) -> Result<(), WorkError>,
        effects: fn(&Kept<C>, &Act) -> Result<Vec<Effect>, StoreError>,
    ) -> Result<Option<Kept<C>>, Problem> {
        roles::require(identity, Role::Moderator)?;
        let (staff, now) = (Staff::from(identity), now());
        let to = match body.assignee_id.value().map(Id::into_string) {
            Some(other) if other != identity.user_id => {
                let user = self.accounts.user(&other).await?.filter(|user| user.role >= Role::Moderator);
                let Some(user) = user else {
                    let message = "must be a moderator or an admin";
                    return Err(Problem::invalid_field("assigneeId", FieldCode::NotAllowed, message));
                };
                Staff { user_id: other, is_admin: user.role >= Role::Admin }
            }
            _ => staff.clone(),
        };
        let thing = C::WORKFLOW.thing();
        let act = Act::by(identity, &format!("{thing}.assigned"), thing, id, now)
            .with("assignee", to.user_id.as_str());
        let step = Step { version: number(body.version), now, action: "assigned" };
        let rule = move |part: &mut Open<'_, C>| {
            guard(part, &staff)?;
            guard(part, &to)?;
            part.head.work.assign(&staff, &to.user_id)
        };
        Ok(desk.change(id, step, Wants::head(), rule, move |case| effects(case, &act)).await?)
    }
}

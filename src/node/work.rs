//! What a node does besides answering: its queues, what is done at certain times, and who does which jobs.

use std::sync::Arc;

use mundotango_gateway::Revocations;
use mundotango_gateway::tokens::Tokens;
use mundotango_jobs::{Jobs, NewPools, Queue, Schedule, Timing};
use mundotango_storage::db::Db;

use crate::analytics;
use crate::community::admin::roster::Roles;
use crate::community::audit;
use crate::community::audit::roots::{RootKey, Roots};
use crate::community::events::{self, series};
use crate::community::moderation::enforcing::{self, Enforcer};
use crate::community::notifications::tell::{NOTIFICATION, PUSHES};
use crate::community::posts::previews;
use crate::community::{self, letters, payments, personal_data};
use crate::config::JobsOptions;

/// The queues, and how many of their jobs this node does at the same time.
pub(super) fn queues(options: &JobsOptions) -> [(&'static Queue, usize); 8] {
    [
        (&letters::EMAIL, options.email),
        (&NOTIFICATION, options.notification),
        (&PUSHES, options.push),
        (&analytics::work::ANALYTICS, options.analytics),
        (&payments::causes::PAYMENT, options.payment),
        (&series::jobs::SERIES_WORK, options.series),
        (&personal_data::work::PERSONAL_DATA, options.personal_data),
        (&previews::work::LINK_PREVIEW, options.link_preview),
    ]
}

/// What is done at certain times.
pub(super) fn schedules() -> anyhow::Result<Vec<Schedule>> {
    let early = Timing::cron("10 0 * * *", "UTC")?;
    let yesterday =
        Schedule::new("analytics_day", early, |now| analytics::work::fold_day_before(now.at)).overlapping();
    let signed = Schedule::new("audit_sign", Timing::cron("20 0 * * *", "UTC")?, |_| audit::work::sign());
    // Who waits for a sweep whose job was given up is swept for all the same.
    let again = Timing::cron("30 0 * * *", "UTC")?;
    let swept = Schedule::new("personal_data_sweep", again, |_| personal_data::work::sweep_job());
    Ok(vec![yesterday, signed, swept])
}

/// What follows in other partitions from what was decided in one.
pub(super) fn sagas(pools: NewPools, db: &Db, jobs: &Jobs) -> NewPools {
    let pools = events::promoting::handled(events::refunds::handled(pools, db, jobs), db);
    let pools = community::posts::work::handled(events::live_counts::handled(pools, db), db);
    let pools = community::posts::timeline::handled(pools, db, jobs);
    let pools = community::housing::handled(pools, db);
    let pools = community::points::handled(pools, db, jobs);
    let pools = community::graph::handled(pools, db);
    series::work::handled(pools, series::work::SeriesWorker::new(db))
}

/// What follows from what admins do.
pub(super) fn of_admins(
    pools: NewPools,
    db: &Db,
    jobs: &Jobs,
    tokens: &Tokens,
    revocations: &Arc<Revocations>,
) -> anyhow::Result<NewPools> {
    let role_changes = Roles::new(db, Arc::clone(revocations), tokens.lifetime());
    let pools = community::admin::handled(pools, db, jobs, role_changes);
    let pools = enforcing::handled(pools, Enforcer::new(db, Arc::clone(revocations)));
    Ok(audit::work::handled(pools, Roots::new(db.clone(), RootKey::of(tokens)?)))
}

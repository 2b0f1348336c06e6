//! All kinds of partitions and indexes that the application keeps.

use std::sync::Arc;

use mundotango_gateway::{IDEMPOTENCY_KEYS, revocation_store};
use mundotango_storage::db::{Db, KindSpec, Schema, last_part};

use crate::analytics;
use crate::community::admin::work::Workflow;
use crate::community::personal_data::hooks::{Hook, NotCounted, hooks};
use crate::community::personal_data::sweep::Catalogue;
use crate::community::{self, admin, events, housing, payments, posts};
use crate::life_ceo;
use crate::search;

/// Where an entry of an index leads to, by the names of index and key; `None` for what is no key of that index.
pub(crate) fn leads_to(index: &str, key: &str) -> Option<(&'static KindSpec, String)> {
    let of = |known: &'static str| index == known;
    let of_posts = [&posts::feeds::FEEDS, &posts::feeds::POSTS_BY_AUTHOR, &posts::feeds::POSTS_BY_TAG];
    if of_posts.iter().any(|list| of(list.spec().name)) {
        Some((posts::store::POSTS.spec(), last_part(key)))
    } else if of(events::listing::EVENTS_BY_START.spec().name) {
        Some((events::store::EVENTS.spec(), last_part(key)))
    } else if of(payments::reads::PAYMENT_LISTS.spec().name) {
        Some((payments::reads::PAYMENTS.spec(), last_part(key)))
    } else if of(payments::ledger::LEDGER.spec().name) {
        // The payment stands between the time and the cause.
        Some((payments::reads::PAYMENTS.spec(), key.split('/').nth(1)?.to_owned()))
    } else if of(housing::listings::lists::LISTINGS_BY_PLACE.spec().name) {
        let id = housing::listings::lists::id_of(key)?;
        Some((housing::listings::kind::LISTINGS.spec(), id.to_owned()))
    } else if of(housing::bookings::lists::BOOKINGS_BY_USER.spec().name)
        || of(housing::bookings::lists::STAYS_BY_DAY.spec().name)
        || of(housing::bookings::lists::REVIEWS_BY_SUBJECT.spec().name)
    {
        Some((housing::bookings::store::BOOKINGS.spec(), last_part(key)))
    } else if of(community::audit::store::AUDIT_LISTS.spec().name) {
        Some((community::audit::store::AUDIT.spec(), community::audit::store::chain_of(key)?))
    } else if of(admin::lists::WORK_PENDING.spec().name)
        || of(admin::lists::WORK_LISTS.spec().name)
        || of(admin::reviews::store::CASE_LISTS.spec().name)
    {
        let (workflow, id) = admin::lists::case_of(key)?;
        let kind = match workflow {
            Workflow::Feature => admin::approvals::store::PROPOSALS.spec(),
            Workflow::Safety => admin::reviews::store::REVIEWS.spec(),
            Workflow::Support => admin::tickets::store::TICKETS.spec(),
        };
        Some((kind, id))
    } else {
        None
    }
}

/// What the sweep of those who leave has to know of all that a store holds.
pub fn catalogue(db: &Db) -> Catalogue {
    let mut hooks = hooks(db);
    // What was counted stays counted.
    for kind in [analytics::buckets::BUCKETS.spec(), analytics::members::COHORTS.spec()] {
        hooks.insert(kind.name, Arc::new(NotCounted) as Arc<dyn Hook>);
    }
    Catalogue { schema: schema(), leads_to, hooks }
}

/// The schema with which every store is opened.
pub fn schema() -> Schema {
    let mut kinds = analytics::kinds().to_vec();
    kinds.extend([
        revocation_store::REVOCATIONS.spec(),
        IDEMPOTENCY_KEYS.spec(),
        crate::secrets::SECRETS.spec(),
        crate::email::SUPPRESSIONS.spec(),
        mundotango_jobs::JOBS.spec(),
        mundotango_jobs::SCHEDULES.spec(),
        crate::chosen_traces::store::CHOSEN.spec(),
        life_ceo::store::CONVERSATIONS.spec(),
    ]);
    kinds.extend(community::kinds());
    let mut indexes = community::indexes();
    indexes.push(search::log::CHANGES.spec());
    Schema { kinds, indexes }
}

//! The community: one folder a feature, with its routes and types, what it keeps (`store`), its rules, and what it publishes.

pub mod accounts;
pub mod amount;
pub mod bookmarks;
pub mod calendars;
#[cfg(test)]
mod clocks;
mod coalescer;
mod document;
pub mod effects;
pub mod events;
pub mod housing;
pub mod letters;
mod limits;
pub mod location;
pub mod money;
pub mod notifications;
pub mod payments;
pub mod personal_data;
mod place;
pub mod policy;
pub mod posts;
pub mod roles;
pub mod site;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mundotango_actors::Engine;
use mundotango_gateway::Revocations;
use mundotango_gateway::tokens::Tokens;
use mundotango_jobs::Jobs;
use mundotango_push::Pusher;
#[cfg(test)]
use mundotango_storage::db::Schema;
use mundotango_storage::db::{Db, IndexSpec, KindSpec};
use mundotango_storage::hot::HotState;
use serde::Serialize;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::config::AuthOptions;
use crate::email::UnsubscribeKey;
use accounts::passwords::Passwords;
use accounts::store::{AccountStore, User};
use bookmarks::store::BookmarkStore;
use calendars::imported::ImportedStore;
use calendars::store::CalendarStore;
use events::series::work::SeriesWorker;
use events::store::EventStore;
use housing::bookings::saga::Bookings;
use limits::Limits;
use notifications::Notifications;
use payments::service::Payments;
use personal_data::export_store::ExportStore;
use personal_data::store::SweepStore;
use posts::store::PostStore;
use site::Site;

/// The kinds of partitions that the features keep.
pub fn kinds() -> [&'static KindSpec; 24] {
    [
        accounts::kind::USERS.spec(),
        accounts::names::NAMES.spec(),
        posts::store::POSTS.spec(),
        posts::store::POST_REACTIONS.spec(),
        bookmarks::store::BOOKMARKS.spec(),
        events::store::EVENTS.spec(),
        events::door::DOORS.spec(),
        events::series::state::SERIES.spec(),
        events::series::hosted::HOSTED_SERIES.spec(),
        notifications::store::NOTIFICATIONS.spec(),
        notifications::preferences::PREFERENCES.spec(),
        notifications::devices::DEVICES.spec(),
        notifications::devices::DESTINATIONS.spec(),
        calendars::store::CALENDARS.spec(),
        calendars::imported::IMPORTED_EVENTS.spec(),
        payments::reads::PAYMENTS.spec(),
        payments::reads::ATTEMPTS.spec(),
        payments::reads::STRIPE_EVENTS.spec(),
        payments::ledger::LEDGER_DAYS.spec(),
        housing::listings::kind::LISTINGS.spec(),
        housing::bookings::store::BOOKINGS.spec(),
        personal_data::store::SWEEP.spec(),
        personal_data::export_store::EXPORTS.spec(),
        personal_data::export_store::EXPORT_PARTS.spec(),
    ]
}

/// The indexes that the features keep.
pub fn indexes() -> [&'static IndexSpec; 9] {
    [
        posts::store::FEEDS.spec(),
        events::listing::EVENTS_BY_START.spec(),
        events::listing::EVENTS_OF_PEOPLE.spec(),
        payments::reads::PAYMENT_LISTS.spec(),
        payments::ledger::LEDGER.spec(),
        housing::listings::lists::LISTINGS_BY_PLACE.spec(),
        housing::bookings::lists::BOOKINGS_BY_USER.spec(),
        housing::bookings::lists::STAYS_BY_DAY.spec(),
        housing::bookings::lists::REVIEWS_BY_SUBJECT.spec(),
    ]
}

/// All that a feature needs of a store, for its tests.
#[cfg(test)]
fn schema_of_tests() -> Schema {
    let mut kinds = vec![mundotango_jobs::JOBS.spec(), crate::email::SUPPRESSIONS.spec()];
    kinds.extend(self::kinds());
    Schema { kinds, indexes: indexes().to_vec() }
}

/// What the features share.
pub struct Community {
    accounts: AccountStore,
    posts: PostStore,
    bookmarks: BookmarkStore,
    events: EventStore,
    series: SeriesWorker,
    calendars: CalendarStore,
    imported: ImportedStore,
    housing: Bookings,
    site: Site,
    tokens: Arc<Tokens>,
    revocations: Arc<Revocations>,
    passwords: Passwords,
    limits: Limits,
    jobs: Jobs,
    notifications: Notifications,
    payments: Arc<Payments>,
    exports: ExportStore,
    sweep: SweepStore,
    unsubscribe: UnsubscribeKey,
    refresh_token_ttl: Duration,
}

/// What the community is built on besides its store.
pub struct CommunityParts {
    /// For quotas.
    pub hot: Arc<dyn HotState>,
    /// Publishes to channels.
    pub engine: Arc<Engine>,
    /// Issues and reads tokens.
    pub tokens: Arc<Tokens>,
    /// Who is locked out.
    pub revocations: Arc<Revocations>,
    /// What is done later.
    pub jobs: Jobs,
    /// Reaches devices.
    pub pusher: Arc<Pusher>,
    /// Where the community is on the web.
    pub site: Site,
    /// Takes payments.
    pub payments: Arc<Payments>,
}

impl Community {
    /// The community on its store.
    pub fn new(db: &Db, parts: CommunityParts, auth: &AuthOptions) -> anyhow::Result<Self> {
        let CommunityParts { hot, engine, tokens, revocations, jobs, pusher, site, payments } = parts;
        let passwords = Passwords::new(auth.password_concurrency)?;
        let limits = Limits::new(auth.rates.clone(), hot);
        let refresh_token_ttl = auth.refresh_token_ttl;
        let posts = PostStore::new(db.clone());
        posts::live::start(&posts, &engine);
        let events = EventStore::new(db.clone());
        events::live::start(&events, &engine);
        Ok(Self {
            accounts: AccountStore::new(db.clone()),
            posts,
            bookmarks: BookmarkStore::new(db.clone()),
            events,
            series: SeriesWorker::new(db),
            calendars: CalendarStore::new(db.clone()),
            imported: ImportedStore::new(db.clone()),
            housing: Bookings::new(db),
            site,
            notifications: Notifications::new(db, pusher),
            payments,
            exports: ExportStore::new(db.clone()),
            sweep: SweepStore::new(db.clone()),
            unsubscribe: letters::unsubscribe::key(&tokens)?,
            tokens,
            revocations,
            passwords,
            limits,
            jobs,
            refresh_token_ttl,
        })
    }

    /// The people behind ids, as others see them.
    async fn people(&self, ids: Vec<String>) -> BTreeMap<String, Person> {
        people_of(&self.accounts, ids).await
    }
}

/// The people behind ids, as others see them. They only adorn an answer, so who can't be read is left out: above all, what was
/// written already is not to be reported as failed for want of its author's name.
async fn people_of(accounts: &AccountStore, mut ids: Vec<String>) -> BTreeMap<String, Person> {
    ids.sort_unstable();
    ids.dedup();
    match accounts.profiles(&ids).await {
        Ok(profiles) => profiles.into_iter().map(|one| (one.id.clone(), Person::from(one))).collect(),
        Err(error) => {
            tracing::warn!(%error, "people not read");
            BTreeMap::new()
        }
    }
}

/// A user beside what the user made.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    id: String,
    username: String,
    full_name: String,
    #[schema(required = true)]
    avatar_url: Option<String>,
}

impl From<User> for Person {
    fn from(one: User) -> Self {
        Self { id: one.id, username: one.username, full_name: one.full_name, avatar_url: one.avatar_url }
    }
}

/// The channel of a user's own, which all of the user's devices hear.
fn personal_channel(user_id: &str) -> String {
    format!("#{}", mundotango_protocol::escape_user(user_id))
}

/// The name of a value as clients write it, for metrics.
fn label<T: Serialize>(value: T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The community's routes and their document.
pub fn router(community: Arc<Community>) -> OpenApiRouter {
    OpenApiRouter::with_openapi(document::Document::openapi())
        .merge(accounts::router())
        .merge(posts::router())
        .merge(bookmarks::router())
        .merge(events::router())
        .merge(calendars::router())
        .merge(housing::router())
        .merge(notifications::router())
        .merge(payments::router())
        .merge(personal_data::router())
        .merge(letters::unsubscribe::router())
        .with_state(community)
}

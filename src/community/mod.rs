//! The community: one folder a feature, with its routes and types, what it keeps (`store`), its rules, and what it publishes.

pub mod accounts;
pub mod admin;
pub mod amount;
pub mod audit;
pub mod bookmarks;
pub mod calendars;
pub mod chat;
#[cfg(test)]
mod clocks;
mod coalescer;
mod document;
pub mod effects;
pub mod events;
pub mod graph;
pub mod housing;
pub mod letters;
mod limits;
pub mod location;
pub mod moderation;
pub mod money;
pub mod notifications;
mod once;
pub mod payments;
pub mod personal_data;
mod place;
pub mod points;
pub mod policy;
pub mod posts;
pub mod roles;
pub mod search;
pub mod site;
pub mod taken_away;

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
use crate::search::Searcher;
use accounts::passwords::Passwords;
use accounts::profile::FieldAudience;
use accounts::store::{AccountStore, User};
use admin::Desks;
use admin::roster::Roles;
use audit::roots::{RootKey, Roots};
use audit::store::AuditStore;
use bookmarks::store::BookmarkStore;
use calendars::imported::ImportedStore;
use calendars::store::CalendarStore;
use chat::Chats;
use events::series::work::SeriesWorker;
use events::store::EventStore;
use graph::store::Circles;
use housing::bookings::saga::Bookings;
use limits::Limits;
use moderation::enforcing::Enforcer;
use moderation::store::ReportStore;
use notifications::Notifications;
use payments::service::Payments;
use personal_data::export_store::ExportStore;
use personal_data::store::SweepStore;
use points::Points;
use posts::comments::store::CommentStore;
use posts::live::ChangedPosts;
use posts::store::PostStore;
use posts::timeline::filling::Timelines;
use site::Site;

/// The kinds of partitions that the features keep.
pub fn kinds() -> Vec<&'static KindSpec> {
    vec![
        accounts::kind::USERS.spec(),
        accounts::names::NAMES.spec(),
        posts::store::POSTS.spec(),
        posts::store::POST_REACTIONS.spec(),
        posts::polls::store::POLL_VOTES.spec(),
        posts::previews::known::LINK_PREVIEWS.spec(),
        posts::timeline::store::TIMELINES.spec(),
        posts::timeline::store::POPULAR_AUTHORS.spec(),
        posts::comments::kind::COMMENTS.spec(),
        posts::comments::reactions::COMMENT_REACTIONS.spec(),
        bookmarks::store::BOOKMARKS.spec(),
        graph::store::CIRCLES.spec(),
        graph::store::FOLLOWERS.spec(),
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
        payments::payees::store::PAYEES.spec(),
        payments::payees::store::PAYEE_ACCOUNTS.spec(),
        housing::listings::kind::LISTINGS.spec(),
        housing::bookings::store::BOOKINGS.spec(),
        points::store::SCORES.spec(),
        points::board::BOARDS.spec(),
        chat::kinds::CHATS.spec(),
        chat::kinds::CHAT_BLOCKS.spec(),
        chat::kinds::CHAT_INBOXES.spec(),
        audit::store::AUDIT.spec(),
        audit::seal::AUDIT_KEYS.spec(),
        audit::roots::AUDIT_ROOTS.spec(),
        admin::approvals::store::PROPOSALS.spec(),
        admin::reviews::store::REVIEWS.spec(),
        admin::tickets::store::TICKETS.spec(),
        moderation::store::REPORTED.spec(),
        moderation::store::REPORTERS.spec(),
        admin::slots::WORK_SLOTS.spec(),
        admin::roster::ROSTER.spec(),
        admin::announcements::ANNOUNCEMENTS.spec(),
        admin::flags::FLAGS.spec(),
        personal_data::store::SWEEP.spec(),
        personal_data::export_store::EXPORTS.spec(),
        personal_data::export_store::EXPORT_PARTS.spec(),
    ]
}

/// The indexes that the features keep.
pub fn indexes() -> Vec<&'static IndexSpec> {
    vec![
        posts::feeds::FEEDS.spec(),
        posts::feeds::POSTS_BY_AUTHOR.spec(),
        posts::feeds::POSTS_BY_TAG.spec(),
        graph::store::FOLLOWERS_BY_TIME.spec(),
        events::listing::EVENTS_BY_START.spec(),
        events::listing::EVENTS_OF_PEOPLE.spec(),
        payments::reads::PAYMENT_LISTS.spec(),
        payments::ledger::LEDGER.spec(),
        housing::listings::lists::LISTINGS_BY_PLACE.spec(),
        housing::bookings::lists::BOOKINGS_BY_USER.spec(),
        housing::bookings::lists::STAYS_BY_DAY.spec(),
        housing::bookings::lists::REVIEWS_BY_SUBJECT.spec(),
        audit::store::AUDIT_LISTS.spec(),
        admin::lists::WORK_PENDING.spec(),
        admin::lists::WORK_LISTS.spec(),
        admin::reviews::store::CASE_LISTS.spec(),
    ]
}

/// All that a feature needs of a store, for its tests.
#[cfg(test)]
fn schema_of_tests() -> Schema {
    let mut kinds = vec![mundotango_jobs::JOBS.spec(), crate::email::SUPPRESSIONS.spec()];
    kinds.extend(self::kinds());
    Schema { kinds, indexes: indexes() }
}

/// What the features share.
pub struct Community {
    accounts: AccountStore,
    posts: PostStore,
    comments: CommentStore,
    changed_posts: ChangedPosts,
    timelines: Timelines,
    link_previews: bool,
    bookmarks: BookmarkStore,
    circles: Circles,
    hot: Arc<dyn HotState>,
    events: EventStore,
    series: SeriesWorker,
    calendars: CalendarStore,
    imported: ImportedStore,
    housing: Bookings,
    chat: Chats,
    site: Site,
    tokens: Arc<Tokens>,
    revocations: Arc<Revocations>,
    passwords: Passwords,
    limits: Limits,
    jobs: Jobs,
    notifications: Notifications,
    payments: Arc<Payments>,
    points: Points,
    searcher: Searcher,
    exports: ExportStore,
    sweep: SweepStore,
    unsubscribe: UnsubscribeKey,
    refresh_token_ttl: Duration,
    audit: AuditStore,
    audit_roots: Roots,
    desks: Desks,
    role_changes: Roles,
    reports: ReportStore,
    enforcer: Enforcer,
}

/// What the community is built on besides its store.
pub struct CommunityParts {
    /// For quotas, and who is online.
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
    /// Searches for words.
    pub searcher: Searcher,
    /// Whether links of posts are looked at.
    pub link_previews: bool,
}

impl Community {
    /// The community on its store.
    pub fn new(db: &Db, parts: CommunityParts, auth: &AuthOptions) -> anyhow::Result<Self> {
        let CommunityParts {
            hot,
            engine,
            tokens,
            revocations,
            jobs,
            pusher,
            site,
            payments,
            searcher,
            link_previews,
        } = parts;
        let passwords = Passwords::new(auth.password_concurrency)?;
        let limits = Limits::new(auth.rates.clone(), Arc::clone(&hot));
        let refresh_token_ttl = auth.refresh_token_ttl;
        let posts = PostStore::new(db.clone());
        let circles = Circles::new(db.clone());
        let comments = CommentStore::new(db.clone());
        let changed_posts = posts::live::start(&posts, &comments, &circles, &engine);
        let events = EventStore::new(db.clone());
        events::live::start(&events, &engine);
        let accounts = AccountStore::new(db.clone());
        admin::live::start(&accounts, &engine);
        Ok(Self {
            accounts,
            audit: AuditStore::new(db.clone()),
            audit_roots: Roots::new(db.clone(), RootKey::of(&tokens)?),
            desks: Desks::new(db),
            role_changes: Roles::new(db, Arc::clone(&revocations), tokens.lifetime()),
            reports: ReportStore::new(db.clone()),
            enforcer: Enforcer::new(db, Arc::clone(&revocations)),
            posts,
            comments,
            changed_posts,
            timelines: Timelines::new(db, &circles),
            link_previews,
            bookmarks: BookmarkStore::new(db.clone()),
            circles,
            hot,
            events,
            series: SeriesWorker::new(db),
            calendars: CalendarStore::new(db.clone()),
            imported: ImportedStore::new(db.clone()),
            housing: Bookings::new(db),
            chat: Chats::start(db, &engine),
            site,
            notifications: Notifications::new(db, pusher),
            payments,
            points: Points::new(db),
            searcher,
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
    /// Whether strangers are not to find the user.
    #[serde(skip)]
    is_paused: bool,
}

impl From<User> for Person {
    fn from(one: User) -> Self {
        // Beside what somebody made it is not looked at who is a friend.
        let is_told = one.profile.audiences.avatar_url <= FieldAudience::Members;
        let avatar_url = one.avatar_url.filter(|_| is_told);
        let is_paused = one.paused_since.is_some();
        Self { id: one.id, username: one.username, full_name: one.full_name, avatar_url, is_paused }
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
        .merge(graph::router())
        .merge(events::router())
        .merge(calendars::router())
        .merge(housing::router())
        .merge(chat::router())
        .merge(notifications::router())
        .merge(payments::router())
        .merge(points::router())
        .merge(audit::router())
        .merge(admin::router())
        .merge(moderation::router())
        .merge(search::router())
        .merge(personal_data::router())
        .merge(letters::unsubscribe::router())
        .with_state(community)
}

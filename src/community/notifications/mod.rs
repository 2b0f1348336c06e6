//! Notifications: what a user is told of, wherever the user is.

pub mod devices;
pub mod kinds;
pub mod ladder;
pub mod preferences;
mod quiet;
pub mod rules;
pub mod store;
pub mod tell;
pub(super) mod views;
mod ways;
#[cfg(test)]
mod week;
pub mod words;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Maybe};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_push::{EndpointError, Pusher, WebSubscription};
use mundotango_storage::db::Db;
use mundotango_storage::now;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::devices::DeviceStore;
use self::kinds::NotificationKind;
use self::preferences::PreferenceStore;
use self::store::{Mark, NotificationStore};
use self::views::{NotificationView, announce_mark};
use super::{Community, personal_channel};
use crate::texts::Id;

type Shared = State<Arc<Community>>;

/// What the routes need.
pub struct Notifications {
    store: NotificationStore,
    pub(super) preferences: PreferenceStore,
    devices: DeviceStore,
    pusher: Arc<Pusher>,
    public_key: String,
}

impl Notifications {
    /// The notifications of a store, pushed by a pusher.
    pub fn new(db: &Db, pusher: Arc<Pusher>) -> Self {
        Self {
            store: NotificationStore::new(db.clone()),
            preferences: PreferenceStore::new(db.clone()),
            devices: DeviceStore::new(db.clone()),
            public_key: pusher.vapid_public_key(),
            pusher,
        }
    }

    fn check(&self, subscription: &WebSubscription) -> Result<(), EndpointError> {
        self.pusher.check(subscription)
    }
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(unread))
        .routes(routes!(read_all))
        .routes(routes!(shown))
        .routes(routes!(remove))
        .routes(routes!(read))
        .merge(preferences::router())
        .merge(devices::router())
}

/// How many notifications are unread.
#[derive(Debug, Serialize, ToSchema)]
struct UnreadView {
    unread: usize,
}

/// Up to which notification.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"upTo": "1"}))]
struct UpToBody {
    /// The id of a notification; absent for all that there are.
    #[deserr(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{1,19}$", max_length = 19, example = "1")]
    up_to: Maybe<Id>,
}

impl UpToBody {
    fn number(self) -> Result<u64, Problem> {
        let Some(id) = self.up_to.value() else { return Ok(u64::MAX) };
        let wrong = || FieldError::new("upTo", FieldCode::BadForm, "must be the id of a notification");
        id.into_string().parse().map_err(|_| Problem::invalid(vec![wrong()]))
    }
}

impl Community {
    /// Marks what a user was told of a thing as read, as the user has seen the thing itself.
    pub(super) async fn mark_thing_read(
        &self,
        user_id: &str,
        kind: NotificationKind,
        thing: &str,
    ) -> Result<(), Problem> {
        if let Some(number) = self.notifications.store.newest(user_id, kind, thing).await? {
            let _unread = self.mark(user_id, Mark::One(number)).await?;
        }
        Ok(())
    }

    async fn mark(&self, user_id: &str, mark: Mark) -> Result<Json<UnreadView>, Problem> {
        let (now, channel) = (now(), personal_channel(user_id));
        let clear = ladder::clear(user_id, now)?;
        let announce = move |mark: &Mark, unread| announce_mark(&channel, mark, unread);
        let unread = self.notifications.store.mark_read(user_id, mark, now, clear, announce).await?;
        let unread = unread.ok_or_else(|| Problem::not_found("notification"))?;
        Ok(Json(UnreadView { unread }))
    }
}

/// The number in a path.
fn number_of(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| Problem::not_found("notification"))
}

/// The caller's notifications, the last one first. The last 500 are kept.
#[utoipa::path(
    get, path = "/api/notifications", operation_id = "listNotifications",
    tag = "notifications", params(PageQuery),
    responses((status = OK, body = PageBody<NotificationView>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<NotificationView>>, Problem> {
    let page = community.notifications.store.list(&identity.user_id, query.page.request()).await?;
    Ok(Json(query.page.body(page.map(NotificationView::from))))
}

/// How many notifications the caller has not read.
#[utoipa::path(
    get, path = "/api/notifications/unread-count", operation_id = "countUnreadNotifications",
    tag = "notifications",
    responses((status = OK, body = UnreadView)),
)]
async fn unread(identity: Identity, State(community): Shared) -> Result<Json<UnreadView>, Problem> {
    Ok(Json(UnreadView { unread: community.notifications.store.unread(&identity.user_id).await? }))
}

/// Mark a notification as read, on all devices.
#[utoipa::path(
    post, path = "/api/notifications/{id}/read", operation_id = "markNotificationRead", tag = "notifications",
    responses((status = OK, body = UnreadView), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<UnreadView>, Problem> {
    community.mark(&identity.user_id, Mark::One(number_of(&id)?)).await
}

/// Mark notifications as read, on all devices. With `upTo`, those that came after what the user has seen stay unread.
#[utoipa::path(
    post, path = "/api/notifications/read-all", operation_id = "markNotificationsRead",
    tag = "notifications", request_body = UpToBody,
    responses((status = OK, body = UnreadView), (status = BAD_REQUEST, body = Problem)),
)]
async fn read_all(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<UpToBody>,
) -> Result<Json<UnreadView>, Problem> {
    community.mark(&identity.user_id, Mark::UpTo(body.number()?)).await
}

/// Say that a device shows the notifications up to one: they are not pushed to the others. An app that is in front sends this
/// within ten seconds after it hears `notification.created`.
#[utoipa::path(
    post, path = "/api/notifications/shown", operation_id = "markNotificationsShown",
    tag = "notifications", request_body = UpToBody,
    responses((status = NO_CONTENT), (status = BAD_REQUEST, body = Problem)),
)]
async fn shown(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<UpToBody>,
) -> Result<StatusCode, Problem> {
    community.notifications.store.mark_shown(&identity.user_id, body.number()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a notification.
#[utoipa::path(
    delete, path = "/api/notifications/{id}", operation_id = "removeNotification", tag = "notifications",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let channel = personal_channel(&identity.user_id);
    let announce = move |mark: &Mark, unread| announce_mark(&channel, mark, unread);
    if community.notifications.store.delete(&identity.user_id, number_of(&id)?, announce).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("notification"))
    }
}

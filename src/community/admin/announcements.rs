//! Announcements: what those who run the community tell everybody, until a time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Time};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix,
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
use crate::community::roles::{self, Role};
use crate::texts::{AnnouncementText, Title};

type Shared = State<Arc<Community>>;

/// All announcements.
pub static ANNOUNCEMENTS: Kind<(), (), Announcement> =
    Kind::new("announcements", "all: 50 of 2,000 characters, 450 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is told by role"),
        Erasure::Anonymous("everybody was told it, whoever wrote it"),
        &["rows.n.by"],
    ),
    Fields::of_nobody(&["id", "keys.n", "rows.n.title", "rows.n.text", "rows.n.at", "rows.n.until"]),
];

/// Where they are published.
const CHANNEL: &str = "announcements:all";
const ALL: &str = "all";
/// Most at a time.
const MOST: usize = 50;

/// What everybody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// In a line.
    pub title: String,
    /// At length.
    pub text: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who wrote it.
    pub by: String,
}

/// What everybody is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct AnnouncementBody {
    id: String,
    title: String,
    text: String,
    at: Time,
    /// Until when it is shown.
    until: Time,
}

/// What `announcements:all` publishes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum AnnouncementMessage {
    /// There is a new one.
    #[serde(rename = "announcement.created")]
    Created { announcement: AnnouncementBody },
    /// One is taken back.
    #[serde(rename = "announcement.removed")]
    Removed { id: String },
    /// There was a new one, which could not be told at once and may be taken back by now: ask for those that are shown.
    #[serde(rename = "announcement.outdated")]
    Outdated { id: String },
}

/// All that are shown.
#[derive(Debug, Serialize, ToSchema)]
struct Announcements {
    items: Vec<AnnouncementBody>,
}

/// What everybody is to be told.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({
    "title": "Maintenance", "text": "On Sunday at four we are away for ten minutes.", "until": "2030-12-04T21:00:00Z",
}))]
struct NewAnnouncement {
    title: Title,
    text: AnnouncementText,
    /// Until when it is shown.
    #[schema(value_type = Time)]
    until: Time,
}

fn row_key(id: &str) -> String {
    key(&["n", id])
}

fn body_of(id: String, one: &Announcement) -> AnnouncementBody {
    AnnouncementBody {
        id,
        title: one.title.clone(),
        text: one.text.clone(),
        at: one.at.into(),
        until: one.until.into(),
    }
}

/// The announcements of a store.
#[derive(Clone)]
pub struct AnnouncementStore(Db);

impl AnnouncementStore {
    /// The announcements of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds one, in the place of those whose time is over. `effects` are what it causes.
    pub async fn add(
        &self,
        id: &str,
        one: Announcement,
        effects: Vec<Effect>,
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let (row, below) = (row_key(id), prefix(&["n"]));
        let added = self.0.change(&ANNOUNCEMENTS, ALL, Wants::head().first(&below, MOST + 1), move |part| {
            let rows = part.first(&below, MOST + 1);
            if rows.iter().any(|(key, _)| *key == row) {
                return Ok(Decision::Stands(()));
            }
            let (over, shown): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, one)| one.until <= now);
            let (over, count) = (over.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), shown.len());
            if count >= MOST {
                return Err(WorkError::Full("announcements"));
            }
            for key in over {
                part.remove(key);
            }
            part.set(&row, one.clone());
            for effect in &effects {
                part.emit(effect)?;
            }
            Ok(Decision::Write(()))
        });
        added.await.map(drop)
    }

    /// Takes one back; whether there was one. `effects` are what that causes.
    pub async fn remove(&self, id: &str, effects: Vec<Effect>) -> Result<bool, StoreError> {
        let row = row_key(id);
        let removed = self.0.change(&ANNOUNCEMENTS, ALL, Wants::head().row(&row), move |part| {
            if part.row(&row).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.remove(&row);
            for effect in &effects {
                part.emit(effect)?;
            }
            Ok(Decision::Write(true))
        });
        Ok(removed.await?.unwrap_or_default())
    }

    /// Those that are shown, the newest first, with their ids.
    pub async fn shown(&self, now: Timestamp) -> Result<Vec<(String, Announcement)>, StoreError> {
        let rows = self.0.rows(&ANNOUNCEMENTS, ALL, &RowRange::last(prefix(&["n"]), 2 * MOST)).await?.items;
        let shown = rows.into_iter().filter(|(_, one)| one.until > now);
        Ok(shown.map(|(key, one)| (last_part(&key), one)).collect())
    }
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(create)).routes(routes!(remove))
}

/// What those who run the community tell everybody, the newest first.
#[utoipa::path(
    get, path = "/api/announcements", operation_id = "listAnnouncements", tag = "users", security(()),
    responses((status = OK, body = Announcements)),
)]
async fn list(State(community): Shared) -> Result<Json<Announcements>, Problem> {
    let shown = community.desks.announcements.shown(now()).await?;
    Ok(Json(Announcements { items: shown.into_iter().map(|(id, one)| body_of(id, &one)).collect() }))
}

/// Tell everybody something until a time; for admins. There are 50 at a time at most.
#[utoipa::path(
    post, path = "/api/admin/announcements", operation_id = "createAnnouncement",
    tag = "admin", params(IdempotencyKey), request_body = NewAnnouncement,
    responses(
        (status = CREATED, body = AnnouncementBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn create(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewAnnouncement>,
) -> Result<(StatusCode, Json<AnnouncementBody>), Problem> {
    roles::require(&identity, Role::Admin)?;
    let (at, id) = (new_id.made_at(), new_id.into_text());
    if body.until.0 <= at {
        return Err(Problem::invalid_field("until", FieldCode::OutOfRange, "must be later than now"));
    }
    let one = Announcement {
        title: body.title.into_string(),
        text: body.text.into_string(),
        at,
        until: body.until.0,
        by: identity.user_id.clone(),
    };
    let announcement = body_of(id.clone(), &one);
    let act = Act::by(&identity, "announcement.created", "announcement", &id, at).with("title", &*one.title);
    let message = AnnouncementMessage::Created { announcement: announcement.clone() };
    let late = AnnouncementMessage::Outdated { id: id.clone() };
    let effects = vec![Effect::publish_now(CHANNEL, &message, &late)?, Effect::audit(act)];
    community.desks.announcements.add(&id, one, effects, at).await?;
    Ok((StatusCode::CREATED, Json(announcement)))
}

/// Take an announcement back; for admins.
#[utoipa::path(
    delete, path = "/api/admin/announcements/{id}", operation_id = "removeAnnouncement", tag = "admin",
    responses((status = NO_CONTENT), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem)),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    roles::require(&identity, Role::Admin)?;
    let act = Act::by(&identity, "announcement.removed", "announcement", &id, now());
    let message = AnnouncementMessage::Removed { id: id.clone() };
    let effects = vec![Effect::publish(CHANNEL, &message)?, Effect::audit(act)];
    if !community.desks.announcements.remove(&id, effects).await? {
        return Err(Problem::not_found("announcement"));
    }
    Ok(StatusCode::NO_CONTENT)
}

//! The door of an event: who came. A device at the door works without a network and sends what it noted when it has one again:
//! of all notes of a guest the earliest counts, in whatever order they arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, ValuePointerRef};
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Given, Maybe, Time};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_storage::db::{Decision, Erasure, Export, Fields, Kind, Wants, Whose, key, last_part};
use mundotango_storage::{Page, PageRequest, StoreError, now};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::PartyBody;
use super::rules::RsvpStatus;
use super::seating::Rsvp;
use super::store::EventStore;
use crate::community::policy::Action;
use crate::community::{Community, Person};
use crate::texts::{DeviceName, Id};

type Shared = State<Arc<Community>>;

/// Who came to events. A partition of its own, so that the door and late answers do not wait for each other.
pub static DOORS: Kind<(), Door, CheckIn> =
    Kind::new("doors", "an event: 200,000 check-ins of 120 B, 24 MB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Anonymous("the number of those who came stays right"),
        &["keys.c", "rows.c.at"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the guest is given the time"),
        Erasure::Anonymous("the note is the guest's, and counts"),
        &["rows.c.by"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is the name of a device at the door"),
        Erasure::Emptied,
        &["rows.c.device"],
    ),
    Fields::of_nobody(&["id", "head.count"]),
];

/// Below this lie the check-ins, by user.
const CHECK_INS: &str = "c";
/// Most check-ins that a device sends at once.
const MOST_AT_ONCE: usize = 500;
/// A device whose clock is ahead by more than this has its notes refused.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(10);

/// What changes about a door besides the check-ins.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Door {
    /// How many users were checked in.
    pub count: u32,
}

/// That a user came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// When the user came.
    pub at: Timestamp,
    /// Who noted it.
    pub by: String,
    /// On which device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list, check_in))
}

fn check_in_key(user_id: &str) -> String {
    key(&[CHECK_INS, user_id])
}

impl EventStore {
    /// Notes who came; how many users were checked in by all notes. Of several notes of a user the earliest counts.
    pub async fn check_in(
        &self,
        event_id: &str,
        check_ins: BTreeMap<String, CheckIn>,
    ) -> Result<u32, StoreError> {
        let wants = check_ins.keys().fold(Wants::head(), |wants, user| wants.row(check_in_key(user)));
        let noted = self.db().change(&DOORS, event_id, wants, move |part| {
            let mut is_new = false;
            for (user, check_in) in &check_ins {
                let own = check_in_key(user);
                let before = part.row(&own).map(|known| known.at);
                if before.is_some_and(|before| before <= check_in.at) {
                    continue;
                }
                part.head.count += u32::from(before.is_none());
                part.set(own, check_in.clone());
                is_new = true;
            }
            let count = part.head.count;
            Ok::<_, StoreError>(if is_new { Decision::Write(count) } else { Decision::Stands(count) })
        });
        Ok(noted.await?.unwrap_or_default())
    }

    /// How many users were checked in.
    pub(in crate::community) async fn checked_in(&self, event_id: &str) -> Result<u32, StoreError> {
        Ok(self.db().read(&DOORS, event_id).await?.map(|found| found.head.count).unwrap_or_default())
    }

    /// When users came; who did not come is left out.
    pub async fn came(
        &self,
        event_id: &str,
        users: &[String],
    ) -> Result<BTreeMap<String, CheckIn>, StoreError> {
        let keys: Vec<_> = users.iter().map(|user| check_in_key(user)).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let found = self.db().read_with(&DOORS, event_id, &keys).await?;
        let rows = found.map(|(_, rows)| rows).unwrap_or_default();
        Ok(rows.into_iter().map(|(key, check_in)| (last_part(&key), check_in)).collect())
    }
}

/// What a device noted at the door.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = not_too_many -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "checkIns": [{"userId": "01a22267-5695-774a-9335-497936266a2f", "at": "2026-01-05T00:31:00Z", "device": "Phone"}],
}))]
struct CheckInsBody {
    #[schema(min_items = 1, max_items = 500)]
    check_ins: Vec<CheckInBody>,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct CheckInBody {
    user_id: Id,
    /// When the guest came; now if absent.
    #[deserr(default)]
    #[schema(value_type = Time, required = false)]
    at: Given<Time>,
    #[deserr(default)]
    #[schema(value_type = Option<DeviceName>)]
    device: Maybe<DeviceName>,
}

fn not_too_many(body: CheckInsBody, _at: ValuePointerRef<'_>) -> Result<CheckInsBody, BadFields> {
    let count = body.check_ins.len();
    if (1..=MOST_AT_ONCE).contains(&count) {
        return Ok(body);
    }
    let message = format!("must have 1 to {MOST_AT_ONCE} items");
    let code = if count == 0 { FieldCode::TooShort } else { FieldCode::TooLong };
    Err(FieldError::new("checkIns", code, message).into())
}

/// What became of the notes of a device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DoorBody {
    /// How many users were checked in by all devices.
    checked_in: u32,
}

/// Somebody on the list at the door.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DoorGuest {
    user_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    user: Option<Person>,
    status: RsvpStatus,
    #[serde(flatten)]
    party: PartyBody,
    /// When the guest came; null for who did not.
    #[schema(required = true)]
    checked_in_at: Option<Time>,
    /// The event is over, and the guest had a place and did not come.
    no_show: bool,
}

/// The list at the door: who answered, and who came; for hosts.
#[utoipa::path(
    get, path = "/api/events/{id}/door", operation_id = "listDoor", tag = "events", params(PageQuery),
    responses(
        (status = OK, body = PageBody<DoorGuest>),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<DoorGuest>>, Problem> {
    let event = community.event_for(&id, &identity, Action::CheckIn).await?;
    let request: PageRequest = query.page.request();
    let page: Page<Rsvp> = community.events.rsvps(&id, request).await?;
    let users: Vec<_> = page.items.iter().map(|rsvp| rsvp.user_id.clone()).collect();
    let came = community.events.came(&id, &users).await?;
    let people = community.people(users).await;
    let is_over = event.when.over_at() <= now();
    let guests = page.map(|rsvp| {
        let checked_in = came.get(&rsvp.user_id);
        DoorGuest {
            user: people.get(&rsvp.user_id).cloned(),
            no_show: is_over && checked_in.is_none() && rsvp.status == RsvpStatus::Going,
            checked_in_at: checked_in.map(|check_in| check_in.at.into()),
            user_id: rsvp.user_id,
            status: rsvp.status,
            party: rsvp.party.into(),
        }
    });
    Ok(Json(query.page.body(guests)))
}

/// Note who came; for hosts. The same may be sent again, and by several devices: of all notes of a guest the earliest counts.
#[utoipa::path(
    post, path = "/api/events/{id}/door", operation_id = "checkIn", tag = "events", request_body = CheckInsBody,
    responses(
        (status = OK, body = DoorBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn check_in(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<CheckInsBody>,
) -> Result<Json<DoorBody>, Problem> {
    community.event_for(&id, &identity, Action::CheckIn).await?;
    let now = now();
    let mut check_ins: BTreeMap<String, CheckIn> = BTreeMap::new();
    let mut errors = Vec::new();
    for (number, one) in body.check_ins.into_iter().enumerate() {
        let at = one.at.0.map_or(now, |Time(at)| at);
        if at.duration_since(now) > CLOCKS_APART {
            let field = format!("checkIns[{number}].at");
            errors.push(FieldError::new(field, FieldCode::OutOfRange, "must not lie in the future"));
            continue;
        }
        let device = one.device.value().map(DeviceName::into_string);
        let check_in = CheckIn { at, by: identity.user_id.clone(), device };
        let user_id = one.user_id.into_string();
        if check_ins.get(&user_id).is_none_or(|known| check_in.at < known.at) {
            check_ins.insert(user_id, check_in);
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    Ok(Json(DoorBody { checked_in: community.events.check_in(&id, check_ins).await? }))
}

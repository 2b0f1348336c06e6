//! The devices on which a user gets pushes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Identity;
use mundotango_gateway::describe::one_of;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::input::{BadFields, Maybe};
use mundotango_gateway::problem::{FieldCode, FieldError, Problem};
use mundotango_protocol::new_id;
use mundotango_push::Destination;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose, key};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa::openapi::Schema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::community::Community;
use crate::texts::{DeviceName, PushToken, WebAddress};

type Shared = State<Arc<Community>>;

/// A device that was not registered again for so long gets no pushes any more: apps do so at each start.
const UNUSED: Duration = Duration::from_hours(270 * 24);
/// How often it is noted that it was.
const NOTED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Most devices of one user; the one that was registered longest ago makes room for another.
const MAX_DEVICES: usize = 20;

/// The devices of each user.
pub static DEVICES: Kind<(), Devices, ()> =
    Kind::new("devices", "a user: 20 devices of 1.5 KB, 30 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &["id", "head.all.*.id", "head.all.*.name", "head.all.*.registered_at"],
    ),
    Fields::of(
        Whose::User,
        Export::NotGiven("whoever has it can push to the device"),
        Erasure::Removed,
        &["head.all.*.destination.**"],
    ),
];

/// Whose device a destination is: who registers it last has it.
pub static DESTINATIONS: Kind<(), Owner, ()> =
    Kind::new("push_destinations", "a destination: 100 B", PERSONAL_OF_DESTINATIONS).implicit().ttl(UNUSED);
/// The same of destinations.
const PERSONAL_OF_DESTINATIONS: &[Fields] = &[Fields::of(
    Whose::Named,
    Export::NotGiven("the devices are"),
    Erasure::Removed,
    &["id", "head.user_id", "head.at"],
)];

/// A user's devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    all: Vec<Device>,
}

/// Whose device a destination is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Nobody's, if empty.
    user_id: String,
    /// When it was registered last, to a week.
    #[serde(default)]
    at: Timestamp,
}

/// A device that gets pushes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Names it among the user's.
    pub id: String,
    /// Where it is reached.
    pub destination: Destination,
    /// As the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was registered last.
    pub registered_at: Timestamp,
}

/// The name of a destination, under which its owner is found: it tells nobody where that is.
fn name_of(destination: &Destination) -> String {
    let place = match destination {
        Destination::Web(subscription) => key(&["web", subscription.endpoint().as_str()]),
        Destination::Fcm { token } => key(&["fcm", token.expose()]),
        Destination::Apns { token } => key(&["apns", token.expose()]),
    };
    Sha256::digest(place.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing into a string does not fail.
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
        hex
    })
}

/// The devices of a store.
#[derive(Clone)]
pub struct DeviceStore(Db);

impl DeviceStore {
    /// The devices of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Registers a device; the id under which it stands. The same destination again keeps its id, and whoever had it before
    /// gets no pushes on it any more: another user signed in there.
    pub async fn register(
        &self,
        user_id: &str,
        destination: Destination,
        name: Option<String>,
    ) -> Result<Device, StoreError> {
        let (own, now) = (user_id.to_owned(), now());
        let place = name_of(&destination);
        let taken = self.0.change(&DESTINATIONS, &place, Wants::head(), move |part| {
            if part.head.user_id == own && now.duration_since(part.head.at) < NOTED {
                return Ok::<_, StoreError>(Decision::Stands(None));
            }
            let before = std::mem::replace(&mut part.head, Owner { user_id: own.clone(), at: now });
            Ok(Decision::Write(Some(before.user_id).filter(|before| *before != own)))
        });
        if let Some(before) = taken.await?.flatten().filter(|before| !before.is_empty()) {
            let place = place.clone();
            self.remove(&before, move |device| name_of(&device.destination) == place).await?;
        }
        let device = Device { id: new_id(), destination, name, registered_at: now };
        let registered = self.0.change(&DEVICES, user_id, Wants::head(), move |part| {
            let (mut device, mut oldest) = (device.clone(), None);
            let all = &mut part.head.all;
            if let Some(at) = all.iter().position(|known| name_of(&known.destination) == place) {
                device.id = all.remove(at).id;
            }
            if all.len() >= MAX_DEVICES {
                oldest = Some(all.remove(0));
            }
            all.push(device.clone());
            Ok::<_, StoreError>(Decision::Write((device, oldest)))
        });
        let missing = || StoreError::Damaged("an implicit partition is missing".to_owned());
        let (device, oldest) = registered.await?.ok_or_else(missing)?;
        if let Some(oldest) = oldest {
            self.disown(user_id, &oldest.destination).await?;
        }
        Ok(device)
    }

    /// A user's devices.
    pub async fn of(&self, user_id: &str) -> Result<Vec<Device>, StoreError> {
        Ok(self.0.read(&DEVICES, user_id).await?.map(|found| found.head.all).unwrap_or_default())
    }

    /// Whether a device is still the user's: somebody else may have signed in there.
    pub async fn is_of(&self, user_id: &str, destination: &Destination) -> Result<bool, StoreError> {
        let owner = self.0.read(&DESTINATIONS, &name_of(destination)).await?;
        Ok(owner.is_some_and(|owner| owner.head.user_id == user_id))
    }

    /// Removes a device; whether there was one.
    pub async fn remove_by_id(&self, user_id: &str, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.remove(user_id, move |device| device.id == id).await
    }

    /// Removes a device that a push service says is gone, unless it was registered again since.
    pub async fn remove_gone(&self, user_id: &str, gone: &Device) -> Result<bool, StoreError> {
        let gone = gone.clone();
        self.remove(user_id, move |device| *device == gone).await
    }

    async fn remove(
        &self,
        user_id: &str,
        is_it: impl Fn(&Device) -> bool + Send + 'static,
    ) -> Result<bool, StoreError> {
        let removed = self.0.change(&DEVICES, user_id, Wants::head(), move |part| {
            let all = std::mem::take(&mut part.head.all);
            let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|device| is_it(device));
            part.head.all = left;
            Ok::<_, StoreError>(if gone.is_empty() { Decision::Stands(gone) } else { Decision::Write(gone) })
        });
        let gone = removed.await?.unwrap_or_default();
        for device in &gone {
            self.disown(user_id, &device.destination).await?;
        }
        Ok(!gone.is_empty())
    }

    /// Forgets whose destination it was, unless somebody else has it by now.
    async fn disown(&self, user_id: &str, destination: &Destination) -> Result<(), StoreError> {
        let user_id = user_id.to_owned();
        let place = name_of(destination);
        let disowned = self.0.change(&DESTINATIONS, &place, Wants::head(), move |part| {
            if part.head.user_id != user_id {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.user_id.clear();
            Ok(Decision::Write(()))
        });
        disowned.await.map(drop)
    }
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list, register)).routes(routes!(remove)).routes(routes!(public_key))
}

/// A browser's subscription, as `PushSubscription.toJSON()` gives it.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct SubscriptionBody {
    endpoint: WebAddress,
    /// When the browser ends it, in milliseconds; nobody uses it.
    #[deserr(default)]
    #[schema(value_type = Option<u64>)]
    #[expect(dead_code, reason = "browsers send it")]
    expiration_time: Maybe<Ignored>,
    keys: KeysBody,
}

/// A value that is taken and not looked at.
#[derive(Debug)]
struct Ignored;

impl Deserr<BadFields> for Ignored {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        match value {
            Value::Integer(_) | Value::Float(_) => Ok(Self),
            other => Err(BadFields::wrong_type(&other, "a number", at)),
        }
    }
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct KeysBody {
    /// The browser's public key, in base64url.
    p256dh: PushToken,
    /// What both sides know, in base64url.
    auth: PushToken,
}

/// A device: exactly one of `web`, `fcm` and `apns`.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"fcm": "fGci7Q0vS2m1:APA91bH", "name": "Phone"}))]
struct DeviceBody {
    #[deserr(default)]
    #[schema(value_type = Option<SubscriptionBody>)]
    web: Maybe<SubscriptionBody>,
    /// The registration token of an Android app.
    #[deserr(default)]
    #[schema(value_type = Option<PushToken>)]
    fcm: Maybe<PushToken>,
    /// The device token of an app of Apple's systems.
    #[deserr(default)]
    #[schema(value_type = Option<PushToken>)]
    apns: Maybe<PushToken>,
    /// As the user calls it.
    #[deserr(default)]
    #[schema(value_type = Option<DeviceName>)]
    name: Maybe<DeviceName>,
}

impl DeviceBody {
    fn destination(self) -> Result<(Destination, Option<String>), Problem> {
        let name = self.name.value().map(DeviceName::into_string);
        let json = match (self.web.value(), self.fcm.value(), self.apns.value()) {
            (Some(web), None, None) => serde_json::json!({
                "kind": "web",
                "endpoint": web.endpoint.into_string(),
                "keys": {"p256dh": web.keys.p256dh.into_string(), "auth": web.keys.auth.into_string()},
            }),
            (None, Some(token), None) => serde_json::json!({"kind": "fcm", "token": token.into_string()}),
            (None, None, Some(token)) => serde_json::json!({"kind": "apns", "token": token.into_string()}),
            _ => {
                let message = "exactly one of `web`, `fcm` and `apns` must be there";
                return Err(Problem::invalid(vec![FieldError::new(
                    "body",
                    FieldCode::Contradiction,
                    message,
                )]));
            }
        };
        let kind = json["kind"].as_str().unwrap_or_default().to_owned();
        let destination = serde_json::from_value(json).map_err(|error| {
            Problem::invalid(vec![FieldError::new(kind, FieldCode::BadForm, error.to_string())])
        })?;
        Ok((destination, name))
    }
}

fn kinds() -> Schema {
    one_of(&["web", "fcm", "apns"])
}

/// A device that gets pushes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeviceView {
    id: String,
    /// The service that reaches it.
    #[schema(schema_with = kinds)]
    kind: &'static str,
    #[schema(required = true)]
    name: Option<String>,
    registered_at: mundotango_gateway::input::Time,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        Self {
            id: device.id,
            kind: device.destination.provider().kind(),
            name: device.name,
            registered_at: device.registered_at.into(),
        }
    }
}

/// The devices of the caller.
#[derive(Debug, Serialize, ToSchema)]
struct DevicesView {
    items: Vec<DeviceView>,
}

/// What a browser needs to subscribe.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PublicKeyView {
    /// The `applicationServerKey`, in base64url.
    public_key: String,
}

/// The key with which a browser subscribes to web push.
#[utoipa::path(
    get, path = "/api/push/key", operation_id = "getPushKey", tag = "notifications", security(()),
    responses((status = OK, body = PublicKeyView)),
)]
async fn public_key(State(community): Shared) -> Json<PublicKeyView> {
    Json(PublicKeyView { public_key: community.notifications.public_key.clone() })
}

/// The devices on which the caller gets pushes.
#[utoipa::path(
    get, path = "/api/push/devices", operation_id = "listDevices",
    tag = "notifications", responses((status = OK, body = DevicesView)),
)]
async fn list(identity: Identity, State(community): Shared) -> Result<Json<DevicesView>, Problem> {
    let devices = community.notifications.devices.of(&identity.user_id).await?;
    Ok(Json(DevicesView { items: devices.into_iter().map(DeviceView::from).collect() }))
}

/// Register a device for pushes; at each start of the app, as services change their tokens. The same one again keeps its id.
#[utoipa::path(
    post, path = "/api/push/devices", operation_id = "registerDevice",
    tag = "notifications", request_body = DeviceBody,
    responses((status = CREATED, body = DeviceView), (status = BAD_REQUEST, body = Problem)),
)]
async fn register(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<DeviceBody>,
) -> Result<(StatusCode, Json<DeviceView>), Problem> {
    let (destination, name) = body.destination()?;
    if let Destination::Web(subscription) = &destination {
        community.notifications.check(subscription).map_err(|error| {
            let error = FieldError::new("web.endpoint", FieldCode::NotAllowed, error.to_string());
            Problem::invalid(vec![error])
        })?;
    }
    let device = community.notifications.devices.register(&identity.user_id, destination, name).await?;
    Ok((StatusCode::CREATED, Json(device.into())))
}

/// Send no more pushes to a device.
#[utoipa::path(
    delete, path = "/api/push/devices/{id}", operation_id = "removeDevice", tag = "notifications",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem)),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if community.notifications.devices.remove_by_id(&identity.user_id, &id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("device"))
    }
}

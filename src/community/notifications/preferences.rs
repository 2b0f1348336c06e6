//! What a user wants to be told, by which way, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidJson;
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Whole};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Part, Wants, Whose};
use mundotango_storage::{StoreError, zone_named};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::kinds::{NotificationKind, Ways};
use super::quiet::{Digests, QuietHours, next_digest};
use super::ways::KindsBody;
use crate::community::Community;
use crate::community::events::schedule::Zone;
use crate::email::{Language, MailingList};
use crate::texts::Id;

type Shared = State<Arc<Community>>;

/// What users want.
pub static PREFERENCES: Kind<(), Preferences, ()> =
    Kind::new("preferences", "a user: 200 muted things of 80 B, 20 KB", PERSONAL)
        .implicit()
        .cached(Duration::from_mins(10));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::Given,
    Erasure::Removed,
    &[
        "id",
        "head.language",
        "head.time_zone",
        "head.quiet_hours.**",
        "head.digests",
        "head.digest_hour",
        "head.silent_push",
        "head.uncounted",
        "head.kinds.**",
        "head.unsubscribed.*",
        "head.muted.*",
    ],
)];

/// Things that a user can mute at the same time.
const MAX_MUTED: usize = 200;
/// When digests come, where a user has not said so.
const DIGEST_HOUR: Time = Time::constant(9, 0, 0, 0);

/// What one user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet_hours: Option<QuietHours>,
    digests: Digests,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_hour: Option<Time>,
    /// Push services see no words: devices fetch them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    silent_push: bool,
    /// What the user does is not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    uncounted: bool,
    /// What was said of kinds; the others are as the kind says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    kinds: BTreeMap<NotificationKind, Ways>,
    /// Letters that are not sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsubscribed: Vec<MailingList>,
    /// Things of which the user is told nothing, and until when; `None` for ever.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    muted: BTreeMap<String, Option<Timestamp>>,
}

impl Preferences {
    /// By which ways the user is told of a kind.
    pub fn ways(&self, kind: NotificationKind) -> Ways {
        self.kinds.get(&kind).copied().unwrap_or_else(|| kind.usual_ways())
    }

    /// Whether letters of a list are sent.
    pub fn takes(&self, list: MailingList) -> bool {
        !self.unsubscribed.contains(&list)
    }

    /// The language, if the user has chosen one.
    pub fn language(&self) -> Option<Language> {
        self.language
    }

    /// The zone on whose clocks the user lives, UTC where that is not known. A zone that this program does not know any more is
    /// as one that is not known.
    pub fn zone(&self) -> TimeZone {
        self.known_zone().unwrap_or(TimeZone::UTC)
    }

    /// The same, if the user has said so.
    pub fn known_zone(&self) -> Option<TimeZone> {
        let name = self.time_zone.as_deref()?;
        let zone = zone_named(name);
        if zone.is_none() {
            tracing::error!(zone = name, "a user's time zone is not known any more");
        }
        zone
    }

    /// When the user may be disturbed, not before a time.
    pub fn undisturbed_until(&self, time: Timestamp) -> Timestamp {
        self.quiet_hours.and_then(|quiet| quiet.over_at(time, &self.zone())).unwrap_or(time)
    }

    /// When the next digest is due, if the user gets any.
    pub fn next_digest(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.takes(MailingList::Digest) {
            return None;
        }
        next_digest(self.digests, self.digest_hour.unwrap_or(DIGEST_HOUR), now, &self.zone())
    }

    /// Whether push services see no words.
    pub fn is_push_silent(&self) -> bool {
        self.silent_push
    }

    /// Whether the user is not told of a thing.
    pub fn is_muted(&self, thing: &str, now: Timestamp) -> bool {
        self.muted.get(thing).is_some_and(|until| until.is_none_or(|until| until > now))
    }

    /// Whether what the user does may be counted.
    pub fn is_counted(&self) -> bool {
        !self.uncounted
    }

    fn mute(&mut self, thing: String, until: Option<Timestamp>, now: Timestamp) -> Result<(), StoreError> {
        self.muted.retain(|_, until| until.is_none_or(|until| until > now));
        if self.muted.len() >= MAX_MUTED && !self.muted.contains_key(&thing) {
            return Err(StoreError::Full("the list of muted things"));
        }
        self.muted.insert(thing, until);
        Ok(())
    }
}

/// The preferences of a store.
#[derive(Clone)]
pub struct PreferenceStore(Db);

impl PreferenceStore {
    /// The preferences of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// What a user wants, through the cache.
    pub async fn of(&self, user_id: &str) -> Result<Preferences, StoreError> {
        Ok(self.0.read(&PREFERENCES, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Takes letters of a list, or takes none.
    pub async fn subscribe(&self, user_id: &str, list: MailingList, wanted: bool) -> Result<(), StoreError> {
        let change = move |preferences: &mut Preferences| {
            preferences.unsubscribed.retain(|known| *known != list);
            if !wanted {
                preferences.unsubscribed.push(list);
            }
            Ok(())
        };
        self.change(user_id, change).await.map(drop)
    }

    async fn change(
        &self,
        user_id: &str,
        change: impl Fn(&mut Preferences) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Preferences, StoreError> {
        let rule = move |part: &mut Part<'_, (), Preferences, ()>| {
            let before = part.head.clone();
            change(&mut part.head)?;
            let now = part.head.clone();
            Ok::<_, StoreError>(if now == before { Decision::Stands(now) } else { Decision::Write(now) })
        };
        Ok(self.0.change(&PREFERENCES, user_id, Wants::head(), rule).await?.unwrap_or_default())
    }
}

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(read, change)).routes(routes!(mute))
}

/// A time of day, as `22:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::community) struct Clock(pub(in crate::community) Time);

impl Deserr<BadFields> for Clock {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a time of day as `22:30`";
        let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        let parts = text.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2);
        let number =
            |part: &str| part.bytes().all(|digit| digit.is_ascii_digit()).then(|| part.parse().ok())?;
        let time = parts.and_then(|(hour, minute)| Time::new(number(hour)?, number(minute)?, 0, 0).ok());
        time.map(Self).ok_or_else(|| BadFields::one(at, FieldCode::BadForm, format!("must be {WANTED}")))
    }
}

impl PartialSchema for Clock {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-2][0-9]:[0-5][0-9]$"));
        let schema = schema.min_length(Some(5)).max_length(Some(5));
        schema.description(Some("A time of day.")).examples(["22:30"]).into()
    }
}

impl ToSchema for Clock {}

/// The same as it goes out.
pub(in crate::community) fn clock(time: Time) -> String {
    time.strftime("%H:%M").to_string()
}

/// Hours in which nothing rings on any device. They may go over midnight.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"from": "22:30", "to": "08:00"}))]
struct QuietHoursBody {
    #[schema(inline)]
    from: Clock,
    #[schema(inline)]
    to: Clock,
}

/// A change of what the user wants; what is absent stays, and null clears.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct PreferencesBody {
    /// Of letters and pushes.
    #[deserr(default)]
    #[schema(value_type = Option<Language>)]
    language: Maybe<Choice<Language>>,
    /// On whose clocks quiet hours and digests are.
    #[deserr(default)]
    #[schema(value_type = Option<Zone>)]
    time_zone: Maybe<Zone>,
    #[deserr(default)]
    #[schema(value_type = Option<QuietHoursBody>)]
    quiet_hours: Maybe<QuietHoursBody>,
    /// How often what was not read comes by mail.
    #[deserr(default)]
    #[schema(value_type = Digests, required = false)]
    digests: Given<Choice<Digests>>,
    /// When the digest comes.
    #[deserr(default)]
    #[schema(value_type = Option<Clock>)]
    digest_hour: Maybe<Clock>,
    /// Push services see no words: the device fetches them by the notification's id.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    silent_push: Given<bool>,
    /// Whether what the user does is counted.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    analytics: Given<bool>,
    /// Letters about events, bookings and the like.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    activity_letters: Given<bool>,
    #[deserr(default)]
    #[schema(value_type = KindsBody, required = false)]
    kinds: Given<KindsBody>,
}

impl PreferencesBody {
    fn apply(&self, preferences: &mut Preferences) {
        match &self.language {
            Maybe::Absent => {}
            Maybe::Null => preferences.language = None,
            Maybe::Value(Choice(language)) => preferences.language = Some(*language),
        }
        match &self.time_zone {
            Maybe::Absent => {}
            Maybe::Null => preferences.time_zone = None,
            Maybe::Value(zone) => preferences.time_zone = Some(zone.name().to_owned()),
        }
        match &self.quiet_hours {
            Maybe::Absent => {}
            Maybe::Null => preferences.quiet_hours = None,
            Maybe::Value(quiet) => {
                preferences.quiet_hours = Some(QuietHours { from: quiet.from.0, to: quiet.to.0 });
            }
        }
        match self.digest_hour {
            Maybe::Absent => {}
            Maybe::Null => preferences.digest_hour = None,
            Maybe::Value(Clock(hour)) => preferences.digest_hour = Some(hour),
        }
        if let Some(Choice(digests)) = self.digests.0 {
            preferences.digests = digests;
            // Who asks for digests wants them, whatever a link in a letter has said.
            preferences.unsubscribed.retain(|list| *list != MailingList::Digest);
        }
        if let Some(silent) = self.silent_push.0 {
            preferences.silent_push = silent;
        }
        if let Some(counted) = self.analytics.0 {
            preferences.uncounted = !counted;
        }
        if let Some(wanted) = self.activity_letters.0 {
            preferences.unsubscribed.retain(|list| *list != MailingList::Activity);
            if !wanted {
                preferences.unsubscribed.push(MailingList::Activity);
            }
        }
        for kind in NotificationKind::ALL {
            if let Some(ways) = self.kinds.0.as_ref().and_then(|kinds| kinds.of(kind)) {
                let set = ways.set(preferences.ways(kind));
                preferences.kinds.insert(kind, set);
            }
        }
    }
}

/// What the user wants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PreferencesView {
    #[schema(required = true)]
    language: Option<Language>,
    #[schema(required = true)]
    time_zone: Option<String>,
    #[schema(required = true)]
    quiet_hours: Option<QuietHoursView>,
    digests: Digests,
    digest_hour: String,
    silent_push: bool,
    analytics: bool,
    activity_letters: bool,
    /// By which ways the user is told of each kind.
    #[schema(value_type = BTreeMap<String, Ways>)]
    kinds: BTreeMap<NotificationKind, Ways>,
    /// Things of which the user is told nothing, and until when; null for ever.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    muted: BTreeMap<String, Option<mundotango_gateway::input::Time>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct QuietHoursView {
    from: String,
    to: String,
}

impl From<Preferences> for PreferencesView {
    fn from(preferences: Preferences) -> Self {
        let quiet = preferences.quiet_hours;
        Self {
            language: preferences.language,
            quiet_hours: quiet.map(|quiet| QuietHoursView { from: clock(quiet.from), to: clock(quiet.to) }),
            digests: if preferences.takes(MailingList::Digest) { preferences.digests } else { Digests::Off },
            digest_hour: clock(preferences.digest_hour.unwrap_or(DIGEST_HOUR)),
            silent_push: preferences.silent_push,
            analytics: !preferences.uncounted,
            activity_letters: preferences.takes(MailingList::Activity),
            kinds: NotificationKind::ALL.into_iter().map(|kind| (kind, preferences.ways(kind))).collect(),
            muted: preferences
                .muted
                .into_iter()
                .map(|(thing, until)| (thing, until.map(Into::into)))
                .collect(),
            time_zone: preferences.time_zone,
        }
    }
}

/// What the caller wants to be told, by which way, and when.
#[utoipa::path(
    get, path = "/api/notifications/preferences", operation_id = "getPreferences", tag = "notifications",
    responses((status = OK, body = PreferencesView)),
)]
async fn read(identity: Identity, State(community): Shared) -> Result<Json<PreferencesView>, Problem> {
    Ok(Json(community.notifications.preferences.of(&identity.user_id).await?.into()))
}

/// Change what the caller wants to be told.
#[utoipa::path(
    patch, path = "/api/notifications/preferences", operation_id = "changePreferences",
    tag = "notifications", request_body = PreferencesBody,
    responses((status = OK, body = PreferencesView), (status = BAD_REQUEST, body = Problem)),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<PreferencesBody>,
) -> Result<Json<PreferencesView>, Problem> {
    let changed = community.notifications.preferences.change(&identity.user_id, move |preferences| {
        body.apply(preferences);
        Ok(())
    });
    Ok(Json(changed.await?.into()))
}

/// A thing of which the caller wants to hear nothing for a while.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct MuteBody {
    /// The id of an event, a post or a conversation.
    thing: Id,
    /// For how many hours; absent for ever, 0 to hear of it again.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 8760)]
    hours: Maybe<Whole<0, 8760>>,
}

/// Hear nothing of an event, a post or a conversation for a while; at most 200 things at a time.
#[utoipa::path(
    post, path = "/api/notifications/mute", operation_id = "mute",
    tag = "notifications", request_body = MuteBody,
    responses((status = OK, body = PreferencesView), (status = CONFLICT, body = Problem)),
)]
async fn mute(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<MuteBody>,
) -> Result<Json<PreferencesView>, Problem> {
    let now = mundotango_storage::now();
    let (thing, hours) = (body.thing.into_string(), body.hours.value().map(Whole::get));
    let muted = community.notifications.preferences.change(&identity.user_id, move |preferences| {
        if hours == Some(0) {
            preferences.muted.remove(&thing);
            return Ok(());
        }
        let until = hours.map(|hours| now + SignedDuration::from_hours(hours.into()));
        preferences.mute(thing.clone(), until, now)
    });
    Ok(Json(muted.await?.into()))
}

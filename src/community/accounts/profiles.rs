//! Profiles: what users tell of themselves, and what others see of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use jiff::tz::TimeZone;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidJson;
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Time, UpTo, Whole};
use mundotango_gateway::problem::{FieldCode, Problem};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::profile::{
    AudienceChange, Audiences, DancesAs, FieldAudience, MOST_CITIES, MOST_LANGUAGES, MoreChange, each_once,
    written_language,
};
use super::store::{ProfileChange, User};
use crate::community::Community;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::roles::Role;
use crate::texts::{Bio, City, FullName, LanguageTag, Pronouns, WebAddress};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(me, change)).routes(routes!(pause, resume))
}

/// A user, as the user sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnUser {
    email: String,
    /// Whether the user is known to read the mail of the address.
    email_verified: bool,
    role: Role,
    /// Since when the profile is paused; null if it is not.
    #[schema(required = true)]
    paused_since: Option<Time>,
    /// To whom each field is told.
    audiences: AudiencesView,
    #[serde(flatten)]
    public: PublicUser,
}

/// A user, as the caller may see it: a field that is not told to the caller is null or empty, as one that is not filled in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct PublicUser {
    pub(in crate::community) id: String,
    pub(in crate::community) username: String,
    pub(in crate::community) full_name: String,
    #[schema(required = true)]
    pub(in crate::community) bio: Option<String>,
    #[schema(required = true)]
    pub(in crate::community) city: Option<String>,
    #[schema(required = true)]
    pub(in crate::community) avatar_url: Option<String>,
    #[schema(required = true)]
    pronouns: Option<String>,
    #[schema(required = true)]
    dances_as: Option<DancesAs>,
    /// Where the user dances; 5 at most.
    cities: Vec<String>,
    /// What the user speaks (BCP 47); 10 at most.
    languages: Vec<String>,
    /// Since which year the user dances.
    #[schema(required = true, minimum = 1900, maximum = 2100)]
    dancing_since: Option<u32>,
    created_at: Time,
}

/// To whom each field is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Audiences)]
struct AudiencesView {
    bio: FieldAudience,
    city: FieldAudience,
    avatar_url: FieldAudience,
    pronouns: FieldAudience,
    dances_as: FieldAudience,
    cities: FieldAudience,
    languages: FieldAudience,
    dancing_since: FieldAudience,
    /// To which events the user goes, where friends are shown which of theirs do: not with `me`.
    attendance: FieldAudience,
}

impl From<Audiences> for AudiencesView {
    fn from(told: Audiences) -> Self {
        Self {
            bio: told.bio,
            city: told.city,
            avatar_url: told.avatar_url,
            pronouns: told.pronouns,
            dances_as: told.dances_as,
            cities: told.cities,
            languages: told.languages,
            dancing_since: told.dancing_since,
            attendance: told.attendance,
        }
    }
}

/// A change of the own profile; what is absent stays, and null clears.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct ProfileBody {
    #[deserr(default)]
    #[schema(value_type = FullName, required = false)]
    full_name: Given<FullName>,
    #[deserr(default)]
    #[schema(value_type = Option<Bio>)]
    bio: Maybe<Bio>,
    #[deserr(default)]
    #[schema(value_type = Option<City>)]
    city: Maybe<City>,
    #[deserr(default)]
    #[schema(value_type = Option<WebAddress>)]
    avatar_url: Maybe<WebAddress>,
    #[deserr(default)]
    #[schema(value_type = Option<Pronouns>)]
    pronouns: Maybe<Pronouns>,
    #[deserr(default)]
    #[schema(value_type = Option<DancesAs>)]
    dances_as: Maybe<Choice<DancesAs>>,
    /// Where the user dances: all of it.
    #[deserr(default)]
    #[schema(value_type = Vec<City>, max_items = 5, required = false)]
    cities: Given<UpTo<City, MOST_CITIES>>,
    /// What the user speaks: all of it.
    #[deserr(default)]
    #[schema(value_type = Vec<LanguageTag>, max_items = 10, required = false)]
    languages: Given<UpTo<LanguageTag, MOST_LANGUAGES>>,
    /// Since which year the user dances; none that is to come.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1900, maximum = 2100)]
    dancing_since: Maybe<Whole<1900, 2100>>,
    /// To whom fields are told.
    #[deserr(default)]
    #[schema(value_type = AudiencesBody, required = false)]
    audiences: Given<AudiencesBody>,
}

/// To whom fields are told; what is absent stays.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(as = AudienceChange, rename_all = "camelCase")]
struct AudiencesBody {
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    bio: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    city: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    avatar_url: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    pronouns: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    dances_as: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    cities: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    languages: Given<Choice<FieldAudience>>,
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    dancing_since: Given<Choice<FieldAudience>>,
    /// To which events the user goes, where friends are shown which of theirs do: not with `me`.
    #[deserr(default)]
    #[schema(value_type = FieldAudience, required = false)]
    attendance: Given<Choice<FieldAudience>>,
}

impl From<AudiencesBody> for AudienceChange {
    fn from(body: AudiencesBody) -> Self {
        let chosen = |given: Given<Choice<FieldAudience>>| given.0.map(|Choice(audience)| audience);
        Self {
            bio: chosen(body.bio),
            city: chosen(body.city),
            avatar_url: chosen(body.avatar_url),
            pronouns: chosen(body.pronouns),
            dances_as: chosen(body.dances_as),
            cities: chosen(body.cities),
            languages: chosen(body.languages),
            dancing_since: chosen(body.dancing_since),
            attendance: chosen(body.attendance),
        }
    }
}

impl ProfileBody {
    /// The change that is wanted in a year.
    fn change(self, year: i16) -> Result<ProfileChange, Problem> {
        let dancing_since = self.dancing_since.map(Whole::get);
        if let Maybe::Value(since) = dancing_since
            && i64::from(since) > i64::from(year)
        {
            let message = format!("must not be after {year}");
            return Err(Problem::invalid_field("dancingSince", FieldCode::OutOfRange, message));
        }
        let cities = self.cities.0.map(|UpTo(all)| each_once(all.into_iter().map(City::into_string)));
        let languages = self
            .languages
            .0
            .map(|UpTo(all)| each_once(all.into_iter().map(|tag| written_language(&tag.into_string()))));
        Ok(ProfileChange {
            full_name: self.full_name.0.map(FullName::into_string),
            bio: self.bio.map(Bio::into_string),
            city: self.city.map(City::into_string),
            avatar_url: self.avatar_url.map(WebAddress::into_string),
            more: MoreChange {
                pronouns: self.pronouns.map(Pronouns::into_string),
                dances_as: self.dances_as.map(|Choice(dances_as)| dances_as),
                cities,
                languages,
                dancing_since,
                audiences: self.audiences.0.map(AudienceChange::from).unwrap_or_default(),
            },
        })
    }
}

impl PublicUser {
    /// A user as a viewer may see it. `is_friend` says whether both say that they are friends.
    pub(in crate::community) fn seen(user: User, viewer: Viewer<'_>, is_friend: bool) -> Self {
        let owner = user.id.clone();
        Self::of(user, |audience| {
            let field = Object::ProfileField { owner: &owner, audience, is_friend };
            policy::may(viewer, Action::Read, &field).is_allowed()
        })
    }

    fn of(user: User, sees: impl Fn(FieldAudience) -> bool) -> Self {
        let (told, more) = (user.profile.audiences.clone(), user.profile);
        let list = |audience: FieldAudience, all: Vec<String>| if sees(audience) { all } else { Vec::new() };
        Self {
            id: user.id,
            username: user.username,
            full_name: user.full_name,
            bio: user.bio.filter(|_| sees(told.bio)),
            city: user.city.filter(|_| sees(told.city)),
            avatar_url: user.avatar_url.filter(|_| sees(told.avatar_url)),
            pronouns: more.pronouns.filter(|_| sees(told.pronouns)),
            dances_as: more.dances_as.filter(|_| sees(told.dances_as)),
            cities: list(told.cities, more.cities),
            languages: list(told.languages, more.languages),
            dancing_since: more.dancing_since.filter(|_| sees(told.dancing_since)),
            created_at: user.created_at.into(),
        }
    }
}

impl From<User> for OwnUser {
    fn from(user: User) -> Self {
        Self {
            email: user.email.clone(),
            email_verified: user.is_verified,
            role: user.role,
            paused_since: user.paused_since.map(Time::from),
            audiences: user.profile.audiences.clone().into(),
            public: PublicUser::of(user, |_| true),
        }
    }
}

impl Community {
    /// The users with these ids whom the caller may see and who are not locked out, in the ids' order. Of lists it is not looked
    /// at who is a friend: what is for friends is on the users' own pages.
    pub(in crate::community) async fn seen_people_by_id(
        &self,
        ids: &[String],
        viewer: Viewer<'_>,
    ) -> Result<Vec<PublicUser>, Problem> {
        let profiles = self.accounts.profiles(ids).await?.into_iter();
        let seen = profiles.filter(|profile| {
            let is_paused = profile.paused_since.is_some();
            let somebody = Object::Somebody { user: &profile.id, is_paused };
            policy::may(viewer, Action::Read, &somebody).is_allowed()
                && !self.revocations.is_blocked(&profile.id)
        });
        Ok(seen.map(|profile| PublicUser::seen(profile, viewer, false)).collect())
    }
}

/// Who the caller is.
#[utoipa::path(
    get, path = "/api/users/me", operation_id = "getMe",
    tag = "users", responses((status = OK, body = OwnUser)),
)]
async fn me(identity: Identity, State(community): Shared) -> Result<Json<OwnUser>, Problem> {
    Ok(Json(community.existing_user(&identity.user_id).await?.into()))
}

/// Change the own profile, and to whom each field is told.
#[utoipa::path(
    patch, path = "/api/users/me", operation_id = "changeMe", tag = "users", request_body = ProfileBody,
    responses((status = OK, body = OwnUser), (status = BAD_REQUEST, body = Problem)),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<ProfileBody>,
) -> Result<Json<OwnUser>, Problem> {
    let year = TimeZone::UTC.to_datetime(mundotango_storage::now()).year();
    let change = body.change(year)?;
    let changed = community.accounts.update_profile(&identity.user_id, change).await?;
    Ok(Json(changed.ok_or_else(|| Problem::not_found("user"))?.into()))
}

/// Pause the own profile: only friends find it and see it, the caller's places to stay are not offered, and strangers begin nothing new with the
/// caller. Conversations and bookings that there are go on. It lasts until it is ended.
#[utoipa::path(
    post, path = "/api/users/me/pause", operation_id = "pauseMe",
    tag = "users", responses((status = OK, body = OwnUser)),
)]
async fn pause(identity: Identity, State(community): Shared) -> Result<Json<OwnUser>, Problem> {
    let paused = community.accounts.pause(&identity.user_id, Some(mundotango_storage::now())).await?;
    Ok(Json(paused.ok_or_else(|| Problem::not_found("user"))?.into()))
}

/// Have the own profile seen again as before it was paused.
#[utoipa::path(
    delete, path = "/api/users/me/pause", operation_id = "resumeMe",
    tag = "users", responses((status = OK, body = OwnUser)),
)]
async fn resume(identity: Identity, State(community): Shared) -> Result<Json<OwnUser>, Problem> {
    let resumed = community.accounts.pause(&identity.user_id, None).await?;
    Ok(Json(resumed.ok_or_else(|| Problem::not_found("user"))?.into()))
}

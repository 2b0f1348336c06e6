//! Accounts: coming in, staying in, and who one is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use garde::Validate;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::{FieldError, Problem};
use mundotango_storage::Stores;
use mundotango_storage::accounts::{Login, Profile, ProfileChange, Role, Rotation, User};
use mundotango_storage::revocations::Revoked;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Community;
use super::passwords::Passwords;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(log_in))
        .routes(routes!(refresh))
        .routes(routes!(log_out))
        .routes(routes!(log_out_everywhere))
        .routes(routes!(me, change_profile))
        .routes(routes!(user))
        .routes(routes!(create_user))
}

/// What a new account needs.
#[derive(Clone, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewAccount {
    /// To log in with; unique.
    #[garde(email, length(max = 254))]
    pub email: String,
    /// 8 to 128 characters.
    #[garde(length(chars, min = 8, max = 128))]
    pub password: String,
    /// 3 to 30 letters, digits, `_`, `.` or `-`; unique.
    #[garde(length(chars, min = 3, max = 30), custom(is_username))]
    pub username: String,
    /// As the user wants to be called.
    #[garde(length(chars, min = 1, max = 100))]
    pub full_name: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn is_username(name: &str, _: &()) -> garde::Result {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    if name.chars().all(allowed) {
        Ok(())
    } else {
        Err(garde::Error::new("only letters, digits, _, . and - are allowed"))
    }
}

/// A new account of any role.
#[derive(Debug, Deserialize, Validate, ToSchema)]
struct NewUser {
    /// Checked where accounts are made.
    #[serde(flatten)]
    #[garde(skip)]
    account: NewAccount,
    /// `user`, `moderator` or `admin`.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = String)]
    role: Role,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
struct Credentials {
    #[garde(length(min = 1, max = 254))]
    email: String,
    #[garde(length(min = 1, max = 1024))]
    password: String,
}

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RefreshBody {
    /// The newest refresh token.
    #[garde(length(min = 1, max = 256))]
    refresh_token: String,
}

/// A user, as the user sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnUser {
    email: String,
    /// `user`, `moderator` or `admin`.
    #[schema(value_type = String)]
    role: Role,
    #[serde(flatten)]
    public: PublicUser,
}

/// A user, as everybody sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PublicUser {
    id: String,
    username: String,
    full_name: String,
    bio: Option<String>,
    city: Option<String>,
    avatar_url: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Tokens of a login, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    /// Bearer token for REST, connection token for sockets.
    token: String,
    /// Seconds that `token` is good.
    expires_in: u64,
    /// Good once: for the next pair of tokens.
    refresh_token: String,
    user: OwnUser,
}

/// A change of the own profile; what is absent stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileBody {
    #[garde(length(chars, min = 1, max = 100))]
    full_name: Option<String>,
    #[garde(length(chars, max = 1000))]
    bio: Option<String>,
    #[garde(length(chars, max = 100))]
    city: Option<String>,
    #[garde(url, length(max = 2000))]
    avatar_url: Option<String>,
}

impl From<Profile> for PublicUser {
    fn from(profile: Profile) -> Self {
        Self {
            id: profile.id,
            username: profile.username,
            full_name: profile.full_name,
            bio: profile.bio,
            city: profile.city,
            avatar_url: profile.avatar_url,
            created_at: profile.created_at,
        }
    }
}

impl From<User> for OwnUser {
    fn from(user: User) -> Self {
        Self { email: user.email.clone(), role: user.role, public: Profile::from(user).into() }
    }
}

/// Makes an account, after checking it.
pub async fn create(
    stores: &Stores,
    passwords: &Passwords,
    account: NewAccount,
    role: Role,
) -> Result<User, Problem> {
    account.validate().map_err(|report| Problem::invalid_report(&report))?;
    let user = User {
        id: mundotango_protocol::new_id(),
        email: account.email,
        username: account.username,
        full_name: account.full_name,
        role,
        password_hash: passwords.hash(account.password).await?,
        bio: None,
        city: None,
        avatar_url: None,
        created_at: mundotango_storage::now(),
    };
    stores.accounts.create_user(user.clone()).await?.map_err(|taken| {
        let taken = [("email", taken.email), ("username", taken.username)];
        let taken = taken.into_iter().filter(|(_, taken)| *taken);
        Problem::conflict(taken.map(|(field, _)| FieldError::new(field, "is taken")).collect())
    })?;
    Ok(user)
}

/// A refresh token: the login's id, and a secret of which only the hash is kept.
struct RefreshToken {
    login_id: String,
    secret: String,
}

impl RefreshToken {
    fn new(login_id: String) -> Self {
        let secret: [u8; 32] = rand::rng().random();
        Self { login_id, secret: URL_SAFE_NO_PAD.encode(secret) }
    }

    fn parse(text: &str) -> Option<Self> {
        let (login_id, secret) = text.split_once('.')?;
        Some(Self { login_id: login_id.to_owned(), secret: secret.to_owned() })
    }

    fn text(&self) -> String {
        format!("{}.{}", self.login_id, self.secret)
    }

    /// SHA-256 is enough: the secret has 256 random bits, so nobody can guess it from the hash.
    fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.secret.as_bytes()))
    }
}

impl Community {
    async fn log_in(&self, user: User) -> Result<Json<LoggedIn>, Problem> {
        let refresh_token = RefreshToken::new(mundotango_protocol::new_id());
        let now = mundotango_storage::now();
        let login = Login {
            id: refresh_token.login_id.clone(),
            user_id: user.id.clone(),
            token_hash: refresh_token.hash(),
            created_at: now,
            expires_at: self.refresh_expiry(now),
        };
        self.stores.accounts.create_login(login).await?;
        self.logged_in(user, &refresh_token)
    }

    /// Locks out the access tokens of a login that has ended, for as long as they would be good.
    async fn end_login(&self, login_id: String) -> Result<(), Problem> {
        let until = mundotango_storage::now() + self.tokens.lifetime();
        Ok(self.revocations.revoke(Revoked::Login(login_id), Some(until)).await?)
    }

    fn logged_in(&self, user: User, refresh_token: &RefreshToken) -> Result<Json<LoggedIn>, Problem> {
        if self.revocations.is_blocked(&user.id) {
            return Err(Problem::forbidden("this account is blocked"));
        }
        let token = self
            .tokens
            .issue(&user.id, user.role, Some(&refresh_token.login_id))
            .map_err(|error| Problem::internal(&error))?;
        Ok(Json(LoggedIn {
            token,
            expires_in: self.tokens.lifetime().as_secs(),
            refresh_token: refresh_token.text(),
            user: OwnUser::from(user),
        }))
    }

    fn refresh_expiry(&self, now: Timestamp) -> Timestamp {
        let ttl = SignedDuration::try_from(self.refresh_token_ttl).unwrap_or(SignedDuration::MAX);
        now.checked_add(ttl).unwrap_or(Timestamp::MAX)
    }

    async fn existing_user(&self, id: &str) -> Result<User, Problem> {
        self.stores.accounts.user(id).await?.ok_or_else(|| Problem::not_found("user"))
    }
}

/// Make an account and log in.
#[utoipa::path(
    post, path = "/api/auth/register", tag = "auth", security(()), request_body = NewAccount,
    responses((status = CREATED, body = LoggedIn), (status = BAD_REQUEST, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn register(
    State(community): Shared,
    ValidJson(account): ValidJson<NewAccount>,
) -> Result<(StatusCode, Json<LoggedIn>), Problem> {
    let user = create(&community.stores, &community.passwords, account, Role::User).await?;
    Ok((StatusCode::CREATED, community.log_in(user).await?))
}

/// Log in.
#[utoipa::path(
    post, path = "/api/auth/login", tag = "auth", security(()), request_body = Credentials,
    responses((status = OK, body = LoggedIn), (status = UNAUTHORIZED, body = Problem)),
)]
async fn log_in(
    State(community): Shared,
    ValidJson(credentials): ValidJson<Credentials>,
) -> Result<Json<LoggedIn>, Problem> {
    let user = community.stores.accounts.user_by_email(&credentials.email).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let matches = community.passwords.verify(credentials.password, hash).await?;
    match user.filter(|_| matches) {
        Some(user) => community.log_in(user).await,
        // The same for an unknown address and a wrong password, so that nobody learns who has an account.
        None => Err(Problem::unauthorized("e-mail address or password is wrong")),
    }
}

/// Trade a refresh token for a new pair of tokens. A token that was traded before ends the login: somebody has a copy.
#[utoipa::path(
    post, path = "/api/auth/refresh", tag = "auth", security(()), request_body = RefreshBody,
    responses((status = OK, body = LoggedIn), (status = UNAUTHORIZED, body = Problem)),
)]
async fn refresh(
    State(community): Shared,
    ValidJson(body): ValidJson<RefreshBody>,
) -> Result<Json<LoggedIn>, Problem> {
    let refused = || Problem::unauthorized("refresh token is not good (any more)");
    let presented = RefreshToken::parse(&body.refresh_token).ok_or_else(refused)?;
    let fresh = RefreshToken::new(presented.login_id.clone());
    let now = mundotango_storage::now();
    let rotation = community
        .stores
        .accounts
        .rotate_login(
            &presented.login_id,
            &presented.hash(),
            &fresh.hash(),
            now,
            community.refresh_expiry(now),
        )
        .await?;
    match rotation {
        Rotation::Rotated(login) => {
            let user = community.stores.accounts.user(&login.user_id).await?.ok_or_else(refused)?;
            community.logged_in(user, &fresh)
        }
        Rotation::Reused { user_id } => {
            tracing::warn!(user_id, login_id = presented.login_id, "refresh token reused, login ended");
            Err(refused())
        }
        Rotation::Unknown => Err(refused()),
    }
}

/// End this login: its tokens are good no longer, and its sockets are closed.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth", responses((status = NO_CONTENT)))]
async fn log_out(identity: Identity, State(community): Shared) -> Result<StatusCode, Problem> {
    if let Some(login_id) = identity.login_id {
        community.stores.accounts.delete_login(&login_id).await?;
        community.end_login(login_id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// End all logins of the caller, and close their sockets.
#[utoipa::path(post, path = "/api/auth/logout-all", tag = "auth", responses((status = NO_CONTENT)))]
async fn log_out_everywhere(identity: Identity, State(community): Shared) -> Result<StatusCode, Problem> {
    for login_id in community.stores.accounts.delete_logins(&identity.user_id).await? {
        community.end_login(login_id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Who the caller is.
#[utoipa::path(get, path = "/api/users/me", tag = "users", responses((status = OK, body = OwnUser)))]
async fn me(identity: Identity, State(community): Shared) -> Result<Json<OwnUser>, Problem> {
    Ok(Json(community.existing_user(&identity.user_id).await?.into()))
}

/// Change the own profile.
#[utoipa::path(
    patch, path = "/api/users/me", tag = "users", request_body = ProfileBody,
    responses((status = OK, body = OwnUser), (status = BAD_REQUEST, body = Problem)),
)]
async fn change_profile(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<ProfileBody>,
) -> Result<Json<OwnUser>, Problem> {
    let change = ProfileChange {
        full_name: body.full_name,
        bio: body.bio,
        city: body.city,
        avatar_url: body.avatar_url,
    };
    let changed = community.stores.accounts.update_profile(&identity.user_id, change).await?;
    Ok(Json(changed.ok_or_else(|| Problem::not_found("user"))?.into()))
}

/// Another user.
#[utoipa::path(
    get, path = "/api/users/{id}", tag = "users",
    responses((status = OK, body = PublicUser), (status = NOT_FOUND, body = Problem)),
)]
async fn user(
    _: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<PublicUser>, Problem> {
    let profile = community.stores.accounts.profiles(&[id]).await?.pop();
    Ok(Json(profile.ok_or_else(|| Problem::not_found("user"))?.into()))
}

/// Make an account of any role; for admins.
#[utoipa::path(
    post, path = "/api/admin/users", tag = "admin", request_body = NewUser,
    responses((status = CREATED, body = OwnUser), (status = FORBIDDEN, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn create_user(
    identity: Identity,
    State(community): Shared,
    ValidJson(body): ValidJson<NewUser>,
) -> Result<(StatusCode, Json<OwnUser>), Problem> {
    identity.require(Role::Admin)?;
    let user = create(&community.stores, &community.passwords, body.account, body.role).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

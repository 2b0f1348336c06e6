//! Accounts: coming in, staying in, and who one is.

mod client;
pub(super) mod email;
pub mod kind;
pub mod leaving;
mod link_rows;
mod link_store;
pub mod links;
pub mod names;
mod page_texts;
mod pages;
pub mod passwords;
pub mod profile;
mod profiles;
mod refresh_token;
mod restriction_store;
pub mod restrictions;
mod rows;
pub mod rules;
pub mod sealed;
mod second_factor;
mod second_factor_removal;
mod session_store;
mod sessions;
pub mod store;
pub mod totp;
pub mod totp_store;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::{SignedDuration, Timestamp};
use mundotango_gateway::extract::ValidJson;
use mundotango_gateway::input::{BadFields, Choice, Maybe};
use mundotango_gateway::problem::{Code, Problem};
use mundotango_gateway::revocation_store::Revoked;
use mundotango_gateway::tokens::Issued;
use mundotango_gateway::{IdempotencyKey, Identity, LateClaim, NewId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::client::Client;
use self::kind::Leaving;
use self::links::{Link, Purpose};
use self::passwords::Passwords;
use self::profile::Profile;
use self::profiles::OwnUser;
pub(super) use self::profiles::PublicUser;
use self::refresh_token::RefreshToken;
use self::rules::{Login, Rotation};
use self::store::{AccountStore, NewLogin, User};
use super::Community;
use super::audit::rules::Act;
use super::effects::Effect;
use super::limits::Address;
use super::roles::{self, Role};
use super::search::kinds::PERSON;
use crate::texts::{
    DeviceName, EmailAddress, FullName, GivenPassword, NewPassword, RefreshTokenText, Username,
};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(log_in))
        .routes(routes!(refresh))
        .routes(routes!(log_out))
        .routes(routes!(log_out_everywhere))
        .routes(routes!(create_user))
        .merge(profiles::router())
        .merge(email::router())
        .merge(sessions::router())
        .merge(second_factor::router())
        .merge(second_factor_removal::router())
        .merge(pages::router().into())
}

/// What a new account needs.
#[derive(Clone, Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub struct NewAccount {
    /// To log in with; unique.
    pub email: EmailAddress,
    /// To log in with.
    pub password: NewPassword,
    /// Letters, digits, `_`, `.` and `-`; unique.
    pub username: Username,
    /// As the user wants to be called.
    pub full_name: FullName,
}

/// A new account of any role.
#[derive(Clone, Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub struct NewUser {
    /// To log in with; unique.
    email: EmailAddress,
    /// To log in with.
    password: NewPassword,
    /// Letters, digits, `_`, `.` and `-`; unique.
    username: Username,
    /// As the user wants to be called.
    full_name: FullName,
    /// What the user may do; no more than others if absent.
    #[deserr(default)]
    #[schema(value_type = Role, required = false)]
    role: Choice<Role>,
}

impl NewUser {
    /// The account and its role.
    pub fn into_parts(self) -> (NewAccount, Role) {
        let Self { email, password, username, full_name, role } = self;
        (NewAccount { email, password, username, full_name }, role.0)
    }
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct Credentials {
    email: EmailAddress,
    password: GivenPassword,
    /// What the user's list of logins calls this device; what its program tells of itself if absent.
    #[deserr(default)]
    #[schema(value_type = Option<DeviceName>)]
    device: Maybe<DeviceName>,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
struct RefreshBody {
    /// The newest refresh token.
    refresh_token: RefreshTokenText,
}

/// Tokens of a login, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    /// Bearer token for REST, connection token for sockets.
    token: String,
    /// Seconds that `token` is good.
    expires_in: u64,
    /// For the next pair of tokens; good once, and for 30 seconds after that.
    refresh_token: String,
    user: OwnUser,
}

/// How long after an account was made its first letter may come.
const GREETED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// Mails who has a new account a link that confirms the address, if that was not done before. The account is there whether
/// that works or not; else it is done at the next login.
async fn greet(accounts: &AccountStore, user: &User) {
    let now = mundotango_storage::now();
    if now.duration_since(user.created_at) > GREETED_WITHIN {
        return;
    }
    let link = Link::new(Purpose::VerifyEmail, user.email.clone(), now);
    if let Err(error) = accounts.greet(&user.id, &mundotango_protocol::new_id(), link).await {
        tracing::warn!(%error, user = user.id, "no link to confirm the address yet");
    }
}

/// Makes an account; the user, and the hash of the password.
async fn create_with_hash(
    accounts: &AccountStore,
    passwords: &Passwords,
    account: NewAccount,
    role: Role,
    new_id: NewId,
) -> Result<(User, String), Problem> {
    let user = User {
        created_at: new_id.made_at(),
        id: new_id.into_text(),
        email: account.email.into_string(),
        username: account.username.into_string(),
        full_name: account.full_name.into_string(),
        role,
        bio: None,
        city: None,
        avatar_url: None,
        profile: Profile::default(),
        is_verified: false,
        paused_since: None,
    };
    let hash = passwords.hash(account.password.into_string()).await?;
    let changed = [Effect::changed(PERSON, &user.id).kept()?];
    accounts.create_with_effects(&user, hash.clone(), &changed).await?.map_err(|taken| {
        let taken = [("email", taken.email), ("username", taken.username)];
        Problem::taken(taken.into_iter().filter(|(_, taken)| *taken).map(|(field, _)| field))
    })?;
    greet(accounts, &user).await;
    Ok((user, hash))
}

/// Makes an account.
pub async fn create(
    accounts: &AccountStore,
    passwords: &Passwords,
    account: NewAccount,
    role: Role,
    new_id: NewId,
) -> Result<User, Problem> {
    create_with_hash(accounts, passwords, account, role, new_id).await.map(|(user, _)| user)
}

/// 401: the same for an unknown address and a wrong password, so that nobody learns who has an account.
fn wrong_credentials() -> Problem {
    Problem::unauthorized("e-mail address or password is wrong").with_code(Code::WrongCredentials)
}

/// When tokens are made. It is taken before anything is read of the user: what changes after that and revokes the user's tokens
/// reaches these too.
#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    issued: Issued,
}

/// 403: the account is to be deleted.
fn is_leaving(leaving: Leaving) -> Problem {
    let detail =
        format!("this account will be deleted on {}: the letter with the link keeps it", leaving.until);
    Problem::forbidden(detail).with_code(Code::AccountLeaving)
}

impl Community {
    fn begin_tokens(&self, user_id: &str) -> Begun {
        let now = mundotango_storage::now();
        let revoked_at = self.revocations.user_tokens_revoked_at(user_id);
        // A revocation may be dated a moment ahead.
        let at = revoked_at.map_or(now, |at| now.max(at + SignedDuration::from_millis(1)));
        Begun { at, issued: Issued::after(revoked_at) }
    }

    /// A login that is about to be made, its first token, and when that was begun.
    fn new_login(&self, user_id: &str, client: Client) -> Result<(RefreshToken, Login, Begun), Problem> {
        let refresh_token =
            RefreshToken::first(&self.tokens, user_id.to_owned(), mundotango_protocol::new_id())?;
        let begun = self.begin_tokens(user_id);
        let login = Login {
            id: refresh_token.login_id().to_owned(),
            user_id: user_id.to_owned(),
            token_hash: refresh_token.hash(),
            previous_hash: None,
            rotated_at: None,
            created_at: begun.at,
            expires_at: self.refresh_expiry(begun.at),
            device: client.device,
            network: client.network,
        };
        Ok((refresh_token, login, begun))
    }

    /// Makes a login for who knows the password of a hash.
    async fn log_in(
        &self,
        user_id: &str,
        hash: Option<String>,
        client: Client,
    ) -> Result<Json<LoggedIn>, Problem> {
        let (refresh_token, login, begun) = self.new_login(user_id, client)?;
        match self.accounts.create_login(login, hash).await? {
            NewLogin::Made(user) => self.logged_in(*user, &refresh_token, begun),
            NewLogin::Challenged => {
                mundotango_ops::metrics().logins_total.with_label_values(&["challenged"]).inc();
                Err(second_factor::required(&self.tokens, user_id, refresh_token.login_id()))
            }
            NewLogin::OtherPassword => Err(wrong_credentials()),
            NewLogin::Leaving(leaving) => Err(is_leaving(leaving)),
            NewLogin::NoUser => Err(Problem::not_found("user")),
        }
    }

    /// Locks out the access tokens of a login that has ended, for as long as they would be good.
    async fn lock_out_login(&self, login_id: &str, user_id: String) -> Result<(), Problem> {
        let until = mundotango_storage::now() + self.tokens.lifetime();
        Ok(self.revocations.revoke_login(login_id.to_owned(), user_id, Some(until)).await?)
    }

    /// The tokens of a login of a user who was read after they were begun.
    fn logged_in(
        &self,
        user: User,
        refresh_token: &RefreshToken,
        begun: Begun,
    ) -> Result<Json<LoggedIn>, Problem> {
        if self.revocations.is_blocked(&user.id) {
            return Err(Problem::forbidden("this account is blocked").with_code(Code::AccountBlocked));
        }
        let token = self
            .tokens
            .issue_at(&user.id, user.role.as_str(), Some(refresh_token.login_id()), begun.issued)
            .map_err(|error| Problem::internal(&error))?;
        Ok(Json(LoggedIn {
            token,
            expires_in: self.tokens.lifetime().as_secs(),
            refresh_token: refresh_token.text(),
            user: OwnUser::from(user),
        }))
    }

    /// Whether everything that a user was given at a time is locked out.
    fn is_logged_out_since(&self, user_id: &str, at: Timestamp) -> bool {
        self.revocations.user_tokens_revoked_at(user_id).is_some_and(|revoked_at| at <= revoked_at)
    }

    fn refresh_expiry(&self, now: Timestamp) -> Timestamp {
        let ttl = SignedDuration::try_from(self.refresh_token_ttl).unwrap_or(SignedDuration::MAX);
        now.checked_add(ttl).unwrap_or(Timestamp::MAX)
    }

    pub(super) async fn existing_user(&self, id: &str) -> Result<User, Problem> {
        self.accounts.user(id).await?.ok_or_else(|| Problem::not_found("user"))
    }
}

/// Make an account and log in. Sent again with its `Idempotency-Key` it makes no other account, and logs in again.
#[utoipa::path(
    post, path = "/api/auth/register", operation_id = "register",
    tag = "auth", security(()), params(IdempotencyKey), request_body = NewAccount,
    responses((status = CREATED, body = LoggedIn), (status = BAD_REQUEST, body = Problem), (status = CONFLICT, body = Problem), (status = TOO_MANY_REQUESTS, body = Problem)),
)]
async fn register(
    State(community): Shared,
    address: Address,
    client: Client,
    claim: LateClaim,
    ValidJson(account): ValidJson<NewAccount>,
) -> Result<(StatusCode, Json<LoggedIn>), Problem> {
    community.limits.register(&address).await?;
    let new_id = claim.claim().await?;
    let (accounts, passwords) = (&community.accounts, &community.passwords);
    let password = account.password.clone().into_string();
    let (user, hash) = create_with_hash(accounts, passwords, account, Role::User, new_id).await?;
    let known = accounts.password(&user.id).await?;
    // Sent again, it finds the hash of before, or that of another password.
    if known.as_ref() != Some(&hash) && !passwords.verify(password, known.clone()).await? {
        return Err(wrong_credentials());
    }
    Ok((StatusCode::CREATED, community.log_in(&user.id, known, client).await?))
}

/// Log in. Where the account has a second factor, the answer is `second_factor_required` with a `challenge`, which a code
/// answers at `POST /api/auth/login/second-factor`.
#[utoipa::path(
    post, path = "/api/auth/login", operation_id = "logIn",
    tag = "auth", security(()), request_body = Credentials,
    responses((status = OK, body = LoggedIn), (status = UNAUTHORIZED, body = Problem), (status = TOO_MANY_REQUESTS, body = Problem)),
)]
async fn log_in(
    State(community): Shared,
    address: Address,
    client: Client,
    ValidJson(credentials): ValidJson<Credentials>,
) -> Result<Json<LoggedIn>, Problem> {
    let client = client.named(credentials.device.value().map(DeviceName::into_string));
    let (email, password) = (credentials.email.into_string(), credentials.password.into_string());
    let attempt = community.limits.login(&email, &address).await?;
    let found = community.accounts.credentials(&email).await?;
    let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), hash));
    let matches = community.passwords.verify(password, hash.clone()).await?;
    if let Some(user) = user.filter(|_| matches) {
        greet(&community.accounts, &user).await;
        if let Err(error) = community.accounts.claim_alike(&user).await {
            tracing::warn!(%error, user = user.id, "what the username looks like is not claimed yet");
        }
        let logged_in = community.log_in(&user.id, hash, client).await?;
        mundotango_ops::metrics().logins_total.with_label_values(&["granted"]).inc();
        return Ok(logged_in);
    }
    attempt.failed().await;
    Err(wrong_credentials())
}

/// Trade a refresh token for a new pair of tokens. For 30 seconds the same token gives the same refresh token again, as
/// tabs refresh at the same time and answers get lost. After that, a token that was traded before ends the login with all
/// its tokens: somebody has a copy.
#[utoipa::path(
    post, path = "/api/auth/refresh", operation_id = "refreshTokens",
    tag = "auth", security(()), request_body = RefreshBody,
    responses((status = OK, body = LoggedIn), (status = UNAUTHORIZED, body = Problem), (status = TOO_MANY_REQUESTS, body = Problem)),
)]
async fn refresh(
    State(community): Shared,
    address: Address,
    client: Client,
    ValidJson(body): ValidJson<RefreshBody>,
) -> Result<Json<LoggedIn>, Problem> {
    community.limits.refresh(&address).await?;
    let refused =
        || Problem::unauthorized("refresh token is not good (any more)").with_code(Code::RefreshTokenInvalid);
    let presented =
        RefreshToken::parse(&community.tokens, &body.refresh_token.into_string()).ok_or_else(refused)?;
    let fresh = presented.successor(&community.tokens)?;
    let (user_id, login_id, fresh_hash) = (presented.user_id(), presented.login_id(), fresh.hash());
    let (now, begun) = (mundotango_storage::now(), community.begin_tokens(user_id));
    let accounts = &community.accounts;
    let (login, expires_at) = ((user_id, login_id), community.refresh_expiry(now));
    let network = client.network.as_deref();
    match accounts.rotate_login(login, &presented.hash(), &fresh_hash, now, expires_at, network).await? {
        Rotation::Rotated(login) | Rotation::Repeated(login) if login.token_hash == fresh_hash => {
            if community.is_logged_out_since(user_id, login.created_at) {
                accounts.delete_login(user_id, login_id).await?;
                return Err(refused());
            }
            let user = accounts.user(user_id).await?.ok_or_else(refused)?;
            community.logged_in(user, &fresh, begun)
        }
        Rotation::Reused => {
            tracing::warn!(user_id, login_id, "refresh token reused, login ended");
            // The login goes last: if something fails before, the next try does all of this again.
            community.lock_out_login(login_id, user_id.to_owned()).await?;
            accounts.delete_login(user_id, login_id).await?;
            Err(refused())
        }
        _ => Err(refused()),
    }
}

/// End this login: its tokens are good no longer, and its sockets are closed.
#[utoipa::path(
    post, path = "/api/auth/logout", operation_id = "logOut",
    tag = "auth", responses((status = NO_CONTENT)),
)]
async fn log_out(identity: Identity, State(community): Shared) -> Result<StatusCode, Problem> {
    if let Some(login_id) = identity.login_id {
        // The access token goes last: if something fails before, the caller can try again.
        community.accounts.delete_login(&identity.user_id, &login_id).await?;
        community.lock_out_login(&login_id, identity.user_id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// End all logins of the caller, and close their sockets.
#[utoipa::path(
    post, path = "/api/auth/logout-all", operation_id = "logOutEverywhere",
    tag = "auth", responses((status = NO_CONTENT)),
)]
async fn log_out_everywhere(identity: Identity, State(community): Shared) -> Result<StatusCode, Problem> {
    // One revocation stands for all tokens that there are, refresh tokens among them, for as long as the last one lives.
    let until = community.refresh_expiry(mundotango_storage::now());
    let everything = Revoked::UserTokens(identity.user_id.clone());
    community.revocations.revoke(everything, Some(until)).await?;
    if let Err(error) = community.accounts.delete_logins(&identity.user_id).await {
        tracing::warn!(%error, user_id = identity.user_id, "logins are locked out, but not removed");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Make an account of any role; for admins.
#[utoipa::path(
    post, path = "/api/admin/users", operation_id = "createUser",
    tag = "admin", params(IdempotencyKey), request_body = NewUser,
    responses((status = CREATED, body = OwnUser), (status = FORBIDDEN, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn create_user(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewUser>,
) -> Result<(StatusCode, Json<OwnUser>), Problem> {
    roles::require(&identity, Role::Admin)?;
    let (account, role) = body.into_parts();
    // A token may say more than the account of its login does by now; an operator's token came from none.
    let by = community.accounts.user(&identity.user_id).await?;
    let by = by.filter(|_| role > Role::User && identity.login_id.is_some());
    if by.is_some_and(|by| by.role < Role::Admin) {
        return Err(Problem::forbidden("only an admin gives roles"));
    }
    let (id, at) = (new_id.clone().into_text(), new_id.made_at());
    let act = Act::by(&identity, "user.created", "user", &*id, at).with("role", role.as_str());
    // Under the user's id, so that a request that is sent again leaves one entry.
    community.audit.record(&id, act).await?;
    let user = create(&community.accounts, &community.passwords, account, role, new_id).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

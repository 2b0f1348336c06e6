//! The second factor: turning it on and off, and logging in with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidJson;
use mundotango_gateway::input::{BadFields, Maybe};
use mundotango_gateway::problem::{Code as ProblemCode, FieldCode, Problem};
use mundotango_gateway::tokens::Tokens;
use mundotango_storage::now;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::LoggedIn;
use super::client::Client;
use super::sealed::SecretKey;
use super::store::User;
use super::totp::{Code, RECOVERY_BYTES, RECOVERY_CODES, SECRET_BYTES, Totp, base32, recovery_code};
use super::totp_store::{Answered, Turned};
use crate::community::Community;
use crate::community::audit::seal::random;
use crate::community::limits::Address;
use crate::texts::{ChallengeToken, DeviceName, GivenPassword, SecondFactorCode};

type Shared = State<Arc<Community>>;

/// What keeps the seals of challenges apart from others.
const SEALED_AS: &str = "second factor challenge";
/// What apps for codes show beside a code.
const ISSUER: &str = "MundoTango";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(log_in))
        .routes(routes!(state, begin, remove))
        .routes(routes!(confirm))
        .routes(routes!(renew))
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(as = SecondFactorLogin)]
struct AnswerBody {
    /// The `challenge` that logging in gave.
    challenge: ChallengeToken,
    /// What the device shows, or a recovery code.
    code: SecondFactorCode,
    /// What the user's list of logins calls this device; what its program tells of itself if absent.
    #[deserr(default)]
    #[schema(value_type = Option<DeviceName>)]
    device: Maybe<DeviceName>,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(as = NewSecondFactor)]
struct BeginBody {
    /// The password, so that nobody does it who only found the device.
    password: GivenPassword,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(as = SecondFactorConfirmation)]
struct ConfirmBody {
    /// What the device shows.
    code: SecondFactorCode,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(as = SecondFactorProof)]
struct CodeBody {
    /// The password, so that nobody does it who only found the device.
    password: GivenPassword,
    /// What the device shows, or a recovery code.
    code: SecondFactorCode,
}

/// Whether logging in asks for a code.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactorState)]
struct StateView {
    enabled: bool,
    /// How many recovery codes are left.
    recovery_codes_left: usize,
}

/// What a device needs to show codes. It is shown once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecondFactorSecret)]
struct SecretView {
    /// In base 32, for who types it.
    secret: String,
    /// The same for a QR code.
    otpauth_uri: String,
}

/// Codes for when the device is lost, each good once. They are shown once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoveryCodes)]
struct RecoveryView {
    recovery_codes: Vec<String>,
}

fn secret_key(tokens: &Tokens) -> Result<SecretKey, Problem> {
    SecretKey::of(tokens).map_err(|error| Problem::internal(&error))
}

/// 401: the password is right, and a code is wanted.
pub(super) fn required(tokens: &Tokens, user_id: &str, challenge_id: &str) -> Problem {
    let text = format!("{user_id}.{challenge_id}");
    match tokens.seal(SEALED_AS, &text) {
        Ok(seal) => Problem::unauthorized("a code of the second factor is needed")
            .with_code(ProblemCode::SecondFactorRequired)
            .with_challenge(format!("{text}.{seal}")),
        Err(error) => Problem::internal(&error),
    }
}

/// The user and the id of a challenge; `None` if no node has made it.
fn challenge_of(tokens: &Tokens, text: &str) -> Option<(String, String)> {
    let (sealed, seal) = text.rsplit_once('.')?;
    if !tokens.is_sealed(SEALED_AS, sealed, seal) {
        return None;
    }
    let (user_id, id) = sealed.split_once('.')?;
    Some((user_id.to_owned(), id.to_owned()))
}

/// 401: it has to be begun again with the password. The same for all causes, so that nobody learns which challenges there are.
fn no_challenge() -> Problem {
    let detail = "the challenge was answered, is too old, or was never made: log in again";
    Problem::unauthorized(detail).with_code(ProblemCode::ChallengeInvalid)
}

/// 401: the code is not good.
fn wrong_code() -> Problem {
    let detail = "the code is wrong, was used, or is of another time";
    Problem::unauthorized(detail).with_code(ProblemCode::WrongCode)
}

/// 429: too many wrong codes came.
fn held(until: Timestamp) -> Problem {
    let wait = Duration::try_from(until.duration_since(now())).unwrap_or_default();
    Problem::too_many_requests("too many wrong codes; a recovery code is taken").with_retry_after(wait)
}

fn is_on() -> Problem {
    Problem::new(StatusCode::CONFLICT, "the second factor is on already; turn it off first")
}

fn is_off() -> Problem {
    Problem::not_found("second factor")
}

/// The address by which apps take a secret over.
fn otpauth_uri(email: &str, secret: &str) -> String {
    let email = utf8_percent_encode(email, NON_ALPHANUMERIC);
    format!(
        "otpauth://totp/{ISSUER}:{email}?secret={secret}&issuer={ISSUER}&algorithm=SHA1&digits=6&period=30"
    )
}

/// Log in by a code, after the password. A challenge is good for five minutes and one login; a code is good once.
#[utoipa::path(
    post, path = "/api/auth/login/second-factor", operation_id = "logInWithSecondFactor",
    tag = "auth", security(()), request_body = AnswerBody,
    responses(
        (status = OK, body = LoggedIn),
        (status = UNAUTHORIZED, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn log_in(
    State(community): Shared,
    address: Address,
    client: Client,
    ValidJson(body): ValidJson<AnswerBody>,
) -> Result<Json<LoggedIn>, Problem> {
    let challenge = challenge_of(&community.tokens, &body.challenge.into_string());
    let (user_id, challenge_id) = challenge.ok_or_else(no_challenge)?;
    let user = community.accounts.user(&user_id).await?.ok_or_else(no_challenge)?;
    let attempt = community.limits.login(&user.email, &address).await?;
    let client = client.named(body.device.value().map(DeviceName::into_string));
    let (refresh_token, login, begun) = community.new_login(&user_id, client)?;
    let (key, code) = (secret_key(&community.tokens)?, Code::read(&body.code.into_string()));
    match community.accounts.answer_challenge(&challenge_id, login, key, code, now()).await? {
        Answered::LoggedIn(user) => {
            let logged_in = community.logged_in(*user, &refresh_token, begun)?;
            mundotango_ops::metrics().logins_total.with_label_values(&["granted"]).inc();
            Ok(logged_in)
        }
        Answered::Wrong => {
            attempt.failed().await;
            Err(wrong_code())
        }
        Answered::Held(until) => Err(held(until)),
        Answered::NoChallenge => Err(no_challenge()),
    }
}

/// Whether logging in asks for a code, and how many recovery codes are left.
#[utoipa::path(
    get, path = "/api/auth/totp", operation_id = "getSecondFactor",
    tag = "auth", responses((status = OK, body = StateView)),
)]
async fn state(identity: Identity, State(community): Shared) -> Result<Json<StateView>, Problem> {
    let totp = community.accounts.totp(&identity.user_id).await?.filter(|totp| totp.is_on_at(now()));
    let recovery_codes_left = totp.as_ref().map_or(0, |totp| totp.recovery.len());
    Ok(Json(StateView { enabled: totp.is_some(), recovery_codes_left }))
}

/// Get a secret for an app that shows codes. Nothing asks for codes before the first one is sent to
/// `POST /api/auth/totp/confirm`, within an hour; another secret takes the place of this one until then.
#[utoipa::path(
    post, path = "/api/auth/totp", operation_id = "beginSecondFactor", tag = "auth", request_body = BeginBody,
    responses(
        (status = OK, body = SecretView),
        (status = UNAUTHORIZED, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn begin(
    identity: Identity,
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<BeginBody>,
) -> Result<Json<SecretView>, Problem> {
    let user = community.existing_user(&identity.user_id).await?;
    community.check_password(&user, body.password, &address).await?;
    let secret = random::<SECRET_BYTES>()?;
    let sealed = secret_key(&community.tokens)?.seal(&user.id, &secret)?;
    match community.accounts.begin_totp(&user.id, Totp::begun(sealed, now())).await? {
        Turned::IsOn => return Err(is_on()),
        Turned::IsOff => return Err(Problem::not_found("user")),
        Turned::Done | Turned::Wrong | Turned::Held(_) => {}
    }
    let secret = base32(&secret);
    Ok(Json(SecretView { otpauth_uri: otpauth_uri(&user.email, &secret), secret }))
}

/// Turn the second factor on by the first code. The answer has the recovery codes, which are shown this once; a letter tells of
/// it.
#[utoipa::path(
    post, path = "/api/auth/totp/confirm", operation_id = "confirmSecondFactor",
    tag = "auth", request_body = ConfirmBody,
    responses(
        (status = OK, body = RecoveryView),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn confirm(
    identity: Identity,
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<ConfirmBody>,
) -> Result<Json<RecoveryView>, Problem> {
    let user = community.existing_user(&identity.user_id).await?;
    let attempt = community.limits.login(&user.email, &address).await?;
    let (recovery_codes, hashes) = recovery_codes()?;
    let (key, code) = (secret_key(&community.tokens)?, Code::read(&body.code.into_string()));
    match community.accounts.confirm_totp(&user.id, key, code, hashes, now()).await? {
        Turned::Done => Ok(Json(RecoveryView { recovery_codes })),
        Turned::IsOn => Err(is_on()),
        Turned::IsOff => Err(is_off()),
        Turned::Wrong | Turned::Held(_) => {
            attempt.failed().await;
            let message = "is not what the device shows now: look at its clock";
            Err(Problem::invalid_field("code", FieldCode::NotAllowed, message))
        }
    }
}

fn recovery_codes() -> Result<(Vec<String>, Vec<String>), Problem> {
    let made = (0..RECOVERY_CODES).map(|_| Ok::<_, Problem>(recovery_code(&random::<RECOVERY_BYTES>()?)));
    made.collect()
}

/// Get other recovery codes in the place of those that there are, by the password and a code. The answer has them, and they are shown
/// this once.
#[utoipa::path(
    post, path = "/api/auth/totp/recovery-codes", operation_id = "renewRecoveryCodes",
    tag = "auth", request_body = CodeBody,
    responses(
        (status = OK, body = RecoveryView),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn renew(
    identity: Identity,
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<CodeBody>,
) -> Result<Json<RecoveryView>, Problem> {
    let user = community.existing_user(&identity.user_id).await?;
    if !community.has_second_factor(&user.id).await? {
        return Err(is_off());
    }
    community.check_password(&user, body.password, &address).await?;
    let attempt = community.limits.login(&user.email, &address).await?;
    let (recovery_codes, hashes) = recovery_codes()?;
    let (key, code) = (secret_key(&community.tokens)?, Code::read(&body.code.into_string()));
    let renewed = community.accounts.renew_recovery(&user.id, key, code, hashes, now()).await?;
    if renewed == Turned::Wrong {
        attempt.failed().await;
    }
    passed(renewed)?;
    Ok(Json(RecoveryView { recovery_codes }))
}

/// Turn the second factor off, by the password and a code. A letter tells of it.
#[utoipa::path(
    delete, path = "/api/auth/totp", operation_id = "removeSecondFactor", tag = "auth", request_body = CodeBody,
    responses(
        (status = NO_CONTENT),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<CodeBody>,
) -> Result<StatusCode, Problem> {
    let user = community.existing_user(&identity.user_id).await?;
    if !community.has_second_factor(&user.id).await? {
        return Err(is_off());
    }
    community.check_password(&user, body.password, &address).await?;
    let attempt = community.limits.login(&user.email, &address).await?;
    let (key, code) = (secret_key(&community.tokens)?, Code::read(&body.code.into_string()));
    let removed = community.accounts.remove_totp(&user.id, key, code, now()).await?;
    if removed == Turned::Wrong {
        attempt.failed().await;
    }
    passed(removed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is answered where a code did not do what it was sent for.
fn passed(turned: Turned) -> Result<(), Problem> {
    match turned {
        Turned::Done => Ok(()),
        Turned::Wrong => Err(wrong_code()),
        Turned::Held(until) => Err(held(until)),
        Turned::IsOn | Turned::IsOff => Err(is_off()),
    }
}

impl Community {
    async fn has_second_factor(&self, user_id: &str) -> Result<bool, Problem> {
        let totp = self.accounts.totp(user_id).await?;
        Ok(totp.is_some_and(|totp| totp.is_on_at(now())))
    }

    /// Refuses whoever has no good code of a user who has a second factor: the password alone does not do this.
    pub(in crate::community) async fn check_code(
        &self,
        user: &User,
        code: Maybe<SecondFactorCode>,
        client: &Address,
    ) -> Result<(), Problem> {
        if !self.has_second_factor(&user.id).await? {
            return Ok(());
        }
        let Some(code) = code.value() else {
            return Err(Problem::unauthorized("a `code` of the second factor is needed")
                .with_code(ProblemCode::SecondFactorRequired));
        };
        let attempt = self.limits.login(&user.email, client).await?;
        let (key, code) = (secret_key(&self.tokens)?, Code::read(&code.into_string()));
        match self.accounts.pass_totp(&user.id, key, code, now()).await? {
            // It was turned off meanwhile.
            Turned::IsOff => Ok(()),
            Turned::Wrong => {
                attempt.failed().await;
                Err(wrong_code())
            }
            turned => passed(turned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_by_the_nodes_that_made_it() {
        let tokens = Tokens::new(&[1; 32], Duration::from_mins(1));
        let problem = serde_json::to_value(required(&tokens, "ana", "0199")).unwrap();
        let text = problem["challenge"].as_str().unwrap();
        assert_eq!(challenge_of(&tokens, text), Some(("ana".to_owned(), "0199".to_owned())));
        for changed in [text.replace("ana", "ben"), text.replace("0199", "0198"), "ana.0199".to_owned()] {
            assert_eq!(challenge_of(&tokens, &changed), None, "{changed}");
        }
    }

    #[test]
    fn an_app_reads_the_address() {
        let uri = url::Url::parse(&otpauth_uri("ana+b@example.com", "MZXW6YTB")).unwrap();
        assert_eq!((uri.scheme(), uri.host_str()), ("otpauth", Some("totp")));
        assert_eq!(uri.path(), "/MundoTango:ana%2Bb%40example%2Ecom");
        let pairs: Vec<_> = uri.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        assert!(pairs.contains(&"secret=MZXW6YTB".to_owned()), "{pairs:?}");
    }
}

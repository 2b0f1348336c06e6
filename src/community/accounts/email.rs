//! The address of an account: confirming it, changing it, and getting back in by it. What is mailed are links; opening one
//! changes nothing until the page behind it sends the token back, as mail filters open links too.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::ValidJson;
use mundotango_gateway::input::{BadFields, Maybe};
use mundotango_gateway::problem::{Code, FieldCode, Problem};
use mundotango_gateway::revocation_store::Revoked;
use mundotango_jobs::JobError;
use mundotango_protocol::new_id;
use mundotango_storage::{StoreError, now};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::link_store::{AddedLink, EmailChange};
use super::links::{Link, MailedLink, Purpose};
use super::store::User;
use crate::community::Community;
use crate::community::letters;
use crate::community::limits::Address;
use crate::texts::{EmailAddress, GivenPassword, LinkToken, NewPassword, SecondFactorCode};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(verify))
        .routes(routes!(send_again))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
        .routes(routes!(change))
        .routes(routes!(confirm))
        .routes(routes!(undo))
        .routes(routes!(end_logins))
}

/// The token of a link.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(in crate::community) struct LinkBody {
    /// What the link has behind `token=`.
    pub(in crate::community) token: LinkToken,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct ForgottenBody {
    /// The address of the account.
    email: EmailAddress,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct ResetBody {
    /// What the link has behind `token=`.
    token: LinkToken,
    /// The new password.
    password: NewPassword,
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct NewEmailBody {
    /// The new address.
    email: EmailAddress,
    /// The password, so that nobody changes the address who only found the device.
    password: GivenPassword,
    /// What the device shows, or a recovery code; needed where the account has a second factor.
    #[deserr(default)]
    #[schema(value_type = Option<SecondFactorCode>)]
    code: Maybe<SecondFactorCode>,
}

/// 410: the link does nothing. The same for all causes, so that nobody learns which links there are.
pub(in crate::community) fn not_good() -> Problem {
    let detail = "the link was used, is too old, or was never made: ask for another";
    Problem::new(StatusCode::GONE, detail).with_code(Code::LinkInvalid)
}

impl Community {
    /// Confirms the address of an account, by the token of the link that was mailed to it.
    pub(super) async fn verify_email(&self, token: LinkToken) -> Result<(), Problem> {
        let MailedLink { user_id, id, .. } = self.mailed_link(token, Purpose::VerifyEmail)?;
        let is_verified = self.accounts.verify_email(&user_id, &id, now()).await?;
        is_verified.then_some(()).ok_or_else(not_good)
    }

    /// Has a link for a new password mailed to an address, if it is the one of an account.
    pub(super) async fn mail_password_link(
        &self,
        client: &Address,
        email: EmailAddress,
    ) -> Result<(), Problem> {
        self.limits.link(client).await?;
        let job = letters::accounts::forgotten(&email.into_string())?;
        match self.jobs.enqueue(job).await {
            Ok(_) => Ok(()),
            Err(JobError::Store(error)) => Err(error.into()),
            Err(error @ (JobError::Full | JobError::TooLarge(_))) => {
                Err(StoreError::Unavailable(error.to_string()).into())
            }
        }
    }

    /// Sets a new password by the token of a link, and ends all logins of the account.
    pub(super) async fn reset_password(
        &self,
        token: LinkToken,
        password: NewPassword,
    ) -> Result<(), Problem> {
        let now = now();
        let (MailedLink { user_id, id, .. }, link) =
            self.good_link(token, Purpose::ResetPassword, now).await?;
        let user = self.accounts.user(&user_id).await?.ok_or_else(not_good)?;
        if link.email != user.email {
            return Err(not_good());
        }
        let hash = self.passwords.hash(password.into_string()).await?;
        // Tokens go first: if something fails after that, the same link can be used again.
        self.lock_out_user(&user_id).await?;
        if self.accounts.reset_password(&user_id, &id, hash, now).await? {
            // Somebody may have logged in between.
            self.lock_out_user(&user_id).await
        } else {
            Err(not_good())
        }
    }

    /// Puts the new address in the place of the old one, by the token of a link.
    pub(super) async fn confirm_email(&self, token: LinkToken) -> Result<(), Problem> {
        let MailedLink { user_id, id, .. } = self.mailed_link(token, Purpose::ConfirmEmail)?;
        match self.accounts.change_email(&user_id, &id, &new_id(), now()).await? {
            EmailChange::Changed => Ok(()),
            EmailChange::NotGood => Err(not_good()),
            EmailChange::Taken => Err(Problem::taken(["email"])),
            EmailChange::TooOften => {
                let detail =
                    "the address was changed several times within a week; another change has to wait";
                Err(Problem::new(StatusCode::CONFLICT, detail))
            }
        }
    }

    /// Puts the old address back by the token of a link, ends all logins, and has a link for a new password
    /// mailed.
    pub(super) async fn undo_email_change(&self, token: LinkToken) -> Result<(), Problem> {
        let now = now();
        let (MailedLink { user_id, id, .. }, _) = self.good_link(token, Purpose::UndoEmail, now).await?;
        self.lock_out_user(&user_id).await?;
        if self.accounts.undo_email_change(&user_id, &id, &new_id(), now).await? {
            // Somebody may have logged in between.
            self.lock_out_user(&user_id).await
        } else {
            Err(not_good())
        }
    }

    /// Ends all logins of an account, by the token of the link in the letter about one of them.
    pub(super) async fn end_logins_by_link(&self, token: LinkToken) -> Result<(), Problem> {
        let now = now();
        let (MailedLink { user_id, id, .. }, _) = self.good_link(token, Purpose::EndLogins, now).await?;
        self.lock_out_user(&user_id).await?;
        if self.accounts.end_logins_by_link(&user_id, &id, now).await? {
            // Somebody may have logged in between.
            self.lock_out_user(&user_id).await
        } else {
            Err(not_good())
        }
    }

    pub(in crate::community) fn mailed_link(
        &self,
        token: LinkToken,
        purpose: Purpose,
    ) -> Result<MailedLink, Problem> {
        let link = MailedLink::read(&self.tokens, &token.into_string());
        link.filter(|link| link.purpose == purpose).ok_or_else(not_good)
    }

    /// The same, only if the link is good at a time: a link that was used must not lock anybody out.
    pub(in crate::community) async fn good_link(
        &self,
        token: LinkToken,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<(MailedLink, Link), Problem> {
        let mailed = self.mailed_link(token, purpose)?;
        let link = self.accounts.link(&mailed.user_id, purpose, &mailed.id).await?;
        link.filter(|link| link.expires_at > now).map(|link| (mailed, link)).ok_or_else(not_good)
    }

    /// Locks out all tokens that a user has.
    pub(in crate::community) async fn lock_out_user(&self, user_id: &str) -> Result<(), Problem> {
        let until = self.refresh_expiry(now());
        Ok(self.revocations.revoke(Revoked::UserTokens(user_id.to_owned()), Some(until)).await?)
    }

    /// Refuses whoever does not know the password, so that nobody does it who only found the device.
    pub(in crate::community) async fn check_password(
        &self,
        user: &User,
        password: GivenPassword,
        client: &Address,
    ) -> Result<(), Problem> {
        let attempt = self.limits.login(&user.email, client).await?;
        let hash = self.accounts.credentials(&user.email).await?.and_then(|(_, hash)| hash);
        if self.passwords.verify(password.into_string(), hash).await? {
            return Ok(());
        }
        attempt.failed().await;
        Err(Problem::unauthorized("the password is wrong").with_code(Code::WrongCredentials))
    }

    async fn send_link(&self, user_id: &str, purpose: Purpose, email: String) -> Result<(), Problem> {
        let link = Link::new(purpose, email, now());
        match self.accounts.add_link(user_id, purpose, &new_id(), link).await? {
            AddedLink::Mailed => Ok(()),
            AddedLink::NoUser => Err(Problem::not_found("user")),
            AddedLink::TooMany => {
                let detail = "several such links were mailed, and are still good: look for the letters";
                Err(Problem::too_many_requests(detail).with_retry_after(purpose.lifetime()))
            }
        }
    }
}

/// Confirm the address of an account, by the token of the link that was mailed to it.
#[utoipa::path(
    post, path = "/api/auth/verify", operation_id = "verifyEmail",
    tag = "auth", security(()), request_body = LinkBody,
    responses((status = NO_CONTENT), (status = GONE, body = Problem)),
)]
async fn verify(
    State(community): Shared,
    ValidJson(body): ValidJson<LinkBody>,
) -> Result<StatusCode, Problem> {
    community.verify_email(body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have the link that confirms the address mailed again.
#[utoipa::path(
    post, path = "/api/auth/verify/resend", operation_id = "resendVerification", tag = "auth",
    responses((status = ACCEPTED), (status = CONFLICT, body = Problem), (status = TOO_MANY_REQUESTS, body = Problem)),
)]
async fn send_again(
    identity: Identity,
    State(community): Shared,
    address: Address,
) -> Result<StatusCode, Problem> {
    community.limits.link(&address).await?;
    let user = community.existing_user(&identity.user_id).await?;
    if user.is_verified {
        return Err(Problem::new(StatusCode::CONFLICT, "the address is confirmed already"));
    }
    community.send_link(&user.id, Purpose::VerifyEmail, user.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Have a link for a new password mailed to an address, if it is the one of an account. The answer is the same if it is not.
#[utoipa::path(
    post, path = "/api/auth/forgot-password", operation_id = "forgotPassword",
    tag = "auth", security(()), request_body = ForgottenBody,
    responses((status = ACCEPTED), (status = BAD_REQUEST, body = Problem), (status = TOO_MANY_REQUESTS, body = Problem)),
)]
async fn forgot_password(
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<ForgottenBody>,
) -> Result<StatusCode, Problem> {
    community.mail_password_link(&address, body.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Set a new password by the token of a link that was mailed. It ends all logins of the account.
#[utoipa::path(
    post, path = "/api/auth/reset-password", operation_id = "resetPassword",
    tag = "auth", security(()), request_body = ResetBody,
    responses((status = NO_CONTENT), (status = BAD_REQUEST, body = Problem), (status = GONE, body = Problem)),
)]
async fn reset_password(
    State(community): Shared,
    ValidJson(body): ValidJson<ResetBody>,
) -> Result<StatusCode, Problem> {
    community.reset_password(body.token, body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the address: a link is mailed to the new one, and nothing changes before it is used.
#[utoipa::path(
    post, path = "/api/users/me/email", operation_id = "changeEmail",
    tag = "users", request_body = NewEmailBody,
    responses(
        (status = ACCEPTED),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn change(
    identity: Identity,
    State(community): Shared,
    address: Address,
    ValidJson(body): ValidJson<NewEmailBody>,
) -> Result<StatusCode, Problem> {
    community.limits.link(&address).await?;
    let user = community.existing_user(&identity.user_id).await?;
    community.check_password(&user, body.password, &address).await?;
    let email = body.email.into_string();
    if email.to_lowercase() == user.email.to_lowercase() {
        let message = "is the address of this account already";
        return Err(Problem::invalid_field("email", FieldCode::NotAllowed, message));
    }
    community.check_code(&user, body.code, &address).await?;
    // Whether somebody else has the address is said to who reads its mail alone.
    community.send_link(&user.id, Purpose::ConfirmEmail, email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Put the new address in the place of the old one, by the token of the link that was mailed to it. The old one gets a link
/// by which that can be undone for a week. Whoever has the link need not be logged in, and learns nothing of the account.
#[utoipa::path(
    post, path = "/api/auth/confirm-email", operation_id = "confirmEmail",
    tag = "auth", security(()), request_body = LinkBody,
    responses((status = NO_CONTENT), (status = CONFLICT, body = Problem), (status = GONE, body = Problem)),
)]
async fn confirm(
    State(community): Shared,
    ValidJson(body): ValidJson<LinkBody>,
) -> Result<StatusCode, Problem> {
    community.confirm_email(body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put the old address back, by the token of the link that was mailed to it. It ends all logins, as somebody else had the
/// account, and mails a link for a new password.
#[utoipa::path(
    post, path = "/api/auth/undo-email-change", operation_id = "undoEmailChange",
    tag = "auth", security(()), request_body = LinkBody,
    responses((status = NO_CONTENT), (status = GONE, body = Problem)),
)]
async fn undo(State(community): Shared, ValidJson(body): ValidJson<LinkBody>) -> Result<StatusCode, Problem> {
    community.undo_email_change(body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all logins of an account, by the token of the link in the letter about a login from a device that was not seen before. Set another
/// password then, as somebody may know this one.
#[utoipa::path(
    post, path = "/api/auth/end-logins", operation_id = "endLoginsByLink",
    tag = "auth", security(()), request_body = LinkBody,
    responses((status = NO_CONTENT), (status = BAD_REQUEST, body = Problem), (status = GONE, body = Problem)),
)]
async fn end_logins(
    State(community): Shared,
    ValidJson(body): ValidJson<LinkBody>,
) -> Result<StatusCode, Problem> {
    community.end_logins_by_link(body.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

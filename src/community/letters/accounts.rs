//! Letters about accounts. Those with a link hold the link's id alone: its seal is made when the letter is sent, so no queue
//! and no backup has what opens an account.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewJob, NewPools, Priority};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::{EMAIL, Letters, Own, SEND_TIMEOUT};
use crate::community::accounts::links::{Link, MailedLink, Purpose};
use crate::community::effects::Effect;
use crate::email::Letter;

/// To somebody whose address is confirmed.
static WELCOME: JobKind<ToUser> = letter("welcome_letter").useless_after(Duration::from_hours(7 * 24));
/// With a link to the user's address, or to the one that is to be it.
static LINK: JobKind<LinkLetter> = letter("link_letter").priority(Priority::High);
/// To somebody whose password was changed.
static PASSWORD_CHANGED: JobKind<ToUser> = letter("password_changed_letter");
/// To somebody whose second factor was turned on or off.
static SECOND_FACTOR: JobKind<SecondFactorLetter> = letter("second_factor_letter");
/// Ends a second factor that an admin takes off, and tells the user.
static SECOND_FACTOR_OVER: JobKind<SecondFactorOver> = letter("second_factor_over");
/// To whoever asked for a new password by an address.
static FORGOTTEN: JobKind<Forgotten> = JobKind::new("password_forgotten", &EMAIL, 1)
    .priority(Priority::High)
    .useless_after(Duration::from_hours(1));

/// Gives an old address back that nobody has asked for.
static GIVE_BACK: JobKind<GivenBack> = JobKind::new("old_address", &EMAIL, 1);

const fn letter<P>(name: &'static str) -> JobKind<P> {
    JobKind::new(name, &EMAIL, 1)
        .timeout(SEND_TIMEOUT)
        .backoff(Duration::from_secs(15), Duration::from_hours(2))
}

#[derive(Debug, Serialize, Deserialize)]
struct ToUser {
    user_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct SecondFactorLetter {
    user_id: String,
    is_on: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SecondFactorOver {
    user_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct LinkLetter {
    user_id: String,
    purpose: Purpose,
    link_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Forgotten {
    email: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct GivenBack {
    user_id: String,
    email: String,
}

/// Welcomes a user whose address is confirmed.
pub(in crate::community) fn welcome(user_id: &str) -> Result<Effect, StoreError> {
    Ok(Effect::job(WELCOME.job(&ToUser { user_id: user_id.to_owned() })?))
}

/// Sends a link, which lies in the user's partition. The letter is of no use after the link.
pub(in crate::community) fn link(
    user_id: &str,
    link_id: &str,
    purpose: Purpose,
) -> Result<Effect, StoreError> {
    let payload = LinkLetter { user_id: user_id.to_owned(), purpose, link_id: link_id.to_owned() };
    Ok(Effect::job(LINK.job(&payload)?.useless_after(purpose.lifetime())))
}

/// Tells a user of a new password.
pub(in crate::community) fn password_changed(user_id: &str) -> Result<Effect, StoreError> {
    Ok(Effect::job(PASSWORD_CHANGED.job(&ToUser { user_id: user_id.to_owned() })?))
}

/// Tells a user that the second factor was turned on or off.
pub(in crate::community) fn second_factor(user_id: &str, is_on: bool) -> Result<Effect, StoreError> {
    Ok(Effect::job(SECOND_FACTOR.job(&SecondFactorLetter { user_id: user_id.to_owned(), is_on })?))
}

/// Ends the second factor of a user at a time, if it is still to end then.
pub(in crate::community) fn second_factor_over(user_id: &str, at: Timestamp) -> Result<Effect, StoreError> {
    let payload = SecondFactorOver { user_id: user_id.to_owned() };
    Ok(Effect::job(SECOND_FACTOR_OVER.job(&payload)?.due(at)))
}

/// Gives a user's old address back when the link to undo the change is good no longer.
pub(in crate::community) fn give_back(
    user_id: &str,
    email: &str,
    undo_until: Timestamp,
) -> Result<Effect, StoreError> {
    let payload = GivenBack { user_id: user_id.to_owned(), email: email.to_owned() };
    Ok(Effect::job(GIVE_BACK.job(&payload)?.due(undo_until)))
}

/// Looks whose address it is, and sends that user a link. Who asks does not wait for it, and so learns nothing from the time
/// that it takes.
pub(in crate::community) fn forgotten(email: &str) -> Result<NewJob, StoreError> {
    let job = FORGOTTEN.job(&Forgotten { email: email.to_owned() })?;
    // However often somebody asks, one such job is there at a time.
    Ok(job.unique(email.to_lowercase()).group(email.to_lowercase()))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    let own = || Own(Arc::clone(letters));
    pools
        .handle(&WELCOME, Welcome(own()))
        .handle(&LINK, own())
        .handle(&PASSWORD_CHANGED, PasswordChanged(own()))
        .handle(&SECOND_FACTOR, own())
        .handle(&SECOND_FACTOR_OVER, own())
        .handle(&FORGOTTEN, own())
        .handle(&GIVE_BACK, own())
}

struct Welcome(Own);
struct PasswordChanged(Own);

#[async_trait]
impl Handler<ToUser> for Welcome {
    async fn run(&self, attempted: &Attempted, job: ToUser) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        let Some(reader) = letters.reader(&job.user_id).await? else { return Ok(()) };
        let letter = Letter::Welcome { name: reader.name(), home_url: letters.public_url.clone() };
        letters.send(attempted, &reader, &letter).await
    }
}

#[async_trait]
impl Handler<ToUser> for PasswordChanged {
    async fn run(&self, attempted: &Attempted, job: ToUser) -> Result<(), Failure> {
        let Own(letters) = &self.0;
        let Some(reader) = letters.reader(&job.user_id).await? else { return Ok(()) };
        let reset_url = format!("{}/forgot-password", letters.public_url);
        letters.send(attempted, &reader, &Letter::PasswordChanged { name: reader.name(), reset_url }).await
    }
}

#[async_trait]
impl Handler<SecondFactorLetter> for Own {
    async fn run(&self, attempted: &Attempted, job: SecondFactorLetter) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(reader) = letters.reader(&job.user_id).await? else { return Ok(()) };
        let (name, reset_url) = (reader.name(), format!("{}/forgot-password", letters.public_url));
        let letter = if job.is_on {
            Letter::SecondFactorOn { name, reset_url }
        } else {
            Letter::SecondFactorOff { name, reset_url }
        };
        letters.send(attempted, &reader, &letter).await
    }
}

#[async_trait]
impl Handler<SecondFactorOver> for Own {
    async fn run(&self, _: &Attempted, job: SecondFactorOver) -> Result<(), Failure> {
        let Own(letters) = self;
        Ok(letters.accounts.end_totp(&job.user_id, mundotango_storage::now()).await?)
    }
}

#[async_trait]
impl Handler<LinkLetter> for Own {
    async fn run(&self, attempted: &Attempted, job: LinkLetter) -> Result<(), Failure> {
        let Own(letters) = self;
        let reader = match job.purpose {
            Purpose::UndoDeletion => letters.reader_who_leaves(&job.user_id).await?,
            _ => letters.reader(&job.user_id).await?,
        };
        let Some(reader) = reader else { return Ok(()) };
        // A link that was used, or replaced by others, is not sent any more.
        let link = letters.accounts.link(&job.user_id, job.purpose, &job.link_id).await?;
        let Some(link) = link.filter(|link| link.expires_at > mundotango_storage::now()) else {
            return Ok(());
        };
        let mailed = MailedLink { purpose: job.purpose, user_id: job.user_id, id: job.link_id };
        let sealed = mailed.sealed(&letters.tokens).map_err(Failure::retry)?;
        let url = format!("{}/{}?token={sealed}", letters.public_url, job.purpose.page());
        let letter = link_letter(reader.name(), &link, job.purpose, url);
        letters.send_to(attempted, &reader, &link.email, &letter).await
    }
}

#[async_trait]
impl Handler<Forgotten> for Own {
    async fn run(&self, attempted: &Attempted, job: Forgotten) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some((user, _)) = letters.accounts.credentials(&job.email).await? else { return Ok(()) };
        let link = Link::new(Purpose::ResetPassword, user.email, mundotango_storage::now());
        letters.accounts.add_link(&user.id, Purpose::ResetPassword, &attempted.id, link).await?;
        Ok(())
    }
}

#[async_trait]
impl Handler<GivenBack> for Own {
    async fn run(&self, _: &Attempted, job: GivenBack) -> Result<(), Failure> {
        let Own(letters) = self;
        let now = mundotango_storage::now();
        Ok(letters.accounts.give_back_email(&job.user_id, &job.email, now).await?)
    }
}

fn link_letter(name: String, link: &Link, purpose: Purpose, url: String) -> Letter {
    let hours = u32::try_from(purpose.lifetime().as_secs() / 3600).unwrap_or(u32::MAX);
    match purpose {
        Purpose::VerifyEmail => Letter::VerifyEmail { name, url, valid_hours: hours },
        Purpose::ResetPassword => Letter::ResetPassword { name, url, valid_minutes: hours * 60 },
        Purpose::ConfirmEmail => Letter::ConfirmNewAddress { name, url, valid_hours: hours },
        Purpose::UndoDeletion => Letter::AccountLeaving { name, undo_url: url, valid_days: hours / 24 },
        Purpose::EndLogins => Letter::NewLogin {
            name,
            device: link.other.clone().unwrap_or_default(),
            end_url: url,
            valid_hours: hours,
        },
        Purpose::KeepSecondFactor => Letter::SecondFactorEnding { name, keep_url: url, valid_hours: hours },
        Purpose::UndoEmail => Letter::AddressChanged {
            name,
            new_address: link.other.as_deref().map(masked).unwrap_or_default(),
            undo_url: url,
            valid_days: hours / 24,
        },
    }
}

/// An address as somebody who knows it recognises it, and nobody else can use it: `a•••@example.com`.
fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    format!("{}•••@{domain}", local.chars().take(1).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn little_is_seen_of_a_masked_address() {
        assert_eq!(masked("beatriz@example.com"), "b•••@example.com");
        assert_eq!(masked("ñandú@example.com"), "ñ•••@example.com");
    }
}

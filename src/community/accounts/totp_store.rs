//! Second factors and the logins that wait for a code, in the users' partitions. What a code spends, and what it opens, are one
//! change: however many send it, one gets in.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants, prefix};

use super::kind::{CHALLENGES, LOGINS, PASSWORD, Row, TOTP, USERS};
use super::rows::{as_challenge, challenge_key, password_of, put_login, totp_of};
use super::rules::{Login, MAX_LOGINS};
use super::sealed::SecretKey;
use super::store::{AccountStore, User};
use super::totp::{Code, MAX_ATTEMPTS, MAX_CHALLENGES, Totp, Verdict};
use crate::community::letters;

/// What came of answering a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The login is there; whose it is.
    LoggedIn(Box<User>),
    /// The code is not good.
    Wrong,
    /// Too many wrong codes came; until when none is taken.
    Held(Timestamp),
    /// There is no such challenge, or none that can be answered.
    NoChallenge,
}

/// What came of turning a second factor on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It is as it was to be.
    Done,
    /// The code is not good.
    Wrong,
    /// Too many wrong codes came; until when none is taken.
    Held(Timestamp),
    /// It is on already.
    IsOn,
    /// There is none that could be turned on or off.
    IsOff,
}

impl AccountStore {
    /// The second factor of a user, on or begun.
    pub async fn totp(&self, user_id: &str) -> Result<Option<Totp>, StoreError> {
        let row = self.0.row(&USERS, user_id, TOTP).await?;
        Ok(match row {
            Some(Row::Totp(totp)) => Some(totp),
            Some(_) | None => None,
        })
    }

    /// Begins a second factor in the place of one that was begun.
    pub async fn begin_totp(&self, user_id: &str, totp: Totp) -> Result<Turned, StoreError> {
        let begun = self.0.change(&USERS, user_id, Wants::head().row(TOTP), move |part| {
            if part.head.leaving.is_some() {
                return Ok::<_, StoreError>(Decision::Stands(Turned::IsOff));
            }
            if totp_of(part).is_some_and(|before| before.is_on()) {
                return Ok(Decision::Stands(Turned::IsOn));
            }
            part.set(TOTP, Row::Totp(totp.clone()));
            Ok(Decision::Write(Turned::Done))
        });
        Ok(begun.await?.unwrap_or(Turned::IsOff))
    }

    /// Turns on what was begun, by the first code of the device, and tells the user. `recovery` are the hashes of the recovery
    /// codes.
    pub async fn confirm_totp(
        &self,
        user_id: &str,
        key: SecretKey,
        code: Code,
        recovery: Vec<String>,
        now: Timestamp,
    ) -> Result<Turned, StoreError> {
        let user = user_id.to_owned();
        let confirmed = self.0.change(&USERS, user_id, Wants::head().row(TOTP), move |part| {
            let mut totp = match totp_of(part) {
                Some(totp) if totp.is_on() => {
                    return Ok::<_, StoreError>(Decision::Stands(Turned::IsOn));
                }
                Some(totp) if totp.is_begun(now) => totp,
                Some(_) | None => return Ok(Decision::Stands(Turned::IsOff)),
            };
            let Some(secret) = key.open(&user, &totp.secret) else {
                return Ok(Decision::Stands(Turned::IsOff));
            };
            if !totp.confirm(&secret, &code, recovery.clone(), now) {
                return Ok(Decision::Stands(Turned::Wrong));
            }
            part.set(TOTP, Row::Totp(totp));
            part.emit(&letters::accounts::second_factor(&user, true)?)?;
            Ok(Decision::Write(Turned::Done))
        });
        Ok(confirmed.await?.unwrap_or(Turned::IsOff))
    }

    /// Turns a second factor off by a code, and tells the user.
    pub async fn remove_totp(
        &self,
        user_id: &str,
        key: SecretKey,
        code: Code,
        now: Timestamp,
    ) -> Result<Turned, StoreError> {
        let user = user_id.to_owned();
        let below = prefix(&[CHALLENGES]);
        let wants = Wants::head().row(TOTP).first(&below, MAX_CHALLENGES + 1);
        let removed = self.0.change(&USERS, user_id, wants, move |part| {
            let Some(mut totp) = totp_of(part).filter(Totp::is_on) else {
                return Ok::<_, StoreError>(Decision::Stands(Turned::IsOff));
            };
            let secret = key.open(&user, &totp.secret);
            match totp.spend(secret.as_deref(), &code, now) {
                Verdict::Held(until) => Ok(Decision::Stands(Turned::Held(until))),
                Verdict::Wrong => {
                    part.set(TOTP, Row::Totp(totp));
                    Ok(Decision::Write(Turned::Wrong))
                }
                Verdict::Passed => {
                    let waiting: Vec<_> =
                        part.first(&below, MAX_CHALLENGES + 1).into_iter().map(|(key, _)| key).collect();
                    for key in waiting {
                        part.remove(key);
                    }
                    part.remove(TOTP);
                    part.emit(&letters::accounts::second_factor(&user, false)?)?;
                    Ok(Decision::Write(Turned::Done))
                }
            }
        });
        Ok(removed.await?.unwrap_or(Turned::IsOff))
    }

    /// Answers a challenge by a code, and adds the login where the code is good.
    pub async fn answer_challenge(
        &self,
        challenge_id: &str,
        login: Login,
        key: SecretKey,
        code: Code,
        now: Timestamp,
    ) -> Result<Answered, StoreError> {
        let (user_id, waiting) = (login.user_id.clone(), challenge_key(challenge_id));
        let wants =
            Wants::head().row(&waiting).row(TOTP).row(PASSWORD).first(&prefix(&[LOGINS]), MAX_LOGINS + 1);
        let answered = self.0.change(&USERS, &user_id, wants, move |part| {
            let challenge = as_challenge(part.row(&waiting)).cloned();
            let (password, totp) = (password_of(part), totp_of(part).filter(Totp::is_on));
            let is_leaving = part.head.leaving.is_some();
            let challenge = challenge.filter(|one| !is_leaving && one.is_good(&password, now));
            let (Some(mut challenge), Some(mut totp)) = (challenge, totp) else {
                return Ok::<_, StoreError>(Decision::Stands(Answered::NoChallenge));
            };
            let secret = key.open(&login.user_id, &totp.secret);
            match totp.spend(secret.as_deref(), &code, now) {
                Verdict::Held(until) => Ok(Decision::Stands(Answered::Held(until))),
                Verdict::Wrong => {
                    challenge.attempts += 1;
                    if challenge.attempts < MAX_ATTEMPTS {
                        part.set(&waiting, Row::Challenge(challenge));
                    } else {
                        part.remove(&waiting);
                    }
                    part.set(TOTP, Row::Totp(totp));
                    Ok(Decision::Write(Answered::Wrong))
                }
                Verdict::Passed => {
                    part.remove(&waiting);
                    part.set(TOTP, Row::Totp(totp));
                    put_login(part, &login);
                    let user = User::new(&login.user_id, part.facts, part.head.clone());
                    Ok(Decision::Write(Answered::LoggedIn(Box::new(user))))
                }
            }
        });
        Ok(answered.await?.unwrap_or(Answered::NoChallenge))
    }
}

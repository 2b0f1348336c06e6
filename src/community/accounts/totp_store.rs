//! Second factors and the logins that wait for a code, in the users' partitions. What a code spends, and what it opens, are one
//! change: however many send it, one gets in.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants, prefix};

use super::kind::{CHALLENGES, LOGINS, Owned, PASSWORD, Row, TOTP, USERS};
use super::link_rows::{end_links, end_logins, good, link_key, links_of, put_link};
use super::links::{Link, MAX_LINKS, Purpose};
use super::rows::{as_challenge, challenge_key, of_logins, password_of, put_login, totp_of};
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

/// Ends a second factor and the logins that wait for its codes, and tells the user.
fn end(part: &mut Owned<'_>, user_id: &str) -> Result<(), StoreError> {
    let waiting = part.first(&prefix(&[CHALLENGES]), MAX_CHALLENGES + 1).into_iter();
    let waiting: Vec<_> = waiting.map(|(key, _)| key).collect();
    for key in waiting {
        part.remove(key);
    }
    part.remove(TOTP);
    part.emit(&letters::accounts::second_factor(user_id, false)?)
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
            if totp_of(part).is_some_and(|before| before.is_on_at(totp.made_at)) {
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
        self.spend_totp(user_id, key, code, now, move |part, _| end(part, &user)).await
    }

    /// Spends a code for something that the password alone does not open.
    pub async fn pass_totp(
        &self,
        user_id: &str,
        key: SecretKey,
        code: Code,
        now: Timestamp,
    ) -> Result<Turned, StoreError> {
        let passed = |part: &mut Owned<'_>, totp| {
            part.set(TOTP, Row::Totp(totp));
            Ok(())
        };
        self.spend_totp(user_id, key, code, now, passed).await
    }

    /// Puts other recovery codes in the place of those that there are, by a code. `recovery` are their hashes.
    pub async fn renew_recovery(
        &self,
        user_id: &str,
        key: SecretKey,
        code: Code,
        recovery: Vec<String>,
        now: Timestamp,
    ) -> Result<Turned, StoreError> {
        let passed = move |part: &mut Owned<'_>, totp| {
            part.set(TOTP, Row::Totp(Totp { recovery: recovery.clone(), ..totp }));
            Ok(())
        };
        self.spend_totp(user_id, key, code, now, passed).await
    }

    /// Spends a code, and does with it what `passed` says.
    async fn spend_totp(
        &self,
        user_id: &str,
        key: SecretKey,
        code: Code,
        now: Timestamp,
        passed: impl Fn(&mut Owned<'_>, Totp) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Turned, StoreError> {
        let user = user_id.to_owned();
        let wants = Wants::head().row(TOTP).first(&prefix(&[CHALLENGES]), MAX_CHALLENGES + 1);
        let spent = self.0.change(&USERS, user_id, wants, move |part| {
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
                    passed(part, totp)?;
                    Ok(Decision::Write(Turned::Done))
                }
            }
        });
        Ok(spent.await?.unwrap_or(Turned::IsOff))
    }

    /// Has a second factor end a day later, as an admin says; ends all logins, and mails the user a link that keeps it. When it ends;
    /// `None` if there is none. Asked again, it stays with the time of before.
    pub async fn take_off_totp(
        &self,
        user_id: &str,
        link_id: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (user, link_id, purpose) = (user_id.to_owned(), link_id.to_owned(), Purpose::KeepSecondFactor);
        let wants = Wants::head().row(TOTP).first(&prefix(&[LOGINS]), MAX_LOGINS + 1);
        let wants = wants.first(&links_of(purpose), MAX_LINKS + 1);
        let taken = self.0.change(&USERS, user_id, wants, move |part| {
            let is_leaving = part.head.leaving.is_some();
            let totp = totp_of(part).filter(|totp| totp.is_on_at(now) && !is_leaving);
            let Some(mut totp) = totp else { return Ok::<_, StoreError>(Decision::Stands(None)) };
            if totp.removed_at.is_some() {
                return Ok(Decision::Stands(totp.removed_at));
            }
            // Those of before are of a time that a code has ended.
            end_links(part, purpose);
            let link = Link::new(purpose, part.head.email.clone(), now);
            let ends_at = link.expires_at;
            put_link(part, &user, purpose, &link_id, link)?;
            end_logins(part);
            totp.removed_at = Some(ends_at);
            part.set(TOTP, Row::Totp(totp));
            part.emit(&letters::accounts::second_factor_over(&user, ends_at)?)?;
            Ok(Decision::Write(Some(ends_at)))
        });
        Ok(taken.await?.flatten())
    }

    /// Keeps a second factor that an admin takes off, by a link; whether the link was good.
    pub async fn keep_totp(&self, user_id: &str, link_id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let (id, purpose) = (link_id.to_owned(), Purpose::KeepSecondFactor);
        let wants = Wants::head().row(TOTP).row(link_key(purpose, link_id));
        let wants = wants.first(&links_of(purpose), MAX_LINKS + 1);
        let kept = self.0.change(&USERS, user_id, wants, move |part| {
            if good(part, purpose, &id, now).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            end_links(part, purpose);
            if let Some(totp) = totp_of(part) {
                part.set(TOTP, Row::Totp(Totp { removed_at: None, ..totp }));
            }
            Ok(Decision::Write(true))
        });
        Ok(kept.await?.unwrap_or_default())
    }

    /// Removes a second factor whose end has come, and tells the user.
    pub async fn end_totp(&self, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let user = user_id.to_owned();
        let wants = Wants::head().row(TOTP).first(&prefix(&[CHALLENGES]), MAX_CHALLENGES + 1);
        let ended = self.0.change(&USERS, user_id, wants, move |part| {
            if !totp_of(part).is_some_and(|totp| totp.is_on() && !totp.is_on_at(now)) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            end(part, &user)?;
            Ok(Decision::Write(()))
        });
        ended.await.map(drop)
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
        let wants = of_logins().row(&waiting).row(TOTP).row(PASSWORD);
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
                    put_login(part, &login)?;
                    let user = User::new(&login.user_id, part.facts, part.head.clone());
                    Ok(Decision::Write(Answered::LoggedIn(Box::new(user))))
                }
            }
        });
        Ok(answered.await?.unwrap_or(Answered::NoChallenge))
    }
}

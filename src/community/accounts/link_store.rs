//! Mailed links in the users' partitions, and what comes of using one.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, RowRange, Wants, prefix};

use super::kind::{LOGINS, Owned, PASSWORD, Row, USERS};
use super::link_rows::{as_link, end_links, end_logins, good, link_key, links_of, put_link};
use super::links::{Link, MAX_LINKS, Purpose};
use super::names::Name;
use super::rules::MAX_LOGINS;
use super::store::AccountStore;
use crate::community::letters;

/// What came of asking for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedLink {
    /// It is mailed.
    Mailed,
    /// There are as many good ones as may be.
    TooMany,
    /// There is no such user.
    NoUser,
}

/// What came of using the link that changes an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailChange {
    /// The address is the user's.
    Changed,
    /// The link is not good.
    NotGood,
    /// Somebody else has the address.
    Taken,
    /// The address was changed so often that another change would end the first owner's way back.
    TooOften,
}

impl AccountStore {
    /// A user's link, if it was not used.
    pub async fn link(
        &self,
        user_id: &str,
        purpose: Purpose,
        link_id: &str,
    ) -> Result<Option<Link>, StoreError> {
        let row = self.0.row(&USERS, user_id, &link_key(purpose, link_id)).await?;
        Ok(as_link(row.as_ref()).cloned())
    }

    /// Mails a new user a link that confirms the address, once: when nobody can take the account away any more.
    pub async fn greet(&self, user_id: &str, link_id: &str, link: Link) -> Result<(), StoreError> {
        let (user, id) = (user_id.to_owned(), link_id.to_owned());
        let rule = move |part: &mut Owned<'_>| {
            if part.head.welcomed || part.head.leaving.is_some() {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.welcomed = true;
            put_link(part, &user, Purpose::VerifyEmail, &id, link.clone())?;
            Ok(Decision::Write(()))
        };
        let wants = Wants::head().first(&links_of(Purpose::VerifyEmail), MAX_LINKS + 1);
        self.0.change(&USERS, user_id, wants, rule).await.map(drop)
    }

    /// Adds a link to a user and has it mailed. Doing it again changes nothing.
    pub async fn add_link(
        &self,
        user_id: &str,
        purpose: Purpose,
        link_id: &str,
        link: Link,
    ) -> Result<AddedLink, StoreError> {
        let (user, id) = (user_id.to_owned(), link_id.to_owned());
        let wants = Wants::head().row(link_key(purpose, link_id)).first(&links_of(purpose), MAX_LINKS + 1);
        let added = self.0.change(&USERS, user_id, wants, move |part| {
            if part.head.leaving.is_some() {
                return Ok(Decision::Stands(AddedLink::NoUser));
            }
            if part.row(&link_key(purpose, &id)).is_some() {
                return Ok::<_, StoreError>(Decision::Stands(AddedLink::Mailed));
            }
            Ok(if put_link(part, &user, purpose, &id, link.clone())? {
                Decision::Write(AddedLink::Mailed)
            } else {
                Decision::Stands(AddedLink::TooMany)
            })
        });
        Ok(added.await?.unwrap_or(AddedLink::NoUser))
    }

    /// Notes that the user reads the mail of the link's address; whether the link was good, or that was known before.
    pub async fn verify_email(
        &self,
        user_id: &str,
        link_id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, id) = (user_id.to_owned(), link_id.to_owned());
        let purpose = Purpose::VerifyEmail;
        let wants = Wants::head().row(link_key(purpose, link_id)).first(&links_of(purpose), MAX_LINKS + 1);
        let verified = self.0.change(&USERS, user_id, wants, move |part| {
            let email = part.head.email.clone();
            if good(part, purpose, &id, now).is_none_or(|link| link.email != email) {
                // Who opens the link a second time is not told that something is wrong.
                return Ok::<_, StoreError>(Decision::Stands(part.head.verified_at.is_some()));
            }
            end_links(part, purpose);
            if part.head.verified_at.replace(now).is_none() {
                part.emit(&letters::accounts::welcome(&user)?)?;
            }
            Ok(Decision::Write(true))
        });
        Ok(verified.await?.unwrap_or_default())
    }

    /// Sets a new password by a link, ends all logins and the links of this kind, and tells the user, in one change; whether
    /// the link was good.
    pub async fn reset_password(
        &self,
        user_id: &str,
        link_id: &str,
        hash: String,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, id) = (user_id.to_owned(), link_id.to_owned());
        let purpose = Purpose::ResetPassword;
        let wants = Wants::head()
            .row(link_key(purpose, link_id))
            .first(&links_of(purpose), MAX_LINKS + 1)
            .first(&links_of(Purpose::ConfirmEmail), MAX_LINKS + 1)
            .first(&prefix(&[LOGINS]), MAX_LOGINS + 1);
        let reset = self.0.change(&USERS, user_id, wants, move |part| {
            let email = part.head.email.clone();
            if good(part, purpose, &id, now).is_none_or(|link| link.email != email) {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            end_links(part, purpose);
            // Whoever had the account before may have asked for another address.
            end_links(part, Purpose::ConfirmEmail);
            end_logins(part);
            part.set(PASSWORD, Row::Password(hash.clone()));
            // Who has the link reads the mail of the address.
            part.head.verified_at.get_or_insert(now);
            part.emit(&letters::accounts::password_changed(&user)?)?;
            Ok(Decision::Write(true))
        });
        Ok(reset.await?.unwrap_or_default())
    }

    /// Puts the address of a link in the place of the user's; the old one gets a link by which its owner can undo that.
    /// `undo_id` names that link.
    pub async fn change_email(
        &self,
        user_id: &str,
        link_id: &str,
        undo_id: &str,
        now: Timestamp,
    ) -> Result<EmailChange, StoreError> {
        let purpose = Purpose::ConfirmEmail;
        let link = self.link(user_id, purpose, link_id).await?.filter(|link| link.expires_at > now);
        let Some(Link { email: address, .. }) = link else { return Ok(EmailChange::NotGood) };
        if !self.take_name(&address, user_id).await? {
            return Ok(EmailChange::Taken);
        }
        let (user, id, undo_id) = (user_id.to_owned(), link_id.to_owned(), undo_id.to_owned());
        let wants = Wants::head()
            .row(link_key(purpose, link_id))
            .first(&links_of(purpose), MAX_LINKS + 1)
            .first(&links_of(Purpose::UndoEmail), MAX_LINKS + 1);
        let changed = self.0.change(&USERS, user_id, wants, move |part| {
            let Some(link) = good(part, purpose, &id, now) else {
                return Ok::<_, StoreError>(Decision::Stands(EmailChange::NotGood));
            };
            let old = part.head.email.clone();
            let undo = Link { other: Some(link.email.clone()), ..Link::new(Purpose::UndoEmail, old, now) };
            let give_back = letters::accounts::give_back(&user, &undo.email, undo.expires_at)?;
            if !put_link(part, &user, Purpose::UndoEmail, &undo_id, undo)? {
                return Ok(Decision::Stands(EmailChange::TooOften));
            }
            part.emit(&give_back)?;
            end_links(part, purpose);
            part.head.email = link.email;
            part.head.verified_at = Some(now);
            Ok(Decision::Write(EmailChange::Changed))
        });
        let changed = changed.await?.unwrap_or(EmailChange::NotGood);
        if changed != EmailChange::Changed {
            // The name was taken for nothing.
            self.give_back_email(user_id, &address, now).await?;
        }
        Ok(changed)
    }

    /// Puts the old address back, ends all logins and the password, and mails the owner a link for a new one, as somebody else
    /// had the account; whether the link was good. `reset_id` names that link.
    pub async fn undo_email_change(
        &self,
        user_id: &str,
        link_id: &str,
        reset_id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let purpose = Purpose::UndoEmail;
        let link = self.link(user_id, purpose, link_id).await?.filter(|link| link.expires_at > now);
        let Some(Link { email: address, .. }) = link else { return Ok(false) };
        if !self.take_name(&address, user_id).await? {
            return Ok(false);
        }
        let (user, id, reset_id) = (user_id.to_owned(), link_id.to_owned(), reset_id.to_owned());
        let others = [Purpose::UndoEmail, Purpose::ConfirmEmail, Purpose::ResetPassword];
        let wants = others.into_iter().fold(
            Wants::head()
                .row(link_key(purpose, link_id))
                .row(PASSWORD)
                .first(&prefix(&[LOGINS]), MAX_LOGINS + 1),
            |wants, other| wants.first(&links_of(other), MAX_LINKS + 1),
        );
        let undone = self.0.change(&USERS, user_id, wants, move |part| {
            let Some(link) = good(part, purpose, &id, now) else {
                return Ok::<_, StoreError>(Decision::Stands(None));
            };
            for other in others {
                end_links(part, other);
            }
            end_logins(part);
            // Whoever changed the address knows it.
            part.remove(PASSWORD);
            let given_up = std::mem::replace(&mut part.head.email, link.email.clone());
            part.head.verified_at = Some(now);
            let reset = Link::new(Purpose::ResetPassword, link.email, now);
            put_link(part, &user, Purpose::ResetPassword, &reset_id, reset)?;
            Ok(Decision::Write(Some(given_up)))
        });
        let Some(given_up) = undone.await?.flatten() else { return Ok(false) };
        self.give_back_email(user_id, &given_up, now).await?;
        Ok(true)
    }

    /// Claims an address for a user who exists; whether it is the user's.
    async fn take_name(&self, address: &str, user_id: &str) -> Result<bool, StoreError> {
        let name = Name::email(address);
        Ok(name.claim(&self.0, user_id).await? && name.confirm(&self.0, user_id).await?)
    }

    /// Gives an address back that was the user's, unless it is again, or a link that is good would make it so.
    pub async fn give_back_email(
        &self,
        user_id: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_it = |other: &str| other.to_lowercase() == address.to_lowercase();
        let Some(user) = self.user(user_id).await? else { return Ok(()) };
        let range = RowRange::first(links_of(Purpose::UndoEmail), MAX_LINKS + 1);
        let undo = self.0.rows(&USERS, user_id, &range).await?;
        let mut undo = undo.items.iter().filter_map(|(_, row)| as_link(Some(row)));
        if is_it(&user.email) || undo.any(|link| link.expires_at > now && is_it(&link.email)) {
            return Ok(());
        }
        Name::email(address).release(&self.0, user_id).await
    }
}

impl AccountStore {
    /// Ends all logins by a link, and the links of this kind; whether the link was good.
    pub async fn end_logins_by_link(
        &self,
        user_id: &str,
        link_id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, purpose) = (link_id.to_owned(), Purpose::EndLogins);
        let wants = Wants::head()
            .row(link_key(purpose, link_id))
            .first(&links_of(purpose), MAX_LINKS + 1)
            .first(&links_of(Purpose::ConfirmEmail), MAX_LINKS + 1)
            .first(&prefix(&[LOGINS]), MAX_LOGINS + 1);
        let ended = self.0.change(&USERS, user_id, wants, move |part| {
            if good(part, purpose, &id, now).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            end_links(part, purpose);
            // Who was logged in may have asked for another address.
            end_links(part, Purpose::ConfirmEmail);
            end_logins(part);
            Ok(Decision::Write(true))
        });
        Ok(ended.await?.unwrap_or_default())
    }
}

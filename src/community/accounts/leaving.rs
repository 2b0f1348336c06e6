//! Leaving: an account that is to be deleted, which its user can keep for a while, and its end.

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, RowRange, Wants, prefix};

use super::kind::{LOGINS, Leaving, Owned, Row, USERS};
use super::link_rows::{end_links, end_logins, good, link_key, links_of, put_link};
use super::links::{Link, MAX_LINKS, Purpose};
use super::names::Name;
use super::rules::MAX_LOGINS;
use super::store::{AccountStore, User};
use crate::community::effects::Effect;

/// Who wants the account deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Its user, who gets a letter with a link that keeps it; the link's id.
    User(String),
    /// An admin: at once.
    Admin,
}

/// All logins and links of a user.
fn of_user() -> Wants {
    let logins = Wants::head().first(&prefix(&[LOGINS]), MAX_LOGINS + 1);
    Purpose::ALL.into_iter().fold(logins, |wants, purpose| wants.first(&links_of(purpose), MAX_LINKS + 1))
}

impl AccountStore {
    /// Has a user leave: the account is hidden, and all logins and links are ended, in one change. Since when and until when it
    /// can be kept, and what was before if it was so; `None` if there is no such user. `effects` are what it causes.
    pub async fn leave(
        &self,
        user_id: &str,
        by: By,
        now: Timestamp,
        effects: impl Fn(&Leaving) -> Result<Vec<Effect>, StoreError> + Send + 'static,
    ) -> Result<Option<Leaving>, StoreError> {
        let user = user_id.to_owned();
        let rule = move |part: &mut Owned<'_>| {
            if let Some(leaving) = part.head.leaving.filter(|leaving| by != By::Admin || leaving.until <= now)
            {
                return Ok::<_, StoreError>(Decision::Stands(leaving));
            }
            for purpose in Purpose::ALL {
                end_links(part, purpose);
            }
            end_logins(part);
            let mut leaving = Leaving { since: now, until: now, closed: false };
            if let By::User(link_id) = &by {
                let link = Link::new(Purpose::UndoDeletion, part.head.email.clone(), now);
                leaving.until = link.expires_at;
                put_link(part, &user, Purpose::UndoDeletion, link_id, link)?;
            }
            part.head.leaving = Some(leaving);
            for effect in effects(&leaving)? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(leaving))
        };
        self.0.change(&USERS, user_id, of_user(), rule).await
    }

    /// Keeps an account by a link; whether the link was good. The password works as before.
    pub async fn stay(
        &self,
        user_id: &str,
        link_id: &str,
        now: Timestamp,
        effects: impl Fn() -> Result<Vec<Effect>, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let (id, purpose) = (link_id.to_owned(), Purpose::UndoDeletion);
        let wants = Wants::head().row(link_key(purpose, link_id)).first(&links_of(purpose), MAX_LINKS + 1);
        let kept = self.0.change(&USERS, user_id, wants, move |part| {
            let is_open = part.head.leaving.is_some_and(|leaving| !leaving.closed && leaving.until > now);
            if !is_open || good(part, purpose, &id, now).is_none() {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            end_links(part, purpose);
            part.head.leaving = None;
            for effect in effects()? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(true))
        });
        Ok(kept.await?.unwrap_or_default())
    }

    /// Begins the deletion of an account whose time is over: nothing brings it back then. `None` if there is no such user, or not
    /// one whose time is over.
    pub async fn close(&self, user_id: &str, now: Timestamp) -> Result<Option<()>, StoreError> {
        let closed =
            self.0.change(&USERS, user_id, Wants::head(), move |part| match &mut part.head.leaving {
                Some(leaving) if leaving.closed => Ok::<_, StoreError>(Decision::Stands(Some(()))),
                Some(leaving) if leaving.until <= now => {
                    leaving.closed = true;
                    Ok(Decision::Write(Some(())))
                }
                Some(_) | None => Ok(Decision::Stands(None)),
            });
        Ok(closed.await?.flatten())
    }

    /// Gives up the names of a user whose deletion has begun, and removes the account. Doing it again changes nothing.
    pub async fn delete_closed(&self, user_id: &str) -> Result<(), StoreError> {
        let Some((User { email, username, .. }, Some(Leaving { closed: true, .. }))) =
            self.account(user_id).await?
        else {
            return Ok(());
        };
        let mut names = vec![Name::username(&username), Name::alike(&username), Name::email(&email)];
        for purpose in Purpose::ALL {
            let range = RowRange::first(links_of(purpose), MAX_LINKS + 1);
            for (_, row) in self.0.rows(&USERS, user_id, &range).await?.items {
                if let Row::Link(link) = row {
                    names.push(Name::email(&link.email));
                }
            }
        }
        for name in names {
            name.leave(&self.0, user_id).await?;
        }
        self.remove(user_id).await
    }

    /// Takes a name from a user who has left, by its id among names.
    pub async fn leave_name(&self, name: &str, user_id: &str) -> Result<(), StoreError> {
        Name::of_id(name).leave(&self.0, user_id).await
    }
}

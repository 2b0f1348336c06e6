//! Who is locked out, held in memory and kept in the store: every token is looked at, so the look must cost nothing.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mundotango_actors::{Engine, SessionHandle, Sessions, TopicHandler, Who};
use mundotango_protocol::{Disconnect, DisconnectReason};
use mundotango_storage::StoreError;
use mundotango_storage::revocations::{Revocation, RevocationStore, Revoked};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// On what nodes tell each other of revocations.
const TOPIC: &str = "revocations";
/// How often all are read again, as a word of another node may have been lost.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// Revocations beyond which those that are past are cleared away.
const CLEAR_ABOVE: usize = 1024;

/// The node's revocations.
pub struct Revocations {
    store: Arc<dyn RevocationStore>,
    holding: RwLock<HashMap<Revoked, Revocation>>,
    engine: OnceLock<Weak<Engine>>,
}

/// What a node tells the others.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Revoked(Revocation),
    Reinstated(Revoked),
}

/// Hears what other nodes tell.
struct Hearer(Weak<Revocations>);

#[async_trait]
impl TopicHandler for Hearer {
    async fn handle(&self, data: Bytes) -> Result<Bytes, String> {
        let told = serde_json::from_slice(&data).map_err(|error| error.to_string())?;
        if let Some(revocations) = self.0.upgrade() {
            match told {
                Told::Revoked(revocation) => revocations.hold(revocation),
                Told::Reinstated(what) => drop(revocations.holding.write().remove(&what)),
            }
        }
        Ok(Bytes::new())
    }
}

/// What of a token decides whether it is revoked.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenMarks<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The login that it came from.
    pub login_id: Option<&'a str>,
    /// Its own id.
    pub token_id: Option<&'a str>,
    /// When it was issued, in Unix seconds.
    pub issued_at: Option<u64>,
}

impl<'a> From<&'a Who> for TokenMarks<'a> {
    fn from(who: &'a Who) -> Self {
        Self {
            user: &who.user,
            login_id: who.login_id.as_deref(),
            token_id: who.token_id.as_deref(),
            issued_at: who.issued_at,
        }
    }
}

impl Revocations {
    /// Reads all revocations.
    pub async fn load(store: Arc<dyn RevocationStore>) -> Result<Self, StoreError> {
        let revocations = Self { store, holding: RwLock::default(), engine: OnceLock::new() };
        revocations.read().await?;
        Ok(revocations)
    }

    async fn read(&self) -> Result<(), StoreError> {
        let all = self.store.revocations(Timestamp::now()).await?;
        let fresh: HashMap<_, _> =
            all.into_iter().map(|revocation| (revocation.what.clone(), revocation)).collect();
        let known = std::mem::replace(&mut *self.holding.write(), fresh.clone());
        for (what, revocation) in fresh {
            if known.get(&what) != Some(&revocation) {
                self.end_sessions(&what);
            }
        }
        Ok(())
    }

    /// Says whose sessions are ended, and which other nodes are told; from now on they tell this node too.
    pub fn join(self: &Arc<Self>, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
        engine.set_topic(TOPIC, Arc::new(Hearer(Arc::downgrade(self))));
        if engine.bus_connected().is_some() {
            tokio::spawn(read_again(Arc::downgrade(self)));
        }
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get()?.upgrade()
    }

    async fn tell(&self, told: &Told) {
        let Some(engine) = self.engine() else { return };
        if let Ok(data) = serde_json::to_vec(told) {
            engine.tell_topic(TOPIC, data.into()).await;
        }
    }

    /// Locks something out until a time, or for ever, and ends the sessions that it concerns. It is on disk when this
    /// returns, and every node that could be reached has done so.
    pub async fn revoke(&self, what: Revoked, until: Option<Timestamp>) -> Result<(), StoreError> {
        self.revoke_since(what, mundotango_storage::now(), until).await
    }

    /// The same, where a user's tokens are locked out that were issued until `at`.
    pub async fn revoke_since(
        &self,
        what: Revoked,
        at: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let revocation = Revocation { what, at, until };
        self.store.revoke(revocation.clone()).await?;
        self.hold(revocation.clone());
        self.tell(&Told::Revoked(revocation)).await;
        Ok(())
    }

    fn hold(&self, revocation: Revocation) {
        let what = revocation.what.clone();
        let mut holding = self.holding.write();
        if holding.len() >= CLEAR_ABOVE {
            let now = Timestamp::now();
            holding.retain(|_, known| known.until.is_none_or(|until| until > now));
        }
        holding.insert(what.clone(), revocation);
        drop(holding);
        self.end_sessions(&what);
    }

    fn end_sessions(&self, what: &Revoked) {
        let Some(engine) = self.engine() else { return };
        let sessions: &Sessions = engine.sessions();
        let reason = DisconnectReason::from(Disconnect::ForceDisconnect);
        let concerned =
            |session: &SessionHandle| session.who().is_some_and(|who| self.is_revoked(who.into()));
        match what {
            Revoked::User(user) | Revoked::UserTokens(user) => {
                sessions.disconnect_user(user, &reason, concerned);
            }
            Revoked::Login(_) | Revoked::Token(_) => sessions.disconnect_all(&reason, concerned),
        }
    }

    /// Takes a revocation back; whether there was one.
    pub async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError> {
        let known = self.store.reinstate(what).await?;
        self.holding.write().remove(what);
        self.tell(&Told::Reinstated(what.clone())).await;
        Ok(known)
    }

    /// Whether a user is blocked.
    pub fn is_blocked(&self, user: &str) -> bool {
        self.holds(&Revoked::User(user.to_owned())).is_some()
    }

    /// Whether a token is good no longer.
    pub fn is_revoked(&self, token: TokenMarks<'_>) -> bool {
        if self.holding.read().is_empty() {
            return false;
        }
        let user_tokens = || {
            self.holds(&Revoked::UserTokens(token.user.to_owned())).is_some_and(|revocation| {
                // One of the same second may be older or newer, and one that does not say when it was made may be old.
                let at = u64::try_from(revocation.at.as_second()).unwrap_or_default();
                token.issued_at.is_none_or(|issued_at| issued_at <= at)
            })
        };
        (!token.user.is_empty() && (self.is_blocked(token.user) || user_tokens()))
            || token.login_id.is_some_and(|id| self.holds(&Revoked::Login(id.to_owned())).is_some())
            || token.token_id.is_some_and(|id| self.holds(&Revoked::Token(id.to_owned())).is_some())
    }

    fn holds(&self, what: &Revoked) -> Option<Revocation> {
        let holding = self.holding.read();
        let now = Timestamp::now();
        holding.get(what).filter(|known| known.until.is_none_or(|until| until > now)).cloned()
    }
}

async fn read_again(revocations: Weak<Revocations>) {
    loop {
        tokio::time::sleep(READ_AGAIN).await;
        let Some(revocations) = revocations.upgrade() else { return };
        if let Err(error) = revocations.read().await {
            tracing::warn!(%error, "revocations not read again");
        }
    }
}

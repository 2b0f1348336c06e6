//! Who is locked out, held in memory and kept in the store: every token is looked at, so the look must cost nothing.

pub mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use mundotango_actors::{Engine, Pace, SessionHandle, TopicHandler, Vitals, Who};
use mundotango_protocol::{Disconnect, DisconnectReason};
use mundotango_storage::StoreError;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use store::{Revocation, RevocationStore, Revoked};

/// On what nodes tell each other of revocations.
const TOPIC: &str = "revocations";
/// How often all are read again, as a word of another node may have been lost.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// The same for a node alone, which reads them only so that those that have ended are removed.
const READ_AGAIN_ALONE: Duration = Duration::from_hours(1);
/// Fewest revocations among which those that are past are cleared away.
const CLEAR_ABOVE: usize = 1024;

/// The node's revocations.
pub struct Revocations {
    store: Arc<dyn RevocationStore>,
    holding: RwLock<Holding>,
    engine: OnceLock<Weak<Engine>>,
    walk: Walk,
}

/// What is locked out, as far as this node knows.
struct Holding {
    revocations: HashMap<Revoked, Revocation>,
    /// What was revoked or reinstated (`None`) while the store is being read: the read may have missed those changes.
    changed: Option<HashMap<Revoked, Option<Revocation>>>,
    /// At how many revocations those that are past are cleared away. Grows with those that hold, as clearing looks at
    /// all of them.
    clear_at: usize,
}

impl Default for Holding {
    fn default() -> Self {
        Self { revocations: HashMap::new(), changed: None, clear_at: CLEAR_ABOVE }
    }
}

impl Holding {
    fn add(&mut self, revocation: Revocation) {
        if self.revocations.len() >= self.clear_at {
            let now = Timestamp::now();
            self.revocations.retain(|_, known| known.until.is_none_or(|until| until > now));
            self.clear_at = CLEAR_ABOVE.max(2 * self.revocations.len());
        }
        if let Some(changed) = &mut self.changed {
            changed.insert(revocation.what.clone(), Some(revocation.clone()));
        }
        self.revocations.insert(revocation.what.clone(), revocation);
    }

    fn remove(&mut self, what: &Revoked) {
        if let Some(changed) = &mut self.changed {
            changed.insert(what.clone(), None);
        }
        self.revocations.remove(what);
    }

    /// Takes what the store holds, and keeps what changed since the read began; what is new.
    fn replace(&mut self, read: Vec<Revocation>) -> Vec<Revoked> {
        let mut fresh: HashMap<_, _> =
            read.into_iter().map(|revocation| (revocation.what.clone(), revocation)).collect();
        for (what, revocation) in self.changed.take().unwrap_or_default() {
            match revocation {
                Some(revocation) => drop(fresh.insert(what, revocation)),
                None => drop(fresh.remove(&what)),
            }
        }
        let known = std::mem::replace(&mut self.revocations, fresh);
        let is_new = |(what, revocation): &(&Revoked, &Revocation)| known.get(what) != Some(revocation);
        self.revocations.iter().filter(is_new).map(|(what, _)| what.clone()).collect()
    }
}

/// A walk over all sessions, for revocations that do not say whose sessions they end. At most one walk runs and one
/// waits, however many such revocations there are.
#[derive(Default)]
struct Walk {
    is_wanted: AtomicBool,
    running: tokio::sync::Mutex<()>,
}

/// What a node tells the others.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Revoked(RevokedMessage),
    Reinstated(Revoked),
}

/// A revocation, and the user whose sessions it ends if that is known.
#[derive(Clone, Serialize, Deserialize)]
struct RevokedMessage {
    #[serde(flatten)]
    revocation: Revocation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

/// Hears what other nodes tell.
struct Hearer(Weak<Revocations>);

#[async_trait]
impl TopicHandler for Hearer {
    async fn handle(&self, data: Bytes) -> Result<Bytes, String> {
        let told = serde_json::from_slice(&data).map_err(|error| error.to_string())?;
        if let Some(revocations) = self.0.upgrade() {
            match told {
                Told::Revoked(told) => revocations.hold(told),
                Told::Reinstated(what) => revocations.holding.write().remove(&what),
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
    pub async fn load(store: Arc<dyn RevocationStore>) -> Result<Arc<Self>, StoreError> {
        let revocations = Arc::new(Self {
            store,
            holding: RwLock::default(),
            engine: OnceLock::new(),
            walk: Walk::default(),
        });
        revocations.read().await?;
        Ok(revocations)
    }

    async fn read(self: &Arc<Self>) -> Result<(), StoreError> {
        self.holding.write().changed = Some(HashMap::new());
        let read = self.store.revocations(Timestamp::now()).await;
        let mut holding = self.holding.write();
        let new = match read {
            Ok(read) => holding.replace(read),
            Err(error) => {
                holding.changed = None;
                return Err(error);
            }
        };
        drop(holding);
        for what in new {
            self.end_sessions(&what, None);
        }
        Ok(())
    }

    /// Says whose sessions are ended, and which other nodes are told; from now on they tell this node too.
    pub fn join(self: &Arc<Self>, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
        engine.set_topic(TOPIC, Arc::new(Hearer(Arc::downgrade(self))));
        let pause = if engine.bus_connected().is_some() { READ_AGAIN } else { READ_AGAIN_ALONE };
        let revocations = Arc::clone(self);
        // Between two reads more time passes than an actor may be silent for.
        engine.keep_running("revocations", Pace::OnDemand, move |vitals| {
            read_again(Arc::clone(&revocations), pause, vitals).boxed()
        });
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

    /// Locks something out until a time, or for ever, and ends the sessions that it concerns. The revocation is on disk
    /// when this returns, and every node that could be reached has heard of it.
    pub async fn revoke(self: &Arc<Self>, what: Revoked, until: Option<Timestamp>) -> Result<(), StoreError> {
        let now = mundotango_storage::now();
        let before = match &what {
            Revoked::UserTokens(user) => self.user_tokens_revoked_at(user),
            Revoked::User(_) | Revoked::Login(_) | Revoked::Token(_) => None,
        };
        // Tokens say the second in which they were made. One that was made right after a revocation is dated into the next
        // second, so a second revocation has to reach it there.
        let dated = before.filter(|before| before.as_second() >= now.as_second());
        let dated = dated.and_then(|before| Timestamp::from_second(before.as_second() + 1).ok());
        self.revoke_since(what, dated.unwrap_or(now), until).await
    }

    /// The same, where a user's tokens are locked out that were issued until `at`.
    pub async fn revoke_since(
        self: &Arc<Self>,
        what: Revoked,
        at: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.keep(RevokedMessage { revocation: Revocation { what, at, until }, user: None }).await
    }

    /// Locks out a login of a user. Only that user's sessions are looked at.
    pub async fn revoke_login(
        self: &Arc<Self>,
        login_id: String,
        user: String,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let revocation = Revocation { what: Revoked::Login(login_id), at: mundotango_storage::now(), until };
        self.keep(RevokedMessage { revocation, user: Some(user) }).await
    }

    async fn keep(self: &Arc<Self>, revoked: RevokedMessage) -> Result<(), StoreError> {
        self.store.revoke(revoked.revocation.clone()).await?;
        self.hold(revoked.clone());
        self.tell(&Told::Revoked(revoked)).await;
        Ok(())
    }

    fn hold(self: &Arc<Self>, RevokedMessage { revocation, user }: RevokedMessage) {
        let what = revocation.what.clone();
        self.holding.write().add(revocation);
        self.end_sessions(&what, user.as_deref());
    }

    fn end_sessions(self: &Arc<Self>, what: &Revoked, user: Option<&str>) {
        let Some(engine) = self.engine() else { return };
        let user = match what {
            Revoked::User(user) | Revoked::UserTokens(user) => Some(user.as_str()),
            Revoked::Login(_) | Revoked::Token(_) => user,
        };
        if let Some(user) = user {
            let reason = DisconnectReason::from(Disconnect::ForceDisconnect);
            engine.sessions().disconnect_user(user, &reason, |session| self.concerns(session));
        } else if !self.walk.is_wanted.swap(true, Ordering::SeqCst) {
            tokio::spawn(Arc::clone(self).walk_sessions());
        }
    }

    async fn walk_sessions(self: Arc<Self>) {
        let _one_at_a_time = self.walk.running.lock().await;
        // A revocation from now on may come too late for this walk, so it wants another one.
        self.walk.is_wanted.store(false, Ordering::SeqCst);
        let Some(engine) = self.engine() else { return };
        let reason = DisconnectReason::from(Disconnect::ForceDisconnect);
        engine.sessions().disconnect_all(&reason, |session| self.concerns(session)).await;
    }

    fn concerns(&self, session: &SessionHandle) -> bool {
        session.who().is_some_and(|who| self.is_revoked(who.as_ref().into()))
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

    /// Tokens and logins of a user are locked out that were given until this time; `None` if none are.
    pub fn user_tokens_revoked_at(&self, user: &str) -> Option<Timestamp> {
        self.holds(&Revoked::UserTokens(user.to_owned())).map(|revocation| revocation.at)
    }

    /// Whether a token is good no longer.
    pub fn is_revoked(&self, token: TokenMarks<'_>) -> bool {
        if self.holding.read().revocations.is_empty() {
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
        holding.revocations.get(what).filter(|known| known.until.is_none_or(|until| until > now)).cloned()
    }
}

async fn read_again(revocations: Arc<Revocations>, pause: Duration, vitals: Arc<Vitals>) {
    loop {
        tokio::time::sleep(pause).await;
        if let Err(error) = revocations.read().await {
            tracing::warn!(%error, "revocations not read again");
        }
        vitals.handled();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// A store that reads at once, and answers when it is let.
    struct SlowStore {
        kept: parking_lot::Mutex<Vec<Revocation>>,
        reads: Semaphore,
        answers: Semaphore,
    }

    #[async_trait]
    impl RevocationStore for SlowStore {
        async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
            self.kept.lock().push(revocation);
            Ok(())
        }

        async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError> {
            self.kept.lock().retain(|kept| kept.what != *what);
            Ok(true)
        }

        async fn revocations(&self, _now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
            let read = self.kept.lock().clone();
            self.reads.add_permits(1);
            self.answers.acquire().await.unwrap().forget();
            Ok(read)
        }
    }

    #[tokio::test]
    async fn what_changes_while_the_store_is_read_stands() {
        let (reads, answers) = (Semaphore::new(0), Semaphore::new(1));
        let store = Arc::new(SlowStore { kept: parking_lot::Mutex::default(), reads, answers });
        let revocations = Revocations::load(Arc::clone(&store) as _).await.unwrap();
        revocations.revoke(Revoked::User("old".to_owned()), None).await.unwrap();
        store.reads.acquire().await.unwrap().forget();

        let reading = tokio::spawn({
            let revocations = Arc::clone(&revocations);
            async move { revocations.read().await }
        });
        store.reads.acquire().await.unwrap().forget();
        revocations.revoke(Revoked::User("banned".to_owned()), None).await.unwrap();
        revocations.reinstate(&Revoked::User("old".to_owned())).await.unwrap();
        store.answers.add_permits(1);
        reading.await.unwrap().unwrap();
        assert!(revocations.is_blocked("banned"), "a ban that is younger than the read");
        assert!(!revocations.is_blocked("old"), "a pardon that is younger than the read");

        store.answers.add_permits(1);
        revocations.read().await.unwrap();
        assert!(revocations.is_blocked("banned") && !revocations.is_blocked("old"));
    }

    #[test]
    fn past_revocations_are_cleared_away_now_and_then() {
        let mut holding = Holding::default();
        let revocation = |number: usize, until| Revocation {
            what: Revoked::Login(number.to_string()),
            at: Timestamp::UNIX_EPOCH,
            until: Some(until),
        };
        for number in 0..CLEAR_ABOVE {
            holding.add(revocation(number, Timestamp::UNIX_EPOCH));
        }
        for number in CLEAR_ABOVE..4 * CLEAR_ABOVE {
            holding.add(revocation(number, Timestamp::MAX));
        }
        assert_eq!(holding.revocations.len(), 3 * CLEAR_ABOVE);
        assert_eq!(holding.clear_at, 4 * CLEAR_ABOVE, "what holds is not looked at each time");
    }

    #[test]
    fn nodes_of_two_versions_understand_each_other() {
        let revocation =
            Revocation { what: Revoked::Login("7".to_owned()), at: Timestamp::UNIX_EPOCH, until: None };
        let told = RevokedMessage { revocation: revocation.clone(), user: Some("42".to_owned()) };
        let new = serde_json::to_value(Told::Revoked(told)).unwrap();
        assert_eq!(serde_json::from_value::<Revocation>(new["revoked"].clone()).unwrap(), revocation);
        let old = serde_json::json!({ "revoked": revocation });
        let Told::Revoked(read) = serde_json::from_value(old).unwrap() else { panic!("something else") };
        assert_eq!((read.revocation, read.user), (revocation, None));
    }
}

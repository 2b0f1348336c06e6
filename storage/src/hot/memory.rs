//! Hot state in the node's own memory, saved at a clean stop.

mod saved;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_protocol::{ClientInfo, Publication, StreamPosition};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Append, Appended, Begin, HistoryLimits, HistoryPage, HistoryQuery, HotState, IDEMPOTENCY_TTL,
    PresenceStats, Present, Quota, USER_STATUS_TTL, UserStatus, Version, new_epoch,
};
use crate::StoreError;

/// Locks that channels share, so that unrelated ones seldom meet.
const SHARDS: usize = 32;
/// Idempotency keys that a channel remembers; the oldest are forgotten before their time.
const MAX_IDEMPOTENCY_KEYS: usize = 10_000;

/// The hot state of one node alone.
pub struct MemoryHotState {
    shards: Vec<Mutex<HashMap<String, Channel>>>,
    users: Mutex<HashMap<String, UserStatus>>,
    /// When each quota is whole again.
    quotas: Mutex<HashMap<String, Instant>>,
    hasher: RandomState,
}

#[derive(Default)]
struct Channel {
    history: Option<History>,
    presence: Presence,
    published: Published,
}

/// What was published under idempotency keys, oldest first in `order`.
#[derive(Default)]
struct Published {
    by_key: HashMap<String, StreamPosition>,
    order: VecDeque<(Instant, String)>,
}

impl Published {
    fn forget(&mut self, now: Instant) {
        let past = |(at, _): &(Instant, String)| *at + IDEMPOTENCY_TTL <= now;
        while self.order.len() > MAX_IDEMPOTENCY_KEYS || self.order.front().is_some_and(past) {
            let Some((_, key)) = self.order.pop_front() else { break };
            self.by_key.remove(&key);
        }
    }

    fn remember(&mut self, key: String, position: StreamPosition, now: Instant) {
        self.order.push_back((now, key.clone()));
        self.by_key.insert(key, position);
        self.forget(now);
    }
}

struct History {
    epoch: String,
    top: u64,
    kept: VecDeque<Kept>,
    version: Option<Version>,
    /// When offset and epoch are forgotten.
    forget_at: Instant,
}

struct Kept {
    publication: Publication,
    expires_at: Instant,
}

#[derive(Default)]
struct Presence {
    sessions: HashMap<String, Session>,
    /// Sessions a user, so that counting needs no walk.
    users: HashMap<String, u32>,
}

struct Session {
    info: ClientInfo,
    expires_at: Instant,
}

impl History {
    fn begin(now: Instant, limits: HistoryLimits) -> Result<Self, StoreError> {
        let top = match limits.begin {
            Begin::Anew => 0,
            Begin::After(offset) => offset,
            Begin::Nowhere => return Err(StoreError::NotBegun),
        };
        let forget_at = now + limits.meta_ttl;
        Ok(Self { epoch: new_epoch(), top, kept: VecDeque::new(), version: None, forget_at })
    }

    fn position(&self) -> StreamPosition {
        StreamPosition { offset: self.top, epoch: self.epoch.clone() }
    }

    fn append(&mut self, mut publication: Publication, limits: HistoryLimits, now: Instant) {
        self.top += 1;
        publication.offset = self.top;
        self.kept.push_back(Kept { publication, expires_at: now + limits.ttl });
        while self.kept.len() > limits.size {
            self.kept.pop_front();
        }
        self.forget_at = now + limits.meta_ttl;
        self.expire(now);
    }

    /// Whether a version is not newer than the last one.
    fn is_outdated(&self, version: &Version) -> bool {
        self.version.as_ref().is_some_and(|last| last.epoch == version.epoch && version.number <= last.number)
    }

    fn expire(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|kept| kept.expires_at <= now) {
            self.kept.pop_front();
        }
    }

    fn read(&self, query: HistoryQuery) -> Vec<Publication> {
        let limit = query.limit.unwrap_or(usize::MAX);
        let publications = self.kept.iter().map(|kept| &kept.publication);
        if query.reverse {
            let before = query.since.unwrap_or(u64::MAX);
            publications.rev().filter(|kept| kept.offset < before).take(limit).cloned().collect()
        } else {
            // Offsets have no gap, so the place of the first wanted one is known without a search.
            let first = self.kept.front().map_or(0, |kept| kept.publication.offset);
            let skip = query.since.map_or(0, |since| since.saturating_add(1).saturating_sub(first));
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            publications.skip(skip).take(limit).cloned().collect()
        }
    }
}

impl Presence {
    fn add(&mut self, client: &str, present: Session) {
        let user = present.info.user.clone();
        if let Some(before) = self.sessions.insert(client.to_owned(), present) {
            self.count_down(&before.info.user);
        }
        *self.users.entry(user).or_default() += 1;
    }

    fn remove(&mut self, client: &str) {
        if let Some(gone) = self.sessions.remove(client) {
            self.count_down(&gone.info.user);
        }
    }

    fn count_down(&mut self, user: &str) {
        if let Some(sessions) = self.users.get_mut(user) {
            *sessions -= 1;
            if *sessions == 0 {
                self.users.remove(user);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let gone: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, present)| present.expires_at <= now)
            .map(|(client, _)| client.clone())
            .collect();
        for client in gone {
            self.remove(&client);
        }
    }
}

impl Channel {
    fn history(&mut self, now: Instant, limits: HistoryLimits) -> Result<&mut History, StoreError> {
        if self.history.as_ref().is_some_and(|history| history.forget_at <= now) {
            self.history = None;
        }
        let history = match self.history.take() {
            Some(history) => self.history.insert(history),
            None => self.history.insert(History::begin(now, limits)?),
        };
        history.expire(now);
        Ok(history)
    }

    fn append(&mut self, append: Append, now: Instant) -> Result<Appended, StoreError> {
        let Append { publication, limits, idempotency_key, version } = append;
        self.published.forget(now);
        if let Some(position) = idempotency_key.as_ref().and_then(|key| self.published.by_key.get(key)) {
            return Ok(Appended::Repeated(position.clone()));
        }
        let position = match limits {
            None => StreamPosition::default(),
            Some(limits) => {
                let history = self.history(now, limits)?;
                if let Some(version) = version {
                    if history.is_outdated(&version) {
                        return Ok(Appended::Outdated(history.position()));
                    }
                    history.version = Some(version);
                }
                history.append(publication, limits, now);
                history.position()
            }
        };
        if let Some(key) = idempotency_key {
            self.published.remember(key, position.clone(), now);
        }
        Ok(Appended::New(position))
    }

    fn is_empty(&self) -> bool {
        self.history.is_none() && self.presence.sessions.is_empty() && self.published.order.is_empty()
    }
}

impl Default for MemoryHotState {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryHotState {
    /// Hot state that knows of nothing.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            users: Mutex::default(),
            quotas: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, channel: &str) -> &Mutex<HashMap<String, Channel>> {
        let hash = self.hasher.hash_one(channel);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn with<T>(&self, channel: &str, act: impl FnOnce(&mut Channel, Instant) -> T) -> T {
        let mut shard = self.shard(channel).lock();
        act(shard.entry(channel.to_owned()).or_default(), Instant::now())
    }

    /// Clears away what has expired in channels that nobody asks for.
    pub fn sweep(&self) {
        for shard in &self.shards {
            let now = Instant::now();
            shard.lock().retain(|_, channel| {
                if let Some(history) = &mut channel.history {
                    history.expire(now);
                    if history.forget_at <= now {
                        channel.history = None;
                    }
                }
                channel.presence.expire(now);
                channel.published.forget(now);
                !channel.is_empty()
            });
        }
        let now = Instant::now();
        self.quotas.lock().retain(|_, whole| *whole > now);
        let oldest = Timestamp::now() - USER_STATUS_TTL;
        self.users.lock().retain(|_, status| status.online_since.is_some() || status.last_seen > oldest);
    }

    /// Writes all histories to a file, for [`restore`](Self::restore) at the next start; how many there were.
    /// Presence is not written: its sessions end with the node.
    pub fn save(&self, path: &Path) -> io::Result<usize> {
        let now = Instant::now();
        let mut streams = Vec::new();
        for shard in &self.shards {
            for (name, channel) in shard.lock().iter() {
                streams.extend(channel.history.as_ref().map(|history| saved::Stream::of(name, history, now)));
            }
        }
        let users = self.users.lock().iter().map(|(id, status)| saved::User::of(id, *status)).collect();
        let count = streams.len();
        saved::write(path, streams, users)?;
        Ok(count)
    }

    /// Takes the histories of a file and deletes it; how many there were.
    ///
    /// The file is gone before anybody is served, so that after a crash histories begin anew, under new epochs,
    /// instead of going on from an old state.
    pub fn restore(&self, path: &Path) -> io::Result<usize> {
        let (streams, users) = saved::read_and_delete(path)?;
        self.users.lock().extend(users.into_iter().filter_map(saved::User::into_status));
        let count = streams.len();
        for stream in streams {
            let (name, history) = stream.into_history(Instant::now());
            self.shard(&name).lock().entry(name).or_default().history = Some(history);
        }
        Ok(count)
    }
}

#[async_trait]
impl HotState for MemoryHotState {
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError> {
        if append.limits.is_none() && append.idempotency_key.is_none() {
            // Nothing is to be remembered.
            return Ok(Appended::New(StreamPosition::default()));
        }
        self.with(channel, |channel, now| channel.append(append, now))
    }

    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        self.with(channel, |channel, now| {
            let history = channel.history(now, limits)?;
            Ok(HistoryPage { publications: history.read(query), position: history.position() })
        })
    }

    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        self.with(channel, |channel, now| {
            let history = channel.history(now, limits)?;
            if history.epoch != epoch {
                epoch.clone_into(&mut history.epoch);
                history.kept.clear();
                history.forget_at = now + limits.meta_ttl;
            }
            Ok(())
        })
    }

    async fn remove_history(&self, channel: &str, _limits: HistoryLimits) -> Result<(), StoreError> {
        if let Some(history) =
            self.shard(channel).lock().get_mut(channel).and_then(|channel| channel.history.as_mut())
        {
            history.kept.clear();
        }
        Ok(())
    }

    async fn add_presence(
        &self,
        channel: &str,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.with(channel, |channel, now| {
            for Present { client, info } in present {
                channel.presence.add(client, Session { info: info.clone(), expires_at: now + ttl });
            }
        });
        Ok(())
    }

    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        if let Entry::Occupied(mut entry) = self.shard(channel).lock().entry(channel.to_owned()) {
            for client in clients {
                entry.get_mut().presence.remove(client);
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        Ok(())
    }

    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        let now = Instant::now();
        let shard = self.shard(channel).lock();
        let Some(channel) = shard.get(channel) else { return Ok(BTreeMap::new()) };
        let present = channel.presence.sessions.iter().filter(|(_, present)| present.expires_at > now);
        Ok(present.map(|(client, present)| (client.clone(), present.info.clone())).collect())
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        let shard = self.shard(channel).lock();
        let Some(channel) = shard.get(channel) else { return Ok(PresenceStats::default()) };
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Ok(PresenceStats {
            clients: count(channel.presence.sessions.len()),
            users: count(channel.presence.users.len()),
        })
    }

    async fn set_user_online(&self, user: &str, online: bool) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let mut users = self.users.lock();
        let status =
            users.entry(user.to_owned()).or_insert(UserStatus { online_since: None, last_seen: now });
        status.last_seen = now;
        status.online_since = if online { status.online_since.or(Some(now)) } else { None };
        Ok(())
    }

    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError> {
        let known = self.users.lock();
        Ok(users.iter().filter_map(|user| Some((user.clone(), *known.get(user)?))).collect())
    }

    async fn forget_node(&self, _node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        // No other node says anything here.
        Ok(Vec::new())
    }

    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError> {
        let now = Instant::now();
        let mut quotas = self.quotas.lock();
        let whole = quotas.get(key).map_or(now, |whole| (*whole).max(now)) + quota.window / quota.limit;
        let wait = (whole - now).saturating_sub(quota.window);
        if wait.is_zero() {
            quotas.insert(key.to_owned(), whole);
            return Ok(None);
        }
        Ok(Some(wait))
    }
}

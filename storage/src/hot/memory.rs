//! Hot state in the node's own memory, saved at a clean stop.

mod epochs;
mod history;
mod presence;
mod saved;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_protocol::{ClientInfo, StreamPosition};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use self::epochs::Epochs;
use self::history::History;
use self::presence::Presence;
use super::{
    Append, Appended, Beat, HistoryLimits, HistoryPage, HistoryQuery, HotState, IDEMPOTENCY_TTL, IfMissing,
    PresenceStats, Present, Quota, USER_STATUS_TTL, UserStatus, new_epoch,
};
use crate::StoreError;

/// Locks that channels share. So many that each has few channels also of a million, as sweeping holds a lock while
/// walking over its channels.
const SHARDS: usize = 1024;
/// Idempotency keys that a channel remembers; the oldest are forgotten before their time.
const MAX_IDEMPOTENCY_KEYS: usize = 10_000;

/// The hot state of one node alone.
pub struct MemoryHotState {
    shards: Vec<Shard>,
    hasher: RandomState,
    epochs: RwLock<Epochs>,
}

/// The channels, users and quotas whose names have the same hash.
#[derive(Default)]
struct Shard {
    channels: Mutex<HashMap<String, Channel>>,
    users: Mutex<HashMap<String, UserStatus>>,
    /// When each quota is whole again.
    quotas: Mutex<HashMap<String, Instant>>,
}

#[derive(Default)]
struct Channel {
    history: Option<History>,
    presence: Presence,
    published: Published,
}

/// Positions of publications with idempotency keys, the oldest first in `order`.
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

impl Channel {
    /// The history, unless there is none or its time is over.
    fn history(&mut self, now: Instant) -> Option<&mut History> {
        if self.history.as_ref().is_some_and(|history| history.forget_at <= now) {
            self.history = None;
        }
        let history = self.history.as_mut()?;
        history.expire(now);
        Some(history)
    }

    fn append(
        &mut self,
        append: Append,
        now: Instant,
        first: impl FnOnce(HistoryLimits) -> Result<History, StoreError>,
    ) -> Result<Appended, StoreError> {
        let Append { publication, limits, idempotency_key, version } = append;
        self.published.forget(now);
        if let Some(position) = idempotency_key.as_ref().and_then(|key| self.published.by_key.get(key)) {
            return Ok(Appended::Repeated(position.clone()));
        }
        let position = match limits {
            None => StreamPosition::default(),
            Some(limits) => {
                if self.history(now).is_none() {
                    self.history = Some(first(limits)?);
                }
                let Some(history) = &mut self.history else { return Err(StoreError::NotBegun) };
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

    /// Forgets all that has expired.
    fn expire(&mut self, now: Instant) {
        self.history(now);
        self.presence.expire(now);
        self.published.forget(now);
    }

    fn is_empty(&self) -> bool {
        self.history.is_none() && self.presence.is_empty() && self.published.order.is_empty()
    }
}

impl Default for MemoryHotState {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryHotState {
    /// Empty hot state.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            epochs: RwLock::new(Epochs::new()),
        }
    }

    fn shard(&self, name: &str) -> &Shard {
        let hash = self.hasher.hash_one(name);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    /// Acts on a channel, which is remembered if there is something to remember of it.
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Channel, Instant) -> T) -> T {
        let mut channels = self.shard(name).channels.lock();
        let now = Instant::now();
        if let Some(channel) = channels.get_mut(name) {
            return act(channel, now);
        }
        let mut channel = Channel::default();
        let outcome = act(&mut channel, now);
        if !channel.is_empty() {
            channels.insert(name.to_owned(), channel);
        }
        outcome
    }

    fn derived_epoch(&self, channel: &str, limits: HistoryLimits, now: Instant) -> String {
        self.epochs.read().derive(channel, limits.meta_ttl, now)
    }

    /// The history of a channel that had none.
    fn first_history(
        &self,
        channel: &str,
        limits: HistoryLimits,
        now: Instant,
    ) -> Result<History, StoreError> {
        let forget_at = now + limits.meta_ttl;
        match limits.if_missing {
            IfMissing::Fail => Err(StoreError::NotBegun),
            // The epoch that those who read before were told.
            IfMissing::StartAt(0) => Ok(History::new(self.derived_epoch(channel, limits, now), 0, forget_at)),
            IfMissing::StartAt(offset) => Ok(History::new(new_epoch(), offset, forget_at)),
        }
    }

    /// Clears away what has expired in channels that nobody asks for. Other tasks run between two shards.
    pub async fn sweep(&self) {
        for shard in &self.shards {
            let now = Instant::now();
            shard.channels.lock().retain(|_, channel| {
                channel.expire(now);
                !channel.is_empty()
            });
            shard.quotas.lock().retain(|_, whole| *whole > now);
            let oldest = Timestamp::now() - USER_STATUS_TTL;
            let is_kept = |status: &UserStatus| status.online_since.is_some() || status.last_seen > oldest;
            shard.users.lock().retain(|_, status| is_kept(status));
            tokio::task::yield_now().await;
        }
    }

    /// Writes all histories to a file, for [`restore`](Self::restore) at the next start; how many there were.
    /// Presence is not written: its sessions end with the node.
    pub fn save(&self, path: &Path) -> io::Result<usize> {
        let now = Instant::now();
        let mut writer = saved::Writer::create(path)?;
        let mut count = 0;
        for shard in &self.shards {
            for (name, channel) in shard.channels.lock().iter() {
                if let Some(history) = &channel.history {
                    writer.stream(&saved::Stream::of(name, history, now))?;
                    count += 1;
                }
            }
            for (id, status) in shard.users.lock().iter() {
                writer.user(saved::User::of(id, *status));
            }
        }
        writer.finish(&self.epochs.read(), now)?;
        Ok(count)
    }

    /// Takes the histories of a file and deletes the file; how many there were. Reads for at most `patience`: what is
    /// left then is lost, so that a node with a large file starts in time.
    ///
    /// The file is gone before anybody is served. So after a crash all histories have new epochs, instead of going on
    /// from an old state.
    pub fn restore(&self, path: &Path, patience: Duration) -> io::Result<usize> {
        let deadline = std::time::Instant::now() + patience;
        let Some(mut file) = saved::Reader::take(path)? else { return Ok(0) };
        for user in file.users() {
            if let Some((id, status)) = user.into_status() {
                self.shard(&id).users.lock().insert(id, status);
            }
        }
        let mut count = 0;
        while let Some(stream) = file.next_stream()? {
            let (name, history) = stream.into_history(Instant::now());
            self.shard(&name).channels.lock().entry(name).or_default().history = Some(history);
            count += 1;
            if std::time::Instant::now() >= deadline {
                tracing::warn!(count, "reading channel histories took too long; the others are lost");
                // The secret is lost too: the histories that were not read get other epochs by that.
                return Ok(count);
            }
        }
        if let Some(epochs) = file.epochs() {
            *self.epochs.write() = epochs;
        }
        Ok(count)
    }
}

#[async_trait]
impl HotState for MemoryHotState {
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError> {
        if append.limits.is_none() && append.idempotency_key.is_none() {
            // There is nothing to remember.
            return Ok(Appended::New(StreamPosition::default()));
        }
        self.with(channel, |entry, now| {
            entry.append(append, now, |limits| self.first_history(channel, limits, now))
        })
    }

    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        self.with(channel, |entry, now| {
            if let Some(history) = entry.history(now) {
                return Ok(HistoryPage { publications: history.read(query), position: history.position() });
            }
            let history = self.first_history(channel, limits, now)?;
            let position = history.position();
            if position.offset > 0 {
                // Nobody can derive where the store lets it go on.
                entry.history = Some(history);
            }
            Ok(HistoryPage { publications: Vec::new(), position })
        })
    }

    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        self.with(channel, |entry, now| {
            if entry.history(now).is_none() {
                entry.history = Some(self.first_history(channel, limits, now)?);
            }
            if let Some(history) = entry.history.as_mut().filter(|history| history.epoch != epoch) {
                *history = History::new(epoch.to_owned(), history.top, now + limits.meta_ttl);
            }
            Ok(())
        })
    }

    async fn remove_history(&self, channel: &str, _limits: HistoryLimits) -> Result<(), StoreError> {
        self.with(channel, |entry, now| {
            if let Some(history) = entry.history(now) {
                history.kept.clear();
            }
        });
        Ok(())
    }

    async fn add_presence(
        &self,
        channel: &str,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.with(channel, |entry, now| {
            for present in present {
                entry.presence.add(present, now + ttl);
            }
        });
        Ok(())
    }

    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        let mut channels = self.shard(channel).channels.lock();
        if let Some(entry) = channels.get_mut(channel) {
            for client in clients {
                entry.presence.remove(client);
            }
            if entry.is_empty() {
                channels.remove(channel);
            }
        }
        Ok(())
    }

    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        let present = self.with(channel, |entry, now| entry.presence.list(now));
        Ok(present.iter().map(|present| (present.client.clone(), present.info.clone())).collect())
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Ok(self.with(channel, |entry, _| PresenceStats {
            clients: count(entry.presence.clients()),
            users: count(entry.presence.users()),
        }))
    }

    async fn set_users_online(&self, users: &[String], online: bool) -> Result<(), StoreError> {
        let now = Timestamp::now();
        for user in users {
            let mut known = self.shard(user).users.lock();
            let never = UserStatus { online_since: None, last_seen: now };
            let status = known.entry(user.clone()).or_insert(never);
            status.last_seen = now;
            status.online_since = if online { status.online_since.or(Some(now)) } else { None };
        }
        Ok(())
    }

    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError> {
        let status = |user: &String| Some((user.clone(), *self.shard(user).users.lock().get(user)?));
        Ok(users.iter().filter_map(status).collect())
    }

    async fn beat(&self) -> Result<Beat, StoreError> {
        // No other node is here, and what this node said is lost only with the node.
        Ok(Beat::default())
    }

    async fn forget_node(&self, _node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        // No other node says anything here.
        Ok(Vec::new())
    }

    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError> {
        let now = Instant::now();
        let mut quotas = self.shard(key).quotas.lock();
        let whole = quotas.get(key).map_or(now, |whole| (*whole).max(now)) + quota.window / quota.limit;
        let wait = (whole - now).saturating_sub(quota.window);
        if wait.is_zero() {
            quotas.insert(key.to_owned(), whole);
            return Ok(None);
        }
        Ok(Some(wait))
    }
}

//! Hot state in one Redis, shared by all nodes. Each step that has to be atomic is a script. A Redis cluster is not
//! supported: the braces in keys have no meaning in one Redis.
//!
//! channel: meta (epoch, top, version, run and line of the server) · list of `expiry:publication` · idempotency keys ·
//! presence (four keys) · user: since when on each node, since, seen · node: last beat, its channels and its users ·
//! cluster: secret of derived epochs

mod histories;
mod presence;
mod users;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_protocol::ClientInfo;
use parking_lot::Mutex;
use redis::Script;

use super::{
    Append, Appended, Beat, HistoryLimits, HistoryPage, HistoryQuery, HotState, NODE_SILENCE, PresenceStats,
    Present, Quota, UserStatus,
};
use crate::StoreError;
use crate::redis_link::RedisLink;

/// How long is remembered which channels and users a node spoke of, after the last one.
const NODE_TTL: Duration = Duration::from_hours(24);
/// Sessions, users or channels that one call speaks of, so that no script keeps Redis from others for long.
const AT_ONCE: usize = 250;

/// The hot state of all nodes.
pub struct RedisHotState {
    link: RedisLink,
    node: String,
    scripts: Scripts,
    silence: Duration,
    beats: Mutex<Option<users::Beats>>,
}

struct Scripts {
    append: Script,
    history: Script,
    renew: Script,
    presence: Script,
    users: Script,
    beat: Script,
    take: Script,
}

impl Scripts {
    fn new() -> Self {
        // A script on histories begins with what all of them share.
        macro_rules! on_histories {
            ($file:literal) => {
                Script::new(concat!(include_str!("redis/common.lua"), include_str!($file)))
            };
        }
        Self {
            append: on_histories!("redis/append.lua"),
            history: on_histories!("redis/history.lua"),
            renew: on_histories!("redis/renew.lua"),
            presence: Script::new(include_str!("redis/presence.lua")),
            users: Script::new(include_str!("redis/users.lua")),
            beat: Script::new(include_str!("redis/beat.lua")),
            take: Script::new(include_str!("redis/take.lua")),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} in redis"))
}

impl RedisHotState {
    /// Hot state as one node sees it. Presence and users that this node writes are removed when the node dies.
    pub fn new(link: RedisLink, node: &str) -> Self {
        let scripts = Scripts::new();
        Self { link, node: node.to_owned(), scripts, silence: NODE_SILENCE, beats: Mutex::new(None) }
    }

    /// Takes other nodes for dead after another time than [`NODE_SILENCE`].
    #[must_use]
    pub const fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

#[async_trait]
impl HotState for RedisHotState {
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError> {
        self.append_to_history(channel, append).await
    }

    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        self.read_history(channel, query, limits).await
    }

    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        self.begin_epoch(channel, epoch, limits).await
    }

    async fn remove_history(&self, channel: &str, _limits: HistoryLimits) -> Result<(), StoreError> {
        self.link.command(redis::cmd("DEL").arg(self.link.key("history", channel))).await
    }

    async fn add_presence(
        &self,
        channel: &str,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.add_sessions(channel, present, ttl).await
    }

    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        self.remove_sessions(channel, clients).await
    }

    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        self.list_sessions(channel).await
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        self.count_sessions(channel).await
    }

    async fn set_users_online(&self, users: &[String], online: bool) -> Result<(), StoreError> {
        let what = if online { "online" } else { "offline" };
        for some in users.chunks(AT_ONCE) {
            self.users_step(some, &self.node, what).await?;
        }
        Ok(())
    }

    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError> {
        self.read_statuses(users).await
    }

    async fn beat(&self) -> Result<Beat, StoreError> {
        self.say_alive().await
    }

    async fn forget_node(&self, node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        let left = self.forget_sessions_of(node).await?;
        self.forget_users_of(node).await?;
        self.forget_beat_of(node).await?;
        Ok(left)
    }

    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError> {
        let mut call = self.scripts.take.prepare_invoke();
        call.key(self.link.key("quota", key)).arg(quota.limit).arg(millis(quota.window));
        let wait: u64 = self.link.script(&call).await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }
}

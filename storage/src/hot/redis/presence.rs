//! Presence in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mundotango_protocol::ClientInfo;
use prost::Message as _;
use redis::{FromRedisValue, ScriptInvocation};

use super::{AT_ONCE, NODE_TTL, RedisHotState, damaged, millis};
use crate::StoreError;
use crate::hot::{PresenceStats, Present};

/// Channels of a dead node that are cleared at the same time.
const CHANNELS_AT_ONCE: usize = 16;

fn read_info(bytes: &[u8]) -> Result<ClientInfo, StoreError> {
    ClientInfo::decode(bytes).map_err(|_| damaged("a presence"))
}

impl RedisHotState {
    fn channels_of(&self, node: &str) -> String {
        self.link.key("node-channels", node)
    }

    fn presence_call(&self, channel: &str, what: &str) -> ScriptInvocation<'_> {
        let mut call = self.scripts.presence.prepare_invoke();
        for family in ["presence", "presence-owners", "presence-expiries", "presence-users"] {
            call.key(self.link.key(family, channel));
        }
        call.key(self.channels_of(&self.node)).arg(what);
        call
    }

    async fn presence_step<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.link.script(call).await
    }

    pub(super) async fn add_sessions(
        &self,
        channel: &str,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        for some in present.chunks(AT_ONCE) {
            let mut call = self.presence_call(channel, "add");
            call.arg(channel).arg(millis(NODE_TTL)).arg(millis(ttl));
            for Present { client, info } in some {
                let owner = format!("{}|{}", self.node, info.user);
                call.arg(client).arg(info.encode_to_vec()).arg(owner).arg(&info.user);
            }
            self.presence_step::<()>(&call).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_sessions(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        for some in clients.chunks(AT_ONCE) {
            let mut call = self.presence_call(channel, "remove");
            call.arg(&self.node);
            for client in some {
                call.arg(client);
            }
            self.presence_step::<()>(&call).await?;
        }
        Ok(())
    }

    pub(super) async fn list_sessions(
        &self,
        channel: &str,
    ) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        let mut sessions = BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut call = self.presence_call(channel, "list");
            call.arg(&cursor);
            let (next, page): (String, Vec<(String, Vec<u8>)>) = self.presence_step(&call).await?;
            for (client, bytes) in page {
                sessions.insert(client, read_info(&bytes)?);
            }
            match next.as_str() {
                "0" => return Ok(sessions),
                // Many have expired, and are removed first.
                "expiring" => {}
                _ => cursor = next,
            }
        }
    }

    pub(super) async fn count_sessions(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        let (clients, users) = self.presence_step(&self.presence_call(channel, "stats")).await?;
        Ok(PresenceStats { clients, users })
    }

    /// Removes the sessions of a dead node. A channel is no longer noted once it has none of them, so that a call that
    /// failed is made up for by the next.
    pub(super) async fn forget_sessions_of(
        &self,
        node: &str,
    ) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        let mut left = Vec::new();
        loop {
            let channels = self.some_of(&self.channels_of(node)).await?;
            if channels.is_empty() {
                return Ok(left);
            }
            let cleared = stream::iter(channels.clone())
                .map(|channel| async move { self.forget_sessions_in(&channel, node).await })
                .buffer_unordered(CHANNELS_AT_ONCE);
            left.extend(cleared.try_concat().await?);
            let mut remove = redis::cmd("SREM");
            remove.arg(self.channels_of(node)).arg(&channels);
            self.link.command::<()>(&remove).await?;
        }
    }

    async fn forget_sessions_in(
        &self,
        channel: &str,
        node: &str,
    ) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        let mut left = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut call = self.presence_call(channel, "forget");
            call.arg(node).arg(&cursor);
            let (next, gone): (String, Vec<Vec<u8>>) = self.presence_step(&call).await?;
            for info in gone {
                left.push((channel.to_owned(), read_info(&info)?));
            }
            if next == "0" {
                return Ok(left);
            }
            cursor = next;
        }
    }

    /// Some members of a set. Several nodes that clear the same set take different ones.
    pub(super) async fn some_of(&self, set: &str) -> Result<Vec<String>, StoreError> {
        self.link.command(redis::cmd("SRANDMEMBER").arg(set).arg(AT_ONCE)).await
    }
}

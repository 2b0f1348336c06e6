//! Users and nodes in Redis: who is online, and which nodes live.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{NODE_TTL, RedisHotState, damaged, millis};
use crate::StoreError;
use crate::hot::NODE_ALIVE;
use crate::hot::{Beat, USER_STATUS_TTL, UserStatus};

/// This node's beats that Redis answered.
pub(super) struct Beats {
    /// The first one after the last long pause.
    since: Instant,
    last: Instant,
}

impl RedisHotState {
    fn users_of(&self, node: &str) -> String {
        self.link.key("node-users", node)
    }

    fn beats_key(&self) -> String {
        self.link.key("nodes", "")
    }

    pub(super) async fn users_step(
        &self,
        users: &[String],
        node: &str,
        what: &str,
    ) -> Result<(), StoreError> {
        let mut call = self.scripts.users.prepare_invoke();
        call.key(self.users_of(node));
        call.arg(node).arg(what).arg(millis(USER_STATUS_TTL)).arg(millis(NODE_TTL));
        for user in users {
            call.key(self.link.key("user", user)).arg(user);
        }
        self.link.script(&call).await
    }

    pub(super) async fn read_statuses(
        &self,
        users: &[String],
    ) -> Result<BTreeMap<String, UserStatus>, StoreError> {
        if users.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut pipeline = redis::pipe();
        for user in users {
            pipeline.cmd("HMGET").arg(self.link.key("user", user)).arg("since").arg("seen");
        }
        let known: Vec<(Option<i64>, Option<i64>)> = self.link.pipeline(&pipeline).await?;
        let time = |millis: i64| Timestamp::from_millisecond(millis).map_err(|_| damaged("a time"));
        let mut statuses = BTreeMap::new();
        for (user, (since, seen)) in users.iter().zip(known) {
            let Some(seen) = seen else { continue };
            let online_since = since.map(time).transpose()?;
            statuses.insert(user.clone(), UserStatus { online_since, last_seen: time(seen)? });
        }
        Ok(statuses)
    }

    pub(super) async fn say_alive(&self) -> Result<Beat, StoreError> {
        let mut call = self.scripts.beat.prepare_invoke();
        call.key(self.beats_key()).arg(&self.node).arg(millis(self.silence)).arg(millis(NODE_ALIVE));
        let (known, silent, mut alive): (bool, Vec<String>, Vec<String>) = self.link.script(&call).await?;
        alive.retain(|node| *node != self.node);
        let now = Instant::now();
        let mut beats = self.beats.lock();
        let has_beaten = beats.is_some();
        let since = match &*beats {
            Some(beats) if now - beats.last <= self.silence / 4 => beats.since,
            // While Redis was away all nodes were silent, so they get their time again.
            _ => now,
        };
        *beats = Some(Beats { since, last: now });
        let silent = if now - since >= self.silence { silent } else { Vec::new() };
        Ok(Beat { forgotten: has_beaten && !known, silent, alive })
    }

    /// Says that users have no session on a dead node.
    pub(super) async fn forget_users_of(&self, node: &str) -> Result<(), StoreError> {
        loop {
            let users = self.some_of(&self.users_of(node)).await?;
            if users.is_empty() {
                return Ok(());
            }
            self.users_step(&users, node, "forget").await?;
        }
    }

    /// Removes a dead node from those that beat: all that it said is cleared away.
    pub(super) async fn forget_beat_of(&self, node: &str) -> Result<(), StoreError> {
        self.link.command(redis::cmd("ZREM").arg(self.beats_key()).arg(node)).await
    }
}

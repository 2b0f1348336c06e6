//! Hot state in Redis, shared by all nodes. Each step that has to be one is a script; all keys of a channel lie on one
//! node of a Redis cluster.
//!
//! channel: meta (epoch, top, version) · list of `expiry:publication` · idempotency keys · presence (four keys) ·
//! user: nodes that have sessions of the user, since, seen · node: the channels and users that it said something of

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::{ClientInfo, Publication, StreamPosition};
use prost::Message as _;
use redis::Script;

use super::{
    Append, Appended, Begin, HistoryLimits, HistoryPage, HistoryQuery, HotState, IDEMPOTENCY_TTL,
    PresenceStats, Present, Quota, USER_STATUS_TTL, UserStatus, new_epoch,
};
use crate::StoreError;
use crate::redis_link::RedisLink;

/// How long it is remembered what a node said, past the last time that it said something.
const NODE_TTL: Duration = Duration::from_hours(24);
/// Channels or users of a dead node that are cleared away in one go.
const FORGOTTEN_AT_ONCE: usize = 200;

/// The hot state of all nodes.
pub struct RedisHotState {
    link: RedisLink,
    node: String,
    scripts: Scripts,
}

struct Scripts {
    append: Script,
    history: Script,
    renew: Script,
    presence: Script,
    user: Script,
    take: Script,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} in redis"))
}

fn position(offset: &str, epoch: String) -> Result<StreamPosition, StoreError> {
    let offset = offset.parse().map_err(|_| damaged("an offset"))?;
    Ok(StreamPosition { offset, epoch })
}

/// An entry of a history: its expiry is before the first colon.
fn read_entry(entry: &[u8], offset: u64) -> Result<Publication, StoreError> {
    let colon = entry.iter().position(|byte| *byte == b':').ok_or_else(|| damaged("a publication"))?;
    let bytes = Bytes::copy_from_slice(&entry[colon + 1..]);
    let publication = Publication::decode(bytes).map_err(|_| damaged("a publication"))?;
    Ok(Publication { offset, ..publication })
}

fn read_info(bytes: &[u8]) -> Result<ClientInfo, StoreError> {
    ClientInfo::decode(bytes).map_err(|_| damaged("a presence"))
}

/// Tells scripts whether the store has the history too.
fn archived(limits: HistoryLimits) -> &'static str {
    if limits.archive_ttl.is_some() { "archived" } else { "" }
}

impl Begin {
    /// The offset behind which scripts begin a history; nothing where they must not.
    fn argument(self) -> String {
        match self {
            Self::Anew => "0".to_owned(),
            Self::After(offset) => offset.to_string(),
            Self::Nowhere => String::new(),
        }
    }
}

impl RedisHotState {
    /// Hot state as a node sees it. What it says of presence and of users is the node's, and goes with it.
    pub fn new(link: RedisLink, node: &str) -> Self {
        let scripts = Scripts {
            append: Script::new(include_str!("redis/append.lua")),
            history: Script::new(include_str!("redis/history.lua")),
            renew: Script::new(include_str!("redis/renew.lua")),
            presence: Script::new(include_str!("redis/presence.lua")),
            user: Script::new(include_str!("redis/user.lua")),
            take: Script::new(include_str!("redis/take.lua")),
        };
        Self { link, node: node.to_owned(), scripts }
    }

    fn channels_of(&self, node: &str) -> String {
        self.link.key("node-channels", node)
    }

    fn users_of(&self, node: &str) -> String {
        self.link.key("node-users", node)
    }

    /// Notes that the node said something, before it says it: what is noted too much is cleared away for nothing.
    async fn note(&self, key: &str, what: &str) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline
            .sadd(key, what)
            .ignore()
            .pexpire(key, i64::try_from(millis(NODE_TTL)).unwrap_or(i64::MAX))
            .ignore();
        self.link.pipeline(&pipeline).await
    }

    async fn presence_step<T: redis::FromRedisValue>(
        &self,
        channel: &str,
        arguments: &[&[u8]],
    ) -> Result<T, StoreError> {
        let mut call = self.scripts.presence.prepare_invoke();
        for family in ["presence", "presence-owners", "presence-expiries", "presence-users"] {
            call.key(self.link.key(family, channel));
        }
        for argument in arguments {
            call.arg(*argument);
        }
        self.link.script(&call).await
    }

    async fn user_step(&self, user: &str, node: &str, what: &str) -> Result<(), StoreError> {
        let mut call = self.scripts.user.prepare_invoke();
        call.key(self.link.key("user", user)).arg(node).arg(what).arg(millis(USER_STATUS_TTL));
        self.link.script(&call).await
    }

    /// Takes some of what a node noted.
    async fn noted(&self, key: &str) -> Result<Vec<String>, StoreError> {
        self.link.command(redis::cmd("SPOP").arg(key).arg(FORGOTTEN_AT_ONCE)).await
    }
}

#[async_trait]
impl HotState for RedisHotState {
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError> {
        let Append { publication, limits, idempotency_key, version } = append;
        if limits.is_none() && idempotency_key.is_none() {
            return Ok(Appended::New(StreamPosition::default()));
        }
        let mut call = self.scripts.append.prepare_invoke();
        call.key(self.link.key("history-meta", channel));
        call.key(self.link.key("history", channel));
        let idempotency = idempotency_key.as_deref().unwrap_or_default();
        call.key(format!("{}:{idempotency}", self.link.key("published", channel)));
        call.arg(publication.encode_to_vec());
        match limits {
            Some(limits) => {
                call.arg(limits.size).arg(millis(limits.ttl)).arg(millis(limits.meta_ttl)).arg(new_epoch())
            }
            None => call.arg("").arg("").arg("").arg(""),
        };
        match idempotency_key {
            Some(_) => call.arg(millis(IDEMPOTENCY_TTL)),
            None => call.arg(""),
        };
        match version {
            Some(version) => call.arg(format!("{:020}", version.number)).arg(version.epoch),
            None => call.arg("").arg(""),
        };
        call.arg(limits.map_or_else(|| Begin::Anew.argument(), |limits| limits.begin.argument()));
        call.arg(limits.map_or("", archived));
        let (what, offset, epoch): (String, String, String) = self.link.script(&call).await?;
        let position = position(&offset, epoch)?;
        match what.as_str() {
            "new" => Ok(Appended::New(position)),
            "repeated" => Ok(Appended::Repeated(position)),
            "not begun" => Err(StoreError::NotBegun),
            "outdated" => Ok(Appended::Outdated(position)),
            _ => Err(damaged("an answer")),
        }
    }

    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        let mut call = self.scripts.history.prepare_invoke();
        call.key(self.link.key("history-meta", channel)).key(self.link.key("history", channel));
        call.arg(query.since.map(|since| since.to_string()).unwrap_or_default());
        call.arg(query.limit.map(|limit| limit.to_string()).unwrap_or_default());
        call.arg(if query.reverse { "reverse" } else { "" });
        call.arg(millis(limits.meta_ttl)).arg(new_epoch()).arg(limits.begin.argument()).arg(archived(limits));
        let (top, epoch, first, entries): (String, String, u64, Vec<Vec<u8>>) =
            self.link.script(&call).await?;
        if epoch.is_empty() {
            return Err(StoreError::NotBegun);
        }
        let entries = entries.iter().zip(first..).map(|(entry, offset)| read_entry(entry, offset));
        let mut publications = entries.collect::<Result<Vec<_>, _>>()?;
        if query.reverse {
            publications.reverse();
        }
        Ok(HistoryPage { publications, position: position(&top, epoch)? })
    }

    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(self.link.key("history-meta", channel)).key(self.link.key("history", channel));
        call.arg(epoch).arg(millis(limits.meta_ttl));
        self.link.script(&call).await
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
        self.note(&self.channels_of(&self.node), channel).await?;
        let mut arguments = vec![b"add".to_vec(), millis(ttl).to_string().into_bytes()];
        for Present { client, info } in present {
            let owner = format!("{}|{}", self.node, info.user);
            arguments.extend([client.clone().into_bytes(), info.encode_to_vec(), owner.into_bytes()]);
            arguments.push(info.user.clone().into_bytes());
        }
        let arguments: Vec<_> = arguments.iter().map(Vec::as_slice).collect();
        self.presence_step(channel, &arguments).await
    }

    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        let mut arguments = vec![&b"remove"[..], self.node.as_bytes()];
        arguments.extend(clients.iter().map(String::as_bytes));
        self.presence_step(channel, &arguments).await
    }

    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        let infos: BTreeMap<String, Vec<u8>> = self.presence_step(channel, &[b"list"]).await?;
        infos.into_iter().map(|(client, bytes)| Ok((client, read_info(&bytes)?))).collect()
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        let (clients, users) = self.presence_step(channel, &[b"stats"]).await?;
        Ok(PresenceStats { clients, users })
    }

    async fn set_user_online(&self, user: &str, online: bool) -> Result<(), StoreError> {
        if online {
            self.note(&self.users_of(&self.node), user).await?;
        }
        self.user_step(user, &self.node, if online { "online" } else { "offline" }).await
    }

    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError> {
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

    async fn forget_node(&self, node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        let mut left = Vec::new();
        let channels = self.channels_of(node);
        loop {
            let some = self.noted(&channels).await?;
            if some.is_empty() {
                break;
            }
            for channel in some {
                let gone: Vec<Vec<u8>> = self.presence_step(&channel, &[b"forget", node.as_bytes()]).await?;
                for info in gone {
                    left.push((channel.clone(), read_info(&info)?));
                }
            }
        }
        let users = self.users_of(node);
        loop {
            let some = self.noted(&users).await?;
            if some.is_empty() {
                return Ok(left);
            }
            for user in some {
                self.user_step(&user, node, "forget").await?;
            }
        }
    }

    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError> {
        let mut call = self.scripts.take.prepare_invoke();
        call.key(self.link.key("quota", key)).arg(quota.limit).arg(millis(quota.window));
        let wait: u64 = self.link.script(&call).await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }
}

//! The methods of the server API.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use mundotango_actors::{Caller, Engine, Everywhere, ServerSubscription, SessionView};
use mundotango_protocol::{
    ClientId, ClientInfo, Disconnect, DisconnectReason, PresenceResult, PresenceStatsResult, StreamPosition,
};
use mundotango_storage::hot::HistoryQuery;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::answer::{Answer, ApiError, ApiErrorCode, ErrorBody, Outcome};
use super::describe::about;
use super::history::History;
use super::request::{
    BatchBody, BroadcastBody, ChannelsBody, DisconnectBody, HistoryBody, NoFields, OfChannel, OfToken,
    OfUser, OfUsers, PublicationBody, RefreshBody, RpcBody, SendBody, SubscribeBody, WhoseBody, bytes,
    channel, read, unknown_fields,
};
use crate::revocations::Revocations;
use crate::revocations::store::Revoked;

/// All methods: the paths below `/api/` that belong to this API.
pub(crate) const METHODS: &[&str] = &[
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "send",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "connections",
    "info",
    "rpc",
    "batch",
    "get_user_status",
    "block_user",
    "unblock_user",
    "revoke_token",
    "invalidate_user_tokens",
];

/// Parts of one request that are worked on at the same time: each waits for hot state most of its time.
const AT_ONCE: usize = 32;
/// Most commands of one batch, and channels of one broadcast.
const MAX_PARTS: usize = 10_000;

pub(super) struct Methods {
    pub(super) engine: Arc<Engine>,
    pub(super) revocations: Arc<Revocations>,
}

/// A result as JSON.
fn raw(value: &impl Serialize) -> Result<Box<RawValue>, ApiError> {
    to_raw_value(value).map_err(|error| {
        tracing::debug!(%error, "result cannot be written as json");
        ApiErrorCode::Internal.into()
    })
}

fn nothing() -> Result<Box<RawValue>, ApiError> {
    raw(&json!({}))
}

/// A time in Unix seconds; 0 is none.
fn time(seconds: i64) -> Result<Option<Timestamp>, ApiError> {
    if seconds == 0 {
        return Ok(None);
    }
    Timestamp::from_second(seconds).map(Some).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// A text that has to be there.
fn required(field: &str, text: &str) -> Result<String, ApiError> {
    if text.is_empty() {
        Err(ApiError::bad_request(format!("{field} is required")))
    } else {
        Ok(text.to_owned())
    }
}

/// The number of items in a list that has to be there.
fn bounded(field: &str, length: usize) -> Result<usize, ApiError> {
    match length {
        0 => Err(ApiError::bad_request(format!("{field} is required"))),
        1..=MAX_PARTS => Ok(length),
        _ => Err(ApiError::bad_request(format!("{field} has more than {MAX_PARTS} items"))),
    }
}

/// The answers of all nodes. Where a node is missing the caller has to try again: a disconnect that one node did not hear
/// of is none.
fn on_all_nodes<T>(all: Everywhere<T>) -> Result<T, ApiError> {
    all.complete().ok_or(ApiErrorCode::Internal.into())
}

impl Methods {
    /// Calls a method.
    pub(super) async fn call(&self, method: &str, body: &[u8]) -> Result<Answer, ApiError> {
        if method == "batch" {
            return self.batch(read(body)?).await.map(Answer::Bare);
        }
        self.single(method, body).await.map(Answer::Result)
    }

    /// Calls a method that is no batch. Who misspelled a field is told so, as unknown fields alone are no error.
    async fn single(&self, method: &str, body: &[u8]) -> Result<Box<RawValue>, ApiError> {
        let outcome = self.dispatch(method, body).await;
        let Err(ApiError::BadRequest(detail)) = outcome else { return outcome };
        let (_, known) = about(method);
        let unknown = unknown_fields(body, known);
        if unknown.is_empty() {
            return Err(ApiError::BadRequest(detail));
        }
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let (unknown, known) = (unknown.join(", "), names.join(", "));
        Err(ApiError::BadRequest(format!("{detail}; unknown: {unknown}; {method} takes {known}")))
    }

    async fn dispatch(&self, method: &str, body: &[u8]) -> Result<Box<RawValue>, ApiError> {
        match method {
            "publish" => self.publish(&read(body)?, &read(body)?).await,
            "broadcast" => self.broadcast(&read(body)?, &read(body)?).await,
            "subscribe" => self.subscribe(&read(body)?, read(body)?).await,
            "unsubscribe" => self.unsubscribe(&read(body)?, &read(body)?).await,
            "disconnect" => self.disconnect(&read(body)?, &read(body)?).await,
            "refresh" => self.refresh(&read(body)?, &read(body)?).await,
            "send" => self.send(&read(body)?, &read(body)?).await,
            "presence" => self.presence(&read(body)?).await,
            "presence_stats" => self.presence_stats(&read(body)?).await,
            "history" => self.history(read(body)?).await,
            "history_remove" => self.history_remove(&read(body)?).await,
            "channels" => self.channels(&read(body)?).await,
            "connections" => self.connections(&read(body)?).await,
            "info" => read::<NoFields>(body).and_then(|_| self.info()),
            "rpc" => self.rpc(read(body)?).await,
            "get_user_status" => self.user_status(read(body)?).await,
            "block_user" => self.block_user(&read(body)?).await,
            "unblock_user" => self.unblock_user(&read(body)?).await,
            "revoke_token" => self.revoke_token(&read(body)?).await,
            "invalidate_user_tokens" => self.invalidate_user_tokens(&read(body)?).await,
            _ => Err(ApiErrorCode::NotFound.into()),
        }
    }

    async fn batch(&self, body: BatchBody) -> Result<Box<RawValue>, ApiError> {
        bounded("commands", body.commands.len().max(1))?;
        let at_once = if body.parallel { AT_ONCE } else { 1 };
        let replies = body.commands.into_iter().map(async |command| {
            let Some((method, body)) = command.into_iter().next() else {
                let error = ApiError::bad_request("a command is an object with one field, the method");
                return json!({"error": ErrorBody::from(error)});
            };
            // Boxed, as the future of a call would else hold that of another.
            match Box::pin(self.single(&method, body.get().as_bytes())).await {
                Ok(result) => json!({ method: result }),
                Err(error) => json!({"error": ErrorBody::from(error)}),
            }
        });
        let replies: Vec<_> = stream::iter(replies).buffered(at_once).collect().await;
        raw(&json!({ "replies": replies }))
    }

    async fn publish_into(
        &self,
        name: &str,
        publish: mundotango_actors::Publish,
    ) -> Result<StreamPosition, ApiError> {
        let channel = channel(name)?;
        Ok(self.engine.publish(&channel, publish).await?)
    }

    async fn publish(
        &self,
        body: &OfChannel,
        publication: &PublicationBody,
    ) -> Result<Box<RawValue>, ApiError> {
        raw(&self.publish_into(&body.channel, publication.publish()?).await?)
    }

    async fn broadcast(
        &self,
        body: &BroadcastBody,
        publication: &PublicationBody,
    ) -> Result<Box<RawValue>, ApiError> {
        let publish = publication.publish()?;
        bounded("channels", body.channels.len())?;
        // Names of their own, as the futures of one stream must not borrow from its items.
        let responses = body.channels.iter().cloned().map(|name| {
            let publish = publish.clone();
            async move {
                match self.publish_into(&name, publish).await {
                    Ok(position) => Ok::<_, ApiError>(Outcome::Result(raw(&position)?)),
                    Err(error) => Ok(Outcome::Error(error.into())),
                }
            }
        });
        let responses: Vec<_> = stream::iter(responses).buffered(AT_ONCE).try_collect().await?;
        raw(&json!({ "responses": responses }))
    }

    async fn subscribe(&self, whose: &WhoseBody, body: SubscribeBody) -> Result<Box<RawValue>, ApiError> {
        let subscription = ServerSubscription {
            info: bytes(body.b64info.as_deref(), body.info.as_deref())?.unwrap_or_default(),
            data: bytes(body.b64data.as_deref(), body.data.as_deref())?.unwrap_or_default(),
            expires_at: (body.expire_at > 0).then_some(body.expire_at),
            change: body.change.unwrap_or_default(),
        };
        let channel = channel(&body.channel)?;
        let done = self.engine.subscribe(&whose.whose(), &channel, subscription, body.recover_since).await?;
        on_all_nodes(done)?;
        nothing()
    }

    async fn unsubscribe(&self, whose: &WhoseBody, body: &OfChannel) -> Result<Box<RawValue>, ApiError> {
        on_all_nodes(self.engine.unsubscribe(&whose.whose(), &channel(&body.channel)?).await)?;
        nothing()
    }

    async fn disconnect(&self, whose: &WhoseBody, body: &DisconnectBody) -> Result<Box<RawValue>, ApiError> {
        let reason = match &body.disconnect {
            None => Disconnect::ForceDisconnect.into(),
            Some(own) => DisconnectReason::custom(own.code, &own.reason)
                .ok_or_else(|| ApiError::bad_request("disconnect.code must be from 3000 to 4999"))?,
        };
        let spared: Vec<_> = body.whitelist.iter().filter_map(|client| ClientId::parse(client)).collect();
        on_all_nodes(self.engine.disconnect(&whose.whose(), &reason, &spared).await)?;
        nothing()
    }

    async fn refresh(&self, whose: &WhoseBody, body: &RefreshBody) -> Result<Box<RawValue>, ApiError> {
        let whose = whose.whose();
        if body.expired {
            on_all_nodes(self.engine.disconnect(&whose, &Disconnect::Expired.into(), &[]).await)?;
        } else {
            let expires_at = (body.expire_at > 0).then_some(body.expire_at);
            on_all_nodes(self.engine.refresh(&whose, expires_at, bytes(None, body.info.as_deref())?).await)?;
        }
        nothing()
    }

    async fn send(&self, whose: &WhoseBody, body: &SendBody) -> Result<Box<RawValue>, ApiError> {
        on_all_nodes(self.engine.message(&whose.whose(), body.message()?).await)?;
        nothing()
    }

    async fn presence(&self, body: &OfChannel) -> Result<Box<RawValue>, ApiError> {
        let mut presence = self.engine.presence(&channel(&body.channel)?).await?;
        presence.values_mut().for_each(ClientInfo::keep_json);
        raw(&PresenceResult { presence })
    }

    async fn presence_stats(&self, body: &OfChannel) -> Result<Box<RawValue>, ApiError> {
        let stats = self.engine.presence_stats(&channel(&body.channel)?).await?;
        raw(&PresenceStatsResult { num_clients: stats.clients, num_users: stats.users })
    }

    async fn history(&self, body: HistoryBody) -> Result<Box<RawValue>, ApiError> {
        // Below zero asks for as many as may be had.
        let limit = usize::try_from(body.limit).ok();
        let since = body.since.as_ref().map(|since| since.offset);
        let query = HistoryQuery { since, limit, reverse: body.reverse };
        let page = self.engine.history(&channel(&body.channel)?, query).await?;
        let other = |since: &StreamPosition| !since.epoch.is_empty() && since.epoch != page.position.epoch;
        if body.since.as_ref().is_some_and(other) {
            return Err(ApiErrorCode::UnrecoverablePosition.into());
        }
        raw(&History::from(&page))
    }

    async fn history_remove(&self, body: &OfChannel) -> Result<Box<RawValue>, ApiError> {
        self.engine.remove_history(&channel(&body.channel)?).await?;
        nothing()
    }

    async fn channels(&self, body: &ChannelsBody) -> Result<Box<RawValue>, ApiError> {
        let counts = on_all_nodes(self.engine.channel_counts(&body.pattern).await)?;
        let channels: BTreeMap<_, _> =
            counts.iter().map(|(name, count)| (name, json!({ "num_clients": count }))).collect();
        raw(&json!({ "channels": channels }))
    }

    async fn connections(&self, body: &WhoseBody) -> Result<Box<RawValue>, ApiError> {
        let sessions = on_all_nodes(self.engine.sessions_of(&body.whose()).await)?;
        let connections: BTreeMap<_, _> =
            sessions.iter().map(|session| (session.client.clone(), connection(session))).collect();
        raw(&json!({ "connections": connections }))
    }

    fn info(&self) -> Result<Box<RawValue>, ApiError> {
        let now = Timestamp::now();
        let nodes: Vec<_> = self
            .engine
            .nodes()
            .into_iter()
            .map(|node| {
                let uptime = now.duration_since(node.started_at).as_secs();
                let mut view = json!({
                    "uid": node.id,
                    "name": node.name,
                    "version": node.version,
                    "num_clients": node.sessions,
                    "num_users": node.users,
                    "num_channels": node.channels,
                    "num_subs": node.subscriptions,
                    "uptime": uptime,
                });
                // A node knows the process of no other node.
                if node.id == self.engine.node_id() {
                    view["process"] = process(uptime);
                }
                view
            })
            .collect();
        raw(&json!({ "nodes": nodes }))
    }

    async fn rpc(&self, body: RpcBody) -> Result<Box<RawValue>, ApiError> {
        let method = required("method", &body.method)?;
        let data = body.params.map(|params| Bytes::from(params.get().to_owned())).unwrap_or_default();
        let caller = Caller {
            client: ClientId::random(),
            user: String::new(),
            role: String::new(),
            login_id: None,
            token_id: None,
            issued_at: None,
            meta: Bytes::new(),
            address: None,
        };
        let answer = self.engine.call(caller, &method, data).await.map_err(|error| match error.code {
            104 | 404 => ApiErrorCode::NotFound,
            400..500 => ApiErrorCode::BadRequest,
            _ => ApiErrorCode::Internal,
        })?;
        let answer = if answer.is_empty() { Bytes::from_static(b"null") } else { answer };
        let data: &RawValue = serde_json::from_slice(&answer).map_err(|_| ApiErrorCode::Internal)?;
        raw(&json!({ "data": data }))
    }

    async fn user_status(&self, body: OfUsers) -> Result<Box<RawValue>, ApiError> {
        bounded("users", body.users.len())?;
        let known = self.engine.user_statuses(&body.users).await?;
        let statuses: Vec<_> = known
            .into_iter()
            .map(|(user, status)| {
                let last_seen = status.online_since.map_or(status.last_seen, |_| Timestamp::now());
                json!({
                    "user": user,
                    "active": status.last_seen.as_second(),
                    "online": last_seen.as_second(),
                    "online_since": status.online_since.map(Timestamp::as_second),
                })
            })
            .collect();
        raw(&json!({ "statuses": statuses }))
    }

    async fn revoke(&self, what: Revoked, expire_at: i64) -> Result<Box<RawValue>, ApiError> {
        self.revocations.revoke(what, time(expire_at)?).await?;
        nothing()
    }

    async fn block_user(&self, body: &OfUser) -> Result<Box<RawValue>, ApiError> {
        self.revoke(Revoked::User(required("user", &body.user)?), body.expire_at).await
    }

    async fn unblock_user(&self, body: &OfUser) -> Result<Box<RawValue>, ApiError> {
        self.revocations.reinstate(&Revoked::User(required("user", &body.user)?)).await?;
        nothing()
    }

    async fn revoke_token(&self, body: &OfToken) -> Result<Box<RawValue>, ApiError> {
        self.revoke(Revoked::Token(required("uid", &body.uid)?), body.expire_at).await
    }

    async fn invalidate_user_tokens(&self, body: &OfUser) -> Result<Box<RawValue>, ApiError> {
        let what = Revoked::UserTokens(required("user", &body.user)?);
        let issued_before = time(body.issued_before)?.unwrap_or_else(mundotango_storage::now);
        self.revocations.revoke_since(what, issued_before, time(body.expire_at)?).await?;
        nothing()
    }
}

/// This process: its share of one processor since it started, in percent, and its memory in bytes.
fn process(uptime: i64) -> Value {
    let usage = mundotango_ops::process_usage();
    json!({ "cpu": 100.0 * usage.cpu_seconds / uptime.max(1) as f64, "rss": usage.resident_bytes })
}

/// One session, as `connections` shows it.
fn connection(session: &SessionView) -> Value {
    let meta: Option<Value> = serde_json::from_slice(&session.meta).ok();
    json!({
        "user": session.user,
        "app_name": session.library.0,
        "app_version": session.library.1,
        "transport": session.transport,
        "protocol": session.encoding,
        "connected_at": session.opened_at.as_second(),
        "state": {
            "connection_token": { "uid": session.token_id, "issued_at": session.issued_at },
            "meta": meta,
        },
    })
}

//! What the application and operators do to channels and to users' sessions from outside.

use std::collections::BTreeMap;

use bytes::Bytes;
use mundotango_protocol::{
    ChannelName, ClientId, ClientInfo, DisconnectReason, ErrorCode, ErrorReply, StreamPosition,
};
use mundotango_storage::hot::{HistoryPage, HistoryQuery, PresenceStats, UserStatus};

use crate::engine::{Engine, EngineError};
use crate::session::{Caller, ServerSubscription, SessionHandle, SessionMessage};

/// Which sessions something is done to: a user's, or some of them.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// The user; the empty one's sessions are the anonymous ones.
    pub user: String,
    /// Only this session.
    pub client: Option<String>,
    /// Only the session with this secret; see [`Who::session_key`](crate::Who::session_key).
    pub session: Option<String>,
}

impl Whose {
    fn fits(&self, session: &SessionHandle) -> bool {
        let key = || session.who().and_then(|who| who.session_key.as_deref());
        self.client.as_ref().is_none_or(|client| session.client().is(client))
            && self.session.as_ref().is_none_or(|session| key() == Some(session))
    }
}

impl Engine {
    fn tell(&self, whose: &Whose, message: &SessionMessage) {
        for session in self.sessions().of_user(&whose.user).iter().filter(|session| whose.fits(session)) {
            session.tell(message.clone());
        }
    }

    /// Subscribes sessions to a channel.
    pub fn subscribe(
        &self,
        whose: &Whose,
        channel: &ChannelName,
        subscription: ServerSubscription,
        recover: Option<StreamPosition>,
    ) -> Result<(), EngineError> {
        self.parts().options_of(channel)?;
        let (channel, subscription) = (channel.clone(), Box::new(subscription));
        self.tell(whose, &SessionMessage::Subscribe { channel, subscription, recover });
        Ok(())
    }

    /// Takes sessions out of a channel.
    pub fn unsubscribe(&self, whose: &Whose, channel: &ChannelName) {
        self.tell(whose, &SessionMessage::Unsubscribe(channel.clone()));
    }

    /// Ends sessions, but not those in `spared`.
    pub fn disconnect(&self, whose: &Whose, reason: &DisconnectReason, spared: &[ClientId]) {
        let ends = |session: &SessionHandle| whose.fits(session) && !spared.contains(&session.client());
        self.sessions().disconnect_user(&whose.user, reason, ends);
    }

    /// Sets when sessions expire, in Unix seconds, or that they do not; `info` replaces what others may know.
    pub fn refresh(&self, whose: &Whose, expires_at: Option<u64>, info: Option<Bytes>) {
        self.tell(whose, &SessionMessage::Refresh { expires_at, info });
    }

    /// Sends the clients of sessions a message that belongs to no channel.
    pub fn message(&self, whose: &Whose, data: Bytes) {
        self.tell(whose, &SessionMessage::Message(data));
    }

    /// Who is in a channel, by session id.
    pub async fn presence(&self, channel: &ChannelName) -> Result<BTreeMap<String, ClientInfo>, EngineError> {
        let parts = self.parts();
        if !parts.options_of(channel)?.presence {
            return Err(EngineError::NotAvailable);
        }
        Ok(parts.in_time(parts.hot.presence(channel.as_str())).await?)
    }

    /// How many are in a channel, without reading who.
    pub async fn presence_stats(&self, channel: &ChannelName) -> Result<PresenceStats, EngineError> {
        let parts = self.parts();
        if !parts.options_of(channel)?.presence {
            return Err(EngineError::NotAvailable);
        }
        Ok(parts.in_time(parts.hot.presence_stats(channel.as_str())).await?)
    }

    /// Reads a channel's history; at most as much as a session gets at once.
    pub async fn history(
        &self,
        channel: &ChannelName,
        query: HistoryQuery,
    ) -> Result<HistoryPage, EngineError> {
        let parts = self.parts();
        let limits = parts.options_of(channel)?.history().ok_or(EngineError::NotAvailable)?;
        let most = parts.session_options.history_max_publications;
        let limit = Some(query.limit.unwrap_or(most).min(most));
        Ok(parts.history(channel, HistoryQuery { limit, ..query }, limits).await?)
    }

    /// Forgets a channel's publications.
    pub async fn remove_history(&self, channel: &ChannelName) -> Result<(), EngineError> {
        let parts = self.parts();
        if parts.options_of(channel)?.history().is_none() {
            return Err(EngineError::NotAvailable);
        }
        Ok(parts.in_time(parts.hot.remove_history(channel.as_str())).await?)
    }

    /// Calls the application as a session's RPC does.
    pub async fn call(&self, caller: Caller, method: &str, data: Bytes) -> Result<Bytes, ErrorReply> {
        let Some(handler) = self.parts().rpc.get() else { return Err(ErrorCode::MethodNotFound.into()) };
        match tokio::time::timeout(self.session_options().rpc_timeout, handler.call(caller, method, data))
            .await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(ErrorCode::Internal.into()),
        }
    }

    /// When users were here.
    pub async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, EngineError> {
        let parts = self.parts();
        Ok(parts.in_time(parts.hot.user_statuses(users)).await?)
    }
}

//! Commands in channels beside subscribing: publishing, presence and history.

use mundotango_protocol::{
    Empty, ErrorCode, HistoryRequest, HistoryResult, PresenceRequest, PresenceStatsRequest,
    PresenceStatsResult, PublishRequest, Reply, StreamPosition,
};
use mundotango_storage::hot::HistoryQuery;

use super::Session;
use super::refusal::Refusal;
use crate::channel::{Publish, publication};
use crate::options::NamespaceOptions;

impl Session {
    pub(super) async fn publish(&mut self, id: u32, request: PublishRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        let options = self.context.options_of(&channel)?;
        let allowed = self.may(
            options.allow_publish_for_client,
            options.allow_publish_for_subscriber,
            options.allow_publish_for_anonymous,
            &channel,
        );
        if !allowed {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let chan_info = self.subscriptions.get(&channel).map(|own| own.info.clone()).unwrap_or_default();
        let info = self.info(chan_info);
        let publish = Publish::new(publication(request.data, Some(info)));
        self.context.publish(&channel, publish).await?;
        self.reply(&Reply { id, publish: Some(Empty {}), ..Reply::default() });
        Ok(())
    }

    fn may_see_presence(&self, text: &str) -> Result<mundotango_protocol::ChannelName, Refusal> {
        let channel = Self::channel_name(text)?;
        let options: &NamespaceOptions = self.context.options_of(&channel)?;
        if !options.presence {
            return Err(ErrorCode::NotAvailable.into());
        }
        let allowed = self.may(
            options.allow_presence_for_client,
            options.allow_presence_for_subscriber,
            options.allow_presence_for_anonymous,
            &channel,
        );
        if allowed { Ok(channel) } else { Err(ErrorCode::PermissionDenied.into()) }
    }

    pub(super) async fn presence(&mut self, id: u32, request: &PresenceRequest) -> Result<(), Refusal> {
        let channel = self.may_see_presence(&request.channel)?;
        let context = self.context.channels.context();
        let answer = context.presence_answers.of(&channel, &context.hot).await?;
        let reply = answer.reply(self.handle.encoding(), id).ok_or(ErrorCode::Internal)?;
        self.push_reply(id, reply);
        Ok(())
    }

    pub(super) async fn presence_stats(
        &mut self,
        id: u32,
        request: &PresenceStatsRequest,
    ) -> Result<(), Refusal> {
        let channel = self.may_see_presence(&request.channel)?;
        let stats = self.context.in_time(self.context.hot.presence_stats(channel.as_str())).await?;
        let result = PresenceStatsResult { num_clients: stats.clients, num_users: stats.users };
        self.reply(&Reply { id, presence_stats: Some(result), ..Reply::default() });
        Ok(())
    }

    pub(super) async fn history(&mut self, id: u32, request: HistoryRequest) -> Result<(), Refusal> {
        let channel = Self::channel_name(&request.channel)?;
        let options = self.context.options_of(&channel)?;
        let Some(limits) = options.history() else { return Err(ErrorCode::NotAvailable.into()) };
        let allowed = self.may(
            options.allow_history_for_client,
            options.allow_history_for_subscriber,
            options.allow_history_for_anonymous,
            &channel,
        );
        if !allowed {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let most = self.context.session_options.history_max_publications;
        let query = HistoryQuery {
            since: request.since.as_ref().map(|since| since.offset),
            // Below zero asks for as many as may be had.
            limit: Some(usize::try_from(request.limit).unwrap_or(most).min(most)),
            reverse: request.reverse,
        };
        let page = self.context.history(&channel, query, limits).await?;
        let other = |since: &StreamPosition| !since.epoch.is_empty() && since.epoch != page.position.epoch;
        if request.since.as_ref().is_some_and(other) {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        let history = HistoryResult {
            publications: page.publications,
            epoch: page.position.epoch,
            offset: page.position.offset,
        };
        self.reply(&Reply { id, history: Some(history), ..Reply::default() });
        Ok(())
    }
}

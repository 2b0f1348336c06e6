//! Answers to presence commands. The answer of a large channel is read and encoded at most once a second, as each command
//! would else cost as much as the channel is large.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use moka::future::Cache;
use mundotango_protocol::{ChannelName, ClientInfo, Encoding, ErrorCode, PresenceResult, Reply};

use super::hot::Hot;

/// How long an answer of a large channel is given again.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Channels with so many clients are large. In others everybody sees at once who came.
const LARGE: usize = 256;
/// Clients that all answers hold together.
const MOST_CLIENTS: u64 = 500_000;

/// The clients that were in a channel a moment ago.
pub(crate) struct PresenceAnswer {
    pub(crate) clients: BTreeMap<String, ClientInfo>,
    /// The reply without an id, by encoding.
    encoded: [OnceLock<Option<Bytes>>; 2],
}

impl PresenceAnswer {
    /// The reply to a command; `None` if it cannot be written in this encoding.
    pub(crate) fn reply(&self, encoding: Encoding, id: u32) -> Option<Bytes> {
        let cell = match encoding {
            Encoding::Json => &self.encoded[0],
            Encoding::Protobuf => &self.encoded[1],
        };
        let encode = || {
            let presence = Some(PresenceResult { presence: self.clients.clone() });
            encoding.encode_reply(&Reply { presence, ..Reply::default() }).ok()
        };
        Some(encoding.with_id(id, cell.get_or_init(encode).as_ref()?))
    }
}

struct LargeOnly;

impl Expiry<ChannelName, Arc<PresenceAnswer>> for LargeOnly {
    fn expire_after_create(
        &self,
        _channel: &ChannelName,
        answer: &Arc<PresenceAnswer>,
        _now: Instant,
    ) -> Option<Duration> {
        Some(if answer.clients.len() < LARGE { Duration::ZERO } else { KEPT_FOR })
    }
}

/// Answers that were given a moment ago.
pub(crate) struct PresenceAnswers {
    answers: Cache<ChannelName, Arc<PresenceAnswer>>,
}

impl PresenceAnswers {
    pub(super) fn new() -> Self {
        let weigh = |_: &ChannelName, answer: &Arc<PresenceAnswer>| {
            u32::try_from(answer.clients.len()).unwrap_or(u32::MAX).saturating_add(1)
        };
        let answers =
            Cache::builder().max_capacity(MOST_CLIENTS).weigher(weigh).expire_after(LargeOnly).build();
        Self { answers }
    }

    /// The clients in a channel. Commands that come at the same time share one read.
    pub(crate) async fn of(
        &self,
        channel: &ChannelName,
        hot: &Hot,
    ) -> Result<Arc<PresenceAnswer>, ErrorCode> {
        let read = async {
            let clients = hot.in_time(hot.port.presence(channel.as_str())).await?;
            Ok(Arc::new(PresenceAnswer { clients, encoded: [OnceLock::new(), OnceLock::new()] }))
        };
        self.answers.try_get_with_by_ref(channel, read).await.map_err(|code: Arc<ErrorCode>| *code)
    }
}

//! Histories of channels in Redis.

use bytes::Bytes;
use mundotango_protocol::{Publication, StreamPosition};
use prost::Message as _;

use super::{RedisHotState, damaged, millis};
use crate::StoreError;
use crate::hot::{
    Append, Appended, HistoryLimits, HistoryPage, HistoryQuery, IDEMPOTENCY_TTL, IfMissing, new_epoch,
};

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

impl IfMissing {
    /// The offset before the first, as scripts take it; nothing where they fail.
    fn argument(self) -> String {
        match self {
            Self::StartAt(offset) => offset.to_string(),
            Self::Fail => String::new(),
        }
    }
}

impl RedisHotState {
    fn meta_key(&self, channel: &str) -> String {
        self.link.key("history-meta", channel)
    }

    fn list_key(&self, channel: &str) -> String {
        self.link.key("history", channel)
    }

    /// The secret from which epochs of unread histories are derived; lost with the rest of Redis.
    fn secret_key(&self) -> String {
        self.link.key("epoch-secret", "")
    }

    pub(super) async fn append_to_history(
        &self,
        channel: &str,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let Append { publication, limits, idempotency_key, version } = append;
        if limits.is_none() && idempotency_key.is_none() {
            return Ok(Appended::New(StreamPosition::default()));
        }
        let mut call = self.scripts.append.prepare_invoke();
        let idempotency = idempotency_key.as_deref().unwrap_or_default();
        call.key(self.meta_key(channel)).key(self.list_key(channel));
        call.key(format!("{}:{idempotency}", self.link.key("published", channel)));
        call.key(self.secret_key());
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
        call.arg(limits.map(|limits| limits.if_missing.argument()).unwrap_or_default()).arg(channel);
        let (outcome, offset, epoch): (String, String, String) = self.link.script(&call).await?;
        let position = position(&offset, epoch)?;
        match outcome.as_str() {
            "new" => Ok(Appended::New(position)),
            "repeated" => Ok(Appended::Repeated(position)),
            "outdated" => Ok(Appended::Outdated(position)),
            "not begun" => Err(StoreError::NotBegun),
            _ => Err(damaged("an answer")),
        }
    }

    pub(super) async fn read_history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        let mut call = self.scripts.history.prepare_invoke();
        call.key(self.meta_key(channel)).key(self.list_key(channel)).key(self.secret_key());
        call.arg(query.since.map(|since| since.to_string()).unwrap_or_default());
        call.arg(query.limit.map(|limit| limit.to_string()).unwrap_or_default());
        call.arg(if query.reverse { "reverse" } else { "" });
        call.arg(millis(limits.meta_ttl)).arg(new_epoch()).arg(limits.if_missing.argument()).arg(channel);
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

    pub(super) async fn begin_epoch(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(self.meta_key(channel)).key(self.list_key(channel));
        call.arg(epoch).arg(millis(limits.meta_ttl)).arg(limits.if_missing.argument());
        match self.link.script::<String>(&call).await?.as_str() {
            "" => Ok(()),
            "not begun" => Err(StoreError::NotBegun),
            _ => Err(damaged("an answer")),
        }
    }
}

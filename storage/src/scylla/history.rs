//! Long histories on a CQL server: blocks of offsets, a partition each, and the list of blocks that have any.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use mundotango_protocol::Publication;
use prost::Message as _;

use super::query::Query;
use super::session::Cql;
use super::value::{damaged, limit, ttl_of};
use crate::StoreError;
use crate::history::{HistoryRange, HistoryStore, MAX_HISTORY_TTL};

/// Offsets of a block. A part of the tables' layout.
const BLOCK: u64 = 1000;
/// Blocks that are read at a time.
const BLOCKS: usize = 64;
/// Blocks that are looked into, or forgotten, at the same time.
const AT_ONCE: usize = 16;

static KEEP: Query = Query::write(
    "publications",
    "INSERT INTO publications (channel, block, number, epoch, publication) VALUES (?, ?, ?, ?, ?) USING TTL ?",
);
static LIST: Query = Query::write(
    "publication_blocks",
    "INSERT INTO publication_blocks (channel, block) VALUES (?, ?) USING TTL ?",
);
static BLOCKS_UP: Query = Query::read(
    "publication_blocks",
    "SELECT block FROM publication_blocks WHERE channel = ? AND block >= ? AND block <= ? LIMIT ?",
);
static BLOCKS_DOWN: Query = Query::read(
    "publication_blocks",
    "SELECT block FROM publication_blocks WHERE channel = ? AND block >= ? AND block <= ? ORDER BY block DESC LIMIT ?",
);
static UP: Query = Query::read(
    "publications",
    "SELECT publication FROM publications WHERE channel = ? AND block = ? AND number > ? AND number < ? LIMIT ?",
);
static DOWN: Query = Query::read(
    "publications",
    "SELECT publication FROM publications WHERE channel = ? AND block = ? AND number > ? AND number < ? \
     ORDER BY number DESC LIMIT ?",
);
static ALL_BLOCKS: Query =
    Query::read("publication_blocks", "SELECT block FROM publication_blocks WHERE channel = ?");
static FORGET: Query =
    Query::write("publications", "DELETE FROM publications WHERE channel = ? AND block = ? AND number <= ?");

fn big(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn block_of(offset: u64) -> i64 {
    big(offset / BLOCK)
}

impl Cql {
    /// Lists a block that is to have a publication for as long as `ttl`. A row of the list lives a tenth longer, so each
    /// node needs to write it once in that time at most, and few that are listed are empty.
    async fn list_block(&self, channel: &str, block: i64, ttl: Duration) -> Result<(), StoreError> {
        let key = (channel.to_owned(), block);
        let (now, listed) = (Instant::now(), ttl + (ttl / 10).max(Duration::from_secs(1)));
        if self.listed.get(&key).await.is_some_and(|until| until >= now + ttl) {
            return Ok(());
        }
        self.write(&LIST, (channel, block, ttl_of(listed))).await?;
        self.listed.insert(key, now + listed).await;
        Ok(())
    }

    /// Keeps a publication that is bytes already.
    pub(super) async fn keep_bytes(
        &self,
        channel: &str,
        epoch: &str,
        offset: u64,
        publication: Vec<u8>,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let (block, ttl) = (block_of(offset), ttl.min(MAX_HISTORY_TTL));
        self.list_block(channel, block, ttl).await?;
        self.write(&KEEP, (channel, block, big(offset), epoch, publication, ttl_of(ttl))).await
    }

    async fn blocks(&self, channel: &str, range: HistoryRange) -> Result<Vec<i64>, StoreError> {
        let query = if range.reverse { &BLOCKS_DOWN } else { &BLOCKS_UP };
        let (first, last) = (block_of(range.above.saturating_add(1)), block_of(range.below - 1));
        let blocks = self.rows::<(i64,)>(query, (channel, first, last, limit(BLOCKS))).await?;
        Ok(blocks.into_iter().map(|(block,)| block).collect())
    }
}

#[async_trait]
impl HistoryStore for Cql {
    async fn keep(
        &self,
        channel: &str,
        epoch: &str,
        publication: Publication,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.keep_bytes(channel, epoch, publication.offset, publication.encode_to_vec(), ttl).await
    }

    async fn kept(&self, channel: &str, mut range: HistoryRange) -> Result<Vec<Publication>, StoreError> {
        let mut kept = Vec::new();
        let query = if range.reverse { &DOWN } else { &UP };
        while range.below > range.above.saturating_add(1) {
            let blocks = self.blocks(channel, range).await?;
            let is_last = blocks.len() < BLOCKS;
            let (mut blocks, mut at_once) = (blocks.as_slice(), 1);
            while !blocks.is_empty() {
                let left = range.limit - kept.len();
                if left == 0 {
                    return Ok(kept);
                }
                let (some, others) = blocks.split_at(at_once.min(blocks.len()));
                blocks = others;
                let read = some.iter().map(|block| {
                    let values = (channel, *block, big(range.above), big(range.below), limit(left));
                    self.rows::<(Vec<u8>,)>(query, values)
                });
                let rows: Vec<_> = try_join_all(read).await?.into_iter().flatten().take(left).collect();
                // The first blocks of a list may be empty by now; more and more are looked into at a time then.
                at_once = if rows.is_empty() { (at_once * 2).min(AT_ONCE) } else { 1 };
                for (bytes,) in rows {
                    kept.push(Publication::decode(Bytes::from(bytes)).map_err(damaged)?);
                }
                let Some(last) = some.last() else { break };
                let start = u64::try_from(*last).map_err(damaged)? * BLOCK;
                if range.reverse {
                    range.below = start;
                } else {
                    range.above = start + BLOCK - 1;
                }
            }
            if is_last {
                break;
            }
        }
        Ok(kept)
    }

    async fn forget(&self, channel: &str, upto: u64) -> Result<(), StoreError> {
        // The blocks stay listed, as nodes remember that they are; the list ends by itself.
        let blocks = self.all_rows::<(i64,)>(&ALL_BLOCKS, (channel,)).await?;
        let blocks: Vec<_> = blocks.into_iter().filter(|(block,)| *block <= block_of(upto)).collect();
        for some in blocks.chunks(AT_ONCE) {
            let forgetting = some.iter().map(|(block,)| self.write(&FORGET, (channel, *block, big(upto))));
            try_join_all(forgetting).await?;
        }
        Ok(())
    }
}

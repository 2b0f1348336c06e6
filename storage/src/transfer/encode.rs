//! Writing a stream.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::record::{Record, Table};
use super::walk::{pages, walk};
use super::{STREAM_FORMAT, Totals, TransferError, aside};
use crate::db::Schema;
use crate::hex::hex;
use crate::{StoreError, Stores};

/// Bytes after which a block ends.
const BLOCK_BYTES: usize = 256 * 1024;

/// What a stream says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of its format.
    pub format: u32,
    /// Tells it from all others.
    pub stream: String,
    /// The program that wrote it.
    pub product: String,
    /// The engine that it came from.
    pub engine: String,
    /// When it began.
    pub at: Timestamp,
    /// The names of all tables.
    pub tables: Vec<String>,
}

impl Header {
    /// The header of a new stream.
    pub fn new(schema: &Schema, product: &str, engine: &str) -> Self {
        Self {
            format: STREAM_FORMAT,
            stream: mundotango_protocol::new_id(),
            product: product.to_owned(),
            engine: engine.to_owned(),
            at: crate::now(),
            tables: Table::all(schema).into_iter().map(|table| table.name().to_owned()).collect(),
        }
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
pub(super) struct HeaderLine {
    pub(super) mundotango: Header,
}

/// The line that closes a block.
#[derive(Serialize, Deserialize)]
pub(super) struct BlockLine {
    pub(super) block: u64,
    pub(super) lines: u64,
    pub(super) sha256: String,
}

/// The last line.
#[derive(Serialize, Deserialize)]
pub(super) struct TrailerLine {
    pub(super) trailer: Box<RawValue>,
    pub(super) sha256: String,
}

/// The contents of the last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// How many blocks there are.
    pub blocks: u64,
    /// What each table holds.
    pub totals: Totals,
}

/// The digest of bytes behind the digest of those before.
pub(super) fn chained(before: &[u8; 32], bytes: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(before);
    for bytes in bytes {
        digest.update(bytes);
    }
    digest.finalize().into()
}

fn line(value: &impl Serialize) -> Result<Vec<u8>, TransferError> {
    let mut line = serde_json::to_vec(value).map_err(|error| StoreError::Damaged(error.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

/// Makes blocks of records.
struct Encoder {
    /// The lines of the block that is open.
    open: Vec<u8>,
    lines: u64,
    blocks: u64,
    digest: [u8; 32],
    totals: Totals,
    /// Whole blocks.
    ready: Vec<Bytes>,
}

impl Encoder {
    fn new(header: Header) -> Result<Self, TransferError> {
        let mut totals = Totals::default();
        for table in &header.tables {
            totals.of(table);
        }
        let open = line(&HeaderLine { mundotango: header })?;
        Ok(Self { open, lines: 1, blocks: 0, digest: [0; 32], totals, ready: Vec::new() })
    }

    fn push(&mut self, record: &Record) -> Result<(), TransferError> {
        record.write(&mut self.open)?;
        self.lines += 1;
        self.totals.add(record);
        if self.open.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<(), TransferError> {
        let mut block = std::mem::take(&mut self.open);
        self.digest = chained(&self.digest, &[&block]);
        self.blocks += 1;
        let lines = std::mem::take(&mut self.lines);
        block.extend(line(&BlockLine { block: self.blocks, lines, sha256: hex(&self.digest) })?);
        self.ready.push(block.into());
        Ok(())
    }

    fn finish(mut self) -> Result<(Vec<Bytes>, Totals), TransferError> {
        if self.lines > 0 {
            self.close_block()?;
        }
        let trailer = line(&Trailer { blocks: self.blocks, totals: self.totals.clone() })?;
        let text = String::from_utf8_lossy(&trailer).trim_end().to_owned();
        let sha256 = hex(&chained(&self.digest, &[text.as_bytes()]));
        let trailer = RawValue::from_string(text).map_err(|error| StoreError::Damaged(error.to_string()))?;
        self.ready.push(line(&TrailerLine { trailer, sha256 })?.into());
        Ok((self.ready, self.totals))
    }
}

/// Writes all that a store holds as a stream, while the store serves, and tells what it holds. Out of the embedded store it
/// is what was there at one moment; out of a CQL server each partition is of one version, and what is made or changed
/// meanwhile may be in it or not.
pub async fn export(
    stores: &Stores,
    schema: &Schema,
    header: Header,
    out: mpsc::Sender<Bytes>,
) -> Result<Totals, TransferError> {
    let (sender, mut receiver) = pages();
    let encoding = async {
        let mut encoder = Encoder::new(header)?;
        while let Some(records) = receiver.recv().await {
            encoder = aside(move || {
                records.iter().try_for_each(|record| encoder.push(record))?;
                Ok(encoder)
            })
            .await?;
            for block in std::mem::take(&mut encoder.ready) {
                out.send(block).await.map_err(|_| TransferError::Gone)?;
            }
        }
        Ok(encoder)
    };
    // The trailer comes only if all was read.
    let ((), encoder) = tokio::try_join!(walk(stores.db.whole()?, schema, sender), encoding)?;
    let (rest, totals) = encoder.finish()?;
    for block in rest {
        out.send(block).await.map_err(|_| TransferError::Gone)?;
    }
    Ok(totals)
}

//! Reading a stream: nothing of a block comes out before its digest is found right.

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

pub use super::encode::Trailer;
use super::encode::{BlockLine, Header, HeaderLine, TrailerLine, chained};
use super::record::Record;
use super::{STREAM_FORMAT, TransferError};
use crate::db::Schema;
use crate::hex::hex;

/// Longest block. Writers close one after some hundred kilobytes, with a line of up to 256 rows more.
const MAX_BLOCK_BYTES: usize = 256 * 1024 * 1024;

/// A part of a stream.
#[derive(Clone, Debug)]
pub enum Part {
    /// What the stream says of itself; comes first.
    Header(Header),
    /// Records.
    Block(Block),
    /// The end.
    Trailer(Trailer),
}

/// Lines whose digest is right.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its place, from 1.
    pub number: u64,
    lines: Vec<Bytes>,
    /// The number of its first line.
    line: u64,
    byte: u64,
}

impl Block {
    /// Whether all lines can be read.
    pub fn check(&self, schema: &Schema) -> Result<(), TransferError> {
        self.records(schema).map(drop)
    }

    /// The records of the lines.
    pub(super) fn records(&self, schema: &Schema) -> Result<Vec<Record>, TransferError> {
        let numbered = (self.line..).zip(&self.lines);
        numbered
            .map(|(line, text)| {
                let damaged = |error: crate::StoreError| TransferError::Damaged {
                    line,
                    byte: self.byte,
                    why: error.to_string(),
                };
                Record::read(text, schema).map_err(damaged)
            })
            .collect()
    }
}

/// Takes a stream apart, whatever pieces it comes in.
pub struct Decoder {
    buffer: BytesMut,
    /// How much of the buffer holds no line break.
    searched: usize,
    /// The number of the next line, from 1.
    line: u64,
    /// Bytes before the buffer.
    byte: u64,
    lines: Vec<Bytes>,
    /// The bytes of the open block, and where it began.
    block_bytes: usize,
    block_line: u64,
    block_byte: u64,
    open: Sha256,
    digest: [u8; 32],
    blocks: u64,
    is_done: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            line: 1,
            byte: 0,
            lines: Vec::new(),
            block_bytes: 0,
            block_line: 1,
            block_byte: 0,
            open: Sha256::new_with_prefix([0; 32]),
            digest: [0; 32],
            blocks: 0,
            is_done: false,
        }
    }
}

impl Decoder {
    fn damaged(&self, why: impl Into<String>) -> TransferError {
        TransferError::Damaged { line: self.line, byte: self.byte, why: why.into() }
    }

    /// Takes more of the stream, and gives what is complete by it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Part>, TransferError> {
        self.buffer.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(found) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(self.searched + found + 1).freeze();
            self.searched = 0;
            self.take(&line, &mut parts)?;
            self.line += 1;
            self.byte += line.len() as u64;
        }
        self.searched = self.buffer.len();
        if self.block_bytes + self.buffer.len() > MAX_BLOCK_BYTES {
            return Err(self.damaged("a block has no end"));
        }
        Ok(parts)
    }

    /// Whether all has come.
    pub fn end(&self) -> Result<(), TransferError> {
        if self.is_done && self.buffer.is_empty() {
            return Ok(());
        }
        Err(self.damaged("the stream is cut off: its trailer is missing"))
    }

    fn take(&mut self, line: &Bytes, parts: &mut Vec<Part>) -> Result<(), TransferError> {
        if self.is_done {
            return Err(self.damaged("something follows the trailer"));
        }
        if self.line == 1 && !line.starts_with(b"{\"mundotango\":") {
            return Err(self.damaged("this is no stream of MundoTango"));
        }
        if line.starts_with(b"{\"block\":") {
            return self.close_block(line, parts);
        }
        if line.starts_with(b"{\"trailer\":") {
            return self.finish(line, parts);
        }
        self.open.update(line);
        self.block_bytes += line.len();
        let mut text = line.clone();
        text.truncate(line.len() - 1);
        self.lines.push(text);
        Ok(())
    }

    fn close_block(&mut self, line: &Bytes, parts: &mut Vec<Part>) -> Result<(), TransferError> {
        let close: BlockLine =
            serde_json::from_slice(line).map_err(|error| self.damaged(error.to_string()))?;
        let digest: [u8; 32] = self.open.finalize_reset().into();
        let (block, wrong) = (self.blocks + 1, hex(&digest) != close.sha256);
        if close.block != block || close.lines != self.lines.len() as u64 || wrong {
            return Err(TransferError::Damaged {
                line: self.block_line,
                byte: self.block_byte,
                why: format!("block {block}, which ends at line {}, is not as it was written", self.line),
            });
        }
        (self.blocks, self.digest) = (block, digest);
        self.open.update(digest);
        let mut block = Block {
            number: block,
            lines: std::mem::take(&mut self.lines),
            line: self.block_line,
            byte: self.block_byte,
        };
        (self.block_bytes, self.block_line) = (0, self.line + 1);
        self.block_byte = self.byte + line.len() as u64;
        if block.number == 1 && !block.lines.is_empty() {
            let first = block.lines.remove(0);
            block.line += 1;
            let header: HeaderLine =
                serde_json::from_slice(&first).map_err(|error| self.damaged(error.to_string()))?;
            let format = header.mundotango.format;
            if format != STREAM_FORMAT {
                return Err(TransferError::Refused(format!(
                    "the stream has format {format}, this program knows {STREAM_FORMAT}"
                )));
            }
            parts.push(Part::Header(header.mundotango));
        }
        parts.push(Part::Block(block));
        Ok(())
    }

    fn finish(&mut self, line: &Bytes, parts: &mut Vec<Part>) -> Result<(), TransferError> {
        let last: TrailerLine =
            serde_json::from_slice(line).map_err(|error| self.damaged(error.to_string()))?;
        let digest = chained(&self.digest, &[last.trailer.get().as_bytes()]);
        let trailer: Trailer =
            serde_json::from_str(last.trailer.get()).map_err(|error| self.damaged(error.to_string()))?;
        if hex(&digest) != last.sha256 || trailer.blocks != self.blocks || !self.lines.is_empty() {
            return Err(self.damaged("the trailer is not of this stream"));
        }
        self.is_done = true;
        parts.push(Part::Trailer(trailer));
        Ok(())
    }
}

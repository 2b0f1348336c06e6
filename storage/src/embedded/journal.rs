//! Reads the database's journals without changing them.
//!
//! The database takes what follows the first record that it cannot read for the trace of a crash, and cuts it off. Here it
//! is known first whether something follows that can be read.
//!
//! A journal is a row of batches: a start (tag, count of items, sequence number), items (tag, type, compression, table,
//! lengths, key, value), and an end (tag, checksum of the items, trailer). Behind the last one are zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::marks::{self, Mark};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
const START_BYTES: usize = 13;
/// A step of the sequence number that no store takes between two batches, so that it stands for flipped bits.
const IMPOSSIBLE_STEP: u64 = 1 << 40;

/// A batch that is whole.
#[derive(Debug)]
pub(super) struct Batch {
    /// Where it lies in the file.
    pub(super) place: Range<usize>,
    /// The database's own number, which rises.
    pub(super) seqno: u64,
    /// The marks in it, by the number of the table's folder.
    pub(super) marks: Vec<(u64, Mark)>,
}

/// The journals of a database folder by their numbers, the one that is written to last.
pub(super) fn list(database: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(database)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|end| end.to_str())) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// The bytes of a journal without the zeros behind them.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut end = 0;
    // A new journal is 64 MiB of hole, which need not be read.
    loop {
        let part_end = seek(&file, SeekFrom::Data(end)).and_then(|data| seek(&file, SeekFrom::Hole(data)));
        match part_end {
            Ok(part_end) => end = part_end,
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(_) => {
                end = file.metadata()?.len();
                break;
            }
        }
    }
    let mut bytes = vec![0; usize::try_from(end).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Ok(bytes)
}

/// Shows all batches that are whole, and returns where there is something else. `last` is the sequence number before.
pub(super) fn scan(bytes: &[u8], last: &mut Option<u64>, mut each: impl FnMut(&Batch)) -> Vec<Range<usize>> {
    let mut damages = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let fits = |batch: &Batch| {
            last.is_none_or(|last| batch.seqno > last && batch.seqno - last < IMPOSSIBLE_STEP)
        };
        if let Some(batch) = batch_at(bytes, at).filter(fits) {
            each(&batch);
            *last = Some(batch.seqno);
            at = batch.place.end;
        } else {
            let next = (at + 1..bytes.len()).find(|next| begins_batch(bytes, *next));
            let end = next.unwrap_or(bytes.len());
            damages.push(at..end);
            at = end;
        }
    }
    damages
}

fn begins_batch(bytes: &[u8], at: usize) -> bool {
    bytes[at] == START
        && matches!(bytes.get(at + START_BYTES), Some(&(ITEM | CLEAR)))
        && batch_at(bytes, at).is_some()
}

/// The batch that begins there, if it is whole.
fn batch_at(bytes: &[u8], start: usize) -> Option<Batch> {
    let mut rest = Rest { bytes, at: start };
    if rest.byte()? != START {
        return None;
    }
    let (count, seqno) = (u32::from_le_bytes(rest.take()?), rest.number()?);
    let items = rest.at;
    let mut found = Vec::new();
    for _ in 0..count {
        match rest.byte()? {
            ITEM => item(&mut rest, &mut found)?,
            CLEAR => drop(rest.number()?),
            _ => return None,
        }
    }
    let checksum = xxh3_64(&bytes[items..rest.at]);
    let is_whole = rest.byte()? == END && rest.number()? == checksum && rest.slice(TRAILER.len())? == TRAILER;
    is_whole.then_some(Batch { place: start..rest.at, seqno, marks: found })
}

/// Reads an item behind its tag, and adds it to the marks if it is one.
fn item(rest: &mut Rest<'_>, marks: &mut Vec<(u64, Mark)>) -> Option<()> {
    let [_type, compression] = rest.take()?;
    let table = rest.number()?;
    let key = usize::from(u16::from_le_bytes(rest.take()?));
    let _length = rest.take::<4>()?;
    let value = usize::try_from(u32::from_le_bytes(rest.take()?)).ok()?;
    let (key, value) = (rest.slice(key)?, rest.slice(value)?);
    if key == marks::KEY && compression == 0 {
        marks.extend(Mark::decode(value).map(|mark| (table, mark)));
    }
    Some(())
}

/// What is left to read.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let slice = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(slice)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

//! The witness: a small file beside the database that holds what was acknowledged last.
//!
//! It is written after the journal is on disk and before the caller is told, and not synced: after a crash of the machine
//! it may be behind the journal, and never before it. So a store that is behind its witness has lost something.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::marks::Mark;

const FILE: &str = "witness";
const MAGIC: &[u8; 4] = b"MTW1";
/// Two places are written by turns, so that a write that is cut off leaves the one before it.
const PLACE_BYTES: u64 = 16 * 1024;
const HEAD_BYTES: usize = 32;
const TABLE_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 8;

/// How far a table was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The last commit that wrote to it.
    pub(super) number: u64,
    /// Up to this commit its operator put up with losses.
    pub(super) accepted: u64,
}

/// What was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Which store it is of: a random number.
    pub(super) store: u64,
    /// When, in milliseconds since 1970.
    pub(super) at: i64,
    /// By the number of a table's folder.
    pub(super) tables: BTreeMap<u64, Reached>,
}

/// What a folder's witness says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// There is no such file.
    Missing,
    /// Neither of its places can be read.
    Damaged,
    Of(State),
}

pub(super) fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

pub(super) fn read(folder: &Path) -> io::Result<Statement> {
    let bytes = match fs::read(path_in(folder)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Statement::Missing),
        Err(error) => return Err(error),
    };
    let place_bytes = usize::try_from(PLACE_BYTES).unwrap_or(usize::MAX);
    let places: Vec<_> = bytes.chunks(place_bytes).filter_map(decode).collect();
    if places.len() < 2 {
        tracing::warn!("a place of the store's witness is damaged, as after a crash of the machine");
    }
    let newest = places.into_iter().max_by_key(|(turn, _)| *turn);
    Ok(newest.map_or(Statement::Damaged, |(_, state)| Statement::Of(state)))
}

fn encode(turn: u64, state: &State) -> Vec<u8> {
    let count = u32::try_from(state.tables.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + state.tables.len() * TABLE_BYTES + CHECKSUM_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(count.to_be_bytes());
    bytes.extend(turn.to_be_bytes());
    bytes.extend(state.store.to_be_bytes());
    bytes.extend(state.at.to_be_bytes());
    for (table, reached) in &state.tables {
        for number in [*table, reached.number, reached.accepted] {
            bytes.extend(number.to_be_bytes());
        }
    }
    bytes.extend(xxh3_64(&bytes).to_be_bytes());
    bytes
}

fn decode(place: &[u8]) -> Option<(u64, State)> {
    let count = usize::try_from(u32::from_be_bytes(place.get(4..8)?.try_into().ok()?)).ok()?;
    let end = HEAD_BYTES.checked_add(count.checked_mul(TABLE_BYTES)?)?;
    let (written, checksum) = place.get(..end.checked_add(CHECKSUM_BYTES)?)?.split_at(end);
    if !written.starts_with(MAGIC) || xxh3_64(written).to_be_bytes() != checksum {
        return None;
    }
    let (numbers, _) = written.get(8..)?.as_chunks::<8>();
    let (&[turn, store, at], tables) = numbers.split_first_chunk::<3>()?;
    let (tables, _) = tables.as_chunks::<3>();
    let reached = |numbers: &[[u8; 8]; 3]| {
        let [table, number, accepted] = numbers.map(u64::from_be_bytes);
        (table, Reached { number, accepted })
    };
    let state = State {
        store: u64::from_be_bytes(store),
        at: i64::from_be_bytes(at),
        tables: tables.iter().map(reached).collect(),
    };
    Some((u64::from_be_bytes(turn), state))
}

/// The witness of an open store.
pub(super) struct Witness {
    file: File,
    turn: u64,
    state: State,
}

impl Witness {
    /// Makes the folder's witness anew, on disk when this returns.
    pub(super) fn create(folder: &Path, state: State) -> io::Result<Self> {
        let (path, beside) = (path_in(folder), folder.join("witness.new"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut witness = Self { file, turn: 0, state };
        witness.write()?;
        witness.write()?;
        witness.file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(witness)
    }

    /// The number of the next commit.
    pub(super) fn next_number(&self) -> u64 {
        self.state.tables.values().map(|reached| reached.number).max().unwrap_or(0) + 1
    }

    /// The mark of the commit with this number in a table.
    pub(super) fn mark(&self, table: u64, number: u64) -> Mark {
        let before = self.state.tables.get(&table).map_or(0, |reached| reached.number);
        Mark { store: self.state.store, number, before }
    }

    /// Notes a commit that is on disk, before it is acknowledged.
    pub(super) fn committed(&mut self, tables: &[u64], number: u64) -> io::Result<()> {
        for table in tables {
            self.state.tables.entry(*table).or_default().number = number;
        }
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        self.turn += 1;
        self.state.at = Timestamp::now().as_millisecond();
        let bytes = encode(self.turn, &self.state);
        if bytes.len() as u64 > PLACE_BYTES {
            return Err(io::Error::other("a witness has no room for so many tables"));
        }
        self.file.write_all_at(&bytes, self.turn % 2 * PLACE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_says_what_was_written_last_also_when_one_place_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Statement::Missing);
        let tables = BTreeMap::from([(3, Reached { number: 7, accepted: 2 }), (5, Reached::default())]);
        let mut witness =
            Witness::create(folder.path(), State { store: 9, at: 0, tables: tables.clone() }).unwrap();
        assert_eq!((witness.next_number(), witness.mark(3, 8).before, witness.mark(4, 8).before), (8, 7, 0));
        witness.committed(&[5], 8).unwrap();
        let said = |folder: &Path| match read(folder).unwrap() {
            Statement::Of(state) => (state.store, state.tables),
            other => panic!("{other:?}"),
        };
        let newest = BTreeMap::from([
            (3, Reached { number: 7, accepted: 2 }),
            (5, Reached { number: 8, accepted: 0 }),
        ]);
        assert_eq!(said(folder.path()), (9, newest));
        // The third write is in the second place.
        witness.file.write_all_at(b"torn", PLACE_BYTES + 50).unwrap();
        assert_eq!(said(folder.path()), (9, tables));
        witness.file.write_all_at(b"torn", 50).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Statement::Damaged);
    }
}

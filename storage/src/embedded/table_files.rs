//! The files of tables: whether they are those that the node wrote.
//!
//! A table's folder has a file `current`, which names a version file and holds its checksum; the version file lists the
//! table files and the checksum of each. The database compares none of these. To read all table files at each start would
//! take too long, so what was compared once is known again by its length and its ends, where a file's own list of its
//! parts lies; the blocks between them have checksums that each read compares.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::{AbstractTree as _, Cache, SeqNo};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::folder::OpenError;
use super::marks::{self, Mark};
use super::tables::Tables;

const FILE: &str = "tables";
/// Bytes at the end of a file that are compared at each start.
const END_BYTES: u64 = 16 * 1024;
/// Bytes at its beginning.
const BEGINNING_BYTES: u64 = 4 * 1024;
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// How a file is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    length: u64,
    ends: u64,
}

impl Looks {
    fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let part = |start: u64, most: u64| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; usize::try_from(most.min(length - start)).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, start)?;
            Ok(bytes)
        };
        let mut ends = part(0, BEGINNING_BYTES)?;
        ends.extend(part(length.saturating_sub(END_BYTES), END_BYTES)?);
        Ok(Self { length, ends: xxh3_64(&ends) })
    }
}

/// The table files that were compared, by their checksums. To lose this list costs the next start the time to read them.
#[derive(Default)]
pub(super) struct KnownFiles {
    path: PathBuf,
    files: BTreeMap<String, Looks>,
}

impl KnownFiles {
    pub(super) fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let read = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, files: read.unwrap_or_default() }
    }

    /// None of the files, to begin a new list.
    pub(super) fn cleared(&self) -> Self {
        Self { path: self.path.clone(), files: BTreeMap::new() }
    }

    /// Adds those of the open tables, which the node has written itself, and keeps the list for the next start.
    pub(super) fn keep(&mut self, tables: &Tables) -> io::Result<()> {
        for table in tables.all() {
            for file in table.tree.current_version().iter_tables() {
                let checksum = format!("{:032x}", file.checksum().into_u128());
                // One that is gone meanwhile was merged into others.
                if let (false, Ok(looks)) = (self.files.contains_key(&checksum), Looks::of(&file.path)) {
                    self.files.insert(checksum, looks);
                }
            }
        }
        let beside = self.path.with_extension("new");
        fs::write(&beside, serde_json::to_vec(&self.files)?)?;
        fs::rename(&beside, &self.path)
    }
}

fn damaged(path: PathBuf, what: impl Into<Box<dyn std::error::Error>>) -> OpenError {
    OpenError::TableDamaged { path, what: what.into().to_string() }
}

fn read_file(path: &Path) -> Result<Vec<u8>, OpenError> {
    fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(path.to_owned(), "is missing"),
        _ => damaged(path.to_owned(), error),
    })
}

/// Compares all files of a table's folder with their checksums.
pub(super) fn verify(folder: &Path, known: &KnownFiles, compared: &mut KnownFiles) -> Result<(), OpenError> {
    let path = folder.join("current");
    let current = read_file(&path)?;
    let split = current.split_first_chunk::<8>().and_then(|(version, rest)| {
        let (checksum, rest) = rest.split_first_chunk::<16>()?;
        (rest == [0]).then_some((u64::from_le_bytes(*version), u128::from_le_bytes(*checksum)))
    });
    let Some((version, checksum)) = split else { return Err(damaged(path, "cannot be read")) };
    let path = folder.join(format!("v{version}"));
    if hash(&read_file(&path)?) != checksum {
        return Err(damaged(path, "is not what the node wrote"));
    }
    let files = listed(&path).map_err(|error| damaged(path, error))?;
    for (id, checksum) in files {
        let path = folder.join("tables").join(id.to_string());
        let name = format!("{checksum:032x}");
        let looks = Looks::of(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(path.clone(), "is missing"),
            _ => damaged(path.clone(), error),
        })?;
        if known.files.get(&name) != Some(&looks) {
            let found = hash_of_file(&path).map_err(|error| damaged(path.clone(), error))?;
            if found != checksum {
                return Err(damaged(path, "is not what the node wrote"));
            }
        }
        compared.files.insert(name, looks);
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

fn hash_of_file(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3Default::new();
    let mut part = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hasher.digest128()),
            read => hasher.update(&part[..read]),
        }
    }
}

/// The table files that a version file lists, with their checksums.
fn listed(version: &Path) -> Result<Vec<(u64, u128)>, Box<dyn std::error::Error>> {
    let archive = sfa::Reader::new(version).map_err(|error| format!("{error:?}"))?;
    let section = archive.toc().section(b"tables").ok_or("lists no table files")?;
    let mut bytes = section.buf_reader(version)?;
    let mut files = Vec::new();
    let [levels] = take(&mut bytes)?;
    for _ in 0..levels {
        let [runs] = take(&mut bytes)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut bytes)?) {
                let id = u64::from_le_bytes(take(&mut bytes)?);
                let [_type] = take(&mut bytes)?;
                files.push((id, u128::from_le_bytes(take(&mut bytes)?)));
                let _sequence_number = take::<8>(&mut bytes)?;
            }
        }
    }
    Ok(files)
}

fn take<const N: usize>(bytes: &mut impl io::Read) -> io::Result<[u8; N]> {
    let mut taken = [0; N];
    bytes.read_exact(&mut taken)?;
    Ok(taken)
}

/// The mark in a table's files, of which all that is in its journals is left out.
pub(super) fn mark(folder: &Path) -> Result<Option<Mark>, OpenError> {
    let unreadable = |error: lsm_tree::Error| damaged(folder.to_owned(), error);
    let tree = lsm_tree::Config::new(
        folder,
        lsm_tree::SequenceNumberCounter::default(),
        lsm_tree::SequenceNumberCounter::default(),
    )
    .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
    .open()
    .map_err(unreadable)?;
    let row = tree.get(marks::KEY, SeqNo::MAX).map_err(unreadable)?;
    Ok(row.and_then(|row| Mark::decode(&row)))
}

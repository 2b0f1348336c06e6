//! The file in which hot state waits for the next start: one Protobuf message behind a mark and a checksum.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use mundotango_protocol::Publication;
use prost::Message as _;
use tokio::time::Instant;

use super::{History, Kept};
use crate::hot::{UserStatus, Version};

/// Starts every file of this format.
const MARK: &[u8; 8] = b"MTHOT\0\0\x01";

#[derive(Clone, PartialEq, prost::Message)]
struct Saved {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
    /// Milliseconds of the Unix clock at the time of saving.
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(message, repeated, tag = "3")]
    users: Vec<User>,
}

/// When a user was last here. All sessions end before hot state is saved.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct User {
    #[prost(string, tag = "1")]
    id: String,
    /// Milliseconds of the Unix clock.
    #[prost(int64, tag = "2")]
    last_seen: i64,
}

impl User {
    pub(super) fn of(id: &str, status: UserStatus) -> Self {
        Self { id: id.to_owned(), last_seen: status.last_seen.as_millisecond() }
    }

    pub(super) fn into_status(self) -> Option<(String, UserStatus)> {
        let last_seen = Timestamp::from_millisecond(self.last_seen).ok()?;
        Some((self.id, UserStatus { online_since: None, last_seen }))
    }
}

/// One channel's history. Times are milliseconds that were left at the time of saving.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stream {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(string, tag = "2")]
    epoch: String,
    #[prost(uint64, tag = "3")]
    top: u64,
    #[prost(uint64, tag = "4")]
    remembered_for: u64,
    #[prost(message, repeated, tag = "5")]
    publications: Vec<SavedPublication>,
    #[prost(uint64, optional, tag = "6")]
    version: Option<u64>,
    #[prost(string, tag = "7")]
    version_epoch: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedPublication {
    #[prost(message, optional, tag = "1")]
    publication: Option<Publication>,
    #[prost(uint64, tag = "2")]
    kept_for: u64,
}

fn millis_left(until: Instant, now: Instant) -> u64 {
    u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
}

impl Stream {
    pub(super) fn of(channel: &str, history: &History, now: Instant) -> Self {
        let saved = history.kept.iter().map(|kept| SavedPublication {
            publication: Some(kept.publication.clone()),
            kept_for: millis_left(kept.expires_at, now),
        });
        Self {
            channel: channel.to_owned(),
            epoch: history.epoch.clone(),
            top: history.top,
            remembered_for: millis_left(history.forget_at, now),
            publications: saved.collect(),
            version: history.version.as_ref().map(|version| version.number),
            version_epoch: history.version.as_ref().map(|version| version.epoch.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn into_history(self, now: Instant) -> (String, History) {
        let kept = self.publications.into_iter().filter_map(|saved| {
            Some(Kept {
                publication: saved.publication?,
                expires_at: now + Duration::from_millis(saved.kept_for),
            })
        });
        let history = History {
            epoch: self.epoch,
            top: self.top,
            kept: kept.collect(),
            version: self.version.map(|number| Version { number, epoch: self.version_epoch }),
            forget_at: now + Duration::from_millis(self.remembered_for),
        };
        (self.channel, history)
    }

    /// Takes off the time that the node was down.
    fn age(&mut self, millis: u64) {
        self.remembered_for = self.remembered_for.saturating_sub(millis);
        for publication in &mut self.publications {
            publication.kept_for = publication.kept_for.saturating_sub(millis);
        }
    }
}

/// FNV-1a, enough to tell a file that was not written to its end.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) fn write(path: &Path, streams: Vec<Stream>, users: Vec<User>) -> io::Result<()> {
    let saved = Saved { streams, at: Timestamp::now().as_millisecond(), users };
    let body = saved.encode_to_vec();
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(MARK)?;
    file.write_all(&checksum(&body).to_be_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(path)
}

pub(super) fn read_and_delete(path: &Path) -> io::Result<(Vec<Stream>, Vec<User>)> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(error),
    };
    fs::remove_file(path)?;
    sync_folder(path)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file of channel histories is damaged");
    let (head, body) = bytes.split_at_checked(MARK.len() + 8).ok_or_else(damaged)?;
    if !head.starts_with(MARK) || head[MARK.len()..] != checksum(body).to_be_bytes() {
        return Err(damaged());
    }
    let saved = Saved::decode(body).map_err(|_| damaged())?;
    let down = Timestamp::now().as_millisecond().saturating_sub(saved.at);
    let down = u64::try_from(down).unwrap_or_default();
    let mut streams = saved.streams;
    for stream in &mut streams {
        stream.age(down);
    }
    Ok((streams, saved.users))
}

/// Makes a rename or a removal in a file's folder last.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

//! The file in which hot state waits for the next start: one Protobuf message behind a mark and a checksum.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use jiff::Timestamp;
use mundotango_protocol::Publication;
use prost::Message as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use tokio::time::Instant;

use super::epochs::Epochs;
use super::history::{History, Kept};
use crate::hot::{UserStatus, Version};

/// Starts every file of this format.
const MARK: &[u8; 8] = b"MTHOT\0\0\x01";

/// Where streams are in the message: field 1, repeated. They are written and read one by one, as together they may be as
/// large as the memory.
const STREAMS: u32 = 1;

/// The message without its streams.
#[derive(Clone, PartialEq, prost::Message)]
struct Rest {
    /// Milliseconds of the Unix clock at the time of saving.
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(message, repeated, tag = "3")]
    users: Vec<User>,
    /// From which epochs are derived.
    #[prost(string, tag = "4")]
    secret: String,
    /// How many milliseconds old the secret was.
    #[prost(uint64, tag = "5")]
    secret_age: u64,
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
struct Checksum(u64);

impl Checksum {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Writes a file beside the one that is replaced at the end.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    checksum: Checksum,
    rest: Rest,
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let temporary = path.with_extension("new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Channels may be private, so nobody else reads the file.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut file = BufWriter::new(file);
        file.write_all(MARK)?;
        file.write_all(&[0; 8])?;
        Ok(Self {
            path: path.to_owned(),
            file,
            checksum: Checksum::new(),
            rest: Rest::default(),
            buffer: Vec::new(),
        })
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.checksum.add(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn stream(&mut self, stream: &Stream) -> io::Result<()> {
        encode_key(STREAMS, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(stream.encoded_len() as u64, &mut self.buffer);
        stream.encode(&mut self.buffer).map_err(io::Error::other)?;
        self.write_buffer()
    }

    pub(super) fn user(&mut self, user: User) {
        self.rest.users.push(user);
    }

    pub(super) fn finish(mut self, epochs: &Epochs, now: Instant) -> io::Result<()> {
        self.rest.at = Timestamp::now().as_millisecond();
        epochs.secret().clone_into(&mut self.rest.secret);
        self.rest.secret_age = u64::try_from(epochs.age(now).as_millis()).unwrap_or(u64::MAX);
        self.rest.encode(&mut self.buffer).map_err(io::Error::other)?;
        self.write_buffer()?;
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(MARK.len() as u64))?;
        file.write_all(&self.checksum.0.to_be_bytes())?;
        file.sync_all()?;
        fs::rename(self.path.with_extension("new"), &self.path)?;
        sync_folder(&self.path)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file of channel histories is damaged")
}

/// A file that was read and deleted.
pub(super) struct Reader {
    bytes: Bytes,
    rest: Rest,
    /// Milliseconds for which the node was down.
    down: u64,
}

impl Reader {
    /// Reads a file and deletes it; nothing if there is none.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        fs::remove_file(path)?;
        sync_folder(path)?;
        let (head, body) = bytes.split_at_checked(MARK.len() + 8).ok_or_else(damaged)?;
        let mut checksum = Checksum::new();
        checksum.add(body);
        if !head.starts_with(MARK) || head[MARK.len()..] != checksum.0.to_be_bytes() {
            return Err(damaged());
        }
        let rest = Rest::decode(body).map_err(|_| damaged())?;
        let down = Timestamp::now().as_millisecond().saturating_sub(rest.at);
        let down = u64::try_from(down).unwrap_or_default();
        Ok(Some(Self { bytes: bytes.slice(head.len()..), rest, down }))
    }

    pub(super) fn users(&mut self) -> Vec<User> {
        std::mem::take(&mut self.rest.users)
    }

    /// The next history, as old as it is by now.
    pub(super) fn next_stream(&mut self) -> io::Result<Option<Stream>> {
        while self.bytes.has_remaining() {
            let (tag, wire_type) = decode_key(&mut self.bytes).map_err(|_| damaged())?;
            if tag != STREAMS {
                let skipped = skip_field(wire_type, tag, &mut self.bytes, DecodeContext::default());
                skipped.map_err(|_| damaged())?;
                continue;
            }
            let length = decode_varint(&mut self.bytes).map_err(|_| damaged())?;
            let length = usize::try_from(length).map_err(|_| damaged())?;
            if length > self.bytes.len() {
                return Err(damaged());
            }
            let mut stream = Stream::decode(self.bytes.split_to(length)).map_err(|_| damaged())?;
            stream.age(self.down);
            return Ok(Some(stream));
        }
        Ok(None)
    }

    /// Derives epochs as the node did that saved the file; nothing in a file of an earlier version.
    pub(super) fn epochs(self) -> Option<Epochs> {
        let age = Duration::from_millis(self.rest.secret_age.saturating_add(self.down));
        Some(self.rest.secret).filter(|secret| !secret.is_empty()).map(|secret| Epochs::resume(secret, age))
    }
}

/// Makes a rename or a removal in a file's folder last.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

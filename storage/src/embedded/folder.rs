//! The data folder: claimed for one process, in a format that this version knows.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The version of the tables' layout that this program writes. Raised with every change that an older program
/// cannot read.
pub const FORMAT_VERSION: u32 = 3;
/// The oldest one that it reads, and brings to its own.
pub const OLDEST_FORMAT: u32 = 2;

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";
pub(super) const DATABASE_FOLDER: &str = "database";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process{}", path.display(), pid.as_ref().map(|pid| format!(" ({pid})")).unwrap_or_default())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other process, if it said who it is.
        pid: Option<String>,
    },
    /// A newer program wrote it.
    #[error("{} has format {found}, this program knows up to {FORMAT_VERSION}: use a newer one", path.display())]
    FormatTooNew {
        /// The folder.
        path: PathBuf,
        /// What it has.
        found: u32,
    },
    /// A program of before the first release wrote it.
    #[error("{} has format {found}, which this program no longer reads (it reads {OLDEST_FORMAT} to {FORMAT_VERSION}): keep the folder and use the program that wrote it, or set another data_dir", path.display())]
    FormatTooOld {
        /// The folder.
        path: PathBuf,
        /// What it has.
        found: u32,
    },
    /// The file that tells the format cannot be read.
    #[error("{} does not tell its format: {text:?}", path.display())]
    FormatUnknown {
        /// The file.
        path: PathBuf,
        /// What it says.
        text: String,
    },
    /// The folder cannot be used.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Too little of the disk is free.
    #[error("{}: the disk is full: the store is opened with {reserve} free bytes at least (store.reserve_bytes)", path.display())]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes that have to be free.
        reserve: u64,
    },
    /// Something that was acknowledged is not there.
    #[error("{}{}: {what}{}; the store is left as it is: restore the folder from a backup, or go on without what is lost by `mundotango serve --accept-loss`, which sets aside what cannot be read", path.display(), at.map(|at| format!(", byte {at}")).unwrap_or_default(), if *more > 0 { format!(" (and {more} more such places)") } else { String::new() })]
    Lost {
        /// The file, or the folder where it should be.
        path: PathBuf,
        /// Where in it.
        at: Option<usize>,
        /// What is wrong.
        what: String,
        /// How many other places are wrong.
        more: usize,
    },
    /// A file of a table is missing or not what the node wrote.
    #[error("{}: {what}; the store is left as it is: put the file back, or restore the folder from a backup", path.display())]
    TableDamaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The database in it cannot be opened.
    #[error("{}: the database does not open: {error}", path.display())]
    Database {
        /// The database's folder.
        path: PathBuf,
        /// Why.
        error: fjall::Error,
    },
}

/// The format that a folder's store has, if the folder tells one. Changes nothing.
pub fn format_of(path: &Path) -> Result<Option<u32>, OpenError> {
    let file = path.join(FORMAT_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse() {
            Ok(format) => Ok(Some(format)),
            Err(_) => Err(OpenError::FormatUnknown { path: file, text }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::Folder { path: file, error }),
    }
}

/// A claimed data folder. The claim ends when this is dropped, or with the process.
pub(super) struct Folder {
    path: PathBuf,
    lock: File,
    /// The format that was found in it.
    pub(super) format: Option<u32>,
}

impl Folder {
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Folder { path, error }
        };
        // What is in it is for the node's own user alone.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let known = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                    pid: known.then(|| pid.trim().to_owned()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "pid {}", std::process::id()))
            .map_err(at(&lock_path))?;
        let format = check_format(path)?;
        Ok(Self { path: path.to_owned(), lock, format })
    }

    /// What tells whether the folder is still there.
    pub(super) fn presence(&self) -> Result<Presence, OpenError> {
        let path = self.path.join(LOCK_FILE);
        Presence::of(&path, &self.lock).map_err(|error| OpenError::Folder { path, error })
    }

    /// Notes that the store has this program's format.
    pub(super) fn write_format(&self) -> Result<(), OpenError> {
        if self.format == Some(FORMAT_VERSION) { Ok(()) } else { write_format(&self.path) }
    }

    pub(super) fn database_path(&self) -> PathBuf {
        self.path.join(DATABASE_FOLDER)
    }
}

/// The folder as it was opened.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    lock: PathBuf,
    identity: (u64, u64),
}

impl Presence {
    fn of(lock: &Path, open: &File) -> io::Result<Self> {
        let metadata = open.metadata()?;
        Ok(Self { lock: lock.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }

    /// Fails if the folder's lock file is not the one that this process holds: what is written then goes into files that
    /// nobody finds again.
    pub(super) fn check(&self) -> Result<(), String> {
        match fs::metadata(&self.lock) {
            Ok(found) if (found.dev(), found.ino()) == self.identity => Ok(()),
            Ok(_) => Err(format!("the data folder was exchanged: {} is another file", self.lock.display())),
            Err(error) => Err(format!("the data folder is gone: {}: {error}", self.lock.display())),
        }
    }
}

fn check_format(path: &Path) -> Result<Option<u32>, OpenError> {
    match format_of(path)? {
        Some(found) if found > FORMAT_VERSION => {
            Err(OpenError::FormatTooNew { path: path.to_owned(), found })
        }
        Some(found) if found < OLDEST_FORMAT => Err(OpenError::FormatTooOld { path: path.to_owned(), found }),
        found => Ok(found),
    }
}

/// Writes beside the file and renames, so that a crash in between leaves no empty file, which no start would read.
fn write_format(folder: &Path) -> Result<(), OpenError> {
    let (file, beside) = (folder.join(FORMAT_FILE), folder.join("format.new"));
    let written = File::create(&beside).and_then(|mut format| {
        writeln!(format, "{FORMAT_VERSION}")?;
        format.sync_all()?;
        fs::rename(&beside, &file)?;
        File::open(folder)?.sync_all()
    });
    match written {
        Ok(()) => Ok(()),
        Err(error) => Err(OpenError::Folder { path: file, error }),
    }
}

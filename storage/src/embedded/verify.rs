//! What a start makes sure of before the database is opened, which would cut off, delete or pass over what it cannot read:
//! that all that was acknowledged is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rand::RngExt as _;

use super::folder::{DATABASE_FOLDER, OpenError};
use super::journal;
use super::marks::Mark;
use super::table_files::{self, KnownFiles};
use super::witness::{self, Reached, State, Statement};

/// Since which format each store has a witness.
const WITNESSED_SINCE: u32 = 3;
/// Where that which cannot be read is kept.
const ASIDE_FOLDER: &str = "set-aside";
/// The folder of the database's own table, which names the others.
const META: u64 = 0;

/// What a start found.
pub(super) struct Found {
    pub(super) state: State,
    pub(super) known: KnownFiles,
}

/// Something that is missing or cannot be read.
struct Loss {
    path: PathBuf,
    at: Option<usize>,
    what: String,
}

/// Verifies the store in a folder of a format. With `accept_loss`, what is lost in journals and witness is said in the
/// log, and what cannot be read is set aside.
pub(super) fn verify(folder: &Path, format: Option<u32>, accept_loss: bool) -> Result<Found, OpenError> {
    let database = folder.join(DATABASE_FOLDER);
    let statement = witness::read(folder).map_err(at(&witness::path_in(folder)))?;
    let is_new = format.is_none() && statement == Statement::Missing && !database.join("version").exists();
    let known = KnownFiles::read(folder);
    let mut found =
        Found { state: State { store: rand::rng().random(), ..State::default() }, known: known.cleared() };
    if is_new {
        if database.exists() {
            let aside = set_aside(folder, &database).map_err(at(&database))?;
            tracing::warn!(aside = %aside.display(), "the first start was cut off; it is begun anew");
        }
        return Ok(found);
    }
    let mut losses = Vec::new();
    let mut lost = |path: &Path, at: Option<usize>, what: &str| {
        losses.push(Loss { path: path.to_owned(), at, what: what.to_owned() });
    };
    let witness = match statement {
        Statement::Of(state) => Some(state),
        Statement::Damaged => {
            lost(&witness::path_in(folder), None, "is damaged, so nothing tells what was acknowledged last");
            None
        }
        Statement::Missing => {
            if format.is_some_and(|format| format >= WITNESSED_SINCE) {
                lost(
                    &witness::path_in(folder),
                    None,
                    "is missing, so nothing tells what was acknowledged last",
                );
            }
            None
        }
    };
    mend_lock(&database)?;

    let mut chain =
        Chain { store: witness.as_ref().map(|witness| witness.store), seen: HashMap::new(), losses };
    let witnessed = witness.as_ref().map(|witness| witness.tables.clone()).unwrap_or_default();
    chain.seen.extend(witnessed.iter().map(|(table, reached)| (*table, reached.accepted)));
    verify_tables(&database, &witnessed, &known, &mut found.known, &mut chain)?;
    let damages = verify_journals(&database, &witnessed, &mut chain)?;
    let crash_trace = damages.iter().position(|damage| damage.is_crash_trace);

    if let Some(loss) = chain.losses.first()
        && !accept_loss
    {
        return Err(OpenError::Lost {
            path: loss.path.clone(),
            at: loss.at,
            what: loss.what.clone(),
            more: chain.losses.len() - 1,
        });
    }
    for loss in &chain.losses {
        tracing::error!(file = %loss.path.display(), at = loss.at, "accepted a loss: {}", loss.what);
    }
    for (number, damage) in damages.iter().enumerate() {
        if crash_trace == Some(number) && chain.losses.is_empty() {
            mend(folder, damage).map_err(at(&damage.path))?;
        } else {
            keep_readable(folder, damage).map_err(at(&damage.path))?;
        }
    }
    tell_clock(witness.as_ref());
    if let Some(store) = chain.store {
        found.state.store = store;
    }
    let accepted = !chain.losses.is_empty();
    for table in chain.seen.keys().chain(witnessed.keys()) {
        let before = witnessed.get(table).copied().unwrap_or_default();
        let number = before.number.max(chain.seen.get(table).copied().unwrap_or_default());
        let accepted = if accepted { number } else { before.accepted };
        found.state.tables.insert(*table, Reached { number, accepted });
    }
    Ok(found)
}

fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Folder { path: path.to_owned(), error }
}

fn missing(path: PathBuf) -> OpenError {
    OpenError::TableDamaged { path, what: "is missing".to_owned() }
}

/// The database wants its lock file, which keeps nobody out as the folder's own lock does.
fn mend_lock(database: &Path) -> Result<(), OpenError> {
    let version = database.join("version");
    if !version.exists() {
        return Err(missing(version));
    }
    let lock = database.join("lock");
    if !lock.exists() {
        tracing::warn!(file = %lock.display(), "a lock file is missing; made it anew");
        File::create(&lock).map_err(at(&lock))?;
    }
    Ok(())
}

/// The marks of all tables as far as they were read.
struct Chain {
    store: Option<u64>,
    /// The last commit that is there, by table.
    seen: HashMap<u64, u64>,
    losses: Vec<Loss>,
}

impl Chain {
    fn check_store(&mut self, mark: Mark, path: &Path) -> Result<(), OpenError> {
        if *self.store.get_or_insert(mark.store) == mark.store {
            return Ok(());
        }
        let what = "is of another store than the rest of the folder".to_owned();
        Err(OpenError::TableDamaged { path: path.to_owned(), what })
    }

    fn reach(&mut self, table: u64, number: u64) {
        let seen = self.seen.entry(table).or_default();
        *seen = number.max(*seen);
    }

    /// Follows a mark in a journal.
    fn follow(&mut self, table: u64, mark: Mark, path: &Path, at: usize) -> Result<(), OpenError> {
        self.check_store(mark, path)?;
        let seen = self.seen.get(&table).copied().unwrap_or_default();
        if mark.before > seen {
            let what = format!(
                "commit {} follows here in table {table}, and of those before it only {seen} is there: a journal or a part of one is missing",
                mark.number
            );
            self.losses.push(Loss { path: path.to_owned(), at: Some(at), what });
        }
        self.reach(table, mark.number);
        Ok(())
    }
}

fn verify_tables(
    database: &Path,
    witnessed: &BTreeMap<u64, Reached>,
    known: &KnownFiles,
    compared: &mut KnownFiles,
    chain: &mut Chain,
) -> Result<(), OpenError> {
    let folders = database.join("keyspaces");
    let mut tables: BTreeSet<u64> = witnessed.keys().copied().chain([META]).collect();
    for entry in fs::read_dir(&folders).map_err(at(&folders))? {
        let path = entry.map_err(at(&folders))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let Some(number) = number else {
            let what = "is no folder of a table".to_owned();
            return Err(OpenError::TableDamaged { path, what });
        };
        tables.insert(number);
    }
    for table in tables {
        let folder = folders.join(table.to_string());
        let current = folder.join("current");
        if !current.exists() {
            let has_files = fs::read_dir(folder.join("tables")).is_ok_and(|mut files| files.next().is_some());
            if table == META || witnessed.contains_key(&table) || has_files {
                return Err(missing(current));
            }
            // A start that was cut off was about to make it.
            continue;
        }
        table_files::verify(&folder, known, compared)?;
        if table != META
            && let Some(mark) = table_files::mark(&folder)?
        {
            chain.check_store(mark, &folder)?;
            chain.reach(table, mark.number);
        }
    }
    Ok(())
}

/// A journal with parts that cannot be read.
struct DamagedJournal {
    path: PathBuf,
    parts: Vec<Range<usize>>,
    /// Whether it is the trace of a crash: one record that was not written to its end, behind all others.
    is_crash_trace: bool,
}

fn verify_journals(
    database: &Path,
    witnessed: &BTreeMap<u64, Reached>,
    chain: &mut Chain,
) -> Result<Vec<DamagedJournal>, OpenError> {
    let journals = journal::list(database).map_err(at(database))?;
    let mut damaged = Vec::new();
    let mut last = None;
    let mut end = (database.to_owned(), None);
    for (number, (_, path)) in journals.iter().enumerate() {
        let bytes = journal::read(path).map_err(at(path))?;
        let (before, mut followed) = (chain.losses.len(), Ok(()));
        let parts = journal::scan(&bytes, &mut last, |batch| {
            for (table, mark) in &batch.marks {
                if followed.is_ok() {
                    followed = chain.follow(*table, *mark, path, batch.place.start);
                }
            }
        });
        followed?;
        let is_crash_trace =
            matches!(parts.as_slice(), [part] if part.end == bytes.len()) && number + 1 == journals.len();
        if !is_crash_trace {
            let unreadable = parts.iter().map(|part| Loss {
                path: path.clone(),
                at: Some(part.start),
                what: format!("cannot be read up to byte {}", part.end),
            });
            // Before the links that are missing because of them.
            chain.losses.splice(before..before, unreadable);
        }
        end = (
            path.clone(),
            Some(parts.first().filter(|_| is_crash_trace).map_or(bytes.len(), |part| part.start)),
        );
        if !parts.is_empty() {
            damaged.push(DamagedJournal { path: path.clone(), parts, is_crash_trace });
        }
    }
    if journals.is_empty() {
        chain.losses.push(Loss { path: database.to_owned(), at: None, what: "holds no journal".to_owned() });
    }
    for (table, reached) in witnessed {
        let seen = chain.seen.get(table).copied().unwrap_or_default();
        if seen < reached.number {
            let acknowledged = reached.number;
            let what = format!(
                "ends with commit {seen} of table {table}, and commit {acknowledged} was acknowledged: its end, or a newer journal, is missing"
            );
            chain.losses.push(Loss { path: end.0.clone(), at: end.1, what });
        }
    }
    Ok(damaged)
}

/// A new place for what is set aside.
fn place_aside(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let aside = folder.join(ASIDE_FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
    Ok(aside.join(format!("{}-{name}", Timestamp::now().as_nanosecond())))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn set_aside(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let aside = place_aside(folder, &name_of(path))?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn write_synced(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::create(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

/// Takes the record away that a crash left half written. It was not acknowledged.
fn mend(folder: &Path, damage: &DamagedJournal) -> io::Result<()> {
    let Some(part) = damage.parts.first() else { return Ok(()) };
    let bytes = journal::read(&damage.path)?;
    let aside = place_aside(folder, &format!("{}-from-{}", name_of(&damage.path), part.start))?;
    write_synced(&aside, &[&bytes[part.clone()]])?;
    let journal = File::options().write(true).open(&damage.path)?;
    journal.set_len(part.start as u64)?;
    journal.sync_all()?;
    tracing::warn!(
        file = %damage.path.display(),
        at = part.start,
        bytes = part.len(),
        aside = %aside.display(),
        "a crash cut off the last record, which was not acknowledged; took it away"
    );
    Ok(())
}

/// Leaves in a journal what can be read, and sets the whole of it aside.
fn keep_readable(folder: &Path, damage: &DamagedJournal) -> io::Result<()> {
    let bytes = journal::read(&damage.path)?;
    let mut readable = Vec::new();
    let mut from = 0;
    for part in &damage.parts {
        readable.push(&bytes[from..part.start]);
        from = part.end;
    }
    readable.push(&bytes[from..]);
    let beside = damage.path.with_extension("new");
    write_synced(&beside, &readable)?;
    let aside = set_aside(folder, &damage.path)?;
    fs::rename(&beside, &damage.path)?;
    damage.path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    tracing::error!(file = %damage.path.display(), aside = %aside.display(), "a damaged journal was set aside; what can be read of it is used");
    Ok(())
}

/// A clock that goes back, beyond what a time server mends.
const BEHIND: i64 = 60 * 1000;
/// A pause that is more likely a wrong clock.
const AHEAD: i64 = 30 * 24 * 60 * 60 * 1000;

/// Compares the clock with the time of the last write. With a wrong one posts stand in the wrong places, and what has a
/// time to live goes too early or too late.
fn tell_clock(witness: Option<&State>) {
    let Some(State { at, .. }) = witness else { return };
    let now = Timestamp::now().as_millisecond();
    let seconds = (now - at) / 1000;
    if now < at - BEHIND {
        tracing::error!(
            seconds,
            "the clock is behind the last write of this store: set it, before what is new sorts below what is old"
        );
    } else if now > at + AHEAD {
        tracing::warn!(
            seconds,
            "the last write of this store is long ago: make sure that the clock is right, as what has a time to live goes for good"
        );
    }
}

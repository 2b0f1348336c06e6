//! The data folder of the embedded store tells the truth: whatever happens to its files, all that was acknowledged is
//! there, or the start or the read says that it is not.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions};
use mundotango_protocol::Publication;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Kind, Schema, Wants};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore, FORMAT_VERSION, OpenError};
use mundotango_storage::history::HistoryRange;
use tempfile::{TempDir, tempdir};

static LETTERS: Kind<String, u64, ()> = Kind::new("letters", "a test's", &[]);
static POSTCARDS: Kind<String, u64, ()> = Kind::new("postcards", "a test's", &[]);
const TABLES: [&Kind<String, u64, ()>; 2] = [&LETTERS, &POSTCARDS];
const DAY: Duration = Duration::from_hours(24);

fn schema() -> Schema {
    Schema { kinds: vec![LETTERS.spec(), POSTCARDS.spec()], indexes: vec![] }
}

fn open(path: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(path, &EmbeddedOptions::default(), &schema())
}

/// What was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Acknowledged {
    rows: BTreeMap<(usize, String), (String, u64)>,
    history: Vec<Bytes>,
    /// The offset of the last publication, also of one that was lost.
    offset: u64,
}

impl Acknowledged {
    fn count(&self) -> usize {
        self.rows.len() + self.history.len()
    }

    /// Writes to all tables, one commit after the other.
    async fn write(&mut self, store: &EmbeddedStore, rows: usize) {
        let stores = store.stores();
        for number in 0..rows {
            let table = number % TABLES.len();
            let id = mundotango_protocol::new_id();
            // Some are so long that a table file has blocks between its ends.
            let text = (0..if number % 5 == 0 { 200 } else { 2 }).map(|_| mundotango_protocol::new_id());
            let text: String = text.collect();
            stores.db.create(TABLES[table], &id, &text, &[], &[]).await.unwrap();
            let changed = stores.db.change(TABLES[table], &id, Wants::head(), |part| {
                part.head += 7;
                Ok::<_, StoreError>(Decision::Write(()))
            });
            changed.await.unwrap();
            self.rows.insert((table, id), (text, 7));
            self.offset += 1;
            let offset = self.offset;
            let data = Bytes::from(format!("publication {offset}"));
            let publication = Publication { offset, data: data.clone(), ..Publication::default() };
            stores.history.keep("room", "epoch", publication, DAY).await.unwrap();
            self.history.push(data);
        }
    }

    /// Reads all of it, and what else is there.
    async fn read(&self, store: &EmbeddedStore) -> Result<Self, StoreError> {
        let stores = store.stores();
        let mut found = Self { offset: self.offset, ..Self::default() };
        for (table, id) in self.rows.keys() {
            if let Some(row) = stores.db.read(TABLES[*table], id).await? {
                found.rows.insert((*table, id.clone()), (row.facts, row.head));
            }
        }
        let range = HistoryRange { above: 0, below: u64::MAX, limit: usize::MAX, reverse: false };
        found.history = stores.history.kept("room", range).await?.into_iter().map(|kept| kept.data).collect();
        Ok(found)
    }

    async fn assert_there(&self, store: &EmbeddedStore) {
        let found = self.read(store).await.unwrap();
        assert!(found == *self, "{} of {}", found.count(), self.count());
    }
}

/// Has the database write what it holds in memory into table files, as it does by itself when there is much of it.
fn flush(folder: &Path, tables: &[&str]) {
    let database = Database::builder(folder.join("database")).open().unwrap();
    for table in tables {
        database.keyspace(table, KeyspaceCreateOptions::default).unwrap().rotate_memtable_and_wait().unwrap();
    }
}

fn journals(folder: &Path) -> Vec<PathBuf> {
    let mut journals: Vec<_> = files(&folder.join("database"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"))
        .collect();
    journals.sort();
    journals
}

/// Divides the last journal between two records, as when a new one is begun.
fn divide_journal(folder: &Path) {
    let last = journals(folder).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    let number: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let end_of_record = b"FJL\x03\x01";
    let middle = bytes.len() / 2;
    let at = bytes[middle..].windows(5).position(|part| part == end_of_record).unwrap() + middle + 4;
    fs::write(&last, &bytes[..at]).unwrap();
    fs::write(last.with_file_name(format!("{}.jnl", number + 1)), &bytes[at..]).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

fn copied(from: &Path) -> TempDir {
    let folder = tempdir().unwrap();
    copy(from, folder.path());
    folder
}

/// A folder with table files and several journals, and two copies of it from earlier.
async fn used_folder() -> (TempDir, Vec<TempDir>, Acknowledged) {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let mut acknowledged = Acknowledged::default();
    let mut older = Vec::new();
    for tables in [&["letters", "postcards", "history"][..], &["letters"], &["letters", "history_ends"], &[]]
    {
        // A second start brings the journal, which a first one makes with room to spare, to its length.
        drop(open(path).unwrap());
        let store = open(path).unwrap();
        acknowledged.write(&store, 50).await;
        store.close();
        drop(store);
        flush(path, tables);
        older.push(copied(path));
    }
    older.truncate(2);
    // The node knows all table files now.
    open(path).unwrap().close();
    divide_journal(path);
    divide_journal(path);
    (folder, older, acknowledged)
}

/// What is done to a file, in words and in deeds.
type Mutation = (String, Box<dyn Fn(&Path)>);

/// Ways to harm a file of this length.
fn mutations(length: usize) -> Vec<Mutation> {
    let mut all: Vec<Mutation> = vec![
        ("removed".to_owned(), Box::new(|path| fs::remove_file(path).unwrap())),
        (
            "with bytes behind it".to_owned(),
            Box::new(|path| {
                OpenOptions::new().append(true).open(path).unwrap().write_all(b"\x01stray bytes").unwrap();
            }),
        ),
    ];
    for left in [0, length / 2, length.saturating_sub(200), length.saturating_sub(1)] {
        all.push((
            format!("cut to {left}"),
            Box::new(move |path| {
                OpenOptions::new().write(true).open(path).unwrap().set_len(left as u64).unwrap();
            }),
        ));
    }
    // Places all over the file, the same in each run.
    let places = [0, 1, 6, 12, 40].into_iter().chain((1..8).map(|part| length * part / 8 + part));
    let places = places.chain([length.saturating_sub(30), length.saturating_sub(1)]);
    for at in places.filter(|at| *at < length) {
        let bits = if at % 2 == 0 { 0x01 } else { 0xff };
        all.push((
            format!("with bits {bits:#x} of byte {at} flipped"),
            Box::new(move |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[at] ^= bits;
                fs::write(path, bytes).unwrap();
            }),
        ));
    }
    for (from, hole) in [(length / 3, 64), (length / 2, 4096), (length / 2, length)] {
        let hole = hole.min(length - from);
        all.push((
            format!("with {hole} zeros at {from}"),
            Box::new(move |path| {
                OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .write_all_at(&vec![0; hole], from as u64)
                    .unwrap();
            }),
        ));
    }
    all
}

#[derive(Debug, Default)]
struct Outcomes {
    all_there: usize,
    refused: usize,
    refused_when_read: usize,
    mended: usize,
    lies: Vec<String>,
}

impl Outcomes {
    async fn try_one(&mut self, name: &str, folder: &Path, acknowledged: &Acknowledged) {
        let store = match open(folder) {
            Ok(store) => store,
            Err(error) => {
                let word = error.to_string();
                self.refused += 1;
                if !word.contains(folder.to_str().unwrap()) {
                    self.lies.push(format!("{name}: refused without the place: {word}"));
                }
                return;
            }
        };
        match acknowledged.read(&store).await {
            Err(_) => self.refused_when_read += 1,
            Ok(found) if found != *acknowledged => {
                self.lies.push(format!("{name}: {} of {}", found.count(), acknowledged.count()));
            }
            Ok(_) if folder.join("set-aside").exists() => self.mended += 1,
            Ok(_) => self.all_there += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_harm_to_any_file_leads_to_fewer_rows_without_a_word() {
    let start = Instant::now();
    let (folder, older, acknowledged) = used_folder().await;
    let mut outcomes = Outcomes::default();
    let whole = copied(folder.path());
    outcomes.try_one("whole", whole.path(), &acknowledged).await;
    assert_eq!((outcomes.all_there, &outcomes.lies), (1, &Vec::new()), "the folder itself");
    let made = start.elapsed();
    let files = files(folder.path());
    for file in &files {
        let name = file.strip_prefix(folder.path()).unwrap();
        let mut mutations = mutations(fs::metadata(file).unwrap().len().try_into().unwrap());
        for older in &older {
            let older = older.path().join(name);
            if older.exists() && fs::read(&older).unwrap() != fs::read(file).unwrap() {
                mutations.push((
                    "replaced by an older copy".to_owned(),
                    Box::new(move |path| {
                        fs::copy(&older, path).unwrap();
                    }),
                ));
            }
        }
        // A file of the same kind, of another table or time.
        let alike = |other: &&PathBuf| {
            *other != file
                && other.extension() == file.extension()
                && other.components().count() == file.components().count()
        };
        let others: Vec<_> = files.iter().filter(alike).take(3).cloned().collect();
        for other in others {
            mutations.push((
                format!("replaced by {}", other.display()),
                Box::new(move |path| {
                    fs::copy(&other, path).unwrap();
                }),
            ));
        }
        for (how, mutate) in mutations {
            let harmed = copied(folder.path());
            mutate(&harmed.path().join(name));
            outcomes.try_one(&format!("{} {how}", name.display()), harmed.path(), &acknowledged).await;
        }
    }
    println!(
        "{} rows, {} files, {made:?} and {:?}: {outcomes:#?}",
        acknowledged.count(),
        files.len(),
        start.elapsed()
    );
    assert!(outcomes.lies.is_empty(), "{:#?}", outcomes.lies);
    let Outcomes { all_there, refused, refused_when_read, .. } = outcomes;
    assert!(all_there > 10 && refused > 100 && refused_when_read > 0, "{outcomes:?}");
}

/// The test above would notice a store without a witness. A folder of the format before has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_witness_a_journal_that_is_cut_would_go_unnoticed() {
    let (folder, _, acknowledged) = used_folder().await;
    fs::remove_file(folder.path().join("witness")).unwrap();
    fs::write(folder.path().join("format"), "2\n").unwrap();
    let mut outcomes = Outcomes::default();
    let last = journals(folder.path()).pop().unwrap();
    for (how, mutate) in mutations(fs::metadata(&last).unwrap().len().try_into().unwrap()) {
        let harmed = copied(folder.path());
        mutate(&harmed.path().join(last.strip_prefix(folder.path()).unwrap()));
        outcomes.try_one(&how, harmed.path(), &acknowledged).await;
    }
    assert!(outcomes.lies.iter().any(|lie| lie.contains("cut to 0")), "{outcomes:?}");
}

/// What a crash may leave behind the last record that was acknowledged.
#[tokio::test]
async fn the_trace_of_a_crash_is_mended_and_set_aside() {
    let (folder, _, acknowledged) = used_folder().await;
    let last = journals(folder.path()).pop().unwrap();
    let whole = fs::read(&last).unwrap();
    let begin_of_record = &whole[..whole.len() / 3];
    for trace in [&begin_of_record[..2], &begin_of_record[..60], b"\0\0\0noise"] {
        let end = trace.iter().rposition(|byte| *byte != 0).unwrap();
        let trace = &trace[..=end];
        fs::write(&last, [&whole, trace].concat()).unwrap();
        let harmed = copied(folder.path());
        for _ in 0..2 {
            let store = open(harmed.path()).unwrap();
            acknowledged.assert_there(&store).await;
        }
        let aside = files(&harmed.path().join("set-aside"));
        assert!(aside.len() == 1 && fs::read(&aside[0]).unwrap() == trace, "{aside:?}");
    }
}

#[tokio::test]
async fn an_operator_may_accept_a_loss_and_nothing_is_thrown_away() {
    let (folder, _, acknowledged) = used_folder().await;
    let journals = journals(folder.path());
    let [.., holed, _] = journals.as_slice() else { panic!("{journals:?}") };
    let before = fs::read(holed).unwrap();
    let place = before.len() / 2;
    File::options().write(true).open(holed).unwrap().write_all_at(&[0; 500], place as u64).unwrap();
    let harmed = fs::read(holed).unwrap();
    let Err(error @ OpenError::Lost { .. }) = open(folder.path()) else { panic!("accepted") };
    let word = error.to_string();
    assert!(word.contains(holed.to_str().unwrap()) && word.contains("--accept-loss"), "{word}");
    assert_eq!(fs::read(holed).unwrap(), harmed, "a start that is refused changes nothing");

    let options = EmbeddedOptions::default();
    let store = EmbeddedStore::open_accepting_loss(folder.path(), &options, &schema()).unwrap();
    let left = acknowledged.read(&store).await.unwrap();
    let lost = acknowledged.count() - left.count();
    assert!(lost > 0 && lost < 20, "{lost} of {} lost by a hole of 500 bytes", acknowledged.count());
    let mut more = left.clone();
    more.write(&store, 5).await;
    store.close();
    drop(store);
    let aside = files(&folder.path().join("set-aside"));
    assert!(aside.len() == 1 && fs::read(&aside[0]).unwrap() == harmed, "{aside:?}");
    // It was accepted once and for all, and the next loss is not.
    let store = open(folder.path()).unwrap();
    more.assert_there(&store).await;
    store.close();
    drop(store);
    fs::remove_file(crate::folder::journals(folder.path()).pop().unwrap()).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::Lost { .. })));
}

#[tokio::test]
async fn a_witness_that_is_lost_is_made_anew_only_with_a_word() {
    let (folder, _, acknowledged) = used_folder().await;
    fs::remove_file(folder.path().join("witness")).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::Lost { .. })));
    let options = EmbeddedOptions::default();
    let store = EmbeddedStore::open_accepting_loss(folder.path(), &options, &schema()).unwrap();
    acknowledged.assert_there(&store).await;
    drop(store);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_folder_of_the_format_before_is_brought_to_this_one() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let mut acknowledged = Acknowledged::default();
    acknowledged.write(&store, 10).await;
    store.close();
    drop(store);
    for file in ["witness", "tables"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join("format"), "2\n").unwrap();
    let store = open(folder.path()).unwrap();
    acknowledged.assert_there(&store).await;
    assert_eq!(fs::read_to_string(folder.path().join("format")).unwrap().trim(), FORMAT_VERSION.to_string());
    drop(store);
    fs::remove_file(folder.path().join("witness")).unwrap();
    assert!(open(folder.path()).is_err(), "from then on it has a witness");
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_begun_anew() {
    let folder = tempdir().unwrap();
    fs::create_dir_all(folder.path().join("database/keyspaces")).unwrap();
    fs::write(folder.path().join("database/0.jnl"), "").unwrap();
    let store = open(folder.path()).unwrap();
    Acknowledged::default().write(&store, 1).await;
}

/// Waits until the store says that it is not well.
async fn failure(store: &EmbeddedStore) -> String {
    let start = Instant::now();
    loop {
        if let Some(failure) = store.failure() {
            return failure;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "not noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn write_fails(store: &EmbeddedStore) {
    let written = store.stores().db.create(&LETTERS, "late", &String::new(), &[], &[]).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
}

#[tokio::test]
async fn a_folder_that_is_removed_or_exchanged_takes_no_more_writes() {
    let parent = tempdir().unwrap();
    let folder = parent.path().join("store");
    let moved = parent.path().join("moved");
    let store = open(&folder).unwrap();
    Acknowledged::default().write(&store, 2).await;
    fs::rename(&folder, &moved).unwrap();
    write_fails(&store).await;
    assert!(failure(&store).await.contains("is gone"));
    drop(store);

    // While nobody has it open: files of a running store come and go.
    let elsewhere = copied(&moved);
    let store = open(&moved).unwrap();
    fs::rename(&moved, &folder).unwrap();
    copy(elsewhere.path(), &moved);
    write_fails(&store).await;
    assert!(failure(&store).await.contains("exchanged"));
    drop(store);

    // Also when nobody writes, and when only the journal is removed.
    let store = open(&folder).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(store.failure(), None);
    for journal in journals(&folder) {
        fs::remove_file(journal).unwrap();
    }
    assert!(failure(&store).await.contains("journal"));
    write_fails(&store).await;
}

#[tokio::test]
async fn a_full_disk_at_the_start_is_said() {
    let folder = tempdir().unwrap();
    let options = EmbeddedOptions { reserve_bytes: u64::MAX, ..EmbeddedOptions::default() };
    let Err(error) = EmbeddedStore::open(folder.path(), &options, &schema()) else { panic!("opened") };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(!folder.path().join("database").exists(), "nothing was made");
    open(folder.path()).unwrap();
}

#[tokio::test]
#[ignore = "prints what a durable write costs"]
async fn cost_of_a_durable_write() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let db = store.stores().db;
    let mut times = Vec::new();
    for _ in 0..2000 {
        let start = Instant::now();
        db.create(&LETTERS, &mundotango_protocol::new_id(), &"Hola".to_owned(), &[], &[]).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    println!("p50 {:?}, p90 {:?}, p99 {:?}", times[1000], times[1800], times[1980]);
}

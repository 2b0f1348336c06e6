//! The embedded store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mundotango_protocol::new_id;
use mundotango_storage::conformance::{ModelRun, Mutant};
use mundotango_storage::db::{Db, Decision, Kind, Schema, Wants};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore, FORMAT_VERSION, OpenError};
use mundotango_storage::hot::MemoryHotState;
use mundotango_storage::{StoreError, conformance};
use tempfile::tempdir;

fn open(path: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(path, &EmbeddedOptions::default(), &conformance::schema())
}

static NOTES: Kind<String, u64, ()> = Kind::new("notes", "a test's", &[]);

fn open_notes(path: &Path) -> EmbeddedStore {
    let schema = Schema { kinds: vec![NOTES.spec()], indexes: vec![] };
    EmbeddedStore::open(path, &EmbeddedOptions::default(), &schema).unwrap()
}

async fn write_note(db: &Db) -> Result<String, StoreError> {
    let id = new_id();
    db.create(&NOTES, &id, &"Hola".to_owned(), &[], &[]).await.map(|()| id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_and_indexes_conform() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    // Each has a queue of its own, as two nodes have.
    conformance::db(store.stores().db, store.stores().db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_changes_on_a_store_that_fails_fit_the_model() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for seed in 0..4 {
        let run = ModelRun { seed, nodes: 3, partitions: 3, changes: 600, lives: 8, mutant: None };
        let report = conformance::model(&[store.stores().db], run).await;
        println!("seed {seed}: {report}");
        assert_eq!(report.violations, Vec::<String>::new(), "{run:?}");
        assert!(
            report.acknowledged > 0 && report.faults > 0 && report.unknown + report.cancelled > 0,
            "{report:?}"
        );
    }
}

/// `cargo xtask model` runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for as long as MUNDOTANGO_MODEL_SECONDS says"]
async fn a_long_run_fits_the_model() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    super::long_model_run("embedded", &[store.stores().db]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_notices_what_is_broken_on_purpose() {
    let folder = tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for mutant in [Mutant::VersionIsNotCompared, Mutant::MarksAreLost, Mutant::OutboxIsWrittenAfter] {
        let mut caught = None;
        for seed in 0..20 {
            let run =
                ModelRun { seed, nodes: 3, partitions: 3, changes: 600, lives: 8, mutant: Some(mutant) };
            if !conformance::model(&[store.stores().db], run).await.violations.is_empty() {
                caught = Some(seed);
                break;
            }
        }
        println!("{mutant:?} was noticed with the seed {caught:?}");
        assert!(caught.is_some(), "{mutant:?} was not noticed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_conform() {
    let folder = tempdir().unwrap();
    let history = open(folder.path()).unwrap().stores().history;
    conformance::history(Arc::clone(&history)).await;
    let hot = || Arc::new(MemoryHotState::new());
    conformance::archived_hot_state(hot(), hot(), history).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = tempdir().unwrap();
    let id = {
        let store = open_notes(folder.path());
        let db = store.stores().db;
        let id = write_note(&db).await.unwrap();
        let counted = db.change(&NOTES, &id, Wants::head(), |part| {
            part.head += 1;
            Ok::<_, StoreError>(Decision::Write(()))
        });
        counted.await.unwrap();
        store.close();
        assert!(matches!(write_note(&db).await, Err(StoreError::Unavailable(_))));
        id
    };
    let found = open_notes(folder.path()).stores().db.read(&NOTES, &id).await.unwrap().unwrap();
    assert_eq!((found.facts.as_str(), found.head), ("Hola", 1));
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    // The lock is of the open file, so a second opening of the same process stands for another process.
    let Err(OpenError::Locked { pid, .. }) = open(folder.path()) else { panic!("opened twice") };
    assert_eq!(pid, Some(format!("pid {}", std::process::id())));
    drop(first);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_format_from_the_future_is_refused() {
    let folder = tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    fs::write(folder.path().join("format"), format!("{}", FORMAT_VERSION + 1)).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::FormatTooNew { .. })));
    fs::write(folder.path().join("format"), "1").unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::FormatTooOld { found: 1, .. })));
    fs::write(folder.path().join("format"), "one").unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::FormatUnknown { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_share_commits() {
    let folder = tempdir().unwrap();
    let store = open_notes(folder.path());
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let db = store.stores().db;
            tokio::spawn(async move {
                for _ in 0..50 {
                    write_note(&db).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let commits = store.commits();
    assert!(commits < 64 * 50 / 4, "{commits} commits for {} writes", 64 * 50);
}

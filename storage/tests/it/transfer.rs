//! Streams of all that a store holds.

use std::path::Path;

use bytes::Bytes;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::transfer::{
    Decoder, Header, Import, Outcome, Part, Progress, Totals, TransferError, check, export,
};
use mundotango_storage::{Stores, conformance};
use tempfile::tempdir;
use tokio::sync::mpsc;

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, &EmbeddedOptions::default(), &conformance::schema()).unwrap()
}

async fn write(stores: &Stores) -> (Vec<u8>, Totals) {
    let (out, mut pieces) = mpsc::channel::<Bytes>(1);
    let schema = conformance::schema();
    let writing = async {
        let out = out;
        export(stores, &schema, Header::new(&schema, "a test", "any"), out).await.unwrap()
    };
    let reading = async {
        let mut stream = Vec::new();
        while let Some(piece) = pieces.recv().await {
            stream.extend_from_slice(&piece);
        }
        stream
    };
    let (totals, stream) = tokio::join!(writing, reading);
    (stream, totals)
}

/// Reads a stream in pieces of a size, at most so many blocks.
async fn read(
    stores: &Stores,
    stream: &[u8],
    size: usize,
    blocks: u64,
    before: Option<Progress>,
) -> Result<Result<Outcome, Progress>, TransferError> {
    let (mut decoder, mut import, mut progress, mut trailer) = (Decoder::default(), None, None, None);
    for piece in stream.chunks(size) {
        for part in decoder.feed(piece)? {
            match part {
                Part::Header(header) => {
                    let schema = conformance::schema();
                    import = Some(Import::begin(stores, &schema, &header, before.as_ref()).await?);
                    progress = Some(Progress { stream: header.stream, block: 0 });
                }
                Part::Block(block) => {
                    let progress = progress.as_mut().unwrap();
                    if block.number > blocks {
                        return Ok(Err(progress.clone()));
                    }
                    progress.block = block.number;
                    import.as_mut().unwrap().block(block).await?;
                }
                Part::Trailer(last) => trailer = Some(last),
            }
        }
    }
    decoder.end()?;
    import.unwrap().finish(&trailer.unwrap()).await.map(Ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_comes_out_of_a_stream_as_it_went_in() {
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let (one, other) = (open(one.path()), open(other.path()));
    let (from, to) = (one.stores(), other.stores());
    conformance::db(from.db.clone(), from.db.clone()).await;
    conformance::history(from.history.clone()).await;
    conformance::whole(&from).await;
    conformance::fill(&from.db, 10_000).await;
    let (stream, totals) = write(&from).await;

    // Cut in the middle of a partition of many rows or elsewhere, and gone on with.
    let Err(progress) = read(&to, &stream, 1 << 20, 1, None).await.unwrap() else {
        panic!("one block alone")
    };
    assert!(
        matches!(read(&to, &stream, 1 << 20, 9, None).await, Err(TransferError::Refused(_))),
        "not empty"
    );
    let another = Progress { stream: "another".to_owned(), ..progress.clone() };
    assert!(matches!(read(&to, &stream, 1 << 20, 9, Some(another)).await, Err(TransferError::Refused(_))));
    let outcome = read(&to, &stream, 1000, u64::MAX, Some(progress)).await.unwrap().unwrap();
    assert!(outcome.is_equal(), "{outcome}");
    let (again, totals_again) = write(&to).await;
    assert_eq!(totals, totals_again);
    assert_ne!(stream, again, "each stream has a name of its own");

    let report = check(&to, &conformance::schema(), |_, _| None).await.unwrap();
    assert_eq!((report.wrong, &report.totals), (0, &totals), "{report}");
    let lines: Vec<serde_json::Value> = stream
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert!(lines.iter().any(|line| line["goesOn"] == true), "no large partition");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_stream_is_noticed_wherever_it_is_damaged() {
    let folder = tempdir().unwrap();
    let store = open(folder.path());
    conformance::whole(&store.stores()).await;
    let (stream, _) = write(&store.stores()).await;
    let whole = |stream: &[u8]| {
        let mut decoder = Decoder::default();
        for piece in stream.chunks(10_000) {
            for part in decoder.feed(piece)? {
                if let Part::Block(block) = part {
                    block.check(&conformance::schema())?;
                }
            }
        }
        decoder.end()
    };
    whole(&stream).unwrap();
    for byte in (0..stream.len()).step_by(stream.len() / 97) {
        let mut damaged = stream.clone();
        damaged[byte] ^= 1;
        let error = whole(&damaged).expect_err("a byte is another");
        assert!(matches!(error, TransferError::Damaged { .. }), "{error}");
        assert!(matches!(whole(&stream[..byte]), Err(TransferError::Damaged { .. })), "cut off at {byte}");
    }
    let lines: Vec<_> = stream.split_inclusive(|byte| *byte == b'\n').collect();
    for left_out in (0..lines.len()).step_by(lines.len() / 50 + 1).chain([lines.len() - 1]) {
        let without: Vec<u8> = [&lines[..left_out], &lines[left_out + 1..]].concat().concat();
        assert!(whole(&without).is_err(), "the line {left_out} is missing");
    }
}

/// `cargo test --release -p mundotango-storage --test storage -- --ignored --nocapture a_million_rows`
#[ignore = "takes long and promises nothing: it measures"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_rows() {
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let (one, other) = (open(one.path()), open(other.path()));
    conformance::fill(&one.stores().db, 1_000_000).await;
    let start = std::time::Instant::now();
    let (stream, totals) = write(&one.stores()).await;
    let exported = start.elapsed();
    let start = std::time::Instant::now();
    let outcome = read(&other.stores(), &stream, 1 << 16, u64::MAX, None).await.unwrap().unwrap();
    assert!(outcome.is_equal(), "{outcome}");
    let rows: u64 = totals.0.values().map(|total| total.rows).sum();
    println!(
        "{rows} rows, {} bytes: out in {exported:?}, in and compared in {:?}",
        stream.len(),
        start.elapsed()
    );
}

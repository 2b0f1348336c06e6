//! The log: a reader that stops, or goes away, neither hangs nor kills the node.

use std::io::{PipeReader, pipe};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use mundotango::node::NodeFile;
use reqwest::{Client, StatusCode};

use crate::server::{mundotango, until};

/// More requests than a pipe has room for their lines, at the level debug.
const REQUESTS: usize = 500;
/// How long a node may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node that logs all that it can into a pipe; the pipe's end for a reader.
fn serve_into_pipe(data_dir: &Path) -> (Child, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let node = mundotango(data_dir, &["serve", "--listen", "127.0.0.1:0"])
        .env("MUNDOTANGO__LOG__FILTER", "debug")
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    (node, reader)
}

/// Asks for the health of a node many times, ends it, and says how it ended.
async fn use_and_end(mut node: Child, data_dir: &Path) -> ExitStatus {
    let http = Client::builder().timeout(PATIENCE).build().unwrap();
    let health = async |path: &str| {
        let listen = NodeFile::read(data_dir)?.listen;
        Some(http.get(format!("http://{listen}/api/health{path}")).send().await.ok()?.status())
    };
    until("the node is ready", async || health("/ready").await.filter(|status| *status == StatusCode::OK))
        .await;
    for _ in 0..REQUESTS {
        assert_eq!(health("").await, Some(StatusCode::OK));
    }
    let signal = rustix::process::Signal::TERM;
    rustix::process::kill_process(rustix::process::Pid::from_child(&node), signal).unwrap();
    let start = Instant::now();
    let ended = until("the node ends", async || node.try_wait().unwrap()).await;
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (node, _unread) = serve_into_pipe(folder.path());
    let ended = use_and_end(node, folder.path()).await;
    assert!(ended.success(), "{ended}");
    assert!(folder.path().join("hot-state").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_reader_is_gone_is_no_reason_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (node, reader) = serve_into_pipe(folder.path());
    drop(reader);
    let ended = use_and_end(node, folder.path()).await;
    assert!(ended.success(), "{ended}");
    assert!(folder.path().join("hot-state").exists());
}

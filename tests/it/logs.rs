//! The log: a reader that stops, or goes away, neither hangs nor kills the node.

use std::fs;
use std::io::{PipeReader, pipe};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use mundotango::node_file::NodeFile;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_filter_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (config, log) = (folder.path().join("config.toml"), folder.path().join("log"));
    let data_dir = folder.path().join("data");
    let set_filter = |filter: &str| fs::write(&config, format!("[log]\nfilter = \"{filter}\"\n")).unwrap();
    set_filter("info");
    let output = fs::File::create(&log).unwrap();
    let mut node = mundotango(&data_dir, &["serve", "--listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(&config)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&node);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    let logged = async |text: &str| {
        until(text, async || fs::read_to_string(&log).unwrap().contains(text).then_some(())).await;
    };
    let http = Client::builder().timeout(PATIENCE).build().unwrap();
    let ask = async |path: &str| {
        let listen = until("the node listens", async || NodeFile::read(&data_dir)).await.listen;
        until("the node answers", async || http.get(format!("http://{listen}{path}")).send().await.ok())
            .await;
    };
    ask("/api/unlogged").await;
    logged("serving").await;
    set_filter("info,mundotango_gateway=debug");
    signal(rustix::process::Signal::HUP);
    logged("log.filter and [jobs] read again").await;
    ask("/api/logged").await;
    logged("/api/logged").await;
    // A filter that is none changes nothing, and the node says so.
    set_filter("info,mundotango_gateway=loud");
    signal(rustix::process::Signal::HUP);
    logged("configuration not usable, the one before stays").await;
    ask("/api/still-logged").await;
    logged("/api/still-logged").await;
    assert!(!fs::read_to_string(&log).unwrap().contains("/api/unlogged"));
    signal(rustix::process::Signal::TERM);
    assert!(until("the node ends", async || node.try_wait().unwrap()).await.success());
}

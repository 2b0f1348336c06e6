//! Measurements of a release build, on a server of their own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{run, target_folder};

/// Longest wait for the server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A release server with a namespace in which everybody may do everything.
struct Server {
    child: Child,
    address: String,
    data_dir: PathBuf,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let data_dir = target_folder().join("bench-data");
        // What the run before left would be measured too.
        let _ = fs::remove_dir_all(&data_dir);
        fs::create_dir_all(&data_dir)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let namespace = "MUNDOTANGO__CHANNELS__NAMESPACES__BENCH__";
        let log = File::create(data_dir.join("log"))?;
        let child = Command::new(program("mundotango"))
            .args(["serve", "--listen", &address, "--data-dir"])
            .arg(&data_dir)
            .env(format!("{namespace}ALLOW_SUBSCRIBE_FOR_CLIENT"), "true")
            .env(format!("{namespace}ALLOW_PUBLISH_FOR_CLIENT"), "true")
            .env("MUNDOTANGO__SESSION__PERSONAL_CHANNEL", "false")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        let server = Self { child, address, data_dir };
        let start = Instant::now();
        while !server.data_dir.join("node.json").exists() {
            anyhow::ensure!(start.elapsed() < PATIENCE, "the server did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Runs the load maker against the server.
    fn load(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let secret = self.data_dir.join("secret");
        let pid = self.child.id().to_string();
        let mut load = Command::new(program("mundotango-load"));
        load.args(arguments)
            .args(["--server", &self.address, "--server-pid", &pid, "--secret-file"])
            .arg(&secret);
        run(&mut load)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(&target_folder()).join("release").join(name)
}

/// Memory of idle sessions, and one publication to all of them, in both encodings.
pub(crate) fn idle(sessions: usize) -> anyhow::Result<()> {
    for encoding in [&[][..], &["--protobuf"]] {
        let server = Server::start()?;
        let sessions = sessions.to_string();
        let arguments = ["idle", "--sessions", &sessions];
        server.load(&[&arguments[..], encoding].concat())?;
    }
    Ok(())
}

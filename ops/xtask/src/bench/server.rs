//! A server that is measured: a process of the bench's own, on a port of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::target_folder;

use super::{load_maker, program};

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Signs the sessions' tokens, for all servers that look at them.
pub(super) const SECRET: &str = "a secret of the bench that is long enough to sign";

/// A running server.
pub(super) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    /// Who signed its certificate, where it speaks TLS.
    authority: Option<PathBuf>,
}

impl Server {
    /// Starts a server in a fresh folder, by a command that is made for that folder and a port.
    pub(super) fn start(
        name: &str,
        command: impl FnOnce(&Path, u16) -> anyhow::Result<Command>,
    ) -> anyhow::Result<Self> {
        let folder = target_folder().join("bench-data").join(name);
        // What the run before left would be measured too.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let log = File::create(folder.join("log"))?;
        let mut command = command(&folder, port)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let mut server = Self {
            child: child.with_context(|| format!("cannot start {name}"))?,
            port,
            folder,
            authority: None,
        };
        fs::write(server.secret_file(), SECRET)?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let runs = matches!(server.child.try_wait(), Ok(None));
            anyhow::ensure!(
                runs && start.elapsed() < PATIENCE,
                "{name} did not start: see {}",
                server.folder.join("log").display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Starts a node of ours with some settings, in which everybody may do everything in the namespace `bench`, and waits
    /// until it is ready: it listens before.
    pub(super) fn ours(name: &str, settings: &[(String, String)]) -> anyhow::Result<Self> {
        Self::ours_of(&program("mundotango"), name, settings)
    }

    /// The same from another build.
    pub(super) fn ours_of(binary: &Path, name: &str, settings: &[(String, String)]) -> anyhow::Result<Self> {
        let server = Self::start(name, |folder, port| {
            let namespace = "MUNDOTANGO__CHANNELS__NAMESPACES__BENCH__";
            let mut command = Command::new(binary);
            command
                .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
                .arg(folder)
                .env(format!("{namespace}ALLOW_SUBSCRIBE_FOR_CLIENT"), "true")
                .env(format!("{namespace}ALLOW_PUBLISH_FOR_CLIENT"), "true")
                .env("MUNDOTANGO__AUTH__SECRET", SECRET)
                .env("MUNDOTANGO__HTTP__MAX_CONNECTIONS", "20000")
                .env("MUNDOTANGO__HTTP__CONNECTION_RATE", "0")
                .env("MUNDOTANGO__SESSION__COMMANDS_PER_SECOND", "0")
                .env("MUNDOTANGO__DRAIN__WINDOW", "0s")
                .env("MUNDOTANGO__SESSION__PERSONAL_CHANNEL", "false")
                .envs(settings.iter().map(|(name, value)| (name, value)));
            Ok(command)
        })?;
        let start = Instant::now();
        while !server.is_ready().unwrap_or(false) {
            anyhow::ensure!(start.elapsed() < PATIENCE, "{name} is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// The same over TLS, with a certificate that `authority` signed.
    pub(super) fn ours_over_tls(
        name: &str,
        settings: &[(String, String)],
        authority: PathBuf,
    ) -> anyhow::Result<Self> {
        let mut server = Self::ours(name, settings)?;
        server.authority = Some(authority);
        Ok(server)
    }

    fn is_ready(&self) -> anyhow::Result<bool> {
        // The node tells there where it answers without TLS; an earlier build has no TLS.
        let node: Value = serde_json::from_slice(&fs::read(self.folder.join("node.json"))?)?;
        let address = node["internal"].as_str().or_else(|| node["listen"].as_str());
        let mut stream = TcpStream::connect(address.context("no address")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /api/health/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200 "))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its first process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn secret_file(&self) -> PathBuf {
        self.folder.join("secret")
    }

    /// The server's processes: nginx has one more that does the work.
    fn pids(&self) -> anyhow::Result<Vec<String>> {
        let own = self.pid();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        Ok(std::iter::once(own.to_string()).chain(children.split_whitespace().map(str::to_owned)).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx' worker ends with its master only if that is asked to; any of them may have ended already.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the load maker against servers that are one; its report. Sessions connect to `targets` of them.
pub(super) fn load(
    servers: &[&Server],
    targets: &[&Server],
    dialect: &str,
    arguments: &[&str],
) -> anyhow::Result<Value> {
    let addresses: Vec<_> = targets.iter().map(|server| server.address()).collect();
    let pids = servers.iter().map(|server| server.pids()).collect::<anyhow::Result<Vec<_>>>()?;
    let first = servers.first().context("no server")?;
    let mut command = load_maker(arguments);
    if let Some(authority) = &first.authority {
        command.arg("--authority").arg(authority);
    }
    let output = command
        .args(["--dialect", dialect, "--server", &addresses.join(",")])
        .args(["--server-pid", &pids.concat().join(","), "--secret-file"])
        .arg(first.secret_file())
        .stderr(Stdio::inherit())
        .output()?;
    let report = String::from_utf8(output.stdout)?;
    serde_json::from_str(&report).with_context(|| format!("{dialect} {arguments:?}: {report}"))
}

/// Lets callers of the REST API ask a server; the load maker's report.
pub(super) fn ask(server: &Server, arguments: &str) -> anyhow::Result<Value> {
    let output = load_maker(&["requests"])
        .args(arguments.split(' '))
        .args(["--server", &server.address(), "--server-pid", &server.pids()?.join(","), "--secret-file"])
        .arg(server.secret_file())
        .stderr(Stdio::inherit())
        .output()?;
    let report = String::from_utf8(output.stdout)?;
    serde_json::from_str(&report).with_context(|| format!("{arguments}: {report}"))
}

/// A port that nothing has, below those that the system gives to outgoing connections: thousands of them are still
/// being forgotten from the row before.
fn free_port() -> anyhow::Result<u16> {
    let free = (17_000..18_000).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    free.context("no port is free")
}

//! Measurements of a release build beside its peers, each a fresh server, all by one load maker in one run.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::{parts, root, run, target_folder};

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Signs the sessions' tokens, for all servers that look at them.
const SECRET: &str = "a secret of the bench that is long enough to sign";

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Ours,
    OursProtobuf,
    Nchan,
    SocketIo,
}

impl Peer {
    const ALL: [Self; 4] = [Self::Ours, Self::OursProtobuf, Self::Nchan, Self::SocketIo];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "MundoTango, JSON",
            Self::OursProtobuf => "MundoTango, Protobuf",
            Self::Nchan => "nchan",
            Self::SocketIo => "Socket.IO 4",
        }
    }

    fn dialect(self) -> &'static str {
        match self {
            Self::Ours => "json",
            Self::OursProtobuf => "protobuf",
            Self::Nchan => "nchan",
            Self::SocketIo => "socketio",
        }
    }
}

/// A running server.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    fn start(peer: Peer) -> anyhow::Result<Self> {
        let folder = target_folder().join("bench-data");
        // What the run before left would be measured too.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let log = File::create(folder.join("log"))?;
        let mut command = match peer {
            Peer::Ours | Peer::OursProtobuf => ours(&folder, port),
            Peer::Nchan => nchan(&folder, port)?,
            Peer::SocketIo => {
                let mut command = Command::new("node");
                command.arg(peers().join("socketio/server.mjs")).arg(port.to_string()).arg(SECRET);
                command
            }
        };
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let server = Self { child: child.with_context(|| format!("cannot start {peer:?}"))?, port, folder };
        fs::write(server.folder.join("secret"), SECRET)?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            anyhow::ensure!(start.elapsed() < PATIENCE, "{peer:?} did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// The server's processes: nginx has one more that does the work.
    fn pids(&self) -> anyhow::Result<String> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let all = std::iter::once(own.to_string()).chain(children.split_whitespace().map(str::to_owned));
        Ok(all.collect::<Vec<_>>().join(","))
    }

    /// Runs the load maker against the server; its report.
    fn load(&self, peer: Peer, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(program("mundotango-load"))
            .args(arguments)
            .args(["--json", "--dialect", peer.dialect(), "--server", &format!("127.0.0.1:{}", self.port)])
            .args(["--server-pid", &self.pids()?, "--secret-file"])
            .arg(self.folder.join("secret"))
            .stderr(Stdio::inherit())
            .output()?;
        let report = String::from_utf8(output.stdout)?;
        serde_json::from_str(&report).with_context(|| format!("{peer:?} {arguments:?}: {report}"))
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

/// A port that nothing has, below those that the system gives to outgoing connections: thousands of them are still
/// being forgotten from the row before.
fn free_port() -> anyhow::Result<u16> {
    let free = (17_000..18_000).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    free.context("no port is free")
}

fn program(name: &str) -> PathBuf {
    Path::new(&target_folder()).join("release").join(name)
}

fn peers() -> PathBuf {
    root().join("ops/load/peers")
}

/// Our server with a namespace in which everybody may do everything.
fn ours(folder: &Path, port: u16) -> Command {
    let namespace = "MUNDOTANGO__CHANNELS__NAMESPACES__BENCH__";
    let mut command = Command::new(program("mundotango"));
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
        .env("MUNDOTANGO__SESSION__PERSONAL_CHANNEL", "false");
    command
}

fn nchan(folder: &Path, port: u16) -> anyhow::Result<Command> {
    let directory = folder.display().to_string();
    let text = fs::read_to_string(peers().join("nchan.conf"))?;
    let text = text.replace("__PORT__", &port.to_string()).replace("__DIR__", &directory);
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file).args(["-p", "/usr/share/nginx"]);
    Ok(command)
}

/// Installs the peers.
pub(crate) fn install() -> anyhow::Result<()> {
    parts::need_package("nginx", "-v", &["nginx-light", "libnginx-mod-nchan"])?;
    parts::npm_packages(&peers().join("socketio"))
}

/// One row of the table: what is done, and which figures of the report stand in it.
struct Row {
    name: &'static str,
    arguments: &'static [&'static str],
    figures: &'static [(&'static str, &'static str)],
}

const DELIVERY: &[(&str, &str)] = &[
    ("deliveries / CPU s", "/deliveries_per_cpu_second"),
    ("p50 ms", "/latency_millis/p50"),
    ("p99 ms", "/latency_millis/p99"),
];

const ROWS: &[Row] = &[
    Row {
        name: "a: 15,000 idle sessions, one subscription each",
        arguments: &["idle", "--sessions", "15000", "--channel", "bench:all"],
        figures: &[
            ("RSS bytes / session", "/resident_bytes_per_session"),
            ("p99 ms to all", "/latency_millis/p99"),
        ],
    },
    Row {
        name: "b: 1 channel, 5,000 subscribers, 4 publications/s",
        arguments: &[
            "fanout",
            "--channel",
            "bench:one",
            "--subscribers",
            "5000",
            "--rate",
            "4",
            "--seconds",
            "10",
        ],
        figures: DELIVERY,
    },
    Row {
        name: "c: 500 channels, 10 subscribers each, 10 publishers, 1,500 publications/s",
        arguments: &[
            "fanout",
            "--channel",
            "bench:many",
            "--channels",
            "500",
            "--subscribers",
            "10",
            "--publishers",
            "10",
            "--rate",
            "1500",
            "--seconds",
            "10",
        ],
        figures: DELIVERY,
    },
    Row {
        name: "d: 5,000 connects with a JWT and a subscription",
        arguments: &["connect", "--sessions", "5000", "--channel", "bench:all"],
        figures: &[("µs CPU each", "/connect_cpu_micros"), ("connects / s", "/connects_per_second")],
    },
];

/// Measures every row on every peer and prints the tables.
pub(crate) fn tables() -> anyhow::Result<()> {
    for row in ROWS {
        println!("\n{}\n", row.name);
        let names: Vec<_> = row.figures.iter().map(|(name, _)| *name).collect();
        println!("| server | {} | lost | doubled |", names.join(" | "));
        println!("|---|{}", "---|".repeat(row.figures.len() + 2));
        for peer in Peer::ALL {
            let server = Server::start(peer)?;
            let report = match server.load(peer, row.arguments) {
                Ok(report) => report,
                Err(error) => {
                    println!("| {} | {error:#} |", peer.name());
                    continue;
                }
            };
            let figures: Vec<_> = row.figures.iter().map(|(_, path)| figure(report.pointer(path))).collect();
            let (lost, doubled) = (&report["lost"], &report["doubled"]);
            println!("| {} | {} | {lost} | {doubled} |", peer.name(), figures.join(" | "));
        }
    }
    println!("\nthe machine: sends of 250 bytes a second of CPU, one thread, to loopback sockets\n");
    let output = Command::new(program("mundotango-load")).args(["raw", "--sockets", "5000"]).output()?;
    println!("| 5,000 sockets | {} |", String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}

fn figure(value: Option<&Value>) -> String {
    match value.and_then(Value::as_f64) {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
        None => "–".to_owned(),
    }
}

/// Builds what is measured.
pub(crate) fn build() -> anyhow::Result<()> {
    run(&mut crate::cargo(&["build", "--release", "-p", "mundotango", "-p", "mundotango-load"]))
}

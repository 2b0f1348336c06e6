//! The scenarios: how many sessions of which kind, and what is measured around them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Parser};

use crate::dialect::Dialect;
use crate::process::ServerProcess;
use crate::report::{Latencies, Report};
use crate::requests::Plan;
use crate::worker::{Outcome, Part, now_nanos};

/// Sessions a worker process: well below the usual limit of open files.
const SESSIONS_PER_WORKER: usize = 5_000;
/// Loopback addresses begin behind the server's own, and each run has others than the one before, whose ports the
/// system has not forgotten yet.
fn first_source() -> usize {
    2 + std::process::id() as usize % 200
}

/// Puts load on a server of the client protocol and measures what it does.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example, with a server on this machine:
  mundotango-load idle --sessions 10000 --channel bench:all --secret-file mundotango-data/secret --server-pid $(pidof mundotango)"
)]
pub(crate) enum Command {
    /// Idle sessions with one subscription each, then one publication to all of them.
    Idle {
        #[command(flatten)]
        target: Target,
        /// How many sessions.
        #[arg(long, default_value_t = 10_000)]
        sessions: usize,
        /// How long the sessions stay idle before the memory is read, in seconds.
        #[arg(long, default_value_t = 5)]
        hold: u64,
    },
    /// Channels with subscribers and publishers, at a rate.
    Fanout {
        #[command(flatten)]
        target: Target,
        /// How many channels; the channel's name gets their number behind it.
        #[arg(long, default_value_t = 1)]
        channels: usize,
        /// Subscribers a channel.
        #[arg(long, default_value_t = 1_000)]
        subscribers: usize,
        /// Publishers in all, spread over the channels.
        #[arg(long, default_value_t = 1)]
        publishers: usize,
        /// Publications a second in all.
        #[arg(long, default_value_t = 10)]
        rate: usize,
        /// How long, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: usize,
        /// Bytes of payload beside the time stamp.
        #[arg(long, default_value_t = 100)]
        payload: usize,
    },
    /// Sessions that connect as fast as they can, with one subscription each.
    Connect {
        #[command(flatten)]
        target: Target,
        /// How many sessions.
        #[arg(long, default_value_t = 5_000)]
        sessions: usize,
    },
    /// Callers of the REST API, each on a connection, who ask again as soon as they have their answer.
    Requests(Plan),
    /// Only sends the same bytes to many loopback sockets: sends a second of CPU, the machine's own limit.
    Raw {
        /// How many sockets.
        #[arg(long, default_value_t = 5_000)]
        sockets: usize,
        /// Bytes of each send.
        #[arg(long, default_value_t = 250)]
        bytes: usize,
        /// How often each gets them.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// The other end of `raw`.
    #[command(hide = true)]
    RawReader {
        /// Where to connect.
        address: SocketAddr,
        /// How often.
        sockets: usize,
    },
    /// A part of a run, told by the parent process.
    #[command(hide = true)]
    Worker,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The server's address. Where it is of several nodes, the subscribers of each channel are spread over them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:5000")]
    server: Vec<String>,
    /// The node that publishers connect to; they are spread as well if absent.
    #[arg(long)]
    publish_to: Option<String>,
    /// The path of its WebSocket.
    #[arg(long, default_value = "/connection/websocket")]
    path: String,
    /// The authority of the server's certificate, in PEM: with it sessions connect over TLS.
    #[arg(long)]
    authority: Option<PathBuf>,
    /// The server's processes, to read their memory and CPU time.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Processes that work for the server, such as a message broker: their CPU time is told apart.
    #[arg(long, value_delimiter = ',')]
    beside_pid: Vec<u32>,
    /// A file with the secret that signs the sessions' tokens (HS256); without it they connect anonymously.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// The channel; clients have to be allowed to subscribe and to publish in it.
    #[arg(long, default_value = "bench:all")]
    channel: String,
    /// How the server is spoken to.
    #[arg(long, value_enum, default_value_t)]
    dialect: Dialect,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What the sessions are to do once they are open.
#[derive(Default)]
struct Load {
    /// One subscriber each: which of its channel's it is, and the channel.
    subscriptions: Vec<(usize, String)>,
    /// The channels of each publisher, who takes them in turn.
    publishers: Vec<Vec<String>>,
    expected_each: usize,
    publications_each: usize,
    interval: Duration,
    payload_bytes: usize,
}

/// Runs a scenario and prints its report.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let (report, json) = match command {
        Command::Idle { target, sessions, hold } => (idle(target, *sessions, *hold)?, target.json),
        Command::Connect { target, sessions } => {
            let load = Load { subscriptions: all_in_one(target, *sessions), ..Load::default() };
            (measure("connect", target, &load, Duration::ZERO)?, target.json)
        }
        Command::Fanout { target, channels, subscribers, publishers, rate, seconds, payload } => {
            let load = fanout(target, [*channels, *subscribers, *publishers, *rate, *seconds, *payload])?;
            (measure("fanout", target, &load, Duration::from_secs(1))?, target.json)
        }
        Command::Worker | Command::Requests(_) | Command::Raw { .. } | Command::RawReader { .. } => {
            anyhow::bail!("this is not a scenario")
        }
    };
    report.print(json)?;
    anyhow::ensure!(report.lost == 0 && report.doubled == 0, "publications were lost or doubled");
    Ok(())
}

/// Subscribers of the target's one channel.
fn all_in_one(target: &Target, sessions: usize) -> Vec<(usize, String)> {
    (0..sessions).map(|number| (number, target.channel.clone())).collect()
}

fn idle(target: &Target, sessions: usize, hold: u64) -> anyhow::Result<Report> {
    let load = Load {
        subscriptions: all_in_one(target, sessions),
        publishers: vec![vec![target.channel.clone()]],
        expected_each: 1,
        publications_each: 1,
        ..Load::default()
    };
    measure("idle", target, &load, Duration::from_secs(hold))
}

fn fanout(target: &Target, numbers: [usize; 6]) -> anyhow::Result<Load> {
    let [channels, subscribers, publishers, rate, seconds, payload_bytes] = numbers;
    anyhow::ensure!(
        publishers % channels == 0 || channels % publishers == 0,
        "publishers must be a multiple of channels or the other way round, so that all get the same"
    );
    let name = |channel: usize| {
        if channels == 1 { target.channel.clone() } else { format!("{}-{channel}", target.channel) }
    };
    // Every channel of a publisher gets the same number of publications.
    let of_publisher = (channels / publishers).max(1);
    let publications_each = (rate * seconds / publishers).div_ceil(of_publisher) * of_publisher;
    let own = |publisher: usize| {
        let first = publisher % channels;
        (first..channels).step_by(publishers.max(1)).take(of_publisher).map(name).collect::<Vec<_>>()
    };
    Ok(Load {
        subscriptions: (0..channels * subscribers)
            .map(|session| (session / channels, name(session % channels)))
            .collect(),
        publishers: (0..publishers).map(own).collect(),
        expected_each: publications_each * publishers / channels,
        publications_each,
        interval: Duration::from_secs_f64(publishers as f64 / rate as f64),
        payload_bytes,
    })
}

/// Opens the sessions, lets them do their part, and sums up.
fn measure(scenario: &'static str, target: &Target, load: &Load, hold: Duration) -> anyhow::Result<Report> {
    let server = ServerProcess::of(&target.server_pid);
    let server = server.as_ref();
    let beside = target.beside_pid.iter().filter_map(|pid| ServerProcess::of(&[*pid])).collect::<Vec<_>>();
    let beside_cpu = || beside.iter().map(ServerProcess::cpu_seconds).collect::<anyhow::Result<Vec<_>>>();
    let sessions = load.subscriptions.len() + load.publishers.len();
    let expected = load.subscriptions.len() * load.expected_each;
    let published = load.publishers.len() * load.publications_each;
    let memory_before = server.map(ServerProcess::resident_bytes).transpose()?;
    let cpu_before = server.map(ServerProcess::cpu_seconds).transpose()?;
    let start = Instant::now();
    let mut workers = Worker::start_all(parts(target, load)?)?;
    for worker in &mut workers {
        anyhow::ensure!(worker.line()? == "\"ready\"", "a worker failed");
    }
    let connect_seconds = start.elapsed().as_secs_f64();
    let cpu_connected = server.map(ServerProcess::cpu_seconds).transpose()?;
    std::thread::sleep(hold);
    let memory_idle = server.map(ServerProcess::resident_bytes).transpose()?;

    let cpu_idle = server.map(ServerProcess::cpu_seconds).transpose()?;
    let beside_idle = beside_cpu()?;
    let go = now_nanos();
    for worker in &mut workers {
        worker.go()?;
    }
    let mut sum = Outcome::default();
    for worker in &mut workers {
        let outcome: Outcome = serde_json::from_str(&worker.line()?)?;
        sum.delivered += outcome.delivered;
        sum.lost += outcome.lost;
        sum.doubled += outcome.doubled;
        sum.latency_nanos.extend(outcome.latency_nanos);
        sum.last_nanos = sum.last_nanos.max(outcome.last_nanos);
    }
    let cpu_after = server.map(ServerProcess::cpu_seconds).transpose()?;
    let beside_after = beside_cpu()?;
    anyhow::ensure!(sum.delivered + sum.lost == expected, "deliveries were not counted right");
    let seconds = sum.last_nanos.saturating_sub(go) as f64 / 1e9;
    Ok(Report {
        scenario,
        sessions,
        connect_seconds,
        connects_per_second: sessions as f64 / connect_seconds,
        connect_cpu_micros: cpu_before
            .zip(cpu_connected)
            .map(|(from, to)| (to - from) * 1e6 / sessions as f64),
        resident_bytes_per_session: memory_before
            .zip(memory_idle)
            .map(|(from, to)| to.saturating_sub(from) as f64 / sessions as f64),
        published,
        delivered: sum.delivered,
        lost: sum.lost,
        doubled: sum.doubled,
        deliveries_per_second: (sum.delivered > 0 && seconds > 0.0).then(|| sum.delivered as f64 / seconds),
        deliveries_per_cpu_second: cpu_idle
            .zip(cpu_after)
            .filter(|(from, to)| sum.delivered > 0 && to > from)
            .map(|(from, to)| sum.delivered as f64 / (to - from)),
        beside_cpu_share: shares(&beside_idle, &beside_after, cpu_idle.zip(cpu_after)),
        latency_millis: Latencies::of(sum.latency_nanos),
    })
}

/// What part of all CPU time each process beside the server took.
fn shares(from: &[f64], to: &[f64], server: Option<(f64, f64)>) -> Vec<f64> {
    let own: Vec<_> = from.iter().zip(to).map(|(from, to)| to - from).collect();
    let all = own.iter().sum::<f64>() + server.map_or(0.0, |(from, to)| to - from);
    own.into_iter().map(|seconds| seconds / all.max(f64::EPSILON)).collect()
}

/// A worker's share.
fn own<T>(all: impl Iterator<Item = T>, worker: usize, workers: usize) -> Vec<T> {
    all.skip(worker).step_by(workers).collect()
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let mut found = address.to_socket_addrs().with_context(|| format!("no server address: {address}"))?;
    found.find(SocketAddr::is_ipv4).with_context(|| format!("no IPv4 address: {address}"))
}

/// Spreads the sessions over nodes and worker processes.
fn parts(target: &Target, load: &Load) -> anyhow::Result<Vec<Part>> {
    let servers = target.server.iter().map(|address| resolve(address)).collect::<anyhow::Result<Vec<_>>>()?;
    let publish_to = target.publish_to.as_deref().map(resolve).transpose()?;
    let secret = match &target.secret_file {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let at = |number: usize| servers[number % servers.len()];
    let subscriptions = || load.subscriptions.iter().map(|(number, channel)| (at(*number), channel.clone()));
    let publishers = || {
        let channels = load.publishers.iter().cloned().enumerate();
        channels.map(|(number, channels)| (publish_to.unwrap_or_else(|| at(number)), channels))
    };
    let count = (load.subscriptions.len() + load.publishers.len()).div_ceil(SESSIONS_PER_WORKER).max(1);
    (0..count)
        .map(|worker| {
            Ok(Part {
                path: target.path.clone(),
                authority: target.authority.clone(),
                dialect: target.dialect,
                secret: secret.clone(),
                source: u8::try_from(first_source() + worker).context("too many sessions")?,
                subscriptions: own(subscriptions(), worker, count),
                publishers: own(publishers(), worker, count),
                expected_each: load.expected_each,
                publications_each: load.publications_each,
                interval_micros: u64::try_from(load.interval.as_micros())?,
                payload_bytes: load.payload_bytes,
            })
        })
        .collect()
}

struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start_all(parts: Vec<Part>) -> anyhow::Result<Vec<Self>> {
        let program = std::env::current_exe()?;
        let start = |part: Part| -> anyhow::Result<Self> {
            let mut child =
                Process::new(&program).arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut input = child.stdin.take().context("no input")?;
            let output = BufReader::new(child.stdout.take().context("no output")?);
            writeln!(input, "{}", serde_json::to_string(&part)?)?;
            Ok(Self { child, input, output })
        };
        parts.into_iter().map(start).collect()
    }

    fn go(&mut self) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "\"go\"")?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "a worker ended early");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

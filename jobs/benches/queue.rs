//! How fast jobs go through a durable queue in the embedded store, from the call that puts them there until it is written
//! down that they are done, and how soon a job of a process that was killed begins again:
//! `cargo bench -p mundotango-jobs --bench queue`. One JSON line for each measurement.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use mimalloc::MiMalloc;
use mundotango_actors::{
    Authenticator, ChannelsOptions, Credentials, Engine, EngineParts, NodeParts, SessionOptions,
    SubscriptionGrant, TokenRefusal,
};
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, Jobs, Pools, Queue, Wakes};
use mundotango_storage::db::Schema;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::hot::MemoryHotState;
use serde_json::json;

/// The same allocator as the server's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

static QUEUE: Queue = Queue::new("bench", 10);
/// Its payload is when it was put into the queue, in microseconds since the begin.
static KIND: JobKind<u64> = JobKind::new("bench", &QUEUE, 1);

/// When a process is killed, after its job began: at several moments between two of its beats, which come every second.
const KILLED_AFTER: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(900),
    Duration::from_millis(1_600),
    Duration::from_millis(2_300),
    Duration::from_secs(3),
];
/// The longest that a process of the bench may take to say what is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Counts what is done, and how long after it was put into the queue it began.
#[derive(Default)]
struct Seen {
    done: AtomicU64,
    delays: parking_lot::Mutex<Vec<f64>>,
}

struct Does {
    seen: Arc<Seen>,
    takes: Duration,
    begin: Instant,
}

#[async_trait]
impl Handler<u64> for Does {
    async fn run(&self, _: &Attempted, put_at: u64) -> Result<(), Failure> {
        let delay = self.begin.elapsed().as_secs_f64() - Duration::from_micros(put_at).as_secs_f64();
        self.seen.delays.lock().push(delay);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        self.seen.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Nobody connects.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn connection(&self, _: &str) -> Result<Credentials, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }

    async fn subscription(&self, _: &str) -> Result<SubscriptionGrant, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

/// Queues on the store of a folder, without workers.
struct Queues {
    store: EmbeddedStore,
    engine: Arc<Engine>,
    wakes: Arc<Wakes>,
    jobs: Jobs,
}

impl Queues {
    async fn open(folder: &Path) -> Self {
        let schema = Schema { kinds: vec![mundotango_jobs::JOBS.spec()], indexes: vec![] };
        let store = EmbeddedStore::open(folder, &EmbeddedOptions::default(), &schema).unwrap();
        let engine = Engine::start(EngineParts {
            node: NodeParts::alone(),
            version: "bench".to_owned(),
            session_options: SessionOptions::default(),
            channels_options: ChannelsOptions::default(),
            hot: Arc::new(MemoryHotState::new()),
            authenticator: Arc::new(Nobody),
        })
        .await
        .unwrap();
        let wakes = Arc::new(Wakes::default());
        let woken = Arc::clone(&wakes);
        let jobs = Jobs::new(store.stores().db, move |queue, shard| woken.wake(queue, shard));
        Self { store, engine, wakes, jobs }
    }

    fn work(&self, handler: impl Handler<u64> + 'static, workers: usize) -> Arc<Pools> {
        Pools::of([(&QUEUE, workers)]).handle(&KIND, handler).start(
            &self.jobs,
            &self.engine,
            &self.wakes,
            true,
        )
    }
}

/// Queues on a store of their own, with workers.
struct Bench {
    _folder: tempfile::TempDir,
    queues: Queues,
    pools: Arc<Pools>,
    seen: Arc<Seen>,
    begin: Instant,
}

impl Bench {
    async fn start(takes: Duration, workers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queues = Queues::open(folder.path()).await;
        let (seen, begin) = (Arc::new(Seen::default()), Instant::now());
        let does = Does { seen: Arc::clone(&seen), takes, begin };
        let pools = queues.work(does, workers);
        Self { _folder: folder, queues, pools, seen, begin }
    }

    fn done(&self) -> u64 {
        self.seen.done.load(Ordering::Relaxed)
    }

    async fn put(&self) {
        let at = u64::try_from(self.begin.elapsed().as_micros()).unwrap();
        self.queues.jobs.enqueue(KIND.job(&at).unwrap()).await.unwrap();
    }

    async fn wait_for(&self, jobs: u64) {
        while self.done() < jobs || self.queues.jobs.report(QUEUE.name).await.unwrap().running > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) {
        self.pools.drain(Duration::from_secs(1)).await;
        self.queues.store.close();
    }
}

/// CPU time that the process has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn percentiles(delays: &mut [f64]) -> (f64, f64) {
    delays.sort_by(f64::total_cmp);
    let at = |part: f64| delays.get((delays.len() as f64 * part) as usize).copied().unwrap_or_default() * 1e3;
    (at(0.5), at(0.99))
}

/// As many as `callers` put there, each as soon as the one before is durable.
async fn put_all(bench: &Arc<Bench>, jobs: u64, callers: u64) {
    let putting = (0..callers).map(|_| {
        let bench = Arc::clone(bench);
        tokio::spawn(async move {
            for _ in 0..jobs / callers {
                bench.put().await;
            }
        })
    });
    for one in putting.collect::<Vec<_>>() {
        one.await.unwrap();
    }
}

/// Jobs a second from the first that is put until the last is written down as done.
async fn throughput(name: &str, takes: Duration, workers: usize, jobs: u64, callers: u64) -> f64 {
    let bench = Arc::new(Bench::start(takes, workers).await);
    let jobs = jobs / callers * callers;
    let (start, used) = (Instant::now(), cpu());
    put_all(&bench, jobs, callers).await;
    let put = start.elapsed();
    bench.wait_for(jobs).await;
    let (all, used) = (start.elapsed(), cpu().saturating_sub(used));
    let per_second = jobs as f64 / all.as_secs_f64();
    let line = json!({
        "what": name, "workers": workers, "callers": callers, "jobs": jobs,
        "put_per_second": (jobs as f64 / put.as_secs_f64()).round(),
        "done_per_second": per_second.round(),
        "cpu_micros_per_job": (used.as_secs_f64() * 1e6 / jobs as f64 * 10.0).round() / 10.0,
    });
    println!("{line}");
    if let Ok(bench) = Arc::try_unwrap(bench) {
        bench.end().await;
    }
    per_second
}

/// How long jobs wait until they begin, where they come at a rate.
async fn delay(name: &str, takes: Duration, workers: usize, per_second: f64) {
    let bench = Bench::start(takes, workers).await;
    let start = Instant::now();
    let mut put = 0_u64;
    let mut putting = futures_util::stream::FuturesUnordered::new();
    while start.elapsed() < Duration::from_secs(5) {
        let wanted = (start.elapsed().as_secs_f64() * per_second) as u64;
        while put < wanted {
            put += 1;
            putting.push(bench.put());
        }
        tokio::select! {
            Some(()) = putting.next() => {}
            () = tokio::time::sleep(Duration::from_micros(500)) => {}
        }
    }
    while putting.next().await.is_some() {}
    drop(putting);
    bench.wait_for(put).await;
    let (p50, p99) = percentiles(&mut bench.seen.delays.lock());
    let round = |millis: f64| (millis * 100.0).round() / 100.0;
    let line = json!({
        "what": name, "workers": workers, "per_second": per_second.round(),
        "start_p50_millis": round(p50), "start_p99_millis": round(p99),
    });
    println!("{line}");
    bench.end().await;
}

/// The job that its process does not survive.
struct Endless;

#[async_trait]
impl Handler<u64> for Endless {
    async fn run(&self, _: &Attempted, _: u64) -> Result<(), Failure> {
        println!("{BEGAN}");
        std::future::pending().await
    }
}

/// The argument that makes a process one that is killed, or that is started after it.
const VICTIM: &str = "victim";
/// The argument of the first one, which puts the job there.
const FIRST: &str = "first";
/// What such a process says.
const STARTS_WORKERS: &str = "starts workers";
const BEGAN: &str = "began";

/// Works on a folder until it is killed, after it has put a job there if it is the first to.
async fn be_victim(folder: &Path, is_first: bool) {
    let queues = Queues::open(folder).await;
    if is_first {
        queues.jobs.enqueue(KIND.job(&0).unwrap()).await.unwrap();
    }
    println!("{STARTS_WORKERS}");
    let _pools = queues.work(Endless, 1);
    std::future::pending::<()>().await;
}

/// A process that works on a folder, and what it says when.
struct Victim {
    process: Child,
    said: mpsc::Receiver<(Instant, String)>,
}

impl Victim {
    fn start(folder: &Path, is_first: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(VICTIM).arg(folder).args(is_first.then_some(FIRST));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (says, said) = mpsc::channel();
        // It ends with the process, and what nobody waits for any more is lost.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(says.send((Instant::now(), line)));
            }
        });
        Self { process, said }
    }

    /// When it said what is waited for.
    fn wait_for(&self, what: &str) -> Instant {
        loop {
            let (at, line) = self.said.recv_timeout(PATIENCE).expect("the process says what it does");
            if line == what {
                return at;
            }
        }
    }

    /// `kill -9`; when that was.
    fn kill(mut self) -> Instant {
        self.process.kill().unwrap();
        let killed = Instant::now();
        self.process.wait().unwrap();
        killed
    }
}

/// From the kill of a process until its job begins in another that is started then, and from its start of workers on.
fn recovery() {
    let tries = KILLED_AFTER.map(|after| {
        let folder = tempfile::tempdir().unwrap();
        let lost = Victim::start(folder.path(), true);
        lost.wait_for(BEGAN);
        std::thread::sleep(after);
        let killed = lost.kill();
        let next = Victim::start(folder.path(), false);
        let (started, began) = (next.wait_for(STARTS_WORKERS), next.wait_for(BEGAN));
        next.kill();
        ((began - killed).as_secs_f64(), (began - started).as_secs_f64())
    });
    print_recovery("recovery", tries.map(|(all, _)| all));
    print_recovery("recovery, from the start of the workers on", tries.map(|(_, of_workers)| of_workers));
}

fn print_recovery(what: &str, mut seconds: [f64; KILLED_AFTER.len()]) {
    seconds.sort_by(f64::total_cmp);
    let round = |seconds: f64| (seconds * 1e4).round() / 1e4;
    let line = json!({
        "what": what, "workers": 1, "tries": seconds.len(),
        "least_seconds": round(seconds[0]),
        "mean_seconds": round(seconds.iter().sum::<f64>() / seconds.len() as f64),
        "most_seconds": round(seconds[seconds.len() - 1]),
    });
    println!("{line}");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [role, folder, rest @ ..] = &arguments[..]
        && role == VICTIM
    {
        return runtime.block_on(be_victim(folder.as_ref(), rest.iter().any(|one| one == FIRST)));
    }
    recovery();
    runtime.block_on(async {
        let (nothing, slow) = (Duration::ZERO, Duration::from_millis(5));
        let most = throughput("nothing", nothing, 50, 300_000, 256).await;
        throughput("nothing", nothing, 50, 300_000, 2_048).await;
        throughput("nothing", nothing, 10, 100_000, 64).await;
        delay("nothing, half of the most", nothing, 50, most / 2.0).await;
        let most = throughput("5 ms", slow, 50, 40_000, 64).await;
        delay("5 ms, half of the most", slow, 50, most / 2.0).await;
        let many = throughput("5 ms, 250 workers", slow, 250, 60_000, 256).await;
        delay("5 ms, 250 workers, half of the most", slow, 250, many / 2.0).await;
    });
}
